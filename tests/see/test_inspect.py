"""`adampatch inspect`: the rates of the last update, from every kind of file that keeps moments."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from scripts import adampatch as command

import adampatch

pytestmark = pytest.mark.tensorflow
RULES = """
version = 1
[[rule]]
id = "top"
quantity = "rate"
max = {}
[[rule]]
id = "kernels"
match = ["**kernel"]
quantity = "rate"
max = {{ kind = "linear", from = 1e9, to = 2e9, end = 20 }}
[[rule]]
id = "steps"
quantity = "update"
relative_to = "lr"
max = 1e-9
[[rule]]
id = "over"
quantity = "alpha"
max = 1e-9
end = 9
[[rule]]
id = "slew"
quantity = "rate"
max_increase = 1.5
"""


def fitted(library, optimizer):
    library.utils.set_random_seed(3)
    model = library.Sequential(
        [library.layers.Input((4,)), library.layers.Dense(3, name="a"), library.layers.Dense(1, name="b")],
        name="net",
    )
    model.compile(adampatch.patched(optimizer, emit="tensor"), "mse")
    x = np.linspace(-1, 1, 160).reshape(40, 4).astype("float32")
    model.fit(x, x[:, :1] ** 2, batch_size=8, epochs=2, verbose=0)
    return model


def report(path, tmp_path, *arguments):
    done = command("inspect", path, "--format", "json", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(document, optimizer, assumed):
    """Against what the last update really used."""
    seen, rates = adampatch.snapshot(optimizer), adampatch.effective_rates(optimizer)
    assert document["schema"] == "adampatch/inspect/1"
    assert document["step"] == seen["step"] == 10
    assert document["alpha"] == pytest.approx(seen["alpha"], rel=1e-5)
    assert document["assumed"] == assumed
    medians = sorted(float(np.percentile(rate, 50)) for rate in rates.values())
    found = sorted(numbers["rate_p50"] for numbers in document["variables"].values())
    assert found == pytest.approx(medians, rel=1e-4)


@pytest.mark.parametrize(
    ("ending", "assumed"),
    [(".keras", []), (".weights.h5", ["beta_1", "beta_2", "epsilon"]), (".h5", []), ("", None)],
)
@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_every_file_of_keras_gives_the_rates_of_the_last_update(tmp_path, library, ending, assumed):
    model = fitted(library, library.optimizers.Adam(2e-3))
    path = tmp_path / ("model" + ending)
    if ending == "":
        path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "model"))
        assumed = ["beta_1", "beta_2", "epsilon"]
    elif ending == ".weights.h5":
        model.save_weights(path)
    else:
        model.save(path)
    known = ()
    if ending == ".weights.h5" and library is tf_keras:  # which keeps no learning rate there
        assert report(path, tmp_path)["assumed"] == ["learning_rate", *assumed]
        known = ("--learning-rate", "2e-3")
    check(report(path, tmp_path, *known), model.optimizer, assumed)


def test_an_object_checkpoint_of_optimizer_v2_says_its_decay_rates(tmp_path):
    model = fitted(tf_keras, tf_keras.optimizers.legacy.Adam(2e-3, beta_1=0.8))
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "folder" / "model"))
    document = report("folder", tmp_path)
    check(document, model.optimizer, ["epsilon"])
    assert document["hyperparameters"]["beta_1"] == pytest.approx(0.8)


@pytest.mark.parametrize("resource", [True, False])
def test_a_checkpoint_of_tensorflow_1_says_the_step_by_its_powers(tmp_path, resource):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        start = np.linspace(-1, 1, 5).astype("float32")
        w = tf.compat.v1.get_variable("layer/w", initializer=start, use_resource=resource)
        optimizer = adampatch.v1.AdamOptimizer(1e-2)
        train = optimizer.minimize(tf.reduce_sum(tf.pow(w, 4)))
        session.run(tf.compat.v1.global_variables_initializer())
        tensors = adampatch.v1.tensors()["layer/w"]
        for _ in range(7):
            rate, alpha, _ = session.run([tensors["rate"], tensors["alpha"], train])
        path = tf.compat.v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    document = report(path, tmp_path, "--learning-rate", "0.01")
    assert document["step"] == 7
    assert document["assumed"] == ["beta_1", "beta_2", "epsilon"]
    assert document["alpha"] == pytest.approx(alpha, rel=1e-4)
    numbers = document["variables"]["layer/w"]
    # the middle element never had a gradient, and the rate alpha/epsilon
    assert numbers["active_frac"] == 0.8
    assert numbers["rate_p50"] == pytest.approx(np.percentile(rate.astype(float), 50), rel=1e-4)


def test_rules_are_counted_each_by_itself_and_those_that_remember_are_named(tmp_path):
    model = fitted(keras, keras.optimizers.Adam(2e-3))
    model.save(tmp_path / "model.h5")
    middle = report("model.h5", tmp_path)["variables"]["net_a_kernel"]["rate_p50"]
    (tmp_path / "rules.toml").write_text(RULES.format(repr(middle)))
    document = report("model.h5", tmp_path, "--rules", "rules.toml")
    rules = document["variables"]["net_a_kernel"]["rules"]
    assert set(rules) == {"top", "kernels", "steps", "over"}
    assert rules["top"]["clamped_frac"] == pytest.approx(0.5, abs=0.1)
    assert rules["kernels"]["max"] == pytest.approx(1e9 * (1 + 9 / 19))
    assert rules["kernels"]["clamped_frac"] == 0.0
    assert rules["steps"]["max"] == pytest.approx(2e-12, rel=1e-4)
    assert rules["steps"]["clamped_frac_active"] == 1.0
    assert (rules["over"]["max"], rules["over"]["clamped_frac"]) == (None, 0.0)
    assert set(document["variables"]["net_a_bias"]["rules"]) == {"top", "steps", "over"}
    assert document["rules_not_judged"] == ["slew"]
    text = command("inspect", "model.h5", "--rules", "rules.toml", cwd=tmp_path).stdout
    assert text.startswith("Adam, update 10: alpha 0.000306")
    assert "rules that only a training can tell of: slew" in text
    assert "kernels 0.0%" in text


def test_another_optimizer_of_the_family_is_read_by_adam_s_formula_and_that_is_said(tmp_path):
    model = fitted(keras, keras.optimizers.AdamW(2e-3))
    model.save(tmp_path / "w.keras")
    assert report("w.keras", tmp_path)["assumed"] == []
    config = tmp_path / "renamed.keras"
    with zipfile.ZipFile(tmp_path / "w.keras") as old, zipfile.ZipFile(config, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"class_name": "AdamW"', b'"class_name": "Lamb"'))
    assert report("renamed.keras", tmp_path)["assumed"] == ["the formula of Adam for Lamb"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.keras",), "missing.keras: does not exist"),
        (("broken.keras",), "broken.keras: cannot be read"),
        (("broken",), "broken: cannot be read"),
        (("plain.weights.h5",), "holds no first and second moments"),
        (("plain.weights.h5", "--beta-1", "1.5"), "--beta-1: 1.5 is out of range"),
    ],
)
def test_bad_input_is_said_in_a_line(tmp_path, arguments, words):
    (tmp_path / "broken.keras").write_bytes(b"words")
    (tmp_path / "broken").write_bytes(b"words")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save_weights(tmp_path / "plain.weights.h5")
    done = command("inspect", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and words in done.stderr
    assert "Traceback" not in done.stderr
