"""Worlds in which it is known what every policy is worth, to hold the scoreboard's intervals against."""

from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from udfs.judging.expected import FOLDS, expected
from udfs.judging.off_policy import Log
from udfs.smooth import Column

_TASTE: Final = np.array([[0.7, 1.0, 1.3], [1.3, 1.0, 0.7]])
"""Of two segments: by how much each arm is worth more or less."""

_SPREAD: Final = (0.2, 1.8)
"""By how much people differ, where they play more than once; 1 in the mean."""

_STAYS: Final = 0.5
"""Chance that the next play is in the same session, and so of the same draw."""


class World(NamedTuple):
    """What is drawn, what is asked, and what comes of it.

    Attributes:
        people: how many.
        plays: of each, on average; 1: each once.
        p: chances of the three arms.
        target: those of the policy that is asked about, in the first segment; in the second, the other way round.
        worth: mean rewards, before `_TASTE`.
        clip: largest weight, see `scoreboard.clip`.
    """

    people: int
    plays: float
    p: tuple[float, float, float]
    target: tuple[float, float, float]
    worth: tuple[float, float, float]
    clip: float = 100.0


SCENARIOS: Final = {
    "near": World(2_000, 1, (0.5, 0.3, 0.2), (0.4, 0.35, 0.25), (0.10, 0.20, 0.15)),
    "few": World(400, 1, (0.5, 0.3, 0.2), (0.2, 0.3, 0.5), (0.10, 0.20, 0.15)),
    "far": World(4_000, 1, (0.8, 0.15, 0.05), (0.05, 0.0, 0.95), (0.10, 0.20, 0.25)),
    "rare": World(10_000, 1, (0.5, 0.3, 0.2), (0.2, 0.3, 0.5), (0.010, 0.012, 0.008)),
    "rare and far": World(20_000, 1, (0.8, 0.15, 0.05), (0.05, 0.05, 0.9), (0.010, 0.012, 0.012)),
    "cut": World(10_000, 1, (0.79, 0.2, 0.01), (0.1, 0.2, 0.7), (0.10, 0.20, 0.15), clip=20.0),
    "several plays": World(800, 4, (0.5, 0.3, 0.2), (0.2, 0.3, 0.5), (0.10, 0.20, 0.15)),
    "several plays, rare and far": World(6_000, 4, (0.8, 0.15, 0.05), (0.05, 0.05, 0.9), (0.010, 0.012, 0.012)),
}


def drawn(world: World, seed: int) -> tuple[Log, Column]:
    """Let people play, and give the log and what the other policy would have drawn."""
    rng = default_rng([seed, 11])
    counts = rng.geometric(1.0 / world.plays, world.people)
    person = np.repeat(np.arange(world.people), counts)
    taste = rng.uniform(*_SPREAD, world.people) if world.plays > 1 else np.ones(world.people)
    segment = rng.integers(0, 2, world.people)[person]
    p = np.broadcast_to(np.array(world.p), (len(person), 3))
    arm = (_tickets(person, rng)[:, np.newaxis] >= np.cumsum(world.p)).sum(axis=1)
    worth = np.array(world.worth)[arm] * _TASTE[segment, arm] * taste[person]
    # Half of the rewards are halves: they need not be 0 or 1.
    reward = (rng.random(len(person)) < worth) * rng.choice([0.5, 1.0], len(person))
    log = Log(person, arm, reward, p, expected(arm, reward, segment, person % FOLDS, 3))
    return log, _asked(world)[segment]


def truth(world: World) -> tuple[float, float]:
    """Say what the other policy is worth, and how much more than the one that draws."""
    worth = 0.75 * np.array(world.worth) * _TASTE
    value = float((_asked(world) * worth).sum(axis=1).mean())
    return value, value - float((np.array(world.p) * worth).sum(axis=1).mean())


def _asked(world: World) -> Column:
    return np.array([world.target, world.target[::-1]])


def _tickets(person: NDArray[np.intp], rng: Generator) -> Column:
    """Draw for each session: plays of one share their draw."""
    anew = (rng.random(len(person)) >= _STAYS) | np.append(True, person[1:] != person[:-1])
    session = np.cumsum(anew) - 1
    tickets: Column = rng.random(session[-1] + 1)[session]
    return tickets
