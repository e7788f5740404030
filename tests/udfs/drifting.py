"""Outcomes by whose numbers a test says what has drifted."""

import numpy as np

from schemas.decisions import Draw, SlotCard, Trace, Unfit, Versions, Why
from schemas.outcomes import Outcome
from schemas.signals import Signals

Column = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def outcome(
    user: str, at: int, *, reward: float = 0.0, arm: str = "plain", unfit: tuple[Unfit, ...] = (), **signals: float
) -> Outcome:
    card = SlotCard(f"{user}-{at}.hero", "variant", 0.5, Why.SPLIT, 0, arm=arm)
    told = Signals(**signals)  # type: ignore[arg-type]
    trace = Trace(draw=Draw("", 0.1, ["plain", "story"], [0.5, 0.5]))
    return Outcome(
        *(card.id, f"k0:{user}", 1, "hero", at, at, reward, at, at, card, Versions(), told), trace=trace, unfit=[*unfit]
    )


def listed(user: str, at: int, scores: Column, gains: Column, model: str = "m3") -> Outcome:
    items = [f"a{place}" for place in range(len(scores))]
    card = SlotCard(f"{user}-{at}.home_feed", "rerank", 1.0, Why.SCORE, 0, items=items)
    earned = {item: gain for item, gain in zip(items, gains.tolist(), strict=True) if gain}
    return Outcome(
        *(card.id, f"k0:{user}", 1, "home_feed", at, at, float(gains.max()), at, at, card, Versions(model=model)),
        Signals(),
        trace=Trace(candidates=20, scores=scores.tolist()),
        gains=earned,
    )
