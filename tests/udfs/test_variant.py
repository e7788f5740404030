"""Arms are drawn as often as declared, always the same for the same session, and held back by the cap."""

from collections import Counter

import numpy as np
import pytest

from schemas.decisions import SlotCard, Trace, Why
from schemas.slots import Arm, Cap, Variant
from udfs.draw import pick, ticket
from udfs.variant import Chooser, Distribution

HERO = Variant(
    arms={"plain": Arm(weight=0.5, params={"density": "high"}), "short": Arm(weight=0.3), "story": Arm(weight=0.2)},
    default="plain",
    cap=Cap(shown=3),
)


def choose(chooser: Chooser, user: str, session: int, shown: int) -> tuple[SlotCard, Trace]:
    (card,), (trace,) = chooser.choose(["id"], [user], [session], [shown], [1])
    return card, trace


def test_two_hundred_thousand_keyed_draws_match_the_logged_probabilities() -> None:
    odds = Distribution.of(HERO)
    drawn = Counter(pick(ticket(f"seed|hero|u{user}|0"), odds.cumulative) for user in range(200_000))
    expected = np.array(odds.p) * 200_000
    chi_square = sum((drawn[arm] - expected[arm]) ** 2 / expected[arm] for arm in range(3))
    assert chi_square < 13.8  # p > 0.001 at two degrees of freedom


def test_tickets_are_uniform() -> None:
    tickets = np.array([ticket(str(number)) for number in range(100_000)])
    assert tickets.min() >= 0
    assert tickets.max() < 1
    assert np.histogram(tickets, 10, (0, 1))[0] == pytest.approx(np.full(10, 10_000), abs=400)


def test_a_session_draws_the_same_arm_again_and_the_next_session_anew() -> None:
    chooser = Chooser("hero", HERO, "seed")
    arms = {choose(chooser, "k0:ada", session, 0)[0].arm for session in [7] * 20}
    assert len(arms) == 1
    assert len({choose(chooser, "k0:ada", session, 0)[0].arm for session in range(50)}) == 3


def test_two_slots_and_two_seeds_draw_independently() -> None:
    def values(name: str, seed: str) -> list[float]:
        traces = [choose(Chooser(name, HERO, seed), f"u{user}", 0, 0)[1] for user in range(200)]
        return [trace.draw.value for trace in traces if trace.draw]

    one, other_slot, other_seed = values("hero", "a"), values("promo", "a"), values("hero", "b")
    assert abs(np.corrcoef(one, other_slot)[0, 1]) < 0.2
    assert abs(np.corrcoef(one, other_seed)[0, 1]) < 0.2


def test_the_third_exposure_is_the_last_before_the_default_takes_over() -> None:
    chooser = Chooser("hero", HERO, "seed")
    story = next(u for u in map(str, range(100)) if choose(chooser, u, 0, 0)[0].arm == "story")
    before, _ = choose(chooser, story, 0, 2)
    after, trace = choose(chooser, story, 0, 3)
    assert (before.arm, before.p, before.reason) == ("story", 0.2, Why.SPLIT)
    assert (after.arm, after.p, after.reason, after.params) == ("plain", 1.0, Why.CAPPED, {"density": "high"})
    assert trace.guards is not None
    assert [(guard.count, guard.limit, guard.held) for guard in trace.guards] == [(3, 3, True)]
    assert trace.draw is not None
    assert trace.draw.p == [0.5, 0.3, 0.2]


def test_the_order_in_the_file_does_not_change_who_draws_what() -> None:
    turned = Variant(arms=dict(reversed(HERO.arms.items())), default="plain", cap=HERO.cap)
    for user in map(str, range(50)):
        assert choose(Chooser("h", HERO, "s"), user, 0, 0) == choose(Chooser("h", turned, "s"), user, 0, 0)


def test_a_bundle_is_decided_as_its_users_are_one_by_one() -> None:
    chooser, users, shown = Chooser("hero", HERO, "seed"), [f"u{user}" for user in range(60)], [0, 2, 3] * 20
    at_once = chooser.choose(["id"] * 60, users, [7] * 60, shown, [1] * 60)
    one_by_one = [choose(chooser, user, 7, count) for user, count in zip(users, shown, strict=True)]
    assert list(zip(*at_once, strict=True)) == one_by_one
