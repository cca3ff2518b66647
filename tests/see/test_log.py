"""What a run logs: the numbers that stock used, in few transfers, whole after a kill."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from logs import events, rows, series, tensorboard
from scripts import ROOT, adampatch, environment, python

pytestmark = pytest.mark.tensorflow
READERS = [events, tensorboard]

SESSION = """\
import sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
w = tf.get_variable("dense/kernel", initializer=np.linspace(-1, 1, 5).astype("float32"))
x = tf.placeholder(tf.float32, [5])
loss = tf.reduce_sum(tf.square(w * x))
train = tf.train.AdamOptimizer(1e-3).minimize(loss)
saver = tf.train.Saver()
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    if len(sys.argv) > 3:
        saver.restore(session, sys.argv[3])
    for step in range(int(sys.argv[1])):
        session.run(loss, {x: np.ones(5)})  # updates nothing
        session.run({"train": [train], "loss": loss}, feed_dict={x: np.ones(5)})
    if len(sys.argv) > 2:
        saver.save(session, sys.argv[2])
    print(session.run(w).tobytes().hex())
"""
FIT = """\
import sys
import keras, numpy as np, tensorflow as tf
keras.utils.set_random_seed(0)
how, epochs = sys.argv[1], int(sys.argv[2])
if how == "mirrored":
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
else:
    strategy = tf.distribute.get_strategy()
x, y = np.random.rand(80, 4).astype("float32"), np.random.rand(80, 1).astype("float32")
with strategy.scope():
    layers = [keras.layers.Dense(3, name="a"), keras.layers.Dense(1, name="b")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse", jit_compile=how == "jit",
                  steps_per_execution=5 if how == "many" else 1, run_eagerly=how == "eager")
model.fit(x, y, batch_size=8, epochs=epochs, verbose=0, shuffle=False)
print(b"".join(np.asarray(v).tobytes() for v in model.variables + model.optimizer.variables).hex())
fetching = sys.modules.get("adampatch.runtime.fetching")
if fetching is not None:
    print(fetching.Together.transfers, file=sys.stderr)
"""


def alpha(step, rate=1e-3):
    """The decimal formula."""
    return rate * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)


def run(tmp_path, text, *arguments, every="10", **more):
    (tmp_path / "train.py").write_text(text)
    given = () if every is None else ("--every", every)
    done = adampatch("run", "--log", "runs/a", *given, "train.py", *arguments, cwd=tmp_path, **more)
    assert done.returncode == 0, done.stderr
    return done, tmp_path / "runs" / "a"


def test_a_session_script_logs_the_alpha_of_the_formula(tmp_path):
    done, log = run(tmp_path, SESSION, "1001")
    assert done.stdout == python("train.py", "1001", cwd=tmp_path).stdout
    found = series(log, "alpha")
    for step in (1, 12, 100, 1000):
        assert found[step] == pytest.approx(alpha(step), rel=1e-5)
    for read in READERS:
        scalars, histograms = read(log)
        # what is read is what was logged, to the bit
        assert scalars["optimizer/alpha"] == found
        assert scalars["optimizer/lr"][1] == np.float32(1e-3)
        assert "rate_p50/dense/kernel" in scalars
        assert histograms == {"rate_log10/dense/kernel"}
    assert sorted(series(log, "rate_p50", "dense/kernel")) == list(range(1, 1002, 10))
    assert {tuple(row) for row in rows(log)} == {
        ("step", "time", "optimizer", "variable", "metric", "value", "rule")
    }


def test_a_restored_session_goes_on_counting(tmp_path):
    run(tmp_path, SESSION, "7", "model")
    (tmp_path / "runs" / "a" / "adampatch.jsonl").unlink()
    _, log = run(tmp_path, SESSION, "3", "model", "./model")
    found = series(log, "alpha")
    assert sorted(found) == [8, 9, 10]
    for step, value in found.items():
        assert value == pytest.approx(alpha(step), rel=1e-5)


@pytest.mark.parametrize("how", ["function", "jit", "many", "mirrored", "eager"])
def test_fit_logs_the_alpha_that_stock_used_and_trains_to_the_same_bits(tmp_path, how):
    done, log = run(tmp_path, FIT, how, "10", every="20")
    stock = python("train.py", how, "10", cwd=tmp_path)
    assert stock.returncode == 0, stock.stderr
    assert done.stdout == stock.stdout
    found = series(log, "alpha")
    assert sorted(found) == [1, 21, 41, 61, 81]
    import tensorflow as tf

    for step, value in found.items():  # Keras' own order of operations
        powers = [tf.pow(tf.constant(b, tf.float32), tf.constant(step, tf.float32)) for b in (0.9, 0.999)]
        expected = tf.constant(1e-3) * tf.sqrt(1 - powers[1]) / (1 - powers[0])
        assert np.float32(value) == expected.numpy()
    assert {row["variable"] for row in rows(log)} == {
        None,
        *(f"{k}/{n}" for k in ("sequential/a", "sequential/b") for n in ("kernel", "bias")),
    }
    for read in READERS:
        assert read(log)[0]["optimizer/alpha"] == found


def test_a_thousand_updates_take_at_most_eleven_transfers(tmp_path):
    done, log = run(tmp_path, FIT, "function", "100", every="100")
    assert int(re.findall(r"^(\d+)$", done.stderr, re.M)[0]) <= 11
    assert len(series(log, "alpha")) == 10


LOOP = """\
import time
import keras, tensorflow as tf
optimizers = [keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-4)]
variables = [tf.Variable([1.0, 2.0], name=name) for name in ("first", "second")]

@tf.function
def train():
    for optimizer, variable in zip(optimizers, variables):
        optimizer.apply_gradients([(variable * 2.0, variable)])

for step in range(10000):
    train()
    if step == 50:
        print("up", flush=True)
    time.sleep(0.001)
"""


def test_logs_are_whole_after_a_kill(tmp_path):
    (tmp_path / "train.py").write_text(LOOP)
    command = [sys.executable, "-m", "adampatch", "run", "--log", "runs/a", "--every", "1", "train.py"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "up\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    log = tmp_path / "runs" / "a"
    found = series(log, "alpha")
    assert len(found) > 50
    assert {row["optimizer"] for row in rows(log)} == {"Adam", "Adam#2"}
    for read in READERS:
        scalars, _ = read(log)
        # TensorBoard takes a directory for a run: the second optimizer has one of its own
        assert scalars["optimizer/lr"][1] == np.float32(1e-3)
        assert read(log / "Adam#2")[0]["optimizer/lr"][1] == np.float32(1e-4)
        assert abs(len(scalars["optimizer/alpha"]) - len(found)) <= 1


def test_what_is_patched_on_disk_logs_too(tmp_path):
    (tmp_path / "train.py").write_text(FIT)
    assert adampatch("apply", ".", cwd=tmp_path).returncode == 0
    done = python("train.py", "function", "2", cwd=tmp_path, ADAMPATCH_LOG="runs/b", ADAMPATCH_EVERY="5")
    assert done.returncode == 0, done.stderr
    assert sorted(series(tmp_path / "runs" / "b", "alpha")) == [1, 6, 11, 16]


def test_the_example_is_the_readme_s_command(tmp_path):
    example = ROOT / "examples" / "tf1_session" / "train.py"
    log = tmp_path / "a"
    done = adampatch("run", "--log", log, "--every", "10", example, "--steps", "101", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert series(log, "alpha")[12] == pytest.approx(alpha(12, 1e-2), rel=1e-5)
    assert json.loads((log / "adampatch.jsonl").read_text().splitlines()[0])["step"] == 1
