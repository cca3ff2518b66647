"""Products as lists of factors, and what two products have in common."""

from __future__ import annotations

from adampatch.algebra.expression import Const, Expr, Op, product, quotient
from adampatch.algebra.parity import Facts


def factors(rate: Expr | None) -> list[Expr]:
    """The factors of a product, denominators included, not told apart."""
    if rate is None:
        return []
    if isinstance(rate, Op) and rate.name in ("mul", "div"):
        return [f for a in rate.args for f in factors(a)]
    if isinstance(rate, Op) and rate.name in ("cast", "identity", "neg"):
        return factors(rate.args[0])
    return [rate]


def _powers(rate: Expr | None, sign: int = 1) -> list[tuple[Expr, int]]:
    """The factors of a product with exponent +1 or -1."""
    if rate is None:
        return []
    if isinstance(rate, Op) and rate.name == "mul":
        return _powers(rate.args[0], sign) + _powers(rate.args[1], sign)
    if isinstance(rate, Op) and rate.name == "div":
        return _powers(rate.args[0], sign) + _powers(rate.args[1], -sign)
    if isinstance(rate, Const) and rate.value == 1:
        return []
    return [(rate, sign)]


def _rebuilt(powers: list[tuple[Expr, int]]) -> Expr | None:
    top: Expr | None = None
    bottom: Expr | None = None
    for factor, sign in powers:
        if sign > 0:
            top = product(top, factor)
        else:
            bottom = product(bottom, factor)
    return quotient(top, bottom)


def shared_rate(a: Expr | None, b: Expr | None, facts: Facts) -> tuple[Expr, Expr | None, Expr | None] | None:
    """(the adaptive factors common to both, the scalar rest of each), or None."""
    split = []
    for rate in (a, b):
        powers = _powers(rate)
        adaptive = [(f, s) for f, s in powers if facts.adaptive(f)]
        split.append((adaptive, [(f, s) for f, s in powers if not facts.adaptive(f)]))
    (first, first_rest), (second, second_rest) = split
    if sorted((f.key, s) for f, s in first) != sorted((f.key, s) for f, s in second):
        return None
    common = {(f.key, s) for f, s in first_rest} & {(f.key, s) for f, s in second_rest}
    shared_scalars = [(f, s) for f, s in first_rest if (f.key, s) in common]
    rate = _rebuilt(shared_scalars + first)
    assert rate is not None
    rest = [_rebuilt([(f, s) for f, s in r if (f.key, s) not in common]) for r in (first_rest, second_rest)]
    return rate, rest[0], rest[1]
