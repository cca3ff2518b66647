"""Expressions as readable math, for reports and documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from adampatch.algebra.expression import Const, Expr, Leaf, Op, is_const
from adampatch.algebra.operations import OPERATIONS

# binding strength; higher binds tighter
_LEVELS = {
    "branch": 0,
    "add": 1,
    "sub": 1,
    "neg": 2,
    "mul": 3,
    "div": 3,
    "reciprocal": 3,
    "pow": 5,
    "square": 5,
}
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
#: between an expression and what the names in it stand for
WHERE = " where "
_WITHOUT_TEXT = ("cast", "identity", "reshape")
#: from here on the code's own names are said instead of what they stand for
_LONG = 100
#: from here on a text is cut
_LIMIT = 400


def math_text(
    node: Expr | None, names: Mapping[str, str] | None = None, local: Mapping[str, str] | None = None
) -> str:
    """The expression in one line, casts and identities left out; None is the factor 1.
    ``names`` gives nodes, by key, a name of their own; ``local`` too, for texts that would be long
    without: what such a name stands for is said behind, ``lr_t*u where u = ...; lr_t = ...``. What is
    still very long is cut."""
    if node is None:
        return "1"
    printer = _Printer(names or {})
    if printer.says_twice("t", node):
        printer = _Printer(printer.names, counted=False)
    text, chosen = _shortened(node, printer, local or {})
    definitions: dict[str, str] = {}
    while chosen:
        key, part = chosen.popitem()
        name = (local or {})[key]
        if name not in definitions:
            others = {k: n for k, n in (local or {}).items() if k != key}
            what, more = _shortened(part, printer, others)
            definitions[name] = f"{name} = {_cut(what)}"
            chosen = {**more, **chosen}
    return _cut(text) + (WHERE + "; ".join(definitions.values()) if definitions else "")


def _cut(text: str) -> str:
    return text if len(text) <= _LIMIT else text[: _LIMIT - 3] + "..."


def _shortened(node: Expr, printer: _Printer, local: Mapping[str, str]) -> tuple[str, dict[str, Expr]]:
    """The expression with as many of the names in it as it takes to be short, and {key: what is named}
    of these."""
    text = printer.text(node, 1)
    inside = {n.key: n for n in node.walk() if n.key in local and n.key != node.key}
    names: dict[str, str] = {}
    while len(text) > _LONG:
        options = []
        for key in inside.keys() - names.keys():
            shorter = printer.naming({**names, key: local[key]})
            candidate = shorter.text(node, 1)
            if len(candidate) < len(text) and not shorter.says_twice(local[key], node):
                options.append((len(candidate), local[key], key, candidate))
        if not options:
            break
        # what hides least of those that do, else what brings most
        enough = [option for option in options if option[0] <= _LONG]
        _, name, key, text = max(enough) if enough else min(options)
        names[key] = name
    said = {n.key for n in printer.naming(names).printed(node)}
    return text, {key: inside[key] for key in reversed(list(names)) if key in said}


def _level(node: Expr) -> int:
    return _LEVELS.get(node.name, 9) if isinstance(node, Op) else 9


class _Printer:
    def __init__(self, names: Mapping[str, str], counted: bool = True) -> None:
        self.names = names
        #: whether the number of the update is said as t
        self.counted = counted
        self._texts: dict[str, str] = {}

    def naming(self, names: Mapping[str, str]) -> _Printer:
        """The same with more names."""
        return _Printer({**self.names, **names}, self.counted)

    def text(self, node: Expr, outer: int = 0) -> str:
        """The node's text, in brackets where it binds less tightly than ``outer``."""
        node = self._shown(node)
        text = self._texts.get(node.key)
        if text is None:
            # a shared node is printed once, and what doubles itself over and over is cut on the way
            text = self._texts[node.key] = self._written(node)[: 4 * _LIMIT]
        return f"({text})" if self._level(node) < outer else text

    def says_twice(self, name: str, node: Expr) -> bool:
        """Whether a name stands for two things in what is printed."""
        said = [n for n in self.printed(node) if name == (self.names.get(n.key) or self._own_name(n))]
        return len({(_update_number_of(n) or n).key for n in said}) > 1

    def printed(self, node: Expr) -> Iterator[Expr]:
        todo, seen = [node], set()
        while todo:
            shown = self._shown(todo.pop())
            if shown.key not in seen:
                seen.add(shown.key)
                yield shown
                todo += () if self.names.get(shown.key) or self._own_name(shown) else shown.children

    def _own_name(self, node: Expr) -> str | None:
        if isinstance(node, Leaf):
            return node.name
        return "t" if self.counted and _update_number_of(node) is not None else None

    def _shown(self, node: Expr) -> Expr:
        """The node without what is not printed: conversions, a minus of a minus, a choice of one thing."""
        while isinstance(node, Op) and node.key not in self.names:
            positive = _without_minus(node.args[0]) if node.name == "neg" else None
            if node.name in _WITHOUT_TEXT:
                node = node.args[0]
            elif positive is not None:
                node = positive
            elif node.name == "branch" and self.text(node.args[1]) == self.text(node.args[2]):
                node = node.args[1]
            else:
                break
        return node

    def _level(self, node: Expr) -> int:
        return 9 if node.key in self.names or self._own_name(node) else _level(node)

    def _written(self, node: Expr) -> str:
        if node.key in self.names:
            return self.names[node.key]
        if isinstance(node, Leaf):
            return node.name.partition("~")[0]
        if isinstance(node, Const):
            value = node.value
            whole = isinstance(value, float) and value == int(value) and abs(value) < 1e6
            return repr(int(value)) if whole else repr(value)
        assert isinstance(node, Op)
        own = self._own_name(node)
        if own is not None:
            return own
        written = _FORMS.get(node.name)
        if written is not None:
            return written(self, node)
        arguments = [self.text(a) for a in node.args]
        if node.label and node.name == "predicate":
            return node.label
        if node.label and node.name == "opaque":
            return f"{node.label}({', '.join(arguments)})"
        template = OPERATIONS[node.name].text
        return template.format(*arguments) if template else f"{node.name}({', '.join(arguments)})"

    def _sum_or_product(self, node: Op) -> str:
        a, b = node.args
        level = _level(node)
        right_level = level + 1 if node.name == "sub" else level
        reciprocal = _bare(b)
        if node.name == "mul" and isinstance(reciprocal, Op) and _is_reciprocal(reciprocal):
            return self._quotient(Op("div", (a, reciprocal.args[1])))  # a * (1/b)
        return f"{self.text(a, level)}{_SIGNS[node.name]}{self.text(b, right_level)}"

    def _quotient(self, node: Op) -> str:
        # one space around the quotient of the whole, as in a/(b) / (c): what divides last
        a, b = node.args
        shown = self._shown(a)
        wide = isinstance(shown, Op) and shown.name in ("mul", "div")
        gap = " / " if wide and self._level(self._shown(b)) == 1 else "/"
        return f"{self.text(a, 3)}{gap}{self.text(b, 4)}"

    def _power(self, node: Op) -> str:
        exponent = self.text(node.args[1], 6) if node.name == "pow" else "2"
        return f"{self.text(node.args[0], 6)}^{exponent}"

    def _choice(self, node: Op) -> str:
        condition, a, b = (self.text(argument, 1) for argument in node.args)
        return f"{a} if {condition} else {b}"

    def _comparison(self, node: Op) -> str:
        if not node.label:
            return OPERATIONS[node.name].text.format(*(self.text(a) for a in node.args))
        return f"{self.text(node.args[0], 2)} {node.label} {self.text(node.args[1], 2)}"

    def _rows(self, node: Op) -> str:
        return f"{self.text(node.args[0], 9)}[{self.text(node.args[1])}]"

    def _reciprocal(self, node: Op) -> str:
        return self._quotient(Op("div", (Const(1), node.args[0])))

    def _negative(self, node: Op) -> str:
        return f"-{self.text(node.args[0], 3)}"


_FORMS: dict[str, Callable[[_Printer, Op], str]] = {
    **dict.fromkeys(("add", "sub", "mul"), _Printer._sum_or_product),
    **dict.fromkeys(("pow", "square"), _Printer._power),
    "div": _Printer._quotient,
    "reciprocal": _Printer._reciprocal,
    "gather": _Printer._rows,
    "neg": _Printer._negative,
    "compare": _Printer._comparison,
    "branch": _Printer._choice,
}


def _without_minus(node: Expr) -> Expr | None:
    """The negative of a product that has a minus of its own; None of anything else."""
    node = _bare(node)
    if not isinstance(node, Op):
        return None
    if node.name == "neg":
        return node.args[0]
    first = _without_minus(node.args[0]) if node.name in ("mul", "div") else None
    return Op(node.name, (first, node.args[1])) if first is not None else None


def _is_reciprocal(node: Op) -> bool:
    return node.name == "div" and is_const(node.args[0], 1)


def _bare(node: Expr) -> Expr:
    while isinstance(node, Op) and node.name in _WITHOUT_TEXT:
        node = node.args[0]
    return node


def _update_number_of(node: Expr) -> Leaf | None:
    """The step counter that the node is one more than: it is the number t of the update, from 1."""
    if not isinstance(node, Op) or node.name != "add":
        return None
    counter, one = (_bare(a) for a in node.args)
    if not isinstance(counter, Leaf) or counter.name != "iterations" or counter.version:
        return None
    return counter if is_const(one, 1) else None
