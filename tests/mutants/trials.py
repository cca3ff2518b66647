"""Cases of the default plan, run in this process and judged: stock once, patched again and again.

Imports TensorFlow through the verifier's own worker, so that what trains and writes down is what
`adampatch verify` has.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from adampatch.ruleset import Rules
from adampatch.verify import lanes, session
from adampatch.verify.ball import EXACT, Accuracy
from adampatch.verify.cases import Case, Optimizer, Rule, numbers
from adampatch.verify.judge import ERROR, Verdict
from adampatch.verify.plan import planned
from adampatch.verify.worker import __main__ as worker

#: short names of the stock classes whose patched form is mutated
OPTIMIZERS = {
    "keras3": Optimizer("keras.optimizers.Adam", "keras3", "Adam"),
    "keras3-decay": Optimizer("keras.optimizers.AdamW", "keras3", "AdamW"),
    "keras3-max": Optimizer("keras.optimizers.Adamax", "keras3", "Adamax"),
    "v2": Optimizer("tf_keras.optimizers.legacy.Adam", "v2", "Adam"),
    "v2-max": Optimizer("tf_keras.optimizers.legacy.Adamax", "v2", "Adamax"),
    "v2-nadam": Optimizer("tf_keras.optimizers.legacy.Nadam", "v2", "Nadam"),
    "get_updates": Optimizer("tf_keras.src.optimizers.optimizer_v1.Adam", "get_updates", "Adam"),
    "v1": Optimizer("tensorflow.compat.v1.train.AdamOptimizer", "v1", "AdamOptimizer"),
}


@dataclass
class Trial:
    """Cases that one run answers, and what stock did in it.

    ``stock``: the record of the stock run; ``states``: what each step started from; ``told``: of it.
    """

    group: tuple[Case, ...]
    setup: Any
    stock: dict[str, Any] = field(default_factory=dict)
    states: dict[int, Any] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def case(self) -> Case:
        """The case that is run: the one under a rule, where there is one."""
        return self.group[-1]


@dataclass(frozen=True)
class Outcome:
    """What one case of a trial came to. ``arrays`` are None where nothing could be run."""

    case: Case
    verdict: Verdict
    arrays: Mapping[str, Any] | None
    told: Mapping[str, Any] | None

    @property
    def killed(self) -> bool:
        """Whether `verify` says that the patch is wrong. A case that shows nothing does not."""
        return self.verdict.verdict in ("FAIL", "ERROR")


#: a rule of every kind; in an id, its name follows that of a case that is clamped
_RULES = Path(__file__).parents[1] / "fixtures" / "rules" / "every-kind.toml"


def rules() -> tuple[Rule, ...]:
    return tuple(Rule.all_of(Rules.load(_RULES).normal_form()["rules"]))


def cases_of(short: str, ends: Iterable[str], variant: str = "", seed: int = 0) -> list[Case]:
    """The default cases of an optimizer whose ids end so, in the plan's order; with "=floor" or "=ceiling"
    behind it a case is bounded by a quantile of its own rates, as drawn ones are."""
    optimizer = OPTIMIZERS[short]
    head = optimizer.path + (f"[{variant}]" if variant else "") + "/"
    sides = {head + end.partition("=")[0]: end.partition("=")[2] for end in ends}
    wanted = set(sides)
    given = rules() if any(":" in end for end in wanted) else ()
    found = [case for case in planned([optimizer], seed=seed, rules=given) if case.id in wanted]
    missing = wanted - {case.id for case in found}
    if missing:
        raise KeyError(f"no default case {sorted(missing)}")
    return [_at_a_quantile(case, sides[case.id]) if sides[case.id] else case for case in found]


def _at_a_quantile(case: Case, side: str) -> Case:
    return replace(case, id=f"{case.id}={side}", bounds=None, clamp=side, outside=(), emit="tensor")


def trials_of(cases: Iterable[Case]) -> list[Trial]:
    """Groups of cases with their stock run done."""
    return [_with_stock(group) for group in lanes.shared_runs(cases)]


def _with_stock(group: tuple[Case, ...]) -> Trial:
    message = json.loads(json.dumps(group[-1].as_message()))
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.npz"
        np.savez(given, **numbers(group[-1]))
        with np.load(given) as stored:
            setup = worker.Setup(message, _Given(dict(stored)))
    trial = Trial(group, setup)
    trial.states, trial.told = worker._stock(setup, trial.stock)
    return trial


class _Given(dict[str, Any]):
    """Arrays by name with the face of an open .npz."""

    @property
    def files(self) -> list[str]:
        return list(self)


def run(trial: Trial, alter: Any = lambda cls: cls, accuracy: Accuracy = EXACT) -> Iterator[Outcome]:
    """Trains the patched class, changed by ``alter``, and judges each case of the trial.

    The case without a rule is judged before the rule's run begins.
    """
    import tensorflow as tf

    record: dict[str, Any] = dict(trial.stock)
    told: dict[str, Any] = {**trial.told, "said": {}, "races": dict(trial.told["races"])}
    ours, *rest = worker.patched_runs(trial.setup, record, told, trial.states, alter)
    runs = [[ours], rest] if len(trial.group) > 1 else [[ours, *rest]]
    for case, of_case in zip(trial.group, runs, strict=True):
        try:
            with tf.device(case.device), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for step in of_case:
                    step()
        except Exception as error:
            yield Outcome(case, Verdict(ERROR, reason=worker._words(error)), None, None)
            return
        told["warned"] = told.get("warned", []) + worker.warned(caught)
        _, verdict = session.judged_record(case, record, told, accuracy)
        yield Outcome(case, verdict, dict(record), dict(told))
