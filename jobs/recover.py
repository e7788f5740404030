"""Feeds refused records again after a fix: each once, however often and with whatever choice it is run."""

import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from typing import Final, NamedTuple

from confluent_kafka import KafkaException, Message, Producer
from msgspec import MsgspecError, json

from jobs.wiring import Refusal, reading, wire
from jobs.wiring.reading import Reader, spot_of
from schemas.durations import Millis
from schemas.rejects import Reason, Recovered, Rejected
from schemas.settings import Settings
from udfs.cleaning.recovery import OF_LEARNING, OF_WRITES, Fate, Recovery, Verdict, grouped, pending, place_of, unfed
from udfs.cleaning.refusal import Place

HEADER: Final = "recovered"
"""Header of a record that is fed again: the refused record's place, `<partition>/<offset>/<part>`."""

_RAW, _REFUSED, _LEDGER = "clicks", "rejected", "recovered"
_OPEN_MS: Final = 5_000
"""How long a transaction may stay open: readers of the raw topic wait at its first record until it ends."""

_ANSWER_S: Final = 30.0
_BATCH: Final = 500
_BATCH_BYTES: Final = 1_048_576

_read_refused = json.Decoder(Rejected).decode
_read_recovered = json.Decoder(Recovered).decode


class Found(NamedTuple):
    """A refused record, and what becomes of it.

    Attributes:
        refused: what was said of it.
        verdict: what becomes of it.
        raw: the raw record; None where it is gone.
    """

    refused: Rejected
    verdict: Verdict
    raw: Message | None


class Feeder:
    """Writes records to the raw topic and their places to the ledger: both or neither.

    Whoever opened it last is the only one that can write: what another one, killed or still running, has left open is
    undone first. So what the ledger says after that stays true.

    Args:
        bootstrap: address of the broker, `host:port`.
        group: `kafka.group`; one feeder of each is let in.

    Raises:
        Refusal: the broker lets nobody in.
    """

    def __init__(self, bootstrap: str, group: str) -> None:
        self._producer = wire.producer(bootstrap, give_up_ms=_OPEN_MS, transactional_id=f"{group}-recover")
        try:
            self._producer.init_transactions(_ANSWER_S)
        except KafkaException as error:
            raise Refusal(f"recover: the broker opens no transaction: {error.args[0].str()}") from error

    def feed(self, batch: Iterable[Found]) -> None:
        """Feed a batch.

        Raises:
            Refusal: the broker did not take it.
        """
        done = False
        try:
            self._producer.begin_transaction()
            for each in batch:
                if each.raw is not None:
                    _write(self._producer, each.refused, each.verdict, each.raw)
            self._producer.commit_transaction(_ANSWER_S)
            done = True
        except KafkaException as error:
            raise Refusal(
                f"recover: the broker did not take a batch: {error.args[0].str()};"
                " what was fed before it is remembered: run it again"
            ) from error
        finally:
            if not done:
                with suppress(KafkaException):  # else the broker undoes it in a while
                    self._producer.abort_transaction(_ANSWER_S)


def main(settings: Settings, arguments: list[str]) -> int:
    """Feed what was refused for certain reasons since a moment; the exit code says whether nothing of it is left.

    Raises:
        Refusal: a reason or the moment is none, no broker answers, or it does not take a batch.
    """
    asked = _parser().parse_args(arguments)
    reasons = reasons_of(asked.reason) if asked.reason or not asked.dry_run else set(Reason) - OF_WRITES - OF_LEARNING
    since = moment(asked.since, time.time_ns() // 1_000_000)
    kafka = settings.kafka
    wire.require(wire.admin(kafka.bootstrap, kafka.wait), (_RAW, _REFUSED, _LEDGER))
    recovery = Recovery(settings.formats[settings.clean.format], settings.formats, settings.clean)
    # Before the ledger is read: from here on nobody else adds to it.
    feeder = None if asked.dry_run else Feeder(kafka.bootstrap, kafka.group)
    with reading.opened(kafka.bootstrap) as reader:
        unreadable: list[str] = []
        refused = pending(_refused(reader, since, unreadable), reasons)
        left = unfed(refused, _fed(reader))
        print(
            f"{len(refused)} refused since {_shown(since)}, {len(refused) - len(left)} of them fed before", flush=True
        )
        if asked.dry_run:
            _show(left.values())
        fates: Counter[Fate] = Counter()
        first: dict[Fate, Found] = {}
        for batch in batches(_found(reader, left, recovery, force=asked.force)):
            for each in batch:
                fates[each.verdict.fate] += 1
                first.setdefault(each.verdict.fate, each)
            ready = [each for each in batch if each.verdict.fate is Fate.READY]
            if feeder and ready:
                feeder.feed(ready)
    print(f"{fates[Fate.READY]} {'to be fed' if asked.dry_run else 'fed'}")
    troubles = [*_troubles(fates, first), *_unreadable(unreadable)]
    for trouble in troubles:
        print(f"recover: {trouble}", file=sys.stderr)
    return 1 if troubles else 0


def reasons_of(names: Sequence[str]) -> set[Reason]:
    """Read reasons by name.

    Raises:
        Refusal: one is none, says nothing of a record, or there is none at all.

    >>> reasons_of(["not_json"])
    {<Reason.NOT_JSON: 'not_json'>}
    """
    known = {reason.value: reason for reason in Reason if reason not in OF_WRITES | OF_LEARNING}
    said = f"there are: {', '.join(known)}"
    if not names:
        raise Refusal(f"recover: which --reason? {said}")
    for name in names:
        if name in {reason.value for reason in OF_WRITES}:
            raise Refusal(
                f"recover: {name} is said of a decision that did not reach Redis, not of a record;"
                " the topic decisions has it"
            )
        if name in {reason.value for reason in OF_LEARNING}:
            raise Refusal(f"recover: {name} is said of a record that the job learn read, not of one in {_RAW}")
        if name not in known:
            raise Refusal(f'recover: there is no reason "{name}"; {said}')
    return {known[name] for name in names}


def moment(text: str, now: int) -> int:
    """Read a moment, or how long before now it was; ms since 1970.

    Args:
        text: ISO 8601 with its zone, or a duration as in conf.
        now: ms since 1970.

    Raises:
        Refusal: it is neither, or still to come.

    >>> moment("2026-01-01T01:00:00+01:00", 1767225600001), moment("2h", 7_200_005)
    (1767225600000, 5)
    """
    with suppress(ValueError):
        return max(0, now - Millis.parse(text))
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Refusal(
            f'recover: --since: expected a moment with its zone such as "2026-01-31T12:00:00Z", or a duration back from'
            f' now such as "2h", got "{text}"'
        )
    at = round(found.timestamp() * 1000)
    if at > now:
        raise Refusal(f"recover: --since: {text} is still to come")
    return max(0, at)


def batches(found: Iterable[Found]) -> Iterator[list[Found]]:
    """Cut a stream into batches that are fed in a moment."""
    batch: list[Found] = []
    size = 0
    for each in found:
        length = len(each.verdict.body or b"")
        if batch and (len(batch) == _BATCH or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += length
    if batch:
        yield batch


def _refused(reader: Reader, since: int, unreadable: list[str]) -> Iterator[Rejected]:
    for message in reader.since(_REFUSED, since):
        try:
            refused = _read_refused(message.value() or b"")
        except (MsgspecError, UnicodeDecodeError) as error:
            partition, offset = spot_of(message)
            unreadable.append(f"{partition}/{offset}: {error}")
            continue
        yield refused


def _fed(reader: Reader) -> Iterator[Recovered]:
    for message in reader.since(_LEDGER):
        try:
            yield _read_recovered(message.value() or b"")
        except (MsgspecError, UnicodeDecodeError) as error:
            partition, offset = spot_of(message)
            raise Refusal(
                f"recover: {_LEDGER}: the record at {partition}/{offset} cannot be read, so what was fed before is not"
                f" known: {error}"
            ) from error


def _found(reader: Reader, left: Mapping[Place, Rejected], recovery: Recovery, *, force: bool) -> Iterator[Found]:
    """Fetch raw records, and judge what was refused of each."""
    in_order = sorted(left.values(), key=_spot)
    by_spot = {spot: list(some) for spot, some in groupby(in_order, key=_spot)}
    for spot, raw in reader.lying_at(_RAW, by_spot):
        for refused in by_spot[spot]:
            # A record of another time is that of a topic that was made anew.
            if raw is None or raw.timestamp()[1] != refused.at:
                yield Found(refused, Verdict(Fate.GONE), None)
            else:
                yield Found(refused, recovery.verdict(raw.value(), refused, force=force), raw)


def _write(producer: Producer, refused: Rejected, verdict: Verdict, raw: Message) -> None:
    place = place_of(refused)
    name = f"{place.partition}/{place.offset}/{place.part}".encode()
    partition, _ = spot_of(raw)
    headers = raw.headers() or []
    assert isinstance(headers, list)
    headers = [*((key, value) for key, value in headers if key != HEADER), (HEADER, name)]
    producer.produce(_RAW, verdict.body, raw.key(), partition=partition, headers=headers)
    said = Recovered(refused.reason, refused.at, refused.partition, refused.offset, refused.part)
    producer.produce(_LEDGER, json.encode(said), name)


def _spot(refused: Rejected) -> tuple[int, int]:
    return refused.partition, refused.offset


def _show(refused: Iterable[Rejected]) -> None:
    counts = Counter((each.reason.value, grouped(each.path)) for each in refused)
    for (reason, path), count in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        print(f"{count:>9} {reason:<14} {path}".rstrip())


def _troubles(fates: Mapping[Fate, int], first: Mapping[Fate, Found]) -> Iterator[str]:
    """Say what could not be fed, and what to do."""
    total = sum(fates.values())
    said = {
        Fate.REFUSED: "would be refused again: mend the format, or feed them with --force",
        Fate.MOVED: "are parts of records that are now read otherwise, so which part each was is not known",
        Fate.GONE: "are no longer in the raw topic and are lost",
    }
    for fate, sentence in said.items():
        if count := fates.get(fate, 0):
            refused, verdict, _ = first[fate]
            place = f"{refused.partition}/{refused.offset}/{refused.part}"
            why = verdict.why or f"{refused.reason.value} at {refused.path or '$'}"
            yield f"{count} of {total} {sentence}; the first is {place}, {why}"


def _unreadable(places: Sequence[str]) -> Iterator[str]:
    if places:
        yield f"{len(places)} records of the topic {_REFUSED} cannot be read; the first is {places[0]}"


def _shown(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m jobs recover", description=__doc__)
    parser.add_argument(
        "--reason", metavar="R", action="append", default=[], help="why they were refused; may be repeated"
    )
    parser.add_argument(
        "--since", metavar="T", required=True, help='refused since then: "2026-01-31T12:00:00Z", or "2h" back from now'
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="count by reason and path what would be fed, feed nothing"
    )
    parser.add_argument("--force", action="store_true", help="feed also what would be refused again")
    return parser
