"""The question under any rules but fixed bounds of the rate: is the rate that was used the one that they
make of stock's, is the variable where that leads, and is that what is said?
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from adampatch.verify.ball import Ball
from adampatch.verify.counters import Counters
from adampatch.verify.findings import Findings, first_of, unemitted, where_emitted
from adampatch.verify.formats import Array
from adampatch.verify.record import SCALARS, STATES, Record
from adampatch.verify.references import Reference
from adampatch.verify.rule_stages import Flow, Stages
from adampatch.verify.snapshots import moved

#: units of rounding between a rate and the step that it makes
_UNITS = 16


@dataclass
class Start:
    """The learning rate at the start, as docs/rules.md defines it: the top of the first rise."""

    value: float = 0.0
    over: bool = False

    def see(self, rate: float) -> float:
        if not self.over and rate > self.value:
            self.value = rate
        elif self.value > 0:
            self.over = True
        return self.value


def ruled(record: Record, reference: Reference | None) -> tuple[int, dict[str, Any] | None, float]:
    """(elements that the rules changed, first divergence, greatest error over bound) of the run under them.

    Each step is made from stock's state, and rules go on from what they remember of their own run, also
    where that was restored. In shadow mode all must be stock's to the bit, and the counters say what would
    have been. Notes in the record where rates were bounded, and alpha as it was applied.
    """
    case, hits, error, start = record.case, 0, 0.0, Start()
    variables = [(Stages(record, reference, i), Counters()) for i in range(len(case.shapes))]
    for t in range(1, case.steps + 1):
        lr0 = start.see(record.rates[t])
        for i, (stages, counters) in enumerate(variables):
            where = {"run": "bounded", "step": t, "variable": i}
            raw, rate = (record.values(t, run, f"rate/{i}") for run in ("cross", "bounded"))
            if raw is None or rate is None:
                if raw is not rate:
                    return hits, where | unemitted(), error
                continue
            with np.errstate(all="ignore"):
                flow = stages.of(t, lr0, raw)
                off, hit = _rates(record, flow, raw, rate)
            if flow is None:  # of no formula: a step that is no number may have been bounded at its own rate
                hit = hit | _not_finite(record, t, i)
            stages.remember(t, flow, rate)
            if case.restore and t == case.restore + 1 and not any(_kept(rule) for rule in case.forms):
                counters.begin_anew()
            if stages.alpha is not None and i == 0:
                record.applied[t] = stages.alpha
            if flow is not None:
                record.clamped[t, i] = flow.clamped
                off = off or _counted(record, reference, t, i, flow, raw, counters)
                hits += int(np.sum(hit)) or sum(int(np.sum(one.bound.sure)) for one in flow.hits)
            if off is None and record.exact:
                off = _others(record, t, i, hit)
            if off is not None:
                return hits, where | off, error
            if reference is not None:
                seen = _variable(record, reference, t, i, rate, hit)
                error = max(error, seen.error)
                if seen.divergence is not None:
                    return hits, where | seen.divergence, error
    return hits, None, error


def _kept(rule: Any) -> bool:
    """Whether a rule remembers something, so that its counters are in the checkpoint too."""
    remembers = rule.get("relative_to") in ("lr0", "lr/lr0") and rule.get("lr0") is None
    return remembers or rule.get("max_increase") is not None or rule.get("max_decrease") is not None


def _rates(record: Record, flow: Flow | None, raw: Array, rate: Array) -> tuple[dict[str, Any] | None, Array]:
    """(the first rate that is not the rules', where they changed the step)."""
    same = (rate == raw) | (np.isnan(rate) & np.isnan(raw))
    if flow is None:
        return None, ~same
    slack = flow.error * np.abs(flow.rate) + record.form.smallest
    off = np.abs(rate - flow.rate) > slack
    # beyond the greatest number of the format a rate is infinite, and so is one that no rule reached
    off &= ~(same & ~np.isfinite(raw)) & (np.abs(flow.rate) < record.form.largest)
    off |= np.isnan(rate) != np.isnan(raw)
    if record.exact:  # what no rule reaches is stock's to the bit
        off |= ~same & ~flow.clamped.possible
    return _first(off, flow.rate, rate), ~same | flow.clamped.possible


def _not_finite(record: Record, t: int, i: int) -> Array:
    values = record.values(t, "stock", f"w/{i}")
    return np.zeros(1, bool) if values is None else ~np.isfinite(values)


def _first(wrong: Array, expected: Array, observed: Array) -> dict[str, Any] | None:
    if not np.any(wrong):
        return None
    at = first_of(wrong)
    pair = {"expected": float(expected[at]), "observed": float(observed[at])}
    return {"quantity": "rate", "element": list(at)} | pair


def _counted(
    record: Record,
    reference: Reference | None,
    t: int,
    i: int,
    flow: Flow,
    raw: Array,
    counters: Counters,
) -> dict[str, Any] | None:
    """What is said of the rules otherwise than they did; v1 graphs say nothing of them."""
    said = record.said.get("bounded", {}).get(t, {}).get("variables", {}).get(str(i))
    if said is None:
        return None
    touched, active = moved(record, reference, "bounded", t, i, raw)
    if touched is None:
        return None
    step = None
    if reference is not None:
        direction = record.wanted(reference, t, i, "bounded")["direction"]
        step = np.broadcast_to(direction.mid, raw.shape), np.broadcast_to(direction.rad, raw.shape)
    return counters.wrong(said, flow.hits, record.form, touched, active, step)


def _others(record: Record, t: int, i: int, hit: Array) -> dict[str, Any] | None:
    """Where a rule moved what it does not bound: slots, or elements that it left alone."""
    for name in record.names(t, "stock"):
        kind, _, index = name.partition("/")
        if kind not in (*STATES, *SCALARS) or (kind == "w" and index != str(i)):
            continue
        theirs, ours = record.bits(t, "stock", name), record.bits(t, "bounded", name)
        assert theirs is not None and ours is not None
        off = record.form.canonical(theirs) != record.form.canonical(ours) if kind == "w" else theirs != ours
        if kind == "w":
            off = off & ~hit
        elif np.asarray(off).dtype == bool and index == str(i) and kind in STATES[1:]:
            off = record.form.canonical(theirs) != record.form.canonical(ours)
        if np.any(off):
            return {"quantity": kind, "element": list(first_of(np.asarray(off))), "clamped": False}
    return None


def _variable(record: Record, reference: Reference, t: int, i: int, rate: Array, hit: Array) -> Findings:
    """The variable after a step under a rule against the ball of what its own rates lead to."""
    before, wanted = record.state(t - 1, "stock", i), record.wanted(reference, t, i, "bounded")
    used = Ball(rate, np.where(hit, _UNITS * record.form.unit * np.abs(rate), 0.0), record.field)
    step = used * wanted["direction"]
    if "decay" in wanted:
        step = step + wanted["decay"]
    led, free = wanted.get("base", before["w"]) - step, wanted["w"]
    ball = Ball(np.where(hit, led.mid, free.mid), np.where(hit, led.rad, free.rad), free.field)
    found = Findings()
    for quantity in (*STATES[1:], "w"):
        observed = record.values(t, "bounded", f"{quantity}/{i}")
        if observed is None or quantity not in wanted:
            continue
        target = ball if quantity == "w" else where_emitted(wanted[quantity], observed)
        found.see(target.excess(observed), target, observed, quantity=quantity)
    return found
