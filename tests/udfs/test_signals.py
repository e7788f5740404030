"""The formulas behind the signals, by hand."""

import math

import numpy as np
import pytest

from udfs.signals import own_baseline, zscore
from udfs.smooth import faded_rate


def test_a_steady_stream_has_the_same_rate_over_every_horizon_from_the_first_second_on() -> None:
    seconds = np.arange(1, 3601) * 1000.0
    for tau in (15_000.0, 120_000.0, 900_000.0):
        # A point every second; the landmark is the start of the first second.
        grown = np.cumsum(np.exp((seconds - seconds[0] + 1000) / tau))
        rate = faded_rate(grown, seconds, tau)
        discrete = (1000 / tau) / (1 - math.exp(-1000 / tau))  # slices instead of a continuous stream
        assert rate == pytest.approx(np.full(3600, discrete), rel=1e-12)


def test_one_burst_fades_by_1_over_e_each_tau_once_the_horizon_is_full() -> None:
    tau = 15_000.0
    grown = np.full(2, 10.0 * math.exp(100.0))
    early, late = faded_rate(grown, np.array([100 * tau, 101 * tau]), tau)
    assert late / early == pytest.approx(1 / math.e, rel=1e-12)


def test_the_longest_session_that_conf_allows_does_not_overflow() -> None:
    age = np.array([599 * 15_000.0])
    assert np.isfinite(faded_rate(np.exp(age / 15_000.0), age, 15_000.0)).all()


def test_a_baseline_of_equal_slices_has_no_spread_and_gives_no_z_score() -> None:
    alike = np.array([1_747, 333_333, 7])
    slices = np.array([7, 1_001, 50])
    moments = {
        "life_slices": slices,
        "life_points": (slices - 1) * alike + 3_000,
        "life_squares": (slices - 1) * alike**2 + 3_000**2,
        "points": np.full(3, 3_000),
    }
    mean, spread = own_baseline(moments, 5)
    assert mean == pytest.approx([1.747, 333.333, 0.007], rel=1e-12)
    assert spread.tolist() == [0.0, 0.0, 0.0]
    assert zscore(np.full(3, 3.0), mean, spread).tolist() == [0.0, 0.0, 0.0]


def test_nobody_is_judged_by_fewer_slices_than_conf_asks_for() -> None:
    sums = {"life_slices": [5, 6], "life_points": [9_000] * 2, "life_squares": [27_000_000] * 2, "points": [1_000] * 2}
    mean, _ = own_baseline({name: np.array(column) for name, column in sums.items()}, 5)
    assert mean.tolist() == [0.0, 1.6]
