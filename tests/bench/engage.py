"""What it costs to know people: silences, slices, running sums, rule segments; for few people and for many."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.bench import children
from tests.bench.cost import CHANGES, Field, Say, Slope, slope
from tests.bench.ground import Ground, ground
from tests.bench.stream import Shape, moments

BEFORE: Final = "once"
WHOLE: Final = "segments"
"""The stages of tests.bench.stages between which lies all that is done to know people."""

_LOOK_S: Final = 0.5
_MEMORY: Final = "-Xmx12g"
"""A million people are more than the other measurements' JVM holds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run: two sizes between which the slope is taken, in events, and from how many people sessions come."""

    small: int
    large: int
    people: tuple[int, int]


FULL: Final = Plan(200_000, 800_000, (10_000, 5_000_000))
QUICK: Final = Plan(60_000, 180_000, (1_000, 1_000_000))
"""Too small for a result: the JVM still compiles."""


@dataclass(frozen=True, slots=True)
class Known:
    """What was found for one number of people.

    Attributes:
        people: who did something in the larger stream.
        slope: of the stage, processor seconds per million events.
        state_bytes: of the largest checkpoint of the larger stream.
    """

    people: int
    slope: Slope
    state_bytes: int

    @property
    def bytes_each(self) -> float:
        """Of a checkpoint, per person."""
        return self.state_bytes / self.people

    def details(self) -> dict[str, Any]:
        """All of it, for a report."""
        return asdict(self) | {"bytes_each": self.bytes_each}


def engage_cost(plan: Plan, say: Say) -> list[Known]:
    """Measure the stage for each number of people: sessions of one event or two, so that there are many people."""
    found = []
    for people in plan.people:
        fields, largest = [], 0
        for events in (plan.small, plan.large):
            shape = Shape(events=events, people=people, session_s=0.5)
            field = Field(events, say, shape)
            with ground(past=True, **CHANGES) as place, _memory():
                field.feed(place)
                field.run(place, BEFORE)
                with watched(place) as sizes:
                    field.run(place, WHOLE)
                largest = max([0, *sizes])
            fields.append(field)
        small, large = fields
        _, who = moments(replace(shape, events=plan.large))
        found.append(Known(len(np.unique(who)), slope(small, large, WHOLE) - slope(small, large, BEFORE), largest))
        known = found[-1]
        say(f"{known.people:,} people: {known.slope.total:.1f} CPU s per million events, {known.bytes_each:,.0f} bytes")
    return found


@contextmanager
def watched(place: Ground) -> Iterator[list[int]]:
    """Look at the job's checkpoints for as long as the block lasts; gives the sizes of those that were complete."""
    folder, sizes, over = Path(place.settings.flink.checkpoint_dir), list[int](), threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            for done in folder.glob("*/chk-*/_metadata"):
                try:
                    sizes.append(sum(file.stat().st_size for file in done.parent.iterdir()))
                except OSError:
                    continue  # it was replaced by a newer one meanwhile

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield sizes
    finally:
        over.set()
        looking.join()


@contextmanager
def _memory() -> Iterator[None]:
    before = children.ENVIRONMENT["JVM_ARGS"]
    children.ENVIRONMENT["JVM_ARGS"] = f"{before} {_MEMORY}"
    try:
        yield
    finally:
        children.ENVIRONMENT["JVM_ARGS"] = before
