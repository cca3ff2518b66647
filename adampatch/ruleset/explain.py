"""Which rule holds for which variable, and what it asks when: the table of `Rules.explain`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adampatch.ruleset import variables, wording
from adampatch.ruleset.bounds import Bound, value
from adampatch.ruleset.model import Rule

#: the updates at which bounds that move are shown
SHOWN = (1, 100, 10_000)


@dataclass(frozen=True)
class Row:
    """One rule on one variable. bounds: (update, min, max) at some updates; one where nothing moves."""

    variable: str
    rule: Rule
    bounds: tuple[tuple[int, float | None, float | None], ...]


@dataclass(frozen=True)
class Unmatched:
    """A pattern of a rule's `match` that matches no variable, and the variables with the nearest names."""

    rule: str
    pattern: str
    nearest: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """What `Rules.explain` finds. `str()` is the table.

    variables: all paths, in their order; optimizer: the class name that rules are asked for, if known.
    """

    variables: tuple[str, ...]
    optimizer: str | None
    rows: tuple[Row, ...]
    unmatched: tuple[Unmatched, ...]

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def __repr__(self) -> str:
        return f"<Explanation: {len(self.rows)} bounds on {len(self.variables)} variables>"


def explanation(rules: Sequence[Rule], given: Any) -> Explanation:
    """Variable x rules x bounds, as the run time will match them.

    given: a model, an optimizer, or a list of variables or of paths. Without an optimizer, rules for
    certain optimizers are taken to apply.
    """
    # The run time decides what matches; this asks it, so that the two cannot differ.
    from adampatch.runtime.matching import matches

    paths, name = tuple(variables.paths_of(given)), variables.optimizer_name(given)
    asked = [rule for rule in rules if name is None or matches(rule.optimizer, name)]
    rows = [
        Row(path, rule, _bounds(rule))
        for path in paths
        for rule in asked
        if any(matches(pattern, path) for pattern in rule.match)
        and not any(matches(pattern, path) for pattern in rule.exclude)
    ]
    unmatched = [
        Unmatched(rule.id, pattern, _nearest(pattern, paths))
        for rule in asked
        for pattern in rule.match
        if not any(matches(pattern, path) for path in paths)
    ]
    return Explanation(paths, name, tuple(rows), tuple(unmatched))


def _bounds(rule: Rule) -> tuple[tuple[int, float | None, float | None], ...]:
    """The bounds at each of SHOWN that lies in the window, and at its ends; once where nothing moves."""
    if all(bound is None or isinstance(bound, float) for bound in (rule.min, rule.max)):
        times = {rule.start}
    else:
        ends = {rule.start, *(() if rule.end is None else (rule.end,))}
        times = ends | {t for t in SHOWN if rule.start <= t and (rule.end is None or t <= rule.end)}

    def at(bound: Bound | None, t: int) -> float | None:
        return None if bound is None else value(bound, t)

    return tuple((t, at(rule.min, t), at(rule.max, t)) for t in sorted(times))


def _nearest(pattern: str, paths: Sequence[str]) -> tuple[str, ...]:
    plain = pattern.removeprefix("re:").replace("*", "").strip("/")
    ratio = {path: difflib.SequenceMatcher(None, plain, path).ratio() for path in paths}
    return tuple(sorted(ratio, key=lambda path: (-ratio[path], path))[:5])


def _lines(found: Explanation) -> Iterator[str]:
    table = [("variable", "rule", "quantity", "when", "bounds")]
    by_variable: dict[str, list[Row]] = {}
    for row in found.rows:
        by_variable.setdefault(row.variable, []).append(row)
    for path in dict.fromkeys(found.variables):
        for i, row in enumerate(by_variable.get(path, ())):
            rule = row.rule
            name = f"{rule.id} (shadow)" if rule.mode == "shadow" else rule.id
            table.append((path if i == 0 else "", name, rule.quantity, wording.window(rule), _said(row)))
        if path not in by_variable:
            table.append((path, "-", "", "", "no rule"))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    for missed in found.unmatched:
        yield (
            f'rule "{missed.rule}": {missed.pattern!r} matches no variable, and training would not start; '
            f"the nearest are {', '.join(missed.nearest)}"
        )


def _said(row: Row) -> str:
    rule = row.rule
    if len(row.bounds) == 1:
        return wording.limits(rule)
    factor = "" if rule.relative_to == "absolute" else f"; times {rule.relative_to}"
    fixed = wording.limits(replace(rule, min=None, max=None))
    moving = "; ".join(f"{_range(low, high)} at {t}" for t, low, high in row.bounds)
    return moving + factor + (f"; {fixed.removeprefix(', ')}" if fixed else "")


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        bound = low if high is None else high
        assert bound is not None  # a bound that moves is there
        return f"{'at least' if high is None else 'at most'} {wording.number(bound)}"
    return f"{wording.number(low)} to {wording.number(high)}"
