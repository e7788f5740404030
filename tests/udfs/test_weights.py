"""How likely a place is looked at is found from the lists alone, and what few look at counts for more."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import Generator, default_rng

from schemas.settings import Train
from schemas.signals import FEATURES
from tests.claims.claim import settings
from udfs.smooth import Column
from udfs.training.examples import Examples
from udfs.training.weights import looked_at, of_draws, of_places, place_chances, strata

LENGTH = 8
TRUTH = (1.0 + np.arange(LENGTH)) ** -0.8
"""How likely places are looked at, in the simulations: 1, 0.57, 0.42 ... 0.19."""


def lists(rng: Generator, count: int, *, noise: float, drawn: tuple[int, ...] = (), rate: float = -3.0) -> Examples:
    """Simulate lists: of 20 items the best by a score that knows relevance but for some noise, some places by lot."""
    relevance = rate + 1.5 * rng.normal(size=(count, 20)) + rng.normal(size=(count, 1))
    scores = relevance + noise * rng.normal(size=relevance.shape)
    order = np.argsort(-scores, axis=1)
    p = np.ones((count, LENGTH))
    for place in drawn:
        chosen = (place + rng.integers(20 - place, size=count)).tolist()
        for row, at in zip(order, chosen, strict=True):
            row[place : at + 1] = np.roll(row[place : at + 1], 1)
        p[:, place] = 1 / (20 - place)
    shown = order[:, :LENGTH]
    wanted = rng.random(shown.shape) < 1 / (1 + np.exp(-np.take_along_axis(relevance, shown, axis=1)))
    earned = wanted & (rng.random(shown.shape) < TRUTH)
    return laid(earned.astype(float), np.take_along_axis(scores, shown, axis=1), p)


def laid(gains: Column, scores: Column, p: Column, slot: str = "feed", by: str = "m1 c1") -> Examples:
    count, length = gains.shape
    number = np.arange(count)
    texts = number.astype(str).astype(object)
    return Examples(
        ids=texts,
        users=texts,
        at=number,
        due=number,
        slots=np.full(count, slot, dtype=object),
        segments=np.full(count, "", dtype=object),
        by=np.full(count, by, dtype=object),
        sizes=np.full(count, length),
        features=np.zeros((count * length, len(FEATURES))),
        gains=gains.ravel(),
        places=np.tile(np.arange(length), count),
        p=p.ravel(),
        scores=scores.ravel(),
    )


def conf(**changed: object) -> Train:
    return settings(*(f"train.{name}={value}" for name, value in changed.items())).train


@pytest.mark.parametrize(
    ("noise", "drawn", "rate"),
    [(0.0, (), -3.0), (0.5, (), -3.0), (2.0, (), -3.0), (0.5, (3, 7), -3.0), (0.5, (), -5.0)],
    ids=["the score knows all", "nearly all", "little", "some places drawn", "rewards are rare"],
)
def test_the_chance_that_a_place_is_looked_at_is_found(noise: float, drawn: tuple[int, ...], rate: float) -> None:
    taught = lists(default_rng(1), 20_000, noise=noise, drawn=drawn, rate=rate)
    found = looked_at(taught)["feed"]
    assert np.abs(found - TRUTH).max() < 0.06
    # Counting rewards by place would take for the place what the order earned.
    clicks = np.bincount(taught.places, taught.gains)
    assert np.abs(clicks / clicks[0] - TRUTH).max() > 0.09


def test_where_all_places_are_looked_at_alike_the_best_first_is_no_bias() -> None:
    rng = default_rng(2)
    relevance = -np.sort(-rng.normal(-3.0, 1.5, (20_000, LENGTH)), axis=1)
    earned = rng.random(relevance.shape) < 1 / (1 + np.exp(-relevance))
    found = looked_at(laid(earned.astype(float), relevance, np.ones(relevance.shape)))["feed"]
    assert np.abs(found - 1).max() < 0.15


def test_scores_of_two_models_are_not_held_against_each_other() -> None:
    one = lists(default_rng(3), 10_000, noise=0.5)
    other = lists(default_rng(4), 10_000, noise=0.5)
    gains, scores, p = (each.reshape(-1, LENGTH) for each in (other.gains, other.scores * 0.01 + 7, other.p))
    shifted = laid(gains, scores, p, by="m2 c1")
    found = looked_at(Examples.joined([one, replace(shifted, ids=shifted.ids + "x")]))["feed"]
    assert np.abs(found - TRUTH).max() < 0.06


def test_each_slot_has_its_own_places_and_lists_without_scores_tell_nothing() -> None:
    gains = np.tile([[1.0, 0.0], [0.0, 1.0]], (500, 1))
    unscored = laid(gains, np.full(gains.shape, np.nan), np.ones(gains.shape), slot="other")
    bent = laid(gains, np.zeros(gains.shape), np.ones(gains.shape), slot="bent", by="")
    assert {slot: len(each) for slot, each in (looked_at(unscored) | looked_at(bent)).items()} == {
        "other": 0,
        "bent": 0,
    }


def test_a_place_of_which_little_is_known_is_taken_for_the_one_above() -> None:
    places = np.array([0] * 1000 + [1] * 1000 + [2])
    earned = np.arange(2001) % 10 == 0
    earned[1000:2000] = np.arange(1000) % 20 == 0
    found = place_chances(earned, places, np.zeros(2001, dtype=np.intp))
    assert found.round(2).tolist() == [1.0, 0.52, 0.71]
    earned[2000] = False
    assert place_chances(earned, places, np.zeros(2001, dtype=np.intp)).round(2).tolist() == [1.0, 0.52, 0.51]


def test_few_rows_make_few_strata() -> None:
    rng = default_rng(6)
    for rows, count in ((99, 1), (500, 10), (1499, 29), (15_000, 300), (60_000, 300)):
        groups = strata(rng.random(rows), rng.random(rows), np.full(rows, "m1 c1", dtype=object))
        assert set(groups.tolist()) == set(range(count))
        assert np.bincount(groups).min() >= 49


def test_a_reward_counts_by_the_inverse_of_the_chance_and_all_together_as_many_as_they_are() -> None:
    taught = laid(np.array([[1.0, 0.0], [0.0, 0.5], [0.0, 0.0]]), np.zeros((3, 2)), np.ones((3, 2)))
    weights = of_places(taught, {"feed": np.array([1.0, 0.25])}, conf(clip=5.0))
    # 1 and 4, which are to be 2 in all; what earned nothing counts 1.
    assert weights.tolist() == [0.4, 1.0, 1.0, 1.6, 1.0, 1.0]
    clipped = of_places(taught, {"feed": np.array([1.0, 0.25])}, conf(clip=3.0))
    assert clipped.tolist() == [0.5, 1.0, 1.0, 1.5, 1.0, 1.0]
    assert of_places(taught, {"feed": np.array([1.0])}, conf()).tolist() == [1.0] * 6
    assert of_places(taught, {"feed": np.array([1.0, 0.25])}, conf(position_weights="false")).tolist() == [1.0] * 6


def test_with_these_weights_a_mean_is_that_of_a_place_like_most() -> None:
    # The same item at the first place and at one that one in four looks at: it is wanted by 4 in 100.
    rng = default_rng(5)
    gains = (rng.random((200_000, 2)) < np.array([0.04, 0.01])).astype(float)
    taught = laid(gains, np.zeros(gains.shape), np.ones(gains.shape))
    weights = of_places(taught, {"feed": np.array([1.0, 0.25])}, conf())
    first, second = (np.average(taught.gains[place::2], weights=weights[place::2]) for place in (0, 1))
    assert first == pytest.approx(second, rel=0.05)
    assert first == pytest.approx(taught.gains.mean(), rel=0.02)


def test_an_item_that_was_drawn_from_many_stands_for_them() -> None:
    taught = laid(np.zeros((1, 3)), np.zeros((1, 3)), np.array([[1.0, 0.25, 0.05]]))
    assert of_draws(taught, conf(clip=5.0)).tolist() == [1.0, 4.0, 5.0]
    assert of_draws(taught, conf(propensity_weights="false")).tolist() == [1.0, 1.0, 1.0]
