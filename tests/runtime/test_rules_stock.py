"""Rules that bind nothing, or only watch, leave stock's bits; numbers change without a new trace."""

import numpy as np
import pytest
from bits import same
from rule_training import Eager, Graph, Stock, gradients, values_of

import adampatch

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
tf_keras = pytest.importorskip("tf_keras")
v1 = tf.compat.v1

FAMILIES = {
    "keras3": lambda: keras.optimizers.Adam(0.01),
    "k2": lambda: tf_keras.optimizers.Adam(0.01),
    "v2": lambda: tf_keras.optimizers.legacy.Adam(0.01),
    "v1": lambda: v1.train.AdamOptimizer(0.01),
}
WATCHING = [
    {"id": "a", "quantity": "rate", "max": 1e-3, "mode": "shadow"},
    {"id": "b", "quantity": "alpha", "max": 1e-9, "mode": "shadow"},
    {"id": "c", "quantity": "rate", "max_increase": 1.0001, "mode": "shadow"},
    {"id": "d", "quantity": "update", "max": 1e-9, "mode": "shadow"},
    {"id": "e", "quantity": "update_rms", "max": 1e-9, "mode": "shadow"},
    {"id": "f", "quantity": "rate", "max": 1e-9, "start": 1000},
]
LOOSE = [
    {"id": "a", "quantity": "rate", "min": 0.0, "max": 1e30},
    {"id": "b", "quantity": "alpha", "max": 1.0, "relative_to": "lr"},
    {"id": "c", "quantity": "rate", "max_increase": 1e6},
    {"id": "d", "quantity": "update", "max": 1e9},
    {"id": "e", "quantity": "update_rms", "max": 1e9},
    {"id": "f", "quantity": "rms_t", "max": 1e9},
    {"id": "g", "quantity": "update_to_weight", "max": 1e9},
]


@pytest.mark.parametrize("mode", ("eager", "function"))
@pytest.mark.parametrize("rules", (WATCHING, LOOSE), ids=("watching", "loose"))
@pytest.mark.parametrize("family", FAMILIES)
def test_what_binds_nothing_leaves_the_bits(family, rules, mode):
    stock = Stock(FAMILIES[family], mode)
    ours = Eager(FAMILIES[family], rules, mode, v1=family == "v1")
    for dense, values in gradients(25):
        stock.step(dense, values)
        ours.step(dense, values)
    assert same([v.numpy() for v in stock.variables()], [v.numpy() for v in ours.variables()])
    if rules is WATCHING:
        row = ours.shown()["variables"]["kernel"]["rules"]
        assert (
            row["a"]["clamped_frac"] > 0.5
            and row["d"]["clamped_frac_active"] == 1
            and row["f"]["clamped_total"] == 0
        )
        assert row["e"]["clamp_rel_change"] > 0.9 and row["c"]["clamped_total"] > 0


@pytest.mark.parametrize("family", ("keras3", "k2", "v2"))
def test_numbers_change_without_a_new_trace(family):
    def rules(high):
        return {"version": 1, "rules": [{"id": "r", "quantity": "rate", "max": high}]}

    run = Eager(FAMILIES[family], rules(1e-3)["rules"])
    steps = list(gradients(4))
    run.step(*steps[0])
    assert run.rates()[0].max() == np.float32(1e-3)
    traced = run.apply.experimental_get_tracing_count()
    adampatch.update_rules(run.opt, rules(2e-4))
    run.step(*steps[1])
    assert run.rates()[0].max() == np.float32(2e-4)
    assert run.apply.experimental_get_tracing_count() == traced
    with pytest.raises(ValueError, match="more than numbers"):
        adampatch.update_rules(
            run.opt, {"version": 1, "rules": [{"id": "r", "quantity": "alpha", "max": 1.0}]}
        )


def test_numbers_can_be_fed_to_a_v1_graph():
    run = Graph(FAMILIES["v1"], [{"id": "r", "quantity": "rate", "max": 1e-3}])
    dense, values = next(iter(gradients(1)))
    (numbers,) = run.graph.get_collection("adampatch/numbers")
    feed = dict(zip(run.fed, (dense, values), strict=True))
    assert run.session.run([run.shows["kernel"]["rate"], run.train], feed)[0].max() == np.float32(1e-3)
    feed[numbers] = [2e-4]
    assert run.session.run([run.shows["kernel"]["rate"], run.train], feed)[0].max() == np.float32(2e-4)


@pytest.mark.parametrize("what", ("lr", "alpha", "beta_1"))
def test_what_the_code_does_not_show_is_said_before_the_first_update(what):
    class Bare(v1.train.Optimizer):
        def __init__(self):
            super().__init__(False, "Bare")

        def _create_slots(self, variables):
            for w in variables:
                self._zeros_slot(w, "v", "v")

        def _resource_apply_dense(self, grad, var):
            v = self.get_slot(var, "v")
            new = v.assign(0.9 * v + 0.1 * grad * grad)
            update = grad * 0.1 / (tf.sqrt(new) + 1e-7)
            step = adampatch.runtime.bind(rules).step
            rate = lambda: 0.1 / (tf.sqrt(new) + 1e-7)  # noqa: E731
            return var.assign_sub(step(self, var, update, rate=rate, direction=lambda: grad))

    rule = {
        "lr": {"relative_to": "lr"},
        "alpha": {"quantity": "alpha"},
        "beta_1": {"convention": "corrected"},
    }[what]
    rules = {"version": 1, "rules": [{"id": "r", "quantity": "rate", "max": 1.0, **rule}]}
    w = tf.Variable([1.0, 2.0])
    with pytest.raises(ValueError, match=r'rule "r": .* the code does not show (it|beta_1) .Bare.'):
        Bare().apply_gradients([(tf.ones([2]), w)])
    assert values_of(type("Run", (), {"w": [w]}))[0].tolist() == [1.0, 2.0]
