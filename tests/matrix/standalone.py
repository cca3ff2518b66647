"""Projects of target programs (`target/`), stock and patched by `apply --standalone`, run by the interpreters
of the TensorFlow generations. Here is how; what must hold is in `test_standalone_*.py`.

ADAMPATCH_ENVS names the folder of the environments (default: those that `make matrix` makes); one that is
missing is skipped as missing, or fails with ADAMPATCH_ENVS_REQUIRED=1.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from environments import ROOT, interpreter
from generations import GENERATIONS, HERE, Generation

TARGET = Path(__file__).parent / "target"


def executable(row: Generation) -> str:
    """The interpreter of a row; skips, or fails, where there is none."""
    if not row.environment:
        if importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("tf_keras") is None:
            missing("TensorFlow with tf_keras is not installed beside pytest")
        return sys.executable
    found = interpreter(row)
    if not found.exists():
        missing(f"{row.name}: no {found}; ADAMPATCH_ENVS names the folder of the environments")
    return str(found)


def missing(why: str) -> None:
    if os.environ.get("ADAMPATCH_ENVS_REQUIRED"):
        pytest.fail(f"missing: {why}", pytrace=False)
    pytest.skip(f"missing: {why}")


def rows(matrix: bool = False) -> list[Any]:
    """The parameters of a test: the generations of the matrix, under its mark; and, unless ``matrix``,
    the one that runs the tests."""
    return [
        pytest.param(row, id=row.name, marks=[pytest.mark.matrix] if row.environment else [])
        for row in ([] if matrix else [HERE]) + list(GENERATIONS)
    ]


@dataclass
class Project:
    """A folder of target programs and the interpreter that runs them."""

    folder: Path
    python: str
    environ: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Generation, folder: Path) -> Project:
        """A folder that is there, run by a row's interpreter."""
        return cls(folder, executable(row), dict(row.environ))

    @classmethod
    def made(cls, row: Generation, folder: Path, *names: str) -> Project:
        """Of the target programs ``names``, and what they import."""
        project = cls.of(row, folder)
        folder.mkdir(parents=True)
        for name in names:
            shutil.copy(TARGET / f"{name}.py", folder)
        return project

    def apply(self, *options: str) -> Project:
        """Patches the project by the command line; returns it."""
        self.adampatch("apply", str(self.folder), *options)
        return self

    def adampatch(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "adampatch", *words],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Runs a program of the project; its environment has nothing of adampatch in it."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "KERAS_BACKEND") and not name.startswith("ADAMPATCH_")
        }
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [self.python, "-W", "ignore", *words],
            cwd=self.folder,
            env={**kept, **quiet, **self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=900,
        )

    def answers(self, *words: str, **environ: str) -> Any:
        """What a program writes into `answers.json`; it has to end well."""
        done = self.run(*words, **environ)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads((self.folder / "answers.json").read_text())

    def train(self, row: Generation, out: str = "out", **environ: str) -> Trained:
        done = self.run("train.py", out, str(row.steps), *row.asked, **environ)
        assert done.returncode == 0, done.stderr[-4000:]
        facts = json.loads((self.folder / f"{out}.json").read_text())
        with np.load(self.folder / f"{out}.npz") as arrays:
            return Trained(facts, dict(arrays), done.stdout)

    def files(self) -> dict[str, bytes]:
        """Every file of the project, by its path."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in found}


@dataclass
class Trained:
    """What `train.py` recorded: facts and arrays of each "case|mode"."""

    facts: dict[str, Any]
    arrays: dict[str, Any]
    stdout: str

    def of(self, key: str, part: str) -> dict[str, Any]:
        """{name: array} of a training's weights, rates, alpha or state."""
        head = f"{key}|{part}/"
        return {name[len(head) :]: value for name, value in self.arrays.items() if name.startswith(head)}


def together(*calls: Any) -> list[Any]:
    """What the calls return; two run at a time."""
    with ThreadPoolExecutor(2) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]
