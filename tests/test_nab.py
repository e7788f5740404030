"""The yardstick of anomaly detectors measures as the published benchmark does: 100 at best, 0 for who says nothing."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bench.nab import Series, gains, load, standing, table, windowed_gaussian


def series(n: int = 1000, windows: tuple[tuple[int, int], ...] = ((400, 499), (800, 849))) -> Series:
    return Series("s.csv", np.zeros(n), windows)


def alarms(n: int, *rows: int) -> NDArray[np.float64]:
    return np.isin(np.arange(n), rows).astype(np.float64)


def test_a_detector_that_speaks_at_the_start_of_each_window_only_scores_100_and_one_that_never_does_scores_0() -> None:
    both = [series(), series(600, ((200, 250),))]
    perfect = standing([(each, alarms(len(each.values), *(first for first, _ in each.windows))) for each in both])
    assert perfect.score == pytest.approx(100.0)
    assert (perfect.threshold, perfect.hits, perfect.false_alarms) == (1.0, 3, 0)
    null = standing([(each, np.full(len(each.values), 0.5)) for each in both])
    assert (null.score, null.hits, null.false_alarms) == (0.0, 0, 0)


#  window 400 ... 499: an alarm earns 1 at its start, 0 right after its end
def test_an_alarm_earns_the_more_the_earlier_in_its_window_it_comes() -> None:
    earned, window = gains(series())
    sigmoid = {0: 1.0, 50: 0.84828 / 0.98661, 99: 0.02498 / 0.98661}
    assert {row: earned[400 + row] for row in sigmoid} == pytest.approx(sigmoid, abs=1e-4)
    assert set(window[400:500]) == {0}
    assert set(window[800:850]) == {1}


def test_a_false_alarm_costs_less_right_after_a_window_and_all_it_can_before_the_first_and_far_behind() -> None:
    earned, window = gains(series())
    assert earned[200] == -0.11
    assert earned[500] == pytest.approx(-0.11 * 0.02524, abs=1e-4)
    assert earned[499 + 99] == pytest.approx(-0.11 * 0.98661, abs=1e-5)
    assert earned[499 + 298] == -0.11
    assert earned[799] == -0.11
    assert set(window[500:800]) == {-1}


def test_nothing_counts_in_the_probationary_period() -> None:
    assert series().probation == 150
    assert series(20_000, ((9000, 9100),)).probation == 750
    _, window = gains(series())
    assert set(window[:150]) == {-2}
    assert standing([(series(), alarms(1000, *range(150), 400, 800))]).score == pytest.approx(100.0)


def test_of_several_alarms_in_a_window_the_earliest_counts_and_each_outside_costs() -> None:
    #                                             half way, later   false, false
    found = standing([(series(1000, ((400, 499),)), alarms(1000, 450, 480, 200, 300))])
    worth = 0.84828 / 0.98661 - 2 * 0.11
    assert found.score == pytest.approx(100 * (worth + 1) / 2, abs=0.01)
    assert (found.hits, found.false_alarms) == (1, 2)


def test_the_threshold_is_the_one_that_scores_best_on_all_series_together() -> None:
    one, other = series(1000, ((400, 499),)), series(1000, ((600, 699),))
    # At 0.6 both windows are hit, at the price of one false alarm; at 0.9 one window is.
    found = standing([(one, 0.9 * alarms(1000, 400)), (other, 0.6 * alarms(1000, 600, 900))])
    assert (found.threshold, found.hits, found.false_alarms) == (0.6, 2, 1)
    assert found.score == pytest.approx(100 * (2 - 0.11 + 2) / 4, abs=0.01)


@pytest.mark.parametrize("scores", [np.zeros(999), np.full(1000, 1.01), np.full(1000, np.nan), np.full(1000, -0.1)])
def test_scores_that_do_not_fit_a_series_are_refused(scores: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match=r"^s\.csv: a score from 0 to 1 for each of the 1000 rows is expected"):
        standing([(series(), scores)])


def test_the_windowed_gaussian_takes_every_value_into_its_window_until_that_is_full_and_then_steps() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(5.0, 2.0, 260)
    found = windowed_gaussian(values, window=100, step=50)

    def expected(row: int, known: NDArray[np.float64]) -> float:
        from_middle = abs(values[row] - known.mean()) / known.std()
        return 1 - 0.5 * math.erfc(from_middle / math.sqrt(2))

    assert found[0] == 0.0
    assert found[40] == pytest.approx(expected(40, values[:40]))
    assert found[149] == pytest.approx(expected(149, values[:100]))
    assert found[150] == pytest.approx(expected(150, values[50:150]))
    assert found[259] == pytest.approx(expected(259, values[150:250]))


def test_where_all_values_are_alike_another_one_is_as_strange_as_can_be() -> None:
    assert windowed_gaussian(np.array([3.0, 3.0, 3.0, 4.0])).tolist() == [0.0, 0.5, 0.5, 1.0]


def test_series_are_read_with_their_windows_and_a_window_at_no_row_is_refused(tmp_path: Path) -> None:
    rows = [f"2015-01-01 00:0{minute}:00,{minute}.5" for minute in range(6)]
    (tmp_path / "real").mkdir()
    packed = gzip.compress("\n".join(["timestamp,value", *rows]).encode())
    (tmp_path / "real" / "a.csv.gz").write_bytes(packed)
    windows = [["2015-01-01 00:02:00.000000", "2015-01-01 00:04:00.000000"]]
    (tmp_path / "labels.json").write_text(json.dumps({"real/a.csv": {"windows": windows, "labels": []}}))
    (found,) = load(tmp_path)
    assert (found.name, found.windows) == ("real/a.csv", [(2, 4)])
    assert found.values.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    at_once = table([found], {"first row": lambda each: alarms(len(each.values), 2)})
    assert at_once["first row"].score == pytest.approx(100.0)
    windows[0][1] = "2015-01-01 00:04:30"
    (tmp_path / "labels.json").write_text(json.dumps({"real/a.csv": {"windows": windows}}))
    with pytest.raises(ValueError, match=r"^real/a\.csv: the series has no row at 2015-01-01 00:04:30, where a window"):
        load(tmp_path)
