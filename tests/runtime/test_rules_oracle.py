"""Rules in training, step by step, against an oracle of their own in float64: all code families."""

import numpy as np
import pytest
from rule_oracle import Oracle, Start
from rule_training import Eager, Graph, gradients, values_of, whole

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
tf_keras = pytest.importorskip("tf_keras")

ADABOUND = {
    "id": "adabound",
    "quantity": "rate",
    "min": {"kind": "adabound", "final": 0.1, "gamma": 1e-3, "side": "lower"},
    "max": {"kind": "adabound", "final": 0.1, "gamma": 1e-3, "side": "upper"},
    "relative_to": "lr/lr0",
}
WARM = 200


def warmed(t):
    """Learning rate of update t: a rise from 0 over WARM updates, then a slow fall; float32 arithmetic."""
    return np.float32(np.float32(0.01) * np.minimum(np.float32(t - 1) / np.float32(WARM), np.float32(1)))


def fallen(t):
    return np.float32(warmed(t) * np.float32(0.999) ** np.float32(max(t - 1 - WARM, 0)))


def schedule_of(base):
    class WarmAndFall(base):
        def __call__(self, step):
            step = tf.cast(step, tf.float32)
            rise = 0.01 * tf.minimum(step / WARM, 1.0)
            return rise * tf.pow(0.999, tf.maximum(step - WARM, 0.0))

        def get_config(self):
            return {}

    return WarmAndFall()


def trainings(rules, lr=None, **how):
    """{family: a function that makes the training}; `lr`: a rate, or None for the schedule."""

    def rate(of):
        return lr if lr is not None else schedule_of(of.schedules.LearningRateSchedule)

    modern, legacy = tf_keras.optimizers, tf_keras.optimizers.legacy
    return {
        "keras3": lambda: Eager(lambda: keras.optimizers.Adam(rate(keras.optimizers)), rules, **how),
        "k2": lambda: Eager(lambda: modern.Adam(rate(modern)), rules, **how),
        "v2": lambda: Eager(lambda: legacy.Adam(rate(modern)), rules, **how),
    }


def plain(lr, rules):
    v1 = tf.compat.v1.train
    return {
        "v1": lambda: Eager(lambda: v1.AdamOptimizer(lr), rules, v1=True),
        "graph": lambda: Graph(lambda: v1.AdamOptimizer(lr), rules),
        "reference": lambda: Graph(lambda: v1.AdamOptimizer(lr), rules, resource=False),
    }


def judge(training, family, rules, steps, lr_of, restore=None):
    """Trains and compares each step with the oracle; (greatest error over bound, oracles)."""
    start, worst = Start(), 0.0
    # The kernels take 1 - beta in the variable's format, Keras' newer classes in Python's.
    betas = (0.9, 0.999) if family in ("keras3", "k2") else (float(np.float32(0.9)), float(np.float32(0.999)))
    oracles = [Oracle(rules, *betas, epsilon=training.epsilon) for _ in range(2)]
    for t, (dense, values) in enumerate(gradients(steps), start=1):
        if restore is not None and t == steps // 2:
            training = restore(training)
        before = [(*training.slots(i), value) for i, value in enumerate(values_of(training))]
        training.step(dense, values)
        alpha, lr = training.alpha(), float(lr_of(t))
        exact = lr * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        if not any(r["quantity"] == "alpha" for r in rules):
            assert abs(alpha - exact) <= 3e-4 * exact, (family, t)  # 1 - beta^t cancels in float32
        lr0 = start.see(lr)
        after, rates = values_of(training), training.rates()
        for i, gradient in enumerate((dense, whole(values))):
            m, v, w = before[i]
            # Keras 3 does not merge duplicate rows: it adds up their squares in v.
            squares = whole(values * values) if family == "keras3" and i == 1 else None
            at = (t, lr, lr0, alpha, squares)
            wanted, rate, allowed = oracles[i].step(w, m, v, gradient, *at)
            error = np.abs(after[i].astype(np.float64) - wanted) / allowed
            assert np.all(error <= 1), (family, t, i, float(error.max()))
            worst = max(worst, float(error.max()))
            off = np.abs(rates[i] - rate) * np.abs(oracles[i].direction)
            assert np.all(off <= allowed), (family, t, i, off, allowed)
            for mine, theirs in zip(training.slots(i), oracles[i].moments, strict=True):
                assert np.all(np.abs(mine - theirs) <= 1e-6 * np.abs(theirs) + oracles[i].noise), (
                    family,
                    t,
                    i,
                )
            kept = training.remembered(i)
            if kept is not None:
                assert np.all(np.abs(kept - oracles[i].previous) * np.abs(oracles[i].direction) <= allowed)
            oracles[i].previous = kept  # what the next step is judged by, as it is
    return worst, oracles


FAMILIES = ("keras3", "k2", "v2")


@pytest.mark.parametrize("family", FAMILIES)
def test_adabound_is_the_oracles_at_each_of_3000_noisy_steps(family):
    rules = [ADABOUND]
    training = trainings(rules)[family]()
    worst, _ = judge(training, family, rules, 3000, fallen)
    assert worst > 0.2  # the bound means something


@pytest.mark.parametrize("family", ("v1", "graph", "reference"))
def test_adabound_of_train_optimizers(family):
    rules = [ADABOUND]
    training = plain(0.01, rules)[family]()
    judge(training, family, rules, 3000 if family == "graph" else 500, lambda t: np.float32(0.01))


RULES = {
    "window": [{"id": "r", "quantity": "rate", "max": 0.02, "start": 5, "end": 20}],
    "lr": [{"id": "r", "quantity": "rate", "min": 0.5, "max": 2.0, "relative_to": "lr"}],
    "lr0": [{"id": "r", "quantity": "rate", "max": 3.0, "relative_to": "lr0"}],
    "lr0 given": [{"id": "r", "quantity": "rate", "max": 0.02, "relative_to": "lr/lr0", "lr0": 0.005}],
    "alpha": [{"id": "r", "quantity": "rate", "min": 0.3, "max": 3.0, "relative_to": "alpha"}],
    "corrected": [{"id": "r", "quantity": "rate", "max": 0.004, "convention": "corrected"}],
    "linear": [
        {
            "id": "r",
            "quantity": "rate",
            "max": {"kind": "linear", "from": 0.1, "to": 0.001, "start": 3, "end": 30},
        }
    ],
    "exp": [
        {
            "id": "r",
            "quantity": "rate",
            "max": {"kind": "exp", "from": 0.1, "to": 0.001, "start": 3, "end": 30},
        }
    ],
    "piecewise": [
        {
            "id": "r",
            "quantity": "rate",
            "max": {"kind": "piecewise", "boundaries": [4, 9], "values": [1.0, 0.1, 0.01]},
        }
    ],
    "alphas": [{"id": "r", "quantity": "alpha", "min": 0.0015, "max": 0.002}],
    "update": [{"id": "r", "quantity": "update", "min": 1e-5, "max": 2e-3}],
    "update_rms": [{"id": "r", "quantity": "update_rms", "max": 1e-3}],
    "rms_t": [{"id": "r", "quantity": "rms_t", "max": 1.0}],
    "update_to_weight": [{"id": "r", "quantity": "update_to_weight", "min": 1e-4, "max": 1e-3}],
    "slew": [{"id": "r", "quantity": "rate", "max_increase": 1.0002}],
    "fall": [{"id": "r", "quantity": "rate", "max_decrease": 1.05}],
    "slew, then fall": [
        {"id": "r", "quantity": "rate", "max_increase": 1.0002},
        {"id": "d", "quantity": "rate", "max_decrease": 1.05},
    ],
    "several": [
        {"id": "a", "quantity": "alpha", "max": 0.003},
        {"id": "b", "quantity": "rate", "max": 0.05, "start": 3},
        {
            "id": "c",
            "quantity": "rate",
            "min": 1e-3,
            "max": {"kind": "linear", "from": 1.0, "to": 1e-4, "start": 1, "end": 40},
        },
        {"id": "d", "quantity": "rate", "max_increase": 1.01, "end": 30},
        {"id": "e", "quantity": "update", "max": 1e-2},
        {"id": "f", "quantity": "update_rms", "max": 1e-3},
        {"id": "g", "quantity": "update_to_weight", "max": 1e-3, "mode": "shadow"},
    ],
}
STEPS = 60


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_rule_is_the_oracles(family, name):
    rules = RULES[name]
    training = trainings(rules, 0.01)[family]()
    _, oracles = judge(training, family, rules, STEPS, lambda t: np.float32(0.01))
    shown = training.shown()["variables"]
    totals = [shown[path]["rules"] for path in ("kernel", "table")]
    rows = [row for rows in totals for row in rows.values()]
    assert any(row["clamped_total"] > 0 for row in rows)
    assert all(row["samples"] == STEPS and row["clamped_frac"] <= 1 for row in rows)
    if name == "slew":
        assert [rows["r"]["clamped_total"] for rows in totals] == [oracle.bound_rises for oracle in oracles]


@pytest.mark.parametrize("name", [name for name in RULES if name != "rms_t"])
@pytest.mark.parametrize("family", ("v1", "graph", "reference"))
def test_each_rule_of_train_optimizers(family, name):
    rules = RULES[name]
    training = plain(0.01, rules)[family]()
    judge(training, family, rules, STEPS, lambda t: np.float32(0.01))


@pytest.mark.parametrize("family", ("v1", "graph", "reference"))
def test_rms_t_of_train_optimizers(family):
    """Their fused kernels and their sparse methods are given the gradient."""
    rules = RULES["rms_t"]
    training = plain(0.01, rules)[family]()
    judge(training, family, rules, STEPS, lambda t: np.float32(0.01))


# Legacy classes merge the doubles of sparse rows, whose number XLA cannot know: stock has no jit there.
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "mode, family", [("eager", family) for family in FAMILIES] + [("jit", "keras3"), ("jit", "k2")]
)
def test_each_rule_eagerly_and_compiled(family, mode, name):
    rules = RULES[name]
    training = trainings(rules, 0.01, mode=mode)[family]()
    judge(training, family, rules, 25, lambda t: np.float32(0.01))
