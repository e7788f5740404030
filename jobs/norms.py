"""Counts what is normal among all people, so that a value beyond belief can be told from a rare one."""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal

import numpy as np
from msgspec import MsgspecError, Struct, json

from jobs.wiring import Refusal, reading, wire
from jobs.wiring.publishing import duration, now_ms, published, shown
from jobs.wiring.reading import Reader
from schemas.events import Kind, Purpose
from schemas.norms import Population, Quartiles, Typical
from schemas.settings import Noise, Settings
from udfs.cleaning.noise import bounds
from udfs.counting.tally import Counts, beyond, quantile, tally

Field = Literal["dwell_ms", "value"]

FIELDS: Final[tuple[Field, ...]] = ("dwell_ms", "value")

_TOPIC: Final = "events"
_AT_ONCE: Final = 50_000


class Seen(Struct, gc=False, tag_field="v", tag=1):
    """What counts of a record of the topic `events`, see `schemas.events.Event`."""

    kind: Kind
    dwell_ms: int | None = None
    value: float | None = None
    late: bool = False
    robot: bool = False
    denied: list[Purpose] = []


@dataclass
class Census:
    """What was counted, by kind of event and field.

    Attributes:
        counts: tallies of the values.
        read: records, those left out too.
        left_out: why -> records.
    """

    counts: defaultdict[tuple[Kind, Field], Counts] = field(
        default_factory=lambda: defaultdict(lambda: tally(np.empty(0)))
    )
    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, bodies: Iterable[bytes]) -> None:
        """Count records."""
        values: defaultdict[tuple[Kind, Field], list[float]] = defaultdict(list)
        for body in bodies:
            self.read += 1
            seen = _seen(body)
            if reason := unwanted(seen):
                self.left_out[reason] += 1
            elif seen:
                if seen.dwell_ms is not None:
                    values[seen.kind, "dwell_ms"].append(seen.dwell_ms)
                if seen.value is not None:
                    values[seen.kind, "value"].append(seen.value)
        for place, found in values.items():
            self.counts[place] += tally(np.array(found))

    def population(self, since: int, until: int) -> Population:
        """Say what is normal.

        Args:
            since: event time of the first record, ms since 1970.
            until: when they were read, ms since 1970.
        """
        found = {place: quartiles(counts) for place, counts in self.counts.items()}
        kinds = [kind for kind in Kind if any((kind, name) in found for name in FIELDS)]
        typical = {kind: Typical(*(found.get((kind, name)) for name in FIELDS)) for kind in kinds}
        return Population(since, until, typical)


def main(settings: Settings, arguments: list[str]) -> int:
    """Count, print, and publish if asked.

    Raises:
        Refusal: no broker answers, there are too few events, or the store does not take the release.
    """
    asked = _parser().parse_args(arguments)
    now = now_ms()
    since = max(0, now - asked.since)
    kafka = settings.kafka
    wire.require(wire.admin(kafka.bootstrap, kafka.wait), (_TOPIC,))
    with reading.opened(kafka.bootstrap) as reader:
        census = counted(_bodies(reader, since))
    population = census.population(since, now)
    print("\n".join(table(census, population, settings.noise)))
    if not any(found.n >= settings.noise.min_events for _, _, found in _rows(population)):
        raise Refusal(
            f"norms: too few events since {shown(since)}: no kind has {settings.noise.min_events} values of a field"
            " (noise.min_events); read further back with --since"
        )
    if asked.publish:
        reason = f"{census.read - census.left_out.total()} events since {shown(since)}"
        release = published(settings.releases, "norms", json.encode(population), reason)
        print(f"published {release.version}, in force from {shown(release.effective_at)} on")
    return 0


def counted(bodies: Iterator[bytes]) -> Census:
    """Count records as they come, however many there are, in the memory of a few thousand."""
    census = Census()
    while batch := list(islice(bodies, _AT_ONCE)):
        census.add(batch)
    return census


def unwanted(seen: Seen | None) -> str:
    """Say why a record says nothing of what is normal; empty where it counts.

    A value that was cut counts at its bound: so it stays on its side of the quartiles, and they where they are. Without
    it, each release would draw the fences closer than the one before.

    >>> unwanted(Seen(Kind.DWELL, robot=True)), unwanted(Seen(Kind.DWELL))
    ('of robots', '')
    """
    if seen is None:
        return "not readable"
    if seen.late:
        return "late"
    if seen.robot:
        return "of robots"
    return "without consent to learn" if Purpose.LEARN in seen.denied else ""


def quartiles(counts: Counts) -> Quartiles:
    """Read quartiles off a tally of at least one value."""
    q1, median, q3 = (quantile(counts, q) for q in (0.25, 0.5, 0.75))
    return Quartiles(int(counts.sum()), q1, median, q3)


def table(census: Census, population: Population, conf: Noise) -> list[str]:
    """Show what is normal, where the fences lie, and the share of the counted values beyond them, as lines."""
    left_out = "".join(f", {count} {reason} left out" for reason, count in sorted(census.left_out.items()))
    lines = [f"{census.read} events since {shown(population.since)}{left_out}"]
    lines.append(
        f"{'kind':<10}{'field':<9}{'n':>10}{'q1':>12}{'median':>12}{'q3':>12}{'least':>12}{'most':>12}{'cut':>8}"
    )
    for kind, name, found in _rows(population):
        line = f"{kind.value:<10}{name:<9}{found.n:>10}{found.q1:>12.5g}{found.median:>12.5g}{found.q3:>12.5g}"
        fences = bounds(found, conf)
        if fences is None:
            lines.append(f"{line}  no bounds: {'all alike' if found.n >= conf.min_events else 'too few'}")
            continue
        least, most = (0.0, fences[1]) if name == "dwell_ms" else fences
        cut = beyond(census.counts[kind, name], least, most) / found.n
        lines.append(f"{line}{least:>12.5g}{most:>12.5g}{cut:>8.2%}")
    return lines


def _seen(body: bytes) -> Seen | None:
    try:
        return _read(body)
    except (MsgspecError, UnicodeDecodeError):
        return None


_read = json.Decoder(Seen).decode


def _bodies(reader: Reader, since: int) -> Iterator[bytes]:
    for message in reader.since(_TOPIC, since):
        body = message.value()
        if body is not None:  # the tombstone of an erased person
            yield body


def _rows(population: Population) -> Iterator[tuple[Kind, Field, Quartiles]]:
    for kind, typical in population.kinds.items():
        for name in FIELDS:
            found: Quartiles | None = getattr(typical, name)
            if found:
                yield kind, name, found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs norms", description=__doc__)
    parser.add_argument("--since", type=duration, default="1d", help="how far back to read, such as 12h (1d)")
    parser.add_argument("--publish", action="store_true", help="publish it, in force releases.lead from now")
    return parser
