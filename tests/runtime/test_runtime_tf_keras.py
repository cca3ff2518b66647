"""tf_keras, newer, legacy and TensorFlow's own (K2 and V2), patched: stock's bits, bounded rates, rows."""

import numpy as np
import pytest
from bits import same, wrapping

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
families = pytest.importorskip("families")

from families import CASES, LAZY, NEW, ROWS, internal, tf_keras  # noqa: E402

DTYPES = ("float32", "float64", "float16", "bfloat16")


def dtypes_of(name, mode):
    # TensorFlow has no ResourceApplyAdaMax for bfloat16, XLA has.
    lacks = name in ("legacy-Adamax", "Adamax") and mode != "jit"
    return DTYPES[:3] if lacks else DTYPES


def make(case, wrap=lambda cls: cls):
    cls, options = CASES[case] if case in CASES else internal(case)
    return wrap(cls)(0.01, **options)


class Training(families.Training):
    def __init__(self, case, wrap=lambda cls: cls, mode="eager", dtypes=("float32",)):
        super().__init__(make(case, wrap), mode, dtypes)


BITS = [
    *[(case, mode) for case in CASES for mode in ("eager", "function", "jit")],
    *[(case, "island") for case in CASES if case.startswith("new")],
    *[(case, "function") for case in ("Adam", "AMSGrad", "Nadam", "Adamax")],
]


def check_bits(case, mode, dtypes):
    from adampatch import snapshot

    ours = Training(case, wrapping(every=7), mode, dtypes)
    assert same(Training(case, mode=mode, dtypes=dtypes).run(50), ours.run(50))
    shot = snapshot(ours.opt)
    assert shot["step"] == 50 and len(shot["variables"]) == 2 * len(dtypes)


@pytest.mark.parametrize("case, mode", BITS)
def test_without_a_rule_variables_and_slots_are_stocks(case, mode):
    if case == "legacy-AMSGrad" and mode == "jit":
        with pytest.raises(tf.errors.InvalidArgumentError, match="ResourceApplyAdamWithAmsgrad"):
            Training(case, mode=mode).run(1)  # stock's own kernel has no XLA form
        return
    # Compiling is slow: there the other dtypes are for the matrix.
    dtypes = ("float32",) if mode in ("jit", "island") else dtypes_of(case, mode)
    if case == "new-Nadam":
        for dtype in dtypes:
            check_bits(case, mode, (dtype,))
    else:
        check_bits(case, mode, dtypes)


@pytest.mark.matrix
@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("case, mode", [(c, m) for c, m in BITS if m in ("jit", "island")])
def test_compiled_steps_of_other_dtypes_are_stocks(case, mode, dtype):
    if case != "legacy-AMSGrad":
        check_bits(case, mode, (dtype,))


def test_what_stock_does_not_train():
    """Why the tests above leave it out."""
    for case in ("legacy-Adamax", "Adamax"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="ResourceApplyAdaMax"):
            Training(case, dtypes=("bfloat16",)).run(1)
    with pytest.raises((TypeError, tf.errors.InvalidArgumentError)):  # its product has one dtype
        Training("new-Nadam", dtypes=("float32", "float64")).run(1)


HIGH = {"Adamax": 0.006}


def high_of(case):
    return np.float32(HIGH.get(case.split("-")[-1], 0.011))


@pytest.mark.parametrize("mode", ["eager", "function"])
@pytest.mark.parametrize("case", CASES)
def test_a_binding_rule_bounds_the_rate_and_nothing_else(case, mode, rules):
    from adampatch import effective_rates, snapshot

    high = high_of(case)
    stock, free = Training(case, mode=mode), Training(case, wrapping(emit="tensor"), mode)
    ours = Training(case, wrapping(rules(high=float(high)), emit="tensor"), mode)
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
        for i, name in enumerate(("float32/kernel", "float32/table")):
            raw, rate = effective_rates(free.opt)[name], effective_rates(ours.opt)[name]
            touched = np.isfinite(raw)
            if case in LAZY and i == 1:
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
    shot = snapshot(ours.opt)["variables"]["float32/kernel"]
    assert 0 < shot["clamped_frac"] <= 1 and shot["nonfinite"] == 0


def first_moment(opt, variable):
    if hasattr(opt, "get_slot"):
        return opt.get_slot(variable, "m").numpy()
    return (getattr(opt, "_momentums", None) or opt._m)[opt._index_dict[opt._var_key(variable)]].numpy()


MOMENTS = [c for c in CASES if "Nadam" not in c]
BOUNDED = [
    *[(case, mode, "float32") for case in MOMENTS for mode in ("eager", "function")],
    *[(case, "function", "float64") for case in MOMENTS],
    *[(case, "island", "float32") for case in MOMENTS if case.startswith("new")],
    *[
        ("new-Adam", "jit", "float64"),
        ("legacy-Adam", "jit", "float64"),
        ("legacy-AMSGrad", "jit", "float32"),
    ],
]


@pytest.mark.parametrize("case, mode, dtype", BOUNDED)
def test_clamped_elements_are_within_the_derived_bound(case, mode, dtype, rules):
    """u|w'| + 7u R|m| of `w - R m` in float64, R the ceiling; AdamW's decay rounds three times more."""
    from adampatch import effective_rates

    number = np.dtype(dtype).type
    high, unit, clamped = high_of(case), np.finfo(dtype).eps / 2, 0
    ours = Training(case, wrapping(rules(high=float(high)), emit="tensor"), mode, (dtype,))
    decay = float(np.float32(0.1)) * float(np.float32(0.01)) if case == "new-AdamW" else 0.0
    for grads in ours.gradients(20):
        before = [np.float64(v.numpy()) for v in ours.w]
        ours.apply(*grads)
        rates = effective_rates(ours.opt)
        for start, variable in zip(before, ours.w, strict=True):
            rate, m = rates[variable.name[:-2]], np.float64(first_moment(ours.opt, variable))
            assert rate.dtype == dtype and not (rate > number(high)).any()
            hit, after = rate == number(high), variable.numpy()
            reference = start - decay * start - np.float64(rate) * m
            bound = unit * np.abs(after) + 7 * unit * np.float64(rate) * np.abs(m)
            if decay:
                bound += unit * np.abs(start) + 3 * unit * decay * np.abs(start)
            assert (np.abs(after - reference) <= bound)[hit].all()
            clamped += hit.sum()
    assert clamped > 50


@pytest.mark.parametrize("case", ["legacy-Adam", "legacy-Nadam", "legacy-Adamax"])
def test_what_keeps_gradients_is_called_as_stock_is(case):
    """OptimizerV2 hands `apply_state` to methods whose signature has it; Nadam without it writes its
    product once for each variable instead of once."""
    cls = wrapping(every=1)(type(make(case)))
    tensors = [tf.Variable(np.ones(3, np.float32)), tf.Variable(np.ones(5, np.float32))]
    cls(0.01).apply_gradients([(tf.ones_like(x), x) for x in tensors])  # a sample keeps gradients
    opt = cls(0.01)
    assert "apply_state" in opt._dense_apply_args and "apply_state" in opt._sparse_apply_args
    with tf.Graph().as_default() as graph:
        variables = [tf.compat.v1.get_variable(name, (3,), use_resource=True) for name in "ab"]
        opt.apply_gradients([(tf.ones_like(x), x) for x in variables])
        writes = [
            op for op in graph.get_operations() if op.type == "AssignVariableOp" and "update_b" in op.name
        ]
        product = [op for op in writes if "momentum_cache" in op.inputs[0].op.name]
        assert not product


def test_a_name_is_looked_up_in_the_keras_that_is_given():
    import adampatch

    optimizer = adampatch.patched("adam", keras=tf_keras)
    assert isinstance(optimizer, NEW.Adam)
    model = tf_keras.Sequential([tf_keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    x = np.random.RandomState(0).randn(16, 3).astype("float32")
    model.fit(x, x[:, :1], epochs=2, verbose=0)
    assert adampatch.snapshot(model.optimizer)["step"] == 1  # every 100 updates, the first one
