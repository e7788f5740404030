"""How early and how rarely a detector of anomalies speaks up, on the public scale of the Numenta Anomaly Benchmark.

The scoring of Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms: the Numenta Anomaly Benchmark"
(ICMLA 2015, section II), standard profile, and the windowed Gaussian detector that is published with it.
"""

import csv
import gzip
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import erfc, floor, sqrt
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct, json
from numpy.typing import NDArray

Column = NDArray[np.float64]

HIT: Final = 1.0
FALSE: Final = 0.11
MISS: Final = 1.0
"""What a hit earns and a false alarm and a miss cost at most, in the standard profile."""

_PROBATION: Final = 0.15
_PROBATION_ROWS: Final = 5000  # in a longer series the period does not grow any more
_FAR: Final = 3.0  # window lengths behind a window, from which on a false alarm costs all it can
_STEEPNESS: Final = 5.0

_OUTSIDE: Final = -1
_PROBATIONARY: Final = -2


class Labels(Struct):
    """What is known of a series: its anomaly windows, each by its first and last time."""

    windows: list[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Series:
    """A labelled series.

    Attributes:
        name: of the file.
        values: (n,), at even steps of time.
        windows: the first and the last row of each stretch in which an alarm is a hit, in order.
    """

    name: str
    values: Column
    windows: Sequence[tuple[int, int]]

    @property
    def probation(self) -> int:
        """Rows at the start in which nothing counts: a detector may learn there what is normal."""
        return floor(_PROBATION * min(len(self.values), _PROBATION_ROWS))


class Standing(NamedTuple):
    """How a detector does on all series together.

    Attributes:
        score: 0 is a detector that never says anything, 100 one that speaks at the start of each window only.
        threshold: the one that scores best, as the benchmark chooses it.
        hits: windows with an alarm in them.
        false_alarms: rows outside of them with one.
    """

    score: float
    threshold: float
    hits: int
    false_alarms: int


def load(folder: Path) -> list[Series]:
    """Read the series of a folder: `labels.json`, and a packed table for each of its names.

    Raises:
        ValueError: a window begins or ends at a time that its series does not have.
    """
    labels = json.decode((folder / "labels.json").read_bytes(), type=dict[str, Labels])
    return [_read(folder, name, found) for name, found in sorted(labels.items())]


def gains(series: Series) -> tuple[Column, NDArray[np.int64]]:
    """Say what an alarm at each row earns, and in which window the row lies.

    Within a window an alarm earns the more the earlier it comes: the scaled sigmoid 2 / (1 + e^5y) - 1 of its place y,
    -1 at the window's start, right after its end 0, over what it is at the start. After a window an alarm costs the
    more the later it comes, before the first one all it can.

    Returns:
        (n,) gains, and (n,) the number of the window, -1 outside, -2 in the probationary period.
    """
    n = len(series.values)
    rows = np.arange(n, dtype=np.float64)
    earned, window = np.full(n, -FALSE), np.full(n, _OUTSIDE)
    for number, (first, last) in enumerate(series.windows):
        length = last - first + 1
        behind = (rows[last + 1 :] - last) / (length - 1)
        earned[last + 1 :] = FALSE * np.where(behind > _FAR, -1.0, _sigmoid(behind))
        # What lies within a later window is overwritten in its turn.
        earned[first : last + 1] = HIT * _sigmoid((rows[first : last + 1] - last - 1) / length) / _sigmoid(-1.0)
        window[first : last + 1] = number
    window[: series.probation] = _PROBATIONARY
    return earned, window


def standing(scored: Sequence[tuple[Series, Column]]) -> Standing:
    """Score a detector at the threshold that suits it best on all series together.

    A row alarms where its score reaches the threshold. Of several alarms in a window the earliest counts; a window
    without one is a miss. Every alarm outside counts.

    Args:
        scored: each series with the detector's scores, (n,), 0 to 1.

    Raises:
        ValueError: scores do not fit their series.
    """
    earned, window, score = [], [], []
    for number, (series, found) in enumerate(scored):
        of_row, place = gains(series)
        earned.append(of_row)
        # So that windows of different series do not share a number.
        window.append(np.where(place >= 0, place + 1000 * number, place))
        score.append(_fitting(series, found))
    counted = np.concatenate(window) != _PROBATIONARY
    gain, where, level = (np.concatenate(each)[counted] for each in (earned, window, score))
    order = np.argsort(-level, kind="stable")
    return _best(gain[order], where[order], level[order])


def _fitting(series: Series, scores: Column) -> Column:
    """Check that scores fit a series; raises ValueError where there is not one from 0 to 1 for each row."""
    if scores.shape != series.values.shape or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"{series.name}: a score from 0 to 1 for each of the {len(series.values)} rows is expected")
    return scores


def _best(gain: Column, window: NDArray[np.int64], level: Column) -> Standing:
    """Lower the threshold from above the highest score, row by row, and keep the best."""
    windows = len(set(window[window != _OUTSIDE].tolist()))
    found: defaultdict[int, float] = defaultdict(lambda: -MISS)
    missed = -MISS * windows
    total, hits, false_alarms = missed, 0, 0
    best, at, after = missed, (0, 0), 1.1
    ends = np.append(level[1:] != level[:-1], True).tolist()
    for earned, place, height, ended in zip(gain.tolist(), window.tolist(), level.tolist(), ends, strict=True):
        if place == _OUTSIDE:
            total += earned
            false_alarms += 1
        else:
            hits += place not in found
            total += max(earned - found[place], 0.0)
            found[place] = max(earned, found[place])
        if ended and total > best:
            best, at, after = total, (hits, false_alarms), height
    return Standing(100 * (best - missed) / (HIT * windows - missed), after, *at)


def windowed_gaussian(values: Column, window: int = 6400, step: int = 100) -> Column:
    """How far from the middle of a normal distribution each value lies: the detector that the benchmark publishes.

    Mean and deviation are those of a window of past values, which grows by each value until it is full, and from then
    on moves by a step at a time. As published (numenta/NAB, nab/detectors/gaussian, commit ea702d75).

    Returns:
        (n,) 1 less the tail's probability, 0.5 to 1; 0 for the first value.
    """
    scores = np.zeros(len(values))
    mean, deviation = 0.0, 1.0
    full = min(window, len(values))
    for row in range(len(values)):
        if row > 0:
            # A growing window holds all values so far; a full one ends where the last whole step did.
            if row <= full or (row - window) % step == 0:
                known = values[max(row - window, 0) : row]
                mean, deviation = float(known.mean()), float(known.std()) or 1e-6
            scores[row] = 1 - 0.5 * erfc(abs(float(values[row]) - mean) / deviation / sqrt(2))
    return scores


def table(series: Sequence[Series], detectors: Mapping[str, Callable[[Series], Column]]) -> dict[str, Standing]:
    """Score detectors side by side, each on all series."""
    return {name: standing([(each, detector(each)) for each in series]) for name, detector in detectors.items()}


def _sigmoid(place: Column | float) -> Column:
    scaled: Column = 2 / (1 + np.exp(_STEEPNESS * np.asarray(place, dtype=np.float64))) - 1
    return scaled


def _read(folder: Path, name: str, labels: Labels) -> Series:
    with gzip.open(folder / f"{name}.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    row_of = {_time(row["timestamp"]): number for number, row in reversed(list(enumerate(rows)))}
    times = [(_time(first), _time(last)) for first, last in labels.windows]
    if strange := [time for pair in times for time in pair if time not in row_of]:
        raise ValueError(f"{name}: the series has no row at {strange[0]}, where a window begins or ends")
    windows = [(row_of[first], row_of[last]) for first, last in times]
    return Series(name, np.array([float(row["value"]) for row in rows]), windows)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
