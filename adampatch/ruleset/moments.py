"""Moments of a training: numbers of updates, and epochs turned into them. Pure and exact."""

from __future__ import annotations

import re
from fractions import Fraction

_EPOCHS = re.compile(r"\s*(\d{1,12}(?:\.\d{1,12})?)\s*epochs?\s*")


def epochs(text: str) -> Fraction | None:
    """ "3 epochs" as a number; None where the text says no number of epochs."""
    found = _EPOCHS.fullmatch(text)
    return Fraction(found.group(1)) if found else None


def updates(count: Fraction, steps_per_epoch: int) -> int | None:
    """How many updates so many epochs are; None where that is no whole number."""
    number = count * steps_per_epoch
    return int(number) if number.denominator == 1 else None
