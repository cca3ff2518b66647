"""Parity and reach: what flips with (gradient, variable), and what the gradient feeds.

Both are least fixpoints over the writes of one update step. Pure; the rules are those of
separation by parity: products add parities, sums and selects need equal ones, roots need
even, squares, absolute values and norms give even.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from adampatch.algebra.expression import Const, Expr, Leaf, Op, Role, is_const
from adampatch.algebra.operations import OPERATIONS


class Parity(enum.Enum):
    """How a value answers to flipping the signs of gradient and variable."""

    ANY = "any"  # zero, or a state not yet known: the bottom of the lattice
    EVEN = "even"
    ODD = "odd"
    NONE = "none"  # neither; the top


@dataclass(frozen=True)
class StateWrite:
    """``slot`` is given the value ``value`` (its whole new value, old part included)."""

    slot: str
    value: Expr


@dataclass(frozen=True)
class Content:
    """What feeds a value, through states as well."""

    gradient: bool = False
    variable: bool = False

    def __or__(self, other: Content) -> Content:
        return Content(self.gradient or other.gradient, self.variable or other.variable)


def _joined(parities: Iterable[Parity]) -> Parity:
    """The common parity of the terms of a sum."""
    found = Parity.ANY
    for parity in parities:
        if parity is Parity.NONE:
            return Parity.NONE
        if parity is Parity.ANY:
            continue
        if found is Parity.ANY:
            found = parity
        elif found is not parity:
            return Parity.NONE
    return found


def _sum(node: Op, p: list[Parity]) -> Parity:
    return _joined(p)


def _product(node: Op, p: list[Parity]) -> Parity:
    if Parity.NONE in p:
        return Parity.NONE
    if Parity.ANY in p:
        return Parity.ANY
    return Parity.ODD if p.count(Parity.ODD) % 2 else Parity.EVEN


def _first(node: Op, p: list[Parity]) -> Parity:
    return p[0]


def _even(node: Op, p: list[Parity]) -> Parity:
    return p[0] if p[0] in (Parity.NONE, Parity.ANY) else Parity.EVEN


def _needs_even(node: Op, p: list[Parity]) -> Parity:
    if any(x in (Parity.NONE, Parity.ODD) for x in p):
        return Parity.NONE
    return Parity.EVEN


def _power(node: Op, p: list[Parity]) -> Parity:
    exponent = node.args[1]
    power = exponent.value if isinstance(exponent, Const) else None
    if isinstance(power, (int, float)) and power == int(power):
        return _even(node, p) if int(power) % 2 == 0 else p[0]
    return _needs_even(node, p)


def _clip(node: Op, p: list[Parity]) -> Parity:
    if p[0] is Parity.ODD and p[1] in (Parity.EVEN, Parity.ANY) and opposite(node.args[1], node.args[2]):
        return Parity.ODD
    return _needs_even(node, p)


def _select(node: Op, p: list[Parity]) -> Parity:
    if p[0] in (Parity.NONE, Parity.ODD):
        return Parity.NONE
    return _joined(p[1:])


def _compare(node: Op, p: list[Parity]) -> Parity:
    # label "==" only: whether two odd values are equal (or one is zero) does not flip
    if node.label in ("==", "!=") and Parity.NONE not in p and Parity.EVEN not in p:
        return Parity.EVEN
    return _needs_even(node, p)


def _constant(node: Op, p: list[Parity]) -> Parity:
    return Parity.EVEN


def _zero(node: Op, p: list[Parity]) -> Parity:
    return Parity.ANY


RULES: dict[str, Callable[[Op, list[Parity]], Parity]] = {
    "sum": _sum,
    "product": _product,
    "first": _first,
    "even": _even,
    "needs_even": _needs_even,
    "power": _power,
    "clip": _clip,
    "odd_function": _first,
    "select": _select,
    "compare": _compare,
    "constant": _constant,
    "zero": _zero,
}


def opposite(a: Expr, b: Expr) -> bool:
    """Whether ``a`` is written as minus ``b`` (or the other way round)."""
    if isinstance(a, Const) and isinstance(b, Const):
        return isinstance(a.value, (int, float)) and isinstance(b.value, (int, float)) and a.value == -b.value
    pairs = ((a, b), (b, a))
    return any(isinstance(x, Op) and x.name == "neg" and x.args[0].key == y.key for x, y in pairs)


class Facts:
    """Parity and reach of every expression, given the writes of one update step.

    A slot that no write touches, or that neither gradient nor variable ever reaches (a
    step counter, a running product), is a scalar and even. ``moments`` holds the keys of
    the values written to states: they *are* the state's new value and are not taken apart.
    """

    def __init__(self, writes: Iterable[StateWrite]) -> None:
        self.writes = tuple(writes)
        self._content: dict[str, Content] = {}
        self._state_parity: dict[str, Parity] = {}
        self.moments = {w.value.key for w in self.writes if not isinstance(w.value, Const)}
        self._solve()

    def _solve(self) -> None:
        by_slot: dict[str, list[Expr]] = {}
        for write in self.writes:
            by_slot.setdefault(write.slot, []).append(write.value)
        self._content = {slot: Content() for slot in by_slot}
        while True:
            before = dict(self._content)
            self._content_cache: dict[str, Content] = {}
            for slot, values in by_slot.items():
                content = before[slot]
                for value in values:
                    content |= self.content(value)
                self._content[slot] = content
            if self._content == before:
                break
        self._content_cache = {}
        self._state_parity = {s: Parity.ANY for s, c in self._content.items() if c.gradient or c.variable}
        while True:
            before_parity = dict(self._state_parity)
            self._parity_cache: dict[str, Parity] = {}
            for slot in before_parity:
                self._state_parity[slot] = _joined(
                    [before_parity[slot], *(self.parity(v) for v in by_slot[slot])]
                )
            if self._state_parity == before_parity:
                break
        self._parity_cache = {}

    def content(self, node: Expr) -> Content:
        """What feeds ``node``: the gradient, the variable, both or neither."""
        cached = self._content_cache.get(node.key)
        if cached is not None:
            return cached
        if isinstance(node, Leaf):
            if node.role is Role.GRADIENT:
                found = Content(gradient=True)
            elif node.role is Role.VARIABLE:
                found = Content(variable=True)
            else:
                found = self._content.get(node.slot, Content())
        else:
            found = Content()
            for child in node.children:
                found |= self.content(child)
        self._content_cache[node.key] = found
        return found

    def parity(self, node: Expr) -> Parity:
        """Even, odd, neither, or ANY for what is identically zero."""
        cached = self._parity_cache.get(node.key)
        if cached is not None:
            return cached
        if isinstance(node, Leaf):
            if node.role is not Role.READ:
                found = Parity.ODD
            else:
                found = self._state_parity.get(node.slot, Parity.EVEN)
        elif isinstance(node, Const):
            zero = is_const(node, 0) and not isinstance(node.value, bool)
            found = Parity.ANY if zero or node.value is None else Parity.EVEN
        else:
            assert isinstance(node, Op)
            found = RULES[OPERATIONS[node.name].parity](node, [self.parity(a) for a in node.args])
        self._parity_cache[node.key] = found
        return found

    def is_state(self, node: Expr) -> bool:
        """Whether ``node`` is the value of a state that gradient or variable reach, read
        back or as it was written."""
        if isinstance(node, Leaf):
            return node.role is Role.READ and node.slot in self._state_parity
        return node.key in self.moments

    def adaptive(self, node: Expr) -> bool:
        """Whether an expression follows the gradient element by element: not through a norm
        or another reduction to one number."""
        return self._reaches_elementwise(node, variable=False)

    def elementwise(self, node: Expr) -> bool:
        """Whether an expression has a value per element: it follows gradient or variable."""
        return self._reaches_elementwise(node, variable=True)

    def _reaches_elementwise(self, node: Expr, *, variable: bool) -> bool:
        content = self.content(node)
        if not (content.gradient or (variable and content.variable)):
            return False
        if isinstance(node, Op):
            if OPERATIONS[node.name].reduces:
                return False
            operands = node.args[:1] if node.name == "gather" else node.args
            return any(self._reaches_elementwise(a, variable=variable) for a in operands)
        return True

    def odd_part_without_parity(self, node: Expr) -> Expr:
        """The smallest sub-expression without a parity, for the error message."""
        for child in node.children:
            if self.parity(child) is Parity.NONE:
                return self.odd_part_without_parity(child)
        return node

    def feeds(self, slot: str) -> bool:
        """Whether gradient or variable reach a slot."""
        return slot in self._state_parity

    def state_values(self, slot: str) -> list[Expr]:
        """All values written to a slot."""
        return [w.value for w in self.writes if w.slot == slot]
