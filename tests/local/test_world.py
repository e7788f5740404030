"""The pretend world has something to discover, and the same seed hides the same thing."""

import numpy as np
import pytest

from jobs.local.world import (
    ARMS,
    INTERESTS,
    MOODS,
    SEGMENTS,
    STEPS,
    VISITORS,
    Index,
    Step,
    Visit,
    World,
    places,
    seeded,
)
from jobs.wiring import Refusal
from schemas.events import Kind
from udfs.deciding.catalogue import Catalogue

PEOPLE = 4000
CURIOUS, HURRIED = MOODS.index("curious"), MOODS.index("hurried")
SKIMMER, READER = SEGMENTS.index("skimmer"), SEGMENTS.index("reader")


@pytest.fixture(scope="module")
def world() -> World:
    return World.of(1, PEOPLE, VISITORS)


def everybody() -> Index:
    return np.arange(PEOPLE)


def all_in(value: int) -> Index:
    return np.full(PEOPLE, value)


def happened(visit: Visit, kind: Kind, *, on_item: bool = False) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return visit.happens[:, STEPS.index(Step(kind, on_item))]


def pinned(world: World) -> Index:
    return np.tile(world.shelf.most_popular(8), (PEOPLE, 1))


def test_the_same_seed_stocks_the_same_shelf_whoever_visits(world: World) -> None:
    again, other = World.of(1, 10, VISITORS + 1), World.of(2, 10, VISITORS)
    assert again.shelf.catalogue_lines() == world.shelf.catalogue_lines()
    assert other.shelf.catalogue_lines() != world.shelf.catalogue_lines()


def test_the_catalogue_is_a_release_of_200_items_over_eight_interests(world: World) -> None:
    catalogue = Catalogue.parse("c1", world.shelf.catalogue_lines())
    assert len(catalogue.ids) == 200
    assert catalogue.interests == tuple(sorted(INTERESTS))
    assert catalogue.features[:, 0].max() == 1.0


def test_rows_of_the_catalogue_are_rows_of_the_shelf(world: World) -> None:
    catalogue = Catalogue.parse("c1", world.shelf.catalogue_lines())
    assert catalogue.ids.tolist() == [item.id for item in world.shelf.items]


def test_the_most_popular_items_come_best_first(world: World) -> None:
    popularity = [world.shelf.items[row].popularity for row in world.shelf.most_popular(8)]
    assert popularity == sorted(popularity, reverse=True)
    assert popularity[0] == 1.0


def test_everybody_has_a_favourite_that_holds_half_of_their_taste(world: World) -> None:
    taste = world.crowd.taste
    assert np.allclose(taste.sum(axis=1), 1.0)
    assert (taste.max(axis=1) >= 0.5).all()
    assert set(world.crowd.favourite.tolist()) == set(range(8))


def test_an_item_of_the_favourite_interest_is_clicked_ten_times_as_often(world: World) -> None:
    favourite = world.crowd.favourite
    mine, other = favourite, (favourite + 4) % 8  # the shelf's first eight items are of the eight interests
    p = world.click_probability(everybody(), all_in(CURIOUS), mine, all_in(0), all_in(0))
    q = world.click_probability(everybody(), all_in(CURIOUS), other, all_in(0), all_in(0))
    assert 10 < p.mean() / q.mean() < 30


def test_attention_fades_down_the_list_and_fastest_for_the_hurried(world: World) -> None:
    user, item, first, fifth = np.arange(1), np.arange(1), np.array([0]), np.array([4])
    kept = {
        mood: float(
            (
                world.click_probability(user, np.array([mood]), item, fifth, np.array([0]))
                / world.click_probability(user, np.array([mood]), item, first, np.array([0]))
            )[0]
        )
        for mood in (CURIOUS, HURRIED)
    }
    assert kept[CURIOUS] == pytest.approx(5**-0.35)
    assert kept[HURRIED] == pytest.approx(5**-0.9)


def test_skimmers_like_the_short_visual_and_readers_the_story(world: World) -> None:
    mood = all_in(CURIOUS)
    rates = np.array([world.feed_click_rate(everybody(), mood, pinned(world), all_in(arm)) for arm in range(3)])
    best = {
        segment: ARMS[rates[:, world.crowd.segment == segment].mean(axis=1).argmax()] for segment in (SKIMMER, READER)
    }
    assert best == {SKIMMER: "short_visual", READER: "story"}


def test_readers_scroll_deepest_and_browsers_hover_most(world: World) -> None:
    fresh, mood = np.zeros((PEOPLE, 8), dtype=np.bool_), world.crowd.first_mood(everybody(), seeded(1, 9))
    seen = world.visit(everybody(), mood, pinned(world), all_in(0), seen=fresh, rng=seeded(1, 9))
    of = [world.crowd.segment == segment for segment in range(3)]
    assert [round(float(seen.scroll[mine].mean()), 1) for mine in of] == [0.2, 0.8, 0.5]
    hovers = seen.happens[:, STEPS.index(Step(Kind.HOVER))]
    assert [round(float(hovers[mine].mean()), 2) for mine in of] == pytest.approx([0.0, 0.0, 0.97], abs=0.02)


def test_arms_drawn_blindly_gain_next_to_nothing(world: World) -> None:
    mood = world.crowd.first_mood(everybody(), seeded(1, 9))
    plain, short_visual, story = (
        world.feed_click_rate(everybody(), mood, pinned(world), all_in(arm)).mean() for arm in range(3)
    )
    drawn = 0.5 * plain + 0.3 * short_visual + 0.2 * story
    assert abs(drawn / plain - 1.0) < 0.03


def test_an_item_opened_before_tempts_less(world: World) -> None:
    user, item, zero = everybody(), all_in(0), all_in(0)
    new = world.click_probability(user, zero, item, zero, zero)
    again = world.click_probability(user, zero, item, zero, zero, seen=np.ones(PEOPLE, dtype=np.bool_))
    assert (again < new).all()
    assert (again > 0.3 * new).all()


def test_moods_last_for_several_pages_and_give_the_segment_away(world: World) -> None:
    rng = seeded(1, 9)
    mood = world.crowd.first_mood(everybody(), rng)
    following = world.crowd.next_mood(everybody(), mood, rng)
    assert 0.86 < (following == mood).mean() < 0.92
    hurried = following == HURRIED
    assert hurried[world.crowd.segment == SKIMMER].mean() == pytest.approx(0.55, abs=0.04)
    assert hurried[world.crowd.segment == READER].mean() == pytest.approx(0.05, abs=0.02)


def test_the_played_clicks_are_as_many_as_expected(world: World) -> None:
    mood, arm = all_in(CURIOUS), all_in(0)
    fresh = np.zeros((PEOPLE, 8), dtype=np.bool_)
    visit = world.visit(everybody(), mood, pinned(world), arm, seen=fresh, rng=seeded(1, 9))
    expected = world.feed_click_rate(everybody(), mood, pinned(world), arm).mean()
    assert (visit.clicked >= 0).mean() == pytest.approx(expected, abs=0.02)


def test_nothing_is_bought_that_was_not_opened_and_put_in_the_cart(world: World) -> None:
    fresh = np.zeros((PEOPLE, 8), dtype=np.bool_)
    visit = world.visit(everybody(), all_in(CURIOUS), pinned(world), all_in(0), seen=fresh, rng=seeded(1, 9))
    carts, buys = happened(visit, Kind.CART, on_item=True), happened(visit, Kind.PURCHASE, on_item=True)
    assert buys.any()
    assert (carts[buys]).all()
    assert (visit.opened[carts] >= 0).all()
    assert (happened(visit, Kind.CLICK) == (visit.opened >= 0)).all()


def test_a_page_view_starts_with_its_view_and_keeps_its_order(world: World) -> None:
    fresh = np.zeros((PEOPLE, 8), dtype=np.bool_)
    visit = world.visit(everybody(), all_in(HURRIED), pinned(world), all_in(0), seen=fresh, rng=seeded(1, 9))
    assert (visit.offset_ms[:, 0] == 0).all()
    assert (np.diff(visit.offset_ms, axis=1) > 0).all()
    assert (visit.offset_ms[:, -1] < visit.length_ms).all()
    assert ((visit.scroll >= 0) & (visit.scroll <= 1)).all()
    assert (visit.dwell_ms <= visit.length_ms).all()


def test_the_curious_stay_longer_and_scroll_deeper_than_the_hurried(world: World) -> None:
    fresh = np.zeros((PEOPLE, 8), dtype=np.bool_)
    curious, hurried = (
        world.visit(everybody(), all_in(mood), pinned(world), all_in(0), seen=fresh, rng=seeded(1, 9))
        for mood in (CURIOUS, HURRIED)
    )
    assert curious.length_ms.mean() > 1.8 * hurried.length_ms.mean()
    assert curious.scroll.mean() == pytest.approx(0.565, abs=0.02)
    assert hurried.scroll.mean() == pytest.approx(0.405, abs=0.02)


def test_what_is_found_by_searching_follows_ones_taste(world: World) -> None:
    found = world.found(everybody(), seeded(1, 9))
    of_favourite = world.shelf.interest[found] == world.crowd.favourite
    assert of_favourite.mean() == pytest.approx(world.crowd.taste.max(axis=1).mean(), abs=0.03)


def test_slots_that_the_pages_do_not_have_are_refused() -> None:
    with pytest.raises(Refusal, match="a rerank slot home_feed and a variant slot hero"):
        places({})
