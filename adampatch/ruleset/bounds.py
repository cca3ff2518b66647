"""Bounds as functions of the update's number t = 1, 2, ...: numbers and the four kinds of table.
Pure and in float64. What the run time computes in a graph is judged by `value`."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

#: the greatest float32: rates and steps of most variables are no larger
GREATEST = 3.4028234663852886e38


@dataclass(frozen=True)
class _Ramp:
    """From `first` at update `start` and before to `last` at update `end` and after."""

    KIND: ClassVar[str]

    first: float
    last: float
    start: int
    end: int

    def value(self, t: int) -> float:
        if t <= self.start or t >= self.end:
            return self.first if t <= self.start else self.last
        return self.between((t - self.start) / (self.end - self.start))

    def between(self, part: float) -> float:
        """The value at a part of the way, between 0 and 1."""
        raise NotImplementedError

    def breaks(self) -> tuple[int, ...]:
        return (self.start, self.end)

    def numbers(self) -> tuple[float, ...]:
        return (self.first, self.last)

    def normal_form(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "from": self.first,
            "to": self.last,
            "start": self.start,
            "end": self.end,
        }


@dataclass(frozen=True)
class Linear(_Ramp):
    """Straight from `first` at update `start` and before to `last` at update `end` and after:

    first + (last - first) * (t - start) / (end - start)
    """

    KIND: ClassVar[str] = "linear"

    def between(self, part: float) -> float:
        return self.first + (self.last - self.first) * part

    def slope(self, t: int) -> float:
        if t < self.start or t >= self.end:
            return 0.0
        return (self.last - self.first) / (self.end - self.start)


@dataclass(frozen=True)
class Exponential(_Ramp):
    """As `Linear` on a logarithmic scale: first * (last / first) ** ((t - start) / (end - start)).

    first and last are above 0.
    """

    KIND: ClassVar[str] = "exp"

    def between(self, part: float) -> float:
        # Not last / first: the quotient may overflow where no value of the bound does.
        return math.exp((1.0 - part) * math.log(self.first) + part * math.log(self.last))

    def slope(self, t: int) -> float:
        return self.decay() * self.value(t) if self.start <= t < self.end else 0.0

    def decay(self) -> float:
        """k of first * exp(k * (t - start))."""
        return (math.log(self.last) - math.log(self.first)) / (self.end - self.start)


@dataclass(frozen=True)
class Piecewise:
    """values[0] up to and including update boundaries[0], values[1] up to boundaries[1], ..., the last
    of the values from then on (as Keras' PiecewiseConstantDecay).
    """

    boundaries: tuple[int, ...]
    values: tuple[float, ...]

    def value(self, t: int) -> float:
        return self.values[bisect_left(self.boundaries, t)]

    def slope(self, t: int) -> float:
        return 0.0

    def breaks(self) -> tuple[int, ...]:
        return tuple(boundary + 1 for boundary in self.boundaries)

    def numbers(self) -> tuple[float, ...]:
        return self.values

    def normal_form(self) -> dict[str, Any]:
        return {"kind": "piecewise", "boundaries": list(self.boundaries), "values": list(self.values)}


@dataclass(frozen=True)
class AdaBound:
    """The bounds of AdaBound, which close in on `final` from both sides:

    lower: final * (1 - 1 / (gamma * t + 1));  upper: final * (1 + 1 / (gamma * t))

    Luo, Xiong, Liu, Sun, "Adaptive Gradient Methods with Dynamic Bound of Learning Rate" (ICLR 2019),
    with gamma in the place of 1 - beta_2, as its authors' own code has it.
    """

    final: float
    gamma: float
    side: str

    def value(self, t: int) -> float:
        if self.side == "lower":
            return self.final * (1.0 - 1.0 / (self.gamma * t + 1.0))
        return self.final * (1.0 + 1.0 / (self.gamma * t))

    def slope(self, t: int) -> float:
        if self.side == "lower":
            return self.final * self.gamma / (self.gamma * t + 1.0) / (self.gamma * t + 1.0)
        return -self.final / (self.gamma * t) / t

    def breaks(self) -> tuple[int, ...]:
        return ()

    def numbers(self) -> tuple[float, ...]:
        return (self.final,)

    def normal_form(self) -> dict[str, Any]:
        return {"kind": "adabound", "final": self.final, "gamma": self.gamma, "side": self.side}


Moving: TypeAlias = Linear | Exponential | Piecewise | AdaBound
Bound: TypeAlias = float | Moving


def value(bound: Bound, t: int) -> float:
    """The bound at update `t` (from 1), in float64, before `relative_to` and `convention` scale it.

    The formulas and their sources are those of the classes. May be inf or nan only where a table's
    numbers make it so (`check` refuses these).
    """
    return bound if isinstance(bound, float) else bound.value(t)


def numbers(bound: Bound) -> tuple[float, ...]:
    """What the bound is written with, gamma left out; it is 0 throughout if these are."""
    return (bound,) if isinstance(bound, float) else bound.numbers()


def normal_form(bound: Bound | None) -> float | dict[str, Any] | None:
    """Plain data."""
    return bound if bound is None or isinstance(bound, float) else bound.normal_form()


def of_normal_form(form: float | Mapping[str, Any]) -> Bound:
    """The inverse of `normal_form`, for a form that is known to be valid."""
    if not isinstance(form, Mapping):
        return float(form)
    if form["kind"] == "piecewise":
        return Piecewise(tuple(form["boundaries"]), tuple(float(v) for v in form["values"]))
    if form["kind"] == "adabound":
        return AdaBound(float(form["final"]), float(form["gamma"]), form["side"])
    made = Linear if form["kind"] == "linear" else Exponential
    return made(float(form["from"]), float(form["to"]), form["start"], form["end"])
