"""What a rule says, in words: for `rules check`, and for the columns of `explain`."""

from __future__ import annotations

from adampatch.ruleset.bounds import AdaBound, Bound, Linear, Piecewise, value
from adampatch.ruleset.model import Rule
from adampatch.ruleset.schema import FACTORS, QUANTITIES


def number(x: float) -> str:
    """Up to four digits that count."""
    return f"{x:.4g}"


def moving(bound: Bound) -> str:
    """A bound over time: "1", "1, falling to 0.1 between updates 1 and 1000"."""
    if isinstance(bound, float):
        return number(bound)
    if isinstance(bound, Piecewise):
        parts = [
            f"{number(level)} up to update {end}"
            for level, end in zip(bound.values, bound.boundaries, strict=False)
        ]
        return ", ".join([*parts, f"{number(bound.values[-1])} after" if parts else number(bound.values[-1])])
    if isinstance(bound, AdaBound):
        way = "rising" if bound.side == "lower" else "falling"
        return f"{number(value(bound, 1))}, {way} to {number(bound.final)}"
    way = "rising" if bound.last > bound.first else "falling"
    scale = "" if isinstance(bound, Linear) else " on a logarithmic scale"
    between = f"between updates {bound.start} and {bound.end}"
    return f"{number(bound.first)}, {way} to {number(bound.last)}{scale} {between}"


def limits(rule: Rule) -> str:
    """What the rule does to its quantity."""
    said = [
        f"{words} {moving(bound)}"
        for words, bound in (("at least", rule.min), ("at most", rule.max))
        if bound is not None
    ]
    text = ", and ".join(said)
    if said and rule.relative_to != "absolute":
        text += f", times {FACTORS[rule.relative_to]}"
        if rule.lr0 is not None:
            text += f" ({number(rule.lr0)})"
    changes = [
        f"{verb} by a factor of {factor:.6g} per update at most"
        for verb, factor in (("rises", rule.max_increase), ("falls", rule.max_decrease))
        if factor is not None
    ]
    text = "; ".join([text, *changes] if text else changes)
    if rule.convention == "corrected":
        text += ", as what multiplies m/(1 - beta_1^t)"
    return text


def window(rule: Rule) -> str:
    """When the rule holds: "always", "from update 10", "up to update 20", "at updates 10 to 20"."""
    if rule.end is None:
        return "always" if rule.start == 1 else f"from update {rule.start}"
    return f"up to update {rule.end}" if rule.start == 1 else f"at updates {rule.start} to {rule.end}"


def meaning(rule: Rule) -> str:
    """The rule as one sentence without a full stop."""
    where = "all variables" if rule.match == ("**",) else f"variables {' or '.join(rule.match)}"
    if rule.exclude:
        where += f", but not {' or '.join(rule.exclude)}"
    if rule.optimizer != "*":
        where += f", of optimizers {rule.optimizer}"
    only = "counts only: " if rule.mode == "shadow" else ""
    when = "" if window(rule) == "always" else f"; {window(rule)}"
    is_ = "" if rule.min is None and rule.max is None else "is "
    return f"{only}{QUANTITIES[rule.quantity].words} {is_}{limits(rule)}{when}; {where}"
