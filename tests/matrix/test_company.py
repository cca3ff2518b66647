"""What a process may hold beside one known optimizer: a stock class that is newer than anything tested, and
several models that train one class under different rules."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from generations import Generation
from standalone import Project, rows, together

pytestmark = pytest.mark.tensorflow
#: where the tool side is installed beside TensorFlow
TOOL = [param for param in rows(matrix=True) if param.values[0].tool]


@pytest.mark.feature("standalone")
@pytest.mark.parametrize("row", rows())
def test_a_newer_stock_class_stays_stock_with_one_warning_that_names_it(
    row: Generation, tmp_path: Path
) -> None:
    stock = Project.made(row, tmp_path / "stock", "newer")
    ours = Project.made(row, tmp_path / "ours", "newer").apply("--standalone")
    assert "_adampatch.patched(" in (ours.folder / "newer.py").read_text()
    plain, found = together(lambda: newer(stock), lambda: newer(ours))
    assert plain["methods"] and not plain["said"]
    assert found["weights"] == plain["weights"]
    (warning,) = found["said"]
    assert plain["methods"][0] in warning and "stays stock" in warning


@pytest.mark.feature("apply")
@pytest.mark.parametrize("row", TOOL)
def test_where_the_tool_cannot_follow_it_either(row: Generation, tmp_path: Path) -> None:
    ours = Project.made(row, tmp_path / "ours", "newer").apply()
    found = newer(ours, PYTHONPATH=str(Path(__file__).parents[2]))
    (warning,) = found["said"]
    assert found["methods"][0] in warning and "stays stock" in warning and "AP2" in warning


def newer(project: Project, **environ: str) -> Any:
    done = project.run("newer.py", "answers.json", **environ)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((project.folder / "answers.json").read_text())


@pytest.mark.feature("run")
@pytest.mark.parametrize("row", TOOL)
def test_run_warns_of_a_newer_keras_once_and_trains_on(row: Generation, tmp_path: Path) -> None:
    project = Project.made(row, tmp_path / "project", "newer")
    (project.folder / "train.py").write_text(
        "import numpy as np\nimport keras\n"
        "model = keras.Sequential([keras.layers.Dense(1)])\n"
        "model.compile(keras.optimizers.Adam(0.01), 'mse')\n"
        "model.fit(np.ones((64, 3)), np.ones((64, 1)), verbose=0)\nprint('trained', keras.__file__)\n"
    )
    where = "import importlib.util; print(importlib.util.find_spec('keras').origin)"
    package = Path(project.run("-c", where).stdout.split()[-1]).parent
    overlay(package, tmp_path / "site-packages" / "keras")
    path = f"{tmp_path / 'site-packages'}:{Path(__file__).parents[2]}"
    done = project.run("-W", "always::RuntimeWarning", "-m", "adampatch", "run", "train.py", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"trained {tmp_path}" in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if "stays stock" in line]
    assert "keras.src.optimizers.adam.Adam.update_step" in line


def overlay(package: Path, folder: Path) -> None:
    """A Keras whose Adam calls what cannot be followed; all else of it is the installed one's."""
    inner = ("src", "optimizers", "adam.py")
    for depth in range(len(inner)):
        here = package.joinpath(*inner[:depth])
        there = folder.joinpath(*inner[:depth])
        there.mkdir(parents=True)
        for entry in here.iterdir():
            if entry.name not in (inner[depth], "__pycache__"):
                (there / entry.name).symlink_to(entry)
    text = package.joinpath(*inner).read_text()
    hidden, times = re.subn(r"(\w+)\.assign_sub\(", r'getattr(\1, "_".join(("assign", "sub")))(', text)
    assert times
    folder.joinpath(*inner).write_text(hidden)


@pytest.mark.feature("rules")
@pytest.mark.parametrize("row", rows())
def test_models_of_one_class_keep_their_own_rules(row: Generation, tmp_path: Path) -> None:
    """Alone, in turn and in threads: each ends with the same bits and counts."""
    project = Project.made(row, tmp_path / "project", "two_models")
    project.apply("--standalone")
    bounds = {"first": {"max": 0.02}, "second": {"max": 0.4, "min": 0.01}}
    for name, bound in bounds.items():
        rule = {"id": name, "match": ["**"], "quantity": "rate", **bound}
        rules = {"version": 1, "observe": {"every": 1}, "runtime": {}, "rules": [rule]}
        (project.folder / f"{name}.json").write_text(json.dumps(rules))
    done = project.run("two_models.py", "first.json,second.json", "answers.json")
    assert done.returncode == 0, done.stderr[-4000:]
    answers = json.loads((project.folder / "answers.json").read_text())
    alone = answers["alone"]
    assert [rules for *_, rules in alone] == [["first"], ["second"]] * 2
    assert all(step == 60 and 0 < clamped < 1 for _, step, clamped, _ in alone)
    assert answers["in turn"] == alone
    assert answers["in threads"] == alone
