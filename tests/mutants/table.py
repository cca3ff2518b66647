"""The kill table: each planted mutant by adampatch's own judge and by fixed tolerances, on the same runs."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import peers
import planted
import planting
import trials


@dataclass
class Row:
    """What became of a mutant. ``case``, ``run``, ``step``, ``quantity``: of the first verdict that
    killed it, and ``right`` whether that names the quantity that is wrong. ``peers``: who else."""

    name: str
    optimizer: str
    listed: bool
    killed: bool = False
    case: str = ""
    run: str = ""
    step: int | None = None
    quantity: str = ""
    right: bool = False
    cases: str = ""
    peers: dict[str, bool] = field(default_factory=dict)


class Trials:
    """The trials of each optimizer, stock run once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, tuple[str, ...]], list[trials.Trial]] = {}

    def of(self, optimizer: str, variant: str, ends: tuple[str, ...]) -> list[trials.Trial]:
        key = (optimizer, variant, ends)
        if key not in self._found:
            cases = trials.cases_of(optimizer, ends, variant)
            self._found[key] = trials.trials_of(cases)
        return self._found[key]


def row_of(mutant: planted.Mutant, known: Trials, alarms: set[tuple[str, str]]) -> Row:
    """Every case of the mutant's core, judged. ``alarms``: (case, peer) where the peer rejects the
    correct patch; what it says there kills nothing."""
    row = Row(mutant.name, mutant.optimizer, mutant.listed, peers=dict.fromkeys(peers.PEERS, False))
    seen = killed = 0
    for trial in known.of(mutant.optimizer, mutant.variant, mutant.cases):
        with mutant.planted():
            for outcome in trials.run(trial, mutant.alter):
                seen += 1
                for name, accepts in peers.accepted(outcome).items():
                    row.peers[name] |= not accepts and (outcome.case.id, name) not in alarms
                if outcome.killed:
                    killed += 1
                    if not row.killed:
                        _blame(row, mutant, outcome)
    row.cases = f"{killed} of {seen}"
    return row


def _blame(row: Row, mutant: planted.Mutant, outcome: trials.Outcome) -> None:
    found = outcome.verdict.divergence or {}
    row.killed, row.case = True, outcome.case.id.partition("/")[2]
    row.run, row.step = found.get("run", ""), found.get("step")
    row.quantity = found.get("quantity") or outcome.verdict.reason or ""
    race = mutant.racy and "may come before or after" in str(found.get("observed"))
    row.right = race or row.quantity == mutant.blamed


def correct(known: Trials) -> Iterator[tuple[str, str, dict[str, bool]]]:
    """(case, verdict, {peer: whether it rejects}) of each case of the core with nothing planted."""
    kinds = {(mutant.optimizer, mutant.variant, mutant.cases) for mutant in planted.MUTANTS}
    for optimizer, variant, ends in sorted(kinds):
        for trial in known.of(optimizer, variant, ends):
            with planting._fresh():
                for outcome in trials.run(trial):
                    rejects = {name: not accepts for name, accepts in peers.accepted(outcome).items()}
                    yield outcome.case.id, outcome.verdict.verdict, rejects


def made() -> dict[str, Any]:
    """The whole table, as data."""
    begin, used = time.perf_counter(), time.process_time()
    words = trials.worker.describe({})
    known = Trials()
    green = [
        {"case": case, "verdict": verdict, "peers": rejects} for case, verdict, rejects in correct(known)
    ]
    alarms = {(case["case"], name) for case in green for name, rejects in case["peers"].items() if rejects}
    rows = [asdict(row_of(mutant, known, alarms)) for mutant in planted.MUTANTS]
    return {
        "schema": "adampatch/mutants/1",
        "machine": f"{os.cpu_count()} x {_processor()}",
        "versions": words["versions"],
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
        "sources": peers.SOURCES,
        "correct": green,
        "mutants": rows,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    return next(names, platform.machine())


def markdown(table: dict[str, Any]) -> str:
    """The table for people."""
    names = list(peers.PEERS)
    rows = table["mutants"]
    listed = [row for row in rows if row["listed"]]
    lines = [
        "# The kill table",
        "",
        f"TensorFlow {table['versions']['tensorflow']}, {table['machine']}, {table['seconds']:.0f} s. "
        "Each row is the patched optimizer with one thing wrong, run by the default cases of "
        "`adampatch verify`. A fixed tolerance judges the variables of the same runs, of elements with "
        "ordinary gradients; `killed by` is the first verdict that says FAIL.",
        "",
        f"| mutant | adampatch verify | killed by | blames | right | {' | '.join(names)} |",
        "|---|---|---|---|---|" + "---|" * len(names),
    ]
    for row in rows:
        step = "" if row["step"] is None else f", step {row['step']}"
        others = " | ".join("killed" if row["peers"][name] else "-" for name in names)
        fate = "killed" if row["killed"] else "**ALIVE**"
        right = "yes" if row["right"] else "no"
        lines.append(
            f"| {row['name']} | {fate} ({row['cases']}) | {row['case']} {row['run']}{step} "
            f"| {row['quantity']} | {right} | {others} |"
        )
    lines.append("")
    for words, some in (("published mistakes and clamps", listed), ("all", rows)):
        own = sum(row["killed"] for row in some)
        theirs = ", ".join(f"{name} {sum(row['peers'][name] for row in some)}" for name in names)
        lines.append(f"- {words}: adampatch verify kills {own} of {len(some)}; {theirs}.")
    named = sum(row["right"] for row in rows)
    alarms = {name: sum(case["peers"][name] for case in table["correct"]) for name in names}
    own_alarms = sum(not case["verdict"].startswith("PASS") for case in table["correct"])
    lines += [
        f"- The first divergence names the quantity that is wrong in {named} of {len(rows)}.",
        f"- Correct patches rejected, of {len(table['correct'])} cases: adampatch verify {own_alarms}, "
        + ", ".join(f"{name} {count}" for name, count in alarms.items())
        + ".",
        "",
        "What the others' numbers are taken from:",
        "",
        *(f"- {name}: {source}." for name, source in table["sources"].items()),
        "",
    ]
    return "\n".join(lines)


def written(table: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mutants.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    (folder / "mutants.md").write_text(markdown(table), encoding="utf-8")
