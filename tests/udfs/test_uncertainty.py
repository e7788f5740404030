"""How unsure a choice was, and a sample of the unsure ones that still stands for all."""

import math

import numpy as np
import pytest

from schemas.decisions import Draw, Guard, SlotCard, Trace, Why
from udfs.learning.uncertainty import LEAST, asked, chance, uncertainty

NAMES = [f"m{number}.hero" for number in range(20_000)]


def listed(*scores: float, reason: Why = Why.SCORE, guards: list[Guard] | None = None) -> float:
    card = SlotCard("m.home_feed", "rerank", 1.0, reason, 0, items=[f"a{place}" for place in range(len(scores))])
    return uncertainty(card, Trace(candidates=20, scores=list(scores), guards=guards))


def drawn(*p: float) -> float:
    names = [f"arm{place}" for place in range(len(p))]
    card = SlotCard("m.hero", "variant", p[0], Why.LEARNED, 0, arm=names[0])
    return uncertainty(card, Trace(draw=Draw("", 0.0, names, list(p))))


def test_of_arms_it_is_the_entropy_of_the_draw_over_that_of_an_even_one() -> None:
    # 0.7 ln 0.7 + 0.2 ln 0.2 + 0.1 ln 0.1 = -0.80182; ln 3 = 1.09861.
    assert drawn(0.7, 0.2, 0.1) == pytest.approx(0.80182 / 1.09861, abs=1e-5)
    assert drawn(0.25, 0.25, 0.25, 0.25) == 1.0
    assert drawn(1.0, 0.0, 0.0) == 0.0
    assert drawn(1.0) == 0.0


def test_of_a_list_it_is_the_mean_entropy_of_whether_each_item_earns_something_in_bits() -> None:
    # H(0.1) = 0.46900, H(0.5) = 1 bit.
    assert listed(0.5, 0.1) == pytest.approx((1.0 + 0.46900) / 2, abs=1e-5)
    assert listed(0.5, 0.5) == 1.0
    assert listed(0.02) < listed(0.2) < listed(0.4) == pytest.approx(listed(0.6))


def test_scores_that_are_no_chances_say_nothing() -> None:
    assert listed(0.4, 1.7) == listed(0.4, -0.1) == listed(0.0, 0.5) == listed(1.0) == listed() == 0.0


def test_only_a_models_scores_count() -> None:
    assert listed(0.3, reason=Why.RULE) == listed(0.3) > 0.8
    assert listed(0.3, reason=Why.POPULAR) == 0.0
    stale = [Guard("stale", 9_000, 5_000, held=True)]
    assert listed(0.3, reason=Why.RULE, guards=stale) == 0.0
    assert listed(0.3, reason=Why.RULE, guards=[Guard("stale", 4_000, 5_000, held=False)]) == listed(0.3)


def test_where_nothing_was_drawn_or_scored_it_is_0() -> None:
    assert uncertainty(SlotCard("m.hero", "variant", 1.0, Why.HOLDOUT, 0, arm="plain"), Trace()) == 0.0
    assert uncertainty(SlotCard("m.page", "params", 1.0, Why.USUAL, 0, params={"motion": True}), Trace()) == 0.0


def test_outcomes_are_drawn_as_often_as_their_chance_says() -> None:
    for unsure, share, expected in ((1.0, 0.3, 0.3), (0.5, 0.3, 0.15), (0.0, 0.3, 0.015)):
        kept = np.mean([asked(name, unsure, share, "trimtab-1") for name in NAMES])
        assert chance(unsure, share) == pytest.approx(expected)
        assert abs(kept - expected) < 4 * math.sqrt(expected * (1 - expected) / len(NAMES))


def test_with_the_mean_uncertainty_the_share_is_what_is_kept() -> None:
    unsure = np.random.default_rng(5).beta(2.0, 5.0, len(NAMES))
    mean = float(np.maximum(unsure, LEAST).mean())
    kept = [asked(name, each, 0.2, "s", mean) for name, each in zip(NAMES, unsure.tolist(), strict=True)]
    assert np.mean(kept) == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / len(NAMES)))
    assert unsure[kept].mean() > 1.3 * unsure.mean()


def test_the_sample_reweighed_by_its_chances_stands_for_all() -> None:
    rng = np.random.default_rng(7)
    unsure = rng.beta(1.0, 4.0, len(NAMES))
    rewards = (rng.random(len(NAMES)) < 0.1 + 0.5 * unsure).astype(np.float64)
    chances = np.array([chance(each, 0.3) for each in unsure.tolist()])
    sums, plain = [], []
    for seed in range(20):
        kept = np.array([asked(name, each, 0.3, f"{seed}") for name, each in zip(NAMES, unsure.tolist(), strict=True)])
        sums.append((rewards[kept] / chances[kept]).sum())
        plain.append(rewards[kept].mean())
    # Of a Poisson sample the variance is known: the sum of value^2 (1 - chance) / chance.
    error = math.sqrt((rewards**2 * (1 - chances) / chances).sum() / len(sums))
    assert abs(np.mean(sums) - rewards.sum()) < 3 * error
    assert error < 0.02 * rewards.sum()
    assert np.mean(plain) > 1.2 * rewards.mean()


def test_a_draw_is_the_same_in_every_replay_and_another_with_another_seed() -> None:
    first, again, other = (
        [asked(name, 0.8, 0.5, seed) for name in NAMES[:200]] for seed in ("trimtab-1", "trimtab-1", "trimtab-2")
    )
    assert first == again != other
