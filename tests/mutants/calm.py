"""Correct patches under many seeds: no verdict but green, and how near to their bounds errors come.

A verifier that cries wolf is not believed, and a bound that nothing comes near proves nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adampatch.verify import findings
from adampatch.verify import judge as judging
from adampatch.verify.cases import Case, Optimizer
from adampatch.verify.judge import Verdict
from adampatch.verify.plan import planned
from adampatch.verify.session import Request, verify

#: what shows arithmetic and rules and needs no tracing: cheap enough for every seed
EAGER = "*/eager*"


@dataclass
class Calm:
    """``alarms``: verdicts that say a correct patch, or stock, is wrong; ``nearest``: by format and
    quantity the greatest error over bound, and the case it was seen in."""

    cases: int = 0
    alarms: list[dict[str, Any]] = field(default_factory=list)
    other: dict[str, int] = field(default_factory=dict)
    nearest: dict[str, dict[str, tuple[float, str]]] = field(default_factory=dict)

    def see(self, case: Case, verdict: Verdict, seed: int) -> None:
        self.cases += 1
        self.other[verdict.verdict] = self.other.get(verdict.verdict, 0) + 1
        if verdict.verdict not in (*judging.GREEN, judging.NOT_RUN, judging.INCONCLUSIVE):
            words = {"divergence": verdict.divergence, "reason": verdict.reason}
            self.alarms.append({"case": case.id, "seed": seed, "verdict": verdict.verdict} | words)

    def near(self, dtype: str, quantity: str, error: float, where: str) -> None:
        found = self.nearest.setdefault(dtype, {})
        if error > found.get(quantity, (-1.0, ""))[0]:
            found[quantity] = (error, where)


def measured(seeds: range, pattern: str = EAGER, executable: str = sys.executable) -> Calm:
    """Verifies the stock optimizers of an environment under each seed, by the worker process."""
    calm = Calm()
    for seed in seeds:
        with _errors_noted(calm):
            result = verify(Request(seed=seed, pattern=pattern, executable=executable))
        for case, verdict in result.rows:
            calm.see(case, verdict, seed)
        print(f"seed {seed}: {calm.cases} cases, {len(calm.alarms)} alarms", file=sys.stderr, flush=True)
    return calm


def stock_alone(seeds: range) -> Calm:
    """Stock in its own bounds: the same eager cases without a patched run, in this process. A quarter
    of the work, and all that depends on a seed in the formulas and their bounds."""
    import trials

    from adampatch.runtime import bind
    from adampatch.verify.worker import discovery

    trials.worker.describe({})
    found, _ = discovery.discover(bind().patched)
    optimizers = [
        Optimizer(row["path"], row["family"], row["name"]) for row in found if row["reason"] is None
    ]
    calm = Calm()
    for seed in seeds:
        for case in planned(optimizers, seed=seed):
            reference = judging._reference_for(case)
            if case.mode != "eager" or case.bounds is not None or reference is None:
                continue
            with _errors_noted(calm):
                calm.see(case, _stock_verdict(case, reference), seed)
        print(f"seed {seed}: {calm.cases} cases, {len(calm.alarms)} alarms", file=sys.stderr, flush=True)
    return calm


def _stock_verdict(case: Case, reference: Any) -> Verdict:
    import trials

    try:
        (trial,) = trials.trials_of([case])
    except Exception as error:  # no kernel of that format: nothing to verify
        return Verdict(judging.NOT_RUN, reason=str(error)[:100])
    record = judging.Record(case, trial.stock, trial.told, judging.EXACT)
    stock = judging._local(record, reference, "stock")
    verdict = judging.PASS_BOUND if stock.divergence is None else judging.MODEL_INVALID
    return Verdict(verdict, error=stock.error, divergence=stock.divergence)


class _errors_noted:
    """Inside, every comparison with a ball also goes to ``calm``, rounding errors apart from
    numbers that were flushed to zero: those reach their bound by its definition."""

    def __init__(self, calm: Calm) -> None:
        self.calm = calm

    def __enter__(self) -> None:
        see, local, calm = findings.Findings.see, judging._local, self.calm
        self.kept = (see, local)
        running: list[Case] = []

        def noting(found: Any, excess: Any, ball: Any, observed: Any, **where: Any) -> None:
            see(found, excess, ball, observed, **where)
            usual = np.abs(np.broadcast_to(ball.mid, excess.shape)) > 4 * ball.field.format.smallest
            if np.any(usual):
                worst = float(np.max(excess[usual]))
                calm.near(ball.field.format.name, where["quantity"], worst, running[-1].id)

        def watching(record: Any, *arguments: Any) -> Any:
            running.append(record.case)
            return local(record, *arguments)

        findings.Findings.see, judging._local = noting, watching  # type: ignore[method-assign]

    def __exit__(self, *error: object) -> None:
        findings.Findings.see, judging._local = self.kept  # type: ignore[method-assign]


def rows(calm: Calm) -> Iterator[tuple[str, str, float, str]]:
    """(format, quantity, greatest error over bound, case), formats in order."""
    for dtype in sorted(calm.nearest):
        for quantity, (error, where) in sorted(calm.nearest[dtype].items(), key=lambda x: -x[1][0]):
            yield dtype, quantity, error, where


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--pattern", default=EAGER)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--stock", action="store_true", help="stock alone, in this process")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    calm = stock_alone(seeds) if given.stock else measured(seeds, given.pattern, given.python)
    told = {"cases": calm.cases, "verdicts": calm.other, "alarms": calm.alarms, "nearest": list(rows(calm))}
    given.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
