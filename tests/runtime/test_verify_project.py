"""`adampatch verify PATH` on real TensorFlow: a fork, patched rightly and wrongly, and stock uses."""

import json
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")

FORK = """
    import tensorflow as tf
    from keras import optimizers


    class Decayed(optimizers.Optimizer):
        def __init__(self, strength, learning_rate=0.01, **kwargs):
            super().__init__(learning_rate=learning_rate, **kwargs)
            self.strength = strength

        def build(self, variables):
            super().build(variables)
            self.first = [self.add_variable_from_reference(v, "m") for v in variables]
            self.second = [self.add_variable_from_reference(v, "v") for v in variables]

        def update_step(self, gradient, variable, learning_rate):
            i = self._get_variable_index(variable)
            m, v = self.first[i], self.second[i]
            self.assign(m, 0.9 * m + 0.1 * gradient)
            self.assign(v, 0.99 * v + 0.01 * tf.square(gradient))
            step = m / (tf.sqrt(v) + 1e-7)
            self.assign_sub(variable, learning_rate * (step + self.strength * variable))


    class Steady(Decayed):
        def __init__(self):
            super().__init__(0.0)
"""
TRAIN = """
    import keras

    keras.optimizers.Adam(3e-3, beta_2=0.99)
    raise SystemExit("scripts are not imported")
"""
SETTINGS = """
    [tool.adampatch.verify]
    seconds = 300

    [tool.adampatch.verify.arguments.Decayed]
    strength = 0.125
"""


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    (root / "fork.py").write_text(textwrap.dedent(FORK))
    (root / "train.py").write_text(textwrap.dedent(TRAIN))
    return root


def adampatch(*arguments):
    words = [sys.executable, "-m", "adampatch", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True)


def verdicts(done):
    document = json.loads(done.stdout)
    return {row["id"]: row for row in document["cases"]}, document


def test_a_fork_and_the_stock_optimizer_of_a_script_are_verified(project):
    (project / "pyproject.toml").write_text(textwrap.dedent(SETTINGS))
    before = {path: path.read_bytes() for path in project.rglob("*")}
    done = adampatch("verify", project, "--quick", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    rows, document = verdicts(done)
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "fork.py::Decayed/float32/eager": "PASS_BITWISE",
        "fork.py::Decayed/float32/eager/clamped": "PASS_BOUND",
        "fork.py::Steady/float32/eager": "PASS_BITWISE",
        "fork.py::Steady/float32/eager/clamped": "PASS_BOUND",
        "train.py:4 keras.optimizers.Adam/float32/eager": "PASS_BITWISE",
        "train.py:4 keras.optimizers.Adam/float32/eager/clamped": "PASS_BOUND",
    }
    assert 0.2 < rows["fork.py::Decayed/float32/eager/clamped"]["max_error_over_bound"] <= 1
    said = {item["what"]: item["reason"] for item in document["not_verified"]}
    assert "has no hand-written reference" in said["the formula of fork.py::Decayed"]
    assert "the formula of train.py:4 keras.optimizers.Adam" not in said
    assert before == {path: path.read_bytes() for path in project.rglob("*")}


def test_a_patch_that_was_spoiled_on_disk_fails_and_what_cannot_be_made_is_not_run(project):
    assert adampatch("apply", project, "-q").returncode == 0
    fork = project / "fork.py"
    patched = fork.read_text()
    spoiled = patched.replace("direction=lambda: m,", "direction=lambda: -m,")
    assert spoiled != patched
    fork.write_text(spoiled)
    done = adampatch("verify", project, "--quick", "--case", "fork.py*", "--format", "json")
    assert done.returncode == 1, done.stdout + done.stderr
    rows, document = verdicts(done)
    wrong = rows["fork.py::Steady/float32/eager/clamped"]
    assert wrong["verdict"] == "FAIL" and wrong["first_divergence"]["quantity"] == "separation"
    assert rows["fork.py::Steady/float32/eager"]["verdict"] == "PASS_BITWISE"
    missing = rows["fork.py::Decayed/float32/eager"]
    assert missing["verdict"] == "NOT_RUN"
    assert (
        "needs strength" in missing["reason"]
        and "[tool.adampatch.verify.arguments.Decayed]" in missing["reason"]
    )
    assert any(item["what"] == "fork.Decayed in 2 cases" for item in document["not_verified"])


def test_a_module_that_does_not_end_or_does_not_import_is_named(project):
    (project / "fork.py").write_text("import time\ntime.sleep(600)\n" + textwrap.dedent(FORK))
    (project / "pyproject.toml").write_text("[tool.adampatch.verify]\nseconds = 20\n")
    broken = textwrap.dedent(FORK).replace("from keras", "import no_such_module\nfrom keras")
    (project / "broken.py").write_text(broken)
    done = adampatch("verify", project, "--quick", "--case", "*.py::*", "--format", "json")
    assert done.returncode in (0, 5), done.stderr
    rows, _ = verdicts(done)
    assert "no answer within 20 s" in rows["fork.py::Steady/float32/eager"]["reason"]
    assert "No module named 'no_such_module'" in rows["broken.py::Steady/float32/eager"]["reason"]
