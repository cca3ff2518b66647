"""Files and pickles: stock's load into patched and back, with all optimizer state."""

import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from bits import same

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

NAMES = ["Adam", "AdamW", "Nadam", "Adamax"]


def patched(cls, **settings):
    from adampatch.runtime import bind

    return bind().patched(cls, **settings)


def trained(opt, epochs=2):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile(opt, "mse", jit_compile=False)
    fit(model, epochs)
    return model


def fit(model, epochs=1):
    rng = np.random.RandomState(0)
    x, y = rng.randn(16, 4).astype("f"), rng.randn(16, 1).astype("f")
    model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


def state(model):
    return model.get_weights() + [v.numpy() for v in model.optimizer.variables]


@pytest.mark.parametrize("name", NAMES)
def test_keras_files_go_both_ways(name, tmp_path, recwarn):
    cls = getattr(keras.optimizers, name)
    stock, ours = trained(cls(0.01, name="o")), trained(patched(cls)(0.01, name="o"))
    assert same(state(stock), state(ours))
    for which, model in (("stock", stock), ("ours", ours)):
        model.save(tmp_path / (which + ".keras"))
    configs = [
        json.loads(zipfile.ZipFile(tmp_path / (n + ".keras")).read("config.json")) for n in ("stock", "ours")
    ]
    assert configs[0]["compile_config"] == configs[1]["compile_config"]
    # ours, read by stock Keras
    back = keras.models.load_model(tmp_path / "ours.keras")
    assert type(back.optimizer) is cls and same(state(back), state(ours))
    # stock's, then patched
    there = keras.models.load_model(tmp_path / "stock.keras")
    assert patched(there.optimizer) is there.optimizer and isinstance(there.optimizer, cls)
    fit(there), fit(stock)
    assert same(state(there), state(stock))
    assert not [w for w in recwarn if "Skipping variable loading" in str(w.message)]


def test_weights_files_go_both_ways(tmp_path, recwarn):
    stock = trained(keras.optimizers.Adam(0.01), 3)
    ours = trained(patched(keras.optimizers.Adam)(0.01), 1)
    stock.save_weights(tmp_path / "s.weights.h5")
    ours.load_weights(tmp_path / "s.weights.h5")
    assert same(state(stock), state(ours))
    fit(ours)
    ours.save_weights(tmp_path / "o.weights.h5")
    stock.load_weights(tmp_path / "o.weights.h5")
    assert same(state(stock), state(ours))
    assert not [w for w in recwarn if "Skipping variable loading" in str(w.message)]


def test_checkpoints_go_both_ways(tmp_path):
    stock = trained(keras.optimizers.AdamW(0.01), 3)
    ours = trained(patched(keras.optimizers.AdamW)(0.01), 1)
    for source, target, name in ((stock, ours, "a"), (ours, stock, "b")):
        fit(source)
        path = tf.train.Checkpoint(model=source, optimizer=source.optimizer).save(str(tmp_path / name))
        status = tf.train.Checkpoint(model=target, optimizer=target.optimizer).restore(path)
        status.assert_consumed()
        assert same(state(source), state(target))


def test_a_file_of_ours_loads_where_adampatch_is_not(tmp_path):
    ours = trained(patched(keras.optimizers.AdamW)(0.01))
    ours.save(tmp_path / "m.keras")
    program = (
        "import sys; sys.modules['adampatch'] = None\n"
        "import keras; m = keras.models.load_model(sys.argv[1])\n"
        "print(type(m.optimizer).__name__, len(m.optimizer.variables), int(m.optimizer.iterations))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "m.keras")], capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == ["AdamW", str(len(ours.optimizer.variables)), "4"]


def test_optimizer_variables_and_config_are_stocks():
    for name in NAMES:
        cls = getattr(keras.optimizers, name)
        stock, ours = cls(0.01, name="o"), patched(cls)(0.01, name="o")
        w = [keras.Variable(np.ones(2, "f"), name="w")]
        stock.build(w), ours.build(w)
        ours.apply([tf.ones(2)])
        assert ours.get_config() == stock.get_config()
        # Nadam's product has a generated name, numbered over the whole process.
        named = [[v.path for v in o.variables if "/" in v.path] for o in (ours, stock)]
        assert named[0] == named[1] and len(ours.variables) == len(stock.variables)
        assert keras.optimizers.serialize(ours)["class_name"] == name
        assert keras.optimizers.serialize(ours)["module"] == "keras.optimizers"
        assert type(keras.optimizers.deserialize(keras.optimizers.serialize(ours))) is cls
        assert type(type(ours).from_config(ours.get_config())) is type(ours)


def test_set_weights_of_stock():
    stock, ours = trained(keras.optimizers.Adam(0.01), 3), trained(patched(keras.optimizers.Adam)(0.01), 1)
    ours.optimizer.set_weights([v.numpy() for v in stock.optimizer.variables])
    assert same([v.numpy() for v in ours.optimizer.variables], [v.numpy() for v in stock.optimizer.variables])


def test_pickles_of_classes_and_instances(rules):
    from adampatch.runtime import bind

    for cls in (keras.optimizers.AdamW, tf.compat.v1.train.AdamOptimizer):
        ours = bind(rules(high=0.1)).patched(cls)
        assert pickle.loads(pickle.dumps(ours)) is ours
    opt = ours_instance = bind(rules(high=0.1)).patched(
        keras.optimizers.AdamW(0.02, weight_decay=0.3), every=5
    )
    again = pickle.loads(pickle.dumps(opt))
    assert type(again) is type(ours_instance) and again is not opt
    assert again.get_config() == opt.get_config()
    from adampatch.runtime import records

    assert records.given(again) == {"every": 5}


def test_a_pickled_optimizer_keeps_what_stocks_keeps():
    ends = []
    for wrap in (lambda cls: cls, patched):
        opt = wrap(keras.optimizers.Adam)(0.01)
        w = [keras.Variable(np.ones(3, "f"), name="w")]
        opt.apply([tf.ones(3)], w)
        try:
            again = pickle.loads(pickle.dumps(opt))
            ends.append([v.numpy().tolist() for v in again.variables])
        except Exception as error:
            ends.append(type(error).__name__)
    assert ends[0] == ends[1]


def test_v1_optimizer_pickles(rules):
    from adampatch.runtime import bind

    opt = bind(rules(high=0.1)).patched(tf.compat.v1.train.AdamOptimizer)(0.5)
    again = pickle.loads(pickle.dumps(opt))
    assert type(again) is type(opt) and again._lr == 0.5


def test_a_saved_model_of_the_training_function(tmp_path):
    class Trainer(tf.Module):
        def __init__(self):
            self.w = tf.Variable(tf.ones(3))
            self.opt = patched(keras.optimizers.Adam)(0.1)

        @tf.function
        def train(self, grad):
            self.opt.apply_gradients([(grad, self.w)])

    trainer = Trainer()
    trainer.train(tf.ones(3))
    tf.saved_model.save(trainer, str(tmp_path / "m"))
    again = tf.saved_model.load(str(tmp_path / "m"))
    trainer.train(tf.ones(3)), again.train(tf.ones(3))
    assert np.array_equal(again.w.numpy(), trainer.w.numpy())
