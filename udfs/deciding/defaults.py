"""What people get of whom nothing is known but a segment, if that: decided ahead, for pages that find no card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

import numpy as np
from msgspec import structs

from schemas.decisions import Decision, HeldOut, SlotCard, SlotTable, Trace, Versions, Why
from schemas.policies import Fixed, Leaves, LinThompson, LinUcb
from schemas.rules import Schedule
from schemas.signals import Signals
from schemas.slots import Rerank, Slot, Trigger, Variant, options, policies
from udfs.cleaning.context import UNKNOWN_HOUR
from udfs.deciding import arms
from udfs.deciding.book import Book, Place
from udfs.deciding.bundle import Bundle
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.facts import recorded
from udfs.deciding.in_force import InForce
from udfs.deciding.learned import Drawing, Learnt, odds
from udfs.deciding.slots import choose
from udfs.deciding.speaking import scheduled
from udfs.deciding.switches import Switches

EVERYBODY: Final = ""
"""In a table of chances, the segment of those whose own does not stand there."""

ALWAYS: Final = Schedule()

_DRAWN: Final = (Why.SPLIT, Why.LEARNED, Why.RULE)


@dataclass(frozen=True)
class Ground:
    """What defaults follow from. Grounds are equal where nothing changed that counts, so defaults are worked out once.

    Attributes:
        segments: rule segments.
        book: the rulebook in force.
        catalogue: what can be shown.
        switches: what is switched off.
        learnt: what was learned of arms.
        open: which cases' schedules are open, of those that have one.
        end: slice end, ms since 1970; all that counts of it is `open`.
    """

    segments: tuple[str, ...]
    book: Book
    catalogue: Catalogue | None
    switches: Switches | None
    learnt: Learnt | None
    open: tuple[bool, ...]
    end: int = field(compare=False)


def ground(segments: tuple[str, ...], end: int, releases: InForce, book: Book, learnt: Learnt | None) -> Ground:
    """Gather what defaults follow from.

    Args:
        segments: rule segments.
        end: slice end, ms since 1970.
        releases: those in force then.
        book: the rulebook in force then.
        learnt: what had been learned of arms.
    """
    schedules = (case.case.schedule for place in book.places for rule in place.rules for case in rule.cases)
    at, hour = np.array([end]), np.array([UNKNOWN_HOUR])
    open_ = tuple(scheduled(each, at, hour).item() for each in schedules if each != ALWAYS)
    return Ground(segments, book, releases.catalogue, releases.switches, learnt, open_, end)


@lru_cache(maxsize=8)  # a release or two, also while one follows another
def segment_cards(ground: Ground) -> Sequence[Mapping[str, SlotCard]]:
    """Decide for each segment what a person in it gets of whom nothing else is known, slot by slot.

    All their signals are neutral, so the rules that ask for the segment speak, and guards hold as they do for somebody
    who has just come. Such a card serves many people, so nothing in it is drawn: an arm is the likeliest (of equally
    likely ones the first by name), a list is the popular one, bent by rules; `p` is 1 and the reason DEFAULT, or OFF.
    There is no record of it, and nothing is learned from it. Experiments are for persons, and so it takes part in none.

    Returns:
        Cards without `id` and `expires`, for each segment in order.
    """
    found: list[dict[str, SlotCard]] = [{} for _ in ground.segments]
    if not found:
        return found
    bundle = _bundle(ground.segments, ground)
    for place in _settled(ground.book):
        choices = choose(place, bundle, np.full(len(bundle.ids), None, dtype=np.object_))
        for in_segment, card, trace in zip(found, *(choices or ([], [])), strict=bool(choices)):
            in_segment[place.name] = _undrawn(place, card, trace)
    return found


@lru_cache(maxsize=8)  # as above
def chances(ground: Ground) -> dict[str, SlotTable]:
    """Say how likely each arm is for somebody who was never decided for: what pages may draw from themselves.

    Rules and guards are not applied, for they ask about the person. A slot is left out where that would be wrong or is
    not possible: a trigger, which shows nothing unless a rule asks; a slot that is switched off, or has an experiment,
    which puts people into arms of its own; a policy that asks about the person's signals.

    Returns:
        Slot -> exact probabilities, of everybody and of the segments that differ.
    """
    found = {}
    bundle = _bundle((EVERYBODY, *ground.segments), ground)
    rows = np.arange(len(bundle.ids))
    for place in ground.book.places:
        slot = place.slot
        if not isinstance(slot, Variant) or place.trials or bundle.releases.off(place.name):
            continue
        policy = policies(slot)[slot.policy]
        if isinstance(policy, LinUcb | LinThompson | Leaves):
            continue
        names = options(slot)
        mask = np.ones((len(rows), len(names)), dtype=np.bool_)
        of_all, *others = odds(place, slot.policy, Drawing(bundle.learnt, bundle.facts, rows, mask)).tolist()
        differ = {name: p for name, p in zip(ground.segments, others, strict=True) if p != of_all}
        found[place.name] = SlotTable(
            reason=Why.SPLIT if isinstance(policy, Fixed) else Why.LEARNED,
            names=list(names),
            arms={name: slot.arms[name].params for name in names},
            segments={EVERYBODY: of_all, **differ},
        )
    return found


def held_out(book: Book) -> HeldOut | None:
    """Say who may not be drawn for, because the whole is measured by them; None where nobody is.

    >>> from schemas.rules import Holdout, Rulebook
    >>> said = Rulebook(seed="s", valid=1, counters=[], slots={}, holdout=Holdout(share=0.05))
    >>> held_out(Book.of(None, said))
    HeldOut(share=0.05, salt='holdout')
    """
    holdout = book.book.holdout
    return HeldOut(holdout.share, holdout.salt) if holdout.share else None


def dated(cards: Mapping[str, SlotCard], moment_id: str, expires: int) -> dict[str, SlotCard]:
    """Give cards their ids and their expiry, ms since 1970."""
    return {name: structs.replace(card, id=f"{moment_id}.{name}", expires=expires) for name, card in cards.items()}


def _bundle(segments: Sequence[str], ground: Ground) -> Bundle:
    """Say of people that they are in some segments, and nothing else; lists come without a model: the popular ones."""
    people = [
        Decision(
            user_id=name,
            v=0,
            seq=ground.end,
            at=ground.end,
            expires=ground.end,
            slots={},
            ver=Versions(),
            signals=Signals(),
            session=ground.end,
            segment=name,
        )
        for name in segments
    ]
    rows, releases = len(people), InForce(ground.catalogue, switches=ground.switches)
    facts = recorded(people, ground.book)
    return Bundle(facts, releases, ground.book, [ground.learnt] * rows, [""] * rows, [0] * rows)


@lru_cache(maxsize=4)
def _settled(book: Book) -> tuple[Place, ...]:
    """Give the slots without what is drawn or measured person by person."""
    return tuple(replace(place, trials=(), slot=_plain(place.slot)) for place in book.places)


def _plain(slot: Slot) -> Slot:
    if isinstance(slot, Rerank):
        return structs.replace(slot, explore=0.0)
    return structs.replace(slot, shadow=[]) if isinstance(slot, Variant | Trigger) else slot


def _undrawn(place: Place, card: SlotCard, trace: Trace) -> SlotCard:
    """Make a default of a choice: the likeliest arm in place of the one that was drawn, and only the rules' words."""
    said = [f"rule:{spoke.rule}" for spoke in trace.rules or [] if spoke.won and card.reason is Why.RULE]
    why = Why.OFF if card.reason is Why.OFF else Why.DEFAULT
    if trace.draw and card.reason in _DRAWN:
        assert isinstance(place.slot, Variant | Trigger)
        likeliest = trace.draw.arms[int(np.argmax(trace.draw.p))]
        card = structs.replace(card, arm=likeliest, params=arms.params(place.slot, likeliest))
    return structs.replace(card, p=1.0, reason=why, why=said or None)
