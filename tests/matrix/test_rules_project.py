"""Presets in each TensorFlow generation, as a standalone project has them: bounds hold, counters count, and
what rules remember goes through checkpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from environments import ROOT
from generations import Generation
from standalone import Project, Trained, rows, together

pytestmark = [pytest.mark.tensorflow, pytest.mark.matrix]

PRESETS = sorted(path.stem for path in (ROOT / "rules").glob("*.toml"))
STEPS = 12
#: Those that these gradients make act.
BINDING = {"slew", "warmup-guard"}


def normal_form(path: Path, out: Path) -> Path:
    words = [sys.executable, "-m", "adampatch", "rules", "check", str(path), "--json", str(out)]
    subprocess.run(words, check=True, capture_output=True, cwd=ROOT)
    return out


class Presets:
    """One generation's trainings under each preset, in one mode of each family, and stock's."""

    def __init__(self, row: Generation, folder: Path) -> None:
        self.files = []
        for name in PRESETS:
            text = (ROOT / "rules" / f"{name}.toml").read_text()
            if name == "embeddings":  # the tables here have another name
                text = "\n".join(
                    'match = ["table*"]' if line.startswith("match") else line for line in text.splitlines()
                )
            (folder / f"{name}.toml").write_text(text)
            self.files.append(normal_form(folder / f"{name}.toml", folder / f"{name}.json"))
        modules = [f"optimizers_{name}" for name in row.optimizers]
        self.project = Project.made(row, folder / "ours", "presets", "train", "training", *modules)
        self.project.apply("--standalone")
        stock = Project.made(row, folder / "stock", "train", "training", *modules)
        modes = [
            f"{asked.partition(':')[0]}:{'function' if 'function' in asked else 'resource'}"
            for asked in row.asked
        ]
        self.stock, self.ruled = together(
            lambda: self._trained(stock, "train.py", *modes),
            lambda: self._trained(self.project, "presets.py", ",".join(map(str, self.files)), *modes),
        )

    @staticmethod
    def _trained(project: Project, program: str, *words: str) -> Trained:
        done = project.run(program, "out", str(STEPS), *words)
        assert done.returncode == 0, done.stderr[-4000:]
        facts = json.loads((project.folder / "out.json").read_text())
        with np.load(project.folder / "out.npz") as arrays:
            return Trained(facts, dict(arrays), done.stdout)


@pytest.fixture(scope="module", params=rows(matrix=True))
def presets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Presets:
    return Presets(request.param, tmp_path_factory.mktemp("presets"))


def told(presets: Presets, name: str) -> dict[str, Any]:
    """{key: facts} of the trainings under one preset."""
    found = {key: fact for key, fact in presets.ruled.facts.items() if key.startswith(f"{name}|")}
    assert len(found) >= 2 and not {key: fact["error"] for key, fact in found.items() if "error" in fact}
    return found


def rates(presets: Presets, key: str) -> dict[str, Any]:
    return presets.ruled.of(key, "rates")


@pytest.mark.feature("rules")
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_binds_or_leaves_stocks_bits(presets: Presets, name: str) -> None:
    """Those that bind these gradients change the weights; one that only counts never does."""
    changed = set()
    for key in told(presets, name):
        stock = presets.stock.of(key.partition("|")[2], "weights")
        ours = presets.ruled.of(key, "weights")
        assert stock.keys() == ours.keys()
        assert all(np.isfinite(values).all() for values in ours.values())
        changed |= {n for n in ours if ours[n].tobytes() != stock[n].tobytes()}
    if name == "shadow":
        assert not changed
    if name in BINDING:
        assert changed


@pytest.mark.feature("rules")
def test_no_rate_rises_faster_than_slew_lets_it(presets: Presets) -> None:
    limit, seen = 1.0002 * (1 + 1e-6), 0
    for key in told(presets, "slew"):
        for name, found in rates(presets, key).items():
            before, after = found[:-1], found[1:]
            known = np.isfinite(before) & np.isfinite(after) & (before > 0)
            assert (after[known] <= before[known] * limit).all(), (key, name)
            seen += int(known.sum())
    assert seen > 100


@pytest.mark.feature("counters")
@pytest.mark.parametrize("name", PRESETS)
def test_every_rule_is_counted_for_every_variable_it_holds_for(presets: Presets, name: str) -> None:
    ids = {rule["id"] for rule in json.loads((presets.files[PRESETS.index(name)]).read_text())["rules"]}
    counted = 0
    for key, fact in told(presets, name).items():
        if "snapshot" not in fact:
            continue  # a v1 graph offers tensors instead
        for path, row in fact["snapshot"]["variables"].items():
            held = row.get("rules", {})
            assert set(held) == ids or (name == "embeddings" and not path.startswith("table")), (key, path)
            for rule in held.values():
                assert rule["samples"] == STEPS and 0 <= rule["clamped_frac"] <= 1
                counted += rule["clamped_total"]
    assert (
        name not in BINDING or counted > 0 or not any("snapshot" in f for f in presets.ruled.facts.values())
    )


@pytest.mark.feature("checkpoint")
@pytest.mark.parametrize("row", rows(matrix=True))
def test_rates_before_go_through_checkpoints(row: Generation, tmp_path: Path) -> None:
    modules = [f"optimizers_{name}" for name in row.optimizers]
    rules = normal_form(ROOT / "rules" / "slew.toml", tmp_path / "slew.json")
    kept, lost = tmp_path / "kept", tmp_path / "lost"
    kept.mkdir(), lost.mkdir()

    def gone(project: Project, command: str, folder: Path, **environ: str) -> Any:
        words = ["checkpoints.py", command, str(folder), *modules]
        return project.answers(*words, ADAMPATCH_EMIT="tensor", **environ)

    ours, stock = (
        Project.made(row, tmp_path / name, "checkpoints", "training", *modules).apply("--standalone")
        for name in ("ours", "without")
    )
    ruled = {"ADAMPATCH_RULES": str(rules)}
    whole, free = together(lambda: gone(ours, "save", kept, **ruled), lambda: gone(stock, "save", lost))
    again, forgot = together(
        lambda: gone(ours, "load", kept, **ruled), lambda: gone(stock, "load", lost, **ruled)
    )
    free_again = gone(stock, "load", lost)
    asked = [
        key for key in whole if key.rpartition("|")[2] in ("checkpoint", "saver") and ": " not in whole[key]
    ]
    # Nadam's momentum product and the count of Addons' wrappers are lost without rules too.
    kept_by_stock = [key for key in asked if free_again[key] == free[key]]
    assert len(kept_by_stock) >= 3 and not {
        key: again[key] for key in kept_by_stock if again[key] != whole[key]
    }
    # and a checkpoint without it loads as well, with no rate before
    assert not {key: forgot[key] for key in asked if "KeyError" in forgot[key] or "NotFound" in forgot[key]}
