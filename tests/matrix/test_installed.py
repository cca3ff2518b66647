"""Where adampatch is installed beside TensorFlow: `run`, and tests that others ship, run inside of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from environments import ROOT
from generations import Generation
from standalone import Project, executable, rows
from test_standalone_bits import differences

pytestmark = [pytest.mark.tensorflow, pytest.mark.matrix]

CEILING = 'version = 1\n[[rule]]\nid = "ceiling"\nquantity = "rate"\nmax = 0.03\n'
#: Keras' own, which know the names of its classes and the values after some steps.
KERAS_TESTS = (
    "adam",
    "adamw",
    "adamax",
    "nadam",
    "lamb",
    "optimizer",
    "optimizer_sparse",
    "loss_scale_optimizer",
)


def installed() -> list[object]:
    return [param for param in rows(matrix=True) if param.values[0].tool]


def ours(row: Generation) -> tuple[str, ...]:
    """Our own tests that say more where a row is run than where all tests are."""
    if "addons" in row.optimizers:
        return "test_runtime_graphs", "test_runtime_kernels", "test_runtime_addons"
    return ("test_runtime_tf_keras",) if "TF_USE_LEGACY_KERAS" in row.environ else ()


@pytest.mark.feature("run")
@pytest.mark.parametrize("row", installed())
def test_run_trains_unmodified_scripts_to_stocks_bits_and_under_rules(
    row: Generation, tmp_path: Path
) -> None:
    modules = [f"optimizers_{name}" for name in row.optimizers]
    (tmp_path / "ceiling.toml").write_text(CEILING)
    installed = {"ADAMPATCH_IS_INSTALLED": "1"}
    stock = Project.made(row, tmp_path / "stock", "train", "training", *modules)
    before = stock.files()
    plain = stock.train(row, "plain", **installed)

    def under(out: str, *options: str) -> None:
        words = ["-m", "adampatch", "run", *options, "train.py", out, str(row.steps), *row.asked]
        done = stock.run(*words, **installed)
        assert done.returncode == 0, done.stderr[-4000:]

    under("watched", "--log", str(tmp_path / "log"), "--every", "10")
    under("bounded", "--rules", str(tmp_path / "ceiling.toml"))
    results = {}
    for out in ("watched", "bounded"):
        facts = json.loads((stock.folder / f"{out}.json").read_text())
        assert not {key: fact["error"] for key, fact in facts.items() if "error" in fact}
        with np.load(stock.folder / f"{out}.npz") as arrays:
            results[out] = type(plain)(facts, dict(arrays), "")
    assert not differences(plain, results["watched"])
    for key in plain.facts:
        free, bound = plain.of(key, "weights"), results["bounded"].of(key, "weights")
        assert any(free[name].tobytes() != bound[name].tobytes() for name in free), key
    lines = [json.loads(line) for line in (tmp_path / "log" / "adampatch.jsonl").read_text().splitlines()]
    assert {line["metric"] for line in lines} >= {"lr", "alpha", "rate_p50"}
    assert {name: text for name, text in stock.files().items() if name.endswith(".py")} == before


@pytest.mark.feature("suites")
@pytest.mark.parametrize("row", [param for param in installed() if "keras3" in param.values[0].optimizers])
def test_keras_own_tests_pass_with_the_patched_classes(row: Generation, tmp_path: Path) -> None:
    python = executable(row)
    where = "import keras.src.optimizers as o, os; print(os.path.dirname(o.__file__))"
    asked = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
    folder = Path(asked.stdout.strip().splitlines()[-1])
    # A test of its own tells that it is the patched class that is tested.
    (tmp_path / "test_patched.py").write_text(
        "import keras\n\n\ndef test_it_is_patched():\n"
        "    import inspect\n    assert 'step(' in inspect.getsource(keras.optimizers.Adam.update_step)\n"
    )
    tests = [str(folder / f"{name}_test.py") for name in KERAS_TESTS]
    # their settings, not those of whatever folder the environment lies in
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = requires_trainable_backend\n")
    options = ["-q", "-c", "pytest.ini", "-p", "no:cacheprovider"]
    words = ["-m", "adampatch", "run", "-m", "pytest", *options, "test_patched.py", *tests]
    done = Project.of(row, tmp_path).run(*words)
    assert done.returncode == 0, done.stdout[-4000:]
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed) > 100


@pytest.mark.feature("suites")
@pytest.mark.parametrize("row", [param for param in installed() if ours(param.values[0])])
def test_ours_pass_where_the_addons_or_the_older_keras_are(row: Generation) -> None:
    tests = [f"tests/runtime/{name}.py" for name in ours(row)]
    words = ["-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", *tests]
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT), **row.environ}
    done = subprocess.run([executable(row), *words], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:]
