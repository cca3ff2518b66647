"""What the worker wrote down of one case, decoded: states, gradients and hyper-parameters by step.

Pure NumPy; no verdicts here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from adampatch.verify.ball import Accuracy, Ball, Field
from adampatch.verify.cases import Case
from adampatch.verify.catalogue import ROWS_ONLY
from adampatch.verify.dimensions import rows_at
from adampatch.verify.formats import FORMATS, Array, Format
from adampatch.verify.references import Gradient, Hyper, Reference
from adampatch.verify.statistics import Elements

#: states of one variable, as the worker names them
STATES = ("w", "m", "v", "u", "vhat")
SCALARS = ("product", "beta_1_power", "beta_2_power")


class Record:
    """The arrays of one case, decoded on demand."""

    def __init__(
        self, case: Case, arrays: Mapping[str, Array], told: Mapping[str, Any], accuracy: Accuracy
    ) -> None:
        self.case = case
        self.arrays = arrays
        self.rates = {int(t): float(rate) for t, rate in told["rates"].items()}
        #: by run and step: what was said of it, and as "ran" how many updates there had been
        self.said = {
            run: {int(t): words for t, words in steps.items()} for run, steps in told["said"].items()
        }
        self.alphas = {t: words.get("alpha") for t, words in self.said.get("cross", {}).items()}
        #: by step and variable where rules bounded a rate or an update, and by step alpha as they left it
        self.clamped: dict[tuple[int, int], Elements] = {}
        self.applied: dict[int, float] = {}
        self._wanted: dict[tuple[int, int, str], Mapping[str, Ball]] = {}
        self.form = FORMATS[case.dtype]
        if case.mode == "xla":
            accuracy = replace(accuracy, power=8.0)
            if case.device.startswith("GPU"):  # divides and takes roots in approximate instructions
                roots, quotients = (max(4.0, x) for x in (accuracy.sqrt, accuracy.divide))
                accuracy = replace(accuracy, sqrt=roots, divide=quotients)
        self.field = Field(self.form, accuracy)
        #: whether the same operation gives the same bits wherever in an array it is evaluated
        self.exact = case.bitwise and case.mode != "xla" and max(accuracy.sqrt, accuracy.divide) <= 1

    def names(self, t: int, run: str) -> list[str]:
        prefix = f"{t}/{run}/"
        return [key[len(prefix) :] for key in self.arrays if key.startswith(prefix)]

    def bits(self, t: int, run: str, name: str) -> Array | None:
        return self.arrays.get(f"{t}/{run}/{name}")

    def values(self, t: int, run: str, name: str) -> Array | None:
        bits = self.bits(t, run, name)
        return None if bits is None else self.form.decode(bits)

    def state(self, t: int, run: str, i: int) -> dict[str, Ball]:
        """The balls, exact, of what variable ``i`` and the optimizer held after step ``t``."""
        found = {}
        for name in STATES:
            bits = self.bits(t, run, f"{name}/{i}")
            if bits is not None:
                found[name] = self.field.stored(bits)
        for name in SCALARS:
            bits = self.bits(t, run, name)
            if bits is not None:  # a scalar of another format is cast on its way in
                value = format_of(self.form, bits).decode(bits)
                found[name] = self.field.exact(self.form.rounded(value))
        return found

    def gradient(self, t: int, i: int) -> Gradient:
        bits = self.arrays[f"{t}/g/{i}"]
        if self.case.gradient_dtype is None:
            values = self.field.stored(bits)
        else:  # cast on its way in
            values = self.field.exact(FORMATS[self.case.gradient_dtype].decode(bits))
        if self.case.layout == "dense":
            return Gradient(values, values * values, values.abs())
        indices = rows_at(self.case.layout, i, t)
        w = self.arrays[f"0/stock/w/{i}"]
        zero = self.field.exact(np.zeros(w.shape))
        total, square, size = (Ball(zero.mid.copy(), zero.rad.copy(), self.field) for _ in range(3))
        for k, row in enumerate(indices):
            value = values.at(k)
            for into, what in ((total, value), (square, value * value), (size, value.abs())):
                first = row not in indices[:k]
                summed = what if first else into.at(row) + what
                into.mid[row], into.rad[row] = summed.mid, summed.rad
        if self.case.optimizer.family != "keras3":  # duplicates are merged before the update
            square, size = total * total, total.abs()
        lazy = self.case.optimizer.key in ROWS_ONLY
        rows = np.isin(np.arange(len(w)), indices) if lazy else None
        return Gradient(total, square, size, sparse=True, rows=rows)

    def hyper(self, t: int, run: str) -> Hyper:
        """Stock shows no alpha; what the patched optimizer shows is judged, and then exact."""
        case = self.case
        alpha = None if run == "stock" else self.alphas.get(t)
        compiled = case.mode == "xla" and run != "bounded"  # where a kernel is taken apart
        return Hyper(self.field, case.optimizer.family, t, self.rates[t], case.options, alpha, compiled)

    def wanted(self, reference: Reference, t: int, i: int, run: str) -> Mapping[str, Ball]:
        """The balls of variable ``i`` after step ``t`` from the state that it began with: its own in the
        "stock" and "free" runs, else stock's."""
        alone = run in ("stock", "free")
        run = run if alone or self.case.mode == "xla" else "cross"
        if (t, i, run) not in self._wanted:
            before = self.state(t - 1, run if alone and t > 1 else "stock", i)
            self._wanted[t, i, run] = reference(before, self.gradient(t, i), self.hyper(t, run))
        return self._wanted[t, i, run]

    def steps(self) -> Iterator[tuple[int, int]]:
        """(step, variable) in the order of time."""
        for t in range(1, self.case.steps + 1):
            for i in range(len(self.case.shapes)):
                yield t, i


def format_of(form: Format, bits: Array) -> Format:
    """The format of an array that may be another than the variables', such as a float32 counter."""
    if 8 * bits.itemsize == form.bits:
        return form
    return FORMATS[f"float{8 * bits.itemsize}"]
