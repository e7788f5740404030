"""When a store is clean of a person, when it will be by itself, and when somebody has to do something."""

import pytest

from schemas.control import Remains, State
from udfs.erasure import Erasure, Found, Upkeep, by_age, in_redis, in_state, in_topic, upkeep

# Slices of 1 s:    |.....command.....|  over  |............................|
#                 12:00:00   .400   12:00:01  12:00:02                tombstone's end
AT = 1_767_268_800_400
DONE = Erasure(at=AT, slice_end=AT + 600, over=AT + 1_600, until=AT + 3_600_600)
NOW = AT + 10_600
KEPT = Upkeep(compacted=False, lasts_ms=60_000, why="retention.ms + segment.ms")
COMPACTED = Upkeep(compacted=True, lasts_ms=None, why="")
DAY = {"retention.ms": "86400000", "segment.ms": "3600000"}
NO_LAG = {"max.compaction.lag.ms": "9223372036854775807"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"cleanup.policy": "delete", **DAY, **NO_LAG},
            Upkeep(compacted=False, lasts_ms=90_000_000, why="retention.ms + segment.ms"),
        ),
        (
            {"cleanup.policy": "delete", **DAY, **NO_LAG, "retention.ms": "-1"},
            Upkeep(compacted=False, lasts_ms=None, why=""),
        ),
        ({"cleanup.policy": "compact", **DAY, **NO_LAG}, Upkeep(compacted=True, lasts_ms=None, why="")),
        (
            {"cleanup.policy": "compact", **DAY, "max.compaction.lag.ms": "600000"},
            Upkeep(compacted=True, lasts_ms=600_000, why="max.compaction.lag.ms"),
        ),
        (
            {"cleanup.policy": "compact,delete", **DAY, **NO_LAG},
            Upkeep(compacted=True, lasts_ms=90_000_000, why="retention.ms + segment.ms"),
        ),
        (
            {"cleanup.policy": "delete,compact", **DAY, "max.compaction.lag.ms": "600000"},
            Upkeep(compacted=True, lasts_ms=600_000, why="max.compaction.lag.ms"),
        ),
    ],
)
def test_a_record_stays_as_long_as_the_topics_settings_let_it(config: dict[str, str], expected: Upkeep) -> None:
    assert upkeep(config) == expected


def test_redis_is_clean_without_a_key() -> None:
    assert in_redis([]) == Remains("redis", State.CLEAN)


def test_the_jobs_memory_is_unused_once_it_is_a_slice_past_the_erasure_and_gone_after_twice_its_length() -> None:
    why = "unused since the erasure; twice time.memory"
    assert in_state(DONE, DONE.over, 60_000, NOW) == Remains("job state", State.LEAVING, why, 110)
    assert in_state(DONE, DONE.over, 5_000, NOW) == Remains("job state", State.CLEAN)


def test_a_job_that_has_not_come_so_far_still_knows_them() -> None:
    behind = in_state(DONE, DONE.over - 1, 60_000, NOW)
    assert (behind.state, behind.why) == (
        State.DIRTY,
        "the job has come to 2026-01-01T12:00:01.999Z, the erasure is of 2026-01-01T12:00:00.400Z: check again later",
    )
    absent = in_state(DONE, None, 60_000, NOW)
    assert (absent.state, absent.why) == (
        State.DIRTY,
        "no job is heard of, the erasure is of 2026-01-01T12:00:00.400Z: check again later",
    )


def test_what_leaves_by_age_is_on_its_way_until_the_last_of_it_has_left() -> None:
    assert by_age("clicks", "clicks", KEPT, DONE, DONE.over) == Remains(
        "clicks", State.LEAVING, "clicks; retention.ms + segment.ms", 60
    )
    assert by_age("clicks", "clicks", KEPT, DONE, DONE.over + 59_001).seconds == 1
    assert by_age("clicks", "clicks", KEPT, DONE, DONE.over + 60_000) == Remains("clicks", State.CLEAN)


def test_a_topic_that_lets_nothing_leave_is_dirty() -> None:
    kept = Upkeep(compacted=False, lasts_ms=None, why="")
    assert by_age("clicks", "clicks", kept, DONE, NOW) == Remains(
        "clicks", State.DIRTY, "clicks, and nothing ever leaves: set retention.ms"
    )


@pytest.mark.parametrize(
    ("at", "state"),
    [
        (AT, State.LEAVING),
        (DONE.over, State.LEAVING),
        (DONE.over + 1, State.DIRTY),
        (DONE.until, State.DIRTY),
        (DONE.until + 1, State.LEAVING),
    ],
)
def test_a_record_of_the_time_while_the_tombstone_stands_should_not_be_there(at: int, state: State) -> None:
    assert in_topic("events", KEPT, DONE, [Found(0, at, tombstone=False)], NOW).state is state


def test_a_record_after_the_erasure_is_told_with_its_time() -> None:
    found = [Found(0, DONE.over + 1, tombstone=False), Found(1, DONE.over + 398, tombstone=False)]
    assert in_topic("events", KEPT, DONE, found, NOW).why == (
        "a record of 2026-01-01T12:00:02.398Z came after the erasure: run python -m jobs erase again,"
        " with every id the person goes by"
    )


def test_what_came_of_a_decision_before_the_erasure_is_written_later_and_so_leaves_later() -> None:
    # An outcome tells of a decision that was made before, and bears its time.
    before = [Found(0, DONE.over, tombstone=False)]
    assert in_topic("outcomes", KEPT, DONE, before, NOW, behind_ms=960_000) == Remains(
        "outcomes", State.LEAVING, "what came before the erasure; retention.ms + segment.ms", 1_011
    )
    assert in_topic("outcomes", KEPT, DONE, [], NOW + 1_011_000, behind_ms=960_000).state is State.CLEAN


BEFORE, TOMBSTONE = Found(0, AT - 5_000, tombstone=False), Found(0, 0, tombstone=True)


def test_a_compacted_topic_needs_a_tombstone_as_the_last_record_of_each_partition() -> None:
    def state(*found: Found) -> State:
        return in_topic("outcomes", COMPACTED, DONE, found, NOW).state

    assert state() is State.CLEAN
    assert state(TOMBSTONE) is State.CLEAN
    assert state(BEFORE, TOMBSTONE) is State.LEAVING
    assert state(BEFORE) is State.DIRTY
    assert state(TOMBSTONE, BEFORE) is State.DIRTY
    assert state(BEFORE, BEFORE._replace(partition=1), TOMBSTONE) is State.DIRTY
    assert state(BEFORE, BEFORE._replace(partition=1), TOMBSTONE, TOMBSTONE._replace(partition=1)) is State.LEAVING


def test_a_buried_record_goes_when_the_broker_compacts() -> None:
    buried = [BEFORE, TOMBSTONE]
    assert in_topic("outcomes", COMPACTED, DONE, buried, NOW) == Remains(
        "outcomes", State.LEAVING, "as soon as the broker compacts; max.compaction.lag.ms would set a bound"
    )
    bounded = Upkeep(compacted=True, lasts_ms=60_000, why="max.compaction.lag.ms")
    assert in_topic("outcomes", bounded, DONE, buried, NOW) == Remains(
        "outcomes", State.LEAVING, "has its tombstone; max.compaction.lag.ms", 51
    )
    assert in_topic("outcomes", bounded, DONE, buried, NOW + 3_600_000).seconds == 0
