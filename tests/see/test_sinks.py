"""The files by themselves: JSON for every number, whole lines, events once a step."""

import json
import math

import numpy as np
import pytest
from logs import events, rows

from adampatch.runtime import sinks

pytestmark = pytest.mark.tensorflow


def batch(step, value=1.0, optimizer="Adam", **more):
    return sinks.Batch(
        step, optimizer, [(None, "alpha", value, None), ("a/kernel", "rate_p50", 2.0, "top")], **more
    )


def test_every_number_is_valid_json_and_comes_back(tmp_path):
    values = [0.1, 1e-45, math.inf, -math.inf, math.nan, 3.0]
    lines = sinks.JsonLines(str(tmp_path / "adampatch.jsonl"))
    for step, value in enumerate(values):
        lines.write(batch(step, value))
    text = (tmp_path / "adampatch.jsonl").read_text()
    assert "Infinity" not in text and "NaN" not in text
    found = [row["value"] for row in rows(tmp_path) if row["metric"] == "alpha"]
    assert found[:4] == values[:4] and found[4] is None and found[5] == 3.0
    assert rows(tmp_path)[1]["rule"] == "top"


def test_a_line_that_a_kill_cut_off_harms_no_other(tmp_path):
    path = tmp_path / "adampatch.jsonl"
    path.write_bytes(b'{"step": 1, "time": 1.0}\n{"step": 2, "ti')
    sinks.JsonLines(str(path)).write(batch(3))
    lines = path.read_text().split("\n")
    assert lines[1] == '{"step": 2, "ti'
    assert json.loads(lines[2])["step"] == 3


def test_a_step_is_written_once_for_an_optimizer(tmp_path):
    log = sinks.open_directory(tmp_path / "made" / "for it")
    assert sinks.open_directory(tmp_path / "made" / "for it") is log
    for found in (batch(1), batch(1), batch(1, optimizer="Adam#2"), batch(2)):
        log.write(found)
    scalars, _ = events(tmp_path / "made" / "for it")
    assert scalars["optimizer/alpha"] == {1: 1.0, 2: 1.0}
    assert scalars["rate_p50/a/kernel/top"] == {1: 2.0, 2: 2.0}
    assert events(tmp_path / "made" / "for it" / "Adam#2")[0]["optimizer/alpha"] == {1: 1.0}
    assert len(rows(tmp_path / "made" / "for it")) == 6


def test_histograms_are_of_the_logarithm_of_active_positive_rates():
    rates = np.array([1e-3, 1e-2, 1.0, 0.0, np.nan, np.inf], np.float32)
    made = sinks.histogram(rates)
    assert (made.num, made.min, made.max) == (3, pytest.approx(-3), 0.0)
    assert sum(made.bucket) == 3 and len(made.bucket) == len(made.bucket_limit)
    assert sinks.histogram(rates[3:]) is None
