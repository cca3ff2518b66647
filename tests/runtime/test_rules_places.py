"""Rules where training is not one dense float32 variable: rows, replicas, narrow formats, late variables."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import test_rules_oracle as oracle
from rule_training import gradients

import adampatch
from adampatch.runtime import records

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
tf_keras = pytest.importorskip("tf_keras")
v1 = tf.compat.v1

SLEW = [{"id": "slew", "quantity": "rate", "max_increase": 1.01}]


def state_of(optimizer):
    (record,) = records.find(optimizer)
    return {name: v.numpy() for name, v in record.state.names.items()}


@pytest.mark.parametrize("name", ("Nadam", "Adamax"))
def test_rows_that_are_touched_lazily_keep_their_own_history(name):
    """Legacy Nadam and Adamax step the rows of a sparse gradient alone."""
    opt = adampatch.patched(
        getattr(tf_keras.optimizers.legacy, name)(0.01, beta_2=0.9),
        rules={"version": 1, "rules": SLEW},
        emit="tensor",
    )
    w = tf.Variable(np.ones([6, 2], np.float32), name="table")

    @tf.function
    def step(values, rows):
        opt.apply_gradients([(tf.IndexedSlices(values, rows, tf.constant([6, 2])), w)])

    last, limited = {}, 0
    rng = np.random.RandomState(1)
    for t in range(40):
        rows = [[0, 1], [1, 2], [2, 4]][t % 3]
        size = 1.0 if t < 6 else 1e-3  # rates want to rise
        step(tf.constant(size * rng.randn(2, 2).astype(np.float32)), tf.constant(rows))
        rates = adampatch.effective_rates(opt)["table"]
        untouched = [r for r in range(6) if r not in rows]
        assert np.all(np.isnan(rates[untouched]))
        for r in rows:
            if r in last:
                assert np.all(rates[r] <= last[r] * np.float32(1.01) * (1 + 1e-6))
                limited += int(np.sum(np.abs(rates[r] / (last[r] * np.float32(1.01)) - 1) < 1e-6))
            last[r] = rates[r]
        kept = state_of(opt)["rate/0"]
        assert np.all(kept[[3, 5]] == 0) and all(np.array_equal(kept[r], last[r]) for r in last)
    assert limited > 20


@pytest.mark.parametrize("dtype", ("float16", "bfloat16", "float64"))
def test_a_rate_of_any_format_may_rise_by_less_than_its_format_shows(dtype):
    """In float16 1.0002 times a rate is the rate: what is remembered is of float32 at least."""
    rules = {"version": 1, "rules": [{"id": "s", "quantity": "rate", "max_increase": 1.0002}]}
    opt = adampatch.patched(tf_keras.optimizers.Adam(0.01, beta_2=0.9), rules=rules, emit="tensor")
    w = tf.Variable(tf.ones([4], dtype))
    opt.build([w])
    for t in range(300):
        opt.apply_gradients(
            [(tf.cast(tf.constant([1.0, 0.5, 0.25, 2.0]) * (1.0 if t < 60 else 0.01), dtype), w)]
        )
        if t == 59:
            first = state_of(opt)["rate/0"].astype(np.float64)
    last = state_of(opt)["rate/0"].astype(np.float64)
    assert np.allclose(last / first, 1.0002**240, rtol=1e-4)
    (shown,) = adampatch.effective_rates(opt).values()
    assert np.allclose(np.array(shown, np.float64), last, rtol=1e-2)


@pytest.mark.parametrize("family", ("v2", "v1"))
def test_a_variable_that_is_added_later_has_the_clock_of_all(family):
    """AdaBound's bounds are of the optimizer's updates, not of the variable's."""
    maker = {"v2": lambda: tf_keras.optimizers.legacy.Adam(0.01), "v1": lambda: v1.train.AdamOptimizer(0.01)}[
        family
    ]
    opt = adampatch.patched(maker(), rules={"version": 1, "rules": [oracle.ADABOUND]}, emit="tensor")
    first, later = (
        tf.Variable(np.ones(3, np.float32), name="a"),
        tf.Variable(np.ones(3, np.float32), name="b"),
    )
    g = tf.constant([1e-4, 1e-3, 1e3])  # beyond the bounds on both sides
    for _ in range(50):
        opt.apply_gradients([(g, first)])
    opt.apply_gradients([(g, first), (g, later)])
    low, high = oracle.Oracle([oracle.ADABOUND]).limits(oracle.ADABOUND, 51, 0.01, 0.01, None)
    rates = adampatch.effective_rates(opt)
    assert rates["b"][2] == np.float32(low) and np.all(rates["b"] <= np.float32(high))
    assert rates["a"][2] == np.float32(low)


@pytest.mark.parametrize("family", oracle.FAMILIES)
def test_adabound_restored_in_the_middle(family, tmp_path):
    rules = [oracle.ADABOUND, *SLEW]

    def restored(training):
        again = oracle.trainings(rules)[family]()
        again.step(*next(iter(gradients(1))))
        of = lambda run: tf.train.Checkpoint(optimizer=run.opt, kernel=run.w[0], table=run.w[1])  # noqa: E731
        of(again).read(of(training).write(str(tmp_path / "c")))
        return again

    oracle.judge(oracle.trainings(rules)[family](), family, rules, 400, oracle.fallen, restored)


REPLICAS = """
import json, sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, tf_keras
from adampatch.runtime import records
from rule_training import Eager, gradients, values_of, whole

family, rules = sys.argv[1], json.loads(sys.argv[2])
make = {
    "keras3": lambda: keras.optimizers.Adam(0.01),
    "k2": lambda: tf_keras.optimizers.Adam(0.01),
    "v2": lambda: tf_keras.optimizers.legacy.Adam(0.01),
}[family]
single = Eager(make, rules)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    mirrored = Eager(make, rules)

def apply(run, *grads):
    run.opt.apply_gradients(list(zip(grads, run.w)))

alone = tf.function(lambda *grads: apply(single, *grads))

@tf.function
def step(*grads):
    # a gradient is made where the replica is
    strategy.run(lambda *parts: apply(mirrored, *(g + 0 * w for g, w in zip(parts, mirrored.w))), grads)

def parts(variable):
    return [part.numpy() for part in strategy.experimental_local_results(variable)]

for dense, values in gradients(12):
    alone(tf.constant(2 * dense), tf.constant(2 * whole(values)))  # gradients of replicas are summed
    step(tf.constant(dense), tf.constant(whole(values)))
for one, many in zip(values_of(single), mirrored.w):
    assert all(np.array_equal(part, one) for part in parts(many)) and len(parts(many)) == 2
(ours,), (theirs,) = records.find(single.opt), records.find(mirrored.opt)
assert sorted(ours.state.names) == sorted(theirs.state.names)
for name, variable in ours.state.names.items():
    if not name.startswith("counts"):
        found = parts(theirs.state.names[name])
        assert len(found) == 2 and all(np.array_equal(part, variable.numpy()) for part in found), name
print("compared", sorted(ours.state.names))
"""


@pytest.mark.parametrize(
    "rules", (SLEW, [oracle.ADABOUND], oracle.RULES["several"]), ids=("slew", "adabound", "several")
)
@pytest.mark.parametrize("family", oracle.FAMILIES)
def test_replicas_obey_as_one_machine_does(family, rules):
    """In a process of its own: logical devices are made before TensorFlow starts."""
    out = subprocess.run(
        [sys.executable, "-c", REPLICAS, family, json.dumps(rules)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(Path(__file__).parent), *sys.path])),
    )
    assert out.returncode == 0, "\n".join(out.stderr.splitlines()[-6:])
    assert "compared" in out.stdout
