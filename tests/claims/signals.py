"""Claim: every running signal is what the list of a person's events says, whatever order they came in."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from msgspec import json
from msgspec.structs import fields

from jobs.local.world import CATALOGUE, Shelf, seeded
from jobs.wiring.store import Store
from schemas.events import Kind
from schemas.signals import REGISTRY, Signals
from tests.claims.claim import Claim, Result, folder, settings, shared
from tests.claims.oracle import WITHOUT, Oracle
from tests.claims.typed import replayed

CLAIM: Final = Claim(
    name="signals",
    sentence=(
        "Every running signal equals the straightforward computation from the raw event list, on random streams and on"
        " real ones; the order of events inside a slice does not matter, the slice's length changes only what it must."
    ),
    bar="0 signals off by more than 1e-9, integers by 0; 0 records differ by order, 0 by slice length",
)

TOLERANCE: Final = 1e-9
NEUTRAL: Final = {field.name: field.default for field in fields(Signals)}
WHOLE: Final = frozenset(field.name for field in fields(Signals) if isinstance(field.default, int))

OF_EVENTS: Final = (
    *("session_events", "session_clicks", "session_views", "session_dwell_s", "session_searches", "session_purchases"),
    *("session_rages", "session_errors", "form_edits", "form_reedits", "hover_share", "session_age_s", "dwell_share"),
    *("sessions", "frequency", "recency_s", "rating", "session_rating", "taste"),
    *("diversity", "shift", "expected_gap_s"),
)
"""Signals made of events and times, not of slices: at a moment that is decided at two lengths they are alike.

Not among them are `cart_items` and `searching`, for which what happens within one slice happens at once: a purchase
takes what was put into the cart, a click answers the search.
"""

MOST_MOMENTS: Final = 150
"""Of one person that are worked out again: the straightforward way takes the square of their events."""

KUAIRAND: Final = (
    'formats.kuairand={about="", kind="rate", user_id="user_id", item="video_id",'
    ' occurred_at={path="time_ms", type="numeral"}, dwell_ms={path="play_time_ms", type="numeral"},'
    ' duration_ms={path="duration_ms", type="numeral"}, value={path="label", type="numeral"}}'
)
_NOON: Final = 1_767_268_800_000


def run() -> Result:
    """Replay three real data sets and a random stream, and work out each decision's signals again from its events."""
    place = folder(CLAIM.name)
    shelf = Shelf.stocked(seeded(1, CATALOGUE))
    store = Store(str(place / "store"))
    store.publish("catalogue", shelf.catalogue_lines(), None, effective_at=0, reason="the pretend world")
    here = f"releases.store={place / 'store'}"
    random, shuffled = place / "random.jsonl", place / "shuffled.jsonl"
    stream = list(random_stream(40, 250, seed=5))
    _write(random, stream)
    _write(shuffled, reordered(stream, seed=6))
    runs = {
        "wikiticker": (shared("wikiticker_am/events.jsonl.gz"), "wikiticker", (), {}),
        "otto": (shared("otto/sessions.jsonl"), "otto", (), {}),
        "kuairand": (shared("kuairand_a"), "kuairand", (KUAIRAND, "signals.rating=[0.0, 1.0]"), {}),
        "random": (random, "trimtab", (here,), _places(shelf)),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, (source, form, changes, places) in runs.items():
        sets = ("releases.store=.local/no-store", *changes)
        replayed(sets, source, form, place / name)
        found[name] = held(place / name, Oracle(settings(*sets), places))
        print(f"{name}: {found[name]}", flush=True)
    replayed((here,), shuffled, "trimtab", place / "shuffled")
    differ = _unlike(place / "random", place / "shuffled")
    replayed((here, "time.slice=5s"), random, "trimtab", place / "longer")
    moved = by_slice(_decisions(place / "random"), _decisions(place / "longer"))
    off, largest = sum(each["off"] for each in found.values()), max(each["largest"] for each in found.values())
    counted = ", ".join(f"{name} {each['moments']:,}" for name, each in found.items())
    return Result(
        figure=(
            f"{sum(each['signals'] for each in found.values()):,} signals ({counted} moments), {off} off, largest"
            f" relative difference {largest:.1e}; {differ} records differ by the order within a slice;"
            f" {moved['off']} of {moved['compared']:,} signals of events by its length"
        ),
        passed=off == 0 and differ == 0 and moved["off"] == 0 and moved["compared"] > 1000,
        details={"held": found, "differ": differ, "by_slice": moved},
    )


def held(out: Path, oracle: Oracle) -> dict[str, Any]:
    """Work out the signals of a replay's decisions again, and count those that are off."""
    events: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in (out / "events.jsonl").read_bytes().splitlines():
        event = json.decode(line)
        if not event.get("late"):
            events[event["user_id"]].append(event)
    moments = off = compared = silences = 0
    largest, first = 0.0, ""
    for user_id, records in _decisions(out).items():
        of_user = sorted(events[user_id], key=lambda event: event["at"])
        _, forgotten = oracle.silences(of_user)
        for record in _spaced(list(records.values())):
            row = oracle.signals(of_user, record["seq"], forgotten)
            moments, silences = moments + 1, silences + (row["events"] == 0)
            for name, expected in row.items():
                got = record["signals"].get(name, NEUTRAL[name])
                apart = abs(got - expected) / max(1.0, abs(expected))
                compared, largest = compared + 1, max(largest, apart)
                if apart > (0 if name in WHOLE else TOLERANCE):
                    off += 1
                    first = first or f"{user_id} at {record['seq']}: {name} {got} instead of {expected}"
    missing = sorted(set(REGISTRY) - set(row) - WITHOUT) if moments else ["all"]
    assert missing == [], missing
    return {
        "moments": moments,
        "silences": silences,
        "signals": compared,
        "off": off,
        "largest": largest,
        "first_off": first,
    }


def by_slice(
    short: Mapping[str, Mapping[int, dict[str, Any]]], longer: Mapping[str, Mapping[int, dict[str, Any]]]
) -> dict[str, Any]:
    """Compare signals of events at the moments that two slice lengths have in common."""
    off = compared = 0
    first = ""
    for user_id, records in short.items():
        for seq in records.keys() & longer.get(user_id, {}).keys():
            one, other = records[seq]["signals"], longer[user_id][seq]["signals"]
            # A silence is told in the slice in which it is long enough: it must move with the grid.
            if not one.get("events") or not other.get("events"):
                continue
            for name in OF_EVENTS:
                compared += 1
                if abs(one.get(name, NEUTRAL[name]) - other.get(name, NEUTRAL[name])) > TOLERANCE:
                    off += 1
                    first = first or f"{user_id} at {seq}: {name} {one.get(name)} and {other.get(name)}"
    return {"compared": compared, "off": off, "first_off": first}


def random_stream(people: int, each: int, seed: int) -> Iterator[dict[str, Any]]:
    """Make up what people do: bursts, pauses, sessions, all kinds of events; several in one millisecond, too."""
    rng = Random(seed)
    kinds = [kind.value for kind in Kind if kind not in (Kind.CONSENT, Kind.IDENTIFY)]
    for person in range(people):
        at = _NOON + rng.randrange(60_000)
        for _ in range(each):
            at += rng.choice((0, 0, 3, 400, 2_000, 9_000, 30_000, rng.choice((70_000, 200_000, 1_900_000, 90_000_000))))
            event: dict[str, Any] = {"user_id": f"u{person}", "kind": rng.choice(kinds), "occurred_at": at}
            event |= {"item": f"i{rng.randrange(200):03d}", "page": f"/{rng.randrange(9)}"}
            if event["kind"] == "dwell":
                event["dwell_ms"] = rng.randrange(30_000)
            elif event["kind"] == "scroll":
                event["scroll"] = rng.randrange(1001) / 1000
            elif event["kind"] in ("rate", "sentiment"):
                event["value"] = rng.choice((-1, 0.2, 1, 2.5, 4, 5))
            elif event["kind"] == "view":
                event |= {"language": rng.choice(("de", "en")), "connection": rng.choice(("3g", "wifi"))}
            yield event


def reordered(events: Iterable[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Shuffle a stream: what happened in the same millisecond comes in another order."""
    found = list(events)
    Random(seed).shuffle(found)
    return found


def _write(path: Path, events: Sequence[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(json.encode(event) + b"\n" for event in events))


def _places(shelf: Shelf) -> dict[str, int]:
    interests = settings().signals.interests
    return {item.id: interests.index(item.interest) for item in shelf.items if item.interest in interests}


def _decisions(out: Path) -> dict[str, dict[int, dict[str, Any]]]:
    found: defaultdict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for line in (out / "decisions.jsonl").read_bytes().splitlines():
        record = json.decode(line)
        found[record["user_id"]][record["seq"]] = record
    return found


def _spaced(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    step = -(-len(records) // MOST_MOMENTS)
    return records[:: max(step, 1)]


def _unlike(one: Path, other: Path) -> int:
    ours, theirs = ((out / "decisions.jsonl").read_bytes().splitlines() for out in (one, other))
    return len(set(ours) ^ set(theirs))
