"""What optimizers with `get_updates` say: gradients of a list of variables, storage that a Keras
backend makes, constraints, and the list of updates, whose pairs are writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gast

from adampatch.algebra import Const, Expr, Leaf, Op, Role
from adampatch.analysis import catalog
from adampatch.analysis.values import Each, Either, Frame, Items, Origin, Ref, SelfObject, VariableRef

if TYPE_CHECKING:
    from adampatch.analysis.calls import Calls
    from adampatch.analysis.interpreter import Interpreter

_STORAGE = (Ref, VariableRef, Either)
#: the argument of `get_updates` that holds the constraints, where it has one
CONSTRAINTS = "<constraints>"
_LISTING = {"append": False, "extend": True}


class Symbolic:
    """The calls of one interpreter that only graph-mode Keras has."""

    def __init__(self, interpreter: Interpreter, calls: Calls) -> None:
        self.interpreter = interpreter
        self.calls = calls

    # --------------------------------------------------------------------- calls

    def method(self, base: Any, node: Any, frame: Frame) -> Any:
        """The value of a call of one of the optimizer's own methods or on its list of updates;
        None for any other call."""
        name = node.func.attr
        if isinstance(base, SelfObject) and name not in self.interpreter.methods:
            return self.gradients(node, frame) if name in catalog.GRADIENT_CALLS else None
        if name in _LISTING and len(node.args) == 1 and self._is_updates(node.func.value, frame):
            value = self.interpreter.eval(node.args[0], frame)
            if _LISTING[name]:
                self._write_all(value, node.args[0], frame)
            else:
                self._write_pair(value, node.args[0], frame)
            return Const(None)
        return None

    def function(self, path: str, node: Any, frame: Frame) -> Any:
        """The value of a framework call; None when it is none of these."""
        last = catalog.function_name(path)
        if last in catalog.GRADIENT_CALLS:
            return self.gradients(node, frame)
        if last in catalog.BACKEND_STORAGE and path.split(".")[-2] == "backend":
            args = self._arguments(node, frame)
            return self.calls.new_variable(args if catalog.BACKEND_STORAGE[last] else [], node, frame)
        if last in catalog.AVERAGING_FUNCTIONS:
            return self._averaged(node, frame)
        if last in catalog.SCALING_FUNCTIONS and node.args:
            return self._scaled(self._arguments(node, frame), last)
        return None

    def _arguments(self, node: Any, frame: Frame) -> list[Any]:
        nodes = [a.value if isinstance(a, gast.Starred) else a for a in node.args]
        return [self.interpreter.eval(a, frame) for a in [*nodes, *(k.value for k in node.keywords)]]

    def gradients(self, node: Any, frame: Frame) -> Any:
        """The gradients of a list of variables: one for each."""
        args = self._arguments(node, frame)
        if not any(isinstance(a, Each) and isinstance(a.item, VariableRef) for a in args):
            return self.interpreter.unknown(node, "gradients", args)
        return Each(Leaf("grad", Role.GRADIENT, "<gradient>"))

    def _scaled(self, args: list[Any], label: str) -> Expr:
        """The first argument times a number that follows its norm."""
        it = self.interpreter
        value = it.as_expr(args[0])
        scale = Op("opaque", (Op("norm", (value,)), *(it.as_expr(a) for a in args[1:])), label=label)
        return Op("mul", (value, scale))

    def _averaged(self, node: Any, frame: Frame) -> Any:
        """A write of ``old * momentum + value * (1 - momentum)``."""
        it = self.interpreter
        nodes = self.calls.operands(node, catalog.AVERAGING_KEYWORDS)
        if nodes is None:
            return it.unknown(node, "average", self._arguments(node, frame))
        args = [it.eval(n, frame) for n in nodes]
        if len(args) < 3 or not isinstance(args[0], _STORAGE):
            return it.unknown(node, "average", args)
        old, value, momentum = (it.as_expr(a) for a in args[:3])
        rest = Op("sub", (Const(1.0), momentum))
        new = Op("add", (Op("mul", (old, momentum)), Op("mul", (value, rest))))
        return self.interpreter.writes.write(args[0], "set", [new], [None], node, frame)

    # --------------------------------------------------------------- constraints

    def is_constraint(self, callee: Ref, node: Any) -> bool:
        """Whether what is called is the constraint of the variable."""
        found = (f"{self.interpreter.variable.slot}.constraint", f"{CONSTRAINTS}[")
        return len(node.args) == 1 and not node.keywords and callee.slot.startswith(found)

    def constrained(self, node: Any, frame: Frame) -> Op:
        it = self.interpreter
        value = it.as_expr(it.eval(node.args[0], frame))
        origin = Origin(node, (node.args[0],), it.context(frame), fixed=True)
        return Op("constraint", (value,), origin=origin)

    # ------------------------------------------------------- the list of updates

    def listed(self, target: Any, value: Any, node: Any, frame: Frame) -> None:
        """Notes the writes in ``self.updates = value`` and ``self.updates += value``."""
        if isinstance(value, Items) and self._is_updates(target, frame):
            self._write_all(value, node, frame)

    def _is_updates(self, node: Any, frame: Frame) -> bool:
        """Whether ``node`` is the optimizer's list of updates."""
        return (
            isinstance(node, gast.Attribute)
            and node.attr == "updates"
            and isinstance(node.value, gast.Name)
            and isinstance(frame.get(node.value.id), SelfObject)
        )

    def _write_all(self, value: Any, node: Any, frame: Frame) -> None:
        elements = node.elts if isinstance(node, (gast.List, gast.Tuple)) else ()
        for index, item in enumerate(value.items if isinstance(value, Items) else ()):
            self._write_pair(item, elements[index] if index < len(elements) else node, frame)

    def _write_pair(self, value: Any, node: Any, frame: Frame) -> None:
        """``(storage, new value)``: `K.function` assigns it."""
        if not isinstance(value, Items) or len(value.items) != 2 or not isinstance(value.items[0], _STORAGE):
            return
        target, new = value.items
        spelled = isinstance(node, gast.Tuple) and len(node.elts) == 2
        self.interpreter.writes.write(target, "set", [new], [node.elts[1] if spelled else None], node, frame)
