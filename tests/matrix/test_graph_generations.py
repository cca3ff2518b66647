"""Each TensorFlow generation: what it wrote is patched here, without it, and trains on there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from environments import ROOT
from generations import Generation
from standalone import executable, rows

pytestmark = [pytest.mark.matrix, pytest.mark.feature("graph")]
SCRIPT = ROOT / "tests" / "graph" / "target" / "meta_graphs.py"
#: units in the last place by which patched may differ from stock, where roots are approximate
ULPS = {"tf115": 2, "tf21": 2}
RULES = 'version = 1\n[[rule]]\nid = "c"\nmatch = ["**"]\nquantity = "rate"\nmax = {}\n'


def target(row: Generation, folder: Path, *words: str, adampatch: bool = False) -> dict:
    """What the script says, run in an environment without adampatch unless asked for."""
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    variables["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if adampatch:
        variables["PYTHONPATH"] = str(ROOT)
    variables.update(row.environ)
    done = subprocess.run(
        [executable(row), str(SCRIPT), *words], cwd=folder, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("resource", ["resource", "reference"])
@pytest.mark.parametrize("row", rows(matrix=True))
def test_a_meta_graph_is_patched_here_and_trains_on_there(row, resource, tmp_path):
    target(row, tmp_path, "write", resource)
    for name, bound in (("idle", "1e30"), ("bound", "0.02")):
        (tmp_path / f"{name}.toml").write_text(RULES.format(bound))
        rules = str(tmp_path / f"{name}.toml")
        command = [sys.executable, "-m", "adampatch", "graph", "apply", "model.meta", f"{name}.meta"]
        subprocess.run(
            [*command, "--rules", rules, "-q"],
            cwd=tmp_path,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    said = target(row, tmp_path, "resume", "model.meta", "idle.meta", "bound.meta")
    assert said["idle.meta"]["ulp"] <= ULPS.get(row.environment, 0)
    assert said["idle.meta"]["highest"] > 0.02 and not said["idle.meta"]["clamped"]
    assert said["bound.meta"]["ulp"] > 1000 and said["bound.meta"]["clamped"]
    assert said["bound.meta"]["highest"] <= 0.02 * (1 + 1e-6)


@pytest.mark.parametrize("resource", ["resource", "reference"])
@pytest.mark.parametrize("row", rows(matrix=True))
def test_a_live_graph_is_patched_there(row, resource, tmp_path):
    said = target(row, tmp_path, "live", resource, adampatch=True)
    assert said["idle"]["ulp"] <= ULPS.get(row.environment, 0)
    assert said["observed"]["ulp"] == 0
    for name in ("bound", "closing", "of lr"):
        assert said[name]["clamped"] and said[name]["highest"] == pytest.approx(0.02, rel=1e-6), name


MOVING = """version = 1
[[rule]]
id = "closing"
quantity = "rate"
max = { kind = "linear", from = 0.5, to = 0.005, end = 4 }
[[rule]]
id = "size"
quantity = "update"
max = 0.2
relative_to = "lr"
[[rule]]
id = "rms"
quantity = "update_rms"
max = 1e-3
"""


@pytest.mark.parametrize("resource", ["resource", "reference"])
@pytest.mark.parametrize("row", rows(matrix=True))
def test_verify_judges_it_there(row, resource, tmp_path):
    target(row, tmp_path, "write", resource)
    (tmp_path / "moving.toml").write_text(MOVING)
    python = executable(row)
    for arguments, green in (([], 3), (["--rules", "moving.toml"], 5)):
        command = [sys.executable, "-m", "adampatch", "verify", "model.meta", "--python", python, *arguments]
        done = subprocess.run(
            [*command, "--format", "json", "-q"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        report = json.loads(done.stdout)
        assert report["summary"]["green"] == report["summary"]["planned"] == green
        assert report["cases"][0]["verdict"] == "PASS_BITWISE"


@pytest.mark.parametrize("row", [p for p in rows(matrix=True) if "addons" in p.values[0].optimizers])
@pytest.mark.parametrize("optimizer", ["RectifiedAdam", "LAMB", "AdaBelief", "Yogi", "LazyAdam"])
def test_open_coded_updates_of_addons_are_patched(row, optimizer, tmp_path):
    said = target(row, tmp_path, "live", "resource", optimizer, adampatch=True)
    assert said["observed"]["ulp"] == said["idle"]["ulp"] == 0
    assert said["idle"]["highest"] > 0 and said["bound"]["highest"] <= 0.02 * (1 + 1e-6)
