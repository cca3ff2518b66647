"""From a site to nodes: the update with its rate bounded and shown. The last node keeps its name.

Gives edits and changes nothing: files and live graphs carry them out each in their own way.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Tuple

from adampatch.algebra import Const, Leaf, Role
from adampatch.algebra.mathtext import math_text
from adampatch.graph import attributes
from adampatch.graph.bounding import Limits, bounded, unbounded
from adampatch.graph.catalog import FUSED, WRITES
from adampatch.graph.emission import Emitter, Unwritable, controlled, optional
from adampatch.graph.expressions import GRADIENT
from adampatch.graph.nodes import Body, Node
from adampatch.graph.sites import MARK, Site

QUANTITIES = ("rate", "alpha", "update", "clamped")


class Edit(NamedTuple):
    """What patching one site makes: ``added`` nodes, ``changed`` nodes that keep their names, and the
    ``tensors`` to fetch: {quantity: tensor}."""

    site: Site
    added: List[Node]
    changed: List[Node]
    tensors: Dict[str, str]
    dtype: int


class Parts(NamedTuple):
    """Tensors of one update, as they stand in the graph by then."""

    rate: str
    direction: str
    decay: Optional[str]
    alpha: Optional[str]
    update: str


def edit(body: Body, site: Site, limits: Optional[Limits], source: str = "") -> Edit:
    """The nodes for one site. ``source``: see Emitter. Raises Unwritable."""
    return (
        _of_kernel(body, site, limits, source)
        if site.kind == "fused"
        else _of_write(body, site, limits, source)
    )


def _of_kernel(body: Body, site: Site, limits: Optional[Limits], source: str) -> Edit:
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
    if limits is None:
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
    effective, mask = bounded(emitter, rate, limits, dtype)
    update = _chosen(emitter, Parts(effective, direction, None, alpha, stock), mask, dtype)
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
    tensors = _published(emitter, effective, alpha, update, mask, dtype)
    return Edit(site, emitter.nodes, [changed], tensors, dtype)


def _rate(site: Site):  # type: ignore[no-untyped-def]
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


def _chosen(emitter: Emitter, parts: Parts, mask: str, dtype: int) -> str:
    """Stock's own update, but for the elements that were bounded."""
    step = emitter.typed("Mul", "step", [parts.rate, parts.direction], dtype)
    if parts.decay is not None:
        step = emitter.typed("AddV2", "step_and_decay", [step, parts.decay], dtype)
    return emitter.typed("SelectV2", "applied", [mask, step, parts.update], dtype)


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


def _of_write(body: Body, site: Site, limits: Optional[Limits], source: str) -> Edit:
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
    if limits is None:
        shown = _taken_off(emitter, site, stock, dtype)
        tensors = _published(emitter, rate, alpha, shown, unbounded(emitter, rate, dtype), dtype)
        if not WRITES[site.node.op].resource:
            # a reference may be read through until it is written
            changed = writer.changed(inputs=[*writer.inputs, *controlled([rate])])
            return Edit(site, emitter.nodes, [changed], tensors, dtype)
        return Edit(site, emitter.nodes, [], tensors, dtype)
    direction = emitter.tensor(separation.direction, dtype)
    decay = optional(emitter, separation.decay, dtype)
    effective, mask = bounded(emitter, rate, limits, dtype)
    update = _chosen(emitter, Parts(effective, direction, decay, alpha, stock), mask, dtype)
    shown = _taken_off(emitter, site, update, dtype)
    tensors = _published(emitter, effective, alpha, shown, mask, dtype)
    inputs = list(holder.inputs)
    inputs[site.edge[1]] = update
    return Edit(site, emitter.nodes, [holder.changed(inputs=inputs)], tensors, dtype)


def _taken_off(emitter: Emitter, site: Site, update: str, dtype: int) -> str:
    """What is subtracted from the variable: the update, or its negative where it is added."""
    return emitter.typed("Neg", "taken_off", [update], dtype) if site.sign > 0 else update


def unwritable(site: Site, error: Unwritable) -> None:
    """The site, refused because a part of it has no nodes."""
    site.refuse("AP241", "a part of the update cannot be written as nodes: " + math_text(error.node)[:120])
