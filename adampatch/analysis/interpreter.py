"""A forward abstract interpreter: from a method's body to expressions and writes.

Names hold expressions or the values of ``values.py``; an ``if`` joins as a select node;
methods of the class, functions of the file, nested functions and lambdas are inlined.
Nothing is imported or executed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gast

from adampatch.algebra import Const, Expr, Leaf, Op, Role
from adampatch.analysis.calls import Calls
from adampatch.analysis.module import Module, import_bindings
from adampatch.analysis.run import Place, Run
from adampatch.analysis.values import (
    Context,
    Dotted,
    Either,
    Frame,
    Function,
    Items,
    Origin,
    Ref,
    Return,
    SelfObject,
    Slices,
    SuperObject,
    VariableRef,
)

_MAX_DEPTH = 12
_BINARY = {gast.Add: "add", gast.Sub: "sub", gast.Mult: "mul", gast.Div: "div", gast.Pow: "pow"}
_COMPARE = {gast.Gt: ">", gast.GtE: ">=", gast.Lt: "<", gast.LtE: "<=", gast.Eq: "==", gast.NotEq: "!="}


class TooDeep(Exception):
    """The code nests or recurses beyond what is followed."""


@dataclass(frozen=True)
class _State:
    """What branches fork and join."""

    names: Mapping[str, Any]
    versions: Mapping[str, int]
    attributes: Mapping[str, Any]


class Interpreter:
    """Runs one method of one class. ``methods`` maps names to (module, function node) along
    the project's own hierarchy; what is not there belongs to a base outside of it."""

    def __init__(
        self, module: Module, methods: Mapping[str, Any], written: frozenset[str] = frozenset()
    ) -> None:
        self.module = module
        self.methods = methods
        self.written = written
        self.run_ = Run()
        self.versions: Mapping[str, int] = {}
        self.display: dict[str, str] = {}
        self.attributes: Mapping[str, Any] = {}
        self._leaves: dict[tuple[str, int], Leaf] = {}
        self._fresh = 0
        self._stack: list[Any] = []
        self._loops = 0
        self._path: tuple[tuple[int, int], ...] = ()
        self.variable = VariableRef()
        self.calls = Calls(self)

    # ------------------------------------------------------------------ running

    def run(self, function: Any, arguments: list[Any]) -> Run:
        """Interprets ``function`` (self first) on values for its further parameters."""
        self.call_function(Function(function, bound=SelfObject()), arguments, {}, function)
        self.run_.written = frozenset(w.slot for w in self.run_.state_writes)
        return self.run_

    def call_function(
        self,
        function: Function,
        args: list[Any],
        keywords: Mapping[str, Any],
        site: Any,
        arguments: Mapping[Any, tuple[Any, Context]] | None = None,
    ) -> Any:
        """Inlines a call; an unknown value when it recurses. ``arguments``: where the values
        were written, by position or keyword."""
        node = function.node
        if node in self._stack or len(self._stack) >= _MAX_DEPTH:
            return self.unknown(site, "recursion", args)
        if function.bound is not None:
            args = [function.bound, *args]
        names = self._parameters(node, args, keywords)
        self_name = next((n for n, v in names.items() if isinstance(v, SelfObject)), None)
        if self_name is None and function.closure is not None:
            self_name = function.closure.self_name
        frame = Frame(node, names, self_name, function.closure, self._written_as(function, arguments or {}))
        self._stack.append(node)
        path = self._path
        try:
            if isinstance(node, gast.Lambda):
                return self.eval(node.body, frame)
            self.block(node.body, frame)
        finally:
            self._stack.pop()
            self._path = path
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
                    names[parameter.id] = _nameless(parameter.id)
        for parameter in node.args.kwonlyargs:
            names[parameter.id] = keywords.get(parameter.id, _nameless(parameter.id))
        for rest in (node.args.vararg, node.args.kwarg):
            if rest is not None:
                names[rest.id] = self.clouded(rest.id)
        return names

    def _written_as(
        self, function: Function, arguments: Mapping[Any, tuple[Any, Context]]
    ) -> Mapping[str, tuple[Any, Context]]:
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
                value = self.joined(earlier.condition, earlier.value, value)
            else:
                value = self.joined(earlier.condition, value, earlier.value)
        return value

    # --------------------------------------------------------------- statements

    def block(self, body: list[Any], frame: Frame) -> None:
        for statement in body:
            if frame.finished:
                return
            self.statement(statement, frame)

    def statement(self, node: Any, frame: Frame) -> None:
        if isinstance(node, gast.Assign):
            value = self.eval(node.value, frame)
            for target in node.targets:
                self.assign(target, value, frame)
        elif isinstance(node, gast.AnnAssign):
            if node.value is not None:
                self.assign(node.target, self.eval(node.value, frame), frame)
        elif isinstance(node, gast.AugAssign):
            self._augmented(node, frame)
        elif isinstance(node, gast.Expr):
            self.eval(node.value, frame)
        elif isinstance(node, gast.Return):
            value = self.eval(node.value, frame) if node.value is not None else Const(None)
            frame.returned.append(Return(value))
            frame.finished = True
        elif isinstance(node, gast.Raise):
            frame.finished = True
        elif isinstance(node, gast.If):
            self._if(node, frame)
        elif isinstance(node, (gast.For, gast.While)):
            self._loop(node, frame)
        elif isinstance(node, gast.With):
            for item in node.items:
                value = self.eval(item.context_expr, frame)
                if item.optional_vars is not None:
                    self.assign(item.optional_vars, value, frame)
            self.block(node.body, frame)
        elif isinstance(node, gast.Try):
            self._try(node, frame)
        elif isinstance(node, (gast.Import, gast.ImportFrom)):
            for name, path in import_bindings(node, self.module.package):
                frame.bind(name, Dotted((path,)))
        elif isinstance(node, gast.FunctionDef):
            frame.bind(node.name, Function(node, closure=frame))
        elif not isinstance(node, (gast.Pass, gast.Assert)):
            self.not_followed(node, type(node).__name__.lower())

    def assign(self, target: Any, value: Any, frame: Frame) -> None:
        if isinstance(target, gast.Name):
            if isinstance(value, Ref):
                self.display.setdefault(value.slot, target.id)
            frame.bind(target.id, value)
        elif isinstance(target, (gast.Tuple, gast.List)):
            for index, element in enumerate(target.elts):
                if isinstance(value, Items) and len(value.items) == len(target.elts):
                    part = value.items[index]
                elif isinstance(value, Ref):
                    part = Ref(f"{value.slot}[{index}]", f"{value.text}[{index}]", None, None, pure=False)
                else:
                    part = self.unknown(element, "unpacked", [value])
                self.assign(element, part, frame)
        elif isinstance(target, (gast.Attribute, gast.Subscript)):
            slot = self._slot_of(target, frame)
            if slot is not None:
                self.attributes = {**self.attributes, slot: value}

    def _slot_of(self, target: Any, frame: Frame) -> str | None:
        """The slot that an attribute or element names, whatever it holds."""
        held, self.attributes = self.attributes, {}
        try:
            found = self.eval(target, frame)
        finally:
            self.attributes = held
        return found.slot if isinstance(found, Ref) else None

    def _augmented(self, node: Any, frame: Frame) -> None:
        name = _BINARY.get(type(node.op))
        old, value = self.eval(node.target, frame), self.eval(node.value, frame)
        origin = Origin(node, (None, node.value), self.context(frame), fixed=True)
        if name is None:
            result = self.opaque(node, "augmented", [old, value], frame)
        else:
            result = Op(name, (self.as_expr(old), self.as_expr(value)), origin=origin)
        self.assign(node.target, result, frame)

    def _if(self, node: Any, frame: Frame) -> None:
        condition = self.condition(node.test, frame)
        if isinstance(condition, Const) and isinstance(condition.value, (bool, type(None))):
            self.block(node.body if condition.value else node.orelse, frame)
            return
        before, path = self._state(frame), self._path
        ended, states, marks = [], [], [len(frame.returned)]
        for arm, body in enumerate((node.body, node.orelse)):
            self._restore(frame, before)
            self._path = (*path, (id(node), arm))
            self.block(body, frame)
            states.append(self._state(frame))
            ended.append(frame.finished)
            marks.append(len(frame.returned))
        self._condition_returns(frame, condition, marks, all(ended))
        self._path = path
        frame.finished = all(ended)
        if all(ended):
            return
        if any(ended):
            # what follows runs only when the other arm was taken
            going = ended.index(False)
            self._restore(frame, states[going])
            self._path = (*path, (id(node), going))
        else:
            self._join(frame, condition, *states)

    def _condition_returns(self, frame: Frame, condition: Expr, marks: list[int], both_end: bool) -> None:
        """Puts the branch's condition on what its arms return; nested ones have no name."""
        for arm in (0, 1):
            if arm == 1 and both_end:
                continue  # reached when the first arm is not: no condition of its own
            for index in range(marks[arm], marks[arm + 1]):
                entry = frame.returned[index]
                if entry.condition is None:
                    frame.returned[index] = Return(entry.value, condition, arm == 0)
                else:
                    frame.returned[index] = Return(entry.value, self._nameless_condition())

    def _try(self, node: Any, frame: Frame) -> None:
        """The body, or any handler from what held before: which, nothing says."""
        before = self._state(frame)
        returned = len(frame.returned)
        self.block([*node.body, *node.orelse], frame)
        outcomes = [(self._state(frame), frame.finished)]
        for handler in node.handlers:
            self._restore(frame, before)
            if handler.name is not None:
                bound = handler.name.id if isinstance(handler.name, gast.Name) else handler.name
                frame.bind(bound, _nameless("error"))
            self.block(handler.body, frame)
            outcomes.append((self._state(frame), frame.finished))
        if node.handlers:
            for index in range(returned, len(frame.returned)):
                frame.returned[index] = Return(frame.returned[index].value, self._nameless_condition())
        going = [state for state, ended in outcomes if not ended]
        frame.finished = not going
        if going:
            self._restore(frame, going[0])
            for other in going[1:]:
                self._join(frame, self._nameless_condition(), self._state(frame), other)
        self.block(node.finalbody, frame)

    def _state(self, frame: Frame) -> _State:
        return _State(frame.names, self.versions, self.attributes)

    def _restore(self, frame: Frame, state: _State) -> None:
        frame.names, self.versions, self.attributes = state.names, state.versions, state.attributes
        frame.finished = False

    def _join(self, frame: Frame, condition: Expr, a: _State, b: _State) -> None:
        """What holds after one of two arms."""
        self.versions = self._joined_versions(a.versions, b.versions)
        frame.names = self._joined_tables(condition, a.names, b.names)
        missing: dict[str, Any] = {}
        for slot in {**a.attributes, **b.attributes}:
            if slot not in a.attributes or slot not in b.attributes:
                missing[slot] = Ref(slot, slot.rsplit(".", 1)[-1], None, None, pure=False)
        self.attributes = self._joined_tables(
            condition, {**missing, **a.attributes}, {**missing, **b.attributes}
        )

    def _joined_tables(self, condition: Expr, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for name in {**a, **b}:
            if name in a and name in b:
                merged[name] = self.joined(condition, a[name], b[name])
            else:
                merged[name] = a.get(name, b.get(name))
        return merged

    def _nameless_condition(self) -> Op:
        """A condition that stands nowhere in the text, so that nothing can be written over it."""
        return Op("predicate", (), label=f"one of several ways ({self.fresh_version()})")

    def clouded(self, name: str) -> Op:
        """A value about which nothing can be said: no parity."""
        return Op("opaque", (Leaf(name, Role.GRADIENT, "<gradient>"),), label=name)

    def not_followed(self, node: Any, what: str) -> None:
        """Marks the whole run: its sites are refused."""
        if self.run_.unfollowed is None:
            self.run_.unfollowed = (getattr(node, "lineno", 0), what)

    def _joined_versions(self, a: Mapping[str, int], b: Mapping[str, int]) -> Mapping[str, int]:
        merged = dict(a)
        for slot in {**a, **b}:
            if a.get(slot, 0) != b.get(slot, 0):
                merged[slot] = self.fresh_version()
        return merged

    def fresh_version(self) -> int:
        self._fresh += 1
        return self._fresh

    def _loop(self, node: Any, frame: Frame) -> None:
        """The body once. What it carries from one round to the next is clouded."""
        carried = {
            n.id for n in gast.walk(node) if isinstance(n, gast.Name) and isinstance(n.ctx, gast.Store)
        }
        item: Any = None
        if isinstance(node, gast.For):
            iterated = self.eval(node.iter, frame)
            if isinstance(iterated, Items) and iterated.items:
                item = iterated.items[0]
            else:
                item = self.unknown(node.target, "element", [iterated])
        before = self._state(frame)
        for name in carried & set(frame.names):
            frame.bind(name, self.clouded(name))
        if isinstance(node, gast.For):
            self.assign(node.target, item, frame)
        else:
            self.eval(node.test, frame)
        self._loops += 1
        returned = len(frame.returned)
        self.block(node.body, frame)
        self._loops -= 1
        for index in range(returned, len(frame.returned)):
            frame.returned[index] = Return(frame.returned[index].value, self._nameless_condition())
        after = self._state(frame)
        frame.finished = False
        self._join(frame, self._nameless_condition(), after, before)
        self.block(node.orelse, frame)

    # -------------------------------------------------------------- expressions

    def eval(self, node: Any, frame: Frame) -> Any:
        method: Callable[[Any, Frame], Any] | None = getattr(
            self, "_eval_" + type(node).__name__.lower(), None
        )
        if method is None:
            return self.unknown(node, type(node).__name__)
        return method(node, frame)

    def _eval_constant(self, node: Any, frame: Frame) -> Any:
        return Const(node.value, origin=Origin(node, (), self.context(frame)))

    def _eval_name(self, node: Any, frame: Frame) -> Any:
        try:
            return frame.lookup(node.id)
        except KeyError:
            return self.global_value(node)

    def global_value(self, node: Any) -> Any:
        """A name of the module: an import, a function, a literal, or unknown."""
        module, name = self.module, node.id
        if name in module.imports:
            return Dotted(module.imports[name])
        if name in module.functions:
            return Function(module.functions[name])
        assigned = module.assigned.get(name)
        if isinstance(assigned, gast.Constant):
            return Const(assigned.value)
        if isinstance(assigned, gast.Attribute) and module.dotted(assigned):
            return Dotted(module.dotted(assigned))
        return Ref(name, name, node, None)

    def _eval_attribute(self, node: Any, frame: Frame) -> Any:
        base = self.eval(node.value, frame)
        return self.attribute(base, node, frame)

    def attribute(self, base: Any, node: Any, frame: Frame) -> Any:
        name = node.attr
        if isinstance(base, Dotted):
            return Dotted(tuple(f"{p}.{name}" for p in base.paths))
        if isinstance(base, (VariableRef, Ref, Either)) and name in ("handle", "_handle"):
            return base
        if isinstance(base, Slices) and name == "values":
            return base.values
        if isinstance(base, Expr) and name in ("values", "op"):
            return base
        if isinstance(base, SelfObject):
            if name in self.methods:
                return self._method(self.methods[name], node, base)
            slot = f"self.{name}"
        elif isinstance(base, (Ref, VariableRef)):
            slot = f"{base.slot}.{name}"
        elif isinstance(base, Expr):
            slot = f"<{base.key}>.{name}"
        elif isinstance(base, SuperObject):
            return base
        else:
            slot = f"{name}@{id(node)}"
        if slot in self.attributes:
            return self.attributes[slot]
        pure = base.pure if isinstance(base, Ref) else True
        return Ref(slot, name.lstrip("_"), node, self.context(frame), pure)

    def _method(self, function: Any, node: Any, base: SelfObject) -> Any:
        """A method of the class as a value: its decorators decide what it is."""
        decorators = [getattr(d, "id", None) for d in function.decorator_list]
        if not decorators:
            return Function(function, bound=base)
        if decorators == ["property"]:
            return self.call_function(Function(function, bound=base), [], {}, node)
        if decorators == ["staticmethod"]:
            return Function(function)
        if decorators == ["classmethod"]:
            return Function(function, bound=_nameless("cls"))
        return self.unknown(node, function.name, [self.clouded(function.name)])

    def _eval_namedexpr(self, node: Any, frame: Frame) -> Any:
        value = self.eval(node.value, frame)
        self.assign(node.target, value, frame)
        return value

    def _eval_subscript(self, node: Any, frame: Frame) -> Any:
        base = self.eval(node.value, frame)
        index = self.eval(node.slice, frame)
        position = index.value if isinstance(index, Const) else None
        if (
            isinstance(base, Items)
            and isinstance(position, int)
            and -len(base.items) <= position < len(base.items)
        ):
            return base.items[position]
        if isinstance(base, (Ref, SelfObject, VariableRef)):
            slot = f"{getattr(base, 'slot', 'self')}[{self.slot_key(index)}]"
            if slot in self.attributes:
                return self.attributes[slot]
            text = base.text if isinstance(base, Ref) else "element"
            pure = isinstance(base, Ref) and base.pure and (not isinstance(index, Ref) or index.pure)
            if isinstance(index, Const) and isinstance(index.value, str):
                text = index.value
            return Ref(slot, text, node, self.context(frame), pure)
        if isinstance(base, Expr):
            origin = Origin(node, (node.value, None), self.context(frame))
            return Op("gather", (base, self.as_expr(index)), origin=origin)
        return self.unknown(node, "subscript", [base, index])

    def _eval_binop(self, node: Any, frame: Frame) -> Any:
        left, right = self.eval(node.left, frame), self.eval(node.right, frame)
        name = _BINARY.get(type(node.op))
        if name is None:
            return self.opaque(node, self.module.segment(node), [left, right], frame)
        origin = Origin(node, (node.left, node.right), self.context(frame))
        return Op(name, (self.as_expr(left), self.as_expr(right)), origin=origin)

    def _eval_unaryop(self, node: Any, frame: Frame) -> Any:
        value = self.eval(node.operand, frame)
        if isinstance(node.op, gast.USub):
            if isinstance(value, Const) and isinstance(value.value, (int, float)):
                return Const(-value.value, origin=Origin(node, (), self.context(frame)))
            origin = Origin(node, (node.operand,), self.context(frame))
            return Op("neg", (self.as_expr(value),), origin=origin)
        if isinstance(node.op, gast.UAdd):
            return value
        return self.predicate(node, [value], frame)

    def _eval_ifexp(self, node: Any, frame: Frame) -> Any:
        condition = self.condition(node.test, frame)
        if isinstance(condition, Const) and isinstance(condition.value, (bool, type(None))):
            return self.eval(node.body if condition.value else node.orelse, frame)
        a, b = self.eval(node.body, frame), self.eval(node.orelse, frame)
        origin = Origin(node, (node.test, node.body, node.orelse), self.context(frame))
        return self.joined(condition, a, b, origin)

    def _eval_compare(self, node: Any, frame: Frame) -> Any:
        operands = [self.eval(x, frame) for x in (node.left, *node.comparators)]
        label = _COMPARE.get(type(node.ops[0])) if len(node.ops) == 1 else None
        if any(isinstance(op, (gast.Is, gast.IsNot, gast.In, gast.NotIn)) for op in node.ops):
            return self.predicate(node, [], frame)
        if label is None:
            return self.predicate(node, operands, frame)
        origin = Origin(node, (node.left, node.comparators[0]), self.context(frame))
        return Op("compare", tuple(self.as_expr(o) for o in operands), label=label, origin=origin)

    def _eval_boolop(self, node: Any, frame: Frame) -> Any:
        return self.predicate(node, [self.eval(v, frame) for v in node.values], frame)

    def _eval_tuple(self, node: Any, frame: Frame) -> Any:
        return Items(tuple(self.eval(e, frame) for e in node.elts))

    _eval_list = _eval_tuple

    def _eval_lambda(self, node: Any, frame: Frame) -> Any:
        return Function(node, closure=frame)

    def _eval_call(self, node: Any, frame: Frame) -> Any:
        return self.calls.call(node, frame)

    def condition(self, node: Any, frame: Frame) -> Expr:
        """A Python-level test: its text stays, values do not matter unless tensors are compared."""
        value = self.eval(node, frame)
        if isinstance(value, Const):
            return value
        if isinstance(value, Op) and value.name in ("compare", "predicate"):
            return value
        return self.predicate(node, [value] if isinstance(value, Expr) else [], frame)

    def predicate(self, node: Any, operands: list[Any], frame: Frame) -> Op:
        args = tuple(o for o in operands if isinstance(o, Expr))
        origin = Origin(node, (), self.context(frame), fixed=True)
        return Op("predicate", args, label=self.module.normal_text(node), origin=origin)

    # ------------------------------------------------------------------- values

    def place(self) -> Place:
        return Place(self._path, self._loops > 0)

    def context(self, frame: Frame) -> Context:
        names: Mapping[str, Any] = frame.names
        outer = frame.closure
        while outer is not None:
            names = {**outer.names, **names}
            outer = outer.closure
        return Context(frame.function, names, self.versions, frame.self_name, frame.arguments)

    def as_expr(self, value: Any) -> Expr:
        """The value read as a tensor or number now."""
        if isinstance(value, Expr):
            return value
        if isinstance(value, VariableRef):
            return self.leaf(value.slot, "var", Role.VARIABLE)
        if isinstance(value, Ref):
            return self._read(value)
        if isinstance(value, Either):
            return Op("branch", (value.condition, self.as_expr(value.first), self.as_expr(value.second)))
        if isinstance(value, Slices):
            return self.as_expr(value.values)
        if isinstance(value, Items):
            return Op("opaque", tuple(self.as_expr(v) for v in value.items), label="tuple")
        return Leaf("?", Role.READ, f"?{id(value)}")

    def _read(self, ref: Ref) -> Expr:
        leaf = self.leaf(ref.slot, self.display.get(ref.slot, ref.text), Role.READ, ref)
        # what an unknown call makes of the variable or a tensor has an unknown parity,
        # unless it turns out to be storage
        tainted = self.calls.tainted.get(ref.slot)
        if tainted and ref.slot not in self.written:
            return Op("opaque", tainted, label=ref.text, origin=leaf.origin)
        return leaf

    def leaf(self, slot: str, name: str, role: Role, ref: Ref | None = None) -> Leaf:
        version = self.versions.get(slot, 0)
        known = self._leaves.get((slot, version))
        if known is None:
            if ref is not None:
                name = self.display.get(slot, name)
            origin = (
                Origin(ref.node, (), ref.context) if ref is not None and ref.context is not None else None
            )
            known = Leaf(name, role, slot, version, origin=origin)
            self._leaves[slot, version] = known
        return known

    def slot_key(self, value: Any) -> str:
        """A text that is equal for equal values, to tell storages apart."""
        if isinstance(value, (Ref, VariableRef)):
            return value.slot
        if isinstance(value, Const):
            return repr(value.value)
        if isinstance(value, Expr):
            return value.key
        return f"?{id(value)}"

    def joined(self, condition: Expr, a: Any, b: Any, origin: Origin | None = None) -> Any:
        """``a if condition else b`` as one value."""
        if a is b or (isinstance(a, Expr) and isinstance(b, Expr) and a.key == b.key):
            return a
        if isinstance(a, Ref) and isinstance(b, Ref) and a.slot == b.slot:
            return a
        if isinstance(a, Expr) and isinstance(b, Expr) and not _is_none(a) and not _is_none(b):
            return Op("branch", (condition, a, b), origin=origin)
        if (isinstance(a, Expr) or isinstance(b, Expr)) and not (_is_none(a) or _is_none(b)):
            return Op("branch", (condition, self.as_expr(a), self.as_expr(b)), origin=origin)
        return Either(condition, a, b)

    def opaque(self, node: Any, label: str, values: list[Any], frame: Frame) -> Op:
        """An operation that no table knows: even if all of its operands are."""
        args = tuple(self.as_expr(v) for v in values)
        return Op("opaque", args, label=label, origin=Origin(node, (), self.context(frame), fixed=True))

    def unknown(self, node: Any, why: str, values: list[Any] | None = None) -> Ref:
        """An object about which nothing is known but what went into it."""
        keys = ",".join(self.slot_key(v) for v in values or [])
        ref = Ref(
            f"<{why}:{getattr(node, 'lineno', 0)}:{getattr(node, 'col_offset', 0)}:{keys}>",
            why,
            node,
            None,
            pure=False,
        )
        self.calls.taint(ref, values or [])
        return ref


def _is_none(value: Any) -> bool:
    return isinstance(value, Const) and value.value is None


def _nameless(name: str) -> Ref:
    return Ref(name, name, None, None)
