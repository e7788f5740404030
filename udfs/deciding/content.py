"""Which parameters a slot's content gets: the usual ones, what a model predicts of the person, what a rule sets."""

from collections.abc import Mapping
from math import floor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.decisions import SlotCard, Trace, Why
from schemas.slots import Content, Knob, Params, Scalar
from udfs.deciding.book import Place
from udfs.deciding.bundle import Bundle
from udfs.deciding.choices import Choices
from udfs.deciding.guards import age, asked, states
from udfs.deciding.heard import CONTROLS, Reasons, free, heard, held_back, labels, said_by, taken
from udfs.deciding.speaking import Voices
from udfs.smooth import Column

HEAD: Final = "head:"
"""Before a parameter, in a card's words: what a model predicts has set it."""

_DIGITS: Final = 9  # behind the point: three steps of 0.1 are 0.3
_HAIR: Final = 1e-9

_Predictions = Mapping[str, Column]


def choose(place: Place, bundle: Bundle, reasons: Reasons) -> Choices:
    """Set the parameters for each person. Nothing is drawn, so the probability is 1.

    What a model predicts stands in the record also where a rule, or what holds it back, comes before it.

    Args:
        place: a slot with parameters.
        bundle: of n people.
        reasons: (n,) why the usual ones are shown already.
    """
    slot, facts, rows = _content(place), bundle.facts, len(bundle.ids)
    who, spoken = heard(place, facts)
    predictions = _predictions(place, bundle)
    ages = age(bundle.book.book.stale, facts, bundle.releases, "heads") if predictions else []
    fresh = ~ages[0].held if ages else np.ones(rows, dtype=np.bool_)
    found = [*asked(place, facts), *ages]
    held = held_back(reasons, who, found)
    shown, usually = free(held), usual(slot)
    cards = [
        SlotCard(
            card_id,
            "params",
            1.0,
            back if back is not None else Why.RULE if said else Why.HEAD if by_head else Why.USUAL,
            end,
            params={**usually, **by_head, **by_rule},
            why=_words(said, by_head, by_rule),
            exp=experiment,
            control=back in CONTROLS,
        )
        for (card_id, end), back, by_head, (said, by_rule), experiment in zip(
            bundle.cards(place),
            held.tolist(),
            _by_heads(slot, predictions, shown & fresh),
            _by_rules(place, spoken, shown),
            labels(who),
            strict=True,
        )
    ]
    traces = [
        Trace(guards=guard, rules=rules, part=part, heads=scores)
        for guard, rules, part, scores in zip(
            states(found, rows), said_by(place, spoken), taken(who), _written(predictions, fresh), strict=True
        )
    ]
    return Choices(cards, traces)


def usual(slot: Content) -> Params:
    """Give the parameters where nothing sets them.

    >>> usual(Content({"density": Knob("high"), "length": Knob(3)}))
    {'density': 'high', 'length': 3}
    """
    return {name: knob.default for name, knob in slot.params.items()}


def tuned(knob: Knob, predictions: Column) -> list[Scalar]:
    """Say what a parameter is set to by what is predicted of people.

    Args:
        knob: a parameter that is `predicted`.
        predictions: (n,).

    >>> tuned(Knob("normal", ["short", "normal", "long"], predicted="read_s", cuts=[10, 40]), np.array([10, 11, 99]))
    ['short', 'normal', 'long']
    >>> tuned(Knob(2, least=1, most=4, predicted="wide"), np.array([-3.0, 2.4, 7.0]))
    [1, 2, 4]
    >>> tuned(Knob(0.5, least=0, most=1, predicted="dense", step=0.1), np.array([0.0, 0.31, 7.0]))
    [0.0, 0.3, 1.0]
    """
    if knob.options:
        return [knob.options[place] for place in np.searchsorted(knob.cuts, predictions).tolist()]
    assert knob.least is not None
    assert knob.most is not None  # what is predicted has bounds, see udfs.deciding.book
    within = np.clip(predictions, knob.least, knob.most)
    kind = type(knob.default)
    if step := knob.step or (1.0 if kind is int else 0.0):
        last = floor((knob.most - knob.least) / step + _HAIR)
        within = knob.least + np.minimum(np.rint((within - knob.least) / step), last) * step
    return [kind(round(value, _DIGITS)) for value in within.tolist()]


def impersonal(place: Place, card_id: str, expires: int, reason: Why) -> SlotCard:
    """Give the usual parameters, whoever it is."""
    return SlotCard(card_id, "params", 1.0, reason, expires, params=usual(_content(place)))


def _content(place: Place) -> Content:
    assert isinstance(place.slot, Content)
    return place.slot


def _predictions(place: Place, bundle: Bundle) -> _Predictions:
    """Ask the heads in force, parameter by parameter, (n,) each."""
    targets = {name: knob.predicted for name, knob in _content(place).params.items() if knob.predicted}
    heads = bundle.releases.heads
    return heads.predictions(place.name, targets, bundle.facts.columns) if heads and targets else {}


def _by_heads(slot: Content, predictions: _Predictions, rows: NDArray[np.bool_]) -> list[Params]:
    """Say which parameters heads set for each person; none but for some rows, (n,)."""
    found: list[Params] = [{}] * len(rows)
    at = np.flatnonzero(rows)
    for name, column in predictions.items():
        for row, value in zip(at.tolist(), tuned(slot.params[name], column[at]), strict=True):
            found[row] = found[row] | {name: value}
    return found


def _by_rules(place: Place, spoken: Voices, rows: NDArray[np.bool_]) -> list[tuple[list[str] | None, Params]]:
    """Say in a word which rule counts for each person, and which parameters it sets; none but for some rows, (n,)."""
    found: list[tuple[list[str] | None, Params]] = [(None, {})] * len(rows)
    for column, rule in enumerate(place.rules):
        actions = rule.actions()
        for row in np.flatnonzero((spoken.share[:, column] > 0) & rows).tolist():
            found[row] = ([f"rule:{rule.name}"], found[row][1] | actions[spoken.case[row, column]].set)
    return found


def _words(said: list[str] | None, by_head: Params, by_rule: Params) -> list[str] | None:
    """Say in words what has set parameters: a rule, and heads where no rule did."""
    heads = [f"{HEAD}{name}" for name in by_head if name not in by_rule]
    return [*(said or []), *heads] if heads else said


def _written(predictions: _Predictions, rows: NDArray[np.bool_]) -> list[dict[str, float] | None]:
    """Write down what is predicted, row by row; None where no head is asked."""
    found: list[dict[str, float] | None] = [None] * len(rows)
    columns = zip(*(column.tolist() for column in predictions.values()), strict=True)
    for row, values in enumerate(columns):
        found[row] = dict(zip(predictions, values, strict=True)) if rows[row] else None
    return found
