"""Claim: a person who takes their consent back is let go within two seconds, and who never gave it is never kept."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import KafkaError, Message
from msgspec import json

from jobs.pulse import repeat
from jobs.wiring import Refusal, wire
from jobs.wiring.keys import key_ring
from schemas.events import ANONYMOUS
from schemas.reader import pseudonym
from tests.claims.claim import Claim, Result, folder
from tests.claims.crowd import crowd
from tests.claims.live import Live, live

GONE_S: Final = 2.0
AFTER_S: Final = 30.0

CLAIM: Final = Claim(
    name="consent",
    sentence=(
        "While the job runs, who withdraws their consent loses their card at once and gets none as long as they say no,"
        " and who never gave it has neither key nor decision nor an event under their name."
    ),
    bar=(
        f"every card gone within {GONE_S:g} s of the withdrawal, none back in the {AFTER_S:g} s afterwards;"
        " 0 keys, decisions and named events of people who never agreed"
    ),
)

ALL: Final = {"personalize": True, "learn": True, "measure": True}
NO: Final[tuple[Mapping[str, bool], ...]] = ({}, {"personalize": False}, {"learn": False, "marketing": True})
"""Ways to say no; the last one is about something else."""

STAYING: Final = tuple(f"staying-{number}" for number in range(60))
LEAVING: Final = tuple(f"leaving-{number}" for number in range(20))
SILENT: Final = tuple(f"silent-{number}" for number in range(20))
HUSH_S: Final = 0.25
"""How long before the withdrawal a site no longer says that they agree: longer than what is being sent takes."""

LOOK_S: Final = 0.02
BOUND_S: Final = 120.0


class Watch:
    """Which keys were there, and since when they are not.

    Attributes:
        seen: keys that were there in some look.
        gone: of these, key -> the first look without it after the last look with it, seconds since 1970.
        looks: how often all were read.
    """

    def __init__(self, running: Live, people: Sequence[str]) -> None:
        """Take the keys of people."""
        self._redis = running.redis
        self._keys = [_key(running, person) for person in people]
        self.seen: set[str] = set()
        self.gone: dict[str, float] = {}
        self.looks = 0

    def look(self) -> None:
        """Read all keys once."""
        values = self._redis.mget(self._keys)
        now = time.time()
        self.looks += 1
        for key, value in zip(self._keys, values, strict=True):
            if value is not None:
                self.seen.add(key)
                self.gone.pop(key, None)
            elif key in self.seen:
                self.gone.setdefault(key, now)


def run() -> Result:
    """Let people leave one after the other, and look for their keys."""
    left: set[str] = set()

    def consent(person: str) -> Mapping[str, Any]:
        if person in SILENT:
            way = SILENT.index(person) % (len(NO) + 1)
            return {"consent": NO[way]} if way < len(NO) else {}
        return {"consent": NO[LEAVING.index(person) % 2] if person in left else ALL}

    with (
        live(folder(CLAIM.name) / "live", "consent.unknown=[]") as running,
        crowd(running.settings, (*STAYING, *LEAVING, *SILENT), consent),
        _watched(running) as watch,
    ):
        agreed = [_key(running, person) for person in (*STAYING, *LEAVING)]
        running.wait(lambda: running.redis.exists(*agreed) == len(agreed), BOUND_S, "everybody's card")
        withdrawn: dict[str, int] = {}
        for person in LEAVING:
            left.add(person)
            time.sleep(HUSH_S)
            withdrawn[person] = _withdraw(running, person, NO[LEAVING.index(person) % 2])
        time.sleep(AFTER_S)
        settled = running.heartbeat() + 2 * running.settings.time.slice
        running.wait(lambda: running.heartbeat() >= settled, BOUND_S, "the last decisions")
        return _judged(running, watch, withdrawn)


def _judged(running: Live, watch: Watch, withdrawn: Mapping[str, int]) -> Result:
    # A card that came back is gone only since then, so it is late, too.
    gone_s = [watch.gone.get(_key(running, person), float("inf")) - at / 1000 for person, at in withdrawn.items()]
    slice_ms = running.settings.time.slice
    ends = {_hidden(running, person): (at // slice_ms + 1) * slice_ms for person, at in withdrawn.items()}
    silent = {_hidden(running, person) for person in SILENT}
    staying = {_hidden(running, person) for person in STAYING}
    decisions = [json.decode(taken.body or b"") for taken in running.taken("decisions")]
    named = [json.decode(taken.body or b"") for topic in ("events", "duplicates") for taken in running.taken(topic)]
    keys = [key.decode() for key in running.redis.scan_iter(count=1000)]
    facts: dict[str, Any] = {
        "withdrawals": len(withdrawn),
        "gone_s": sorted(round(each, 2) for each in gone_s),
        "looks": watch.looks,
        "decided_afterwards": sum(each["seq"] >= ends.get(each["user_id"], float("inf")) for each in decisions),
        "keys_left": sum(user in key for key in keys for user in ends),
        "silent_keys_seen": sum(_key(running, person) in watch.seen for person in SILENT),
        "silent_keys_left": sum(user in key for key in keys for user in silent),
        "silent_decided": sum(each["user_id"] in silent for each in decisions),
        "silent_named": sum(each["user_id"] in silent for each in named),
        "anonymous_events": sum(each["user_id"] == ANONYMOUS for each in named),
        "staying_decided": len({each["user_id"] for each in decisions} & staying),
        "restarts": running.restarts(),
    }
    nothing = (
        "decided_afterwards",
        "keys_left",
        "silent_keys_seen",
        "silent_keys_left",
        "silent_decided",
        "silent_named",
    )
    return Result(
        figure=(
            f"{len(withdrawn)} cards gone at most {max(gone_s):.1f} s after the withdrawal, none back"
            f" ({watch.looks:,} looks); of {len(silent)} who never agreed {facts['silent_keys_seen']} keys,"
            f" {facts['silent_decided']} decisions, {facts['silent_named']} named events;"
            f" {facts['anonymous_events']:,} events of nobody"
        ),
        passed=not any(facts[name] for name in (*nothing, "restarts"))
        and max(gone_s) <= GONE_S
        and facts["staying_decided"] == len(STAYING)
        and facts["anonymous_events"] > 0,
        details=facts,
    )


def _withdraw(running: Live, person: str, said: Mapping[str, bool]) -> int:
    """Send a withdrawal; its Kafka timestamp, ms since 1970."""
    stamps: list[int] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            stamps.append(message.timestamp()[1])

    producer = wire.producer(running.settings.kafka.bootstrap)
    event = {"user_id": person, "kind": "consent", "consent": said, "event_id": f"withdrawal-{person}"}
    producer.produce("clicks", json.encode(event), key=person, on_delivery=delivered)
    producer.flush(BOUND_S)
    if not stamps:
        raise Refusal("consent: the broker did not take a withdrawal")
    return stamps[0]


@contextmanager
def _watched(running: Live) -> Iterator[Watch]:
    over = threading.Event()
    watch = Watch(running, (*LEAVING, *SILENT))
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(repeat, watch.look, LOOK_S, over.is_set, over.wait)
        try:
            yield watch
        finally:
            over.set()
        watching.result()


def _key(running: Live, person: str) -> str:
    return running.cards.key(_hidden(running, person))


def _hidden(running: Live, person: str) -> str:
    key = key_ring(running.settings.pseudonyms, {})[0]
    return pseudonym(person, key.secret, key.id)
