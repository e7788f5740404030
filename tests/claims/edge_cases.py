"""Snowplow's own edge cases: what becomes of rows whose `user_id` names what is odd about them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct, json

from jobs.local import feed
from jobs.wiring.keys import key_ring
from schemas.decisions import Decision
from schemas.events import ANONYMOUS, Event
from schemas.rejects import Rejected
from schemas.settings import Settings
from udfs.cleaning.clean import Cleaner
from udfs.cleaning.pseudonym import pseudonymiser
from udfs.payloads.mapping import parts

SAMPLE: Final = "snowplow_web/events.csv.gz"
FORM: Final = "snowplow"

_HEADING: Final = f"### The edge cases of `{SAMPLE}`"
_LINE: Final = re.compile(r"^\| `([^`]+)` \| (\d+) \| ([^|]*) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|")


class Met(NamedTuple):
    """What the reader alone can tell of an edge case.

    Attributes:
        rows: of the file.
        becomes: kind, `late` kind, `duplicate` kind or `refused` -> events.
        people: pseudonyms that its events bear, nobody's apart.
    """

    rows: int
    becomes: Mapping[str, int]
    people: int


class Decided(NamedTuple):
    """What only the job can tell of an edge case.

    Attributes:
        sessions: in which something was decided.
        accounts: that its decisions name.
        decisions: in all.
    """

    sessions: int
    accounts: int
    decisions: int


class Outputs(NamedTuple):
    """The outputs of `python -m jobs replay`, by the names of its files."""

    events: list[Event]
    duplicates: list[Event]
    rejected: list[Rejected]
    decisions: list[Decision]


class _Row(Struct):
    user_id: str


def promised(page: str) -> dict[str, tuple[Met, Decided]]:
    """Read the page's table: of each edge case, what its rows become."""
    section = page.partition(f"\n{_HEADING}\n")[2].partition("\n### ")[0]
    found: dict[str, tuple[Met, Decided]] = {}
    for line in filter(None, map(_LINE.match, section.splitlines())):
        name, rows, becomes, people, sessions, accounts, decisions = line.groups()
        met = Met(int(rows), _counts(becomes), int(people))
        found[name] = met, Decided(int(sessions), int(accounts), int(decisions))
    return found


def past(source: Path, settings: Settings) -> list[feed.Record]:
    """Give the rows as a replay feeds them: at the collector's time, in its order."""
    apart = parts(settings.formats[FORM], settings.formats)
    return list(feed.records(source, apart, settings.topics["clicks"].partitions, in_order=False))


def read(fed: Iterable[feed.Record], settings: Settings) -> dict[str, Met]:
    """Say by the reader alone what the rows become, case by case."""
    [key, *_] = key_ring(settings.pseudonyms, {})
    cleaner = Cleaner.of(settings, pseudonymiser(key.secret, key.id))
    told: list[tuple[str, Event | None, bool]] = []
    seen: dict[int, int] = {}
    for (partition, offset), record in _placed(fed):
        row = cleaner.row(record.body, record.at, partition, offset)
        event = json.decode(row.record or "", type=Event) if row.user_id is not None else None
        again = row.event_key in seen and record.at - seen[row.event_key] <= settings.clean.duplicates
        if row.event_key:
            seen[row.event_key] = record.at
        told.append((_case(record), event, again))
    return _met(told)


def found(fed: list[feed.Record], out: Outputs, settings: Settings) -> dict[str, tuple[Met, Decided]]:
    """Say by the job's outputs what the rows became, case by case."""
    [key, *_] = key_ring(settings.pseudonyms, {})
    hashed = pseudonymiser(key.secret, key.id)
    names = {hashed((record.key or b"").decode()): _case(record) for record in fed}
    # Nobody's events have no name left, but each its time.
    times = {record.at: _case(record) for record in fed}
    places = {place: _case(record) for place, record in _placed(fed)}
    met = _met(
        [
            *((names.get(event.user_id) or times[event.at], event, False) for event in out.events),
            *((names.get(event.user_id) or times[event.at], event, True) for event in out.duplicates),
            *((places[each.partition, each.offset], None, False) for each in out.rejected),
        ]
    )
    decisions: defaultdict[str, list[Decision]] = defaultdict(list)
    for decision in out.decisions:
        decisions[names[decision.user_id]].append(decision)
    return {name: (each, _decided(decisions[name])) for name, each in met.items()}


def not_the_earliest(out: Outputs) -> list[str]:
    """Name the duplicates whose original is missing, or came after them."""
    first = {(event.user_id, event.event_id): event.at for event in out.events}
    return [
        str(each.event_id) for each in out.duplicates if first.get((each.user_id, each.event_id), each.at + 1) > each.at
    ]


def outputs(out: Path) -> Outputs:
    """Read what a replay wrote to its folder."""

    def lines(name: str) -> list[bytes]:
        return (out / f"{name}.jsonl").read_bytes().splitlines()

    return Outputs(
        events=[json.decode(line, type=Event) for line in lines("events")],
        duplicates=[json.decode(line, type=Event) for line in lines("duplicates")],
        rejected=[json.decode(line, type=Rejected) for line in lines("rejected")],
        decisions=[json.decode(line, type=Decision) for line in lines("decisions")],
    )


def _placed(fed: Iterable[feed.Record]) -> Iterator[tuple[tuple[int, int], feed.Record]]:
    """Say where each record comes to lie: its partition, and its offset there."""
    lengths: Counter[int] = Counter()
    for record in fed:
        yield (record.partition, lengths[record.partition]), record
        lengths[record.partition] += 1


def _case(record: feed.Record) -> str:
    # One case has rows that differ in what stands after the dash.
    return json.decode(record.body or b"", type=_Row).user_id.partition(" - ")[0]


def _met(told: Iterable[tuple[str, Event | None, bool]]) -> dict[str, Met]:
    """Count by case: its name, an event or None where it was refused, and whether it had come before."""
    becomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    people: defaultdict[str, set[str]] = defaultdict(set)
    for name, event, again in told:
        if event is None:
            becomes[name]["refused"] += 1
            continue
        becomes[name][f"{'duplicate ' if again else ''}{'late ' if event.late else ''}{event.kind.value}"] += 1
        people[name] |= {event.user_id} - {ANONYMOUS}
    return {name: Met(counts.total(), counts, len(people[name])) for name, counts in becomes.items()}


def _decided(decisions: list[Decision]) -> Decided:
    return Decided(
        sessions=len({(each.user_id, each.session) for each in decisions}),
        accounts=len({each.account for each in decisions} - {""}),
        decisions=len(decisions),
    )


def _counts(text: str) -> Counter[str]:
    """Read `late view, click 2` as counts."""
    counts: Counter[str] = Counter()
    for part in text.strip().split(", "):
        words, _, number = part.rpartition(" ")
        outcome, count = (words, int(number)) if number.isdecimal() else (part, 1)
        counts[outcome] += count
    return counts
