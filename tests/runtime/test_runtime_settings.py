"""Globs, bounds, settings and their errors; no TensorFlow."""

import json

import pytest

from adampatch.runtime import bind, matching, settings


@pytest.mark.parametrize(
    "pattern, path, expected",
    [
        ("**", "a/b/kernel", True),
        ("*", "kernel", True),
        ("*", "a/kernel", False),
        ("**/kernel", "kernel", True),
        ("**/kernel", "a/b/kernel", True),
        ("**/kernel", "a/b/nokernel", False),
        ("encoder/**", "encoder/a/b", True),
        ("a**b", "a/x/b", True),
        ("a**b", "a/x/c", False),
        ("re:^a", "ab", True),
        ("re:^a", "ba", False),
        ("encoder/**", "decoder/a", False),
        ("a/**/k", "a/k", True),
        ("a/**/k", "a/b/c/k", True),
        ("a/*/k", "a/b/c/k", False),
        ("k[0]", "k[0]", True),
        ("k[0]", "k0", False),
        ("a.b", "axb", False),
        ("re:^enc.*bias$", "encoder/bias", True),
        ("re:bias", "encoder/bias_2", True),
    ],
)
def test_globs(pattern, path, expected):
    assert matching.matches(pattern, path) is expected


def rule(**fields):
    base = {"id": "r", "match": ["**"], "exclude": [], "optimizer": "*", "quantity": "rate", "max": 1.0}
    return dict(base, **fields)


def checked(*rules):
    return settings.check_form({"version": 1, "rules": list(rules)}, "here")[1]


def ids(rules, path, optimizer):
    return [found.id for found in matching.rules_of(rules, path, optimizer)]


def test_rules_hold_for_what_they_match_and_do_not_exclude():
    rules = checked(
        rule(), rule(id="s", max=0.5, min=0.1, exclude=["*/bias"]), rule(id="t", optimizer="Nadam", max=0.2)
    )
    assert ids(rules, "a/kernel", "Adam") == ["r", "s"]
    assert ids(rules, "a/bias", "Adam") == ["r"]
    assert ids(rules, "a/kernel", "Nadam") == ["r", "s", "t"]


def test_one_of_several_patterns_is_enough():
    rules = checked(rule(match=["a/*", "b/*"]))
    assert ids(rules, "b/w", "Adam") == ["r"]
    matching.check_patterns(rules, ["a/w", "b/w"], "Adam")


def test_a_rate_may_be_fixed():
    assert ids(checked(rule(min=0.5, max=0.5)), "w", "Adam") == ["r"]


def test_an_empty_intersection_names_both_rules():
    rules = checked(rule(id="up", min=2.0, max=None), rule(id="down", max=1.0))
    with pytest.raises(ValueError, match="the rules up, down leave no rate for 'w'"):
        matching.rules_of(rules, "w", "Adam")


def test_bounds_that_move_or_do_not_hold_together_may_cross():
    falling = {"kind": "linear", "from": 2.0, "to": 0.1, "start": 1, "end": 9}
    rules = checked(
        rule(id="up", min=1.5, max=None, end=3), rule(id="down", max=1.0), rule(id="later", max=falling)
    )
    assert ids(rules, "w", "Adam") == ["up", "down", "later"]


def test_a_pattern_without_a_variable_shows_the_five_nearest():
    paths = [*(f"dense_{i}/kernel" for i in range(7)), "dense_1/bias"]
    with pytest.raises(ValueError) as error:
        matching.check_patterns(checked(rule(match=["dense_1/kernal"])), paths, "Adam", "rules.toml")
    text = str(error.value)
    assert "rules.toml: rule \"r\": pattern 'dense_1/kernal' matches no variable of Adam" in text
    assert "nearest are dense_1/kernel, " in text and text.count("/k") == 6


LINEAR = {"kind": "linear", "from": 1.0, "to": 2.0, "start": 1, "end": 5}


@pytest.mark.parametrize(
    "form, words",
    [
        ({"version": 2}, "version 2 of the rules"),
        ({"gates": 1}, "'gates' is not known to this runtime"),
        ({"rules": [rule(quantity="trust_ratio")]}, "quantity 'trust_ratio' is not known to this runtime"),
        ({"rules": [rule(max={"kind": "cosine"})]}, "max of kind 'cosine' is not known"),
        ({"rules": [rule(max={"kind": "linear", "from": 1.0})]}, "max.to is missing"),
        ({"rules": [rule(max=dict(LINEAR, end=1))]}, "max ends at 1 and starts at 1"),
        ({"rules": [rule(max=dict(LINEAR, steps=3))]}, "max.steps is not known"),
        ({"rules": [rule(max=dict(LINEAR, kind="exp", to=0.0))]}, "max of kind exp is"),
        (
            {"rules": [rule(max={"kind": "adabound", "final": 0.1, "gamma": 0.0, "side": "upper"})]},
            "gamma is 0",
        ),
        ({"rules": [rule(max={"kind": "adabound", "final": 0.1, "gamma": 0.1, "side": "in"})]}, "side 'in'"),
        (
            {"rules": [rule(max={"kind": "piecewise", "boundaries": [5], "values": [1.0]})]},
            "1 boundaries and 1",
        ),
        ({"rules": [rule(max={"kind": "piecewise", "boundaries": [5, 5], "values": [1, 2, 3]})]}, "rising"),
        ({"rules": [rule(relative_to="prev")]}, "relative_to 'prev' is not known"),
        ({"rules": [rule(mode="observe")]}, "mode 'observe' is not known"),
        ({"rules": [rule(trip=3)]}, "trip = 3 is not known"),
        ({"rules": [rule(max_increase=1.0)]}, "max_increase is 1.0; use a factor above 1"),
        (
            {"rules": [rule(quantity="update", max_increase=2.0)]},
            "change limits and conventions are of rates",
        ),
        ({"rules": [rule(quantity="rms_t", min=0.1)]}, "rms_t has no min"),
        ({"rules": [rule(start=0)]}, "start is 0"),
        ({"rules": [rule(start=5, end=4)]}, "it ends at 4 and starts at 5"),
        ({"rules": [rule(relative_to="lr0", lr0=0.0)]}, "lr0 is 0"),
        ({"rules": [rule(max=-1.0)]}, "max is -1.0"),
        ({"rules": [rule(max=float("nan"))]}, "max is nan"),
        ({"rules": [rule(min=2.0)]}, "min 2.0 is above max 1.0"),
        ({"rules": [rule(max=None)]}, "neither min nor max"),
        ({"rules": [rule(match=["re:("])]}, "re:\\("),
        ({"observe": {"emit": "lots"}}, "emit is 'lots'; use one of off, stats, tensor"),
        ({"observe": {"log": "x"}}, "observe.log is not known"),
    ],
)
def test_a_normal_form_this_runtime_does_not_know_is_refused(form, words):
    with pytest.raises(ValueError, match=words):
        bind(form)


def test_neutral_fields_of_the_full_language_pass():
    assert (
        len(checked(rule(relative_to="absolute", mode="enforce", start=1, end=None, allow_slow_fall=False)))
        == 1
    )


def test_who_wins(tmp_path):
    table = {"version": 1, "observe": {"emit": "tensor", "every": 7}, "rules": [rule()]}
    resolve = settings.resolve
    plain = resolve(None, {}, {})
    assert (plain.emit, plain.every, plain.rules) == ("stats", 100, [])
    assert resolve(table, {}, {}).every == 7
    assert resolve(table, {"emit": "off", "every": 3}, {}).every == 3
    from_environment = resolve(table, {"emit": "off"}, {"ADAMPATCH_EMIT": "stats", "ADAMPATCH_EVERY": "9"})
    assert (from_environment.emit, from_environment.every) == ("stats", 9)
    assert resolve(None, {"emit": "tensor"}, {}).every == 1
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"version": 1, "rules": [rule(id="file", max=0.25)]}))
    replaced = resolve(table, {}, {"ADAMPATCH_RULES": str(path)})
    assert [r.id for r in replaced.rules] == ["file"] and replaced.emit == "stats"
    assert [r.id for r in resolve(table, {"rules": str(path)}, {}).rules] == ["file"]


@pytest.mark.parametrize(
    "environment, words",
    [
        ({"ADAMPATCH_EMIT": "loud"}, "ADAMPATCH_EMIT: emit is 'loud'"),
        ({"ADAMPATCH_EVERY": "0"}, "ADAMPATCH_EVERY: every is '0'"),
        ({"ADAMPATCH_EVERY": "often"}, "ADAMPATCH_EVERY: every is 'often'"),
        ({"ADAMPATCH_RULES": "/no/such.json"}, "/no/such.json"),
    ],
)
def test_a_bad_environment_is_named(environment, words):
    with pytest.raises(ValueError, match=words):
        settings.resolve(None, {}, environment)


def test_toml_without_the_tool_side_says_what_to_do(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "adampatch.ruleset", None)
    with pytest.raises(RuntimeError, match=r"adampatch rules check my\.toml --json"):
        settings.load_rules("my.toml")


def test_bind_is_one_object_per_rules():
    assert bind({"version": 1, "rules": [rule()]}) is bind({"version": 1, "rules": [rule()]})
    assert bind(None) is not bind({"version": 1, "rules": [rule()]})
