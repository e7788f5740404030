"""Detectors of changes and of strange values: published examples, the references' own rows, whole or in parts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

from udfs.detectors import adwin, ewma, page_hinkley
from udfs.detectors.half_space import Shape, Standing, Trees, embedded, half_space

Column = NDArray[np.float64]

MONTGOMERY = [
    *(9.45, 7.99, 9.29, 11.66, 12.16, 10.18, 8.04, 11.46, 9.2, 10.34, 9.03, 11.47, 10.51, 9.4, 10.08),
    *(9.37, 10.62, 10.31, 8.52, 10.84, 10.9, 9.33, 12.29, 11.5, 10.6, 11.08, 10.38, 11.62, 11.31, 10.52),
]
"""Of Montgomery's example of an EWMA chart: the mean rises from 10 to 11 after 20 observations."""


def rows_of(alarm: NDArray[Any]) -> list[int]:
    rows: list[int] = np.flatnonzero(alarm).tolist()
    return rows


def test_a_chart_is_that_of_montgomerys_example() -> None:
    chart = ewma.chart(np.array(MONTGOMERY), ewma.Usual(10.0, 1.0), ewma.Limits(weight=0.1, width=2.7))
    published = [9.945, 9.7495, 9.70355, 9.8992, 10.1253, 10.1307, 9.92167, 10.0755, 9.98796, 10.0232]
    assert chart.average[:10] == pytest.approx(published, abs=1e-4)
    assert chart.average[-3:] == pytest.approx([10.5731, 10.6468, 10.6341], abs=1e-4)
    assert chart.upper[[0, 1, 29]].round(2).tolist() == [10.27, 10.36, 10.62]
    assert chart.lower[[0, 1, 29]].round(2).tolist() == [9.73, 9.64, 9.38]
    assert rows_of(chart.alarm) == [28, 29]


def test_a_fall_lies_below_the_lower_limit_and_has_negative_sigmas() -> None:
    chart = ewma.chart(np.array([10.0, 10.0, 0.0]), ewma.Usual(10.0, 1.0), ewma.Limits(weight=0.5))
    assert rows_of(chart.alarm) == [2]
    assert chart.sigmas[2] < -8
    assert chart.average[2] < chart.lower[2]


def test_without_any_deviation_whatever_moves_is_infinitely_far_off() -> None:
    chart = ewma.chart(np.array([5.0, 5.0, 5.1, 4.0]), ewma.usual(np.full(9, 5.0)), ewma.Limits())
    assert chart.sigmas.tolist() == [0.0, 0.0, np.inf, -np.inf]
    assert rows_of(chart.alarm) == [2, 3]


def test_a_robust_start_is_not_moved_by_what_is_far_out() -> None:
    values = np.array([9.0, 10.0, 11.0, 10.0, 9.0, 11.0, 10.0, 5000.0, 5000.0])
    assert ewma.usual(values) == ewma.Usual(10.0, 1.4826)
    assert ewma.usual(values, robust=False).level > 1000
    assert ewma.usual(np.array([7.0]), robust=False) == ewma.Usual(7.0, 0.0)


@pytest.mark.parametrize(("sides", "told"), [("both", [1, -1]), ("up", [1]), ("down", [-1])])
def test_a_rise_and_a_fall_are_told_where_they_are_looked_for(sides: Any, told: list[int]) -> None:
    #  0 ... 99 at 0, 100 ... 299 at 3, then at 0 again
    values = np.repeat([0.0, 3.0, 0.0], [100, 200, 100])
    bounds = page_hinkley.Bounds(threshold=10.0, forget=1.0, sides=sides)
    found = page_hinkley.page_hinkley(values, bounds)
    assert found.alarm[found.alarm != 0].tolist() == told
    if sides == "both":
        assert found.since[found.alarm != 0].tolist() == [100, 300]


def test_no_change_is_told_before_so_many_values_have_come_and_after_an_alarm_they_must_come_again() -> None:
    values = np.arange(100.0) * 10
    found = page_hinkley.page_hinkley(values, page_hinkley.Bounds(threshold=1.0, least=30))
    assert rows_of(found.alarm) == [29, 59, 89]


@pytest.mark.parametrize(("values", "told"), [([0.0, 10.0, 2.0], 1), ([0.0, -10.0, -2.0], -1)])
def test_of_a_rise_and_a_fall_in_one_row_the_larger_is_told(values: list[float], told: int) -> None:
    bounds = page_hinkley.Bounds(allowed=0.0, threshold=1.0, forget=1.0, least=3)
    found = page_hinkley.page_hinkley(np.array(values), bounds)
    assert sorted([found.up[2], found.down[2]]) == [2.0, 3.0]
    assert found.alarm.tolist() == [0, 0, told]


def test_a_window_tells_an_abrupt_change_once_and_keeps_what_came_after_it() -> None:
    rng = default_rng(4)
    values = np.clip(rng.normal(np.repeat([0.3, 0.7], 500), 0.05), 0.0, 1.0)
    found = adwin.adwin(values, adwin.Bounds(every=1))
    (row,) = rows_of(found.alarm)
    assert 505 <= row < 525
    assert found.alarm[row] == 1
    assert abs(found.since[row] - 500) <= 4
    assert found.before[row] == pytest.approx(0.3, abs=0.01)
    assert found.after[row] == pytest.approx(0.7, abs=0.05)
    assert found.doubt[row] < 0.002
    assert found.standing.seen == 1000


def test_a_fall_is_told_as_one() -> None:
    found = adwin.adwin(np.repeat([0.9, 0.1], 200), adwin.Bounds(every=8))
    assert found.alarm[found.alarm != 0].tolist() == [-1]


def test_a_steady_series_is_kept_whole_in_few_buckets() -> None:
    found = adwin.adwin(default_rng(1).random(5000), adwin.Bounds())
    assert rows_of(found.alarm) == []
    kept = found.standing.sizes
    assert sum(len(size) << place for place, size in enumerate(kept)) == 5000
    assert sum(map(len, kept)) <= 5 * len(kept) <= 60


def test_the_variance_of_merged_buckets_is_that_of_the_values() -> None:
    values = default_rng(2).normal(size=777)
    window = adwin._Window([], 5)
    for value in values.tolist():
        window.add(value)
    assert window._total() == pytest.approx(values.sum())
    assert window._variance(values.mean()) == pytest.approx(values.var())


def test_nobody_looks_at_a_window_too_short_to_be_parted() -> None:
    bounds = adwin.Bounds(every=1, least=1, least_part=1)
    assert rows_of(adwin.adwin(np.array([0.0, 1.0, 0.0]), bounds).alarm) == []
    assert adwin.adwin(np.empty(0), bounds).alarm.shape == (0,)


def test_an_empty_series_says_nothing() -> None:
    none = np.empty(0)
    assert ewma.chart(none, ewma.Usual(1.0, 1.0), ewma.Limits()).standing == ewma.Standing(1.0, 0)
    assert page_hinkley.page_hinkley(none, page_hinkley.Bounds()).standing == page_hinkley.Standing()
    assert adwin.adwin(none, adwin.Bounds()).standing == adwin.Standing()


def _chart(values: Column, standing: Any) -> tuple[list[Any], Any]:
    found = ewma.chart(values, ewma.Usual(0.0, 1.0), ewma.Limits(), standing)
    return [*zip(found.average, found.upper, found.sigmas, found.alarm, strict=True)], found.standing


def _sums(values: Column, standing: Any) -> tuple[list[Any], Any]:
    found = page_hinkley.page_hinkley(values, page_hinkley.Bounds(threshold=9.0), standing)
    return [*zip(found.up, found.down, found.alarm, found.since, strict=True)], found.standing


def _window(values: Column, standing: Any) -> tuple[list[Any], Any]:
    found = adwin.adwin(values, adwin.Bounds(every=3), standing)
    return [*zip(found.alarm, found.since, found.doubt, strict=True)], found.standing


@pytest.mark.parametrize("detector", [_chart, _sums, _window])
@pytest.mark.parametrize("cuts", [(1, 2, 3), (100, 250, 251), (0, 399, 400)])
def test_a_series_in_parts_says_what_it_says_at_once(
    detector: Callable[[Column, Any], tuple[list[Any], Any]], cuts: Sequence[int]
) -> None:
    values = default_rng(6).normal(np.repeat([0.0, 1.5], 200), 1.0)
    whole, end = detector(values, None)
    told: list[Any] = []
    standing = None
    for part in np.split(values, cuts):
        rows, standing = detector(part, standing)
        told += rows
    assert (told, standing) == (whole, end)


def test_a_value_where_none_lay_before_is_the_strangest() -> None:
    shape = Shape(window=100)
    values = default_rng(3).normal(5.0, 1.0, 600)
    values[450] = 30.0
    trees = Trees.grown(shape, 1, default_rng(1))
    scores = half_space(embedded(values, 1), trees, shape).scores
    assert int(np.argmax(scores)) == 450
    assert scores[:100].tolist() == [0.0] * 100
    assert ((scores[100:] > 0) & (scores < 1)[100:]).all()


def test_a_usual_value_out_of_its_course_is_strange_only_to_rows_that_hold_the_course() -> None:
    # Up and down in turns, but for one row that stays up.
    values = np.tile([0.0, 1.0], 300) + default_rng(5).normal(0.0, 0.01, 600)
    values[500:] = np.roll(values[500:], -1)
    shape, found = Shape(window=100), []
    for lags in (1, 2):
        trees = Trees.grown(shape, lags, default_rng(1))
        scores = half_space(embedded(values, lags), trees, shape).scores
        found.append(scores[500] - np.median(scores[400:500]))
    assert found[0] < 0.05 < found[1]


def test_each_row_is_scored_by_what_came_before_its_window_only() -> None:
    values = default_rng(7).normal(size=450)
    shape = Shape(window=100)
    trees = Trees.grown(shape, 2, default_rng(1))
    changed = values.copy()
    changed[330:] += 100.0
    before, after = (half_space(embedded(each, 2), trees, shape).scores for each in (values, changed))
    assert before[:330].tolist() == after[:330].tolist()


def test_trees_over_parts_of_a_series_say_what_they_say_over_all_of_it() -> None:
    values = default_rng(8).normal(size=700)
    shape = Shape(window=50, windows=3)
    trees = Trees.grown(shape, 3, default_rng(2))
    whole = half_space(embedded(values, 3), trees, shape)
    standing: Standing | None = None
    told: list[float] = []
    for first, end in ((0, 30), (30, 31), (31, 420), (420, 700)):
        before = None if first == 0 else values[first - 2 : first]
        found = half_space(embedded(values[first:end], 3, before), trees, shape, standing)
        standing = found.standing
        told += found.scores.tolist()
    assert told == whole.scores.tolist()
    assert standing is not None
    assert len(standing.profile) == 150


def test_the_same_draws_grow_the_same_trees_and_halve_what_lies_between_0_and_1() -> None:
    shape = Shape(trees=40, height=5)
    one, again = (Trees.grown(shape, 3, default_rng(9)) for _ in range(2))
    assert one.split.tolist() == again.split.tolist()
    assert one.feature.shape == (40, 31)
    # The space around a middle m from 0 to 1 reaches from m - r to m + r: its first half ends at m.
    assert ((one.split[:, 0] >= 0) & (one.split[:, 0] <= 1)).all()
    assert ((one.split > -2) & (one.split < 3)).all()


def test_a_profile_that_is_all_alike_takes_what_differs_for_strange() -> None:
    shape = Shape(window=20)
    values = np.full(60, 4.0)
    values[50] = 4.5
    scores = half_space(embedded(values, 1), Trees.grown(shape, 1, default_rng(1)), shape).scores
    assert int(np.argmax(scores)) == 50
