"""Claim: whatever bytes arrive, each record is accounted for, and the job never stumbles."""

import gzip
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from json import loads
from re import findall, search, split
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from confluent_kafka import KafkaError, Message
from msgspec import json

from jobs.local import feed
from jobs.wiring import Refusal, wire
from jobs.wiring.keys import key_ring
from schemas.events import PULSE_BODY, Event
from schemas.rejects import MEANING, Rejected
from tests.claims.claim import Claim, Result, folder, shared
from tests.claims.live import Live, live
from udfs.cleaning.pseudonym import pseudonymiser

CLAIM: Final = Claim(
    name="hostile",
    sentence=(
        "Hostile input becomes events that keep each word but those in a page that may name somebody, or rejections"
        " with a reason; the job does not restart."
    ),
    bar="every record accounted for; 0 rejections without a reason; 0 restarts; 0 altered texts; 0 raw user ids",
)

MARK: Final = "raw-user-"
"""How every raw user id begins but those that are hostile themselves, so that it is found wherever it leaks."""

ATTACKED: Final = ("user_id", "item", "page", "event_id", "kind")
TEXTS: Final = ("event_id", "item", "page")
REPEATS: Final = 5
"""Events that are sent twice, as a tracker that retries does."""
ALL_THROUGH_S: Final = 180.0


class Hostile(NamedTuple):
    """One record to feed.

    Attributes:
        body: None is a record without a value.
        key: of the record.
        headers: of the record.
        verdict: whether the body is JSON, where its source says so.
    """

    body: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    verdict: str = ""


def run() -> Result:
    """Feed everything hostile to the live job and account for every record."""
    fed = list(everything())
    with live(folder(CLAIM.name)) as running:
        _produce(running.settings.kafka.bootstrap, fed)
        running.wait(lambda: _through(running) >= len(fed), ALL_THROUGH_S, f"{len(fed)} records to come out")
        # What was accepted is decided within a slice; three heartbeats later nothing is under way any more.
        settled = running.heartbeat() + 3 * running.settings.time.slice
        running.wait(lambda: running.heartbeat() >= settled, ALL_THROUGH_S, "the decisions")
        return judged(running, fed)


def everything() -> Iterator[Hostile]:
    """All hostile records: shared data, and what no file can hold."""
    numbers = iter(range(10**9))
    with gzip.open(shared("hostile/json_parsing.jsonl.gz")) as file:
        for line in file:
            case = json.decode(line)
            body = b64decode(case["b64"])
            yield Hostile(body)
            # As a field nobody knows, it must not spoil the event if it is JSON, and must if it is not.
            user = f"{MARK}{next(numbers)}".encode()
            yield Hostile(b'{"user_id":"' + user + b'","kind":"view","x":' + body + b"}", verdict=case["expect"])
    for naughty in json.decode(shared("hostile/blns.json").read_bytes(), type=list[str]):
        for field in ATTACKED:
            event = {"user_id": f"{MARK}{next(numbers)}", "kind": "view", field: naughty}
            yield Hostile(json.encode(event), key=naughty.encode())
    users = (f"{MARK}{number}" for number in numbers)
    yield from map(Hostile, _bodies(users))
    yield from _wrapped(users)
    yield from _repeated(users)


def judged(running: Live, fed: list[Hostile]) -> Result:
    """Hold what came out against what went in."""
    raw = [taken for taken in running.taken("clicks") if taken.body != PULSE_BODY]
    events, copies, refusals, decisions = (
        [taken.body or b"" for taken in running.taken(topic)]
        for topic in ("events", "duplicates", "rejected", "decisions")
    )
    rejected = [json.decode(refusal, type=Rejected) for refusal in refusals]
    refused = {(each.partition, each.offset): each for each in rejected}
    accepted = [taken for taken in raw if (taken.partition, taken.offset) not in refused]
    expected = Counter(_expected(running, taken) for taken in accepted)
    found = Counter(_said(json.decode(event, type=Event)) for event in (*events, *copies))
    hidden = {said[0] for said in found}
    decided = {json.decode(decision)["user_id"] for decision in decisions}
    verdicts = {each.body: each.verdict for each in fed if each.verdict}
    facts: dict[str, Any] = {
        "fed": len(fed),
        "events": len(events),
        "duplicates": len(copies),
        "scrubbed_pages": sum(_scrubbed(taken) for taken in accepted),
        # A list of several odd things is one record and a rejection for each of them, by its path.
        "rejected": len(refused),
        "rejections": len(rejected),
        "unaccounted": len(fed) - len(events) - len(copies) - len(refused),
        "duplicates_too_many": len(copies) - REPEATS,
        "places_rejected_twice": len(rejected) - len({(each.partition, each.offset, each.path) for each in rejected}),
        "without_reason": sum(each.reason not in MEANING for each in rejected),
        "altered": (expected - found).total() + (found - expected).total(),
        "undecided": len(hidden - decided),
        "leaks": _leaks(running, accepted, [*events, *copies, *decisions], refusals),
        "restarts": running.restarts(),
        "failures": running.failures(),
        "reasons": dict(sorted(Counter(each.reason.value for each in rejected).items())),
        "json_judged_otherwise": _otherwise(accepted, raw, verdicts),
    }
    must_be_nothing = (
        "unaccounted",
        "duplicates_too_many",
        "places_rejected_twice",
        "without_reason",
        "altered",
        "undecided",
        "leaks",
    )
    return Result(
        figure=(
            f"{len(fed):,} fed = {len(events):,} events + {len(copies)} duplicates + {len(refused):,} rejected;"
            f" {facts['without_reason']} without a reason; {facts['restarts']} restarts; {facts['altered']} altered"
            f" ({facts['scrubbed_pages']} pages scrubbed as documented); {facts['leaks']} raw user ids"
        ),
        passed=not any(facts[name] for name in (*must_be_nothing, "restarts", "failures")),
        details=facts,
    )


def _bodies(users: Iterator[str]) -> Iterator[bytes | None]:
    """Bodies that no list of strings holds."""

    def event(rest: bytes) -> bytes:
        return b'{"user_id":"' + next(users).encode() + b'","kind":"view"' + rest + b"}"

    yield from (None, b"", b" ", b"\0", b"\0" * 1000, b"\xff\xfe", b"\xef\xbb\xbf{}", b"null", b"[]", b"{}", b"0")
    yield event(b"").decode().encode("utf-16")
    yield event(b',"page":"\xff\xfe"')
    yield event(b',"page":"\xc0\x80"')
    yield event(b',"page":"\xed\xa0\x80"')
    # What nobody reads is not decoded, so this is an event.
    yield event(b',"unknown":"\xff\xfe"')
    yield event(b',"page":"a\0b"')
    for field in (b"page", b"item", b"event_id", b"slot", b"shown", b"decision_id", b"unknown"):
        for text in (rb"\ud800", rb"\udc00\ud800", rb"\u0000", rb"\ufffe", rb"\ud83d\ude00", b"}{", b"x" * 300):
            yield event(b',"' + field + b'":"' + text + b'"')
    for text in (rb"\ud800", rb"\u0000", b"a{b", b"a}b", b"{}", rb"\u007b", rb"\u007f", b"x" * 257):
        yield b'{"user_id":"' + next(users).encode() + text + b'","kind":"view"}'
    for field in (b"dwell_ms", b"scroll", b"value", b"position", b"occurred_at"):
        for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1", b"1.5", b"9" * 400, b"18446744073709551616"):
            yield event(b',"' + field + b'":' + number)
        for other in (b"true", b'"1"', b"[]", b"{}", b"null"):
            yield event(b',"' + field + b'":' + other)
    for wrong in (b"7", b"null", b"[]", b"{}", b"true", b"1e999"):
        yield b'{"user_id":' + wrong + b',"kind":"view"}'
        yield event(b',"kind":' + wrong)
        yield event(b',"item":' + wrong)
    yield event(b',"user_id":"' + next(users).encode() + b'"')
    yield event(b',"x":' + b"[" * 100_000 + b"]" * 100_000)
    yield event(b',"x":' + b"[" * 30_000 + b"]" * 30_000)
    yield event(b',"x":' + b'{"x":' * 10_000 + b"0" + b"}" * 10_000)
    yield b"[" * 100_000
    yield b"[" * 60_000
    yield event(b',"page":"' + b"x" * 2_000_000 + b'"')
    yield b"x" * 2_000_000


def _wrapped(users: Iterator[str]) -> Iterator[Hostile]:
    """Good events in hostile wrappings: keys and headers that nobody should trust."""
    junk = (("", b""), ("\u0000", b"\0\xff"), ("trace", None), ("x" * 1000, b"\xff" * 10_000), ("{}", b"{}"))
    keys = (None, b"", b"\0", b"\xff\xfe", b"}{", b"k" * 10_000)
    for key, user in zip(keys, users, strict=False):
        yield Hostile(json.encode({"user_id": user, "kind": "click", "item": "a"}), key=key, headers=junk)


def _repeated(users: Iterator[str]) -> Iterator[Hostile]:
    """Good events with hostile ids, each of them sent twice: the second is no news."""
    ids = ("0", " ", "\u202e", "null", "x" * 256)
    for event_id, user in zip(ids, users, strict=False):
        yield from [Hostile(json.encode({"user_id": user, "kind": "click", "event_id": event_id}))] * 2


def _produce(bootstrap: str, fed: Iterable[Hostile]) -> None:
    missed: list[str] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error:
            missed.append(error.str())

    producer = wire.producer(bootstrap)
    for each in fed:
        producer.produce("clicks", each.body, each.key, headers=list(each.headers), on_delivery=delivered)
        producer.poll(0)
    if producer.flush(60) or missed:
        raise Refusal(f"hostile: the broker did not take every record: {missed[:1]}")


def _through(running: Live) -> int:
    return sum(feed.length(running.settings.kafka.bootstrap, topic) for topic in ("events", "duplicates", "rejected"))


Said = tuple[str | None, ...]


def _said(event: Event) -> Said:
    return (event.user_id, event.kind.value, *(getattr(event, name) for name in TEXTS))


def _expected(running: Live, taken: feed.Taken) -> Said:
    """What an accepted record must say downstream; read by Python's own rules, not by the job's."""
    record = _read(taken)
    texts = (_harmless(record[name]) if name == "page" and record.get(name) else record.get(name) for name in TEXTS)
    return (_hidden(running, record["user_id"]), record["kind"], *texts)


def _read(taken: feed.Taken) -> dict[str, Any]:
    record: dict[str, Any] = loads((taken.body or b"").decode(errors="replace"))
    return record


def _scrubbed(taken: feed.Taken) -> bool:
    page = _read(taken).get("page") or ""
    return page != "" and _harmless(page) != page


def _harmless(page: str) -> str:
    """Take out of a page what the contract says is taken out, in other words than the job's.

    Query and fragment; and between slashes whatever holds an e-mail address, an address on the net, or nine digits or
    more with signs between or a plus before, percent-encoded or not.
    """
    parts = split("[?#]", page, maxsplit=1)[0].split("/")
    return "/".join("*" if _names_someone(unquote(part)) else part for part in parts) or "/"


def _names_someone(part: str) -> bool:
    digits = findall(r"\+?\d(?:[\s.,()/+\u2010-\u2015-]{0,3}\d){8,}", part)
    return (
        search(r"[^\s@]@[^\s@]", part) is not None
        or any(_is_address(word) for word in split(r"[^0-9a-fA-F:.]+", part))
        or any(not number.isdecimal() for number in digits)
    )


def _is_address(word: str) -> bool:
    try:
        ip_address(word.strip("."))
    except ValueError:
        return False
    return True


def _hidden(running: Live, user_id: str) -> str:
    key = key_ring(running.settings.pseudonyms, {})[0]
    return pseudonymiser(key.secret, key.id)(user_id)


def _leaks(running: Live, accepted: Iterable[feed.Taken], records: list[bytes], refusals: list[bytes]) -> int:
    """Count outputs that show a raw user id: a marked one anywhere, a hostile one in its own user's records."""
    users = (_read(taken)["user_id"] for taken in accepted)
    raw = {_hidden(running, user): user for user in users}
    marked = sum(MARK.encode() in output for output in (*records, *refusals, *running.stored()))
    own = sum(raw[record["user_id"]] in _texts(record) for record in map(json.decode, records))
    return marked + own


def _texts(value: Any) -> Iterator[str]:
    """All texts inside a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _texts(each)


def _otherwise(accepted: list[feed.Taken], raw: list[feed.Taken], verdicts: dict[bytes | None, str]) -> list[str]:
    """Name embedded test bodies that the job judged otherwise than JSONTestSuite does; for the record, no bar."""
    let_in = {taken.body for taken in accepted}
    wrongly_in = [taken.body for taken in raw if verdicts.get(taken.body) == "reject" and taken.body in let_in]
    wrongly_out = [taken.body for taken in raw if verdicts.get(taken.body) == "accept" and taken.body not in let_in]
    return [repr(body)[:120] for body in (*wrongly_in, *wrongly_out)]
