"""Mechanical mutants of what observes (`sampling`, `observing`, `binding`) that live, and why.

Grouped by why, and keyed by function and old text, so that another line beside one changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from reasons import EQUIVALENT, OPEN, SPOKEN, STOCK, Reason

_SAME = "of a tensor that has this type and shape already in every stock class"
_GUARD = "a guard against work: without it nothing is found, and nothing is done"
_CONVERTED = "NumPy and variables convert the value themselves"
_OVERWRITTEN = "a start value that the first sample writes over; before that nothing is shown"
_UNUSED = "a value that a branch must have and nobody reads"
_WALL = (
    "XLA moves nothing of a stock step here when another operation reads it; tests/runtime/"
    "test_runtime_keras.py has the trainings where it did"
)
_BRANCH = "updates in a branch of a v1 graph: tests/runtime/test_runtime_graphs.py"
_OTHER_CHECK = "another of the places that check a rule's patterns refuses it as early"
_ALONE = "updates that no `apply_gradients` ends: tests/runtime/test_runtime_wrappers.py"
_UNREACHED = "whether an update that came to no site is warned of: tests/runtime/test_runtime_wrappers.py"
_NAMES = "names of variables of ours that nobody sees"
_REFUSED = "settings and rules that are refused: tests/runtime/test_runtime_settings.py"

_GROUPS: tuple[tuple[str, str, str, str, tuple[str | None, ...]], ...] = (
    # -- binding
    ("binding", "Binding.derive", STOCK, "rules= of a class: tests/runtime/test_runtime_settings.py", ("0",)),
    ("binding", "Binding.derive", SPOKEN, _REFUSED, ("settings.resolve(self.rules, merged, {})",)),
    ("binding", "bind", SPOKEN, _REFUSED, (None,)),
    ("binding", "_restore", OPEN, "a lock: two threads that make one binding at once", ("True",)),
    # -- sampling
    ("sampling", "Sample.whole", EQUIVALENT, _SAME, ("spread(value, self.shape)",)),
    ("sampling", "spread", EQUIVALENT, _SAME, (None,)),
    ("sampling", "Store.__init__", EQUIVALENT, _NAMES, (
        "c if c.isalnum() or c in '_./-' else '_'", "c in '_./-'", "c.isalnum() or c in '_./-'",
    )),
    ("sampling", "Store.__init__", EQUIVALENT, _OVERWRITTEN, (

    )),
    ("sampling", "Store.__init__", EQUIVALENT, _CONVERTED, ("tf.cast(filler, dtype)",)),
    ("sampling", "_counter", EQUIVALENT, _OVERWRITTEN, ("0",)),
    ("sampling", "_fenced", EQUIVALENT, _WALL, (None,)),
    ("sampling", "_fenced.change", EQUIVALENT, _WALL, (None,)),
    ("sampling", "_flush_eager", EQUIVALENT, _GUARD, ("was_due and samples",)),
    ("moments", "as_float64", EQUIVALENT, _SAME, (None,)),
    ("moments", "_learning_rate_v2", EQUIVALENT, _CONVERTED, ("tf.cast(optimizer.iterations, tf.float32)",)),
    ("moments", "_learning_rate_v2", STOCK, "an OptimizerV2 always counts, and says so", ("0",)),
    ("sampling", "_step_number", EQUIVALENT, _SAME, (
        "tf.convert_to_tensor(iterations)", "tf.cast(tf.convert_to_tensor(iterations), tf.int64)",
    )),
    ("sampling", "_take", EQUIVALENT, _SAME, ("tf.cast(effective, store.full.dtype)",)),
    ("sampling", "_take_all", EQUIVALENT, _SAME, (
        "tf.convert_to_tensor(_fenced(sample.alpha, sample)())",
    )),
    ("sampling", "_take_if_due", EQUIVALENT, _UNUSED, ("False",)),
    ("sampling", "_take_if_due.take", EQUIVALENT, _UNUSED, ("True",)),
    ("sampling", "_take_if_due", EQUIVALENT, "a multiple of `every` stays one below zero", (
        "worlds.add(updates, 1)",
    )),
    ("sampling", "_take_if_due", EQUIVALENT, "a condition that always holds costs and changes nothing", (
        "worlds.fence() is not None",
    )),
    ("sampling", "_counted", STOCK, "every class that is observed says whether it counts first", ("False",)),
    ("sampling", "freeze", STOCK, "of a loop over variables in the user's code: tests/test_forks.py", (
        "not isinstance(thunk, types.FunctionType)",
    )),
    ("sampling", "flush", EQUIVALENT, "nothing is queued where it would turn back", (
        "record.silent or worlds.world() == worlds.GRAPH or worlds.replica() != 0",
    )),
    ("sampling", "take_alone", STOCK, _ALONE, (None,)),
    # -- observing
    ("observing", "_order", STOCK, _BRANCH, (None,)),
    ("observing", "observed_class.ending", STOCK, _BRANCH, (
        "_order(record, carried, out if isinstance(out, (list, tuple)) else [out])", "graph is not None",
    )),
    ("observing", "observed_class.ending", SPOKEN, _UNREACHED, (
        "_warn_unreached(record, given)", "not wrappers.held(self)",
    )),
    ("observing", "_warn_unreached", SPOKEN, _UNREACHED, (None,)),
    ("observing", "observed_class.ending", EQUIVALENT,
     "the next update of the same variables is due as the failed one was, and queues each anew",
     ("record.abandon()",)),
    ("observing", "observed_class.ending", EQUIVALENT, _OTHER_CHECK, (
        "_check_listed(record, self)", "_check_variables(record, given)",
    )),
    ("observing", "observed_class", EQUIVALENT, _OTHER_CHECK, (
        "_check_at_build(binding, cls)", "_check_at_slots(binding, cls)",
    )),
    ("observing", "_check_at_build.build", EQUIVALENT, _OTHER_CHECK, (None,)),
    ("observing", "_check_at_slots._create_slots", EQUIVALENT, _OTHER_CHECK, (None,)),
    ("observing", "_check_listed", EQUIVALENT, _OTHER_CHECK, (None,)),
    ("observing", "_check_pairs", EQUIVALENT, _GUARD, (
        "record.checked or not record.settings.rules",
    )),
    ("observing", "_check_pairs", STOCK, "a global step by position: a user's call", ("1",)),
    ("observing", "_check_variables", EQUIVALENT, _GUARD, ("record.checked or not record.settings.rules",)),
    ("observing", "_check_variables", STOCK, "several losses in turn: a user's v1 graph", (
        "not tf.executing_eagerly()",
    )),
    ("observing", "_variables_of_loss", STOCK, "by position: tests/test_forks_get_updates.py", (
        "'params' in kwargs",
    )),
    ("observing", "_show_to_saved_models", STOCK, "another generation's, which has no such method", (
        "not callable(getattr(cls, '_trackable_children', None)) or '_trackable_children' in cls.__dict__",
    )),
)  # fmt: skip


def found() -> Iterator[Reason]:
    """A reason for each text of each group."""
    for module, function, kind, why, olds in _GROUPS:
        for old in olds:
            yield Reason(module, function, old, kind, why)
