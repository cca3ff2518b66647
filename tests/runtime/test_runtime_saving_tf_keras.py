"""tf_keras files, checkpoints, copies: stock's load into patched and back, with all optimizer state."""

import copy
import pickle

import numpy as np
import pytest
from bits import same

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
families = pytest.importorskip("families")

from families import CASES, internal, tf_keras, variables_of  # noqa: E402


def optimizer(case, wrap=lambda opt: opt):
    cls, options = CASES[case] if case in CASES else internal(case)
    return wrap(cls(0.01, **options))


def patched(x, **settings):
    from adampatch.runtime import bind

    return bind().patched(x, **settings)


def compiled(opt):
    tf_keras.utils.set_random_seed(2)
    model = tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(4,)), tf_keras.layers.Dense(1)])
    model.compile(opt, "mse")
    return model


def fit(model, epochs=1):
    rng = np.random.RandomState(0)
    x, y = rng.randn(16, 4).astype("f"), rng.randn(16, 1).astype("f")
    model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return model


def state(model):
    return model.get_weights() + [v.numpy() for v in variables_of(model.optimizer)]


def pair(case):
    """(stock after 3 epochs, patched after 1), compiled models."""
    stock = compiled(optimizer(case))
    fit(stock, 3)
    return stock, fit(compiled(optimizer(case, patched)))


@pytest.mark.parametrize("case", CASES)
def test_checkpoints_go_both_ways(case, tmp_path):
    stock, ours = pair(case)
    for source, target, name in ((stock, ours, "a"), (ours, stock, "b")):
        fit(source)
        path = tf.train.Checkpoint(model=source, optimizer=source.optimizer).save(str(tmp_path / name))
        restored = tf.train.Checkpoint(model=target, optimizer=target.optimizer).restore(path)
        restored.assert_consumed()
        assert same(state(source), state(target))
        fit(source), fit(target)
        assert same(state(source), state(target))


FILES = {"keras": "m.keras", "h5": "m.h5", "saved model": "m"}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("case", ["new-AdamW", "new-Nadam", "legacy-AMSGrad", "legacy-Nadam"])
def test_model_files_go_both_ways(case, kind, tmp_path):
    """Each is loaded as a stock model with what stock restores, which is not all (Nadam's product)."""
    backs = []
    for wrap, which in ((lambda opt: opt, "stock"), (patched, "ours")):
        model = fit(compiled(optimizer(case, wrap)))
        path = tmp_path / which / FILES[kind]
        path.parent.mkdir()
        model.save(path)
        back = tf_keras.models.load_model(path)
        assert type(back.optimizer) is CASES[case][0]
        assert back.optimizer.get_config() == model.optimizer.get_config()
        assert same(back.get_weights(), model.get_weights())
        backs.append(back)
    assert same(*map(state, backs))
    # A stock file into patched: what was loaded goes on under the patch as stock does.
    assert patched(backs[0].optimizer) is backs[0].optimizer
    assert same(state(fit(backs[0])), state(fit(backs[1])))


@pytest.mark.parametrize("case", ["new-Adam", "legacy-Adam"])
def test_weights_files_go_both_ways(case, tmp_path):
    stock, ours = pair(case)
    for source, target, name in ((stock, ours, "s"), (ours, stock, "o")):
        for suffix in ("/tf", ".weights.h5"):
            fit(source)
            source.save_weights(str(tmp_path / name) + suffix)
            target.load_weights(str(tmp_path / name) + suffix)
            assert same(source.get_weights(), target.get_weights())


@pytest.mark.parametrize("case", [*CASES, "Adam", "Nadam"])
def test_config_copies_and_weights_are_stocks(case):
    stock, ours = optimizer(case), optimizer(case, patched)
    cls = type(stock)
    assert isinstance(ours, cls) and type(ours) is not cls and ours.get_config() == stock.get_config()
    again = type(ours).from_config(ours.get_config())
    assert type(again) is type(ours) and again.get_config() == stock.get_config()
    w = [[tf.Variable(np.ones(3, "f"), name="w")] for _ in range(3)]
    for opt, variables in ((stock, w[0]), (ours, w[1])):
        opt.apply_gradients([(tf.constant([1.0, 2.0, -1.0]), variables[0])])
    assert [v.name for v in variables_of(ours)] == [v.name for v in variables_of(stock)]
    values = [v.numpy() for v in variables_of(stock)]
    assert same([v.numpy() for v in variables_of(ours)], values)
    again.apply_gradients([(tf.zeros(3), w[2][0])])
    weights = stock.get_weights() if hasattr(stock, "get_weights") else values
    again.set_weights(weights)
    assert same([np.asarray(v) for v in variables_of(again)], values)
    if case in CASES:
        serialised = [tf_keras.optimizers.serialize(opt) for opt in (ours, stock)]
        assert serialised[0] == serialised[1]
        legacy = case.startswith("legacy")
        assert type(tf_keras.optimizers.deserialize(serialised[0], use_legacy_optimizer=legacy)) is cls


def outcome(act):
    """What `act` returns, or the type of what it raises."""
    try:
        return act()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("case", [*CASES, "Adam", "Nadam"])
@pytest.mark.parametrize("make", [copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))])
@pytest.mark.parametrize("stepped", [False, True])
def test_copies_and_pickles_are_what_stock_allows(case, make, stepped):
    """Newer tf_keras keeps a lambda that does not pickle, stock as patched."""
    from adampatch.runtime import records

    made = []
    for wrap in (lambda opt: opt, lambda opt: patched(opt, every=5)):
        opt = optimizer(case, wrap)
        if stepped:
            opt.apply_gradients([(tf.ones(3), tf.Variable(np.ones(3, "f"), name="w"))])
        made.append(outcome(lambda opt=opt: make(opt)))
    if isinstance(made[0], type):
        assert made[0] is made[1]
        return
    assert made[0].get_config() == made[1].get_config()
    assert type(made[1]) is type(optimizer(case, patched)) and records.given(made[1]) == {"every": 5}
    values = [[v.numpy() for v in variables_of(opt)] for opt in made]
    assert same(*values)
