"""Rules that are right: what they become, and the normal form."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adampatch.ruleset import Observe, Rule, Rules, find_preset
from adampatch.ruleset.bounds import AdaBound, Exponential, Linear, Piecewise

FULL = """
version = 1

[observe]
emit = "tensor"
every = 10
per_variable = ["**/kernel"]

[runtime]
compile = false

[[rule]]
id = "ceiling-1"
match = ["encoder/**", "re:^dec.*$"]
exclude = ["**/bias"]
optimizer = "Adam*"
quantity = "rate"
max = 1            # a whole number is a number
mode = "enforce"   # what happens anyway may be said
relative_to = "absolute"
convention = "raw"
start = 1
allow_slow_fall = false

[[rule]]
id = "floor"
quantity = "rate"
min = 1e-4
accept_unbounded_step = true
"""

NORMAL = {
    "version": 1,
    "observe": {"emit": "tensor", "every": 10, "per_variable": ["**/kernel"]},
    "runtime": {"compile": False},
    "rules": [
        {
            "id": "ceiling-1",
            "match": ["encoder/**", "re:^dec.*$"],
            "exclude": ["**/bias"],
            "optimizer": "Adam*",
            "quantity": "rate",
            "min": None,
            "max": 1.0,
        },
        {
            "id": "floor",
            "match": ["**"],
            "exclude": [],
            "optimizer": "*",
            "quantity": "rate",
            "min": 1e-4,
            "max": None,
        },
    ],
}


EVERY_FIELD = """
version = 1
steps_per_epoch = 390

[[rule]]
id = "all"
match = ["encoder/**"]
optimizer = "Adam"
quantity = "rate"
min = { kind = "adabound", final = 0.1, gamma = 1e-3 }
max = { kind = "adabound", final = 1, gamma = 0.5 }
relative_to = "lr/lr0"
lr0 = 1e-3
max_increase = 2
max_decrease = 1.5
convention = "corrected"
start = "1 epoch"
end = "3.5 epochs"
mode = "shadow"
accept_unbounded_step = true
allow_slow_fall = true

[[rule]]
id = "ramps"
quantity = "update_rms"
min = { kind = "exp", from = 1e-6, to = 1e-5, end = 10 }
[rule.max]
kind = "linear"
from = 1
to = 0.5
start = "0 epochs"
end = "0.1 epochs"

[[rule]]
id = "steps"
quantity = "rms_t"
max = { kind = "piecewise", boundaries = ["2 epochs", 1000], values = [3, 2.0, 1] }
"""

EVERY_NORMAL = [
    {
        "id": "all",
        "match": ["encoder/**"],
        "exclude": [],
        "optimizer": "Adam",
        "quantity": "rate",
        "min": {"kind": "adabound", "final": 0.1, "gamma": 0.001, "side": "lower"},
        "max": {"kind": "adabound", "final": 1.0, "gamma": 0.5, "side": "upper"},
        "relative_to": "lr/lr0",
        "lr0": 0.001,
        "max_increase": 2.0,
        "max_decrease": 1.5,
        "convention": "corrected",
        "start": 391,
        "end": 1365,
        "mode": "shadow",
    },
    {
        "id": "ramps",
        "match": ["**"],
        "exclude": [],
        "optimizer": "*",
        "quantity": "update_rms",
        "min": {"kind": "exp", "from": 1e-6, "to": 1e-5, "start": 1, "end": 10},
        "max": {"kind": "linear", "from": 1.0, "to": 0.5, "start": 1, "end": 39},
    },
    {
        "id": "steps",
        "match": ["**"],
        "exclude": [],
        "optimizer": "*",
        "quantity": "rms_t",
        "min": None,
        "max": {"kind": "piecewise", "boundaries": [780, 1000], "values": [3.0, 2.0, 1.0]},
    },
]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return path


def test_all_that_is_supported(tmp_path: Path) -> None:
    rules = Rules.load(write(tmp_path, FULL))
    assert rules.observe == Observe("tensor", 10, ("**/kernel",))
    assert rules.compile is False
    assert rules.rules[0] == Rule(
        "ceiling-1", "rate", ("encoder/**", "re:^dec.*$"), ("**/bias",), "Adam*", None, 1.0
    )
    assert rules.source == tmp_path / "rules.toml"
    assert rules.normal_form() == NORMAL
    assert isinstance(rules.normal_form()["rules"][0]["max"], float)


def test_the_least_that_is_valid(tmp_path: Path) -> None:
    rules = Rules.load(write(tmp_path, "version = 1\n"))
    assert rules == Rules()
    assert rules.normal_form() == {"version": 1, "observe": {}, "runtime": {}, "rules": []}


def test_the_normal_form_comes_back(tmp_path: Path) -> None:
    rules = Rules.load(write(tmp_path, FULL))
    assert Rules.from_normal_form(rules.normal_form()) == rules
    path = tmp_path / "rules.json"
    path.write_text(rules.to_json())
    assert json.loads(rules.to_json()) == NORMAL
    # The consent to a lower bound was checked when the normal form was made.
    assert Rules.load(str(path)) == rules


def test_every_field_in_the_normal_form(tmp_path: Path) -> None:
    rules = Rules.load(write(tmp_path, EVERY_FIELD))
    form = rules.normal_form()
    assert form == {"version": 1, "observe": {}, "runtime": {}, "rules": EVERY_NORMAL}
    numbers = [form["rules"][0][name] for name in ("max_increase", "lr0")] + [form["rules"][1]["max"]["from"]]
    assert [type(number) for number in numbers] == [float] * 3
    path = tmp_path / "rules.json"
    path.write_text(rules.to_json())
    assert Rules.load(path) == Rules.from_normal_form(json.loads(rules.to_json())) == rules
    assert hash(Rules.load(path)) == hash(rules)


NAMES = st.lists(st.sampled_from(["**", "a/*", "re:^b", "**/kernel"]), min_size=1, max_size=3).map(tuple)
MOVING = st.one_of(
    st.floats(0.0, 9.0),
    st.builds(Linear, st.floats(0.0, 9.0), st.floats(0.0, 9.0), st.integers(1, 9), st.integers(10, 99)),
    st.builds(Exponential, st.floats(0.1, 9.0), st.floats(0.1, 9.0), st.integers(1, 9), st.integers(10, 99)),
    st.builds(AdaBound, st.floats(0.0, 9.0), st.floats(1e-9, 9.0), st.sampled_from(["lower", "upper"])),
    st.builds(lambda a, b: Piecewise((7, 70), (a, b, a)), st.floats(0.0, 9.0), st.floats(0.0, 9.0)),
)
FACTORS = st.none() | st.floats(1.0, 9.0, exclude_min=True)
RULE = st.builds(
    Rule,
    st.just("a"),
    st.just("rate"),
    NAMES,
    st.just(()),
    st.sampled_from(["*", "Adam"]),
    st.none(),
    MOVING,
    st.sampled_from(["lr0", "lr/lr0"]),
    st.none() | st.floats(1e-9, 9.0),
    FACTORS,
    FACTORS,
    st.sampled_from(["raw", "corrected"]),
    st.integers(1, 50),
    st.none() | st.integers(50, 99),
    st.sampled_from(["enforce", "shadow"]),
)


@settings(max_examples=300)
@given(RULE)
def test_any_rule_comes_back_from_its_normal_form(rule: Rule) -> None:
    rules = Rules((rule,))
    again = Rules.from_normal_form(json.loads(rules.to_json()))
    assert again == rules
    assert hash(again) == hash(rules)
    assert again.normal_form() == rules.normal_form()


def test_what_happens_anyway_may_be_said_and_is_left_out(tmp_path: Path) -> None:
    short = 'version = 1\n[[rule]]\nid = "a"\nquantity = "rate"\nmax = 1.0\n'
    long = short + (
        'match = ["**"]\nexclude = []\noptimizer = "*"\nrelative_to = "absolute"\nconvention = "raw"\n'
        'start = 1\nmode = "enforce"\naccept_unbounded_step = false\nallow_slow_fall = false\n'
    )
    one, other = Rules.load(write(tmp_path, short)), Rules.load(write(tmp_path, long))
    assert (one, hash(one)) == (other, hash(other))
    names = ["id", "match", "exclude", "optimizer", "quantity", "min", "max"]
    assert list(other.normal_form()["rules"][0]) == names


@pytest.mark.parametrize(
    "change", ["max = 2.0", "start = 2", 'mode = "shadow"', 'match = ["a"]', 'convention = "corrected"']
)
def test_rules_that_say_something_else_are_not_equal(tmp_path: Path, change: str) -> None:
    lines = ["version = 1", "[[rule]]", 'id = "a"', 'quantity = "rate"']
    one = Rules.load(write(tmp_path, "\n".join([*lines, "max = 1.0"])))
    rest = [] if change.startswith("max") else ["max = 1.0"]
    assert Rules.load(write(tmp_path, "\n".join([*lines, *rest, change]))) != one


@pytest.mark.parametrize(
    ("fields", "stateful"),
    [
        ("max = 1.0", False),
        ('max = 1.0\nrelative_to = "lr"', False),
        ('max = 1.0\nrelative_to = "lr0"', True),
        ('max = 1.0\nrelative_to = "lr/lr0"', True),
        ('max = 1.0\nrelative_to = "lr/lr0"\nlr0 = 0.1', False),
        ("max_increase = 1.5", True),
        ("max_decrease = 1.5\nallow_slow_fall = true", True),
    ],
)
def test_which_rules_remember_something(tmp_path: Path, fields: str, stateful: bool) -> None:
    text = f'version = 1\n[[rule]]\nid = "a"\nquantity = "rate"\n{fields}\n'
    assert Rules.load(write(tmp_path, text)).rules[0].stateful is stateful


def test_consent_is_for_bounds_that_raise_a_rate(tmp_path: Path) -> None:
    for fields in (
        'quantity = "alpha"\nmin = 0.1',
        'quantity = "update"\nmin = 0.1',
        'quantity = "update_to_weight"\nmin = 0.1',
        'quantity = "rate"\nmin = { kind = "linear", from = 0, to = 0.0, end = 9 }',
        'quantity = "rate"\nmin = { kind = "adabound", final = 0.0, gamma = 1.0 }',
    ):
        Rules.load(write(tmp_path, f'version = 1\n[[rule]]\nid = "a"\n{fields}\n'))


def test_a_normal_form_is_a_copy(tmp_path: Path) -> None:
    rules = Rules.load(write(tmp_path, FULL))
    rules.normal_form()["rules"].clear()
    rules.normal_form()["observe"]["every"] = 3
    assert rules.normal_form() == NORMAL
    with pytest.raises(dataclasses.FrozenInstanceError):
        rules.compile = True  # type: ignore[misc]


@pytest.mark.parametrize(
    "second",
    [
        'match = ["a/*"]\nmin = 3.0',  # beside "b/*"
        'match = ["b/*"]\noptimizer = "Adamax"\nmin = 3.0',  # another optimizer
        'match = ["b/*"]\nexclude = ["b/c"]\noptimizer = "Adam"\nmin = 1.0',  # they meet in one value
        'match = ["**"]\nexclude = ["b/*"]\nmin = 3.0',
        'match = ["b/*"]\nmin = 0.0',
        'match = ["b/*"]\nmin = 3.0\nrelative_to = "lr"',  # what multiplies them may be anything
        'match = ["b/*"]\nmin = 3.0\nconvention = "corrected"',
        'match = ["b/*"]\nmin = 3.0\nmode = "shadow"',
        'match = ["b/*"]\nmin = 3.0\nend = 99',  # the other one starts at 100
    ],
)
def test_rules_that_can_live_together(tmp_path: Path, second: str) -> None:
    text = (
        'version = 1\n[[rule]]\nid = "a"\nquantity = "rate"\nmatch = ["b/*"]\noptimizer = "Adam"\nmax = 1.0\n'
        "start = 100\n"
        f'[[rule]]\nid = "b"\nquantity = "rate"\naccept_unbounded_step = true\n{second}\n'
    )
    assert len(Rules.load(write(tmp_path, text)).rules) == 2


def test_min_zero_needs_no_consent(tmp_path: Path) -> None:
    text = 'version = 1\n[[rule]]\nid = "a"\nquantity = "rate"\nmin = -0.0\n'
    assert str(Rules.load(write(tmp_path, text)).rules[0].min) == "0.0"


def test_a_value_with_a_slash_or_an_ending_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "version = 1\n")
    (tmp_path / "ceiling").write_text("version = 1\n[observe]\nevery = 7\n")
    assert Rules.load("rules.toml") == Rules()
    assert Rules.load("./ceiling").observe.every == 7
    assert Rules.load("ceiling").source == find_preset("ceiling").path
