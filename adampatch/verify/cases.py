"""What is run: one training, stock and patched, and its numbers. Plain data, deterministic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from adampatch.verify.catalogue import (
    LONG,
    MIXING,
)
from adampatch.verify.dimensions import LAYOUTS, REGIMES, ROWS, rows_at
from adampatch.verify.formats import FORMATS, Array

SHAPES: tuple[tuple[int, ...], ...] = ((1023,), (), (1,), (7,), (3, 5, 7), (0,))
#: each variable costs as many operations as any other
QUICK_SHAPES: tuple[tuple[int, ...], ...] = ((1023,), (), (0,))
SMALL_SHAPES: tuple[tuple[int, ...], ...] = ((7,), (2, 3), (1,), ())
#: formats that show a step only where it is large
COARSE = ("float16", "bfloat16")
STEPS, QUICK_STEPS = 6, 4
#: the learning rate at each step: changed in mid-run
RATES = (0.01, 0.01, 0.01, 0.004, 0.004, 0.02)


#: the least and the greatest rate that a rule allows; None: no bound on this side
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class Rule:
    """A user's rule as it is verified: on every variable, whatever it matches in a model."""

    id: str
    bounds: Bounds | None = None
    forms: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, form: Mapping[str, Any]) -> Rule:
        """From its normal form: fixed bounds of the rate are ``bounds``, all else is in ``forms``."""
        plain = {"id", "match", "exclude", "optimizer", "quantity", "min", "max"}
        fixed = not any(isinstance(form.get(side), Mapping) for side in ("min", "max"))
        if fixed and form["quantity"] == "rate" and set(form) <= plain:
            return cls(form["id"], bounds=(form["min"], form["max"]))
        return cls(form["id"], forms=(_everywhere(form),))

    @classmethod
    def all_of(cls, forms: Sequence[Mapping[str, Any]]) -> list[Rule]:
        """Each of some rules, and where there are several, all of them together."""
        alone = [cls.of(form) for form in forms]
        together = cls("together", forms=tuple(_everywhere(form) for form in forms))
        return [*alone, together] if len(alone) > 1 else alone


def _everywhere(form: Mapping[str, Any]) -> dict[str, Any]:
    whole = {"match": ["**"], "exclude": [], "optimizer": "*"}
    return {name: x for name, x in form.items() if x is not None} | whole


def identity(dtype: str) -> Bounds:
    """A rule that binds no rate."""
    return (0.0, FORMATS[dtype].largest)


@dataclass(frozen=True)
class Optimizer:
    """One class: ``path`` imports it, ``name`` finds its reference. ``module``: of a project's own
    class, which then is the ``name`` in it, and has no reference."""

    path: str
    family: str
    name: str
    module: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What the catalogue knows it by."""
        return self.family, self.name


@dataclass(frozen=True)
class Case:
    """One training, stock and patched. ``bounds``: of the rate, or None for no rule.

    ``options`` are the constructor's, under Keras' names. ``bitwise``: whether patched and
    stock must agree to the bit; where they need not, both must lie in their balls.
    ``arguments``: {"args", "kwargs"}, the constructor's as they are, in place of all that.
    ``layout``, ``gradients``, ``start``, ``schedule``, ``strategy``: as `dimensions` names them;
    gradients of "every" regime have one after the other. ``gradient_dtype``: theirs, where it is not
    the variables'. ``restore``: the step after which the patched run goes on in a new optimizer.
    ``rule``: the user's that ``bounds`` are of, or ``forms``, normal forms, where it is more than
    that. ``clamp``: sides ("bounds", "floor", "ceiling") on which quantiles of its own rates bound the
    case where ``bounds`` says nothing; ``watch``: that, with what happens at each site written down.
    ``frugal``: the patched optimizer's own run answers the cross question too, as long as it has
    stock's bits. ``outside``: the variables that the rule does not match; with some, it is refused
    where a pattern matches none. ``emit``: of a last run, one update in ``every`` of which is
    sampled, and which must have the bits of the one that emits tensors. ``drawn``: of the cover,
    not of the core.
    """

    id: str
    optimizer: Optimizer
    options: Mapping[str, Any]
    dtype: str
    mode: str
    layout: str = "dense"
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    bounds: Bounds | None = None
    schedule: str = "changed"
    steps: int = STEPS
    bitwise: bool = True
    device: str = "CPU:0"
    seed: int = 0
    rates: tuple[float, ...] = RATES
    arguments: Mapping[str, Any] | None = None
    watch: bool = False
    rule: str | None = None
    forms: tuple[Mapping[str, Any], ...] = ()
    frugal: bool = False
    variant: str = ""
    gradients: str = "every"
    gradient_dtype: str | None = None
    start: str = "usual"
    restore: int = 0
    strategy: str = "none"
    clamp: str | None = None
    emit: str = "tensor"
    every: int = 3
    outside: tuple[int, ...] = ()
    drawn: bool = False

    @property
    def ruled(self) -> bool:
        """Whether it runs under a rule."""
        return self.bounds is not None or self.watch or self.clamp is not None or bool(self.forms)

    @property
    def obeys(self) -> bool:
        """Whether it has a run under a rule whose numbers are known."""
        return self.bounds is not None or bool(self.forms)

    def bounds_of(self, variable: int) -> Bounds | None:
        """Those of one variable's rates."""
        return None if variable in self.outside else self.bounds

    @property
    def binds_nothing(self) -> bool:
        """Whether its rule is the identity: bounds that no finite rate is beyond."""
        return self.bounds == identity(self.dtype)

    @property
    def degenerate(self) -> bool:
        """Whether it is known to show little: no share of inconclusive cases counts it."""
        # in so few bits one regime alone may be below the range, or drown in the bound
        return self.dtype in COARSE and (self.drawn or self.optimizer.name in LONG)

    def as_message(self) -> dict[str, Any]:
        """The case as the worker reads it."""
        return asdict(self)


def under(case: Case, rules: Sequence[Rule]) -> list[Case]:
    """A case that is clamped in each rule's form, any other as it is."""
    if not case.ruled:
        return [case]
    return [
        replace(
            case,
            id=f"{case.id}:{rule.id}",
            bounds=rule.bounds,
            forms=rule.forms,
            rule=rule.id,
            clamp=None,
            outside=(),
        )
        for rule in rules
    ]


# ------------------------------------------------------------------------ the numbers


def numbers(case: Case) -> dict[str, Any]:
    """All that a training needs beside the case: start values, gradients, rows of a sparse one."""
    found: dict[str, Any] = {f"start/{i}": value for i, value in enumerate(initial(case))}
    for t, row in enumerate(gradients(case), start=1):
        found |= {f"g/{t}/{i}": gradient for i, gradient in enumerate(row)}
    for i in range(len(LAYOUTS.get(case.layout, ()))):
        rows = [rows_at(case.layout, i, t) for t in range(1, case.steps + 1)]
        found[f"indices/{i}"] = np.asarray(rows, np.int64)
    return found


def initial(case: Case) -> list[Array]:
    """Start values of the variables, float64: every third element is 0, or all are, so that there
    the whole tolerance is on the update."""
    rng = np.random.default_rng([case.seed, 1])
    values = []
    for shape in case.shapes:
        value = np.asarray(rng.standard_normal(shape))
        value.reshape(-1)[:: 1 if case.start == "zero" else 3] = 0.0
        values.append(value)
    return values


def gradients(case: Case) -> list[list[Array]]:
    """Gradients [step][variable], float64; of a sparse variable those of the touched rows."""
    rng = np.random.default_rng([case.seed, 2])
    shapes: Sequence[tuple[int, ...]] = case.shapes
    if case.layout != "dense":
        shapes = [(len(rows), *ROWS[1:]) for rows, _ in LAYOUTS[case.layout]]
    return [[_gradient(rng, shape, t, case) for shape in shapes] for t in range(case.steps)]


def _gradient(rng: np.random.Generator, shape: tuple[int, ...], t: int, case: Case) -> Array:
    """Of every regime: element i is of regime i modulo their number, and not-a-number comes into the
    last elements of a long variable at the fourth step. Of one: every third element is of it from
    the first step on, so that the others tell what it hides; not-a-number and a single element from
    the fourth and third."""
    normal = np.asarray(rng.standard_normal(shape)).reshape(-1)
    if case.optimizer.name in MIXING:  # one element beyond the range would be everybody's
        return normal.reshape(shape)
    form = FORMATS[case.gradient_dtype or case.dtype]
    narrow = form.smallest > 1e-30
    span = 3.0 if narrow else 12.0
    by_regime = {
        "normal": normal,
        "tiny": normal * (1e-3 if narrow else 1e-8),
        "wide": np.sign(normal) * 10.0 ** rng.uniform(-span, span / 2, normal.shape),
        "cancelling": np.abs(normal) * (1 if t % 2 else -1),
        "zero": np.zeros_like(normal),
        "constant": np.ones_like(normal),
        "huge": normal * (50.0 if narrow else 1e15),
        "subnormal": normal * form.smallest / 8,
    }
    if case.gradients == "every":
        choices = np.arange(normal.size) % len(REGIMES)
        values = np.choose(choices, [by_regime[regime] for regime in REGIMES])
        if normal.size >= 1000 and t >= 3:
            values[-24:] = np.tile([np.nan, np.inf, -np.inf], 8)
        return np.asarray(values).reshape(shape)
    by_regime["nan"] = np.resize([np.nan, np.inf, -np.inf], normal.size)
    begin = 3 if case.gradients == "nan" else 2 if normal.size == 1 else 0
    if t >= begin:
        normal[::3] = by_regime[case.gradients][::3]
    return normal.reshape(shape)
