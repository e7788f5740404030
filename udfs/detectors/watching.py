"""What is to be said of a site's latest window: which series are not what they were, since when, and how surely."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import erf, exp, sqrt
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from schemas.alerts import SITE, Alert, Detector
from schemas.settings import Watch
from udfs.detectors import adwin, ewma, page_hinkley
from udfs.smooth import Column

Counts = NDArray[np.int64]

_TITLES: Final = {
    "exposures": "Exposures",
    "clicks": "Clicks",
    "errors": "Errors",
    "rage": "Rage clicks",
    "click_rate": "Clicks per exposure",
}
_TOLD_BY: Final = {
    Detector.EWMA: "EWMA chart, {:.1f} standard deviations of the average",
    Detector.PAGE_HINKLEY: "Page-Hinkley, {:.1f} standard deviations summed up",
    Detector.ADWIN: "ADWIN, {:.1f} standard deviations",
}
_ANSCOMBE: Final = 3 / 8
_FARTHEST: Final = 5.0
"""Deviations from which on ADWIN, which is for values between bounds, takes one value as far as the other."""


@dataclass(frozen=True, eq=False)
class History:
    """What was counted, window by window, the latest one last; a window in which nothing happened is not there.

    Attributes:
        number: (n,) of the window on the grid of windows since 1970, ascending.
        site: kind of count -> (n,) of the whole site.
        slots: (n,) of each window: slot -> exposures, and clicks that quote a decision of the slot.
    """

    number: Counts
    site: Mapping[str, Counts]
    slots: Sequence[Mapping[str, tuple[int, int]]]


@dataclass(frozen=True, eq=False)
class Series:
    """A count, or a count per so many others.

    Attributes:
        subject: slot, or the whole site.
        name: of the series.
        number: (n,) windows, ascending; those with nothing to count by are left out.
        count: (n,) what was counted.
        by: (n,) by what, over 0: exposures of a rate, 1 where the count itself is the series.
    """

    subject: str
    name: str
    number: Counts
    count: Counts
    by: Counts

    def part(self, first: int, last: int) -> Self:
        """Take the windows from one to another, both included."""
        rows = slice(*np.searchsorted(self.number, [first, last + 1]))
        return type(self)(self.subject, self.name, self.number[rows], self.count[rows], self.by[rows])


class Alarm(NamedTuple):
    """What a detector says, at a window.

    Attributes:
        what: the detector.
        number: the window at which it says so.
        since: the first window that is not as before.
        size: in the detector's unit, below 0 for a fall.
        sure: 1 less the chance that nothing has changed.
    """

    what: Detector
    number: int
    since: int
    size: float
    sure: float


def alerts(history: History, slots: Iterable[str], conf: Watch) -> list[Alert]:
    """Say what is new at the latest window.

    Args:
        history: the latest windows: three `conf.stretch` of them, or all there are.
        slots: that may be adjusted.
        conf: windows, and when a change is a change.
    """
    return [
        _alert(series, alarm, conf)
        for series in series_of(history, slots)
        for alarm in news(series, history.number, conf)
    ]


def series_of(history: History, slots: Iterable[str]) -> Iterator[Series]:
    """Take a history apart; in a window that is not there nothing was counted."""
    first = int(history.number[0])
    number = np.arange(first, int(history.number[-1]) + 1)
    there, ones = history.number - first, np.ones(len(number), dtype=np.int64)
    for name, counted in history.site.items():
        yield Series(SITE, name, number, _spread(counted, there, number), ones)
    for slot in slots:
        exposures, clicks = (
            _spread(np.array([window.get(slot, (0, 0))[which] for window in history.slots]), there, number)
            for which in (0, 1)
        )
        yield Series(slot, "exposures", number, exposures, ones)
        shown = exposures > 0
        yield Series(slot, "click_rate", number[shown], clicks[shown], exposures[shown])


def news(series: Series, there: Counts, conf: Watch) -> list[Alarm]:
    """Find the alarms of the latest window that were not said before.

    Detectors run over the stretch before the latest one and over that as far as it has come. So for a whole stretch
    they begin at the same window, and what they say of a window does not change when the next one comes. An alarm is
    one that was said before if, at the window before, the same detector had spoken of the same direction at or after
    the window since which the alarm says it is so. Windows in which nothing happened are made up for by the next one
    that is there.

    Args:
        series: what is watched.
        there: (n,) windows in which anything happened on the site, ascending.
        conf: windows, and when a change is a change.
    """
    if len(there) < 2:  # noqa: PLR2004 - the latest window and the one before
        return []
    before, latest = (int(each) for each in there[-2:])
    length = conf.stretch // conf.window
    run = found(series.part(_begin(latest, length), latest), conf)
    if _begin(before, length) == _begin(latest, length):
        said = [alarm for alarm in run if alarm.number <= before]
    else:
        said = found(series.part(_begin(before, length), before), conf)
    fresh = []
    for alarm in run:
        if alarm.number > before and not any(_same(alarm, known) for known in said):
            fresh.append(alarm)
            said.append(alarm)
    return fresh


def found(series: Series, conf: Watch) -> list[Alarm]:
    """Run all detectors over a series from its start, and list their alarms in the order of windows.

    Its first `conf.start` windows say what is usual, and raise no alarm.
    """
    if len(series.number) <= conf.start:
        return []
    off = deviations(series, conf.start)
    alarms = [
        Alarm(what, int(series.number[row]), int(series.number[since]), size, sure)
        for what, detector in _DETECTORS.items()
        for row, since, size, sure in detector(off, conf)
        if row >= conf.start
    ]
    return sorted(alarms, key=lambda alarm: alarm.number)


def deviations(series: Series, start: int) -> Column:
    """Say how far each window is from what its first windows let expect, in standard deviations.

    A count that chance alone moves has the variance of its mean; twice the root of it varies by about 1 at any mean
    (Anscombe, "The Transformation of Poisson, Binomial and Negative-Binomial Data", Biometrika 35, 1948, equation 1.1).
    So windows of unequal size can be compared, and so can those before and after a change. What moves more than by
    chance is scaled by the median absolute deviation besides. The mean leaves out windows that are far out.

    Args:
        series: at least `start` windows.
        start: how many of them say what is usual.
    """
    count, by = series.count[:start], series.by[:start]
    off = _off(count, by, count.sum() / by.sum())
    level, deviation = ewma.usual(off)
    usual = np.abs(off - level) <= 3 * max(deviation, 1.0)
    mean = count[usual].sum() / by[usual].sum()
    _, deviation = ewma.usual(_off(count, by, mean))
    return _off(series.count, series.by, mean) / max(deviation, 1.0)


Told = Iterator[tuple[int, int, float, float]]
"""Of each alarm: its row, the first row that is not as before, size, and how sure it is."""


def _by_ewma(off: Column, conf: Watch) -> Told:
    chart = ewma.chart(off, ewma.Usual(0.0, 1.0), ewma.Limits(conf.weight, conf.width))
    for row in np.flatnonzero(chart.alarm).tolist():
        sigmas = float(chart.sigmas[row])
        yield row, _left(off, row, sigmas), sigmas, erf(abs(sigmas) / sqrt(2))


def _by_page_hinkley(off: Column, conf: Watch) -> Told:
    """How sure: by the chance that a sum which drifts down by `allowed` a row exceeds a height (Kingman, 1970)."""
    bounds = page_hinkley.Bounds(allowed=conf.allowed, threshold=conf.threshold, forget=1.0, least=conf.start)
    told, begun = page_hinkley.page_hinkley(off, bounds), 0
    for row in np.flatnonzero(told.alarm).tolist():
        risen = float(told.up[row] if told.alarm[row] > 0 else told.down[row])
        yield row, _parted(off, begun, row), float(told.alarm[row]) * risen, 1 - exp(-2 * conf.allowed * risen)
        begun = row + 1


def _by_adwin(off: Column, conf: Watch) -> Told:
    bounds = adwin.Bounds(doubt=conf.doubt, every=1)
    told, begun = adwin.adwin((np.clip(off, -_FARTHEST, _FARTHEST) + _FARTHEST) / (2 * _FARTHEST), bounds), 0
    for row in np.flatnonzero(told.alarm).tolist():
        apart = float(told.after[row] - told.before[row]) * 2 * _FARTHEST
        yield row, _parted(off, begun, row), apart, 1 - float(told.doubt[row])
        begun = int(told.since[row])


_DETECTORS: Final = {
    Detector.EWMA: _by_ewma,
    Detector.PAGE_HINKLEY: _by_page_hinkley,
    Detector.ADWIN: _by_adwin,
}


def _left(off: Column, row: int, side: float) -> int:
    """Estimate since when a level that is known has been left, from what came up to a row.

    The maximum likelihood of a step (Samuel, Pignatiello and Calvin, "Identifying the Time of a Step Change with X-bar
    Control Charts", Quality Engineering 10, 1998).

    >>> _left(np.array([0.3, -0.2, 0.4, 3.1, 2.7]), 4, 1.0)
    3
    """
    sums = np.cumsum(off[row::-1]) * np.sign(side) / np.sqrt(np.arange(1, row + 2))
    return row - int(np.argmax(sums))


def _parted(off: Column, first: int, row: int) -> int:
    """Estimate where the rows from one to another part into two levels, neither of which is known: at least two rows.

    The maximum likelihood of a step (Hinkley, "Inference about the Change-Point in a Sequence of Random Variables",
    Biometrika 57, 1970).

    >>> _parted(np.array([9.0, 5.3, 4.8, 5.1, 8.1, 7.7]), 1, 5)
    4
    """
    sums = np.cumsum(off[first : row + 1])
    n0 = np.arange(1, len(sums))
    n1 = len(sums) - n0
    apart = sums[:-1] / n0 - (sums[-1] - sums[:-1]) / n1
    return first + 1 + int(np.argmax(apart * apart * n0 * n1))


def _same(alarm: Alarm, known: Alarm) -> bool:
    return known.what is alarm.what and known.number >= alarm.since and (known.size > 0) == (alarm.size > 0)


def _begin(number: int, length: int) -> int:
    """Say at which window the run begins that judges a window: that of the stretch before its own."""
    return (number // length - 1) * length


def _off(count: Counts, by: Counts, mean: float) -> Column:
    off: Column = 2 * (np.sqrt(count + _ANSCOMBE) - np.sqrt(by * mean + _ANSCOMBE))
    return off


def _spread(counted: Counts, there: Counts, number: Counts) -> Counts:
    spread = np.zeros(len(number), dtype=np.int64)
    spread[there] = counted
    return spread


def _alert(series: Series, alarm: Alarm, conf: Watch) -> Alert:
    latest, since = (int(np.searchsorted(series.number, each)) for each in (alarm.number, alarm.since))
    begin = int(np.searchsorted(series.number, _begin(alarm.number, conf.stretch // conf.window)))
    value, expected = _mean(series, since, latest + 1), _mean(series, begin, since)
    since_ms = alarm.since * conf.window
    return Alert(
        at=(alarm.number + 1) * conf.window,
        since=since_ms,
        what=alarm.what,
        subject=series.subject,
        series=series.name,
        value=value,
        expected=expected,
        size=alarm.size,
        sure=alarm.sure,
        words=(
            f"{_TITLES[series.name]} {'on the whole site' if series.subject == SITE else f'of {series.subject}'}"
            f" {'rose' if alarm.size > 0 else 'fell'} from {expected:.3g} to {value:.3g}"
            f"{'' if series.name == 'click_rate' else f' in {conf.window / 1000:g} s'}, since"
            f" {datetime.fromtimestamp(since_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
            f" ({_TOLD_BY[alarm.what].format(abs(alarm.size))})."
        ),
    )


def _mean(series: Series, first: int, end: int) -> float:
    by = int(series.by[first:end].sum())
    return int(series.count[first:end].sum()) / by if by else 0.0
