"""Two rules together: whether they leave any value where both surely hold."""

from __future__ import annotations

from adampatch.ruleset.complaints import Complaints, Path
from adampatch.ruleset.crossings import first_crossing, said
from adampatch.ruleset.model import Rule


def check_intersection(one: Rule, other: Rule, path: Path, complaints: Complaints) -> None:
    """Writes down where `one` and the rule after it, `other` at `path`, leave no value.

    Only what can be told from the rules alone: bounds of one quantity with one factor, of variables that
    both must match, at updates that lie in both windows. Shadow rules take nothing away.
    """
    if _unlike(one, other) or not surely_overlap(one, other):
        return
    start = max(one.start, other.start)
    end = min((rule.end for rule in (one, other) if rule.end is not None), default=None)
    if end is not None and end < start:
        return
    for low, high in ((one, other), (other, one)):
        if low.min is None or high.max is None:
            continue
        at = first_crossing(low.min, high.max, start, end)
        if at is None:
            continue
        moving = start > 1 or not (isinstance(low.min, float) and isinstance(high.max, float))
        lowest, highest = said(low.min, high.max, at)
        what = (
            f'together with rule "{one.id}" it leaves no {one.quantity} for the same variables'
            f"{f' at update {at}' if moving else ''} "
            f'(min {lowest} of "{low.id}" is greater than max {highest} of "{high.id}")'
        )
        fix = "change one of the bounds, or keep the variables apart with match and exclude"
        if at > start:
            fix += f", or end one of the rules at update {at - 1}"
        complaints.add("AP309", (*path, "min" if low is other else "max"), what, fix)


def _unlike(one: Rule, other: Rule) -> bool:
    """Whether the numbers of the rules cannot be compared, or need not be."""
    return (
        "shadow" in (one.mode, other.mode)
        or (one.quantity, one.convention) != (other.quantity, other.convention)
        or (one.relative_to, one.lr0) != (other.relative_to, other.lr0)
    )


def surely_overlap(one: Rule, other: Rule) -> bool:
    """True where some variable must be under both rules, as far as equal patterns and "**" tell."""
    if one.optimizer != other.optimizer and "*" not in (one.optimizer, other.optimizer):
        return False
    for wide, narrow in ((one, other), (other, one)):
        covers = "**" in wide.match or not set(wide.match).isdisjoint(narrow.match)
        # What the narrow rule takes must not be what the wide one leaves out.
        if covers and set(wide.exclude) <= set(narrow.exclude):
            return True
    return False
