"""The topics as Flink sees them: sources and sinks, derived from the schemas and the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import Struct
from pyflink.table import TableEnvironment

from jobs.wiring import wire
from jobs.wiring.flow import Interval
from schemas.derive import Column, columns, ddl
from schemas.settings import Settings

_BODY = Column("body", "BYTES")
_USER = Column("user_id", "STRING")
_RECORD = Column("record", "STRING")
_TIME = Column("event_time", "TIMESTAMP_LTZ(3)", metadata="timestamp")
_PLACE = (
    Column("partition", "INT", metadata="partition", virtual=True),
    Column("offset", "BIGINT", metadata="offset", virtual=True),
)


FOREVER_MS: Final = 4_102_444_800_000
"""The year 2100: as long as nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Where a job starts and stops reading.

    Attributes:
        bounded: stop at the end that the topic has now, and start from its beginning.
        until_ms: event time after which nothing is told, ms since 1970. When a bounded topic ends, so does its clock,
            and all that waits for a time to pass would happen at once: also what that time has not come for.
    """

    bounded: bool = False
    until_ms: int = FOREVER_MS

    @classmethod
    def all_of(cls, settings: Settings, topic: str) -> "Reading":
        """Read what a topic holds now, from its beginning to its end.

        Raises:
            Refusal: the broker does not answer.
        """
        client = wire.admin(settings.kafka.bootstrap, settings.kafka.wait)
        return cls(bounded=True, until_ms=wire.newest(client, topic))


def raw_source(table: TableEnvironment, settings: Settings, topic: str, reading: Reading) -> None:
    """Declare a raw topic: bytes, the record's place, and its Kafka timestamp as event time."""
    _source(table, settings, topic, reading, fields=(_BODY, *_PLACE), form={"format": "raw"})


def text_source(table: TableEnvironment, settings: Settings, topic: str, reading: Reading) -> None:
    """Declare a topic of JSON records unread: each as text, NULL for a tombstone, with its place and event time."""
    _source(table, settings, topic, reading, fields=(_RECORD, *_PLACE), form={"format": "raw"})


def source(table: TableEnvironment, settings: Settings, topic: str, record: type[Struct], reading: Reading) -> None:
    """Declare a topic that the suite's own verbs write: the record's fields, all NULL in a pulse, and event time."""
    # A field that is not there, as in a pulse, is NULL; so is everything in what is no JSON.
    form = {"format": "json", "json.ignore-parse-errors": "true"}
    _source(table, settings, topic, reading, fields=columns(record), form=form)


def _source(
    table: TableEnvironment,
    settings: Settings,
    topic: str,
    reading: Reading,
    *,
    fields: Sequence[Column],
    form: Mapping[str, str],
) -> None:
    time = settings.time
    options = _kafka(settings, topic) | {
        **form,
        # What a transaction left behind that was never finished is no record.
        "properties.isolation.level": "read_committed",
        "properties.group.id": f"{settings.kafka.group}-{topic}",
        "properties.auto.offset.reset": "earliest",
        "properties.fetch.message.max.bytes": "8388608",
        "scan.watermark.idle-timeout": f"{time.idle} ms",
        "scan.watermark.alignment.group": "sources",
        "scan.watermark.alignment.max-drift": "5 s",
        "scan.topic-partition-discovery.interval": "60 s",
    }
    if reading.bounded:
        options |= {"scan.startup.mode": "earliest-offset", "scan.bounded.mode": "latest-offset"}
        # A broker that stalls must not make a partition look idle: what comes out would depend on the wall clock.
        del options["scan.topic-partition-discovery.interval"], options["scan.watermark.idle-timeout"]
        # To hold back a partition that has just been read to its end fails the job: "No current assignment".
        del options["scan.watermark.alignment.group"], options["scan.watermark.alignment.max-drift"]
    else:
        options |= {"scan.startup.mode": "group-offsets"}
    timed = (*fields, Column("event_time", "TIMESTAMP_LTZ(3)", metadata="timestamp", virtual=True))
    watermark = ("event_time", f"`event_time` - {Interval(time.disorder)}")
    table.execute_sql(ddl(topic, timed, options, watermark=watermark))


def sink(table: TableEnvironment, settings: Settings, topic: str, *, keyed: bool = True) -> None:
    """Declare a topic of JSON records; a keyed one is partitioned by user and carries the event time."""
    options = _kafka(settings, topic) | {
        "value.format": "raw",
        "properties.compression.type": "lz4",
        "properties.linger.ms": "5",
        "properties.max.request.size": "8388608",
        "sink.delivery-guarantee": "exactly-once" if settings.kafka.exactly_once else "at-least-once",
    }
    if keyed:
        options |= {"key.format": "raw", "key.fields": "user_id", "value.fields-include": "EXCEPT_KEY"}
    if settings.kafka.exactly_once:
        options |= {
            "sink.transactional-id-prefix": f"{settings.kafka.group}-{topic}",
            "sink.transaction-naming-strategy": "POOLING",
            "properties.transaction.timeout.ms": "900000",
        }
    table.execute_sql(ddl(topic, (_USER, _RECORD, _TIME) if keyed else (_RECORD,), options))


def nowhere(table: TableEnvironment, name: str, sql_type: str) -> None:
    """Declare where a function's word goes that nobody reads: without a sink it would not be called."""
    table.execute_sql(ddl(name, (Column("said", sql_type),), {"connector": "blackhole"}))


def _kafka(settings: Settings, topic: str) -> dict[str, str]:
    return {"connector": "kafka", "topic": topic, "properties.bootstrap.servers": settings.kafka.bootstrap}
