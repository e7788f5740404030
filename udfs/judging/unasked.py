"""What a policy that was never asked would have drawn, worked out from the records of what another one drew."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.slots import options
from udfs.deciding.book import Book, Place
from udfs.deciding.facts import recorded
from udfs.deciding.learned import Drawing, Learnt, armed, odds
from udfs.learning.drawn import Left
from udfs.smooth import Column


@dataclass(frozen=True, eq=False)
class Candidate:
    """A policy that may be asked.

    Attributes:
        book: what it stands in.
        place: its slot there, one with arms.
        policy: its name there.
    """

    book: Book
    place: Place
    policy: str

    def chances(self, outcomes: Sequence[Outcome], left: Left, learnt: Learnt | None) -> Column:
        """Say how likely it would have drawn each arm, among those that were left.

        Args:
            outcomes: n of them.
            left: the arms that were left to each.
            learnt: what had been learned of arms, for all of them.

        Returns:
            (n, K) in the order of `left.arms`. What the policy gives to arms that were not there then is missing from a
            row's sum; a row in which none of its arms was left has no chances.
        """
        names = options(armed(self.place))
        there = [left.arms.index(arm) for arm in names if arm in left.arms]
        here = [number for number, arm in enumerate(names) if arm in left.arms]
        facts = recorded([_decision(outcome) for outcome in outcomes], self.book)
        found = np.zeros((len(outcomes), len(left.arms)))
        for number in range(left.share.shape[1]):
            # Where nothing was ruled out, an arm that is new would have been left too.
            mask = np.repeat(left.whole[:, number, np.newaxis], len(names), axis=1)
            mask[:, here] |= left.mask[:, number][:, there]
            rows = np.flatnonzero(mask.any(axis=1) & (left.share[:, number] > 0))
            if len(rows):
                p = odds(self.place, self.policy, Drawing([learnt] * len(outcomes), facts, rows, mask[rows]))
                found[rows[:, np.newaxis], there] += left.share[rows, number, np.newaxis] * p[:, here]
        return found


def _decision(outcome: Outcome) -> Decision:
    """Give the decision as far as a policy asks about it."""
    return Decision(
        user_id=outcome.user_id,
        v=outcome.v,
        seq=outcome.seq,
        at=outcome.at,
        expires=outcome.card.expires,
        slots={},
        ver=outcome.ver,
        signals=outcome.signals,
        session=outcome.session,
        clicked=outcome.clicked,
        opened=outcome.opened,
        context=outcome.context,
        segment=outcome.segment,
        cluster=outcome.cluster,
    )
