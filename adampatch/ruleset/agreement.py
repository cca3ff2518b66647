"""The fields of one rule against each other, once each is valid for itself:
what it bounds and when, consents, and bounds in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from adampatch.ruleset import bounds, crossings, schema
from adampatch.ruleset.complaints import Complaints, Path, shown

BOUNDS = ("min", "max")
CHANGES = ("max_increase", "max_decrease")

Given = Mapping[str, Any]


def check_agreement(given: Given, values: Given, path: Path, complaints: Complaints, consented: bool) -> None:
    """Writes down where the fields of a rule do not go together.

    given: the rule as it is written; values: those of its fields that are valid; consented: the rule
    comes from a normal form, which leaves consents out.
    """
    for check in _CHECKS:
        check(given, values, path, complaints)
    if not consented:
        _consents(given, values, path, complaints)


def _does_something(given: Given, values: Given, path: Path, complaints: Complaints) -> None:
    said = [name for name in (*BOUNDS, *CHANGES) if given.get(name) is not None]
    # What is misspelled is one error, not two.
    if not said and all(name in schema.RULE_FIELDS for name in given):
        what = "it has neither min nor max, nor a limit on changes, so it does nothing"
        complaints.add("AP310", path, what, "add max = 1.0")


def _quantity(given: Given, values: Given, path: Path, complaints: Complaints) -> None:
    name = values.get("quantity")
    if name is None:
        return
    quantity = schema.QUANTITIES[name]
    for change in CHANGES:
        if change in given and not quantity.changes:
            what = f"{change} is for the rate only, and the quantity is {shown(name)}"
            complaints.add("AP316", (*path, change), what, f'write quantity = "rate", or remove {change}')
    if values.get("convention") == "corrected" and not quantity.convention:
        what = f'convention = "corrected" is for the rate only, and the quantity is {shown(name)}'
        complaints.add("AP316", (*path, "convention"), what, "remove convention")
    if given.get("min") is not None and not quantity.min:
        what = f"{name} takes no min: to keep it up, a step would have to grow without limit"
        complaints.add("AP316", (*path, "min"), what, "write max, or bound update_rms")


def _factors(given: Given, values: Given, path: Path, complaints: Complaints) -> None:
    factor = values.get("relative_to", "absolute")
    bounded = any(given.get(name) is not None for name in BOUNDS)
    if factor != "absolute" and not bounded and any(name in given for name in CHANGES):
        what = f"relative_to = {shown(factor)} multiplies min and max, and there is neither"
        complaints.add("AP316", (*path, "relative_to"), what, "remove relative_to, or add max")
    if "lr0" in given and "relative_to" not in given:
        what, fix = "lr0 is given, and nothing is relative to it", 'add relative_to = "lr0", or remove lr0'
        complaints.add("AP316", (*path, "lr0"), what, fix)
    elif "lr0" in given and "relative_to" in values and factor not in ("lr0", "lr/lr0"):
        what = f"lr0 is given, and the bounds are relative to {shown(factor)}"
        complaints.add("AP316", (*path, "lr0"), what, 'write relative_to = "lr0" or "lr/lr0", or remove lr0')


def _names(given: Given, values: Given, path: Path, complaints: Complaints) -> None:
    match, exclude = values.get("match", ("**",)), values.get("exclude", ())
    if "match" in given and "match" not in values:
        return
    if "**" in exclude or set(match) <= set(exclude):
        what = "exclude leaves out all that match names, so it applies to no variable"
        complaints.add("AP312", (*path, "exclude"), what, "exclude less, or remove the rule")


def _times(given: Given, values: Given, path: Path, complaints: Complaints) -> None:
    """The window, and the bounds at each of its updates."""
    start, end = window(values)
    if any(name in given and name not in values for name in ("start", "end")):
        return
    if end is not None and end < start:
        what = f"the rule ends at update {end}, before it starts at update {start}"
        complaints.add("AP314", (*path, "end"), what, f"write an end from update {start} on")
        return
    finite = True
    for name in BOUNDS:
        bound = values.get(name)
        at = None if bound is None else crossings.first_not_finite(bound, start)
        if at is not None:
            what = f"{name} is not finite at update {at}: its final or its gamma is too far from 1"
            complaints.add("AP307", (*path, name), what, "write final = 0.1 and gamma = 0.001, or near these")
            finite = False
    low, high = values.get("min"), values.get("max")
    if low is None or high is None or not finite:
        return
    at = crossings.first_crossing(low, high, start, end)
    if at is not None:
        what = "min {} is greater than max {}".format(*crossings.said(low, high, at))
        if not (isinstance(low, float) and isinstance(high, float)):
            what += f" at update {at}"
        fix = "no value satisfies both: lower min or raise max"
        if at > start:
            fix += f", or end the rule at update {at - 1}"
        complaints.add("AP308", (*path, "min"), what, fix)


def _consents(given: Given, values: Given, path: Path, complaints: Complaints) -> None:
    low = values.get("min")
    if (
        values.get("quantity") == "rate"
        and low is not None
        and any(bounds.numbers(low))
        and given.get("accept_unbounded_step", False) is False
    ):
        complaints.add(
            "AP311",
            (*path, "min"),
            "a lower bound on the rate removes Adam's own step limit: its step stays near the learning rate "
            "only because the rate falls as gradients grow, and with min it grows with the gradient",
            "add accept_unbounded_step = true if that is what you want",
        )
    if "max_decrease" in values and given.get("allow_slow_fall", False) is False:
        complaints.add(
            "AP317",
            (*path, "max_decrease"),
            "a limit on how fast the rate falls can make the biggest step 76 to 379 times larger: at the "
            "first large gradient the rate must fall at once, and with max_decrease it may not",
            "add allow_slow_fall = true if that is what you want, or write max_increase",
        )


def window(values: Given) -> tuple[int, int | None]:
    """The first and the last update of a rule's window, None for no end."""
    return values.get("start", 1), values.get("end")


_CHECKS: tuple[Callable[[Given, Given, Path, Complaints], None], ...] = (
    _does_something,
    _quantity,
    _factors,
    _names,
    _times,
)
