"""Calls of small functions in the place of which their nodes are read: an update may be computed in one.

The body that comes out is for reading. Its added nodes are in no graph; what needs them writes them anew.
"""

from __future__ import annotations

from typing import Dict, List, Mapping

from adampatch.graph import attributes
from adampatch.graph.catalog import FOLDED, OPERATIONS
from adampatch.graph.definition import Function
from adampatch.graph.nodes import Body, Node

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
#: what an update's formula has besides the operations of the algebra
_BESIDE = ("Const", "NoOp", "SquaredDifference", "Shape", "ReadVariableOp")
_LARGEST = 60


def inlined(body: Body, functions: Mapping[str, Function]) -> Body:
    """The body with the calls of functions that only compute replaced by their nodes; the body itself where
    there are none."""
    formulas = {name: f for name, f in functions.items() if name != body.function and _is_formula(f)}
    calls: Dict[str, Function] = {}
    for node in body.nodes.values() if formulas else ():
        if node.op in _CALLS or node.op in formulas:
            names = [node.op] if node.op in formulas else attributes.read_functions(node.attrs.get("f", b""))
            if len(names) == 1 and names[0] in formulas:
                calls[node.name] = formulas[names[0]]
    if not calls:
        return body
    results: Dict[str, str] = {}
    added: List[Node] = []
    for name, function in calls.items():
        node = body.nodes[name]
        inside = _Inside(body, name, function, node.data_inputs())
        added += inside.nodes
        for index, ref in enumerate(inside.returned):
            results[body.normal(body.output(name, "PartitionedCall", index))] = ref
    nodes = []
    for node in body.nodes.values():
        inputs = [results.get(body.normal(ref), ref) for ref in node.inputs]
        nodes.append(node if inputs == node.inputs else node.changed(inputs=inputs))
    shadow = Body(
        [*nodes, *(_resolved(node, results, body) for node in added)], body.function, body.arguments
    )
    shadow.shadows = frozenset(node.name for node in added)
    return shadow


def _resolved(node: Node, results: Mapping[str, str], body: Body) -> Node:
    """A node whose argument came from another call."""
    inputs = [results.get(body.normal(ref), ref) for ref in node.inputs]
    return node if inputs == node.inputs else node.changed(inputs=inputs)


def _is_formula(function: Function) -> bool:
    nodes = function.body.nodes
    if not 0 < len(nodes) <= _LARGEST:
        return False
    return all(n.op in OPERATIONS or n.op in FOLDED or n.op in _BESIDE for n in nodes.values())


class _Inside:
    """The nodes of one call, under names of their own. ``returned``: what its outputs are."""

    def __init__(self, body: Body, name: str, function: Function, inputs: List[str]) -> None:
        self.body, self.prefix, self.function = body, name + "/", function
        self.arguments = {
            a: inputs[place] for a, (place, _) in function.body.arguments.items() if place < len(inputs)
        }
        self.nodes = []
        for node in function.body.nodes.values():
            new = node.changed(inputs=[self._ref(ref) for ref in node.data_inputs()])
            new.name = self.prefix + node.name
            self.nodes.append(new)
        returned = function.returned()
        self.returned = [self._ref(returned[output]) for output in function.outputs() if output in returned]

    def _ref(self, ref: str) -> str:
        name = self.function.body.name_of(ref)
        if name in self.arguments:
            return self.arguments[name]
        if self.body.function:
            return self.prefix + ref
        port = self.function.body.port(ref)
        return f"{self.prefix}{name}:{port}" if port else self.prefix + name
