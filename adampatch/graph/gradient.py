"""Where the gradient enters an open-coded update: the tensors at which the ways to two moments part.

A graph does not say which tensor is the gradient. These are candidates, nothing more; which of them is
one, the algebra tells.
"""

from __future__ import annotations

from typing import Dict, List, Set

from adampatch.graph.catalog import FOLDED, OPERATIONS, READS, WRITES
from adampatch.graph.nodes import Body, Node
from adampatch.graph.storage import Storage

#: how many tensors are looked at below one write: an update is a few dozen operations
_LIMIT = 250
#: how many variables one update may have besides its own
_MOST = 12


class Cone:
    """What a tensor follows from by the operations of the algebra: ``tensors`` in the order of their
    distance, ``parents``: {tensor: tensors made of it}, and the ``variables`` that are read."""

    def __init__(self, storage: Storage, ref: str) -> None:
        body = storage.body
        self.root = body.normal(ref)
        self.tensors: List[str] = [self.root]
        self.parents: Dict[str, List[str]] = {}
        self.variables: Set[str] = set()
        seen, at = {self.root}, 0
        while at < len(self.tensors) and len(self.tensors) < _LIMIT:
            current = self.tensors[at]
            at += 1
            read = storage.read(current)
            if read is not None:
                self.variables.add(read[0].key)
                continue
            node = body.producer(current)
            if node is None or not (node.op in OPERATIONS or node.op in FOLDED or node.op in _ALSO):
                continue
            for each in node.data_inputs():
                inner = body.normal(each)
                self.parents.setdefault(inner, []).append(current)
                if inner not in seen:
                    seen.add(inner)
                    self.tensors.append(inner)


_ALSO = ("SquaredDifference", "Switch")


def moments(storage: Storage, cone: Cone, target: str) -> Dict[str, List[Node]]:
    """{key of storage: its writes} of the variables besides the target that an update reads and that
    something writes, loads not counted: what gives a variable a value from nowhere (an initialiser, a
    checkpoint). Those that the writes of these read are among them."""
    found: Dict[str, List[Node]] = {}
    todo, seen = sorted(cone.variables - {target}), {target}
    while todo and len(found) < _MOST:
        key = todo.pop()
        if key in seen:
            continue
        seen.add(key)
        writes = [node for node in storage.writers.get(key, []) if node.op in WRITES]
        writes = [node for node in writes if not is_load(storage.body, node)]
        if writes:
            found[key] = writes
            for node in writes:
                todo += sorted(Cone(storage, node.inputs[WRITES[node.op].value]).variables - seen)
    return found


def is_load(body: Body, node: Node) -> bool:
    """Whether a write sets a variable to what is not computed by the algebra's operations: quickly told
    of initialisers and checkpoints, and where it is not told it does no harm."""
    row = WRITES[node.op]
    if row.how != "set" or row.rows:
        return False
    source = body.producer(node.inputs[row.value])
    while source is not None and source.op in ("Identity", "Cast") and source.data_inputs():
        if source.control_inputs():
            return False
        source = body.producer(source.inputs[0])
    return (
        source is not None
        and source.op not in OPERATIONS
        and source.op not in READS
        and source.op not in FOLDED
    )


def candidates(storage: Storage, states: Dict[str, List[Node]]) -> List[str]:
    """Tensors that may be the gradient, the likeliest first."""
    body = storage.body
    cones: Dict[str, List[Cone]] = {
        key: [Cone(storage, node.inputs[WRITES[node.op].value]) for node in writes]
        for key, writes in states.items()
    }
    within = {key: {t for cone in of_key for t in cone.tensors} for key, of_key in cones.items()}
    parents: Dict[str, List[str]] = {}
    order: List[str] = []
    for of_key in cones.values():
        for cone in of_key:
            order += cone.tensors
            for tensor, above in cone.parents.items():
                parents.setdefault(tensor, []).extend(above)
    shared: Dict[str, int] = {}
    for first in within:
        for second in within:
            if first >= second:
                continue
            common = within[first] & within[second]
            either = within[first] | within[second]
            for tensor in common:
                above = parents.get(tensor, [])
                if any(p in either and p not in common for p in above) or not above:
                    shared[tensor] = shared.get(tensor, 0) + 1
    good = [t for t in dict.fromkeys(order) if t in shared and _may_be_gradient(storage, t)]
    # numbers are looked for last: what no operation of the algebra makes, or what is read by most
    return sorted(good, key=lambda t: (_is_number(body, t), -shared[t]))


def _may_be_gradient(storage: Storage, ref: str) -> bool:
    if storage.read(ref) is not None:
        return False
    node = storage.body.producer(ref)
    return node is None or node.op not in ("Const", "VarHandleOp", "Pow")


def _is_number(body: Body, ref: str) -> bool:
    """Whether a tensor is made of constants alone, as a decay rate and one minus it are."""
    todo = [ref]
    seen: Set[str] = set()
    while todo:
        at = body.normal(todo.pop())
        if at in seen:
            continue
        seen.add(at)
        node = body.producer(at)
        if node is None or len(seen) > 12:
            return False
        if node.op not in ("Const", *OPERATIONS, *READS):
            return False
        if node.op in READS:
            continue
        todo += node.data_inputs()
    return True
