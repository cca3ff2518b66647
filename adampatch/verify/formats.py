"""Floating-point formats: what a stored bit pattern means, and how a number is rounded into one.

Pure NumPy; bfloat16 is decoded here because NumPy has no such type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    ``unit`` is the unit round-off (2^-24 for float32), ``smallest`` the least normal number,
    ``largest`` the greatest finite one. ``wide`` is the NumPy type that references are
    evaluated in: it holds every value of the format, with at least ten more bits.
    """

    name: str
    bits: int
    unit: float
    smallest: float
    largest: float
    wide: Any

    def decode(self, bits: Array) -> Array:
        """The values of unsigned integers that hold the format's bit patterns, in ``wide``."""
        if self.name == "bfloat16":
            single = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)  # NumPy 1: not an int
        else:
            single = bits.view(np.dtype(f"float{self.bits}"))
        return single.astype(self.wide)

    def rounded(self, value: Any) -> Array:
        """``value`` (wide, or Python numbers) rounded to nearest into the format, in ``wide``."""
        if self.name != "bfloat16":
            with np.errstate(over="ignore"):
                return np.asarray(value).astype(np.dtype(f"float{self.bits}")).astype(self.wide)
        pattern = np.asarray(value, np.float32).view(np.uint32)
        even = (pattern >> 16) & 1
        kept = ((pattern + 0x7FFF + even) >> 16) << 16
        return kept.astype(np.uint32).view(np.float32).astype(self.wide)

    def canonical(self, bits: Array) -> Array:
        """The bit patterns with every NaN made the same: payloads carry no meaning."""
        return np.where(np.isnan(self.decode(bits)), np.iinfo(bits.dtype).max, bits)

    def ulps(self, left: Array, right: Array) -> Array:
        """How many representable numbers lie between two arrays of bit patterns. Shown, never judged."""
        sign = np.uint64(1) << np.uint64(self.bits - 1)
        patterns = [bits.astype(np.uint64) for bits in (left, right)]
        first, second = ((pattern & ~sign).astype(np.int64) for pattern in patterns)
        apart = (patterns[0] ^ patterns[1]) & sign != 0
        return np.where(apart, first.astype(np.float64) + second, np.abs(first - second))


FORMATS = {
    form.name: form
    for form in (
        Format("float16", 16, 2.0**-11, 2.0**-14, 65504.0, np.float64),
        Format("bfloat16", 16, 2.0**-8, 2.0**-126, float(2.0**127 * (2 - 2.0**-7)), np.float64),
        Format("float32", 32, 2.0**-24, 2.0**-126, float(np.finfo(np.float32).max), np.float64),
        Format("float64", 64, 2.0**-53, 2.0**-1022, float(np.finfo(np.float64).max), np.longdouble),
    )
}
