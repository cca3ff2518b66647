"""The update sites of one body: fused kernels and open-coded updates, separated or refused."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Set, Tuple

from adampatch.algebra import (
    Const,
    Expr,
    Facts,
    Leaf,
    NotSeparable,
    Op,
    Role,
    Separation,
    StateWrite,
    separate,
)
from adampatch.algebra.adaptive import looks_adaptive
from adampatch.algebra.descent import descending
from adampatch.algebra.expression import negated
from adampatch.algebra.kernels import KERNELS
from adampatch.algebra.mathtext import math_text
from adampatch.algebra.newvalue import Step, steps_of_new_value
from adampatch.graph import attributes
from adampatch.graph.catalog import FUSED, WRITES
from adampatch.graph.expressions import GRADIENT, Origin, Reader, TooLarge
from adampatch.graph.gradient import Cone, candidates, moments
from adampatch.graph.nodes import Body, Node
from adampatch.graph.storage import Storage, Variable

#: what stands between the name of an update's node and the names of what is added to it
MARK = "/adampatch/"
#: what a Session can fetch of each patched update
PUBLISHED = ("rate", "alpha", "update", "clamped")


class Site:
    """One node that changes a variable by an update of the Adam family.

    ``kind``: fused, open, slices. ``separation`` is in the convention ``w <- w - (R*D + decay)``; where
    ``step`` is given the update that stands in the graph is ``-sign`` times it. ``edge``: the node and which
    of its inputs carry the update (open-coded ones). ``status``: patchable, refused, already.
    """

    def __init__(self, node: Node, variable: Variable, kind: str) -> None:
        self.node, self.variable, self.kind = node, variable, kind
        self.status, self.reason = "refused", ""
        self.separation: Optional[Separation] = None
        self.states: Dict[str, Expr] = {}
        self.reader: Optional[Reader] = None
        self.facts: Optional[Facts] = None
        #: whether the gradient is, or may be, of some rows of the variable
        self.sparse = kind == "slices"
        self.step: Optional[Step] = None
        self.sign = -1
        self.edge: Tuple[str, int] = ("", 0)
        self.texts: Tuple[str, str, Optional[str]] = ("?", "?", None)
        #: the separation in the reports' convention, of an open-coded update
        self.shown: Optional[Separation] = None
        #: the rules that hold for it, set when it is patched
        self.rules: Tuple[Any, ...] = ()
        #: whether a Session can fetch what is computed beside it
        self.fetchable = True
        #: paths of the variables that it may be for, set where callers tell; else the variable's own
        self.paths: List[str] = [variable.path]

    def call(self, paths: Dict[str, str]) -> None:
        """Names what a function's arguments stand for in the words of the reports."""
        if self.shown is None:
            return
        parts = (self.shown.rate, self.shown.direction, self.shown.decay)
        leaves = [n for part in parts if part is not None for n in part.walk() if isinstance(n, Leaf)]
        names = {}
        for leaf in leaves:
            path = paths.get(leaf.slot[len("variable:") :]) if leaf.slot.startswith("variable:") else None
            if path:
                names[leaf.key] = path.rpartition("/")[2].partition(":")[0]
        self.texts = _texts(self.shown, names)

    def refuse(self, code: str, words: str) -> Site:
        self.status, self.reason = "refused", f"{code}: {words}"
        return self


def find_sites(body: Body, storage: Optional[Storage] = None) -> List[Site]:
    """All update sites of a body, in its order."""
    storage = Storage(body) if storage is None else storage
    found: List[Site] = []
    passed_over: List[Site] = []
    states: Set[str] = set()
    for node in body.nodes.values():
        if node.op in FUSED:
            found.append(_fused(node, storage))
        elif node.op in WRITES:
            site = _open(node, storage, states)
            if site is not None:
                (found if site.status != "refused" else passed_over).append(site)
    # a moment that follows another one looks like an update until the update itself is seen
    found += [site for site in passed_over if site.variable.key not in states]
    order = {name: place for place, name in enumerate(body.nodes)} if passed_over else {}
    return sorted(found, key=lambda site: order[site.node.name]) if passed_over else found


def _is_patched(body: Body, node: Node) -> bool:
    found = (body.nodes.get(node.name + MARK + quantity) for quantity in PUBLISHED)
    return all(each is not None and each.op == "Identity" for each in found)


def _fused(node: Node, storage: Storage) -> Site:
    fused = FUSED[node.op]
    inputs = dict(zip(fused.inputs, node.inputs))
    variable = storage.variable(inputs["var"]) if len(node.data_inputs()) == len(fused.inputs) else None
    if variable is None:
        unknown = Variable(node.name, node.name, fused.resource)
        return Site(node, unknown, "fused").refuse("AP241", "the variable of the kernel is not to be told")
    site = Site(node, variable, "fused")
    places = [storage.variable(ref) for ref in node.inputs[: fused.inputs.index("beta1_power")]]
    if len({place.key for place in places if place is not None}) < len(places):
        return site.refuse("AP241", "the states of the kernel are not to be told, or one is another")
    kernel = KERNELS[fused.kernel]
    arguments: Dict[str, Expr] = {
        "use_nesterov": Const(attributes.read_boolean(node.attrs.get("use_nesterov")))
    }
    for name in fused.inputs:
        role = {"var": Role.VARIABLE, "grad": Role.GRADIENT}.get(name, Role.READ)
        arguments[name] = Leaf(name, role, GRADIENT if name == "grad" else "variable:" + name)
    states, update = kernel.expand(arguments)
    facts = Facts([StateWrite("variable:" + name, value) for name, value in states.items()])
    site.separation, site.states = separate(update, facts), states
    names = {value.key: name for name, value in states.items()}
    site.texts = _texts(site.separation, names)
    site.step = Step(update, -1, None, 0, None)
    site.status = "already" if _is_patched(storage.body, node) else "patchable"
    if attributes.read_dtype(node.attrs.get("T")) not in attributes.FLOATING:
        site.refuse("AP241", "the kernel is not over floating numbers")
    return site


def _texts(separation: Separation, names: Dict[str, str]) -> Tuple[str, str, Optional[str]]:
    decay = None if separation.decay is None else math_text(separation.decay, names)
    return math_text(separation.rate, names), math_text(separation.direction, names), decay


def _open(node: Node, storage: Storage, all_states: Set[str]) -> Optional[Site]:
    """The site of a write, None where it ends no update of the Adam family."""
    row, body = WRITES[node.op], storage.body
    if len(node.data_inputs()) <= row.value:
        return None
    variable = storage.variable(node.inputs[0])
    if variable is None:
        return None
    cone = Cone(storage, node.inputs[row.value])
    states = moments(storage, cone, variable.key)
    if len(states) < 2:
        return None
    site = Site(node, variable, "slices" if row.rows else "open")
    if _is_patched(body, node):
        site.status = "already"
        all_states.update(states)
        return site
    site.sparse |= any(WRITES[write.op].rows for writes in states.values() for write in writes)
    failures: List[Tuple[str, str]] = []
    gradients = candidates(storage, states)
    if not gradients and _takes_roots(body, cone):
        failures.append(("AP242", "no tensor of the graph is seen to be the gradient of the update"))
    for gradient in gradients:
        reader = Reader(storage, variable, gradient)
        try:
            done = _separated(site, reader)
        except TooLarge:
            failures.append(("AP242", "the update follows from more of the graph than is looked at"))
            continue
        except RecursionError:
            failures.append(("AP218", "the values of the update are nested too deeply"))
            continue
        except NotSeparable as error:
            term = ": " + math_text(error.term)[:120] if error.term is not None else ""
            failures.append((error.code, error.words + term))
            continue
        if done:
            site.status, site.reason = "patchable", ""
            all_states.update(states)
            return site
        if site.reason:
            failures.append(tuple(site.reason.split(": ", 1)))  # type: ignore[arg-type]
    if not failures:
        return None
    return site.refuse(*failures[0])


def _takes_roots(body: Body, cone: Cone) -> bool:
    """Whether an update divides by a root, as those of the Adam family do."""
    found = {node.op for node in map(body.producer, cone.tensors) if node is not None}
    return bool(found & {"Sqrt", "Rsqrt"})


def _separated(site: Site, reader: Reader) -> bool:
    """Takes the update of an open-coded site apart; whether it is one of the Adam family. Raises
    NotSeparable where it looks like one."""
    row = WRITES[site.node.op]
    value = reader.expression(site.node.inputs[row.value])
    before = Leaf("w", Role.VARIABLE, "variable:" + site.variable.key, 0)
    new: Expr = value
    if row.how != "set":
        new = Op(row.how, (before, value), "", Origin(site.node.name, (-1, row.value)))
    facts = Facts(_state_writes(reader))
    if not facts.content(value).gradient:
        return False
    rows: Optional[Expr] = None
    if row.rows and row.how == "set":
        rows = next((n for n in value.walk() if _is_rows_of_target(n)), None)
    try:
        ladders = steps_of_new_value(new, facts, rows)
        if len(ladders) != 1:
            raise NotSeparable("AP209", "the variable is stepped in several ways at once")
        return _first_of(ladders[0].steps, site, reader, facts)
    except NotSeparable as error:
        if error.code == "AP204" or looks_adaptive(new, facts):
            raise
        return False


def _is_rows_of_target(node: Expr) -> bool:
    return (
        isinstance(node, Op)
        and node.name == "gather"
        and isinstance(node.args[0], Leaf)
        and node.args[0].role is Role.VARIABLE
    )


def _first_of(steps: Tuple[Step, ...], site: Site, reader: Reader, facts: Facts) -> bool:
    """Takes the smallest step that has an edge of its own in the graph."""
    adam = False
    for step in steps:
        separation = separate(step.update, facts)
        if separation.kind != "adam":
            continue
        adam = True
        turned = descending(separation, step.sign, facts)
        if turned is None:
            raise NotSeparable(
                "AP219", "the step is added and no minus is to be seen: the rate may be negative"
            )
        edge = _edge(reader.body, step)
        if edge is None:
            continue
        shown = turned
        if step.sign > 0:
            decay = None if turned.decay is None else negated(turned.decay)
            shown = Separation(turned.rate, negated(turned.direction), decay, turned.alpha, turned.kind)
        site.separation, site.step, site.sign, site.edge = turned, step, step.sign, edge
        site.reader, site.facts = reader, facts
        site.shown = shown
        site.texts = _texts(shown, {})
        return True
    if adam:
        raise NotSeparable("AP210", "the step has no tensor of its own")
    return False


def _edge(body: Body, step: Step) -> Optional[Tuple[str, int]]:
    """(node, which input) carries the step."""
    if step.parent is None:
        return None
    origin = step.parent.origin
    if not isinstance(origin, Origin) or origin.operands[step.index] < 0 or origin.node in body.shadows:
        return None
    return origin.node, origin.operands[step.index]


def _state_writes(reader: Reader) -> List[StateWrite]:
    """The writes of all variables that the update follows from, and of those that these follow from."""
    writes: List[StateWrite] = []
    done: Set[str] = {reader.target}
    while True:
        todo = [key for key in reader.read if key not in done]
        if not todo:
            return writes
        for key in todo:
            done.add(key)
            slot = "variable:" + key
            for node in reader.storage.writers.get(key, []):
                if node.op not in WRITES:
                    writes.append(StateWrite(slot, Op("opaque", (Leaf("grad", Role.GRADIENT, GRADIENT),))))
                    continue
                row = WRITES[node.op]
                ref = node.inputs[row.value]
                if not reader.depends(ref):
                    continue  # a load, or a count
                value = reader.expression(ref)
                if row.how != "set":
                    value = Op(row.how, (Leaf("old", Role.READ, slot, 0), value))
                elif row.rows:
                    value = Op("scatter", (Leaf("old", Role.READ, slot, 0), value))
                writes.append(StateWrite(slot, value))
