"""What other rules would have done: decisions that were made are made again by them, and both are compared."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, compress
from operator import ne
from typing import Final

import numpy as np
from msgspec import Struct, json
from numpy.typing import NDArray

from schemas.decisions import Decision, SlotCard, Unfit
from schemas.slots import Rerank, Scalar, Slot, Trigger, Variant
from udfs.deciding.arms import params
from udfs.deciding.book import Book, Place
from udfs.deciding.decide import decided
from udfs.deciding.facts import Facts, recorded
from udfs.deciding.heard import heard
from udfs.deciding.in_force import InForce
from udfs.deciding.learned import Learnt
from udfs.deciding.speaking import SILENT

MOST: Final = 5
"""Lines of one kind that are shown."""

_THINGS: Final = 1 << 24

Seen = tuple[str, ...]
"""What a slot shows: its items, its parameters, or its one arm."""


class Preview:
    """What a rulebook would have made of decisions, added up bundle by bundle.

    Attributes:
        decisions: those that were made again.
        robots: decisions of robots; they are left out, for no rule speaks for them.
    """

    def __init__(self, book: Book, rules: Sequence[str] = ()) -> None:
        """Begin with nothing.

        Args:
            book: the rulebook that is tried.
            rules: those that are told of, and with them their slots; (): all.
        """
        self.decisions = 0
        self.robots = 0
        self._whole = not rules
        self._voices = {
            rule.name: _Voice() for place in book.places for rule in place.rules if self._whole or rule.name in rules
        }
        self._places = [
            place for place in book.places if self._whole or any(rule.name in self._voices for rule in place.rules)
        ]
        # Slots know nothing of one another: those that nobody asks about need not be decided.
        self._book = replace(book, places=tuple(self._places))
        self._changes = {place.name: _Change(place.slot) for place in self._places}
        self._counters = _asked(book, self._places)
        self._users: dict[str, int] = {}
        self._undeclared: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()

    @property
    def people(self) -> int:
        """How many different people they are of."""
        return len(self._users)

    def add(self, records: Sequence[Decision], releases: InForce, learnt: Learnt | None) -> None:
        """Make some more decisions again.

        Args:
            records: all made by the same releases.
            releases: those they name; where they name none of the channel `rules`, it holds no book.
            learnt: the release of the channel `policy` that they name.
        """
        made = [record for record in records if Unfit.ROBOT not in record.unfit]
        self.robots += len(records) - len(made)
        if not made:
            return
        self.decisions += len(made)
        users = self._users
        people = np.array([users.setdefault(record.user_id, len(users)) for record in made], dtype=np.int64)
        facts = self._known(made, releases.book)
        for place in self._places:
            self._hear(place, facts, people)
        slots = [record.slots for record in made]
        again = [
            _decode(verdict.record or "").slots
            for verdict in decided(facts, releases, self._book, [learnt] * len(made))
        ]
        for place in self._places:
            before, after = ([_seen(each.get(place.name), place.slot) for each in cards] for cards in (slots, again))
            self._changes[place.name].add(people, before, after)
        if self._whole:
            shown = Counter(chain.from_iterable(slots))
            self._undeclared.update({name: n for name, n in shown.items() if name not in self._changes})

    def lines(self) -> Iterator[str]:
        """Say what it would have done: rule by rule, slot by slot, and what cannot be known."""
        yield "rules"
        yield from (voice.line(name) for name, voice in self._voices.items())
        yield "slots"
        for name, change in self._changes.items():
            yield from change.lines(name, self.decisions)
        for name, count in self._undeclared.items():
            yield f"  {name}: no such slot is declared, but it stood in {count} decisions"
        yield "not known"
        yield from (f"  {sentence}, in {count} decisions" for sentence, count in sorted(self._unknown.items()))
        yield "  what would have followed: each decision stands alone, with what had been shown and done until then"

    def _hear(self, place: Place, facts: Facts, people: NDArray[np.int64]) -> None:
        spoken = heard(place, facts).spoken
        for column, rule in enumerate(place.rules):
            if rule.name in self._voices:
                self._voices[rule.name].add(people, spoken.case[:, column] != SILENT, spoken.share[:, column] > 0)

    def _known(self, records: Sequence[Decision], before: Book | None) -> Facts:
        """Say what records tell this rulebook, and count what they cannot tell it."""
        facts, held = recorded(records, self._book), {}
        conditions = {each.name: each.when.text for each in before.watched} if before else {}
        for each in self._book.watched:
            # What was kept under this name may have been of another condition.
            same = conditions.get(each.name, each.when.text) == each.when.text
            known = np.array([same and each.name in record.held for record in records])
            held[each.name] = np.where(known, facts.held[each.name], 0)
            if not known.all() and each.name.partition(".")[0] in self._voices:
                sentence = f"since when {each.name} has held, so it counts as not holding"
                self._unknown[sentence] += int((~known).sum())
        for name in self._counters.difference(before.book.counters) if before else ():
            self._unknown[f"how often {name} was shown, so it counts as never"] += len(records)
        return facts._replace(held=held)


class _Again(Struct):
    """What counts of a record that was made again."""

    slots: dict[str, SlotCard]


class _Voice:
    """How often one rule spoke, and how often its word counted."""

    def __init__(self) -> None:
        self._decisions = np.zeros(2, dtype=np.int64)
        self._people = _People()

    def add(self, people: NDArray[np.int64], spoke: NDArray[np.bool_], won: NDArray[np.bool_]) -> None:
        both = np.stack([spoke, won])
        self._decisions += both.sum(axis=1)
        things, rows = np.nonzero(both)
        self._people.add(people[rows], things)

    def line(self, name: str) -> str:
        (spoke, won), (spoke_for, won_for) = self._decisions.tolist(), self._people.counts(2)
        if not spoke:
            return f"  {name}: would never have spoken"
        return (
            f"  {name}: would have spoken in {spoke} decisions of {spoke_for} people,"
            f" its word would have counted in {won} of {won_for}"
        )


class _Change:
    """What one slot showed, and what it would have shown."""

    def __init__(self, slot: Slot) -> None:
        self._difference = _reordered if isinstance(slot, Rerank) else _exchanged
        self._others: Counter[str] = Counter()
        self._things: dict[str, int] = {}
        self._before, self._after = _People(), _People()

    def add(self, people: NDArray[np.int64], before: Sequence[Seen], after: Sequence[Seen]) -> None:
        other = list(map(ne, before, after))
        self._others.update(map(self._difference, compress(before, other), compress(after, other)))
        number = self._things
        for counted, seen in ((self._before, before), (self._after, after)):
            things = [number.setdefault(thing, len(number)) for thing in chain.from_iterable(seen)]
            counted.add(np.repeat(people, [len(each) for each in seen]), np.array(things, dtype=np.int64))

    def lines(self, name: str, decisions: int) -> Iterator[str]:
        yield f"  {name}: {self._others.total()} of {decisions} decisions would have been another"
        yield from _first([f"    {said}: {count}" for said, count in self._others.most_common()])
        before, after = (counted.counts(len(self._things)) for counted in (self._before, self._after))
        told = [
            (-abs(now - then), f"    {thing}: {now} people would have had it, {_more(now - then)}")
            for thing, then, now in zip(self._things, before, after, strict=True)
            if now != then
        ]
        yield from _first([line for _, line in sorted(told)])


class _People:
    """How many different people each of some things happened to; people and things are numbers from 0 on."""

    def __init__(self) -> None:
        self._pairs = np.empty(0, dtype=np.int64)
        self._waiting: list[NDArray[np.int64]] = []

    def add(self, people: NDArray[np.int64], things: NDArray[np.int64]) -> None:
        self._waiting.append(np.unique(people * _THINGS + things))
        if sum(map(len, self._waiting)) > len(self._pairs):
            self._merge()

    def counts(self, things: int) -> list[int]:
        self._merge()
        found: list[int] = np.bincount(self._pairs % _THINGS, minlength=things).tolist()
        return found

    def _merge(self) -> None:
        self._pairs = np.unique(np.concatenate([self._pairs, *self._waiting]))
        self._waiting.clear()


def _asked(book: Book, places: Sequence[Place]) -> frozenset[str]:
    """Name the counters that guards ask."""
    asked = {counter for place in places for limit in place.limits for counter in limit.counters}
    asked |= {place.counter for place in places if place.slot.guards.cooldown}
    return frozenset(book.book.counters[counter] for counter in asked)


def _seen(card: SlotCard | None, slot: Slot) -> Seen:
    """Say what a slot shows; an arm whose parameters are no longer the same is another one.

    >>> from schemas.decisions import Why
    >>> from schemas.slots import Arm
    >>> card = SlotCard("d.hero", "variant", 1.0, Why.SPLIT, 0, arm="plain", params={"motion": "soft"})
    >>> _seen(card, Variant({"plain": Arm(params={"motion": "none"})}, "plain"))
    ('plain as it was',)
    """
    if card is None:
        return ()
    if card.arm is not None:
        same = not isinstance(slot, Variant | Trigger) or card.params == params(slot, card.arm)
        return (card.arm if same else f"{card.arm} as it was",)
    return tuple(card.items or [f"{name}={_word(value)}" for name, value in (card.params or {}).items()])


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _exchanged(before: Seen, after: Seen) -> str:
    """Say what would have been in the place of what.

    >>> _exchanged(("images=full", "motion=true"), ("images=none", "motion=true"))
    'images=full -> images=none'
    """
    sides = ([each for each in one if each not in other] for one, other in ((before, after), (after, before)))
    return " -> ".join(", ".join(side) or "nothing" for side in sides)


def _reordered(before: Seen, after: Seen) -> str:
    """Say how a list differs.

    >>> _reordered(("a", "b"), ("b", "a")), _reordered(("a", "b"), ("b", "c"))
    ('the same items in another order', 'other items')
    """
    return "the same items in another order" if set(before) == set(after) else "other items"


def _more(count: int) -> str:
    return f"{abs(count)} {'more' if count > 0 else 'fewer'}"


def _first(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:MOST]
    if len(lines) > MOST:
        yield f"    and {len(lines) - MOST} more"


_decode: Final = json.Decoder(_Again).decode
