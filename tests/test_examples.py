"""Every example, as a user meets it: train, patch, train, patch again, revert. All in subprocesses."""

import hashlib
import json
import os
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"

# Fewer updates than the defaults: bits that differ do so from the first updates on.
TRAINING = {
    "keras3_fit": ["--epochs", "2"],
    "keras_subclass": ["--epochs", "1"],
    "tf1_session": ["--steps", "60"],
    "v2_fork": ["--steps", "40"],
}
CHANGED = {
    "keras3_fit": ["train.py"],
    "keras_subclass": ["optimizers.py", "registry.py", "train.py"],
    "tf1_session": ["train.py"],
    "v2_fork": ["adamw.py"],
}
#: Examples that ask for rates themselves, or train what was patched without its source.
AWARE = {"rare_words", "saved_model"}
AWARE_SCRIPTS = {"tf1_session/resume.py"}


def execute(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ADAMPATCH_")}
    environment.update(
        PYTHONPATH=str(ROOT),
        PYTHONDONTWRITEBYTECODE="1",
        CUDA_VISIBLE_DEVICES="-1",
        KERAS_BACKEND="tensorflow",
    )
    completed = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert completed.returncode == 0, f"{command}\n{completed.stdout}{completed.stderr}"
    return completed.stdout


def fingerprint(tree):
    return {
        path.relative_to(tree).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
            path.stat().st_mode,
        )
        for path in tree.rglob("*")
    }


def arrays(path):
    with np.load(path) as saved:
        return {name: (saved[name].dtype, saved[name].shape, saved[name].tobytes()) for name in saved.files}


def test_every_example_is_covered():
    assert {path.parent.name for path in EXAMPLES.glob("*/train.py")} == set(TRAINING) | AWARE


def test_every_example_is_indexed():
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for example in (*TRAINING, *AWARE):
        assert f"({example}/)" in index
        assert (EXAMPLES / example / "README.md").is_file()


def test_what_trains_knows_nothing_of_adampatch():
    for example in TRAINING:
        for script in (EXAMPLES / example).glob("*.py"):
            if f"{example}/{script.name}" not in AWARE_SCRIPTS:
                assert "adampatch" not in script.read_text(encoding="utf-8")


@pytest.mark.tensorflow
@pytest.mark.parametrize("example", sorted(TRAINING))
def test_patched_training_gives_the_same_bits_and_revert_the_same_bytes(example, tmp_path):
    if example.startswith("keras"):
        pytest.importorskip("sklearn")
    if example == "v2_fork":
        pytest.importorskip("tf_keras")
    project = tmp_path / example
    shutil.copytree(EXAMPLES / example, project, ignore=shutil.ignore_patterns("__pycache__"))
    before = fingerprint(project)

    execute("train.py", *TRAINING[example], "--weights", tmp_path / "stock.npz", cwd=project)
    assert fingerprint(project) == before

    execute("-m", "adampatch", "apply", project, cwd=tmp_path)
    patched = fingerprint(project)
    changed = sorted(path for path in before if patched[path] != before[path])
    assert changed == CHANGED[example]
    assert "_adampatch.py" in patched

    execute("train.py", *TRAINING[example], "--weights", tmp_path / "patched.npz", cwd=project)
    assert arrays(tmp_path / "patched.npz") == arrays(tmp_path / "stock.npz")

    execute("-m", "adampatch", "apply", project, cwd=tmp_path)
    assert fingerprint(project) == patched

    execute("-m", "adampatch", "revert", project, cwd=tmp_path)
    assert fingerprint(project) == before


def test_every_site_of_the_fork_is_patched_and_its_decay_is_seen(tmp_path):
    project = tmp_path / "v2_fork"
    shutil.copytree(EXAMPLES / "v2_fork", project, ignore=shutil.ignore_patterns("__pycache__"))
    found = json.loads(execute("-m", "adampatch", "apply", project, "--format", "json", cwd=tmp_path))
    (fork,) = found["classes"]
    assert (fork["name"], fork["family"], fork["status"]) == ("AdamW", "v2", "patched")
    kinds = [(site["method"], site["kind"], site["status"], site["decay"]) for site in fork["sites"]]
    assert kinds == [
        ("_resource_apply_dense", "fused", "patched", None),
        ("_resource_apply_dense", "fused", "patched", None),
        ("_resource_apply_dense", "open", "patched", "wd_t*var"),
        ("_resource_apply_sparse", "sparse", "patched", "(wd_t*var if self._decays(var) else 0)"),
    ]
    assert found["summary"]["refused"] == 0
    assert found["changed"] == ["_adampatch.py", "adamw.py"]


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "options", [["--amsgrad"], ["--weight-decay", "0"], ["--amsgrad", "--weight-decay", "0"]]
)
def test_every_branch_of_the_fork_gives_the_same_bits(options, tmp_path):
    pytest.importorskip("tf_keras")
    project = tmp_path / "v2_fork"
    shutil.copytree(EXAMPLES / "v2_fork", project, ignore=shutil.ignore_patterns("__pycache__"))
    command = ["train.py", "--steps", "30", *options, "--weights"]
    execute(*command, tmp_path / "stock.npz", cwd=project)
    execute("-m", "adampatch", "apply", project, cwd=tmp_path)
    execute(*command, tmp_path / "patched.npz", cwd=project)
    assert arrays(tmp_path / "patched.npz") == arrays(tmp_path / "stock.npz")


@pytest.mark.tensorflow
def test_a_ceiling_reaches_every_adam_of_the_subclass_example_and_no_other(tmp_path):
    pytest.importorskip("sklearn")
    project = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(EXAMPLES / "keras_subclass", project, ignore=ignored)
    execute("train.py", "--epochs", "1", "--weights", tmp_path / "stock.npz", cwd=project)

    report = json.loads(execute("-m", "adampatch", "apply", project, "--format", "json", cwd=tmp_path))
    assert {c["name"]: c["status"] for c in report["classes"]} == {
        "AdaBelief": "patched",
        "LayerwiseAdam": "inherited",
    }
    assert {u["status"] for u in report["uses"]} == {"patched"} and len(report["uses"]) == 4

    execute("-m", "adampatch", "apply", project, "--rules", "ceiling", cwd=tmp_path)
    execute("train.py", "--epochs", "1", "--weights", tmp_path / "bounded.npz", cwd=project)
    stock, bounded = arrays(tmp_path / "stock.npz"), arrays(tmp_path / "bounded.npz")
    assert stock.keys() == bounded.keys()
    changed = {name.split("/")[0] for name in stock if stock[name] != bounded[name]}
    runs = {name.split("/")[0] for name in stock}
    assert changed == runs - {"sgd"} == {"adabelief", "adam", "adamw", "baseline", "layerwise"}


@pytest.mark.tensorflow
def test_demo_tells_the_story_of_the_session_example(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    output = execute(EXAMPLES / "demo.py", "tf1_session", "--folder", tmp_path / "story", cwd=tmp_path)
    assert "are bit for bit those of the stock training" in output
    assert "the ceiling bound in 2 variables" in output
    assert "The tree is byte-identical again: README.md, export_meta.py, resume.py, train.py" in output
    assert (tmp_path / "story" / "rates.png").read_bytes().startswith(b"\x89PNG")


def test_demo_leaves_a_folder_that_is_not_its_own_alone(tmp_path):
    demo = runpy.run_path(str(EXAMPLES / "demo.py"))
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    with pytest.raises(demo["Failure"], match="was not made by this demo"):
        demo["wipe"](tmp_path)
    assert thesis.read_text() == "years of work"
    assert list(tmp_path.iterdir()) == [thesis]


def test_demo_shows_the_command_and_its_output_when_a_step_fails():
    demo = runpy.run_path(str(EXAMPLES / "demo.py"))
    command = [sys.executable, "-c", "import sys; print('said before'); sys.exit('boom')"]
    with pytest.raises(demo["Failure"]) as failure:
        demo["run"]("adampatch scan PATH", command)
    message = str(failure.value)
    assert "exit code 1 where 0 was expected" in message
    assert shlex.join(command) in message
    assert "said before\nboom" in message


def test_demo_fails_where_bits_differ(tmp_path):
    demo = runpy.run_path(str(EXAMPLES / "demo.py"))
    stock, patched = tmp_path / "stock.npz", tmp_path / "patched.npz"
    np.savez(stock, kernel=np.zeros(3, "float32"), bias=np.zeros(1, "float32"))
    np.savez(patched, kernel=np.array([0.0, -0.0, 0.0], "float32"), bias=np.zeros(1, "float32"))
    with pytest.raises(demo["Failure"], match=r"differ from the stock training's: kernel$"):
        demo["tell_bits"](stock, patched)


def test_slew_limits_the_rise_of_rates_and_counts():
    found = {}
    for rules in (None, ROOT / "rules" / "slew.toml"):
        environment = {name: x for name, x in os.environ.items() if not name.startswith("ADAMPATCH_")}
        environment["PYTHONPATH"] = str(ROOT)
        if rules is not None:
            environment["ADAMPATCH_RULES"] = str(rules)
        out = subprocess.run(
            [sys.executable, EXAMPLES / "rare_words" / "train.py", "--updates", "120"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
        (rise,) = (line.split("factor of ")[1].split()[0] for line in out.splitlines() if "factor of" in line)
        found[rules is not None] = float(rise), out
    assert found[False][0] > 1.005 and "rule" not in found[False][1]
    assert found[True][0] <= 1.000201
    assert "rule slew on sequential/words/embeddings: " in found[True][1]
