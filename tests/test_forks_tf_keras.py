"""The OptimizerV2 and Keras 2 forks of tests/fixtures/forks on real TensorFlow, dense and sparse: the bits
are stock's, the emitted rate is the one applied, a ceiling binds and moves nothing else.
"""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tf_keras")

from test_forks import FORKS, NAMES, optimizer_class, rules, same, settings  # noqa: E402, F401

pytestmark = pytest.mark.tensorflow

CASES = [n for n in NAMES if n.startswith(("v2_", "keras2_"))]
REFUSED = [n for n in NAMES if n.startswith("refused_v2_")]
SHAPES = {"layer/kernel": (7, 3), "layer/bias": (3,)}
ROWS = [0, 2, 2, 5]  # the second row twice
STEPS = 12

#: no sparse update of their own, or none that takes IndexedSlices
DENSE_ONLY = {
    *("keras2_adabelief", "keras2_adabound", "keras2_adamw", "keras2_base_of_the_project"),
    *("keras2_centralized", "keras2_inherits", "keras2_lamb", "keras2_nesterov", "keras2_qhadam"),
    *("keras2_radam", "keras2_whole_apply", "keras2_yogi"),
    *("v2_accumulated", "v2_adabound", "v2_centralized", "v2_coupled_l2", "v2_index_lists", "v2_mixin"),
    *("v2_annealed", "v2_lamb_exclusions", "v2_padam", "v2_qhadam", "v2_whole_apply", "v2_zipped_states"),
}
#: the variable is moved by a write of its own beside the step
MOVED_BESIDE = {
    "v2_proximal",
    "v2_base_by_import",
    "v2_annealed",
    "v2_cosine_restarts",
    "v2_mixin",
    "v2_inherits_decay",
    "keras2_base_of_the_project",
}
#: updates of touched rows alone
LAZY = {
    *("v2_lazy_rows", "v2_lazy_scatter_sub", "v2_nadam", "v2_fused_adamax", "v2_radam", "keras2_lazy_rows"),
    *("v2_handed_rows", "v2_base_by_version", "v2_proximal"),
}
#: every site is a fused kernel, in the stock class or in the fork, or in a tf.function that is traced
#: once: no step to look into
FUSED = {
    ("v2_inherits_decay", False), ("v2_inherits_decay", True), ("v2_lazy_rows", False),
    ("v2_lr_multipliers", False), ("v2_fused_adamax", False), ("v2_fused_gen_training_ops", False),
    ("keras2_inherits", False), ("v2_base_by_version", False), ("v2_base_by_import", False),
    ("v2_base_by_import", True), ("v2_tabled_kernel", False), ("v2_tabled_kernel", True),
    ("v2_compiled_helper", False), ("v2_compiled_helper", True),
}  # fmt: skip

LAYOUTS = [
    (case, sparse) for case in CASES for sparse in (False, True) if not (sparse and case in DENSE_ONLY)
]


class Training:
    """Two variables and an optimizer of `cls`, stepped eagerly or in a tf.function."""

    def __init__(self, cls, sparse=False, function=False):
        rng = np.random.RandomState(3)
        self.w = [tf.Variable(rng.randn(*shape).astype("float32"), name=n) for n, shape in SHAPES.items()]
        self.opt, self.sparse = cls(), sparse

        def apply(kernel, bias):
            if sparse:
                kernel = tf.IndexedSlices(kernel, tf.constant(ROWS), tf.constant(SHAPES["layer/kernel"]))
            self.opt.apply_gradients([(kernel, self.w[0]), (bias, self.w[1])])

        self.apply = tf.function(apply) if function else apply
        self.step(next(self.gradients()))  # makes the states

    def gradients(self):
        rng = np.random.RandomState(1)
        kernel = (len(ROWS), 3) if self.sparse else SHAPES["layer/kernel"]
        for _ in range(STEPS):
            yield [
                tf.constant(rng.randn(*shape) * rng.choice([0.1, 1, 5]), "float32")
                for shape in (kernel, SHAPES["layer/bias"])
            ]

    def step(self, gradients):
        self.apply(*gradients)

    def variables(self):
        own = self.opt.variables
        own = list(own() if callable(own) else own)
        for held in vars(self.opt).values():
            held = list(held.values()) if isinstance(held, dict) else held
            if isinstance(held, list) and all(isinstance(v, tf.Variable) for v in held):
                own += [v for v in held if not any(v is known for known in own)]
        return [*self.w, *own]

    def read(self):
        return [v.numpy() for v in self.variables()]

    def load(self, values):
        for variable, value in zip(self.variables(), values, strict=True):
            variable.assign(value)

    def run(self):
        for gradients in self.gradients():
            self.step(gradients)
        return self.read()


@pytest.mark.parametrize("case, sparse", LAYOUTS)
@pytest.mark.parametrize("function", [False, True], ids=["eager", "function"])
def test_variables_and_states_are_stocks_bit_for_bit(case, sparse, function, settings):  # noqa: F811
    settings.setenv("ADAMPATCH_EVERY", "5")
    stock, ours = (Training(optimizer_class(case, text), sparse, function) for text in ("before", "after"))
    assert len(stock.read()) > 4
    left, right = stock.run(), ours.run()
    if sparse and function:  # Grappler may move a sparse state by two units when others read it
        for a, b in zip(left, right, strict=True):
            np.testing.assert_array_max_ulp(a, b, 2 * STEPS)
    else:
        assert same(left, right)


def array(part):
    """A part of a step in float64; the values of slices, 0 for what is not there."""
    return np.float64(0.0 if part is None else getattr(part, "values", part))


@pytest.mark.parametrize("case, sparse", LAYOUTS)
def test_the_emitted_rate_is_the_one_applied(case, sparse, settings):  # noqa: F811
    from adampatch import effective_rates

    settings.setenv("ADAMPATCH_EMIT", "tensor")
    seen = []
    ours = Training(optimizer_class(case, "after", spy=lambda *parts: seen.append(parts)), sparse)
    judged = 0
    for gradients in ours.gradients():
        before = ours.read()
        seen.clear()
        ours.step(gradients)
        after, emitted = ours.read(), effective_rates(ours.opt)
        assert set(emitted) == set(SHAPES)
        touched = [np.isfinite(rate) for rate in emitted.values()]
        assert all(t.all() for t in touched) or (sparse and case in LAZY)
        assert all((rate[t] >= 0).all() for rate, t in zip(emitted.values(), touched, strict=True))
        steps = [
            [np.float64(0.0 if part is None else getattr(part, "values", part)) for part in parts]
            for parts in seen
        ]
        for rate, direction, decay, update in steps:
            scale = np.abs(rate * direction).max() + np.abs(decay).max()
            np.testing.assert_allclose(rate * direction + decay, update, rtol=1e-4, atol=1e-5 * scale)
        if (case, sparse) in FUSED:
            continue
        rows = np.unique(ROWS) if sparse and case in LAZY else slice(None)
        assert len(steps) == (1 if sparse and case in {"v2_lazy_rows", "v2_base_by_version"} else 2) - (
            1
            if sparse and case in {"v2_fused_adamax", "v2_fused_gen_training_ops", "v2_lr_multipliers"}
            else 0
        )
        for i, (rate, _, _, update) in enumerate(steps):
            at = rows if i == 0 else slice(None)
            got = np.float64(emitted[list(SHAPES)[i]])[at]
            np.testing.assert_allclose(np.broadcast_to(rate, got.shape), got, rtol=1e-5)
            judged += got.size
            if case not in MOVED_BESIDE:
                moved = (np.float64(before[i]) - after[i])[at]
                sign = np.sign(np.sum(moved * update)) or 1.0
                coarse = np.abs(before[i][at]) * 2.0**-22 + 1e-9
                assert (np.abs(sign * moved - update) <= 1e-4 * np.abs(update) + coarse).all()
    assert judged > 100 or (case, sparse) in FUSED


@pytest.mark.parametrize("case, sparse", LAYOUTS)
@pytest.mark.parametrize("function", [False, True], ids=["eager", "function"])
def test_a_binding_ceiling_binds_and_moves_nothing_else(case, sparse, function, settings):  # noqa: F811
    from adampatch import effective_rates

    settings.setenv("ADAMPATCH_EMIT", "tensor")
    free = Training(optimizer_class(case, "after"), sparse)
    seen = []
    for gradients in free.gradients():
        free.step(gradients)
        seen += [rate[np.isfinite(rate)] for rate in effective_rates(free.opt).values()]
    high = float(np.median(np.concatenate(seen)))
    stock = Training(optimizer_class(case, "before"), sparse, function)
    free = Training(optimizer_class(case, "after"), sparse, function)
    ours = Training(optimizer_class(case, "after", rules(high)), sparse, function)
    clamped = 0
    for gradients in ours.gradients():
        before = ours.read()
        for other in (stock, free):
            other.load(before)
            other.step(gradients)
        ours.step(gradients)
        raw, bounded = effective_rates(free.opt), effective_rates(ours.opt)
        after, theirs = ours.read(), stock.read()
        for a, b in zip(after[len(ours.w) :], theirs[len(ours.w) :], strict=True):
            np.testing.assert_array_max_ulp(a, b, 2 if sparse and function else 0)
        for i, name in enumerate(SHAPES):
            hit = raw[name] > np.float32(high)
            assert (bounded[name][np.isfinite(bounded[name])] <= np.float32(high)).all()
            np.testing.assert_array_max_ulp(after[i][~hit], theirs[i][~hit], 2 if sparse and function else 0)
            clamped += hit.sum()
    assert clamped > 20


@pytest.mark.parametrize("case", REFUSED)
def test_refused_classes_train_as_before(case):
    stock, ours = (Training(optimizer_class(case, text)) for text in ("before", "after"))
    assert same(stock.run(), ours.run())
