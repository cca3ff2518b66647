"""How exact a device's operations are, measured: the operands, and what the answers say.

Division, square root and power are correctly rounded, or nearly, in most builds of TensorFlow;
some approximate float32's square root. Sums and products always are correctly rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from adampatch.verify.ball import EXACT, Accuracy
from adampatch.verify.formats import FORMATS, Array

#: how many operands; a prime, so that no vector width divides it
_SAMPLES = 20011
#: what an operation that is not exact is taken to be off by, over what was seen
_MARGIN = 1.25


def operands(dtype: str) -> dict[str, Array]:
    """Bit-exact operands in the format, as float64: ``x`` and ``y`` for ``x / y`` and ``sqrt(x)``,
    ``base`` and ``exponent`` for powers as bias corrections take them."""
    form = FORMATS[dtype]
    rng = np.random.default_rng(7)
    pairs = (np.asarray(form.rounded(rng.uniform(1.0, 4.0, _SAMPLES)), np.float64) for _ in range(2))
    bases = [0.9, 0.95, 0.99, 0.999, 0.9999]
    base, exponent = np.meshgrid(np.asarray(form.rounded(bases), np.float64), np.arange(1.0, 65.0))
    return dict(zip(("x", "y"), pairs, strict=True)) | {"base": base.ravel(), "exponent": exponent.ravel()}


def all_roots() -> Array:
    """Each float32 from 1 to 4: a square root scales with its argument's exponent, so these are all."""
    return np.arange(0x3F800000, 0x40800000, dtype=np.uint32).view(np.float32)


def measured(dtype: str, given: Mapping[str, Array], bits: Mapping[str, Array]) -> Accuracy:
    """The accuracy that the answers to ``operands(dtype)`` show."""
    form = FORMATS[dtype]
    wide: Callable[[Any], Array] = lambda name: np.asarray(given[name], form.wide)  # noqa: E731
    exact = {
        "divide": wide("x") / wide("y"),
        "sqrt": np.sqrt(wide("x")),
        "power": wide("base") ** wide("exponent"),
    }
    units = {name: error(form.decode(bits[name]), value, form.unit) for name, value in exact.items()}
    found = {name: max(getattr(EXACT, name), _taken(value)) for name, value in units.items()}
    return Accuracy(**found)


def measured_roots(bits: Array) -> float:
    """The error of ``sqrt`` over ``all_roots()``, in units of round-off."""
    x = all_roots().astype(np.float64)
    return error(FORMATS["float32"].decode(bits), np.sqrt(x), FORMATS["float32"].unit)


def error(observed: Array, exact: Array, unit: float) -> float:
    """The greatest relative error in units of round-off, infinite where one is not a number."""
    found = float(np.max(np.abs(observed - exact) / np.abs(exact))) / unit
    return math.inf if math.isnan(found) else found


def _taken(units: float) -> float:
    """An exact operation is off by 1 at most; of others a sample does not show the most."""
    return 1.0 if units <= 1.0 else units * _MARGIN
