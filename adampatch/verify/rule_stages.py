"""What rules make of the rates of an update: docs/rules.md, stage by stage, in float64 beside an error.

Pure NumPy; nothing here comes from the run time. Each quantity is a size, of elements or of a variable,
that is cut to its bounds, and the rate goes with it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adampatch.ruleset import bounds
from adampatch.verify.catalogue import MIXING
from adampatch.verify.formats import Array
from adampatch.verify.record import Record
from adampatch.verify.references import Reference
from adampatch.verify.statistics import Elements

#: in their order; "change" are the limits of the rate's own change
STAGES = ("alpha", "rate", "change", "update", "update_rms", "rms_t", "update_to_weight")
_OF_VARIABLES = STAGES[4:]
#: operations that each rounds once between what is shown and the rate that a stage makes
_ROUNDINGS = {"alpha": 4, "rate": 1, "change": 4}
_OF_STEPS = 6
#: of a run that rounds the two forms in its own way
_FUSED = 16
#: bounds are evaluated in float64 by both
_WIDE = 1e-12
#: beyond this relative error a comparison says nothing
_BLIND = 0.25
_BETA_1 = 0.9
_SINGLE = 2.0**-24

Rule = Mapping[str, Any]
Side = float | Array | None


@dataclass
class Hit:
    """What one rule does by itself to the rates that reach it.

    ``low``, ``high``: its bounds at this update, None for none, and ``loose``, their relative error;
    ``crossed``: the lower one had to give way; ``before``, ``alone``: the rates without and with it, and
    their relative ``error``.
    """

    rule: Rule
    low: float | None
    high: float | None
    loose: float
    before: Array
    alone: Array
    error: Array
    bound: Elements
    crossed: bool


@dataclass
class Flow:
    """Rates on their way through the stages, their relative error, and where they have been bounded."""

    rate: Array
    error: Array
    clamped: Elements
    hits: list[Hit] = field(default_factory=list)


@dataclass
class Size:
    """What is cut: its value, its relative error, and where a bound does not hold for it. ``itself``: it
    is the rate, which else is scaled as the size is."""

    value: Array
    loose: Array
    exempt: Array
    itself: bool = False

    def cut(self, low: Side, high: Side) -> Array:
        """Within the bounds, of which the upper one wins."""
        out = self.value
        if low is not None:
            out = np.where(self.value < low, low, out)
        if high is not None:
            out = np.where(out > high, high, out)
        return np.where(self.exempt, self.value, out)

    def _moved(self, low: Side, high: Side) -> Array:
        return np.asarray((self.cut(low, high) != self.value) & ~np.isnan(self.value))

    def bound(self, low: Side, high: Side, error: float, shape: tuple[int, ...]) -> Elements:
        """Where it is out of its bounds, surely or perhaps."""
        off = np.minimum(2 * (self.loose + error), 1.0)

        def moved(sign: int) -> Array:
            pair = (None if x is None else x * (1 + s * off) for x, s in ((low, -sign), (high, sign)))
            return self._moved(*pair)

        blind = off > 2 * _BLIND
        sure, possible = moved(1) & ~blind, self._moved(low, high) | moved(-1) | blind
        sure, possible = (np.broadcast_to(x & ~self.exempt, shape) for x in (sure, possible))
        return Elements(sure, possible & ~sure, alike=not self.value.ndim)

    def rates(self, rate: Array, low: Side, high: Side) -> Array:
        """The rates that go with it."""
        cut = self.cut(low, high)
        if self.itself:
            return cut
        return np.where(self._moved(low, high), rate * (cut / self.value), rate)


def either(one: Elements, other: Elements) -> Elements:
    """Where one of two masks holds."""
    sure = one.sure | other.sure
    return Elements(sure, (one.possible | other.possible) & ~sure, one.alike and other.alike)


class Stages:
    """The rules of a case on one variable over the steps of a run; remembers what they remember."""

    def __init__(self, record: Record, reference: Reference | None, variable: int) -> None:
        self.record, self.reference, self.i = record, reference, variable
        self.rules: Sequence[Rule] = record.case.forms
        self._previous: Array | None = None
        self._error: Array | float = 0.0
        #: alpha as it was applied in the last step, None where no rule is for it; known before all else is
        self.alpha: float | None = None

    def of(self, t: int, lr0: float, raw: Array) -> Flow | None:
        """What the rules make of the raw rates of a step; None where it cannot be told here."""
        unit = self.record.form.unit
        rate = raw.astype(np.float64)
        error = np.full(raw.shape, 0.0 if self.record.exact else _FUSED * unit)
        flow = Flow(rate, error, Elements.of(np.zeros(raw.shape, bool)))
        self.alpha = None
        for stage in STAGES:
            rules = [rule for rule in self.rules if _takes_part(rule, stage)]
            if rules and not self._stage(flow, stage, rules, t, lr0):
                return None
            if stage == "change":
                self._after_change = flow.rate, flow.error
        return flow

    def remember(self, t: int, flow: Flow | None, rate: Array) -> None:
        """The rates that a step applied, ``rate`` as it was shown; of rows that it did not touch those
        of the step before. A stage that follows is not remembered."""
        now, error = rate.astype(np.float64), np.full(rate.shape, self.record.form.unit)
        if flow is not None and any(rule["quantity"] not in ("rate", "alpha") for rule in self.rules):
            now, error = self._after_change
        touched = self._touched(t, rate)
        kept = np.zeros(rate.shape) if self._previous is None else self._previous
        self._previous = np.where(touched, now, kept)
        self._error = np.where(touched, error, self._error)

    def _touched(self, t: int, raw: Array) -> Array:
        """The elements that the update of a step is for."""
        rows = self.record.gradient(t, self.i).rows
        everywhere = np.ones(raw.shape, bool)
        if rows is None:
            return everywhere
        touched = everywhere & rows.reshape((-1,) + (1,) * (raw.ndim - 1))
        return touched if np.all(np.isnan(raw[~touched])) else everywhere

    # -- one stage

    def _stage(self, flow: Flow, stage: str, rules: list[Rule], t: int, lr0: float) -> bool:
        """Puts the rules of a stage on the rates; whether that could be told."""
        size = self._size(flow, stage, t)
        limits = [self._limits(rule, stage, t, lr0) for rule in rules]
        if size is None or any(found is None for found in limits):
            return False
        known = [found for found in limits if found is not None]
        shape, unit = flow.rate.shape, self.record.form.unit
        error = max(found[2] for found in known) + _ROUNDINGS.get(stage, _OF_STEPS) * unit
        before, off = flow.rate, flow.error + size.loose + error
        acting = [found for rule, found in zip(rules, known, strict=True) if rule.get("mode") != "shadow"]
        low = _tightest(np.maximum, [found[0] for found in acting])
        high = _tightest(np.minimum, [found[1] for found in acting])
        for rule, (own_low, own_high, loose) in zip(rules, known, strict=True):
            alone, bound = size.rates(before, own_low, own_high), size.bound(own_low, own_high, error, shape)
            shown = (None, None) if stage == "change" else (_number(own_low), _number(own_high))
            crossed = shown[0] is not None and high is not None and shown[0] > float(high)
            flow.hits.append(Hit(rule, *shown, loose, before, alone, off, bound, crossed))
        if low is None and high is None:
            return True
        flow.rate = size.rates(before, low, high)
        bound = size.bound(low, high, error, shape)
        flow.error = np.where(bound.possible, off, flow.error)
        flow.clamped = either(flow.clamped, bound)
        if stage == "alpha":
            self.alpha = float(size.cut(low, high))
        return True

    def _limits(self, rule: Rule, stage: str, t: int, lr0: float) -> tuple[Side, Side, float] | None:
        """(low, high, their relative error) of a rule at a step, infinite outside of its window."""
        open_ = rule.get("start", 1) <= t <= rule.get("end", t)
        if stage == "change":
            return (*self._limits_of_change(rule, open_), float(np.max(self._error, initial=0.0)))
        if not open_:
            unbounded = (
                None if rule.get("min") is None else -np.inf,
                None if rule.get("max") is None else np.inf,
            )
            return *unbounded, 0.0
        factor, error = self._factor(rule, t, lr0)
        if factor is None:
            return None
        low, high = (
            None if rule.get(side) is None else bounds.value(bounds.of_normal_form(rule[side]), t) * factor
            for side in ("min", "max")
        )
        return low, high, error

    def _factor(self, rule: Rule, t: int, lr0: float) -> tuple[float | None, float]:
        """(what multiplies a rule's numbers, its relative error)."""
        lr, lr0 = self.record.rates[t], rule.get("lr0", lr0)
        relative, error = rule.get("relative_to", "absolute"), _WIDE
        factor = {
            "absolute": 1.0,
            "lr": lr,
            "lr0": lr0,
            "lr/lr0": lr / lr0 if lr0 else 0.0,
            "alpha": self._alpha(t),
        }[relative]
        if self.record.case.schedule == "decay" and relative.startswith("lr"):
            error += 4 * _SINGLE  # shown in float64, and applied in float32
        if factor is None or rule.get("convention") != "corrected":
            return factor, error
        return factor / self._correction(t), error + self._error_of_correction(t)

    def _limits_of_change(self, rule: Rule, open_: bool) -> tuple[Side, Side]:
        before, low, high = self._previous, None, None
        known = None if before is None or not open_ else (before > 0) & np.isfinite(before)
        if rule.get("max_decrease") is not None:
            low = (
                np.asarray(-np.inf)
                if known is None
                else np.where(known, before / rule["max_decrease"], -np.inf)
            )
        if rule.get("max_increase") is not None:
            high = (
                np.asarray(np.inf)
                if known is None
                else np.where(known, before * rule["max_increase"], np.inf)
            )
        return low, high

    def _alpha(self, t: int) -> float | None:
        """What was shown as alpha; None of a variable that has one of its own, which is not shown."""
        own = self.record.case.optimizer.name in MIXING and self.i > 0
        return None if own else self.record.alphas.get(t)

    def _beta(self) -> float:
        return float(self.record.case.options.get("beta_1", _BETA_1))

    def _correction(self, t: int) -> float:
        return 1 - self._beta() ** t

    def _error_of_correction(self, t: int) -> float:
        """Of ``1 - beta^t``, whose power is a float32, or in fused kernels of the variable's format."""
        fused = self.record.case.optimizer.family in ("v1", "v2", "get_updates")
        unit = max(_SINGLE, self.record.form.unit) if fused else _SINGLE
        return (t + 2) * unit * self._beta() ** t / self._correction(t)

    # -- what is cut

    def _size(self, flow: Flow, stage: str, t: int) -> Size | None:
        rate = flow.rate
        none, exact = np.zeros(rate.shape, bool), np.zeros(())
        if stage == "alpha":
            alpha = self._alpha(t)
            return None if alpha is None else Size(np.asarray(alpha), exact, np.asarray(alpha == 0))
        if stage in ("rate", "change"):
            return Size(rate, flow.error, none, itself=True)
        if self.reference is None:
            return None
        balls = self.record.wanted(self.reference, t, self.i, "bounded")
        direction = balls["direction"]
        mid, rad = (np.broadcast_to(x, rate.shape) for x in (direction.mid, direction.rad))
        step, form = self._in_range(rate * mid), self.record.form
        if stage == "update":
            size = np.abs(step)
            loose = flow.error + np.where(np.abs(mid) > rad, rad / (np.abs(mid) - rad), np.inf)
            # below the normal range a step may be flushed
            loose = loose + np.where(size > 0, form.smallest / np.where(size > 0, size, 1.0), 0.0)
            # a direction that is infinite or none in the formula may be either in the update
            unknown = np.isnan(size)
            loose = np.where(unknown, np.inf, np.where(size > 0, loose, 0.0))
            return Size(size, loose, ~(size > 0) & ~unknown)
        weights = np.broadcast_to(
            balls.get("base", self.record.state(t - 1, "stock", self.i)["w"]).mid, rate.shape
        )
        touched = self._touched(t, rate)
        parts = [np.asarray(x)[touched] for x in (step, rate * rad, weights, flow.error)]
        whole, off = self._rms_t(t, touched) if stage == "rms_t" else self._measured(stage, *parts)
        exempt = not np.isfinite(whole) or whole <= 0
        return Size(np.asarray(whole), np.asarray(0.0 if exempt else off), np.asarray(exempt))

    def _measured(
        self, stage: str, step: Array, rad: Array, weights: Array, error: Array
    ) -> tuple[float, float]:
        """(a number of the whole variable, its relative error): a sum of n terms, each of them rounded."""
        if not step.size:
            return 0.0, 0.0
        size = _rms(step)
        # a step of which nothing is known is as large as it seems
        off = _rms(rad) + _rms(step * np.minimum(error, 1.0))
        loose = self._of_sums(step.size) + (off / size if size else 0.0)
        if stage != "update_to_weight":
            return size, loose
        weight = _rms(weights)
        return (size / weight if weight else 0.0), 2 * loose

    def _rms_t(self, t: int, touched: Array) -> tuple[float, float]:
        raw = self.record.values(t, "cross", f"rate/{self.i}")
        assert raw is not None
        gradient = np.broadcast_to(self.record.gradient(t, self.i).total.mid, raw.shape)
        lr = self.record.rates[t]
        scale = self._in_range(raw.astype(np.float64) * (self._correction(t) / lr if lr else np.nan))
        terms = self._in_range(gradient * scale)[touched]
        return (_rms(terms) if terms.size else 0.0), self._of_sums(terms.size) + self._error_of_correction(t)

    def _in_range(self, product: Array) -> Array:
        """As the format has it: infinite beyond its greatest number."""
        return np.where(np.abs(product) > self.record.form.largest, np.inf, product)

    def _of_sums(self, terms: int) -> float:
        unit = min(self.record.form.unit, _SINGLE)  # narrower formats are summed in float32
        return (terms + 64) * unit + 8 * self.record.form.unit


def _takes_part(rule: Rule, stage: str) -> bool:
    if stage == "change":
        return rule.get("max_increase") is not None or rule.get("max_decrease") is not None
    return bool(rule["quantity"] == stage and (rule.get("min") is not None or rule.get("max") is not None))


def _tightest(of: Any, found: list[Side]) -> Side:
    """The greatest or the least of some bounds."""
    tightest = [x for x in found if x is not None]
    return functools.reduce(of, tightest) if tightest else None


def _number(bound: Side) -> float | None:
    return None if bound is None else float(bound)


def _rms(x: Array) -> float:
    """Without an overflow of squares."""
    greatest = float(np.max(np.abs(x)))
    if not np.isfinite(greatest):
        return float("nan")
    return greatest * float(np.sqrt(np.mean(np.square(x / greatest)))) if greatest else 0.0
