"""A live tf.Graph, patched before its session starts. Touches TensorFlow.

Nodes cannot be taken out of a live graph, nor exchanged. So the fused kernel stays, under its name and
with all that depends on it, and works on storage of ours that holds nothing: the update itself comes
before it, by control edges. An open-coded update's last write is simply given another input.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from adampatch.errors import AdampatchError
from adampatch.graph import attributes
from adampatch.graph.catalog import FUSED
from adampatch.graph.definition import Definition
from adampatch.graph.nodes import Body, Node
from adampatch.graph.patching import Edit
from adampatch.graph.rewriting import Found, carry_out
from adampatch.graph.rules import Rules
from adampatch.graph.session import row_of
from adampatch.graph.sites import MARK, PUBLISHED
from adampatch.graph.wire import Malformed
from adampatch.runtime import graph_tensors, settings
from adampatch.runtime.lazy import tf


def patch(graph: Any, rules: Any = None) -> List[Dict[str, Any]]:
    """Patches the Adam-family updates of a live graph, before a session runs it.

    Args:
        graph: a tf.Graph.
        rules: as for `adampatch.patched`: a rules file, a preset, loaded rules or their normal form.

    Returns one row per update, as `adampatch graph apply --format json` has them: node, variable, rate,
    status, and the names of the tensors to fetch. `adampatch.v1.tensors(graph)` has the tensors
    themselves, and the collections `adampatch/rate`, ... .

    What cannot be proved is refused, in its row, and left as it is. Raises AdampatchError for rules that
    graphs cannot hold and for a graph that is no tf.Graph or is in use by a session.
    """
    if not hasattr(graph, "as_graph_def") or not hasattr(graph, "create_op"):
        raise AdampatchError(None, f"adampatch.graph.patch: {type(graph).__name__!r} is no tf.Graph")
    if getattr(graph, "_finalized", False) or getattr(graph, "finalized", False):
        raise AdampatchError(
            None, "adampatch.graph.patch: the graph is finalized; patch it before the session is made"
        )
    bounds: Optional[Rules] = None
    if rules is not None:
        form, source = settings.load_rules(rules)
        bounds = Rules(form, source)
    try:
        definition = Definition(graph.as_graph_def().SerializeToString())
    except Malformed as error:
        raise AdampatchError(None, f"adampatch.graph.patch: the graph is not read: {error}") from error
    found = Found(definition)
    for _, site in found.sites:
        if site.status == "patchable" and not site.fetchable:
            site.refuse("AP240", "the update is in a branch, a loop or a function of a live graph")
    writer = _Writer(graph)
    rows: Dict[int, Any] = {}
    for body, made in found.edits(bounds):
        writer.write(body, made)
        carry_out(body, made)
        rows[id(made.site)] = made
    return [row_of("", body, site, rows.get(id(site))) for body, site in found.sites]


class _Writer:
    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def write(self, body: Body, made: Edit) -> None:
        """Carries one edit out in the live graph."""
        graph = self.graph
        with graph.as_default(), graph.name_scope(None), tf.control_dependencies(None):
            for node in _in_order(made.added, made.changed):
                if node.name in body.nodes:
                    self._change(body, node, made)
                else:
                    self._create(node)
        self._register(made)

    def _tensor(self, ref: str) -> Any:
        name, _, index = ref.partition(":")
        return self.graph.get_operation_by_name(name).outputs[int(index or 0)]

    def _create(self, node: Node) -> Any:
        graph = self.graph
        before = [graph.get_operation_by_name(ref[1:]) for ref in node.control_inputs()]
        inputs = [self._tensor(ref) for ref in node.data_inputs()]
        attrs = {}
        for key, value in node.attrs.items():
            attrs[key] = tf.compat.v1.AttrValue.FromString(value)
        with tf.control_dependencies(before), tf.compat.v1.device(node.device or None):
            # A name that ends so is taken as it is.
            return graph.create_op(node.op, inputs, name=node.name + "/", attrs=attrs)

    def _change(self, body: Body, node: Node, made: Edit) -> None:
        """Gives an operation that is there its new inputs."""
        op = self.graph.get_operation_by_name(node.name)
        old = body.nodes[node.name]
        if node.op != old.op:
            op = self._disarmed(old, made)
        else:
            for place, (before, after) in enumerate(zip(old.data_inputs(), node.data_inputs())):
                if before != after:
                    op._update_input(place, self._tensor(after))
        known = set(old.control_inputs())
        self._after(op, [ref for ref in node.control_inputs() if ref not in known])

    def _after(self, op: Any, refs: List[str]) -> None:
        new = [self.graph.get_operation_by_name(ref[1:]) for ref in refs]
        if new:
            op._add_control_inputs(new)

    def _disarmed(self, old: Node, made: Edit) -> Any:
        """The kernel, made to do nothing: the write of the variable is done before it."""
        changed = made.changed[0]
        kept = [ref for ref in changed.inputs if ref.startswith("^")]
        name = old.name + MARK + "write"
        write = Node(name, changed.op, [*changed.data_inputs(), *kept], changed.attrs, changed.device)
        self._create(write)
        op = self.graph.get_operation_by_name(old.name)
        fused = FUSED[old.op]
        states = fused.inputs[: fused.inputs.index("beta1_power")]
        storage, nothing, ready = self._nothing(old, fused.resource)
        for place in range(len(states)):
            op._update_input(place, storage)
        op._update_input(fused.inputs.index("grad"), nothing)
        written = self.graph.get_operation_by_name(name)
        op._add_control_inputs([written, ready])
        if not fused.resource:  # what takes the reference is to see the variable
            for consumer in list(op.outputs[0].consumers()):
                for place, tensor in enumerate(list(consumer.inputs)):
                    if tensor is op.outputs[0]:
                        consumer._update_input(place, written.outputs[0])
        return op

    def _nothing(self, old: Node, resource: bool) -> Any:
        """(storage without elements, gradient for it, op that makes it), placed as a kernel is."""
        kind = tf.as_dtype(attributes.read_dtype(old.attrs.get("T")))
        name = old.name + MARK + "nothing"
        shapeless = tf.TensorShape(None)  # what takes it believes it has the variable's shape
        with tf.compat.v1.device(old.device or None):
            empty = tf.compat.v1.placeholder_with_default(
                tf.zeros([0], kind), shapeless, name=name + "/empty"
            )
            if resource:
                storage = tf.raw_ops.VarHandleOp(dtype=kind, shape=shapeless, shared_name=name, name=name)
                return storage, empty, tf.raw_ops.AssignVariableOp(resource=storage, value=empty)
            storage = tf.raw_ops.VariableV2(shape=shapeless, dtype=kind, shared_name=name, name=name)
            made = tf.raw_ops.Assign(ref=storage, value=empty, validate_shape=False)
            return storage, empty, made.op

    def _register(self, made: Edit) -> None:
        found = {quantity: self._tensor(ref) for quantity, ref in made.tensors.items()}
        with self.graph.as_default():
            marks = [found["alpha"].op, found["update"].op]
            graph_tensors._register(made.site.variable.path, found, None, marks)
            for quantity in found:
                if quantity not in PUBLISHED:
                    self.graph.add_to_collection("adampatch/" + quantity, found[quantity])


def _in_order(added: List[Node], changed: List[Node]) -> List[Node]:
    """New nodes after what they take; the changed ones, which exist, where their inputs do."""
    names = {node.name: node for node in [*added, *changed]}
    existing = {node.name for node in changed}
    ordered: List[Node] = []
    done = set()

    def visit(node: Node) -> None:
        if node.name in done:
            return
        done.add(node.name)
        for ref in node.inputs:
            name = ref.lstrip("^").partition(":")[0]
            if name in names and name not in existing:
                visit(names[name])
        ordered.append(node)

    for node in [*changed, *added]:
        visit(node)
    return ordered
