"""What holds a slot's choice back: caps, a cooldown, pacing, too little evidence or confidence, a model too old."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.decisions import Guard, Why
from schemas.releases import Channel
from udfs.deciding.book import PER, Place
from udfs.deciding.facts import STRETCHES, Facts
from udfs.deciding.in_force import InForce

_LAST = STRETCHES.index("shown_ms")
NEVER = -1
"""In a cooldown's state: the slot was never shown."""


class Asked(NamedTuple):
    """One guard's states, a row a person.

    Attributes:
        name: of the guard.
        reason: why the default is shown where it holds; None: it limits the choice, and holds none back.
        state: (n,) what it found.
        limit: what it was held against.
        held: (n,) whether it holds.
        per: of a cap, the stretch in which it counts.
    """

    name: str
    reason: Why | None
    state: NDArray[np.int64] | NDArray[np.float64]
    limit: float
    held: NDArray[np.bool_]
    per: str = ""


def asked(place: Place, facts: Facts) -> list[Asked]:
    """Ask the guards of a slot that look at the person, in the order in which they count.

    Args:
        place: the slot.
        facts: of n people.
    """
    guards, found = place.slot.guards, []
    for limit in place.limits:
        count = facts.shown[:, list(limit.counters), limit.per].sum(axis=1)
        found.append(Asked("cap", Why.CAPPED, count, limit.most, count >= limit.most, PER[limit.per]))
    if guards.cooldown:
        last = facts.shown[:, place.counter, _LAST]
        since = np.where(last > 0, facts.ends - last, NEVER)
        found.append(
            Asked("cooldown", Why.COOLDOWN, since, int(guards.cooldown), (last > 0) & (since < guards.cooldown))
        )
    if place.quiet_when:
        quiet = place.quiet_when(facts.columns)
        found.append(Asked("pacing", Why.PACED, quiet.astype(np.int64), 0, quiet))
    if guards.min_events:
        events = facts.columns["session_events"]
        found.append(Asked("evidence", Why.EARLY, events, guards.min_events, events < guards.min_events))
    return found


def sure(place: Place, p: NDArray[np.float64], open_: NDArray[np.bool_]) -> list[Asked]:
    """Ask whether any arm is likely enough to leave the default for it.

    Args:
        place: the slot.
        p: (n, arms) their probabilities.
        open_: (n,) for whom the arms are drawn at all.
    """
    least = place.slot.guards.confidence
    if not least:
        return []
    likeliest = p.max(axis=1)
    return [Asked("confidence", Why.UNSURE, likeliest, least, open_ & (likeliest < least))]


def epochs(place: Place, facts: Facts, refresh: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[Asked]]:
    """Say which draw of their session people are at, and how often that may be another one.

    Args:
        place: the slot.
        facts: of n people.
        refresh: (n,) length of a draw's stretch, ms; 0: one for the session.

    Returns:
        (n,) numbers of draws from 0 on; and the guard that limits them.
    """
    wanted = np.where(refresh > 0, (facts.ends - 1 - facts.sessions) // np.maximum(refresh, 1), 0)
    most = place.slot.guards.changes
    if not most:
        return wanted, []
    return np.minimum(wanted, most), [Asked("changes", None, wanted, most, wanted > most)]


def outdated(stale: int, facts: Facts, releases: InForce) -> NDArray[np.bool_]:
    """Say for whom the model is too old to be asked, (n,).

    Args:
        stale: ms after which it is; 0: never.
        facts: of n people.
        releases: those in force.
    """
    found = age(stale, facts, releases)
    return found[0].held if found else np.zeros(len(facts.users), dtype=np.bool_)


def age(stale: int, facts: Facts, releases: InForce, channel: Channel = "model") -> list[Asked]:
    """Ask how old the model is; where it is too old, all is as without one. It holds no choice back."""
    since = releases.effective.get(channel)
    # One in force from the start of time has no age.
    if not (stale and since):
        return []
    old = facts.ends - since
    return [Asked("stale", None, old, stale, old > stale)]


def states(found: list[Asked], rows: int) -> list[list[Guard] | None]:
    """Write the states row by row; None where there is no guard."""
    if not found:
        return [None] * rows
    columns = [
        [
            Guard(each.name, count, each.limit, held)
            for count, held in zip(each.state.tolist(), each.held.tolist(), strict=True)
        ]
        for each in found
    ]
    return [list(row) for row in zip(*columns, strict=True)]
