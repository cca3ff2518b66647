"""Statements during interpretation: what forks at a branch, what joins after it.

Expressions are the interpreter's own; calls are in ``calls.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gast

from adampatch.algebra import Const, Expr, Op, StateWrite
from adampatch.analysis.module import import_bindings
from adampatch.analysis.run import Place
from adampatch.analysis.sequences import fresh, initial
from adampatch.analysis.values import Dotted, Each, Frame, Items, Origin, Ref, Rest, Return, nameless

if TYPE_CHECKING:
    from adampatch.analysis.interpreter import Interpreter


BINARY = {gast.Add: "add", gast.Sub: "sub", gast.Mult: "mul", gast.Div: "div", gast.Pow: "pow"}


@dataclass(frozen=True)
class _State:
    """What branches fork and join."""

    names: Mapping[str, Any]
    versions: Mapping[str, int]
    attributes: Mapping[str, Any]


class Statements:
    """The statements of one interpreter. ``path``: the branches that are being followed."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter = interpreter
        self.path: tuple[tuple[int, int], ...] = ()
        self.loops = 0

    def place(self) -> Place:
        """Where what is interpreted now stands."""
        return Place(self.path, self.loops > 0)

    # --------------------------------------------------------------- statements

    def block(self, body: list[Any], frame: Frame) -> None:
        for index, statement in enumerate(body):
            if frame.finished:
                self._excluded(body[index:])
                return
            self.statement(statement, frame)

    def _excluded(self, body: list[Any]) -> None:
        """Notes statements that cannot run."""
        self.interpreter.run_.covered.excluded |= {id(statement) for statement in body}

    def statement(self, node: Any, frame: Frame) -> None:
        if isinstance(node, gast.Assign):
            value = self.interpreter.eval(node.value, frame)
            self.interpreter.calls.symbolic.listed(node.targets[0], value, node.value, frame)
            for target in node.targets:
                self.assign(target, value, frame)
        elif isinstance(node, gast.AnnAssign):
            if node.value is not None:
                self.assign(node.target, self.interpreter.eval(node.value, frame), frame)
        elif isinstance(node, gast.AugAssign):
            self._augmented(node, frame)
        elif isinstance(node, gast.Expr):
            self.interpreter.eval(node.value, frame)
        elif isinstance(node, gast.Return):
            value = self.interpreter.eval(node.value, frame) if node.value is not None else Const(None)
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
                value = self.interpreter.eval(item.context_expr, frame)
                if item.optional_vars is not None:
                    self.assign(item.optional_vars, value, frame)
            self.block(node.body, frame)
        elif isinstance(node, gast.Try):
            self._try(node, frame)
        elif isinstance(node, (gast.Import, gast.ImportFrom)):
            for name, path in import_bindings(node, frame.module.package):
                frame.bind(name, Dotted((path,)))
        elif isinstance(node, gast.FunctionDef):
            frame.bind(node.name, self.interpreter.function(node, frame.module, frame))
        elif isinstance(node, (gast.Continue, gast.Break)):
            frame.finished = True  # the rest of the round does not run
        elif not isinstance(node, (gast.Pass, gast.Assert)):
            self.interpreter.not_followed(node, type(node).__name__.lower())

    def assign(self, target: Any, value: Any, frame: Frame) -> None:
        if isinstance(target, gast.Name):
            self.interpreter.show_as(value, target.id)
            if isinstance(value, Ref):
                self.interpreter.named |= {value.slot}
            frame.bind(target.id, value)
        elif isinstance(target, (gast.Tuple, gast.List)):
            if isinstance(value, Rest) and len(value.items) >= len(target.elts):
                value = Items(value.items[: len(target.elts)])
            for index, element in enumerate(target.elts):
                if isinstance(value, Items) and len(value.items) == len(target.elts):
                    part = value.items[index]
                elif isinstance(value, Ref):
                    part = Ref(f"{value.slot}[{index}]", f"{value.text}[{index}]", None, None, pure=False)
                else:
                    part = self.interpreter.unknown(element, "unpacked", [value])
                self.assign(element, part, frame)
        elif isinstance(target, (gast.Attribute, gast.Subscript)):
            slot = self._slot_of(target, frame)
            if slot is not None:
                self._store(slot, value, target)

    def _store(self, slot: str, value: Any, node: Any) -> None:
        it = self.interpreter
        it.run_.log.append((slot, self.place()))
        it.run_.stored.add(slot)
        held = {s: v for s, v in it.attributes.items() if not s.startswith((f"{slot}[", f"{slot}."))}
        if not fresh(value):
            it.attributes = {**held, slot: value}
            return
        # storage of its own, under the name it is kept by
        it.attributes = {s: v for s, v in held.items() if s != slot}
        it.renew(slot, node)
        first = initial(value)
        if first is not None:
            it.run_.state_writes.append(StateWrite(slot, first))

    def _slot_of(self, target: Any, frame: Frame) -> str | None:
        """The slot that an attribute or element names, whatever it holds."""
        held, self.interpreter.attributes = self.interpreter.attributes, {}
        try:
            found = self.interpreter.eval(target, frame)
        finally:
            self.interpreter.attributes = held
        return found.slot if isinstance(found, Ref) else None

    def _augmented(self, node: Any, frame: Frame) -> None:
        name = BINARY.get(type(node.op))
        old, value = self.interpreter.eval(node.target, frame), self.interpreter.eval(node.value, frame)
        self.interpreter.calls.symbolic.listed(node.target, value, node.value, frame)
        origin = Origin(node, (None, node.value), self.interpreter.context(frame), fixed=True)
        if name is None:
            result = self.interpreter.opaque(node, "augmented", [old, value], frame)
        else:
            result = Op(name, (self.interpreter.as_expr(old), self.interpreter.as_expr(value)), origin=origin)
        self.assign(node.target, result, frame)

    def _if(self, node: Any, frame: Frame) -> None:
        condition = self.interpreter.conditions.condition(node.test, frame)
        if isinstance(condition, Const) and isinstance(condition.value, (bool, type(None))):
            taken, other = (node.body, node.orelse) if condition.value else (node.orelse, node.body)
            self._excluded(other)
            self.block(taken, frame)
            return
        before, path = self._state(frame), self.path
        ended, states, marks = [], [], [len(frame.returned)]
        for arm, body in enumerate((node.body, node.orelse)):
            self._restore(frame, before)
            self.path = (*path, (id(node), arm))
            self.block(body, frame)
            states.append(self._state(frame))
            ended.append(frame.finished)
            marks.append(len(frame.returned))
        self._condition_returns(frame, condition, marks, all(ended))
        self.path = path
        frame.finished = all(ended)
        if all(ended):
            return
        if any(ended):
            # what follows runs only when the other arm was taken
            going = ended.index(False)
            self._restore(frame, states[going])
            self.path = (*path, (id(node), going))
        else:
            self._join(frame, condition, *states)

    def forked(
        self, node: Any, conditions: Sequence[Expr], arms: Sequence[Callable[[], Any]], frame: Frame
    ) -> list[Any]:
        """What each of the ``arms`` of a call gives, of which one runs: the first whose condition
        holds, else the last, which has none."""
        before, path = self._state(frame), self.path
        results, states = [], []
        for number, arm in enumerate(arms):
            self._restore(frame, before)
            self.path = (*path, (id(node), number))
            results.append(arm())
            states.append(self._state(frame))
        self.path = path
        for condition, state in zip(reversed(conditions), reversed(states[:-1]), strict=True):
            self._join(frame, condition, state, self._state(frame))
        return results

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
                frame.bind(bound, nameless("error"))
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
        return _State(frame.names, self.interpreter.versions, self.interpreter.attributes)

    def _restore(self, frame: Frame, state: _State) -> None:
        frame.names, self.interpreter.versions, self.interpreter.attributes = (
            state.names,
            state.versions,
            state.attributes,
        )
        frame.finished = False

    def _join(self, frame: Frame, condition: Expr, a: _State, b: _State) -> None:
        """What holds after one of two arms."""
        self.interpreter.versions = self._joined_versions(a.versions, b.versions)
        frame.names = self._joined_tables(condition, a.names, b.names)
        missing: dict[str, Any] = {}
        for slot in {**a.attributes, **b.attributes}:
            if slot not in a.attributes or slot not in b.attributes:
                missing[slot] = Ref(slot, slot.rsplit(".", 1)[-1], None, None, pure=False)
        self.interpreter.attributes = self._joined_tables(
            condition, {**missing, **a.attributes}, {**missing, **b.attributes}
        )

    def _joined_tables(self, condition: Expr, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for name in {**a, **b}:
            if name in a and name in b:
                merged[name] = self.interpreter.joined(condition, a[name], b[name])
            else:
                merged[name] = a.get(name, b.get(name))
        return merged

    def _nameless_condition(self) -> Op:
        """A condition that stands nowhere in the text, so that nothing can be written over it."""
        return Op("predicate", (), label=f"one of several ways ({self.interpreter.fresh_version()})")

    def _joined_versions(self, a: Mapping[str, int], b: Mapping[str, int]) -> Mapping[str, int]:
        merged = dict(a)
        for slot in {**a, **b}:
            if a.get(slot, 0) != b.get(slot, 0):
                merged[slot] = self.interpreter.fresh_version()
        return merged

    def _loop(self, node: Any, frame: Frame) -> None:
        """The body once, as it would run in any round: what it carries from one round to the
        next is an unknown number, or clouded where the model's values enter it."""
        it = self.interpreter
        stored = {n.id for n in gast.walk(node) if isinstance(n, gast.Name) and isinstance(n.ctx, gast.Store)}
        carried = stored & set(frame.names)
        iterated = it.eval(node.iter, frame) if isinstance(node, gast.For) else None
        if isinstance(iterated, Each):
            item = iterated.item
        elif isinstance(iterated, Items) and iterated.items:
            item = iterated.items[0]
        else:
            item = it.unknown(getattr(node, "target", node), "element", [iterated])
        before, path, mark, returned = self._state(frame), self.path, it.run_.mark(), len(frame.returned)
        clouded: set[str] = set()
        named = it.named
        while True:
            for name in carried:
                number = nameless(f"{name}~{it.fresh_version()}")
                frame.bind(name, it.clouded(name) if name in clouded else number)
            if isinstance(node, gast.For):
                self.assign(node.target, item, frame)
            else:
                it.eval(node.test, frame)
            repeated = 0 if isinstance(iterated, Each) else 1
            self.loops += repeated
            self.block(node.body, frame)
            self.loops -= repeated
            self.path = path
            more = {name for name in carried - clouded if it.calls.is_models(frame.names[name])}
            if not more:
                break
            clouded |= more
            it.run_.rewind(mark)
            it.named = named
            del frame.returned[returned:]
            self._restore(frame, before)
        for index in range(returned, len(frame.returned)):
            frame.returned[index] = Return(frame.returned[index].value, self._nameless_condition())
        after = self._state(frame)
        frame.finished = False
        self._join(frame, self._nameless_condition(), after, before)
        self.block(node.orelse, frame)
