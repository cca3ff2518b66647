"""RectifiedAdam in all its options, alone and as Ranger: what holds of every stock optimizer (the tests of
test_standalone_bits.py), in the updates before it is rectified and after; and its warm-up is a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from generations import GENERATIONS, Generation
from references import REFERENCES
from standalone import Project
from test_standalone_bits import (  # noqa: F401
    BOUNDS,
    Runs,
    test_a_bounded_rate_is_the_bound_itself_and_no_other_is,
    test_a_rule_that_never_binds_changes_no_bit,
    test_every_optimizer_of_the_generation_trains,
    test_patched_keeps_stocks_variables_and_stdout,
    test_patched_trains_to_stocks_bits,
    test_rates_and_variables_are_those_of_the_formula,
    test_what_is_shown_of_the_last_update_is_what_it_did,
)

pytestmark = [pytest.mark.tensorflow, pytest.mark.matrix, pytest.mark.feature("standalone")]

ROWS = [
    pytest.param(replace(row, optimizers={"rectified": "eager,function"}), id=row.name)
    for row in GENERATIONS
    if "addons" in row.optimizers
]


@pytest.fixture(scope="module", params=ROWS)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(request.param, tmp_path_factory.mktemp("rectified"))


def test_a_ceiling_holds_in_both_phases(runs: Runs) -> None:
    """Before the average is long enough all elements have one rate, at the bound or not."""
    clamped = {"before": 0, "after": 0}
    for key in runs.ruled.facts:
        reference = REFERENCES[key.partition("|")[0]]
        most = 2 / (1 - reference.beta_2) - 1
        for name, rate in runs.ruled.of(key, "rates").items():
            high = rate.dtype.type(BOUNDS[name.partition("_")[0]][1])
            assert not np.isnan(rate[:, [0, 2, 5] if name.startswith("table") else slice(None)]).any()
            for t, row in enumerate(rate, 1):
                power = reference.beta_2**t
                before = most - 2 * t * power / (1 - power) < reference.threshold
                known = row[~np.isnan(row)]
                assert (known <= high).all() and (not before or len(set(known.tolist())) == 1)
                clamped["before" if before else "after"] += int((known == high).sum())
    assert min(clamped.values()) > 100


def correction(t: int) -> float:
    """What multiplies the learning rate in alpha, with the default betas: the bias correction of the first
    moment, and the rectification from its sixth update on."""
    b, c1, c2 = 0.999**t, 1 - 0.9**t, 1 - 0.999**t
    most = 2 / (1 - 0.999) - 1
    length = most - 2 * t * b / c2
    if length < 5:
        return 1 / c1
    return float(np.sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)) / c1)


@pytest.mark.parametrize("row", ROWS)
def test_alpha_has_the_line_of_the_warm_up(row: Generation, tmp_path: Path) -> None:
    """From 0 to the learning rate in 1000 updates, then to the least one in 9000."""
    project = Project.made(row, tmp_path / "warming", "warming").apply("--standalone")
    answers = project.answers("warming.py", ADAMPATCH_EMIT="tensor")
    assert sorted(answers) == ["Ranger", "Ranger, rows", "alone", "alone, rows"]
    for kind, rows in answers.items():
        for t, alpha, lr, highest, lowest in rows:
            line = np.interp(t, [0, 1000, 10000], [0.0, 1e-3, 1e-5])
            # float32 has few digits left in the length of a young average
            tolerance = 3e-3 if 5 < t < 10 else 1e-4
            assert alpha == pytest.approx(line * correction(t), rel=tolerance), (kind, t)
            assert lr == pytest.approx(1e-3) and np.isfinite([highest, lowest]).all()
            if t <= 5:  # no denominator yet
                assert highest == lowest == pytest.approx(alpha, rel=1e-6), (kind, t)
            else:
                assert highest > lowest > 0
