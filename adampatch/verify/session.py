"""One verification: asks the worker what is there, plans, runs, judges. No printing."""

from __future__ import annotations

import fnmatch
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from adampatch.errors import AdampatchError
from adampatch.verify import calibration, carrying
from adampatch.verify import judge as judging
from adampatch.verify.ball import EXACT, Accuracy
from adampatch.verify.cases import Case, Optimizer, Rule, numbers
from adampatch.verify.catalogue import UNORDERED, VECTORS_ONLY, reference_of
from adampatch.verify.judge import Verdict, judge
from adampatch.verify.lanes import Lanes, how_many, shared_runs
from adampatch.verify.plan import planned
from adampatch.verify.process import Worker, WorkerFailed
from adampatch.verify.target import Target

#: seconds that one request may take; the first of a process imports TensorFlow
START_SECONDS, CASE_SECONDS = 600.0, 300.0

Progress = Callable[[int, int, str], None]
Announce = Callable[[list[Case], int], None]
Accuracies = Mapping[tuple[str, str], Accuracy]


@dataclass
class Result:
    """What a verification found. ``rows``: each planned case with its verdict; ``not_verified``:
    what no case spoke of, and why; ``missing_device``: a device that was asked for and not there."""

    environment: dict[str, Any]
    rows: list[tuple[Case, Verdict]] = field(default_factory=list)
    not_verified: list[dict[str, str]] = field(default_factory=list)
    missing_device: bool = False
    #: rows that a file of carried cases brought along, judged elsewhere
    carried: list[tuple[Case, Verdict]] = field(default_factory=list)

    def count(self, *verdicts: str) -> int:
        return sum(verdict.verdict in verdicts for _, verdict in self.rows)


@dataclass(frozen=True)
class Request:
    """What is to be verified. ``pattern``: a glob over case ids; ``devices``: ``cpu``, ``gpu``,
    ``all``, or one such as ``gpu:1``; ``executable``: the Python whose TensorFlow and Keras are
    meant; ``rules``: the user's; ``replay``: a file of carried cases, run in place of a plan."""

    quick: bool = False
    full: bool = False
    seed: int = 0
    pattern: str | None = None
    devices: frozenset[str] = frozenset({"cpu"})
    require_gpu: bool = False
    executable: str = sys.executable
    rules: tuple[Rule, ...] = ()
    replay: Path | None = None

    def selects(self, case: Case) -> bool:
        """Whether the pattern, if there is one, fits the case's id."""
        return self.pattern is None or fnmatch.fnmatchcase(case.id, self.pattern)


def verify(
    request: Request = Request(),
    progress: Progress = lambda done, total, name: None,
    announce: Announce = lambda cases, lanes: None,
) -> Result:
    """Verifies every Adam-family optimizer of an environment's TensorFlow and Keras.

    ``announce`` is told the plan, and how many workers share it, before anything of it runs.
    Raises AdampatchError where TensorFlow cannot be imported.
    """
    carried = None if request.replay is None else carrying.replay(request.replay)
    with tempfile.TemporaryDirectory(prefix="adampatch-verify-") as name:
        folder = Path(name)
        target = Target(folder / "target")
        with Worker(folder, request.executable, [target.folder], {"do": "describe"}) as worker:
            environment, found = described(worker, target)
            result = Result({"executable": worker.executable, "seed": request.seed, **environment})
            chosen = devices_of(result, request, environment["devices"])
            if carried is None:
                plan = planned(
                    _optimizers(result, found),
                    quick=request.quick,
                    full=request.full,
                    devices=chosen,
                    seed=request.seed,
                    release=release_of(environment),
                    rules=request.rules,
                )
            else:
                plan = carried.on(chosen)
                result.carried = carried.rows
                result.environment["carried"] = carried.environment
            cases = [case for case in plan if request.selects(case)]
            count = how_many(environment["devices"])
            announce(cases, count)
            accuracies = calibrated(worker, folder, {(case.device, case.dtype) for case in cases})
            result.environment["accuracy"] = _as_words(accuracies)

            def values_of(case: Case) -> Mapping[str, Any]:
                return numbers(case) if carried is None else carried.numbers_of(case)

            with Lanes(worker, count, CASE_SECONDS) as lanes:
                for group, answer, out in lanes.ran(shared_runs(cases), values_of):
                    for case in group:
                        progress(len(result.rows), len(cases), case.id)
                        accuracy = accuracies.get((case.device, case.dtype), EXACT)
                        result.rows.append(judged(case, answer, [out], accuracy))
            progress(len(cases), len(cases), "")
    result.not_verified += not_run(result)
    return result


def release_of(environment: Mapping[str, Any]) -> tuple[int, ...]:
    """TensorFlow's, such as (2, 21), of what a worker says of its environment."""
    version = environment.get("versions", {}).get("tensorflow", "99")
    return tuple(int(part) for part in version.split(".")[:2])


def described(worker: Worker, target: Target) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(what the worker says of its environment, the optimizers it found)."""
    try:
        environment = worker.ask({"do": "describe"}, START_SECONDS)
        found = {} if "error" in environment else worker.ask({"do": "discover"}, START_SECONDS)
        if found.get("unknown") and target.learn(found["unknown"]):
            found = worker.ask({"do": "discover", "again": True}, START_SECONDS)
    except WorkerFailed as error:
        raise AdampatchError(
            worker.executable, f"{error}; nothing was verified: --python takes an interpreter with TensorFlow"
        ) from error
    broken = environment.get("error") or found.get("error")
    if broken:
        raise AdampatchError(
            worker.executable,
            f"{broken}; verify runs the TensorFlow of this Python: pip install 'adampatch[tensorflow]', or "
            "name another one with --python",
        )
    return environment, found["optimizers"]


def calibrated(worker: Worker, folder: Path, wanted: Iterable[tuple[str, str]]) -> Accuracies:
    """The measured accuracy of each (device, format); one that cannot be measured is left out, its
    cases will say why."""
    found = {}
    given, out = folder / "given.npz", folder / "out.npz"

    def asked(device: str, dtype: str, operands: Mapping[str, Any]) -> dict[str, Any]:
        np.savez(given, **operands)
        words = {"do": "calibrate", "dtype": dtype, "device": device}
        answer = worker.ask({**words, "numbers": str(given), "out": str(out)}, CASE_SECONDS)
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        with np.load(out) as arrays:
            return dict(arrays)

    for device, dtype in sorted(wanted):
        operands = calibration.operands(dtype)
        try:
            accuracy = calibration.measured(dtype, operands, asked(device, dtype, operands))
            if dtype == "float32" and accuracy.sqrt > 1:  # then by all there are
                roots = asked(device, dtype, {"x": calibration.all_roots()})["sqrt"]
                accuracy = replace(accuracy, sqrt=calibration.measured_roots(roots))
        except WorkerFailed:
            continue
        found[device, dtype] = accuracy
    return found


def _as_words(accuracies: Accuracies) -> dict[str, Any]:
    return {f"{device} {dtype}": asdict(accuracy) for (device, dtype), accuracy in accuracies.items()}


def not_run(result: Result) -> list[dict[str, str]]:
    """One entry for each optimizer and reason; a single case by its id."""
    ids: dict[tuple[str, str], list[str]] = {}
    for case, verdict in result.rows:
        if verdict.verdict == judging.NOT_RUN:
            ids.setdefault((case.optimizer.path, verdict.reason or ""), []).append(case.id)
    return [
        {"what": cases[0] if len(cases) == 1 else f"{path} in {len(cases)} cases", "reason": reason}
        for (path, reason), cases in ids.items()
    ]


def devices_of(result: Result, request: Request, there: list[str]) -> list[str]:
    asked = request.devices | ({"gpu"} if request.require_gpu else set())
    chosen = ["CPU:0"] if asked & {"cpu", "all"} else []
    named = sorted(name.upper() for name in asked if ":" in name)
    for name in named:
        if name in there:
            chosen.append(name)
        else:
            reason = f"there is none; visible: {', '.join(there)}"
            result.not_verified.append({"what": name, "reason": reason})
            result.missing_device = True
    chosen = list(dict.fromkeys(chosen))
    gpus = [name for name in there if name.startswith("GPU")]
    if not gpus:
        result.not_verified.append({"what": "GPU", "reason": "none visible"})
        result.missing_device |= "gpu" in asked
    elif asked & {"gpu", "all"}:
        chosen += [name for name in gpus if name not in chosen]
    elif not any(name.startswith("GPU") for name in chosen):
        result.not_verified.append({"what": "GPU", "reason": "not asked for; --device all takes it in"})
    return chosen


def _optimizers(result: Result, found: list[dict[str, Any]]) -> list[Optimizer]:
    chosen: list[Optimizer] = []
    for row in found:
        if row["reason"] is not None:
            reason = row["reason"].partition("cannot be patched: ")[2] or row["reason"]
            result.not_verified.append({"what": row["path"], "reason": reason})
            continue
        optimizer = Optimizer(row["path"], row["family"], row["name"])
        if optimizer.key in UNORDERED:
            result.not_verified.append({"what": row["path"], "reason": UNORDERED[optimizer.key]})
            continue
        chosen.append(optimizer)
        if optimizer.key in VECTORS_ONLY:
            reason = VECTORS_ONLY[optimizer.key]
            result.not_verified.append({"what": f"{row['path']} on matrices", "reason": reason})
        if reference_of(*optimizer.key) is None:
            reason = "no independent reference is written for it; compared with stock bit for bit"
            result.not_verified.append({"what": f"the formula of {row['path']}", "reason": reason})
    return chosen


def judged(
    case: Case, answer: Mapping[str, Any], outs: Sequence[Path], accuracy: Accuracy = EXACT
) -> tuple[Case, Verdict]:
    """(a case with the bounds that its own rates gave it, the verdict); its record is in the files
    ``outs``, and whatever went wrong is a verdict too."""
    if "error" in answer:
        return case, Verdict(judging.ERROR, reason=answer["error"])
    if "not_run" in answer:
        return case, Verdict(judging.NOT_RUN, reason=answer["not_run"])
    arrays: dict[str, Any] = {}
    for out in outs:
        with np.load(out) as found:
            arrays |= dict(found)
    return judged_record(case, arrays, answer, accuracy)


def judged_record(
    case: Case, arrays: Mapping[str, Any], told: Mapping[str, Any], accuracy: Accuracy = EXACT
) -> tuple[Case, Verdict]:
    """The same of a record in memory."""
    if "bounds" in told:
        if told["bounds"] is None:
            return case, Verdict(judging.INCONCLUSIVE, reason="its rates leave no room for a bound")
        case = replace(case, bounds=tuple(told["bounds"]))
    return case, judge(case, arrays, told, accuracy)
