"""Looks for an erased person in every store: what is still there, and until when."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Message
from msgspec import DecodeError, Struct, json

from jobs.wiring import Refusal, reading
from schemas.contract import REDIS_KEYS
from schemas.control import Action, Command, Receipt, Remains, State
from schemas.decisions import Heartbeat
from schemas.settings import Settings
from udfs.erasure import Erasure, Found, Upkeep, by_age, erasure, in_redis, in_state, in_topic

CONTROL: Final = "control"
RAW: Final = "clicks"
KEYED: Final = ("events", "duplicates", "decisions", "segments", "outcomes", "uncertain")
"""Topics whose records bear the pseudonym as their key."""

DONE: Final = frozenset({"events", "duplicates"})
"""Those of them that hold what people did."""

AFTERWARDS: Final = frozenset({"outcomes", "uncertain"})
"""Those of them that tell of a decision long after it: the job `learn` waits for what comes of it."""

NAMING: Final = "rejected"
"""The topic whose records name a pseudonym without being keyed by it."""

_LOOKS_MS: Final = (3_600_000, 86_400_000)  # most are checked soon; the pulses of two months take over a minute


class _Line(Struct):
    """What is read of a record: whose it is, whose account it names, and of when."""

    user_id: str = ""
    account: str = ""
    at: int = 0
    seq: int = 0


_line: Final = json.Decoder(_Line).decode
_command: Final = json.Decoder(Command).decode


def now_ms() -> int:
    """Read the wall clock, ms since 1970."""
    return time.time_ns() // 1_000_000


def keys_of(user_id: str, prefix: str) -> list[str]:
    """Name all keys that Redis may hold of a person, as the contract lists them.

    >>> keys_of("k1:0af1", "tt")
    ['tt:{k1:0af1}:d', 'tt:{k1:0af1}:s:rules', 'tt:{k1:0af1}:s:clusters']
    """
    of_a_person = [key for key in REDIS_KEYS if "<user>" in key]
    return [key.replace("<prefix>", prefix).replace("<user>", user_id) for key in of_a_person]


def heartbeat(redis: Any, prefix: str) -> int | None:
    """Say how far the job has come: the newest slice end that reached Redis, ms since 1970; None: none is heard of.

    Raises:
        Refusal: the key holds something else.
        RedisError: Redis does not answer.
    """
    key = f"{prefix}:meta"
    value = redis.get(key)
    try:
        return None if value is None else json.decode(value, type=Heartbeat).seq
    except DecodeError as error:
        raise Refusal(f"redis: {key} holds no heartbeat: {error}") from error


def commanded(bootstrap: str, users: Iterable[str]) -> dict[str, int]:
    """Find each one's newest command in the topic `control`: its Kafka timestamp, ms since 1970.

    Args:
        bootstrap: address of the broker.
        users: pseudonyms; those without a command are left out of the answer.

    Raises:
        Refusal: the broker does not answer.
    """
    wanted, found, now = set(users), dict[str, int](), now_ms()
    with reading.opened(bootstrap) as reader:
        for since in (*(now - far for far in _LOOKS_MS), 0):
            for message in reader.since(CONTROL, since):
                user_id = _key(message)
                if user_id in wanted and _erases(message):
                    found[user_id] = max(found.get(user_id, 0), message.timestamp()[1])
            if found.keys() == wanted:
                break
    return found


def look(
    settings: Settings, redis: Any, users: Sequence[str], commands: Mapping[str, int], kept: Mapping[str, Upkeep]
) -> list[Receipt]:
    """Look into every store, and say how it stands to each person.

    Topics are read in all their partitions, though a key has one: when a topic grows, its keys move.

    Args:
        settings: broker, Redis, slices and memory.
        redis: a client.
        users: pseudonyms.
        commands: the Kafka timestamp of each one's newest command, ms since 1970.
        kept: the topics that the broker has.

    Raises:
        Refusal: the broker does not answer, or a value is none of the suite's.
        RedisError: Redis does not answer.
    """
    done = {user_id: erasure(at, settings) for user_id, at in commands.items()}
    with reading.opened(settings.kafka.bootstrap) as reader:
        found = {
            topic: _found(reader, topic, done, whole=kept[topic].compacted)
            for topic in (*KEYED, NAMING)
            if topic in kept and done
        }
    heard, now = heartbeat(redis, settings.redis.prefix), now_ms()
    # A card is shown until then, and what comes of it is told a window later.
    waiting = int(settings.decide.valid + settings.redis.grace + settings.learn.window)

    def stores(user_id: str) -> Iterator[Remains]:
        yield in_redis(key for key in keys_of(user_id, settings.redis.prefix) if redis.exists(key))
        if user_id not in done:
            yield Remains(CONTROL, State.DIRTY, "nobody has asked to forget them: run python -m jobs erase")
            return
        mine = done[user_id]
        yield by_age(CONTROL, "the command itself", kept[CONTROL], mine, now)
        yield in_state(mine, heard, settings.time.memory, now)
        if RAW in kept:
            yield by_age(RAW, "what trackers sent before the erasure", kept[RAW], mine, now)
        for topic, records in found.items():
            behind_ms = waiting if topic in AFTERWARDS else 0
            mine_there, decided = records.get(user_id, []), topic not in DONE
            yield in_topic(topic, kept[topic], mine, mine_there, now, decided=decided, behind_ms=behind_ms)

    return [Receipt(user_id, now, list(stores(user_id)), commands.get(user_id)) for user_id in users]


def _found(
    reader: reading.Reader, topic: str, done: Mapping[str, Erasure], *, whole: bool
) -> Mapping[str, list[Found]]:
    """Collect people's records: of a compacted topic all, of another one those since the first erasure."""
    found: defaultdict[str, list[Found]] = defaultdict(list)
    since = 0 if whole else min(each.at for each in done.values())
    for message in reader.since(topic, since):
        line, key = _read(topic, message), _key(message)
        # A tombstone buries what has its key, whoever else is named there.
        for user_id in done.keys() & ({key} if whole else {key, line.user_id, line.account}):
            partition, _ = reading.spot_of(message)
            found[user_id].append(Found(partition, line.seq or line.at, message.value() is None))
    return found


def _read(topic: str, message: Message) -> _Line:
    value = message.value()
    try:
        return _Line() if value is None else _line(value)
    except DecodeError as error:
        partition, offset = reading.spot_of(message)
        raise Refusal(f"{topic}, partition {partition}, offset {offset}: no record of the suite: {error}") from error


def _erases(message: Message) -> bool:
    """Tell a command from what else an operator may have written."""
    try:
        return _command(message.value() or b"").action is Action.ERASE
    except DecodeError:
        return False


def _key(message: Message) -> str:
    return (message.key() or b"").decode(errors="replace")
