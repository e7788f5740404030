"""Quartiles from counters, held against those of the values themselves."""

import numpy as np
import pytest

from udfs.counting.tally import beyond, quantile, tally

RNG = np.random.default_rng(7)
SKEWED = {
    "dwell": RNG.lognormal(9.0, 1.2, 40_000).round().astype(np.int64),
    "prices": RNG.pareto(1.2, 40_000) * 9.99 + 0.01,
    "refunds": -RNG.lognormal(2.0, 2.0, 40_000),
    "gains and losses": RNG.standard_t(2, 40_000) * 1e6 + 4e5,
    "stars": RNG.choice([1.0, 2.0, 3.0, 4.0, 5.0], 40_000, p=[0.02, 0.03, 0.1, 0.35, 0.5]),
}


@pytest.mark.parametrize("name", SKEWED)
def test_quantiles_of_skewed_values_are_less_than_2_percent_off(name: str) -> None:
    values = SKEWED[name]
    counts = tally(values)
    for q in (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0):
        assert quantile(counts, q) == pytest.approx(np.quantile(values, q), rel=0.0101), q


def test_between_two_values_a_quantile_lies_on_the_line_between_them() -> None:
    #  100   200   300   400: half of the way is 250, a quarter of it 175
    counts = tally(np.array([400, 100, 300, 200]))
    assert quantile(counts, 0.5) == pytest.approx(250, rel=0.01)
    assert quantile(counts, 0.25) == pytest.approx(175, rel=0.01)


@pytest.mark.parametrize("value", [0.0, 9.99, -3.0, 86_400_000.0])
def test_values_that_are_all_alike_have_quartiles_that_are_all_alike(value: float) -> None:
    counts = tally(np.full(1001, value))
    assert quantile(counts, 0.25) == quantile(counts, 0.75)
    assert quantile(counts, 0.25) == pytest.approx(value, rel=0.01)


def test_the_tallies_of_parts_add_up_to_that_of_the_whole() -> None:
    values = SKEWED["gains and losses"]
    parts = sum((tally(part) for part in np.split(values, 8)), tally(np.empty(0)))
    assert parts.dtype == np.int64
    assert (parts == tally(values)).all()
    assert parts.sum() == 40_000


@pytest.mark.parametrize("edge", [1e-6, 1e12, -1e12, 1e15, 9e-7, -0.0])
def test_the_ends_of_the_grid_take_what_lies_beyond_them(edge: float) -> None:
    nearest = np.sign(edge) * min(abs(edge), 1e12) if abs(edge) >= 1e-6 else 0.0
    assert quantile(tally(np.array([edge])), 0.5) == pytest.approx(nearest, rel=0.0101)


def test_what_lies_outside_of_bounds_is_counted() -> None:
    counts = tally(np.arange(1, 10_001))
    assert beyond(counts, -np.inf, 9000) == pytest.approx(1000, abs=90)
    assert beyond(counts, 100, np.inf) == pytest.approx(99, abs=1)
    assert beyond(counts, -1, 20_000) == 0
