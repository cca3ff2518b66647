"""Stock optimizers patched by `apply --standalone`, in each TensorFlow generation: without a rule that binds
they train to stock's bits, with one to the bound, and what they show is what they did."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from environments import ROOT
from generations import Generation
from references import REFERENCES, trained
from standalone import Project, Trained, rows, together

pytestmark = [pytest.mark.tensorflow, pytest.mark.feature("standalone")]

TABLE_ROWS = [0, 2, 2, 5]
#: What the rules say: (low, high) by the beginning of a variable's name.
BOUNDS = {"kernel": (0.0, 0.03), "table": (0.015, 0.04)}
RULES = """\
version = 1

[observe]
emit = "tensor"

[[rule]]
id = "ceiling"
match = ["kernel*"]
quantity = "rate"
max = 0.03

[[rule]]
id = "band"
match = ["table*"]
quantity = "rate"
min = 0.015
max = 0.04
accept_unbounded_step = true
"""
IDLE_RULES = RULES.replace("0.03", "1e30").replace("0.015", "0.0").replace("0.04", "1e30")
#: Classes whose updates of rows may be not taken apart: these stay as stock has them, unobserved.
UNSEEN_ROWS = {"tfa-SWA"}
#: In a function these multiply their momentum's running product once per variable (the counter that
#: should prevent it is a Python number), so that the direction depends on the trace; the rate does not.
WAYWARD = {f"{name}-Nadam|function" for name in ("tf_keras", "keras2", "experimental")}


class Runs:
    """One generation's trainings: stock, patched, under rules that bind and under one that never does."""

    def __init__(self, row: Generation, folder: Path) -> None:
        self.row = row
        names = ["train", "training", *(f"optimizers_{name}" for name in row.optimizers)]
        (folder / "rules.toml").write_text(RULES)
        (folder / "idle.toml").write_text(IDLE_RULES)
        self.stock_project = Project.made(row, folder / "stock", *names)
        self.project = Project.made(row, folder / "patched", *names).apply("--standalone")
        ruled, idle = (
            Project.made(row, folder / name, *names).apply("--standalone", "--rules", str(rules))
            for name, rules in (("ruled", folder / "rules.toml"), ("idle", folder / "idle.toml"))
        )
        self.stock, self.patched, self.ruled, self.idle = together(
            lambda: self.stock_project.train(row),
            lambda: self.project.train(row, ADAMPATCH_EMIT="tensor"),
            lambda: ruled.train(row),
            lambda: idle.train(row, ADAMPATCH_EMIT="off"),
        )


@pytest.fixture(scope="module", params=rows())
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(request.param, tmp_path_factory.mktemp("generation"))


def differences(stock: Trained, ours: Trained, parts: tuple[str, ...] = ("weights", "state")) -> list[str]:
    """Where two trainings differ in any bit."""
    found = []
    for key in stock.facts:
        for part in parts:
            a, b = stock.of(key, part), ours.of(key, part)
            assert a.keys() == b.keys(), key
            found += [f"{key}: {part}/{n}" for n in a if a[n].tobytes() != b[n].tobytes()]
    return found


def test_every_optimizer_of_the_generation_trains(runs: Runs) -> None:
    for result in (runs.stock, runs.patched, runs.ruled):
        assert not {key: fact["error"] for key, fact in result.facts.items() if "error" in fact}
    asked = {key.partition("|")[0] for key in runs.stock.facts}
    assert asked <= REFERENCES.keys()
    assert len(runs.stock.facts) >= 8 and runs.stock.facts.keys() == runs.patched.facts.keys()


def test_patched_trains_to_stocks_bits(runs: Runs) -> None:
    assert not differences(runs.stock, runs.patched)


def test_a_rule_that_never_binds_changes_no_bit(runs: Runs) -> None:
    assert not differences(runs.stock, runs.idle)


@pytest.mark.feature("apply")
def test_normal_mode_gives_the_same_bits_and_rates(runs: Runs, tmp_path: Path) -> None:
    project = Project.of(runs.row, tmp_path / "normal")
    shutil.copytree(runs.stock_project.folder, project.folder)
    project.apply()
    assert len(project.files()["_adampatch.py"]) < 2000
    installed = {"ADAMPATCH_IS_INSTALLED": "1", "PYTHONPATH": str(ROOT)}
    normal = project.train(runs.row, ADAMPATCH_EMIT="tensor", **installed)
    parts = ("weights", "state", "rates", "alpha")
    assert not differences(runs.patched, normal, parts) and not differences(normal, runs.patched, parts)


def test_patched_keeps_stocks_variables_and_stdout(runs: Runs) -> None:
    for key, fact in runs.stock.facts.items():
        assert fact["state"] == runs.patched.facts[key]["state"] == runs.ruled.facts[key]["state"]
    assert runs.stock.stdout == runs.patched.stdout == runs.ruled.stdout


def names_seen(key: str, names: Any) -> set[str]:
    """The variables whose rates are there to be had in a training."""
    case = key.partition("|")[0]
    return {name for name in names if not (name.startswith("table") and case in UNSEEN_ROWS)}


def expected(result: Trained, key: str, name: str, bounded: bool) -> tuple[Any, Any, Any]:
    """(variable, rate, rate before it is bounded) of each update, from the reference."""
    case = key.partition("|")[0]
    table = name.startswith("table")
    seen = name in result.of(key, "rates")
    bounds = BOUNDS[name.partition("_")[0]] if bounded and seen else (0.0, np.inf)
    return trained(
        REFERENCES[case],
        result.of(key, "start")[name],
        result.of(key, "gradients")[name],
        TABLE_ROWS if table else None,
        bounds,
    )


def off(found: Any, wanted: Any) -> float:
    """The largest relative error; infinite where one is NaN and the other is not."""
    if found.shape != wanted.shape or (np.isnan(found) != np.isnan(wanted)).any():
        return float("inf")
    known = ~np.isnan(wanted)
    scale = np.maximum(np.abs(wanted[known]), 1e-2)
    return float(np.max(np.abs(found[known] - wanted[known]) / scale, initial=0.0))


@pytest.mark.parametrize("bounded", [False, True], ids=["unbounded", "bounded"])
def test_rates_and_variables_are_those_of_the_formula(runs: Runs, bounded: bool) -> None:
    result = runs.ruled if bounded else runs.patched
    wrong = []
    for key in result.facts:
        weights, rates = result.of(key, "weights"), result.of(key, "rates")
        assert names_seen(key, weights) <= rates.keys() <= weights.keys(), key
        for name in weights:
            wanted, rate, _ = expected(result, key, name, bounded)
            errors = {} if key in WAYWARD else {"variable": off(weights[name].astype("d"), wanted)}
            if name in rates:
                errors["rate"] = off(rates[name].astype("d"), rate)
            wrong += [f"{key} {name}: {what} off by {e:.1e}" for what, e in errors.items() if e > 3e-4]
    assert not wrong, "\n".join(wrong)


def test_a_bounded_rate_is_the_bound_itself_and_no_other_is(runs: Runs) -> None:
    result, seen = runs.ruled, 0
    for key in result.facts:
        for name, rate in result.of(key, "rates").items():
            low, high = (rate.dtype.type(bound) for bound in BOUNDS[name.partition("_")[0]])
            _, _, free = expected(result, key, name, bounded=True)
            known = ~np.isnan(rate)
            assert (rate[known] >= low).all() and (rate[known] <= high).all(), (key, name)
            for bound, beyond in ((high, free > high * 1.01), (low, free < low * 0.99)):
                assert (rate[known & beyond] == bound).all(), (key, name)
                seen += int((known & beyond).sum())
            within = known & (free < high * 0.99) & (free > low * 1.01)
            assert ((rate[within] > low) & (rate[within] < high)).all(), (key, name)
            seen += int(within.any())
    assert seen > 1000


@pytest.mark.feature("counters")
def test_what_is_shown_of_the_last_update_is_what_it_did(runs: Runs) -> None:
    for key, fact in runs.ruled.facts.items():
        last = {name: rate[-1] for name, rate in runs.ruled.of(key, "rates").items()}
        at_bound = {}
        for name, rate in last.items():
            bounds = [rate.dtype.type(bound) for bound in BOUNDS[name.partition("_")[0]]]
            known = ~np.isnan(rate)
            at_bound[name] = np.isin(rate[known], bounds).sum(), known.sum()
        if "clamped" in fact:  # of the graph, by tensors
            assert fact["clamped"] == {name: count for name, (count, _) in at_bound.items()}, key
            continue
        shot = fact["snapshot"]
        assert shot["step"] == runs.row.steps and shot["variables"].keys() == last.keys(), key
        reference = REFERENCES[key.partition("|")[0]]
        assert shot["lr"] == pytest.approx(reference.rate(runs.row.steps)), key
        for name, (count, known) in at_bound.items():
            shown = shot["variables"][name]
            assert shown["clamped_frac"] == pytest.approx(count / known), (key, name)
            assert shown["rate_max"] == pytest.approx(float(np.nanmax(last[name]))), (key, name)
            assert shown["nonfinite"] == 0 and shown["elements"] == last[name].size, (key, name)
