"""Where the checks of one document write down what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from adampatch.ruleset.errors import RuleError
from adampatch.ruleset.positions import Positions

Path = tuple["str | int", ...]


class Complaints:
    """The errors of one document, each with the line of its path. rule_id: the rule being checked."""

    def __init__(self, file: str, positions: Positions) -> None:
        self.file = file
        self.positions = positions
        self.errors: list[RuleError] = []
        self.rule_id: str | None = None

    def __len__(self) -> int:
        return len(self.errors)

    def add(self, code: str, path: Sequence[str | int], what: str, fix: str) -> None:
        line = self.positions.line(*path)
        self.errors.append(RuleError(code, self.file, line, self.rule_id, what, fix))

    def add_at(self, line: int, code: str, what: str, fix: str) -> None:
        self.errors.append(RuleError(code, self.file, line, self.rule_id, what, fix))


def shown(value: object) -> str:
    """A value as TOML would write it, cut where it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 60 else value[:57] + "...", ensure_ascii=False)
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "[" + ", ".join(shown(item) for item in value[:4]) + (", ...]" if len(value) > 4 else "]")
    return repr(value) if not isinstance(value, int) or abs(value) < 10**20 else "a very large number"
