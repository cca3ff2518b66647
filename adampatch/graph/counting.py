"""The number of an update, found in the graph: what the decay rates are raised to, or the powers that
an optimizer multiplies on. Pure: reads a body, changes nothing."""

from __future__ import annotations

import functools
import math
from typing import Any, Dict, Iterable, NamedTuple, Optional, Set, Tuple

import numpy as np

from adampatch.graph import attributes
from adampatch.graph.catalog import WRITES
from adampatch.graph.expressions import Reader
from adampatch.graph.gradient import is_load
from adampatch.graph.nodes import Body, Node
from adampatch.graph.storage import Storage, Variable

_PASSING = ("Identity", "Cast", "Reshape", "Enter")
#: no power is followed further than this many updates
_FURTHEST = 1 << 20
#: a logarithm is believed that is this near to a whole number
_NEAR = 0.3


class Clock(NamedTuple):
    """Where the number of the update is. ``exponent``: the tensor that is this number; else ``power`` is
    the decay rate ``base`` to it, which tells it up to the update ``last``, when the power is ``least``;
    from there on it is one more than ``steps`` says, the handle or reference of a count of steps ("" for
    none)."""

    exponent: str = ""
    power: str = ""
    dtype: int = 0
    base: float = 0.0
    last: int = 0
    least: float = 0.0
    steps: str = ""


class Clocks:
    """The clocks of one body."""

    def __init__(self, body: Body, storage: Optional[Storage] = None) -> None:
        self.body = body
        self.storage = Storage(body) if storage is None else storage
        self._reader = Reader(self.storage, None, "")
        self._bases: Dict[str, Optional[float]] = {}
        self._counters: Optional[Dict[str, Set[str]]] = None

    def of(self, powers: Iterable[str], update: str) -> Optional[Clock]:
        """The clock of the update at the node ``update``, of its tensors that are powers of decay rates; None
        where they do not say one number."""
        exponents, products = [], []
        for ref in powers:
            origin = self._origin(ref)
            exponent = self._exponent(origin)
            if exponent is not None:
                exponents.append(exponent)
                continue
            base = self._base(origin)
            if base is not None:
                products.append((base, origin))
        if exponents:
            ref = exponents[0]
            if products or any(other != ref for other in exponents):
                return None
            return Clock(exponent=ref, dtype=self._reader.dtype(ref))
        if not products:
            return None
        base, ref = max(products)  # it lasts the longest
        dtype = self._reader.dtype(ref)
        if dtype not in _NUMPY:
            return None
        last, least = _lasts(base, dtype)
        return Clock("", ref, dtype, float(_NUMPY[dtype](base)), last, least, self._steps(update))

    def _origin(self, ref: str) -> str:
        """The tensor that a tensor is a copy of."""
        at = self.body.normal(ref)
        for _ in range(16):
            node = self.body.producer(at)
            if node is None or node.op not in _PASSING or self.storage.read(at) is not None:
                return at
            at = self.body.normal(node.data_inputs()[0])
        return at

    def is_power(self, ref: str) -> bool:
        """Whether a tensor is a decay rate to the number of the update."""
        origin = self._origin(ref)
        return self._exponent(origin) is not None or self._base(origin) is not None

    def dtype_of(self, variable: Variable) -> int:
        """The DataType of what a variable holds; 0 where it is not to be told."""
        node = self.body.nodes.get(variable.path)
        return attributes.read_dtype(node.attrs.get("dtype")) if node is not None else 0

    def _exponent(self, origin: str) -> Optional[str]:
        """The number before it was cast to the type of a variable, which may be too short for it."""
        node = self.body.producer(origin)
        if node is None or node.op != "Pow" or self.storage.read(origin) is not None:
            return None
        return self._origin(node.data_inputs()[1])

    def _base(self, ref: str) -> Optional[float]:
        """What a variable is multiplied by with each update, which it began as; None where it is another
        variable."""
        read = self.storage.read(ref)
        if read is None:
            return None
        key = read[0].key
        if key not in self._bases:
            found = []
            for node in self.storage.writers.get(key, []):
                if node.op in WRITES and is_load(self.body, node):
                    continue
                found.append(self._factor(key, node))
            self._bases[key] = found[0] if len(found) == 1 else None
        return self._bases[key]

    def _factor(self, key: str, node: Node) -> Optional[float]:
        row = WRITES.get(node.op)
        if row is None or row.how != "set" or row.rows:
            return None
        product = self.body.producer(self._origin(node.inputs[row.value]))
        if product is None or product.op != "Mul":
            return None
        a, b = (self._origin(ref) for ref in product.data_inputs())
        for own, other in ((a, b), (b, a)):
            read, constant = self.storage.read(own), self.body.producer(other)
            if read is not None and read[0].key == key and constant is not None and constant.op == "Const":
                value = attributes.read_scalar(constant.attrs.get("value"))
                return float(value) if isinstance(value, float) and 0 < value < 1 else None
        return None

    def _steps(self, update: str) -> str:
        """A count of steps that goes on by 1 once the update is done: its handle or reference."""
        if self.body.function:
            return ""
        if self._counters is None:
            self._counters = {}
            for node in self.body.nodes.values():
                if node.op in ("AssignAddVariableOp", "AssignAdd") and self._counts(node):
                    self._counters[node.name] = self.body.before([node.name])
        found = [name for name, before in self._counters.items() if update in before]
        return self.body.nodes[found[0]].inputs[0] if len(found) == 1 else ""

    def _counts(self, node: Node) -> bool:
        variable = self.storage.variable(node.inputs[0])
        if variable is None or attributes.read_dtype(node.attrs.get("dtype") or node.attrs.get("T")) not in (
            attributes.INT32,
            attributes.INT64,
        ):
            return False
        one = self.body.producer(self._origin(node.inputs[1]))
        if one is None or one.op != "Const" or attributes.read_scalar(one.attrs.get("value")) != 1:
            return False
        others = [n for n in self.storage.writers[variable.key] if n is not node]
        return all(n.op in WRITES and is_load(self.body, n) for n in others)


_NUMPY: Dict[int, Any] = {attributes.FLOAT: np.float32, attributes.DOUBLE: np.float64}


@functools.lru_cache(None)
def _lasts(base: float, dtype: int) -> Tuple[int, float]:
    """(the last update whose number follows from a power that is multiplied on, rounded each time; the
    power by then). Exact: the products are made as the graph makes them."""
    kind = _NUMPY[dtype]
    number = kind(base)
    with np.errstate(under="ignore", divide="ignore"):
        powers = np.multiply.accumulate(np.full(_FURTHEST, number, kind))
        told = np.log(powers.astype(np.float64)) / math.log(float(number))
    right = (powers >= np.finfo(kind).tiny) & (np.abs(told - np.arange(1, _FURTHEST + 1)) < _NEAR)
    last = int(_FURTHEST if right.all() else np.argmin(right))
    return last, float(powers[last - 1])
