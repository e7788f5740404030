"""How the suite speaks to a broker outside of a Flink job: with few words, bounded waits and no lost records."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import admin as administration
from confluent_kafka.admin import AdminClient

from jobs.wiring import Refusal

LARGEST_BATCH: Final = 8_388_608 + 65_536
"""Bytes of the largest batch that is sent or taken: the largest record of conf/topics.toml and what wraps it."""

Answer = TypeVar("Answer")

_ATTEMPT_S: Final = 1.0
_PAUSE_S: Final = 0.2
_PASSING: Final = (
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - the library's name for it
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
_QUIET: Final = {"log_level": 0, "reconnect.backoff.max.ms": 1000}


class Unreachable(Refusal):
    """No broker answered within the wait; the message is one line and says what to do."""


def admin(bootstrap: str, wait_ms: int) -> AdminClient:
    """Open an administrator's connection to a broker that answers.

    Args:
        bootstrap: address of the broker, `host:port`.
        wait_ms: how long to wait for an answer, milliseconds.

    Raises:
        Unreachable: no broker answered in time.
    """
    client = AdminClient({"bootstrap.servers": bootstrap, **_QUIET})
    deadline = time.monotonic() + wait_ms / 1000
    while True:
        left = deadline - time.monotonic()
        try:
            client.list_topics(timeout=max(0.05, min(left, _ATTEMPT_S)))
        except KafkaException:
            if left > 0:
                continue
            raise Unreachable(
                f"no broker answers at {bootstrap} within {wait_ms / 1000:g} s: "
                "is it running, and is kafka.bootstrap right?"
            ) from None
        return client


def patiently(ask: Callable[[], Answer], wait_s: float = 30.0) -> Answer:
    """Ask a broker again while a partition or a group has nobody who answers for it, as when it is busy or just up.

    Args:
        ask: the question.
        wait_s: how long, seconds.

    Raises:
        KafkaException: it was not that, or took too long.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_S)


def require(client: AdminClient, topics: Iterable[str]) -> None:
    """Make sure that topics exist; a job would only find out minutes later.

    Raises:
        Refusal: one is missing.
    """
    missing = sorted(set(topics) - client.list_topics(timeout=_ATTEMPT_S * 10).topics.keys())
    if missing:
        raise Refusal(f"the broker has no topic {missing[0]}: run python -m jobs topics")


def newest(client: AdminClient, topic: str) -> int:
    """Give the latest timestamp in a topic, ms since 1970; 0 where it holds nothing.

    Raises:
        Refusal: the broker does not say.
    """
    partitions = client.list_topics(topic, timeout=_ATTEMPT_S * 10).topics[topic].partitions
    newest_of: Any = administration.OffsetSpec  # type: ignore[attr-defined]  # it is there, and in the library's guide
    asked = {TopicPartition(topic, each): newest_of.max_timestamp() for each in partitions}
    try:
        found: list[int] = [each.result().timestamp for each in client.list_offsets(asked).values()]
    except KafkaException as error:
        raise Refusal(f"{topic}: the broker does not say how far it goes: {error.args[0].str()}") from None
    return max([0, *found])


def producer(bootstrap: str, *, give_up_ms: int = 120_000, transactional_id: str = "") -> Producer:
    """Open a producer that neither repeats nor reorders what it sends.

    Keys find their partitions by the hash that Flink and every JVM client use, so that one user's records from
    Python and from a tracker meet in one partition.

    Args:
        bootstrap: address of the broker, `host:port`.
        give_up_ms: after how many milliseconds without acknowledgement a record is reported as not delivered, and a
            transaction that nobody ends is undone.
        transactional_id: under which its transactions go on after a restart; empty where it makes none.
    """
    transactions = {"transactional.id": transactional_id, "transaction.timeout.ms": give_up_ms}
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "message.max.bytes": LARGEST_BATCH,
            "delivery.timeout.ms": give_up_ms,
            **(transactions if transactional_id else {}),
            **_QUIET,
        }
    )
