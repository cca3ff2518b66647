"""One verification: asks the worker what is there, plans, runs, judges. No printing."""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adampatch.errors import AdampatchError
from adampatch.verify import judge as judging
from adampatch.verify.cases import Case, Optimizer, numbers, planned
from adampatch.verify.judge import Verdict, judge
from adampatch.verify.process import Worker, WorkerFailed
from adampatch.verify.references import reference_of

#: seconds that one request may take; the first of a process imports TensorFlow
_START, _CASE = 600.0, 300.0

Progress = Callable[[int, int, str], None]


@dataclass
class Result:
    """What a verification found. ``rows``: each planned case with its verdict; ``not_verified``:
    what no case spoke of, and why; ``missing_device``: a device that was asked for and not there."""

    environment: dict[str, Any]
    rows: list[tuple[Case, Verdict]] = field(default_factory=list)
    not_verified: list[dict[str, str]] = field(default_factory=list)
    missing_device: bool = False

    def count(self, *verdicts: str) -> int:
        return sum(verdict.verdict in verdicts for _, verdict in self.rows)


def verify(
    *,
    quick: bool = False,
    seed: int = 0,
    pattern: str | None = None,
    devices: Iterable[str] = ("cpu",),
    require_gpu: bool = False,
    progress: Progress = lambda done, total, name: None,
) -> Result:
    """Verifies every Adam-family optimizer of the installed TensorFlow and Keras.

    ``pattern`` is a glob over case ids; ``devices`` are ``cpu``, ``gpu``, ``all``. Raises
    AdampatchError where TensorFlow cannot be imported.
    """
    with tempfile.TemporaryDirectory(prefix="adampatch-verify-") as folder, Worker(Path(folder)) as worker:
        try:
            described = worker.ask({"do": "describe"}, _START)
            found = {} if "error" in described else worker.ask({"do": "discover"}, _START)
        except WorkerFailed as error:
            raise AdampatchError(worker.executable, f"{error}; nothing was verified") from error
        broken = described.get("error") or found.get("error")
        if broken:
            raise AdampatchError(
                worker.executable,
                f"{broken}; verify runs the TensorFlow of this Python: pip install 'adampatch[tensorflow]'",
            )
        result = Result({"executable": worker.executable, "seed": seed, **described})
        chosen = _devices(result, set(devices), described["devices"], require_gpu)
        optimizers = _optimizers(result, found["optimizers"])
        cases = [
            case
            for case in planned(optimizers, quick=quick, devices=chosen, seed=seed)
            if pattern is None or fnmatch.fnmatchcase(case.id, pattern)
        ]
        for done, case in enumerate(cases):
            progress(done, len(cases), case.id)
            result.rows.append((case, _judged(worker, case, Path(folder))))
        progress(len(cases), len(cases), "")
    result.not_verified += _not_run(result)
    return result


def _not_run(result: Result) -> list[dict[str, str]]:
    """One entry for each optimizer and reason; a single case by its id."""
    ids: dict[tuple[str, str], list[str]] = {}
    for case, verdict in result.rows:
        if verdict.verdict == judging.NOT_RUN:
            ids.setdefault((case.optimizer.path, verdict.reason or ""), []).append(case.id)
    return [
        {"what": cases[0] if len(cases) == 1 else f"{path} in {len(cases)} cases", "reason": reason}
        for (path, reason), cases in ids.items()
    ]


def _devices(result: Result, asked: set[str], there: list[str], require_gpu: bool) -> list[str]:
    chosen = ["CPU:0"] if asked & {"cpu", "all"} else []
    gpus = [name for name in there if name.startswith("GPU")]
    if not gpus:
        result.not_verified.append({"what": "GPU", "reason": "none visible"})
        result.missing_device = require_gpu or "gpu" in asked
    elif asked & {"gpu", "all"}:
        chosen += gpus
    else:
        result.not_verified.append({"what": "GPU", "reason": "not asked for; --device all takes it in"})
    return chosen


def _optimizers(result: Result, found: list[dict[str, Any]]) -> list[Optimizer]:
    chosen: list[Optimizer] = []
    for row in found:
        if row["reason"] is not None:
            reason = row["reason"].partition("cannot be patched: ")[2] or row["reason"]
            result.not_verified.append({"what": row["path"], "reason": reason})
            continue
        chosen.append(Optimizer(row["path"], row["family"], row["name"]))
        if reference_of(row["family"], row["name"]) is None:
            reason = "no independent reference is written for it; compared with stock bit for bit"
            result.not_verified.append({"what": f"the formula of {row['path']}", "reason": reason})
    return chosen


def _judged(worker: Worker, case: Case, folder: Path) -> Verdict:
    """Runs one case and judges it; whatever goes wrong becomes its verdict."""
    given, out = folder / "given.npz", folder / "out.npz"
    np.savez(given, **numbers(case))
    request = {"do": "run", "case": case.as_message(), "numbers": str(given), "out": str(out)}
    try:
        answer = worker.ask(request, _CASE)
    except WorkerFailed as error:
        return Verdict(judging.ERROR, reason=str(error))
    if "error" in answer:
        return Verdict(judging.ERROR, reason=answer["error"])
    if "not_run" in answer:
        return Verdict(judging.NOT_RUN, reason=answer["not_run"])
    with np.load(out) as arrays:
        return judge(case, dict(arrays), answer)
