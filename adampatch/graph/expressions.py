"""From nodes to expressions of the algebra: the value of a tensor, as far as it follows from the
gradient or from variables.

Pure: reads a body, changes nothing.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from adampatch.algebra import Const, Expr, Leaf, Op, Role
from adampatch.graph import attributes
from adampatch.graph.catalog import FOLDED, OPERATIONS
from adampatch.graph.nodes import Node
from adampatch.graph.storage import Storage, Variable

#: how many tensors the update of one variable may follow from
_BUDGET = 1500
GRADIENT = "<gradient>"


class TooLarge(Exception):
    """The update follows from more than is looked at."""


class Origin(NamedTuple):
    """The node that computes an expression, and which of its inputs the operands are (-1: none of
    its own)."""

    node: str
    operands: Tuple[int, ...]


class Reader:
    """Expressions of one update: of the variable ``target``, with ``gradient`` as the tensor that is its
    gradient. ``tensors``: {key of an expression: [(tensor, dtype)]} of what was read."""

    def __init__(self, storage: Storage, target: Optional[Variable], gradient: str) -> None:
        self.storage, self.body = storage, storage.body
        self.target = target.key if target is not None else ""
        self.gradient = self.body.normal(gradient)
        self.tensors: Dict[str, List[Tuple[str, int]]] = {}
        #: {key of storage: what it is called} of the variables that were read
        self.read: Dict[str, Variable] = {}
        self._expressions: Dict[str, Expr] = {}
        self._depends: Dict[str, bool] = {}

    def expression(self, ref: str) -> Expr:
        """The value of a tensor. Raises TooLarge, and RecursionError where it is nested too deeply."""
        ref = self.body.normal(ref)
        known = self._expressions.get(ref)
        if known is None:
            known = self._expression(ref)
            self._expressions[ref] = known
            if len(self._expressions) > _BUDGET:
                raise TooLarge
            if self.body.name_of(ref) not in self.body.shadows:
                self.tensors.setdefault(known.key, []).append((ref, self.dtype(ref)))
        return known

    def depends(self, ref: str) -> bool:
        """Whether a tensor follows from the gradient or from what a variable holds."""
        todo = [self.body.normal(ref)]
        entered: Set[str] = set()
        while todo:
            at = todo[-1]
            if at in self._depends:
                todo.pop()
                continue
            if at == self.gradient or self.storage.read(at) is not None:
                self._depends[at] = True
                continue
            node = self.body.producer(at)
            inputs = [self.body.normal(i) for i in node.data_inputs()] if node is not None else []
            open_ones = [i for i in inputs if i not in self._depends]
            if at not in entered:
                entered.add(at)
                if len(entered) + len(self._depends) > _BUDGET:
                    raise TooLarge
                todo += [i for i in open_ones if i not in entered]
                continue
            # what is still open is on the way here itself: in a loop anything may come around
            self._depends[at] = bool(open_ones) or any(self._depends[i] for i in inputs)
        return self._depends[self.body.normal(ref)]

    def _expression(self, ref: str) -> Expr:
        if ref == self.gradient:
            return Leaf("grad", Role.GRADIENT, GRADIENT)
        read = self.storage.read(ref)
        if read is not None:
            return self._read(ref, *read)
        node = self.body.producer(ref)
        if node is None:
            return Leaf(self.body.name_of(ref), Role.READ, "tensor:" + ref)
        if not self.depends(ref):
            return self._given(ref, node)
        operation = OPERATIONS.get(node.op)
        inputs = node.data_inputs()
        if operation is not None and len(inputs) > max(operation.operands) and self.body.port(ref) == 0:
            arguments = tuple(self.expression(inputs[i]) for i in operation.operands)
            label = operation.label
            if operation.name == "cast":
                label = str(attributes.read_dtype(node.attrs.get("DstT")))
            elif operation.name in ("reshape", "gather", "reduce", "norm", "spread", "scatter"):
                # what else says how (a shape, an axis, rows) is no operand of the algebra
                others = (name for place, name in enumerate(inputs) if place not in operation.operands)
                label = node.op + "".join(":" + self.body.normal(name) for name in others)
            return Op(operation.name, arguments, label, Origin(node.name, operation.operands))
        if node.op == "SquaredDifference":
            a, b = (self.expression(i) for i in inputs)
            return Op(
                "square", (Op("sub", (a, b), "", Origin(node.name, (0, 1))),), "", Origin(node.name, (-1,))
            )
        if node.op in FOLDED and inputs:
            total = self.expression(inputs[0])
            for place, each in enumerate(inputs[1:], 1):
                first = 0 if place == 1 else -1
                total = Op(
                    FOLDED[node.op], (total, self.expression(each)), "", Origin(node.name, (first, place))
                )
            return total
        if node.op == "Switch" and inputs:
            return Op("identity", (self.expression(inputs[0]),), ref, Origin(node.name, (0,)))
        arguments = tuple(self.expression(i) for i in inputs)
        return Op("opaque", arguments, node.op + ":" + ref, Origin(node.name, tuple(range(len(arguments)))))

    def _given(self, ref: str, node: Node) -> Expr:
        """A tensor that follows from nothing of the update: a number of its own, or one that is given."""
        if node.op == "Const":
            value = attributes.read_scalar(node.attrs.get("value"))
            if value is not None:
                return Const(value)
        if node.op in ("Cast", "Identity"):
            inner = self.expression(node.inputs[0])
            if isinstance(inner, Const) and not isinstance(inner.value, bool):
                return Const(inner.value)
        return Leaf(node.name.rpartition("/")[2], Role.READ, "tensor:" + ref)

    def _read(self, ref: str, variable: Variable, node: Node) -> Expr:
        role = Role.VARIABLE if variable.key == self.target else Role.READ
        self.read[variable.key] = variable
        # Two reads may see two values. Only what stands in one node is one read.
        leaf = Leaf(_last(variable.path), role, "variable:" + variable.key, _version(node.name))
        if node.op not in ("ResourceGather", "ResourceGatherNd"):
            return leaf
        rows = self.expression(node.inputs[1])
        return Op("gather", (leaf, rows), node.op, Origin(node.name, (0, 1)))

    def dtype(self, ref: str) -> int:
        """The DataType of a tensor; 0 where it is not to be told."""
        node = self.body.producer(ref)
        if node is None:
            return self.body.arguments.get(self.body.name_of(ref), (0, 0))[1]
        operation = OPERATIONS.get(node.op)
        if operation is not None and operation.name == "compare":
            return attributes.BOOL
        for name in ("DstT", "dtype", "T", "out_type", "Tparams"):
            if name in node.attrs:
                return attributes.read_dtype(node.attrs[name])
        if "Tout" in node.attrs:
            outputs = attributes.read_types(node.attrs["Tout"])
            port = self.body.port(ref)
            return outputs[port] if port < len(outputs) else 0
        return 0


def _version(name: str) -> int:
    # a number that is the same in every process
    total = 0
    for byte in name.encode("utf-8"):
        total = (total * 257 + byte) % (1 << 61)
    return total


def _last(path: str) -> str:
    return path.rpartition("/")[2]
