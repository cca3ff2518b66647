"""All that `fit` of Keras 3 can do around an optimizer: bits of stock, and the numbers stock used."""

import sys
from pathlib import Path

import pytest
from logs import rows
from scripts import adampatch, python

TARGET = Path(__file__).parent / "target"
sys.path.insert(0, str(TARGET))

import modes  # noqa: E402
import tensorflow as tf  # noqa: E402

pytestmark = pytest.mark.tensorflow
UPDATES = modes.SIZE // modes.BATCH * modes.EPOCHS
EVERY = 4  # updates between samples, and those of one execution


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(what stock printed, what was printed under `run`, {mode: its rows})."""
    folder = tmp_path_factory.mktemp("modes")
    script = TARGET / "modes.py"
    stock = python(script, *modes.MODES, cwd=folder)
    seen = adampatch("run", "--log", "log", "--every", str(EVERY), script, *modes.MODES, cwd=folder)
    assert stock.returncode == 0, stock.stderr
    assert seen.returncode == 0, seen.stderr
    found = rows(folder / "log")
    names = list(dict.fromkeys(row["optimizer"] for row in found))
    by_mode = dict(zip(modes.MODES, names, strict=True))
    return (
        dict(line.split() for line in stock.stdout.splitlines()),
        dict(line.split() for line in seen.stdout.splitlines()),
        {mode: [row for row in found if row["optimizer"] == name] for mode, name in by_mode.items()},
    )


def own(found, metric):
    return {row["step"]: row["value"] for row in found if row["variable"] is None and row["metric"] == metric}


@pytest.mark.parametrize("mode", modes.MODES)
def test_variables_end_with_the_bits_of_stock(runs, mode):
    stock, seen, _ = runs
    assert seen[mode] == stock[mode]


@tf.function
def scalars(rate, batches, step):
    """lr and alpha in Keras' own order of operations, and in a graph, as stock computes them."""
    rate = rate(batches) if callable(rate) else tf.constant(rate)
    rate, step = tf.cast(rate, tf.float32), tf.cast(step, tf.float32)
    first, second = (tf.pow(tf.cast(b, tf.float32), step) for b in (0.9, 0.999))
    return rate, rate * tf.sqrt(1 - second) / (1 - first)


@pytest.mark.parametrize("mode", modes.MODES)
def test_lr_and_alpha_are_those_of_stock_to_the_bit(runs, mode):
    found = runs[2][mode]
    each = modes.MODES[mode][0].get("gradient_accumulation_steps", 1)
    rate = modes.scheduled().get(modes.MODES[mode][0].get("learning_rate"), modes.RATE)
    # of an execution of several updates the last sample is seen
    assert sorted(own(found, "alpha")) == list(range(1, UPDATES // each + 1, EVERY))
    for step, logged in own(found, "alpha").items():
        lr, alpha = scalars(rate, tf.constant(step * each - 1), tf.constant(step))
        close = 1e-5 if mode.endswith("jit") else 0  # XLA's powers and roots are others
        assert own(found, "lr")[step] == pytest.approx(float(lr), rel=close, abs=0)
        assert logged == pytest.approx(float(alpha), rel=close, abs=0)


def test_a_schedule_moves_the_rate_that_is_logged(runs):
    lr = own(runs[2]["staircase"], "lr")
    assert [round(value / modes.RATE, 6) for value in lr.values()] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    rates = [row for row in runs[2]["staircase"] if row["metric"] == "rate_p50"]
    assert {row["variable"] for row in rates} == {
        f"staircase/{a}/{b}" for a in "ab" for b in ("kernel", "bias")
    }


def test_accumulated_batches_are_one_update(runs):
    assert sorted(own(runs[2]["accumulation"], "alpha")) == [1, 5]
    assert not [row for row in runs[2]["accumulation"] if row["metric"].startswith("alert")]
