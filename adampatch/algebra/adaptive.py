"""Whether a step looks like one of the Adam family before it is taken apart."""

from __future__ import annotations

from adampatch.algebra.expression import Expr, Op
from adampatch.algebra.parity import Facts, Parity


def looks_adaptive(value: Expr, facts: Facts) -> bool:
    """Whether something that may be a second moment scales the step: enough to be Adam-like,
    so that a step that does not separate is refused by name and not passed over."""
    for node in value.walk():
        if isinstance(node, Op) and node.name == "opaque":
            # what a function that is not followed makes of a first and a second moment
            states = {facts.parity(n) for n in node.walk() if facts.is_state(n) and facts.content(n).gradient}
            if {Parity.ODD, Parity.EVEN} <= states:
                return True
        if isinstance(node, Op) and node.name in ("div", "rsqrt", "mul"):
            inside = [n for part in node.args for n in part.walk()]
            fed = [n for n in inside if facts.is_state(n) and facts.content(n).gradient]
            if any(facts.parity(n) is not Parity.ODD for n in fed) and any(
                isinstance(n, Op) and n.name in ("sqrt", "rsqrt", "pow", "div") for n in node.walk()
            ):
                return True
    return False
