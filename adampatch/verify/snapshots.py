"""What a patched optimizer says of its updates against what they did: snapshots, and the tensors of v1
graphs. Which update is sampled, and that what is off says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from adampatch.verify import statistics
from adampatch.verify.ball import Ball
from adampatch.verify.findings import first_of, may_be
from adampatch.verify.formats import Array
from adampatch.verify.record import Record
from adampatch.verify.references import Reference
from adampatch.verify.sites import limits
from adampatch.verify.statistics import Elements

#: of an alpha under a rule, which is a number of the rule, a product, or stock's
_ROUNDINGS = 4


def misreported(record: Record, reference: Reference | None, run: str) -> dict[str, Any] | None:
    """The first divergence between what was said of the steps of a run and these steps, or None.

    In the ``quiet`` run that emits less, some updates are sampled, and one that is not leaves what was
    said as it was.
    """
    told = record.said.get(run)
    if told is None:
        return None
    graph = record.case.mode.startswith("graph")
    emit = record.case.emit if run == "quiet" else "tensor"
    sampled = 1
    for t in range(1, record.case.steps + 1):
        if run != "quiet" or (t - 1) % record.case.every == 0:
            sampled = t
        found = _unwanted(record, run, t, emit)
        if found is None and emit != "off" and _emitting(record, t):
            found = (
                _in_graph(record, reference, run, t)
                if graph
                else _snapshot(record, reference, run, sampled, told[t])
            )
        if found is not None:
            return {"run": run, "step": t} | found
    return None


def _emitting(record: Record, t: int) -> bool:
    """Whether some rate of a step was seen: a class without a site that is known has nothing to say."""
    return any(record.bits(t, "cross", f"rate/{i}") is not None for i in range(len(record.case.shapes)))


def _unwanted(record: Record, run: str, t: int, emit: str) -> dict[str, Any] | None:
    """What is shown though it is off, or though only statistics are asked for."""
    if emit == "tensor" or (emit == "stats" and record.case.mode.startswith("graph")):
        return None
    if any(name.startswith("rate/") for name in record.names(t, run)):
        return {"quantity": "rate", "observed": f'emitted with emit="{emit}"'}
    if emit == "off" and "step" in record.said[run][t]:
        return {"quantity": "snapshot", "observed": 'taken with emit="off"'}
    return None


def _alpha(record: Record, reference: Reference | None, t: int, run: str) -> dict[str, statistics.Ranges]:
    """The alpha that a step has without a rule is the one that it has with it, but for rules of alpha."""
    alpha = record.alphas.get(t)
    if alpha is None:
        return {}
    if run != "cross" and t in record.applied:
        slack = _ROUNDINGS * max(record.form.unit, 2.0**-24) * abs(record.applied[t])
        return {"alpha": ((record.applied[t] - slack, record.applied[t] + slack),)}
    if record.exact or reference is None:
        return {"alpha": ((alpha, alpha),)}
    ball = record.wanted(reference, t, 0, "cross").get("alpha")
    if ball is None:
        return {}
    mid, rad = float(ball.mid), float(ball.rad)
    return {"alpha": ((mid - rad, mid + rad),)}


def _snapshot(
    record: Record, reference: Reference | None, run: str, t: int, said: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What a snapshot says of the update ``t`` otherwise than its rates do."""
    case = record.case
    if "step" not in said:
        return {"quantity": "snapshot", "observed": "not taken"}
    # a family without a step counter counts what has run, and states were put back in between
    number = record.said[run][t]["ran"] if case.optimizer.family == "v1" else t
    scalars: dict[str, statistics.Ranges] = {"step": ((number, number),)}
    if case.arguments is None and said["lr"] is not None:
        # a decay is shown in float64 where the update has it in float32, in three operations
        slack = 3 * 2.0**-24 * record.rates[t] if case.schedule == "decay" else 0.0
        scalars["lr"] = ((record.rates[t] - slack, record.rates[t] + slack),)
    found = statistics.wrong(said, scalars | _alpha(record, reference, t, run))
    for i in range(len(case.shapes)):
        if found is not None:
            break
        wanted = _of_variable(record, reference, run, t, i)
        variable = said["variables"].get(str(i))
        if wanted is not None and variable is None:
            found = {"variable": i, "quantity": "snapshot", "observed": "not of this variable"}
        elif wanted is not None:
            found = statistics.wrong(variable, wanted)
            found = found if found is None else {"variable": i} | found
    return found


def _of_variable(
    record: Record, reference: Reference | None, run: str, t: int, i: int
) -> Mapping[str, statistics.Ranges] | None:
    """The statistics of a variable at an update; None where no rate of it was emitted."""
    ruled = run != "cross" and record.case.obeys
    raw, rate = (record.values(t, seen, f"rate/{i}") for seen in ("cross", "bounded" if ruled else "cross"))
    if raw is None or rate is None:
        return None
    hit = _hit(record, reference, t, i, raw, rate) if ruled else Elements.of(np.zeros(rate.shape, bool))
    touched, active = moved(record, reference, run, t, i, raw)
    if touched is not None:
        hit = hit & Elements.of(touched)
    return statistics.expected(raw, rate, hit, touched, active)


def _hit(record: Record, reference: Reference | None, t: int, i: int, raw: Array, rate: Array) -> Elements:
    """Where a rate was bounded. Where the same operations may round in two ways, a rate that is the bound
    may have been so by itself."""
    if record.case.forms:
        nowhere = np.zeros(rate.shape, bool)
        return record.clamped.get((t, i), Elements(nowhere, ~nowhere))
    bounds = record.case.bounds_of(i)
    if bounds is None:
        return Elements.of(np.zeros(rate.shape, bool))
    low, high = limits(record.form, bounds)
    if record.exact:
        with np.errstate(invalid="ignore"):
            return Elements.of((raw < low) | (raw > high))
    at = np.isfinite(rate) & ((rate == low) | (rate == high))
    itself = at
    if reference is not None:
        itself = at & may_be(record.wanted(reference, t, i, "cross")["rate"], rate)
    return Elements(at & ~itself, itself, alike=False)


def moved(
    record: Record, reference: Reference | None, run: str, t: int, i: int, raw: Array
) -> tuple[Array | None, Elements | None]:
    """(the elements that an update is for, those whose direction is not 0); None where not known."""
    everywhere = np.ones(raw.shape, bool)
    if reference is None:
        known = record.case.layout == "dense" or bool(np.all(np.isfinite(raw)))
        return (everywhere if known else None), None
    gradient = record.gradient(t, i)
    touched = everywhere
    if gradient.rows is not None:  # or all, where only a part of the update is lazy
        rows = everywhere & gradient.rows.reshape((-1,) + (1,) * (raw.ndim - 1))
        touched = rows if np.all(np.isnan(raw[~rows])) else everywhere
    wanted, moment = record.wanted(reference, t, i, run), record.values(t, run, f"m/{i}")
    direction = wanted.get("direction")
    if direction is None:
        return touched, None
    if moment is not None and direction is wanted.get("m") and record.exact:  # known to the bit
        seen = record.field.exact(moment)
        return touched, Elements((moment != 0) & ~(seen.rad > 0), seen.rad > 0)
    mid, rad = (np.broadcast_to(x, raw.shape) for x in (direction.mid, direction.rad))
    with np.errstate(invalid="ignore"):
        sure = (np.abs(mid) > rad) | ~np.isfinite(mid)
    return touched, Elements(sure, ~sure & ((mid != 0) | (rad > 0)), alike=False)


def _in_graph(record: Record, reference: Reference | None, run: str, t: int) -> dict[str, Any] | None:
    """The tensors of a v1 graph that are fetched with an update."""
    case = record.case
    found = statistics.wrong(record.said[run][t], _alpha(record, reference, t, run))
    if found is not None:
        return found | {"quantity": "alpha"}
    ruled = run != "cross" and case.obeys
    for i in range(len(case.shapes)):
        raw, rate = (record.values(t, seen, f"rate/{i}") for seen in ("cross", run))
        mask, update = record.bits(t, run, f"clamped/{i}"), record.values(t, run, f"update/{i}")
        if raw is None or not raw.size:
            continue
        loud = record.values(t, "bounded" if ruled else "cross", f"rate/{i}")
        if rate is None or loud is None or mask is None or update is None:
            return {"variable": i, "quantity": "rate", "observed": "not emitted"}
        hit = _hit(record, reference, t, i, raw, rate) if ruled else Elements.of(np.zeros(raw.shape, bool))
        off = {"clamped": (mask & ~hit.possible) | (~mask & hit.sure)}
        if run == "quiet" and record.exact:
            off["rate"] = (rate != loud) & ~(np.isnan(rate) & np.isnan(loud))
        if reference is not None and record.exact:  # a fused kernel shows what is made anew beside it
            off["update"] = _not_subtracted(
                record, record.wanted(reference, t, i, "cross"), run, t, i, update
            )
        for quantity, where in off.items():
            if np.any(where):
                return {"variable": i, "quantity": quantity, "element": list(first_of(where))}
    return None


def _not_subtracted(
    record: Record, wanted: Mapping[str, Ball], run: str, t: int, i: int, update: Array
) -> Array:
    """Where the variable is not what it was less the update that is shown."""
    before = wanted.get("base", record.state(t - 1, "stock", i)["w"])
    after = record.values(t, run, f"w/{i}")
    assert after is not None
    with np.errstate(invalid="ignore", over="ignore"):
        return (before - record.field.exact(update)).excess(after) > 1
