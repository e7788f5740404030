"""Outcomes gathered into columns: who drew what with which chances, and what each other policy would have drawn."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np

from schemas.decisions import Draw
from schemas.outcomes import Outcome
from schemas.rules import Rulebook
from udfs.deciding.learned import Learnt
from udfs.judging.expected import expected, fold_of
from udfs.judging.off_policy import Log
from udfs.judging.unasked import Candidate
from udfs.learning.drawn import Left, choices, unusable, within
from udfs.smooth import Column

UNIFORM: Final = "uniform"
KINDS: Final = ("shadow", "candidate", UNIFORM, "always")
"""First words of policies' names, in the order in which they are told."""

_LATEST: Final = 1 << 62


class Targets(NamedTuple):
    """The plays of a slot, and what policies would have drawn in them.

    Attributes:
        log: of n plays, in the order of their ids.
        arms: names of its K arms.
        policies: name -> chances, (n, K); not numbers in the rows of plays of which nothing is known of the policy.
    """

    log: Log
    arms: Sequence[str]
    policies: Mapping[str, Column]


class _Part(NamedTuple):
    """The plays of some outcomes, m of them."""

    arms: list[str]
    rows: list[tuple[str, str, str, str, float]]  # id, user, segment, arm, reward
    p: Column
    policies: dict[str, Column]


class Recorded:
    """The outcomes of one slot, added up bundle by bundle.

    Attributes:
        read: outcomes of the slot.
        left_out: why -> outcomes.
        first: when the first of those that count was shown, ms since 1970.
        last: when the last was.
    """

    def __init__(self, candidates: Mapping[str, Candidate]) -> None:
        """Begin with nothing.

        Args:
            candidates: policies of the slot that are worked out, by the names under which they are told.
        """
        self.read = 0
        self.left_out: Counter[str] = Counter()
        self.first, self.last = _LATEST, 0
        self._candidates = candidates
        self._parts: list[_Part] = []
        self._ids: set[str] = set()

    def add(self, outcomes: Iterable[Outcome], rules: Rulebook, learnt: Learnt | None) -> None:
        """Add some outcomes; those whose id was there before are passed over.

        Args:
            outcomes: of the slot, of decisions by the same releases.
            rules: the rules that these name.
            learnt: what candidates are to know of arms.
        """
        used, among, draws = [], [], []
        for outcome in outcomes:
            if outcome.id in self._ids:
                continue
            self._ids.add(outcome.id)
            reason, choice, draw = unusable(outcome), choices(outcome, rules), outcome.trace.draw
            if reason or not choice or not draw:
                self.leave_out([outcome], reason or "decided by rules that are not known")
                continue
            self.read += 1
            used.append(outcome)
            among.append(choice)
            draws.append(draw)
        if not used:
            return
        self.first = min(self.first, *(each.at for each in used))
        self.last = max(self.last, *(each.at for each in used))
        arms = sorted(set(chain.from_iterable(draw.arms for draw in draws)))
        left, p = Left.of(among, arms), _columns(draws, [draw.p for draw in draws], arms)
        policies = _shadows(used, draws, left)
        policies |= {f"candidate {name}": each.chances(used, left, learnt) for name, each in self._candidates.items()}
        policies |= _plain(draws, p, left)
        rows = [(each.id, each.user_id, each.segment, each.card.arm or "", each.reward) for each in used]
        self._parts.append(_Part(arms, rows, p, policies))

    def leave_out(self, outcomes: Sequence[Outcome], reason: str) -> None:
        """Count some that say nothing."""
        self.read += len(outcomes)
        self.left_out[reason] += len(outcomes)

    def targets(self) -> Targets | None:
        """Put everything together, the same whatever order it came in; None where there is nothing.

        Policies are named `shadow NAME`, `candidate NAME`, `uniform`, and `always ARM`: that arm wherever rules leave
        it, else what was drawn from.
        """
        if not self._parts:
            return None
        arms = sorted(set(chain.from_iterable(part.arms for part in self._parts)))
        rows = chain.from_iterable(part.rows for part in self._parts)
        ids, users, segments, drawn, rewards = zip(*rows, strict=True)
        order = np.argsort(np.array(ids))
        people, person = np.unique(np.array(users)[order], return_inverse=True)
        segment = np.unique(np.array(segments)[order], return_inverse=True)[1]
        fold = np.array([fold_of(each) for each in people.tolist()])[person]
        arm, reward = np.searchsorted(arms, np.array(drawn)[order]), np.array(rewards)[order]
        model = expected(arm, reward, segment, fold, len(arms))
        p = np.concatenate([_wide(part.p, part, arms) for part in self._parts])[order]
        names = set(chain.from_iterable(part.policies for part in self._parts))
        policies = {
            name: np.concatenate([_wide(part.policies.get(name), part, arms) for part in self._parts])[order]
            for name in sorted(names, key=lambda name: (KINDS.index(name.partition(" ")[0]), name))
        }
        return Targets(Log(person, arm, reward, p, model), arms, policies)


def _shadows(outcomes: Sequence[Outcome], draws: Sequence[Draw], left: Left) -> dict[str, Column]:
    """Give what shadow policies would have drawn; they were worked out as if no rule had spoken."""
    said = [outcome.trace.shadow or {} for outcome in outcomes]
    found = {}
    for name in dict.fromkeys(chain.from_iterable(said)):
        known = np.array([name in each for each in said], dtype=np.bool_)
        p = _columns(draws, [each.get(name, draw.p) for each, draw in zip(said, draws, strict=True)], left.arms)
        found[f"shadow {name}"] = np.where(known[:, np.newaxis], within(p, left), np.nan)
    return found


def _plain(draws: Sequence[Draw], p: Column, left: Left) -> dict[str, Column]:
    """Give what needs no policy: all arms alike, and one of them always."""
    there = _columns(draws, [[1.0] * len(draw.arms) for draw in draws], left.arms)
    found = {UNIFORM: within(there, left)}
    for number, arm in enumerate(left.arms):
        alone = np.zeros(p.shape)
        alone[:, number] = 1.0
        found[f"always {arm}"] = np.where(there[:, [number]] > 0, within(alone, left, otherwise=p), np.nan)
    return found


def _columns(draws: Sequence[Draw], p: Sequence[Sequence[float]], arms: Sequence[str]) -> Column:
    """Give the chances of arms, (n, arms), that stand in the order of each draw; 0 for an arm that was not there."""
    named = [dict(zip(draw.arms, each, strict=True)) for draw, each in zip(draws, p, strict=True)]
    return np.array([[each.get(arm, 0.0) for arm in arms] for each in named])


def _wide(columns: Column | None, part: _Part, arms: Sequence[str]) -> Column:
    """Put columns of a part's arms where they stand among all; no numbers where the part knows nothing of a policy."""
    if columns is None:
        return np.full((len(part.p), len(arms)), np.nan)
    found = np.zeros((len(columns), len(arms)))
    found[:, [arms.index(arm) for arm in part.arms]] = columns
    return found
