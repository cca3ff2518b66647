"""Alerts: what gives reason to one, and that each is raised once."""

import types

import pytest

from adampatch.runtime import alerts, records

RULE = {"id": "top", "match": ["**"], "exclude": [], "optimizer": "*", "min": None, "max": 1.0}


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
        assert raised(*steps, of=record(RULE)) == [kind]
    between = found(501)
    if by_rule:
        between["variables"]["a/kernel"]["rules"] = {"top": {"clamped_frac": 0.5, "clamped_frac_active": 0.5}}
    assert raised(steps[0], between, *steps[2:], of=record(RULE)) == []


def test_a_schedule_that_counts_batches_is_named_where_gradients_are_accumulated():
    keras = pytest.importorskip("keras")
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-3, 100, 0.9, staircase=True)
    counting = keras.optimizers.Adam(schedule, gradient_accumulation_steps=4)
    with pytest.warns(RuntimeWarning, match="schedule counts batches"):
        assert raised(found(), optimizer=counting) == ["clocks"]
    for calm in (keras.optimizers.Adam(schedule), keras.optimizers.Adam(1e-3, gradient_accumulation_steps=4)):
        assert raised(found(), optimizer=calm) == []
