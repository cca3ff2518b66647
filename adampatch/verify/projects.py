"""A verification of a project: each class in processes of its own, the uses in one. No printing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adampatch.project.settings import Settings
from adampatch.verify import judge as judging
from adampatch.verify.cases import RATES, SHAPES, Case, Optimizer, numbers, under
from adampatch.verify.catalogue import reference_of
from adampatch.verify.dimensions import ROWS
from adampatch.verify.judge import Verdict
from adampatch.verify.lanes import asked
from adampatch.verify.process import Worker, WorkerFailed
from adampatch.verify.project import Project, ProjectClass, ProjectUse, project_at
from adampatch.verify.session import (
    Announce,
    Progress,
    Request,
    Result,
    described,
    devices_of,
    judged,
    not_run,
)
from adampatch.verify.target import Target

#: of one request, and of a process, where the project does not say
_SECONDS, _GIGABYTES = 120.0, 8.0
#: arguments that a reference knows; with any other the class is compared with stock alone
_KNOWN = {"learning_rate", "beta_1", "beta_2", "epsilon", "amsgrad", "weight_decay", "name"}
_NO_REFERENCE = "is not stock, and has no hand-written reference: compared with stock bit for bit, its clamp "
_NO_REFERENCE += "judged against rate, direction and decay at its site"


@dataclass(frozen=True)
class _Part:
    """Cases that run in the same processes: of one class, or of one use; or why none can run."""

    cases: tuple[Case, ...]
    owner: ProjectClass | None = None
    reason: str | None = None


def verify_project(
    path: str,
    request: Request,
    progress: Progress = lambda done, total, name: None,
    announce: Announce = lambda cases, lanes: None,
) -> Result:
    """Verifies the classes and the stock optimizers that the project at ``path`` uses.

    A patched project is judged as it is on disk now against its originals, another one against
    a copy that is patched. Raises AdampatchError for a path or an environment that cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="adampatch-verify-") as name:
        folder = Path(name)
        settings = Settings.load(_directory(path), _top(path)).verify
        project = project_at(path, folder, request.executable)
        return _Run(project, settings, request, folder).result(path, progress, announce)


def _directory(path: str) -> Path:
    given = Path(path).resolve()
    return given if given.is_dir() else given.parent


def _top(path: str) -> Path:
    return Path(_directory(path).anchor)


class _Run:
    """One verification; processes are started and ended as its parts come."""

    def __init__(self, project: Project, settings: Mapping[str, Any], request: Request, folder: Path) -> None:
        self.project, self.settings, self.request, self.folder = project, settings, request, folder
        self.target = Target(folder / "target")
        self.seconds = float(settings.get("seconds", _SECONDS))
        self.limit = {"do": "limit", "gigabytes": float(settings.get("memory", _GIGABYTES))}

    def result(self, path: str, progress: Progress, announce: Announce) -> Result:
        with self._worker("stock-classes", []) as worker:
            environment, _ = described(worker, self.target)
            how = "the files on disk against .adampatch/original"
            if not self.project.patched_before:
                how = "a patched temporary copy against the files on disk"
            result = Result(
                {"executable": worker.executable, "seed": self.request.seed, "project": path, "how": how}
                | environment
            )
            chosen = devices_of(result, self.request, environment["devices"])
            result.not_verified += self.project.left_out
            parts = [self._class_part(owner, device) for owner in self.project.classes for device in chosen]
            for use in _distinct(self.project.uses):
                parts += [self._use_part(worker, use, device) for device in chosen]
            parts = [self._selected(part) for part in parts]
            self._say_what_has_no_reference(result, parts)
            announce([case for part in parts for case in part.cases], 1)
            total, done = sum(len(part.cases) for part in parts), 0
            for part in parts:
                progress(done, total, part.cases[0].id if part.cases else "")
                if part.reason is not None:
                    result.rows += [
                        (case, Verdict(judging.NOT_RUN, reason=part.reason)) for case in part.cases
                    ]
                elif part.owner is None:
                    result.rows += [self._stock_case(worker, case) for case in part.cases]
                else:
                    result.rows += self._class_cases(part)
                done += len(part.cases)
            progress(total, total, "")
        result.not_verified += not_run(result)
        return result

    def _worker(self, name: str, paths: Iterable[Path], cwd: Path | None = None) -> Worker:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        every = [self.target.folder, *paths]
        return Worker(folder, self.request.executable, every, self.limit, cwd)

    def _selected(self, part: _Part) -> _Part:
        rules = self.request.rules
        every = [ruled for case in part.cases for ruled in (under(case, rules) if rules else [case])]
        return replace(part, cases=tuple(filter(self.request.selects, every)))

    # -- classes of the project

    def _class_part(self, owner: ProjectClass, device: str) -> _Part:
        """The cases of a class; what it is, its own process says later."""
        given = self.settings.get("arguments", {})
        kwargs = given.get(f"{owner.module}.{owner.name}", given.get(owner.name, {}))
        optimizer = Optimizer(f"{owner.module}.{owner.name}", "", owner.name, owner.module)
        plain = Case(
            id=f"{owner.where}/float32/eager",
            optimizer=optimizer,
            options={},
            dtype="float32",
            mode="eager",
            device=device,
            seed=self.request.seed,
            arguments={"args": [], "kwargs": dict(kwargs)},
        )
        return _Part(tuple(_forms(plain, owner.where, quick=self.request.quick)), owner)

    def _class_cases(self, part: _Part) -> list[tuple[Case, Verdict]]:
        assert part.owner is not None
        owner = part.owner
        if not part.cases:
            return []
        trees = {name: getattr(self.project, name) / owner.root for name in ("stock", "patched")}
        with (
            self._worker("stock-worker", [trees["stock"]], trees["stock"]) as stock,
            self._worker("patched-worker", [trees["patched"]], trees["patched"]) as patched,
        ):
            family, reason = self._inspected(stock, owner, part.cases[0])
            rows = []
            for case in part.cases:
                case = replace(case, optimizer=replace(case.optimizer, family=family))
                if reason is not None:
                    rows.append((case, Verdict(judging.NOT_RUN, reason=reason)))
                elif case.mode.startswith("graph") and family not in ("v1", "v2"):
                    continue
                else:
                    rows.append(self._class_case(stock, patched, case))
        return rows

    def _inspected(self, worker: Worker, owner: ProjectClass, case: Case) -> tuple[str, str | None]:
        """(the family of a class, why it cannot be run)."""
        try:
            told = worker.ask({"do": "inspect", "module": owner.module, "name": owner.name}, self.seconds)
        except WorkerFailed as error:
            return "", f"importing {owner.module}: {error}"
        if "error" in told:
            return "", f"importing {owner.module}: {told['error']}"
        if told["family"] not in ("v1", "v2", "keras2", "keras3"):
            return (
                "",
                f"no way is known to step a {told['family'] or 'class that is no Keras or V1 optimizer'}",
            )
        assert case.arguments is not None
        missing = [name for name in told["required"] if name not in case.arguments["kwargs"]]
        if missing:
            return told["family"], (
                f"its constructor needs {', '.join(missing)}: give it in pyproject.toml, "
                f"[tool.adampatch.verify.arguments.{owner.name}]"
            )
        return told["family"], None

    def _class_case(self, stock: Worker, patched: Worker, case: Case) -> tuple[Case, Verdict]:
        given, states = self.folder / "given.npz", self.folder / "states.npz"
        outs = [self.folder / "stock.npz", self.folder / "patched.npz"]
        np.savez(given, **numbers(case))
        words = {"numbers": given, "states": states}
        answer = asked(stock, "run_stock", case, self.seconds, **words, out=outs[0])
        if "counters" in answer:
            words["counters"] = answer["counters"]
            answer = asked(patched, "run_patched", case, self.seconds, **words, out=outs[1])
        return judged(case, answer, outs)

    # -- stock classes, as the project makes them

    def _use_part(self, worker: Worker, use: ProjectUse, device: str) -> _Part:
        path = use.resolved
        optimizer = Optimizer(path, "", path.rpartition(".")[2])
        plain = Case(
            id=f"{use.where} {path}/float32/eager",
            optimizer=optimizer,
            options={},
            dtype="float32",
            mode="eager",
            device=device,
            seed=self.request.seed,
            arguments=use.arguments,
        )
        forms = _forms(plain, f"{use.where} {path}", quick=self.request.quick)
        try:
            told = worker.ask({"do": "inspect", "path": path}, self.seconds)
        except WorkerFailed as error:
            told = {"error": str(error)}
        if "error" in told or told["family"] is None:
            reason = told.get("error") or "it is no optimizer there"
            return _Part((plain,), reason=f"{path} cannot be had of this TensorFlow: {reason}")
        kwargs = dict(zip(told["names"], use.arguments["args"], strict=False)) | use.arguments["kwargs"]
        still_open = [told["names"][int(n)] if n.isdigit() else n for n in use.open]
        unknown = [name for name in still_open if name not in ("learning_rate", "lr", "name")]
        if unknown:
            reason = f"its argument {unknown[0]} is no literal"
            return _Part((plain,), reason=reason)
        forms = [c for c in forms if told["family"] in ("v1", "v2") or not c.mode.startswith("graph")]
        optimizer = replace(optimizer, family=told["family"])
        options, rate = _as_options(told, kwargs, optimizer, open_rate=bool(still_open))
        cases = [
            replace(
                case,
                optimizer=optimizer,
                options=options or {},
                arguments=None if options is not None else {"args": [], "kwargs": kwargs},
                rates=RATES if rate is None else (rate,) * case.steps,
            )
            for case in forms
        ]
        return _Part(tuple(cases))

    def _stock_case(self, worker: Worker, case: Case) -> tuple[Case, Verdict]:
        given, out = self.folder / "given.npz", self.folder / "out.npz"
        np.savez(given, **numbers(case))
        if case.watch:
            case = replace(case, bounds=case.bounds or _bounds_around(case.rates), watch=False)
        return judged(case, asked(worker, "run", case, self.seconds, numbers=given, out=out), [out])

    def _say_what_has_no_reference(self, result: Result, parts: Iterable[_Part]) -> None:
        for part in parts:
            if part.reason is None and part.cases and part.cases[0].arguments is not None:
                name = (
                    part.owner.where if part.owner is not None else part.cases[0].id.rpartition("/float32")[0]
                )
                reason = _NO_REFERENCE
                if part.owner is None:
                    reason = "its arguments are beyond its reference: compared with stock bit for bit"
                result.not_verified.append({"what": f"the formula of {name}", "reason": reason})


def _forms(plain: Case, name: str, *, quick: bool) -> list[Case]:
    """A case in each form that a project's optimizer is run in."""
    forms = [plain, replace(plain, id=f"{name}/float32/eager/clamped", watch=True)]
    if not quick:
        sparse = replace(plain, id=f"{name}/float32/eager/sparse")
        forms.append(replace(sparse, layout="sparse", shapes=(ROWS,)))
        # a class may count its updates once for each variable when it is traced
        forms.append(replace(plain, id=f"{name}/float32/function", mode="function", shapes=SHAPES[:1]))
        for tail in ("", "/clamped"):
            graph = replace(plain, id=f"{name}/float32/graph{tail}", mode="graph")
            forms.append(replace(graph, watch=bool(tail)))
    return forms


def _distinct(uses: Iterable[ProjectUse]) -> list[ProjectUse]:
    """One use of each class and arguments; the first names them all."""
    found: dict[str, ProjectUse] = {}
    for use in uses:
        found.setdefault(repr((use.resolved, use.arguments, use.open)), use)
    return list(found.values())


def _as_options(
    told: Mapping[str, Any], kwargs: Mapping[str, Any], optimizer: Optimizer, *, open_rate: bool
) -> tuple[dict[str, Any] | None, float | None]:
    """(the options as a reference reads them, None where there is none for these arguments; the
    learning rate where it is known)."""
    names = {"beta1": "beta_1", "beta2": "beta_2"}
    defaults = {names.get(name, name): value for name, value in told["defaults"].items()}
    given = {names.get(name, name): value for name, value in kwargs.items()}
    wanted = ("beta_1", "beta_2", "epsilon", "amsgrad", "weight_decay")
    options = {name: defaults[name] for name in wanted if defaults.get(name) is not None} | given
    rate = options.pop("learning_rate", defaults.get("learning_rate"))
    numeric = rate is None or isinstance(rate, (int, float))
    if reference_of(*optimizer.key) is None or set(given) - _KNOWN or not numeric:
        return None, None
    options = {name: value for name, value in options.items() if name != "name" and value is not None}
    return options, None if open_rate or rate is None else float(rate)


def _bounds_around(rates: Iterable[float]) -> tuple[float, float]:
    """Bounds that the rates of a training with these learning rates reach beyond."""
    middle = float(np.median(list(rates)))
    return 0.4 * middle, 5 * middle
