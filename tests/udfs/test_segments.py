"""Who is in which rule segment, held against the obvious machine that keeps a state and goes from moment to moment."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from schemas.durations import Millis
from schemas.segments import MAX_RULES, RuleSegment
from udfs.expressions import ExpressionError
from udfs.segments.membership import NUMBERS, TEXTS, Rules, condition, label, members

Times = NDArray[np.int64]
Truths = NDArray[np.bool_]


def rule(enter: str, leave: str | None = None, *, hold: int = 0, min_events: int = 0) -> RuleSegment:
    return RuleSegment("", enter, leave, Millis(hold), min_events)


def machine(began: int, times: Sequence[int], enters: Sequence[bool], leaves: Sequence[bool], hold: int) -> list[bool]:
    """Go from moment to moment and keep a state: in or out, and when the last one was that spoke against it."""
    inside, left, states = False, began, []
    for time, enter, leave in zip(times, enters, leaves, strict=True):
        if leave:
            inside, left = False, time
        elif enter and time - left >= hold:
            inside = True
        states.append(inside)
    return states


def remembered(times: Times, speaks: Truths, before: int) -> Times:
    """When something last held, at each moment: what the job's fold keeps."""
    return np.maximum.accumulate(np.where(speaks, times, before))


def followed(began: int, times: Times, bits: Times, holds: Sequence[int]) -> Truths:
    """Who is in which segment in each of one person's moments, from what speaks for and against it."""
    places = range(len(holds))
    entered = np.column_stack([remembered(times, (bits >> 2 * k & 1).astype(bool), 0) for k in places])
    left = np.column_stack([remembered(times, (bits >> 2 * k + 1 & 1).astype(bool), began) for k in places])
    return members(entered, left, np.array(holds, dtype=np.int64))


def moments(rng: Generator) -> tuple[int, Times]:
    began = int(rng.integers(1, 1000))
    return began, began + np.cumsum(rng.integers(1, 9, rng.integers(1, 60)))


def test_members_are_those_of_the_machine_that_keeps_a_state() -> None:
    rng = default_rng(3)
    seen = np.zeros(2, dtype=np.int64)
    for _ in range(2000):
        began, times = moments(rng)
        leaves = rng.random(len(times)) < rng.random()
        enters = (rng.random(len(times)) < rng.random()) & ~leaves
        hold = int(rng.integers(0, 30))
        bits = enters.astype(np.int64) | leaves.astype(np.int64) << 1
        expected = machine(began, times.tolist(), enters.tolist(), leaves.tolist(), hold)
        assert followed(began, times, bits, [hold])[:, 0].tolist() == expected
        seen += np.bincount(np.array(expected, dtype=np.int64), minlength=2)
    assert seen.min() > 5000  # both states are really met


def test_rules_over_random_signals_are_those_of_the_machine() -> None:
    rng = default_rng(4)
    rules = Rules(
        {
            "both": rule("velocity > 1", "velocity < -1", hold=9, min_events=4),
            "overlap": rule("velocity > -1", "velocity < 1"),
            "alone": rule("velocity > 0 and device == 'tv'", hold=6, min_events=7),
        }
    )
    for _ in range(300):
        began, times = moments(rng)
        velocity, events = rng.normal(0.0, 1.5, len(times)), np.arange(1, len(times) + 1)
        tv = rng.random(len(times)) < 0.8
        bits = rules.bits({"velocity": velocity, "session_events": events, "device": np.where(tv, "tv", "mobile")})
        alone = (velocity > 0) & tv & (events >= 7)
        expected = [
            machine(began, times.tolist(), enters.tolist(), leaves.tolist(), hold)
            for enters, leaves, hold in (
                ((velocity > 1) & (events >= 4), velocity < -1, 9),
                (velocity >= 1, velocity < 1, 0),
                (alone, ~alone, 6),
            )
        ]
        assert followed(began, times, bits, [9, 0, 6]).T.tolist() == expected


def test_between_the_two_thresholds_everything_stays_as_it_is() -> None:
    #  rate     0.1  0.6  1.2  0.6  0.4  0.1  0.6  1.2
    #  in                 |=============|          |====    above 1: in, below 0.2: out
    rate = np.array([0.1, 0.6, 1.2, 0.6, 0.4, 0.1, 0.6, 1.2])
    bits = Rules({"lively": rule("rate_fast > 1", "rate_fast < 0.2")}).bits(
        {"rate_fast": rate, "session_events": np.arange(8)}
    )
    inside = followed(500, 1000 * np.arange(1, 9), bits, [0])[:, 0]
    assert inside.tolist() == [False, False, True, True, True, False, False, True]


def test_without_a_condition_to_leave_the_other_must_hold_all_the_time() -> None:
    #  seconds      1    2    3    4    5    6    7    8
    #  fast > 1          x    x         x    x    x    x
    #  in                     |====|         |=========      two seconds after 1, then two after 4
    rate = np.array([0.0, 2.0, 2.0, 0.0, 2.0, 2.0, 2.0, 2.0])
    bits = Rules({"lively": rule("rate_fast > 1")}).bits({"rate_fast": rate, "session_events": np.arange(8)})
    inside = followed(500, 1000 * np.arange(1, 9), bits, [2000])[:, 0]
    assert inside.tolist() == [False, False, True, False, False, True, True, True]


def test_who_was_never_out_waits_from_when_memory_began() -> None:
    entered = np.array([[9_999], [10_000]])
    assert members(entered, np.full((2, 1), 4_000), np.array([6_000])).tolist() == [[False], [True]]


def test_what_speaks_against_a_segment_wins() -> None:
    rules = Rules({"lively": rule("rate_fast > 1", "n_error > 0")})
    told = {"rate_fast": np.array([2.0, 2.0, 0.0, 0.0]), "n_error": np.array([0, 1, 1, 0])}
    assert rules.bits(told | {"session_events": np.ones(4)}).tolist() == [0b01, 0b10, 0b10, 0b00]


def test_too_few_events_keep_out_and_throw_out_only_where_nothing_else_does() -> None:
    rules = Rules({"alone": rule("1 < 2", min_events=3), "both": rule("1 < 2", "1 > 2", min_events=3)})
    assert rules.bits({"session_events": np.array([2, 3])}).tolist() == [0b00_10, 0b01_01]


def test_each_segment_has_two_bits_of_its_own() -> None:
    rules = Rules({f"s{place}": rule(f"hour == {place}", "hour == -1") for place in range(MAX_RULES)})
    hours = np.array([0, 1, 7, -1])
    assert rules.names == ("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7")
    assert rules.bits({"hour": hours, "session_events": np.zeros(4)}).tolist() == [
        0b01,
        0b01_00,
        0b01_00_00_00_00_00_00_00,
        0b10_10_10_10_10_10_10_10,
    ]


def test_the_first_segment_that_holds_is_the_one_that_names() -> None:
    inside = np.array([[False, True, True], [True, False, True], [False, False, False], [False, False, True]])
    assert label(inside).tolist() == [1, 0, -1, 2]


def test_without_rules_nobody_is_anywhere() -> None:
    rules = Rules({})
    assert rules.names == ()
    assert rules.bits({"session_events": np.array([1, 2])}).tolist() == [0, 0]
    assert label(members(np.empty((2, 0)), np.empty((2, 0)), np.empty(0))).tolist() == [-1, -1]  # type: ignore[arg-type]


def test_conditions_see_all_signals_and_surroundings() -> None:
    assert {"rate_fast", "n_rage", "silence_s", "cart_items", "hour"} <= set(NUMBERS)
    assert set(TEXTS) == {"device", "connection", "language", "country", "region"}
    assert not set(NUMBERS) & set(TEXTS)
    assert condition(" and ".join([f"{name} >= 0" for name in NUMBERS[:40]])).names == set(NUMBERS[:40])


@pytest.mark.parametrize(
    ("enter", "leave", "message"),
    [
        ("rate_fst > 1", None, "column 1: unknown name rate_fst; did you mean rate_fast?"),
        ("rate_fast > 1", "rate_slow", 'column 1: a number comes out, expected a condition such as "rate_fast > 1"'),
        ("device", None, 'column 1: a text comes out, expected a condition such as "rate_fast > 1"'),
        ("abs(velocity) > 1", None, "column 1: unknown function abs; there are: none"),
        ("rate_fast > 1", "", "column 1: nothing is written"),
    ],
)
def test_a_rule_without_a_condition_is_refused(enter: str, leave: str | None, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Rules({"lively": rule(enter, leave)})
    assert str(caught.value) == message
