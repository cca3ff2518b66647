"""Keras 3 optimizers, patched: same bits without a binding rule, bounded rates with one, in every mode."""

import numpy as np
import pytest
from bits import same, wrapping

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

NAMES = ["Adam", "AdamW", "Nadam", "Adamax", "AMSGrad"]
SHAPES = [(9, 4), (5,)]


def make(name, wrap=lambda cls: cls):
    if name == "AMSGrad":
        return wrap(keras.optimizers.Adam)(0.01, amsgrad=True)
    if name == "AdamW":
        return wrap(keras.optimizers.AdamW)(0.01, weight_decay=0.1)
    return wrap(getattr(keras.optimizers, name))(0.01)


def gradients(steps, dtype, sparse, seed=0):
    rng = np.random.RandomState(seed)
    for _ in range(steps):
        first = rng.randn(*SHAPES[0]).astype(dtype)
        if sparse:
            rows = rng.randint(0, 9, 6)
            rows[2] = rows[0]
            first = tf.IndexedSlices(tf.constant(first[:6]), tf.constant(rows), tf.constant(SHAPES[0]))
        yield [first if sparse else tf.constant(first), tf.constant(rng.randn(5).astype(dtype))]


class Training:
    """Two variables and an optimizer, stepped in `mode`."""

    def __init__(self, opt, mode="eager", dtype="float32"):
        rng = np.random.RandomState(3)
        self.opt, self.dtype = opt, dtype
        self.w = [
            keras.Variable(rng.randn(*shape).astype(dtype), dtype=dtype, name=name)
            for shape, name in zip(SHAPES, ("kernel", "bias"), strict=True)
        ]
        opt.build(self.w)

        def apply(grads):
            opt.apply(grads, self.w)

        self.apply = apply if mode == "eager" else tf.function(apply, jit_compile=mode == "jit")
        self.state = self.w + [v for v in opt.variables if v.name != "learning_rate"]

    def read(self):
        return [v.numpy() for v in self.state]

    def load(self, values):
        for variable, value in zip(self.state, values, strict=True):
            variable.assign(value)

    def run(self, steps, sparse=False):
        for grads in gradients(steps, self.dtype, sparse):
            self.apply(grads)
        return self.read()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["eager", "function", "jit"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sparse", [False, True])
def test_without_a_rule_variables_and_slots_are_stocks(name, mode, dtype, sparse):
    stock = Training(make(name), mode, dtype).run(50, sparse)
    assert same(stock, Training(make(name, wrapping(every=7)), mode, dtype).run(50, sparse))


@pytest.mark.parametrize("mode", ["eager", "function", "jit"])
@pytest.mark.parametrize("name", ["Adam", "AdamW", "Nadam", "Adamax"])
def test_a_binding_rule_bounds_the_rate_and_nothing_else(name, mode, rules):
    from adampatch import effective_rates, snapshot

    low, high = {"Adamax": (0.004, 0.006)}.get(name, (0.009, 0.011))
    stock = Training(make(name), mode)
    ours = Training(make(name, wrapping(rules(high=high, low=low), emit="tensor")), mode)
    for_rate = Training(make(name, wrapping(emit="tensor")), mode)
    clamped_ever = free_ever = 0
    for grads in gradients(30, "float32", False):
        before = ours.read()
        for other in (stock, for_rate):
            other.load(before)
            other.apply(grads)
        ours.apply(grads)
        after, theirs = ours.read(), stock.read()
        assert same(after[2:], theirs[2:])
        raw, applied = effective_rates(for_rate.opt), effective_rates(ours.opt)
        for i, variable in enumerate(ours.w):
            rate = applied[variable.path]
            hit = (raw[variable.path] > np.float32(high)) | (raw[variable.path] < np.float32(low))
            assert rate.dtype == np.float32 and rate.shape == variable.shape
            assert (rate <= np.float32(high)).all() and (rate >= np.float32(low)).all()
            assert np.array_equal(rate, np.clip(raw[variable.path], np.float32(low), np.float32(high)))
            assert np.array_equal(after[i][~hit], theirs[i][~hit])
            # The step of a clamped element is stock's, scaled by the ratio of the rates.
            decay = 0.1 * 0.01 if name == "AdamW" else 0.0
            start = np.float64(before[i]) * (1 - decay)
            direction = (start - theirs[i]) / raw[variable.path]
            wanted = start - np.float64(rate) * direction
            assert np.allclose(after[i][hit], wanted[hit], rtol=3e-6, atol=3e-7)
            clamped_ever += hit.sum()
            free_ever += (~hit).sum()
        shot = snapshot(ours.opt)["variables"]["kernel"]
        assert shot["clamped_frac"] == pytest.approx(
            np.mean((raw["kernel"] > np.float32(high)) | (raw["kernel"] < np.float32(low)))
        )
        assert shot["rate_max"] == applied["kernel"].max()
    assert clamped_ever > 50 and free_ever > 50


@pytest.mark.parametrize("mode", ["eager", "function", "jit"])
def test_clamped_elements_match_a_float64_reference_from_the_state(mode, rules):
    high = 0.011
    ours = Training(make("Adam", wrapping(rules(high=high))), mode)
    unit = 2.0**-24
    for t, grads in enumerate(gradients(30, "float32", False), 1):
        before = ours.read()
        ours.apply(grads)
        after = ours.read()
        lr, b1, b2 = (np.float64(np.float32(x)) for x in (0.01, 0.9, 0.999))
        alpha = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
        for i in (0, 1):
            m, v = np.float64(after[3 + 2 * i]), np.float64(after[4 + 2 * i])
            rate = alpha / (np.sqrt(v) + np.float64(np.float32(1e-7)))
            hit = rate > high * 1.001  # well inside the clamped side; alpha is rounded in float32
            reference = before[i] - np.float64(np.float32(high)) * m
            bound = unit * np.abs(after[i]) + 5 * unit * high * np.abs(m)
            assert (np.abs(after[i] - reference) <= bound)[hit].all()


def nadam_direction(t, u_product, m, gradient):
    """Nadam's mix of moment and gradient after update t, as Keras writes it; float64."""
    b1, decay = float(np.float32(0.9)), float(np.float32(0.96))
    u_t, u_next = (b1 * (1 - 0.5 * decay**k) for k in (t, t + 1))
    return u_next * m / (1 - u_product * u_next) + (1 - u_t) * gradient / (1 - u_product)


@pytest.mark.parametrize("mode", ["eager", "function", "jit"])
@pytest.mark.parametrize("name", ["Adam", "AdamW", "Adamax", "AMSGrad"])
def test_clamped_elements_are_within_the_derived_bound(name, mode, rules):
    """u|w'| + 7u R|m| of `w - R m` in float64, R the ceiling; AdamW's decay rounds three times more."""
    from adampatch import effective_rates

    high, unit, clamped = (0.006 if name == "Adamax" else 0.011), 2.0**-24, 0
    ours = Training(make(name, wrapping(rules(high=high), emit="tensor")), mode)
    decay = float(np.float32(0.1)) * float(np.float32(0.01)) if name == "AdamW" else 0.0
    for grads in gradients(30, "float32", False):
        before = ours.read()
        ours.apply(grads)
        after = ours.read()
        rates = effective_rates(ours.opt)
        for i, variable in enumerate(ours.w):
            moments = [s for s in ours.state[2:] if s.path.endswith(f"{variable.name}_momentum")]
            (m,) = (np.float64(s.numpy()) for s in moments)
            rate = np.float64(rates[variable.path])
            hit = rate == np.float64(np.float32(high))
            start = np.float64(before[i])
            reference = start - decay * start - rate * m
            bound = unit * np.abs(after[i]) + 7 * unit * rate * np.abs(m)
            if decay:
                bound += unit * np.abs(start) + 3 * unit * decay * np.abs(start)
            assert (np.abs(after[i] - reference) <= bound)[hit].all()
            clamped += hit.sum()
    assert clamped > 50


@pytest.mark.parametrize("name", NAMES)
def test_the_emitted_rate_is_the_one_applied(name):
    from adampatch import effective_rates

    ours = Training(make(name, wrapping(emit="tensor")), "function", "float64")
    for t, grads in enumerate(gradients(10, "float64", False), 1):
        before = ours.read()
        ours.apply(grads)
        after = ours.read()
        direction = after[3]
        if name == "Nadam":
            direction = nadam_direction(t, ours.opt._u_product.numpy(), after[3], grads[0].numpy())
        rate = effective_rates(ours.opt)["kernel"]
        decay = float(np.float32(0.1)) * float(np.float32(0.01)) * before[0] if name == "AdamW" else 0.0
        assert np.allclose((before[0] - decay - after[0]) / direction, rate, rtol=1e-6)


def test_snapshot_and_rates_before_the_first_step_name_the_setting():
    from adampatch import NotYetAvailable, effective_rates, snapshot

    ours = Training(make("Adam", wrapping(every=2)))
    with pytest.raises(NotYetAvailable, match=r'emit="stats"'):
        snapshot(ours.opt)
    with pytest.raises(NotYetAvailable, match="ADAMPATCH_EMIT=tensor"):
        effective_rates(ours.opt)
    ours.run(1)
    assert snapshot(ours.opt)["step"] == 1
    with pytest.raises(NotYetAvailable, match='emit is "stats"'):
        effective_rates(ours.opt)
    off = Training(make("Adam", wrapping(emit="off")))
    off.run(2)
    with pytest.raises(NotYetAvailable, match='emit is "off"'):
        snapshot(off.opt)
    assert issubclass(NotYetAvailable, RuntimeError)


@pytest.mark.parametrize("mode", ["eager", "function", "jit"])
def test_samples_come_at_update_one_and_then_every_n(mode):
    from adampatch import snapshot

    ours = Training(make("Adam", wrapping(every=3)), mode)
    seen = []
    for grads in gradients(8, "float32", False):
        ours.apply(grads)
        seen.append(snapshot(ours.opt)["step"])
    assert seen == [1, 1, 1, 4, 4, 4, 7, 7]
    shot = snapshot(ours.opt)
    assert shot["lr"] == pytest.approx(0.01) and isinstance(shot["lr"], float)
    t = 7
    assert shot["alpha"] == pytest.approx(0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t), rel=1e-4)
    kernel = shot["variables"]["kernel"]
    assert kernel["elements"] == 36 and kernel["nonfinite"] == 0 and kernel["active_frac"] == 1.0


def test_active_form_leaves_out_elements_that_never_had_a_gradient():
    from adampatch import snapshot

    ours = Training(make("Adam", wrapping(every=1)))
    grads = [np.ones(SHAPES[0], np.float32), np.ones(SHAPES[1], np.float32)]
    grads[0][:3] = 0
    ours.apply([tf.constant(g) for g in grads])
    kernel = snapshot(ours.opt)["variables"]["kernel"]
    assert kernel["rate_max"] > 1e3 > 1 > kernel["rate_max_active"]
    assert kernel["active_frac"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("mode", ["eager", "function", "jit"])
def test_nan_stays_nan_and_infinity_is_bounded(mode, rules):
    from adampatch import effective_rates, snapshot

    ours = Training(make("Adam", wrapping(rules(high=1.0, low=0.001), emit="tensor")), mode)
    grads = next(gradients(1, "float32", False))
    grads[0] = tf.constant(np.where(np.arange(36).reshape(9, 4) == 5, np.nan, grads[0].numpy()).astype("f"))
    ours.apply(grads)
    rate = effective_rates(ours.opt)["kernel"]
    assert np.isnan(rate[1, 1]) and np.isnan(rate).sum() == 1
    assert np.isnan(ours.w[0].numpy()[1, 1])
    assert snapshot(ours.opt)["variables"]["kernel"]["nonfinite"] == 1


def test_two_optimizers_of_one_class_have_their_own_rules(rules):
    from adampatch import effective_rates
    from adampatch.runtime import bind

    binding = bind()
    cls = binding.patched(keras.optimizers.Adam)
    first = binding.patched(cls(0.01), rules=rules(high=0.005), emit="tensor")
    second = binding.patched(cls(0.01), rules=rules(high=0.5), emit="tensor")
    assert type(first) is type(second) is cls
    one, two = Training(first), Training(second)
    one.run(3), two.run(3)
    assert effective_rates(first)["kernel"].max() == np.float32(0.005)
    assert effective_rates(second)["kernel"].max() > 0.005


def test_a_rule_reaches_only_what_it_matches(rules):
    from adampatch import effective_rates

    ours = Training(make("Adam", wrapping(rules(high=1e-4, match=["*ias"]), emit="tensor")))
    ours.run(2)
    rates = effective_rates(ours.opt)
    assert (rates["bias"] <= np.float32(1e-4)).all() and rates["kernel"].max() > 1e-3


def test_a_pattern_without_a_variable_stops_before_the_first_update(rules):
    opt = make("AdamW", wrapping(rules(high=1.0, match=["kernel", "kernal/**"])))
    w = [keras.Variable(np.ones(3, "f"), name=name) for name in ("kernel", "bias")]
    with pytest.raises(
        ValueError, match=r"pattern 'kernal/\*\*' matches no variable of AdamW; .* kernel, bias"
    ):
        opt.apply([tf.ones(3), tf.ones(3)], w)
    assert all((v.numpy() == 1).all() for v in w)


def test_variables_of_one_path_are_numbered():
    from adampatch import effective_rates
    from adampatch.runtime import bind

    opt = bind().patched(keras.optimizers.Adam(0.1), emit="tensor")
    twins = [keras.Variable(np.ones(3, "f"), name="w"), keras.Variable(np.ones(2, "f"), name="w")]
    opt.apply([tf.ones(3), tf.ones(2)], twins)
    assert {k: r.shape for k, r in effective_rates(opt).items()} == {"w": (3,), "w#2": (2,)}


@pytest.mark.parametrize("accumulate", [None, 3])
@pytest.mark.parametrize("jit", [False, True])
def test_fit_inside_conds_is_stocks(accumulate, jit, monkeypatch):
    """Gradient accumulation and loss scaling run the update inside a cond branch."""
    from adampatch import NotYetAvailable, snapshot
    from adampatch.runtime import bind, records

    rng = np.random.RandomState(0)
    x, y = rng.randn(64, 6).astype("f"), rng.randn(64, 1).astype("f")
    ends = []
    compiled_branch = jit and accumulate is not None
    monkeypatch.setattr(records, "_WARNED", {("branch", "Adam")})
    for wrap in (lambda cls: cls, bind().patched):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
        model.build((None, 6))
        opt = wrap(keras.optimizers.Adam)(0.01, gradient_accumulation_steps=accumulate)
        if accumulate is None and not jit:
            opt = keras.optimizers.LossScaleOptimizer(opt, initial_scale=4.0, dynamic_growth_steps=2)
        model.compile(opt, "mse", jit_compile=jit)
        model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
        ends.append(model.get_weights() + [v.numpy() for v in opt.variables])
    assert same(*ends)
    if compiled_branch:  # not sampled there: it would move stock's rounding
        with pytest.raises(NotYetAvailable):
            snapshot(opt)
        return
    shot = snapshot(opt)
    assert shot["step"] == 1 and len(shot["variables"]) == 4
    assert all("/" in path for path in shot["variables"])


def test_the_environment_wins(monkeypatch, tmp_path, rules):
    import json

    from adampatch import effective_rates

    path = tmp_path / "rules.json"
    path.write_text(json.dumps(rules(high=0.002)))
    monkeypatch.setenv("ADAMPATCH_RULES", str(path))
    monkeypatch.setenv("ADAMPATCH_EMIT", "tensor")
    ours = Training(make("Adam", wrapping(rules(high=0.5), emit="off")))
    ours.run(1)
    assert effective_rates(ours.opt)["kernel"].max() == np.float32(0.002)


def test_observation_that_fails_warns_once_and_trains_on(monkeypatch):
    from adampatch.runtime import records, sampling

    monkeypatch.setattr(records, "_WARNED", set())

    def broken(*_):
        raise RuntimeError("no")

    stock = Training(make("Adam"), "function")
    ours = Training(make("Adam", wrapping(every=1)), "function")
    monkeypatch.setattr(sampling, "_take", broken)
    with pytest.warns(RuntimeWarning, match="training goes on unobserved") as caught:
        end = ours.run(5)
    assert len(caught) == 1 and same(stock.run(5), end)


def test_nothing_is_kept_of_optimizers_that_are_gone():
    import gc

    from adampatch.runtime import records

    ours = Training(make("Adam", wrapping()), "eager")
    ours.run(3)
    key = id(ours.opt)
    assert key in records._TABLE
    assert not any(slot[1] for r in records.find(ours.opt) for slot in r.pending.values())
    del ours
    gc.collect()
    assert key not in records._TABLE
