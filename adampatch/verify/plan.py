"""The plan: a mandatory core for each optimizer, and a cover of what the core leaves open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from adampatch.verify.cases import (
    COARSE,
    QUICK_SHAPES,
    QUICK_STEPS,
    RATES,
    SHAPES,
    SMALL_SHAPES,
    STEPS,
    Case,
    Optimizer,
    Rule,
    identity,
    under,
)
from adampatch.verify.catalogue import (
    DEFAULTS,
    LONG,
    MIXING,
    NO_SCHEDULE,
    NO_XLA,
    ONE_VARIABLE,
    VARIANTS,
    VECTORS_ONLY,
)
from adampatch.verify.cover import Box, Row, Space
from adampatch.verify.dimensions import GRAPHS, LAYOUTS, ROWS, SHAPES_BY_NAME, boxes, label, space

NEWEST = (99,)
#: before this release what XLA contracts depends on what else reads a state
CONTRACTS_ALIKE = (2, 16)
#: the step after which traced runs go on in a new optimizer; what rules remember, from a checkpoint
_RESTORED = 3
#: of the rate, where the core has a rule: the regimes reach beyond either
BOUNDS = (0.004, 0.05)


def planned(
    optimizers: Iterable[Optimizer],
    *,
    quick: bool = False,
    full: bool = False,
    devices: Iterable[str] = ("CPU:0",),
    seed: int = 0,
    release: tuple[int, ...] = NEWEST,
    rules: Sequence[Rule] = (),
) -> list[Case]:
    """The mandatory core for each optimizer and device, in a fixed order; ``release``: TensorFlow's.

    A cover of all pairs of `dimensions` follows, with ``full`` of all triples, with ``quick`` none.
    With ``rules`` the cases that are clamped are so by each of these, and by nothing else.
    """
    variants = [(o, *variant) for o in optimizers for variant in VARIANTS.get(o.name, {"": {}}).items()]
    cases = []
    for device in devices:
        core = [c for row in variants for c in _core(*row, device, quick=quick, seed=seed)]
        cases += core
        if not quick:
            cases += _drawn(variants, core, device, strength=3 if full else 2, seed=seed, release=release)
    if rules:
        cases = [ruled for case in cases for ruled in under(case, rules)]
    if release < CONTRACTS_ALIKE:
        cases = [replace(case, bitwise=case.bitwise and case.mode != "xla") for case in cases]
    return cases


def _core(
    optimizer: Optimizer, variant: str, extra: dict[str, Any], device: str, *, quick: bool, seed: int
) -> list[Case]:
    """Eager runs are cheap and take the breadth of formats and layouts; traced runs take the forms."""
    plain = _plain(optimizer, variant, extra, device, seed)

    def case(dtype: str, mode: str, layout: str = "dense", **more: Any) -> Case:
        shapes = SHAPES
        if layout != "dense":
            shapes = (ROWS,)
        elif optimizer.key in ONE_VARIABLE:
            shapes = SHAPES[:1]
        elif optimizer.name in MIXING and dtype in COARSE:
            shapes = SMALL_SHAPES  # the bound of a sum of n terms grows with n
        if optimizer.family == "get_updates":
            shapes = tuple(shape for shape in shapes if 0 not in shape)
        if mode == "xla" and layout == "dense":
            shapes = QUICK_SHAPES[: len(shapes)]  # compiling takes as long as there are variables
        return _cast(plain, dtype, mode=mode, layout=layout, shapes=shapes, **more)

    first = "graph" if optimizer.family == "get_updates" else "eager"

    def pair(mode: str, layout: str = "dense", restore: int = 0, **more: Any) -> list[Case]:
        """Without a rule and with one; what ``more`` says is of the latter."""
        plain = case("float32", mode, layout, restore=restore)
        return [plain, case("float32", mode, layout, restore=restore, bounds=BOUNDS, **more)]

    cases = pair(first)
    if quick:
        steps = LONG.get(optimizer.name, QUICK_STEPS)
        shapes = tuple(shape for shape in QUICK_SHAPES if shape in (SHAPES[0], *cases[0].shapes))
        return [replace(case, steps=steps, shapes=shapes, frugal=True) for case in cases]
    outside = tuple(i for i in (1, 4) if i < len(cases[0].shapes))
    if optimizer.family == "get_updates":
        return pair(first, outside=outside, emit="off")
    cases = pair(first, outside=outside, emit="stats")
    cases += [case(dtype, "eager") for dtype in ("float64", "float16", "bfloat16")]
    layouts = ["dense"] if optimizer.key in VECTORS_ONLY else ["dense", "sparse"]
    for layout in layouts[1:]:
        cases += pair("eager", layout, emit="off")
    # what counts in Python while it is traced cannot be put back
    cases += pair("function", restore=0 if optimizer.key in ONE_VARIABLE else _RESTORED, emit="stats")
    cases += [case("float32", "function", layout) for layout in layouts[1:]]
    if optimizer.family != "v1" and optimizer.key not in NO_SCHEDULE:
        cases.append(case("float64", "function", schedule="exponential"))
        if optimizer.family == "v2" and optimizer.name in VARIANTS:
            cases.append(case("float32", "eager", schedule="decay"))
    if (*optimizer.key, variant) not in NO_XLA:
        cases += pair("xla")
    if optimizer.family == "v2":
        cases += pair("graph", outside=outside, emit="stats")
    if optimizer.family == "v1":
        for layout in layouts:
            some = outside if layout == "dense" else ()
            for kind, emit in zip(GRAPHS, ("stats", "off"), strict=True):
                cases += pair(kind, layout, _RESTORED, outside=some, emit=emit)
    return cases


def _plain(optimizer: Optimizer, variant: str, extra: dict[str, Any], device: str, seed: int) -> Case:
    steps = LONG.get(optimizer.name, STEPS)
    return Case(
        id="",
        optimizer=optimizer,
        options=extra if optimizer.name in VARIANTS else {},
        dtype="float32",
        mode="eager",
        device=device,
        seed=seed,
        rates=(RATES * (steps // len(RATES) + 1))[:steps],
        steps=steps,
        variant=variant,
    )


def _cast(plain: Case, dtype: str, **more: Any) -> Case:
    """A case in a format, with the options and rates that the format can show, and its id."""
    case = replace(plain, dtype=dtype, **more)
    name = case.optimizer.name
    # Grappler's arithmetic moves sparse slots by some ULP, whatever else is in the graph; and
    # which products a GPU contracts is its own choice
    moved = case.layout != "dense" and case.mode != "eager"
    rates = tuple(10 * rate for rate in case.rates) if dtype in COARSE else case.rates
    if case.schedule == "constant":
        rates = rates[:1] * case.steps
    case = replace(
        case,
        options=_options(name, dtype, dict(case.options)) if name in VARIANTS else {},
        bitwise=case.device.startswith("CPU") and not moved,
        rates=rates,
    )
    return replace(case, id=_id(case))


def _id(case: Case) -> str:
    """What sets a case apart from the plainest one of its optimizer."""
    words = [label(case.optimizer.path, case.variant), case.dtype, case.mode]
    words += [f"{case.gradient_dtype}-gradients"] if case.gradient_dtype else []
    words += [case.layout] if case.layout != "dense" else []
    if case.drawn:
        words += [_shape_name(case)] if case.layout == "dense" else []
        words += [case.gradients, *(["from-zero"] if case.start == "zero" else []), case.schedule]
        words += [f"restored-at-{case.restore}"] if case.restore else []
        words += [case.strategy] if case.strategy != "none" else []
        words += [_rule_name(case)] if case.ruled else []
        words += [f"emit-{case.emit}"] if case.emit != "tensor" else []
    else:
        words += ["clamped"] if case.ruled else []
        words += ["decay" if case.schedule == "decay" else "schedule"] if case.schedule != "changed" else []
    return "/".join(words + ([case.device] if case.device != "CPU:0" else []))


def _shape_name(case: Case) -> str:
    return next((name for name, shapes in SHAPES_BY_NAME.items() if shapes == case.shapes), "several")


def _rule_name(case: Case) -> str:
    if case.clamp is not None:
        return case.clamp
    if case.binds_nothing:
        return "identity"
    return "bounds" if case.ruled else "none"


# ------------------------------------------------------------------------ the cover


def _drawn(
    variants: Sequence[tuple[Optimizer, str, dict[str, Any]]],
    core: Sequence[Case],
    device: str,
    *,
    strength: int,
    seed: int,
    release: tuple[int, ...],
) -> Iterator[Case]:
    """Cases for the choices that the core leaves open."""
    plain = {
        label(optimizer.path, variant): _plain(optimizer, variant, extra, device, seed)
        for optimizer, variant, extra in variants
    }
    given = [box for case in core for box in _boxes(case)]
    for row in _space(core, release).cover(strength, seed=seed, given=given):
        yield _of_row(plain[row["optimizer"]], row)


def _of_row(plain: Case, row: Row) -> Case:
    mixed = row["dtype"] == "mixed"
    dtype = "float32" if mixed else row["dtype"]
    shapes: tuple[tuple[int, ...], ...]
    if row["layout"] == "dense":
        shapes = SHAPES_BY_NAME[row["shape"]]
    else:
        shapes = (ROWS,) * len(LAYOUTS[row["layout"]])
    return _cast(
        plain,
        dtype,
        mode=row["mode"],
        layout=row["layout"],
        shapes=shapes,
        gradients=row["gradient"],
        gradient_dtype="float16" if mixed else None,
        start=row["start"],
        schedule=row["schedule"],
        bounds=identity(dtype) if row["rule"] == "identity" else None,
        clamp=row["rule"] if row["rule"] in ("bounds", "floor", "ceiling") else None,
        restore=0 if row["restore"] == "never" else int(row["restore"]),
        strategy=row["strategy"],
        emit=row["emit"],
        frugal=True,
        drawn=True,
    )


def _space(cases: Iterable[Case], release: tuple[int, ...]) -> Space:
    classes = [(case.optimizer, case.variant) for case in cases]
    rows = dict.fromkeys((o.path, o.family, o.name, variant) for o, variant in classes)
    return space(tuple(rows), release)


def _boxes(case: Case) -> Iterator[Box]:
    row = {
        "optimizer": label(case.optimizer.path, case.variant),
        "dtype": case.dtype if case.gradient_dtype is None else "mixed",
        "mode": case.mode,
        "layout": case.layout,
        "start": case.start,
        "schedule": case.schedule,
        "rule": _rule_name(case),
        "restore": str(case.restore or "never"),
        "strategy": case.strategy,
        "emit": case.emit,
    }
    regime = case.gradients
    if regime == "every" and case.optimizer.name in MIXING:
        regime = "normal"
    return boxes(row, case.shapes, regime)


def coverage(cases: Iterable[Case], release: tuple[int, ...] = NEWEST) -> dict[str, float]:
    """The share of pairs and of triples of all dimensions, optimizers among them, that some case has;
    nothing where all are of a project."""
    cases = [case for case in cases if case.arguments is None and not case.optimizer.module]
    if not cases:
        return {}
    met = [box for case in cases for box in _boxes(case)]
    whole = _space(cases, release)
    return {name: whole.reached(met, n) for n, name in ((2, "pairs"), (3, "triples"))}


def _options(name: str, dtype: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Hyper-parameters that the format can show: in 8 bits 0.999 is 1, and Adam stands still."""
    coarse = dtype in COARSE
    options = {
        "beta_1": 0.9,
        "beta_2": 0.99 if coarse else 0.999,
        "epsilon": 1e-3 if coarse else 1e-7,
    }
    return options | DEFAULTS.get(name, {}) | extra
