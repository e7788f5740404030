"""Reads a stretch of the topic `decisions`, and draws from it what stands for all."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from jobs.wiring import reading, wire
from jobs.wiring.publishing import shown
from jobs.wiring.reading import Reader
from schemas.settings import Kafka
from udfs.counting.sampling import Sample

TOPIC: Final = "decisions"

_AT_ONCE: Final = 20_000


def fill(sample: Sample, kafka: Kafka, since: int) -> None:
    """Draw from all decisions since a moment.

    Args:
        sample: what is drawn.
        kafka: where the topic lies.
        since: Kafka timestamp of the first record, ms since 1970.

    Raises:
        Refusal: no broker answers, or the topic is missing.
    """
    wire.require(wire.admin(kafka.bootstrap, kafka.wait), (TOPIC,))
    with reading.opened(kafka.bootstrap) as reader:
        bodies = _bodies(reader, since)
        while batch := list(islice(bodies, _AT_ONCE)):
            sample.add(batch)


def summary(sample: Sample, since: int) -> str:
    """Say what was read and what was left out."""
    left_out = "".join(f", {count} {reason} left out" for reason, count in sorted(sample.left_out.items()))
    return f"{sample.read} decisions since {shown(since)}{left_out}"


def _bodies(reader: Reader, since: int) -> Iterator[bytes]:
    for message in reader.since(TOPIC, since):
        body = message.value()
        if body is not None:
            yield body
