"""Whether the mean of a series has changed, and since when, by how far its sum has run away.

The cumulative sum of Page, "Continuous Inspection Schemes", Biometrika 41, 1954, with a running mean for the target
that nobody knows (Hinkley, "Inference about the Change-Point from Cumulative Sum Tests", Biometrika 58, 1971).
"""

from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.smooth import Column


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a change is a change; all in the unit of the values.

    Attributes:
        allowed: a drift of the mean per value that is no change (delta).
        threshold: how far the sum runs before an alarm (lambda).
        forget: what is kept of the sum from value to value; 1 forgets nothing.
        least: values before the first alarm.
        sides: whether a rise of the mean is looked for, a fall, or both.
    """

    allowed: float = 0.005
    threshold: float = 50.0
    forget: float = 0.9999
    least: int = 30
    sides: Literal["up", "down", "both"] = "both"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a test stands after some values since it last began anew.

    Attributes:
        seen: values, those before it began anew too.
        values: how many.
        mean: of them.
        up: the sum of what they exceed the mean by, less what is allowed.
        bottom: the least that `up` has been.
        bottom_at: the row after that.
        down: the same sum, plus what is allowed.
        top: the most that `down` has been.
        top_at: the row after that.
    """

    seen: int = 0
    values: int = 0
    mean: float = 0.0
    up: float = 0.0
    bottom: float = inf
    bottom_at: int = 0
    down: float = 0.0
    top: float = -inf
    top_at: int = 0


class Found(NamedTuple):
    """What the test says of each value.

    Attributes:
        up: (n,) how far the sum has risen from its lowest point.
        down: (n,) how far it has fallen from its highest.
        alarm: (n,) 1 where the mean has risen, -1 where it has fallen, else 0; the test begins anew after it.
        since: (n,) at an alarm, the first row of the changed mean (the sum's turning point, which is the
            maximum-likelihood estimate; Hinkley 1971, section 2); -1 elsewhere. Rows count from the series' start.
        standing: from which the test goes on.
    """

    up: Column
    down: Column
    alarm: NDArray[np.int8]
    since: NDArray[np.int64]
    standing: Standing


def page_hinkley(values: Column, bounds: Bounds, standing: Standing | None = None) -> Found:
    """Test a series.

    With x the value and m the mean so far, m(t) = forget * m(t - 1) + x - m - allowed; a rise is told where m(t)
    exceeds its minimum by more than the threshold. A fall is told by the mirror image. If both, the larger one is.

    Args:
        values: (n,), finite.
        bounds: when a change is a change.
        standing: where an earlier part of the series left off; at its start nothing.

    >>> found = page_hinkley(np.repeat([0.0, 2.0], [40, 20]), Bounds(threshold=8.0, forget=1.0))
    >>> [(row, found.alarm[row], found.since[row]) for row in np.flatnonzero(found.alarm).tolist()]
    [(44, np.int8(1), np.int64(40))]
    """
    now = standing or Standing()
    rows = []
    for value in values.tolist():
        now, *said = _next(now, value, bounds)
        rows.append(said)
    up, down, alarm, since = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Found(
        np.array(up, dtype=np.float64),
        np.array(down, dtype=np.float64),
        np.array(alarm, dtype=np.int8),
        np.array(since, dtype=np.int64),
        now,
    )


def _next(now: Standing, value: float, bounds: Bounds) -> tuple[Standing, float, float, int, int]:
    """Take one value: the next standing, both statistics, and the alarm with its first row."""
    seen, values = now.seen + 1, now.values + 1
    mean = now.mean + (value - now.mean) / values
    up = bounds.forget * now.up + value - mean - bounds.allowed
    down = bounds.forget * now.down + value - mean + bounds.allowed
    bottom, bottom_at = (up, seen) if up < now.bottom else (now.bottom, now.bottom_at)
    top, top_at = (down, seen) if down > now.top else (now.top, now.top_at)
    risen, fallen = up - bottom, top - down
    alarm = _alarm(risen, fallen, bounds) if values >= bounds.least else 0
    if alarm:
        return Standing(seen=seen), risen, fallen, alarm, bottom_at if alarm > 0 else top_at
    return Standing(seen, values, mean, up, bottom, bottom_at, down, top, top_at), risen, fallen, 0, -1


def _alarm(risen: float, fallen: float, bounds: Bounds) -> int:
    rise = bounds.sides != "down" and risen > bounds.threshold
    fall = bounds.sides != "up" and fallen > bounds.threshold
    if rise and fall:
        return 1 if risen >= fallen else -1
    return int(rise) - int(fall)
