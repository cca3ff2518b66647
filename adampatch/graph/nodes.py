"""Nodes and the bodies that hold them: a graph, or a function of its library.

The two write their inputs differently: `node:1` and `^node` in a graph, `node:out:0` and the bare
names of arguments in a function. Nothing else in the package knows that.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, List, Mapping, Optional, Set, Tuple

from adampatch.graph import wire
from adampatch.graph.catalog import CALL_OUTPUT, out_argument
from adampatch.graph.wire import Malformed, Message

#: numbers of the fields of NodeDef
NAME, OP, INPUT, DEVICE, ATTR = 1, 2, 3, 4, 5


class Node:
    """One NodeDef. ``raw``: its bytes as they were read, None once it was made or changed."""

    __slots__ = ("_attrs", "_entries", "_others", "device", "inputs", "name", "op", "raw")

    def __init__(
        self,
        name: str,
        op: str,
        inputs: List[str],
        attrs: Mapping[str, bytes],
        device: str = "",
    ) -> None:
        self.name, self.op, self.inputs, self.device = name, op, inputs, device
        self._attrs: Optional[Dict[str, bytes]] = dict(attrs)
        self._entries: List[bytes] = []
        self._others: List[wire.Field] = []
        self.raw: Optional[bytes] = None

    @classmethod
    def read(cls, data: bytes) -> Node:
        """Raises Malformed."""
        node = cls.__new__(cls)
        node.name = node.op = node.device = ""
        node.inputs, node._entries, node._others = [], [], []
        node._attrs, node.raw = None, data
        for number, kind, value in wire.fields(data):
            if kind != wire.BYTES or number > ATTR:
                node._others.append((number, kind, value))
            elif number == ATTR:
                node._entries.append(value)  # type: ignore[arg-type]
            else:
                try:
                    said = value.decode("utf-8")  # type: ignore[union-attr]
                except UnicodeDecodeError:
                    raise Malformed("a node's name is no text") from None
                if number == INPUT:
                    node.inputs.append(said)
                elif number == NAME:
                    node.name = said
                elif number == OP:
                    node.op = said
                else:
                    node.device = said
        if not node.name or not node.op:
            raise Malformed("a node without a name or an operation")
        return node

    @property
    def attrs(self) -> Dict[str, bytes]:
        """{name: AttrValue as bytes}; not to be changed."""
        if self._attrs is None:
            found = {}
            for raw in self._entries:
                entry = Message(raw)
                found[entry.string(1)] = entry.one(2) or b""
            self._attrs = found
        return self._attrs

    def changed(
        self,
        op: Optional[str] = None,
        inputs: Optional[List[str]] = None,
        attrs: Optional[Mapping[str, bytes]] = None,
    ) -> Node:
        """The node with something else in it; what no one knows (debug information) is kept."""
        new = Node(
            self.name,
            self.op if op is None else op,
            self.inputs if inputs is None else inputs,
            self.attrs if attrs is None else attrs,
            self.device,
        )
        new._others = [f for f in self._others if op is None or f[0] == 6]
        return new

    def serialized(self) -> bytes:
        if self.raw is not None:
            return self.raw
        parts = [wire.text(NAME, self.name), wire.text(OP, self.op)]
        parts += [wire.text(INPUT, name) for name in self.inputs]
        if self.device:
            parts.append(wire.text(DEVICE, self.device))
        parts += [wire.message(ATTR, wire.entry(key, value)) for key, value in sorted(self.attrs.items())]
        parts += [wire.field(*other) for other in self._others]
        return b"".join(parts)

    def data_inputs(self) -> List[str]:
        return [name for name in self.inputs if not name.startswith("^")]

    def control_inputs(self) -> List[str]:
        return [name for name in self.inputs if name.startswith("^")]


class Body:
    """The nodes of a graph (``function`` is "") or of a function, by name and in order.

    ``arguments``: {name: (position, dtype as DataType's number)} of a function.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        function: str = "",
        arguments: Optional[Dict[str, Tuple[int, int]]] = None,
    ) -> None:
        self.function = function
        self.arguments = arguments or {}
        self.nodes: Dict[str, Node] = {}
        for node in nodes:
            if node.name in self.nodes:
                raise Malformed(f"two nodes are called {node.name!r}")
            self.nodes[node.name] = node
        #: names of nodes that are there for reading only
        self.shadows: FrozenSet[str] = frozenset()
        self._consumers: Optional[Dict[str, List[str]]] = None

    def normal(self, ref: str) -> str:
        """One spelling for one tensor."""
        return ref[:-2] if not self.function and ref.endswith(":0") else ref

    def producer(self, ref: str) -> Optional[Node]:
        """The node that a tensor or control input comes from; None for an argument."""
        return self.nodes.get(self.name_of(ref))

    def name_of(self, ref: str) -> str:
        """The name of the node or argument that an input comes from."""
        return ref.lstrip("^").partition(":")[0]

    def port(self, ref: str) -> int:
        """Which output of its node a tensor is, of operations whose outputs have one name."""
        tail = ref.rpartition(":")[2]
        return int(tail) if ":" in ref and tail.isdigit() else 0

    def output(self, name: str, op: str, index: int = 0) -> str:
        """How the output of a node is written as an input."""
        if self.function:
            return "{}:{}:{}".format(
                name, CALL_OUTPUT if op in ("PartitionedCall",) else out_argument(op), index
            )
        return f"{name}:{index}" if index else name

    def consumers(self) -> Dict[str, List[str]]:
        """{name: names of the nodes that it feeds, by data or control}."""
        if self._consumers is None:
            found: Dict[str, List[str]] = {}
            for node in self.nodes.values():
                for ref in node.inputs:
                    found.setdefault(self.name_of(ref), []).append(node.name)
            self._consumers = found
        return self._consumers

    def before(self, names: Iterable[str]) -> Set[str]:
        """What nodes are made of or wait for, at any distance; themselves only where they go in a circle."""
        found: Set[str] = set()
        todo = list(names)
        while todo:
            node = self.nodes.get(todo.pop())
            for ref in node.inputs if node is not None else ():
                name = self.name_of(ref)
                if name not in found:
                    found.add(name)
                    todo.append(name)
        return found

    def after(self, names: Iterable[str]) -> Set[str]:
        """The nodes that follow from others or wait for them, as in `before`."""
        consumers = self.consumers()
        found: Set[str] = set()
        todo = list(names)
        while todo:
            for consumer in consumers.get(todo.pop(), ()):
                if consumer not in found:
                    found.add(consumer)
                    todo.append(consumer)
        return found
