"""What an update shows of its scalars: alpha, the scheduled learning rate, the powers of its decay rates.

Pure: reads expressions, writes nothing.
"""

from __future__ import annotations

from typing import Iterator, List, NamedTuple, Optional, Tuple

from adampatch.algebra import Expr, Leaf, Op, Role
from adampatch.algebra.expression import is_const, product, quotient
from adampatch.graph.counting import Clocks
from adampatch.graph.expressions import GRADIENT
from adampatch.graph.sites import Site

_THROUGH = ("identity", "cast", "reshape")


class Shown(NamedTuple):
    """``alpha``; ``lr``: the learning rate in it; ``first``: the power of the first decay rate; ``powers``:
    those of all decay rates; each None or empty where the update does not show it."""

    alpha: Optional[Expr]
    lr: Optional[Expr]
    first: Optional[Expr]
    powers: Tuple[Expr, ...]


def shown_by(site: Site, clocks: Clocks) -> Shown:
    """The scalars of a site that was separated; ``clocks``: those of its body."""
    separation = site.separation
    assert separation is not None
    if site.kind == "fused":  # its inputs have their places
        inputs = [input_of(name) for name in ("beta1_power", "beta2_power", "lr")]
        return Shown(separation.alpha, inputs[2], inputs[0], (inputs[0], inputs[1]))
    held = site.reader.tensors if site.reader is not None else {}

    def _power(node: Expr) -> Optional[Expr]:
        """The b^t of 1 - b^t."""
        found = _complemented(node)
        refs = held.get(found.key) if found is not None else None
        return found if refs and clocks.is_power(refs[0][0]) else None

    powers: List[Expr] = []
    for part in (separation.alpha, separation.rate):
        for node in part.walk() if part is not None else ():
            found = _power(node)
            if found is not None and all(found.key != other.key for other in powers):
                powers.append(found)
    if separation.alpha is None:
        return Shown(None, None, None, tuple(powers))
    rest: Optional[Expr] = None
    firsts: List[Expr] = []
    for factor, above in _factors(separation.alpha, True):
        bare = _through(factor)
        power = _power(bare)
        if power is not None:
            firsts += [] if above else [power]
            continue
        if isinstance(bare, Op) and bare.name == "sqrt" and _power(_through(bare.args[0])) is not None:
            continue
        rest = product(rest, factor) if above else quotient(rest, factor)
    lr = rest if rest is not None and _is_scheduled(rest, site, powers) else None
    return Shown(separation.alpha, lr, firsts[0] if len(firsts) == 1 else None, tuple(powers))


def _factors(node: Expr, above: bool) -> Iterator[Tuple[Expr, bool]]:
    """The factors of a product, and whether each stands above the line."""
    bare = _through(node)
    if isinstance(bare, Op) and bare.name in ("mul", "div"):
        yield from _factors(bare.args[0], above)
        yield from _factors(bare.args[1], above == (bare.name == "mul"))
    elif isinstance(bare, Op) and bare.name == "reciprocal":
        yield from _factors(bare.args[0], not above)
    else:
        yield node, above


def _through(node: Expr) -> Expr:
    while isinstance(node, Op) and node.name in _THROUGH:
        node = node.args[0]
    return node


def input_of(name: str) -> Leaf:
    """The leaf that a scalar input of a fused kernel is in its expressions."""
    return Leaf(name, Role.READ, "variable:" + name)


def _complemented(node: Expr) -> Optional[Expr]:
    """The x of 1 - x."""
    if isinstance(node, Op) and node.name == "sub" and is_const(_through(node.args[0]), 1):
        return node.args[1]
    return None


def _is_scheduled(lr: Expr, site: Site, powers: List[Expr]) -> bool:
    """Whether a factor of alpha is a learning rate, a schedule's too: it follows from no gradient, from the
    variable neither, and it is no other correction."""
    known = {power.key for power in powers}
    for node in lr.walk():
        if node.key in known:
            return False
        if isinstance(node, Leaf) and (node.role is not Role.READ or node.slot == GRADIENT):
            return False
    if site.facts is None:
        return True
    content = site.facts.content(lr)
    return not content.gradient and not content.variable
