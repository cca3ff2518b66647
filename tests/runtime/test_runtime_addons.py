"""Wrappers of TensorFlow Addons around its own and Keras's optimizers; for the generation that has them."""

import numpy as np
import pytest
from bits import same

pytestmark = [pytest.mark.tensorflow, pytest.mark.matrix]

tf = pytest.importorskip("tensorflow")
families = pytest.importorskip("families")


@pytest.fixture(scope="module")
def addons():
    return pytest.importorskip("tensorflow_addons").optimizers


LEGACY = families.LEGACY
INNER = {
    "Adam": lambda a: LEGACY.Adam(0.01),
    "LAMB": lambda a: a.LAMB(0.01),
    "RectifiedAdam": lambda a: a.RectifiedAdam(0.01),
    "AdaBelief": lambda a: a.AdaBelief(0.01),
    "AdamW": lambda a: a.AdamW(learning_rate=0.01, weight_decay=0.001),
}
AROUND = {
    "nothing": lambda a, opt: opt,
    "Lookahead": lambda a, opt: a.Lookahead(opt, sync_period=3),
    "MovingAverage": lambda a, opt: a.MovingAverage(opt),
    "SWA": lambda a, opt: a.SWA(opt, start_averaging=2, average_period=3),
    "Lookahead of MovingAverage": lambda a, opt: a.Lookahead(a.MovingAverage(opt)),
    "loss scale of Lookahead": lambda a, opt: families.tf_keras.mixed_precision.LossScaleOptimizer(
        a.Lookahead(opt)
    ),
}
CASES = [*[("Lookahead", name) for name in INNER], *[(around, "RectifiedAdam") for around in AROUND]]


def state(training):
    return [v.numpy() for v in [*training.w, *training.opt.weights]]


@pytest.mark.parametrize("mode", ["eager", "function", "jit"])
@pytest.mark.parametrize("around, name", dict.fromkeys(CASES))
def test_a_wrapper_is_opened_and_trains_as_stock(around, name, mode, addons):
    from adampatch import effective_rates, patched, snapshot

    stock = families.Training(AROUND[around](addons, INNER[name](addons)), mode)
    ours = families.Training(patched(AROUND[around](addons, INNER[name](addons)), emit="tensor"), mode)
    within = families.Training(AROUND[around](addons, patched(INNER[name](addons), emit="tensor")), mode)
    for training in (stock, ours, within):
        training.run(12)
    assert same(state(stock), state(ours)) and same(state(stock), state(within))
    for training in (ours, within):
        rates, shot = effective_rates(training.opt), snapshot(training.opt)
        assert sorted(rates) == sorted(shot["variables"]) == ["float32/kernel", "float32/table"]
        assert shot["lr"] == pytest.approx(0.01)
        # The inner of two Addons wrappers never hears of the outer one's steps, in stock either.
        assert shot["step"] == (1 if around == "Lookahead of MovingAverage" else 12)


def several(addons, wrap=lambda opt: opt):
    keras = families.tf_keras
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.layers.Dense(4, input_shape=(5,)), keras.layers.Dense(1)])
    pairs = [(LEGACY.Adam(0.01), model.layers[0]), (addons.RectifiedAdam(0.02), model.layers[1])]
    opt = wrap(addons.MultiOptimizer(pairs))
    model.compile(opt, "mse")
    x = np.random.RandomState(0).randn(32, 5).astype("f")
    model.fit(x, x[:, :1], batch_size=8, epochs=2, shuffle=False, verbose=0)
    return opt, model.get_weights()


def test_multi_optimizer_is_opened_and_bounded(addons, rules):
    from adampatch import effective_rates, patched, snapshot

    _, stock = several(addons)
    opt, ours = several(addons, lambda opt: patched(opt, every=1))
    assert same(stock, ours)
    shot = snapshot(opt)
    assert shot["step"] == 8 and shot["lr"] is None and len(shot["variables"]) == 4
    # a pattern for one of the two is no misspelling
    wrap = lambda opt: patched(opt, rules=rules(high=0.003, match=["dense*/kernel"]), emit="tensor")  # noqa: E731
    opt, _ = several(addons, wrap)
    for path, rate in effective_rates(opt).items():
        assert path.endswith("bias") or (rate <= np.float32(0.003)).all()


def test_a_wrapper_around_no_adam_says_so(addons):
    from adampatch import patched

    with pytest.raises(
        ValueError, match=r"neither .*Lookahead nor what it wraps \(.*SGD\) has an Adam-family"
    ):
        patched(addons.Lookahead(LEGACY.SGD(0.1)))
    with pytest.raises(
        ValueError, match=r"Lookahead has no Adam-family update.*patched\(Wrapper\(optimizer\)\)"
    ):
        patched(addons.Lookahead)
