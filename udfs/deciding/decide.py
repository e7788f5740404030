"""What to adjust for each person now: one pure function from facts to decisions, read from top to bottom."""

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import repeat
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Raw, Struct, json
from msgspec.structs import astuple, fields, replace
from numpy.typing import NDArray

from schemas.decisions import Card, Decision, PolicyTable, SlotCard, Trace, Versions, Why
from schemas.events import PULSE_USER
from schemas.segments import RuleSegment
from schemas.settings import Noise, SignalSettings
from schemas.signals import Signals
from udfs.deciding import defaults
from udfs.deciding.book import Book
from udfs.deciding.bundle import Bundle
from udfs.deciding.facts import Facts, observed, recorded
from udfs.deciding.in_force import InForce
from udfs.deciding.learned import Learnt
from udfs.deciding.observe import Observer
from udfs.deciding.parts import held_out
from udfs.deciding.slots import choose, impersonal
from udfs.signals.moments import Columns

VERSION: Final = 1
SIGNALS: Final = fields(Signals)

_ID_BYTES: Final = 9
_ID_LETTERS: Final = 12


class Verdict(NamedTuple):
    """One row's result as JSON: the card for Redis and the record for the topic.

    The card of a pulse is that of everybody of whom nothing is known, and has no record; a person who is to be
    forgotten has neither.

    Attributes:
        card: for Redis.
        record: for the topic.
        expires: ms since 1970.
        segment: the rule segment the person is in.
        cluster: the k-means segment the person is in.
        defaults: of a pulse: each rule segment and the card of those in it of whom nothing else is known.
        table: of a pulse: what pages may draw from themselves, a `schemas.decisions.PolicyTable`.
    """

    card: str | None
    record: str | None
    expires: int
    segment: str = ""
    cluster: int = 0
    defaults: Sequence[tuple[str, str]] = ()
    table: str | None = None


class Decider:
    """Everything about deciding that stays the same from bundle to bundle."""

    def __init__(self, book: Book, horizons: SignalSettings, noise: Noise, rules: Mapping[str, RuleSegment]) -> None:
        """Take what conf has authored, the signals' horizons, what is noise, and rule segments."""
        self._book = book
        self._noise = noise
        self._observer = Observer(rules, horizons, noise)
        self._segments = tuple(rules)

    def __call__(
        self,
        moments: Columns,
        in_force: Sequence[tuple[NDArray[np.intp], InForce]],
        learnt: Sequence[Learnt | None] = (),
    ) -> list[Verdict]:
        """Decide a bundle.

        Args:
            moments: the columns of `schemas.slices.Moment`, each of shape (n,).
            in_force: which rows are decided by which releases; the index arrays together cover 0 .. n-1.
            learnt: what had been learned of arms by when each row draws; (): nothing.

        Returns:
            One verdict per row, in order.
        """
        verdicts = [Verdict(None, None, end) for end in moments["slice_end"].tolist()]
        pulses = moments["user_id"] == PULSE_USER
        for rows, releases in in_force:
            book = releases.book or self._book
            for row in rows[pulses[rows]].tolist():
                known = learnt[row] if learnt else None
                verdicts[row] = _for_all(self._segments, moments["slice_end"][row].item(), releases, book, known)
            people = rows[~pulses[rows] & ~moments["farewell"][rows]]
            if len(people):
                # Nearly always they are all there are, and need not be copied.
                alone = np.array_equal(people, np.arange(len(verdicts)))
                taken = moments if alone else {name: column[people] for name, column in moments.items()}
                facts = observed(taken, self._observer, self._noise, releases, book)
                each = [learnt[row] for row in people.tolist()] if learnt else [None] * len(people)
                for row, verdict in zip(people.tolist(), decided(facts, releases, book, each), strict=True):
                    verdicts[row] = verdict
        return verdicts


def again(records: Sequence[Decision], releases: InForce, book: Book, learnt: Sequence[Learnt | None]) -> list[str]:
    """Make decisions again from their own records and the releases these name: the records, to the byte.

    Args:
        records: decisions that the same releases made.
        releases: those they name.
        book: the rulebook they name; what conf authored where they name none.
        learnt: the release of `policy` that each names.
    """
    return [verdict.record or "" for verdict in decided(recorded(records, book), releases, book, learnt)]


def decided(facts: Facts, releases: InForce, book: Book, learnt: Sequence[Learnt | None]) -> Iterator[Verdict]:
    """Decide for people: slot by slot for all of them, then card and record of each.

    Args:
        facts: of n people.
        releases: those in force for all of them.
        book: the rulebook in force.
        learnt: what had been learned of arms by when each one draws.
    """
    ends, versions = facts.ends.tolist(), _versions(releases, learnt)
    expires = [end + book.book.valid for end in ends]
    ids = decision_ids(facts.users, ends, versions)
    robots = np.flatnonzero(facts.robots).tolist()

    bundle = Bundle(facts, releases, book, learnt, ids, expires)
    slots: list[dict[str, SlotCard]] = [{} for _ in ids]
    traces: list[dict[str, Trace]] = [{} for _ in ids]
    reasons: NDArray[np.object_] = np.full(len(ids), None, dtype=np.object_)
    reasons[held_out(book.book.holdout, facts.users)] = Why.HOLDOUT
    for place in book.places:
        choices = choose(place, bundle, reasons)
        for in_slots, in_traces, card, trace in zip(slots, traces, *(choices or ([], [])), strict=bool(choices)):
            in_slots[place.name], in_traces[place.name] = card, trace
    for row in robots:
        slots[row] = everybodys(ids[row], expires[row], releases, book, Why.ROBOT)
        traces[row] = {}

    columns: dict[str, Iterable[Any]] = {
        "user_id": facts.users,
        "v": repeat(VERSION),
        "seq": ends,
        "at": facts.at,
        "expires": expires,
        # Written once, for card and record.
        "slots": [Raw(_encode(each)) for each in slots],
        "ver": versions,
        "signals": map(Signals, *(_listed(facts.columns[field.name], field.default) for field in SIGNALS)),
        "session": facts.sessions.tolist(),
        "clicked": facts.clicked,
        "opened": [each.opened for each in facts.met],
        "seen": [each.shown for each in facts.met],
        "trace": traces,
        "context": facts.contexts,
        "segment": facts.columns["segment"].tolist(),
        "cluster": facts.columns["cluster"].tolist(),
        "spoken": facts.spoken,
        "held": _held(facts),
        "shown": _shown(facts, book.book.counters),
        "asked": [[each.slot, *each.items] if each.slot else [] for each in facts.asked],
        "account": facts.accounts,
        "unfit": facts.unfit,
        "unmeasured": facts.unmeasured,
    }
    cards, records = (_texts(kind, columns) for kind in (Card, Decision))
    yield from map(Verdict, cards, records, expires, columns["segment"], columns["cluster"])


def everybodys(moment_id: str, expires: int, releases: InForce, book: Book, reason: Why) -> dict[str, SlotCard]:
    """Make the cards that take nobody's signals into account."""
    made = (
        (place.name, impersonal(place, f"{moment_id}.{place.name}", expires, reason, releases)) for place in book.places
    )
    return {name: card for name, card in made if card}


def _for_all(segments: tuple[str, ...], end: int, releases: InForce, book: Book, learnt: Learnt | None) -> Verdict:
    """Decide for a pulse: what those get of whom nothing is known, or just a segment, and what pages draw from.

    The card of everybody is also where a slot falls that somebody has stopped, so no rule and no policy speaks in it.
    """
    expires = end + book.book.valid
    (versions,) = _versions(releases, [learnt])
    users = [PULSE_USER, *(f"seg:{name}" for name in segments)]
    moment_id, *ids = decision_ids(users, [end] * len(users), [versions] * len(users))
    everybody = everybodys(moment_id, expires, releases, book, Why.DEFAULT)
    ground = defaults.ground(segments, end, releases, book, learnt)
    cards = [
        (name, Card(VERSION, end, end, expires, defaults.dated(slots, each, expires), versions, segment=name))
        for name, each, slots in zip(segments, ids, defaults.segment_cards(ground), strict=True)
    ]
    table = PolicyTable(
        VERSION, end, expires, book.book.seed, defaults.chances(ground), versions, defaults.held_out(book)
    )
    return Verdict(
        card=_encode(Card(VERSION, end, end, expires, everybody, versions)).decode(),
        record=None,
        expires=expires,
        defaults=[(name, _encode(card).decode()) for name, card in cards],
        table=_encode(table).decode(),
    )


def _versions(releases: InForce, learnt: Sequence[Learnt | None]) -> list[Versions]:
    """Name the releases that decide each row."""
    shared = releases.versions()
    named = {each: replace(shared, policy=each) for each in {known.version for known in learnt if known}}
    return [named[known.version] if known else shared for known in learnt]


def decision_ids(users: Sequence[str], seqs: Sequence[int], versions: Sequence[Versions]) -> list[str]:
    """Name decisions by what they were made from, so that a restart gives them the same names.

    >>> decision_ids(["k0:ada", "k0:bob"], [1767225600000] * 2, [Versions("c1", "m1")] * 2)
    ['EJTNFX1hdn9I', 'C6uQa53BjpDw']
    """
    # As many objects as there are different ones, see `_versions`.
    different = {id(each): each for each in versions}
    releases = {key: "|".join(map(str, (*_named(each), VERSION))) for key, each in different.items()}
    digests = (
        blake2b(f"{user}|{seq}|{releases[id(each)]}".encode(), digest_size=_ID_BYTES).digest()
        for user, seq, each in zip(users, seqs, versions, strict=True)
    )
    # Nine bytes are twelve letters, none of them shared with the next nine: so all are written at once.
    letters = urlsafe_b64encode(b"".join(digests)).decode()
    return [letters[start : start + _ID_LETTERS] for start in range(0, len(letters), _ID_LETTERS)]


def _named(versions: Versions) -> tuple[str | None, ...]:
    """List releases; where there are no heads, as before there were any, so that ids of then stay."""
    *others, heads = astuple(versions)
    return (*others, heads) if heads else tuple(others)


def _held(facts: Facts) -> list[dict[str, int]]:
    """Write down since when the cases of rules have held that have to for a while."""
    if not facts.held:
        return [{}] * len(facts.users)
    names, columns = list(facts.held), [column.tolist() for column in facts.held.values()]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _shown(facts: Facts, counters: Sequence[str]) -> list[dict[str, list[int]]]:
    """Write down what was ever shown, by counter."""
    found: list[dict[str, list[int]]] = [{}] * len(facts.users)
    for row in np.flatnonzero(facts.shown.any(axis=(1, 2))).tolist():
        said = facts.shown[row].tolist()
        found[row] = {name: each for name, each in zip(counters, said, strict=True) if any(each)}
    return found


def _texts(kind: type[Struct], columns: Mapping[str, Iterable[Any]]) -> Iterator[str]:
    """Write rows as JSON."""
    rows = map(kind, *(columns[name] for name in kind.__struct_fields__))
    return (_encode(row).decode() for row in rows)


def _listed(column: NDArray[Any], neutral: float) -> list[Any]:
    """List numbers, those that are neutral as the very object that the schema names: so they are left out of JSON."""
    listed = column.astype(np.object_)
    listed[column == neutral] = neutral
    return listed.tolist()  # type: ignore[no-any-return]  # of an object array it is Any


_encode = json.Encoder().encode
