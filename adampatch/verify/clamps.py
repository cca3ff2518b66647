"""The questions under a rule: are rates within it, and is everything else as it was."""

from __future__ import annotations

from typing import Any

import numpy as np

from adampatch.verify.ball import Ball
from adampatch.verify.findings import Findings, apart, dataflow, first_of, may_be, unemitted, where_emitted
from adampatch.verify.formats import Array
from adampatch.verify.record import SCALARS, STATES, Record
from adampatch.verify.references import Reference
from adampatch.verify.sites import limits


def bounded(record: Record, reference: Reference | None) -> tuple[int, dict[str, Any] | None, float]:
    """(elements clamped, first divergence, greatest error over bound) of the run under a rule.

    The bounds hold in the variable's format. Raw rates are what the same step emitted without a
    rule, from the same state. Clamped elements lie in the ball of ``w - clip(R) D - decay``;
    all others, and every slot, are stock's to the bit. XLA fuses and rounds the two forms each in
    its own way, and an approximate operation differs with an element's place: there all lie in
    their balls.
    """
    exact = record.exact
    hits, error = 0, 0.0
    for t, i in record.steps():
        where = {"run": "bounded", "step": t, "variable": i}
        low, high = limits(record.form, record.case.bounds_of(i) or (None, None))
        raw, rate = (record.values(t, run, f"rate/{i}") for run in ("cross", "bounded"))
        if raw is None or rate is None:
            if raw is not rate:
                return hits, where | unemitted(), error
            continue
        clipped = np.clip(raw, low, high)  # not-a-number stays, infinity is bounded
        if exact:
            wrong = (clipped != rate) & ~(np.isnan(clipped) & np.isnan(rate))
        else:
            wrong = np.isfinite(rate) & ((rate < low) | (rate > high))
        hit = ~np.isnan(raw) & ((clipped != raw) if exact else (rate == low) | (rate == high))
        off = _touched_others(record, t, i, hit) if exact else []
        if np.any(wrong):
            at = first_of(wrong)
            pair = {"expected": float(clipped[at]), "observed": float(rate[at])}
            off.append({"quantity": "rate", "element": list(at)} | pair)
        if off:  # the first in dataflow order is the cause of the rest
            return hits, where | min(off, key=lambda found: dataflow(found["quantity"])[0]), error
        hits += int(np.sum(hit))
        if reference is not None:
            found = _clamped(record, reference, t, i, rate, hit)
            error = max(error, found.error)
            if found.divergence is not None:
                return hits, where | found.divergence, error
    return hits, None, error


def _touched_others(record: Record, t: int, i: int, hit: Array) -> list[dict[str, Any]]:
    """Where a rule moved what it does not bound: other slots, or elements within their bounds."""
    # what a project's class keeps beside its moments may follow the variable, and at its site
    # the step is judged itself
    known = (*STATES[1:], *SCALARS) if record.case.watch and record.case.mode == "eager" else None
    found = []
    for name in record.names(t, "stock"):
        if name.startswith("w/") and name != f"w/{i}":
            continue
        if known is not None and name.split("/")[0] not in known:
            continue
        theirs, ours = record.bits(t, "stock", name), record.bits(t, "bounded", name)
        assert theirs is not None and ours is not None
        off, _ = apart(record.form, theirs, ours)
        if name == f"w/{i}":
            off = off & ~hit
        if np.any(off):
            found.append({"quantity": name.split("/")[0], "element": list(first_of(off)), "clamped": False})
    return found


def _clamped(record: Record, reference: Reference, t: int, i: int, rate: Array, hit: Array) -> Findings:
    """States and variable of a step under a rule against their balls."""
    before = record.state(t - 1, "stock", i)
    wanted = dict(record.wanted(reference, t, i, "bounded"))
    # no rule touches the decay: "base" is the variable after it where it comes first
    step = record.field.exact(rate) * wanted["direction"]
    if "decay" in wanted:
        step = step + wanted["decay"]
    clamped = wanted.get("base", before["w"]) - step
    free, raw = wanted["w"], wanted["rate"]
    took = hit
    after = record.values(t, "bounded", f"w/{i}")
    if not record.exact and after is not None:  # a rate may be the bound by itself, and the step stock's
        took = hit & ~(may_be(raw, rate) & (free.excess(after) <= 1))
    wanted["w"] = Ball(
        np.where(took, clamped.mid, free.mid), np.where(took, clamped.rad, free.rad), free.field
    )
    wanted["rate"] = where_emitted(Ball(np.where(hit, rate, raw.mid), raw.rad, raw.field), rate)
    found = Findings()
    for quantity in (*STATES[1:], "rate", "w"):
        observed = record.values(t, "bounded", f"{quantity}/{i}")
        if quantity in wanted and observed is not None:
            ball = wanted[quantity]
            found.see(ball.excess(observed), ball, observed, quantity=quantity)
    return found
