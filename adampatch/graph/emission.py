"""From expressions of the algebra to nodes: what is in the graph already is named, the rest is written."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Tuple

from adampatch.algebra import Const, Expr, Op
from adampatch.graph import attributes
from adampatch.graph.catalog import COMPARED, WRITTEN
from adampatch.graph.expressions import Origin
from adampatch.graph.nodes import Body, Node


class Unwritable(Exception):
    """No nodes can be written for a part of an update."""

    def __init__(self, node: Expr) -> None:
        super().__init__("no nodes for it")
        self.node = node


class Emitter:
    """New nodes below ``prefix``, placed as ``like`` is. ``tensors``: {key of an expression: [(tensor,
    dtype)]} of what is there; grows with what is written. ``source``: a control input that nodes without
    inputs take, for those in a branch or a loop ("" for none)."""

    def __init__(
        self,
        body: Body,
        prefix: str,
        like: Node,
        tensors: Mapping[str, List[Tuple[str, int]]],
        source: str = "",
        kernel: bool = False,
    ) -> None:
        self.body, self.prefix, self.like, self.source = body, prefix, like, source
        self.tensors = {key: list(held) for key, held in tensors.items()}
        #: whether the expressions are those of a fused kernel, whose maximum passes NaN over
        self.kernel = kernel
        self.nodes: List[Node] = []
        self._names: Dict[str, int] = {}
        self._placed = {key: like.attrs[key] for key in ("_class",) if key in like.attrs}

    def add(
        self, op: str, hint: str, inputs: List[str], attrs: Mapping[str, bytes], control: Tuple[str, ...] = ()
    ) -> str:
        """Writes a node; returns its first output (of an operation without outputs, its name)."""
        base = self.prefix + hint
        count = self._names.get(base, 0)
        name = f"{base}_{count}" if count else base
        while name in self.body.nodes:
            count += 1
            name = f"{base}_{count}"
        self._names[base] = count + 1
        attrs = {**self._placed, **attrs}
        self.nodes.append(Node(name, op, [*inputs, *control], attrs, self.like.device))
        return self.body.output(name, op)

    def typed(self, op: str, hint: str, inputs: List[str], dtype: int, control: Tuple[str, ...] = ()) -> str:
        """A node whose only attribute is the type T."""
        return self.add(op, hint, inputs, {"T": attributes.dtype(dtype)}, control)

    def constant(self, value: float, dtype: int) -> str:
        attrs = {"dtype": attributes.dtype(dtype), "value": attributes.scalar(value, dtype)}
        return self.add("Const", "const", [], attrs, (self.source,) if self.source else ())

    def cast(self, ref: str, source: int, target: int) -> str:
        if source == target:
            return ref
        attrs = {"SrcT": attributes.dtype(source), "DstT": attributes.dtype(target)}
        return self.add("Cast", "cast", [ref], attrs)

    def reshape(self, ref: str, shape: List[int], dtype: int) -> str:
        attrs = {"dtype": attributes.dtype(attributes.INT32), "value": attributes.vector(shape)}
        constant = self.add("Const", "shape", [], attrs, (self.source,) if self.source else ())
        attrs = {"T": attributes.dtype(dtype), "Tshape": attributes.dtype(attributes.INT32)}
        return self.add("Reshape", "reshape", [ref, constant], attrs)

    def reduced(self, op: str, ref: str, dtype: int) -> str:
        """A reduction of all elements to one."""
        flat = self.reshape(ref, [-1], dtype)
        axis = self.constant(0, attributes.INT32)
        attrs = {
            "T": attributes.dtype(dtype),
            "Tidx": attributes.dtype(attributes.INT32),
            "keep_dims": attributes.boolean(False),
        }
        return self.add(op, op.lower(), [flat, axis], attrs)

    def where(self, condition: str, yes: str, no: str, dtype: int) -> str:
        return self.typed("SelectV2", "where", [condition, yes, no], dtype)

    def dtype(self, node: Expr) -> int:
        """The DataType of an expression; 0 of a number, which takes that of what it stands with."""
        held = self.tensors.get(node.key)
        if isinstance(node, Const):
            return 0
        if held:
            return held[0][1]
        if isinstance(node, Op):
            if node.name == "cast":
                return int(node.label)
            if node.name == "compare":
                return attributes.BOOL
            operands = node.args[1:] if node.name in ("select", "branch") else node.args
            return next((found for found in map(self.dtype, operands) if found), 0)
        return 0

    def tensor(self, node: Expr, dtype: int) -> str:
        """A tensor with the value of an expression. Raises Unwritable."""
        for ref, known in self.tensors.get(node.key, []):
            if known == dtype:
                return ref
        ref = self._written(node, dtype)
        self.tensors.setdefault(node.key, []).append((ref, dtype))
        return ref

    def _written(self, node: Expr, dtype: int) -> str:
        if isinstance(node, Const) and isinstance(node.value, (int, float)):
            return self.constant(node.value, dtype)
        if not isinstance(node, Op):
            raise Unwritable(node)
        if node.name == "compare":
            inner = next((found for found in map(self.dtype, node.args) if found), dtype)
            a, b = (self.tensor(operand, inner) for operand in node.args)
            return self.typed(COMPARED[node.label], "compare", [a, b], inner)
        if node.name in ("select", "branch"):
            condition = self.tensor(node.args[0], attributes.BOOL)
            a, b = (self.tensor(operand, dtype) for operand in node.args[1:])
            return self.typed("SelectV2", "select", [condition, a, b], dtype)
        if node.name == "max" and self.kernel:
            kept, fresh = (self.tensor(operand, dtype) for operand in node.args)
            greater = self.typed("Greater", "greater", [fresh, kept], dtype)
            return self.typed("SelectV2", "maximum", [greater, fresh, kept], dtype)
        if node.name in WRITTEN:
            inputs = [self.tensor(operand, dtype) for operand in node.args]
            return self.typed(WRITTEN[node.name], node.name, inputs, dtype)
        return self._again(node, dtype)

    def _again(self, node: Op, dtype: int) -> str:
        """The same operation on something else: a cast, a reshape, rows taken."""
        origin = node.origin
        original = self.body.nodes.get(origin.node) if isinstance(origin, Origin) else None
        if original is None or node.name == "opaque" or len(node.args) != len(origin.operands):
            raise Unwritable(node)
        inputs = original.data_inputs()
        for place, operand in zip(origin.operands, node.args):
            wanted = dtype
            if node.name == "cast":
                wanted = attributes.read_dtype(original.attrs.get("SrcT"))
            elif node.name == "gather" and place == 1:
                continue  # the rows are the same
            if place < 0:
                raise Unwritable(node)
            inputs[place] = self.tensor(operand, wanted)
        kept = {key: value for key, value in original.attrs.items() if not key.startswith("_")}
        return self.add(original.op, node.name, inputs, kept)

    def published(self, quantity: str, ref: str, dtype: int, control: Tuple[str, ...] = ()) -> str:
        """The tensor under the name that users fetch it by."""
        return self.typed("Identity", quantity, [ref], dtype, control)


def controlled(refs: List[str]) -> Tuple[str, ...]:
    """Control inputs on the nodes of tensors, each once."""
    return tuple(dict.fromkeys("^" + ref.lstrip("^").partition(":")[0] for ref in refs))


def optional(emitter: Emitter, node: Optional[Expr], dtype: int) -> Optional[str]:
    return None if node is None else emitter.tensor(node, dtype)
