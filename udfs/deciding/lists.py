"""Which items a list shows a person, in which order: a model's, bent by rules and by how alike neighbours may be."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from math import prod
from typing import Final, NamedTuple

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from schemas.decisions import SlotCard, Trace, Why
from schemas.rules import Action
from schemas.signals import FEATURES, USER_FEATURES
from schemas.slots import Rerank
from udfs.deciding import guards
from udfs.deciding.arrange import NONE, Arrangement, Candidates, Rules, Window, arrange, boosted, spread
from udfs.deciding.book import Place
from udfs.deciding.bundle import Bundle
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.choices import Choices
from udfs.deciding.facts import Facts
from udfs.deciding.guards import asked, states
from udfs.deciding.heard import CONTROLS, Reasons, heard, held_back, labels, said_by, taken
from udfs.deciding.rank import People, Ranked, added, among, answered, features, popular, rerank
from udfs.deciding.speaking import Voices
from udfs.draw import ticket

_UNASKED: Final = -1
_TOLD: Final = 5
_DIGITS: Final = 6


class _Bent(NamedTuple):
    """What rules do to the candidates, each (n, m)."""

    excluded: NDArray[np.bool_]
    pinned: NDArray[np.intp]
    buried: NDArray[np.bool_]
    plus: NDArray[np.float64]


def choose(place: Place, bundle: Bundle, reasons: Reasons) -> Choices | None:
    """Order a slot's items for each person; None where there is nothing to show.

    A page that asked for the order of a list of its own is answered with that list; all others get the catalogue's.

    Args:
        place: a slot with a list.
        bundle: of n people.
        reasons: (n,) why everybody's list, or the page's own order, is shown already.
    """
    facts, catalogue = bundle.facts, bundle.releases.catalogue
    if catalogue is None or not len(catalogue.ranked):
        return None
    # Lists of one length are ordered together: how many items are considered must not depend on who stands beside.
    lengths = [
        sum(item in catalogue.rows for item in question.items) if question.slot == place.name else _UNASKED
        for question in facts.asked
    ]
    kinds = list(zip(lengths, guards.outdated(bundle.book.book.stale, facts, bundle.releases).tolist(), strict=True))
    if len(alike := sorted(set(kinds))) == 1:
        return _alike(place, bundle, reasons, *alike[0])
    cards: dict[int, SlotCard] = {}
    traces: dict[int, Trace] = {}
    for kind in alike:
        part = np.flatnonzero([each == kind for each in kinds])
        found = _alike(place, bundle.taken(part), reasons[part], *kind)
        cards |= zip(part.tolist(), found.cards, strict=True)
        traces |= zip(part.tolist(), found.traces, strict=True)
    return Choices([cards[row] for row in range(len(kinds))], [traces[row] for row in range(len(kinds))])


def _alike(place: Place, bundle: Bundle, reasons: Reasons, length: int, outdated: bool) -> Choices:
    """Order for people whose pages all ask, or do not, and whose model is too old for all, or for none."""
    facts = bundle.facts
    if outdated:
        bundle = bundle._replace(releases=replace(bundle.releases, model=None))
    if length == _UNASKED:
        ranked = rerank(_listed(place), people(facts), bundle.releases)
    else:
        ranked = answered([question.items for question in facts.asked], people(facts), bundle.releases)
    assert ranked is not None
    return _ordered(place, bundle, reasons, ranked)


def _ordered(place: Place, bundle: Bundle, reasons: Reasons, ranked: Ranked) -> Choices:
    """Make cards and traces of what was ranked."""
    facts = bundle.facts
    undecided = _undecided(place, bundle, ranked)
    who, spoken = heard(place, facts)
    found = [*asked(place, facts), *guards.age(bundle.book.book.stale, facts, bundle.releases)]
    held = held_back(reasons, who, found).tolist()
    ranked, arranged = _arranged(place, ranked, spoken, bundle)
    among = ranked.candidates.shape[1]
    cards, traces = [], []
    for (card_id, end), usual, (items, scores, p), back, clicked, state, rules, part, experiment in zip(
        bundle.cards(place),
        undecided,
        _shown(ranked, arranged),
        held,
        facts.clicked,
        states(found, len(bundle.ids)),
        said_by(place, spoken),
        taken(who),
        labels(who),
        strict=True,
    ):
        if back is not None:
            control = back in CONTROLS
            cards.append(SlotCard(card_id, "rerank", 1.0, back, end, usual, exp=experiment, control=control))
            traces.append(Trace(guards=state, rules=rules, part=part))
            continue
        won = [f"rule:{spoke.rule}" for spoke in rules or () if spoke.won]
        why = [*won, f"clicked:{clicked}" if clicked else "nothing clicked yet"]
        reason = Why.RULE if won else ranked.reason
        chance = prod(p, start=1.0)
        cards.append(SlotCard(card_id, "rerank", chance, reason, end, items, why=why, exp=experiment))
        # No factor is more than 1.
        drawn = p if chance < 1 else None
        traces.append(Trace(candidates=among, scores=scores, p=drawn, guards=state, rules=rules, part=part))
    for row, contributions in _contributions(place, bundle, traces, ranked, arranged):
        traces[row] = structs.replace(traces[row], contributions=contributions)
    return Choices(cards, traces)


def impersonal(place: Place, card_id: str, expires: int, reason: Why, catalogue: Catalogue | None) -> SlotCard | None:
    """Give everybody's list; None where there is nothing to show."""
    items = popular(_listed(place), catalogue)
    return SlotCard(card_id, "rerank", 1.0, reason, expires, items=items) if items else None


def _undecided(place: Place, bundle: Bundle, ranked: Ranked) -> Iterable[list[str] | None]:
    """Give what each person is shown where something holds the choice back: everybody's list, or the page's own."""
    if ranked.positions is not None:
        return (question.items for question in bundle.facts.asked)
    return repeat(popular(_listed(place), bundle.releases.catalogue), len(bundle.ids))


def _shown(ranked: Ranked, arranged: Arrangement) -> Iterator[tuple[list[str], list[float], list[float]]]:
    """Give each person's items, their scores, and how likely each was at its place."""
    order = np.maximum(arranged.order, 0)
    items = ranked.ids[np.take_along_axis(ranked.candidates, order, axis=1)].tolist()
    scores = np.take_along_axis(ranked.scores, order, axis=1).tolist()
    for row, (filled, p) in enumerate(zip(arranged.filled.tolist(), arranged.p.tolist(), strict=True)):
        unknown = ranked.unknown[row] if ranked.unknown else []
        yield items[row][:filled] + unknown, scores[row][:filled], p[:filled]


def _contributions(
    place: Place, bundle: Bundle, traces: Sequence[Trace], ranked: Ranked, arranged: Arrangement
) -> Iterator[tuple[int, dict[str, float]]]:
    """Say for a sample of the lists what adds most to the first item's raw score."""
    model, catalogue, book = bundle.releases.model, bundle.releases.catalogue, bundle.book.book
    if not (book.explain and model and catalogue):
        return
    scored = ((row, card_id) for row, (card_id, _) in enumerate(bundle.cards(place)) if traces[row].scores)
    # By a hash of the decision's id, so that a replay draws the same ones.
    drawn = [row for row, card_id in scored if ticket(f"{book.seed}|explain|{card_id}") < book.explain]
    if not drawn:
        return
    facts = bundle.facts
    who = People(
        {name: facts.columns[name][drawn] for name in USER_FEATURES},
        [facts.clicked[row] for row in drawn],
        [facts.met[row].opened for row in drawn],
    )
    first = arranged.order[drawn, :1]
    items = np.take_along_axis(ranked.candidates[drawn], first, axis=1)
    at = None if ranked.positions is None else np.take_along_axis(ranked.positions[drawn], first, axis=1)
    table = features(who, catalogue, items, at)
    for row, found in zip(drawn, model.contributions(table[:, 0])[:, :-1], strict=True):
        largest = np.argsort(-np.abs(found), kind="stable")[:_TOLD].tolist()
        yield row, {FEATURES[each]: round(float(found[each]), _DIGITS) for each in largest}


def _arranged(place: Place, ranked: Ranked, spoken: Voices, bundle: Bundle) -> tuple[Ranked, Arrangement]:
    """Bend the order by rules and by likeness; where nothing asks for it, it is the scores' own."""
    slot, facts, catalogue = _listed(place), bundle.facts, bundle.releases.catalogue
    assert catalogue is not None
    length = slot.length if ranked.positions is None else ranked.own
    explored = spread(slot.explore, length)
    remembered = slot.opened != "keep" or slot.most_shown
    if not (place.rules or explored or slot.windows or slot.relevance < 1 or catalogue.reserved or remembered):
        filled = np.full(len(ranked.order), ranked.order.shape[1]) - (
            0 if ranked.absent is None else ranked.absent.sum(axis=1)
        )
        return ranked, Arrangement(ranked.order, filled, np.zeros_like(filled), np.ones(ranked.order.shape))
    actions = [rule.actions() for rule in place.rules]
    ranked = added(ranked, _wanted(actions, catalogue), people(facts), bundle.releases)
    bent = _bent(actions, ranked, spoken, facts, catalogue)
    _meet(slot, ranked, facts, catalogue, bent)
    windows = slot.windows
    rules = Rules(
        length=length,
        relevance=slot.relevance,
        window=Window(windows.most, windows.window) if windows else None,
        explored=explored,
    )
    candidates = Candidates(
        boosted(ranked.scores, plus=bent.plus),
        groups=catalogue.codes[ranked.candidates],
        excluded=bent.excluded,
        pinned=bent.pinned,
        buried=bent.buried,
    )
    who = zip(facts.users, facts.sessions.tolist(), strict=True)
    keys = [f"{bundle.book.book.seed}|{place.name}|{user}|{session}" for user, session in who]
    return ranked, arrange(candidates, rules, keys)


def people(facts: Facts) -> People:
    """Give what lists are ordered by."""
    return People(facts.columns, facts.clicked, [each.opened for each in facts.met])


def _listed(place: Place) -> Rerank:
    assert isinstance(place.slot, Rerank)
    return place.slot


def _wanted(actions: Sequence[Sequence[Action]], catalogue: Catalogue) -> list[int]:
    """List the items that any rule pins and that may be shown, as rows of the catalogue, in the rules' order."""
    names = dict.fromkeys(item for each in actions for action in each for item in action.pin)
    rows = (catalogue.rows[name] for name in names if name in catalogue.rows)
    return [row for row in rows if catalogue.available[row]]


def _bent(
    actions: Sequence[Sequence[Action]], ranked: Ranked, spoken: Voices, facts: Facts, catalogue: Catalogue
) -> _Bent:
    """Say what the rules that count, and the catalogue, do to each person's candidates."""
    shape, own = ranked.candidates.shape, ranked.own
    bent = _Bent(
        excluded=np.broadcast_to(np.arange(shape[1]) >= own, shape).copy(),
        pinned=np.full(shape, NONE, dtype=np.intp),
        buried=np.zeros(shape, dtype=np.bool_),
        plus=np.zeros(shape),
    )
    if ranked.absent is not None:
        bent.excluded[:, :own] |= ranked.absent
    for column, each in enumerate(actions):
        for case, action in enumerate(each):
            rows = np.flatnonzero((spoken.share[:, column] > 0) & (spoken.case[:, column] == case))
            if len(rows):
                _apply(action, rows, bent, ranked, catalogue)
    bent.excluded[:] |= catalogue.kept_from(facts.columns["segment"].tolist(), ranked.candidates)
    return bent


def _meet(slot: Rerank, ranked: Ranked, facts: Facts, catalogue: Catalogue, bent: _Bent) -> None:
    """Do what the slot asks for with items that people have met in the session; what a rule pins stays."""
    loose = bent.pinned == NONE
    if slot.opened != "keep":
        opened = among(catalogue, ranked.candidates, [each.opened for each in facts.met]) & loose
        (bent.excluded if slot.opened == "out" else bent.buried)[opened] = True
    if slot.most_shown:
        often = [[item for item, times in each.shown.items() if times >= slot.most_shown] for each in facts.met]
        bent.excluded[among(catalogue, ranked.candidates, often) & loose] = True


def _apply(action: Action, rows: NDArray[np.intp], bent: _Bent, ranked: Ranked, catalogue: Catalogue) -> None:
    """Do what one action says to some people's candidates."""
    candidates = ranked.candidates[rows]
    codes = catalogue.codes[candidates]
    for at, name in enumerate(name for name in action.pin if name in catalogue.rows):
        mine = candidates == catalogue.rows[name]
        # An item that is a candidate anyway is pinned there; the place added for it stays empty.
        first = mine & (np.cumsum(mine, axis=1) == 1)
        bent.pinned[rows] = np.where(first, at, bent.pinned[rows])
        bent.excluded[rows] = np.where(mine, ~first, bent.excluded[rows])
    buried = [catalogue.rows[name] for name in action.bury if name in catalogue.rows]
    bent.buried[rows] |= np.isin(candidates, buried)
    places = {name: code for code, name in enumerate(catalogue.interests)}
    hidden = [places[name] for name in action.hide if name in places]
    bent.excluded[rows] |= np.isin(codes, hidden)
    for name, plus in action.boost.items():
        if name in places:
            bent.plus[rows] += np.where(codes == places[name], plus, 0.0)
