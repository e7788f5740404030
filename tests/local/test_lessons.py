"""Rows to learn from show the features that the job would have seen, and the click that followed."""

from math import exp
from pathlib import Path

import numpy as np
import pytest

from jobs.local.lessons import Lessons, Memory, lessons
from jobs.wiring.settings import load
from schemas.settings import Settings
from schemas.signals import FEATURES

START = 1_767_225_600_000
MINUTE = 60_000


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(Path(__file__).parents[2], "local", {}, []).settings


@pytest.fixture(scope="module")
def taught(settings: Settings) -> Lessons:
    return lessons(settings, 1, 60_000)


def remembered(settings: Settings, events: list[tuple[int, int, bool]]) -> dict[str, float]:
    """Let the first of two users do some things; give the columns of the first."""
    memory = Memory(2, settings.time, (15_000, 120_000, 900_000))
    for after_ms, points, click in events:
        both = np.full(2, START + after_ms), np.full(2, points)
        memory.observe(np.array([True, False]), *both, click=click)
    assert all(column[1] == 0 for column in memory.moments().values())
    return {name: float(column[0]) for name, column in memory.moments().items()}


# 0 s            1 s   ...   5 s            6 s
# |  view scroll  |           |  click       |
def test_memory_counts_by_slices_as_the_job_does(settings: Settings) -> None:
    seen = remembered(settings, [(100, 1000, False), (400, 500, False), (5200, 3000, True)])
    expected = {
        "slice_end": START + 6000,
        "first_ms": START + 5200,
        "prev_ms": START + 400,
        "points": 3000,
        "session_start": START + 100,
        "session_slices": 2,
        "session_clicks": 1,
        "life_slices": 2,
        "life_points": 4500,
        "life_squares": 11_250_000,
        "landmark": START,
    }
    assert {name: seen[name] for name in expected} == expected
    assert seen["fading_fast"] == pytest.approx(1.5 * exp(1 / 15) + 3.0 * exp(6 / 15))
    assert seen["fading_slow"] == pytest.approx(1.5 * exp(1 / 900) + 3.0 * exp(6 / 900))


def test_a_session_ends_with_its_gap_but_life_goes_on(settings: Settings) -> None:
    seen = remembered(settings, [(0, 1000, True), (31 * MINUTE, 3000, False)])
    expected = {
        "prev_ms": START,
        "session_start": START + 31 * MINUTE,
        "session_slices": 1,
        "session_clicks": 0,
        "life_slices": 2,
        "landmark": START + 31 * MINUTE,
    }
    assert {name: seen[name] for name in expected} == expected
    assert seen["fading_fast"] == pytest.approx(3.0 * exp(1 / 15))


def test_fading_sums_begin_anew_after_two_hours_of_one_session(settings: Settings) -> None:
    seen = remembered(settings, [(minutes * MINUTE, 1000, False) for minutes in range(0, 126, 25)])
    assert seen["session_slices"] == 6
    assert seen["landmark"] == START + 120 * MINUTE
    assert seen["fading_mid"] == pytest.approx(exp((5 * MINUTE + 1000) / 120_000))


def test_lessons_have_the_features_in_order_and_as_many_rows_as_asked(taught: Lessons) -> None:
    assert taught.features.shape == (60_000, len(FEATURES))
    assert np.isfinite(taught.features).all()
    assert 0.008 < taught.clicked.mean() < 0.03


def test_an_item_like_the_one_clicked_last_is_clicked_more_often(taught: Lessons) -> None:
    alike = taught.features[:, FEATURES.index("same_interest")] == 1
    assert 0.1 < alike.mean() < 0.4
    assert taught.clicked[alike].mean() > 3 * taught.clicked[~alike].mean()


def test_signals_are_plausible(taught: Lessons) -> None:
    medians = dict(zip(FEATURES, np.median(taught.features, axis=0).tolist(), strict=True))
    assert 0.05 < medians["rate_slow"] < 0.5
    assert 0 < medians["gap_s"] < 10
    assert 60 < medians["session_age_s"] < 600
    assert 10 < medians["session_depth"] < 60


def test_the_same_seed_teaches_the_same(settings: Settings) -> None:
    one, two, other = (lessons(settings, seed, 2000) for seed in (1, 1, 2))
    assert np.array_equal(one.features, two.features)
    assert np.array_equal(one.clicked, two.clicked)
    assert not np.array_equal(one.features, other.features)
