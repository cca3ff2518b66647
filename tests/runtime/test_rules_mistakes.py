"""The mistakes that published AdaBound ports make, re-created in ours one at a time: each is noticed.

Every test first trains as we do, which passes, and then with the mistake, which must not.
"""

import numpy as np
import pytest
import test_rules_oracle as oracle
from rule_training import Eager, gradients, values_of

import adampatch
from adampatch.runtime import bind, bounding, kernels, moments, records, rule_state, stepping

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
tf_keras = pytest.importorskip("tf_keras")

BOTH = [
    oracle.ADABOUND
    | {"min": dict(oracle.ADABOUND["min"], gamma=0.05), "max": dict(oracle.ADABOUND["max"], gamma=0.05)}
]
STEPS = 80


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch):
    monkeypatch.setattr(oracle, "WARM", 20)


def train(restore=None):
    training = oracle.trainings(BOTH)["v2"]()
    oracle.judge(training, "v2", BOTH, STEPS, oracle.fallen, restore)


def fails(restore=None):
    with pytest.raises(AssertionError):
        train(restore)


def replaced(monkeypatch, owner, name, change):
    monkeypatch.setattr(owner, name, change(getattr(owner, name)))


def test_the_second_moment_is_never_stored(monkeypatch):
    train()

    def forgetful(write_state):
        def write(handle, value, x, resource):
            return None if handle is getattr(x, "v", None) else write_state(handle, value, x, resource)

        return write

    replaced(monkeypatch, kernels, "write_state", forgetful)
    fails()


def test_the_upper_bound_has_a_wrong_sign(monkeypatch):
    def wrong(value):
        def bound(given, numbers, moment):
            if given.kind == "upper":
                return numbers[0] * (1.0 - 1.0 / (numbers[1] * moment.t))
            return value(given, numbers, moment)

        return bound

    train()
    replaced(monkeypatch, moments, "_value", wrong)
    fails()


def test_bounds_do_not_move(monkeypatch):
    train()
    monkeypatch.setattr(moments.Moment, "t", property(lambda self: tf.constant(1.0, tf.float64)))
    fails()


def test_the_sparse_path_has_another_clock(monkeypatch):
    right = moments.Moment.limits
    train()

    def limits(self, rule, site):
        if "table" not in site.path:
            return right(self, rule, site)
        other = moments.Moment(self.optimizer, self.record, self.alone)
        other._t = self.t + 1.0
        return right(other, rule, site)

    monkeypatch.setattr(moments.Moment, "limits", limits)
    fails()


def test_the_learning_rate_at_the_start_is_the_live_one(monkeypatch):
    train()
    monkeypatch.setattr(moments.Moment, "lr0", lambda self, rule: self.lr(rule))
    fails()


def restored(training):
    """The training, gone on with from a checkpoint in new objects."""
    import os
    import tempfile

    again = oracle.trainings(BOTH)["v2"]()
    next_gradients = list(gradients(1))
    again.step(*next_gradients[0])  # makes the slots
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "c")
        of = lambda run: tf.train.Checkpoint(optimizer=run.opt, kernel=run.w[0], table=run.w[1])  # noqa: E731
        of(again).read(of(training).write(path))
    return again


def test_the_learning_rate_at_the_start_is_lost_on_restore(monkeypatch):
    train(restored)
    # A child of no optimizer is in no checkpoint.
    monkeypatch.setattr(rule_state.RuleState, "_attach", lambda self, optimizer: self._hold())
    monkeypatch.setattr(
        rule_state.RuleState,
        "_hold",
        lambda self: setattr(self, "holder", self.holder or tf.Module()),
        raising=False,
    )
    fails(restored)


def test_the_clamp_is_on_the_wrong_quantity(monkeypatch):
    right = bounding._Bounding.bound_rate

    def on_the_update(self):
        stock = self.rate
        right(self)
        self.rate, self.clamped = stock, None
        low, high = bounding._tightest(self._rules("rate"))
        self.update, mask = bounding.clip(self.update, *bounding._cast((low, high), self.dtype))
        self._clamp(mask)

    train()
    monkeypatch.setattr(bounding._Bounding, "bound_rate", on_the_update)
    fails()


def test_a_variable_is_silently_skipped(monkeypatch):
    right = records.Record.rules_for
    train()
    monkeypatch.setattr(
        records.Record, "rules_for", lambda self, path: [] if "table" in path else right(self, path)
    )
    fails()


def test_decay_has_a_wrong_sign(monkeypatch):
    rules = {"version": 1, "rules": [{"id": "r", "quantity": "rate", "max": 0.5}]}

    class Decaying(tf_keras.optimizers.legacy.Adam):
        pass

    def moved():
        w = tf.Variable([1.0, 2.0])
        update = stepping.stepped(
            bind(rules), Decaying(), w, tf.constant([1.0, 0.1]) * 3.0 + 0.25,
            lambda: tf.constant([1.0, 0.1]), lambda: tf.constant(3.0), lambda: tf.constant(0.25), None, None,
        )  # fmt: skip
        return update.numpy().tolist()

    assert np.allclose(moved(), [0.5 * 3 + 0.25, 0.1 * 3 + 0.25])
    monkeypatch.setattr(bounding._Bounding, "_with_decay", lambda self, step: step - self.decay)
    assert not np.allclose(moved(), [0.5 * 3 + 0.25, 0.1 * 3 + 0.25])


def test_options_are_dropped_by_get_config(monkeypatch):
    options = {"learning_rate": 0.02, "amsgrad": True, "epsilon": 1e-4, "name": "mine"}

    def kept():
        ours = adampatch.patched(keras.optimizers.Adam(**options), rules={"version": 1, "rules": BOTH})
        config = ours.get_config()
        same = all(config.get(name) == pytest.approx(value) for name, value in options.items())
        return same and ours.from_config(config).amsgrad

    assert kept()
    right = keras.optimizers.Adam.get_config

    def dropping(self):
        config = right(self)
        config.pop("amsgrad")
        return config

    monkeypatch.setattr(keras.optimizers.Adam, "get_config", dropping)
    with pytest.raises(AssertionError):
        assert kept()


def test_a_clamp_turns_nan_into_a_number(monkeypatch):
    def rates():
        training = Eager(oracle.tf_keras.optimizers.legacy.Adam, BOTH)
        dense, values = next(iter(gradients(1)))
        dense[0, 0], dense[1, 1] = np.nan, np.inf
        training.step(dense, values)
        return training.rates()[0], values_of(training)[0]

    rate, w = rates()
    assert np.isnan(rate[0, 0]) and np.isnan(w[0, 0]) and not np.isfinite(w[1, 1]) and np.isfinite(rate[2, 2])

    def swallowing(value, low, high):
        inside = tf.logical_and(value >= low, value <= high)
        return tf.where(inside, value, high), tf.logical_not(inside)

    monkeypatch.setattr(bounding, "clip", swallowing)
    assert not np.isnan(rates()[0][0, 0])


def test_a_limit_of_change_forgets(monkeypatch):
    rules = [{"id": "s", "quantity": "rate", "max_increase": 1.0002}]

    def run():
        oracle.judge(oracle.trainings(rules, 0.01)["v2"](), "v2", rules, 30, lambda t: np.float32(0.01))

    run()
    monkeypatch.setattr(rule_state, "write", lambda variable, value: [])
    with pytest.raises((AssertionError, TypeError)):
        run()
