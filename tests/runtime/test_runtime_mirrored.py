"""MirroredStrategy on two logical CPUs, every family: stock's bits, statistics, equal replicas under a rule.

In processes of their own: logical devices are configured before TensorFlow starts.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tensorflow

pytest.importorskip("tensorflow")
pytest.importorskip("families")

PROGRAM = """
import sys
import numpy as np, tensorflow as tf, adampatch
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from families import LEGACY, NEW, tf_keras, variables_of
family, scaled = sys.argv[1], len(sys.argv) > 2
RULE = {"id": "r", "match": ["**"], "exclude": [], "optimizer": "*", "quantity": "rate"}
RULES = {"version": 1, "rules": [dict(RULE, max=0.004, min=None)]}
x = np.random.RandomState(0).randn(32, 5).astype("f")


def replicas(variable):
    mirrored = variable if hasattr(variable, "values") else variable.value
    return [copy.numpy() for copy in mirrored.values]


def fit(wrap):
    if family == "K3":
        import keras
    else:
        keras = tf_keras
    keras.utils.set_random_seed(0)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(1)])
        model.build((None, 4))
        opt = (LEGACY.Adam if family == "V2" else keras.optimizers.AdamW)(0.01)
        if scaled:
            from_ = keras.optimizers if family == "K3" else keras.mixed_precision
            opt = from_.LossScaleOptimizer(opt)
        opt = wrap(opt)
        model.compile(opt, "mse", jit_compile=False)
    model.fit(x[:, :4], x[:, 4:], batch_size=8, epochs=3, shuffle=False, verbose=0)
    return opt, list(model.weights)


def loop(wrap):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        w = tf.Variable(tf.ones(4), name="w")
        opt = wrap(tf.compat.v1.train.AdamOptimizer(0.01))

    @tf.function
    def step(part):
        def replica(rows):
            opt.apply_gradients([(tf.reduce_sum(rows, 0) * w, w)])
        strategy.run(replica, args=(part,))

    for start in range(0, 24, 4):
        ctx = lambda c, start=start: tf.constant(x[start + 2 * c.replica_id_in_sync_group :][:2, :4])
        step(strategy.experimental_distribute_values_from_function(ctx))
    return opt, [w, *opt.variables()]


train = loop if family == "V1" else fit


def values(opt, weights):
    own = [] if family == "V1" else variables_of(opt)
    return [v.numpy() for v in [*weights, *own]]


stock = values(*train(lambda opt: opt))
opt, weights = train(lambda opt: adampatch.patched(opt, every=2))
same = all(a.tobytes() == b.tobytes() for a, b in zip(stock, values(opt, weights), strict=True))
shot = adampatch.snapshot(opt)
print("same", same, shot["step"], len(shot["variables"]))
opt, weights = train(lambda opt: adampatch.patched(opt, rules=RULES, emit="tensor"))
bounded = max(rate.max() for rate in adampatch.effective_rates(opt).values()) == np.float32(0.004)
copies = [replicas(w) for w in weights]
equal = all(one.tobytes() == two.tobytes() for one, two in copies)
print("bounded", bounded, "replicas", equal, sum(map(len, copies)))
"""


@pytest.mark.parametrize("family, scaled", [("K3", 0), ("K2", 0), ("K2", 1), ("V2", 0), ("V2", 1), ("V1", 0)])
def test_mirrored_replicas_are_stocks_and_equal_under_a_rule(family, scaled):
    words = [sys.executable, "-c", PROGRAM, family, *(["scaled"] * scaled)]
    paths = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    out = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=paths))
    first, second = (line.split() for line in out.stdout.splitlines()[-2:])
    step, count = {"V1": ("5", "1")}.get(family, ("11", "4"))
    assert first == ["same", "True", step, count], out.stderr[-2000:]
    assert second[:4] == ["bounded", "True", "replicas", "True"] and int(second[4]) >= 2, out.stderr[-2000:]
