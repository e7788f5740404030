"""Checks what a team wants to happen when, tries it on decisions that were made already, and publishes it."""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from typing import Final

from confluent_kafka import Message
from msgspec import MsgspecError, json

from jobs.wiring import Refusal, reading, wire
from jobs.wiring.publishing import duration, moment, now_ms, published, refusals, shown
from jobs.wiring.reading import Reader
from jobs.wiring.remade import Named, Past
from jobs.wiring.store import Store
from schemas.decisions import Decision, Versions
from schemas.rules import encoded
from schemas.settings import Settings
from udfs.deciding.book import Book, authored
from udfs.explaining.outline import outline
from udfs.explaining.preview import Preview
from udfs.nearest import no_such

TOPIC: Final = "decisions"

_AT_ONCE: Final = 5_000


def main(settings: Settings, arguments: list[str]) -> int:
    """Check, preview or publish. What does not fit together has been refused when the settings were read.

    Raises:
        Refusal: no broker answers, there is no such rule, nothing changed, or the store does not take the release.
    """
    asked = _parser().parse_args(arguments)
    does = {"check": _checked, "preview": _previewed, "publish": _published}[asked.what]
    for line in does(settings, asked):
        print(line)
    return 0


def _checked(settings: Settings, _: argparse.Namespace) -> Iterator[str]:
    book = authored(settings)
    yield from outline(Book.of(None, book))
    yield f"holds together: {len(book.slots)} slots, {len(book.rules)} rules, {len(book.experiments)} experiments"


def _previewed(settings: Settings, asked: argparse.Namespace) -> Iterator[str]:
    book = Book.of(None, authored(settings))
    for name in asked.rule:
        if name not in book.book.rules:
            raise Refusal(f"rules: {no_such('rule', name, book.book.rules)}")
    kafka, since = settings.kafka, max(0, now_ms() - asked.since)
    preview, left_out = Preview(book, asked.rule), Counter[str]()
    with refusals(settings.releases):
        past = Past(Store(settings.releases.store), book.book, settings.releases.load_timeout)
    wire.require(wire.admin(kafka.bootstrap, kafka.wait), (TOPIC,))
    with reading.opened(kafka.bootstrap) as reader:
        for ver, records in _bundles(reader, since, left_out):
            named = _named(past, ver)
            if isinstance(named, str):
                left_out[f"made by a release that is gone ({named})"] += len(records)
            else:
                preview.add(records, named.releases, named.learnt)
    if preview.robots:
        left_out["of robots"] = preview.robots
    without = "".join(f"; {count} left out, {reason}" for reason, count in sorted(left_out.items()))
    yield f"{preview.decisions} decisions of {preview.people} people since {shown(since)}{without}"
    yield from preview.lines()


def _published(settings: Settings, asked: argparse.Namespace) -> Iterator[str]:
    conf, payload = settings.releases, encoded(authored(settings))
    with refusals(conf):
        index = Store(conf.store).index("rules")
    if index and index[-1].sha256 == sha256(payload).hexdigest():
        raise Refusal(f"rules: {index[-1].version}, the newest release, says the same: nothing would change")
    release = published(conf, "rules", payload, asked.reason, at=asked.effective_at)
    yield f"published {release.version}, in force from {shown(release.effective_at)} on"


def _bundles(reader: Reader, since: int, left_out: Counter[str]) -> Iterator[tuple[Versions, list[Decision]]]:
    """Read decisions, those together that name the same releases."""
    messages = reader.since(TOPIC, since)
    while batch := list(islice(messages, _AT_ONCE)):
        bundles: defaultdict[Versions, list[Decision]] = defaultdict(list)
        for record in _records(batch, left_out):
            bundles[record.ver].append(record)
        yield from bundles.items()


def _records(batch: list[Message], left_out: Counter[str]) -> Iterator[Decision]:
    for message in batch:
        body = message.value()
        try:
            if body:
                yield _decode(body)
        except (MsgspecError, UnicodeDecodeError):
            left_out["not readable"] += 1


def _named(past: Past, ver: Versions) -> Named | str:
    """Load releases; where one is gone, say which."""
    try:
        return past.named(ver)
    except Refusal as refusal:
        return str(refusal)


_decode: Final = json.Decoder(Decision).decode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs rules", description=__doc__)
    whats = parser.add_subparsers(dest="what", metavar="check|preview|publish", required=True)

    about = "print what may speak for each slot; what does not fit together is refused, all of it, with its line"
    whats.add_parser("check", help=about, description=about)

    about = "say what conf/ would have made of the decisions of the topic"
    what = whats.add_parser("preview", help=about, description=about)
    what.add_argument("--since", type=duration, default="1d", help="how far back to read, such as 12h (1d)")
    what.add_argument("--rule", metavar="NAME", nargs="+", default=[], help="tell of these rules and their slots alone")

    about = "publish conf/ as a release of the channel `rules`"
    what = whats.add_parser("publish", help=about, description=about)
    what.add_argument("--reason", default="", help="why, for those who read the list of releases")
    what.add_argument(
        "--effective-at", type=moment, help="ms since 1970, now or start; if not given, releases.lead from now"
    )
    return parser
