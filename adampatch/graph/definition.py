"""GraphDef and FunctionDef: bytes to bodies and back. What is not changed keeps its bytes."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from adampatch.graph import wire
from adampatch.graph.nodes import Body, Node
from adampatch.graph.wire import Malformed, Message

#: numbers of the fields of GraphDef
_NODE, _LIBRARY, _VERSION, _VERSIONS, _DEBUG = 1, 2, 3, 4, 5


class Function:
    """A FunctionDef: its ``body``, and its parts as they are written."""

    def __init__(self, data: bytes) -> None:
        self.raw: Optional[bytes] = data
        self.message = Message(data)
        signature = Message(self.message.one(1) or b"")
        self.name = signature.string(1)
        if not self.name:
            raise Malformed("a function without a name")
        arguments: Dict[str, Tuple[int, int]] = {}
        for place, raw in enumerate(signature.all(2)):
            argument = Message(raw)
            arguments[argument.string(1)] = (place, argument.integer(3))
        self.body = Body([Node.read(raw) for raw in self.message.all(3)], self.name, arguments)

    def outputs(self) -> List[str]:
        """The names of what it returns, in order."""
        signature = Message(self.message.one(1) or b"")
        return [Message(raw).string(1) for raw in signature.all(3)]

    def returned(self) -> Dict[str, str]:
        """{name of an output: the tensor in the body}."""
        pairs = wire.entries(self.message, 4)
        return {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in pairs}

    def changed(self) -> None:
        """To be called when the body or the message was changed."""
        self.raw = None

    def serialized(self) -> bytes:
        if self.raw is None:
            self.message.replace_all(3, [node.serialized() for node in self.body.nodes.values()])
            self.raw = self.message.serialized()
        return self.raw


class Definition:
    """A GraphDef: ``body`` and ``functions`` by name. Raises Malformed where the bytes are none."""

    def __init__(self, data: bytes) -> None:
        nodes: List[Node] = []
        self._rest: List[wire.Field] = []
        self.functions: Dict[str, Function] = {}
        self._library: Optional[Message] = None
        for number, kind, value in wire.fields(data):
            if number == _NODE and isinstance(value, bytes):
                nodes.append(Node.read(value))
            elif number == _LIBRARY and isinstance(value, bytes):
                self._library = Message(value)
                for raw in self._library.all(1):
                    function = Function(raw)
                    self.functions[function.name] = function
                self._rest.append((number, kind, value))
            elif number in (_VERSION, _VERSIONS, _DEBUG):
                self._rest.append((number, kind, value))
            else:
                raise Malformed(f"a field that no graph has ({number})")
        self.body = Body(nodes)

    def serialized(self) -> bytes:
        parts = [wire.field(_NODE, wire.BYTES, node.serialized()) for node in self.body.nodes.values()]
        for number, kind, value in self._rest:
            if number == _LIBRARY and self._library is not None:
                self._library.replace_all(1, [f.serialized() for f in self.functions.values()])
                value = self._library.serialized()
            parts.append(wire.field(number, kind, value))
        return b"".join(parts)
