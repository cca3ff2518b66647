"""Mechanical mutants that the default cases let live, and why. Each was looked at.

Those of what observes are in `survivors_observation`, the kinds in `reasons`.
"""

from __future__ import annotations

import survivors_observation
from reasons import EQUIVALENT, SPOKEN, STOCK, Reason

_TENSORS = "stock code hands over tensors of the variable's format; conversion is for a user's code"
_NESTEROV = "only TensorFlow 1.15's contrib Nadam asks for it: `verify --python` there kills it"
_PATTERNS = "whether a rule's pattern that matches nothing is refused: tests/runtime/test_runtime_features.py"
_RANKS = "arms of a condition on tensors with different shapes: tests/runtime/test_runtime_features.py"
_ROWS = (
    "of IndexedSlices as an update: no stock class of a v1 graph here has such; forks do, tests/test_forks.py"
)
_HANG = "what is published outside of a branch asks for no order, and stock's alpha feeds its update"

REASONS: tuple[Reason, ...] = (
    # -- kernels
    Reason("kernels", "_read_adam", "x.grad * (_one(x) - x.beta1) + x.beta1 * new['m']", STOCK, _NESTEROV),
    Reason("kernels", "_read_adam", "x.grad * (_one(x) - x.beta1)", STOCK, _NESTEROV),
    Reason("kernels", "_read_adam", "_one(x) - x.beta1", STOCK, _NESTEROV),
    Reason("kernels", "_read_adam", "x.beta1 * new['m']", STOCK, _NESTEROV),
    Reason("kernels", "_read_adam", "new['m']", STOCK, _NESTEROV),
    Reason("kernels", "Arguments", "False", EQUIVALENT, "a lock around the only writer of a variable"),
    Reason(
        "kernels",
        "Arguments.__init__",
        "len(args) > len(kernel.arguments)",
        STOCK,
        "a call with every argument by position, the name too: a user's",
    ),
    Reason(
        "kernels",
        "Arguments.__init__",
        "name not in kernel.arguments or name in given",
        STOCK,
        "a call that the kernel itself refuses",
    ),
    Reason("kernels", "Arguments.__init__", "tf.convert_to_tensor(given.pop('grad'))", STOCK, _TENSORS),
    Reason("kernels", "Arguments.__init__", "tf.convert_to_tensor(value, self.dtype)", STOCK, _TENSORS),
    Reason(
        "kernels",
        "read_state",
        "tf.identity(handle)",
        EQUIVALENT,
        "what is made of it in the same control dependencies waits for them itself",
    ),
    # -- globs, intersections, wrappers: no default case has them
    Reason(
        "matching",
        None,
        None,
        STOCK,
        "every case has one rule for `**`; tests/runtime/test_runtime_settings.py",
    ),
    Reason(
        "wrappers",
        None,
        None,
        STOCK,
        "optimizers in optimizers: tests/runtime/test_runtime_wrappers.py kills it",
    ),
    # -- stepping
    Reason("stepping", "Site.__init__", "True", SPOKEN, "`reached` decides about a warning"),
    Reason("stepping", "Site.__init__", "not self.record.checked", SPOKEN, _PATTERNS),
    Reason("stepping", "Site.__init__", "if listed", SPOKEN, _PATTERNS),
    Reason(
        "stepping",
        "Site.__init__",
        "self.record.check([worlds.path_of(v) for v in listed])",
        SPOKEN,
        _PATTERNS,
    ),
    Reason(
        "stepping",
        "Site.queue",
        "sampling.freeze(rate)",
        STOCK,
        "stock steps one variable in a call of a method; of a loop over variables tests/test_forks.py tells",
    ),
    Reason("stepping", "Site.queue", "sampling.freeze(direction)", STOCK, "as the rate's"),
    Reason("stepping", "Site.queue", "sampling.freeze(alpha)", STOCK, "as the rate's"),
    Reason(
        "stepping",
        "Site.queue",
        "if self.record.will_flush(graph)",
        EQUIVALENT,
        "each sample taken where it is made is the same sample; it costs a condition for each variable",
    ),
    Reason(
        "stepping",
        "Site.queue",
        "sampling.take_alone(self.optimizer, self.record, self.identity, sample)",
        STOCK,
        "updates that no `apply_gradients` ends: tests/runtime/test_runtime_wrappers.py",
    ),
    Reason("stepping", "stepped", "tf.convert_to_tensor(update)", STOCK, _TENSORS),
    Reason("stepping", "stepped", "tf.convert_to_tensor(reads.of(rate), values.dtype)", STOCK, _TENSORS),
    Reason("stepping", "stepped", "tf.convert_to_tensor(reads.of(direction), values.dtype)", STOCK, _TENSORS),
    Reason("stepping", "stepped", "tf.convert_to_tensor(offset, values.dtype)", STOCK, _TENSORS),
    Reason("stepping", "stepped", "tf.convert_to_tensor(indices())", STOCK, _TENSORS),
    Reason("stepping", "stepped", "values.shape.rank is None", STOCK, _RANKS),
    Reason("stepping", "stepped", "values.set_shape(known)", STOCK, _RANKS),
    Reason("stepping", "_publish_step", "tf.convert_to_tensor(update)", STOCK, _TENSORS),
    Reason("stepping", "_publish_step", "tf.convert_to_tensor(effective, update.dtype)", STOCK, _TENSORS),
    Reason("stepping", "_publish_step", "tf.convert_to_tensor(reads.of(alpha))", STOCK, _TENSORS),
    Reason("stepping", "_publish_step", "if rows is None and shape is not None", STOCK, _ROWS),
    Reason("stepping", "_publish_step", "rows is None and shape is not None", STOCK, _ROWS),
    Reason("stepping", "_publish_step", "rows is None", STOCK, _ROWS),
    Reason("stepping", "_publish_step", "rows is not None", STOCK, _ROWS),
    Reason("stepping", "_publish_step", "slices is None", STOCK, _ROWS),
    Reason("stepping", "_publish_step", "shape is not None", STOCK, _ROWS),
    Reason("stepping", "_publish_step", "sampling.spread(effective, shape)", STOCK, _ROWS),
    Reason("stepping", "_publish_step", "sampling.spread(clamped, shape)", STOCK, _ROWS),
    Reason("stepping", "_publish_step", "0", STOCK, _ROWS),
    Reason("stepping", "_publish_step", "False", STOCK, _ROWS),
    Reason("stepping", "_publish_step", "scalar is None", EQUIVALENT, _HANG),
    Reason("stepping", "_publish_step", "tf.identity(update) if hang else update", EQUIVALENT, _HANG),
    Reason("stepping", "_publish_step", "tf.identity(update)", EQUIVALENT, _HANG),
    Reason("stepping", "_publish_step", "with tf.control_dependencies(hang)", EQUIVALENT, _HANG),
    Reason(
        "fusing",
        "_stock_call_in_graph",
        None,
        STOCK,
        "updates in a branch of a v1 graph, tests/runtime/test_runtime_graphs.py",
    ),
)


def reason_of(module: str, key: list[str | int]) -> Reason | None:
    """Why a mutant may live, None for one that nobody has looked at."""
    return next(
        (reason for reason in (*REASONS, *survivors_observation.found()) if reason.holds(module, key)), None
    )
