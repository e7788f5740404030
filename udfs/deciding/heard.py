"""What is asked before a slot's choice, whatever its kind: who takes part in what, which rules speak, what holds."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.decisions import Part, Spoke, Why
from schemas.rules import ELSE
from udfs.deciding.book import Place
from udfs.deciding.facts import Facts
from udfs.deciding.guards import Asked
from udfs.deciding.parts import Parts, parts
from udfs.deciding.speaking import SILENT, Voices, voices

CONTROLS: Final = (Why.CONTROL, Why.HOLDOUT)

Reasons = NDArray[np.object_]
"""(n,) why the default is shown, None where it need not be."""


class Heard(NamedTuple):
    """What stands behind a slot's choice, a row a person.

    Attributes:
        who: takes part in which experiment.
        spoken: what the rules say.
    """

    who: Parts
    spoken: Voices


def heard(place: Place, facts: Facts) -> Heard:
    """Ask a slot's experiments and rules; for some people the experiment says that rules do not count."""
    who = parts(place, facts)
    return Heard(who, voices(place, facts, heard=who.treated("rules")))


def held_back(reasons: Reasons, who: Parts, found: Sequence[Asked], idle: NDArray[np.bool_] | None = None) -> Reasons:
    """Say why the default is shown, the first reason of several: the control group's, nobody's asking, a guard's."""
    held, left = reasons.copy(), free(reasons)
    quiet = [] if idle is None else [(idle, Why.QUIET)]
    guards = [(guard.held, guard.reason) for guard in found if guard.reason]
    for whom, reason in ((who.treated("control"), Why.CONTROL), *quiet, *guards):
        held[whom & left] = reason
        left &= ~whom
    return held


def said_by(place: Place, spoken: Voices) -> list[list[Spoke] | None]:
    """Write down which rules spoke, row by row; None where none did."""
    said: list[list[Spoke] | None] = [None] * len(spoken.case)
    at = np.nonzero(spoken.case != SILENT)
    columns = (*at, spoken.case[at], spoken.share[at] > 0, spoken.rank[at])
    for row, column, case, won, rank in zip(*(each.tolist() for each in columns), strict=True):
        rule = place.rules[column]
        name = rule.cases[case].name.partition(".")[2] if case < len(rule.cases) else ELSE
        said[row] = [*(said[row] or []), Spoke(rule.name, name, won, rank)]
    return said


def taken(who: Parts) -> Iterator[Part | None]:
    """Write down who takes part in which experiment."""
    if not who.arms:
        return iter([None] * len(who.place))
    return (
        Part(who.arms[place].experiment, who.arms[place].name, bucket) if place >= 0 else None
        for place, bucket in zip(who.place.tolist(), who.bucket.tolist(), strict=True)
    )


def labels(who: Parts) -> list[str | None]:
    """Name experiment and arm, as cards do."""
    return who.told(lambda arm: f"{arm.experiment}:{arm.name}", None)


def free(held: Reasons) -> NDArray[np.bool_]:
    """Say for whom nothing holds the choice back, (n,)."""
    return np.array([reason is None for reason in held.tolist()], dtype=np.bool_)
