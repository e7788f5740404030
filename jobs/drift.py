"""Says what of what models see and say has drifted, and what comes of it: how much, how surely, since when.

The newest outcomes are held against those that the live model learned from or, where it does not say, against those
before. A model's scores, and what they promise, are held against its own first ones. What has drifted goes to the topic
`alerts`, each drift once; what a file holds is only shown.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from confluent_kafka import KafkaError, Message
from msgspec import MsgspecError, Struct, json

from jobs import train
from jobs.pulse import repeat
from jobs.wiring import Refusal, reading, taught, wire
from jobs.wiring.publishing import duration, refusals, shown
from jobs.wiring.store import Store
from schemas.alerts import Alert, Detector
from schemas.outcomes import Outcome
from schemas.settings import Drift as Conf
from schemas.settings import Kafka, Releases, Settings
from schemas.slots import Rerank
from udfs.drifting.drift import Finding, look
from udfs.drifting.rows import Gathered, Ranges, Span
from udfs.drifting.words import alert, same

ALERTS: Final = "alerts"

_COLUMNS: Final = ("slot", "column", "PSI", "KS", "p", "before", "now", "people", "verdict")
_HOUR_MS: Final = 3_600_000


class _Due(Struct, gc=False):
    """When an outcome was due: the rest of most is of no interest."""

    due: int


class Live(NamedTuple):
    """The model that decides.

    Attributes:
        version: of its release; empty: there is none.
        effective_at: since when it counts, ms since 1970; 0: the start of time.
        objective: for which it was trained; empty: it does not say.
        learned: the outcomes from which, by when they were due; None: it does not say.
    """

    version: str = ""
    effective_at: int = 0
    objective: str = ""
    learned: Span | None = None


def main(settings: Settings, arguments: list[str]) -> int:
    """Look once, or again and again.

    Raises:
        Refusal: arguments or settings do not fit together, there are no outcomes, or the broker, a file or the store
            cannot be read or written; with --retrain, what `train` refuses.
    """
    asked, conf = _parser().parse_args(arguments), settings.drift
    if conf.window < conf.stretches or not conf.reference:
        raise Refusal("drift: drift.window, each of its stretches and drift.reference must be longer than nothing")
    if asked.reference and asked.reference[0] <= asked.reference[1]:
        raise Refusal("drift: --reference takes the longer time first, such as 8d 1d")
    if asked.input and (asked.schedule or asked.retrain):
        raise Refusal("drift: neither --schedule nor --retrain goes with --input")
    if not asked.schedule:
        once(settings, asked)
        return 0
    if not conf.every:
        raise Refusal("drift: drift.every must be longer than nothing, for --schedule")
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda _sign, _frame: stop.set())

    def again() -> None:
        try:
            once(settings, asked)
        except Refusal as refused:
            print(f"{refused}; next look in {conf.every / 1000:.0f} s", file=sys.stderr, flush=True)

    repeat(again, conf.every / 1000, stop.is_set, stop.wait)
    return 0


def once(settings: Settings, asked: argparse.Namespace) -> None:
    """Look, show, tell what is new, and train if asked.

    Raises:
        Refusal: see `main`.
    """
    conf, newest = settings.drift, _newest(settings.kafka, asked.input)
    live = _live(settings.releases, newest)
    ranges = ranges_of(conf, live, newest, settings.learn.window, asked.reference)
    gathered = _gathered(settings, asked.input, ranges)
    if live.learned and not asked.reference and not gathered.holds("reference"):
        print(f"what {live.version} learned from is not there any more")
        ranges = ranges_of(conf, live._replace(learned=None), newest, settings.learn.window)
        gathered = _gathered(settings, asked.input, ranges)
    findings = look(gathered, ranges, conf)
    print("\n".join(table(findings, gathered, ranges)), flush=True)
    drifted = [each for each in findings if each.verdict == "drifted"]
    if not asked.input:
        known = told(settings.kafka)
        new = [each for each in (alert(each, ranges) for each in drifted) if not any(same(each, one) for one in known)]
        tell(settings.kafka, new)
        print(f"{len(drifted)} drifted, {len(new)} of them told now", flush=True)
    # Lists are all that a model is learned from.
    if asked.retrain and any(isinstance(settings.slots.get(each.slot), Rerank) for each in drifted):
        train.main(settings, ["--publish"])


def ranges_of(conf: Conf, live: Live, newest: int, wait: int, asked: Sequence[int] | None = None, /) -> Ranges:
    """Say what is held against what.

    Args:
        conf: how long the window is, and what comes before it.
        live: the model.
        newest: when the newest outcome was due, ms since 1970.
        wait: how long outcomes wait, ms.
        asked: the reference, from and until how long before the newest outcome, ms.

    Raises:
        Refusal: hardly anything is newer than the reference.

    >>> from schemas.durations import Millis
    >>> conf = Conf(Millis(240), 24, Millis(1000), 50, 50, 0.01, 0.1, 0.2, 0.5, Millis(0))
    >>> found = ranges_of(conf, Live(), 5004, 60)
    >>> found.window, found.reference
    (Span(since=4770, until=5010), Span(since=3770, until=4770))
    """
    stretch = conf.window // conf.stretches
    until = (newest // stretch + 1) * stretch
    since = until - conf.stretches * stretch
    before = Span(since - conf.reference, since)
    if asked:
        reference = Span(newest - asked[0], newest - asked[1])
        against = f"{asked[0] / _HOUR_MS:g} to {asked[1] / _HOUR_MS:g} h ago"
    elif live.learned:
        reference, against = live.learned, f"what {live.version} learned from"
    else:
        reference, against = before, f"the {conf.reference / _HOUR_MS:g} h before"
    since, scored = max(since, reference.until), reference
    if since > until - stretch:
        raise Refusal(f"drift: there is too little after {against}: less than a stretch of {stretch / 1000:g} s")
    if live.learned and not asked:
        first = Span(live.effective_at, live.effective_at + wait + conf.window) if live.effective_at else before
        scored = Span(first.since, min(first.until, since))
    return Ranges(against, reference, Span(since, until), stretch, live.version, scored, live.objective)


def table(findings: Sequence[Finding], gathered: Gathered, ranges: Ranges) -> list[str]:
    """Show each column as a line, below a headline."""
    left_out = "".join(f", {count} {reason} left out" for reason, count in sorted(gathered.left_out.items()))
    headline = f"{gathered.read} outcomes{left_out}; from {shown(ranges.window.since)} on, against {ranges.against}"
    rows = [_COLUMNS, *map(_cells, findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    cells = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [headline, *map(str.rstrip, cells)]


def told(kafka: Kafka) -> list[Alert]:
    """Read all alerts that the topic holds.

    Raises:
        Refusal: it cannot be read, or a record is no alert.
    """
    found = []
    with reading.opened(kafka.bootstrap) as reader:
        for message in reader.since(ALERTS):
            try:
                found.append(_alert(message.value() or b""))
            except MsgspecError as error:
                place = f"partition {message.partition()}, offset {message.offset()}"
                raise Refusal(f"{ALERTS}, {place}: no alert: {error}") from None
    return found


def tell(kafka: Kafka, alerts: Iterable[Alert]) -> None:
    """Write alerts, and return when the broker has them all.

    Raises:
        Refusal: the broker does not take one.
    """
    producer = wire.producer(kafka.bootstrap, give_up_ms=kafka.wait)
    refused: list[str] = []

    def answered(error: KafkaError | None, _message: Message) -> None:
        if error:
            refused.append(error.str())

    for each in alerts:
        producer.produce(ALERTS, json.encode(each), on_delivery=answered)
    producer.flush()
    if refused:
        raise Refusal(f"{ALERTS}: the broker does not take every alert; run this again: {refused[0]}")


def _cells(finding: Finding) -> tuple[str, ...]:
    known = finding.verdict != "too few"
    by_psi, by_sum = finding.what is Detector.DRIFT, finding.what is Detector.PAGE_HINKLEY
    verdict = f"drifted since {shown(finding.since)}" if finding.verdict == "drifted" else finding.verdict
    return (
        finding.slot,
        f"{finding.series}/{finding.arm}" if finding.arm else finding.series,
        f"{abs(finding.size):.3f}" if known and by_psi else "",
        f"{finding.ks:.3f}" if np.isfinite(finding.ks) else "",
        f"{finding.chance:.2g}" if known and not by_sum else "",
        f"{finding.before:.4g}" if known else "",
        f"{finding.now:.4g}" if known else "",
        " / ".join(map(str, finding.people)),
        verdict,
    )


def _live(conf: Releases, at: int) -> Live:
    """Find the model that was in force at a moment."""
    with refusals(conf):
        store = Store(conf.store)
        there = [release for release in store.index("model") if release.effective_at <= at]
        if not there:
            return Live()
        lineage = store.manifest(there[-1]).lineage
    found = Live(there[-1].version, there[-1].effective_at)
    if lineage is None:
        return found
    # The pretend world, in which a first model may have learned, has a time of its own.
    learned = Span(lineage.first, lineage.last + 1) if lineage.last < at else None
    return found._replace(objective=str(lineage.parameters.get("objective", "")), learned=learned)


def _newest(kafka: Kafka, file: Path | None) -> int:
    """Say when the newest outcome was due, ms since 1970.

    Raises:
        Refusal: there is none, or it cannot be read.
    """
    if file:
        newest = max((due for body in taught.of_file(file) if (due := _when(body)) is not None), default=0)
    else:
        client = wire.admin(kafka.bootstrap, kafka.wait)
        wire.require(client, (taught.TOPIC, ALERTS))
        newest = wire.newest(client, taught.TOPIC)
    if newest <= 0:
        raise Refusal(f"drift: there are no outcomes in {file or f'the topic {taught.TOPIC}'}")
    return newest


def _gathered(settings: Settings, file: Path | None, ranges: Ranges) -> Gathered:
    gathered = Gathered(ranges, settings.drift.most)
    since = max(0, min(span.since for span in (ranges.reference, ranges.scored, ranges.window)))
    bodies = taught.of_file(file) if file else taught.of_topic(settings.kafka, since)
    gathered.add(_read(bodies, gathered))
    return gathered


def _read(bodies: Iterable[bytes], gathered: Gathered) -> Iterator[Outcome]:
    """Read the outcomes of the spans."""
    for body in bodies:
        due = _when(body)
        if due is not None and not gathered.asks(due):
            continue
        try:
            yield _outcome(body)
        except (MsgspecError, UnicodeDecodeError):
            gathered.left_out["not readable"] += 1


def _when(body: bytes) -> int | None:
    try:
        return _due(body).due
    except (MsgspecError, UnicodeDecodeError):
        return None


_alert: Final = json.Decoder(Alert).decode
_due: Final = json.Decoder(_Due).decode
_outcome: Final = json.Decoder(Outcome).decode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs drift", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="outcomes from a file: Parquet with a column `record`, or JSON lines"
    )
    parser.add_argument(
        "--reference",
        type=duration,
        nargs=2,
        metavar=("FROM", "UNTIL"),
        help="what is usual: from and until how long before the newest outcome, such as 8d 1d",
    )
    parser.add_argument("--retrain", action="store_true", help="train and publish a model where a list has drifted")
    parser.add_argument("--schedule", action="store_true", help="look every drift.every, until SIGTERM or Ctrl-C")
    return parser
