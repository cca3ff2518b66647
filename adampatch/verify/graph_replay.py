"""The update of a graph once more, in float64 balls: from the states that were written down and the tensors
that stock itself computed outside of it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

from adampatch.algebra import Const, Expr, Leaf, Op, Role
from adampatch.algebra.expression import negated
from adampatch.graph import attributes
from adampatch.graph.catalog import FUSED
from adampatch.graph.counting import Clock, Clocks
from adampatch.graph.expressions import GRADIENT
from adampatch.graph.shown import Shown, shown_by
from adampatch.graph.storage import Storage
from adampatch.verify.ball import Ball, Field
from adampatch.verify.formats import FORMATS, Array
from adampatch.verify.graph_subject import Update


class NoReplay(Exception):
    """An update that cannot be evaluated here, in words."""


def _reciprocal(a: Ball) -> Ball:
    return a.field.exact(1.0) / a


#: what is evaluated; any other operation is taken as stock computed it
EVALUATED: dict[str, Callable[..., Ball]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
    "square": lambda a: a * a,
    "abs": Ball.abs,
    "sqrt": Ball.sqrt,
    "rsqrt": lambda a: _reciprocal(a.sqrt()),
    "reciprocal": _reciprocal,
    "identity": lambda a: a,
    "max": Ball.maximum,
}


class Replay:
    """One update. ``fetches``: the tensors of the stock graph that it asks for.

    Raises NoReplay where these cannot be had.
    """

    def __init__(self, update: Update) -> None:
        site, body = update.site, update.body
        if body.function or not site.fetchable:
            raise NoReplay("what it is made of cannot be fetched out of a function, a branch or a loop")
        if update.variable is None:
            raise NoReplay("its variable is not to be told")
        assert site.separation is not None and site.step is not None
        self.update, self.site = update, site
        self.storage = Storage(body)
        self.clocks = Clocks(body, self.storage)
        self.shown: Shown = shown_by(site, self.clocks)
        self.clock: Clock | None = None
        self.fetches: set[str] = set()
        #: {key of a leaf: the variable whose value before the step it is}
        self.states: dict[str, str] = {}
        self._refs: dict[str, tuple[str, int]] = {}
        separation = site.shown if site.shown is not None else site.separation
        assert separation.rate is not None
        new = site.step.update if site.sign < 0 else negated(site.step.update)
        self.parts: dict[str, Expr] = {
            "rate": separation.rate,
            "direction": separation.direction,
            "update": new,
        }
        self.parts |= dict(site.states)
        for name, part in (
            ("decay", separation.decay),
            ("alpha", separation.alpha),
            ("lr", self.shown.lr),
            ("power", self.shown.first),
        ):
            if part is not None:
                self.parts[name] = part
        if site.kind == "fused":
            self._of_kernel()
        elif site.kind == "slices":
            raise NoReplay("it is of some rows of its variable")
        else:
            self._of_write()
        gradient = Leaf("grad", Role.GRADIENT, GRADIENT)
        if gradient.key in self._refs and not site.sparse:
            self.parts["gradient"] = gradient
        self._ask()
        powers = [self._refs[p.key][0] for p in self.shown.powers if p.key in self._refs]
        self.clock = self.clocks.of(powers, site.node.name)
        if self.clock is not None:
            self.fetches.add(self.clock.exponent or self.clock.power)

    def _of_kernel(self) -> None:
        node, fused = self.site.node, FUSED[self.site.node.op]
        dtype = attributes.read_dtype(node.attrs.get("T"))
        for name, ref in zip(fused.inputs, node.data_inputs(), strict=True):
            role = Role.GRADIENT if name == "grad" else Role.READ
            key = Leaf(name, role, GRADIENT if name == "grad" else "variable:" + name).key
            variable = self.storage.variable(ref)
            if name in ("var", *self.site.states):
                if variable is None:
                    raise NoReplay("its states are not to be told")
                self.states[key] = variable.path
                continue
            self._refs[key] = (ref, dtype)
            read = self.storage.read(ref)
            if read is not None and not read[0].resource:
                self.states[key] = read[0].path  # a reference is read through, until it is written

    def _of_write(self) -> None:
        assert self.site.reader is not None
        for key, held in self.site.reader.tensors.items():
            self._refs[key] = held[0]
            if any(self.storage.is_reference(ref) for ref, _ in held):
                raise NoReplay("it reads references, which show another value once they are written")
            read = self.storage.read(held[0][0])
            if read is not None and not read[0].resource:
                raise NoReplay("it reads references, which show another value once they are written")

    def _ask(self) -> None:
        todo, seen = list(self.parts.values()), set()
        while todo:
            node = todo.pop()
            if node.key in seen or isinstance(node, Const):
                continue
            seen.add(node.key)
            if self._is_evaluated(node):
                todo += list(node.children)
            elif node.key not in self.states:
                if node.key not in self._refs:
                    raise NoReplay("a part of it is computed where it cannot be fetched")
                self.fetches.add(self._refs[node.key][0])

    def _is_evaluated(self, node: Expr) -> bool:
        if not isinstance(node, Op) or node.name not in EVALUATED or node.key in self.states:
            return False
        held = self._refs.get(node.key)
        return held is None or attributes.NAMES.get(held[1]) == self.update.dtype

    def power(self) -> str:
        """The variable that a power of a decay rate is read from; what is fetched may show it as it is after
        the step."""
        read = self.storage.read(self.clock.power) if self.clock is not None else None
        return "" if read is None else read[0].path

    def moments(self) -> dict[str, str]:
        """{"m", "v", "vhat": variable} of a fused kernel."""
        leaves = {name: Leaf(name, Role.READ, "variable:" + name).key for name in self.site.states}
        return {name: self.states[key] for name, key in leaves.items() if key in self.states}

    def balls(
        self, field: Field, before: Mapping[str, Array], fetched: Mapping[str, Array]
    ) -> dict[str, Ball]:
        """{part: its ball}, and "w", the variable after the update; arrays are bit patterns."""
        known: dict[str, Ball] = {}

        def value(node: Expr) -> Ball:
            if node.key not in known:
                known[node.key] = self._value(node, value, field, before, fetched)
            return known[node.key]

        found = {name: value(part) for name, part in self.parts.items()}
        assert self.update.variable is not None
        found["w"] = _decoded(field, before[self.update.variable]) - found["update"]
        return found

    def _value(
        self,
        node: Expr,
        value: Callable[[Expr], Ball],
        field: Field,
        before: Mapping[str, Array],
        fetched: Mapping[str, Array],
    ) -> Ball:
        if isinstance(node, Const):
            return field.constant(float(node.value))
        if node.key in self.states:
            return _decoded(field, before[self.states[node.key]])
        if not self._is_evaluated(node):
            return _decoded(field, fetched[self._refs[node.key][0]])
        assert isinstance(node, Op)
        return EVALUATED[node.name](*(value(operand) for operand in node.args))


def _decoded(field: Field, bits: Array) -> Ball:
    """The ball of what was written down, cast to the update's format where it had another."""
    if bits.dtype.kind != "u":
        return field.exact(field.format.rounded(bits))
    if 8 * bits.itemsize == field.format.bits:
        return field.stored(bits)
    return field.exact(field.format.rounded(FORMATS[f"float{8 * bits.itemsize}"].decode(bits)))
