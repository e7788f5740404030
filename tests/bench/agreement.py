"""Whether two programs that read the same clicks decided the same, for everybody and to the byte."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import isclose
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from msgspec import json

from tests.bench.ground import Ground
from tests.bench.plain_consumer import PREFIX, TOPICS

TOLERANCE: Final = 1e-9
"""Two machines' exponentials may differ in the last bit of a number; nothing that a page reads may."""

_POLL: Final = 5000
_POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many records the two wrote, and where they part.

    Attributes:
        events: accepted events, of the job and of the other program.
        duplicates: events whose id had come before, likewise.
        rejected: refused records, likewise.
        decisions: likewise.
        missing: decisions, events, duplicates or rejections that only one of them made.
        different: decisions whose ids, arms, items or probabilities differ.
        drifted: decisions that agree, but some number in their record is off by more than `TOLERANCE`.
        same_bytes: decisions that are the same to the byte.
        cards: users whose card in Redis differs.
    """

    events: tuple[int, int]
    duplicates: tuple[int, int]
    rejected: tuple[int, int]
    decisions: tuple[int, int]
    missing: int
    different: int
    drifted: int
    same_bytes: int
    cards: int

    @property
    def agreed(self) -> bool:
        """Whether both decided the same for everybody."""
        return self.decisions[0] > 0 and not (self.missing or self.different or self.drifted or self.cards)

    def details(self) -> dict[str, Any]:
        """All of it, for a report."""
        return asdict(self) | {"agreed": self.agreed}


Key = tuple[Any, ...]


def compare(ground: Ground) -> Agreement:
    """Compare what the job and the plain consumer left behind in Kafka and Redis."""
    bootstrap = ground.settings.kafka.bootstrap
    ours, theirs = ({name: _keyed(bootstrap, topic, name) for name, topic in each.items()} for each in (_OURS, TOPICS))
    missing = sum(len(ours[name].keys() ^ theirs[name].keys()) for name in TOPICS)
    both = [
        (ours["decisions"][key], theirs["decisions"][key]) for key in ours["decisions"].keys() & theirs["decisions"]
    ]
    unlike = [(json.decode(one), json.decode(other)) for one, other in both if one != other]
    different = [pair for pair in unlike if _choices(pair[0]) != _choices(pair[1])]
    drifted = [pair for pair in unlike if _choices(pair[0]) == _choices(pair[1]) and not _close(*pair)]
    return Agreement(
        events=(len(ours["events"]), len(theirs["events"])),
        duplicates=(len(ours["duplicates"]), len(theirs["duplicates"])),
        rejected=(len(ours["rejected"]), len(theirs["rejected"])),
        decisions=(len(ours["decisions"]), len(theirs["decisions"])),
        missing=missing,
        different=len(different),
        drifted=len(drifted),
        same_bytes=len(both) - len(unlike),
        cards=_unlike_cards(ground),
    )


_OURS: Final = {name: name for name in TOPICS}


def _keyed(bootstrap: str, topic: str, kind: str) -> dict[Key, bytes]:
    return {_KEYS[kind](message): message.value() or b"" for message in messages(bootstrap, topic)}


def _event_key(message: Message) -> Key:
    return (message.value(),)


def _rejected_key(message: Message) -> Key:
    record = json.decode(message.value() or b"")
    return record["partition"], record["offset"], record["reason"]


def _decision_key(message: Message) -> Key:
    return message.key(), message.timestamp()[1]


_KEYS: Final[Mapping[str, Callable[[Message], Key]]] = {
    "events": _event_key,
    "duplicates": _event_key,
    "rejected": _rejected_key,
    "decisions": _decision_key,
}


def messages(bootstrap: str, topic: str) -> Iterator[Message]:
    """Read a topic from its beginning to its end."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "agreement", "enable.partition.eof": True})
    reading = set(consumer.list_topics(topic).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in sorted(reading)])
    while reading:
        for message in consumer.consume(_POLL, _POLL_S):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                reading.discard(message.partition())
            else:
                raise RuntimeError(f"{topic}: the broker answers: {error.str()}")
    consumer.close()


def _choices(record: dict[str, Any]) -> Any:
    return record["slots"], record["ver"], record["session"], record["expires"]


def _close(one: Any, other: Any) -> bool:
    """Whether two records are alike but for the last bits of their numbers."""
    if isinstance(one, float) and isinstance(other, float):
        return isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_close, one, other))
    return bool(one == other)


def _unlike_cards(ground: Ground) -> int:
    prefix = ground.settings.redis.prefix
    with ground.redis() as redis:
        cards = [
            {key[len(name) :]: redis.get(key) for key in redis.scan_iter(f"{name.decode()}:{{*}}:d", count=10_000)}
            for name in (prefix.encode(), PREFIX.encode())
        ]
    return sum(cards[0].get(user) != cards[1].get(user) for user in cards[0].keys() | cards[1].keys())
