"""A verification of a graph: stock and as `graph apply` patches it, run side by side. No printing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adampatch.errors import AdampatchError
from adampatch.verify import graph_judge, graph_subject
from adampatch.verify import judge as judging
from adampatch.verify.ball import Accuracy
from adampatch.verify.cases import QUICK_STEPS, STEPS, Case, Optimizer, identity
from adampatch.verify.formats import FORMATS, Array
from adampatch.verify.graph_judge import (
    Recorded,
    SiteRecord,
    asks_for_more,
    is_timed,
    judge_graph,
    rate_of,
)
from adampatch.verify.graph_replay import NoReplay, Replay
from adampatch.verify.graph_subject import Patched, Run, Subject, Update
from adampatch.verify.judge import Verdict
from adampatch.verify.process import Worker, WorkerFailed
from adampatch.verify.session import (
    Announce,
    Progress,
    Request,
    Result,
    calibrated,
    devices_of,
    not_run,
)
from adampatch.verify.target import Target

#: of one request
_SECONDS = 300.0
#: sets of updates that are run, of a graph that has more
_MOST = 16
_SIDES = (25.0, 75.0)


def verify_graph(
    path: str,
    request: Request,
    progress: Progress = lambda done, total, name: None,
    announce: Announce = lambda cases, lanes: None,
) -> Result:
    """Verifies the updates of a graph file or SavedModel, from its own start or its variables, with random
    numbers for what it is fed. Raises AdampatchError for a path or an environment that cannot be used."""
    subjects = graph_subject.subjects(path)
    with tempfile.TemporaryDirectory(prefix="adampatch-verify-") as name:
        folder = Path(name)
        target = Target(folder / "target")
        with Worker(folder, request.executable, [target.folder]) as worker:
            environment = _described(worker)
            how = "a patched temporary copy against the file"
            result = Result(
                {"executable": worker.executable, "seed": request.seed, "graph": path, "how": how}
                | environment
            )
            devices_of(result, request, environment["devices"])
            runs = [
                _Verification(subject, run, request, worker, folder / f"{i}-{k}", path)
                for i, subject in enumerate(subjects)
                for k, run in enumerate(subject.runs[:_MOST])
            ]
            for subject in subjects:
                result.not_verified += subject.left_out
                if len(subject.runs) > _MOST:
                    what = f"{len(subject.runs) - _MOST} more of the sets of updates that are run together"
                    result.not_verified.append({"what": what, "reason": f"{_MOST} are verified"})
            cases = [case for run in runs for case in run.cases]
            announce(cases, 1)
            dtypes = {u.dtype for run in runs for u in run.run.updates}
            measured = calibrated(worker, folder, {("CPU:0", dtype) for dtype in dtypes})
            accuracies = {dtype: accuracy for (_, dtype), accuracy in measured.items()}
            for run in runs:
                progress(len(result.rows), len(cases), run.cases[0].id if run.cases else "")
                result.rows += run.verdicts(accuracies)
                result.not_verified += run.left_out
            progress(len(cases), len(cases), "")
    result.not_verified += not_run(result)
    return result


def _described(worker: Worker) -> dict[str, Any]:
    """What the worker says of its environment. Raises AdampatchError."""
    try:
        environment = worker.ask({"do": "describe"}, _SECONDS)
        broken = environment.get("error")
    except WorkerFailed as error:
        broken = str(error)
    if broken:
        raise AdampatchError(
            worker.executable,
            f"{broken}; nothing was verified: --python takes an interpreter with TensorFlow",
        )
    return environment


class _Verification:
    """One set of updates that are run together. ``cases``: what it is verified in."""

    def __init__(
        self, subject: Subject, run: Run, request: Request, worker: Worker, folder: Path, path: str
    ) -> None:
        self.subject, self.run, self.request, self.worker, self.folder = subject, run, request, worker, folder
        self.steps = QUICK_STEPS if request.quick else STEPS
        self.left_out: list[dict[str, str]] = []
        self.replays: dict[str, Replay] = {}
        for update in run.updates:
            try:
                self.replays[update.name] = Replay(update)
            except NoReplay as error:
                words = f"compared with stock bit for bit: {error}"
                self.left_out.append({"what": f"the formula of {update.name}", "reason": words})
        name = f"{Path(path).name}:{run.targets[0]}"
        optimizer = Optimizer(name, "graph", "graph", path)
        dtype = run.updates[0].dtype
        options: dict[str, Any] = {"shapes": ((),), "steps": self.steps, "seed": request.seed}
        plain = Case(f"{name}/{dtype}/observed", optimizer, {}, dtype, "graph", **options)
        forms = [plain]
        if not request.rules:
            forms.append(replace(plain, id=f"{name}/{dtype}/idle", bounds=identity(dtype)))
            forms.append(replace(plain, id=f"{name}/{dtype}/clamped", clamp="bounds"))
        for rule in request.rules:
            of_rule = replace(plain, id=f"{name}/{dtype}/clamped:{rule.id}", rule=rule.id)
            forms.append(replace(of_rule, bounds=rule.bounds, forms=rule.forms))
        self.cases = [case for case in forms if request.selects(case)]

    # -- what the worker is asked

    def _ask(self, name: str, data: bytes, fetch: Mapping[str, str], **more: Any) -> dict[str, Array]:
        """What a run writes down. Raises _NotRun, WorkerFailed."""
        place = self.folder / name
        path = graph_subject.put(self.subject, data, place / "graph")
        out = place / "out.npz"
        words = {
            "do": "run_graph",
            "kind": "MetaGraphDef" if self.subject.kind == "MetaGraphDef" else self.subject.kind,
            "path": str(path),
            "tags": self.subject.graph.name.split(",") if self.subject.graph.name else [],
            "targets": self.run.targets,
            "fetch": {key: ref if ":" in ref else ref + ":0" for key, ref in fetch.items()},
            "variables": self.run.variables,
            "feeds": str(self.folder / "feeds.npz"),
            "steps": self.steps,
            "out": str(out),
            "states": None,
            "each": False,
        }
        answer = self.worker.ask(words | more, _SECONDS)
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        if "not_run" in answer:
            raise _NotRun(answer["not_run"])
        with np.load(out) as found:
            return dict(found)

    def _stock(self) -> Recorded:
        """Stock, twice: what does not come out alike says nothing of a patch."""
        given, reason = graph_subject.feeds(self.subject, self.run, self.steps, self.request.seed)
        if reason is not None:
            raise _NotRun(reason)
        self.folder.mkdir(parents=True, exist_ok=True)
        np.savez(self.folder / "feeds.npz", **given)
        data = graph_subject.stock(self.subject)
        fetch = {ref: ref for replay in self.replays.values() for ref in replay.fetches}
        try:
            first = self._ask("stock", data, fetch)
            again = self._ask("again", data, {}, states=str(self._states()))
        except _NotRun as error:
            raise _NotRun(f"stock itself: {error}") from error
        recorded = Recorded(first, free=again)
        divergence, _ = graph_judge.differs(recorded, "free", self.steps)
        if divergence is not None:
            words = "two runs of stock differ, by {} of step {}: it draws random numbers, or races"
            raise _NotRun(words.format(divergence["quantity"], divergence["step"]))
        return recorded

    def _states(self) -> Path:
        return self.folder / "stock" / "out.npz"

    def _patched(self, name: str, made: Patched, each: bool) -> dict[str, Array]:
        fetch = {
            rate_of(update): made.tensors[update.name]["rate"]
            for update in self.run.updates
            if update.name in made.tensors and each
        }
        try:
            return self._ask(name, made.data, fetch, states=str(self._states()), each=each)
        except _NotRun as error:  # which stock was
            raise WorkerFailed(f"the patched graph: {error}") from error

    # -- verdicts

    def verdicts(self, accuracies: Mapping[str, Accuracy]) -> list[tuple[Case, Verdict]]:
        if not self.cases:
            return []
        try:
            recorded = self._stock()
            observed = graph_subject.patch(self.subject, None)
            recorded.free = self._patched("free", observed, False)
            recorded.cross = self._patched("cross", observed, True)
        except _NotRun as error:
            return [(case, Verdict(judging.NOT_RUN, reason=str(error))) for case in self.cases]
        except WorkerFailed as error:
            return [(case, Verdict(judging.ERROR, reason=str(error))) for case in self.cases]
        return [(case, self._verdict(case, recorded, accuracies)) for case in self.cases]

    def _verdict(self, case: Case, recorded: Recorded, accuracies: Mapping[str, Accuracy]) -> Verdict:
        bounds: dict[str, Any] = {}
        recorded = replace(recorded, ruled={})
        updates = self.run.updates
        if case.ruled:
            if case.clamp is not None:
                bounds = self._quantiles(recorded)
                if not bounds:
                    return Verdict(judging.NOT_RUN, reason="no rate of it can be fetched")
            if case.clamp is None:
                rules = _normal_forms(case)
            else:
                rules = [_of_update(k, u, bounds[u.name]) for k, u in enumerate(updates) if u.name in bounds]
            try:
                made = graph_subject.patch(self.subject, {"version": 1, "rules": rules})
            except AdampatchError as error:
                return Verdict(judging.NOT_RUN, reason=str(error))
            refused = [made.refused[u.name] for u in updates if u.name in made.refused]
            updates = [u for u in updates if u.name not in made.refused]
            if not updates:
                return Verdict(judging.NOT_RUN, reason=refused[0])
            reason = self._cannot_judge(case, recorded, updates, accuracies)
            if reason is not None:
                return Verdict(judging.NOT_RUN, reason=reason)
            try:
                recorded.ruled = self._patched(case.id.rpartition("/")[2].replace(":", "-"), made, True)
            except WorkerFailed as error:
                return Verdict(judging.ERROR, reason=str(error))
        return judge_graph(case, recorded, updates, self.replays, bounds, accuracies, self.run)

    def _quantiles(self, recorded: Recorded) -> dict[str, tuple[float, float]]:
        """Bounds that each update's own rates reach beyond."""
        found = {}
        for update in self.run.updates:
            form = FORMATS[update.dtype]
            keys = [f"{t}/fetched/{rate_of(update)}" for t in range(1, self.steps + 1)]
            rates = [form.decode(recorded.cross[key]).ravel() for key in keys if key in recorded.cross]
            whole = np.concatenate(rates) if rates else np.zeros(0)
            whole = whole[np.isfinite(whole) & (whole > 0)].astype(np.float64)
            if whole.size:
                low, high = (float(form.rounded(x)) for x in np.percentile(whole, _SIDES))
                found[update.name] = (low, high)
        return found

    def _cannot_judge(
        self, case: Case, recorded: Recorded, updates: list[Update], accuracies: Mapping[str, Accuracy]
    ) -> str | None:
        """Why the rule of a case cannot be evaluated here; None where it can."""
        if not any(map(asks_for_more, case.forms)):
            return None
        known = [update for update in updates if update.name in self.replays]
        for update in known:
            accuracy = accuracies.get(update.dtype, Accuracy())
            record = SiteRecord(case, update, self.replays[update.name], recorded, accuracy)
            if any(map(is_timed, case.forms)) and record.first != 1:
                words = "its variables are those of update {}, and moments are judged from the first"
                return words.format(record.first)
        for update in updates:
            if update not in known:
                words = "what it asks for cannot be fetched; only all else is compared"
                self.left_out.append({"what": f"the rule {case.rule} on {update.name}", "reason": words})
        return None if known else "what the rule asks for cannot be fetched out of the graph"


class _NotRun(Exception):
    """A graph that cannot be run, in words."""


def _normal_forms(case: Case) -> list[dict[str, Any]]:
    if case.forms:
        return [dict(form) for form in case.forms]
    assert case.bounds is not None
    low, high = case.bounds
    rule = {"id": case.rule or "verify", "match": ["**"], "quantity": "rate", "min": low, "max": high}
    return [{name: value for name, value in rule.items() if value is not None}]


def _of_update(number: int, update: Update, bounds: tuple[float, float]) -> dict[str, Any]:
    match = graph_subject.exactly(update.paths)
    low, high = bounds
    return {"id": f"verify-{number}", "match": match, "quantity": "rate", "min": low, "max": high}
