"""Graph files as bytes: GraphDef, MetaGraphDef and SavedModel, binary or text; read, changed, written.

Pure: bytes in, bytes out. Which file is which is `files.py`'s matter.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from adampatch.errors import AdampatchError
from adampatch.graph import textformat, wire
from adampatch.graph.definition import Definition
from adampatch.graph.wire import Malformed, Message, entries, entry

#: numbers of the fields of MetaGraphDef
GRAPH, COLLECTION, SIGNATURE, OBJECTS = 2, 4, 5, 7
GRAPHDEF, METAGRAPH, SAVED_MODEL = "GraphDef", "MetaGraphDef", "SavedModel"
#: what protocol buffers can hold: nobody can read a longer message
LARGEST = (1 << 31) - 1


class Graph:
    """One graph of a document: ``definition``, and the ``meta`` graph around it, if any. ``name``: its
    tags, "" where it is alone."""

    def __init__(self, definition: Definition, meta: Optional[Message], name: str) -> None:
        self.definition, self.meta, self.name = definition, meta, name
        #: how many nodes it had when it was read
        self.nodes = len(definition.body.nodes)

    def add_to_collection(self, key: str, tensors: List[str]) -> None:
        """Adds tensors, written `node:0`, to a collection of the meta graph."""
        assert self.meta is not None
        collections = entries(self.meta, COLLECTION)
        held: List[bytes] = []
        for name, value in collections:
            if name == key.encode():
                held = Message(Message(value).one(1) or b"").all(1)
        merged = held + [t.encode() for t in tensors if t.encode() not in held]
        value = wire.message(1, *[wire.field(1, wire.BYTES, each) for each in merged])
        kept = [entry(name, old) for name, old in collections if name != key.encode()]
        self.meta.replace_all(COLLECTION, [*kept, entry(key, value)])

    def serialized(self) -> bytes:
        data = self.definition.serialized()
        if self.meta is None:
            return data
        self.meta.put(GRAPH, data)
        return self.meta.serialized()


class Document:
    """A file's graphs. ``kind``: GraphDef, MetaGraphDef or SavedModel; ``text``: whether in text form."""

    def __init__(self, kind: str, data: bytes, text: bool, where: str) -> None:
        """Raises AdampatchError where ``data`` is not what it should be; ``where`` names it."""
        self.kind, self.text, self.where = kind, text, where
        self.around: Optional[Message] = None
        try:
            if text:
                data = textformat.parse(data, kind)
            self.graphs = self._read(data)
        except textformat.NoText as error:
            place = f"{where}:{error.line}"
            raise AdampatchError(place, f"is no {kind} in text form: {error.words}") from error
        except Malformed as error:
            raise AdampatchError(
                where,
                f"is no {kind}, or is damaged: {error}; give a file as TensorFlow wrote it",
            ) from error
        except RecursionError as error:
            raise AdampatchError(where, f"is nested too deeply to be a {kind}") from error

    def _read(self, data: bytes) -> List[Graph]:
        if self.kind == GRAPHDEF:
            graphs = [Graph(Definition(data), None, "")]
        elif self.kind == METAGRAPH:
            graphs = [_meta_graph(data)]
        else:
            self.around = Message(data)
            if any(number not in (1, 2) for number, _, _ in self.around.fields):
                raise Malformed("a field that no SavedModel has")
            graphs = [_meta_graph(raw) for raw in self.around.all(2)]
        if not graphs or not any(graph.definition.body.nodes for graph in graphs):
            raise Malformed("it holds no nodes")
        return graphs

    def serialized(self) -> bytes:
        """Raises AdampatchError where the result is larger than anybody can read."""
        if self.around is not None:
            self.around.replace_all(2, [graph.serialized() for graph in self.graphs])
            data = self.around.serialized()
        else:
            data = self.graphs[0].serialized()
        if len(data) > LARGEST:
            raise AdampatchError(
                self.where,
                "would be over 2 GiB when patched, more than TensorFlow reads; keep constants outside",
            )
        if not self.text:
            return data
        try:
            return textformat.printed(data, self.kind).encode("ascii")
        except textformat.NoText as error:
            raise AdampatchError(self.where, error.words + "; save it in binary form") from error


def _meta_graph(data: bytes) -> Graph:
    meta = Message(data)
    if any(number > 7 for number, _, _ in meta.fields):
        raise Malformed("a field that no meta graph has")
    graph = meta.one(GRAPH)
    if graph is None:
        raise Malformed("a meta graph without a graph")
    info = Message(meta.one(1) or b"")
    tags = ",".join(tag.decode("utf-8", "replace") for tag in info.all(4))
    return Graph(Definition(graph), meta, tags)


def bound_variables(graph: Graph) -> Dict[str, List[str]]:
    """{function: names of the variables that its last arguments are} as the objects of a SavedModel say;
    "" for what is no variable."""
    objects = Message((graph.meta.one(OBJECTS) if graph.meta is not None else None) or b"")
    names: List[str] = []
    for raw in objects.all(1):
        variable = Message(raw).one(7)
        names.append(Message(variable).string(6) if variable is not None else "")
    found: Dict[str, List[str]] = {}
    for key, value in entries(objects, 2):
        bound = Message(value).integers(2)
        if bound:
            found[key.decode("utf-8", "replace")] = [names[i] if 0 <= i < len(names) else "" for i in bound]
    return found


def collection_tensors(edits: List[Tuple[str, str]]) -> Dict[str, List[str]]:
    """{quantity: tensors} of (quantity, tensor)."""
    found: Dict[str, List[str]] = {}
    for quantity, tensor in edits:
        found.setdefault(quantity, []).append(tensor + ":0")
    return found
