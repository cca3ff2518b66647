"""What `snapshot` says of one variable after an update, counted here from the rates of that update.

Pure NumPy. Where elements may or may not count (a subnormal number is 0 to an operation that
flushes it), a statistic may be what either gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adampatch.verify.formats import Array

#: at most so many elements of a variable are shown, at even distances
_SHOWN = 4096
#: shares are quotients of counts, and percentiles are interpolated, in float64
_ROUNDING = 1e-12
_PERCENTILES = {"min": 0, "p05": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "max": 100}

#: what a statistic may be: any number of some ranges, ends included
Ranges = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Elements:
    """Masks of one variable's elements: surely so, and not surely. ``alike``: the latter all are so or
    none is."""

    sure: Array
    unsure: Array
    alike: bool = True

    @classmethod
    def of(cls, mask: Array) -> Elements:
        return cls(mask, np.zeros_like(mask))

    @property
    def possible(self) -> Array:
        return self.sure | self.unsure

    def __and__(self, other: Elements) -> Elements:
        sure = self.sure & other.sure
        return Elements(sure, self.possible & other.possible & ~sure, self.alike and other.alike)

    def count(self) -> tuple[int, int]:
        """(the least, the greatest number of them)."""
        return int(np.sum(self.sure)), int(np.sum(self.possible))


def expected(
    raw: Array, rate: Array, hit: Elements, touched: Array | None, active: Elements | None
) -> dict[str, Ranges]:
    """The statistics of one variable: ``raw`` rates, the ``rate`` that was used and where it was bounded
    (``hit``). ``touched``: the elements that the update was for, None where that is not known;
    ``active``: those whose direction is not 0. Rates are shown in float32.
    """
    found: dict[str, Ranges] = {"elements": _range(raw.size)}
    shown, where = _shown(rate), np.ones(_shown(rate).shape, bool)
    found |= _percentiles(shown, [where], "")
    if touched is None:
        return found
    found["nonfinite"] = _range(int(np.sum(~np.isfinite(raw) & touched)))
    whole = max(int(np.sum(touched)), 1)
    found["clamped_frac"] = _range(*(n / whole for n in hit.count()))
    if active is None:
        return found
    active = active & Elements.of(touched)
    (least, most), both = active.count(), (hit & active).count()
    if active.alike and not np.any(hit.unsure):
        found["active_frac"] = _range(least / whole) + _range(most / whole)
        found["clamped_frac_active"] = _range(both[0] / max(least, 1)) + _range(both[1] / max(most, 1))
    else:
        found["active_frac"] = _range(least / whole, most / whole)
        found["clamped_frac_active"] = _range(both[0] / max(most, 1), min(1.0, both[1] / max(least, 1)))
    masks = [_shown(active.sure), _shown(active.possible)]
    if active.alike or least == most:
        found |= _percentiles(shown, masks, "_active")
    return found


def _shown(values: Array) -> Array:
    stride = max(1, -(-values.size // _SHOWN))
    return values.reshape(-1)[::stride]


def _percentiles(shown: Array, masks: list[Array], suffix: str) -> dict[str, Ranges]:
    """Of the finite rates under each of some masks: one of them is the right one."""
    with np.errstate(over="ignore"):
        single = shown.astype(np.float32).astype(np.float64)
    chosen = [single[mask & np.isfinite(single)] for mask in masks]
    found = {}
    for name, share in _PERCENTILES.items():
        values = [float(np.percentile(part, share)) if part.size else np.nan for part in chosen]
        found[f"rate_{name}{suffix}"] = tuple((value, value) for value in values)
    return found


def _range(least: float, most: float | None = None) -> Ranges:
    return ((float(least), float(least if most is None else most)),)


def wrong(told: Mapping[str, Any], wanted: Mapping[str, Ranges]) -> dict[str, Any] | None:
    """The first of the ``wanted`` statistics that is not what was told, as a divergence."""
    for name, ranges in wanted.items():
        observed = told.get(name)
        if observed is None or not any(_within(observed, *ends) for ends in ranges):
            return {"quantity": f"snapshot {name}", "expected": ranges[0][0], "observed": observed}
    return None


def _within(observed: float, least: float, most: float) -> bool:
    if np.isnan(least):
        return bool(np.isnan(observed))
    if observed in (least, most):  # infinite, too
        return True
    slack = _ROUNDING * max(abs(least), abs(most), abs(observed))
    return bool(least - slack <= observed <= most + slack)
