"""Extra outputs of a SavedModel's signatures: the rates of the updates that a call of it makes.

A function that users call as an attribute keeps what it returns. A signature is given a copy of it that
returns the rates as well; the copies are called by nothing else.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from adampatch.graph import attributes, wire
from adampatch.graph.definition import Definition, Function
from adampatch.graph.documents import OBJECTS, SIGNATURE, Graph
from adampatch.graph.nodes import Body, Node
from adampatch.graph.patching import Edit
from adampatch.graph.wire import Message, entries, entry

OUTPUT = "adampatch_rate"
_CALLS = ("StatefulPartitionedCall", "PartitionedCall")
_UNKNOWN = wire.number(3, 1)  # a shape of no known rank


class Rate(NamedTuple):
    """A rate that can be had: ``ref`` names it where it is had, ``dtype`` is DataType's number."""

    path: str
    ref: str
    dtype: int


def add_outputs(graph: Graph, made: List[Edit]) -> List[str]:
    """Gives the signatures of a graph, as they are called, the rates of the updates that they make.
    Returns the names of the signatures that were changed."""
    assert graph.meta is not None
    body = graph.definition.body
    exposing = _Exposing(graph.definition, made)
    changed, signatures = [], []
    for key, raw in entries(graph.meta, SIGNATURE):
        signature = Message(raw)
        outputs = [(name, Message(value)) for name, value in entries(signature, 2)]
        producers = {body.name_of(info.string(1)) for _, info in outputs}
        calls = [body.nodes[name] for name in sorted(producers) if name in body.nodes]
        call = calls[0] if len(calls) == 1 and calls[0].op in _CALLS else None
        if call is not None:
            done = _of_call(graph, call, outputs, exposing)
        else:
            done = _of_nodes(body, outputs, producers, made)
        if done:
            signature.replace_all(2, [entry(name, info.serialized()) for name, info in outputs])
            changed.append(key.decode("utf-8", "replace"))
        signatures.append(entry(key, signature.serialized()))
    graph.meta.replace_all(SIGNATURE, signatures)
    return changed


def _of_nodes(
    body: Body, outputs: List[Tuple[bytes, Message]], producers: Set[str], made: List[Edit]
) -> bool:
    """Outputs of a signature over the graph's own nodes: of the updates that it makes anyway."""
    before = producers | body.before(producers)
    rates = [
        Rate(each.site.paths[0], each.tensors["rate"], each.dtype)
        for each in made
        if each.site.fetchable and each.site.node.name in before
    ]
    named = _named(body, rates, Node("adampatch", "NoOp", [], {}))
    for name, rate in named:
        outputs.append((name.encode(), Message(_tensor_info(rate.ref + ":0", rate.dtype))))
    return bool(named)


def _of_call(graph: Graph, call: Node, outputs: List[Tuple[bytes, Message]], exposing: _Exposing) -> bool:
    """Outputs of a signature that calls a function: the function, and what calls it, give more."""
    definition = graph.definition
    wrapper = definition.functions.get(_called(call) or "")
    if wrapper is None:
        return False
    rates = exposing.within(wrapper)
    if not rates:
        return False
    like = next(iter(wrapper.body.nodes.values()))
    named = _named(wrapper.body, rates, Node("adampatch", "NoOp", [], {}, like.device))
    wrapper.changed()
    old = sorted(name.decode("utf-8", "replace") for name, _ in outputs)
    new = sorted([*old, *(name for name, _ in named)])
    by_name = dict(named)
    places = {place: new.index(name) for place, name in enumerate(old)}
    _extend_function(wrapper, [by_name.get(name) for name in new])
    for body in (definition.body, *(f.body for f in definition.functions.values())):
        for node in [n for n in body.nodes.values() if n.op in _CALLS and _called(n) == wrapper.name]:
            body.nodes[node.name] = _extend_call(node, [by_name.get(name) for name in new])
            _renumber(body, node.name, places)
            if body.function:
                definition.functions[body.function].changed()
    for _, info in outputs:
        name, _, index = info.string(1).partition(":")
        info.put(1, f"{name}:{places[int(index or 0)]}".encode())
    for name, rate in named:
        outputs.append((name.encode(), Message(_tensor_info(f"{call.name}:{new.index(name)}", rate.dtype))))
    _extend_structure(graph, wrapper.name, named)
    return True


def _named(body: Body, rates: List[Rate], like: Node) -> List[Tuple[str, Rate]]:
    """(name of an output, what it is): of several variables each, and all of them end to end."""
    if len(rates) < 2:
        return [(OUTPUT, rate) for rate in rates]
    dtype = rates[0].dtype
    flat = _add(
        body, "Const", "flat", [], {"dtype": attributes.dtype(3), "value": attributes.vector([-1])}, like
    )
    axis = _add(
        body, "Const", "axis", [], {"dtype": attributes.dtype(3), "value": attributes.scalar(0, 3)}, like
    )
    parts = []
    for rate in rates:
        ref = rate.ref
        if rate.dtype != dtype:
            types = {"SrcT": attributes.dtype(rate.dtype), "DstT": attributes.dtype(dtype)}
            ref = _add(body, "Cast", "cast", [ref], types, like)
        types = {"T": attributes.dtype(dtype), "Tshape": attributes.dtype(3)}
        parts.append(_add(body, "Reshape", "reshape", [ref, flat], types, like))
    attrs = {"T": attributes.dtype(dtype), "N": attributes.integer(len(parts)), "Tidx": attributes.dtype(3)}
    whole = _add(body, "ConcatV2", "concat", [*parts, axis], attrs, like)
    named = [(OUTPUT, Rate("", whole, dtype))]
    for rate in rates:
        name, count = f"{OUTPUT}/{rate.path}", 1
        while name in dict(named):
            count += 1
            name = f"{OUTPUT}/{rate.path}#{count}"
        named.append((name, rate))
    return named


def _add(body: Body, op: str, hint: str, inputs: List[str], attrs: Dict[str, bytes], like: Node) -> str:
    name, count = "adampatch/" + hint, 0
    while name in body.nodes:
        count += 1
        name = f"adampatch/{hint}_{count}"
    body.nodes[name] = Node(name, op, inputs, attrs, like.device)
    return body.output(name, op)


class _Exposing:
    """Functions that give the rates of what they do: copies, made once each."""

    def __init__(self, definition: Definition, made: List[Edit]) -> None:
        self.definition = definition
        self.made: Dict[str, List[Edit]] = {}
        of_function = {id(n): f.name for f in definition.functions.values() for n in f.body.nodes.values()}
        for each in made:
            function = of_function.get(id(each.added[0]), "")
            if function:
                self.made.setdefault(function, []).append(each)
        self._copies: Dict[str, Optional[Tuple[Function, List[Rate]]]] = {}

    def within(self, function: Function) -> List[Rate]:
        """The rates that a function's body can name, once the calls in it are of copies."""
        rates = [
            Rate(each.site.paths[0], each.tensors["rate"], each.dtype)
            for each in self.made.get(function.name, [])
        ]
        for node in list(function.body.nodes.values()):
            name = _called(node) if node.op in _CALLS else None
            copy = self._copy(name) if name is not None else None
            if copy is None:
                continue
            inner, given = copy
            extra = [Rate(rate.path, "", rate.dtype) for rate in given]
            before = len(attributes.read_types(node.attrs.get("Tout")))
            changed = _extend_call(node, [*[None] * before, *extra])
            attrs = {**changed.attrs, "f": _function_attribute(changed.attrs["f"], inner.name)}
            function.body.nodes[node.name] = changed.changed(attrs=attrs)
            for place, rate in enumerate(given):
                rates.append(
                    rate._replace(ref=function.body.output(node.name, "PartitionedCall", before + place))
                )
        return rates

    def _copy(self, name: str) -> Optional[Tuple[Function, List[Rate]]]:
        if name not in self._copies:
            self._copies[name] = None  # a function that calls itself gives nothing
            original = self.definition.functions.get(name)
            if original is not None and self._has_rates(name, set()):
                copy = Function(original.serialized())
                rates = self.within(copy)
                copy.name = name + "_adampatch"
                signature = Message(copy.message.one(1) or b"")
                signature.put(1, copy.name.encode())
                copy.message.put(1, signature.serialized())
                before = len(signature.all(3))
                _extend_function(copy, [*[None] * before, *rates])
                copy.body.function = copy.name
                self.definition.functions[copy.name] = copy
                self._copies[name] = (copy, rates)
        return self._copies[name]

    def _has_rates(self, name: str, seen: Set[str]) -> bool:
        if name in seen or name not in self.definition.functions:
            return False
        seen.add(name)
        if name in self.made:
            return True
        nodes = self.definition.functions[name].body.nodes.values()
        called = [_called(node) for node in nodes if node.op in _CALLS]
        return any(self._has_rates(inner, seen) for inner in called if inner is not None)


def _called(node: Node) -> Optional[str]:
    names = attributes.read_functions(node.attrs["f"]) if "f" in node.attrs else []
    return names[0] if len(names) == 1 else None


def _function_attribute(value: bytes, name: str) -> bytes:
    held = Message(value)
    function = Message(held.one(10) or b"")
    function.put(1, name.encode())
    held.put(10, function.serialized())
    return held.serialized()


def _extend_call(node: Node, outputs: List[Optional[Rate]]) -> Node:
    """A call with more outputs: where a Rate stands one is new, the others come in their order."""
    types = iter(attributes.read_types(node.attrs.get("Tout")))
    attrs = {**node.attrs}
    attrs["Tout"] = attributes.types([next(types) if new is None else new.dtype for new in outputs])
    if "_output_shapes" in attrs:
        shapes = iter(Message(Message(attrs["_output_shapes"]).one(1) or b"").all(7))
        known = [next(shapes, _UNKNOWN) if new is None else _UNKNOWN for new in outputs]
        attrs["_output_shapes"] = wire.message(1, *[wire.field(7, wire.BYTES, shape) for shape in known])
    return node.changed(attrs=attrs)


def _extend_function(function: Function, outputs: List[Optional[Rate]]) -> None:
    """The same of what a function returns."""
    signature = Message(function.message.one(1) or b"")
    old = iter(signature.all(3))
    arguments: List[bytes] = []
    returned = list(entries(function.message, 4))
    taken = {Message(raw).string(1) for raw in signature.all(3)}
    for new in outputs:
        if new is None:
            arguments.append(next(old))
            continue
        name, count = OUTPUT, 0
        while name in taken:
            count += 1
            name = f"{OUTPUT}_{count}"
        taken.add(name)
        arguments.append(wire.text(1, name) + wire.number(3, new.dtype))
        returned.append((name.encode(), new.ref.encode()))
    signature.replace_all(3, arguments)
    function.message.put(1, signature.serialized())
    function.message.replace_all(4, [entry(key, value) for key, value in returned])
    function.changed()


def _renumber(body: Body, name: str, places: Dict[int, int]) -> None:
    """The consumers of a call whose outputs moved."""
    for node in list(body.nodes.values()):
        inputs = list(node.inputs)
        for at, ref in enumerate(inputs):
            if not ref.startswith("^") and body.name_of(ref) == name:
                inputs[at] = body.output(name, "PartitionedCall", places[body.port(ref)])
        if inputs != node.inputs:
            body.nodes[node.name] = node.changed(inputs=inputs)


def _tensor_info(tensor: str, dtype: int) -> bytes:
    return wire.text(1, tensor) + wire.number(2, dtype) + wire.message(3, _UNKNOWN)


def _extend_structure(graph: Graph, function: str, named: List[Tuple[str, Rate]]) -> None:
    """What the objects of a SavedModel say of a signature's outputs: a dictionary of specs."""
    assert graph.meta is not None
    raw = graph.meta.one(OBJECTS)
    if raw is None:
        return
    objects = Message(raw)
    functions = []
    for key, value in entries(objects, 2):
        if key == function.encode():
            concrete = Message(value)
            structure = Message(concrete.one(4) or b"")
            dictionary = Message(structure.one(53) or b"")
            for name, rate in named:
                spec = wire.text(1, name) + wire.message(2, _UNKNOWN) + wire.number(3, rate.dtype)
                dictionary.add(1, entry(name, wire.message(33, spec)))
            structure.put(53, dictionary.serialized())
            concrete.put(4, structure.serialized())
            value = concrete.serialized()
        functions.append(entry(key, value))
    objects.replace_all(2, functions)
    graph.meta.put(OBJECTS, objects.serialized())
