"""Rules that are right: what they become, the normal form, and the presets."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from adampatch.ruleset import Observe, Rule, Rules, find_preset, list_presets
from adampatch.ruleset import presets as presets_module

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
    ],
)
def test_rules_that_can_live_together(tmp_path: Path, second: str) -> None:
    text = (
        'version = 1\n[[rule]]\nid = "a"\nquantity = "rate"\nmatch = ["b/*"]\noptimizer = "Adam"\nmax = 1.0\n'
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


@pytest.mark.parametrize("preset", list_presets(), ids=lambda preset: preset.name)
def test_presets_load_and_say_what_they_are_for(preset: presets_module.Preset) -> None:
    rules = Rules.load(preset.name)
    assert all(rule.id.startswith(preset.name) for rule in rules.rules)
    assert preset.summary.endswith(".")
    assert "# Why " in preset.text()


def test_presets() -> None:
    names = "adabound ceiling embeddings floor shadow slew stable-adamw warmup-guard"
    assert [preset.name for preset in list_presets()] == names.split()
    assert (Rules.load("ceiling").rules[0].max, Rules.load("floor").rules[0].min) == (1.0, 1e-4)


def test_presets_of_an_installed_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages/adampatch"
    (package / "presets").mkdir(parents=True)
    (package / "presets/mine.toml").write_text("# Mine.\nversion = 1\n")
    monkeypatch.setattr(presets_module, "__file__", str(package / "ruleset/presets.py"))
    assert [(preset.name, preset.summary) for preset in list_presets()] == [("mine", "Mine.")]
