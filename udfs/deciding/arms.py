"""Which arm of a slot a person sees: rules say which may be drawn, a policy how likely each is, guards if at all."""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.decisions import Draw, SlotCard, Trace, Why
from schemas.policies import Fixed
from schemas.slots import NOTHING, Armed, Params, Variant, options, policies
from udfs.deciding.book import Place
from udfs.deciding.bundle import Bundle
from udfs.deciding.choices import Choices
from udfs.deciding.facts import Facts
from udfs.deciding.guards import Asked, asked, epochs, states, sure
from udfs.deciding.heard import CONTROLS, Reasons, heard, held_back, labels, said_by, taken
from udfs.deciding.learned import Drawing, armed, odds
from udfs.deciding.parts import Arm, Parts
from udfs.deciding.speaking import Voices
from udfs.draw import ticket

_STRETCHES: Final = {"session": "in this session", "day": "today", "life": "so far"}
"""A cap's `per`, in words."""


class _Component(NamedTuple):
    """Some people, and how they are drawn for: with which share of their draw, among which arms.

    Attributes:
        rows: their places, (m,).
        share: (m,).
        mask: (m, arms).
    """

    rows: NDArray[np.intp]
    share: NDArray[np.float64]
    mask: NDArray[np.bool_]


def choose(place: Place, bundle: Bundle, reasons: Reasons) -> Choices:
    """Choose an arm for each person; the same draw of a session takes the same arm as long as its odds stay.

    The draw is made also where something holds it back, so that the record shows what was withheld.

    Args:
        place: a slot with arms.
        bundle: of n people.
        reasons: (n,) why the default is shown already.
    """
    slot, facts, rows = armed(place), bundle.facts, len(bundle.ids)
    who, spoken = heard(place, facts)
    policy = _policies(slot, who)
    p = _odds(place, _components(place, slot, spoken, who), policy, bundle)
    draws, picked, changes = _drawn(place, p, who, bundle)
    found = [*asked(place, facts), *sure(place, p, p.any(axis=1))]
    held = held_back(reasons, who, found, idle=~p.any(axis=1))

    traces = [
        Trace(draw=draw, guards=guards, rules=rules, policy=name, shadow=shadow, part=part)
        for draw, guards, rules, name, shadow, part in zip(
            draws,
            states([*found, *changes], rows),
            said_by(place, spoken),
            policy,
            _shadows(place, bundle),
            taken(who),
            strict=True,
        )
    ]
    names, shown, sort = options(slot), default(slot), kind(slot)
    contents = {arm: params(slot, arm) for arm in (*names, shown)}
    chances = p[np.arange(rows), picked].tolist()
    chosen = [(names[arm], chance) for arm, chance in zip(picked.tolist(), chances, strict=True)]
    cards = [
        SlotCard(
            card_id,
            sort,
            chance if back is None else 1.0,
            reason,
            end,
            arm=arm if back is None else shown,
            params=contents[arm if back is None else shown],
            why=why,
            exp=experiment,
            control=reason in CONTROLS,
        )
        for (card_id, end), (arm, chance), back, reason, why, experiment in zip(
            bundle.cards(place),
            chosen,
            held.tolist(),
            _reasons(slot, held, spoken, policy),
            _words(found, held, spoken, place, chances),
            labels(who),
            strict=True,
        )
    ]
    return Choices(cards, traces)


def impersonal(place: Place, card_id: str, expires: int, reason: Why) -> SlotCard:
    """Give the slot's default, undrawn."""
    slot = armed(place)
    arm = default(slot)
    return SlotCard(card_id, kind(slot), 1.0, reason, expires, arm=arm, params=params(slot, arm))


def default(slot: Armed) -> str:
    """Name the arm that is shown where nothing else is."""
    return slot.default if isinstance(slot, Variant) else NOTHING


def kind(slot: Armed) -> str:
    """Name the kind of a slot, as cards do."""
    return "variant" if isinstance(slot, Variant) else "trigger"


def params(slot: Armed, arm: str) -> Params | None:
    """Give an arm's parameters; None where it has none."""
    return (slot.arms[arm].params or None) if arm in slot.arms else None


def _drawn(
    place: Place, p: NDArray[np.float64], who: Parts, bundle: Bundle
) -> tuple[list[Draw | None], NDArray[np.intp], list[Asked]]:
    """Draw for all for whom there is anything to draw; and say what limits how often they draw anew."""
    rows, facts = np.flatnonzero(p.any(axis=1)), bundle.facts
    numbers, changes = epochs(place, facts, _refresh(place, who))
    keys = _keys(f"{bundle.book.book.seed}|{place.name}|", facts, numbers, rows)
    values = np.array([ticket(key) for key in keys])
    # The last arm that may be drawn takes what rounding leaves above the sum.
    picked = np.zeros(len(p), dtype=np.intp)
    picked[rows] = np.minimum((values[:, np.newaxis] >= np.cumsum(p[rows], axis=1)).sum(axis=1), _last(p[rows]))
    draws: list[Draw | None] = [None] * len(p)
    names = list(options(armed(place)))
    for row, key, value, chances in zip(rows.tolist(), keys, values.tolist(), p[rows].tolist(), strict=True):
        draws[row] = Draw(key, value, names, chances)
    return draws, picked, changes


def _policies(slot: Armed, who: Parts) -> list[str]:
    """Name each person's policy."""
    return who.told(lambda arm: arm.treatment.policy or slot.policy, slot.policy)


def _refresh(place: Place, who: Parts) -> NDArray[np.int64]:
    """Say how long each person's draw counts, ms, (n,)."""
    usual = int(place.slot.guards.refresh)

    def of_arm(arm: Arm) -> int:
        said = arm.treatment.refresh
        return usual if said is None else int(said)

    return np.array(who.told(of_arm, usual), dtype=np.int64)


def _components(place: Place, slot: Armed, spoken: Voices, who: Parts) -> Iterator[_Component]:
    """Say among which arms each person's draw is: the rules' choice, within what their experiment leaves them."""
    names = options(slot)
    left = _masks(names, [arm.treatment.arms for arm in who.arms], who.place)
    alone = np.flatnonzero(spoken.share.sum(axis=1) == 0)
    if isinstance(slot, Variant):
        yield _Component(alone, np.ones(len(alone)), left[alone])
    for column, rule in enumerate(place.rules):
        actions = [action.arms for action in rule.actions()]
        rows = np.flatnonzero(spoken.share[:, column] > 0)
        wanted = _masks(names, actions, spoken.case[rows, column])
        both = wanted & left[rows]
        # What a rule asks for comes before what an experiment leaves.
        yield _Component(rows, spoken.share[rows, column], np.where(both.any(axis=1, keepdims=True), both, wanted))


def _masks(names: Sequence[str], chosen: Sequence[Sequence[str]], place: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Say which arms are left, (n, arms): those that are listed, all where none is."""
    masks = [[not arms or name in arms for name in names] for arms in (*chosen, [])]
    found: NDArray[np.bool_] = np.array(masks)[place]
    return found


def _odds(place: Place, components: Iterator[_Component], policy: Sequence[str], bundle: Bundle) -> NDArray[np.float64]:
    """Mix the components' probabilities, (n, arms); nothing where nobody asks."""
    p = np.zeros((len(bundle.ids), len(armed(place).arms)))
    of_row = np.array(policy, dtype=np.object_)
    for rows, share, mask in components:
        for name in sorted(set(of_row[rows])):
            at = np.flatnonzero(of_row[rows] == name)
            p[rows[at]] += share[at, np.newaxis] * odds(
                place, name, Drawing(bundle.learnt, bundle.facts, rows[at], mask[at])
            )
    return p


def _keys(salt: str, facts: Facts, numbers: NDArray[np.int64], rows: NDArray[np.intp]) -> list[str]:
    """Name each draw by who draws, in which session, the how-manieth; the first by nothing more."""
    return [
        f"{salt}{facts.users[row]}|{session}" + (f"|{number}" if number else "")
        for row, session, number in zip(
            rows.tolist(), facts.sessions[rows].tolist(), numbers[rows].tolist(), strict=True
        )
    ]


def _last(p: NDArray[np.float64]) -> NDArray[np.intp]:
    found: NDArray[np.intp] = p.shape[1] - 1 - (p[:, ::-1] > 0).argmax(axis=1)
    return found


def _shadows(place: Place, bundle: Bundle) -> Iterator[dict[str, list[float]] | None]:
    """Work out the policies that were not asked, as if no rule had spoken."""
    slot, rows = armed(place), np.arange(len(bundle.ids))
    if not slot.shadow:
        return repeat(None, len(rows))
    mask = np.ones((len(rows), len(slot.arms)), dtype=np.bool_)
    found = {name: odds(place, name, Drawing(bundle.learnt, bundle.facts, rows, mask)).tolist() for name in slot.shadow}
    return ({name: chances[row] for name, chances in found.items()} for row in rows.tolist())


def _reasons(slot: Armed, held: Reasons, spoken: Voices, policy: Sequence[str]) -> list[Why]:
    """Say why each person gets what they get."""
    by_name = {name: Why.SPLIT if isinstance(each, Fixed) else Why.LEARNED for name, each in policies(slot).items()}
    ruled = (spoken.share > 0).any(axis=1).tolist()
    return [
        why if why is not None else Why.RULE if rule else by_name[name]
        for why, rule, name in zip(held.tolist(), ruled, policy, strict=True)
    ]


def _words(
    found: Sequence[Asked], held: Reasons, spoken: Voices, place: Place, chances: Sequence[float]
) -> list[list[str] | None]:
    """Say it in words: the rules that count and the draw, or what holds it back."""
    drawn = {chance: [f"drawn with p = {chance:.3g}"] for chance in set(chances)}
    words: list[list[str] | None] = [drawn[chance] for chance in chances]
    for row, column in zip(*(each.tolist() for each in np.nonzero(spoken.share > 0)), strict=True):
        words[row] = [f"rule:{place.rules[column].name}", *(words[row] or [])]
    for row, reason in enumerate(held.tolist()):
        if reason is not None:
            guard = next((each for each in found if each.reason is reason and each.held[row]), None)
            words[row] = [_told(guard, row)] if guard else None
    return words


def _told(guard: Asked, row: int) -> str:
    count = guard.state[row].item()
    if guard.name == "cap":
        return f"shown {count} times {_STRETCHES[guard.per]}, {guard.limit} allowed"
    if guard.name == "cooldown":
        return f"shown {count} ms ago, {guard.limit:.0f} ms apart"
    if guard.name == "pacing":
        return "not the moment"
    if guard.name == "evidence":
        return f"{count} events in this session, {guard.limit} needed"
    return f"the likeliest arm has p = {count:.3g}, {guard.limit:.3g} needed"
