"""What a page does to show a decision: one read, a ladder of fallbacks, never an exception.

A downstream service copies this file as it is; it needs `redis` and the standard library. Other languages port it and
run reader_vectors.json. The names and shapes are explained in CONTRACT.md.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Protocol

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError, ResponseError
from redis.retry import Retry

CONTRACT_VERSION: Final = 1
CONNECT_TIMEOUT_S: Final = 0.020
READ_TIMEOUT_S: Final = 0.050
FRESH_MS: Final = 30_000
"""How old the heartbeat may be. It covers a restart of the job (15 s); a card's own expiry bounds what it shows."""

REASONS: Final = {
    "killed": "The kill flag, or the slot's flag, is set.",
    "unreachable": "Redis did not answer in time, or refused.",
    "malformed": "A value is not of the contract's shape. Flags that cannot be read count as a kill.",
    "unknown_version": "The value's `v` is not one this reader knows.",
    "expired": "The card, or the slot, is past its `expires`.",
    "stale_heartbeat": "The pipeline has not been heard of for longer than `fresh_ms`.",
    "missing": "There is no such key, or the card does not hold the slot.",
}
"""Why a read was not answered from the user's own card. Of several, the first counts."""

SlotCard = Mapping[str, Any]


class Pipeline(Protocol):
    """What is asked of redis-py's pipeline."""

    def get(self, name: str) -> object:
        """Queue a GET."""

    def execute(self, raise_on_error: bool = ...) -> Sequence[object]:
        """Send what is queued and return the answers in order."""


class Client(Protocol):
    """What is asked of redis-py's Redis or RedisCluster."""

    def pipeline(self, transaction: bool = ...) -> Pipeline:
        """Start a pipeline."""


@dataclass(frozen=True)
class Read:
    """What to show, and where it came from.

    `slots` holds each slot that some rung could answer. `source` is the best rung that answered one: user, segment,
    default or caller; `sources` says it for each slot. `reason` says why it is not the user's own card (None if it
    is). `seq` is the slice end of the card behind `source` and `age_ms` its age; a caller's constant has neither.
    """

    slots: dict[str, SlotCard]
    source: str
    reason: str | None
    age_ms: int | None
    seq: int | None
    sources: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Rung:
    """One step of the ladder: its slots that may be shown, why its others may not, why the whole card may not."""

    name: str
    slots: Mapping[str, SlotCard]
    kept_back: Mapping[str, str]
    reason: str | None = None
    seq: int | None = None


class _Refused(Exception):  # noqa: N818 - it carries a reason code, and never leaves this file
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Reader:
    """Reads cards. One instance serves all threads of a service, as its client does."""

    def __init__(
        self, client: Client, *, prefix: str = "tt", fresh_ms: int = FRESH_MS, now: Callable[[], int] = _now_ms
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._fresh_ms = fresh_ms
        self._now = now

    @classmethod
    def connect(cls, url: str, *, prefix: str = "tt", fresh_ms: int = FRESH_MS) -> "Reader":
        """Make a reader that gives up after 20 ms of connecting or 50 ms of waiting, and does not try again.

        For a Redis Cluster, hand a RedisCluster with the same timeouts to the constructor.
        """
        client = Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=READ_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            # Introducing itself would cost each new connection two more round trips.
            lib_name=None,
            lib_version=None,
        )
        return cls(client, prefix=prefix, fresh_ms=fresh_ms)

    def read(
        self, user_id: str | Sequence[str], *, segment: str | None = None, default: Mapping[str, SlotCard]
    ) -> Read:
        """Read what to show to one person.

        Args:
            user_id: the pseudonym (see `pseudonym`), never the raw id. While a key rotation lasts, the pseudonyms
                under the new key and the old one, in this order: the first whose card may be shown wins, whole; where
                there is none, the first says why. It stays one round trip.
            segment: the person's segment, where the service knows it.
            default: the service's own constant for each slot: shown when nothing else can be.
        """
        now = self._now()
        user_ids = [user_id] if isinstance(user_id, str) else user_id
        try:
            flags, heartbeat, *own, for_segment, for_all = self._fetch(user_ids, segment)
        except _Refused as refused:
            return Read(dict(default), "caller", refused.reason, None, None, dict.fromkeys(default, "caller"))
        killed = _killed(flags)
        rungs = [_first_of(own, now), _rung("segment", for_segment, now), _rung("default", for_all, now)]
        pulse = _pulse_reason(heartbeat, now - self._fresh_ms)
        if pulse and rungs[0].slots:
            rungs[0] = _Rung("user", {}, {}, pulse)
        return _descend([*rungs, _Rung("caller", default, {})], killed, now)

    def _fetch(self, user_ids: Sequence[str], segment: str | None) -> list[object]:
        """Get flags, heartbeat, the person's cards, the segment's and everybody's in one round trip.

        The keys lie in different slots of a cluster, so this is no transaction and no MGET: a RedisCluster sends one
        pipeline to each node at once. Nothing needs them to be of one moment.
        """
        names = [
            f"{self._prefix}:flags",
            f"{self._prefix}:meta",
            *(f"{self._prefix}:{{{user_id}}}:d" for user_id in user_ids),
            *([f"{self._prefix}:seg:{segment}:d"] if segment else []),
            f"{self._prefix}:default:d",
        ]
        try:
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                pipeline.get(name)
            values = list(pipeline.execute(raise_on_error=False))
        except (RedisError, RedisClusterException, OSError) as error:  # the second is no RedisError
            raise _Refused("unreachable") from error
        except UnicodeDecodeError as error:  # a client with decode_responses=True met bytes that are no text
            raise _Refused("malformed") from error
        for value in values:
            # A key of another type is a malformed value; every other error means that Redis did not serve us.
            if isinstance(value, Exception) and not (isinstance(value, ResponseError) and "WRONGTYPE" in str(value)):
                raise _Refused("unreachable") from value
        if not segment:
            values.insert(-1, None)
        return values


def pseudonym(user_id: str, key: bytes, key_id: str) -> str:
    """Turn a raw user id into the name under which the suite knows the person: BLAKE2b in keyed mode (RFC 7693).

    >>> pseudonym("ada", b"for-development-only", "k0")
    'k0:11997fd1c46f666bb255ad6b'
    """
    short = key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest()
    return f"{key_id}:{blake2b(user_id.encode(), key=short, digest_size=12).hexdigest()}"


def exposure(user_id: str, card_slot: SlotCard, shown: str, position: int) -> dict[str, object] | None:
    """Make the event that says what was really shown; send it to the topic of raw events.

    `user_id` is the raw id, as in every event: the suite makes the pseudonym itself. `shown` is the arm, or the item
    at `position` (from 0). None where the slot was a constant of the caller: nothing was decided, nothing is learned.

    >>> exposure("ada", {"id": "7Qm2.hero"}, "story", 0)  # doctest: +NORMALIZE_WHITESPACE
    {'user_id': 'ada', 'kind': 'exposure', 'slot': 'hero', 'decision_id': '7Qm2.hero', 'shown': 'story',
     'position': 0}
    """
    decision_id = card_slot.get("id")
    if not isinstance(decision_id, str):
        return None
    return {
        "user_id": user_id,
        "kind": "exposure",
        "slot": decision_id.partition(".")[2],
        "decision_id": decision_id,
        "shown": shown,
        "position": position,
    }


def _descend(rungs: Sequence[_Rung], killed: Mapping[str, str] | str | None, now: int) -> Read:
    """Answer each slot from the first rung that can; a killed slot starts at the global default."""
    slots: dict[str, SlotCard] = {}
    sources: dict[str, str] = {}
    reasons: set[str] = set()
    for slot in dict.fromkeys(slot for rung in rungs for slot in (*rung.slots, *rung.kept_back)):
        stopped = killed.get(slot) if isinstance(killed, Mapping) else killed
        rung = next((rung for rung in (rungs[2:] if stopped else rungs) if slot in rung.slots), None)
        reasons.add(stopped or rungs[0].kept_back.get(slot, "missing"))
        if rung:
            slots[slot], sources[slot] = rung.slots[slot], rung.name
    best = next((rung for rung in rungs if rung.name in sources.values()), rungs[-1])
    # Of several slots' reasons the first of REASONS, so that readers in languages with unordered maps agree.
    slot_reason = next((reason for reason in REASONS if reason in reasons), "missing")
    card_reason = killed if isinstance(killed, str) else rungs[0].reason
    return Read(
        slots=slots,
        source=best.name,
        reason=None if best.name == "user" else card_reason or slot_reason,
        age_ms=None if best.seq is None else max(0, now - best.seq),
        seq=best.seq,
        sources=sources,
    )


def _killed(flags: object) -> Mapping[str, str] | str | None:
    """Say which slots are off: all (a reason), some (a reason each) or none.

    A switch that cannot be read counts as thrown: whoever wrote it wanted to stop something.
    """
    if flags is None:
        return None
    try:
        said = _object(flags)
    except _Refused as refused:
        return refused.reason
    kill, slots = said.get("kill", False), said.get("slots", {})
    if not (isinstance(kill, bool) and isinstance(slots, dict) and all(isinstance(on, bool) for on in slots.values())):
        return "malformed"
    return "killed" if kill else {slot: "killed" for slot, on in slots.items() if not on}


def _pulse_reason(heartbeat: object, oldest: int) -> str | None:
    """Say what is wrong with the heartbeat, if anything is."""
    if heartbeat is None:
        return "stale_heartbeat"
    try:
        said = _versioned(heartbeat)
    except _Refused as refused:
        return refused.reason
    if not _is_int(said.get("seq")):
        return "malformed"
    return None if said["seq"] >= oldest else "stale_heartbeat"


def _first_of(own: Sequence[object], now: int) -> _Rung:
    """Open a person's cards, one a pseudonym, up to the first that may be shown."""
    rung = None
    for value in own:
        tried = _rung("user", value, now)
        if tried.slots:
            return tried
        rung = rung or tried
    return rung or _Rung("user", {}, {}, "missing")


def _rung(name: str, value: object, now: int) -> _Rung:
    """Open one card."""
    if value is None:
        return _Rung(name, {}, {}, "missing")
    try:
        card = _versioned(value)
        if not (_is_int(card.get("seq")) and _is_int(card.get("expires")) and isinstance(card.get("slots"), dict)):
            return _Rung(name, {}, {}, "malformed")
    except _Refused as refused:
        return _Rung(name, {}, {}, refused.reason)
    if card["expires"] <= now:
        return _Rung(name, {}, {}, "expired")
    kept_back = {slot: reason for slot, held in card["slots"].items() if (reason := _slot_reason(held, now))}
    good = {slot: held for slot, held in card["slots"].items() if slot not in kept_back}
    return _Rung(name, good, kept_back, seq=card["seq"])


def _slot_reason(slot: object, now: int) -> str | None:
    """Say why a slot may not be shown, if so."""
    if not isinstance(slot, dict) or not isinstance(slot.get("id"), str) or not _is_int(slot.get("expires")):
        return "malformed"
    items, arm, params = slot.get("items"), slot.get("arm"), slot.get("params", {})
    listed = slot.get("kind") == "rerank" and isinstance(items, list) and all(isinstance(item, str) for item in items)
    armed = slot.get("kind") == "variant" and isinstance(arm, str) and isinstance(params, dict)
    if not (listed or armed):
        return "malformed"
    return "expired" if slot["expires"] <= now else None


def _versioned(value: object) -> dict[str, Any]:
    """Open a JSON object of a version this reader knows. The version comes first: another one may have any shape."""
    said = _object(value)
    if not _is_int(said.get("v")):
        raise _Refused("malformed")
    if said["v"] != CONTRACT_VERSION:
        raise _Refused("unknown_version")
    return said


def _object(value: object) -> dict[str, Any]:
    """Open a JSON object; NaN and Infinity, which Python would read, are not JSON."""
    try:
        text = value.decode() if isinstance(value, bytes) else value
        said = json.loads(text, parse_constant=_no_constant) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise _Refused("malformed") from error
    if not isinstance(said, dict):
        raise _Refused("malformed")
    return said


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
