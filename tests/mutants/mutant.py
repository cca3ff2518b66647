"""One wrong thing in the patch, and the cases that judge it. What there is of them: `planted`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import planting

Pairs = tuple[tuple[str, str], ...]

#: the cases that judge a mutant of each optimizer, by the ends of their ids; all are of the default plan
CORE: dict[str, tuple[str, ...]] = {
    "keras3": (
        "float32/eager", "float32/eager/clamped", "float64/eager", "float32/eager/sparse",
        "float32/eager/sparse/clamped", "float32/function", "float32/function/clamped",
    ),
    "keras3-decay": ("float32/eager", "float32/eager/clamped", "float64/eager"),
    "v2": (
        "float32/eager", "float32/eager/clamped", "float32/eager/sparse", "float32/eager/sparse/clamped",
        "float32/function", "float32/function/clamped",
    ),
    "v1": (
        "float32/graph", "float32/graph/clamped", "float32/graph-ref", "float32/graph-ref/clamped",
        "float32/graph/sparse", "float32/graph/sparse/clamped", "float32/graph-ref/sparse",
        "float32/graph-ref/sparse/clamped",
    ),
}  # fmt: skip

#: the modules of the run time in which something is planted
MODULES = ("bounding", "fusing", "kernels", "moments", "rule_state", "sampling", "stepping")


@dataclass(frozen=True)
class Mutant:
    """One wrong thing. ``pairs``: (old, new) texts in ``where``, a module of the run time or a
    method of the patched class; or ``body``, methods of a class derived from the patched one.

    ``blamed``: the quantity that a right diagnosis names. ``rule``: whether only a rule shows it.
    ``rules``: the ends of the ids of the cases under rules of a file that judge it, in place of the core.
    ``racy``: whether it is wrong only if two operations come in the wrong order. ``compiled``: False of one
    that keeps tensors from one update to the next, which no program can.
    """

    name: str
    blamed: str
    pairs: Pairs = ()
    where: str = "update_step"
    body: str = ""
    optimizer: str = "keras3"
    variant: str = ""
    rule: bool = False
    rules: tuple[str, ...] = ()
    racy: bool = False
    listed: bool = True
    compiled: bool = True

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """A `with` that plants it, for what is patched inside."""
        asked = {} if self.compiled else {"ADAMPATCH_COMPILE": "false"}
        with mock.patch.dict(os.environ, asked), self._changed():
            yield

    def _changed(self) -> contextlib.AbstractContextManager[Any]:
        if self.body:
            return planting._fresh()
        if self.where in MODULES:
            text = planting.replaced(planting.source(self.where), self.pairs, self.where)
            return planting.in_module(self.where, text)
        return planting.in_method(self.where, self.pairs)

    @property
    def cases(self) -> tuple[str, ...]:
        """The ends of the ids of the cases that judge it."""
        return self.rules or CORE[self.optimizer]

    @property
    def alter(self) -> Callable[[type], type]:
        """What is done to the patched class."""
        return planting.subclassed(self.body) if self.body else lambda cls: cls
