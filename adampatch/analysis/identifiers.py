"""Optimizers by name or config: which strings reach ``compile(optimizer=...)`` and the functions
that make an optimizer from one."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import gast

from adampatch.analysis import catalog
from adampatch.analysis.module import unwrapped
from adampatch.analysis.names import Names, constant_text, last_part, targets

#: calls that give one of their arguments back when there is nothing better
_FALLBACKS = frozenset({"get", "getenv", "getattr", "pop", "setdefault"})
_CASES = frozenset({"lower", "upper", "strip", "title", "capitalize", "casefold"})
#: calls that declare an option: its names come first, its value by keyword or third
_OPTIONS = frozenset({"add_argument", "add_option", "option", "argument", "DEFINE_string", "DEFINE_enum"})


@dataclass(frozen=True)
class Identifier:
    """What an expression may identify: the canonical paths of stock classes; not ``complete``
    where it may be anything else as well."""

    stock: tuple[str, ...] = ()
    complete: bool = False


_OTHER = Identifier()


class Identifiers:
    """The strings and configs of a module that may name an optimizer."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.syntax = names.syntax

    def arms(self, node: Any) -> Iterator[tuple[Any, Identifier]]:
        """(expression, what it identifies) of an argument: each arm of a choice for itself."""
        inner = unwrapped(node)
        if isinstance(inner, gast.IfExp):
            yield from self.arms(inner.body)
            yield from self.arms(inner.orelse)
        elif isinstance(inner, gast.BoolOp):
            for value in inner.values:
                yield from self.arms(value)
        else:
            yield node, self.identify(inner)

    def identify(self, node: Any, seen: frozenset[Any] = frozenset()) -> Identifier:
        """What an expression identifies, as far as the module shows it."""
        if node in seen:
            return _OTHER
        seen |= {node}
        if isinstance(node, gast.Constant):
            return _named(constant_text(node))
        if isinstance(node, gast.Dict):
            return _union(self.identify(value, seen) for value in _values(node, "class_name"))
        if isinstance(node, gast.IfExp):
            return _union(self.identify(arm, seen) for arm in (node.body, node.orelse))
        if isinstance(node, gast.BoolOp):
            return _union(self.identify(arm, seen) for arm in node.values)
        if isinstance(node, gast.Name):
            return _union(self._of_definition(d, seen) for d in self.names.definitions(node))
        if isinstance(node, gast.Attribute):
            return Identifier(self._given.get(node.attr, ()))
        if isinstance(node, gast.Subscript):
            return Identifier(self._given.get(constant_text(node.slice) or "", ()))
        if isinstance(node, gast.Call):
            return self._of_call(node, seen)
        return _OTHER

    def _of_call(self, node: Any, seen: frozenset[Any]) -> Identifier:
        called = last_part(node.func)
        if called in _CASES and isinstance(node.func, gast.Attribute):
            return self.identify(node.func.value, seen)
        if called in _FALLBACKS:
            key = next((text for a in node.args[:2] if (text := constant_text(a))), "")
            fallback = [n for a in node.args[1:] for n in self.identify(a, seen).stock]
            return Identifier((*self._given.get(key, ()), *fallback))
        return _OTHER

    def _of_definition(self, definition: Any, seen: frozenset[Any]) -> Identifier:
        statement = self.names.assigned.get(definition)
        if statement is not None:
            return self.identify(statement.value, seen)
        parent, field = self.syntax.parents.get(definition, (None, ""))
        if isinstance(parent, gast.arguments):
            default = _default(parent, definition)
            found = self.identify(default, seen).stock if default is not None else ()
            return Identifier((*found, *self._given.get(definition.id, ())))
        loops = isinstance(parent, (gast.For, gast.comprehension)) and field == "target"
        if loops and isinstance(parent.iter, (gast.Tuple, gast.List, gast.Set)):
            return _union(self.identify(element, seen) for element in parent.iter.elts)
        if isinstance(parent, gast.NamedExpr):
            return self.identify(parent.value, seen)
        return _OTHER

    @functools.cached_property
    def _given(self) -> dict[str, tuple[str, ...]]:
        """{name: the stock classes it is given the name of}: attributes, keys, arguments and
        options anywhere in the module. Evidence that a value may be such a string, no more."""
        found: dict[str, tuple[str, ...]] = {}

        def give(name: str | None, value: Any) -> None:
            stock = _named(constant_text(value)).stock
            if name and stock:
                found[name] = (*found.get(name, ()), *stock)

        for statement in self.syntax.assignments:
            for target in targets(statement):
                key = constant_text(target.slice) if isinstance(target, gast.Subscript) else last_part(target)
                for arm in _arms(statement.value):
                    give(key, arm)
        for mapping in self.syntax.mappings:
            for key, value in zip(mapping.keys, mapping.values, strict=True):
                give(constant_text(key), value)
        for call in self.syntax.calls:
            for keyword in call.keywords:
                give(keyword.arg, keyword.value)
            if last_part(call.func) in _OPTIONS:
                for name, value in _option(call):
                    give(name, value)
            elif (function := self.names.module.functions.get(last_part(call.func) or "")) is not None:
                for parameter, value in zip(function.args.args, call.args, strict=False):
                    give(parameter.id, value)
        return found


def _named(text: str | None) -> Identifier:
    resolved = catalog.STOCK_STRINGS.get(text.lower()) if text is not None else None
    return Identifier((resolved,), True) if resolved is not None else _OTHER


def _union(found: Iterable[Identifier]) -> Identifier:
    several = list(found)
    stock = tuple(dict.fromkeys(path for identifier in several for path in identifier.stock))
    return Identifier(stock, bool(several) and all(identifier.complete for identifier in several))


def _values(mapping: Any, key: str) -> list[Any]:
    return [v for k, v in zip(mapping.keys, mapping.values, strict=True) if constant_text(k) == key]


def _arms(node: Any) -> Iterator[Any]:
    if isinstance(node, gast.IfExp):
        yield from _arms(node.body)
        yield from _arms(node.orelse)
    else:
        yield node


def _default(arguments: Any, parameter: Any) -> Any:
    """The default of a parameter, None if it has none."""
    positional = [*(getattr(arguments, "posonlyargs", None) or []), *arguments.args]
    defaults = dict(zip(reversed(positional), reversed(arguments.defaults), strict=False))
    defaults.update(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=False))
    return defaults.get(parameter)


def _option(call: Any) -> Iterator[tuple[str, Any]]:
    """(name, default) of an option that a call declares."""
    names = [text for a in call.args if (text := constant_text(a))]
    values = [k.value for k in call.keywords if k.arg in ("default", "const")]
    if (last_part(call.func) or "").startswith("DEFINE"):
        names, values = names[:1], [*values, *call.args[1:2]]
    names += [text for k in call.keywords if k.arg == "dest" and (text := constant_text(k.value))]
    for value in values:
        yield from ((name.lstrip("-").replace("-", "_"), value) for name in names)
