"""What is found of one question over all steps and variables: errors over bounds, the first divergence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adampatch.verify.ball import Ball
from adampatch.verify.formats import Array, Format
from adampatch.verify.record import format_of

#: dataflow order: the first of these that is off is the cause of the rest
QUANTITIES = ("alpha", "product", "m", "v", "u", "vhat", "rate", "w")


@dataclass
class Findings:
    """Collected over all steps and variables of one question."""

    error: float = 0.0
    vacuous: int = 0
    elements: int = 0
    moved: bool = False
    divergence: dict[str, Any] | None = field(default=None)

    def see(self, excess: Array, ball: Ball, observed: Array, **where: Any) -> None:
        """Notes the elements of one quantity; the first outside of its ball is the divergence."""
        if not excess.size:
            return
        self.error = max(self.error, float(np.max(excess)))
        if self.divergence is None and np.any(excess > 1):
            at = np.unravel_index(int(np.argmax(excess)), excess.shape)
            self.divergence = where | {
                "element": [int(i) for i in at],
                "expected": float(np.broadcast_to(ball.mid, excess.shape)[at]),
                "bound": float(np.broadcast_to(ball.rad, excess.shape)[at]),
                "observed": float(np.broadcast_to(observed, excess.shape)[at]),
                "error_over_bound": float(excess[at]),
            }


def count(found: Findings, before: Ball, wanted: Ball, after: Array | None) -> None:
    assert after is not None
    with np.errstate(all="ignore"):
        step = np.abs(wanted.mid - before.mid)
        found.moved |= bool(np.any((after != before.mid) & np.isfinite(after)))
        found.vacuous += int(np.sum((step != 0) & ~(wanted.rad < step)))
    found.elements += after.size


def unemitted(quantity: str = "rate") -> dict[str, Any]:
    return {"quantity": quantity, "observed": "not emitted"}


def dataflow(name: str) -> tuple[int, str]:
    quantity = name.split("/")[0]
    return (QUANTITIES.index(quantity) if quantity in QUANTITIES else len(QUANTITIES), name)


def first_of(mask: Array) -> tuple[int, ...]:
    """The index of the first element that is true."""
    return tuple(int(x) for x in np.argwhere(mask)[0])


def apart(form: Format, theirs: Array, ours: Array) -> tuple[Array, float]:
    if theirs.dtype.kind != "u":
        return theirs != ours, 0.0
    form = format_of(form, theirs)
    off = form.canonical(theirs) != form.canonical(ours)
    if not np.any(off):
        return off, 0.0
    return off, float(np.max(form.ulps(theirs, ours)[off]))


def may_be(ball: Ball, value: Array) -> Array:
    """Where a value lies in its ball."""
    with np.errstate(invalid="ignore"):
        return np.asarray(~(np.abs(value - ball.mid) > ball.rad))


def where_emitted(ball: Ball, observed: Array) -> Ball:
    """Rows that a lazy update does not touch have no rate: nothing to compare there. A rate that
    is not finite says so of the state, which is compared itself."""
    rad = np.where(np.isfinite(observed), np.broadcast_to(ball.rad, observed.shape), np.inf)
    return Ball(np.broadcast_to(ball.mid, observed.shape), rad, ball.field)
