"""`adampatch verify --python EXE` in each TensorFlow generation, where nothing of adampatch is asked for."""

import json
import os
import re
import subprocess
import sys

import pytest
from environments import ROOT
from standalone import executable, rows

pytestmark = [pytest.mark.tensorflow, pytest.mark.matrix]
#: Of every kind of rule there is.
KINDS = ROOT / "tests" / "fixtures" / "rules" / "every-kind.toml"

#: optimizers that each of them has, verified against a reference
EXPECTED = {
    "tf115": ("tensorflow.keras.optimizers.Nadam", "tensorflow.contrib.opt.AdamWOptimizer",
              "tensorflow.contrib.opt.NadamOptimizer", "tensorflow.contrib.opt.LazyAdamGSOptimizer"),
    "tf21": ("tensorflow.keras.optimizers.Adamax", "tensorflow.compat.v1.train.AdamOptimizer"),
    "tf210": ("keras.optimizers.Adam", "tensorflow.keras.optimizers.experimental.AdamW",
              "tensorflow.python.keras.optimizer_v2.nadam.Nadam"),
    "tf215": ("keras.optimizers.legacy.Adamax", "tensorflow_addons.optimizers.RectifiedAdam",
              "tensorflow_addons.optimizers.LAMB", "tensorflow_addons.optimizers.AdaBelief"),
    "tf221": ("keras.optimizers.Lamb", "tf_keras.optimizers.legacy.Nadam"),
}  # fmt: skip
#: lists of updates, run in graphs
UPDATES = {
    "tf115": "tensorflow.python.keras.optimizers.Adam",
    "tf21": "tensorflow.python.keras.optimizers.Adam",
    "tf210": "keras.optimizers.optimizer_v1.Adam",
    "tf215": "keras.src.optimizers.optimizer_v1.Adam",
    "tf221": "tensorflow.python.keras.optimizer_v1.Adamax",
}
#: two runs of stock differ: named, never silently left out
NAMED = {
    "tf115": ("tensorflow.python.keras.optimizers.Nadam",),
    "tf21": ("tensorflow.python.keras.optimizers.Nadam",),
    "tf210": ("keras.optimizers.optimizer_v1.Nadam",),
    "tf215": ("keras.src.optimizers.optimizer_v1.Nadam",),
    "tf221": ("tensorflow.python.keras.optimizer_v1.Nadam",),
}

#: stock itself does not run in eager code
GRAPHS_ALONE = {"tensorflow.contrib.opt.AdaMaxOptimizer"}
#: rules that say of an optimizer that they cannot hold for it: their quantity is not in its code
REFUSED = {"rms-t", "together", "corrected"}


def is_refused(case):
    """Whether a case was not run because its rule refuses the optimizer, in words that say what to do."""
    rule = case["id"].rpartition(":")[2]
    hides = re.search(r"\.optimizer_v1\.|python\.keras\.optimizers\.|\.Muon$", case["optimizer"])
    return bool(hides) and rule in REFUSED and "keep the rule from" in case["reason"]


def verified(row, *words):
    """(document, what was said) of `verify --quick` in a generation; it has to be green."""
    words = ["verify", "--quick", "--python", executable(row), "--format", "json", *words]
    done = subprocess.run(
        [sys.executable, "-m", "adampatch", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, **row.environ},
    )
    document = json.loads(done.stdout)
    green = ("PASS_BITWISE", "PASS_BOUND")
    failed = [
        case
        for case in document["cases"]
        if case["verdict"] not in green
        and not (case["verdict"] == "NOT_RUN" and (case["optimizer"] in GRAPHS_ALONE or is_refused(case)))
    ]
    assert done.returncode == 0 and not failed, (failed, done.stderr)
    return document, {item["what"]: item["reason"] for item in document["not_verified"]}


@pytest.mark.feature("verify")
@pytest.mark.parametrize("row", rows(matrix=True))
def test_every_optimizer_is_green_or_named(row):
    document, said = verified(row)
    name = row.environment.partition("-")[0]
    for path in EXPECTED[name]:
        errors = [case["max_error_over_bound"] for case in document["cases"] if case["optimizer"] == path]
        assert errors and 0.5 < max(errors) <= 1, path
        assert f"the formula of {path}" not in said
    assert all(said.get(path) for path in NAMED[name])
    listed = {case["mode"] for case in document["cases"] if case["optimizer"] == UPDATES[name]}
    assert listed == {"graph"} and f"the formula of {UPDATES[name]}" not in said
    roots = document["environment"]["accuracy"]["CPU:0 float32"]["sqrt"]
    assert (roots > 1) is (name in ("tf115", "tf21"))


@pytest.mark.feature("rules")
@pytest.mark.parametrize("row", rows(matrix=True))
def test_every_kind_of_rule_is_obeyed_by_every_optimizer(row):
    document, _ = verified(row, "--rules", KINDS)
    ruled = {case["id"].rpartition(":")[2] for case in document["cases"]}
    assert len(ruled) >= 13
