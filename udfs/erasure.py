"""What is left of a person who asked to be forgotten, where, and for how long."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from schemas.control import Remains, State
from schemas.settings import Settings

_FOREVER: Final = 2**63 - 1
_AGAIN: Final = "run python -m jobs erase again"


class Erasure(NamedTuple):
    """When a command to forget somebody counts, ms since 1970.

    Attributes:
        at: its Kafka timestamp.
        slice_end: of its slice; with that the job forgets.
        over: when the job has surely done so: a slice later.
        until: as long the job leaves out what the person does.
    """

    at: int
    slice_end: int
    over: int
    until: int


class Upkeep(NamedTuple):
    """How a topic gets rid of records.

    Attributes:
        compacted: whether a tombstone takes the records of its key away.
        lasts_ms: how long after it was written, or after its tombstone, a record may lie there; None: for ever.
        why: where the number comes from.
    """

    compacted: bool
    lasts_ms: int | None
    why: str


class Found(NamedTuple):
    """A record of a person.

    Attributes:
        partition: where it lies.
        at: what it tells of: event time or slice end, ms since 1970.
        tombstone: whether it has no value.
    """

    partition: int
    at: int
    tombstone: bool


def erasure(at: int, settings: Settings) -> Erasure:
    """Work out when a command takes effect; the formula of the slice end is that of the view `slices`.

    Args:
        at: its Kafka timestamp, ms since 1970.
        settings: the length of a slice and how long a tombstone stands.
    """
    slice_ms = int(settings.time.slice)
    end = (at // slice_ms + 1) * slice_ms
    return Erasure(at, end, end + slice_ms, end + settings.erase.tombstone)


def upkeep(config: Mapping[str, str]) -> Upkeep:
    """Read from a topic's settings on the broker when a record is gone at the latest.

    Old records leave by the segment, and a segment as soon as its newest record is too old: a record may stay for
    `segment.ms` longer than `retention.ms`. Compaction has no bound unless `max.compaction.lag.ms` sets one.

    >>> upkeep({"cleanup.policy": "delete", "retention.ms": "60000", "segment.ms": "1000"})
    Upkeep(compacted=False, lasts_ms=61000, why='retention.ms + segment.ms')
    """
    policy = config["cleanup.policy"]
    bounds: list[tuple[int, str]] = []
    if "delete" in policy and int(config["retention.ms"]) >= 0:
        bounds.append((int(config["retention.ms"]) + int(config["segment.ms"]), "retention.ms + segment.ms"))
    if "compact" in policy and int(config["max.compaction.lag.ms"]) < _FOREVER:
        bounds.append((int(config["max.compaction.lag.ms"]), "max.compaction.lag.ms"))
    lasts_ms, why = min(bounds, default=(None, ""))
    return Upkeep("compact" in policy, lasts_ms, why)


def in_redis(keys: Iterable[str]) -> Remains:
    """Judge the person's keys that Redis holds.

    >>> in_redis(["tt:{k1:0af1}:d"]).why
    'tt:{k1:0af1}:d is there: run python -m jobs erase again'
    """
    held = ", ".join(keys)
    return Remains("redis", State.DIRTY, f"{held} is there: {_AGAIN}") if held else Remains("redis", State.CLEAN)


def in_state(done: Erasure, heartbeat: int | None, memory_ms: int, now: int) -> Remains:
    """Judge the running job's memory.

    Args:
        done: the erasure.
        heartbeat: newest slice end that reached Redis, ms since 1970; None: no job has been heard of.
        memory_ms: `time.memory`; Flink keeps a person's state for twice as long after it was last touched.
        now: ms since 1970.
    """
    if heartbeat is None or heartbeat < done.over:
        heard = "no job is heard of" if heartbeat is None else f"the job has come to {_moment(heartbeat)}"
        return Remains("job state", State.DIRTY, f"{heard}, the erasure is of {_moment(done.at)}: check again later")
    return _leaving("job state", done.slice_end + 2 * memory_ms, now, "unused since the erasure; twice time.memory")


def by_age(name: str, what: str, kept: Upkeep, done: Erasure, now: int) -> Remains:
    """Judge a topic by its settings alone.

    Args:
        name: of the topic.
        what: of the person lies there.
        kept: how it gets rid of records.
        done: the erasure.
        now: ms since 1970.
    """
    if kept.lasts_ms is None:
        return Remains(name, State.DIRTY, f"{what}, and nothing ever leaves: set retention.ms")
    return _leaving(name, done.over + kept.lasts_ms, now, f"{what}; {kept.why}")


def in_topic(
    name: str,
    kept: Upkeep,
    done: Erasure,
    found: Iterable[Found],
    now: int,
    *,
    decided: bool = True,
    behind_ms: int = 0,
) -> Remains:
    """Judge a topic whose records bear the pseudonym.

    Nothing is decided for the person while the tombstone stands. What they do is still written down, for events are
    cleaned before it is known whose they are; it counts for nothing, and leaves by age.

    Args:
        name: of the topic.
        kept: how it gets rid of records.
        done: the erasure.
        found: the person's records within a partition in order: of a compacted topic all, of another one at least
            those that tell of the time after the erasure.
        now: ms since 1970.
        decided: whether the topic holds what was decided, not what the person did.
        behind_ms: how long after what it tells of a record may be written; by its age it leaves so much later.
    """
    records = list(found)
    later = [record.at for record in records if not record.tombstone and done.over < record.at <= done.until]
    if later and decided:
        why = f"a record of {_moment(max(later))} came after the erasure: {_AGAIN}, with every id the person goes by"
        return Remains(name, State.DIRTY, why)
    if not kept.compacted:
        written = max([done.over, *later]) + behind_ms
        return by_age(name, "what came before the erasure", kept, done._replace(over=written), now)
    if any(not newest.tombstone for newest in {record.partition: record for record in records}.values()):
        return Remains(name, State.DIRTY, f"a record has no tombstone after it: {_AGAIN}")
    if all(record.tombstone for record in records):
        return Remains(name, State.CLEAN)
    if kept.lasts_ms is None:
        return Remains(name, State.LEAVING, "as soon as the broker compacts; max.compaction.lag.ms would set a bound")
    left_s = max(0, _seconds(done.over + kept.lasts_ms - now))
    return Remains(name, State.LEAVING, f"has its tombstone; {kept.why}", left_s)


def _leaving(name: str, gone: int, now: int, why: str) -> Remains:
    return Remains(name, State.LEAVING, why, _seconds(gone - now)) if gone > now else Remains(name, State.CLEAN)


def _seconds(ms: int) -> int:
    return -(-ms // 1000)


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
