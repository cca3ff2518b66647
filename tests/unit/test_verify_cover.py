"""Covers of combinations, and what --full adds to the plan."""

import itertools

import pytest

from adampatch.verify.cases import Optimizer, coverage, planned
from adampatch.verify.cover import choices, cover, reached

DIMENSIONS = {"a": "123", "b": "12", "c": "1234", "d": "12"}
EVERY = [dict(zip(DIMENSIONS, values, strict=True)) for values in itertools.product(*DIMENSIONS.values())]


@pytest.mark.parametrize("strength", [1, 2, 3, 4])
def test_every_choice_is_in_some_row(strength):
    rows = cover(DIMENSIONS, strength)
    wanted = set().union(*(choices(row, strength) for row in EVERY))
    assert set().union(*(choices(row, strength) for row in rows)) == wanted
    assert reached(DIMENSIONS, strength, rows) == 1
    assert len(rows) <= [4, 14, 30, 48][strength - 1]


def test_what_is_given_is_not_covered_again_and_what_cannot_be_is_not_asked_for():
    assert cover(DIMENSIONS, 2, given=EVERY) == []
    rows = cover(DIMENSIONS, 2, possible=lambda row: row["a"] != "1" or row["b"] == "2")
    assert rows and all(row["a"] != "1" or row["b"] == "2" for row in rows)


def test_a_seed_gives_one_cover():
    assert cover(DIMENSIONS, 2, seed=1) == cover(DIMENSIONS, 2, seed=1) != cover(DIMENSIONS, 2, seed=2)


def test_full_is_the_core_and_all_triples():
    adam = [Optimizer("keras.optimizers.Adam", "keras3", "Adam")]
    core, full = planned(adam), planned(adam, full=True)
    assert [case.id for case in full][: len(core)] != [] and {c.id for c in core} <= {c.id for c in full}
    assert len({c.id for c in full}) == len(full)
    assert coverage(full)["triples"] == 1.0
    assert 0.3 < coverage(core)["triples"] < coverage(core)["pairs"] < 1


def test_full_keeps_to_what_a_class_can_do():
    nadam = planned([Optimizer("tf_keras.optimizers.legacy.Nadam", "v2", "Nadam")], full=True)
    assert not any(case.schedule for case in nadam)
    v1 = planned([Optimizer("tensorflow.compat.v1.train.AdamOptimizer", "v1", "AdamOptimizer")], full=True)
    assert not any(case.schedule for case in v1)
