"""Which row and which column of the matrix a test is of; what came out is written for `run.py`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from features import FEATURES, not_offered
from generations import GENERATIONS, Generation

_MISSING = "missing: "


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--row", help="only this generation of the matrix, by name")
    parser.addoption("--features", help="only these features, separated by commas")
    parser.addoption("--outcomes", type=Path, help="where to write {feature: {outcome: tests}} as JSON")


def row_of(item: Any) -> Generation | None:
    """The generation among a test's parameters."""
    for value in getattr(item, "callspec", None).params.values() if hasattr(item, "callspec") else ():
        if isinstance(value, Generation):
            return value
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    wanted = config.getoption("--row")
    if wanted is not None and wanted not in {generation.name for generation in GENERATIONS}:
        raise pytest.UsageError(f"--row: no generation {wanted!r}")
    chosen = set((config.getoption("--features") or ",".join(FEATURES)).split(","))
    kept, left = [], []
    for item in items:
        row = row_of(item)
        mark = item.get_closest_marker("feature")
        if mark is not None and row is not None:
            feature = mark.args[0]
            assert feature in FEATURES, f"{item.nodeid}: no feature {feature}"
            item.user_properties.append(("feature", feature))
            if not_offered(row, feature) or feature not in chosen:
                left.append(item)
                continue
        (kept if wanted is None or (row is not None and row.name == wanted) else left).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


class Outcomes:
    """Counts what became of tests, per feature; with workers only the reports get here."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        feature = dict(report.user_properties).get("feature")
        if feature is None:
            return
        if report.failed:
            self.found[feature]["failed"] += 1
        elif report.skipped and _MISSING in str(report.longrepr):
            self.found[feature]["missing"] += 1
        elif report.passed and report.when == "call":
            self.found[feature]["passed"] += 1

    def pytest_sessionfinish(self) -> None:
        self.path.write_text(json.dumps(self.found))


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--outcomes", None)
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Outcomes(path))
