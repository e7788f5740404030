"""Which outcomes teach most: those of which the model or policy that decided was least sure.

Uncertainty sampling: what is worth asking about, to label it by hand or to learn from it first, is what the present
model knows least of (Settles, "Active Learning Literature Survey", University of Wisconsin, Computer Sciences Technical
Report 1648, 2009, section 3.1).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.special import entr

from schemas.decisions import SlotCard, Trace, Why
from udfs.draw import ticket

LEAST: Final = 0.05
"""Uncertainty that every outcome has at least in the draw: what is never drawn, no weight makes up for."""

_SCORED: Final = frozenset({Why.SCORE, Why.RULE})


def uncertainty(card: SlotCard, trace: Trace) -> float:
    """Say how unsure the choice of a slot was, by its entropy: from 0, not at all, to 1, as unsure as can be.

    Of arms it is the entropy of the distribution that was drawn from, over that of an even one. Of a list it is the
    mean entropy, in bits, of whether each item earns something; a model that only orders gives no chances, so it is 0.
    Both are 0 where nothing was drawn or scored: holdouts, controls, guards, robots.

    Args:
        card: what was chosen. Where no model was in force, a list that a rule has bent is scored by the prefilter,
            which neither card nor trace say: see `ver.model` of the record.
        trace: what led to it.

    >>> from schemas.decisions import Draw
    >>> card = SlotCard("7Qm2.hero", "variant", 0.25, Why.LEARNED, 0, arm="plain")
    >>> drawn = [Draw("", 0.1, ["plain", "story"], p) for p in ([0.5, 0.5], [0.25, 0.75], [0.0, 1.0])]
    >>> [round(uncertainty(card, Trace(draw=each)), 4) for each in drawn]
    [1.0, 0.8113, 0.0]
    """
    if trace.draw:
        return evenness(trace.draw.p)
    scores = given(card, trace)
    if not scores or not all(0.0 < score < 1.0 for score in scores):
        return 0.0
    chances = np.array(scores)
    return float((entr(chances) + entr(1.0 - chances)).mean() / np.log(2.0))


def evenness(p: Sequence[float]) -> float:
    """Give the entropy of a distribution over that of an even one of as many options; 0 for one option.

    Shannon, "A Mathematical Theory of Communication", 1948, section 6.

    >>> evenness([1.0]), round(evenness([0.5, 0.5, 0.0, 0.0]), 4)
    (0.0, 0.5)
    """
    if len(p) < 2:  # noqa: PLR2004 - one option leaves nothing open
        return 0.0
    return float(min(1.0, entr(np.array(p)).sum() / np.log(len(p))))


def given(card: SlotCard, trace: Trace) -> Sequence[float]:
    """Give the scores of a list's items as a model gave them; none where the card says that none was asked."""
    if card.reason not in _SCORED or any(guard.name == "stale" and guard.held for guard in trace.guards or ()):
        return ()
    return trace.scores or ()


def chance(uncertainty: float, share: float, mean: float = 1.0) -> float:
    """Say how likely an outcome is to be drawn into a sample in which the uncertain ones stand more often.

    Poisson sampling with chances in proportion to size (Särndal, Swensson and Wretman, "Model Assisted Survey
    Sampling", 1992, section 3.5). Over the sample, the sum of values each divided by its chance is, on average, the sum
    over all outcomes (Horvitz and Thompson, JASA 47, 1952): so a model may learn from the sample, with these weights,
    what it would have learned from all.

    Args:
        uncertainty: 0 to 1; what is less than `LEAST` counts as that.
        share: of the outcomes, 0 to 1.
        mean: of all outcomes' uncertainty, above 0, with which `share` of them are drawn. Without it, that share of
            the wholly uncertain ones is, and fewer of the others.

    >>> [round(chance(each, 0.2), 3) for each in (0.0, 0.5, 1.0)], round(chance(0.5, 0.2, mean=0.25), 3)
    ([0.01, 0.1, 0.2], 0.4)
    """
    return min(1.0, share * max(uncertainty, LEAST) / mean)


def asked(name: str, uncertainty: float, share: float, seed: str, mean: float = 1.0) -> bool:
    """Draw whether an outcome is one of the sample, each by itself: in every replay the same, and with any seed others.

    Args:
        name: id of the outcome.
        uncertainty: see `chance`.
        share: see `chance`.
        seed: of the draw.
        mean: see `chance`.

    >>> [asked(f"7Qm2k9wZ4tA{number}.hero", 1.0, 0.5, "trimtab-1") for number in range(6)]
    [True, True, True, False, True, True]
    """
    return ticket(f"{seed}|uncertain|{name}") < chance(uncertainty, share, mean)
