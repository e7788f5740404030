"""k-means: what is alike is found again, the past fades, and the same draws give the same bytes."""

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from udfs.segments.kmeans import Fit, TooAlikeError, fitted, inertia, polished, refitted, seeded, squares, step, swapped

CORNERS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])


def crowd(centres: NDArray[np.float64], each: int, rng: Generator, spread: float = 1.0) -> NDArray[np.float64]:
    """Rows around some centres."""
    return np.repeat(centres, each, axis=0) + rng.normal(size=(len(centres) * each, centres.shape[1])) * spread


def fit_of(centroids: list[float], mass: list[float]) -> Fit:
    """Make a fit in one dimension."""
    return Fit(np.array(centroids)[:, np.newaxis], np.array(mass))


def line(*values: float) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)[:, np.newaxis]


def flat(fit: Fit) -> list[float]:
    return [round(value, 3) for value in fit.centroids.ravel().tolist()]


def test_groups_that_stand_apart_are_found_with_their_mass() -> None:
    rows = crowd(CORNERS, 200, default_rng(1))
    found = fitted(rows, np.full(800, 0.5), 4, default_rng(2))
    order = np.lexsort(found.centroids.round().T)
    assert np.abs(found.centroids[order] - CORNERS).max() < 0.3
    assert found.mass.tolist() == [100.0] * 4


@pytest.mark.parametrize("seed", range(5))
def test_no_start_leads_far_from_the_least_inertia(seed: int) -> None:
    rng = default_rng(seed)
    centres = rng.normal(size=(12, 4)) * 5
    rows = crowd(centres, 100, rng)
    ones = np.ones(len(rows))
    assert inertia(rows, ones, fitted(rows, ones, 12, rng).centroids) <= 1.02 * inertia(rows, ones, centres)


def test_the_same_draws_give_the_same_bytes() -> None:
    rows = default_rng(3).standard_t(2, size=(3000, 5))
    weights = np.linspace(0.2, 1.0, 3000)
    one, two = (fitted(rows, weights, 7, default_rng(4)) for _ in range(2))
    assert one.centroids.tobytes() == two.centroids.tobytes()
    assert one.mass.tobytes() == two.mass.tobytes()
    again, and_again = (refitted(rows + 1, weights, one, 9, default_rng(5)) for _ in range(2))
    assert again.centroids.tobytes() == and_again.centroids.tobytes()


def test_a_row_that_weighs_three_counts_as_three_rows() -> None:
    start = line(0, 9)
    heavy = polished(line(1, 2, 8), np.array([3.0, 1.0, 1.0]), start, default_rng(0))
    many = polished(line(1, 1, 1, 2, 8), np.ones(5), start, default_rng(0))
    assert (flat(heavy), heavy.mass.tolist()) == (flat(many), many.mass.tolist()) == ([1.25, 8.0], [4.0, 1.0])


# mass 1000 at 0, ten half-lives, then 100 rows at 1: 1000 / 1024 against 100
def test_what_was_long_ago_hardly_holds_a_centroid_back() -> None:
    old = fit_of([0.0], [1000.0]).faded(elapsed=70, half_life=7)
    found = refitted(np.ones((100, 1)), np.ones(100), old, 1, default_rng(0))
    assert found.mass.tolist() == pytest.approx([100.9765625])
    assert found.centroids.ravel().tolist() == pytest.approx([100 / 100.9765625])


def test_what_was_yesterday_holds_it_back_by_its_mass() -> None:
    found = refitted(np.ones((100, 1)), np.ones(100), fit_of([0.0], [300.0]), 1, default_rng(0))
    assert (flat(found), found.mass.tolist()) == ([0.25], [400.0])


def test_batch_by_batch_a_centroid_is_the_faded_mean_of_all_it_has_counted() -> None:
    fit = fit_of([0.0], [0.0])
    for value in (8.0, 4.0, 1.0):
        fit = step(line(value), np.ones(1), fit.faded(elapsed=1, half_life=1))
    # By then 8 counts a quarter, 4 counts half: 2 + 2 + 1 over 0.25 + 0.5 + 1.
    assert fit.centroids.ravel().tolist() == pytest.approx([5 / 1.75])
    assert fit.mass.tolist() == [1.75]


def test_a_centroid_that_faded_away_is_seeded_anew_where_there_are_rows() -> None:
    old = fit_of([0.0, 50.0], [80.0, 0.01])
    found = refitted(line(*[0.0] * 40, *[9.0] * 40), np.ones(80), old, 2, default_rng(0))
    assert (flat(found), found.mass.tolist()) == ([0.0, 9.01], [120.0, 40.01])


def test_a_centroid_without_rows_of_late_stays_as_long_as_it_has_mass() -> None:
    old = fit_of([0.0, 50.0], [80.0, 20.0])
    found = refitted(line(*[0.0] * 40, *[9.0] * 40), np.ones(80), old, 2, default_rng(0))
    assert (flat(found), found.mass.tolist()) == ([2.25, 50.0], [160.0, 20.0])


def test_of_more_centroids_than_wanted_the_lightest_joins_its_neighbour() -> None:
    old = fit_of([0.0, 9.0, 20.0], [10.0, 50.0, 30.0])
    found = refitted(line(9.0, 20.0), np.ones(2), old, 2, default_rng(0))
    assert (flat(found), found.mass.tolist()) == ([7.525, 20.0], [61.0, 31.0])


def test_of_fewer_the_others_are_seeded() -> None:
    found = refitted(line(0.0, 9.0, 20.0), np.ones(3), fit_of([0.0], [10.0]), 3, default_rng(0))
    assert (flat(found)[0], sorted(flat(found)), sorted(found.mass.tolist())) == (
        0.0,
        [0.0, 9.0, 20.0],
        [1.0, 1.0, 11.0],
    )


def test_a_centroid_that_draws_nothing_is_seeded_anew() -> None:
    found = polished(line(0, 1), np.ones(2), line(0.4, 100), default_rng(0))
    assert sorted(flat(found)) == [0.0, 1.0]


def test_rows_that_are_too_much_alike_are_refused() -> None:
    with pytest.raises(TooAlikeError, match=r"^only 2 of 3 groups differ$"):
        fitted(line(1.0, 1.0, 5.0), np.ones(3), 3, default_rng(0))


def test_seeds_lie_far_apart() -> None:
    rows = crowd(CORNERS, 50, default_rng(1), spread=0.1)
    found = seeded(rows, np.ones(200), 4, default_rng(2), CORNERS[:1])
    assert found[0].tolist() == [0.0, 0.0]
    assert sorted(found.round().tolist()) == sorted(CORNERS.tolist())


# 0 0 0 0 .. 1 1 1 1 ........ 20 .. 22: one cluster in two, two in one; moving little by little does not get out of it
def test_a_centroid_that_is_not_missed_goes_where_it_is_needed() -> None:
    rows, ones = line(*[0.0] * 4, *[1.0] * 4, 20.0, 40.0), np.ones(10)
    stuck = polished(rows, ones, line(0, 1, 30), default_rng(0))
    assert flat(stuck) == [0.0, 1.0, 30.0]
    assert sorted(flat(swapped(rows, ones, stuck, default_rng(0)))) == [0.5, 20.0, 40.0]


@pytest.mark.parametrize(("worth", "expected"), [(0.8, [0.5, 20.0, 26.0]), (0.9, [0.0, 1.0, 23.0])])
def test_a_swap_is_made_where_it_saves_enough(worth: float, expected: list[float]) -> None:
    rows, ones = line(*[0.0] * 4, *[1.0] * 4, 20.0, 26.0), np.ones(10)
    stuck = polished(rows, ones, line(0, 1, 23), default_rng(0))
    assert inertia(rows, ones, stuck.centroids) == 1.8
    # Parted the other way it is 0.2, which saves 89 %.
    assert sorted(flat(swapped(rows, ones, stuck, default_rng(0), worth=worth))) == expected


def test_the_distances_of_a_row_do_not_depend_on_its_table() -> None:
    rng = default_rng(6)
    rows, centroids = rng.standard_t(2, size=(503, 9)), rng.normal(size=(8, 9))
    alone = np.vstack([squares(row[np.newaxis], centroids) for row in rows])
    assert squares(rows, centroids).tobytes() == alone.tobytes()
