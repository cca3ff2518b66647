"""The table of operations: parity rule, how a separation passes through, numeric value.

To teach the algebra a new operation, add a row. ``evaluate`` works on NumPy arrays and is
what property tests compare a separation against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Operation:
    """One row. ``parity`` names a rule of ``parity.py``; ``through`` says what separation
    does when it meets the operation: a structural rule of ``separation.py``."""

    parity: str
    evaluate: Callable[..., Any]
    through: str = "atom"
    #: reduces to one number per tensor: its value is not elementwise
    reduces: bool = False
    #: how it reads in math; {0}, {1} are the operands
    text: str = ""


def _scatter(base: Any, values: Any) -> Any:
    return base + values


def _clip(x: Any, low: Any, high: Any) -> Any:
    return np.minimum(np.maximum(x, low), high)


OPERATIONS: dict[str, Operation] = {
    "add": Operation("sum", np.add, "sum"),
    "sub": Operation("sum", np.subtract, "sum"),
    "neg": Operation("first", np.negative, "neg"),
    "mul": Operation("product", np.multiply, "mul"),
    "div": Operation("product", np.divide, "div"),
    "pow": Operation("power", np.power),
    "square": Operation("even", np.square, text="{0}^2"),
    "abs": Operation("even", np.abs, text="abs({0})"),
    "sqrt": Operation("needs_even", np.sqrt, text="sqrt({0})"),
    "rsqrt": Operation("needs_even", lambda x: 1.0 / np.sqrt(x), text="rsqrt({0})"),
    "reciprocal": Operation("first", np.reciprocal, text="1/{0}"),
    "exp": Operation("needs_even", np.exp, text="exp({0})"),
    "log": Operation("needs_even", np.log, text="log({0})"),
    "max": Operation("needs_even", np.maximum, text="max({0}, {1})"),
    "min": Operation("needs_even", np.minimum, text="min({0}, {1})"),
    "floor": Operation("needs_even", np.floor, text="floor({0})"),
    "sign": Operation("odd_function", np.sign, text="sign({0})"),
    "tanh": Operation("odd_function", np.tanh, text="tanh({0})"),
    "clip": Operation("clip", _clip, text="clip({0}, {1}, {2})"),
    # a tensor chosen elementwise or by a condition tensor; a Python branch
    "select": Operation("select", np.where, "select", text="where({0}, {1}, {2})"),
    "branch": Operation(
        "select", lambda c, a, b: a if np.all(c) else b, "select", text="({1} if {0} else {2})"
    ),
    "compare": Operation("compare", np.greater, text="{0} ? {1}"),
    "predicate": Operation("needs_even", lambda *args: np.array(True)),
    "cast": Operation("first", lambda x: x, "linear", text="{0}"),
    "identity": Operation("first", lambda x: x, "linear", text="{0}"),
    "reshape": Operation("first", lambda x: x, "elementwise_linear", text="{0}"),
    "gather": Operation("first", lambda x, i: x, "elementwise_linear", text="{0}[{1}]"),
    # what a user's constraint makes of a variable's new value
    "constraint": Operation("first", lambda x: x, text="constraint({0})"),
    # rows put into a tensor of zeros
    "spread": Operation("first", lambda x: x, text="{0}"),
    # storage plus values at some rows: a sum as far as parity goes
    "scatter": Operation("sum", _scatter),
    "reduce": Operation("first", lambda x: np.asarray(np.sum(x)), reduces=True, text="sum({0})"),
    "norm": Operation(
        "even", lambda x: np.asarray(np.linalg.norm(np.ravel(x))), reduces=True, text="norm({0})"
    ),
    "ones_like": Operation("constant", np.ones_like, text="1"),
    "zeros_like": Operation("zero", np.zeros_like, text="0"),
    # a call that is not in any catalogue
    "opaque": Operation("needs_even", lambda *args: np.array(0.0)),
}


def evaluate(node: Any, values: Callable[[Any], Any]) -> Any:
    """The value of an expression; ``values(leaf)`` gives the leaves' arrays (any shape,
    float64). Raises KeyError for an operation without a row."""
    from adampatch.algebra.expression import Const, Op

    done: dict[int, Any] = {}

    def visit(n: Any) -> Any:
        if id(n) not in done:
            if isinstance(n, Const):
                done[id(n)] = n.value
            elif isinstance(n, Op):
                done[id(n)] = OPERATIONS[n.name].evaluate(*[visit(a) for a in n.args])
            else:
                done[id(n)] = values(n)
        return done[id(n)]

    return visit(node)
