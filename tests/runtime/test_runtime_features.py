"""What Keras does around an update: clipping, averages, accumulation, loss scales, schedules, callbacks.

Without a binding rule, variables and every slot are stock's, through fit and in loops of one's own.
"""

import warnings

import numpy as np
import pytest
from bits import same

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
families = pytest.importorskip("families")

from families import LEGACY, NEW, tf_keras, variables_of  # noqa: E402

K3 = keras.optimizers
HOME = {"K3": (keras, K3), "K2": (tf_keras, NEW), "V2": (tf_keras, LEGACY)}


def loss_scale(family):
    home = HOME[family][0]
    return K3.LossScaleOptimizer if family == "K3" else home.mixed_precision.LossScaleOptimizer


def data():
    rng = np.random.RandomState(0)
    return rng.randn(48, 6).astype("f"), rng.randn(48, 1).astype("f")


def model_of(home, policy=None, frozen=False):
    home.utils.set_random_seed(1)
    layers = home.layers
    first = layers.Dense(8, activation="relu", dtype=policy or "float32")
    middle = layers.Dense(8, activation="relu", trainable=not frozen)
    model = home.Sequential([first, middle, layers.Dense(1, dtype="float32")])
    model.build((None, 6))
    return model


def fitted(family, opt, jit=False, several=1, policy=None, callbacks=(), frozen=False):
    model = model_of(HOME[family][0], policy, frozen)
    model.compile(opt, "mse", jit_compile=jit, steps_per_execution=several)
    x, y = data()
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=list(callbacks))
    return [*model.get_weights(), *(v.numpy() for v in variables_of(opt))]


def averaged(**more):
    return {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 2, **more}


#: family, optimizer, its options, and how it is fitted
ROWS = [
    ("K3", "Adam", {"gradient_accumulation_steps": 3, "global_clipnorm": 0.1}, {}),
    ("K3", "Adam", averaged(clipnorm=0.1, weight_decay=0.1, amsgrad=True), {"several": 3}),
    ("K3", "AdamW", averaged(clipvalue=0.01, loss_scale_factor=16.0), {"jit": True}),
    ("K3", "Nadam", averaged(gradient_accumulation_steps=2), {"jit": True, "several": 3}),
    ("K3", "Nadam", {"global_clipnorm": 0.1, "loss_scale_factor": 16.0}, {"frozen": True}),
    ("K3", "Adamax", {"clipnorm": 0.1, "weight_decay": 0.1}, {"jit": True, "several": 3}),
    ("K3", "AdamW", {}, {"scaled": True, "policy": "mixed_float16", "several": 3}),
    ("K3", "Adam", {"clipnorm": 0.1}, {"scaled": True, "jit": True}),
    ("K2", "Adam", averaged(clipnorm=0.1), {}),
    ("K2", "AdamW", averaged(clipvalue=0.01), {"jit": True, "several": 3}),
    ("K2", "Nadam", {"global_clipnorm": 0.1, "weight_decay": 0.1}, {"several": 3, "frozen": True}),
    ("K2", "Adamax", averaged(jit_compile=True), {"island": True}),
    ("K2", "AdamW", {}, {"scaled": True, "policy": "mixed_float16", "several": 3}),
    ("K2", "Nadam", {"clipnorm": 0.1}, {"scaled": True, "jit": True}),
    ("V2", "Adam", {"clipnorm": 0.1, "decay": 0.1}, {"several": 3}),
    ("V2", "Adam", {"global_clipnorm": 0.1, "amsgrad": True}, {"frozen": True}),
    ("V2", "Nadam", {"clipvalue": 0.01}, {"jit": True, "several": 3}),
    ("V2", "Adamax", {"decay": 0.1}, {"jit": True}),
    ("V2", "Adam", {}, {"scaled": True, "policy": "mixed_float16", "several": 3}),
    ("V2", "Adamax", {"clipnorm": 0.1}, {"scaled": True, "jit": True}),
]


def in_a_compiled_branch(family, options, how):
    branch = options.get("gradient_accumulation_steps") or how.get("scaled")
    return bool(how.get("jit") and branch)


@pytest.mark.parametrize("family, name, options, how", ROWS)
def test_fit_with_a_feature_is_stocks(family, name, options, how):
    from adampatch import NotYetAvailable, patched, snapshot

    how = dict(how)
    scaled, island = how.pop("scaled", False), how.pop("island", False)
    ends = []
    for wrap in (lambda opt: opt, lambda opt: patched(opt, every=2)):
        opt = getattr(HOME[family][1], name)(0.01, **options)
        if island:
            opt.jit_compile = True
        opt = wrap(loss_scale(family)(opt) if scaled else opt)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*under jit_compile.*")
            ends.append(fitted(family, opt, **how))
    assert same(*ends)
    if in_a_compiled_branch(family, options, dict(how, scaled=scaled)):
        with pytest.raises(NotYetAvailable, match="under jit_compile is not sampled"):
            snapshot(opt)
        return
    shot = snapshot(opt)
    assert len(shot["variables"]) == (4 if how.get("frozen") else 6)
    decayed = 0.01 / (1 + options.get("decay", 0.0) * (shot["step"] - 1))
    assert shot["step"] >= 1 and shot["lr"] == pytest.approx(decayed)


@pytest.mark.parametrize("family", ["K3", "K2"])
def test_variables_without_decay_stay_without_it(family):
    from adampatch import patched

    home, ends = HOME[family][0], []
    for wrap in (lambda opt: opt, patched):
        opt = wrap(HOME[family][1].AdamW(0.01, weight_decay=0.5))
        model = model_of(home)
        opt.exclude_from_weight_decay(var_list=[model.trainable_variables[0]], var_names=["bias"])
        model.compile(opt, "mse", jit_compile=False)
        x, y = data()
        model.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
        ends.append([*model.get_weights(), *(v.numpy() for v in variables_of(opt))])
    assert same(*ends)


# -- learning rates ---------------------------------------------------------------------------


def own_schedule(home):
    class Halving(home.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.01 * 0.5 ** tf.cast(step, tf.float32)

        def get_config(self):
            return {}

    return Halving()


def schedules_of(home):
    s = home.optimizers.schedules
    return {
        "a number": 0.01,
        "exponential": s.ExponentialDecay(0.01, 3, 0.5),
        "staircase": s.ExponentialDecay(0.01, 3, 0.5, staircase=True),
        "piecewise": s.PiecewiseConstantDecay([2, 5], [0.01, 0.005, 0.001]),
        "polynomial": s.PolynomialDecay(0.01, 6, power=2.0, cycle=True),
        "inverse time": s.InverseTimeDecay(0.01, 2, 0.5),
        "cosine with warm-up": s.CosineDecay(0.0, 6, warmup_target=0.01, warmup_steps=3),
        "cosine restarts": s.CosineDecayRestarts(0.01, 3),
        "one's own": own_schedule(home),
        "a callable": lambda: 0.01,
        "a variable": tf.Variable(0.01),
    }


# Keras 3 takes no tf.Variable as a learning rate.
SCHEDULES = [
    (family, which)
    for family in HOME
    for which in schedules_of(HOME[family][0])
    if (family, which) != ("K3", "a variable")
]


@pytest.mark.parametrize("family, which", SCHEDULES)
def test_every_kind_of_learning_rate_is_stocks_and_shown(family, which):
    from adampatch import patched, snapshot

    home, optimizers = HOME[family]
    ends, seen = [], []
    for wrap in (lambda opt: opt, lambda opt: patched(opt, every=1)):
        opt = wrap(optimizers.Adam(schedules_of(home)[which]))
        ours = isinstance(opt, optimizers.Adam) and type(opt) is not optimizers.Adam
        w = tf.Variable(np.ones(5, "f"), name="w")
        rng = np.random.RandomState(1)

        @tf.function
        def step(grad, opt=opt, w=w):
            opt.apply_gradients([(grad, w)])

        for t in range(8):
            if which == "a number" and t == 4:
                opt.learning_rate = 0.002
            if ours:
                at = schedules_of(home)[which]
                wanted = at(tf.constant(t)) if "Schedule" in str(type(at).__mro__) else 0.01
                wanted = 0.002 if which == "a number" and t >= 4 else float(wanted)
            step(tf.constant(rng.randn(5).astype("f")))
            if ours:
                seen.append((snapshot(opt)["lr"], wanted))
        ends.append([w.numpy(), *(v.numpy() for v in variables_of(opt))])
    assert same(*ends)
    assert all(shown is not None for shown, _ in seen), seen
    assert np.allclose(*zip(*seen, strict=True), rtol=1e-6), seen


@pytest.mark.parametrize("family", HOME)
def test_callbacks_that_set_the_rate(family):
    from adampatch import patched, snapshot

    home, optimizers = HOME[family]
    ends = []
    for wrap in (lambda opt: opt, lambda opt: patched(opt, every=1)):
        opt = wrap(optimizers.Adam(0.01))
        callbacks = [
            home.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (1 + epoch)),
            home.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=0, min_delta=10.0),
        ]
        ends.append(fitted(family, opt, callbacks=callbacks))
    assert same(*ends)
    assert snapshot(opt)["lr"] == pytest.approx(0.005)


@pytest.mark.parametrize("kind", ["tensor", "placeholder"])
def test_learning_rates_of_v1_graphs(kind):
    import adampatch

    v1, ends = tf.compat.v1, []
    for wrap in (lambda opt: opt, adampatch.patched):
        with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
            w = v1.get_variable("w", initializer=np.ones(3, "f"), use_resource=True)
            step = v1.train.get_or_create_global_step()
            fed = v1.placeholder(tf.float32, [])
            rate = v1.train.exponential_decay(0.1, step, 3, 0.5) if kind == "tensor" else fed
            opt = wrap(v1.train.AdamOptimizer(rate))
            train = opt.minimize(tf.reduce_sum(w * w * [1.0, 2.0, 3.0]), global_step=step)
            session.run(v1.global_variables_initializer())
            alphas = []
            for t in range(10):
                found = adampatch.v1.tensors(graph).get("w", {})
                out = session.run([train, *([found["alpha"]] if found else [])], {fed: 0.1 / (1 + t)})
                alphas += out[1:]
            ends.append(session.run(v1.global_variables()))
    assert same(*ends)
    rates = [0.1 * 0.5 ** (t / 3) if kind == "tensor" else 0.1 / (1 + t) for t in range(10)]
    wanted = [r * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) for t, r in enumerate(rates, 1)]
    assert np.allclose(alphas, wanted, rtol=1e-4)


# -- models ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", HOME)
def test_two_optimizers_in_one_loop(family):
    """As a GAN has them: each over its own variables, in one function."""
    from adampatch import patched, snapshot

    home, optimizers = HOME[family]
    ends = []
    for wrap in (lambda opt: opt, lambda opt: patched(opt, every=1)):
        first, second = wrap(optimizers.Adam(0.01)), wrap(optimizers.Nadam(0.02))
        one, two = model_of(home), model_of(home)
        for opt, model in ((first, one), (second, two)):
            if hasattr(opt, "build"):
                opt.build(model.trainable_variables)
        x, y = data()

        @tf.function
        def step(one=one, two=two, first=first, second=second, x=x, y=y):
            with tf.GradientTape(persistent=True) as tape:
                apart = tf.reduce_mean((one(x) - tf.stop_gradient(two(x))) ** 2)
                near = tf.reduce_mean((two(x) - y) ** 2)
            for opt, loss, model in ((first, apart, one), (second, near, two)):
                grads = tape.gradient(loss, model.trainable_variables)
                opt.apply_gradients(zip(grads, model.trainable_variables, strict=True))

        for _ in range(5):
            step()
        ends.append(
            [v.numpy() for v in [*one.weights, *two.weights, *variables_of(first), *variables_of(second)]]
        )
    assert same(*ends)
    assert [snapshot(opt)["step"] for opt in (first, second)] == [5, 5]
    assert [snapshot(opt)["lr"] for opt in (first, second)] == [pytest.approx(0.01), pytest.approx(0.02)]


@pytest.mark.parametrize("family", HOME)
def test_an_optimizer_on_other_variables_does_what_stocks_does(family):
    """Keras 3 and K2 refuse variables that they were not built with, V2 takes them."""
    from adampatch import patched, snapshot

    optimizers, outcomes = HOME[family][1], []
    for wrap in (lambda opt: opt, lambda opt: patched(opt, every=1)):
        opt = wrap(optimizers.Adam(0.1))
        first, later = (tf.Variable(np.ones(3, "f"), name=name) for name in ("first", "later"))
        opt.apply_gradients([(tf.ones(3), first)])
        try:
            opt.apply_gradients([(tf.ones(3), first), (tf.ones(3), later)])
            outcomes.append([v.numpy().tolist() for v in [first, later, *variables_of(opt)]])
        except (ValueError, KeyError) as error:
            outcomes.append((type(error), str(error)[:40]))
    assert outcomes[0] == outcomes[1]
    assert isinstance(outcomes[0], list) == (family == "V2")
    assert sorted(snapshot(opt)["variables"]) == (["first", "later"] if family == "V2" else ["first"])
