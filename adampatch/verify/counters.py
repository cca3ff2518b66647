"""What `snapshot` says of each rule: its bounds, how many elements it bounded, and sums since the start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from adampatch.verify import statistics
from adampatch.verify.formats import Array, Format
from adampatch.verify.rule_stages import Hit
from adampatch.verify.statistics import Elements

#: a bound that is relative to a learning rate of float32
_BOUND = 2.0**-22


class Counters:
    """Those of one variable's rules over the steps of a run."""

    def __init__(self) -> None:
        self._before: dict[str, Mapping[str, Any]] = {}

    def begin_anew(self) -> None:
        """What was counted is lost, as of rules that keep nothing in a checkpoint."""
        self._before = {}

    def wrong(
        self,
        said: Mapping[str, Any],
        hits: list[Hit],
        form: Format,
        touched: Array,
        active: Elements | None,
        step: tuple[Array, Array] | None,
    ) -> dict[str, Any] | None:
        """The first divergence of what was ``said`` of a variable's update. ``touched``, ``active``: the
        elements that it is for, and those with a direction; ``step``: of that (midpoint, radius)."""
        found = None
        for hit in hits:
            hit.bound = hit.bound & Elements.of(touched)
            told = said["rules"].get(hit.rule["id"])
            if told is None:
                return {"quantity": f"snapshot rules {hit.rule['id']}", "observed": "not there"}
            found = found or statistics.wrong(told, _expected(hit, said, form, touched, active, step))
            found = found or self._sums(hit.rule["id"], told, said, int(np.sum(touched)))
            self._before[hit.rule["id"]] = told
        return found

    def _sums(
        self, name: str, told: Mapping[str, Any], said: Mapping[str, Any], touched: int
    ) -> dict[str, Any] | None:
        """A sum that is not the one before and what is said of this update."""
        before = self._before.get(name, {})
        now = {
            "samples": 1,
            "clamped_total": told["clamped_frac"] * touched,
            "clamped_active_total": told["clamped_frac_active"] * said["active_frac"] * touched,
            "changed_total": told["changed_frac"] * touched,
            "crossed_total": int(told["crossed"]),
        }
        for what, count in now.items():
            sum_ = before.get(what, 0) + round(count)
            if told[what] != sum_:
                return {"quantity": f"snapshot {what}", "expected": sum_, "observed": told[what]}
        return None


def _expected(
    hit: Hit,
    said: Mapping[str, Any],
    form: Format,
    touched: Array,
    active: Elements | None,
    step: tuple[Array, Array] | None,
) -> dict[str, statistics.Ranges]:
    shares = statistics.expected(hit.before, hit.before, hit.bound, touched, active)
    kept = ("clamped_frac", "clamped_frac_active")
    found: dict[str, statistics.Ranges] = {name: shares[name] for name in kept if name in shares}
    for side, bound in (("min", hit.low), ("max", hit.high)):
        if bound is not None:
            slack = (_BOUND + hit.loose) * abs(bound) if np.isfinite(bound) else 0.0
            found[side] = ((bound - slack, bound + slack),)
    found["crossed"] = ((float(hit.crossed), float(hit.crossed)),)
    if active is None or step is None:
        return found
    mid, rad = step
    whole = max(int(np.sum(touched)), 1)
    with np.errstate(all="ignore"):
        before, after = hit.before * mid, hit.alone * mid
        changed = hit.bound & active
        # a step below the range is none before and after
        seen = np.maximum(np.abs(before), np.abs(after)) > 2 * form.smallest
        least = np.sum(changed.sure & seen & np.isfinite(before))
        found["changed_frac"] = ((float(least) / whole, float(np.sum(changed.possible)) / whole),)
        relative = _relative_change(hit, form, touched, before, after, hit.before * rad)
    return found | ({} if relative is None else {"clamp_rel_change": relative})


def _relative_change(
    hit: Hit, form: Format, touched: Array, before: Array, after: Array, loose: Array
) -> statistics.Ranges | None:
    """``|applied - stock| / |stock|`` of the steps that are finite; None where that is not certain."""
    near = (np.abs(before) > form.largest / 2) & np.isfinite(before)
    if np.any(near | (np.abs(after) > form.largest / 2)) or not np.any(touched):
        return None
    finite = touched & np.isfinite(before) & np.isfinite(after)
    if np.any(touched & ~finite):
        return None
    size = _norm(before[finite])
    if size <= form.smallest * before.size:
        return None
    ratio = _norm((after - before)[finite]) / size
    # each difference has the error of both steps; sums of n terms have one for each term
    off = np.where(hit.bound.possible, hit.error, 0.0) * np.maximum(np.abs(before), np.abs(after)) + 4 * loose
    slack = 2 * _norm((off + form.smallest)[finite]) / size + (before.size + 64) * 2.0**-24 * ratio
    slack += 8 * form.unit * (1 + ratio)
    return ((max(0.0, ratio - slack), ratio + slack),) if np.isfinite(slack) else None


def _norm(x: Array) -> float:
    greatest = float(np.max(np.abs(x), initial=0.0))
    return greatest * float(np.sqrt(np.sum(np.square(x / greatest)))) if greatest else 0.0
