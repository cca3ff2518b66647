"""Which way a step goes: the sign with which the gradient enters it.

A rate is positive by definition, so that a descent step has a minus somewhere. Where it is
hidden in a value from elsewhere (``neg_lr``), the sign of the gradient tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from adampatch.algebra.expression import Const, Expr, Leaf, Op, Role, negated
from adampatch.algebra.parity import Facts, Parity
from adampatch.algebra.separation import Separation


def gradient_sign(node: Expr, facts: Facts, seen: frozenset[str] = frozenset()) -> int:
    """+1 or -1: the sign of the gradient in an odd expression when all even values that are
    read from elsewhere are positive; 0 when it has both signs or cannot be told.

    The gradient itself decides where it is in sight, else the states that it feeds.
    """
    direct: set[int] = set()
    through_states: set[int] = set()
    for leaf, sign in _odd_leaves(node, 1, facts):
        if leaf.role is Role.GRADIENT:
            direct.add(sign)
        elif leaf.role is Role.READ and leaf.slot not in seen:
            inner = {gradient_sign(v, facts, seen | {leaf.slot}) for v in facts.state_values(leaf.slot)}
            through_states.update(sign * s for s in inner if s)
    found = direct or through_states
    return found.pop() if len(found) == 1 else 0


def descending(separation: Separation, sign: int, facts: Facts) -> Separation | None:
    """The separation with a positive rate; ``w <- w + sign * update``. None when nothing says
    that the rate is positive: the step is added and neither minus nor gradient is in sight."""
    along = sign * gradient_sign(separation.direction, facts)
    if along < 0:
        return separation
    if along == 0:
        return separation if sign < 0 else None
    return replace(
        separation,
        rate=negated(separation.rate or Const(1.0)),
        direction=negated(separation.direction),
        alpha=None if separation.alpha is None else negated(separation.alpha),
    )


def _odd_leaves(node: Expr, sign: int, facts: Facts) -> Iterator[tuple[Leaf, int]]:
    """The odd leaves that ``node`` is linear in, with their signs."""
    if isinstance(node, Leaf):
        yield node, sign
        return
    if not isinstance(node, Op) or facts.parity(node) is not Parity.ODD:
        return
    if node.name in ("mul", "div"):
        for operand in node.args:
            if facts.parity(operand) is Parity.EVEN and _is_negative(operand):
                sign = -sign
    flips = {"neg": (-1,), "sub": (1, -1)}.get(node.name, ())
    first = 1 if node.name in ("select", "branch") else 0
    for index, operand in enumerate(node.args[first:]):
        if facts.parity(operand) is Parity.ODD:
            yield from _odd_leaves(operand, sign * (flips[index] if index < len(flips) else 1), facts)


def _is_negative(node: Expr) -> bool:
    if isinstance(node, Const):
        return isinstance(node.value, (int, float)) and node.value < 0
    return isinstance(node, Op) and node.name == "neg"
