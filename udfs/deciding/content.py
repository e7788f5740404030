"""Which parameters a slot's content gets: those that are usual, and what a rule sets for such a person."""

import numpy as np

from schemas.decisions import SlotCard, Trace, Why
from schemas.slots import Content, Params
from udfs.deciding.book import Place
from udfs.deciding.bundle import Bundle
from udfs.deciding.choices import Choices
from udfs.deciding.guards import asked, states
from udfs.deciding.heard import CONTROLS, Reasons, free, heard, held_back, labels, said_by, taken


def choose(place: Place, bundle: Bundle, reasons: Reasons) -> Choices:
    """Set the parameters for each person. Nothing is drawn, so the probability is 1.

    Args:
        place: a slot with parameters.
        bundle: of n people.
        reasons: (n,) why the usual ones are shown already.
    """
    assert isinstance(place.slot, Content)
    facts, rows = bundle.facts, len(bundle.ids)
    who, spoken = heard(place, facts)
    found = asked(place, facts)
    held = held_back(reasons, who, found)
    values = [usual(place.slot)] * rows
    said: list[list[str] | None] = [None] * rows
    for column, rule in enumerate(place.rules):
        actions = rule.actions()
        for row in np.flatnonzero((spoken.share[:, column] > 0) & free(held)).tolist():
            values[row] = values[row] | actions[spoken.case[row, column]].set
            said[row] = [f"rule:{rule.name}"]
    cards = [
        SlotCard(
            card_id,
            "params",
            1.0,
            back if back is not None else Why.RULE if why else Why.USUAL,
            end,
            params=params,
            why=why,
            exp=experiment,
            control=back in CONTROLS,
        )
        for (card_id, end), back, params, why, experiment in zip(
            bundle.cards(place), held.tolist(), values, said, labels(who), strict=True
        )
    ]
    traces = [
        Trace(guards=guard, rules=rules, part=part)
        for guard, rules, part in zip(states(found, rows), said_by(place, spoken), taken(who), strict=True)
    ]
    return Choices(cards, traces)


def usual(slot: Content) -> Params:
    """Give the parameters where nothing sets them.

    >>> from schemas.slots import Knob
    >>> usual(Content({"density": Knob("high"), "length": Knob(3)}))
    {'density': 'high', 'length': 3}
    """
    return {name: knob.default for name, knob in slot.params.items()}


def impersonal(place: Place, card_id: str, expires: int, reason: Why) -> SlotCard:
    """Give the usual parameters, whoever it is."""
    assert isinstance(place.slot, Content)
    return SlotCard(card_id, "params", 1.0, reason, expires, params=usual(place.slot))
