"""tf_keras, newer and legacy classes (K2 and V2), patched: stock's bits, bounded rates, rows."""

import numpy as np
import pytest
from bits import same, wrapping

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
tf_keras = pytest.importorskip("tf_keras")

NEW, LEGACY = tf_keras.optimizers, tf_keras.optimizers.legacy
CASES = {
    "new-Adam": (NEW.Adam, {}),
    "new-AMSGrad": (NEW.Adam, {"amsgrad": True}),
    "new-AdamW": (NEW.AdamW, {"weight_decay": 0.1}),
    "new-Nadam": (NEW.Nadam, {}),
    "new-Adamax": (NEW.Adamax, {}),
    "legacy-Adam": (LEGACY.Adam, {}),
    "legacy-AMSGrad": (LEGACY.Adam, {"amsgrad": True}),
    "legacy-Nadam": (LEGACY.Nadam, {}),
    "legacy-Adamax": (LEGACY.Adamax, {}),
}
#: sparse updates of these touch only the rows of the gradient
LAZY = {"legacy-Nadam", "legacy-Adamax"}
ROWS = [0, 2, 2, 5]


class Training:
    """Two variables and an optimizer; `mode` is eager, function or jit."""

    def __init__(self, case, wrap=lambda cls: cls, mode="eager", sparse=False):
        cls, options = CASES[case]
        rng = np.random.RandomState(3)
        self.w = [
            tf.Variable(rng.randn(*shape).astype("float32"), name=name)
            for shape, name in (((6, 3), "layer/kernel"), ((3,), "layer/bias"))
        ]
        self.opt, self.sparse = wrap(cls)(0.01, **options), sparse

        def apply(kernel, bias):
            if sparse:
                kernel = tf.IndexedSlices(kernel, tf.constant(ROWS), tf.constant([6, 3]))
            self.opt.apply_gradients([(kernel, self.w[0]), (bias, self.w[1])])

        self.apply = apply if mode == "eager" else tf.function(apply, jit_compile=mode == "jit")

    def state(self):
        own = self.opt.variables
        return [v.numpy() for v in [*self.w, *(own() if callable(own) else own)]]

    def load(self, values):
        own = self.opt.variables
        variables = [*self.w, *(own() if callable(own) else own)]
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def gradients(self, steps, seed=0):
        rng = np.random.RandomState(seed)
        for _ in range(steps):
            shape = (len(ROWS), 3) if self.sparse else (6, 3)
            yield [tf.constant(rng.randn(*s).astype("float32")) for s in (shape, (3,))]

    def run(self, steps):
        for grads in self.gradients(steps):
            self.apply(*grads)
        return self.state()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("mode", ["eager", "function", "jit"])
@pytest.mark.parametrize("case", CASES)
def test_without_a_rule_variables_and_slots_are_stocks(case, mode, sparse):
    if case == "legacy-AMSGrad" and mode == "jit":
        with pytest.raises(tf.errors.InvalidArgumentError, match="ResourceApplyAdamWithAmsgrad"):
            Training(case, mode=mode, sparse=sparse).run(1)  # stock's own kernel has no XLA form
        return
    stock = Training(case, mode=mode, sparse=sparse).run(50)
    assert same(stock, Training(case, wrapping(every=7), mode, sparse).run(50))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("mode", ["eager", "function"])
@pytest.mark.parametrize("case", CASES)
def test_a_binding_rule_bounds_the_rate_and_nothing_else(case, mode, sparse, rules):
    from adampatch import effective_rates, snapshot

    high = np.float32(0.006 if "Adamax" in case else 0.011)
    stock, free = (
        Training(case, mode=mode, sparse=sparse),
        Training(case, wrapping(emit="tensor"), mode, sparse),
    )
    ours = Training(case, wrapping(rules(high=float(high)), emit="tensor"), mode, sparse)
    for training in (stock, free, ours):
        training.apply(*next(training.gradients(1)))  # makes the slots
    bound = 0
    for grads in ours.gradients(20, seed=1):
        before = ours.state()
        for other in (stock, free):
            other.load(before)
            other.apply(*grads)
        ours.apply(*grads)
        assert same(ours.state()[2:], stock.state()[2:])
        for i, name in enumerate(("layer/kernel", "layer/bias")):
            raw, rate = effective_rates(free.opt)[name], effective_rates(ours.opt)[name]
            touched = np.isfinite(raw)
            if sparse and case in LAZY and i == 0:
                assert sorted(set(np.nonzero(touched.all(axis=1))[0])) == sorted(set(ROWS))
            else:
                assert touched.all()
            assert (rate[touched] <= high).all() and (raw[touched] >= 0).all()
            hit = touched & (raw > high)
            bound += hit.sum()
            after, theirs = ours.state()[i], stock.state()[i]
            assert after[~hit].tobytes() == theirs[~hit].tobytes()
            start = before[i] * (1 - 0.1 * 0.01) if case == "new-AdamW" else before[i]
            wanted = start + (theirs - start) * (rate / np.where(hit, raw, 1))
            np.testing.assert_allclose(after[hit], wanted[hit], rtol=1e-5, atol=1e-6)
    assert bound > 20
    shot = snapshot(ours.opt)["variables"]["layer/kernel"]
    assert 0 < shot["clamped_frac"] <= 1 and shot["nonfinite"] == 0


def test_a_name_is_looked_up_in_the_keras_that_is_given():
    import adampatch

    optimizer = adampatch.patched("adam", keras=tf_keras)
    assert isinstance(optimizer, NEW.Adam)
    model = tf_keras.Sequential([tf_keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    x = np.random.RandomState(0).randn(16, 3).astype("float32")
    model.fit(x, x[:, :1], epochs=2, verbose=0)
    assert adampatch.snapshot(model.optimizer)["step"] == 1  # every 100 updates, the first one
