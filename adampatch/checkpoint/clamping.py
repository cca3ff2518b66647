"""What each rule, by itself, would bound of the last update that a checkpoint tells of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adampatch.ruleset import bounds
from adampatch.ruleset.model import Rule
from adampatch.runtime import matching

Array = np.ndarray[Any, Any]
_JUDGED = ("rate", "alpha", "update", "update_rms")


@dataclass(frozen=True)
class Update:
    """The last update: its number (None where nothing says it), lr, alpha and 1 - beta_1^t."""

    step: int | None
    lr: float
    alpha: float
    correction: float


def limits(rule: Rule, update: Update) -> tuple[float, float] | None:
    """(lower, upper) bound of the rule at the update; None where only a training can tell."""
    limits_change = rule.max_increase is not None or rule.max_decrease is not None
    if rule.quantity not in _JUDGED or limits_change:
        return None
    moving = any(bound is not None and not isinstance(bound, (int, float)) for bound in (rule.min, rule.max))
    windowed = rule.start > 1 or rule.end is not None
    if update.step is None and (moving or windowed or rule.convention == "corrected"):
        return None
    t = update.step or 1
    if t < rule.start or (rule.end is not None and t > rule.end):
        return -np.inf, np.inf
    factor = _factor(rule, update)
    if factor is None:
        return None
    low = -np.inf if rule.min is None else bounds.value(rule.min, t) * factor
    high = np.inf if rule.max is None else bounds.value(rule.max, t) * factor
    return low, high


def _factor(rule: Rule, update: Update) -> float | None:
    factor: float | None = 1.0
    if rule.relative_to == "lr/lr0":
        factor = None if rule.lr0 is None else update.lr / rule.lr0
    elif rule.relative_to != "absolute":
        factor = {"lr": update.lr, "lr0": rule.lr0, "alpha": update.alpha}[rule.relative_to]
    if factor is not None and rule.convention == "corrected":
        factor /= update.correction
    return factor


def clamped(
    rules: Sequence[Rule],
    update: Update,
    name: str,
    optimizer: str,
    rate: Array,
    direction: Array,
    active: Array,
) -> dict[str, dict[str, Any]]:
    """{rule id: {"min", "max", "clamped_frac", "clamped_frac_active"}} of the rules of a variable."""
    found = {}
    for rule in rules:
        between = limits(rule, update)
        if between is None or not matching.applies(rule, name, optimizer):
            continue
        low, high = between
        value = _value(rule.quantity, update, rate, direction)
        # As in training: the upper bound wins, and nothing says which way a step of 0 would go.
        bound = np.broadcast_to((value > high) | ((value < low) & (low <= high)), rate.shape)
        if rule.quantity != "rate":
            bound = bound & np.broadcast_to(value > 0, rate.shape)
        found[rule.id] = {
            "min": float(low) if np.isfinite(low) else None,
            "max": float(high) if np.isfinite(high) else None,
            "clamped_frac": mean(bound),
            "clamped_frac_active": mean(bound[active]),
        }
    return found


def _value(quantity: str, update: Update, rate: Array, direction: Array) -> Array:
    if quantity == "rate":
        return rate
    if quantity == "alpha":
        return np.asarray(update.alpha)
    step = np.abs(rate * direction)
    return np.asarray(step if quantity == "update" else np.sqrt(np.mean(np.square(step))))


def mean(mask: Array) -> float:
    """The share of a mask that is true; 0 of nothing."""
    return float(np.mean(mask)) if np.size(mask) else 0.0
