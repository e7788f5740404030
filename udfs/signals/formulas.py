"""How engaged a user is, how that changes, and how unusual it is for them: the registry's formulas, worked out."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.settings import Noise, SignalSettings
from schemas.signals import REGISTRY
from schemas.slices import MOMENT, TEXTS
from udfs.cleaning.context import hours
from udfs.cleaning.noise import unusual
from udfs.expressions import Expression, compiled
from udfs.signals.moments import Columns
from udfs.signals.silence import returned_by, silence
from udfs.signals.tastes import divergence, evenness, foremost
from udfs.smooth import Column, chart, faded_rate

GIVEN: Final = frozenset({"hour", "anomaly"})
"""Signals that no formula makes: one is read from the surroundings, one is scored by a release."""


def signals(
    moments: Columns, conf: SignalSettings, noise: Noise, wanted: Iterable[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Compute signals of `schemas.signals.Signals` from the columns of `schemas.slices.Moment`.

    Args:
        moments: one array per column, (n,) or (n, length); those that the wanted signals are made of.
        conf: horizons and weights.
        noise: from how many slices on a session has a median.
        wanted: names of signals; None is all of them.

    Returns:
        One array of shape (n,) per signal, in the units that the registry states, in its order. `anomaly` is neutral.
    """
    known: dict[str, Any] = dict(moments) | {
        "fast": float(conf.fast),
        "mid": float(conf.mid),
        "slow": float(conf.slow),
        "expected_gap": float(conf.expected_gap),
        "baseline_slices": conf.baseline_slices,
        "min_slices": noise.min_slices,
    }
    rows = len(moments["slice_end"])
    names = REGISTRY if wanted is None else tuple(wanted)
    found = {}
    for name in _needed(names):
        known[name] = found[name] = _FORMULAS[name](known) if name in _FORMULAS else _given(name, moments, rows)
    return {name: found[name] for name in names}


def gap(until_ms: NDArray[np.int64], since_ms: NDArray[np.int64], known: NDArray[np.int64]) -> Column:
    """Seconds from one moment to another; 0 where the first is not known (0), or what it is about is not there.

    >>> gap(np.array([9_000, 9_000, 9_000]), np.array([2_000, 0, 2_000]), np.array([1, 1, 0])).tolist()
    [7.0, 0.0, 0.0]
    """
    return np.where((since_ms > 0) & (known > 0), until_ms - since_ms, 0) / 1000.0


def seconds(ms: NDArray[np.int64]) -> Column:
    """Seconds; -1 for what is missing.

    >>> seconds(np.array([1500, -1])).tolist()
    [1.5, -1.0]
    """
    return np.where(ms < 0, -1000, ms) / 1000.0


def later(one_ms: NDArray[np.int64], other_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """1 where the first happened, and the second has not since; 0 is never.

    >>> later(np.array([5, 0, 5]), np.array([0, 0, 7])).tolist()
    [1, 0, 0]
    """
    return (one_ms > other_ms).astype(np.int64)


def own_mean(
    slices: NDArray[np.int64],
    total: NDArray[np.int64],
    points: NDArray[np.int64],
    events: NDArray[np.int64],
    needed: int,
) -> Column:
    """Mean engagement of the user's earlier slices, points; 0 until there are `needed` of them.

    From running sums of integers, so exact in any order; the current slice is taken out, for it is what is judged.

    >>> own_mean(*(np.array([each]) for each in (4, 9000, 4000, 1)), 3).round(4).tolist()
    [1.6667]
    """
    n, known = _earlier(slices, events, needed)
    return np.where(known, (total - points) / 1000.0 / n, 0.0)


def own_spread(  # noqa: PLR0917 - a formula takes the columns it is made of
    slices: NDArray[np.int64],
    total: NDArray[np.int64],
    squares: NDArray[np.int64],
    points: NDArray[np.int64],
    events: NDArray[np.int64],
    needed: int,
) -> Column:
    """Sample standard deviation of the same, points.

    >>> own_spread(*(np.array([each]) for each in (4, 9000, 27_000_000, 4000, 1)), 3).round(4).tolist()
    [1.1547]
    """
    n, known = _earlier(slices, events, needed)
    mean = (total - points) / 1000.0
    square = (squares - points * points) / 1e6
    variance = (square - mean * mean / n) / (n - 1.0)
    # Where all slices are alike, rounding leaves a hair of variance, and a z-score of millions.
    variance = np.where(known & (variance > 1e-12 * square / n), variance, 0.0)
    spread: Column = np.sqrt(variance)
    return spread


def zscore(engagement: Column, baseline: Column, spread: Column, events: NDArray[np.int64]) -> Column:
    """How many of their own standard deviations a user is from their own mean; 0 where the spread is unknown.

    >>> zscore(np.array([4.0, 4.0]), np.array([2.0, 2.0]), np.array([0.5, 0.0]), np.array([1, 1])).tolist()
    [4.0, 0.0]
    """
    known = (spread > 0) & (events > 0)
    return np.where(known, (engagement - baseline) / np.where(known, spread, 1.0), 0.0)


def quantile_of_classes(counts: NDArray[np.int64], q: float) -> Column:
    """Read a quantile off counts in equal classes of 0 to 1, as though each class's values lay evenly in it.

    The grouped quantile, lower bound + width * (q n - below) / in class; 0 where nothing was counted.

    Args:
        counts: (n, classes).
        q: 0 to 1.

    >>> quantile_of_classes(np.array([[0, 2, 2, 0], [0, 0, 0, 0]]), 0.5).tolist()
    [0.5, 0.0]
    """
    reached = counts.cumsum(axis=1)
    wanted = q * reached[:, -1]
    place = (reached < wanted[:, np.newaxis]).sum(axis=1)
    place = np.minimum(place, counts.shape[1] - 1)
    rows = np.arange(len(counts))
    inside = counts[rows, place]
    share = np.where(inside > 0, (wanted - (reached[rows, place] - inside)) / np.maximum(inside, 1), 0.0)
    return np.where(reached[:, -1] > 0, (place + share) / counts.shape[1], 0.0)


def reedits(edits: NDArray[np.int64], fields: NDArray[np.int64]) -> Column:
    """Estimate how many edits were of fields that had been edited before.

    All edits, less the number of fields. That is estimated by linear counting (Whang, Vander-Zanden and Taylor, ACM
    TODS 15, 1990, section 2): of m groups into which fields fall by a hash, a share V stays empty; the fields are about
    -m ln V. Where no group is empty, V is taken for half a group.

    Args:
        edits: (n,).
        fields: edits by group, (n, groups).

    >>> one_field = [[5] + [0] * 11]
    >>> reedits(np.array([5]), np.array(one_field)).round(2).tolist()
    [3.96]
    """
    groups = fields.shape[1]
    empty = np.maximum((fields == 0).sum(axis=1), 0.5) / groups
    again: Column = np.maximum(edits + groups * np.log(empty), 0.0)
    return again


def _earlier(slices: NDArray[np.int64], events: NDArray[np.int64], needed: int) -> tuple[Column, NDArray[np.bool_]]:
    """Count the slices before this one, and say where they are enough; where not, as though there were two."""
    n = (slices - (events > 0)).astype(np.float64)
    known = n >= max(needed, 2)
    return np.where(known, n, 2.0), known


FUNCTIONS: Final[Mapping[str, Callable[..., NDArray[Any]]]] = {
    "at_least": np.maximum,
    "at_most": np.minimum,
    "chart": chart,
    "divergence": divergence,
    "evenness": evenness,
    "faded_rate": faded_rate,
    "foremost": foremost,
    "gap": gap,
    "later": later,
    "own_mean": own_mean,
    "own_spread": own_spread,
    "quantile_of_classes": quantile_of_classes,
    "reedits": reedits,
    "returned_by": returned_by,
    "seconds": seconds,
    "silence": silence,
    "unusual": unusual,
    "zscore": zscore,
}
"""What formulas may call."""

_HORIZONS: Final = ("fast", "mid", "slow", "expected_gap", "baseline_slices", "min_slices")
_COLUMNS: Final = frozenset(MOMENT) - frozenset(TEXTS)


def _formulas() -> dict[str, Expression]:
    numbers = {*_COLUMNS, *_HORIZONS}
    found = {}
    for name, entry in REGISTRY.items():
        if name not in GIVEN:
            found[name] = compiled(entry.of or name, numbers=numbers, functions=FUNCTIONS)
        numbers.add(name)
    return found


_FORMULAS: Final = _formulas()


def _needed(names: Iterable[str]) -> list[str]:
    """Order signals, and those that they are made of, as the registry has them."""
    needed, asked = set[str](), list(names)
    while asked:
        name = asked.pop()
        if name not in needed:
            needed.add(name)
            if name in _FORMULAS:
                asked += [each for each in _FORMULAS[name].names if each in REGISTRY and each != name]
    return [name for name in REGISTRY if name in needed]


def _given(name: str, moments: Columns, rows: int) -> NDArray[Any]:
    return hours(moments["context"].tolist()) if name == "hour" else np.zeros(rows)
