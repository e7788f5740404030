"""How good a model is, by measures that others publish too, with people counted as people."""

import numpy as np
import pytest
from numpy.random import default_rng
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score

from schemas.signals import FEATURES
from udfs.smooth import Column
from udfs.training.examples import Examples
from udfs.training.fitting import by_list, grades, labels
from udfs.training.quality import Bench, auc, averaged, calibration, log_losses, segments


def lists(gains: list[list[float]], users: list[str] | None = None, segment: list[str] | None = None) -> Examples:
    count = len(gains)
    sizes = np.array([len(each) for each in gains])
    rows, number = int(sizes.sum()), np.arange(count)
    return Examples(
        ids=np.array([f"d{each}" for each in number], dtype=object),
        users=np.array(users or [f"u{each}" for each in number], dtype=object),
        at=number,
        due=number,
        slots=np.full(count, "feed", dtype=object),
        segments=np.array(segment or [""] * count, dtype=object),
        by=np.full(count, "", dtype=object),
        sizes=sizes,
        features=np.zeros((rows, len(FEATURES))),
        gains=np.array([gain for each in gains for gain in each]),
        places=np.concatenate([np.arange(size) for size in sizes]),
        p=np.ones(rows),
        scores=np.full(rows, np.nan),
    )


def bench(gains: list[list[float]], weights: Column | None = None, **of_lists: list[str]) -> Bench:
    told = lists(gains, **of_lists)
    counts = np.ones(len(told.gains)) if weights is None else weights
    return Bench(told, counts, labels(told.gains, "binary").astype(float), among=3)


def test_auc_and_log_loss_are_those_of_scikit_learn() -> None:
    rng = default_rng(1)
    scores = rng.random(3000).round(2)
    earned = rng.random(3000) < scores
    weights = rng.uniform(0.5, 4.0, 3000)
    assert auc(scores, earned) == pytest.approx(roc_auc_score(earned, scores), abs=1e-12)
    assert auc(scores, earned, weights) == pytest.approx(
        roc_auc_score(earned, scores, sample_weight=weights), abs=1e-12
    )
    sure = np.clip(scores, 0.01, 0.99)
    mean = np.average(log_losses(sure, earned.astype(float)), weights=weights)
    assert mean == pytest.approx(log_loss(earned, sure, sample_weight=weights), abs=1e-12)


def test_auc_is_unknown_where_nothing_or_all_was_rewarded() -> None:
    assert np.isnan(auc(np.array([0.1, 0.2]), np.array([True, True])))
    assert np.isnan(auc(np.empty(0), np.empty(0, dtype=np.bool_)))


def test_a_certain_loss_is_large_and_finite() -> None:
    assert log_losses(np.array([0.0, 1.0]), np.array([1.0, 1.0])).round(2).tolist() == [27.63, 0.0]


def test_ndcg_is_that_of_scikit_learn_list_by_list() -> None:
    rng = default_rng(2)
    gains = (rng.random((200, 6)) < 0.4).astype(float)
    gains[:, 0] = 1.0
    scores = rng.random((200, 6))
    judged = bench(gains.tolist()).judged(scores.ravel(), chances=False)
    expected = [ndcg_score([one], [other], k=3) for one, other in zip(gains, scores, strict=True)]
    assert judged.ndcg == pytest.approx(expected, abs=1e-12)
    assert judged.losses is None
    assert judged.calibration is None


def test_a_list_of_which_nothing_was_rewarded_counts_for_the_loss_alone() -> None:
    told = bench([[0.0, 0.0], [0.0, 1.0, 0.0]])
    judged = told.judged(np.array([0.5, 0.5, 0.1, 0.3, 0.2]), chances=True)
    assert np.isnan(judged.ndcg).tolist() == [True, False]
    assert told.list_weights.tolist() == [0.0, 1.0]
    assert told.mean_ndcg(judged.ndcg).value == 1.0


def test_equal_scores_do_not_favour_the_order_in_which_items_were_shown() -> None:
    # What is first of four earns: all in one place would be an NDCG@3 of 1, any order alike 0.53.
    told = bench([[1.0, 0.0, 0.0, 0.0]] * 4000)
    judged = told.judged(np.zeros(16_000), chances=False)
    assert told.mean_ndcg(judged.ndcg).value == pytest.approx((1 + 1 / np.log2(3) + 1 / 2) / 4, abs=0.02)


def test_lists_count_as_what_was_rewarded_on_them() -> None:
    weights = np.array([1.0, 4.0, 2.0, 1.0])
    told = bench([[0.0, 1.0], [1.0, 0.0]], weights)
    judged = told.judged(np.array([0.1, 0.9, 0.1, 0.9]), chances=False)
    assert by_list(weights, told.lists.earned, told.lists.sizes).tolist() == [4.0, 2.0]
    # The first list is in the best order, the second in the worst.
    assert told.mean_ndcg(judged.ndcg).value == pytest.approx((4 * 1 + 2 / np.log2(3)) / 6)


def test_rewards_become_grades_whose_gain_is_in_proportion() -> None:
    found = grades(np.array([0.0, 1 / 15, 3 / 15, 7 / 15, 1.0]))
    assert (2.0**found - 1).tolist() == [0.0, 1.0, 3.0, 7.0, 15.0]
    assert labels(np.array([0.0, 0.3]), "cross_entropy").tolist() == [0.0, 0.3]


def test_calibration_says_in_ten_parts_what_was_promised_and_what_came() -> None:
    rng = default_rng(3)
    chances = rng.uniform(0.0, 0.2, 100_000)
    true = (rng.random(100_000) < chances).astype(float)
    found = calibration(chances, true, np.ones(100_000))
    assert found.promised.round(2).tolist() == [0.01, 0.03, 0.05, 0.07, 0.09, 0.11, 0.13, 0.15, 0.17, 0.19]
    assert found.weight.tolist() == pytest.approx([0.1] * 10)
    assert found.error < 0.004
    assert found.excess < 0.002
    assert calibration(2 * chances, true, np.ones(100_000)).error == pytest.approx(0.1, abs=0.005)


def test_two_people_who_do_the_same_ten_times_are_two_not_twenty() -> None:
    values = np.repeat([1.0, 0.0], 10)
    alike = averaged(values, np.ones(20), np.repeat(np.array(["a", "b"], dtype=object), 10))
    alone = averaged(values, np.ones(20), np.arange(20).astype(str).astype(object))
    assert (alike.value, alone.value) == (0.5, 0.5)
    assert (round(alike.error, 3), round(alone.error, 3)) == (0.5, 0.115)


def test_a_segments_lists_are_judged_by_themselves() -> None:
    told = bench([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], segment=["reader", "", "reader"])
    judged = told.judged(np.array([0.9, 0.1] * 3), chances=True)
    assert [(name, some.tolist()) for name, some in segments(told.lists)] == [
        ("reader", [True, False, True]),
        ("", [False, True, False]),
    ]
    values = [told.mean_ndcg(judged.ndcg, some).value for _, some in segments(told.lists)]
    assert values == pytest.approx([(1 + 1 / np.log2(3)) / 2, 1 / np.log2(3)])
    assert judged.losses is not None
    losses = [told.mean_loss(judged.losses, some).value for _, some in segments(told.lists)]
    assert losses == pytest.approx([(-np.log(0.9) - np.log(0.1)) / 2, -np.log(0.1)])
