"""Which nodes of a graph make its updates, themselves or by the functions that they call, and which
variables are written after that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from adampatch.graph import attributes
from adampatch.graph.catalog import CALLS, FUSED, WRITES
from adampatch.graph.definition import Definition
from adampatch.graph.nodes import Body, Node
from adampatch.graph.rewriting import Found
from adampatch.graph.storage import Storage

if TYPE_CHECKING:
    from adampatch.verify.graph_subject import Update


class Carriers:
    """Of the bodies of a graph with these functions."""

    def __init__(self, functions: Mapping[str, Any], updates: list[Update]) -> None:
        self.functions = functions
        self._sites: dict[str, dict[str, set[int]]] = {}
        for i, update in enumerate(updates):
            of_body = self._sites.setdefault(update.body.function, {})
            of_body.setdefault(update.site.node.name, set()).add(i)
        self._reached: dict[str, set[int]] = {}

    def of(self, body: Body) -> dict[str, set[int]]:
        """{node of a body: numbers of the updates that it makes}."""
        found = {name: set(made) for name, made in self._sites.get(body.function, {}).items()}
        if not any(self._sites):  # all are in the graph itself
            return found
        for node in body.nodes.values():
            made: set[int] = set().union(*(self.within(name) for name in self._called(node)))
            if made:
                found.setdefault(node.name, set()).update(made)
        return found

    def within(self, name: str, above: tuple[str, ...] = ()) -> set[int]:
        """The updates that a function makes, those of the functions it calls among them."""
        if name in above or name not in self.functions:
            return set()
        if name not in self._reached:
            made = {i for numbers in self._sites.get(name, {}).values() for i in numbers}
            for node in self.functions[name].body.nodes.values():
                for inner in self._called(node):
                    made |= self.within(inner, (*above, name))
            self._reached[name] = made
        return self._reached[name]

    def _called(self, node: Node) -> Iterable[str]:
        if node.op in self.functions:
            return [node.op]
        if node.op not in CALLS:
            return []
        return [name for value in node.attrs.values() for name in attributes.read_functions(value)]


def followers(definition: Definition, found: Found, carriers: Carriers) -> frozenset[str]:
    """The variables that something writes, or may write, once an update is done: a moving average, say."""
    names: set[str] = set()
    functions = [f.body for f in definition.functions.values() if carriers.within(f.name)]
    for body in (definition.body, *functions):
        storage = found.storage if body is definition.body else Storage(body)
        for name in body.after(carriers.of(body)):
            for ref in _written(body.nodes[name]):
                variable = storage.variable(ref)
                if variable is None:
                    continue
                if body.function:
                    names |= found.paths(body.function, variable.path)
                else:
                    names.add(variable.path)
    return frozenset(names)


def shared(nodes: Iterable[Node], storage: Storage) -> frozenset[str]:
    """The variables that more than one of some operations writes, or may write: decay beside an update."""
    found = Counter(
        variable.path
        for node in nodes
        for variable in {storage.variable(ref) for ref in _written(node)}
        if variable is not None
    )
    return frozenset(path for path, writers in found.items() if writers > 1)


def _written(node: Node) -> list[str]:
    """The handles and references that a node writes, or gives to a function that may."""
    if node.op in WRITES:
        return node.inputs[:1]
    if node.op in FUSED:
        return node.inputs[: FUSED[node.op].inputs.index("beta1_power")]
    return node.data_inputs() if node.op in CALLS else []
