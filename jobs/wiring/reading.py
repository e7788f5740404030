"""Reads a topic's records by their time or by their place, without a consumer group's memory."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from jobs.wiring import Refusal, wire

Spot = tuple[int, int]
"""Partition and offset."""

_WAIT_S: Final = 30.0
_FAR: Final = 2_000
"""So many records are read through sooner than a jump is worth it."""


class Reader:
    """Reads topics of one broker, one call at a time; of transactions it sees what was committed.

    Args:
        consumer: see `opened`.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def since(self, topic: str, at: int = 0) -> Iterator[Message]:
        """Give the records from a moment to the end that the topic has now, within a partition in order.

        Args:
            topic: by name.
            at: Kafka timestamp of the first record of each partition, ms since 1970; 0 is the topic's beginning.

        Raises:
            KafkaException: it cannot be read; see `opened`.
            Refusal: the broker stopped answering.
        """
        ends = self._ends(topic)
        starts = dict.fromkeys(ends, OFFSET_BEGINNING) if at <= 0 else self._starts(topic, ends, at)
        left = {each: high for each, (low, high) in ends.items() if high > low and starts[each] != OFFSET_END}
        self._consumer.assign([TopicPartition(topic, each, starts[each]) for each in left])
        while left:
            message = self._next(topic)
            partition, offset = spot_of(message)
            ended = message.error() is not None
            if not ended and offset < left.get(partition, 0):
                yield message
            if ended or offset + 1 >= left.get(partition, 0):
                left.pop(partition, None)

    def length(self, topic: str) -> int:
        """Count a topic's records by its offsets; the marks of transactions count too.

        Raises:
            KafkaException: it cannot be read; see `opened`.
        """
        return sum(high - low for low, high in self._ends(topic).values())

    def lying_at(self, topic: str, spots: Iterable[Spot]) -> Iterator[tuple[Spot, Message | None]]:
        """Give the records at certain places in the order of these, None where there is none any more.

        Args:
            topic: by name.
            spots: of the records; each once.

        Raises:
            KafkaException: it cannot be read; see `opened`.
            Refusal: the broker stopped answering.
        """
        ends = self._ends(topic)
        for partition, group in groupby(sorted(spots), key=lambda spot: spot[0]):
            low, high = ends.get(partition, (0, 0))
            for there, some in groupby(group, key=lambda spot: low <= spot[1] < high):
                offsets = [offset for _, offset in some]
                yield from (
                    self._in_partition(topic, partition, offsets)
                    if there
                    else (((partition, offset), None) for offset in offsets)
                )

    def _in_partition(self, topic: str, partition: int, offsets: list[int]) -> Iterator[tuple[Spot, Message | None]]:
        ahead: Message | None = None
        at = -_FAR
        for offset in offsets:
            if offset - at >= _FAR:
                self._consumer.assign([TopicPartition(topic, partition, offset)])
                ahead = None
            while ahead is None or (at < offset and ahead.error() is None):
                ahead = self._next(topic)
                _, at = spot_of(ahead)
            yield (partition, offset), ahead if at == offset and ahead.error() is None else None

    def _next(self, topic: str) -> Message:
        """Take one record, or the word that a partition ends here."""
        message = self._consumer.poll(_WAIT_S)
        if message is None:
            raise Refusal(f"{topic}: the broker stopped answering")
        error = message.error()
        if error and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's name for it
            raise KafkaException(error)
        return message

    def _ends(self, topic: str) -> dict[int, tuple[int, int]]:
        partitions = self._consumer.list_topics(topic, _WAIT_S).topics[topic].partitions
        return {each: self._range(TopicPartition(topic, each)) for each in partitions}

    def _range(self, partition: TopicPartition) -> tuple[int, int]:
        """Ask where a partition begins and ends."""
        return wire.patiently(lambda: self._consumer.get_watermark_offsets(partition, _WAIT_S))

    def _starts(self, topic: str, partitions: Iterable[int], at: int) -> dict[int, int]:
        asked = [TopicPartition(topic, each, at) for each in partitions]
        found = wire.patiently(lambda: self._consumer.offsets_for_times(asked, _WAIT_S))
        return {each.partition: each.offset for each in found}


@contextmanager
def opened(bootstrap: str) -> Iterator[Reader]:
    """Open a reader for as long as the `with` block lasts.

    Args:
        bootstrap: address of the broker, `host:port`.

    Raises:
        Refusal: the broker does not let a topic be read.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reading",  # the library asks for one; nothing is committed under it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",  # what retention takes while it is being read is skipped
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
    )
    try:
        yield Reader(consumer)
    except KafkaException as error:
        raise Refusal(f"the broker cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()


def spot_of(message: Message) -> Spot:
    """Say where a record lies."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset
