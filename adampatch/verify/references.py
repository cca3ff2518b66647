"""Keras' and TensorFlow's own updates written out by hand, on balls: the independent witness.

Evaluated on balls each gives a reference in a wider format and, with it, how far a correct
implementation in the variable's format can be from it. The forms are those of the published
sources as measured, operation by operation; nothing here comes from the code that patches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from adampatch.verify.ball import Ball, Field
from adampatch.verify.formats import FORMATS, Array


@dataclass(frozen=True)
class Gradient:
    """What reaches the variable: ``total``, the sum of duplicates, and ``square``, what feeds
    the second moment, both of the variable's shape. ``size`` is the sum of ``|g|``. ``rows``:
    a mask of the rows that a lazy update touches, None where all move."""

    total: Ball
    square: Ball
    size: Ball
    sparse: bool = False
    rows: Array | None = None


@dataclass(frozen=True)
class Hyper:
    """Hyper-parameters as the code of one family sees them, at one update.

    ``t`` counts updates from 1; ``rate`` is the learning rate the optimizer says it has, a
    float32 number; ``alpha`` the bias-corrected scalar read out of the patched optimizer, None
    where it shows none. ``family`` decides how constants reach the variable's format; ``compiled``: by
    XLA, where a fused kernel may have another order of operations.
    """

    field: Field
    family: str
    t: int
    rate: float
    options: Mapping[str, float]
    alpha: float | None = None
    compiled: bool = False

    @property
    def lr(self) -> Ball:
        return self.field.cast(self.rate)

    @property
    def one(self) -> Ball:
        return self.field.exact(1.0)

    @property
    def epsilon(self) -> Ball:
        value = self.options["epsilon"]
        return self.field.cast(value) if self.family == "v1" else self.field.constant(value)

    def beta(self, name: str) -> Ball:
        return self.field.cast(self.options[name])

    def rest(self, name: str, *, typed: bool = False) -> Ball:
        """``1 - beta``: Python's where the newer Keras classes compute it, else the format's."""
        if self.family in ("keras2", "keras3") and not typed:
            return self.field.constant(1 - self.options[name])
        return self.field.complement(self.beta(name))

    def power(self, name: str, before: Mapping[str, Ball]) -> Ball:
        """``beta^t``: a variable of V1's optimizers, computed anew in all others."""
        kept = before.get(f"{name}_power")
        if kept is not None:
            return kept
        if self.family == "v1":  # from the global step, as a float32 number
            single = replace(self.field, format=FORMATS["float32"])
            power = single.cast(self.options[name]).power(self.t)
            mid, rad = (np.asarray(x, self.field.format.wide) for x in (power.mid, power.rad))
            return self.field.round(mid, rad)
        return self.beta(name).power(self.t)

    def told(self, computed: Ball) -> Ball:
        """The alpha to go on with: the one observed, when there is one, is exact."""
        return computed if self.alpha is None else self.field.exact(self.alpha)


Values = Mapping[str, Ball]
Reference = Callable[[Values, Gradient, Hyper], dict[str, Ball]]


def _moment(state: Ball, fresh: Ball, rest: Ball, *, split: bool) -> Ball:
    """``s + (x - s)(1 - b)``, or its parts written one after the other."""
    if split:
        return (state - state * rest) + fresh * rest
    return state + (fresh - state) * rest


def moments(before: Values, g: Gradient, h: Hyper, *, typed: bool = False, split: bool = False) -> list[Ball]:
    rests = [h.rest(name, typed=typed) for name in ("beta_1", "beta_2")]
    split = split or (g.sparse and h.family != "keras3")
    pairs = zip((before["m"], before["v"]), (g.total, g.square), rests, strict=True)
    return [_moment(state, fresh, rest, split=split) for state, fresh, rest in pairs]


def _decayed(before: Values, h: Hyper) -> Ball:
    """The variable after decoupled decay, which the newer Keras classes apply first
    (Loshchilov and Hutter, 2019, algorithm 2)."""
    decay = h.options.get("weight_decay")
    w = before["w"]
    return w if decay is None else w - (w * h.field.cast(decay)) * h.lr


def adam(before: Values, g: Gradient, h: Hyper) -> dict[str, Ball]:
    """Adam with epsilon hat (Kingma and Ba, 2015, end of section 2) and AMSGrad (Reddi et al., 2018)."""
    p1, p2 = h.power("beta_1", before), h.power("beta_2", before)
    computed = h.lr * (h.one - p2).sqrt() / (h.one - p1)
    alpha = h.told(computed)
    m, v = moments(before, g, h)
    out = {"alpha": computed, "m": m, "v": v}
    if "vhat" in before:
        v = out["vhat"] = before["vhat"].maximum(v)
    root = v.sqrt() + h.epsilon
    w = _decayed(before, h)
    return out | {"rate": alpha / root, "direction": m, "base": w, "w": w - m * alpha / root}


def nadam(before: Values, g: Gradient, h: Hyper) -> dict[str, Ball]:
    """Nadam with its momentum schedule (Dozat, 2016)."""
    beta, half = h.beta("beta_1"), h.field.exact(0.5)
    # The older class slows the schedule down by a factor that its newer forms dropped.
    pace = 0.004 if h.family == "v2" else 1.0
    now, following = (beta * (h.one - half * _schedule(h, pace * t)) for t in (h.t, h.t + 1))
    product = before["product"] * now
    if h.family == "keras3":  # kept apart from the update, with Python's constants
        beta, base = h.field.constant(h.options["beta_1"]), h.field.constant(0.96)
        product = before["product"] * beta * (h.one - half * base.power(h.t))
    m, v = moments(before, g, h, typed=True, split=h.family == "v2")
    mix = following * m / (h.one - product * following) + (h.one - now) * g.total / (h.one - product)
    root = (v / (h.one - h.beta("beta_2").power(h.t))).sqrt() + h.epsilon
    out = {"alpha": h.lr, "m": m, "v": v, "rate": h.lr / root, "direction": mix}
    if h.family != "v2" or h.field.format.name == "float32":  # OptimizerV2 keeps it in float32 only
        out["product"] = product
    return lazily(out | {"w": before["w"] - mix * h.lr / root}, before, g, h)


def _schedule(h: Hyper, exponent: float) -> Ball:
    """``0.96^x`` in the variable's format, x rounded into it."""
    base = h.field.cast(0.96)
    x = h.field.format.rounded(exponent)
    mid = base.mid**x
    error = np.abs(mid * np.log(base.mid) * x) * 2 * h.field.format.unit
    return h.field.round(mid, error, h.field.accuracy.power)


def adamax(before: Values, g: Gradient, h: Hyper) -> dict[str, Ball]:
    """Adam with the infinity norm (Kingma and Ba, 2015, algorithm 2)."""
    c1 = h.one - h.power("beta_1", before)
    m = _moment(before["m"], g.total, h.rest("beta_1"), split=g.sparse and h.family != "keras3")
    if h.compiled and h.family == "v2" and not g.sparse:  # XLA's form of the fused kernel
        m = h.beta("beta_1") * before["m"] + h.rest("beta_1") * g.total
    keras = h.family in ("keras2", "keras3")
    beta_2 = h.field.constant(h.options["beta_2"]) if keras else h.beta("beta_2")
    u = beta_2 * before["u"]
    if g.sparse and h.family == "keras2":  # the rise is scattered onto it
        rise = u.maximum(g.size) - u
        risen, rad = u.mid + rise.mid, np.where(rise.mid > 0, (u + rise).rad, u.rad)
        u = Ball(risen, np.where(np.isfinite(risen), rad, np.inf), h.field)
    else:
        u = u.maximum(g.size)
    norm = u + h.epsilon
    out = {"alpha": h.lr / c1, "m": m, "u": u, "rate": h.lr / (c1 * norm), "direction": m}
    return lazily(out | {"w": before["w"] - h.lr * m / (c1 * norm)}, before, g, h, ("w", "m", "u"))


def lamb(before: Values, g: Gradient, h: Hyper) -> dict[str, Ball]:
    """LAMB as Keras has it: Adam's step scaled by a trust ratio (You et al., 2020, algorithm 2)."""
    m, v = moments(before, g, h)
    c1, c2 = (h.one - h.power(name, before) for name in ("beta_1", "beta_2"))
    root = (v / c2).sqrt() + h.epsilon
    step = m / c1 / root
    weights, norm = ((x * x).sum().sqrt() for x in (before["w"], step))
    known = (weights.mid > 0) & (norm.mid > 0)
    ratio = weights / norm if known else h.one
    alpha = ratio * h.lr / c1
    out = {"alpha": alpha, "m": m, "v": v, "rate": alpha / root, "direction": m}
    return out | {"w": before["w"] - ratio * h.lr * step}


def lazily(
    out: dict[str, Ball], before: Values, g: Gradient, h: Hyper, names: tuple[str, ...] = ("w",)
) -> dict[str, Ball]:
    """The same with only the touched rows of the variable, and of the states in ``names``, moved."""
    if g.rows is None:
        return out
    shape = (len(g.rows),) + (1,) * (out["w"].mid.ndim - 1)
    rows = g.rows.reshape(shape)
    for name in names:
        old, new = before[name], out[name]
        mid = np.where(rows, new.mid, old.mid)
        out[name] = Ball(mid, np.where(rows, new.rad, 0 * old.rad), h.field)
    return out
