"""What was learned of each slot's arms, one release of it, and how likely each policy is to draw which arm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, Self

import numpy as np
from msgspec import json
from numpy.typing import NDArray

from schemas.policies import (
    Epsilon,
    Fixed,
    Learned,
    Leaves,
    Linear,
    LinThompson,
    LinUcb,
    Plays,
    Policy,
    Posteriors,
    Sparse,
    Thompson,
    Ucb,
)
from schemas.signals import USER_FEATURES, Signals
from schemas.slots import Armed, Trigger, Variant, options, policies
from udfs.deciding.book import Place
from udfs.deciding.facts import Facts
from udfs.policies import epsilon, leaves, linear, posteriors, ucb
from udfs.policies.floor import floored
from udfs.policies.grid import rounded
from udfs.policies.shares import evenly
from udfs.policies.thompson import best_beta, best_normal
from udfs.releases import RefusedRelease, decoded
from udfs.scoring import trees
from udfs.smooth import Column

Truths = NDArray[np.bool_]

NEVER: Final = Plays()
NOTHING: Final = Learned()


@dataclass(frozen=True, eq=False)
class Learnt:
    """One policy release.

    Attributes:
        version: the release, `p1`, `p2` ...
        posteriors: what it says.
        forests: slot -> the trees whose leaves count in it.
    """

    version: str
    posteriors: Posteriors
    forests: Mapping[str, trees.Trees]

    @classmethod
    def parse(cls, version: str, payload: bytes) -> Self:
        """Read `policy.json`, a `schemas.policies.Posteriors`.

        Raises:
            RefusedRelease: it is none, or its sums do not fit together.

        >>> Learnt.parse("p1", b'{"slots":{"hero":{"arms":{"story":{"n":2,"total":3}}}}}')
        Traceback (most recent call last):
        ...
        udfs.releases.RefusedRelease: policy p1: hero: arm "story" has more reward (3) than plays (2)
        """
        posteriors = decoded(_decode, payload, f"policy {version}")
        forests = {}
        for name, slot in posteriors.slots.items():
            try:
                _check(slot)
                if slot.trees:
                    forests[name] = _forest(version, slot)
            except ValueError as error:
                raise RefusedRelease(f"policy {version}: {name}: {error}") from None
        return cls(version, posteriors, forests)

    def of(self, slot: str) -> Learned:
        """Give what is known of a slot's arms."""
        return self.posteriors.slots.get(slot, NOTHING)


def known_since(sessions: NDArray[np.int64], ends: NDArray[np.int64], relearn: int) -> NDArray[np.int64]:
    """Say by what had been learned when each moment draws: at the start of its session, or of its stretch of that.

    Args:
        sessions: (n,) their starts, ms since 1970.
        ends: (n,) of the moments, later than those.
        relearn: length of a stretch, ms; 0: one for the session.

    Returns:
        (n,) ms since 1970.

    >>> starts, ends = np.array([1_000, 1_000, 1_000]), np.array([2_000, 31_000, 31_001])
    >>> known_since(starts, ends, 0).tolist(), known_since(starts, ends, 15_000).tolist()
    ([1000, 1000, 1000], [1000, 16000, 31000])
    """
    return sessions + (ends - 1 - sessions) // relearn * relearn if relearn else sessions


class Drawing(NamedTuple):
    """Some people of a bundle, for whom is to be drawn.

    Attributes:
        learnt: what was learned, of all people.
        facts: of all people.
        rows: the people, (m,).
        mask: the arms that may be drawn, (m, arms), at least one in each row.
    """

    learnt: Sequence[Learnt | None]
    facts: Facts
    rows: NDArray[np.intp]
    mask: Truths


def odds(place: Place, policy: str, drawing: Drawing) -> Column:
    """Say how likely a policy is to draw each arm for some people.

    Args:
        place: a slot with arms.
        policy: the name of one of its policies.
        drawing: for whom.

    Returns:
        (m, arms), the arms in the order of `schemas.slots.options`; a row sums to 1.
    """
    said, (learnt, facts, rows, mask) = policies(armed(place))[policy], drawing
    known = [learnt[row] for row in rows.tolist()]
    if isinstance(said, LinUcb | LinThompson):
        lines = [_lines(place, tuple(said.context), each) for each in known]
        own = linear.Lines(*(np.stack(each) for each in zip(*lines, strict=True)))
        x = context(said.context, facts, rows)
        if isinstance(said, LinUcb):
            return _kept(linear.ucb(x, own, said.alpha, mask), said, mask)
        return _kept(linear.thompson(x, own, said.spread, mask), said, mask)
    if isinstance(said, Leaves):
        # One release after the other: other trees are other leaves.
        p = np.empty(mask.shape)
        for each in dict.fromkeys(known):
            at = np.flatnonzero([other is each for other in known])
            p[at] = _by_leaf(place, said, each, Drawing(learnt, facts, rows[at], mask[at]))
        return _kept(p, said, mask)
    whose = [""] * len(rows)
    if not isinstance(said, Fixed) and said.by != "slot":
        whose = [str(value) for value in facts.columns[said.by][rows].tolist()]
    # What is alike for many is worked out once: who learned what, of whom, among which arms.
    asked = [(each, group, allowed.tobytes()) for each, group, allowed in zip(known, whose, mask, strict=True)]
    found = {key: _free(place, policy, *key) for key in dict.fromkeys(asked)}
    return np.array([found[key] for key in asked]).reshape(mask.shape)


def armed(place: Place) -> Armed:
    """Give the slot of a place that has arms."""
    assert isinstance(place.slot, Variant | Trigger)
    return place.slot


@lru_cache(maxsize=20_000)
def _free(place: Place, policy: str, learnt: Learnt | None, group: str, allowed: bytes) -> Column:
    """Work out a policy that asks nothing about the person but their group, (arms,)."""
    slot = armed(place)
    said, mask = policies(slot)[policy], np.frombuffer(allowed, dtype=np.bool_)
    if isinstance(said, Fixed):
        weights = np.array([slot.arms[arm].weight for arm in options(slot)])
        shares = np.where(mask, weights, 0.0)
        return _kept(shares / shares.sum(), said, mask)
    assert isinstance(said, Epsilon | Ucb | Thompson)
    n, total, squares = _plays(place, said, learnt, group)
    if isinstance(said, Epsilon):
        p = epsilon.distribution(posteriors.means(n, total), said.epsilon, mask)
    elif isinstance(said, Ucb):
        p = ucb.distribution(n, total, mask)
    elif said.reward == "beta":
        p = best_beta(*posteriors.beta(n, total, said.prior), mask)
    else:
        p = best_normal(*posteriors.normal(n, total, squares, said.prior), mask)
    return _kept(p, said, mask)


def _kept(p: Column, said: Policy, mask: Truths) -> Column:
    """Give every arm that may be drawn its least probability, and all of them a form that sums to 1 exactly."""
    if isinstance(said, Fixed) and not said.floor:
        return p
    return rounded(floored(p, said.floor, mask))


def _plays(place: Place, said: Epsilon | Ucb | Thompson, learnt: Learnt | None, group: str) -> list[Column]:
    """Give plays, rewards and squared rewards of each arm, (arms,); to a group of people everybody's are lent."""
    known, names = learnt.of(place.name) if learnt else NOTHING, options(armed(place))
    overall = [column[0] for column in _tables([known.arms], names)]
    groups = {"slot": {}, "segment": known.segments, "cluster": known.clusters}[said.by]
    if group not in groups:
        return overall
    row = list(groups).index(group)
    return [column[row] for column in posteriors.shrunk(_tables(list(groups.values()), names), overall)]


def _tables(tables: Sequence[Mapping[str, Plays]], names: Sequence[str]) -> list[Column]:
    """Make columns of plays, rewards and squared rewards, each (tables, arms)."""
    rows = [[table.get(name, NEVER) for name in names] for table in tables]
    return [np.array([[getattr(plays, each) for plays in row] for row in rows]) for each in ("n", "total", "squares")]


def _by_leaf(place: Place, said: Leaves, learnt: Learnt | None, drawing: Drawing) -> Column:
    """Work out the policy that asks in which leaves of a model a person ends, by one release."""
    _, facts, rows, mask = drawing
    forest = learnt.forests.get(place.name) if learnt else None
    if learnt is None or forest is None:
        return evenly(mask)
    asked = np.column_stack([facts.columns[name][rows].astype(np.float64) for name in USER_FEATURES])
    sizes = np.array([len(tree.value) for tree in forest.trees])
    ends = leaves.columns(trees.leaf_numbers(forest, asked), sizes)
    return leaves.distribution(ends, _known_leaves(place, learnt), said.spread, mask)


@lru_cache(maxsize=4096)  # the releases of some hours, of a few slots
def _lines(place: Place, names: tuple[str, ...], learnt: Learnt | None) -> linear.Lines:
    """Make each arm's line ready; what was learned about other signals than these says nothing."""
    known = learnt.of(place.name) if learnt else NOTHING
    width = 1 + len(names)
    nothing = Linear(np.eye(width).tolist(), [0.0] * width)
    sums = [
        known.linear.get(arm, nothing) if tuple(known.context) == names else nothing for arm in options(armed(place))
    ]
    return linear.ready(np.array([each.precision for each in sums]), np.array([each.weighted for each in sums]))


@lru_cache(maxsize=256)
def _known_leaves(place: Place, learnt: Learnt) -> leaves.Known:
    """Make ready what each arm has learned of each leaf."""
    known, count = learnt.of(place.name), sum(len(tree.value) for tree in learnt.forests[place.name].trees)
    nothing = Sparse([1.0] * count, [0.0] * count)
    sums = [known.leaves.get(arm, nothing) for arm in options(armed(place))]
    return leaves.ready(np.array([each.precision for each in sums]), np.array([each.weighted for each in sums]))


def context(names: Sequence[str], facts: Facts, rows: NDArray[np.intp]) -> Column:
    """Say what linear policies know of people, see `udfs.policies.linear.features`.

    Args:
        names: of signals.
        facts: of all people.
        rows: the people, (m,).

    Returns:
        (m, 1 + signals).
    """
    return linear.features([facts.columns[name][rows].astype(np.float64) for name in names])


def _check(slot: Learned) -> None:
    """Raise ValueError where sums do not fit together."""
    for table in (slot.arms, *slot.segments.values(), *slot.clusters.values()):
        for arm, plays in table.items():
            if plays.total > plays.n:
                raise ValueError(f'arm "{arm}" has more reward ({plays.total:g}) than plays ({plays.n:g})')
            if plays.squares > plays.total:
                raise ValueError(
                    f'arm "{arm}" has more squared reward ({plays.squares:g}) than reward ({plays.total:g})'
                )
    _check_context(slot)
    if slot.leaves and not slot.trees:
        raise ValueError("there are leaves, but no trees")


def _forest(version: str, slot: Learned) -> trees.Trees:
    """Read the trees whose leaves count; raises ValueError where the sums are not as many as these."""
    forest = trees.read(version, slot.trees, len(USER_FEATURES))
    if tuple(forest.features) != USER_FEATURES:
        raise ValueError("its trees ask other features than schemas.signals.USER_FEATURES, in order")
    count = sum(len(tree.value) for tree in forest.trees)
    for arm, sums in slot.leaves.items():
        if (len(sums.precision), len(sums.weighted)) != (count, count):
            raise ValueError(f'arm "{arm}": its sums must be of {count} leaves')
    return forest


def _check_context(slot: Learned) -> None:
    for signal in slot.context:
        if signal not in Signals.__struct_fields__:
            raise ValueError(f'there is no signal "{signal}"')
    width = 1 + len(slot.context)
    for arm, sums in slot.linear.items():
        if [len(row) for row in (sums.weighted, *sums.precision)] != [width] * (width + 1):
            raise ValueError(f'arm "{arm}": its linear sums must be of {width}, for 1 and {len(slot.context)} signals')


_decode: Final = json.Decoder(Posteriors).decode
