"""Real trainings under `adampatch run`: bits of stock without rules, those of `apply` with rules."""

import shutil

import numpy as np
import pytest
from scripts import ROOT, adampatch, contents, python

pytestmark = pytest.mark.tensorflow
TRAINING = {
    "keras_subclass": ["--epochs", "1"],
    "tf1_session": ["--steps", "30"],
}
RULES = 'version = 1\n[[rule]]\nid = "top"\nquantity = "rate"\nmax = 1e-3\n'


def arrays(path):
    with np.load(path) as saved:
        return {name: (saved[name].dtype, saved[name].shape, saved[name].tobytes()) for name in saved.files}


def weights(tree, example, *command):
    target = tree.parent / "weights.npz"
    start = python if command == () else adampatch
    done = start(*command, "train.py", *TRAINING[example], "--weights", target, cwd=tree)
    assert done.returncode == 0, done.stderr
    return arrays(target)


@pytest.mark.parametrize("example", sorted(TRAINING))
def test_an_example_trains_to_the_bit_as_stock_and_bounded_as_patched_on_disk(tmp_path, example):
    tree = tmp_path / example
    shutil.copytree(ROOT / "examples" / example, tree, ignore=shutil.ignore_patterns("__pycache__"))
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    before = {path: data for path, data in contents(tree).items() if not path.endswith(".pyc")}
    stock = weights(tree, example)
    assert weights(tree, example, "run", "--every", "7") == stock
    bounded = weights(tree, example, "run", "--rules", rules)
    assert bounded != stock
    assert {p: data for p, data in contents(tree).items() if not p.endswith(".pyc")} == before
    assert adampatch("apply", ".", "--rules", rules, cwd=tree).returncode == 0
    assert weights(tree, example) == bounded
