"""What `verify PATH` takes of a project: trees, classes, uses and their literal arguments. No TensorFlow."""

import json
import textwrap

import numpy as np
import pytest

from adampatch.cli import main
from adampatch.verify.ball import Field
from adampatch.verify.formats import FORMATS
from adampatch.verify.project import project_at
from adampatch.verify.sites import watched_sites

FORK = """
    import tensorflow as tf
    from tf_keras.optimizers.legacy import Optimizer


    class Fork(Optimizer):
        def _resource_apply_dense(self, grad, var, apply_state=None):
            m = self.get_slot(var, "m")
            v = self.get_slot(var, "v")
            lr = self._get_hyper("learning_rate", var.dtype)
            m_t = m.assign(0.9 * m + 0.1 * grad)
            v_t = v.assign(0.999 * v + 0.001 * grad * grad)
            return var.assign_sub(lr * m_t / (tf.sqrt(v_t) + 1e-7))
"""
TRAIN = """
    import keras

    opt = keras.optimizers.Adam(3e-4, beta_2=0.99, name="é")
    other = keras.optimizers.Adam(learning_rate=RATE, clipnorm=norm())
    model.compile(optimizer="nadam")
    raise SystemExit("this script is never imported")
"""


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    (root / "package" / "inner").mkdir(parents=True)
    for folder in ("package", "package/inner"):
        (root / folder / "__init__.py").write_text("")
    (root / "package" / "inner" / "fork.py").write_text(textwrap.dedent(FORK))
    (root / "train.py").write_text(textwrap.dedent(TRAIN))
    (root / "data.bin").write_bytes(b"x" * (1 << 21))
    (root / ".git").mkdir()
    return root


def test_an_unpatched_project_gives_a_tree_as_it_is_and_a_patched_one(project, tmp_path):
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    found = project_at(str(project), tmp_path / "work", None)
    assert not found.patched_before
    assert (found.stock / "train.py").read_text() == textwrap.dedent(TRAIN)
    assert not (found.stock / "_adampatch.py").exists() and not (found.stock / ".git").exists()
    assert "_adampatch.step(" in (found.patched / "package/inner/fork.py").read_text()
    assert "STANDALONE" in (found.patched / "package" / "_adampatch.py").read_text()
    assert (found.stock / "data.bin").is_symlink()
    assert before == {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}


def test_classes_are_named_as_they_are_imported_and_scripts_are_not(project, tmp_path):
    found = project_at(str(project), tmp_path / "work", None)
    (owner,) = found.classes
    assert (owner.root, owner.module, owner.name) == (".", "package.inner.fork", "Fork")
    assert owner.where == "package/inner/fork.py::Fork"


def test_uses_have_their_literal_arguments_and_name_the_others(project, tmp_path):
    first, second, string = project_at(str(project), tmp_path / "work", None).uses
    assert (first.where, first.resolved) == ("train.py:4", "keras.optimizers.Adam")
    assert first.arguments == {"args": [3e-4], "kwargs": {"beta_2": 0.99, "name": "é"}}
    assert first.open == ()
    assert second.open == ("learning_rate", "clipnorm")
    assert string.resolved == "keras.optimizers.Nadam"
    assert string.arguments == {"args": [], "kwargs": {}}


def test_a_patched_project_is_what_is_on_disk_now_against_its_originals(project, tmp_path, capsys):
    fork = project / "package" / "inner" / "fork.py"
    with pytest.raises(SystemExit) as stop:
        main(["apply", str(project), "-q"])
    assert stop.value.code == 0, capsys.readouterr().err
    fork.write_text(fork.read_text().replace("direction=lambda: m_t", "direction=lambda: m"))
    found = project_at(str(project), tmp_path / "work", None)
    assert found.patched_before
    assert (found.stock / "package/inner/fork.py").read_text() == textwrap.dedent(FORK)
    assert "direction=lambda: m," in (found.patched / "package/inner/fork.py").read_text()
    assert [owner.name for owner in found.classes] == ["Fork"] and len(found.uses) == 3


def test_one_file_or_folder_of_a_patched_project_is_enough(project, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["apply", str(project), "-q"])
    found = project_at(str(project / "package"), tmp_path / "folder", None)
    assert found.patched_before and not found.uses
    assert found.classes[0].module == "package.inner.fork"
    found = project_at(str(project / "train.py"), tmp_path / "file", None)
    assert found.patched_before and not found.classes and len(found.uses) == 3


def test_what_is_refused_is_left_out_with_its_reason(project, tmp_path):
    fork = project / "package" / "inner" / "fork.py"
    text = fork.read_text()
    fork.write_text(text.replace("var.assign_sub(lr * m_t", "var.assign(-lr * m_t"))
    found = project_at(str(project), tmp_path / "work", None)
    assert not found.classes
    (left_out,) = found.left_out
    assert left_out["what"].endswith("fork.py::Fork") and left_out["reason"].startswith("AP2")


@pytest.mark.parametrize(
    "table",
    ["verify = 3", "[tool.adampatch.verify]\nsecond = 3", "[tool.adampatch.verify]\nmemory = 0",
     "[tool.adampatch.verify.arguments]\nFork = 1"],
)  # fmt: skip
def test_settings_that_cannot_be_meant(project, table, capsys):
    (project / "pyproject.toml").write_text(f"[tool.adampatch]\n{table}\n")
    with pytest.raises(SystemExit) as stop:
        main(["verify", str(project)])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "pyproject.toml:" in said and "verify must be a table: seconds, memory" in said


def test_a_path_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["verify", str(tmp_path / "nothing")])
    assert stop.value.code == 2
    assert "nothing" in capsys.readouterr().err


# ------------------------------------------------------------------------ sites

BOUNDS = (0.5, 2.0)
RATES = np.array([0.25, 1.0, 4.0, np.nan], np.float32)


def site(returned, decay=None, direction=3.0):
    """The record of one site whose rates are RATES; the direction is 3, and so is stock's."""
    whole = RATES * np.float32(3) + np.float32(decay or 0)
    arrays = {"rate": RATES, "direction": np.full(4, direction, np.float32), "update": whole}
    if decay is not None:
        arrays["decay"] = np.float32(decay)
    arrays["returned"] = np.asarray(returned, np.float32)
    return {f"site/0/{name}": array.view(np.uint32) for name, array in arrays.items()}


def judged(arrays):
    return watched_sites(Field(FORMATS["float32"]), arrays, BOUNDS)


def test_a_clamp_is_the_bound_times_the_direction_and_stock_elsewhere():
    hits, divergence, error = judged(site([1.5, 3, 6, np.nan]))
    assert (hits, divergence) == (2, None) and error <= 1


def test_a_decay_is_added_and_never_clamped():
    assert judged(site([1.75, 3.25, 6.25, np.nan], decay=0.25))[1] is None


def test_bounds_of_one_side():
    ceiling = watched_sites(Field(FORMATS["float32"]), site([0.75, 3, 6, np.nan]), (None, 2.0))
    assert ceiling[:2] == (1, None)


def test_an_infinite_rate_is_bounded():
    rates = np.array([np.inf, 1.0], np.float32)
    arrays = {"rate": rates, "direction": np.float32(3), "update": 3 * rates}

    def found(returned):
        record = {**arrays, "returned": np.asarray(returned, np.float32)}
        return judged({f"site/0/{name}": np.asarray(x).view(np.uint32) for name, x in record.items()})

    assert found([6, 3])[:2] == (1, None)
    assert found([np.inf, 3])[1]["element"] == [0]


@pytest.mark.parametrize(
    ("returned", "element"),
    [
        ([0.75, 3, 6, np.nan], 0),
        ([1.5, 3, 12, np.nan], 2),
        ([1.5, 3.0000003, 6, np.nan], 1),
        ([1.5, 3, 6, 6], 3),
    ],
    ids=["the low bound is missed", "the high bound is missed", "an element within moves", "NaN is clamped"],
)
def test_a_clamp_that_is_wrong_is_found(returned, element):
    _, divergence, _ = judged(site(returned))
    assert divergence["quantity"] == "update" and divergence["element"] == [element]
    assert json.loads(json.dumps(divergence))["clamped"] is (element in (0, 2))


@pytest.mark.parametrize("direction", [-3.0, 3.0 * 0.9, 3.0001])
def test_parts_that_are_not_the_update_are_found_though_the_clamp_is_true_to_them(direction):
    clamped = [0.5 * direction, 3, 2 * direction, np.nan]
    _, divergence, _ = judged(site(clamped, direction=direction))
    assert divergence["quantity"] == "separation"
