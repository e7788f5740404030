"""Final lists: held against a plain greedy that takes one user at a time and every rule at its word."""

from collections.abc import Sequence
from dataclasses import fields, replace
from fractions import Fraction
from math import hypot
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from udfs.deciding.arrange import NONE, Arrangement, Candidates, Rules, Window, arrange, boosted, spread
from udfs.draw import ticket

Number = Fraction | float
Likeness = Sequence[Sequence[Number]]
Listed = tuple[list[int], int, list[float]]


def row_of(candidates: Candidates, row: int) -> Candidates:
    """One user's candidates alone."""

    def only(attribute: NDArray[Any] | None) -> Any:
        return None if attribute is None else attribute[row : row + 1]

    return Candidates(*(only(getattr(candidates, field.name)) for field in fields(candidates)))


def said(attribute: NDArray[Any] | None, default: Any, count: int) -> list[Any]:
    return [default] * count if attribute is None else list(attribute[0].tolist())


def greedy(one: Candidates, like: Likeness, rules: Rules, key: str) -> Listed:
    """Fill one user's list: what stands in it, how often the window broke, and with which probabilities."""
    scores, weight = [Fraction(score) for score in one.scores[0].tolist()], Fraction(str(rules.relevance))
    count = len(scores)
    groups, pinned = said(one.groups, NONE, count), said(one.pinned, NONE, count)
    excluded, buried = said(one.excluded, False, count), said(one.buried, False, count)
    shown: dict[int, int] = {}
    for item in range(count):
        if not excluded[item] and 0 <= pinned[item] < rules.length:
            shown.setdefault(pinned[item], item)
    pins = set(shown.values())
    left = [i for i in range(count) if not excluded[i] and i not in pins and pinned[i] < rules.length]
    able = [score for item, score in enumerate(scores) if not excluded[item]]
    low, span = min(able, default=0), (max(able, default=0) - min(able, default=0)) or 1

    def fits(item: int, place: int) -> bool:
        if rules.window is None or groups[item] == NONE:
            return True
        most, width = rules.window
        would = {**shown, place: item}
        windows = [range(start, start + width) for start in range(place - width + 1, place + 1)]
        return all(
            sum(there in would and groups[would[there]] == groups[item] for there in window) <= most
            for window in windows
        )

    def worth(item: int, before: list[int]) -> Number:
        return weight * (scores[item] - low) / span - (1 - weight) * max((like[item][it] for it in before), default=0)

    odds, broken = dict.fromkeys(shown, 1.0), 0
    for place in range(rules.length):
        pool = [item for item in left if not buried[item]] or left
        if place in shown or not pool:
            continue
        allowed = [item for item in pool if fits(item, place)]
        broken += not allowed
        pool = allowed or pool
        if place in rules.explored:
            item, odds[place] = pool[int(ticket(f"{key}|{place}") * len(pool))], 1 / len(pool)
        else:
            before = [shown[there] for there in range(place) if there in shown]
            item, odds[place] = max(pool, key=lambda item: worth(item, before)), 1.0
        shown[place] = item
        left.remove(item)
    return [shown[place] for place in sorted(shown)], broken, [odds[place] for place in sorted(shown)]


def listed(found: Arrangement) -> list[Listed]:
    """Per user, as `greedy` tells it."""
    ends = found.filled.tolist()
    assert all((found.order[row, end:] == NONE).all() for row, end in enumerate(ends))
    assert all((found.p[row, end:] == 0).all() for row, end in enumerate(ends))
    return [
        (found.order[row, :end].tolist(), int(found.broken[row]), found.p[row, :end].tolist())
        for row, end in enumerate(ends)
    ]


def drawn(rng: Generator, rows: int, count: int, length: int) -> tuple[Candidates, Rules]:
    """Draw a bundle with some of all that can be said, and rules; scores are eighths, so that many are equal."""
    shape = (rows, count)

    def maybe(attribute: NDArray[Any]) -> Any:
        return attribute if rng.random() < 0.6 else None

    pins = np.where(rng.random(shape) < 0.2, rng.integers(0, length + 2, shape), NONE)
    candidates = Candidates(
        scores=rng.integers(-8, 9, shape) / 8.0,
        groups=maybe(rng.integers(NONE, 3, shape).astype(np.int16)),
        excluded=maybe(rng.random(shape) < rng.random()),
        pinned=maybe(pins),
        buried=maybe(rng.random(shape) < 0.3),
    )
    window = Window(int(rng.integers(1, 3)), int(rng.integers(2, 6))) if rng.random() < 0.6 else None
    explored = spread(rng.random() / 2, length) if rng.random() < 0.5 else ()
    return candidates, Rules(length, float(rng.choice([1.0, 0.5, 0.25, 0.2])), window, explored)


def test_lists_are_those_of_the_plain_greedy() -> None:
    rng, met = default_rng(5), np.zeros(4, dtype=np.int64)
    for _ in range(400):
        count, length = int(rng.integers(1, 12)), int(rng.integers(1, 9))
        candidates, rules = drawn(rng, 12, count, length)
        keys = [f"seed|list|{user}" for user in range(12)]
        for row, got in enumerate(listed(arrange(candidates, rules, keys))):
            one = row_of(candidates, row)
            groups = said(one.groups, NONE, count)
            alike = [[Fraction(a == b != NONE) for b in groups] for a in groups]
            assert got == greedy(one, alike, rules, keys[row])
            plain = np.argsort(-one.scores[0], kind="stable")[:length].tolist()
            met += [got[0] != plain, got[1] > 0, min(got[2], default=1.0) < 1, len(got[0]) < min(length, count)]
    assert met.min() > 150  # other orders than that of the scores, broken windows, explored places, shorter lists


def test_likeness_by_features_is_that_of_the_plain_greedy() -> None:
    rng = default_rng(6)
    for _ in range(60):
        candidates, rules = drawn(rng, 10, 9, 7)
        vectors = rng.normal(size=(10, 9, 3))
        candidates = replace(candidates, scores=rng.normal(size=(10, 9)), features=vectors)
        rules, keys = replace(rules, relevance=float(rng.choice([0.3, 0.6, 0.9]))), [str(user) for user in range(10)]
        for row, got in enumerate(listed(arrange(candidates, rules, keys))):
            cosines = [
                [sum(x * y for x, y in zip(a, b, strict=True)) / hypot(*a) / hypot(*b) for b in vectors[row].tolist()]
                for a in vectors[row].tolist()
            ]
            assert got == greedy(row_of(candidates, row), cosines, rules, keys[row])


def close_scores(rng: Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Scores of which many are equal, many next to each other, and some very far off."""
    scores = rng.integers(0, 5, shape) / 3.0
    scores = np.where(rng.random(shape) < 0.3, np.nextafter(scores, 9.0), scores)
    return np.where(rng.random(shape) < 0.05, 1e300 * rng.normal(size=shape), scores)


@pytest.mark.parametrize(("count", "length"), [(20, 8), (100, 24), (8, 8), (3, 8), (1, 1), (0, 8)])
def test_without_any_constraint_the_order_is_that_of_the_scores(count: int, length: int) -> None:
    scores = close_scores(default_rng(7), (300, count))
    found = arrange(Candidates(scores), Rules(length))
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :length]
    assert found.order.shape == found.p.shape == (300, length)
    assert found.order[:, :count].tolist() == expected.tolist()
    assert (found.order[:, count:] == NONE).all()
    assert set(found.filled.tolist()) == {min(count, length)}
    assert not found.broken.any()
    assert (found.p == (found.order != NONE)).all()


def test_a_user_without_constraints_among_others_with_some_gets_the_order_of_the_scores() -> None:
    rng, shape, free = default_rng(8), (400, 20), np.arange(400) % 2 == 0
    scores, open_to_all = close_scores(rng, shape), free[:, np.newaxis]
    candidates = Candidates(
        scores,
        groups=np.where(open_to_all, NONE, rng.integers(0, 4, shape)),
        features=np.where(open_to_all[:, :, np.newaxis], 0.0, rng.normal(size=(*shape, 3))),
        excluded=~open_to_all & (rng.random(shape) < 0.3),
        pinned=np.where(open_to_all, NONE, rng.integers(NONE, 9, shape)),
        buried=~open_to_all & (rng.random(shape) < 0.3),
    )
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :8]
    for told in (candidates, replace(candidates, features=None)):
        found = arrange(told, Rules(8, 0.3, Window(1, 3)))
        assert found.order[free].tolist() == expected[free].tolist()
        assert (found.order[~free] != expected[~free]).any(axis=1).mean() > 0.9


def test_a_users_list_does_not_depend_on_the_users_beside_them() -> None:
    rng, shape = default_rng(9), (60, 30)
    candidates = Candidates(
        rng.normal(size=shape),
        groups=rng.integers(NONE, 4, shape),
        features=rng.normal(size=(*shape, 7)),
        excluded=rng.random(shape) < 0.3,
        pinned=np.where(rng.random(shape) < 0.05, rng.integers(0, 12, shape), NONE),
        buried=rng.random(shape) < 0.2,
    )
    rules, keys = Rules(12, 0.6, Window(2, 4), spread(0.25, 12)), [f"k0:{user}" for user in range(60)]
    at_once = arrange(candidates, rules, keys)
    one_by_one = [arrange(row_of(candidates, row), rules, keys[row : row + 1]) for row in range(60)]
    for name in ("order", "filled", "broken", "p"):
        assert getattr(at_once, name).tolist() == np.concatenate([getattr(one, name) for one in one_by_one]).tolist()


def test_nobody_gets_no_list() -> None:
    found = arrange(Candidates(np.empty((0, 20)), np.empty((0, 20), np.int16)), Rules(8, 0.5, Window(1, 2), (7,)))
    assert found.order.shape == (0, 8)


def test_what_was_given_is_left_as_it_was() -> None:
    rng, shape = default_rng(10), (5, 9)
    given = Candidates(
        rng.normal(size=shape),
        rng.integers(0, 3, shape),
        rng.normal(size=(*shape, 2)),
        rng.random(shape) < 0.3,
        rng.integers(NONE, 9, shape),
        rng.random(shape) < 0.3,
    )
    before = [getattr(given, field.name).tolist() for field in fields(given)]
    arrange(given, Rules(6, 0.5, Window(1, 3), (5,)), ["a", "b", "c", "d", "e"])
    assert [getattr(given, field.name).tolist() for field in fields(given)] == before


def test_maximal_marginal_relevance_weighs_score_against_likeness() -> None:
    scores, groups = np.array([[1.0, 0.9, 0.5, 0.0]]), np.array([[7, 7, 8, 8]])
    # Second place, at 0.6: 0.9 * 0.6 - 0.4 = 0.14 for the like one, 0.5 * 0.6 = 0.3 for the other.
    assert arrange(Candidates(scores, groups), Rules(4, 0.6)).order.tolist() == [[0, 2, 1, 3]]
    # At 0.8: 0.9 * 0.8 - 0.2 = 0.52 against 0.5 * 0.8 = 0.4.
    assert arrange(Candidates(scores, groups), Rules(4, 0.8)).order.tolist() == [[0, 1, 2, 3]]


def test_scores_count_by_how_far_they_reach_among_what_can_be_shown() -> None:
    scores, groups = np.array([[1.0, 0.9, 0.5, 0.0, -99.0]]), np.array([[7, 7, 8, 8, 9]])
    last = np.array([[False, False, False, False, True]])
    for as_said in (scores, boosted(scores, 40.0, -7.0)):
        found = [arrange(Candidates(as_said, groups, excluded=last), Rules(4, weight)) for weight in (0.6, 0.8)]
        assert [one.order.tolist() for one in found] == [[[0, 2, 1, 3]], [[0, 1, 2, 3]]]


def test_equal_values_stay_in_the_prefilters_order() -> None:
    groups = np.array([[5, 5, NONE, NONE, 6]])
    assert arrange(Candidates(np.zeros((1, 5)), groups), Rules(5, 0.5)).order.tolist() == [[0, 2, 3, 4, 1]]


def test_what_has_no_group_is_like_nothing() -> None:
    none = np.full((1, 4), NONE)
    found = arrange(Candidates(np.array([[0.1, 0.4, 0.3, 0.2]]), none), Rules(4, 0.1, Window(1, 4)))
    assert (found.order.tolist(), found.broken.tolist()) == ([[1, 2, 3, 0]], [0])


def test_the_window_holds_as_long_as_it_can() -> None:
    #  groups in the order of the scores   a a a a b b c
    #  at most 1 within 2 places           a b a b a c a
    scores, groups = np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]]), np.array([[1, 1, 1, 1, 2, 2, 3]])
    found = arrange(Candidates(scores, groups), Rules(7, window=Window(1, 2)))
    assert (found.order.tolist(), found.broken.tolist()) == ([[0, 4, 1, 5, 2, 6, 3]], [0])
    #  at most 1 within 3 places           a b c a b a a     from the sixth on only a is left
    found = arrange(Candidates(scores, groups), Rules(7, window=Window(1, 3)))
    assert (found.order.tolist(), found.broken.tolist()) == ([[0, 4, 6, 1, 5, 2, 3]], [2])


def test_the_window_sees_pins_ahead() -> None:
    #  places      0 1 2 3
    #  pinned      . a . .      so none of group a before it either, though two of them score higher than all of b
    #  found       b a b a
    scores, groups = np.array([[0.9, 0.8, 0.1, 0.5, 0.4]]), np.array([[1, 1, 1, 2, 2]])
    pinned = np.array([[NONE, NONE, 1, NONE, NONE]])
    found = arrange(Candidates(scores, groups, pinned=pinned), Rules(4, window=Window(1, 2)))
    assert (found.order.tolist(), found.broken.tolist()) == ([[3, 2, 4, 0]], [0])


def test_pins_side_by_side_break_nothing() -> None:
    scores, groups = np.array([[0.9, 0.8, 0.7]]), np.array([[1, 1, 2]])
    found = arrange(Candidates(scores, groups, pinned=np.array([[1, 0, NONE]])), Rules(3, 0.2, window=Window(1, 2)))
    assert (found.order.tolist(), found.broken.tolist()) == ([[1, 0, 2]], [0])


def test_what_is_excluded_never_appears_and_lists_get_shorter() -> None:
    scores = np.array([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7]])
    excluded = np.array([[True, False, True], [True, True, True]])
    found = arrange(Candidates(scores, excluded=excluded, pinned=np.array([[0, NONE, NONE]] * 2)), Rules(3))
    assert found.order.tolist() == [[1, NONE, NONE], [NONE, NONE, NONE]]
    assert found.filled.tolist() == [1, 0]
    assert found.p.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_pins_stand_in_their_place_whatever_their_score() -> None:
    scores = np.array([[0.1, 0.2, 0.9, 0.8, 0.7]])
    pinned = np.array([[2, 0, NONE, NONE, NONE]])
    buried = np.array([[True, False, False, False, False]])
    found = arrange(Candidates(scores, pinned=pinned, buried=buried), Rules(4))
    assert found.order.tolist() == [[1, 2, 0, 3]]


def test_of_two_pinned_to_one_place_the_first_has_it_and_the_other_runs_with_the_rest() -> None:
    pinned = np.array([[NONE, 0, 0, NONE]])
    assert arrange(Candidates(np.array([[0.9, 0.1, 0.8, 0.2]]), pinned=pinned), Rules(4)).order.tolist() == [
        [1, 0, 2, 3]
    ]


def test_what_is_pinned_beyond_the_list_is_not_shown() -> None:
    pinned = np.array([[3, NONE, NONE, NONE]])
    found = arrange(Candidates(np.array([[0.9, 0.3, 0.2, 0.1]]), pinned=pinned), Rules(3))
    assert found.order.tolist() == [[1, 2, 3]]


def test_where_too_little_is_left_pins_move_up() -> None:
    excluded, pinned = np.array([[False, False, True, True]]), np.array([[6, NONE, NONE, NONE]])
    found = arrange(Candidates(np.array([[0.9, 0.3, 0.2, 0.1]]), excluded=excluded, pinned=pinned), Rules(8))
    assert found.order.tolist() == [[1, 0, NONE, NONE, NONE, NONE, NONE, NONE]]
    assert found.filled.tolist() == [2]


def test_what_is_buried_comes_after_all_else_also_where_that_breaks_the_window() -> None:
    scores, groups = np.array([[0.9, 0.8, 0.7, 0.6]]), np.array([[2, 1, 1, 3]])
    buried = np.array([[True, False, False, True]])
    found = arrange(Candidates(scores, groups, buried=buried), Rules(4, window=Window(1, 2)))
    assert (found.order.tolist(), found.broken.tolist()) == ([[1, 2, 0, 3]], [1])


def test_boosts_move_candidates_before_anything_else_does() -> None:
    scores = np.array([[0.5, 0.4, 0.3]])
    up = boosted(scores, times=np.array([[1.0, 1.0, 2.0]]), plus=np.array([[0.0, 0.3, 0.0]]))
    assert arrange(Candidates(up), Rules(3)).order.tolist() == [[1, 2, 0]]
    assert boosted(scores).tolist() == scores.tolist()


def test_places_to_explore_lie_apart_and_come_late() -> None:
    assert spread(0.125, 24) == (7, 15, 23)
    assert spread(0.3, 10) == (2, 5, 9)
    assert spread(0.05, 8) == ()
    assert spread(1.0, 3) == (0, 1, 2)
    for length in range(1, 40):
        for share in np.linspace(0.0, 1.0, 23).tolist():
            places = spread(share, length)
            assert len(set(places)) == len(places) == round(share * length)
            assert set(places) <= set(range(length))


def test_explored_places_are_drawn_uniformly_and_say_so() -> None:
    scores = np.tile(np.arange(10.0)[::-1], (30_000, 1))
    excluded = np.zeros_like(scores, dtype=np.bool_)
    excluded[:, 5] = True
    found = arrange(
        Candidates(scores, excluded=excluded), Rules(4, explored=(1, 3)), [f"seed|{user}" for user in range(30_000)]
    )
    assert (found.order[:, 0] == 0).all()
    assert np.unique(found.p, axis=0).tolist() == [[1.0, 1 / 8, 1.0, 1 / 6]]
    counts = np.bincount(found.order[:, 1], minlength=10)
    assert counts[[0, 5]].tolist() == [0, 0]
    among = np.array([1, 2, 3, 4, 6, 7, 8, 9])
    assert ((counts[among] - 3750) ** 2 / 3750).sum() < 24.4  # p > 0.001 at seven degrees of freedom
    # The third place is the best that is left, the last a draw for itself from the six after that.
    assert found.order[:, 2].tolist() == np.where(found.order[:, 1] == 1, 2, 1).tolist()
    last = np.bincount(found.order[found.order[:, 1] == 1, 3], minlength=10)[[3, 4, 6, 7, 8, 9]]
    expected = (found.order[:, 1] == 1).sum() / 6
    assert ((last - expected) ** 2 / expected).sum() < 20.6  # p > 0.001 at five degrees of freedom


def test_weighting_by_the_probabilities_gives_every_candidate_the_same() -> None:
    scores, users = np.tile(np.arange(6.0), (20_000, 1)), [f"k0:{user}" for user in range(20_000)]
    buried = np.zeros_like(scores, dtype=np.bool_)
    buried[:, 0] = True
    found = arrange(Candidates(scores, buried=buried), Rules(2, explored=(1,)), users)
    weighed = np.bincount(found.order[:, 1], 1 / found.p[:, 1], 6) / 20_000
    assert weighed == pytest.approx([0, 1, 1, 1, 1, 0], abs=0.05)


def test_the_same_key_draws_the_same_and_each_place_draws_for_itself() -> None:
    scores, rules = np.zeros((3, 50)), Rules(10, explored=(4, 9))
    one, same, other = arrange(Candidates(scores), rules, ["a", "a", "b"]).order.tolist()
    assert one == same
    assert one[4] != other[4]
    assert one[4] != one[9]


def test_a_pin_on_a_place_to_explore_stays() -> None:
    pinned = np.array([[NONE, NONE, 1]])
    found = arrange(Candidates(np.array([[0.9, 0.8, 0.1]]), pinned=pinned), Rules(2, explored=(1,)), ["a"])
    assert (found.order.tolist(), found.p.tolist()) == ([[0, 2]], [[1.0, 1.0]])


@pytest.mark.parametrize("keys", [(), ["a"], ["a", "b", "c"]])
def test_exploring_without_a_key_for_each_user_is_refused(keys: Sequence[str]) -> None:
    with pytest.raises(ValueError, match="keys for the draws of 2 users"):
        arrange(Candidates(np.zeros((2, 3))), Rules(2, explored=(1,)), keys)
