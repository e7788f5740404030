"""A model passes where it is no worse than the live one, beyond what may be chance, and means what it says."""

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.random import Generator, default_rng

from schemas.settings import Gates
from schemas.signals import FEATURES
from udfs.smooth import Column
from udfs.training.examples import Examples
from udfs.training.gates import Rival, refused, verdicts
from udfs.training.quality import Bench

CONF = Gates(lists=200, ndcg=0.005, log_loss=0.005, noise=1.645, calibration=0.2)


def held_out(rng: Generator, lists: int) -> tuple[Bench, Column]:
    """Lists of eight items, two a person, and how likely each really earned a reward: 9 % on the mean."""
    chance = 1 / (1 + np.exp(3.0 - 1.2 * rng.normal(size=(lists, 8))))
    gains = (rng.random(chance.shape) < chance).astype(float).ravel()
    number = np.arange(lists)
    told = Examples(
        ids=number.astype(str).astype(object),
        users=(number // 2).astype(str).astype(object),
        at=number,
        due=number,
        slots=np.full(lists, "feed", dtype=object),
        segments=np.full(lists, "", dtype=object),
        by=np.full(lists, "", dtype=object),
        sizes=np.full(lists, 8),
        features=np.zeros((8 * lists, len(FEATURES))),
        gains=gains,
        places=np.tile(np.arange(8), lists),
        p=np.ones(8 * lists),
        scores=np.full(8 * lists, np.nan),
    )
    return Bench(told, np.ones(8 * lists), gains, among=10), chance.ravel()


def asked(
    bench: Bench, model: Column, live: Column, conf: Gates = CONF, *, chances: tuple[bool, bool] = (True, True)
) -> list[str]:
    usual = bench.judged(np.full(len(live), bench.wanted.mean()), chances=True)
    rivals = [Rival("of m3", bench.judged(live, chances=chances[1])), Rival("without a model", usual)]
    return refused(verdicts(bench, bench.judged(model, chances=chances[0]), rivals, conf))


def logit(chance: Column, plus: Column | float) -> Column:
    odds = np.log(chance / (1 - chance)) + plus
    found: Column = 1 / (1 + np.exp(-odds))
    return found


def test_the_live_model_itself_passes() -> None:
    bench, chance = held_out(default_rng(1), 2000)
    assert asked(bench, chance, chance) == []


def test_a_model_that_is_better_passes_and_the_one_it_replaced_would_not_come_back() -> None:
    rng = default_rng(2)
    bench, chance = held_out(rng, 2000)
    vague = logit(chance, 0.8 * rng.normal(size=len(chance)) - 0.25)
    assert asked(bench, chance, vague) == []
    reasons = asked(bench, vague, chance)
    assert [reason.split(":")[0] for reason in reasons][:2] == ["order", "log loss"]
    assert reasons[0].startswith("order: NDCG@10 0.")
    assert ", of m3 0." in reasons[0]
    assert "worse by 0.0" in reasons[0]
    assert reasons[0].endswith("may be chance")
    assert "0.005 is allowed" in reasons[0]


def test_what_differs_by_chance_alone_passes() -> None:
    rng = default_rng(3)
    passed = 0
    for _ in range(40):
        bench, chance = held_out(rng, 600)
        one, other = (logit(chance, 0.4 * rng.normal(size=len(chance))) for _ in range(2))
        passed += not asked(bench, one, other)
    # Two gates, each of which refuses one in twenty that is as good; they mostly agree.
    assert passed >= 34


def test_scores_drawn_at_random_are_refused_by_the_order_of_either_rival() -> None:
    rng = default_rng(4)
    bench, chance = held_out(rng, 1000)
    reasons = asked(bench, rng.permutation(chance), chance)
    assert [reason.split(",")[0].split(":")[0] for reason in reasons] == ["order", "log loss", "calibration"]


def test_a_model_that_promises_twice_what_comes_is_refused_though_its_order_is_the_same() -> None:
    bench, chance = held_out(default_rng(5), 1000)
    reasons = asked(bench, np.minimum(2 * chance, 0.99), chance)
    assert [reason.split(":")[0] for reason in reasons] == ["log loss", "calibration"]
    assert "20.0% more are allowed" in reasons[1]


def test_too_few_lists_tell_nothing() -> None:
    bench, chance = held_out(default_rng(6), 100)
    reason = asked(bench, chance, chance)[0]
    count = int((bench.list_weights > 0).sum())
    assert 30 < count < 100
    assert reason == f"enough: judged by {count} lists with a reward, 200 are needed"


def test_a_difference_too_small_to_matter_passes_however_sure_it_is() -> None:
    bench, chance = held_out(default_rng(7), 6000)
    hair = logit(chance, 0.15)
    assert asked(bench, hair, chance) == []
    assert [each.split(":")[0] for each in asked(bench, hair, chance, replace(CONF, log_loss=0.0))] == ["log loss"]


@pytest.mark.parametrize(("model", "live"), [(False, True), (True, False), (False, False)])
def test_scores_that_are_no_chances_are_held_against_by_their_order(model: bool, live: bool) -> None:
    bench, chance = held_out(default_rng(8), 1000)
    scores = [each if chancy else 10 * each - 3 for each, chancy in ((chance, model), (chance, live))]
    usual = Rival("without a model", bench.judged(np.full(len(chance), bench.wanted.mean()), chances=True))
    rivals = [Rival("of m3", bench.judged(scores[1], chances=live)), usual]
    said = verdicts(bench, bench.judged(scores[0], chances=model), rivals, CONF)
    assert refused(said) == []
    assert [each.gate for each in said] == ["enough", "order", "order", *(["log loss", "calibration"] if model else [])]
    if model:
        # Where the live one gives none, the mean chance stands in.
        assert said[3].said.startswith("log loss 0.")
        assert ", without a model 0." in said[3].said
