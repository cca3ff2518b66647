"""The JSON lines of a log directory, by optimizer, variable and metric."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adampatch.errors import AdampatchError

JSONL_NAME = "adampatch.jsonl"
Series = dict[int, float]


@dataclass
class OptimizerLog:
    """What was logged of one optimizer: {metric: series} of its own, and of each variable; bounds by
    (variable, rule), each {"min": series, "max": series}; alerts as (step, kind, variable, rule)."""

    name: str
    own: dict[str, Series] = field(default_factory=dict)
    variables: dict[str, dict[str, Series]] = field(default_factory=dict)
    rules: dict[tuple[str, str], dict[str, Series]] = field(default_factory=dict)
    alerts: list[tuple[int, str, str | None, str | None]] = field(default_factory=list)

    @property
    def last_step(self) -> int:
        every = (max(series) for series in self.own.values() if series)
        return max(every, default=0)


def read_log(directory: Path) -> list[OptimizerLog]:
    """The logs of a directory, in the order in which their optimizers first appear.

    Raises AdampatchError where there is none.
    """
    path = directory / JSONL_NAME if directory.is_dir() else directory
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        if not directory.exists():
            raise AdampatchError(directory, "does not exist; name a directory that was logged to") from error
        raise AdampatchError(
            directory, f"has no {JSONL_NAME}; train under `adampatch run --log {directory}` first"
        ) from error
    found: dict[str, OptimizerLog] = {}
    for row in _rows(text):
        log = found.setdefault(row["optimizer"], OptimizerLog(row["optimizer"]))
        _take(log, row)
    if not found:
        raise AdampatchError(path, "holds no numbers; was the training long enough to be sampled?")
    return list(found.values())


def _rows(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # a kill in the middle of a line
        if (
            isinstance(row, dict)
            and isinstance(row.get("step"), int)
            and isinstance(row.get("optimizer"), str)
        ):
            yield row


def _take(log: OptimizerLog, row: dict[str, Any]) -> None:
    step, metric, variable, rule = row["step"], str(row.get("metric")), row.get("variable"), row.get("rule")
    value = math.nan if row.get("value") is None else float(row["value"])
    if metric.startswith("alert/"):
        log.alerts.append((step, metric.removeprefix("alert/"), variable, rule))
    elif variable is None:
        log.own.setdefault(metric, {})[step] = value
    elif rule is None:
        log.variables.setdefault(variable, {}).setdefault(metric, {})[step] = value
    else:
        log.rules.setdefault((variable, rule), {}).setdefault(metric, {})[step] = value
