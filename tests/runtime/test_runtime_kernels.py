"""Fused kernels taken apart, and the V1 optimizer in eager code and functions."""

import warnings

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
v1 = tf.compat.v1


class Owner:
    """Stands for an optimizer; kernels only need something to hang settings on."""

    def apply_gradients(self, update):
        return update()


CALLS = {
    "ResourceApplyAdam": (2, {"use_nesterov": False}),
    "ResourceApplyAdam nesterov": (2, {"use_nesterov": True}),
    "ResourceApplyAdamWithAmsgrad": (3, {}),
    "ResourceApplyAdaMax": (2, {}),
}


def kernel_run(which, dtype, wrap, steps=30):
    count, extra = CALLS[which]
    stock = getattr(tf.raw_ops, which.split()[0])
    rng = np.random.RandomState(1)
    variables = [tf.Variable(rng.randn(6, 5), dtype=dtype)]
    variables += [tf.Variable(np.zeros((6, 5)), dtype=dtype) for _ in range(count)]
    for t in range(1, steps + 1):
        scalars = {"beta1_power": 0.9**t, "lr": 0.02, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-6}
        if "AdaMax" not in which:
            scalars["beta2_power"] = 0.99**t
        scalars = {name: tf.constant(value, dtype) for name, value in scalars.items()}
        handles = dict(zip(("var", "m", "v", "vhat"), (v.handle for v in variables), strict=False))
        wrap(variables[0], stock)(grad=tf.constant(rng.randn(6, 5), dtype), **handles, **scalars, **extra)
    return [v.numpy() for v in variables]


@pytest.mark.parametrize("which", CALLS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_a_rule_that_never_binds_is_bit_for_bit_the_kernel(which, dtype, rules):
    from adampatch.runtime import bind

    if dtype == "bfloat16" and "AdaMax" in which:
        pytest.skip("TensorFlow has no such kernel")
    owner, binding = Owner(), bind(rules(high=6e4))
    theirs = kernel_run(which, dtype, lambda variable, stock: stock)
    ours = kernel_run(which, dtype, lambda variable, stock: binding.fused(owner, variable, stock))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(theirs, ours, strict=True))


@pytest.mark.parametrize("which", CALLS)
def test_without_a_rule_the_kernel_itself_runs(which):
    from adampatch import snapshot
    from adampatch.runtime import bind

    binding = bind()

    @binding.observed
    class Observed(Owner):
        pass

    owner = Observed()

    def wrap(variable, stock):
        call = binding.fused(owner, variable, stock)
        return lambda **kwargs: owner.apply_gradients(lambda: call(**kwargs))

    theirs = kernel_run(which, "float32", lambda variable, stock: stock)
    ours = kernel_run(which, "float32", wrap)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(theirs, ours, strict=True))
    assert snapshot(owner)["step"] == 1
    assert binding.derive({"emit": "off"}).fused(Owner(), tf.Variable(1.0), len) is len


def test_an_unknown_kernel_warns_once_and_stays(monkeypatch, rules):
    from adampatch.runtime import bind, records

    monkeypatch.setattr(records, "_WARNED", set())
    binding = bind(rules(high=1.0))
    with pytest.warns(RuntimeWarning, match="resource_apply_ftrl is no kernel this adampatch knows"):
        assert (
            binding.fused(Owner(), tf.Variable(1.0), tf.raw_ops.ResourceApplyFtrl)
            is tf.raw_ops.ResourceApplyFtrl
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        binding.fused(Owner(), tf.Variable(1.0), tf.raw_ops.ResourceApplyFtrl)


def gradients(steps, dtype, sparse):
    rng = np.random.RandomState(4)
    for _ in range(steps):
        full = rng.randn(8, 3).astype(dtype)
        rows = rng.randint(0, 8, 5)
        rows[1] = rows[0]
        if sparse:
            yield tf.IndexedSlices(tf.constant(full[:5]), tf.constant(rows), tf.constant([8, 3]))
        else:
            yield tf.constant(full)


def train(cls, mode, dtype, sparse, steps=50):
    w = tf.Variable(np.random.RandomState(0).randn(8, 3), dtype=dtype, name="w")
    opt = cls(0.01)

    def apply(grad):
        opt.apply_gradients([(grad, w)])

    run = apply if mode == "eager" else tf.function(apply, jit_compile=mode == "jit")
    for grad in gradients(steps, dtype, sparse):
        run(grad)
    return opt, [
        v.numpy() for v in (w, opt.get_slot(w, "m"), opt.get_slot(w, "v"), *opt._get_beta_accumulators())
    ]


@pytest.mark.parametrize("mode", ["eager", "function", "jit"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sparse", [False, True])
def test_v1_adam_outside_of_v1_graphs(mode, dtype, sparse, rules):
    from adampatch import effective_rates, snapshot
    from adampatch.runtime import bind

    _, stock = train(v1.train.AdamOptimizer, mode, dtype, sparse)
    opt, ours = train(bind().patched(v1.train.AdamOptimizer, every=20), mode, dtype, sparse)
    if sparse and mode == "function":
        assert all(np.allclose(a, b, rtol=2e-6, atol=1e-7) for a, b in zip(stock, ours, strict=True))
    else:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(stock, ours, strict=True))
    assert snapshot(opt)["step"] == 41 and snapshot(opt)["lr"] == pytest.approx(0.01)
    opt, _ = train(
        bind(rules(high=0.011)).patched(v1.train.AdamOptimizer, emit="tensor"), mode, dtype, sparse
    )
    assert effective_rates(opt)["w"].max() == np.dtype(dtype).type(0.011)
    assert effective_rates(opt)["w"].dtype == dtype


def test_frozen_thunks_do_not_follow_their_names():
    from adampatch.runtime.sampling import freeze

    thunks = []
    for i in range(3):
        thunks.append(freeze(lambda: i))  # noqa: B023
    assert [thunk() for thunk in thunks] == [0, 1, 2]
    assert freeze(None) is None and freeze(len) is len


def test_step_returns_the_same_object_where_no_rule_applies():
    from adampatch.runtime import bind

    update = tf.ones(3)
    same = bind().step(Owner(), tf.Variable(tf.ones(3)), update, lambda: 1 / 0, lambda: 1 / 0)
    assert same is update


def test_decay_is_added_to_bounded_elements(rules):
    from adampatch.runtime import bind

    rate = tf.constant([1.0, 5.0])
    out = bind(rules(high=2.0)).step(
        Owner(),
        tf.Variable(tf.ones(2)),
        rate * 3.0 + 0.5,
        rate=lambda: rate,
        direction=lambda: tf.constant([3.0, 3.0]),
        decay=lambda: 0.5,
    )
    assert out.numpy().tolist() == [3.5, 6.5]
