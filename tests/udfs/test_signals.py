"""The formulas behind the signals, by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from jobs.wiring.settings import load
from schemas.signals import FAMILIES, REGISTRY, Signals
from schemas.slices import MOMENT
from udfs.signals.formulas import own_mean, own_spread, quantile_of_classes, reedits, signals, zscore
from udfs.signals.silence import returned_by
from udfs.smooth import chart, ema, faded_rate, kalman, steady_gain


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
    alike, slices, now, one = (
        np.array([1_747, 333_333, 7]),
        np.array([7, 1_001, 50]),
        np.full(3, 3_000),
        np.ones(3, int),
    )
    total, squares = (slices - 1) * alike + 3_000, (slices - 1) * alike**2 + 3_000**2
    mean = own_mean(slices, total, now, one, 5)
    spread = own_spread(slices, total, squares, now, one, 5)
    assert mean == pytest.approx([1.747, 333.333, 0.007], rel=1e-12)
    assert spread.tolist() == [0.0, 0.0, 0.0]
    assert zscore(np.full(3, 3.0), mean, spread, one).tolist() == [0.0, 0.0, 0.0]


def test_nobody_is_judged_by_fewer_slices_than_conf_asks_for() -> None:
    total, now, one = np.full(2, 9_000), np.full(2, 1_000), np.ones(2, int)
    assert own_mean(np.array([5, 6]), total, now, one, 5).tolist() == [0.0, 1.6]


def test_a_silence_is_not_judged_and_takes_no_slice_away() -> None:
    nothing = np.zeros(1, int)
    mean = own_mean(np.array([5]), np.array([10_000]), nothing, nothing, 5)
    spread = own_spread(np.array([5]), np.array([10_000]), np.array([30_000_000]), nothing, nothing, 5)
    assert (mean.tolist(), spread.round(4).tolist()) == ([2.0], [1.5811])
    assert zscore(np.zeros(1), mean, spread, nothing).tolist() == [0.0]


def test_a_kalman_filter_of_a_local_level_settles_into_an_ema_with_the_steady_gain() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=400).cumsum() * 0.3 + rng.normal(size=400)
    filtered, smoothed = kalman(values, 0.09, 1.0), ema(values, steady_gain(0.09))
    # What the two began with fades by (1 - gain) with each value.
    assert np.abs(filtered - smoothed)[200:].max() < 1e-12
    level = ema(values[200:], steady_gain(0.09))
    assert steady_gain(0.09) == pytest.approx(0.25836, abs=5e-6)
    assert level[-1] == pytest.approx(filtered[-1], abs=1e-12)


def test_a_chart_counts_in_standard_errors_whatever_the_pauses_between_the_values() -> None:
    rng = np.random.default_rng(4)
    at = rng.uniform(0, 600, (4000, 60)).cumsum(axis=1)
    weights = np.exp((at - at[:, -1:]) / 2000)
    values = rng.normal(5.0, 2.0, at.shape)
    found = chart(
        (weights * values).sum(axis=1),
        weights.sum(axis=1),
        (weights**2).sum(axis=1),
        np.full(4000, 5.0),
        np.full(4000, 2.0),
    )
    assert abs(found.mean()) < 0.05
    assert found.std() == pytest.approx(1.0, abs=0.03)


def test_the_share_of_returners_a_gap_lets_expect_is_that_of_gaps_with_an_unknown_rate() -> None:
    rng = np.random.default_rng(5)
    # Rates from the Gamma posterior after 4 gaps that sum to 20: so the next gap is drawn.
    gaps = rng.exponential(1.0, 200_000) / rng.gamma(4.0, 1.0 / 20.0, 200_000)
    for silence_ms in (1.0, 5.0, 30.0):
        risk = returned_by(np.array([silence_ms]), np.array([4.0]), np.array([20.0])).item()
        assert (gaps <= silence_ms).mean() == pytest.approx(risk, abs=0.004)


def test_fields_are_counted_without_remembering_them() -> None:
    rng = np.random.default_rng(6)
    for fields in (1, 3, 8):
        groups = np.stack([np.bincount(rng.integers(0, 12, fields), minlength=12) for _ in range(4000)])
        # Each field edited twice: as many edits again as there are fields.
        estimated = reedits(np.full(4000, 2 * fields), 2 * groups)
        assert estimated.mean() == pytest.approx(fields, abs=0.12 * fields + 0.1)


def test_quantiles_of_classes_are_those_of_what_was_counted_within_a_class() -> None:
    rng = np.random.default_rng(7)
    depths = rng.integers(1, 1001, 500)
    counts = np.bincount(np.minimum((depths - 1) // 167, 5), minlength=6)[np.newaxis]
    for q in (0.5, 0.9):
        assert quantile_of_classes(counts, q).item() == pytest.approx(np.quantile(depths, q) / 1000, abs=1 / 6)


def test_every_signal_stands_in_the_registry_with_unit_meaning_and_formula() -> None:
    known = set(MOMENT) | set(REGISTRY)
    for name, entry in REGISTRY.items():
        assert entry.unit, name
        assert entry.about.endswith("."), name
        assert entry.of or name in known, name
    assert tuple(REGISTRY) == Signals.__struct_fields__
    assert {entry.family for entry in REGISTRY.values()} == set(FAMILIES)


def test_a_few_signals_need_only_the_columns_that_they_are_made_of() -> None:
    moments = {name: np.array([2_000]) for name in ("slice_end", "first_ms", "prev_ms", "events")}
    settings = load(Path(), "local", {}, []).settings
    assert list(signals(moments, settings.signals, settings.noise, ["gap_s"])) == ["gap_s"]
