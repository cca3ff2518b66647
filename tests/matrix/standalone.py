"""Projects of target programs (`target/`), stock and patched by `apply --standalone`, run by the interpreters
of the TensorFlow generations. Here is how; what must hold is in `test_standalone_*.py`.

ADAMPATCH_ENVS names the folder of the environments (default: those that `make generations` makes); one
that is missing is skipped as missing, or fails with ADAMPATCH_ENVS_REQUIRED=1.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(__file__).parent / "target"
ENVIRONMENTS = Path(os.environ.get("ADAMPATCH_ENVS") or ROOT / ".corpus-envs")

_V1 = "eager,function,reference,resource,branch"
_V2 = "eager,function,resource"
_KERAS2 = "eager,function"


@dataclass(frozen=True)
class Row:
    """One generation: its environment ("" for the one that runs the tests), the optimizers it has and
    the modes of each, and the Keras that strings and models are of."""

    name: str
    optimizers: Mapping[str, str]
    keras: tuple[str, ...]
    environment: str = ""
    steps: int = 50

    @property
    def asked(self) -> list[str]:
        return [f"optimizers_{name}:{modes}" for name, modes in self.optimizers.items()]

    def interpreter(self) -> str:
        """Skips, or fails, where there is none."""
        if not self.environment:
            if importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("tf_keras") is None:
                missing("TensorFlow with tf_keras is not installed beside pytest")
            return sys.executable
        found = ENVIRONMENTS / self.environment / "bin" / "python"
        if not found.exists():
            missing(f"{self.name}: no {found}; ADAMPATCH_ENVS names the folder of the environments")
        return str(found)


def missing(why: str) -> None:
    if os.environ.get("ADAMPATCH_ENVS_REQUIRED"):
        pytest.fail(f"missing: {why}", pytrace=False)
    pytest.skip(f"missing: {why}")


ROWS = (
    Row(
        "TF 2.21 here",
        {"v1": "resource", "keras3": "function", "tf_keras_legacy": "function"},
        ("keras", "tf_keras"),
        steps=20,
    ),
    Row(
        "TF 2.21",
        {"v1": _V1, "keras3": _KERAS2, "tf_keras": _KERAS2, "tf_keras_legacy": _V2},
        ("keras", "tf_keras"),
        "tf221",
    ),
    Row(
        "TF 2.15",
        {"v1": _V1, "legacy": _V2, "keras2": _KERAS2, "addons": _KERAS2},
        ("tensorflow.keras",),
        "tf215",
    ),
    Row(
        "TF 2.10",
        {"v1": _V1, "keras_v2": _V2, "legacy": "function", "experimental": _KERAS2},
        ("tensorflow.keras",),
        "tf210",
    ),
    Row("TF 2.1", {"v1": _V1, "keras_v2": _V2}, ("tensorflow.keras",), "tf21"),
    Row(
        "TF 1.15",
        {"v1": "eager,reference,resource,branch", "contrib": "reference,resource", "keras_v2": _V2},
        ("tensorflow.keras",),
        "tf115",
    ),
)


def rows(matrix: bool = False) -> list[Any]:
    """The parameters of a test: the environments of the matrix, under its mark; and, unless ``matrix``,
    the one that runs the tests."""
    return [
        pytest.param(row, id=row.name, marks=[pytest.mark.matrix] if row.environment else [])
        for row in ROWS
        if row.environment or not matrix
    ]


@dataclass
class Project:
    """A folder of target programs and the interpreter that runs them."""

    folder: Path
    python: str
    environ: dict[str, str] = field(default_factory=dict)

    @classmethod
    def made(cls, folder: Path, python: str, *names: str) -> Project:
        """Of the target programs ``names``, and what they import."""
        folder.mkdir(parents=True)
        for name in names:
            shutil.copy(TARGET / f"{name}.py", folder)
        return cls(folder, python)

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

    def train(self, row: Row, out: str = "out", **environ: str) -> Trained:
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
