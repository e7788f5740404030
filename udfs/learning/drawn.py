"""Which outcomes say what policies are worth: those whose arm was drawn; and among which arms the draw was."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.decisions import Spoke, Why
from schemas.outcomes import Outcome
from schemas.rules import Action, Rulebook
from udfs.counting.sampling import LEFT_OUT
from udfs.smooth import Column

DRAWN: Final = frozenset({Why.SPLIT, Why.LEARNED, Why.RULE})
"""Reasons of cards whose arm was drawn; with all others something else came before."""


class Choice(NamedTuple):
    """Among what a draw was.

    Attributes:
        arms: that could be drawn.
        whole: whether these are all that the slot had.
        share: of the draw; below 1 where rules share it.
    """

    arms: frozenset[str]
    whole: bool
    share: float = 1.0


class Left(NamedTuple):
    """What rules and experiments left of a slot's arms, a row an outcome.

    Attributes:
        arms: K of them.
        share: with which share of the draw each of J choices was made, (n, J); they add up to 1.
        mask: among which arms, (n, J, K).
        whole: whether all that the slot had were left, (n, J): then one that it has now would have been, too.
    """

    arms: Sequence[str]
    share: Column
    mask: NDArray[np.bool_]
    whole: NDArray[np.bool_]

    @classmethod
    def of(cls, choices: Sequence[Sequence[Choice]], arms: Sequence[str]) -> "Left":
        """Make columns of choices, a sequence of them each outcome."""
        shape = len(choices), max(map(len, choices), default=1)
        found = cls(arms, np.zeros(shape), np.zeros((*shape, len(arms)), np.bool_), np.zeros(shape, np.bool_))
        for row, each in enumerate(choices):
            for number, choice in enumerate(each):
                found.share[row, number], found.whole[row, number] = choice.share, choice.whole
                found.mask[row, number] = [arm in choice.arms for arm in arms]
        return found


def unusable(outcome: Outcome) -> str:
    """Say why an outcome says nothing of policies; empty where it does.

    Never by which arm was drawn: leaving out the plays of an arm would leave the others too many.
    """
    card, draw = outcome.card, outcome.trace.draw
    if outcome.unfit:
        return LEFT_OUT[outcome.unfit[0]]
    if outcome.unmeasured:
        return "without consent to measure"
    if draw is None or card.reason not in DRAWN:
        return "not drawn"
    if card.arm not in draw.arms or draw.p[draw.arms.index(card.arm)] != card.p or card.p <= 0:
        return "whose chance is not that of the draw"
    if outcome.shown not in ("", card.arm):
        return "where the page showed something else"
    return ""


def choices(outcome: Outcome, rules: Rulebook) -> list[Choice] | None:
    """Say among which arms an outcome's draw was: those that the rules that won asked for, else all.

    Read from the record, as `udfs.deciding.arms` has written it.

    Args:
        outcome: whose arm was drawn.
        rules: the release that the record names.

    Returns:
        A choice, or several where rules share the draw; None where these rules are not those that spoke.
    """
    trace = outcome.trace
    every = left = frozenset(trace.draw.arms if trace.draw else ())
    if trace.part:
        experiment = rules.experiments.get(trace.part.experiment)
        treatment = experiment.arms.get(trace.part.arm) if experiment else None
        if treatment is None:
            return None
        left = frozenset(treatment.arms) or every
    won = [spoke for spoke in trace.rules or () if spoke.won]
    if not won:
        return [Choice(left, whole=left == every)]
    found = []
    for spoke in won:
        action = _action(spoke, rules)
        if action is None:
            return None
        wanted = frozenset(action.arms) or every
        # What a rule asks for comes before what an experiment leaves.
        arms = wanted & left or wanted
        # Only rules that are weighed against one another win together.
        share = spoke.rank / sum(each.rank for each in won) if len(won) > 1 else 1.0
        found.append(Choice(arms, arms == every, share))
    return found


def within(chances: Column, left: Left, otherwise: Column | None = None) -> Column:
    """Let a policy draw among the arms that were left, with the odds that it gives these: what it gives others is lost.

    For weights this is what the policy would have done; for one that learned, nearly: the best of three arms is not
    the best of two as often as its odds against the other say.

    Args:
        chances: as if nothing had been ruled out, (n, K).
        left: the arms.
        otherwise: chances, (n, K), that count where the policy gives nothing to any arm that was left; without them,
            the row has no chances for that part of the draw.

    Returns:
        (n, K).

    >>> left = Left.of([[Choice(frozenset("ab"), whole=False)]], "abc")
    >>> within(np.array([[0.5, 0.25, 0.25]]), left).round(4).tolist()
    [[0.6667, 0.3333, 0.0]]
    """
    found = np.zeros(chances.shape)
    for number in range(left.share.shape[1]):
        mask = left.mask[:, number]
        part = _shared(chances, mask)
        if otherwise is not None:
            part = np.where(part.any(axis=-1, keepdims=True), part, _shared(otherwise, mask))
        found += left.share[:, number, np.newaxis] * part
    return found


def _shared(chances: Column, mask: NDArray[np.bool_]) -> Column:
    kept = np.where(mask, chances, 0.0)
    total = kept.sum(axis=-1, keepdims=True)
    return np.divide(kept, total, out=np.zeros(kept.shape), where=total > 0)


def _action(spoke: Spoke, rules: Rulebook) -> Action | None:
    rule = rules.rules.get(spoke.rule)
    if rule is None:
        return None
    case = rule.cases.get(spoke.case)
    return case.then if case else rule.otherwise
