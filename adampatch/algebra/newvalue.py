"""The step inside a new value: from ``w - U`` to U, with the variable cancelled exactly."""

from __future__ import annotations

from dataclasses import dataclass

from adampatch.algebra.expression import Const, Expr, Leaf, Op, Role, is_const, negated
from adampatch.algebra.parity import Facts, Parity
from adampatch.algebra.separation import NotSeparable


@dataclass(frozen=True)
class Step:
    """One way to see a step in a new value: ``w <- ... + sign * update``, terms beside it
    untouched. It is operand ``index`` of ``parent`` (None: the whole new value); ``decay`` is
    what the terms beside it take off the variable (None: nothing)."""

    update: Expr
    sign: int
    parent: Op | None
    index: int
    decay: Expr | None


@dataclass(frozen=True)
class Ladder:
    """The steps that hold one and the same term, smallest first. ``arms``: which arms of which
    branches it is in, by the identity of the node."""

    steps: tuple[Step, ...]
    arms: tuple[tuple[int, int], ...] = ()


def steps_of_new_value(new_value: Expr, facts: Facts, rows: Expr | None = None) -> tuple[Ladder, ...]:
    """The expressions that hold the whole gradient-fed term of a new value: one ladder, or
    one for each arm of a branch.

    ``new_value`` is what a write makes of the variable: ``w - U``, ``w + U``, ``w*(1-d) - U``;
    also what comes of that by a scale, a bound, a choice or a shrinkage (a proximal step, a
    projection, an update that is skipped). ``rows``: the old value of the rows that are set,
    where only some are. Raises NotSeparable when the variable does not come through with
    coefficient 1 (or 1 minus an even scalar, which is decay).
    """
    found: dict[tuple[str, int, int], Ladder] = {}
    for ladder in _ladders(new_value, facts, rows.key if rows is not None else ""):
        smallest = ladder.steps[0]
        # one expression in both arms of a branch is one step, taken in either case
        place = (smallest.update.key, id(smallest.parent), smallest.index)
        known = found.get(place, ladder)
        steps = known.steps if known.steps[0].decay is not None else ladder.steps
        found[place] = Ladder(steps, tuple(arm for arm in known.arms if arm in ladder.arms))
    if not found:
        raise NotSeparable("AP208", "the variable is set, not stepped from its old value", new_value)
    return tuple(found.values())


def _ladders(
    new_value: Expr, facts: Facts, rows: str, parent: Op | None = None, index: int = 0, within: bool = True
) -> list[Ladder]:
    """``rows``: the key of what stands for the variable where only rows of it are set. ``within``:
    whether a step may be looked for inside of what is made of the new value."""
    node, sign = new_value, 1
    whole, decay = 0, None
    found: list[Step] = []
    while True:
        if whole == 1:
            found.append(Step(node, sign, parent, index, decay))
        if not isinstance(node, Op):
            break
        blend = _blend(node, facts) if whole == 0 and decay is None and sign > 0 else None
        if blend is not None:
            parent, index = blend
            node = parent.args[index]
            continue
        parent, fed = node, [facts.content(a).gradient for a in node.args]
        if node.name in ("add", "sub", "scatter"):
            if fed.count(True) != 1:
                break
            index = fed.index(True)
            flips = node.name == "sub"
            beside, beside_sign = node.args[1 - index], -sign if flips and index == 0 else sign
            if facts.parity(beside) not in (Parity.ODD, Parity.ANY):
                found.clear()
                break
            whole += _whole_variables(beside, beside_sign, rows)
            decay = _sum(decay, _taken_off(beside, beside_sign, rows))
            sign = -sign if flips and index == 1 else sign
            if whole != 1:
                found.clear()
        elif node.name == "neg" and not whole and decay is None:
            index, sign = 0, -sign
        elif whole or decay is not None or sign < 0:
            break
        elif node.name in ("select", "branch") and not fed[0]:
            return [
                Ladder(ladder.steps, ((id(node), arm), *ladder.arms))
                for arm in (1, 2)
                if fed[arm]
                for ladder in _ladders(node.args[arm], facts, rows, node, arm, within)
            ]
        else:
            passed = _passed_through(node, fed, facts)
            if passed is None:
                break
            index = passed
        node = node.args[index]
    if found:
        return [Ladder(tuple(reversed(found)))]
    return _shrunk(new_value, facts, rows) if within else []


def _shrunk(new_value: Expr, facts: Facts, rows: str) -> list[Ladder]:
    """The ladder of the one ``w - U`` that a new value is made of, where more than one term is made
    of it (a shrinkage ``x - c*sign(x)``)."""
    todo, seen = [new_value], set()
    while todo:
        inner = todo.pop(0)
        if inner.key in seen or facts.parity(inner) is not Parity.ODD:
            continue
        seen.add(inner.key)
        if isinstance(inner, Op) and inner.name in ("add", "sub"):
            found = _ladders(inner, facts, rows, within=False)
            if found and _comes_through(new_value, inner.key, facts):
                return found
        todo += inner.children
    return []


def _comes_through(node: Expr, inner: str, facts: Facts) -> bool:
    """Whether all that is odd in ``node`` is in the expression with the key ``inner``; what is even
    (a rate, a mask) may follow gradient and variable elsewhere."""
    checked: set[str] = set()
    todo = [node]
    while todo:
        at = todo.pop()
        if at.key in checked or at.key == inner or facts.parity(at) in (Parity.EVEN, Parity.ANY):
            continue
        checked.add(at.key)
        if not isinstance(at, Op) or facts.is_state(at) or facts.parity(at) is Parity.NONE:
            return False
        todo += at.args
    return True


def _blend(node: Op, facts: Facts) -> tuple[Op, int] | None:
    """Where X is in ``(1 - s)*w + s*X``, a choice between the old and a new value by the outcome of
    a test: the product and which of its factors; None for anything else."""
    if node.name != "add":
        return None
    for kept, moved in (node.args, node.args[::-1]):
        if not isinstance(kept, Op) or not isinstance(moved, Op) or not kept.name == moved.name == "mul":
            continue
        shares = _one_minus(kept)
        if shares is None or not isinstance(shares[0], Leaf) or shares[0].role is not Role.VARIABLE:
            continue
        for index in (0, 1):
            same = moved.args[1 - index].key == shares[1].key and _is_outcome(shares[1])
            if same and facts.content(moved.args[index]).gradient and not facts.content(shares[1]).gradient:
                return moved, index
    return None


def _is_outcome(node: Expr) -> bool:
    """Whether a number is 0 or 1: the outcome of a test."""
    while isinstance(node, Op) and node.name in ("cast", "identity"):
        node = node.args[0]
    return isinstance(node, Op) and node.name in ("compare", "predicate")


def _passed_through(node: Op, fed: list[bool], facts: Facts) -> int | None:
    """The operand that is the new value before something was done to it; None: there is none."""
    if node.name in ("identity", "cast", "reshape", "constraint"):
        return 0
    if node.name in ("mul", "div"):
        odd = [i for i, a in enumerate(node.args) if fed[i] and facts.parity(a) is Parity.ODD]
        return odd[0] if len(odd) == 1 and (node.name == "mul" or odd == [0]) else None
    if node.name in ("clip", "max", "min") and fed.count(True) == 1:
        return fed.index(True)
    return None


def _whole_variables(term: Expr, sign: int, rows: str) -> int:
    """How often the variable stands in ``term`` with coefficient 1; decay terms are 0."""
    if term.key == rows:
        return sign
    if isinstance(term, Leaf):
        return sign if term.role is Role.VARIABLE else 0
    if isinstance(term, Op):
        if term.name in ("add", "sub"):
            second = -sign if term.name == "sub" else sign
            return sum(_whole_variables(a, s, rows) for a, s in zip(term.args, (sign, second)))
        if term.name in ("identity", "cast"):
            return _whole_variables(term.args[0], sign, rows)
        if term.name == "mul":
            factors = _one_minus(term)
            return _whole_variables(factors[0], sign, rows) if factors is not None else 0
    return 0


def _one_minus(term: Op) -> tuple[Expr, Expr] | None:
    """(w, d) of ``w * (1 - d)`` or ``(1 - d) * w``, the factor also as ``1 + x``."""
    for a, b in (term.args, term.args[::-1]):
        share = _less_than_one(b)
        if share is not None:
            return a, share
    return None


def _less_than_one(factor: Expr) -> Expr | None:
    """d, where a factor is written as ``1 - d``."""
    while isinstance(factor, Op) and factor.name in ("identity", "cast"):
        factor = factor.args[0]
    if isinstance(factor, Op) and factor.name == "sub" and is_const(factor.args[0], 1):
        return factor.args[1]
    if isinstance(factor, Op) and factor.name == "add":
        for one, rest in (factor.args, factor.args[::-1]):
            if is_const(one, 1):
                return negated(rest)
    return None


def _taken_off(term: Expr, sign: int, rows: str) -> Expr | None:
    """What ``+ sign * term`` takes off the variable, the variable itself left out."""
    if term.key == rows or (isinstance(term, Leaf) and term.role is Role.VARIABLE):
        return None
    if isinstance(term, Op):
        if term.name in ("add", "sub"):
            second = -sign if term.name == "sub" else sign
            return _sum(_taken_off(term.args[0], sign, rows), _taken_off(term.args[1], second, rows))
        if term.name in ("identity", "cast"):
            return _taken_off(term.args[0], sign, rows)
        if term.name == "mul":
            factors = _one_minus(term)
            if factors is not None and _whole_variables(factors[0], sign, rows):
                amount: Expr = Op("mul", (factors[1], factors[0]))
                return amount if sign > 0 else negated(amount)
    if isinstance(term, Const):
        return None
    return term if sign < 0 else negated(term)


def _sum(a: Expr | None, b: Expr | None) -> Expr | None:
    if a is None or b is None:
        return a if b is None else b
    return Op("add", (a, b))
