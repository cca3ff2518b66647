"""A verification as plain data, in the shape of the contract, and its exit code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adampatch.verify import judge
from adampatch.verify.cases import Case
from adampatch.verify.judge import Verdict
from adampatch.verify.plan import coverage
from adampatch.verify.session import Request, Result, release_of

SCHEMA = "adampatch/verify/1"


def as_document(result: Result) -> dict[str, Any]:
    """The report; numbers that are not finite become words, as JSON has none."""
    verdicts = sorted({verdict.verdict for _, verdict in result.rows})
    summary: dict[str, Any] = {"planned": len(result.rows)}
    summary |= {"green": result.count(*judge.GREEN)} | {name: result.count(name) for name in verdicts}
    summary["max_error_over_bound"] = max((v.error for _, v in result.rows), default=0.0)
    ran = [case for case, verdict in result.rows if verdict.verdict != judge.NOT_RUN]
    summary["coverage"] = coverage(ran, release_of(result.environment))
    document = {
        "schema": SCHEMA,
        "environment": result.environment,
        "summary": summary,
        "not_verified": result.not_verified,
        "cases": [_row(case, verdict) for case, verdict in result.rows],
    }
    if result.carried:
        document["carried"] = [_row(case, verdict) for case, verdict in result.carried]
    return {key: _plain(value) for key, value in document.items()}


#: seconds of a case by its mode, and of a start of TensorFlow, measured on one core
_SECONDS = {"eager": 0.3, "function": 0.6, "xla": 1.5, "graph": 0.5, "graph-ref": 0.5}
_START = 5.0


def outlook_in_words(
    request: Request, packages: Mapping[str, str], path: str | None = None, graph: bool = False
) -> str:
    """One line that says what is intended, before anything is imported; ``packages``: what of
    TensorFlow and Keras is installed, with versions."""
    what = "the core and a cover of all pairs"
    if request.quick:
        what = "two cases of each optimizer"
    elif request.full:
        what = "the core and a cover of all triples"
    if request.replay is not None:
        what = f"the cases of {request.replay}"
    if path is not None:
        what = f"the updates of the graph {path}" if graph else f"the classes and uses of {path}"
    named = ", ".join(f"{name} {version}" for name, version in packages.items()) or "no TensorFlow seen"
    return f"verify: {what}; {named} of {request.executable}; importing TensorFlow"


def plan_in_words(cases: Sequence[Case], seed: int, lanes: int = 1) -> str:
    """One line that says what is about to run, on how many workers side by side (``lanes``), and for
    about how long."""

    def listed(values: Iterable[str]) -> str:
        return ", ".join(dict.fromkeys(values))

    if not cases:
        return "plan: no case"
    optimizers = len({case.optimizer.path for case in cases})
    return (
        f"plan: {len(cases)} case{'s' * (len(cases) > 1)} of {optimizers} optimizer{'s' * (optimizers > 1)}; "
        f"{listed(case.dtype for case in cases)}; {listed(case.mode for case in cases)}; "
        f"{listed(case.layout for case in cases)}; {sum(case.ruled for case in cases)} under a rule; "
        f"{listed(case.device for case in cases)}; seed {seed}; {_duration(cases, lanes)}"
    )


def _duration(cases: Sequence[Case], lanes: int) -> str:
    """The workers and the time that cases take; those of a project's classes have two of their own."""
    owners = {case.optimizer.path for case in cases if case.optimizer.module}
    workers = lanes + 2 * len(owners)
    # a case and the same one under a rule are one run, and judged while the next one runs
    seconds = sum(_SECONDS[case.mode] * (0.5 if case.bounds else 1) for case in cases) / lanes
    seconds += 2 * _START * len(owners)
    words = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    return f"{workers} worker{'s' * (workers > 1)}, about {words}"


def _row(case: Case, verdict: Verdict) -> dict[str, Any]:
    return {
        "id": case.id,
        "optimizer": case.optimizer.path,
        "dtype": case.dtype,
        "mode": case.mode.split("-")[0],
        "device": case.device,
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "max_error_over_bound": verdict.error,
        "max_ulp": verdict.ulps,
        "vacuous": verdict.vacuous,
        "first_divergence": verdict.divergence,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def exit_code(result: Result, max_inconclusive: float = 0.05) -> int:
    """0 green; 5 an error or nothing run; 1 a mismatch; 4 stock breaks its own model; 3 a device
    that was required is not there; 6 more inconclusive cases than allowed; in this order."""
    if result.count(judge.ERROR) or not (result.rows or result.missing_device):
        return 5
    if result.count(judge.FAIL):
        return 1
    if result.count(judge.MODEL_INVALID):
        return 4
    if result.missing_device:
        return 3
    open_ = sum(v.verdict == judge.INCONCLUSIVE and not case.degenerate for case, v in result.rows)
    if open_ > max_inconclusive * len(result.rows):
        return 6
    return 0
