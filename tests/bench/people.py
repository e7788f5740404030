"""Made-up people at the end of a slice, as a decision meets them: some lively, some leaving, many with a rule."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from schemas.norms import STRENGTHS
from schemas.rules import MAX_WATCHED
from schemas.segments import MAX_RULES
from schemas.slices import LENGTHS, MOMENT, TEXTS

END: Final = 1_767_261_600_000

_CONTEXTS: Final = (
    *("desktop|fast|en|GB|ENG|10", "mobile|medium|de|DE|BY|11", "mobile|slow|fr|FR|IDF|11"),
    *("mobile||es|ES|MD|11", "tablet|fast|pt|BR|SP|7", "|||||"),
)
_CLICKED: Final = 0.6
"""Share of the people who have clicked something."""
_LONG_AGO: Final = 12 * 3_600_000
_KINDS: Final = {"view": 0.4, "click": 0.2, "scroll": 0.4, "hover": 0.3, "dwell": 0.4, "cart": 0.02, "exposure": 0.2}
"""Mean number of events of a kind in a slice."""


def people(count: int, items: Sequence[str], rng: Generator) -> dict[str, NDArray[Any]]:
    """Make up some people.

    Args:
        count: how many.
        items: ids of the catalogue.
        rng: of all that is random.

    Returns:
        The columns of `schemas.slices.Moment`.
    """
    found: dict[str, Any] = {name: np.zeros(count, dtype=np.int64) for name in MOMENT if name not in TEXTS}
    found |= {name: np.zeros((count, length), dtype=np.int64) for name, length in LENGTHS.items()}
    found |= {f"n_{kind}": rng.poisson(mean, count) for kind, mean in _KINDS.items()}
    found |= dict.fromkeys(("farewell", "robot", "unlearned", "unmeasured"), np.zeros(count, dtype=np.bool_))
    numbers = rng.integers(0, 2**62, count).tolist()
    clicked = np.array([*items, ""], dtype=np.object_)
    at = np.where(rng.random(count) < _CLICKED, (rng.random(count) ** 2 * len(items)).astype(np.int64), len(items))
    slices = 1 + rng.geometric(0.08, count)
    events = np.maximum(sum(found[f"n_{kind}"] for kind in _KINDS), 1)
    points = 1000 * found["n_view"] + 3000 * found["n_click"] + rng.integers(0, 1500, count)
    began = END - 1000 * slices - rng.integers(1000, 120_000, count)
    life_slices = slices + rng.geometric(0.03, count)
    found |= {
        "user_id": np.array([f"k1:{number:024x}" for number in numbers], dtype=np.object_),
        "clicked": clicked[at],
        "context": np.array(_CONTEXTS, dtype=np.object_)[rng.integers(0, len(_CONTEXTS), count)],
        "account": np.full(count, "", dtype=np.object_),
        "asked": np.full(count, "", dtype=np.object_),
        "met": np.array([f"+{item}" if item else "" for item in clicked[at].tolist()], dtype=np.object_),
        "events": events,
        "dwell_ms": found["n_dwell"] * rng.integers(500, 6000, count),
        "scroll_permille": np.where(found["n_scroll"] > 0, rng.integers(1, 1000, count), 0),
        "slice_end": np.full(count, END),
        "first_ms": END - 900 + rng.integers(0, 300, count),
        "last_ms": END - 500 + rng.integers(0, 300, count),
        "points": points,
        "prev_ms": END - 1000 * rng.geometric(0.3, count) - rng.integers(0, 900, count),
        "session_start": began,
        "landmark": began // 1000 * 1000,
        "session_slices": slices,
        "session_events": events + 2 * slices,
        "session_dwell_ms": slices * rng.integers(200, 3000, count),
        "session_clicks": rng.binomial(slices, 0.3),
        "session_views": 1 + rng.binomial(slices, 0.4),
        "session_searches": rng.binomial(slices, 0.02),
        "session_hovers": rng.binomial(slices, 0.2),
        "session_rages": rng.binomial(slices, 0.005),
        "session_errors": rng.binomial(slices, 0.01),
        "born": began - rng.integers(0, _LONG_AGO, count),
        "sessions": rng.geometric(0.5, count),
        "life_slices": life_slices,
        "life_points": life_slices * 1100,
        "life_squares": life_slices * 1100 * 2400,
        "carts": rng.binomial(2, 0.05, count),
        "response_ms": np.where(found["n_click"] > 0, rng.integers(300, 5000, count), -1),
    }
    found["click_ms"] = np.where(found["clicked"] != "", found["last_ms"], 0)
    found["cart_ms"] = np.where(found["carts"] > 0, END - rng.integers(1, 200_000, count), 0)
    for name, scale in (("fading_fast", 4.0), ("fading_mid", 12.0), ("fading_slow", 40.0), ("fading_slices", 8.0)):
        found[name] = rng.exponential(scale, count) * np.exp(rng.random(count))
    found |= {name: rng.random(count) for name in ("fading_squares", "fading_trouble")}
    return found | _remembered(slices, points, rng)


def _remembered(slices: NDArray[np.int64], points: NDArray[np.int64], rng: Generator) -> dict[str, NDArray[np.int64]]:
    """Make up what lists of numbers say: classes of slices, exposures, when segments were spoken for and against."""
    count = len(slices)
    shape, at = (count, LENGTHS["shown"]), (count, MAX_RULES)
    shown = rng.poisson(0.2, shape)
    tallies = rng.multinomial(slices - 1, [1 / LENGTHS["tallies"]] * LENGTHS["tallies"])
    tallies[np.arange(count), np.searchsorted(STRENGTHS, points)] += 1
    # Of seven segments, each person is in about one.
    entered = np.where(rng.random(at) < 0.15, END - rng.integers(0, 60_000, at), 0)
    return {
        "tallies": tallies,
        "depths": rng.multinomial(slices // 2, [1 / LENGTHS["depths"]] * LENGTHS["depths"]),
        "session_fields": rng.poisson(0.01, (count, LENGTHS["session_fields"])),
        "shown": shown,
        "shown_day": shown + rng.poisson(0.5, shape),
        "shown_life": shown + rng.poisson(3.0, shape),
        "shown_ms": np.where(shown > 0, END - rng.integers(1, 1_200_000, shape), 0),
        "entered": entered,
        "left": np.where(rng.random(at) < 0.8, END - rng.integers(0, 1_200_000, at), 0),
        "unheld": np.zeros((count, MAX_WATCHED), dtype=np.int64),
    }
