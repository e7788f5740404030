"""What models see and say, and what comes of it, held against what it was: what has drifted, how much, since when."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.alerts import Detector
from schemas.settings import Drift as Conf
from schemas.signals import USER_FEATURES
from udfs.drifting import promises
from udfs.drifting.distances import (
    Sample,
    adjusted,
    bounds,
    counts,
    ks,
    ks_chance,
    noise,
    places,
    psi,
    psi_chance,
)
from udfs.drifting.rewards import course
from udfs.drifting.rows import Gathered, Ranges, Rows, Slot
from udfs.smooth import Column

SCORE: Final = "score"
ARMS: Final = "arms"
CALIBRATION: Final = "calibration"
REWARD: Final = "reward"

Verdict = Literal["drifted", "too small to matter", "not seen", "too few"]

Places = NDArray[np.intp]

_CAME: Final[dict[str, Callable[[Column], Column]]] = {
    "binary": lambda gains: (gains > 0).astype(np.float64),
    "cross_entropy": lambda gains: gains,
}
"""What comes true of a model's scores, by the objective that it was trained for."""

_ORDER: Final = (Detector.DRIFT, Detector.CALIBRATION, Detector.PAGE_HINKLEY)


class Finding(NamedTuple):
    """What is known of one column of one slot.

    Attributes:
        slot: where.
        series: a signal, `score`, `arms`, `calibration` or `reward`.
        what: by which it was looked at.
        people: in the reference and in the window.
        size: of the change since it began, in the detector's unit; below 0 for a fall.
        large: whether that is enough to matter.
        ks: Kolmogorov-Smirnov statistic; nan where there is none.
        chance: p value, over all columns of the look.
        before: mean of the reference: of the values, of the arm that has changed most, the calibration error.
        now: of the window.
        latest: of the window since the change.
        since: the first stretch that is not as before, ms since 1970; 0 where nothing is known.
        arm: that has changed most.
        verdict: whether it has drifted.
    """

    slot: str
    series: str
    what: Detector
    people: tuple[int, int]
    size: float = 0.0
    large: bool = False
    ks: float = np.nan
    chance: float = 1.0
    before: float = np.nan
    now: float = np.nan
    latest: float = np.nan
    since: int = 0
    arm: str = ""
    verdict: Verdict = "too few"


def look(gathered: Gathered, ranges: Ranges, conf: Conf) -> list[Finding]:
    """Hold the window's outcomes against the reference, column by column; the largest change first.

    Of each slot: the signals that models see, which arms were chosen, the scores of the model that is looked at,
    whether these keep what they promise, and the reward. A column has drifted if the change is no chance and large
    enough to matter. It is no chance by PSI or by Kolmogorov and Smirnov, for which p values count double; and over all
    columns of the look by Benjamini and Hochberg's procedure: of those that are said to have drifted no more than
    `conf.doubt` have not, on average, and where nothing has, anything is said with that chance. Rewards have their own
    bounds, of the same chance for all slots together. Looks are not adjusted for one another.

    Args:
        gathered: outcomes of the spans.
        ranges: the spans.
        conf: when a change is a change.
    """
    slots, held = gathered.slots(), _Look(ranges, conf)
    found = [each for slot in slots for each in held.columns(slot)]
    known = [each for each in found if each.verdict != "too few"]
    chances = adjusted(np.array([each.chance for each in known])).tolist()
    told = [each for each in found if each.verdict == "too few"]
    told += [held.judged(each, chance) for each, chance in zip(known, chances, strict=True)]
    told += [held.reward(slot, len(slots)) for slot in slots]
    return sorted(told, key=lambda each: (_ORDER.index(each.what), -abs(each.size), each.slot, each.series))


@dataclass(frozen=True, slots=True)
class _Look:
    """What is held against what, and when a change is a change."""

    ranges: Ranges
    conf: Conf

    def columns(self, slot: Slot) -> Iterator[Finding]:
        """Measure all columns but the reward; verdicts come later, for all together."""
        both = slot.reference, slot.window
        blank = Finding(slot.name, "", Detector.DRIFT, (len(slot.reference.at), len(slot.window.at)))
        for place, name in enumerate(USER_FEATURES):
            values = [each.signals[:, place] for each in both]
            yield self._numbers(blank._replace(series=name), *both, *values)
        if any(each.arms.any() for each in both):
            yield self._arms(blank._replace(series=ARMS), *both)
        window = slot.window.taken(~np.isnan(slot.window.drawn))
        if len(window.at):
            blank = blank._replace(people=(len(slot.scored.at), len(window.at)))
            yield self._numbers(blank._replace(series=SCORE), slot.scored, window, slot.scored.drawn, window.drawn)
            yield self._calibration(blank._replace(series=CALIBRATION, what=Detector.CALIBRATION), slot.scored, window)

    def judged(self, finding: Finding, chance: float) -> Finding:
        """Say whether a column has drifted, once it is known how its chance stands among the others'."""
        seen: Verdict = "drifted" if finding.large else "too small to matter"
        return finding._replace(chance=chance, verdict=seen if chance <= self.conf.doubt else "not seen")

    def reward(self, slot: Slot, slots: int) -> Finding:
        """Follow a slot's reward."""
        window, conf = slot.window, self.conf
        blank = Finding(slot.name, REWARD, Detector.PAGE_HINKLEY, (len(slot.reference.at), len(window.at)))
        if self._few(blank):
            return blank
        went = course(slot.reference, window, conf.stretches, conf.allowed, conf.doubt / slots)
        if went is None:
            return blank
        return blank._replace(
            size=went.size,
            large=went.size != 0.0,
            chance=went.chance,
            before=went.before,
            now=float(window.reward.mean()),
            latest=went.now,
            since=self._moment(int(self._part(window)[went.since])),
            verdict="drifted" if went.size else "not seen",
        )

    def _numbers(self, blank: Finding, reference: Rows, window: Rows, usual: Column, values: Column) -> Finding:
        if self._few(blank):
            return blank
        one, other = Sample(usual, reference.weight), Sample(values, window.weight)
        edges = bounds(one)
        there, here = (places(each.values, edges) for each in (one, other))
        distance, found = ks(one, other), self._binned(blank, reference, window, there, here, bins=len(edges) + 1)
        latest = other.taken(window.at >= found.since).mean
        return found._replace(
            size=float(np.copysign(found.size, latest - one.mean)),
            ks=distance,
            chance=min(1.0, 2.0 * min(found.chance, ks_chance(distance, one.size, other.size))),
            before=one.mean,
            now=other.mean,
            latest=latest,
        )

    def _arms(self, blank: Finding, reference: Rows, window: Rows) -> Finding:
        if self._few(blank):
            return blank
        names = np.unique(np.concatenate([reference.arms, window.arms]).astype(str))
        there, here = (np.searchsorted(names, each.arms.astype(str)) for each in (reference, window))
        found = self._binned(blank, reference, window, there, here, bins=len(names))
        some = window.at >= found.since
        sides = (there, reference.weight), (here, window.weight), (here[some], window.weight[some])
        before, now, latest = (np.bincount(place, weight, len(names)) / weight.sum() for place, weight in sides)
        most = int(np.argmax(np.abs(latest - before)))
        return found._replace(
            before=float(before[most]), now=float(now[most]), latest=float(latest[most]), arm=str(names[most])
        )

    def _binned(
        self, blank: Finding, reference: Rows, window: Rows, there: Places, here: Places, *, bins: int
    ) -> Finding:
        """Measure a column whose bins are known: how far apart, how likely by chance, and since when.

        The likeliest beginning is the stretch from which on the window lies farthest from the reference in the unit of
        chance (Hinkley, "Inference about the Change-Point in a Sequence of Random Variables", Biometrika 57, 1970: the
        maximum of the likelihood, whose logarithm is about half of this).
        """
        usual, now = (counts(place, each.weight, bins) for place, each in ((there, reference), (here, window)))
        table = np.zeros((self.conf.stretches, bins))
        np.add.at(table, (self._part(window), here), 1.0)
        latest = table[::-1].cumsum(axis=0)[::-1]
        rows = latest.sum(axis=-1)
        apart = psi(usual, latest)
        since = _last_largest(np.where(rows > 0, apart / noise(usual.sum(), np.maximum(rows, 1.0)), -1.0))
        size = float(apart[since])
        return blank._replace(
            size=size,
            large=size >= self.conf.psi,
            chance=psi_chance(usual, now),
            since=self._moment(since),
            verdict="not seen",
        )

    def _calibration(self, blank: Finding, reference: Rows, window: Rows) -> Finding:
        came = _CAME.get(self.ranges.objective)
        if self._few(blank) or came is None:
            return blank
        usual = float(reference.scores.mean())
        then, now = (promises.kept(each, came(each.gains), usual) for each in (reference, window))
        part = self._part(window)
        squares = [
            promises.apart(then, now.lists(part >= first))[0] if (part >= first).any() else -np.inf
            for first in range(self.conf.stretches)
        ]
        since = _last_largest(np.array(squares))
        some = window.taken(part >= since)
        latest = promises.kept(some, came(some.gains), usual)
        size = promises.moved(then, latest)
        return blank._replace(
            size=size,
            large=size >= self.conf.calibration * then.promised,
            chance=promises.chance(then, now),
            before=then.error,
            now=now.error,
            latest=latest.error,
            since=self._moment(since),
            verdict="not seen",
        )

    def _few(self, finding: Finding) -> bool:
        return min(finding.people) < self.conf.least

    def _part(self, rows: Rows) -> Places:
        """Say in which stretch of the window each row lies, from 0 on."""
        found: Places = (rows.at - self._moment(0)) // self.ranges.stretch
        return found

    def _moment(self, stretch: int) -> int:
        """Say when a stretch of the window begins, ms since 1970."""
        return self.ranges.window.until - (self.conf.stretches - stretch) * self.ranges.stretch


def _last_largest(values: Column) -> int:
    """Give the place of the largest value, the last of several: of stretches in which nothing was, none is the first.

    >>> _last_largest(np.array([1.0, 3.0, 3.0, 2.0]))
    2
    """
    return len(values) - 1 - int(np.argmax(values[::-1]))
