"""Expressions as readable math, for reports and documentation."""

from __future__ import annotations

from collections.abc import Mapping

from adampatch.algebra.expression import Const, Expr, Leaf, Op, is_const
from adampatch.algebra.operations import OPERATIONS

# binding strength; higher binds tighter
_LEVELS = {"add": 1, "sub": 1, "neg": 2, "mul": 3, "div": 3, "pow": 5, "square": 5}
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_LIMIT = 400


def math_text(node: Expr | None, names: Mapping[str, str] | None = None) -> str:
    """The expression in one line, casts and identities left out; None is the factor 1.
    ``names`` gives nodes, by key, a name of their own. Very long texts are cut."""
    if node is None:
        return "1"
    text = _Printer(names or {}).text(node, 0)
    return text if len(text) <= _LIMIT else text[: _LIMIT - 3] + "..."


def _level(node: Expr) -> int:
    return _LEVELS.get(node.name, 9) if isinstance(node, Op) else 9


class _Printer:
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def text(self, node: Expr, outer: int) -> str:
        while isinstance(node, Op) and node.name in ("cast", "identity", "reshape"):
            node = node.args[0]
        if node.key in self.names:
            return self.names[node.key]
        if isinstance(node, Leaf):
            return node.name
        if isinstance(node, Const):
            value = node.value
            return (
                repr(int(value))
                if isinstance(value, float) and value == int(value) and abs(value) < 1e6
                else repr(value)
            )
        assert isinstance(node, Op)
        level = _level(node)
        if node.name in _SIGNS:
            a, b = node.args
            reciprocal = _bare(b)
            if node.name == "mul" and isinstance(reciprocal, Op) and _is_reciprocal(reciprocal):
                return self.text(Op("div", (a, reciprocal.args[1])), outer)  # a * (1/b)
            if node.name == "div":
                # one space around the quotient of the whole, as in a/(b) / (c): what divides last
                right = self.text(b, level + 1)
                gap = " / " if isinstance(b, Op) and _level(_bare(b)) == 1 and _wide(a) else "/"
                text = f"{self.text(a, level)}{gap}{right}"
            else:
                right_level = level + 1 if node.name == "sub" else level
                text = f"{self.text(a, level)}{_SIGNS[node.name]}{self.text(b, right_level)}"
        elif node.name == "neg":
            text = f"-{self.text(node.args[0], level + 1)}"
        elif node.name == "pow":
            text = f"{self.text(node.args[0], level + 1)}^{self.text(node.args[1], level + 1)}"
        elif node.name == "square":
            text = f"{self.text(node.args[0], level + 1)}^2"
        elif node.name in ("opaque", "predicate", "compare") and node.label:
            arguments = ", ".join(self.text(a, 0) for a in node.args)
            if node.name == "compare":
                text = f"{self.text(node.args[0], 2)} {node.label} {self.text(node.args[1], 2)}"
            else:
                text = f"{node.label}({arguments})" if node.name == "opaque" else node.label
        else:
            template = OPERATIONS[node.name].text
            arguments_list = [self.text(a, 0) for a in node.args]
            text = (
                template.format(*arguments_list) if template else f"{node.name}({', '.join(arguments_list)})"
            )
        return f"({text})" if level < outer else text


def _is_reciprocal(node: Op) -> bool:
    return node.name == "div" and is_const(node.args[0], 1)


def _bare(node: Expr) -> Expr:
    while isinstance(node, Op) and node.name in ("cast", "identity", "reshape"):
        node = node.args[0]
    return node


def _wide(node: Expr) -> bool:
    node = _bare(node)
    return isinstance(node, Op) and node.name in ("mul", "div")
