"""Whether the mean of a series has changed, however fast: a window that is as long as the series is level.

ADWIN (Bifet and Gavalda, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007): the window grows while
its parts look alike, and loses its older part when two parts differ by more than chance allows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from math import exp, log, nan, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.smooth import Column

Bucket = tuple[float, float]
"""Sum of its values, and sum of their squared deviations from their own mean."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a change is a change.

    Attributes:
        doubt: the chance of a false alarm that each look may run (delta), over 0, under 1.
        every: values from one look to the next.
        buckets: of each size, before the two oldest become one of the next size (M).
        least_part: values that either part of the window has at the least.
        least: values of the window at which nobody looks yet.
    """

    doubt: float = 0.002
    every: int = 32
    buckets: int = 5
    least_part: int = 5
    least: int = 10


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the window stands after some values.

    Attributes:
        seen: values, those that the window has lost too.
        sizes: buckets of 1, 2, 4 ... values, the oldest first.
    """

    seen: int = 0
    sizes: tuple[tuple[Bucket, ...], ...] = ()


class Found(NamedTuple):
    """What the window says after each value.

    Attributes:
        alarm: (n,) 1 where the mean has risen, -1 where it has fallen, else 0.
        since: (n,) at an alarm, the first row that the window keeps, counted from the series' start; -1 elsewhere.
        before: (n,) at an alarm, the mean of what the window lost; NaN elsewhere.
        after: (n,) at an alarm, the mean of what it keeps; NaN elsewhere.
        doubt: (n,) at an alarm, the least `Bounds.doubt` at which there would still be one; 1 elsewhere.
        standing: from which the window goes on.
    """

    alarm: NDArray[np.int8]
    since: NDArray[np.int64]
    before: Column
    after: Column
    doubt: Column
    standing: Standing


def adwin(values: Column, bounds: Bounds, standing: Standing | None = None) -> Found:
    """Let the window slide over a series.

    A cut into parts of n0 and n1 values tells a change where their means differ by more than

        sqrt(2 r v ln(2 / d)) + 2/3 r ln(2 / d),   d = doubt / ln(n0 + n1),   r = 1/n0 + 1/n1,

    v the window's variance (section 3.1, the bound for practice). It holds for values from 0 to 1; values of a larger
    scale see its second term vanish, so scale them first. As in MOA, n0 and n1 count in r less `least_part` - 1 values,
    so that the shortest part speaks with the weight of one value. The window is kept as an exponential histogram, whose
    edges are the cuts that are looked at (section 3.2): some buckets * log2(n / buckets) of n.

    Args:
        values: (n,), finite.
        bounds: when a change is a change.
        standing: where an earlier part of the series left off; at its start nothing.

    >>> found = adwin(np.repeat([0.2, 0.8], [200, 40]) + np.tile([-0.1, 0.1], 120), Bounds(every=1))
    >>> [(row, int(found.since[row])) for row in np.flatnonzero(found.alarm).tolist()]
    [(220, 200)]
    """
    start = standing or Standing()
    window = _Window([list(size) for size in start.sizes], bounds.buckets)
    rows = []
    for seen, value in enumerate(values.tolist(), start=start.seen + 1):
        window.add(value)
        looked = seen % bounds.every == 0 and window.length > bounds.least
        change = window.shrunk(bounds) if looked else None
        rows.append((*change[:1], seen - window.length, *change[1:]) if change else _NOTHING)
    alarm, since, before, after, doubt = zip(*rows, strict=True) if rows else repeat((), 5)
    return Found(
        np.array(alarm, dtype=np.int8),
        np.array(since, dtype=np.int64),
        np.array(before, dtype=np.float64),
        np.array(after, dtype=np.float64),
        np.array(doubt, dtype=np.float64),
        Standing(start.seen + len(values), tuple(map(tuple, window.sizes))),
    )


class _Change(NamedTuple):
    alarm: int
    before: float
    after: float
    doubt: float


class _Cut(NamedTuple):
    values: int
    total: float
    doubt: float


_NOTHING = (0, -1, nan, nan, 1.0)


class _Window:
    """The histogram, while a series passes: it lives within one call."""

    def __init__(self, sizes: list[list[Bucket]], buckets: int) -> None:
        self.sizes = sizes
        self.length = sum(len(size) << place for place, size in enumerate(sizes))
        self._most = buckets

    def add(self, value: float) -> None:
        """Take a value in, and make one bucket of the two oldest of a size wherever there are too many."""
        self.length += 1
        bucket: Bucket = (value, 0.0)
        for place, size in enumerate(self.sizes):
            size.append(bucket)
            if len(size) <= self._most:
                return
            bucket = _together(size.pop(0), size.pop(0), 1 << place)
        self.sizes.append([bucket])

    def shrunk(self, bounds: Bounds) -> _Change | None:
        """Lose what lies before the cut that tells most, as long as one tells a change; None where none does."""
        lost, total, doubt = 0, 0.0, 1.0
        while (cut := self._cut(bounds)) is not None:
            doubt = min(doubt, cut.doubt)
            lost += cut.values
            total += cut.total
            self._drop(cut.values)
        if not lost:
            return None
        before, after = total / lost, self._total() / self.length
        return _Change(1 if after > before else -1, before, after, doubt)

    def _cut(self, bounds: Bounds) -> _Cut | None:
        """Find the cut that tells most, if any tells a change."""
        length, total = self.length, self._total()
        if length < 2 * bounds.least_part:
            return None
        variance = self._variance(total / length)
        looks = 2 * log(length)
        needed = log(looks / bounds.doubt)
        best, most = None, needed
        n0, sum0 = 0, 0.0
        for values, part, _ in self._oldest_first():
            n0 += values
            sum0 += part
            n1 = length - n0
            if n1 < bounds.least_part:
                break
            if n0 < bounds.least_part:
                continue
            r = 1 / (n0 - bounds.least_part + 1) + 1 / (n1 - bounds.least_part + 1)
            apart = abs(sum0 / n0 - (total - sum0) / n1)
            if apart > sqrt(2 * r * variance * needed) + 2 / 3 * r * needed:
                evidence = _evidence(apart, r, variance)
                if best is None or evidence > most:
                    best, most = _Cut(n0, sum0, min(1.0, looks * exp(-evidence))), evidence
        return best

    def _drop(self, values: int) -> None:
        while values:
            self.sizes[-1].pop(0)
            values -= 1 << (len(self.sizes) - 1)
            self.length -= 1 << (len(self.sizes) - 1)
            while self.sizes and not self.sizes[-1]:
                self.sizes.pop()

    def _oldest_first(self) -> Iterator[tuple[int, float, float]]:
        for place in range(len(self.sizes) - 1, -1, -1):
            for total, squares in self.sizes[place]:
                yield 1 << place, total, squares

    def _total(self) -> float:
        return sum(total for size in self.sizes for total, _ in size)

    def _variance(self, mean: float) -> float:
        """Put the window's variance together from the buckets' own (Babcock et al., PODS 2003, section 2)."""
        return (
            sum(squares + values * (total / values - mean) ** 2 for values, total, squares in self._oldest_first())
            / self.length
        )


def _together(one: Bucket, other: Bucket, values: int) -> Bucket:
    """Make one bucket of two of as many values each."""
    apart = (one[0] - other[0]) / values
    return one[0] + other[0], one[1] + other[1] + apart * apart * values / 2


def _evidence(apart: float, r: float, variance: float) -> float:
    """Solve the bound for ln(2 / d): how great that may be while means so far apart still tell a change."""
    straight, root = 2 / 3 * r, sqrt(2 * r * variance)
    return ((sqrt(root * root + 4 * straight * apart) - root) / (2 * straight)) ** 2
