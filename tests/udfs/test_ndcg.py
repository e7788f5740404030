"""The grade of an order, worked out by hand: the discounts of the first four places are 1, 0.63093, 0.5 and 0.43068."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from udfs.scoring.ndcg import ndcg


@pytest.mark.parametrize(
    ("in_order", "k", "expected"),
    [
        ([1, 1, 0, 0], 10, 1.0),  # as good as can be
        ([0, 1, 0, 0], 10, 0.63093),  # 0.63093 / 1
        ([0, 1, 1, 0], 10, 0.69343),  # (0.63093 + 0.5) / (1 + 0.63093)
        ([0, 0, 1, 1], 10, 0.57064),  # (0.5 + 0.43068) / (1 + 0.63093)
        ([1, 0, 0, 1], 10, 0.87722),  # (1 + 0.43068) / (1 + 0.63093)
        ([1, 1, 1, 1], 10, 1.0),  # all wanted: no order is bad
    ],
)
def test_a_click_counts_less_the_lower_it_stands(in_order: list[int], k: int, expected: float) -> None:
    assert ndcg(np.array([in_order]), k).round(5).tolist() == [expected]


@pytest.mark.parametrize(
    ("in_order", "expected"),
    [
        ([3, 2, 1, 0], 1.0),
        ([2, 0, 1], 0.96394),  # gains 3, 0, 1: (3 + 1 * 0.5) / (3 + 1 * 0.63093)
        ([1, 2], 0.79671),  # gains 1, 3: (1 + 3 * 0.63093) / (3 + 1 * 0.63093)
    ],
)
def test_a_grade_of_2_gains_3_times_as_much_as_one_of_1(in_order: list[int], expected: float) -> None:
    assert ndcg(np.array([in_order]), 10).round(5).tolist() == [expected]


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1, 0.0),  # 0 / 1
        (2, 0.38685),  # 0.63093 / (1 + 0.63093)
        (3, 0.29608),  # 0.63093 / (1 + 0.63093 + 0.5)
        (4, 0.49819),  # (0.63093 + 0.43068) / (1 + 0.63093 + 0.5)
        (5, 0.67973),  # (0.63093 + 0.43068 + 0.38685) / (1 + 0.63093 + 0.5)
        (6, 0.67973),  # there are but five
    ],
)
def test_what_is_wanted_below_the_first_k_places_counts_only_in_the_best_order(k: int, expected: float) -> None:
    assert ndcg(np.array([[0, 1, 0, 1, 1]]), k).round(5).tolist() == [expected]


def test_a_list_of_which_nothing_was_wanted_has_no_value_and_spoils_no_mean() -> None:
    found = ndcg(np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0]]), 2)
    assert np.isnan(found).tolist() == [True, False, False]
    assert float(np.nanmean(found).round(5)) == 0.81546  # (0.63093 + 1) / 2


def test_truth_values_are_grades_of_0_and_1() -> None:
    clicked = np.array([[False, True, True, False], [True, False, False, False]])
    assert ndcg(clicked, 10).round(5).tolist() == [0.69343, 1.0]


def test_lists_may_lie_in_any_number_of_dimensions() -> None:
    assert ndcg(np.array([0, 1]), 10).round(5).item() == 0.63093
    assert ndcg(np.array([[[0, 1], [1, 0]], [[1, 1], [0, 0]]]), 10).shape == (2, 2)
    assert ndcg(np.empty((0, 24), dtype=np.int64), 10).shape == (0,)


def test_a_list_is_judged_to_the_bit_alike_whatever_lies_beside_it() -> None:
    grades = np.random.default_rng(7).integers(0, 4, (500, 24))
    alone = np.concatenate([ndcg(row[np.newaxis], 10) for row in grades])
    assert (ndcg(grades, 10) == alone).all()
    assert (ndcg(np.asfortranarray(grades), 10) == alone).all()
    assert (ndcg(grades[::-1], 10)[::-1] == alone).all()


@pytest.mark.parametrize("k", [1, 3, 10, 24, 30])
def test_scikit_learn_says_the_same(k: int) -> None:
    grades = np.random.default_rng(7).integers(0, 4, (200, 24))
    places = -np.arange(24.0)[np.newaxis]
    theirs = [ndcg_score(2.0 ** row[np.newaxis] - 1.0, places, k=k) for row in grades]
    assert ndcg(grades, k) == pytest.approx(np.array(theirs), abs=1e-12)
