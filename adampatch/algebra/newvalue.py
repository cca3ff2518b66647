"""The step inside a new value: from ``w - U`` to U, with the variable cancelled exactly."""

from __future__ import annotations

from adampatch.algebra.expression import Const, Expr, Leaf, Op, Role
from adampatch.algebra.parity import Facts, Parity
from adampatch.algebra.separation import NotSeparable


def step_of_new_value(new_value: Expr, facts: Facts) -> tuple[Expr, int, tuple[tuple[Op, int], ...]]:
    """The smallest expression that holds the whole gradient-fed term of a new value.

    ``new_value`` is what a write makes of the variable: ``w - U``, ``w + U``, ``w*(1-d) - U``.
    Returns ``(U, sign, path)``: the write is ``w <- ... + sign * U``, terms beside U untouched,
    and ``path`` leads from ``new_value`` to U by (operation, operand index). Raises
    NotSeparable when the variable does not come through with coefficient 1 (or 1 minus an
    even scalar, which is decay).
    """
    node, sign = new_value, 1
    beside: list[tuple[Expr, int]] = []
    path: list[tuple[Op, int]] = []
    while isinstance(node, Op):
        if node.name in ("add", "sub", "scatter"):
            fed = [facts.content(a).gradient for a in node.args]
            if fed.count(True) != 1:
                break
            index = fed.index(True)
            flips = node.name == "sub"
            beside.append((node.args[1 - index], -sign if flips and index == 0 else sign))
            sign = -sign if flips and index == 1 else sign
        elif node.name in ("identity", "cast") and not beside:
            index = 0
        else:
            break
        path.append((node, index))
        node = node.args[index]
    if not _passes_variable_through(beside, facts):
        raise NotSeparable("AP208", "the variable is set, not stepped from its old value", new_value)
    return node, sign, tuple(path)


def _passes_variable_through(beside: list[tuple[Expr, int]], facts: Facts) -> bool:
    """Whether the terms beside the step are the variable itself, plus decay of it."""
    whole = 0
    for term, sign in beside:
        whole += _whole_variables(term, sign, facts)
        if facts.parity(term) not in (Parity.ODD, Parity.ANY):
            return False
    return whole == 1


def _whole_variables(term: Expr, sign: int, facts: Facts) -> int:
    """How often the variable stands in ``term`` with coefficient 1; decay terms are 0."""
    if isinstance(term, Leaf):
        return sign if term.role is Role.VARIABLE else 0
    if isinstance(term, Op):
        if term.name in ("add", "sub"):
            second = -sign if term.name == "sub" else sign
            return _whole_variables(term.args[0], sign, facts) + _whole_variables(term.args[1], second, facts)
        if term.name in ("identity", "cast"):
            return _whole_variables(term.args[0], sign, facts)
        if term.name == "mul":
            # w * (1 - d) and (1 - d) * w
            for a, b in (term.args, term.args[::-1]):
                if (
                    isinstance(b, Op)
                    and b.name == "sub"
                    and isinstance(b.args[0], Const)
                    and b.args[0].value == 1
                ):
                    return _whole_variables(a, sign, facts)
    return 0
