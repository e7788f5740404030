"""What a million events cost: the job, step by step, and the obvious program beside it."""

import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from typing import Any, Final

from jobs.wiring import wire
from tests.bench.agreement import Agreement, compare
from tests.bench.children import PARTS, Usage
from tests.bench.ground import Ground, create, ground
from tests.bench.plain_consumer import TOPICS
from tests.bench.stages import STAGES
from tests.bench.stream import Shape, catalogue_items, feed, records

GOAL_S: Final = 15.0
"""Processor seconds per million events, everything on: at most."""

GOAL_SHARE: Final = 0.25
"""Of what the plain consumer takes: at most."""

CHANGES: Final = {"decide__valid": "60min"}
"""The stream lies in the past when it is read; a card that had expired would never be stored."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run: the two sizes between which the slope is taken, in events, and which stages."""

    small: int
    large: int
    stages: tuple[str, ...]


FULL: Final = Plan(250_000, 850_000, tuple(STAGES))
QUICK: Final = Plan(60_000, 180_000, ("slices", "kafka"))
"""Too small for a result: the JVM still compiles, and that is most of the slope."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Processor seconds per million events, by children.PARTS."""

    java: float = 0.0
    gc: float = 0.0
    jit: float = 0.0
    python: float = 0.0

    @property
    def total(self) -> float:
        """Of all parts."""
        return self.java + self.gc + self.jit + self.python

    def __sub__(self, other: "Slope") -> "Slope":
        return Slope(*(mine - theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Cost:
    """What was found.

    Attributes:
        plan: what was run.
        stages: each stage's own slope, less that of the stage before.
        job: the slope of the whole job.
        plain_s: processor seconds per million events of the plain consumer.
        agreement: whether job and plain consumer decided the same.
        runs: every run: processor seconds by children.PARTS, and wall seconds.
    """

    plan: Plan
    stages: dict[str, Slope]
    job: Slope
    plain_s: float
    agreement: Agreement
    runs: dict[str, dict[str, Any]]

    @property
    def share(self) -> float:
        """The job's cost as a share of the plain consumer's."""
        return self.job.total / self.plain_s

    def details(self) -> dict[str, Any]:
        """All of it, for a report."""
        return asdict(self) | {
            "share": self.share,
            "agreement": self.agreement.details(),
            "changes": CHANGES,
        }


def cost(plan: Plan, say: Say) -> Cost:
    """Measure; broker and Redis are not counted.

    Args:
        plan: what to run.
        say: told what goes on.
    """
    small = Field(plan.small, say)
    with ground(past=True, **CHANGES) as place:
        _declare_plain(place)
        started = place.measured("plain-empty", "tests.bench.plain_consumer")
        small.feed(place)
        for stage in plan.stages:
            small.run(place, stage)
        plain = small.measured(place, "plain", "tests.bench.plain_consumer")
        agreement = compare(place)
    large = Field(plan.large, say)
    with ground(past=True, **CHANGES) as place:
        large.feed(place)
        for stage in plan.stages:
            large.run(place, stage)
    slopes = {stage: slope(small, large, stage) for stage in plan.stages}
    before = [Slope(), *slopes.values()]
    return Cost(
        plan=plan,
        stages={stage: found - last for (stage, found), last in zip(slopes.items(), before, strict=False)},
        job=slopes[plan.stages[-1]],
        plain_s=_per_million(plain.total_s - started.total_s, plan.small),
        agreement=agreement,
        runs={"plain-empty": _run(started)} | small.table() | large.table(),
    )


class Field:
    """All runs over one size of stream."""

    def __init__(self, events: int, say: Say, shape: Shape | None = None) -> None:
        """Take the size, whom to tell of each run, and what the stream is like."""
        self.events = events
        self._shape = shape or Shape(events=events)
        self._say = say
        self.runs: dict[str, Usage] = {}

    def feed(self, place: Ground) -> None:
        """Fill the raw topic; the stream ends now, and on a slice's bound begins."""
        settings, shape = place.settings, self._shape
        start_ms = (int(time.time() - shape.length_s)) * 1000
        stream = records(shape, catalogue_items(settings.releases.store), start_ms)
        feed(wire.producer(settings.kafka.bootstrap), "clicks", stream)

    def run(self, place: Ground, stage: str) -> None:
        """Run a stage with an empty cache, as the first one had it."""
        with place.redis() as redis:
            redis.flushall()
        self.measured(place, stage, "tests.bench.stages", stage)

    def measured(self, place: Ground, name: str, module: str, *arguments: str) -> Usage:
        """Run a module and keep what it took; of several runs of a name the cheapest counts."""
        usage = place.measured(f"{name}-{self._shape.events}", module, *arguments)
        self.runs[name] = min(usage, self.runs.get(name, usage), key=lambda each: each.total_s)
        self._say(f"{name:>10} {self._shape.events:>9,} events: {usage.total_s:6.1f} CPU s in {usage.wall_s:5.1f} s")
        return usage

    def table(self) -> dict[str, dict[str, Any]]:
        """All runs, for a report."""
        return {f"{name}-{self._shape.events}": _run(usage) for name, usage in self.runs.items()}


def slope(small: Field, large: Field, name: str) -> Slope:
    """Take two runs of a name over two sizes: what each further event took, without what a start takes."""
    before, after, grown = small.runs[name], large.runs[name], large.events - small.events
    return Slope(**{part: _per_million(after.cpu_s[part] - before.cpu_s[part], grown) for part in PARTS})


def _declare_plain(place: Ground) -> None:
    settings = place.settings
    admin = wire.admin(settings.kafka.bootstrap, settings.kafka.wait)
    create(admin, {theirs: settings.topics[ours] for ours, theirs in TOPICS.items()})


def _per_million(cpu_s: float, events: int) -> float:
    return cpu_s * 1e6 / events


def _run(usage: Usage) -> dict[str, Any]:
    return {"cpu_s": usage.cpu_s, "wall_s": usage.wall_s} | usage.answer
