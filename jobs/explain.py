"""Says why one person is shown what they are shown: their signals against everybody's, their segments, what decided."""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
from msgspec import MsgspecError, Struct, json

from jobs.wiring import Refusal, reading, wire
from jobs.wiring.keys import key_ring
from jobs.wiring.publishing import duration, now_ms, shown
from jobs.wiring.reading import Reader
from schemas.decisions import Decision, Membership, Unfit
from schemas.segments import RuleSegment
from schemas.settings import Settings
from schemas.signals import FAMILIES, REGISTRY, Signals
from udfs.pseudonym import pseudonymiser
from udfs.tally import Counts, standing, tally

_DECISIONS: Final = "decisions"
_SEGMENTS: Final = "segments"
_PSEUDONYM: Final = re.compile(r"k[0-9]{1,4}:[0-9a-f]{24}")
_AT_ONCE: Final = 20_000


class Seen(Struct, gc=False):
    """What counts of a record of the topic `decisions` for what is usual."""

    signals: Signals
    unfit: list[Unfit] = []


@dataclass
class Crowd:
    """How the signals of all people are spread.

    Attributes:
        tallies: by signal.
        moments: how many were counted.
    """

    tallies: dict[str, Counts] = field(default_factory=lambda: {name: tally(np.empty(0)) for name in REGISTRY})
    moments: int = 0

    def add(self, seen: Iterable[Seen]) -> None:
        """Count moments; what learning leaves out is left out here too."""
        rows = [each.signals for each in seen if not each.unfit]
        self.moments += len(rows)
        for name in REGISTRY:
            self.tallies[name] += tally(np.array([getattr(row, name) for row in rows], dtype=np.float64))

    def standing(self, name: str, value: float) -> float:
        """Give the share of moments whose value is lower, those that are equal counted by half."""
        return standing(self.tallies[name], value)


def main(settings: Settings, arguments: list[str]) -> int:
    """Explain, as lines.

    Raises:
        Refusal: no broker answers, a topic is missing, or nothing was decided for the person.
    """
    asked = _parser().parse_args(arguments)
    user_id = named(asked.user if asked.user != "-" else sys.stdin.readline().strip(), settings)
    kafka, since = settings.kafka, max(0, now_ms() - asked.since)
    wire.require(wire.admin(kafka.bootstrap, kafka.wait), (_DECISIONS, _SEGMENTS))
    with reading.opened(kafka.bootstrap) as reader:
        crowd, newest = surveyed(reader, user_id, since)
        history = [
            json.decode(message.value() or b"", type=Membership)
            for message in reader.since(_SEGMENTS, since)
            if message.key() == user_id.encode() and message.value()
        ]
    if newest is None:
        raise Refusal(f"explain: no decision for {user_id} since {shown(since)}; look further back with --since")
    print("\n".join(explained(newest, crowd, history, settings.segments.rules)))
    return 0


def named(user: str, settings: Settings) -> str:
    """Give the pseudonym of a person; one that is a pseudonym already stays.

    Raises:
        Refusal: there is no id, or no usable key.
    """
    if not user:
        raise Refusal("explain: give the person's id, or - and the id on the standard input")
    if _PSEUDONYM.fullmatch(user):
        return user
    key = key_ring(settings.pseudonyms, os.environ)[0]
    return pseudonymiser(key.secret, key.id)(user)


def surveyed(reader: Reader, user_id: str, since: int) -> tuple[Crowd, Decision | None]:
    """Read the decisions of a stretch: how everybody's signals are spread, and the person's newest record."""
    crowd, newest = Crowd(), None
    messages = reader.since(_DECISIONS, since)
    while batch := list(islice(messages, _AT_ONCE)):
        crowd.add(_read(message.value() for message in batch))
        for message in batch:
            body = message.value()
            if body and message.key() == user_id.encode():
                record = json.decode(body, type=Decision)
                newest = record if newest is None or record.seq > newest.seq else newest
    return crowd, newest


def explained(
    record: Decision, crowd: Crowd, history: Iterable[Membership], rules: Mapping[str, RuleSegment]
) -> Iterator[str]:
    """Say it in lines: the moment, the signals by family, the segments, the slots.

    Args:
        record: the person's newest decision.
        crowd: how everybody's signals are spread.
        history: the person's changes of segment.
        rules: the rule segments that are declared.
    """
    said = ((name, getattr(record.context, name)) for name in record.context.__struct_fields__)
    context = ", ".join(f"{name} {value}" for name, value in said if value)
    yield f"{record.user_id} at {shown(record.seq)}{f' ({context})' if context else ''}"
    yield f"against {crowd.moments} moments of everybody"
    for family, about in FAMILIES.items():
        names = [name for name, entry in REGISTRY.items() if entry.family == family]
        told = [name for name in names if getattr(record.signals, name) != _neutral(name)]
        if told:
            yield from ("", about)
            yield from (_signal_line(name, getattr(record.signals, name), crowd) for name in told)
    yield from ("", "Segments")
    yield f"  now in {record.segment or 'no rule segment'}{f', cluster {record.cluster}' if record.cluster else ''}"
    for name, rule in rules.items():
        if name in record.spoken:
            spoken_for, against = record.spoken[name]
            speaks = "speaks for it" if spoken_for > against else "speaks against it"
            yield f"  {name}: {rule.enter}: {speaks}; for it last {_when(spoken_for)}, against it {_when(against)}"
    for change in sorted(history, key=lambda each: each.seq):
        yield f"  {shown(change.seq)} {change.by.value}: {change.prev or 'none'} -> {change.segment or 'none'}"
    yield from ("", "Slots")
    for name, card in sorted(record.slots.items()):
        chosen = card.arm or ", ".join(card.items or [])
        why = f" ({'; '.join(card.why)})" if card.why else ""
        yield f"  {name}: {chosen}: {card.reason.value}, p = {card.p:.3g}{why}"
        for guard in (record.trace[name].guards if name in record.trace else None) or []:
            yield f"    guard {guard.name}: {guard.count} of {guard.limit}{', held' if guard.held else ''}"
    releases = ", ".join(
        f"{channel} {version}"
        for channel in record.ver.__struct_fields__
        if (version := getattr(record.ver, channel)) is not None
    )
    yield f"  decided by {releases or 'no release'}"
    if record.unfit:
        yield f"  not learned from: {', '.join(reason.value for reason in record.unfit)}"


def _signal_line(name: str, value: float, crowd: Crowd) -> str:
    unit, share = REGISTRY[name].unit, crowd.standing(name, value)
    return f"  {name:<18} {value:>12.5g} {unit:<12} above {share:>4.0%} of all  {REGISTRY[name].about}"


def _neutral(name: str) -> float:
    value: float = getattr(_NEUTRAL, name)
    return value


_NEUTRAL: Final = Signals()


def _read(bodies: Iterable[bytes | None]) -> Iterator[Seen]:
    for body in bodies:
        try:
            if body:
                yield _decode(body)
        except MsgspecError:
            continue  # of another version of the contract: it says nothing of what is usual


_decode = json.Decoder(Seen).decode


def _when(moment: int) -> str:
    return shown(moment) if moment else "never"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs explain", description=__doc__)
    parser.add_argument("user", metavar="USER", help="the person's id or pseudonym; - reads it from the standard input")
    parser.add_argument("--since", type=duration, default="1d", help="how far back to read, such as 12h (1d)")
    return parser
