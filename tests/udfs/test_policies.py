"""Policies: published rules, exact chances, and the same chance for a row whatever stands beside it."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from scipy.special import ndtr

from tests.claims.thompson import BETA, NORMAL, integrated
from udfs.policies import epsilon, leaves, linear, posteriors, ucb
from udfs.policies.floor import floored
from udfs.policies.grid import STEP, rounded
from udfs.policies.shares import evenly, greedily
from udfs.policies.thompson import best_beta, best_normal, placed_beta, placed_normal

Column = NDArray[np.float64]
Policy = Callable[[slice], Column]


def luce(strengths: Column) -> Column:
    """Give the exact chances of places for Beta(strength, 1): the first is drawn by strength, the next of the rest."""
    first = strengths / strengths.sum()
    rest = first[:, np.newaxis] * strengths / (strengths.sum() - strengths)[:, np.newaxis]
    np.fill_diagonal(rest, 0.0)
    return np.array([first, rest.sum(axis=0)])


def arms(rng: Generator, rows: int, k: int) -> tuple[Column, Column]:
    """Make Normals of very different widths, near enough to compete."""
    n = 10.0 ** rng.uniform(0, 6, (rows, k))
    deviation = 0.5 / np.sqrt(n)
    near = rng.choice([0.1, 1.0, 3.0], (rows, 1))
    return 0.3 + rng.normal(size=(rows, k)) * near * deviation, deviation


def coins(rng: Generator, rows: int, k: int) -> tuple[Column, Column]:
    """Make Betas of arms that were played once to a million times and rewarded rarely or often, priors below 1 too."""
    n = np.floor(10.0 ** rng.uniform(0, 6, (rows, k)))
    total = rng.binomial(n.astype(np.int64), 10.0 ** rng.uniform(-4, -0.1, (rows, 1)))
    prior = rng.choice([0.5, 1.0], (2, rows, 1))
    return prior[0] + total, prior[1] + n - total


def lines(rng: Generator, k: int = 4, d: int = 5) -> linear.Lines:
    x = rng.normal(size=(k, 40, d))
    return linear.ready(np.eye(d) + np.einsum("kni,knj->kij", x, x), rng.normal(size=(k, d)) * 3)


# What is known of arms.


def test_a_beta_counts_the_prior_as_plays() -> None:
    alpha, beta = posteriors.beta(np.array([7.5, 0.0]), np.array([2.5, 0.0]), [0.5, 2.0])
    assert (alpha.tolist(), beta.tolist()) == ([3.0, 0.5], [7.0, 2.0])


def test_a_beta_stays_one_where_fading_left_more_reward_than_plays_by_rounding() -> None:
    alpha, beta = posteriors.beta(np.array([0.25]), np.array([0.2500000000000001]), [0.5, 1e-20])
    assert (alpha.item(), beta.item()) == (0.7500000000000001, 1e-20)


def test_a_normal_is_that_of_murphys_formulas() -> None:
    # Of variance 0.25: prior mean 0.4 of variance 0.25 / 5, twenty rewards of mean 0.5.
    mean, deviation = posteriors.normal(np.array([20.0]), np.array([10.0]), np.array([9.75]), [0.4, 5.0])
    assert posteriors.noise(np.array([20.0]), np.array([10.0]), np.array([9.75])).item() == 0.25
    variance = 1 / (1 / (0.25 / 5) + 20 / 0.25)
    assert deviation.item() == pytest.approx(variance**0.5)
    assert mean.item() == pytest.approx(variance * (0.4 / (0.25 / 5) + 10.0 / 0.25))


def test_noise_is_the_variance_within_arms_whatever_their_means() -> None:
    rng = default_rng(1)
    rewards = [rng.normal(mean, 0.1, size) for mean, size in ((0.2, 4000), (0.8, 1000), (0.5, 3000))]
    n, total, squares = (np.array([np.sum(each**power) for each in rewards]) for power in range(3))
    assert posteriors.noise(n, total, squares).item() == pytest.approx(0.01, rel=0.05)


def test_rewards_that_are_all_the_same_leave_some_noise() -> None:
    assert posteriors.noise(np.array([99.0, 0.0]), np.array([99.0, 0.0]), np.array([99.0, 0.0])).tolist() == [0.25 / 99]


@pytest.mark.parametrize("rho", [0.02, 0.1, 0.4])
def test_how_far_segments_lie_apart_is_found_again(rho: float) -> None:
    rng, prior = default_rng(2), (1 - rho) / rho
    n = np.floor(rng.uniform(20, 800, (40, 50)))
    total = 1.0 * rng.binomial(n.astype(np.int64), rng.beta(0.3 * prior, 0.7 * prior, n.shape))
    assert posteriors.apart(n, total) == pytest.approx(rho, rel=0.1)


def test_segments_that_differ_by_chance_alone_do_not_lie_apart() -> None:
    n = np.full((40, 50), 400.0)
    assert posteriors.apart(n, 1.0 * default_rng(3).binomial(n.astype(np.int64), 0.3)) < 0.001


@pytest.mark.parametrize(
    ("n", "total"), [([[0.0], [0.0]], [[0.0], [0.0]]), ([[5.0], [9.0]], [[0.0], [0.0]]), ([[5.0]], [[2.0]])]
)
def test_where_nothing_can_be_told_segments_do_not_lie_apart(n: list[list[float]], total: list[list[float]]) -> None:
    assert posteriors.apart(np.array(n), np.array(total)) == 0.0


def test_a_segment_with_little_data_takes_the_slots_view_and_one_with_much_has_its_own() -> None:
    n = np.array([[100_000.0], [100_000.0], [1.0], [0.0]])
    total = np.array([[10_000.0], [30_000.0], [1.0], [0.0]])
    of_all = n.sum(axis=0), total.sum(axis=0), total.sum(axis=0)
    means = posteriors.means(*posteriors.shrunk((n, total, total), of_all)[:2]).ravel()
    assert means[:2] == pytest.approx([0.1, 0.3], abs=1e-3)
    assert means[2:] == pytest.approx([0.3, 0.2], abs=0.01)  # one play weighs as an eighth does here: nearly the slot's


def test_segments_that_do_not_differ_all_take_the_plays_of_the_slot() -> None:
    n, total = np.array([[300.0], [300.0]]), np.array([[30.0], [30.0]])
    lent = posteriors.shrunk((n, total, total / 2), (np.array([900.0]), np.array([90.0]), np.array([45.0])))
    assert [column.ravel().tolist() for column in lent] == [[900.0, 900.0], [90.0, 90.0], [45.0, 45.0]]


def test_segments_with_nothing_in_common_lend_each_other_nothing() -> None:
    n, total = np.array([[300.0], [300.0]]), np.array([[0.0], [300.0]])
    lent = posteriors.shrunk((n, total, total), (n.sum(axis=0), total.sum(axis=0), total.sum(axis=0)))
    assert [column.ravel().tolist() for column in lent[:2]] == [[300.0, 300.0], [0.0, 300.0]]


# Epsilon-greedy and UCB1.


def test_epsilon_is_shared_by_all_allowed_arms_and_the_rest_by_the_best_of_them() -> None:
    means, allowed = np.array([0.4, 0.2, 0.2, 0.1]), np.array([False, True, True, True])
    assert epsilon.distribution(means, 0.3, allowed).round(12).tolist() == [0.0, 0.45, 0.45, 0.1]
    assert epsilon.distribution(means, 1.0).tolist() == [0.25, 0.25, 0.25, 0.25]
    assert epsilon.distribution(means, 0.0).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_every_arm_is_played_once_before_ucb_compares_them() -> None:
    assert ucb.distribution(np.array([9.0, 0.0, 0.0]), np.array([9.0, 0.0, 0.0])).tolist() == [0.0, 0.5, 0.5]


def test_ucb_is_the_formula_of_auer_and_others() -> None:
    n, total = np.array([[100.0, 10.0, 5.0], [1e6, 1e6, 1e6]]), np.array([[60.0, 5.0, 1.0], [5.0, 7.0, 6.0]])
    hoped = np.sqrt(2 * np.log(115.0) / n[0])
    assert ucb.indices(n, total)[0] == pytest.approx([0.6 + hoped[0], 0.5 + hoped[1], 0.2 + hoped[2]])
    assert ucb.distribution(n, total).tolist() == [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]


def test_a_ucb_arm_that_no_rule_allows_counts_but_is_not_taken() -> None:
    n, total, allowed = np.array([1.0, 50.0, 60.0]), np.array([1.0, 20.0, 30.0]), np.array([False, True, True])
    assert ucb.distribution(n, total, allowed).tolist() == [0.0, 0.0, 1.0]


def test_plays_that_have_faded_below_one_have_an_index() -> None:
    assert ucb.indices(np.array([0.2, 0.1]), np.array([0.1, 0.1])).tolist() == [0.5, 1.0]


# Thompson sampling.


def test_normal_chances_are_those_of_a_precise_integral() -> None:
    rng = default_rng(5)
    for k in (2, 3, 5, 8):
        mean, deviation = arms(rng, 25, k)
        found = best_normal(mean, deviation)
        exact = [[integrated(NORMAL, *row, arm) for arm in range(k)] for row in zip(mean, deviation, strict=True)]
        assert np.abs(found - exact).max() < 5e-6


def test_beta_chances_are_those_of_a_precise_integral() -> None:
    rng = default_rng(6)
    for k in (2, 3, 5, 8):
        alpha, beta = coins(rng, 25, k)
        found = best_beta(alpha, beta)
        exact = [[integrated(BETA, *row, arm) for arm in range(k)] for row in zip(alpha, beta, strict=True)]
        assert np.abs(found - exact).max() < 2e-5


def test_of_two_normals_the_chance_is_the_textbooks() -> None:
    mean, deviation = arms(default_rng(7), 2000, 2)
    exact = ndtr((mean[:, 0] - mean[:, 1]) / np.hypot(*deviation.T))
    assert best_normal(mean, deviation)[:, 0] == pytest.approx(exact, abs=5e-6)


@pytest.mark.parametrize("strengths", [[1.0, 1.0, 1.0], [0.1, 0.5, 2.0, 7.0], [1.0, 1e3, 1e6], [1e6, 2e6, 5e6]])
def test_first_and_second_places_of_powers_are_exact(strengths: list[float]) -> None:
    # The largest of U^(1/s) is at s with chance s / sum: Luce's choice axiom.
    of = np.array(strengths)
    assert placed_beta(of, np.ones(len(of)), 2) == pytest.approx(luce(of), abs=5e-6)


def test_a_narrow_arm_within_a_broad_one_is_not_overlooked() -> None:
    for width in (1e-2, 1e-4, 1e-6):
        found = best_normal(np.array([0.0, 0.3, -8.0]), np.array([1.0, width, 1.0]))
        exact = 1.0 - ndtr(0.3 / np.hypot(1.0, width))
        assert found == pytest.approx([exact, 1.0 - exact, 0.0], abs=1e-6)


def test_values_that_are_known_compare_as_numbers_and_share_where_they_tie() -> None:
    assert best_normal(np.array([0.2, 0.5, 0.5]), np.zeros(3)) == pytest.approx([0.0, 0.5, 0.5], abs=1e-9)
    assert best_normal(np.zeros(3), np.zeros(3)).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert best_normal(np.array([0.0, 1.0]), np.array([1.0, 0.0]))[0] == pytest.approx(1.0 - ndtr(1.0), abs=1e-6)


def test_arms_that_are_alike_have_equal_chances_at_every_place() -> None:
    assert placed_normal(np.full(4, 0.3), np.full(4, 0.1), 4) == pytest.approx(np.full((4, 4), 0.25), abs=1e-6)
    assert placed_beta(np.full(4, 3.0), np.full(4, 90.0), 4) == pytest.approx(np.full((4, 4), 0.25), abs=1e-6)


def test_every_arm_is_somewhere_and_every_place_is_taken() -> None:
    mean, deviation = arms(default_rng(8), 40, 6)
    found = placed_normal(mean, deviation, 6)
    assert found.sum(axis=-1) == pytest.approx(np.ones((40, 6)))
    assert found.sum(axis=-2) == pytest.approx(np.ones((40, 6)), abs=1e-5)
    assert found[:, 5] == pytest.approx(best_normal(-mean, deviation), abs=5e-6)
    assert (found[:, 0] == best_normal(mean, deviation)).all()


def test_places_for_which_no_arm_is_left_are_nobodys() -> None:
    allowed = np.array([True, False, True])
    found = placed_beta(np.ones(3), np.ones(3), 3, allowed)
    assert found == pytest.approx(np.array([[0.5, 0.0, 0.5], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]), abs=1e-6)


def test_arms_that_rules_forbid_leave_the_chances_of_a_slot_without_them() -> None:
    rng = default_rng(9)
    allowed = rng.random((60, 5)) < 0.6
    allowed[:, 0] = True
    for best, (first, second) in ((best_normal, arms(rng, 60, 5)), (best_beta, coins(rng, 60, 5))):
        found = best(first, second, allowed)
        assert (found[~allowed] == 0.0).all()
        for row, rule in enumerate(allowed):
            assert found[row, rule] == pytest.approx(best(first[row, rule], second[row, rule]), abs=1e-6)


def test_a_slot_of_one_arm_has_no_choice() -> None:
    assert best_beta(np.array([3.0]), np.array([4.0])).tolist() == [1.0]
    assert best_normal(np.array([[0.1], [0.2]]), np.ones((2, 1))).tolist() == [[1.0], [1.0]]


def test_axes_before_the_arms_stay_as_they_are() -> None:
    mean, deviation = arms(default_rng(10), 6, 3)
    found = placed_normal(mean.reshape(2, 3, 3), deviation.reshape(2, 3, 3), 2, np.array([True, True, False]))
    assert found.shape == (2, 3, 2, 3)
    assert found[1, 2] == pytest.approx(placed_normal(mean[5], deviation[5], 2, np.array([True, True, False])), abs=0)
    assert best_beta(np.ones((0, 3)), np.ones((0, 3))).shape == (0, 3)


# The same chance for a row whatever stands beside it.


def test_a_row_has_the_same_chances_to_the_bit_alone_and_in_any_bundle() -> None:
    rng = default_rng(12)
    rows, rule = 700, rng.random((700, 4)) < 0.8
    rule[:, 1] = True
    x, known = rng.normal(size=(rows, 5)), lines(rng)
    trees = leaves.ready(rng.uniform(1, 90, (4, 60)), rng.uniform(0, 9, (4, 60)))
    places = leaves.columns(rng.integers(0, 6, (rows, 10)), np.full(10, 6))
    (mean, deviation), (alpha, beta) = arms(rng, rows, 4), coins(rng, rows, 4)
    policies: tuple[Policy, ...] = (
        lambda part: best_normal(mean[part], deviation[part]),
        lambda part: placed_normal(mean[part], deviation[part], 3, rule[part]),
        lambda part: best_beta(alpha[part], beta[part]),
        lambda part: linear.ucb(x[part], known, 1.0, rule[part]),
        lambda part: linear.thompson(x[part], known, 0.5, rule[part]),
        lambda part: leaves.distribution(places[part], trees, 0.5, rule[part]),
        lambda part: rounded(floored(best_normal(mean[part], deviation[part]), 0.01)),
    )
    for policy in policies:
        whole = policy(slice(0, rows))
        for part in (slice(0, 1), slice(3, 10), slice(333, 334), slice(5, 600), slice(699, 700)):
            assert (policy(part) == whole[part]).all()


# Lines and leaves.


def test_lines_are_those_of_li_and_others() -> None:
    rng = default_rng(13)
    x, rewards = rng.normal(size=(3, 50, 4)), rng.normal(size=(3, 50))
    precision = np.array([np.eye(4) + of_arm.T @ of_arm for of_arm in x])
    weighted = np.array([of_arm.T @ gained for of_arm, gained in zip(x, rewards, strict=True)])
    asked = rng.normal(size=(20, 4))
    means, deviations = linear.expected(asked, linear.ready(precision, weighted))
    for arm in range(3):
        inverse = np.linalg.inv(precision[arm])
        assert means[:, arm] == pytest.approx(asked @ inverse @ weighted[arm])
        assert deviations[:, arm] == pytest.approx(np.sqrt([row @ inverse @ row for row in asked]))


def test_linucb_hopes_the_more_the_larger_alpha_is() -> None:
    # Known well and decent, or hardly known: 0.5 + alpha / 10 against 0.1 + alpha.
    known = linear.ready(np.array([[[100.0]], [[1.0]]]), np.array([[50.0], [0.1]]))
    x = np.ones((1, 1))
    assert linear.ucb(x, known, 0.4).tolist() == [[1.0, 0.0]]
    assert linear.ucb(x, known, 0.5).tolist() == [[0.0, 1.0]]
    assert linear.ucb(x, known, 0.5, np.array([True, False])).tolist() == [[1.0, 0.0]]


def test_linear_thompson_is_as_often_the_best_as_weights_that_are_drawn() -> None:
    rng = default_rng(14)
    known, x = lines(rng, k=3, d=4), rng.normal(size=(2, 4))
    weights = np.stack(
        [rng.multivariate_normal(known.weights[arm], 0.25 * known.covariance[arm], 200_000) for arm in range(3)]
    )
    best = np.einsum("ksd,nd->nsk", weights, x).argmax(axis=-1)
    shares = np.array([np.bincount(row, minlength=3) / 200_000 for row in best])
    assert linear.thompson(x, known, 0.5) == pytest.approx(shares, abs=0.005)


def test_a_person_of_whom_nothing_is_known_is_as_likely_to_get_any_arm() -> None:
    known = lines(default_rng(15), k=4)
    assert linear.thompson(np.zeros((1, 5)), known, 0.5) == pytest.approx(np.full((1, 4), 0.25))
    assert linear.ucb(np.zeros((1, 5)), known, 1.0).tolist() == [[0.25, 0.25, 0.25, 0.25]]


def test_trees_that_say_the_same_twice_make_nobody_surer() -> None:
    precision, weighted = np.array([[9.0, 4.0], [2.0, 30.0]]), np.array([[3.0, 2.0], [1.0, 9.0]])
    once = leaves.distribution(np.array([[0], [1]]), leaves.ready(precision, weighted), 0.5)
    both = leaves.ready(np.tile(precision, 2), np.tile(weighted, 2))
    twice = leaves.distribution(leaves.columns(np.array([[0, 0], [1, 1]]), np.array([2, 2])), both, 0.5)
    assert twice == pytest.approx(once)


def test_leaves_answer_with_the_average_over_trees() -> None:
    known = leaves.ready(np.array([[2.0, 4.0, 8.0, 4.0]]), np.array([[1.0, 1.0, 6.0, 4.0]]))
    means, deviations = leaves.expected(leaves.columns(np.array([[1, 0]]), np.array([2, 2])), known)
    assert means.tolist() == [[0.5]]  # of 0.25 and 0.75
    assert deviations == pytest.approx(np.array([[(4.0**-0.5 + 8.0**-0.5) / 2]]))


# Floor, shares and grid.


def test_a_floor_lifts_the_least_and_keeps_the_order() -> None:
    p = default_rng(16).dirichlet(np.full(5, 0.2), 500)
    found = floored(p, 0.03)
    assert found.min() >= 0.03
    assert found.sum(axis=-1) == pytest.approx(np.ones(500))
    assert (found.argsort(axis=-1) == p.argsort(axis=-1)).all()


def test_a_floor_is_for_allowed_arms_alone() -> None:
    allowed = np.array([[True, True, False], [True, False, False]])
    found = floored(np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), 0.2, allowed)
    assert found.round(12).tolist() == [[0.8, 0.2, 0.0], [1.0, 0.0, 0.0]]


@pytest.mark.parametrize("k", [1, 2, 3, 7, 10, 49])
def test_the_highest_floor_makes_all_arms_equal(k: int) -> None:
    assert floored(evenly(np.eye(k, dtype=np.bool_)[0]), 1 / k) == pytest.approx(np.full(k, 1 / k))


def test_a_floor_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^4 arms cannot have a chance of at least 0.3 each: at most 0.25$"):
        floored(np.full(4, 0.25), 0.3)


def test_rounded_chances_sum_to_one_exactly_in_any_order() -> None:
    rng = default_rng(18)
    for k in (1, 2, 3, 10, 200):
        for p in rounded(rng.dirichlet(np.full(k, 0.3), 200)):
            assert sum(p.tolist()) == 1.0
            assert sum(p[::-1].tolist()) == 1.0
            assert np.cumsum(rng.permutation(p))[-1] == 1.0


def test_a_rounded_chance_moves_by_half_a_step_and_the_largest_by_what_is_left() -> None:
    p = default_rng(19).dirichlet(np.ones(6), 300)
    moved = np.abs(rounded(p) - p)
    largest = p.argmax(axis=-1)[:, np.newaxis]
    assert np.take_along_axis(moved, largest, axis=-1).max() <= 3 * STEP
    np.put_along_axis(moved, largest, 0.0, axis=-1)
    assert moved.max() <= STEP / 2


def test_what_is_on_the_grid_stays_and_zero_stays_zero() -> None:
    found = rounded(np.array([[0.5, 0.25, 0.25, 0.0], [1 / 3, 1 / 3, 1 / 3, 0.0]]))
    assert found[0].tolist() == [0.5, 0.25, 0.25, 0.0]
    assert (found[1] / STEP).tolist() == [366503875926.0, 366503875925.0, 366503875925.0, 0.0]


def test_scores_that_tie_share_equally_among_those_allowed() -> None:
    scores = np.array([[np.inf, np.inf, 1.0], [2.0, 2.0, 2.0], [-np.inf, -np.inf, 0.0]])
    allowed = np.array([[True, True, True], [True, False, True], [True, True, False]])
    assert greedily(scores, allowed).tolist() == [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]
