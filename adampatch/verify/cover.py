"""A cover of combinations: few rows in which every choice of values of any n dimensions occurs.

Greedy (Cohen et al., 1997), deterministic from a seed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence

Row = Mapping[str, str]
Choice = tuple[tuple[str, str], ...]


def choices(row: Row, strength: int) -> set[Choice]:
    """The combinations of values of ``strength`` dimensions that occur in a row."""
    return set(itertools.combinations(sorted(row.items()), strength))


def cover(
    dimensions: Mapping[str, Sequence[str]],
    strength: int,
    *,
    seed: int = 0,
    given: Sequence[Row] = (),
    possible: Callable[[Row], bool] = lambda row: True,
) -> list[Row]:
    """Rows that, with the ``given`` ones, hold every choice that any possible row holds."""
    names = sorted(dimensions)
    rows: list[dict[str, str]] = [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(dimensions[name] for name in names))
    ]
    rows = [row for row in rows if possible(row)]
    random.Random(seed).shuffle(rows)
    left = set().union(*(choices(row, strength) for row in rows)) if rows else set()
    for row in given:
        left -= choices(row, strength)
    found: list[Row] = []
    while left:
        best = max(rows, key=lambda row: len(choices(row, strength) & left))
        left -= choices(best, strength)
        found.append(best)
    return found


def reached(
    dimensions: Mapping[str, Sequence[str]],
    strength: int,
    rows: Sequence[Row],
    possible: Callable[[Row], bool] = lambda row: True,
) -> float:
    """The share of choices that occur in some row, of those that can."""
    every: set[Choice] = set()
    for values in itertools.product(*(dimensions[name] for name in sorted(dimensions))):
        row = dict(zip(sorted(dimensions), values, strict=True))
        if possible(row):
            every |= choices(row, strength)
    met = set().union(*(choices(row, strength) for row in rows)) if rows else set()
    return len(every & met) / len(every) if every else 1.0
