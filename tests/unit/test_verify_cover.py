"""Covers of combinations, the dimensions of a case, and what they add to the plan."""

import itertools

import numpy as np
import pytest

from adampatch.verify.cases import Optimizer, gradients, initial, numbers
from adampatch.verify.cover import Space
from adampatch.verify.dimensions import DIMENSIONS, LAYOUTS, SHAPES_BY_NAME
from adampatch.verify.formats import FORMATS
from adampatch.verify.plan import coverage, planned

SMALL = {"a": "123", "b": "12", "c": "1234", "d": "12"}
EVERY = [dict(zip(SMALL, values, strict=True)) for values in itertools.product(*SMALL.values())]
ADAM = Optimizer("keras.optimizers.Adam", "keras3", "Adam")
STOCK = [
    ADAM,
    Optimizer("keras.optimizers.Lamb", "keras3", "Lamb"),
    Optimizer("keras.optimizers.Muon", "keras3", "Muon"),
    Optimizer("tf_keras.optimizers.Nadam", "keras2", "Nadam"),
    Optimizer("tf_keras.optimizers.legacy.Adam", "v2", "Adam"),
    Optimizer("tensorflow.python.keras.optimizer_v2.nadam.Nadam", "v2", "Nadam"),
    Optimizer("tensorflow.compat.v1.train.AdamOptimizer", "v1", "AdamOptimizer"),
]


@pytest.fixture(scope="module")
def full():
    return planned(STOCK, full=True)


@pytest.fixture(scope="module")
def default():
    return planned(STOCK)


def choices_of(rows, strength):
    return {choice for row in rows for choice in itertools.combinations(sorted(row.items()), strength)}


@pytest.mark.parametrize("strength", [1, 2, 3, 4])
def test_every_choice_is_in_some_row(strength):
    rows = Space(SMALL).cover(strength)
    assert choices_of(rows, strength) == choices_of(EVERY, strength)
    assert Space(SMALL).reached(rows, strength) == 1
    assert len(rows) <= [4, 14, 32, 48][strength - 1]


def test_what_is_given_is_not_covered_again():
    assert Space(SMALL).cover(2, given=EVERY) == []
    assert Space(SMALL).cover(3, given=[SMALL]) == []
    half = [dict(SMALL, b="1")]
    assert all(row["b"] == "2" for row in Space(SMALL).cover(1, given=half))


def test_what_excludes_each_other_is_in_no_row_and_all_else_is():
    excluded = [("a", "1", "b", "1"), ("a", "1", "c", "2"), ("c", "2", "d", "1")]
    possible = [row for row in EVERY if not any(row[a] == x and row[b] == y for a, x, b, y in excluded)]
    for strength in (2, 3):
        rows = Space(SMALL, excluded).cover(strength)
        assert all(row in possible for row in rows)
        assert choices_of(rows, strength) == choices_of(possible, strength)
        assert Space(SMALL, excluded).reached(rows, strength) == 1


def test_a_value_that_no_row_can_have_is_not_asked_for():
    excluded = [("a", "1", "b", one) for one in "12"]
    assert all(row["a"] != "1" for row in Space(SMALL, excluded).cover(2))
    assert Space(SMALL, excluded).reached(Space(SMALL, excluded).cover(2), 2) == 1


def test_a_seed_gives_one_cover():
    one, again, other = (Space(SMALL).cover(2, seed=seed) for seed in (1, 1, 2))
    assert one == again != other


def test_the_default_is_the_core_and_all_pairs_and_full_all_triples(default, full):
    core = [case for case in default if not case.drawn]
    assert [case.id for case in core] == [case.id for case in full if not case.drawn]
    assert len({case.id for case in full}) == len(full)
    assert coverage(default)["pairs"] == 1.0 and 0.4 < coverage(default)["triples"] < 0.9
    assert coverage(full) == {"pairs": 1.0, "triples": 1.0}
    assert coverage(core)["pairs"] < 0.9
    assert len(default) < len(full) / 2


def test_quick_is_a_part_of_the_core_in_every_seed():
    quick = planned(STOCK, quick=True)
    assert {case.id for case in quick} < {case.id for case in planned(STOCK, seed=3) if not case.drawn}
    assert [case.id for case in quick] == [case.id for case in planned(STOCK, quick=True, seed=3)]


def test_every_value_of_every_dimension_is_run(default):
    cases = default
    assert {case.mode for case in cases} == set(DIMENSIONS["mode"])
    assert {case.schedule for case in cases} == set(DIMENSIONS["schedule"])
    assert {case.gradients for case in cases} >= set(DIMENSIONS["gradient"])
    assert {case.layout for case in cases} == set(DIMENSIONS["layout"])
    assert {case.restore for case in cases} == {0, 1, 3}
    assert {case.strategy for case in cases} == {"none", "mirrored"}
    assert {case.clamp for case in cases} == {None, "bounds", "floor", "ceiling"}
    assert {case.gradient_dtype for case in cases} == {None, "float16"}
    shapes = {case.shapes for case in cases if case.drawn and case.layout == "dense"}
    assert shapes == set(SHAPES_BY_NAME.values())


def test_the_plan_keeps_to_what_a_class_can_do(full):
    for case in full:
        family, name = case.optimizer.family, case.optimizer.name
        if family in ("v1", "v2") and (family, name) != ("v2", "Adam"):
            assert case.schedule in ("changed", "constant", "callable")
        if name == "Lamb" and case.drawn:
            assert case.gradients == "normal" and case.shapes not in (((1023,),), ((65536,),))
        if family.startswith("keras"):
            assert not case.mode.startswith("graph")
        if case.gradient_dtype is not None:
            assert family == "keras3"
        if name == "Muon":
            assert case.layout == "dense"
        if case.strategy == "mirrored":
            assert case.layout == "dense" and case.mode in ("eager", "function")
            assert not case.optimizer.path.startswith("tensorflow.python.keras")


def test_before_tensorflow_2_10_nothing_is_compiled_or_mirrored_by_the_cover():
    drawn = [case for case in planned(STOCK, release=(2, 1)) if case.drawn]
    assert drawn and all(case.mode != "xla" and case.strategy == "none" for case in drawn)


@pytest.mark.parametrize("regime", DIMENSIONS["gradient"])
def test_a_regime_is_that_of_every_third_element_and_the_rest_are_normal(full, regime):
    case = next(c for c in full if c.gradients == regime and c.shapes == ((8,),))
    smallest = FORMATS[case.gradient_dtype or case.dtype].smallest
    last = gradients(case)[-1][0]
    rest = np.delete(last, np.s_[::3])
    assert np.all(np.isfinite(rest) & (rest != 0))
    marked = last[::3]
    shown = {
        "zero": np.all(marked == 0),
        "constant": np.all(marked == 1),
        "nan": not np.any(np.isfinite(marked)),
        "subnormal": np.all(np.abs(marked) < smallest),
        "tiny": np.all(np.abs(marked) < 1e-2),
        "huge": np.median(np.abs(marked)) > 10,
    }
    assert shown.get(regime, np.all(np.isfinite(marked)))


def test_a_variable_of_no_touched_row_stands_beside_one_with_rows(default):
    case = next(c for c in default if c.layout == "empty")
    given = numbers(case)
    sizes = [given[f"indices/{i}"].shape for i in range(2)]
    assert (
        sizes
        == [(case.steps, len(rows)) for rows, _ in LAYOUTS["empty"]]
        == [(case.steps, 8), (case.steps, 0)]
    )
    assert given["g/1/1"].shape == (0, 6) and len(case.shapes) == 2


def test_from_zero_every_weight_starts_there(default):
    case = next(c for c in default if c.start == "zero" and c.shapes == ((3, 5, 7),))
    assert not np.any(initial(case)[0])


def test_nothing_is_said_of_the_coverage_of_a_project():
    assert coverage([]) == {}
