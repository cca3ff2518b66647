"""The first update at which one bound is above another, or at which a bound is no finite number.

Found exactly, however far away: between breaks both bounds are smooth, their difference has at most
one turning point in each part that is looked at, and on each side of it bisection finds the update.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

from adampatch.ruleset.bounds import GREATEST, Bound, Exponential, value

#: the last update that is looked at where a window has no end: up to here a float holds every count
HORIZON = 2**53
#: Bounds that are written differently may meet in one value; what float64 makes of it then differs by less.
_ROUNDING = 1e-12


def above(low: Bound, high: Bound, t: int) -> bool:
    """Whether `low` is above `high` at update `t`. Plain numbers are compared as they are."""
    if isinstance(low, float) and isinstance(high, float):
        return low > high
    return value(low, t) > value(high, t) * (1.0 + _ROUNDING)


def first_crossing(low: Bound, high: Bound, start: int = 1, end: int | None = None) -> int | None:
    """The first update from `start` to `end` at which `low` is above `high`; None if it never is."""
    last = HORIZON if end is None else min(end, HORIZON)
    for left, right in _smooth(low, high, start, last):
        # `low - high` rises or falls all the way from left to right.
        if above(low, high, left):
            return left
        if above(low, high, right):
            return _first(left + 1, right, lambda t: above(low, high, t))
    return None


def first_not_finite(bound: Bound, start: int = 1) -> int | None:
    """The first update from `start` at which a bound of valid numbers overflows float32, or is nan.

    Only the upper bound of AdaBound can, which falls: so it is `start`, or none.
    """
    return None if value(bound, start) <= GREATEST else start


def _smooth(low: Bound, high: Bound, start: int, last: int) -> Iterator[tuple[int, int]]:
    """Stretches of updates, in order, on each of which the difference of the bounds is monotone."""
    cuts = {start, last + 1}
    for bound in (low, high):
        if isinstance(bound, float):
            continue
        cuts.update(t for t in bound.breaks() if start < t <= last)
        if isinstance(bound, Exponential) and bound.decay() < 0:
            # Falling exp(k t) against AdaBound's 1/t: the ratio of their slopes turns at -2/k. Of all
            # other pairs the ratio of slopes is monotone, so that they are equal once at most.
            turn = -2.0 / bound.decay()
            cuts.update([math.ceil(turn)] if start < turn <= last else [])
    ordered = sorted(cuts)
    for left, following in pairwise(ordered):
        right = following - 1
        rises = _rises(low, high, left)
        if rises != _rises(low, high, right):
            turned = _first(left, right, partial(_turned, low, high, rises))
            yield left, turned - 1
            left = turned
        yield left, right


def _turned(low: Bound, high: Bound, rose: bool, t: int) -> bool:
    return _rises(low, high, t) != rose


def _rises(low: Bound, high: Bound, t: int) -> bool:
    """Whether `low - high` rises at t."""
    slopes = [0.0 if isinstance(bound, float) else bound.slope(t) for bound in (low, high)]
    return slopes[0] > slopes[1]


def _first(left: int, right: int, holds: Callable[[int], bool]) -> int:
    """The first t from left to right for which `holds`, if it holds at right and stays true."""
    while left < right:
        middle = (left + right) // 2
        if holds(middle):
            right = middle
        else:
            left = middle + 1
    return left


def said(low: Bound, high: Bound, t: int) -> tuple[str, str]:
    """Both bounds at an update: plain numbers as they are, others to as many digits as tell the two apart."""
    for digits in range(6, 18):
        texts = [
            repr(bound) if isinstance(bound, float) else f"{value(bound, t):.{digits}g}"
            for bound in (low, high)
        ]
        if float(texts[0]) > float(texts[1]):
            break
    return texts[0], texts[1]
