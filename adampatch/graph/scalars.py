"""The scalars of one update as nodes: its number, learning rates, the bounds of its rules. All float64."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from adampatch.algebra import Const, Expr
from adampatch.graph import attributes
from adampatch.graph.attributes import DOUBLE
from adampatch.graph.counting import Clock, Clocks
from adampatch.graph.emission import Emitter
from adampatch.graph.shown import Shown

#: a bound: a number where it never changes, else a tensor
Bound = Union[float, str]
Limits = Tuple[Optional[Bound], Optional[Bound]]


class NotShown(Exception):
    """A rule asks for what a graph does not show. ``words`` say what."""

    def __init__(self, rule: Any, words: str) -> None:
        super().__init__(words)
        self.words = f'rule "{rule.id}": {words}'


class Scalars:
    """What the rules of one site are made of; each is written when it is first asked for.

    ``counting``: the clocks of the body, ``update``: the name of the update's node.
    """

    def __init__(self, emitter: Emitter, shown: Shown, dtype: int, counting: Clocks, update: str) -> None:
        self.emitter, self.shown, self.dtype = emitter, shown, dtype
        self.counting, self.update = counting, update
        self._made: Dict[str, str] = {}

    # -- writing

    def number(self, value: float) -> str:
        return self.emitter.constant(value, DOUBLE)

    def apply(self, op: str, *refs: Bound) -> str:
        """An operation over float64 scalars; numbers among them are written."""
        tensors = [self.number(ref) if isinstance(ref, float) else ref for ref in refs]
        return self.emitter.typed(op, "bound_" + op.lower(), tensors, DOUBLE)

    def where(self, condition: str, yes: Bound, no: Bound) -> str:
        tensors = [self.number(ref) if isinstance(ref, float) else ref for ref in (yes, no)]
        return self.emitter.typed("SelectV2", "bound_where", [condition, *tensors], DOUBLE)

    def both(self, a: str, b: str) -> str:
        return self.emitter.add("LogicalAnd", "both", [a, b], {})

    def wide(self, ref: str, dtype: int) -> str:
        """A tensor of one element as a float64 scalar."""
        return self.emitter.reshape(self.emitter.cast(ref, dtype, DOUBLE), [], DOUBLE)

    def _once(self, name: str, make: Callable[[], str]) -> str:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _of(self, node: Expr) -> str:
        return self.wide(self.emitter.tensor(node, self.dtype), self.dtype)

    # -- what the update shows

    def alpha(self, rule: Any) -> str:
        """Stock's alpha."""
        alpha = self.shown.alpha
        if alpha is None:
            raise NotShown(rule, "alpha is asked for, and the update does not show it")
        return self._once("alpha", lambda: self._of(alpha))

    def lr(self, rule: Any) -> str:
        """The scheduled learning rate."""
        lr = self.shown.lr
        if lr is None:
            raise NotShown(rule, "the learning rate is asked for, and the update does not show it")
        return self._once("lr", lambda: self._of(lr))

    def lr0(self, rule: Any) -> Bound:
        """The learning rate at the start: as the rule says, or one that never changes."""
        if rule.lr0 is not None:
            return float(rule.lr0)
        if not self._is_constant(self.shown.lr):
            raise NotShown(
                rule,
                "the learning rate at the start is asked for, which a graph does not remember; give it in "
                "the rule as lr0",
            )
        return self.lr(rule)

    def _is_constant(self, node: Optional[Expr]) -> bool:
        if isinstance(node, Const):
            return True
        held = self.emitter.tensors.get(node.key) if node is not None else None
        source = self.emitter.body.producer(held[0][0]) if held else None
        while source is not None and source.op in ("Identity", "Cast"):
            source = self.emitter.body.producer(source.inputs[0])
        return source is not None and source.op == "Const"

    def first_correction(self, rule: Any) -> str:
        """1 - beta_1^t."""
        first = self.shown.first
        if first is None:
            raise NotShown(rule, "1 - beta_1^t is asked for, and the update does not show it")
        return self._once("correction", lambda: self.apply("Sub", 1.0, self._of(first)))

    def t(self, rule: Any, last: float) -> str:
        """The number of the update from 1, of which the rule needs none above ``last`` told apart."""
        clock = self._clock()
        if clock is None:
            raise NotShown(rule, "the number of the update is asked for, and the graph does not show it")
        if clock.power and not clock.steps and last > clock.last:
            words = (
                "the number of the update is asked for beyond {}, where the powers of the decay rates end "
            )
            words += "and no global step goes on"
            raise NotShown(rule, words.format(clock.last))
        return self._once("t", lambda: self._time(clock))

    def _clock(self) -> Optional[Clock]:
        refs = []
        for power in self.shown.powers:
            held = self.emitter.tensors.get(power.key)
            if held:
                refs.append(held[0][0])
        return self.counting.of(refs, self.update)

    def _time(self, clock: Clock) -> str:
        if clock.exponent:
            return self.wide(clock.exponent, clock.dtype)
        power = self.wide(clock.power, clock.dtype)
        # the base as the graph has it, and its logarithm as it is taken here: both are rounded alike
        told = self.apply("RealDiv", self.apply("Log", power), self.apply("Log", clock.base))
        told = self.emitter.typed("Rint", "bound_rint", [told], DOUBLE)
        after: Bound = float(clock.last + 1)
        if clock.steps:
            steps = self.apply("AddV2", self._count(clock.steps), 1.0)
            after = self.apply("Maximum", steps, after)
        over = self.emitter.typed("Less", "over", [power, self.number(clock.least)], DOUBLE)
        return self.where(over, after, told)

    def _count(self, steps: str) -> str:
        variable = self.counting.storage.variable(steps)
        assert variable is not None
        dtype = self.counting.dtype_of(variable)
        if variable.resource:
            ref = self.emitter.add("ReadVariableOp", "steps", [steps], {"dtype": attributes.dtype(dtype)})
        else:
            ref = self.emitter.typed("Identity", "steps", [steps], dtype)
        return self.wide(ref, dtype)

    # -- bounds

    def limits(self, rule: Any) -> Limits:
        """(low, high) of a rule's quantity, None where it gives none; infinite outside of its window. Raises
        NotShown."""
        low, high = (None if b is None else self._value(rule, b) for b in (rule.low, rule.high))
        factor = self._factor(rule)
        if factor is not None:
            low, high = (None if b is None else self.apply("Mul", b, factor) for b in (low, high))
        if rule.windowed:
            inside = self._inside(rule)
            low = None if low is None else self.where(inside, low, float("-inf"))
            high = None if high is None else self.where(inside, high, float("inf"))
        return low, high

    def _inside(self, rule: Any) -> str:
        last = float(max(rule.start, rule.end or 0))
        t = self.t(rule, last)
        inside = self.emitter.typed("GreaterEqual", "started", [t, self.number(float(rule.start))], DOUBLE)
        if rule.end is None:
            return inside
        ended = self.emitter.typed("LessEqual", "not_ended", [t, self.number(float(rule.end))], DOUBLE)
        return self.both(inside, ended)

    def _factor(self, rule: Any) -> Optional[Bound]:
        factor: Optional[Bound] = None
        if rule.relative_to == "lr":
            factor = self.lr(rule)
        elif rule.relative_to == "lr0":
            factor = self.lr0(rule)
        elif rule.relative_to == "alpha":
            factor = self.alpha(rule)
        elif rule.relative_to == "lr/lr0":
            lr0 = self.lr0(rule)
            lr0 = self.number(lr0) if isinstance(lr0, float) else lr0
            positive = self.emitter.typed("Greater", "positive", [lr0, self.number(0.0)], DOUBLE)
            share = self.apply("RealDiv", self.lr(rule), self.where(positive, lr0, 1.0))
            factor = self.where(positive, share, 0.0)
        if rule.convention == "corrected":
            factor = self.apply("RealDiv", 1.0 if factor is None else factor, self.first_correction(rule))
        return factor

    def _value(self, rule: Any, bound: Any) -> Bound:
        """A bound's value. Sources of the formulas: docs/rules.md."""
        numbers: List[float] = [float(x) for x in bound.numbers]
        if bound.kind == "number":
            return numbers[0]
        if bound.kind in ("lower", "upper"):
            final, gamma = numbers
            time = self.apply("Mul", self.t(rule, float("inf")), gamma)
            if bound.kind == "lower":
                gone = self.apply("RealDiv", 1.0, self.apply("AddV2", time, 1.0))
                return self.apply("Mul", final, self.apply("Sub", 1.0, gone))
            return self.apply("Mul", final, self.apply("AddV2", 1.0, self.apply("RealDiv", 1.0, time)))
        if bound.kind == "piecewise":
            boundaries, values = numbers[: bound.steps], numbers[bound.steps :]
            found: Bound = values[-1]
            for boundary, value in reversed(list(zip(boundaries, values))):
                at = [self.t(rule, boundaries[-1]), self.number(boundary)]
                found = self.where(self.emitter.typed("LessEqual", "until", at, DOUBLE), value, found)
            return found
        first, last, start, end = numbers
        gone = self.apply("RealDiv", self.apply("Sub", self.t(rule, end), start), end - start)
        share = self.apply("Maximum", self.apply("Minimum", gone, 1.0), 0.0)
        if bound.kind == "exp":
            # not the quotient's power: it may overflow where no value of the bound does
            powers = self.apply("Pow", first, self.apply("Sub", 1.0, share)), self.apply("Pow", last, share)
            between = self.apply("Mul", *powers)
        else:
            between = self.apply("AddV2", first, self.apply("Mul", last - first, share))
        done = self.emitter.typed("GreaterEqual", "done", [share, self.number(1.0)], DOUBLE)
        return self.where(done, last, between)
