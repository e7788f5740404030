"""Claim: a change of segment is in Redis with the slice that caused it, and a noisy person does not flap."""

import time
from collections import defaultdict
from itertools import pairwise
from typing import Any, Final

import numpy as np
from msgspec import json

from jobs.wiring import wire
from jobs.wiring.keys import key_ring
from schemas.reader import pseudonym
from tests.claims.claim import Claim, Result, folder, settings
from tests.claims.live import Live, live
from tests.claims.typed import replayed

CLAIM: Final = Claim(
    name="segments",
    sentence=(
        "While the job runs, a segment is in Redis with the slice of the event that put the person into it; on a noisy"
        " series a rule with two thresholds changes a small part as often as one with a single threshold."
    ),
    bar="every change in its cause's slice: card, key and topic; with two thresholds at most a fifth of the changes",
)

PEOPLE: Final = 60
RULE: Final = 'segments.rules.engaged={{about="", enter="rate_fast > 1.0", leave="{}", for="0s", min_events=0}}'
SINGLE: Final = RULE.format("rate_fast <= 1.0")
DOUBLE: Final = RULE.format("rate_fast < 0.5")
QUIETLY: Final = tuple(
    f'segments.rules.{name}={{about="", enter="n_view < 0"}}'
    for name in ("frustrated", "cart_waiting", "fading", "searcher", "reader", "skimmer")
)
"""The other rules hold nobody, so that only the one that is looked at speaks."""

_NOON: Final = 1_767_268_800_000
_BOUND_S: Final = 60.0


def run() -> Result:
    """Let people rage in front of a running job, and replay noisy ones with one threshold and with two."""
    place = folder(CLAIM.name)
    with live(place / "live") as running:
        late, seen, took = caused(running)
    flaps = {name: flapping(place / name, rule) for name, rule in (("single", SINGLE), ("double", DOUBLE))}
    return Result(
        figure=(
            f"{seen} of {PEOPLE} changes in the slice of their cause, {late} elsewhere; from the event to Redis at most"
            f" {took:.1f} s; {flaps['single']} changes with one threshold, {flaps['double']} with two"
        ),
        passed=late == 0 and seen == PEOPLE and flaps["double"] <= flaps["single"] / 5 and flaps["double"] > 0,
        details={"flaps": flaps, "late": late, "seen": seen, "longest_s": took},
    )


def caused(running: Live) -> tuple[int, int, float]:
    """Give people a cause, and look where the change is: how many elsewhere, how many right, the longest wait."""
    slice_ms = running.settings.time.slice
    key = key_ring(running.settings.pseudonyms, {})[0]
    causes: dict[str, int] = {}

    def heard(error: Any, message: Any) -> None:
        assert error is None, error
        causes[message.key().decode()] = message.timestamp()[1]

    people = {f"angry-{number}": pseudonym(f"angry-{number}", key.secret, key.id) for number in range(PEOPLE)}
    producer = wire.producer(running.settings.kafka.bootstrap)
    for kind in ("view", "rage", "rage"):
        for person in people:
            event = json.encode({"user_id": person, "kind": kind, "item": "i1"})
            producer.produce("clicks", event, person, on_delivery=heard)
            producer.poll(0.02)
        producer.flush()
        # The second rage click is the cause: it must not share a slice with the first.
        time.sleep(1.5)
    waiting, took, late, seen = dict(people), 0.0, 0, 0
    deadline = time.monotonic() + _BOUND_S
    while waiting and time.monotonic() < deadline:
        for person, user_id in list(waiting.items()):
            value = running.redis.get(running.cards.membership_key(user_id, "rules"))
            if value is None or json.decode(value).get("segment") != "frustrated":
                continue
            end = (causes[person] // slice_ms + 1) * slice_ms
            card = json.decode(running.redis.get(running.cards.key(user_id)))
            right = json.decode(value)["seq"] == end and card["segment"] == "frustrated"
            seen, late = seen + right, late + (not right)
            took = max(took, time.time() - causes[person] / 1000)
            del waiting[person]
        time.sleep(0.02)
    told = defaultdict(list)
    for taken in running.taken("segments"):
        record = json.decode(taken.body or b"")
        if record["by"] == "rules" and record.get("segment") == "frustrated":
            told[record["user_id"]].append(record["seq"])
    ends = {user_id: (causes[person] // slice_ms + 1) * slice_ms for person, user_id in people.items()}
    unlike = sum(told[user_id][:1] != [end] for user_id, end in ends.items())
    return late + len(waiting) + unlike, seen, took


def flapping(place: Any, rule: str) -> int:
    """Count how often noisy people change in a replay; each one's pace wanders around one point per second."""
    place.mkdir(parents=True, exist_ok=True)
    rng, lines = np.random.default_rng(8), []
    for person in range(20):
        at = _NOON
        for _ in range(600):
            at += int(rng.exponential(1000)) + 1
            kind = ("view", "click")[int(rng.random() < 0.3)]
            lines.append({"user_id": f"noisy-{person}", "kind": kind, "occurred_at": at, "item": "i1"})
    source = place / "noisy.jsonl"
    source.write_bytes(b"".join(json.encode(line) + b"\n" for line in lines))
    sets = ("releases.store=.local/no-store", "signals.points.view=0.3", "signals.points.click=2.0", rule, *QUIETLY)
    settings(*sets)
    replayed(sets, source, "trimtab", place / "out")
    of: defaultdict[str, list[str]] = defaultdict(list)
    for line in (place / "out" / "decisions.jsonl").read_bytes().splitlines():
        record = json.decode(line)
        of[record["user_id"]].append(record.get("segment", ""))
    return sum(sum(one != other for one, other in pairwise(each)) for each in of.values())
