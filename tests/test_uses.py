"""The uses of tests/fixtures/forks on real TensorFlow: what is made is patched, of the stock class, and gives
stock's bits; what is another optimizer stays as it is."""

import importlib.util
import sys

import numpy as np
import pytest
from test_forks import FORKS, runtime_module

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

#: case -> what its build() takes
KERAS_CASES = {
    "uses_chains": (),
    "uses_either_import": (),
    "uses_exported": (),
    "uses_getters": (),
    "uses_names": ("model",),
    "uses_options": ("model",),
    "uses_registry": (),
    "uses_star_import": (),
}
ADAM = (keras.optimizers.Adam, keras.optimizers.Nadam, keras.optimizers.Adamax)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    for name in ("EMIT", "EVERY", "RULES"):
        monkeypatch.delenv("ADAMPATCH_" + name, raising=False)


def fixture_module(case, text):
    """before.py or after.py, freshly imported beside an `_adampatch` without rules."""
    sys.modules["_adampatch"] = runtime_module()
    try:
        spec = importlib.util.spec_from_file_location(f"use_{case}_{text}", FORKS / case / f"{text}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        del sys.modules["_adampatch"]
    return module


def is_patched(optimizer):
    return type(optimizer).__dict__.get("__adampatch_origin__") is not None


def small_model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


def optimizers(made):
    """The optimizers among what a build() gives back."""
    flat = [x for item in (made if isinstance(made, (list, tuple)) else [made]) for x in
            (item if isinstance(item, (list, tuple)) else [item])]  # fmt: skip
    return [x for x in flat if isinstance(x, keras.optimizers.Optimizer)]


def built(case, text):
    arguments = [small_model() for _ in KERAS_CASES[case]]
    return optimizers(fixture_module(case, text).build(*arguments))


def trained(optimizer):
    """The variable and the optimizer's state after a few updates."""
    rng = np.random.RandomState(3)
    w = keras.Variable(rng.randn(4, 3).astype("float32"), name="w")
    for _ in range(5):
        optimizer.apply([tf.constant(rng.randn(4, 3), "float32")], [w])
    return [np.asarray(v).tobytes() for v in (w, *optimizer.variables)]


@pytest.mark.parametrize("case", sorted(KERAS_CASES))
def test_every_adam_that_is_made_is_patched_and_gives_stocks_bits(case):
    stock, ours = built(case, "before"), built(case, "after")
    assert len(stock) == len(ours) and stock
    for a, b in zip(stock, ours, strict=True):
        assert not is_patched(a)
        if isinstance(a, ADAM):
            assert is_patched(b) and type(b).__adampatch_origin__ is type(a)
        else:
            assert type(b) is type(a)
        if not a.built:  # those that a model was compiled with belong to its variables
            assert trained(a) == trained(b)


def test_every_other_optimizer_comes_out_of_a_getter_as_it_is():
    ours = fixture_module("uses_getters", "after")
    assert [type(x).__name__ for x in ours.not_adam({"adam": 3})[:3]] == ["SGD", "RMSprop", "SGD"]
    assert type(ours.by_any_name("sgd")) is keras.optimizers.SGD
    assert is_patched(ours.by_any_name("adam"))
    mine = keras.optimizers.SGD(0.5)
    assert ours.by_any_name(mine) is mine
    with pytest.raises(ValueError, match="no_such_optimizer"):
        ours.by_any_name("no_such_optimizer")


def test_an_alias_goes_on_telling_stock_instances():
    ours = fixture_module("uses_chains", "after")
    assert ours.is_adam(keras.optimizers.Adam())
    assert all(ours.is_adam(x) for x in ours.build() if isinstance(x, keras.optimizers.Adam))
    assert type(ours.from_keras("SGD")) is keras.optimizers.SGD and is_patched(ours.from_keras("Adam"))


def test_a_compiled_string_makes_an_optimizer_for_each_model():
    ours = fixture_module("uses_names", "after")
    first, second = ours.defaulted(small_model()), ours.defaulted(small_model())
    assert first is not second and is_patched(first) and is_patched(second)


def test_sessions_train_with_stocks_bits():
    def train(text):
        graph = tf.Graph()
        with graph.as_default():
            w = tf.compat.v1.get_variable("w", initializer=np.arange(6, dtype="float32").reshape(2, 3))
            loss = tf.reduce_sum(tf.square(w - 0.5))
            first, second, third = fixture_module("uses_session", text).build(loss, [w])
            state = [w, *(v for v in tf.compat.v1.global_variables() if "Adam" in v.name)]
            init = tf.compat.v1.global_variables_initializer()
        with tf.compat.v1.Session(graph=graph) as session:
            session.run(init)
            for _ in range(4):
                session.run(first)
                session.run(second)
            assert len(state) == 5 and is_patched(third) == (text == "after")
            return [value.tobytes() for value in session.run(state)]

    assert train("before") == train("after")


def test_what_tf_keras_makes_stays_of_tf_keras():
    tf_keras = pytest.importorskip("tf_keras")
    stock, ours = (fixture_module("uses_tf_keras_getters", text).build() for text in ("before", "after"))
    new, legacy = tf_keras.optimizers, tf_keras.optimizers.legacy
    kinds = [new.Adam, legacy.Adam, new.Nadam, new.SGD]
    for a, b, kind in zip(stock, ours, [*kinds, kinds[0], kinds[-1]], strict=True):
        assert type(a) is kind and isinstance(b, kind)
        assert is_patched(b) == (kind is not new.SGD)
