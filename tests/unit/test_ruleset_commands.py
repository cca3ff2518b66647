"""`adampatch rules check`, `list` and `show` as they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adampatch.cli import main
from adampatch.ruleset import Rules, find_preset, list_presets

FIXTURES = Path(__file__).parent.parent / "fixtures/rules"

#: what is wrong with crossed.toml, below `error: PATH:`
CROSSED = [
    '9: rule "closing-in": min 0.0538319 is greater than max 0.0532506 at update 1166; '
    "no value satisfies both: lower min or raise max, or end the rule at update 1165",
    '23: rule "floor": together with rule "ceiling" it leaves no update_rms for the same variables at update '
    '2146 (min 0.001 of "floor" is greater than max 0.000999344 of "ceiling"); change one of the bounds, or '
    "keep the variables apart with match and exclude, or end one of the rules at update 2145",
]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["rules", *arguments])
    out = capsys.readouterr()
    return int(ended.value.code or 0), out.out, out.err


def test_crossed_bounds_get_their_update_and_a_fix(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = FIXTURES / "crossed.toml"
    code, out, err = run(capsys, "check", str(path))
    assert (code, out) == (2, "")
    assert err.splitlines() == [f"error: {path}:{text}" for text in CROSSED]
    # The fix is one: with the rules ended where it says, they are valid.
    text = path.read_text().replace("accept_unb", "end = 1165\naccept_unb")
    mended = tmp_path / path.name
    mended.write_text(text.replace("min = 1e-3", "min = 1e-3\nend = 2145"))
    assert len(Rules.load(mended).rules) == 3


def test_check_says_what_each_rule_means(capsys: pytest.CaptureFixture[str]) -> None:
    path = find_preset("slew").path
    code, out, err = run(capsys, "check", str(path))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{path}: 1 rule, valid",
        "  slew: the rate of each element rises by a factor of 1.0002 per update at most; all variables",
    ]
    assert run(capsys, "check", "--quiet", str(path)) == (0, "", "")


def test_check_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    code, out, _ = run(capsys, "check", "adabound", "--json", str(target), "--format", "json")
    report = json.loads(out)
    assert (code, report["schema"], report["valid"]) == (0, "adampatch/rules/1", True)
    assert [rule["id"] for rule in report["rules"]] == ["adabound"]
    assert report["normal_form"] == json.loads(target.read_text()) == Rules.load("adabound").normal_form()
    assert Rules.load(target) == Rules.load("adabound")


def test_nothing_is_written_where_rules_are_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    crossed = str(FIXTURES / "crossed.toml")
    code, out, _ = run(capsys, "check", crossed, "--json", str(target), "--format", "json")
    report = json.loads(out)
    assert (code, report["valid"], target.exists()) == (2, False, False)
    assert [(e["code"], e["line"], e["rule"]) for e in report["errors"]] == [
        ("AP308", 9, "closing-in"),
        ("AP309", 23, "floor"),
    ]
    assert all(e["message"] and e["fix"] for e in report["errors"])


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == [preset.name for preset in list_presets()]
    assert len({len(line) - len(line.split(None, 1)[1]) for line in lines}) == 1
    listed = json.loads(run(capsys, "list", "--format", "json")[1])["presets"]
    assert [(p["name"], p["summary"]) for p in listed] == [tuple(line.split(None, 1)) for line in lines]
    for preset in list_presets():
        assert run(capsys, "show", preset.name) == (0, preset.text(), "")
    shown = json.loads(run(capsys, "show", "floor", "--format", "json")[1])
    assert (shown["name"], shown["text"]) == ("floor", find_preset("floor").text())
    assert shown["normal_form"] == Rules.load("floor").normal_form()


def test_a_preset_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "show", "adabond")
    assert (code, out) == (2, "")
    assert err.startswith('error: there is no preset "adabond"; did you mean "adabound"?')
