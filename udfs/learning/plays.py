"""What is learned of arms: the plays of a period in sums that come out alike anywhere, and how they join old ones."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from schemas.outcomes import Outcome
from schemas.plays import Period, Play
from schemas.policies import Learned, Linear, LinThompson, LinUcb, Plays, Posteriors
from schemas.slots import Slot, Trigger, Variant, policies
from udfs.learning.drawn import DRAWN
from udfs.policies.linear import features

VERSION: Final = 1
NEVER: Final = Plays()

_FORGOTTEN: Final = 1e-3
"""Plays: what has faded below is left out, so that segments that nobody is in any more do not stay for ever."""


def play(outcome: Outcome, slot: Slot | None) -> Play | None:
    """Say what an outcome teaches of an arm; None where it teaches nothing.

    Nothing is learned from who must not be learned from, from what was not drawn (a guard, a holdout, a control group,
    a switch), and from a page that says it showed something else.

    Args:
        outcome: what came of a decision.
        slot: as it was declared when that was made; None where it is not any more.
    """
    card, arm = outcome.card, outcome.card.arm
    if not isinstance(slot, Variant | Trigger) or arm not in slot.arms or outcome.unfit:
        return None
    if card.reason not in DRAWN or outcome.trace.draw is None or outcome.shown not in ("", arm):
        return None
    x = {name: float(getattr(outcome.signals, name)) for name in context_of(slot)}
    return Play(outcome.id, outcome.slot, arm, outcome.segment, outcome.cluster, outcome.reward, x)


def context_of(slot: Variant | Trigger) -> list[str]:
    """Name the signals that a slot's linear policies ask: those of the policy that draws, else of the first that asks.

    >>> from schemas.slots import Arm
    >>> slot = Variant({"x": Arm()}, "x", {"l": LinUcb(["zscore"]), "t": LinThompson(["velocity"])}, policy="t")
    >>> context_of(slot)
    ['velocity']
    """
    named = policies(slot)
    order = [named[slot.policy], *named.values()]
    return next((each.context for each in order if isinstance(each, LinUcb | LinThompson)), [])


def summed(plays: Iterable[Play], until: int, contexts: Mapping[str, Sequence[str]]) -> Period:
    """Add up the plays of a period: in the order of their ids, each once, so that the sums are the same to the bit.

    Args:
        plays: in any order, repeated or not.
        until: end of the period, ms since 1970.
        contexts: slot -> the signals that linear sums are about, see `context_of`; plays that tell of others are left
            out of these.

    >>> one, two = Play("b.hero", "hero", "x", "", 0, 0.5, {}), Play("a.hero", "hero", "x", "new", 7, 1.0, {})
    >>> summed([one, two, one], 60_000, {}).slots["hero"].arms
    {'x': Plays(n=2.0, total=1.5, squares=1.25)}
    """
    once = {each.id: each for each in plays}
    by_slot: defaultdict[str, list[Play]] = defaultdict(list)
    for _, each in sorted(once.items()):
        by_slot[each.slot].append(each)
    slots = {name: _sums(each, contexts.get(name, ())) for name, each in sorted(by_slot.items())}
    return Period(VERSION, until, len(once), slots)


def grown(before: Posteriors, period: Period, half_life: float) -> Posteriors:
    """Let what was known fade, and add what a period brought.

    Exponential forgetting of sufficient statistics (West and Harrison, "Bayesian Forecasting and Dynamic Models", 2nd
    edition, 1997, section 6.3): after `half_life` a play counts half as much as a new one.

    Args:
        before: what was known.
        period: later than what `before` counts.
        half_life: ms.

    Raises:
        ValueError: the period is not later.

    >>> known = Posteriors({"hero": Learned({"x": Plays(8.0, 4.0, 4.0)})}, until=60_000)
    >>> more = Period(1, 120_000, 1, {"hero": Learned({"x": Plays(1.0, 1.0, 1.0)})})
    >>> grown(known, more, half_life=60_000).slots["hero"].arms
    {'x': Plays(n=5.0, total=3.0, squares=3.0)}
    """
    if period.until <= before.until:
        raise ValueError(f"the plays until {period.until} are not later than what counts those until {before.until}")
    kept = _kept(period.until - before.until, half_life) if before.until else 1.0
    names = dict.fromkeys([*before.slots, *period.slots])
    slots = {
        name: _joined(before.slots.get(name, Learned()), period.slots.get(name, Learned()), kept) for name in names
    }
    return Posteriors(slots, period.until)


def news(known: Posteriors, published: Posteriors, half_life: float) -> float:
    """Say how much of what is known was not published yet: the largest share of any slot's plays, 0 to 1.

    Args:
        known: what grew from `published`.
        published: what draws go by.
        half_life: ms.

    >>> old = Posteriors({"hero": Learned({"x": Plays(8.0)})}, until=60_000)
    >>> now = grown(old, Period(1, 120_000, 4, {"hero": Learned({"x": Plays(4.0)})}), half_life=60_000)
    >>> news(now, old, 60_000), news(old, old, 60_000), news(old, Posteriors({}), 60_000)
    (0.5, 0.0, 1.0)
    """
    faded = _kept(known.until - published.until, half_life) if published.until else 1.0
    shares = [0.0]
    for name, slot in known.slots.items():
        total = sum(each.n for each in slot.arms.values())
        before = sum(each.n for each in published.slots.get(name, Learned()).arms.values())
        shares.append(1.0 - before * faded / total if total else 0.0)
    return max(shares)


def _kept(elapsed: int, half_life: float) -> float:
    """Say what a play of so many ms ago still counts."""
    return float(0.5 ** (elapsed / half_life))


def _sums(plays: Sequence[Play], context: Sequence[str]) -> Learned:
    """Add up one slot's plays, in their order."""
    segments: defaultdict[str, list[Play]] = defaultdict(list)
    clusters: defaultdict[str, list[Play]] = defaultdict(list)
    for each in plays:
        # Those in no segment are a group too: theirs is not everybody's taste.
        segments[each.segment].append(each)
        if each.cluster:
            clusters[str(each.cluster)].append(each)
    asked = [each for each in plays if list(each.x) == list(context)]
    return Learned(
        arms=_by_arm(plays),
        segments={name: _by_arm(each) for name, each in sorted(segments.items())},
        clusters={name: _by_arm(each) for name, each in sorted(clusters.items())},
        context=list(context),
        linear=_lines(asked) if context else {},
    )


def _by_arm(plays: Sequence[Play]) -> dict[str, Plays]:
    rewards: defaultdict[str, list[float]] = defaultdict(list)
    for each in plays:
        rewards[each.arm].append(each.reward)
    return {
        arm: Plays(float(len(each)), sum(each), sum(reward * reward for reward in each))
        for arm, each in sorted(rewards.items())
    }


def _lines(plays: Sequence[Play]) -> dict[str, Linear]:
    """Add up x x' and reward times x, by arm."""
    by_arm: defaultdict[str, list[Play]] = defaultdict(list)
    for each in plays:
        by_arm[each.arm].append(each)
    found = {}
    for arm, mine in sorted(by_arm.items()):
        told = [np.array(column) for column in zip(*(each.x.values() for each in mine), strict=True)]
        x, rewards = features(told), np.array([each.reward for each in mine])
        products = x[:, :, np.newaxis] * x[:, np.newaxis, :]
        found[arm] = Linear(products.sum(axis=0).tolist(), (rewards[:, np.newaxis] * x).sum(axis=0).tolist())
    return found


def _joined(before: Learned, more: Learned, kept: float) -> Learned:
    """Join one slot's sums with those of a period; trees and their leaves stay as they are."""
    context = more.context or before.context
    # What was learned about other signals says nothing of these.
    old = before.linear if before.context == context else {}
    lines = {arm: _line(old.get(arm), more.linear.get(arm), kept, len(context)) for arm in sorted({*old, *more.linear})}
    return Learned(
        arms=_faded(before.arms, more.arms, kept),
        segments=_groups(before.segments, more.segments, kept),
        clusters=_groups(before.clusters, more.clusters, kept),
        context=context,
        linear=lines,
        trees=before.trees,
        leaves=before.leaves,
    )


def _groups(
    before: Mapping[str, dict[str, Plays]], more: Mapping[str, dict[str, Plays]], kept: float
) -> dict[str, dict[str, Plays]]:
    found = {name: _faded(before.get(name, {}), more.get(name, {}), kept) for name in sorted({*before, *more})}
    return {name: arms for name, arms in found.items() if arms}


def _faded(before: Mapping[str, Plays], more: Mapping[str, Plays], kept: float) -> dict[str, Plays]:
    found = {}
    for arm in sorted({*before, *more}):
        old, new = before.get(arm, NEVER), more.get(arm, NEVER)
        n = old.n * kept + new.n
        if n >= _FORGOTTEN:
            found[arm] = Plays(n, old.total * kept + new.total, old.squares * kept + new.squares)
    return found


def _line(before: Linear | None, more: Linear | None, kept: float, width: int) -> Linear:
    """Join one arm's linear sums; the identity among the old ones does not fade."""
    identity, nothing = np.eye(width + 1), np.zeros(width + 1)
    precision, weighted = identity, nothing
    if before:
        precision = precision + kept * (np.array(before.precision) - identity)
        weighted = weighted + kept * np.array(before.weighted)
    if more:
        precision = precision + np.array(more.precision)
        weighted = weighted + np.array(more.weighted)
    return Linear(precision.tolist(), weighted.tolist())
