"""Every way to get a rules file wrong, by the exact text of what the user is told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adampatch.errors import AdampatchError
from adampatch.ruleset import CODES, RuleErrors, Rules, list_presets, schema
from adampatch.ruleset.positions import Positions

MALFORMED = Path(__file__).parent.parent / "fixtures/rules/malformed.txt"
RULE = 'version = 1\n[[rule]]\nid = "a"\nquantity = "rate"\n'


def blocks() -> list[tuple[str, str, str]]:
    found = []
    for block in MALFORMED.read_text("utf-8").split("\n=== ")[1:]:
        head, errors = block.split("--- errors\n")
        name, text = head.split("\n", 1)
        found.append((name, text, errors.strip("\n")))
    return found


def errors_of(path: Path, text: str | bytes) -> list[str]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(RuleErrors) as caught:
        Rules.load(path)
    assert str(caught.value) == "\n".join(str(error) for error in caught.value.errors)
    return [f"{error.code} {str(error).removeprefix(f'{path}:')}" for error in caught.value.errors]


@pytest.mark.parametrize(("text", "errors"), [pytest.param(*block[1:], id=block[0]) for block in blocks()])
def test_malformed(tmp_path: Path, text: str, errors: str) -> None:
    assert "\n".join(errors_of(tmp_path / "rules.toml", text)) == errors


def test_the_table_is_large_and_uses_every_code() -> None:
    used = {code for _, _, errors in blocks() for code in re.findall(r"^AP\d+", errors, re.MULTILINE)}
    assert len(blocks()) >= 60
    assert used == set(CODES)


def test_one_error_in_full(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(RULE + "max = -1.0\n")
    with pytest.raises(AdampatchError) as caught:
        Rules.load(path)
    message = 'rule "a": max is negative (-1.0), and what it bounds never is; write 0 or more'
    assert str(caught.value) == f"{path}:5: {message}"


def test_all_errors_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = (
        RULE
        + 'max = nan\nfoo = 1\n\n[[rule]]\nid = "a"\nmatch = []\nmode = "shadw"\n\n[observe]\nevery = 0\n'
    )
    codes = [error.split(":")[0] for error in errors_of(tmp_path / "rules.toml", text)]
    assert codes == [
        "AP307 5",
        "AP302 6",
        "AP303 8",
        "AP310 8",
        "AP306 9",
        "AP312 10",
        "AP305 11",
        "AP305 14",
    ]


def test_windows_newlines_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + (RULE + "max = -1.0\n").replace("\n", "\r\n").encode()
    assert errors_of(tmp_path / "rules.toml", text) == [
        'AP307 5: rule "a": max is negative (-1.0), and what it bounds never is; write 0 or more'
    ]


def test_a_number_too_large_for_a_float(tmp_path: Path) -> None:
    assert errors_of(tmp_path / "rules.toml", RULE + f"max = 1{'0' * 400}\n") == [
        'AP307 5: rule "a": max is not finite; write a number, such as 1.0, or remove max for no bound'
    ]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    assert errors_of(tmp_path / "rules.toml", b"version = 1\n# \xff\n") == [
        "AP301 2: the file is not UTF-8; save it as UTF-8"
    ]


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("{", ["AP301 1: not valid JSON (Expecting property name enclosed in double quotes); correct it"]),
        ("[]", ['AP304 1: the rules are not a table; write {"version": 1, "rules": []}']),
        ("{}", ["AP303 1: version is missing; add version = 1, before the first table"]),
        (
            '{"version": 1,\n "rule": []}',
            ['AP302 2: unknown field "rule" in a rules file; did you mean "rules"?'],
        ),
        (
            '{"version": 1,\n "rules": [\n  {"id": "a", "quantity": "rate",\n   "max": NaN}]}',
            ['AP307 4: rule "a": max is not finite; write a number, such as 1.0, or remove max for no bound'],
        ),
        (
            '{"version": 1, "rules": [\n{"id": "a", "quantity": "rate", "max": 1},\n'
            '{"id": "b", "quantity": "rate",\n "max": null}]}',
            [
                'AP310 3: rule "b": it has neither min nor max, nor a limit on changes, so it does nothing; '
                "add max = 1.0"
            ],
        ),
        (
            '{"version": 1, "rules": [{"id": "a", "quantity": "rate",\n"max": 1,\n"max": 2}]}',
            ['AP302 3: "max" is given twice; remove one of them'],
        ),
        (
            '{"version": 1,\n"rules": {}}',
            [
                "AP304 2: rules must be a list of tables; "
                'write "rules": [{"id": "ceiling", "quantity": "rate", "max": 1.0}]'
            ],
        ),
    ],
)
def test_malformed_json(tmp_path: Path, text: str, errors: list[str]) -> None:
    assert errors_of(tmp_path / "rules.json", text) == errors


def test_deep_nesting_is_an_error_too(tmp_path: Path) -> None:
    assert errors_of(tmp_path / "rules.json", "[" * 100_000)[0].startswith("AP301 1: not valid JSON (")
    assert errors_of(tmp_path / "rules.toml", "version = " + "[" * 100_000)[0].startswith("AP301 1: ")


def test_a_normal_form_that_is_wrong_has_no_lines() -> None:
    with pytest.raises(RuleErrors) as caught:
        Rules.from_normal_form({"version": 1, "rules": [{"id": "a", "quantity": "rate", "max": -1}]})
    assert (
        str(caught.value)
        == '<rules>: rule "a": max is negative (-1), and what it bounds never is; write 0 or more'
    )


def test_files_and_presets_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(AdampatchError) as caught:
        Rules.load(str(tmp_path / "no.toml"))
    assert str(caught.value) == f"{tmp_path / 'no.toml'}: there is no such rules file; name one, or a preset"
    with pytest.raises(AdampatchError, match=r"cannot be read \(Is a directory\)"):
        Rules.load(f"{tmp_path}/")
    with pytest.raises(AdampatchError) as caught:
        Rules.load("celing")
    names = ", ".join(preset.name for preset in list_presets())
    assert str(caught.value) == (
        f'there is no preset "celing"; did you mean "ceiling"? presets are {names}; '
        "a file is named with a / or ends in .toml or .json"
    )


KEYS = st.sampled_from(["id", "max", "quantity", "a-b", "zz"])
VALUES = st.sampled_from(
    [
        "1",
        '"x # ]"',
        "'[[rule]]'",
        '"""\n[[rule]]\n""\\""""',
        "'''\na = 1\n'''''",
        "[\n 1, # ]\n [2],\n]",
        "{a = 1}",
    ]
)


@given(
    st.lists(st.dictionaries(KEYS, VALUES, max_size=4), max_size=4), st.sampled_from(["", "# c [[\n", "\n"])
)
def test_lines_of_toml(rules: list[dict[str, str]], between: str) -> None:
    text, expected = "", {}
    for index, rule in enumerate(rules):
        text += between
        expected["rule", index] = text.count("\n") + 1
        text += "[[ rule ]] # x\n"
        for key, value in rule.items():
            text += between
            expected["rule", index, key] = text.count("\n") + 1
            text += f"{key} = {value} # [\n"
    positions = Positions.of_toml(text)
    assert {path: positions.line(*path) for path in expected} == expected


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=12,
    )
)
def test_lines_of_json(document: object) -> None:
    text = json.dumps(document, indent=1)
    positions = Positions.of_json(text)
    assert positions.duplicates == []
    lines = text.split("\n")
    for path, line in positions.lines.items():
        value = document
        for part in path:
            value = value[part]  # type: ignore[index]
        if not isinstance(value, list | dict):
            assert json.dumps(value) in lines[line - 1]


NUMBERS = [0, -1, 1, 3, 1.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), 10**400]
TEXTS = ["", "a", "rate", "**", "re:(", "3 epochs", "0 epochs", "lr/lr0", "shadow", "linear", "\ud800"]
ODD = st.sampled_from([None, True, *NUMBERS, *TEXTS])
FIELDS = [*schema.RULE_FIELDS, *schema.TOP_FIELDS, *schema.OBSERVE_FIELDS, "rules", "kind", "from", "to", "x"]
FIELDS += ["boundaries", "values", "final", "gamma", "side"]
ANY = st.recursive(
    ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=25,
)
BOUND = ODD | st.fixed_dictionaries(
    {"kind": st.sampled_from([*schema.BOUND_TABLES, "x", 1])},
    optional={
        name: ODD | st.lists(ODD, max_size=3) for table in schema.BOUND_TABLES.values() for name in table
    },
)
NEARLY = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "rules": st.lists(st.dictionaries(st.sampled_from(FIELDS), BOUND | ANY, max_size=9), max_size=3),
    },
    optional={"steps_per_epoch": ODD, "observe": ANY, "runtime": ANY},
)


@settings(max_examples=400, deadline=None)
@given(ANY | NEARLY)
def test_no_document_ends_in_anything_but_errors_or_rules(document: object) -> None:
    try:
        rules = Rules.from_normal_form(document)  # type: ignore[arg-type]
    except RuleErrors as errors:
        assert all(error.what and error.fix and error.code in CODES for error in errors.errors)
    else:
        assert Rules.from_normal_form(rules.normal_form()) == rules
