"""From a site to nodes: the update with its rate bounded and shown. The last node keeps its name.

Gives edits and changes nothing: files and live graphs carry them out each in their own way.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Tuple

from adampatch.algebra import Const, Expr, Leaf, Role
from adampatch.algebra.mathtext import math_text
from adampatch.graph import attributes
from adampatch.graph.bounding import Outcome, Parts, bounded, unbounded
from adampatch.graph.catalog import FUSED, WRITES
from adampatch.graph.counting import Clocks
from adampatch.graph.emission import Emitter, Unwritable, controlled, optional
from adampatch.graph.expressions import GRADIENT
from adampatch.graph.nodes import Body, Node
from adampatch.graph.rules import Held
from adampatch.graph.scalars import NotShown, Scalars
from adampatch.graph.shown import shown_by
from adampatch.graph.sites import MARK, Site

#: what goes before the id of a rule in the name of its mask
RULES = "rules/"


class Edit(NamedTuple):
    """What patching one site makes: ``added`` nodes, ``changed`` nodes that keep their names, and the
    ``tensors`` to fetch: {quantity: tensor}."""

    site: Site
    added: List[Node]
    changed: List[Node]
    tensors: Dict[str, str]
    dtype: int


def edit(body: Body, site: Site, rules: Held, clocks: Clocks, source: str = "") -> Edit:
    """The nodes for one site under the rules that hold for it. ``clocks``: of the body; ``source``: see
    Emitter. Raises Unwritable, and NotShown for a rule."""
    of = _of_kernel if site.kind == "fused" else _of_write
    return of(body, site, rules, clocks, source)


def _of_kernel(body: Body, site: Site, rules: Held, clocks: Clocks, source: str) -> Edit:
    node, fused = body.nodes[site.node.name], FUSED[site.node.op]
    dtype = attributes.read_dtype(node.attrs.get("T"))
    inputs = dict(zip(fused.inputs, node.data_inputs()))
    control = tuple(node.control_inputs())
    emitter = Emitter(body, node.name + MARK, node, {}, source, kernel=True)
    for name in fused.inputs:
        if name not in ("var", *site.states):
            role = Role.GRADIENT if name == "grad" else Role.READ
            leaf = Leaf(name, role, GRADIENT if name == "grad" else "variable:" + name)
            emitter.tensors[leaf.key] = [(inputs[name], dtype)]
    assert site.separation is not None and site.step is not None and site.separation.alpha is not None
    alpha = emitter.tensor(site.separation.alpha, dtype)
    if not rules:
        # The kernel stays. Before it: the beta powers move on once it is done.
        changed = node.changed(inputs=[*node.inputs, *controlled([alpha])])
        for name in site.states:
            after = _read(emitter, inputs[name], dtype, fused.resource, name, ("^" + node.name,))
            emitter.tensors[site.states[name].key] = [(after, dtype)]
        rate = emitter.tensor(_rate(site), dtype)
        update = emitter.tensor(site.step.update, dtype)
        tensors = _published(emitter, rate, alpha, update, unbounded(emitter, rate, dtype), dtype)
        return Edit(site, emitter.nodes, [changed], tensors, dtype)
    for name in site.states:
        before = _read(emitter, inputs[name], dtype, fused.resource, name, control)
        emitter.tensors[Leaf(name, Role.READ, "variable:" + name).key] = [(before, dtype)]
    new = {name: emitter.tensor(value, dtype) for name, value in site.states.items()}
    stock = emitter.tensor(site.step.update, dtype)
    rate = emitter.tensor(_rate(site), dtype)
    direction = emitter.tensor(site.separation.direction, dtype)
    scalars = Scalars(emitter, shown_by(site, clocks), dtype, clocks, node.name)

    def weights() -> str:
        return _read(emitter, inputs["var"], dtype, fused.resource, "var", control)

    parts = Parts(rate, direction, None, stock, weights, inputs["grad"])
    outcome = bounded(emitter, scalars, rules, dtype, parts)
    update = outcome.update
    locking = {"use_locking": node.attrs["use_locking"]} if "use_locking" in node.attrs else {}
    writes = []
    for name, value in new.items():
        if fused.resource:
            attrs = {"dtype": attributes.dtype(dtype)}
            writes.append(
                emitter.add("AssignVariableOp", "assign_" + name, [inputs[name], value], attrs, control)
            )
        else:
            attrs = {"T": attributes.dtype(dtype), **locking}
            writes.append(emitter.add("Assign", "assign_" + name, [inputs[name], value], attrs, control))
    kept = {key: value for key, value in node.attrs.items() if key.startswith("_")}
    last = [inputs["var"], update, *control, *controlled(writes)]
    if fused.resource:
        changed = node.changed("AssignSubVariableOp", last, {**kept, "dtype": attributes.dtype(dtype)})
    else:
        changed = node.changed("AssignSub", last, {**kept, "T": attributes.dtype(dtype), **locking})
    tensors = _shown(emitter, outcome, alpha, update, dtype)
    return Edit(site, emitter.nodes, [changed], tensors, dtype)


def _rate(site: Site) -> Expr:
    assert site.separation is not None and site.separation.rate is not None
    return site.separation.rate


def _read(
    emitter: Emitter, handle: str, dtype: int, resource: bool, name: str, control: Tuple[str, ...]
) -> str:
    if resource:
        return emitter.add(
            "ReadVariableOp", "read_" + name, [handle], {"dtype": attributes.dtype(dtype)}, control
        )
    return emitter.typed("Identity", "read_" + name, [handle], dtype, control)


def _shown(
    emitter: Emitter, outcome: Outcome, alpha: Optional[str], update: str, dtype: int
) -> Dict[str, str]:
    """What is fetched of an update under rules; ``update``: what is taken off the variable."""
    within = unbounded(emitter, outcome.rate, dtype)
    clamped = within
    if outcome.clamped is not None:  # which may be one number for all elements
        clamped = emitter.add("LogicalOr", "outside", [outcome.clamped, within], {})
    if outcome.alpha is not None:
        alpha = emitter.cast(outcome.alpha, attributes.DOUBLE, dtype)
    tensors = _published(emitter, outcome.rate, alpha, update, clamped, dtype)
    for name, mask in outcome.masks.items():
        tensors[RULES + name] = emitter.published(RULES + name, mask, attributes.BOOL)
    return tensors


def _published(
    emitter: Emitter, rate: str, alpha: Optional[str], update: str, mask: str, dtype: int
) -> Dict[str, str]:
    if alpha is None:
        alpha = emitter.constant(float("nan"), dtype)
    return {
        "rate": emitter.published("rate", rate, dtype),
        "alpha": emitter.published("alpha", alpha, dtype),
        "update": emitter.published("update", update, dtype),
        "clamped": emitter.published("clamped", mask, attributes.BOOL),
    }


def _of_write(body: Body, site: Site, rules: Held, clocks: Clocks, source: str) -> Edit:
    separation, reader = site.separation, site.reader
    assert separation is not None and reader is not None and site.step is not None
    holder = body.nodes[site.edge[0]]
    stock = holder.inputs[site.edge[1]]
    dtype = reader.dtype(body.normal(stock))  # of a call's output, as the call says
    if dtype not in attributes.FLOATING:
        dtype = attributes.read_dtype(site.node.attrs.get("dtype") or site.node.attrs.get("T"))
    emitter = Emitter(body, site.node.name + MARK, site.node, reader.tensors, source)
    rate = emitter.tensor(_rate(site), dtype)
    try:
        alpha = optional(emitter, separation.alpha or Const(1.0), dtype)
    except Unwritable:
        alpha = None  # nothing but reports needs it
    writer = body.nodes[site.node.name]
    if not rules:
        shown = _taken_off(emitter, site, stock, dtype)
        tensors = _published(emitter, rate, alpha, shown, unbounded(emitter, rate, dtype), dtype)
        if not WRITES[site.node.op].resource:
            # a reference may be read through until it is written
            changed = writer.changed(inputs=[*writer.inputs, *controlled([rate])])
            return Edit(site, emitter.nodes, [changed], tensors, dtype)
        return Edit(site, emitter.nodes, [], tensors, dtype)
    direction = emitter.tensor(separation.direction, dtype)
    decay = optional(emitter, separation.decay, dtype)
    scalars = Scalars(emitter, shown_by(site, clocks), dtype, clocks, site.node.name)
    held = reader.tensors.get(Leaf("grad", Role.GRADIENT, GRADIENT).key, [])
    # of an argument no type is said, and an update's arithmetic is all of one
    whole = [ref for ref, kind in held if kind in (0, dtype)] if not site.sparse else []

    def weights() -> str:
        row = WRITES[site.node.op]
        return _read(emitter, writer.inputs[0], dtype, row.resource, "var", _before(body, writer, holder))

    reading = None if site.kind == "slices" else weights
    parts = Parts(rate, direction, decay, stock, reading, whole[0] if whole else None)
    outcome = bounded(emitter, scalars, rules, dtype, parts)
    shown = _taken_off(emitter, site, outcome.update, dtype)
    tensors = _shown(emitter, outcome, alpha, shown, dtype)
    inputs = list(holder.inputs)
    inputs[site.edge[1]] = outcome.update
    return Edit(site, emitter.nodes, [holder.changed(inputs=inputs)], tensors, dtype)


def _before(body: Body, writer: Node, holder: Node) -> Tuple[str, ...]:
    """What a write waits for and the update does not lead to: a check of the new value does, say."""
    waits = writer.control_inputs()
    if not waits or holder is writer:
        return tuple(waits)
    after = body.after([holder.name]) | {holder.name}
    return tuple(ref for ref in waits if body.name_of(ref) not in after)


def _taken_off(emitter: Emitter, site: Site, update: str, dtype: int) -> str:
    """What is subtracted from the variable: the update, or its negative where it is added."""
    return emitter.typed("Neg", "taken_off", [update], dtype) if site.sign > 0 else update


def unwritable(site: Site, error: Unwritable) -> None:
    """The site, refused because a part of it has no nodes."""
    site.refuse("AP241", "a part of the update cannot be written as nodes: " + math_text(error.node)[:120])


def not_shown(site: Site, error: NotShown) -> None:
    """The site, refused because a rule asks for more than the graph shows of it."""
    site.refuse("AP243", error.words)
