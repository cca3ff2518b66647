"""Alerts: what gives reason to one, and that each is raised once."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import adampatch
from adampatch.runtime import alerts, draining, records, settings

RULE = {"id": "top", "match": ["**"], "exclude": [], "optimizer": "*", "quantity": "rate", "max": 1.0}


def form(**more):
    return {"version": 1, "rules": [dict(RULE, **more)]}


def rule(**more):
    return settings.check_form(form(**more), "test")[1][0]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(records, "_WARNED", set())


def record(*rules):
    return types.SimpleNamespace(settings=types.SimpleNamespace(rules=list(rules)), optimizer_name="Adam")


def found(step=1, lr=1e-3, alpha=1e-3, **numbers):
    calm = {"nonfinite": 0, "active_frac": 1.0, "clamped_frac": 0.5, "clamped_frac_active": 0.5}
    return {"step": step, "lr": lr, "alpha": alpha, "variables": {"a/kernel": dict(calm, **numbers)}}


def raised(*snapshots, optimizer=None, of=None):
    state = alerts.State()
    return [a.kind for s in snapshots for a in alerts.check(state, of or record(), optimizer, "Adam", s)]


@pytest.mark.parametrize(
    ("kind", "words", "snapshot"),
    [
        ("alpha_zero", "alpha is 0: no update moves anything", found(alpha=0.0)),
        ("alpha_not_finite", "alpha is inf", found(alpha=float("inf"))),
        ("rate_not_finite", "3 elements of the rate of a/kernel are not finite", found(nonfinite=3)),
        ("eps_dominated", "epsilon and not the gradients", found(eps_dominated_frac_active=0.6)),
    ],
)
def test_each_is_raised_once_and_warned_of(kind, words, snapshot):
    with pytest.warns(RuntimeWarning, match=words):
        assert raised(snapshot, snapshot) == [kind]


@pytest.mark.parametrize(
    "snapshot",
    [
        found(),
        found(alpha=None),
        found(alpha=0.0, lr=0.0),  # a schedule that ended
        found(eps_dominated_frac_active=0.5),
        found(eps_dominated_frac=1.0, active_frac=0.0),  # nobody trains it
    ],
)
def test_what_is_as_it_should_be_raises_nothing(snapshot, recwarn):
    assert raised(snapshot) == []
    assert not recwarn.list


@pytest.mark.parametrize(("share", "kind"), [(0.0, "rule_never"), (1.0, "rule_always")])
@pytest.mark.parametrize("by_rule", [False, True])
def test_a_rule_that_never_or_always_binds_for_a_thousand_updates_is_named(share, kind, by_rule):
    shares = {"clamped_frac": share, "clamped_frac_active": share}
    numbers = {"rules": {"top": shares}} if by_rule else shares
    steps = [found(step, **numbers) for step in (1, 501, 1000, 1001, 1101)]
    with pytest.warns(RuntimeWarning, match='the rule "top" has bound'):
        assert raised(*steps, of=record(rule())) == [kind]
    between = found(501)
    if by_rule:
        between["variables"]["a/kernel"]["rules"] = {"top": {"clamped_frac": 0.5, "clamped_frac_active": 0.5}}
    assert raised(steps[0], between, *steps[2:], of=record(rule())) == []


def test_a_rule_is_not_named_for_what_it_does_outside_of_its_window(recwarn):
    idle = {"clamped_frac": 0.0, "clamped_frac_active": 0.0}
    steps = [found(step, rules={"top": idle}) for step in (1, 1001, 2001, 3001)]
    assert raised(*steps, of=record(rule(start=3000))) == []
    assert raised(*steps, of=record(rule(end=900))) == []
    assert raised(*steps, of=record(rule(start=500, end=2500))) == ["rule_never"]


def test_a_schedule_that_counts_batches_is_named_where_gradients_are_accumulated():
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-3, 100, 0.9, staircase=True)
    counting = keras.optimizers.Adam(schedule, gradient_accumulation_steps=4)
    with pytest.warns(RuntimeWarning, match="schedule counts batches"):
        assert raised(found(), optimizer=counting) == ["clocks"]
    for calm in (keras.optimizers.Adam(schedule), keras.optimizers.Adam(1e-3, gradient_accumulation_steps=4)):
        assert raised(found(), optimizer=calm) == []


def logged(optimizer, gradients, variable):
    """Alerts of one training, [(kind, step)]."""
    seen = []

    def listener(_, batch):
        seen.extend((m[len("alert/") :], batch.step) for _, m, _, _ in batch.rows if m.startswith("alert/"))

    optimizer.build([variable])
    step = tf.function(lambda gradient: optimizer.apply([gradient], [variable]))
    draining.listen(listener)
    try:
        for gradient in gradients:
            step(tf.cast(gradient, variable.dtype))
        draining.drain_optimizer(optimizer)
    finally:
        draining.unlisten(listener)
    return seen


def weights(dtype="float32"):
    return keras.Variable(np.linspace(0.5, 1.5, 4), dtype=dtype, name="w")


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:adampatch")
@pytest.mark.parametrize(
    ("kind", "arguments", "dtype", "gradient"),
    [
        ("alpha_zero", {}, "bfloat16", [1, 1, 1, 1]),  # beta_2 rounds to 1
        ("rate_not_finite", {"epsilon": 0.0}, "float32", [0, 1, 1, 1]),
        ("eps_dominated", {}, "float32", [0, 1e-8, 1e-8, 1]),
        ("clocks", {"gradient_accumulation_steps": 2}, "float32", [1, 2, 3, 4]),
        (None, {}, "float32", [0, 1, 2, 3]),
    ],
)
def test_a_training_in_trouble_raises_its_alert_once_at_the_first_sample(kind, arguments, dtype, gradient):
    rate = 1e-3
    if kind == "clocks":
        rate = keras.optimizers.schedules.ExponentialDecay(rate, 5, 0.5)
    optimizer = adampatch.patched(keras.optimizers.Adam(rate, **arguments), every=2)
    assert logged(optimizer, [gradient] * 8, weights(dtype)) == ([] if kind is None else [(kind, 1)])


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:adampatch")
@pytest.mark.parametrize(("maximum", "kind"), [(1e9, "rule_never"), (1e-9, "rule_always"), (2e-3, None)])
def test_a_rule_that_is_idle_or_binds_throughout_is_named_after_a_thousand_updates(maximum, kind):
    optimizer = adampatch.patched(keras.optimizers.Adam(1e-3), every=250, rules=form(max=maximum))
    # steady gradients of 1 and less: rates from 1e-3 on, so 2e-3 bounds some of them
    found = logged(optimizer, [[1.0, 1.0, 0.1, 0.01]] * 1251, weights())
    assert found == ([] if kind is None else [(kind, 1001)])
