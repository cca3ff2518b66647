"""docs/rules.md against the language: what it shows is valid, and nothing is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adampatch.ruleset import Rules, schema

TEXT = (Path(__file__).parents[2] / "docs/rules.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_valid(example: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(example)
    assert Rules.load(path).rules


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize(
    "name",
    [
        *schema.RULE_FIELDS,
        *schema.OBSERVE_FIELDS,
        *schema.RUNTIME_FIELDS,
        *(name for name in schema.TOP_FIELDS if name not in ("observe", "runtime", "rule")),
        *schema.QUANTITIES,
        *(factor for factor in schema.FACTORS if factor != "absolute"),
    ],
)
def test_every_field_and_value_has_its_words(name: str) -> None:
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("kind", schema.BOUND_TABLES)
def test_every_bound_table_is_shown_with_its_fields(kind: str) -> None:
    (shown, *_) = re.findall(rf'\| `\{{ kind = "{kind}", (.*?)\}}` \|', TEXT)
    assert set(re.findall(r"(?:^|, )(\w+)", re.sub(r"\[.*?\]|\"", "", shown))) == set(
        schema.BOUND_TABLES[kind]
    )
