"""Bounds as functions of the update, and where two of them cross: against brute force, and far away."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adampatch.ruleset import bounds, moments
from adampatch.ruleset.bounds import AdaBound, Bound, Exponential, Linear, Piecewise, value
from adampatch.ruleset.crossings import HORIZON, above, first_crossing, first_not_finite

LAST = 300

AMOUNTS = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0, 2.0]) | st.floats(0.0, 4.0)
POSITIVE = st.sampled_from([0.1, 0.25, 0.5, 1.0, 2.0]) | st.floats(1e-3, 4.0)
RAMPS = st.tuples(st.integers(1, LAST + 50), st.integers(1, LAST)).map(lambda p: (p[0], p[0] + p[1]))


@st.composite
def piecewise(draw: st.DrawFn) -> Piecewise:
    boundaries = sorted(draw(st.sets(st.integers(1, LAST + 50), max_size=5)))
    return Piecewise(tuple(boundaries), tuple(draw(AMOUNTS) for _ in range(len(boundaries) + 1)))


BOUNDS: st.SearchStrategy[Bound] = st.one_of(
    AMOUNTS,
    st.builds(lambda a, b, ramp: Linear(a, b, *ramp), AMOUNTS, AMOUNTS, RAMPS),
    st.builds(lambda a, b, ramp: Exponential(a, b, *ramp), POSITIVE, POSITIVE, RAMPS),
    piecewise(),
    st.builds(
        AdaBound,
        AMOUNTS,
        st.sampled_from([1e-3, 0.01, 0.1]) | st.floats(1e-4, 2.0),
        st.sampled_from(["lower", "upper"]),
    ),
)


@settings(max_examples=1500, deadline=None)
@given(BOUNDS, BOUNDS, st.integers(1, 60), st.integers(0, LAST))
# The slopes of these are equal at two updates of one smooth stretch.
@example(AdaBound(0.02, 0.01, "upper"), Exponential(4.0, 1e-3, 1, 300), 1, LAST)
@example(Exponential(4.0, 1e-3, 1, 300), AdaBound(0.02, 0.01, "upper"), 1, LAST)
# They touch, and never cross.
@example(Linear(0.0, 1.0, 1, 101), Linear(0.0, 2.0, 1, 201), 1, 100)
@example(Linear(0.0, 1.0, 1, 50), 1.0, 1, LAST)
@example(Exponential(0.1, 1.0, 1, 31), Exponential(0.01, 1.0, 1, 61), 31, LAST)
def test_the_first_crossing_is_that_of_brute_force(low: Bound, high: Bound, start: int, length: int) -> None:
    window = range(start, start + length + 1)
    expected = next((t for t in window if above(low, high, t)), None)
    assert first_crossing(low, high, start, window[-1]) == expected


@settings(max_examples=300, deadline=None)
@given(BOUNDS, st.integers(2, LAST))
def test_slopes_are_those_of_the_values(bound: Bound, t: int) -> None:
    if isinstance(bound, float) or any(abs(t - at) <= 1 for at in bound.breaks()):
        return
    low, high = sorted(bound.value(s) - bound.value(s - 1) for s in (t, t + 1))
    room = 1e-9 * (1.0 + abs(low) + abs(high))
    assert low - room <= bound.slope(t) <= high + room


@settings(max_examples=300)
@given(BOUNDS)
def test_the_normal_form_of_a_bound_comes_back(bound: Bound) -> None:
    form = bounds.normal_form(bound)
    assert form is not None
    again = bounds.of_normal_form(form)
    assert again == bound
    assert hash(again) == hash(bound)


@pytest.mark.parametrize(
    ("bound", "values"),
    [
        (0.5, {1: 0.5, 10**9: 0.5}),
        (Linear(1.0, 0.0, 11, 21), {1: 1.0, 11: 1.0, 12: 0.9, 16: 0.5, 20: 0.1, 21: 0.0, 99: 0.0}),
        (Exponential(1.0, 1e-4, 1, 5), {1: 1.0, 2: 0.1, 3: 0.01, 4: 1e-3, 5: 1e-4, 6: 1e-4}),
        (Exponential(1e-300, 1e300, 1, 3), {2: 1.0}),  # the quotient of its ends is no float
        (Piecewise((10, 20), (3.0, 2.0, 1.0)), {1: 3.0, 10: 3.0, 11: 2.0, 20: 2.0, 21: 1.0}),
        (Piecewise((), (3.0,)), {1: 3.0, 99: 3.0}),
        (AdaBound(0.1, 1e-3, "lower"), {1: 0.1 * (1 - 1 / 1.001), 1000: 0.05, 9000: 0.09}),
        (AdaBound(0.1, 1e-3, "upper"), {1: 100.1, 1000: 0.2, 10_000: 0.11}),
    ],
)
def test_values(bound: Bound, values: dict[int, float]) -> None:
    assert {t: value(bound, t) for t in values} == pytest.approx(values, rel=1e-13, abs=1e-300)


def test_bounds_end_at_exactly_what_is_written() -> None:
    for kind in (Linear, Exponential):
        bound = kind(0.3, 0.1, 7, 1000)
        assert (value(bound, 1), value(bound, 7), value(bound, 1000), value(bound, 2000)) == (
            0.3,
            0.3,
            0.1,
            0.1,
        )


@pytest.mark.parametrize(
    ("low", "high", "first"),
    [
        (AdaBound(0.2, 1e-9, "lower"), 0.1, 10**9 + 1),
        (Linear(0.0, 1.0, 1, 10**12 + 1), 0.5, 5 * 10**11 + 2),
        (0.5, Exponential(1.0, 0.25, 1, 2 * 10**10 + 1), 10**10 + 2),
        (0.5, Piecewise((10**15,), (1.0, 0.4)), 10**15 + 1),
        (AdaBound(0.1, 1e-3, "lower"), 0.1, None),  # from below, for ever
        (0.1, AdaBound(0.1, 1e-3, "upper"), None),
        (AdaBound(0.1, 1e-3, "lower"), AdaBound(0.1, 1e-3, "upper"), None),
    ],
)
def test_crossings_far_away_are_found_at_once(low: Bound, high: Bound, first: int | None) -> None:
    began = time.process_time()
    found = first_crossing(low, high)
    assert time.process_time() - began < 0.1
    # A relative error of 1e-12 of the bounds moves where they cross by as much.
    assert found == (None if first is None else pytest.approx(first, rel=1e-11))
    if found is not None:
        assert above(low, high, found)
        assert not above(low, high, found - 1)


def test_an_exponential_that_is_above_adabound_for_a_while_is_seen() -> None:
    # Both ends of the window lie below and rise: two turning points are between them.
    low, high = Exponential(1.0, math.exp(-15.0), 1, 301), AdaBound(0.001, 0.001 / 7.0, "upper")
    above_at = [t for t in range(1, 301) if above(low, high, t)]
    assert (above_at[0], above_at[-1], len(above_at)) == (13, 30, 18)
    assert first_crossing(low, high, 1, 300) == 13
    assert first_crossing(low, high, 20, 300) == 20
    assert first_crossing(low, high, 31) is None
    assert first_crossing(high, low, 13, 60) == 31


def test_windows_hide_crossings() -> None:
    low, high = 0.5, Linear(1.0, 0.0, 1, 101)
    assert first_crossing(low, high) == 52
    assert first_crossing(low, high, 1, 51) is None
    assert first_crossing(low, high, 80) == 80
    assert first_crossing(low, Piecewise((HORIZON - 1,), (1.0, 0.0))) == HORIZON


def test_what_overflows_does_so_at_the_first_update_of_the_window() -> None:
    assert first_not_finite(AdaBound(1.0, 1e-320, "upper"), 3) == 3
    assert first_not_finite(AdaBound(0.0, 5e-324, "upper")) == 1  # 0 times infinity
    assert first_not_finite(AdaBound(1.0, 5e-324, "lower")) is None
    assert first_not_finite(AdaBound(1.0, 1e-39, "upper"), 2) == 2  # finite, but not in float32
    assert all(first_not_finite(bound) is None for bound in (0.5, Linear(0.0, 1e38, 1, 9)))
    assert math.isfinite(value(Linear(0.0, 1.7e308, 1, 9), 5))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 epochs", Fraction(3)),
        ("1 epoch", Fraction(1)),
        (" 0.5epochs ", Fraction(1, 2)),
        ("3", None),
        ("-1 epochs", None),
        ("1e3 epochs", None),
        ("three epochs", None),
        ("epochs", None),
    ],
)
def test_epochs(text: str, expected: Fraction | None) -> None:
    assert moments.epochs(text) == expected


def test_epochs_in_updates_are_exact() -> None:
    assert moments.updates(Fraction("0.1"), 30) == 3  # 0.1 * 30 in floats is 3.0000000000000004
    assert moments.updates(Fraction("0.5"), 391) is None
