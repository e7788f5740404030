"""Says why one person is shown what they are shown, or how one decision came about, made again from its record."""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
from msgspec import MsgspecError, Struct, json

from jobs.wiring import Refusal, reading, wire
from jobs.wiring.keys import key_ring
from jobs.wiring.publishing import duration, now_ms, shown
from jobs.wiring.reading import Reader
from jobs.wiring.remade import Past, parted
from jobs.wiring.store import Store
from schemas.decisions import Decision, Membership, Trace, Unfit
from schemas.segments import RuleSegment
from schemas.settings import Settings
from schemas.signals import FAMILIES, REGISTRY, Signals
from schemas.slots import Trigger, Variant, options
from udfs.cleaning.pseudonym import pseudonymiser
from udfs.counting.tally import Counts, standing, tally
from udfs.deciding.book import authored
from udfs.explaining.sentences import sentence
from udfs.explaining.telling import scored, told

_DECISIONS: Final = "decisions"
_SEGMENTS: Final = "segments"
_PSEUDONYM: Final = re.compile(r"k[0-9]{1,4}:[0-9a-f]{24}")
_DECISION: Final = re.compile(r"([A-Za-z0-9_-]{12})(?:\.(.+))?")
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
        Refusal: no broker answers, a topic is missing, nothing was decided for the person, there is no such decision,
            or a release that it names is gone or damaged.
    """
    asked = _parser().parse_args(arguments)
    who = asked.who if asked.who != "-" else sys.stdin.readline().strip()
    kafka, since = settings.kafka, max(0, now_ms() - asked.since)
    wire.require(wire.admin(kafka.bootstrap, kafka.wait), (_DECISIONS, _SEGMENTS))
    with reading.opened(kafka.bootstrap) as reader:
        lines = of_decision(reader, who, since, settings)
        # A person's id may look like that of a decision.
        print("\n".join(of_person(reader, who, since, settings) if lines is None else lines))
    return 0


def of_decision(reader: Reader, who: str, since: int, settings: Settings) -> list[str] | None:
    """Explain a decision; None where there is none of that id.

    Raises:
        Refusal: its record cannot be read, it has no such slot, or a release that it names is gone or damaged.
    """
    asked = _DECISION.fullmatch(who)
    body = found(reader, asked[1], since) if asked else None
    if asked is None or body is None:
        return None
    try:
        record = json.decode(body, type=Decision)
    except MsgspecError as error:
        raise Refusal(f"explain: the record of {asked[1]} cannot be read: {error}") from None
    if asked[2] and asked[2] not in record.slots:
        raise Refusal(f'explain: decision {asked[1]} has no slot "{asked[2]}"; it has: {", ".join(record.slots)}')
    conf = settings.releases
    past = Past(Store(conf.store), authored(settings), conf.load_timeout)
    slots = [asked[2]] if asked[2] else sorted(record.slots)
    return list(recomputed(body, asked[1], slots, past))


def found(reader: Reader, moment_id: str, since: int) -> bytes | None:
    """Find the record of a decision, as it lies on the topic."""
    mark = f'"id":"{moment_id}.'.encode()
    for message in reader.since(_DECISIONS, since):
        body = message.value()
        # Cards alone have ids, and within a text the quotes would be escaped.
        if body and mark in body:
            return body
    return None


def recomputed(body: bytes, moment_id: str, slots: Sequence[str], past: Past) -> Iterator[str]:
    """Make a decision again and tell how it came about, in lines.

    Args:
        body: its record, as it lies on the topic.
        moment_id: of the decision.
        slots: those to tell of.
        past: the releases.

    Raises:
        Refusal: a release that it names is gone or damaged.
    """
    record = json.decode(body, type=Decision)
    decided_by, (text,) = past.named(record.ver), past.remade([record])
    yield f"decision {moment_id} for {record.user_id} at {shown(record.seq)}"
    yield f"decided by {_releases(record)}{'' if record.ver.rules else ', and what conf says of slots and rules'}"
    apart = parted(body, text.encode())
    again = "made again from its record and these releases"
    yield f"{again}: {'it differs' if apart else 'the same, byte for byte'}"
    yield from (f"  {line}" for line in apart)
    for name in slots:
        slot, card, trace = decided_by.book.book.slots.get(name), record.slots[name], record.trace.get(name, Trace())
        arms = options(slot) if isinstance(slot, Variant | Trigger) else ()
        yield from ("", sentence(name, card, trace))
        yield from (f"  {line}" for line in (*told(card, trace, arms), *scored(name, record, decided_by.releases)))


def of_person(reader: Reader, who: str, since: int, settings: Settings) -> list[str]:
    """Explain a person.

    Raises:
        Refusal: nothing was decided for them.
    """
    user_id = named(who, settings)
    crowd, newest = surveyed(reader, user_id, since)
    if newest is None:
        either = ", and none of that id" if _DECISION.fullmatch(who) else ""
        raise Refusal(
            f"explain: no decision for {user_id}{either} since {shown(since)}; look further back with --since"
        )
    history = [
        json.decode(message.value() or b"", type=Membership)
        for message in reader.since(_SEGMENTS, since)
        if message.key() == user_id.encode() and message.value()
    ]
    return list(explained(newest, crowd, history, settings.segments.rules))


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
        yield f"  {sentence(name, card, record.trace.get(name, Trace()))} ({card.id})"
    yield f"  decided by {_releases(record)}"
    if record.unfit:
        yield f"  not learned from: {', '.join(reason.value for reason in record.unfit)}"


def _releases(record: Decision) -> str:
    said = ((channel, getattr(record.ver, channel)) for channel in record.ver.__struct_fields__)
    return ", ".join(f"{channel} {version}" for channel, version in said if version) or "no release"


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
    parser.add_argument(
        "who",
        metavar="WHO",
        help="a person's id or pseudonym, or a decision's, with or without its slot; - reads it from standard input",
    )
    parser.add_argument("--since", type=duration, default="1d", help="how far back to read, such as 12h (1d)")
    return parser
