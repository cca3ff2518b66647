"""Variables of a body: which one a handle or a reference is, where it is written, where it is read."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Tuple

from adampatch.graph import attributes
from adampatch.graph.catalog import FUSED, HANDED_ON, READS, REFERENCES, VARIABLES, WRITES
from adampatch.graph.nodes import Body, Node


class Variable(NamedTuple):
    """``key``: equal for equal storage. ``path``: the name of the variable's node, or of the argument
    that its handle comes in by. ``resource``: by a handle, else by reference."""

    key: str
    path: str
    resource: bool


class Storage:
    """The variables of one body. ``writers``: {key: (node, how) in order}."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self._known: Dict[str, Optional[Variable]] = {}
        self.writers: Dict[str, List[Node]] = {}
        for node in body.nodes.values():
            if node.op in WRITES:
                targets = node.inputs[:1]
            elif node.op in FUSED:
                states = FUSED[node.op].inputs
                targets = node.inputs[: states.index("beta1_power")]
            else:
                continue
            for ref in targets:
                variable = self.variable(ref)
                if variable is not None:
                    self.writers.setdefault(variable.key, []).append(node)

    def variable(self, ref: str) -> Optional[Variable]:
        """The variable that a handle or reference stands for; None where it is none, or not to be told."""
        ref = self.body.normal(ref)
        if ref not in self._known:
            self._known[ref] = self._follow(ref)
        return self._known[ref]

    def _follow(self, ref: str) -> Optional[Variable]:
        for _ in range(64):
            name = self.body.name_of(ref)
            node = self.body.nodes.get(name)
            if node is None:
                if name not in self.body.arguments:
                    return None
                dtype = self.body.arguments[name][1]
                return Variable(name, name, True) if dtype == attributes.RESOURCE else None
            if node.op in VARIABLES:
                shared = attributes.read_string(node.attrs.get("shared_name"))
                return Variable(shared or name, name, node.op == "VarHandleOp")
            if node.op == "Placeholder":
                dtype = attributes.read_dtype(node.attrs.get("dtype"))
                return Variable(name, name, True) if dtype == attributes.RESOURCE else None
            if node.op not in HANDED_ON:
                return None
            index = self.body.port(ref) if node.op == "IdentityN" else 0
            inputs = node.data_inputs()
            if index >= len(inputs):
                return None
            ref = inputs[index]
        return None

    def is_reference(self, ref: str) -> bool:
        """Whether a tensor is a reference to a variable, which reads what it holds by then."""
        node = self.body.producer(ref)
        if node is None:
            return False
        if node.op in REFERENCES or (node.op in WRITES and not WRITES[node.op].resource):
            return True
        if node.op in FUSED and not FUSED[node.op].resource:
            return True
        return node.op in ("Enter", "Switch", "Identity") and (
            attributes.read_dtype(node.attrs.get("T")) != 0 and _raw_dtype(node) > attributes.REFERENCE
        )

    def read(self, ref: str) -> Optional[Tuple[Variable, Node]]:
        """(the variable, the reading node) where a tensor is the value of a variable, as it was at
        some time; None for any other tensor."""
        node = self.body.producer(ref)
        if node is None:
            return None
        if node.op in READS:
            variable = self.variable(node.inputs[0])
            return None if variable is None else (variable, node)
        if self.is_reference(ref):
            variable = self.variable(ref)
            return None if variable is None or variable.resource else (variable, node)
        if node.op in ("Identity", "Enter") and node.inputs and self.is_reference(node.inputs[0]):
            variable = self.variable(node.inputs[0])
            return None if variable is None or variable.resource else (variable, node)
        return None


def _raw_dtype(node: Node) -> int:
    from adampatch.graph.wire import Message

    return Message(node.attrs.get("T") or b"").integer(6)
