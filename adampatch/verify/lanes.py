"""Cases run side by side. A lane is a worker and the thread that asks it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from adampatch.verify.cases import Case
from adampatch.verify.process import Worker, WorkerFailed

#: cases under one run of the worker
Group = tuple[Case, ...]
#: (the worker's answer, the file of the record)
Answer = tuple[dict[str, Any], Path]
Values = Callable[[Case], Mapping[str, Any]]
#: runs of a lane that may wait to be judged
_AHEAD = 2
#: each process holds a TensorFlow: a few of them are as much as a machine gladly has
_MOST = 4


def how_many(devices: Iterable[str]) -> int:
    """The lanes of a machine: one for each of its first processors; a single one where TensorFlow sees
    a GPU, whose memory the first process takes whole."""
    if any(name.startswith("GPU") for name in devices):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST)


def shared_runs(cases: Iterable[Case]) -> list[Group]:
    """The cases in their order, a case and the same one under a rule in one group: the record of
    the latter, which is run, holds the former's."""
    groups: list[Group] = []
    for case in cases:
        last = groups[-1] if groups else ()
        if (
            len(last) == 1
            and case.obeys
            and replace(case, id=last[0].id, bounds=None, forms=(), rule=None, emit="tensor", outside=())
            == last[0]
        ):
            groups[-1] = (last[0], case)
        else:
            groups.append((case,))
    return groups


def asked(worker: Worker, what: str, case: Case, seconds: float, **more: Any) -> dict[str, Any]:
    """The worker's answer to ``what``, one of its requests, for a case; no answer is an error of it.
    ``more``: the request's other entries, paths among them."""
    words = {name: str(value) if isinstance(value, Path) else value for name, value in more.items()}
    try:
        return worker.ask({"do": what, "case": case.as_message(), **words}, seconds)
    except WorkerFailed as error:
        return {"error": str(error)}


class Lanes:
    """Workers that run groups of cases, each lane every so many of them: which worker runs which is
    the same in every verification. A context manager; at its end nothing runs any more.

    ``first`` is a worker that is there already; each other one is started at its first case.
    ``seconds`` is what a run may take.
    """

    def __init__(self, first: Worker, count: int, seconds: float) -> None:
        self.seconds = seconds
        self._workers = [first]
        for k in range(1, count):
            folder = first.folder / f"lane{k}"
            folder.mkdir()
            self._workers.append(Worker(folder, first.executable, first.paths, first.first))
        self._threads = [ThreadPoolExecutor(1) for _ in self._workers]

    def __enter__(self) -> Lanes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads:
            thread.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:  # a thread may be waiting for it
            worker.stop()
        for thread in self._threads:
            thread.shutdown()
        for worker in self._workers:  # or have started it once more
            worker.stop()

    def ran(self, groups: Sequence[Group], values_of: Values) -> Iterator[tuple[Group, dict[str, Any], Path]]:
        """(cases, the worker's answer, the file of their record), in the order of ``groups``; others
        run while these are judged, and may then have their file."""
        pending: dict[int, Future[Answer]] = {}
        for k, group in enumerate(groups):
            for later in range(k, min(len(groups), k + 1 + _AHEAD * len(self._workers))):
                if later not in pending:
                    pending[later] = self._submit(later, groups[later][-1], values_of)
            answer, out = pending[k].result()
            if "error" in answer and len(group) > 1:  # whose error it is, is seen alone
                yield group[:1], *self._submit(k, group[0], values_of).result()
                group = group[1:]
            yield group, answer, out

    def _submit(self, k: int, case: Case, values_of: Values) -> Future[Answer]:
        return self._threads[k % len(self._threads)].submit(self._run, k, case, values_of)

    def _run(self, k: int, case: Case, values_of: Values) -> Answer:
        turn, lane = divmod(k, len(self._workers))
        worker = self._workers[lane]
        given, out = worker.folder / "given.npz", worker.folder / f"out{turn % (1 + _AHEAD)}.npz"
        np.savez(given, **values_of(case))
        return asked(worker, "run", case, self.seconds, numbers=given, out=out), out
