"""Claim: who a person is stays outside: no name, no address in anything that the running suite writes."""

import gzip
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from confluent_kafka import Message
from msgspec import Struct, json

from jobs.local import feed, processes
from jobs.wiring import Refusal, reading, wire
from jobs.wiring.handover import variables
from jobs.wiring.keys import key_ring
from schemas.reader import pseudonym
from tests.claims.claim import REPOSITORY, Claim, Result, folder, settings, shared
from tests.claims.live import Live, live
from tests.claims.search import LONG, marked, strings, whole, worded

CLAIM: Final = Claim(
    name="no-raw-ids",
    sentence=(
        "After a morning of Wikipedia's edits, and of trackers that say more than they should, no user name and no"
        " address is in Redis, in any topic but the raw one, in checkpoints or in logs."
    ),
    bar="0 names, 0 IP addresses and 0 marks found; in the raw topic the same search finds every one",
)

RAW: Final = "clicks"
SETTLED_S: Final = 300.0
VERB_S: Final = 120.0

USER: Final = "raw-user-"
ADDRESSES: Final = ("198.51.100.", "2001:db8:")
EMAIL: Final = "ada@example.com"
PHONE: Final = "+44 20 7946 0958"
MARKS: Final = (USER, *ADDRESSES, EMAIL, PHONE)
"""What no output may hold: each stands in records that are let in and in such that are refused."""

ASKED_TO_BE_FORGOTTEN: Final = f"{USER}forgotten"
_PSEUDONYM: Final = re.compile(r"k0:[0-9a-f]{24}")

KEPT: Final = ("query", "plan")
"""Properties that this site keeps, so that it matters what they say."""


class Extra(NamedTuple):
    """A record that says more than it should.

    Attributes:
        body: of the record.
        key: of the record.
        headers: of the record.
    """

    body: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Found(NamedTuple):
    """What a search looked through, and what it found.

    Attributes:
        looked: texts or lines.
        names: user names and addresses of the file.
        marks: of the extras.
    """

    looked: int
    names: set[str]
    marks: set[str]


class _Edit(Struct, rename={"is_anonymous": "isAnonymous"}):
    user: str
    is_anonymous: bool


def run() -> Result:
    """Feed everything, let the verbs that know people do their work too, and search whatever was written.

    All names are sought in Redis and topics as whole texts (keys, parts of keys, fields, values, headers), and those of
    five characters or more also as words within a text. In logs all are sought as words, but for those of fewer than
    five characters that the logs had said before the first record came; in checkpoints those of five or more. No name
    is left out because it is a channel, a namespace or a place. Marks are sought anywhere, also in base64.
    """
    with gzip.open(shared("wikiticker_am/events.jsonl.gz")) as file:
        edits = file.read().splitlines()
    names = {edit.user: edit.is_anonymous for edit in (json.decode(line, type=_Edit) for line in edits)}
    place = folder(CLAIM.name)
    with live(place, *overrides()) as running:
        logs = processes.home(place) / "logs"
        # What the logs said before anybody came is nobody's name.
        own_words = in_files([name for name in names if len(name) < LONG], _files(logs)).names
        everything = [*(Extra(line, key=json.decode(line, type=_Edit).user.encode()) for line in edits), *extras()]
        _produce(running.settings.kafka.bootstrap, everything)
        _settle(running, len(everything))
        said = _verbs(running, logs)
        _settle(running, len(everything) + 1)
        topics = {name: list(_texts(running, name)) for name in running.settings.topics}
        found = {name: in_texts(names, texts) for name, texts in topics.items() if name != RAW}
        found["redis"] = in_texts(names, _stored(running.redis))
        # Of a few bytes any may stand anywhere in what is no text.
        kept = list(_files(Path(running.settings.flink.checkpoint_dir)))
        found["checkpoints"] = in_files([name for name in names if len(name) >= LONG], kept)
        restarts, failures = running.restarts(), running.failures()
    # The job's farewell is in its log only now.
    found["logs"] = in_files(names.keys() - own_words, _files(logs))
    control = in_texts(names, topics[RAW])
    [key, *_] = key_ring(running.settings.pseudonyms, {})
    hashed = {pseudonym(name, key.secret, key.id) for name in names}
    unknown = hashed - whole(hashed, topics["events"])
    leaked = {store: {"names": len(each.names), "marks": sorted(each.marks)} for store, each in found.items()}
    addresses = sum(names[name] for each in found.values() for name in each.names)
    count = sum(len(each.names) for each in found.values())
    marks = set().union(*(each.marks for each in found.values()))
    empty = [store for store, each in found.items() if not each.looked]
    blind = (names.keys() - control.names) | (set(MARKS) - control.marks)
    return Result(
        figure=(
            f"{len(names):,} names, {sum(names.values()):,} of them IP addresses, and {len(MARKS)} marks, in"
            f" {sum(each.looked for each in found.values()):,} texts and lines of {len(found)} stores: found"
            f" {count - addresses} names, {addresses} addresses, {len(marks)} marks; in the raw topic"
            f" {len(control.names):,} and {len(control.marks)}"
        ),
        passed=not (count or marks or blind or unknown or empty or restarts),
        details={
            "leaked": leaked,
            "looked": {store: each.looked for store, each in found.items()},
            "empty_stores": empty,
            "not_found_where_they_are": len(blind),
            "pseudonyms_in_checkpoints": len(set().union(*(_PSEUDONYM.findall(text) for _, text in kept))),
            "pseudonyms_not_in_events": len(unknown),
            "short_names": sum(len(name) < LONG for name in names),
            "short_names_not_sought_in_logs": len(own_words),
            "verbs": said,
            "restarts": restarts,
            "failures": failures,
        },
    )


def overrides() -> list[str]:
    """Settings under which both the edits and our own JSON are let in, and edits of long ago count."""
    holds = [*settings().formats["auto"].holds, "wikiticker"]
    return [
        "clean.format=auto",
        f"formats.auto.holds={holds}",
        'formats.wikiticker.marks=[["channel", "namespace"]]',
        "clean.max_lateness=36500d",
        f"clean.properties={list(KEPT)}",
    ]


def in_texts(names: Iterable[str], texts: Iterable[str]) -> Found:
    """Search records, keys and headers.

    A name is found where it is a whole text; one of five characters or more also where it stands in a longer one.
    """
    known, looked = set(names), set(texts)
    text = "\n".join(looked)
    within = worded((name for name in known if len(name) >= LONG), text)
    return Found(len(looked), whole(known, looked) | within, marked(MARKS, text))


def in_files(names: Iterable[str], files: Iterable[tuple[Path, str]]) -> Found:
    """Search files and their names; a name is found where it stands as a word."""
    sought = list(names)
    found = Found(0, set(), set())
    for path, text in files:
        all_of_it = f"{path.name}\n{text}"
        found = Found(
            found.looked + all_of_it.count("\n"),
            found.names | worded(sought, all_of_it),
            found.marks | marked(MARKS, all_of_it),
        )
    return found


def extras() -> list[Extra]:
    """Records that say more than they should, for every way in which an id, an address or a mail may come."""
    numbers = iter(range(10**6))

    def user() -> str:
        return f"{USER}{next(numbers)}"

    def ours(**fields: Any) -> Extra:
        return Extra(json.encode({"user_id": user(), "kind": "view"} | fields))

    mail, ip, ip6 = EMAIL, f"{ADDRESSES[0]}7", f"{ADDRESSES[1]}:7"
    browser = f"Mozilla/5.0 ({mail}; {user()}; {ip}) Gecko"
    let_in = [
        ours(ip=ip, user_agent=browser, language="en-GB"),
        ours(ip=ip6, country="GB"),
        ours(kind="identify", account_id=user()),
        ours(kind="identify", account_id=mail),
        ours(user_id=mail),
        ours(user_id=ip),
        ours(user_id=PHONE),
        ours(page=f"/account/{mail}/orders?email={mail}&ip={ip}#{user()}"),
        ours(page=f"/who/{mail.replace('@', '%40')}/{ip}/{ip6}/{PHONE}"),
        ours(kind="search", page=f"/find?q={user()}", properties={"query": f"write to {mail}", "plan": ip}),
        ours(kind="search", properties={"query": PHONE, "plan": f"from {ip6}", "name": user(), "email": mail}),
        ours(consent={"personalize": False, "learn": False, "measure": False}, ip=ip),
        ours(kind="consent", consent={}),
        ours(user_id=ASKED_TO_BE_FORGOTTEN, kind="click", item="i1"),
        *(ours(user_id=f"{USER}twice", event_id="twice") for _ in range(2)),
        Extra(
            json.encode({"user_id": user(), "kind": "view"}),
            key=f"{USER}key".encode(),
            headers=(("user", f"{USER}header".encode()), ("x-forwarded-for", ip.encode()), (f"{USER}name", b"")),
        ),
        Extra(json.encode({"batch": [{"user_id": user(), "kind": "view"}, {"user_id": user(), "kind": "open"}]})),
    ]
    refused = [
        ours(kind="open"),
        ours(properties={"query": {"name": user()}}),
        ours(user_id={user(): mail}),
        ours(user_id=f"{user()}\x00"),
        ours(user_id=f"{user()}{{x}}"),
        ours(user_id=f"{user()}{'x' * 300}"),
        ours(dwell_ms=user()),
        ours(page=[mail]),
        ours(properties={f"{user()} {number}": mail for number in range(101)}),
        ours(page=f"{mail}{'x' * 70_000}"),
        Extra(f'{{"user_id":"{user()}","kind":"view"'.encode()),
        Extra(f"{user()}\t{mail}\t{ip}\t{PHONE}".encode()),
        Extra(f'{{"user_id":"{user()}","kind":"view","page":"'.encode() + b'\xff\xfe"}'),
        Extra(f'{{"user_id":"{user()}\\ud800","kind":"view"}}'.encode()),
        Extra(json.encode(mail)),
        Extra(json.encode([ip, ip6, {"user": user()}])),
    ]
    return [*let_in, *refused, *map(Extra, _vendors(user, mail, ip))]


def _vendors(user: Any, mail: str, ip: str) -> Iterator[bytes]:
    """Records of other trackers, which have places of their own for people."""
    person = {"email": mail, "name": user(), "phone": PHONE}
    yield json.encode(
        {
            "type": "track",
            "event": "Product Viewed",
            "messageId": "m1",
            "anonymousId": user(),
            "userId": mail,
            "context": {"ip": ip, "traits": person, "page": {"url": f"https://shop.example/?email={mail}"}},
            "properties": person | {"query": mail},
        }
    )
    yield json.encode(
        {"type": "identify", "messageId": "m2", "anonymousId": user(), "userId": user(), "traits": person}
    )
    yield json.encode({"type": "track", "event": "Refund", "messageId": "m3", "userId": user(), "properties": person})
    yield json.encode(
        {
            "client_id": user(),
            "user_id": mail,
            "ip_override": ip,
            "events": [{"name": "page_view", "params": {"page_location": f"https://shop.example/u/{mail}?ip={ip}"}}],
        }
    )
    yield json.encode(
        {
            "event": "page_view",
            "event_name": "page_view",
            "collector_tstamp": "2026-01-01 00:00:00.000",
            "domain_userid": user(),
            "user_id": mail,
            "user_ipaddress": ip,
            "page_urlpath": f"/u/{mail}",
        }
    )
    yield json.encode(
        {
            "api_key": "k",
            "event": "$pageview",
            "distinct_id": user(),
            "properties": {"$ip": ip, "$current_url": f"https://shop.example/{mail}", "$set": person},
        }
    )
    cloud = {"user_id": user(), "kind": "view", "ip": ip, "page": f"/{mail}"}
    yield json.encode({"specversion": "1.0", "id": "c1", "source": f"/{user()}", "type": "t", "data": cloud})


def _produce(bootstrap: str, records: Iterable[Extra]) -> None:
    producer = wire.producer(bootstrap)
    for record in records:
        producer.produce(RAW, record.body, record.key, headers=list(record.headers))
        producer.poll(0)
    if producer.flush(60):
        raise Refusal("no-raw-ids: the broker did not take every record")


def _settle(running: Live, records: int) -> None:
    """Wait until so many records have come out, and what came of them has been decided."""
    bootstrap = running.settings.kafka.bootstrap
    after = time.time_ns() // 1_000_000 + 3 * running.settings.time.slice
    running.wait(
        lambda: sum(feed.length(bootstrap, topic) for topic in ("events", "rejected", "duplicates")) >= records,
        SETTLED_S,
        f"{records} records to come out",
    )
    running.wait(lambda: running.heartbeat() >= after, SETTLED_S, "the decisions")


def _verbs(running: Live, logs: Path) -> dict[str, int]:
    """Forget a person, and feed again what was refused; what the verbs say is kept among the logs."""
    here = running.settings
    same = dict(each.split("=", 1) for each in overrides()) | {
        "kafka.bootstrap": here.kafka.bootstrap,
        "redis.url": here.redis.url,
    }
    verbs = {
        "erase": (ASKED_TO_BE_FORGOTTEN,),
        "check": ("--check", ASKED_TO_BE_FORGOTTEN, f"{USER}nobody"),
        "recover": ("--reason", "unknown_kind", "--since", "1h", "--force"),
    }
    codes: dict[str, int] = {}
    for name, words in verbs.items():
        verb = "erase" if name == "check" else name
        with (logs / f"{name}.log").open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-m", "jobs", verb, *words],
                cwd=REPOSITORY,
                env=os.environ | variables(same),
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=VERB_S,
                check=False,
            )
        codes[name] = done.returncode
    return codes


def _texts(running: Live, topic: str) -> Iterator[str]:
    """Give all texts of a topic: of keys, values and headers."""
    with reading.opened(running.settings.kafka.bootstrap) as reader:
        for message in reader.since(topic):
            for part in _parts(message):
                yield from strings(part)


def _parts(message: Message) -> Iterator[bytes | str]:
    yield message.key() or b""
    yield message.value() or b""
    headers: list[tuple[str, bytes | None]] = list(message.headers() or [])  # type: ignore[arg-type]
    for name, value in headers:
        yield name
        yield value or b""


def _stored(redis: Any) -> Iterator[str]:
    """Give all texts in Redis: of keys, their parts, and values of every type."""
    reads: Mapping[bytes, Any] = {
        b"string": lambda key: [redis.get(key)],
        b"hash": lambda key: [each for pair in redis.hgetall(key).items() for each in pair],
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1),
    }
    for key in redis.scan_iter(count=1000):
        name = key.decode(errors="replace")
        yield name
        yield from name.replace("{", ":").replace("}", ":").split(":")
        for value in reads[redis.type(key)](key):
            yield from strings(value or b"")


def _files(top: Path) -> Iterator[tuple[Path, str]]:
    """Give all files under a folder with their text; what is no text is read as though it were."""
    for path in sorted(top.rglob("*")):
        if path.is_file():
            try:
                yield path, path.read_text(encoding="utf-8", errors="replace")
            except FileNotFoundError:
                continue  # a newer checkpoint has replaced it
