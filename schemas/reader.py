"""What a page does to show a decision: one read, a ladder of fallbacks, never an exception.

A downstream service copies this file as it is; it needs `redis` and the standard library. `reader.js` is the same for
Node and browsers; other languages port it and run reader_vectors.json. The names and shapes are explained in
CONTRACT.md.
"""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Protocol, TypeGuard

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

    def draw(self, slot: str, user_id: str, session: int | str, segment: str | None = None) -> SlotCard | None:
        """Draw an arm for one person of whom there is no card, in place of a constant: see CONTRACT.md, PolicyTable.

        In one session a person draws the same arm again, as long as its probabilities stay. Draw only for those who
        have agreed to be decided for.

        Args:
            slot: a slot with arms.
            user_id: the pseudonym (see `pseudonym`).
            session: what tells the person's sessions apart; where it is the job's own name for one, the `session` of
                its decisions, both hold the same ticket.
            segment: the person's segment, where the service knows it.

        Returns:
            A slot's card whose `source` is "table" and whose id begins with "cold:": there is no decision of that id.
            None where nothing may be drawn: a kill flag, a table that is not there, has expired or cannot be read, a
            slot that is not in it, a person who is held out. It never raises, as `read` does not.
        """
        try:
            flags, value = self._get(["flags", "policy"])
            table = _versioned(value)
        except _Refused:
            return None
        killed = _killed(flags)
        if isinstance(killed, str) or slot in (killed or {}) or _held_out(table.get("holdout"), user_id):
            return None
        return _drawn(table, slot, f"{user_id}|{session}", segment, self._now())

    def _fetch(self, user_ids: Sequence[str], segment: str | None) -> list[object]:
        """Get flags, heartbeat, the person's cards, the segment's and everybody's; None for a segment nobody named."""
        own = [f"{{{user_id}}}:d" for user_id in user_ids]
        values = self._get(["flags", "meta", *own, *([f"seg:{segment}:d"] if segment else []), "default:d"])
        if not segment:
            values.insert(-1, None)
        return values

    def _get(self, keys: Iterable[str]) -> list[object]:
        """Get some keys in one round trip.

        They lie in different slots of a cluster, so this is no transaction and no MGET: a RedisCluster sends one
        pipeline to each node at once. Nothing needs them to be of one moment.
        """
        names = [f"{self._prefix}:{key}" for key in keys]
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


def ticket(key: str) -> float:
    """Map a key to a number in [0, 1), uniformly: the first 53 bits of its BLAKE2b hash.

    >>> ticket("trimtab-1|hero|k0:ada|1767225600000")
    0.5685561266307494
    """
    return (int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) >> 11) * 2.0**-53


def _drawn(table: Mapping[str, Any], slot: str, who: str, segment: str | None, now: int) -> SlotCard | None:
    """Draw from a table; None where that cannot be."""
    seq, expires, seed, slots = (table.get(name) for name in ("seq", "expires", "seed", "slots"))
    if not (_is_int(seq) and _is_int(expires) and isinstance(seed, str) and isinstance(slots, dict)):
        return None
    shares = _shares(slots.get(slot), segment)
    if not shares or expires <= now:
        return None
    key = f"{seed}|{slot}|{who}"
    arm, p = _picked(ticket(key), shares)
    params, name = slots[slot]["arms"].get(arm), _name(f"{key}|{segment or ''}|{seq}")
    card = {
        "id": f"cold:{name}.{slot}",
        "kind": "variant",
        "p": p,
        "reason": slots[slot]["reason"],
        "expires": expires,
        "arm": arm,
        "source": "table",
    }
    return card | ({"params": params} if params else {})


def _shares(held: object, segment: str | None) -> list[tuple[str, float]]:
    """Give the arms of a slot of a table with their probabilities in a segment; none where it is malformed."""
    if not isinstance(held, dict):
        return []
    reason, names, arms, segments = (held.get(name) for name in ("reason", "names", "arms", "segments"))
    if not (isinstance(reason, str) and isinstance(arms, dict) and isinstance(segments, dict)):
        return []
    p = segments.get(segment or "", segments.get(""))
    if not (isinstance(names, list) and isinstance(p, list) and len(names) == len(p)):
        return []
    texts = all(isinstance(name, str) and isinstance(arms.get(name, {}), dict) for name in names)
    whole = all(_is_number(each) and 0 <= each <= 1 for each in p) and any(p)
    return list(zip(names, p, strict=True)) if texts and whole else []


def _picked(value: float, shares: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """Say whose share of [0, 1) a ticket falls into; the last that has any takes what rounding leaves over."""
    reached = 0.0
    for arm, p in shares:
        reached += p
        if value < reached:
            return arm, p
    return next((arm, p) for arm, p in reversed(shares) if p > 0)


def _name(key: str) -> str:
    """Name a draw by what it was made from: nine bytes of its hash, in twelve letters that fit into an address."""
    return urlsafe_b64encode(blake2b(key.encode(), digest_size=9).digest()).decode()


def _held_out(holdout: object, user_id: str) -> bool:
    """Say whether nothing may be drawn for a person, because the whole is measured by them.

    By GrowthBook's hash, version 2. What cannot be read counts for all.
    """
    if holdout is None:
        return False
    share, salt = (holdout.get("share"), holdout.get("salt")) if isinstance(holdout, dict) else (None, None)
    if not (_is_number(share) and isinstance(salt, str)):
        return True
    return _fnv32a(str(_fnv32a(salt + user_id))) % 10_000 / 10_000 < share


def _fnv32a(text: str) -> int:
    found = 0x811C9DC5
    for character in text:
        found = (found ^ ord(character)) * 0x01000193 & 0xFFFFFFFF
    return found


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
    if not _says_something(slot):
        return "malformed"
    return "expired" if slot["expires"] <= now else None


def _says_something(slot: Mapping[str, Any]) -> bool:
    """Say whether a slot holds what its kind promises; a kind nobody knows promises nothing."""
    kind, items, params = slot.get("kind"), slot.get("items"), slot.get("params")
    if kind == "rerank":
        return isinstance(items, list) and all(isinstance(item, str) for item in items)
    if kind == "params":
        return isinstance(params, dict)
    # The arm "none" of a trigger shows nothing.
    return kind in ("variant", "trigger") and isinstance(slot.get("arm"), str) and isinstance(params, dict | None)


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


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
