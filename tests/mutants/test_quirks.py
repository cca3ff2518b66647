"""What is odd about stock is in the model, not in its tolerance: a reference without one quirk
finds stock itself outside of its bound."""

import dataclasses
import os

import numpy as np
import pytest
import trials

from adampatch.verify import ball, record, references
from adampatch.verify import judge as judging
from adampatch.verify import references_addons as addons
from adampatch.verify.formats import FORMATS
from adampatch.verify.judge import judge

pytestmark = [pytest.mark.mutants, pytest.mark.tensorflow]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def stock_verdict(case):
    """The verdict on a case whose patched runs are stock's own."""
    (trial,) = trials.trials_of([case])
    arrays = dict(trial.stock)
    for key, bits in trial.stock.items():
        t, run, name = key.split("/", 2)
        if run == "stock":
            arrays[f"{t}/cross/{name}"] = arrays[f"{t}/free/{name}"] = bits
    return judge(case, arrays, trial.told)


def _rest(python):
    def rest(self, name, *, typed=False):
        if python:
            return self.field.constant(1 - self.options[name])
        return self.field.complement(self.beta(name))

    return rest


def _merged(self, t, i, gradient=record.Record.gradient):
    found = gradient(self, t, i)
    return dataclasses.replace(found, square=found.total * found.total, size=found.total.abs())


def _touched_rows_only(before, g, h):
    """OptimizerV2's Adam as if it were lazy."""
    rows = np.any(g.size.mid != 0, axis=tuple(range(1, g.size.mid.ndim)))
    return addons.lazy_adam(before, dataclasses.replace(g, rows=rows), h)


#: quirk -> (optimizer, end of the case, what is replaced, by what)
QUIRKS = {
    "fused kernels take 1 - beta in the variable's format": (
        ("v2", "float32/eager"), (references.Hyper, "rest", _rest(True)),
    ),
    "Keras 3 takes 1 - beta in Python": (
        ("keras3", "float32/eager"), (references.Hyper, "rest", _rest(False)),
    ),
    "float64 variables see Keras 3's learning rate and betas through float32": (
        ("keras3", "float64/eager"), (ball.Field, "cast", ball.Field.constant),
    ),
    "float64 variables see OptimizerV2's through float32": (
        ("v2", "float64/eager"), (ball.Field, "cast", ball.Field.constant),
    ),
    "float64 variables see V1's epsilon through float32": (
        ("v1", "float64/eager"),
        (references.Hyper, "epsilon", property(lambda self: self.field.constant(self.options["epsilon"]))),
    ),
    "Keras 3 does not merge duplicate rows": (
        ("keras3", "float32/eager/sparse"), (record.Record, "gradient", _merged),
    ),
    "OptimizerV2's sparse Adamax is lazy": (
        ("v2-max", "float32/eager/sparse"), (record, "ROWS_ONLY", set()),
    ),
    "OptimizerV2's sparse Adam moves all rows": (
        ("v2", "float32/eager/sparse"), (judging, "_reference_for", lambda case: _touched_rows_only),
    ),
    "kernels flush numbers below the normal range": (
        ("v2", "float32/eager"),
        (record, "FORMATS", {**FORMATS, "float32": dataclasses.replace(FORMATS["float32"], smallest=0.0)}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("quirk", QUIRKS)
def test_a_model_without_the_quirk_does_not_hold_stock(quirk, monkeypatch):
    (short, end), (where, name, new) = QUIRKS[quirk]
    (case,) = trials.cases_of(short, [end])
    assert stock_verdict(case).verdict != "MODEL_INVALID"
    monkeypatch.setattr(where, name, new)
    found = stock_verdict(case)
    assert found.verdict == "MODEL_INVALID", found


def test_bfloat16_with_the_usual_beta_2_stands_still():
    (case,) = trials.cases_of("keras3", ["bfloat16/eager"])
    (trial,) = trials.trials_of([dataclasses.replace(case, options={**case.options, "beta_2": 0.999})])
    (outcome,) = trials.run(trial)
    assert outcome.verdict.verdict == "INCONCLUSIVE" and outcome.verdict.error <= 1


def test_keras_3_writes_a_sparse_moment_as_a_dense_one(monkeypatch):
    """The two orders differ by less than their bounds nearly always: of 20 seeds this one tells."""
    (case,) = trials.cases_of("keras3-max", ["float32/eager/sparse"], seed=7)
    assert stock_verdict(case).verdict != "MODEL_INVALID"
    moment = references._moment
    monkeypatch.setattr(references, "_moment", lambda *balls, split: moment(*balls, split=True))
    found = stock_verdict(case)
    assert found.verdict == "MODEL_INVALID" and found.divergence["quantity"] == "m"
