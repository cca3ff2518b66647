"""Rules files with one thing wrong, made from the schema: each field by each way to get it wrong.
Every file knows the code, the line and the words that it must get, and so do two of them joined."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from adampatch.cli import main
from adampatch.ruleset import schema

#: kind -> (a wrong value, as TOML has it; its code; words of the report)
WRONG: dict[str, list[tuple[str, str, str]]] = {
    "slug": [("3", "AP304", "is 3"), ('"A b"', "AP305", "not a plain name"), ("[]", "AP304", "is []")],
    "patterns": [
        ('"**"', "AP304", '= ["**"]'),
        ("[1]", "AP304", "is [1]"),
        ('[" "]', "AP312", "empty pattern"),
        ('["re:["]', "AP312", "no regular expression"),
        ('["w:0"]', "AP312", 'write "w"'),
        ("{ a = 1 }", "AP304", "a table"),
    ],
    "glob": [("1", "AP304", "is 1"), ('""', "AP312", "is empty"), ("true", "AP304", "is true")],
    "choice": [
        ('"bogus"', "AP305", 'is "bogus"'),
        ("[1, 2]", "AP304", "is [1, 2]"),
        ("2.5", "AP304", "is 2.5"),
    ],
    "bound": [
        ('"1"', "AP304", 'is "1"'),
        ("-2", "AP307", "negative (-2)"),
        ("inf", "AP307", "not finite"),
        ("nan", "AP307", "not finite"),
        ("false", "AP304", "is false"),
        ('{ kind = "liner" }', "AP305", 'did you mean "linear"?'),
        ("{ kind = true }", "AP304", "unknown kind true"),
        ("{}", "AP303", ".kind is missing"),
    ],
    "amount": [
        ('"1"', "AP304", 'is "1"'),
        ("-0.5", "AP307", "negative (-0.5)"),
        ("inf", "AP307", "not finite"),
    ],
    "amounts": [
        ("1.0", "AP304", "is 1.0"),
        ("[1.0, nan]", "AP307", "[1] is not finite"),
        ("[-1, 1]", "AP307", "[0] is negative (-1)"),
        ('["a", 1]', "AP304", '[0] is "a"'),
    ],
    "positive": [("0", "AP305", "is 0"), ("-1.0", "AP305", "is -1.0"), ('"x"', "AP304", 'is "x"')],
    "factor": [
        ("1", "AP305", "is 1"),
        ("0.9", "AP305", "is 0.9"),
        ('"2"', "AP304", 'is "2"'),
        ("nan", "AP305", "not finite"),
    ],
    "boolean": [("1", "AP304", "is 1"), ('"true"', "AP304", 'is "true"'), ("[true]", "AP304", "is [true]")],
    "count": [("0", "AP305", "is 0"), ("1.0", "AP304", "is 1.0"), ("true", "AP304", "is true")],
    "start": [
        ("0", "AP305", "count from 1"),
        ("1.5", "AP304", "is 1.5"),
        ('"soon"', "AP304", 'is "soon"'),
        ('"2 epochs"', "AP313", "add steps_per_epoch"),
    ],
    "end": [
        ("-5", "AP305", "count from 1"),
        ("true", "AP304", "is true"),
        ('"5"', "AP304", 'is "5"'),
        ('"2 epochs"', "AP313", "add steps_per_epoch"),
        ("90071992547409920", "AP305", "no training comes to"),
    ],
    "ends": [
        ("10", "AP304", "is 10"),
        ("[0]", "AP305", "[0] is 0"),
        ("[true]", "AP304", "[0] is true"),
        ('["1 epoch"]', "AP313", "add steps_per_epoch"),
        ("[1, 2, 3, 4]", "AP315", "write 5 values"),
    ],
    "table": [("1", "AP304", "and its settings below it"), ("true", "AP304", "is true")],
}
#: what a rule of one field needs beside it, so that nothing else is wrong
RULE = {"id": '"one"', "quantity": '"rate"', "max": "1.0"}
BESIDE: dict[str, dict[str, str]] = {
    "min": {"accept_unbounded_step": "true", "max": ""},
    "lr0": {"relative_to": '"lr0"'},
    "max_decrease": {"allow_slow_fall": "true"},
    "end": {"start": "1"},
}
TABLES = {
    "linear": {"from": "1.0", "to": "0.5", "start": "1", "end": "9"},
    "exp": {"from": "1.0", "to": "0.5", "start": "1", "end": "9"},
    "piecewise": {"boundaries": "[5]", "values": "[1.0, 0.5]"},
    "adabound": {"final": "0.1", "gamma": "1e-3", "side": '"upper"'},
}
LATER = ["action", "trip", "hot_reload", "expr"]


@dataclass(frozen=True)
class Malformed:
    """A file, and what it must get. body: what stands below `version`, one statement per line; line: that
    of the error in the body, from 1."""

    name: str
    body: tuple[str, ...]
    code: str
    line: int
    words: str
    rule: str | None = None
    top: bool = False


def rule_with(fields: dict[str, str], *, name: str = "one") -> tuple[str, ...]:
    said = {**RULE, "id": f'"{name}"', **fields}
    return ("[[rule]]", *(f"{field} = {text}" for field, text in said.items() if text))


def at(body: tuple[str, ...], start: str) -> int:
    return next(i for i, line in enumerate(body, 1) if line.startswith(start))


def misspelt(name: str) -> str:
    return name[:-1] + "x" + name[-1] if len(name) < 6 else name[:2] + name[3:]


def wrong_values() -> Iterator[Malformed]:
    for field, known in schema.RULE_FIELDS.items():
        for text, code, words in WRONG[known.kind]:
            body = rule_with({**BESIDE.get(field, {}), field: text}, name="one")
            rule = "#1" if field == "id" and text != '"A b"' else "A b" if field == "id" else "one"
            yield Malformed(f"{field} = {text}", body, code, at(body, f"{field} ="), words, rule)
    for field, known in (*schema.OBSERVE_FIELDS.items(), *schema.RUNTIME_FIELDS.items()):
        header = "[observe]" if field in schema.OBSERVE_FIELDS else "[runtime]"
        for text, code, words in WRONG[known.kind]:
            yield Malformed(f"{field} = {text}", (header, f"{field} = {text}"), code, 2, words, None, True)
    for field, known in schema.TOP_FIELDS.items():
        if field not in ("rule", "version"):
            for text, code, words in WRONG[known.kind]:
                yield Malformed(f"{field} = {text}", (f"{field} = {text}",), code, 1, words, None, True)


def wrong_tables() -> Iterator[Malformed]:
    for kind, known in schema.BOUND_TABLES.items():
        for field, form in known.items():
            for text, code, words in WRONG[form.kind]:
                table = ", ".join(f"{f} = {t}" for f, t in {**TABLES[kind], field: text}.items())
                body = rule_with({"max": f'{{ kind = "{kind}", {table} }}'})
                yield Malformed(f"{kind}.{field} = {text}", body, code, at(body, "max"), words, "one")
            rest = {f: t for f, t in TABLES[kind].items() if f != field}
            table = ", ".join(f"{f} = {t}" for f, t in rest.items())
            if form.required:
                body = rule_with({"max": f'{{ kind = "{kind}", {table} }}'})
                words = f"max.{field} is missing"
                yield Malformed(f"{kind} without {field}", body, "AP303", at(body, "max"), words, "one")
            lines = (*rule_with({"max": ""}), "[rule.max]", f'kind = "{kind}"')
            lines = (*lines, *(f"{f} = {t}" for f, t in TABLES[kind].items()), f"{misspelt(field)} = 1")
            words = f'did you mean "{field}"?'
            yield Malformed(f"{kind}.{misspelt(field)}", lines, "AP302", len(lines), words, "one")


def wrong_names() -> Iterator[Malformed]:
    for field in schema.RULE_FIELDS:
        body = (*rule_with({}), f"{misspelt(field)} = 1")
        words = f'did you mean "{field}"?'
        yield Malformed(f"{misspelt(field)} for {field}", body, "AP302", len(body), words, "one")
    for field in LATER:
        body = (*rule_with({}), f'{field} = "x"')
        words = f'unknown field "{field}" in a rule; known are id, match'
        yield Malformed(f"{field}, for later", body, "AP302", len(body), words, "one")
    for field, known in schema.RULE_FIELDS.items():
        if known.required:
            rule = "#1" if field == "id" else "one"
            body = tuple(line for line in rule_with({}) if not line.startswith(f"{field} ="))
            yield Malformed(f"no {field}", body, "AP303", 1, f"{field} is missing; {known.example}", rule)


def disagreements() -> Iterator[Malformed]:
    for quantity, known in schema.QUANTITIES.items():
        given = {"quantity": f'"{quantity}"'}
        if not known.changes:
            for change in ("max_increase", "max_decrease"):
                body = rule_with({**given, change: "2.0", "allow_slow_fall": "true"})
                words = f"{change} is for the rate only"
                yield Malformed(f"{change} of {quantity}", body, "AP316", at(body, change), words, "one")
        if not known.convention:
            body = rule_with({**given, "convention": '"corrected"'})
            words = f'for the rate only, and the quantity is "{quantity}"'
            yield Malformed(f"corrected {quantity}", body, "AP316", at(body, "convention"), words, "one")
        crossed = rule_with({**given, "min": "2.0", "accept_unbounded_step": "true"})
        if known.min:
            words = "min 2.0 is greater than max 1.0; no value"
            yield Malformed(f"crossed {quantity}", crossed, "AP308", at(crossed, "min"), words, "one")
    for factor in list(schema.FACTORS)[1:]:
        body = rule_with({"max": "", "max_increase": "1.5", "relative_to": f'"{factor}"'})
        words = "there is neither; remove relative_to"
        yield Malformed(f"{factor} of nothing", body, "AP316", at(body, "relative_to"), words, "one")
        if "lr0" not in factor:
            body = rule_with({"relative_to": f'"{factor}"', "lr0": "0.1"})
            words = f'the bounds are relative to "{factor}"'
            yield Malformed(f"lr0 beside {factor}", body, "AP316", at(body, "lr0"), words, "one")


def crossings() -> Iterator[Malformed]:
    """Bounds that cross at an update that the formula of each kind says."""
    steps = range(1, 2000)
    moving = {
        '{ kind = "linear", from = 1.0, to = 0.0, start = 10, end = 1010 }': lambda t: 1 - (t - 10) / 1000,
        '{ kind = "exp", from = 1.0, to = 1e-4, start = 10, end = 1010 }': lambda t: (
            10 ** (-4 * (t - 10) / 1000)
        ),
        '{ kind = "piecewise", boundaries = [77], values = [1.0, 0.001] }': lambda t: (
            1.0 if t <= 77 else 0.001
        ),
        '{ kind = "adabound", final = 1e-3, gamma = 0.01 }': lambda t: 1e-3 * (1 + 100 / t),
    }
    for table, formula in moving.items():
        for low in (0.0987, 0.0123):
            first = next(t for t in steps if low > formula(max(t, 10) if "start" in table else t))
            body = rule_with({"min": str(low), "max": table, "accept_unbounded_step": "true"})
            words = f"at update {first}; no value satisfies both"
            yield Malformed(f"{low} above {table}", body, "AP308", at(body, "min"), words, "one")
            floor = {"max": "", "min": str(low), "accept_unbounded_step": "true"}
            both = (*rule_with({"max": table}), *rule_with(floor, name="two"))
            words = f'together with rule "one" it leaves no rate for the same variables at update {first} ('
            line = max(i for i, text in enumerate(both, 1) if text.startswith("min"))
            yield Malformed(f"two rules, {low} above {table}", both, "AP309", line, words, "two")


ALL = [*wrong_values(), *wrong_tables(), *wrong_names(), *disagreements(), *crossings()]


def written(path: Path, body: tuple[str, ...]) -> Path:
    path.write_text("\n".join(("version = 1", *body, "")))
    return path


def checked(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["rules", "check", str(path), *options])
    out = capsys.readouterr()
    return int(ended.value.code or 0), out.out, out.err


def test_they_are_many_and_no_two_are_the_same() -> None:
    assert len(ALL) >= 200
    assert len({case.body for case in ALL}) == len(ALL)
    assert {case.code for case in ALL} >= {f"AP3{n:02d}" for n in (2, 3, 4, 5, 7, 8, 9, 12, 13, 15, 16)}


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name.replace(" ", "_")[:60])
def test_malformed(case: Malformed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "rules.toml", case.body)
    code, out, err = checked(path, capsys)
    lines = err.splitlines()
    assert (code, out, len(lines)) == (2, "", 1), err
    rule = "" if case.rule is None else f'rule "{case.rule}": '
    assert lines[0].startswith(f"error: {path}:{case.line + 1}: {rule}")
    assert case.words in lines[0]
    what, fix = lines[0].rsplit("; ", 1)
    assert what and fix
    code, out, err = checked(path, capsys, "--format", "json")
    (error,) = json.loads(out)["errors"]
    assert (code, err, error["code"]) == (2, "", case.code)
    assert (error["line"], error["rule"]) == (case.line + 1, case.rule)


@pytest.mark.parametrize("step", [1, 7, 31])
def test_two_at_once_are_both_said(step: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # What stands outside of rules can be there only once.
    inside = [case for case in ALL if not case.top and case.rule == "one"]
    for one, other in zip(inside, inside[step:], strict=False):
        renamed = tuple(line.replace('"one"', '"other"') for line in other.body)
        path = written(tmp_path / "rules.toml", (*one.body, *renamed))
        code, _, err = checked(path, capsys)
        lines = err.splitlines()
        assert (code, len(lines)) == (2, 2), err
        assert lines[0].startswith(f'error: {path}:{one.line + 1}: rule "one": ')
        assert f'{path}:{other.line + 1 + len(one.body)}: rule "other": ' in lines[1]
        assert one.words in lines[0]
        assert other.words in lines[1]
