"""Forgets people: tells the running jobs, empties what pages read, and says when each store will be clean."""

import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from confluent_kafka import KafkaError, Message
from msgspec import ValidationError, convert, json

from jobs.topics import Actual, actual_topics
from jobs.wiring import Refusal, wire
from jobs.wiring.cards import TROUBLES, connect
from jobs.wiring.keys import key_ring
from jobs.wiring.remains import CONTROL, KEYED, NAMING, RAW, commanded, heartbeat, keys_of, look
from schemas.control import Action, Command, Receipt, State
from schemas.events import UserId
from schemas.settings import Settings
from udfs.cleaning.pseudonym import pseudonymiser
from udfs.erasure import erasure, upkeep

_POLL_S: Final = 0.05
_AT_ONCE: Final = 10_000  # the client queues ten times as many


class Addressed(NamedTuple):
    """A record about one person.

    Attributes:
        topic: where it goes.
        user_id: its key, a pseudonym.
        value: None is a tombstone.
        partition: -1 is the one that the key finds.
    """

    topic: str
    user_id: str
    value: bytes | None
    partition: int = -1


class _Parser(ArgumentParser):
    """Says what does not fit without repeating it: it may be a person's id."""

    def error(self, message: str) -> NoReturn:
        """Refuse.

        Raises:
            Refusal: always.
        """
        del message
        usage = " ".join(self.format_usage().split())
        raise Refusal(f"erase: the arguments do not fit; {usage}; put -- before ids that begin with a dash")


def main(settings: Settings, arguments: list[str]) -> int:
    """Erase people, or check it, and print a line for each pseudonym and store; 1 where one is dirty.

    Raises:
        Refusal: an id or a key does not fit, or broker or Redis do not answer.
    """
    asked = _parser().parse_args(arguments)
    users = pseudonyms(settings, _ids(asked.users))
    admin = wire.admin(settings.kafka.bootstrap, settings.kafka.wait)
    wire.require(admin, [CONTROL])
    actual = actual_topics(admin, (CONTROL, RAW, NAMING, *KEYED))
    kept = {name: upkeep(topic.config) for name, topic in actual.items()}
    burying = {name: topic for name, topic in actual.items() if name in KEYED and kept[name].compacted}
    try:
        with closing(connect(settings.redis)) as redis:
            if asked.check:
                commands = commanded(settings.kafka.bootstrap, users)
            else:
                commands = forget(settings, redis, users, burying)
            receipts = look(settings, redis, users, commands, kept)
    except TROUBLES as error:
        raise Refusal(f"redis: {error}; once it answers, run this again") from error
    print("\n".join(lines(receipts)))
    if asked.receipt:
        _keep(asked.receipt, receipts)
    return int(any(remains.state is State.DIRTY for receipt in receipts for remains in receipt.stores))


def pseudonyms(settings: Settings, ids: Iterable[str]) -> list[str]:
    """Give every name under which people are known: one for each key of the ring, in the order of the ids.

    Raises:
        Refusal: there is no usable key, or an id can be nobody's; it is named by its number, never shown.
    """
    checked = [_checked(number, user_id) for number, user_id in enumerate(ids, start=1)]
    if not checked:
        raise Refusal("erase: nobody is named; give raw user ids, or - to read them from the standard input")
    hashes = [pseudonymiser(key.secret, key.id) for key in key_ring(settings.pseudonyms, os.environ)]
    return list(dict.fromkeys(hashed(user_id) for user_id, hashed in product(checked, hashes)))


def forget(settings: Settings, redis: Any, users: Sequence[str], burying: dict[str, Actual]) -> dict[str, int]:
    """Tell the jobs, wait until they have heard, then empty Redis and bury what compacted topics hold.

    Args:
        settings: broker, Redis, and how long to wait.
        redis: a client.
        users: pseudonyms.
        burying: the compacted topics.

    Returns:
        The Kafka timestamp of each one's command, ms since 1970.

    Raises:
        Refusal: the broker does not take a record.
        RedisError: Redis does not answer.
    """
    said = [Addressed(CONTROL, user_id, json.encode(Command(Action.ERASE, user_id))) for user_id in users]
    commands = send(settings, said)
    # Sooner, a job that is about to decide an earlier slice would write card and record anew.
    _await(settings, redis, max(erasure(at, settings).over for at in commands.values()))
    for user_id in users:
        for key in keys_of(user_id, settings.redis.prefix):
            redis.delete(key)
    tombstones = (
        # A key has one partition until its topic grows, and compaction looks at each partition alone.
        Addressed(name, user_id, None, partition)
        for name, topic in burying.items()
        for user_id, partition in product(users, range(topic.partitions))
    )
    send(settings, tombstones)
    return commands


def send(settings: Settings, records: Iterable[Addressed]) -> dict[str, int]:
    """Write records, and return when the broker has them all: each person's last Kafka timestamp, ms since 1970.

    Raises:
        Refusal: the broker does not take one.
    """
    producer = wire.producer(settings.kafka.bootstrap, give_up_ms=settings.kafka.wait)
    refused: list[str] = []
    stamps: dict[str, int] = {}

    def answered(error: KafkaError | None, message: Message) -> None:
        if error:
            refused.append(f"{message.topic()}: {error.str()}")
        else:
            stamps[(message.key() or b"").decode()] = message.timestamp()[1]

    for record in records:
        producer.produce(record.topic, record.value, record.user_id, partition=record.partition, on_delivery=answered)
        if len(producer) >= _AT_ONCE:
            producer.flush()
    producer.flush()
    if refused:
        raise Refusal(f"the broker does not take every record; run this again: {refused[0]}")
    return stamps


def lines(receipts: Iterable[Receipt]) -> Iterator[str]:
    """Say it for people: pseudonym, store, state, seconds until clean, why.

    >>> from schemas.control import Remains
    >>> list(lines([Receipt("k1:0af1", 0, [Remains("clicks", State.LEAVING, "retention.ms", 60)])]))
    ['k1:0af1  clicks      leaving  clean in 60 s: retention.ms']
    """
    for receipt in receipts:
        for remains in receipt.stores:
            left = "" if remains.seconds is None else f"clean in {remains.seconds} s: "
            yield f"{receipt.user_id}  {remains.store:<10}  {remains.state.value:<7}  {left}{remains.why}".rstrip()


def _await(settings: Settings, redis: Any, moment: int) -> None:
    deadline = time.monotonic() + settings.erase.wait / 1000
    while (heartbeat(redis, settings.redis.prefix) or 0) < moment and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _ids(given: Iterable[str]) -> Iterator[str]:
    for one in given:
        if one == "-":
            try:
                yield from (line.removesuffix("\n") for line in sys.stdin if line.strip())
            except UnicodeDecodeError:
                raise Refusal("erase: the standard input is not UTF-8") from None
        else:
            yield one


def _checked(number: int, user_id: str) -> str:
    try:
        user_id.encode()
        return convert(user_id, UserId)
    except (UnicodeEncodeError, ValidationError):
        raise Refusal(f"erase: user id number {number} is no text of 1 to 256 characters") from None


def _keep(file: Path, receipts: Sequence[Receipt]) -> None:
    try:
        file.write_bytes(json.format(json.encode(receipts), indent=1) + b"\n")
    except OSError as error:
        raise Refusal(f"--receipt: cannot write {file}: {error.strerror}") from error


def _parser() -> ArgumentParser:
    parser = _Parser(prog="python -m jobs erase", description=__doc__, allow_abbrev=False)
    parser.add_argument("users", metavar="USER", nargs="*", help="raw user ids; - reads them from the standard input")
    parser.add_argument("--check", action="store_true", help="change nothing, only look")
    parser.add_argument("--receipt", metavar="FILE", type=Path, help="write what was found as JSON, too")
    return parser
