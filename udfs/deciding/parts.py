"""Who takes part in which experiment of a slot, and who is held out of everything so that the whole can be measured."""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.rules import Holdout, Treatment
from udfs.deciding.assignment import NOBODY, bucket, chosen, coverage_at, ranges, within
from udfs.deciding.book import Place, Trial
from udfs.deciding.facts import Facts

Said = TypeVar("Said")

USUAL: Final = Treatment()
"""How those are treated who take part in nothing."""


class Arm(NamedTuple):
    """One arm of an experiment."""

    experiment: str
    name: str
    treatment: Treatment


class Parts(NamedTuple):
    """Who is where, a row a person.

    Attributes:
        arms: all arms of the slot's experiments.
        place: (n,) whose place in `arms`; NOBODY for those who take part in nothing.
        bucket: (n,) the hash that put them there, [0, 1).
    """

    arms: tuple[Arm, ...]
    place: NDArray[np.intp]
    bucket: NDArray[np.float64]

    def told(self, of: Callable[[Arm], Said], usual: Said) -> list[Said]:
        """Say what each person's arm says; of those who take part in nothing what is usual."""
        said = [of(arm) for arm in self.arms]
        return [said[place] if place != NOBODY else usual for place in self.place.tolist()]

    def treated(self, name: str) -> NDArray[np.bool_]:
        """Say who is in an arm whose treatment says something, such as `control`, (n,)."""
        said = np.array([bool(getattr(arm.treatment, name)) for arm in (*self.arms, _NO_ARM)])
        found: NDArray[np.bool_] = said[self.place]
        return found


_NO_ARM: Final = Arm("", "", USUAL)


def parts(place: Place, facts: Facts) -> Parts:
    """Share people out among a slot's experiments: the first that takes them has them."""
    rows = len(facts.users)
    arms = tuple(
        Arm(trial.name, name, treatment) for trial in place.trials for name, treatment in trial.experiment.arms.items()
    )
    found = Parts(arms, np.full(rows, NOBODY, dtype=np.intp), np.zeros(rows))
    first = 0
    for trial in place.trials:
        free = np.flatnonzero((found.place == NOBODY) & _eligible(trial, facts))
        if len(free):
            users = [facts.users[row] for row in free.tolist()]
            hashed = bucket(_salt(trial), users)
            taken = _taken(trial, hashed, facts.ends[free])
            found.place[free] = np.where(taken == NOBODY, NOBODY, first + taken)
            found.bucket[free] = np.where(taken == NOBODY, 0.0, hashed)
        first += len(trial.experiment.arms)
    return found


def held_out(holdout: Holdout, users: list[str]) -> NDArray[np.bool_]:
    """Say who gets the default in every slot, (n,).

    >>> held_out(Holdout(share=0.5), ["k0:ada", "k0:bob", "k0:eve"]).tolist()
    [False, False, True]
    """
    if not holdout.share:
        return np.zeros(len(users), dtype=np.bool_)
    found: NDArray[np.bool_] = bucket(holdout.salt, users) < holdout.share
    return found


def _salt(trial: Trial) -> str:
    return trial.experiment.salt or trial.name


def _eligible(trial: Trial, facts: Facts) -> NDArray[np.bool_]:
    space = trial.experiment.namespace
    inside = (
        within(space.name, facts.users, space.since, space.until)
        if space
        else np.ones(len(facts.users), dtype=np.bool_)
    )
    return inside & trial.when(facts.columns) if trial.when else inside


def _taken(trial: Trial, hashed: NDArray[np.float64], ends: NDArray[np.int64]) -> NDArray[np.intp]:
    """Say which arm takes whom; NOBODY beyond what the ramp has reached."""
    weights = [treatment.weight for treatment in trial.experiment.arms.values()]
    shares = [weight / sum(weights) for weight in weights]
    steps = [(round(step.at.timestamp() * 1000), step.share) for step in trial.experiment.ramp]
    covered = coverage_at(steps, ends) if steps else np.ones(len(ends))
    return chosen(hashed, ranges(shares, covered))
