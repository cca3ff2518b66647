"""The question under any rule but fixed bounds of the rate: is the rate that was used the one that the
rule makes of stock's, and the variable where that leads? Evaluated here in float64, step by step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adampatch.ruleset import bounds
from adampatch.verify.ball import Ball
from adampatch.verify.catalogue import MIXING
from adampatch.verify.findings import Findings, first_of, unemitted, where_emitted
from adampatch.verify.formats import Array
from adampatch.verify.record import SCALARS, STATES, Record
from adampatch.verify.references import Reference

#: units of rounding that a rule's own few operations may be off by, in the variable's format
_UNITS = 16
#: relative error of 1 - beta^t where beta is a float32
_CORRECTION = 1e-6
_BETA_1 = 0.9
_OF_VARIABLES = ("update_rms", "rms_t", "update_to_weight")


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


@dataclass
class Wanted:
    """Rates as a rule makes them: the value, its relative error, and where it is not the raw one."""

    rate: Array
    error: Array
    bound: Array


class Ruling:
    """One rule on one variable over the steps of a run; remembers what the rule remembers."""

    def __init__(self, record: Record, reference: Reference | None, variable: int) -> None:
        assert record.case.form is not None
        self.record, self.reference, self.i = record, reference, variable
        self.rule = record.case.form
        self.previous: Array | None = None

    def remember(self, t: int, rate: Array) -> None:
        """The rates of a step; of rows that it did not touch those of the step before."""
        rows = self.record.gradient(t, self.i).rows
        now = rate.astype(np.float64)
        if rows is not None:
            touched = np.broadcast_to(rows.reshape((-1,) + (1,) * (rate.ndim - 1)), rate.shape)
            now = np.where(touched, now, 0.0 if self.previous is None else self.previous)
        self.previous = now

    def _limits(self, t: int, lr0: float) -> tuple[float, float, float] | None:
        """(low, high, their relative error) at a step; None where nothing tells."""
        rule, record = self.rule, self.record
        if not rule.get("start", 1) <= t <= rule.get("end", t):
            return 0.0, np.inf, 0.0
        relative = rule.get("relative_to", "absolute")
        lr, alpha = record.rates[t], self._alpha(t)
        lr0 = rule.get("lr0", lr0)
        factor: float | None = 1.0
        if relative == "lr/lr0":
            factor = lr / lr0 if lr0 else 0.0
        elif relative != "absolute":
            factor = {"lr": lr, "lr0": lr0, "alpha": alpha}[relative]
        if factor is None:
            return None
        error = 1e-12
        if rule.get("convention") == "corrected":
            factor, error = factor / self._correction(t), _CORRECTION
        low, high = (
            None if rule.get(side) is None else bounds.value(bounds.of_normal_form(rule[side]), t) * factor
            for side in ("min", "max")
        )
        return 0.0 if low is None else low, np.inf if high is None else high, error

    def _alpha(self, t: int) -> float | None:
        """What was shown as alpha; None of a variable that has one of its own, which is not shown."""
        own = self.record.case.optimizer.name in MIXING and self.i > 0
        return None if own else self.record.alphas.get(t)

    def _correction(self, t: int) -> float:
        return float(1 - self.record.case.options.get("beta_1", _BETA_1) ** t)

    def wanted(self, t: int, lr0: float, raw: Array) -> Wanted | None:
        """What the rule makes of the raw rates of a step; None where it cannot be told here."""
        limits = self._limits(t, lr0)
        if limits is None:
            return None
        low, high, error = limits
        high = max(high, 0.0)
        low = min(low, high)
        unit, quantity = self.record.form.unit, self.rule["quantity"]
        rate, off = raw.astype(np.float64), np.full(raw.shape, error + _UNITS * unit)
        if quantity == "rate":
            found: Array | None = self._changed(
                t, np.where(rate < low, low, np.where(rate > high, high, rate))
            )
        elif quantity == "alpha":
            alpha = self._alpha(t)
            found = None if alpha is None else rate * (np.clip(alpha, low, high) / alpha if alpha else 1.0)
        else:
            found = self._stepped(t, quantity, low, high, rate, off)
        if found is None:
            return None
        return Wanted(found, off, (found != rate) & ~np.isnan(rate))

    def _changed(self, t: int, rate: Array) -> Array:
        """After the limits of change, which go by the rate that was used at the step before."""
        before, rule = self.previous, self.rule
        if before is None or not rule.get("start", 1) <= t <= rule.get("end", t):
            return rate
        known = (before > 0) & np.isfinite(before)
        if rule.get("max_decrease") is not None:
            least = np.where(known, before / rule["max_decrease"], 0.0)
            rate = np.where(rate < least, least, rate)
        if rule.get("max_increase") is not None:
            most = np.where(known, before * rule["max_increase"], np.inf)
            rate = np.where(rate > most, most, rate)
        return rate

    def _stepped(
        self, t: int, quantity: str, low: float, high: float, rate: Array, off: Array
    ) -> Array | None:
        """Rates under bounds of the step that they make; adds to the relative error ``off``."""
        if self.reference is None:
            return None
        balls = self.record.wanted(self.reference, t, self.i, "cross")
        direction = balls["direction"]
        mid, rad = (np.broadcast_to(x, rate.shape) for x in (direction.mid, direction.rad))
        step = rate * mid
        with np.errstate(all="ignore"):
            if quantity == "update":
                size = np.abs(step)
                bounded = np.where(size > high, high, np.where((size < low) & (size > 0), low, size))
                off += np.where(np.abs(mid) > rad, rad / (np.abs(mid) - rad), np.inf)
                return np.where(size > 0, rate * (bounded / size), rate)
            if quantity not in _OF_VARIABLES or not rate.size:
                return rate
            size, loose = self._measure(t, quantity, rate, step, rad)
            off += loose
            if not np.isfinite(size) or size <= 0:
                return rate
            scaled = np.clip(size, low, high) / size
            return np.asarray(rate * scaled)

    def _measure(self, t: int, quantity: str, rate: Array, step: Array, rad: Array) -> tuple[float, float]:
        """(a number of the whole variable, its relative error): a sum of n terms, each of them rounded."""
        record = self.record
        terms = (rate.size + 64) * record.form.unit
        assert self.reference is not None
        balls = record.wanted(self.reference, t, self.i, "cross")  # "base": after a decay that comes first
        w = np.broadcast_to(balls.get("base", record.state(t - 1, "stock", self.i)["w"]).mid, rate.shape)
        if quantity == "rms_t":
            gradient = record.gradient(t, self.i).total.mid
            debiased = self._correction(t) / record.rates[t] if record.rates[t] else np.nan
            size = _rms(np.broadcast_to(gradient, rate.shape) * rate * debiased)
            return size, terms + _CORRECTION
        size = _rms(step)
        loose = terms + (_rms(rate * rad) / size if size else 0.0)
        if quantity == "update_to_weight":
            return (size / _rms(w) if _rms(w) else 0.0), 2 * loose
        return size, loose


def _rms(x: Array) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def ruled(record: Record, reference: Reference | None) -> tuple[int, dict[str, Any] | None, float]:
    """(elements that the rule changed, first divergence, greatest error over bound) of the run under it.

    Each step is made from stock's state, and the rule goes on from what it remembers of its own run. In
    shadow mode all must be stock's to the bit, and the counters say what would have been.
    """
    hits, error, start = 0, 0.0, Start()
    variables = [Ruling(record, reference, i) for i in range(len(record.case.shapes))]
    shadow = variables[0].rule.get("mode") == "shadow" if variables else False
    for t in range(1, record.case.steps + 1):
        lr0 = start.see(record.rates[t])
        for i, ruling in enumerate(variables):
            where = {"run": "bounded", "step": t, "variable": i}
            raw, rate = (record.values(t, run, f"rate/{i}") for run in ("cross", "bounded"))
            if raw is None or rate is None:
                if raw is not rate:
                    return hits, where | unemitted(), error
                continue
            with np.errstate(all="ignore"):
                wanted = ruling.wanted(t, lr0, raw)
                found, hit = _rates(record, wanted, raw, rate, shadow)
            ruling.remember(t, rate)
            if found is None and wanted is not None:
                found = _counted(record, t, i, ruling.rule, wanted, raw)
            if found is None and record.exact:
                found = _others(record, t, i, hit)
            if found is not None:
                return hits, where | found, error
            hits += int(np.sum(wanted.bound)) if wanted is not None and shadow else int(np.sum(hit))
            if reference is not None:
                seen = _variable(record, reference, t, i, rate, hit)
                error = max(error, seen.error)
                if seen.divergence is not None:
                    return hits, where | seen.divergence, error
    return hits, None, error


def _rates(
    record: Record, wanted: Wanted | None, raw: Array, rate: Array, shadow: bool
) -> tuple[dict[str, Any] | None, Array]:
    """(the first rate that is not the rule's, where the rule changed the step)."""
    same = (rate == raw) | (np.isnan(rate) & np.isnan(raw))
    if shadow or wanted is None:
        return (_first(~same, raw, rate) if shadow and record.exact else None), ~same
    slack = wanted.error * np.abs(wanted.rate) + record.form.smallest
    off = np.abs(rate - wanted.rate) > slack
    # beyond the greatest number of the format a rate is infinite, and so is one that no rule reached
    off &= ~(same & ~np.isfinite(raw)) & (np.abs(wanted.rate) < record.form.largest)
    off |= np.isnan(rate) != np.isnan(raw)
    return _first(off, wanted.rate, rate), ~same | wanted.bound


def _first(wrong: Array, expected: Array, observed: Array) -> dict[str, Any] | None:
    if not np.any(wrong):
        return None
    at = first_of(wrong)
    pair = {"expected": float(expected[at]), "observed": float(observed[at])}
    return {"quantity": "rate", "element": list(at)} | pair


def _counted(
    record: Record, t: int, i: int, rule: Mapping[str, Any], wanted: Wanted, raw: Array
) -> dict[str, Any] | None:
    """A counter of the rule that is not the number of elements that it bounds."""
    said = record.said.get("bounded", {}).get(t, {}).get("variables", {}).get(str(i))
    told = None if said is None else said.get("rules", {}).get(rule["id"])
    if said is None or record.case.mode.startswith("graph") or record.case.layout != "dense" or not raw.size:
        return None
    if told is None:
        return {"quantity": f"snapshot rules {rule['id']}", "observed": "not there"}
    with np.errstate(all="ignore"):
        moved = np.abs(wanted.rate / raw.astype(np.float64) - 1)
        sure = wanted.bound & (moved > 2 * wanted.error)
        unsure = ~sure & ~(moved > 2 * wanted.error) & (wanted.bound | (moved <= 2 * wanted.error))
    scalar = rule["quantity"] in ("alpha", *_OF_VARIABLES)
    least = 0 if scalar and not np.all(sure[raw != 0]) else int(np.sum(sure))
    most = raw.size if scalar and np.any(sure) else int(np.sum(sure | (unsure & wanted.bound)))
    if not np.any(sure) and np.any(unsure):
        most = raw.size
    share = told["clamped_frac"] * raw.size
    if least - 0.5 <= share <= most + 0.5:
        return None
    return {
        "quantity": "snapshot clamped_frac",
        "expected": least / raw.size,
        "observed": told["clamped_frac"],
    }


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
    before, wanted = record.state(t - 1, "stock", i), record.wanted(reference, t, i, "cross")
    used = Ball(rate, np.where(hit, _UNITS * record.form.unit * np.abs(rate), 0.0), record.field)
    step = used * wanted["direction"]
    if "decay" in wanted:
        step = step + wanted["decay"]
    moved, free = wanted.get("base", before["w"]) - step, wanted["w"]
    ball = Ball(np.where(hit, moved.mid, free.mid), np.where(hit, moved.rad, free.rad), free.field)
    found = Findings()
    for quantity in (*STATES[1:], "w"):
        observed = record.values(t, "bounded", f"{quantity}/{i}")
        if observed is None or quantity not in wanted:
            continue
        target = ball if quantity == "w" else where_emitted(wanted[quantity], observed)
        found.see(target.excess(observed), target, observed, quantity=quantity)
    return found
