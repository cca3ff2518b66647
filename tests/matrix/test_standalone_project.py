"""Projects patched by `apply --standalone`, in each TensorFlow generation: checkpoints go both ways, strings
and models, settings from outside, packages and processes; and stock again after `revert`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generations import GENERATIONS, Generation
from standalone import TARGET, Project, rows, together

pytestmark = pytest.mark.tensorflow

RULES = {
    "version": 1,
    "observe": {},
    "runtime": {},
    "rules": [{"id": "ceiling", "match": ["**"], "quantity": "rate", "max": 0.02}],
}


@pytest.fixture(params=rows())
def row(request: pytest.FixtureRequest) -> Generation:
    found: Generation = request.param
    return found


#: What takes long is asked of the environments of the matrix only.
of_the_matrix = pytest.mark.parametrize("row", rows(matrix=True), indirect=True)


@pytest.fixture
def pair(row: Generation, tmp_path: Path) -> Callable[..., tuple[Project, Project]]:
    """Makes (stock, patched) projects of some target programs."""

    def make(*names: str, keras: str = "tensorflow.keras") -> tuple[Project, Project]:
        found = []
        for kind in ("stock", "patched"):
            project = Project.made(row, tmp_path / f"{kind}-{keras}", *names)
            for path in project.folder.glob("*.py"):
                text = path.read_text()
                if keras != "tensorflow.keras":
                    plain = f"import {keras}" + (" as keras" if keras != "keras" else "")
                    path.write_text(text.replace("from tensorflow import keras", plain))
            found.append(project)
        return found[0], found[1].apply("--standalone")

    return make


@pytest.mark.feature("checkpoint")
@of_the_matrix
def test_checkpoints_go_both_ways(row: Generation, pair: Any, tmp_path: Path) -> None:
    modules = [f"optimizers_{name}" for name in row.optimizers]
    stock, ours = pair("checkpoints", "training", *modules)
    by_stock, by_ours = tmp_path / "by_stock", tmp_path / "by_ours"
    by_stock.mkdir(), by_ours.mkdir()

    def gone(project: Project, command: str, folder: Path) -> Any:
        return project.answers("checkpoints.py", command, str(folder), *modules, ADAMPATCH_EMIT="tensor")

    saved, saved_ours = together(lambda: gone(stock, "save", by_stock), lambda: gone(ours, "save", by_ours))
    loaded, crossed, back, itself = together(
        lambda: gone(stock, "load", by_stock),
        lambda: gone(ours, "load", by_stock),
        lambda: gone(stock, "load", by_ours),
        lambda: gone(ours, "load", by_ours),
    )
    # What stock itself cannot (a pickle of locks) is not asked; what it forgets (Nadam's momentum
    # product) ours forgets too.
    can = [key for key in saved if ": " not in saved[key] + loaded[key]]
    assert sum(saved[key] == loaded[key] for key in can) > 0.8 * len(can) > 0.4 * len(saved)
    wrong = [f"{key}: saves {saved_ours[key]}" for key in can if saved_ours[key] != saved[key]]
    for what, answers in (("ours loads stock's", crossed), ("stock loads ours", back), ("ours", itself)):
        # A pickle has classes in it, and those stay what they were in their own project.
        asked = [key for key in can if what == "ours" or not key.endswith("|pickle")]
        wrong += [f"{key}: {what}: {answers[key]}" for key in asked if answers[key] != loaded[key]]
    assert not wrong, "\n".join(wrong)


def went(project: Project, command: str, folder: Path) -> tuple[Any, str]:
    """(answers, stdout) of models.py."""
    done = project.run("models.py", command, str(folder), ADAMPATCH_EMIT="tensor")
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((project.folder / "answers.json").read_text()), done.stdout


@pytest.mark.parametrize(
    "row, keras",
    [
        pytest.param(row, keras, id=f"{row.name}-{keras}", marks=pytest.mark.matrix)
        for row in GENERATIONS
        for keras in row.keras
    ],
    indirect=["row"],
)
@pytest.mark.feature("checkpoint")
def test_every_way_to_name_an_optimizer_trains_as_stock_does(
    keras: str, row: Generation, pair: Any, tmp_path: Path
) -> None:
    stock, ours = pair("models", "checkpoints", "training", keras=keras)
    by_stock, by_ours = tmp_path / "by_stock", tmp_path / "by_ours"
    by_stock.mkdir(), by_ours.mkdir()
    (first, said), (second, ours_said) = together(
        lambda: went(stock, "train", by_stock), lambda: went(ours, "train", by_ours)
    )
    assert said == ours_said and said.count("\n") >= len(first)
    for way, answer in first.items():
        assert answer["weights"] == second[way]["weights"], way
        seen = second[way]["seen"]
        assert seen["step"] == (16 if way.startswith("file") else 8), way
        assert isinstance(seen["rates"], list) and len(seen["rates"]) >= 4, way
    (back, _), (onwards, _) = together(
        lambda: went(stock, "load", by_ours), lambda: went(ours, "load", by_stock)
    )
    assert back and back.keys() == onwards.keys() == {way for way in first if way.startswith("file")}
    for way in back:
        assert back[way]["weights"] == onwards[way]["weights"] == first[way]["weights"], way
        assert onwards[way]["seen"]["step"] == 16


@pytest.mark.feature("counters")
def test_settings_from_outside(row: Generation, pair: Any) -> None:
    _, ours = pair("asking", "training")
    (ours.folder / "rules.json").write_text(json.dumps(RULES))
    (ours.folder / "rules.toml").write_text("version = 1\n")
    other = {**RULES, "rules": [{**RULES["rules"][0], "match": ["decoder/**"]}]}  # type: ignore[index]
    (ours.folder / "other.json").write_text(json.dumps(other))
    told = ours.answers("asking.py")
    assert 'emit="tensor"' in told["before the first step"] and "no update ran" not in told["off"]
    assert 'emit is "stats"' in told["statistics by default"]
    assert "NotYetAvailable" in told["no snapshot before it"]
    shot = told["a snapshot by default"]
    assert shot["step"] == 1 and shot["lr"] == pytest.approx(0.02) and list(shot["variables"]) == ["w"]
    assert 'emit is "off"' in told["off"] and "ADAMPATCH_EMIT=stats" in told["off"]
    assert told["every 3"] == [1, 1, 1, 4, 4, 4, 7, 7]
    assert max(told["rules"]["w"]) == np.float32(0.02) and told["clamped"] > 0
    assert "rules.toml" in told["no TOML reader"] and "--json" in told["no TOML reader"]
    assert "missing.json" in told["no such file"] and "ADAMPATCH_RULES" in told["no such file"]
    assert "ADAMPATCH_EMIT" in told["bad emit"] and "off, stats, tensor" in told["bad emit"]
    assert "decoder/**" in told["no such variable"] and "w" in told["no such variable"]
    for question in ("no optimizer", "not patched"):
        assert "it is no patched optimizer" in told[question]
    assert told["warnings"] == []


@pytest.mark.feature("standalone")
def test_a_package_and_a_script_share_what_they_know(row: Generation, tmp_path: Path) -> None:
    folders = tmp_path / "stock", tmp_path / "patched"
    for folder in folders:
        shutil.copytree(TARGET / "package_project", folder)
    stock, ours = Project.of(row, folders[0]), Project.of(row, folders[1]).apply("--standalone")
    assert {path for path in ours.files() if path.endswith("_adampatch.py")} == {
        "_adampatch.py",
        "model/_adampatch.py",
    }
    plain, told = together(
        lambda: stock.answers("train.py"), lambda: ours.answers("train.py", ADAMPATCH_EMIT="tensor")
    )
    assert told["early"] == []  # ours was imported, TensorFlow was not
    for where in ("script", "package", "spawned"):
        assert told[where]["weights"] == plain["script"]["weights"] == plain["package"]["weights"]
        assert told[where]["modules"] == ["_adampatch", "model._adampatch"]
        first, second = told[where]["rates"]
        assert first == second and list(first) == ["w"]


@pytest.mark.feature("revert")
def test_revert_gives_the_project_back(row: Generation, tmp_path: Path) -> None:
    names = ["training", "train", *(f"optimizers_{name}" for name in row.optimizers)]
    project = Project.made(row, tmp_path / "project", *names)
    before = project.files()
    # A target's own edits are of use where its versions are not those of the table.
    project.apply("--standalone", *(["--python", project.python] if row.environment else []))
    patched = project.files()
    assert "_adampatch.py" in patched and all(
        patched[name] != text for name, text in before.items() if name.startswith("optimizers_")
    )
    project.adampatch("revert", str(project.folder))
    assert project.files() == before


@pytest.mark.matrix
@pytest.mark.feature("standalone")
@pytest.mark.parametrize(
    "row", [pytest.param(g, id=g.name) for g in GENERATIONS if not g.tool], indirect=True
)
def test_nothing_of_the_tool_is_installed_there(row: Generation, tmp_path: Path) -> None:
    tmp_path.joinpath("ask.py").write_text(
        "import importlib.util as u\n"
        "print([n for n in ('adampatch', 'libcst', 'beniget', 'pathspec') if u.find_spec(n)])\n"
    )
    assert Project.of(row, tmp_path).run("ask.py").stdout.strip() == "[]"
