"""From the bits that a case left to a verdict: local, cross and free-run questions, and the rule's.

Pure NumPy; every bound comes from `ball`, every formula from `references`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adampatch.verify.ball import EXACT, Accuracy
from adampatch.verify.cases import Case
from adampatch.verify.catalogue import MIXING, reference_of
from adampatch.verify.clamps import bounded
from adampatch.verify.findings import (
    QUANTITIES,
    Findings,
    apart,
    count,
    dataflow,
    first_of,
    unemitted,
    where_emitted,
)
from adampatch.verify.formats import Array
from adampatch.verify.record import Record, format_of
from adampatch.verify.references import Reference
from adampatch.verify.ruling import ruled
from adampatch.verify.sites import watched_sites
from adampatch.verify.snapshots import misreported

PASS_BITWISE, PASS_BOUND, FAIL = "PASS_BITWISE", "PASS_BOUND", "FAIL"
MODEL_INVALID, INCONCLUSIVE = "MODEL_INVALID", "INCONCLUSIVE"
NOT_RUN, ERROR = "NOT_RUN", "ERROR"
GREEN = (PASS_BITWISE, PASS_BOUND)

#: more than this share of elements without a usable bound proves nothing
_VACUOUS = 0.5


@dataclass
class Verdict:
    """What a case showed. ``error``: the greatest error over its bound; ``vacuous``: the share of
    elements whose bound could not tell a step from none; ``divergence``: the first one, in
    steps and then in dataflow order."""

    verdict: str
    error: float = 0.0
    ulps: float = 0.0
    vacuous: float = 0.0
    divergence: dict[str, Any] | None = None
    reason: str | None = None


def judge(
    case: Case, arrays: Mapping[str, Array], told: Mapping[str, Any], accuracy: Accuracy = EXACT
) -> Verdict:
    """The verdict on what the worker recorded for ``case``.

    ``arrays``: {"STEP/RUN/QUANTITY/VARIABLE": bit patterns}, runs being ``stock``, ``free``
    (patched, on its own), ``cross`` (patched, from stock's state before the step), ``bounded`` (the
    same under a rule) and ``quiet`` (the last of these, emitting less); ``told``: learning rates by
    step, what races in a v1 graph, what ``snapshot`` said of each step of each run, warnings, variables
    out of place, and how a rule was refused; ``accuracy``: of the device's operations in the case's
    format. Questions in the order of blame: stock breaks its own bound -> MODEL_INVALID; patched differs
    where it may not, or leaves its bound, or races, or the rule is not obeyed, or something else is
    said of an update than it did -> FAIL.
    """
    record = Record(case, arrays, told, accuracy)
    reference = None if case.watch or case.optimizer.module else _reference_for(case)
    stock = _local(record, reference, "stock")
    vacuous = stock.vacuous / max(stock.elements, 1)
    shown = Verdict(PASS_BITWISE, error=stock.error, vacuous=vacuous)
    if stock.divergence is not None:
        shown.verdict, shown.divergence = MODEL_INVALID, stock.divergence
        return shown

    shown.divergence = _repeated_otherwise(record)
    if shown.divergence is not None:
        shown.verdict, shown.reason = FAIL, "the same step from the same state came out in another way"
        return shown
    differs, shown.ulps = None, 0.0
    for run in ("cross", "free"):
        found, ulps = _different(record, run)
        shown.ulps = max(shown.ulps, ulps)
        differs = differs or found
    if differs is not None:
        if case.bitwise or reference is None:
            shown.verdict, shown.divergence = FAIL, _cause(record, reference, differs)
            return shown
        shown.verdict = PASS_BOUND
    for run in ("cross", "free") if differs is not None else ("cross",):
        ours = _local(record, reference, run)
        shown.error = max(shown.error, ours.error)
        if ours.divergence is not None:
            shown.verdict, shown.divergence = FAIL, ours.divergence
            return shown

    if found := _unordered(told, "cross") or misreported(record, reference, "cross") or _said(case, told):
        shown.verdict, shown.divergence = FAIL, found
        return shown
    if case.forms and told.get("not_ruled"):
        return Verdict(NOT_RUN, reason=told["not_ruled"])
    if case.forms:
        hit, divergence, error = ruled(record, reference)
        shown.error = max(shown.error, error)
        found = divergence or _unordered(told, "bounded") or misreported(record, reference, "bounded")
        if found:
            shown.verdict, shown.divergence = FAIL, found
            return shown
        shown.verdict = PASS_BOUND
        if not hit:
            shown.reason = f"nothing reached the rule {case.rule}"
    if case.bounds is not None:
        hit, divergence, error = bounded(record, reference)
        if case.watch and divergence is None and case.mode == "eager":
            watched, divergence, at_sites = watched_sites(record.field, arrays, case.bounds)
            hit, error = min(hit, watched), max(error, at_sites)
        shown.error = max(shown.error, error)
        if divergence is not None:
            shown.verdict, shown.divergence = FAIL, divergence
            return shown
        if found := _unordered(told, "bounded") or misreported(record, reference, "bounded"):
            shown.verdict, shown.divergence = FAIL, found
            return shown
        if case.outside and told.get("refused") is None:
            words = "a rule with a pattern that matches no variable is not refused"
            shown.verdict, shown.divergence = FAIL, {"run": "bounded", "quantity": "rules", "observed": words}
            return shown
        shown.verdict = PASS_BOUND
        if case.binds_nothing:
            shown.verdict = PASS_BITWISE if record.exact and differs is None else PASS_BOUND
        elif not hit and case.rule is not None:
            shown.reason = f"no rate reached the rule {case.rule}"
        elif not hit and (reference is not None or case.watch):
            shown.verdict, shown.reason = INCONCLUSIVE, "no rate was out of bounds"
    if case.emit != "tensor" and record.exact:
        loud = "bounded" if case.obeys else "cross"
        differs, _ = _different(record, "quiet", loud)
        if found := differs or misreported(record, reference, "quiet"):
            shown.verdict, shown.divergence = FAIL, found
            return shown
    if not any(record.values(t, "cross", f"rate/{i}") is not None for t, i in record.steps()):
        shown.verdict, shown.reason = INCONCLUSIVE, "no rate was emitted"
    elif not stock.moved:
        shown.verdict, shown.reason = INCONCLUSIVE, "stock does not move"
    elif vacuous > _VACUOUS:
        shown.verdict, shown.reason = INCONCLUSIVE, f"{vacuous:.0%} of the bounds tell nothing"
    return shown


def _said(case: Case, told: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is said and should not be: a warning, of a class that is patched by what is known of it, or
    that a variable is listed which is none of the optimizer's."""
    warned = [] if case.optimizer.module else told.get("warned", ())
    for quantity, words in (("warning", warned), ("variables", told.get("untracked", ()))):
        if words:
            return {"run": "cross", "quantity": quantity, "observed": words[0]}
    return None


def _unordered(told: Mapping[str, Any], run: str) -> dict[str, Any] | None:
    """The divergence of a v1 graph that reads and writes a variable in no order, the first of them.
    Stock's own races (``get_updates`` reads its counter beside counting) are not held against it."""
    races = told.get("races", {})
    stock = {name for name, _, _ in races.get("stock", ())}
    found = [race for race in races.get(run, ()) if race[0] not in stock]
    if not found:
        return None
    name, reader, writer = found[0]
    quantity, _, number = name.partition("/")
    variable = {"variable": int(number)} if number else {}
    words = f"{reader} may come before or after {writer}"
    return {"run": run, "quantity": quantity} | variable | {"observed": words}


def _reference_for(case: Case) -> Reference | None:
    if case.arguments is not None and not case.options:  # arguments that no reference knows
        return None
    return reference_of(*case.optimizer.key)


# ------------------------------------------------------------------------ local


def _local(record: Record, reference: Reference | None, run: str) -> Findings:
    """Each step of one implementation, from its own state, against the reference's balls."""
    found = Findings()
    if reference is None:
        for t, i in record.steps():
            pair = [record.bits(at, run, f"w/{i}") for at in (t - 1, t)]
            found.moved |= all(x is not None for x in pair) and bool(np.any(pair[0] != pair[1]))
        return found
    for t, i in record.steps():
        wanted = record.wanted(reference, t, i, run)
        before = record.state(t - 1, "stock" if t == 1 or run == "cross" else run, i)
        for quantity in QUANTITIES:
            if quantity == "alpha" and i and record.case.optimizer.name in MIXING:
                continue  # each variable has its own, the first one's is shown
            ball, observed = wanted.get(quantity), _observed(record, run, t, i, quantity)
            shown = ball is not None and quantity in ("alpha", "rate") and run == "cross"
            if shown and observed is None and before["w"].mid.size:
                where = {"run": run, "step": t, "variable": i}
                found.divergence = found.divergence or where | unemitted(quantity)
            if ball is None or observed is None:
                continue
            if quantity == "rate":
                ball = where_emitted(ball, observed)
            excess = ball.excess(observed)
            found.see(excess, ball, observed, run=run, step=t, variable=i, quantity=quantity)
        count(found, before["w"], wanted["w"], record.values(t, run, f"w/{i}"))
    return found


def _observed(record: Record, run: str, t: int, i: int, quantity: str) -> Array | None:
    if quantity == "alpha":  # one for all variables, read out of the patched optimizer
        alpha = record.alphas.get(t) if run == "cross" else None
        return None if alpha is None else np.asarray(alpha, record.form.wide)
    if quantity == "product":
        state = record.state(t, run, i)
        return state["product"].mid if "product" in state else None
    return record.values(t, run, f"{quantity}/{i}")


# ------------------------------------------------------------------------ cross and free run


def _cause(record: Record, reference: Reference | None, differs: dict[str, Any]) -> dict[str, Any]:
    """The first divergence of patched code whose bits are not stock's. Stock shows neither alpha nor
    rate, so what the bits of the variable say first may have come from these: the formula tells."""
    off = _local(record, reference, "cross").divergence
    if off is None or differs["run"] != "cross" or "step" not in off:
        return differs

    def order(divergence: dict[str, Any]) -> tuple[int, int]:
        return int(divergence["step"]), dataflow(divergence["quantity"])[0]

    return min(differs, off, key=order)


def _different(record: Record, run: str, other: str = "stock") -> tuple[dict[str, Any] | None, float]:
    """(the first difference to the bits of another run, the greatest distance in units in the last place)."""
    first, most = None, 0.0
    for t in range(1, record.case.steps + 1):
        for name in sorted(record.names(t, "stock"), key=dataflow):
            theirs, ours = record.bits(t, other, name), record.bits(t, run, name)
            assert theirs is not None
            if ours is None or ours.shape != theirs.shape:
                return {"run": run, "step": t, "quantity": name, "observed": "missing"}, np.inf
            off, ulps = apart(record.form, theirs, ours)
            most = max(most, ulps)
            if first is None and np.any(off):
                at = first_of(off)
                quantity, _, number = name.partition("/")
                first = {"run": run, "step": t, "quantity": quantity, "element": list(at)}
                if number:
                    first["variable"] = int(number)
                if theirs.dtype.kind == "u":
                    form = format_of(record.form, theirs)
                    pair = (float(form.decode(x[at])) for x in (theirs, ours))
                    first["expected"], first["observed"] = pair
                    first["ulp"] = ulps
    return first, most


def _repeated_otherwise(record: Record) -> dict[str, Any] | None:
    """The first quantity of which a step that was made again gave other bits."""
    found = []
    for key in record.arrays:
        if key.startswith("race/"):
            _, t, run, name = key.split("/", 3)
            first, other = record.bits(int(t), run, name), record.arrays[key]
            assert first is not None
            off = first != other
            if record.form.bits == 8 * other.itemsize and other.dtype.kind == "u":
                off = record.form.canonical(first) != record.form.canonical(other)
            if np.any(off):
                where = {"run": run, "step": int(t), "quantity": name, "element": list(first_of(off))}
                found.append((int(t), dataflow(name), where))
    return min(found, key=lambda row: row[:2])[2] if found else None
