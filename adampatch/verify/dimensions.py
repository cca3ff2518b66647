"""What a plan combines: the dimensions of a case, what excludes what, and where a case lies in them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from adampatch.verify.catalogue import (
    MIXING,
    NO_BFLOAT16,
    NO_SCHEDULE,
    NO_XLA,
    ONE_VARIABLE,
    VARIANTS,
    VECTORS_ONLY,
)
from adampatch.verify.cover import Box, Exclusion, Row, Space

ROWS = (40, 6)
Rows = tuple[int, ...]
#: touched rows at odd steps and at even ones: out of order, two of them twice. A step leaves some rows
#: alone that have moments already: that tells a lazy update
_TWICE: tuple[Rows, Rows] = ((3, 0, 17, 3, 39, 8, 8, 21), (5, 3, 17, 30, 39, 30, 2, 5))
#: the same of each variable's sparse gradient: with rows twice; each row once; a second variable of
#: which no row is named
LAYOUTS: dict[str, tuple[tuple[Rows, Rows], ...]] = {
    "sparse": (_TWICE,),
    "unique": (((3, 0, 17, 39, 8, 21), (5, 3, 30, 39, 2, 17)),),
    "empty": (_TWICE, ((), ())),
}
#: what a gradient's elements are like, by their place
REGIMES = ("normal", "tiny", "wide", "cancelling", "zero", "constant", "huge", "subnormal")
#: the shapes of a dense case by name; an empty variable stands beside another
SHAPES_BY_NAME: dict[str, tuple[tuple[int, ...], ...]] = {
    "7": ((7,),),
    "8": ((8,),),
    "1": ((1,),),
    "()": ((),),
    "3,5,7": ((3, 5, 7),),
    "0": ((0,), (7,)),
    "1023": ((1023,),),
    "65536": ((65536,),),
}
#: the first value of each is the cheapest: a row takes it where nothing else is missing
DIMENSIONS: dict[str, Sequence[str]] = {
    "dtype": ("float32", "float64", "float16", "bfloat16", "mixed"),
    "mode": ("eager", "function", "graph", "graph-ref", "xla"),
    "layout": ("dense", *LAYOUTS),
    "shape": (*SHAPES_BY_NAME, "rows"),
    "gradient": (*REGIMES, "nan"),
    "start": ("usual", "zero"),
    "schedule": ("changed", "constant", "exponential", "piecewise", "cosine", "callable", "decay"),
    "rule": ("none", "bounds", "ceiling", "floor", "identity"),
    "restore": ("never", "1", "3"),
    "strategy": ("none", "mirrored"),
    "emit": ("tensor", "stats", "off"),
}
GRAPHS = ("graph", "graph-ref")
TRACED = ("function", "xla", *GRAPHS)
#: "decay": of the constructor of older optimizers, by the number of updates
SCHEDULES = ("exponential", "piecewise", "cosine", "decay")
_SPARSE = tuple(LAYOUTS)
_DENSE_SHAPES = tuple(SHAPES_BY_NAME)
#: (dimension, values, dimension, values) that do not go together
_EXCLUDED: tuple[tuple[str, Sequence[str], str, Sequence[str]], ...] = (
    ("layout", _SPARSE, "shape", _DENSE_SHAPES),
    ("layout", ("dense",), "shape", ("rows",)),
    # what is sampled may change what XLA contracts
    ("emit", ("stats", "off"), "mode", ("xla",)),
    # a compiled update is one device's, and rows of two replicas are two gradients
    ("strategy", ("mirrored",), "mode", ("xla", *GRAPHS)),
    ("strategy", ("mirrored",), "layout", _SPARSE),
    # a traced cosine differs in the last place from the eager one that tells the rate
    ("mode", ("function", "xla"), "schedule", ("cosine",)),
    ("mode", ("xla",), "schedule", ("decay",)),
    # made in the variable's format, and told as a float32 number
    ("dtype", ("float64", "float16", "bfloat16", "mixed"), "schedule", ("decay",)),
    # its rate is read when the graph is built
    ("mode", GRAPHS, "schedule", (*SCHEDULES, "callable")),
)
#: (families, dimension, values) that a family does not have
_NOT_OF_FAMILY: tuple[tuple[tuple[str, ...], str, Sequence[str]], ...] = (
    (("v1", "v2", "keras2", "get_updates"), "dtype", ("mixed",)),  # stock refuses such a gradient
    (("v1",), "schedule", SCHEDULES),
    (("keras2", "keras3"), "schedule", ("decay",)),
    (("v1",), "strategy", ("mirrored",)),
    (("keras2",), "schedule", ("callable",)),
    (("keras2", "keras3"), "mode", GRAPHS),
    (("v2", "get_updates"), "mode", ("graph-ref",)),
    (("get_updates",), "mode", ("eager", "function", "xla")),
    (("get_updates",), "dtype", ("float64", "float16", "bfloat16")),  # it is K.floatx() alone
    (("get_updates",), "layout", _SPARSE),
    (("get_updates",), "shape", ("0", "rows")),  # K.zeros makes no variable of no element
    (("get_updates",), "strategy", ("mirrored",)),
)
#: (names or keys of the catalogue, dimension, values) that a class does not have
_NOT_OF_CLASS: tuple[tuple[Collection[Any], str, Sequence[str]], ...] = (
    (NO_SCHEDULE, "schedule", (*SCHEDULES, "callable")),
    (ONE_VARIABLE, "shape", ("0",)),
    (ONE_VARIABLE, "layout", ("empty",)),
    (ONE_VARIABLE, "strategy", ("mirrored",)),  # nor may it count them once for each replica
    # the bound of a sum of n terms grows with n, and one element is everybody's
    (MIXING, "shape", ("1023", "65536")),
    (MIXING, "gradient", (*REGIMES[1:], "nan")),
    (NO_XLA, "mode", ("xla",)),
    (NO_BFLOAT16, "dtype", ("bfloat16",)),
    (VECTORS_ONLY, "layout", _SPARSE),
    (VECTORS_ONLY, "shape", ("3,5,7",)),
)
#: (the beginning of a path, dimension, values) that its classes do not have
_NOT_OF_MODULE = (
    # its slots are not found on a second replica
    ("tensorflow.python.keras.", "strategy", ("mirrored",)),
)
#: releases before which there is no such value
_SINCE: tuple[tuple[tuple[int, ...], str, tuple[str, ...]], ...] = (
    ((2, 10), "mode", ("xla",)),
    ((2, 10), "strategy", ("mirrored",)),
    ((2,), "mode", ("function",)),
)


def rows_at(layout: str, variable: int, t: int) -> Rows:
    """The rows of a variable's sparse gradient at step ``t``, which counts from 1."""
    return LAYOUTS[layout][variable][(t - 1) % 2]


def label(path: str, variant: str) -> str:
    """What an optimizer with its options is called in ids and in the dimension of optimizers."""
    return path + (f"[{variant}]" if variant else "")


@cache
def space(optimizers: tuple[tuple[str, str, str, str], ...], release: tuple[int, ...]) -> Space:
    """The space of cases of these optimizers: (path, family, name, variant) of each."""
    names = {"optimizer": tuple(label(path, variant) for path, _, _, variant in optimizers)}
    dimensions = {**names, **DIMENSIONS}
    excluded = [pair for row in _EXCLUDED for pair in _pairs(*row)]
    for path, family, name, variant in optimizers:
        own = ("optimizer", (label(path, variant),))
        keys = {name, (family, name), (family, name, variant)}
        barred: list[tuple[str, Sequence[str]]] = [row[1:] for row in _NOT_OF_FAMILY if family in row[0]]
        barred += [row[1:] for row in _NOT_OF_CLASS if keys & set(row[0])]
        barred += [row[1:] for row in _NOT_OF_MODULE if path.startswith(row[0])]
        barred += [row[1:] for row in _SINCE if release < row[0]]
        if name not in VARIANTS:  # nothing tells what its constructor takes
            barred += [("schedule", (*SCHEDULES, "callable"))]
        excluded += [pair for row in barred for pair in _pairs(*own, *row)]
    return Space(dimensions, excluded)


def _pairs(name: str, values: Iterable[str], other: str, its: Iterable[str]) -> Iterator[Exclusion]:
    for value, one in itertools.product(values, its):
        yield name, value, other, one


def boxes(row: Row, shapes: Iterable[tuple[int, ...]], gradient: str) -> Iterator[Box]:
    """Where a case lies whose ``row`` says all but its shapes and gradients; of "every" regime an
    array has as many as it has elements."""
    plain: dict[str, Sequence[str]] = {name: (value,) for name, value in row.items()}
    plain["emit"] = tuple(dict.fromkeys(("tensor", row["emit"])))  # a case that emits less does both
    if row["layout"] != "dense":
        yield {**plain, "shape": ("rows",), "gradient": REGIMES if gradient == "every" else (gradient,)}
        return
    for shape in shapes:
        size, named = 1, ",".join(map(str, shape)) or "()"
        for length in shape:
            size *= length
        if named not in SHAPES_BY_NAME:
            continue
        regimes: Sequence[str] = (gradient,)
        if gradient == "every":
            regimes = (*REGIMES[: max(size, 1)], *(("nan",) if size >= 1000 else ()))
        yield {**plain, "shape": (named,), "gradient": regimes}
