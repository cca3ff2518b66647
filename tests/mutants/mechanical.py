"""Mechanical mutants of the run time, each judged by cases of the default plan until one kills it.

Runs many in one process (TensorFlow is imported once); a mutant that ends the process is killed,
and the rest go on in a new one.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import operators
import planting
import survivors

from adampatch.verify.cases import QUICK_STEPS

#: (optimizer, variant, ends of its default cases), cheapest first
Cases = tuple[str, str, tuple[str, ...]]
_EAGER: tuple[Cases, ...] = (
    ("keras3", "", ("float32/eager/sparse/clamped",)),
    ("v2", "", ("float32/eager", "float32/eager/clamped")),
)
_KERNELS: tuple[Cases, ...] = (
    ("v1", "", ("float32/graph", "float32/graph/clamped")),
    ("v1", "", ("float32/graph-ref", "float32/graph-ref/clamped")),
    ("v2", "amsgrad", ("float32/eager/clamped",)),
    ("v2-max", "", ("float32/eager/clamped",)),
    ("v2", "", ("float64/eager", "bfloat16/eager")),
    ("v2", "", ("float32/function", "float32/function/clamped")),
)
_STEPS: tuple[Cases, ...] = (
    ("v1", "", ("float32/graph/sparse", "float32/graph/sparse/clamped")),
    ("v1", "", ("float32/graph-ref/sparse", "float32/graph-ref/sparse/clamped")),
    ("keras3", "", ("float32/eager", "float32/eager/clamped")),
    ("v2", "", ("float32/eager/sparse", "float32/eager/sparse/clamped")),
    ("v2-max", "", ("float32/eager/sparse/clamped",)),
    ("keras3", "", ("float32/function", "float32/function/clamped")),
    ("keras3", "", ("float64/eager", "bfloat16/eager")),
)
_TRACED: tuple[Cases, ...] = (
    ("v2", "", ("float64/function/schedule", "float32/eager/decay")),
    ("v1", "", ("float32/eager", "float32/eager/clamped")),
    ("v1", "", ("float32/function", "float32/function/clamped")),
    ("v2-nadam", "", ("float32/eager",)),
    ("keras3", "", ("float32/xla", "float32/xla/clamped")),
)
_TOGETHER: tuple[Cases, ...] = (
    ("keras3", "", ("float32/eager/clamped:together",)),
    ("v2", "", ("float32/function/clamped:together",)),
)
#: a rate that is the bound itself
_AT_THE_BOUND: tuple[Cases, ...] = tuple(
    ("keras3", "", (f"float32/eager/clamped={side}",)) for side in ("floor", "ceiling")
)
#: of quantities, moving bounds and what is remembered, each rule by itself
_ALONE: tuple[Cases, ...] = tuple(
    ("keras3", "", (f"float32/eager/clamped:{rule}",))
    for rule in (
        "alphas", "update", "rms", "rms-t", "ratio", "slew", "fall", "shadow", "window", "linear", "exp",
        "piecewise", "adabound", "lr0", "lr-lr0", "corrected", "alpha-relative", "lr",
    )
)  # fmt: skip
_REMEMBERED: tuple[Cases, ...] = (
    ("keras3", "", ("float32/function/clamped:fall",)),
    ("v1", "", ("float32/graph/clamped:fall",)),
    ("v1", "", ("float32/graph/clamped:lr0",)),
    ("v1", "", ("float32/graph/sparse/clamped:fall",)),
    ("v2-max", "", ("float32/eager/sparse/clamped:fall",)),
    ("v2-max", "", ("float32/eager/sparse/clamped:rms-t",)),
)
_UPDATES: tuple[Cases, ...] = (("get_updates", "", ("float32/graph", "float32/graph/clamped")),)
#: the modules that decide numbers, and which cases come to what they hold
MODULES: dict[str, tuple[Cases, ...]] = {
    "kernels": _EAGER + _KERNELS,
    "stepping": _EAGER + _KERNELS + _STEPS,
    "sampling": _EAGER + _TOGETHER[:1] + _STEPS + _TRACED,
    "bounding": _TOGETHER + _AT_THE_BOUND + _ALONE + _REMEMBERED[-2:],
    "moments": _TOGETHER + _ALONE + _REMEMBERED,
    "rule_state": _REMEMBERED + _TOGETHER[:1],
    "gradients": _ALONE[3:4] + _REMEMBERED[-1:] + (("keras3", "", ("float32/function/clamped:rms-t",)),),
    "binding": _EAGER,
    "wrappers": _EAGER,
    "observing": _EAGER + _TRACED[1:2] + _UPDATES + _KERNELS[:2] + _STEPS[5:6],
    "matching": _EAGER,
}
_SECONDS = 90


class _TooLong(BaseException):
    """Not an Exception: what is mutated catches those."""


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Core:
    """The cases of each module, their stock runs done when they are first needed."""

    def __init__(self) -> None:
        self._trials: dict[Cases, list[Any]] = {}

    def of(self, name: str) -> Iterator[Any]:
        import trials

        for cases in MODULES[name]:
            if cases not in self._trials:
                short, variant, ends = cases
                found = map(_shorter, trials.cases_of(short, ends, variant))
                self._trials[cases] = trials.trials_of(found)
            yield from self._trials[cases]


#: one element more than a sample shows
_LONG = (4097,)


def _shorter(case: Any) -> Any:
    """The case with as many steps as `--quick` has and two shapes, the second outside of a rule that
    leaves some alone: enough for what is wrong in the run time and not in one shape."""
    shapes = case.shapes
    if len(shapes) > 3:
        shapes = (_LONG, shapes[4] if len(shapes) > 4 else shapes[-1])
    outside = tuple(i for i in case.outside if i < len(shapes))
    return dataclasses.replace(case, steps=QUICK_STEPS, shapes=shapes, outside=outside)


def judged(name: str, tree: Any, core: Core) -> dict[str, Any]:
    """{"killed": by what, "by": the case, ...}; "killed" is None for a survivor."""
    import trials

    weak = None
    try:
        with _within(_SECONDS):
            for trial in core.of(name):
                try:
                    with planting.in_module(name, tree):
                        for outcome in trials.run(trial):
                            if outcome.killed:
                                return _told(outcome)
                            if outcome.verdict.verdict == "INCONCLUSIVE":
                                weak = weak or outcome.case.id
                except Exception as error:  # it does not even come to the cases
                    return {"killed": f"{type(error).__name__}: {error}"[:200], "by": "import"}
    except _TooLong:
        return {"killed": f"no end within {_SECONDS} s", "by": trial.case.id}
    return {"killed": None, "inconclusive": weak}


def _told(outcome: Any) -> dict[str, Any]:
    verdict = outcome.verdict
    found = {"killed": verdict.verdict, "by": outcome.case.id}
    if verdict.divergence:
        kept = ("run", "step", "quantity")
        found |= {name: verdict.divergence[name] for name in kept if name in verdict.divergence}
    return found | ({"reason": verdict.reason} if verdict.reason else {})


def serve(modules: list[str], shard: int, shards: int, done: int) -> None:
    """One line of JSON for each mutant of this shard from number ``done`` on."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    import trials

    trials.worker.describe({})
    warnings.simplefilter("ignore")
    core = Core()
    mutants = [(name, change) for name in modules for change in operators.changes(planting.source(name))]
    for name, change in mutants[shard::shards][done:]:
        begin = time.perf_counter()
        row = {"module": name, "key": list(change.key), **judged(name, change.tree, core)}
        row["seconds"] = round(time.perf_counter() - begin, 2)
        out.write(json.dumps(row) + "\n")
        out.flush()


def run(modules: list[str], shards: int = 2) -> list[dict[str, Any]]:
    """A row for each mechanical mutant, in the order of modules and lines."""
    total = [(name, change.key) for name in modules for change in operators.changes(planting.source(name))]
    rows: dict[int, list[dict[str, Any]]] = {k: [] for k in range(shards)}
    processes = {k: _started(modules, k, shards, 0) for k in range(shards)}
    for k in range(shards):
        wanted = total[k::shards]
        while len(rows[k]) < len(wanted):
            stream = processes[k].stdout
            assert stream is not None
            line = stream.readline()
            if line:
                rows[k].append(json.loads(line))
                continue
            name, key = wanted[len(rows[k])]
            words = f"the process ended with {processes[k].wait()}"
            rows[k].append({"module": name, "key": list(key), "killed": words, "by": "", "seconds": 0.0})
            processes[k] = _started(modules, k, shards, len(rows[k]))
        processes[k].wait()
    return [rows[n % shards][n // shards] for n in range(len(total))]


def _started(modules: list[str], shard: int, shards: int, done: int) -> subprocess.Popen[str]:
    words = [sys.executable, __file__, "--serve", str(shard), str(shards), str(done), *modules]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", nargs=3, type=int, metavar=("SHARD", "SHARDS", "DONE"))
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("modules", nargs="*", default=list(MODULES))
    given = parser.parse_args()
    if given.serve:
        serve(given.modules, *given.serve)
        return
    rows = run(given.modules, given.shards)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    for row in rows:
        reason = survivors.reason_of(row["module"], row["key"])
        if row["killed"] is None:
            words = "nobody has looked at it" if reason is None else f"{reason.kind}: {reason.why}"
            print(f"{row['module']}.{row['key'][0]}: {row['key'][1]} -> {row['key'][2]}\n    {words}")
    alive = [row for row in rows if row["killed"] is None]
    unseen = [row for row in alive if survivors.reason_of(row["module"], row["key"]) is None]
    print(f"{len(rows)} mutants, {len(alive)} survive, {len(unseen)} of these without a reason")
    sys.exit(bool(unseen))


if __name__ == "__main__":
    main()
