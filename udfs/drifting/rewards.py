"""Whether a slot's reward has risen or fallen, and since when, by how far its sum has run away."""

from math import ceil, exp, log
from typing import Final, NamedTuple

import numpy as np

from udfs.detectors.page_hinkley import Bounds, Standing, page_hinkley
from udfs.drifting.rows import Rows

_LIKE_NORMAL: Final = 5.0
"""Variance of a sum of rewards from which on it is near enough to Normal: of five rewards, where they are rare."""


class Course(NamedTuple):
    """Where the rewards of a window have gone.

    Attributes:
        size: how far the sum has run away, in standard deviations of a part's mean; below 0 for a fall, 0: not.
        chance: of such an alarm if nothing has changed.
        before: mean reward of the reference.
        now: mean since the change; of the window where there is none.
        since: first of the rows that are not as before; 0 where there is none.
    """

    size: float
    chance: float
    before: float
    now: float
    since: int


def course(reference: Rows, window: Rows, parts: int, allowed: float, doubt: float) -> Course | None:
    """Test the rewards of a window against those of a reference.

    The window's rows are averaged in parts of equally many, which are spread like a Normal, and each mean is put in
    standard deviations off the reference's; Page-Hinkley goes on from there as if the reference had been its start. It
    raises an alarm at log(2 parts / doubt) / (2 allowed): a Normal sum that loses `allowed` at each step ever rises so
    far from a given one with a chance of at most exp(-2 allowed height) (Kingman, "Inequalities in the Theory of
    Queues", JRSS B 32, 1970), there are so many steps to rise from, and two sides.

    Args:
        reference: rewards as usual.
        window: rewards now, in the order of time.
        parts: at most, of the window.
        allowed: standard deviations a part may be off without being a change.
        doubt: the chance of a false alarm, at most.

    Returns:
        None where rewards are too few, or all the same.
    """
    share = reference.weight / reference.weight.sum()
    before = float((share * reference.reward).sum())
    variance = float((share * (reference.reward - before) ** 2).sum())
    if variance <= 0.0:
        return None
    rows = max(ceil(len(window.at) / parts), ceil(_LIKE_NORMAL / variance))
    starts = np.arange(0, len(window.at) - rows + 1, rows)
    if not len(starts):
        return None
    sums = np.add.reduceat(window.reward[: len(starts) * rows], starts)
    off = (sums / rows - before) / np.sqrt(variance / rows)
    seen = Standing(values=max(1, round(1.0 / float((share**2).sum()) / rows)), bottom=0.0, top=0.0)
    bounds = Bounds(allowed=allowed, threshold=log(2 * len(starts) / doubt) / (2 * allowed), forget=1.0, least=1)
    found = page_hinkley(off, bounds, seen)
    alarms = np.flatnonzero(found.alarm)
    if not len(alarms):
        return Course(0.0, 1.0, before, float(window.reward.mean()), 0)
    row = int(alarms[0])
    far = float(found.up[row] if found.alarm[row] > 0 else found.down[row])
    since = int(starts[found.since[row]])
    return Course(
        size=float(found.alarm[row]) * far,
        chance=min(1.0, 2 * len(starts) * exp(-2 * allowed * far)),
        before=before,
        now=float(window.reward[since:].mean()),
        since=since,
    )
