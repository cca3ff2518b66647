"""Monitors in each TensorFlow generation: what they write is what the optimizer did, to stock's bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from environments import ROOT
from generations import Generation
from standalone import Project, rows, together

pytestmark = [pytest.mark.tensorflow, pytest.mark.matrix, pytest.mark.feature("monitor")]


def alpha(t: int, lr: float = 0.02) -> float:
    return float(lr * np.sqrt(1 - 0.999**t) / (1 - 0.9**t))


#: {environment: how many families of Keras optimizers `tf.keras` has there}
FAMILIES = {"tf221": 1, "tf221-py313": 1, "tf215": 3, "tf210": 3, "tf21": 1}


@pytest.mark.parametrize("row", [p for p in rows(matrix=True) if p.values[0].environment in FAMILIES])
def test_values_reach_keras_logs_as_python_floats(row: Generation, tmp_path: Path) -> None:
    """Of every family of Keras, with adampatch importable and not installed."""
    project = Project.made(row, tmp_path / "project", "monitored")
    done = project.run("monitored.py", "log", PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    if not row.environ:
        assert len(found) == FAMILIES[row.environment]
    for folder, seen in found.items():
        assert seen["same"] and seen["types"] == ["float"], seen
        path = project.folder / folder / "adampatch.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        alphas = logged({"rows": lines}, "alpha")
        assert sorted(alphas) == [1, 11, 21]
        assert alphas[1] == pytest.approx(1e-3 * 0.001**0.5 / 0.1, rel=1e-5)
        # five updates an epoch: the latest sample at the end of each
        assert seen["alphas"] == [alphas[step] for step in (1, 1, 11, 11, 21)]


def logged(answer: dict[str, Any], metric: str) -> dict[int, float]:
    """{step: value} of the optimizer's own number in the JSON lines."""
    return {
        row["step"]: row["value"]
        for row in answer["rows"]
        if row["metric"] == metric and row["variable"] is None
    }


@pytest.mark.parametrize("row", rows(matrix=True))
def test_callback_and_hook_write_what_was_done_and_leave_the_bits(row: Generation, tmp_path: Path) -> None:
    stock, ours = (Project.made(row, tmp_path / name, "watched", "training") for name in ("stock", "ours"))
    ours.apply("--standalone")
    plain, told = together(
        lambda: stock.answers("watched.py", str(tmp_path / "a")),
        lambda: ours.answers("watched.py", str(tmp_path / "b")),
    )
    assert set(told) == set(plain) == ({"hook"} if row.environment == "tf115" else {"callback", "hook"})
    for way in told:
        assert told[way]["weights"] == plain[way]["weights"], way
        alphas = logged(told[way], "alpha")
        assert {1, 5, 9} <= set(alphas), way
        for t, value in alphas.items():
            assert value == pytest.approx(alpha(t), rel=1e-4), (way, t)
        events = {int(t): value for t, value in told[way]["tags"]["optimizer/alpha"].items()}
        assert events == pytest.approx(alphas), way
        variables = {line["variable"] for line in told[way]["rows"]} - {None}
        assert len(variables) == (4 if way == "callback" else 1)
        assert any(tag.startswith("rate_p50/") for tag in told[way]["tags"])
    if "callback" in told:
        assert set(told["callback"]["logs"]["optimizer/alpha"]) == {"float"}


@pytest.mark.parametrize("row", rows(matrix=True))
def test_a_log_that_the_environment_asks_for(row: Generation, tmp_path: Path) -> None:
    modules = [
        f"optimizers_{name}" for name in row.optimizers if name in ("v1", "keras3", "keras2", "keras_v2")
    ]
    project = Project.made(row, tmp_path / "ours", "train", "training", *modules).apply("--standalone")
    mode = "function" if any("function" in modes for modes in row.optimizers.values()) else "eager"
    asked = [f"{name}:{'eager' if name == 'optimizers_v1' else mode}" for name in modules]
    done = project.run(
        "train.py",
        "out",
        "12",
        *asked,
        ADAMPATCH_LOG=str(tmp_path / "log"),
        ADAMPATCH_EMIT="tensor",
        ADAMPATCH_EVERY="5",
    )
    assert done.returncode == 0, done.stderr[-4000:]
    facts = json.loads((project.folder / "out.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "log" / "adampatch.jsonl").read_text().splitlines()]
    optimizers = {line["optimizer"] for line in lines}
    assert len(optimizers) >= len(facts) - sum("error" in fact for fact in facts.values()) > 0
    for name in optimizers:
        steps = {line["step"] for line in lines if line["optimizer"] == name}
        assert {1, 6, 11} <= steps, name
