"""Rules put on one update as nodes: from rate, direction and bounds to the update that is applied.

The order is that of docs/rules.md: alpha, rate, the product with the direction, the update, numbers of the
whole variable; decay is added last and left alone.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from adampatch.graph.attributes import BFLOAT16, DOUBLE, FLOAT, HALF
from adampatch.graph.emission import Emitter
from adampatch.graph.scalars import Bound, Limits, NotShown, Scalars

#: numbers of a whole variable, in the order in which they are bounded
_OF_VARIABLES = ("update_rms", "rms_t", "update_to_weight")


class Parts(NamedTuple):
    """Tensors of one update. ``update``: stock's; ``weights`` reads the variable before it, ``gradient`` is
    the variable's; None where the update is of some rows, or its gradient is."""

    rate: str
    direction: str
    decay: Optional[str]
    update: str
    weights: Optional[Callable[[], str]]
    gradient: Optional[str]


class Outcome(NamedTuple):
    """``update``: what is to be applied; ``rate`` that was used; ``alpha``: float64, None where no rule
    bounds it; ``clamped``: where an enforced rule changed something, None where none could; ``masks``: {id
    of a rule: what is out of its bounds}."""

    update: str
    rate: str
    alpha: Optional[str]
    clamped: Optional[str]
    masks: Dict[str, str]


def wide(dtype: int) -> int:
    """The type in which sums over variables of a type are made: float32 at least."""
    return FLOAT if dtype in (HALF, BFLOAT16) else dtype


class _Bounding:
    """One update on its way through the stages."""

    def __init__(
        self, emitter: Emitter, scalars: Scalars, rules: Sequence[Any], dtype: int, parts: Parts
    ) -> None:
        self.emitter, self.scalars, self.rules, self.dtype, self.parts = emitter, scalars, rules, dtype, parts
        self.rate, self.stock_rate, self.update = parts.rate, parts.rate, parts.update
        self.clamped: Optional[str] = None
        self.masks: Dict[str, str] = {}

    # -- small things

    def tensor(self, bound: Bound, dtype: int) -> str:
        """A bound, rounded to a type once."""
        if isinstance(bound, float):
            return self.emitter.constant(bound, dtype)
        return self.emitter.cast(bound, DOUBLE, dtype)

    def both(self, a: str, b: str) -> str:
        return self.emitter.add("LogicalAnd", "both", [a, b], {})

    def differ(self, a: str, b: str, dtype: int) -> str:
        return self.emitter.typed("NotEqual", "differ", [a, b], dtype)

    def positive(self, ref: str, dtype: int) -> str:
        return self.emitter.typed("Greater", "positive", [ref, self.emitter.constant(0.0, dtype)], dtype)

    def divided(self, a: str, b: str, mask: str, dtype: int) -> str:
        """a / b where the mask is true."""
        safe = self.emitter.where(mask, b, self.emitter.typed("OnesLike", "ones", [b], dtype), dtype)
        return self.emitter.typed("RealDiv", "share", [a, safe], dtype)

    def clip(self, value: str, limits: Limits, dtype: int) -> Tuple[str, str]:
        """(value within the limits, mask of what was not). Comparisons with NaN are false, so NaN stays NaN;
        minimum and maximum would not say so. Where the limits cross the upper one holds."""
        low, high = (None if b is None else self.tensor(b, dtype) for b in limits)
        out, mask = value, None
        if low is not None:
            mask = self.emitter.typed("Less", "below", [value, low], dtype)
            out = self.emitter.where(mask, low, out, dtype)
        if high is not None:
            above = self.emitter.typed("Greater", "above", [out, high], dtype)
            out = self.emitter.where(above, high, out, dtype)
            mask = above if mask is None else self.either(mask, above)
        if low is not None and high is not None and mask is not None:
            mask = self.both(mask, self.differ(out, value, dtype))
        assert mask is not None
        return out, mask

    def either(self, a: str, b: str) -> str:
        return self.emitter.add("LogicalOr", "either", [a, b], {})

    def clamp(self, mask: str) -> None:
        self.clamped = mask if self.clamped is None else self.either(self.clamped, mask)

    def limits(self, quantity: str) -> Tuple[List[Tuple[Any, Limits]], Limits]:
        """([(rule, its limits)], the tightest of those that are enforced)."""
        each = [(rule, self.scalars.limits(rule)) for rule in self.rules if rule.quantity == quantity]
        enforced = [limits for rule, limits in each if not rule.shadow]
        low = self._tightest([low for low, _ in enforced], max, "Maximum")
        return each, (low, self._tightest([high for _, high in enforced], min, "Minimum"))

    def _tightest(self, bounds: Sequence[Optional[Bound]], fold: Any, op: str) -> Optional[Bound]:
        numbers = [bound for bound in bounds if isinstance(bound, float)]
        found: List[Bound] = [fold(numbers)] if numbers else []
        found += [bound for bound in bounds if isinstance(bound, str)]
        if not found:
            return None
        out = found[0]
        for other in found[1:]:
            out = self.scalars.apply(op, out, other)
        return out

    def watch(self, each: List[Tuple[Any, Limits]], mask: Callable[[Limits], str]) -> None:
        """Keeps what each rule says of what it was given."""
        for rule, limits in each:
            self.masks[rule.id] = mask(limits)

    # -- the stages

    def bound_alpha(self) -> Optional[str]:
        """The scalar; the rate goes with it. Returns what was applied."""
        each, tightest = self.limits("alpha")
        if not each:
            return None
        # The rate is linear in alpha; of an alpha of 0 no factor makes another.
        stock, before = self.scalars.alpha(each[0][0]), self.rate
        nonzero = self.differ(stock, self.scalars.number(0.0), DOUBLE)

        def clipped(limits: Limits) -> Tuple[str, str]:
            out, mask = self.clip(stock, limits, DOUBLE)
            return out, self.both(mask, nonzero)

        self.watch(each, lambda limits: clipped(limits)[1])
        if tightest == (None, None):
            return None
        out, mask = clipped(tightest)
        factor = self.emitter.cast(self.divided(out, stock, mask, DOUBLE), DOUBLE, self.dtype)
        scaled = self.emitter.typed("Mul", "scaled", [before, factor], self.dtype)
        self.rate = self.emitter.where(mask, scaled, before, self.dtype)
        self.clamp(mask)
        return out

    def bound_rate(self) -> None:
        each, tightest = self.limits("rate")
        before = self.rate
        self.watch(each, lambda limits: self.clip(before, limits, self.dtype)[1])
        if tightest == (None, None):
            return
        self.rate, mask = self.clip(before, tightest, self.dtype)
        self.clamp(mask)

    def multiply(self) -> None:
        """The update of the rate so far; stock's own where no stage made another."""
        if self.clamped is not None:
            self.update = self.emitter.where(self.clamped, self.decayed(self.step()), self.update, self.dtype)

    def step(self) -> str:
        return self.emitter.typed("Mul", "step", [self.rate, self.parts.direction], self.dtype)

    def decayed(self, step: str) -> str:
        if self.parts.decay is None:
            return step
        return self.emitter.typed("AddV2", "step_and_decay", [step, self.parts.decay], self.dtype)

    def bound_update(self) -> None:
        """|R*D|, whose sign is kept."""
        each, tightest = self.limits("update")
        if not each:
            return
        before, step = self.rate, self.step()
        size = self.emitter.typed("Abs", "size", [step], self.dtype)
        some = self.positive(size, self.dtype)  # nothing says which way a step of 0 would go

        def clipped(limits: Limits) -> Tuple[str, str]:
            out, mask = self.clip(size, limits, self.dtype)
            return out, self.both(mask, some)

        self.watch(each, lambda limits: clipped(limits)[1])
        if tightest == (None, None):
            return
        out, mask = clipped(tightest)
        share = self.divided(out, size, mask, self.dtype)
        scaled = self.emitter.typed("Mul", "scaled", [before, share], self.dtype)
        self.rate = self.emitter.where(mask, scaled, before, self.dtype)
        sign = self.emitter.typed("Sign", "sign", [step], self.dtype)
        bounded = self.decayed(self.emitter.typed("Mul", "bounded", [sign, out], self.dtype))
        self.update = self.emitter.where(mask, bounded, self.update, self.dtype)
        self.clamp(mask)

    def bound_variable(self, quantity: str) -> None:
        """One number of the whole variable: the update is scaled to obey."""
        each, tightest = self.limits(quantity)
        if not each:
            return
        before, kind, step = self.rate, wide(self.dtype), self.step()
        measured = self.measured(quantity, each[0][0], step)
        size = self.emitter.cast(measured, kind, DOUBLE)
        # of nothing no factor makes a step, and what is not finite is shown as it is
        usual = self.both(
            self.positive(size, DOUBLE), self.emitter.typed("IsFinite", "finite", [size], DOUBLE)
        )

        def clipped(limits: Limits) -> Tuple[str, str]:
            out, mask = self.clip(size, limits, DOUBLE)
            return out, self.both(mask, usual)

        self.watch(each, lambda limits: clipped(limits)[1])
        if tightest == (None, None):
            return
        out, mask = clipped(tightest)
        scale = self.emitter.cast(self.divided(out, size, mask, DOUBLE), DOUBLE, kind)
        self.rate = self.emitter.where(mask, self.scaled(before, scale, kind), before, self.dtype)
        smaller = self.decayed(self.scaled(step, scale, kind))
        self.update = self.emitter.where(mask, smaller, self.update, self.dtype)
        self.clamp(mask)

    def scaled(self, ref: str, scale: str, kind: int) -> str:
        product = self.emitter.typed("Mul", "scaled", [self.emitter.cast(ref, self.dtype, kind), scale], kind)
        return self.emitter.cast(product, kind, self.dtype)

    def measured(self, quantity: str, rule: Any, step: str) -> str:
        if quantity == "update_rms":
            return self.root_mean_square(step)
        if quantity == "rms_t":
            if self.parts.gradient is None:
                raise NotShown(
                    rule, "rms_t asks for the gradient of the whole variable, which this update does not show"
                )
            # R*c1/lr is 1/(sqrt(v/c2) + eps) in both forms of Adam
            debiased = self.scalars.apply(
                "RealDiv", self.scalars.first_correction(rule), self.scalars.lr(rule)
            )
            factor = self.emitter.cast(debiased, DOUBLE, self.dtype)
            scale = self.emitter.typed("Mul", "debiased", [self.stock_rate, factor], self.dtype)
            ratio = self.emitter.typed("Mul", "ratio", [self.parts.gradient, scale], self.dtype)
            return self.root_mean_square(ratio)
        if self.parts.weights is None:
            raise NotShown(rule, "update_to_weight asks for the whole variable, and this update is of rows")
        kind = wide(self.dtype)
        weight, size = self.root_mean_square(self.parts.weights()), self.root_mean_square(step)
        some = self.positive(weight, kind)
        nothing = self.emitter.constant(0.0, kind)
        return self.emitter.where(some, self.divided(size, weight, some, kind), nothing, kind)

    def root_mean_square(self, ref: str) -> str:
        """Of all elements; divided by the greatest one first, so that no square overflows or vanishes."""
        kind = wide(self.dtype)
        size = self.emitter.typed("Abs", "size", [self.emitter.cast(ref, self.dtype, kind)], kind)
        greatest = self.emitter.reduced("Max", size, kind)
        scale = self.emitter.where(
            self.positive(greatest, kind), greatest, self.emitter.constant(1.0, kind), kind
        )
        share = self.emitter.typed("RealDiv", "share", [size, scale], kind)
        mean = self.emitter.reduced("Mean", self.emitter.typed("Square", "square", [share], kind), kind)
        root = self.emitter.typed("Sqrt", "root", [mean], kind)
        return self.emitter.typed("Mul", "rms", [scale, root], kind)


def bounded(emitter: Emitter, scalars: Scalars, rules: Sequence[Any], dtype: int, parts: Parts) -> Outcome:
    """One update under rules. Raises NotShown for what they ask for and the graph does not show."""
    stages = _Bounding(emitter, scalars, rules, dtype, parts)
    alpha = stages.bound_alpha()
    stages.bound_rate()
    stages.multiply()
    stages.bound_update()
    for quantity in _OF_VARIABLES:
        stages.bound_variable(quantity)
    return Outcome(stages.update, stages.rate, alpha, stages.clamped, stages.masks)


def unbounded(emitter: Emitter, rate: str, dtype: int) -> str:
    """The mask where no rule applies: False in the shape of the rate."""
    return emitter.typed("Less", "within", [rate, rate], dtype)
