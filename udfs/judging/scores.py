"""Which policies are worth more than the one that drew, which less, and of which the log does not say enough."""

from math import ceil, inf, isinf
from typing import Annotated, Final, Literal

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from schemas.settings import Scoreboard as Bounds
from udfs.explaining.sentences import percent
from udfs.judging.off_policy import (
    Estimate,
    Estimator,
    Log,
    apart,
    direct,
    doubly_robust,
    interval,
    ips,
    on_policy,
    snips,
    support,
)
from udfs.smooth import Column

By = Literal["dr", "ips", "snips", "clipped"]
"""Estimators that a verdict may go by: their intervals hold the truth as often as they say."""

Name = By | Literal["dm", "switch"]
"""Of all estimators; how far these two may be off nobody can tell who does not know how wrong the model is."""

Verdict = Literal["live", "as live", "better", "worse", "no difference seen", "refused"]
LIVE: Final = "live"
REFUSED: Final = "refused"

TRIFLE: Final = 1e-3
"""Share of a policy's plays beyond the bound on weights that is passed over: it moves a mean of rewards by no more."""

_SAME: Final = 1e-9

_WHOLE: Final[tuple[By, ...]] = ("dr", "ips", "snips")
"""Those with whole weights: the errors of all of them must rest on enough people for a verdict by any. Where an arm was
never rewarded, a model that has learned just that is never surprised, and only the others show how little was seen.
"""


class Figure(Struct, frozen=True):
    """A value, and between what bounds the truth lies."""

    value: Annotated[float, Meta(description="null: nothing says anything.")]
    low: float
    high: float
    error: Annotated[float, Meta(description="Standard error; null: it cannot be told.")]


class Compared(Struct, frozen=True):
    """A policy by one estimator."""

    value: Figure
    against: Annotated[Figure, Meta(description="How much more than the one that drew, by the same plays.")]
    telling: Annotated[float, Meta(description="On how many people the errors rest, the fewer of the two.")]


class Score(Struct, frozen=True):
    """What is known of one policy."""

    policy: str
    plays: Annotated[int, Meta(description="In which it is known what it would have drawn.")]
    people: Annotated[int, Meta(description="Whose plays.")]
    by: Annotated[By, Meta(description="The estimator that the verdict goes by.")]
    estimates: dict[Name, Compared]
    effective: Annotated[float, Meta(description="Plays of its own that would say as much, weights cut to the bound.")]
    effective_people: Annotated[float, Meta(description="The same of people.")]
    telling: Annotated[float, Meta(description="On how many people the errors rest.")]
    largest: Annotated[float, Meta(description="Weight.")]
    unsupported: Annotated[float, Meta(description="Share of its plays with arms that could not be drawn.")]
    beyond: Annotated[float, Meta(description="Share of its plays that the bound cuts off, those among them.")]
    verdict: Verdict = LIVE
    needed: Annotated[int | None, Meta(description="Outcomes missing, at this rate; null: nobody can tell.")] = 0

    @property
    def figure(self) -> Compared:
        """The estimate that the verdict goes by."""
        return self.estimates[self.by]

    @property
    def said(self) -> str:
        """The verdict in words."""
        if self.verdict == REFUSED:
            return f"refused: {f'{self.needed:,} more outcomes are needed' if self.needed else 'nothing speaks for it'}"
        cut = f"clipped, {percent(self.beyond)} of its plays are out of sight: " if self.beyond > TRIFLE else ""
        return f"{cut}{self.verdict}"


def estimators(clip: float) -> dict[Name, Estimator]:
    """Name the estimators; some know a bound on weights."""
    return {
        "dr": doubly_robust,
        "ips": ips,
        "snips": snips,
        "dm": direct,
        "clipped": lambda log, target: ips(log, target, clip),
        "switch": lambda log, target: doubly_robust(log, target, clip),
    }


def live(log: Log, bounds: Bounds) -> Score:
    """Say what the policy that drew was worth: the mean of what came of it; there is nothing to weigh."""
    value, rests = _figure(on_policy(log), log, bounds, 0.0)
    return _score(LIVE, log, log.p, bounds, by="ips", found={"ips": Compared(value, Figure(0.0, 0.0, 0.0, 0.0), rests)})


def scored(name: str, log: Log, target: Column, bounds: Bounds, by: By = "dr") -> Score:
    """Say what another policy would have been worth, and whether that is more.

    A difference is that of the same estimator for both, by the same plays, so that what moves both alike falls out. It
    is refused where so few plays, people or rewards speak for the policy that an interval means nothing. Where the
    policy draws what was hardly ever drawn, weights are cut to a bound, and the interval leaves room for what that cuts
    off.

    Args:
        name: of the policy.
        log: of n plays, at least one.
        target: its chances, (n, K).
        bounds: of conf.
        by: the estimator that the verdict goes by, unless weights must be cut.
    """
    found = {key: _compared(each, log, target, bounds) for key, each in estimators(bounds.clip).items()}
    score = _score(name, log, target, bounds, by=by, found=found)
    if score.beyond > TRIFLE and by != "clipped":
        score = _score(name, log, target, bounds, by="clipped", found=found)
    if np.allclose(target, log.p, rtol=0.0, atol=_SAME):
        return replace(score, verdict="as live")
    short = max(_times(bounds.least_people, score.effective_people), _times(bounds.least_telling, score.telling))
    if short > 1.0:
        return replace(score, verdict=REFUSED, needed=None if isinf(short) else ceil(score.plays * (short - 1.0)))
    against = score.figure.against
    return replace(
        score, verdict="better" if against.low > 0 else "worse" if against.high < 0 else "no difference seen"
    )


def _compared(estimator: Estimator, log: Log, target: Column, bounds: Bounds) -> Compared:
    one, other = estimator(log, target), estimator(log, log.p)
    value, value_rests = _figure(one, log, bounds, 0.0)
    against, against_rests = _figure(apart(one, other), log, bounds, -1.0)
    return Compared(value, against, min(value_rests, against_rests))


def _figure(estimate: Estimate, log: Log, bounds: Bounds, least: float) -> tuple[Figure, float]:
    found = interval(estimate, log.person, bounds.confidence, least)
    return Figure(estimate.value, found.low, found.high, found.error), found.telling


def _score(name: str, log: Log, target: Column, bounds: Bounds, *, by: By, found: dict[Name, Compared]) -> Score:
    said = support(log, target, bounds.clip)
    return Score(
        policy=name,
        plays=len(log.arm),
        people=len(np.unique(log.person)),
        by=by,
        estimates=found,
        effective=said.effective,
        effective_people=said.people,
        telling=min(found[each].telling for each in (_WHOLE if by in _WHOLE else (by,)) if each in found),
        largest=said.largest,
        unsupported=said.unsupported,
        beyond=said.beyond,
    )


def _times(needed: float, there: float) -> float:
    """Say how many times as many plays it takes.

    >>> _times(100, 40), _times(10, 0)
    (2.5, inf)
    """
    return needed / there if there else inf
