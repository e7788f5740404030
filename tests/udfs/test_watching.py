"""A change of a site's series is said once, with the window since which it is so, wherever on the grid it falls."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

from schemas.alerts import SITE, Alert, Detector
from schemas.durations import Millis
from schemas.settings import Watch
from udfs.detectors.watching import History, Series, alerts, deviations, news, series_of

Counts = NDArray[np.int64]

MINUTE = 60_000
STRETCH = 40
CONF = Watch(
    window=Millis(MINUTE),
    stretch=Millis(STRETCH * MINUTE),
    start=20,
    disorder=Millis(1000),
    weight=0.2,
    width=6.0,
    allowed=0.5,
    threshold=15.0,
    doubt=0.002,
)
FIRST = 1_000 * STRETCH
"""Number of the first window, on the grid of stretches."""


def watched(errors: Counts, exposures: Counts, clicks: Counts, silent: Sequence[int] = ()) -> list[Alert]:
    """Look at every window as it comes, with as many before it as the job keeps."""
    there = [window for window in range(len(errors)) if window not in silent]
    told: list[Alert] = []
    for place in range(len(there)):
        rows = np.array(there[max(0, place - 3 * STRETCH + 1) : place + 1])
        site = {"clicks": clicks[rows], "errors": errors[rows], "exposures": exposures[rows]}
        slots = [{"hero": (int(exposures[row]), int(clicks[row]))} if exposures[row] else {} for row in rows]
        told += alerts(History(FIRST + rows, site, slots), ["hero"], CONF)
    return told


def steady(n: int = 160, seed: int = 1) -> tuple[Counts, Counts, Counts]:
    rng = default_rng(seed)
    return rng.poisson(4, n), rng.poisson(30, n), rng.poisson(6, n)


def since(alert: Alert) -> int:
    return alert.since // MINUTE - FIRST


def test_of_a_steady_site_nothing_is_said() -> None:
    for seed in range(5):
        assert watched(*steady(seed=seed)) == []


#  0        40        80       120       160
#  |  start  |  judged |         |         |    runs begin at every 40th window, with the stretch before it
@pytest.mark.parametrize("turn", [45, 62, 74, 76, 78, 79, 80, 81, 100, 117, 119])
def test_a_rise_is_said_once_by_each_detector_wherever_it_falls(turn: int) -> None:
    errors, exposures, clicks = steady(seed=turn)
    errors[turn:] = default_rng(turn).poisson(25, len(errors) - turn)
    told = watched(errors, exposures, clicks)
    assert {(alert.subject, alert.series) for alert in told} == {(SITE, "errors")}
    said = Counter(alert.what for alert in told)
    assert set(said.values()) == {1}
    assert {Detector.EWMA, Detector.PAGE_HINKLEY} <= set(said)
    for alert in told:
        assert abs(since(alert) - turn) <= 2
        assert turn < alert.at // MINUTE - FIRST <= turn + (10 if alert.what is not Detector.ADWIN else 40)
        assert alert.size > 0
        assert 0.99 < alert.sure <= 1.0
        assert alert.expected == pytest.approx(4, abs=1.0)
        assert alert.value > 15


def test_a_series_that_comes_back_is_said_to_have_fallen() -> None:
    errors, exposures, clicks = steady(seed=3)
    errors[60:110] = default_rng(3).poisson(60, 50)
    told = [(alert.size > 0, since(alert)) for alert in watched(errors, exposures, clicks)]
    risen, fallen = ([window for rose, window in told if rose is way] for way in (True, False))
    assert risen
    assert fallen
    assert all(abs(window - 60) <= 2 for window in risen)
    assert all(abs(window - 110) <= 2 for window in fallen)


def test_a_slot_that_is_no_longer_shown_is_missed_while_the_site_goes_on() -> None:
    errors, exposures, clicks = steady(seed=4)
    exposures[90:] = 0
    told = watched(errors, exposures, clicks)
    assert {(alert.subject, alert.series) for alert in told} == {(SITE, "exposures"), ("hero", "exposures")}
    (alert, *_) = [alert for alert in told if alert.subject == "hero"]
    assert (since(alert), alert.value, alert.size < 0) == (90, 0.0, True)
    assert alert.words.startswith("Exposures of hero fell from ")
    assert " to 0 in 60 s, since 1970-01-28 " in alert.words


def test_a_rate_is_of_what_was_shown_whatever_that_is() -> None:
    rng = default_rng(5)
    exposures = rng.poisson(np.tile([20, 400], 80))
    clicks = rng.binomial(exposures, np.repeat([0.3, 0.1], [100, 60]))
    told = watched(rng.poisson(4, 160), exposures, clicks)
    rates = [alert for alert in told if alert.series == "click_rate"]
    assert {alert.what for alert in rates} >= {Detector.EWMA, Detector.PAGE_HINKLEY}
    for alert in rates:
        assert abs(since(alert) - 100) <= 2
        assert alert.value == pytest.approx(0.1, abs=0.03)
        assert alert.expected == pytest.approx(0.3, abs=0.03)
        assert "Clicks per exposure of hero fell from 0.3" in alert.words
        assert " in 60 s" not in alert.words


def test_silence_of_the_whole_site_is_told_with_the_first_window_after_it() -> None:
    errors, exposures, clicks = steady(seed=6)
    told = watched(errors, exposures, clicks, silent=range(60, 75))
    exposed = [alert for alert in told if (alert.subject, alert.series) == ("hero", "exposures")]
    assert exposed
    fallen = [alert for alert in exposed if alert.size < 0]
    assert {since(alert) for alert in fallen} == {60}
    assert len({alert.what for alert in fallen}) == len(fallen)
    # A window without exposures has no rate, so silence is no change of the rate.
    assert all(alert.series != "click_rate" for alert in told)


def test_what_is_said_depends_on_nothing_before_the_windows_that_the_job_keeps() -> None:
    errors, *_ = steady(n=200, seed=7)
    errors[151:] += 30
    rows = np.arange(200)
    for last in range(150, 165):
        for kept in (last + 1, 3 * STRETCH):
            part = rows[last + 1 - kept : last + 1]
            found = alerts(History(FIRST + part, {"errors": errors[part]}, [{}] * kept), [], CONF)
            if kept == last + 1:
                expected = found
        assert found == expected


def test_neither_a_first_window_nor_a_start_too_short_says_anything() -> None:
    one = Series(SITE, "errors", np.array([FIRST]), np.array([1]), np.array([1]))
    assert news(one, np.array([FIRST]), CONF) == []
    errors, exposures, clicks = (each[:20] for each in steady())
    errors[10:] = 1000
    assert watched(errors, exposures, clicks) == []


def test_a_window_that_is_not_there_counts_nothing_and_a_rate_leaves_it_out() -> None:
    site = {"errors": np.array([2, 3])}
    history = History(np.array([7, 9]), site, [{"hero": (5, 1), "gone": (9, 9)}, {"hero": (4, 2)}])
    found = {(each.subject, each.name): each for each in series_of(history, ["hero", "quiet"])}
    assert list(found) == [
        (SITE, "errors"),
        ("hero", "exposures"),
        ("hero", "click_rate"),
        ("quiet", "exposures"),
        ("quiet", "click_rate"),
    ]
    assert found[SITE, "errors"].count.tolist() == [2, 0, 3]
    rate = found["hero", "click_rate"]
    assert (rate.number.tolist(), rate.count.tolist(), rate.by.tolist()) == ([7, 9], [1, 2], [5, 4])
    assert found["quiet", "exposures"].count.tolist() == [0, 0, 0]
    assert found["quiet", "click_rate"].number.tolist() == []


def test_one_error_after_a_start_without_any_is_about_one_deviation_and_no_alarm() -> None:
    n = 100
    errors = np.zeros(n, dtype=np.int64)
    errors[70] = 1
    series = Series(SITE, "errors", np.arange(n), errors, np.ones(n, dtype=np.int64))
    assert deviations(series, 20)[[0, 70]] == pytest.approx([0.0, 1.12], abs=0.01)
    assert watched(errors, np.full(n, 30), np.full(n, 6)) == []


def test_a_start_with_something_far_out_still_says_what_is_usual() -> None:
    count = default_rng(8).poisson(100, 80)
    plain, spoiled = count.copy(), count.copy()
    spoiled[[3, 9]] = [100_000, 0]
    ones = np.ones(80, dtype=np.int64)
    found = [deviations(Series(SITE, "clicks", np.arange(80), each, ones), 40)[40:] for each in (plain, spoiled)]
    assert found[0] == pytest.approx(found[1], abs=0.5)
