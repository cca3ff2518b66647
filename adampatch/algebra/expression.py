"""The expression tree: leaves, constants and operations.

Nodes are immutable and compared by structure through ``key``. What an operation means
(parity rule, numeric value) is data in ``operations.py``, not here.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


class Role(enum.Enum):
    """What a leaf stands for. Roles come from positions in signatures, never from names."""

    GRADIENT = "gradient"
    VARIABLE = "variable"
    #: anything read from elsewhere: a slot, a hyper-parameter, a step counter. Whether it is
    #: a state with a parity of its own follows from what is assigned to it.
    READ = "read"


@dataclass(frozen=True, eq=False)
class Expr:
    """A node. ``origin``, the last field of each, belongs to the front end (where the node was
    written) and takes no part in comparison."""

    @property
    def key(self) -> str:
        """A digest of the structure; equal for equal expressions wherever they stand."""
        cached = self.__dict__.get("_key")
        if cached is None:
            # Digests, not nested tuples: shared sub-expressions would make those exponential.
            cached = hashlib.blake2b(repr(self._structure()).encode(), digest_size=16).hexdigest()
            object.__setattr__(self, "_key", cached)
        return str(cached)

    def _structure(self) -> tuple[Any, ...]:
        raise NotImplementedError

    @property
    def children(self) -> tuple[Expr, ...]:
        """The operands, in order."""
        return ()

    def walk(self) -> Iterator[Expr]:
        """Every distinct node below and including this one, each once."""
        seen: set[int] = set()
        stack: list[Expr] = [self]
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            stack.extend(node.children)


@dataclass(frozen=True, eq=False)
class Leaf(Expr):
    """A value from outside.

    ``slot`` identifies the storage it was read from (equal slots, equal storage) and
    ``version`` counts the writes to that storage before the read.
    """

    name: str
    role: Role = Role.READ
    slot: str = ""
    version: int = 0
    origin: Any = field(default=None, repr=False)

    def _structure(self) -> tuple[Any, ...]:
        return ("leaf", self.role.value, self.slot or self.name, self.version)


@dataclass(frozen=True, eq=False)
class Const(Expr):
    """A number (or any other literal, which then counts as even)."""

    value: Any
    origin: Any = field(default=None, repr=False)

    def _structure(self) -> tuple[Any, ...]:
        return ("const", repr(self.value))


@dataclass(frozen=True, eq=False)
class Op(Expr):
    """An operation of the table in ``operations.py``; ``label`` names an unknown call."""

    name: str
    args: tuple[Expr, ...]
    label: str = ""
    origin: Any = field(default=None, repr=False)

    def _structure(self) -> tuple[Any, ...]:
        return ("op", self.name, self.label, tuple(a.key for a in self.args))

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.args


def is_const(node: Expr | None, value: float) -> bool:
    """Whether ``node`` is the number ``value``."""
    return isinstance(node, Const) and isinstance(node.value, (int, float)) and node.value == value


def negated(node: Expr) -> Expr:
    """``-node``, a minus that is there taken away."""
    return node.args[0] if isinstance(node, Op) and node.name == "neg" else Op("neg", (node,))


def product(a: Expr | None, b: Expr | None, *, origin: Any = None) -> Expr | None:
    """``a * b`` where ``None`` stands for 1."""
    if a is None or is_const(a, 1):
        return b
    if b is None or is_const(b, 1):
        return a
    return _into_reciprocal(a, b) or _into_reciprocal(b, a) or Op("mul", (a, b), origin=origin)


def _into_reciprocal(a: Expr, b: Expr) -> Expr | None:
    """``a * (1/x)`` as ``a/x``, however deep the 1 stands among quotients."""
    if not isinstance(b, Op) or b.name != "div":
        return None
    top, bottom = b.args
    inner = a if is_const(top, 1) else _into_reciprocal(a, top)
    return None if inner is None else Op("div", (inner, bottom), origin=b.origin)


def quotient(a: Expr | None, b: Expr | None, *, origin: Any = None) -> Expr | None:
    """``a / b`` where ``None`` stands for 1."""
    if b is None or is_const(b, 1):
        return a
    return Op("div", (a if a is not None else Const(1.0), b), origin=origin)
