"""The Keras callback in each TensorFlow generation, patched from the table of stock edits."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from logs import series
from scripts import ROOT, environment

pytestmark = [pytest.mark.tensorflow, pytest.mark.matrix]
ENVIRONMENTS = Path(os.environ.get("ADAMPATCH_ENVS") or ROOT / ".corpus-envs")
#: {environment: how many families of Keras optimizers it has}
FAMILIES = {"tf221": 1, "tf215": 3, "tf210": 3, "tf21": 1}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_values_reach_keras_logs_as_python_floats_and_the_files(tmp_path, name):
    python = ENVIRONMENTS / name / "bin" / "python"
    if not python.exists():
        if os.environ.get("ADAMPATCH_ENVS_REQUIRED"):
            pytest.fail(f"no {python}")
        pytest.skip(f"no {python}; ADAMPATCH_ENVS names the folder of the environments")
    script = Path(__file__).parent / "target" / "monitored.py"
    done = subprocess.run(
        [str(python), str(script), "log"],
        cwd=tmp_path,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == FAMILIES[name]
    for folder, seen in found.items():
        assert seen["same"] and seen["types"] == ["float"], seen
        logged = series(tmp_path / folder, "alpha")
        assert sorted(logged) == [1, 11, 21]
        assert logged[1] == pytest.approx(1e-3 * 0.001**0.5 / 0.1, rel=1e-5)
        # five updates an epoch: the latest sample at the end of each
        assert seen["alphas"] == [logged[step] for step in (1, 1, 11, 11, 21)]
