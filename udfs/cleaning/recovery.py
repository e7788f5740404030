"""Refused records, tried again: which of them would be let in by now, and what of each is to come again."""

import re
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from msgspec import json

from schemas.events import RawEvent
from schemas.formats import Format
from schemas.rejects import Reason, Recovered, Rejected
from schemas.settings import Clean
from udfs.cleaning.admission import admission
from udfs.cleaning.refusal import Place, explain
from udfs.payloads import records
from udfs.payloads.mapping import ways
from udfs.payloads.paths import Trail, shown

OF_WRITES: Final = frozenset({Reason.WRITE_FAILED, Reason.WRITE_SKIPPED})
"""Reasons that say nothing of a record: a decision was not written."""

OF_LEARNING: Final = frozenset({Reason.TOO_LATE, Reason.UNREADABLE})
"""Reasons that say nothing of a raw record: one of another topic was left out by the job `learn`."""

_NUMBER: Final = re.compile(r"\[\d+\]")


class Fate(Enum):
    """What becomes of a refused record that is tried again."""

    READY = "ready"
    REFUSED = "refused"
    MOVED = "moved"
    GONE = "gone"


class Verdict(NamedTuple):
    """What becomes of one refused record.

    Attributes:
        fate: READY to be fed; REFUSED, as it would be again; MOVED, its part of the record cannot be told any more;
            GONE from the raw topic.
        body: what is to be fed, where it is READY.
        why: what is wrong with it, where it is REFUSED.
    """

    fate: Fate
    body: bytes | None = None
    why: str = ""


class Recovery:
    """Judges refused records by the format and the limits of today."""

    def __init__(self, form: Format, forms: Mapping[str, Format], limits: Clean) -> None:
        """Take the format, all formats, and the limits."""
        self._admitted = admission(form, forms, limits)
        self._ways = ways(form, forms)

    def verdict(self, body: bytes | None, refused: Rejected, *, force: bool = False) -> Verdict:
        """Judge what was refused of a record.

        A record that holds several events is let in as soon as one of them is.

        Args:
            body: of the raw record.
            refused: what was said of it.
            force: let in what would be refused again.
        """
        if refused.part >= 0:
            body = self._part(body or b"", refused)
            if body is None:
                return Verdict(Fate.MOVED)
        why = "" if force else self._trouble(body)
        return Verdict(Fate.REFUSED, why=why) if why else Verdict(Fate.READY, body)

    def _part(self, body: bytes, refused: Rejected) -> bytes | None:
        """Give the record with none but the refused event in it."""
        try:
            trail = way_to(refused, self._ways(body))
        except (ValueError, RecursionError):
            return None
        return json.encode(records.alone(records.document(body), trail)) if trail else None

    def _trouble(self, body: bytes | None) -> str:
        """Say why a record would be refused as a whole; empty where it would not."""
        try:
            found = self._admitted(body)
        except (ValueError, RecursionError) as error:
            found = [error]
        events = [found] if isinstance(found, RawEvent) else found
        failures = [each for each in events if not isinstance(each, RawEvent)]
        return _said(*explain(failures[0])) if len(failures) == len(events) else ""


def pending(refused: Iterable[Rejected], reasons: Collection[Reason]) -> dict[Place, Rejected]:
    """Pick what was refused for certain reasons; of one place the last word counts, for a job that restarts repeats.

    >>> early = Rejected(Reason.NOT_JSON, 5, partition=1, offset=7)
    >>> late = Rejected(Reason.UNKNOWN_KIND, 5, partition=1, offset=7)
    >>> pending([early, late], {Reason.NOT_JSON}), list(pending([early, late, late], {Reason.UNKNOWN_KIND}))
    ({}, [Place(at=5, partition=1, offset=7, part=-1)])
    """
    found: dict[Place, Rejected] = {}
    for each in refused:
        if each.reason in reasons:
            found[place_of(each)] = each
        else:
            found.pop(place_of(each), None)
    return found


def unfed(refused: Mapping[Place, Rejected], ledger: Iterable[Recovered]) -> dict[Place, Rejected]:
    """Leave out what was fed before; what was fed as a whole was fed in every part, and a part of it spoils the whole.

    >>> refused = {Place(5, 1, 7, part): Rejected(Reason.NOT_JSON, 5, part=part) for part in (-1, 0, 1)}
    >>> list(unfed(refused, [Recovered(Reason.NOT_JSON, 5, 1, 7, 1)]))
    [Place(at=5, partition=1, offset=7, part=0)]
    >>> list(unfed(refused, [Recovered(Reason.NOT_JSON, 5, 1, 7)])), len(unfed(refused, []))
    ([], 3)
    """
    wholes = {_whole(place) for place in refused}
    fed = {place for each in ledger if _whole(place := place_of(each)) in wholes}
    begun = {_whole(place) for place in fed}
    return {
        place: each
        for place, each in refused.items()
        if place not in fed and _whole(place) not in fed and not (place.part < 0 and place in begun)
    }


def place_of(record: Rejected | Recovered) -> Place:
    """Say where a refused record lies; its time tells it from one of an earlier topic of the same name."""
    return Place(record.at, record.partition, record.offset, record.part)


def grouped(path: str) -> str:
    """Write a path so that all elements of a list look the same.

    >>> grouped("$.batch[17].event")
    '$.batch[*].event'
    """
    return _NUMBER.sub("[*]", path)


def way_to(refused: Rejected, found: list[Trail]) -> Trail | None:
    """Find a refused event among those that its record holds as it is read today.

    Once the format was mended, another number of events may lie before it. So its path leads, where it names the event;
    the number is trusted where the path only names what is around the event.

    Args:
        refused: part of a record.
        found: the ways to the record's events.

    Returns:
        The way; None where there is none, or it is not for sure the same event.

    >>> def say(path, *found):
    ...     way = way_to(Rejected(Reason.UNKNOWN_KIND, 0, path, part=1), list(found))
    ...     return way and shown(way)
    >>> say("$[1].kind", (0, "batch", 0), (0, "batch", 1), (1,))  # it was the second, and is the third
    '$[1]'
    >>> say("$[1]", (0,), (1, "batch", 0), (1, "batch", 1))  # it was one record of no known format, and holds two
    '$[1]'
    >>> say("$.client_id", ("events", 0), ("events", 1))
    '$.events[1]'
    >>> say("$.batch[1].kind", ("events", 0), ("events", 1)), say("$.kind", ("events", 0)), say("$.kind", ())
    (None, None, None)
    """
    path = refused.path
    for way in found:
        if way and _within(path, shown(way)):
            return way
    around = path[: path.rfind("]") + 1] or "$"
    for way in found:
        if path.endswith("]") and _within(shown(way), path):
            return next(way[:end] for end in range(len(way) + 1) if shown(way[:end]) == path)
    numbered = found[refused.part] if refused.part < len(found) else ()
    return numbered if numbered and _within(shown(numbered), around) else None


def _whole(place: Place) -> Place:
    return place._replace(part=-1)


def _within(path: str, around: str) -> bool:
    return path == around or path.startswith((f"{around}.", f"{around}["))


def _said(reason: Reason, path: str, detail: str) -> str:
    at = f" at {path}" if path else ""
    return f"{reason.value}{at}{f': {detail}' if detail else ''}"
