"""How engaged a user is, how that changes, and how unusual it is for them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.settings import Noise, SignalSettings
from schemas.slices import TALLIES
from udfs.noise import unusual
from udfs.smooth import Column, faded_rate

COUNTS = (
    "events",
    "n_view",
    "n_click",
    "n_scroll",
    "n_hover",
    "n_dwell",
    "n_search",
    "n_cart",
    "n_purchase",
    "n_rate",
    "n_form",
    "n_rage",
    "n_error",
    "n_exposure",
)


def signals(moments: Mapping[str, NDArray[Any]], conf: SignalSettings, noise: Noise) -> dict[str, NDArray[Any]]:
    """Compute every signal of `schemas.signals.Signals` from the columns of `schemas.slices.Moment`.

    Args:
        moments: one array of shape (n,) per column.
        conf: horizons and weights.
        noise: from how many slices on a session has a median.

    Returns:
        One array of shape (n,) per signal, in the units that `Signals` states.
    """
    engagement = moments["points"] / 1000.0
    age_ms = (moments["slice_end"] - moments["landmark"]).astype(np.float64)
    fast = faded_rate(moments["fading_fast"], age_ms, conf.fast)
    mid = faded_rate(moments["fading_mid"], age_ms, conf.mid)
    slow = faded_rate(moments["fading_slow"], age_ms, conf.slow)
    baseline, spread = own_baseline(moments, conf.baseline_slices)
    return {name: moments[name] for name in COUNTS} | {
        "dwell_s": moments["dwell_ms"] / 1000.0,
        "scroll": moments["scroll_permille"] / 1000.0,
        "engagement": engagement,
        "rate_fast": fast,
        "rate_mid": mid,
        "rate_slow": slow,
        "velocity": velocity(fast, slow),
        "acceleration": acceleration(fast, mid, slow),
        "gap_s": np.where(moments["prev_ms"] > 0, moments["first_ms"] - moments["prev_ms"], 0) / 1000.0,
        "session_age_s": (moments["slice_end"] - moments["session_start"]) / 1000.0,
        "session_depth": moments["session_slices"],
        "session_events": moments["session_events"],
        "session_clicks": moments["session_clicks"],
        "session_dwell_s": moments["session_dwell_ms"] / 1000.0,
        "baseline": baseline,
        "spread": spread,
        "zscore": zscore(engagement, baseline, spread),
        "unusual": unusual(moments["points"], np.column_stack([moments[name] for name in TALLIES]), noise),
    }


def velocity(fast: Column, slow: Column) -> Column:
    """How much livelier the user is now than in the session so far, points/s.

    The difference of a fast and a slow average (MACD; Appel, "The Moving Average Convergence-Divergence Trading
    Method", 1979): linear in the engagement, so neither a zero nor a negative rate upsets it.

    >>> velocity(np.array([3.0]), np.array([1.0])).tolist()
    [2.0]
    """
    return fast - slow


def acceleration(fast: Column, mid: Column, slow: Column) -> Column:
    """Whether the warming up itself gathers pace, points/s: the velocity of now less that of a while ago.

    >>> acceleration(np.array([4.0]), np.array([2.0]), np.array([1.0])).tolist()
    [1.0]
    """
    return (fast - mid) - (mid - slow)


def own_baseline(moments: Mapping[str, NDArray[Any]], needed: int) -> tuple[Column, Column]:
    """Mean and standard deviation of the engagement of the user's earlier slices, points.

    From running sums of integers, so exact in any order; the current slice is taken out, for it is what is judged.
    Both are 0 until the user has `needed` earlier slices.

    >>> sums = {"life_slices": [4], "life_points": [9000], "life_squares": [27_000_000], "points": [4000]}
    >>> mean, spread = own_baseline({name: np.array(column) for name, column in sums.items()}, 3)
    >>> mean.round(4).tolist(), spread.round(4).tolist()
    ([1.6667], [1.1547])
    """
    n = (moments["life_slices"] - 1).astype(np.float64)
    points = (moments["life_points"] - moments["points"]) / 1000.0
    squares = (moments["life_squares"] - moments["points"] * moments["points"]) / 1e6
    known = n >= max(needed, 2)
    safe = np.where(known, n, 2.0)
    mean = np.where(known, points / safe, 0.0)
    variance = (squares - points * points / safe) / (safe - 1.0)
    # Where all slices are alike, rounding leaves a hair of variance, and a z-score of millions.
    variance = np.where(variance > 1e-12 * squares / safe, variance, 0.0)
    return mean, np.where(known, np.sqrt(variance), 0.0)


def zscore(engagement: Column, baseline: Column, spread: Column) -> Column:
    """How many of their own standard deviations a user is from their own mean; 0 where the spread is unknown.

    >>> zscore(np.array([4.0, 4.0]), np.array([2.0, 2.0]), np.array([0.5, 0.0])).tolist()
    [4.0, 0.0]
    """
    known = spread > 0
    return np.where(known, (engagement - baseline) / np.where(known, spread, 1.0), 0.0)
