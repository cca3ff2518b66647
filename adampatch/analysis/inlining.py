"""Inlining during interpretation: how arguments become names, what a function returns.

Which calls are inlined is decided in ``calls.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gast

from adampatch.algebra import Const, Op
from adampatch.analysis.values import Context, Frame, Function, Origin, Ref, SelfObject, nameless

if TYPE_CHECKING:
    from adampatch.analysis.interpreter import Interpreter

_MAX_DEPTH = 12

#: an argument as it was written: its node and the caller's context
Written = tuple[Any, Context]


class Inlining:
    """The inlined calls of one interpreter."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter = interpreter
        self._stack: list[Any] = []
        self._sites: list[Any] = []

    def path(self) -> str:
        """The calls that led here: tells what one node makes in one call from what it makes in
        another."""
        return ",".join(str(id(site)) for site in self._sites)

    def call(self, function: Function, node: Any, frame: Frame) -> Any:
        """The call ``node`` of a function whose body is known; None when its arguments cannot
        be told apart."""
        it = self.interpreter
        spread = it.tables.spread(node, frame)
        if any(isinstance(a, gast.Starred) for a in node.args) or spread is None:
            return None
        context = it.context(frame)
        args = [it.eval(a, frame) for a in node.args]
        keywords = {str(k.arg): it.eval(k.value, frame) for k in node.keywords if k.arg is not None}
        written: dict[Any, Written] = {i: (a, context) for i, a in enumerate(node.args)}
        written.update((str(k.arg), (k.value, context)) for k in node.keywords if k.arg is not None)
        for name, (value, place, there) in spread.items():
            keywords[name], written[name] = value, (place, there)
        writes = len(it.run_.log)
        result = self.enter(function, args, keywords, node, written)
        if isinstance(result, Op) and isinstance(function.bound, SelfObject) and len(it.run_.log) == writes:
            # a thunk calls the method again: a subclass may override it
            it.run_.spellings.setdefault(result.key, Origin(node, (), context))
        return result

    def enter(
        self,
        function: Function,
        args: list[Any],
        keywords: Mapping[str, Any],
        site: Any,
        arguments: Mapping[Any, Written] | None = None,
    ) -> Any:
        """Runs a function's body on values; an unknown value when it recurses. ``arguments``:
        where the values were written, by position or keyword."""
        it, node = self.interpreter, function.node
        if node in self._stack or len(self._stack) >= _MAX_DEPTH:
            return it.unknown(site, "recursion", args)
        if function.bound is not None:
            args = [function.bound, *args]
        names = self._parameters(node, args, keywords)
        self_name = next((n for n, v in names.items() if isinstance(v, SelfObject)), None)
        if self_name is None and function.closure is not None:
            self_name = function.closure.self_name
        it.named |= {value.slot for value in names.values() if isinstance(value, Ref)}
        written = self._written_as(function, arguments or {})
        frame = Frame(function.module, node, names, self_name, function.closure, written)
        self._stack.append(node)
        self._sites.append(site)
        path = it.statements.path
        try:
            if isinstance(node, gast.Lambda):
                return it.eval(node.body, frame)
            it.statements.block(node.body, frame)
        finally:
            self._stack.pop()
            self._sites.pop()
            it.statements.path = path
        return self._returned(frame)

    def _parameters(self, node: Any, args: list[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
        parameters = [*node.args.posonlyargs, *node.args.args]
        defaults = node.args.defaults
        names: dict[str, Any] = {}
        for index, parameter in enumerate(parameters):
            if index < len(args):
                names[parameter.id] = args[index]
            elif parameter.id in keywords:
                names[parameter.id] = keywords[parameter.id]
            else:
                position = index - (len(parameters) - len(defaults))
                default = defaults[position] if 0 <= position < len(defaults) else None
                if isinstance(default, gast.Constant):
                    names[parameter.id] = Const(default.value)
                else:
                    names[parameter.id] = nameless(parameter.id)
        for parameter in node.args.kwonlyargs:
            names[parameter.id] = keywords.get(parameter.id, nameless(parameter.id))
        for rest in (node.args.vararg, node.args.kwarg):
            if rest is not None:
                names[rest.id] = self.interpreter.clouded(rest.id)
        return names

    def _written_as(self, function: Function, arguments: Mapping[Any, Written]) -> Mapping[str, Written]:
        """``arguments`` by parameter name."""
        parameters = [*function.node.args.posonlyargs, *function.node.args.args]
        offset = 0 if function.bound is None else 1
        named = {}
        for where, written in arguments.items():
            if isinstance(where, str):
                named[where] = written
            elif where + offset < len(parameters):
                named[parameters[where + offset].id] = written
        return named

    def _returned(self, frame: Frame) -> Any:
        value: Any = Const(None)
        for earlier in reversed(frame.returned):
            if earlier.condition is None:
                value = earlier.value
            elif earlier.outcome:
                value = self.interpreter.joined(earlier.condition, earlier.value, value)
            else:
                value = self.interpreter.joined(earlier.condition, value, earlier.value)
        return value
