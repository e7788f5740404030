"""Lets the past happen again: a file's records, or a topic's, fed to an embedded broker at their own times."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message
from msgspec import json
from msgspec.structs import replace

from jobs.wiring import Refusal, reading, wire
from schemas.events import PULSE_BODY
from schemas.settings import Topic
from udfs.payloads.mapping import Part

EARLIEST_MS: Final = 1
"""When records happen that have no time and none before them; to the client library 0 means now."""

_LATEST_MS: Final = 4_102_444_800_000
_WAIT_S: Final = 30.0
_ENDLESS: Final = str(2**63 - 1)


class Record(NamedTuple):
    """One record of the raw topic, and when and where it is to lie there.

    Attributes:
        at: its Kafka timestamp, ms since 1970.
        partition: of the topic.
        key: the raw user id, if it has one.
        body: what the tracker sent; None is a record without a value.
    """

    at: int
    partition: int
    key: bytes | None
    body: bytes | None


class Taken(NamedTuple):
    """One record of a topic, as it lies there."""

    partition: int
    offset: int
    at: int
    key: bytes | None
    body: bytes | None


class Survey(NamedTuple):
    """What a file holds.

    Attributes:
        lines: in the file.
        bare: lines that hold no record of a person: pulses, empty lists.
        records: to be fed.
        in_order: whether no record is older than the one before it.
    """

    lines: int
    bare: int
    records: int
    in_order: bool


def lines(path: Path) -> Iterator[bytes]:
    """Read the records of a file, or of a folder's files in the order of their names; names with .gz are unpacked.

    A record is a line. In a .csv file it is a row, given as JSON under the names of its first row, empty fields left
    out; a .json file that is JSON as a whole is one record.

    Raises:
        Refusal: it cannot be read, or is damaged.
    """
    if path.is_dir():
        for inner in sorted(each for each in path.rglob("*") if _kind_of(each) in _KINDS):
            yield from lines(inner)
        return
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from _READERS.get(_kind_of(path), _by_line)(file)
    except (OSError, EOFError, zlib.error, csv.Error, ValueError) as error:
        raise Refusal(f"{path}: cannot be read: {error}") from error


def of_line(line: bytes, apart: Callable[[bytes], list[Part]], partitions: int, before: int) -> list[Record]:
    """Give a line's records, one an event; one that cannot be understood is fed as it is, for the job to refuse.

    Args:
        line: of the file.
        apart: how the format takes a record apart, see `udfs.payloads.mapping.parts`.
        partitions: of the raw topic.
        before: time of the record before, ms; for records that have none.

    >>> from schemas.formats import Format
    >>> from udfs.payloads.mapping import parts
    >>> of_line(b'{"user_id":"eve","occurred_at":1767225600000}', parts(Format(about="")), 4, 7)
    [Record(at=1767225600000, partition=2, key=b'eve', body=b'{"user_id":"eve","occurred_at":1767225600000}')]
    >>> of_line(b"no json", parts(Format(about="")), 4, 7)
    [Record(at=7, partition=0, key=None, body=b'no json')]
    """
    if line == PULSE_BODY:
        return []  # a pulse has no time of its own, and a bounded replay needs none
    try:
        found = apart(line)
    except (ValueError, RecursionError):
        return [Record(before, partition_of(None, partitions), None, line)]
    records: list[Record] = []
    for part in found:
        key = part.user_id.encode() if part.user_id is not None else None
        before = part.at if part.at is not None and EARLIEST_MS <= part.at <= _LATEST_MS else before
        records.append(Record(before, partition_of(key, partitions), key, part.body))
    return records


def survey(path: Path, apart: Callable[[bytes], list[Part]]) -> Survey:
    """Read a file once to know how much it holds and whether it is in the order of time.

    Raises:
        Refusal: it cannot be read.
    """
    count = bare = fed = newest = 0
    in_order = True
    for found in _fed(path, apart, 1):
        count += 1
        bare += not found
        fed += len(found)
        for record in found:
            in_order = in_order and record.at >= newest
            newest = max(newest, record.at)
    return Survey(count, bare, fed, in_order)


def records(path: Path, apart: Callable[[bytes], list[Part]], partitions: int, *, in_order: bool) -> Iterable[Record]:
    """Give a file's records in the order of time: as they come, or sorted in memory where the file is not.

    Records of the same time stay in the file's order.
    """
    found = chain.from_iterable(_fed(path, apart, partitions))
    return found if in_order else sorted(found, key=lambda record: record.at)


def partition_of(key: bytes | None, partitions: int) -> int:
    """Choose a partition by the key alone, whatever client writes.

    >>> partition_of(b"eve", 4), partition_of(None, 4)
    (2, 0)
    """
    return zlib.crc32(key or b"") % partitions


def replayable(topics: Mapping[str, Topic]) -> dict[str, Topic]:
    """Let topics hold the past: the raw one takes each record's own time, and none drops what is old."""
    ageless = {"retention.ms": "-1", "message.timestamp.after.max.ms": _ENDLESS}
    return {
        name: replace(
            topic,
            config=topic.config
            | ageless
            | ({"message.timestamp.type": "CreateTime"} if "message.timestamp.type" in topic.config else {}),
        )
        for name, topic in topics.items()
    }


def produce(bootstrap: str, topic: str, fed: Iterable[Record]) -> None:
    """Write records to a topic, in their order, and return when the broker has them all.

    Raises:
        Refusal: the broker does not take one.
    """
    refused: list[str] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error:
            refused.append(error.str())

    producer = wire.producer(bootstrap)
    for number, record in enumerate(fed, start=1):
        while not refused:
            try:
                producer.produce(
                    topic,
                    record.body,
                    record.key,
                    partition=record.partition,
                    timestamp=record.at,
                    on_delivery=delivered,
                )
            except BufferError:
                producer.poll(1.0)
                continue
            except KafkaException as error:
                refused.append(f"record {number}: {error.args[0].str()}")
            break
        if refused:
            break
        producer.poll(0)
    left = producer.flush(_WAIT_S)
    if refused or left:
        raise Refusal(f"{topic}: the broker does not take the records: {refused[0] if refused else 'no answer'}")


def collect(bootstrap: str, topic: str) -> list[Taken]:
    """Read a topic from its beginning to the end that it has now; within a partition in order.

    Raises:
        Refusal: the broker does not answer, or stops answering.
    """
    with reading.opened(bootstrap) as reader:
        return [
            Taken(*reading.spot_of(message), message.timestamp()[1], message.key(), message.value())
            for message in reader.since(topic)
        ]


def length(bootstrap: str, topic: str) -> int:
    """Count a topic's records by its offsets; the marks of transactions count too.

    Raises:
        Refusal: the broker does not answer.
    """
    with reading.opened(bootstrap) as reader:
        return reader.length(topic)


def _fed(path: Path, apart: Callable[[bytes], list[Part]], partitions: int) -> Iterator[list[Record]]:
    before = EARLIEST_MS
    for line in lines(path):
        found = of_line(line, apart, partitions, before)
        before = found[-1].at if found else before
        yield found


def _kind_of(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix


def _by_line(file: io.BufferedIOBase) -> Iterator[bytes]:
    for line in file:
        yield line.removesuffix(b"\n")


def _by_row(file: io.BufferedIOBase) -> Iterator[bytes]:
    rows = csv.reader(line.decode() for line in file)
    names = next(rows, [])
    for row in rows:
        if len(row) != len(names):
            raise ValueError(f"line {rows.line_num}: {len(row)} fields, but {len(names)} names in the first row")
        yield json.encode({name: field for name, field in zip(names, row, strict=True) if field})


def _whole(file: io.BufferedIOBase) -> Iterator[bytes]:
    body = file.read()
    try:
        json.decode(body)
    except (ValueError, RecursionError):
        yield from body.removesuffix(b"\n").split(b"\n")
    else:
        yield body


_READERS: Final[Mapping[str, Callable[[io.BufferedIOBase], Iterator[bytes]]]] = {".csv": _by_row, ".json": _whole}
_KINDS: Final = {*_READERS, ".jsonl", ".ndjson", ".tsv"}
"""The files of a folder that hold records; the rest says where they come from."""
