"""What `verify GRAPH` runs of a graph: its updates, the operations that make them, and what these are fed.

Reads files by `adampatch.graph`; TensorFlow is not needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adampatch.errors import AdampatchError
from adampatch.graph import attributes, files
from adampatch.graph.catalog import VARIABLES, WRITES
from adampatch.graph.documents import SAVED_MODEL, SIGNATURE, Document, Graph, bound_variables
from adampatch.graph.flow import Flow
from adampatch.graph.gradient import is_load
from adampatch.graph.nodes import Body, Node
from adampatch.graph.rewriting import Found
from adampatch.graph.rules import Rules
from adampatch.graph.session import patched
from adampatch.graph.signatures import OUTPUT
from adampatch.graph.sites import Site
from adampatch.graph.storage import Storage
from adampatch.graph.wire import Message, entries
from adampatch.verify.formats import Array
from adampatch.verify.graph_carriers import Carriers, followers, shared

#: what is fed where a dimension is open
_OPEN = 4
_SUFFIXES = (".pb", ".pbtxt", ".meta", ".prototxt")
_NUMPY = {
    attributes.FLOAT: "float32",
    attributes.DOUBLE: "float64",
    attributes.HALF: "float16",
    attributes.BFLOAT16: "bfloat16",
    attributes.INT32: "int32",
    attributes.INT64: "int64",
    attributes.BOOL: "bool",
    4: "uint8",
    5: "int16",
    6: "int8",
}


def is_graph(path: str) -> bool:
    """Whether a path is that of a graph, and of no project."""
    given = Path(path)
    if given.is_dir():
        return any((given / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt"))
    return given.suffix in _SUFFIXES


@dataclass(frozen=True)
class Update:
    """One update as it is verified. ``variable``: the name of its variable's node, None where several take
    turns at it; ``paths``: what rules know it by."""

    site: Site
    body: Body
    variable: str | None
    paths: tuple[str, ...]
    dtype: str

    @property
    def name(self) -> str:
        place = f"{self.body.function}: " if self.body.function else ""
        return place + self.site.node.name


@dataclass
class Run:
    """Operations that are run together, the updates that they make, and the ``variables`` that they may
    touch, as the worker is told of them. ``followers``: variables that are written after an update, and may
    follow from it; ``shared``: those that more than one operation writes."""

    targets: list[str]
    updates: list[Update]
    variables: list[dict[str, Any]] = field(default_factory=list)
    followers: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()


@dataclass
class Subject:
    """A graph of a file. ``runs``; ``left_out``: what is not verified, and why."""

    source: files.Source
    data: bytes
    kind: str
    graph: Graph
    runs: list[Run] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)


def subjects(path: str) -> list[Subject]:
    """The graphs at a path that have updates of the Adam family. Raises AdampatchError."""
    source = files.located(path)
    document, data = files.read(source)
    found = []
    for graph in document.graphs:
        subject = Subject(source, data, document.kind, graph)
        _fill(subject)
        found.append(subject)
    return found


def _document(subject: Subject) -> Document:
    return files.parsed(subject.source, subject.data)


def _fill(subject: Subject) -> None:
    definition = subject.graph.definition
    found, by_node = Found(definition, bound_variables(subject.graph)), Found(definition)
    updates = []
    for (body, site), (_, other) in zip(found.sites, by_node.sites, strict=True):
        dtype = attributes.read_dtype(site.node.attrs.get("T") or site.node.attrs.get("dtype"))
        name = attributes.NAMES.get(dtype, "?")
        if site.status != "patchable":
            where = f"{body.function}: {site.node.name}" if body.function else site.node.name
            reason = site.reason or "it is patched already, and the graph before it is not there"
            subject.left_out.append({"what": where, "reason": reason})
            continue
        variable = other.paths[0] if len(other.paths) == 1 else None
        if variable not in definition.body.nodes:
            variable = None
        updates.append(Update(site, body, variable, tuple(site.paths), name))
    storage = found.storage
    subject.runs = _runs(definition.body, definition.functions, updates)
    following = followers(definition, by_node, Carriers(definition.functions, updates))
    for run in subject.runs:
        run.followers = following
        nodes = _before(definition.body, run.targets)
        run.shared = shared(nodes, by_node.storage)
        run.variables = [
            _variable(storage, node)
            for node in nodes
            if node.op in VARIABLES and attributes.read_dtype(node.attrs.get("dtype")) in _NUMPY
        ]


def _variable(storage: Storage, node: Node) -> dict[str, Any]:
    variable = storage.variable(node.name)
    assert variable is not None
    loads = [n for n in storage.writers.get(variable.key, []) if n.op in WRITES and is_load(storage.body, n)]
    first = next((n.name for n in loads if not _restores(storage.body, n)), None)
    dtype = attributes.read_dtype(node.attrs.get("dtype"))
    shape = _shape(node.attrs.get("shape"))
    known = shape is not None and all(size >= 0 for size in shape)
    return {
        "name": node.name,
        "resource": variable.resource,
        "dtype": _NUMPY[dtype],
        "initial": first,
        "start": f"start/{node.name}" if known else None,
        "shape": shape if known else None,
    }


def _restores(body: Body, node: Node) -> bool:
    """Whether a write takes its value out of a checkpoint, or from who runs the graph."""
    todo, seen = [node.inputs[WRITES[node.op].value]], set()
    while todo:
        at = body.producer(todo.pop())
        if at is None or at.name in seen:
            continue
        seen.add(at.name)
        if at.op.startswith("Restore") or at.op.startswith("Placeholder"):
            return True
        todo += at.data_inputs()
    return False


def _shape(value: bytes | None) -> list[int] | None:
    """The sizes of a shape, -1 of an open dimension; None of no known rank."""
    raw = Message(value or b"").one(7)
    if raw is None or Message(raw).integer(3):
        return None
    sizes = [Message(dim).integer(1) for dim in Message(raw).all(2)]
    return [size - (1 << 64) if size >= 1 << 63 else size for size in sizes]


# ------------------------------------------------------------------------ what is run


def _runs(body: Body, functions: Mapping[str, Any], updates: list[Update]) -> list[Run]:
    """The sets of updates that some operation makes all of, greatest first, with those operations."""
    carriers = Carriers(functions, updates).of(body)
    consumers, flow = body.consumers(), Flow(body)
    after = body.after(carriers) | set(carriers)
    ends = [n for n in body.nodes if n in after and not any(c in after for c in consumers.get(n, ()))]
    ends = [n for n in ends if not flow.context(n)] or ends
    ends.sort(key=lambda n: body.nodes[n].op != "NoOp")  # a train op gives the run its name
    by_set: dict[frozenset[int], list[str]] = {}
    for end in ends:
        made: set[int] = set()
        seen, todo = {end}, [end]
        while todo:
            name = todo.pop()
            made |= carriers.get(name, set())
            for ref in body.nodes[name].inputs:
                before = body.name_of(ref)
                if before in after and before not in seen:
                    seen.add(before)
                    todo.append(before)
        by_set.setdefault(frozenset(made), []).append(end)
    largest = [s for s in by_set if not any(s < other for other in by_set)]
    return [
        Run(by_set[s], [updates[i] for i in sorted(s)])
        for s in sorted(largest, key=lambda s: (-len(s), min(s)))
    ]


# ------------------------------------------------------------------------ what is fed


def feeds(subject: Subject, run: Run, steps: int, seed: int) -> tuple[dict[str, Any], str | None]:
    """({STEP/TENSOR: what it is fed}, why it cannot be fed) of what a run needs, and start values of
    variables that the graph gives none."""
    body = subject.graph.definition.body
    rng = np.random.default_rng([seed, len(body.nodes)])
    found: dict[str, Array] = {}
    for node in _before(body, run.targets):
        if node.op not in ("Placeholder", "PlaceholderV2"):
            continue
        dtype, shape = attributes.read_dtype(node.attrs.get("dtype")), _shape(node.attrs.get("shape"))
        name = _NUMPY.get(dtype)
        if name is None:
            return {}, f"nothing is known to feed to {node.name}, of type {dtype}"
        sizes = [_OPEN if size < 0 else size for size in shape or ()]
        for t in range(1, steps + 1):
            found[f"{t}/{node.name}:0"] = _values(rng, name, sizes)
    for variable in run.variables:
        if variable["start"] is not None:
            found[variable["start"]] = _start(rng, variable["dtype"], variable["shape"])
    return found, None


def _values(rng: np.random.Generator, dtype: str, sizes: list[int]) -> Array:
    if dtype == "bool":
        return np.ones(sizes, bool)
    if "int" in dtype:
        return rng.integers(0, 2, sizes).astype(dtype)  # a class, a row, a length: within whatever it is for
    values = rng.standard_normal(sizes)
    return values.astype("float32" if dtype == "bfloat16" else dtype)


def _start(rng: np.random.Generator, dtype: str, sizes: list[int]) -> Array:
    """Between 0 and 1: a weight, a moment, a learning rate and a power of a decay rate may be that."""
    if dtype == "bool" or "int" in dtype:
        return np.zeros(sizes, dtype)
    return rng.uniform(0.05, 0.95, sizes).astype("float32" if dtype == "bfloat16" else dtype)


def _before(body: Body, targets: Sequence[str]) -> list[Node]:
    """The nodes that run when some do, in the body's order."""
    seen = body.before(targets) | set(targets)
    return [node for name, node in body.nodes.items() if name in seen]


# ------------------------------------------------------------------------ patched


@dataclass
class Patched:
    """A patched form of a subject's graph. ``tensors``: {name of an update: {quantity: tensor to fetch}};
    ``refused``: {name of an update: why} of those that were left alone."""

    data: bytes
    tensors: dict[str, dict[str, str]]
    refused: dict[str, str]


def patch(subject: Subject, rules: Mapping[str, Any] | None) -> Patched:
    """The graph as `graph apply` makes it. Raises AdampatchError for rules that it cannot hold."""
    document = _document(subject)
    outputs = document.kind == SAVED_MODEL
    rows, _ = patched(document, None if rules is None else Rules(rules, "rules"), outputs)
    rows = [row for row in rows if row["graph"] == subject.graph.name]
    tensors: dict[str, dict[str, str]] = {}
    refused = {}
    after = next(graph for graph in document.graphs if graph.name == subject.graph.name)
    by_path = _outputs(after) if outputs else {}
    for row in rows:
        name = f"{row['function']}: {row['node']}" if row["function"] else row["node"]
        if row["status"] == "refused":
            refused[name] = row["reason"]
        elif row["tensors"]:
            tensors[name] = row["tensors"]
        elif row["function"] and row["variable"] in by_path and len(row["variables"]) == 1:
            tensors[name] = {"rate": by_path[row["variable"]]}
    text, document.text = document.text, False  # the worker reads what is binary
    data = document.serialized()
    document.text = text
    return Patched(data, tensors, refused)


def stock(subject: Subject) -> bytes:
    """The graph as it is, in binary form."""
    document = _document(subject)
    document.text = False
    return document.serialized()


def _outputs(graph: Graph) -> dict[str, str]:
    """{variable: the tensor that is its rate} of what the signatures of a patched SavedModel return."""
    found: dict[str, str] = {}
    alone: list[str] = []
    assert graph.meta is not None
    for _, raw in entries(graph.meta, SIGNATURE):
        for key, value in entries(Message(raw), 2):
            name = key.decode("utf-8", "replace")
            if name.startswith(OUTPUT + "/"):
                found[name[len(OUTPUT) + 1 :]] = Message(value).string(1)
            elif name == OUTPUT:
                alone.append(Message(value).string(1))
    return found


def exactly(paths: Iterable[str]) -> list[str]:
    """Patterns that match these paths and no other."""
    return [f"re:^{re.escape(path)}$" for path in paths]


def put(subject: Subject, data: bytes, folder: Path) -> Path:
    """Writes a form of the graph where a worker reads it; a SavedModel with its variables."""
    import shutil

    folder.mkdir(parents=True)
    if subject.source.kind != SAVED_MODEL:
        path = folder / "graph.pb"
        path.write_bytes(data)
        return path
    try:
        shutil.copytree(subject.source.path, folder, dirs_exist_ok=True)
    except OSError as error:
        raise AdampatchError(subject.source.path, f"cannot be copied ({error})") from error
    (folder / "fingerprint.pb").unlink(missing_ok=True)
    (folder / subject.source.file.name).write_bytes(data)
    return folder
