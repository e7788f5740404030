"""Says what other policies of a slot would have been worth, by the outcomes of the one that drew.

For slots with arms (variant, trigger). Compared are the shadow policies that stand in the records, all arms alike, each
arm always, and policies of conf/slots.toml that are named with --candidate. Each interval stands by itself: of twenty
policies that are worth the same, one will seem better or worse. Lists (rerank) draw a few of their places only, and
params draw nothing: there is no scoreboard of them.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from msgspec import MsgspecError, Struct, convert, json
from pyarrow import ArrowException, parquet

from jobs.wiring import Refusal, reading, wire
from jobs.wiring.publishing import duration, now_ms, refusals, shown
from jobs.wiring.remade import Past
from jobs.wiring.store import Store
from schemas.decisions import Versions
from schemas.outcomes import Outcome
from schemas.settings import Kafka, Settings
from schemas.settings import Scoreboard as Conf
from schemas.slots import Trigger, Variant, policies
from udfs.deciding.book import Book, authored
from udfs.judging.recorded import Recorded
from udfs.judging.scores import LIVE, By, Figure, Score, live, scored
from udfs.judging.unasked import Candidate
from udfs.nearest import no_such

TOPIC: Final = "outcomes"

_AT_ONCE: Final = 5_000
_COLUMNS: Final = ("policy", "plays", "worth", "interval", "effective", "more than live", "verdict")


class Report(Struct, frozen=True):
    """What `--out` holds."""

    slot: str
    bounds: Conf
    since: int
    until: int
    read: int
    left_out: dict[str, int]
    scores: list[Score]


def main(settings: Settings, arguments: list[str]) -> int:
    """Read outcomes, print the scoreboard, and write it if asked.

    Raises:
        Refusal: there is no such slot, policy or release, or the slot has no arms; nothing can be read, or nothing that
            was read was drawn; or the file cannot be written.
    """
    asked = _parser().parse_args(arguments)
    book = Book.of(None, authored(settings))
    tried = candidates(book, asked.slot, asked.candidate)
    with refusals(settings.releases):
        past = Past(Store(settings.releases.store), book.book, settings.releases.load_timeout)
    learnt = past.named(Versions(policy=asked.policy)).learnt if asked.policy else None
    outcomes = _of_file(asked.input) if asked.input else _of_topic(settings.kafka, asked.since, asked.until)
    recorded = Recorded(tried)
    for ver, some in _bundles(outcomes, asked.slot, learn=bool(tried) and not learnt):
        try:
            named = past.named(ver)
        except Refusal as refusal:
            recorded.leave_out(some, f"decided by a release that is gone ({refusal})")
        else:
            recorded.add(some, named.book.book, learnt or named.learnt)
    report = _report(asked.slot, recorded, settings.scoreboard, asked.by)
    print("\n".join(table(report)))
    if learnt and learnt.posteriors.until > report.since:
        print(
            f"{learnt.version} has learned until {shown(learnt.posteriors.until)}, from some of these plays too:"
            " candidates are judged by what they have seen, and seem better than they are"
        )
    if asked.out:
        try:
            asked.out.write_bytes(json.format(json.encode(report), indent=2) + b"\n")
        except OSError as error:
            raise Refusal(f"scoreboard: {asked.out} cannot be written: {error.strerror}") from None
    return 0


def candidates(book: Book, slot: str, names: Sequence[str]) -> dict[str, Candidate]:
    """Find policies of a slot of conf by their names.

    Raises:
        Refusal: there is no such slot or policy, or the slot has no arms.
    """
    place = next((place for place in book.places if place.name == slot), None)
    if place is None:
        raise Refusal(f"scoreboard: {no_such('slot', slot, book.book.slots)}")
    if not isinstance(place.slot, Variant | Trigger):
        raise Refusal(f"scoreboard: {slot} has no arms; only slots of the kinds variant and trigger have")
    known = policies(place.slot)
    for name in names:
        if name not in known:
            raise Refusal(f"scoreboard: {no_such('policy', name, known)}")
    return {name: Candidate(book, place, name) for name in names}


def table(report: Report) -> list[str]:
    """Show each policy as a line, below a headline."""
    scores = report.scores
    left_out = "".join(f"; {count} left out, {reason}" for reason, count in sorted(report.left_out.items()))
    headline = (
        f"{report.slot}: {scores[0].plays} of {report.read} outcomes, of {scores[0].people} people, shown from"
        f" {shown(report.since)} to {shown(report.until)}{left_out}"
    )
    rows = [_COLUMNS, *map(_cells, scores)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    cells = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [headline, *map(str.rstrip, cells)]


def _cells(score: Score) -> tuple[str, ...]:
    figure = score.figure
    return (
        score.policy,
        str(score.plays),
        f"{figure.value.value:.4f}",
        _range(figure.value),
        f"{score.effective:.0f} of {score.effective_people:.0f} people",
        "" if score.policy == LIVE else f"{figure.against.value:+.4f} ({_range(figure.against)})",
        "" if score.policy == LIVE else score.said,
    )


def _range(figure: Figure) -> str:
    return f"{figure.low:.4f} to {figure.high:.4f}"


def _report(slot: str, recorded: Recorded, conf: Conf, by: By) -> Report:
    targets, left_out = recorded.targets(), dict(sorted(recorded.left_out.items()))
    if targets is None:
        why = "".join(f"; {count} {reason}" for reason, count in left_out.items())
        raise Refusal(f"scoreboard: {slot}: of {recorded.read} outcomes none tells of a draw{why}")
    scores = [live(targets.log, conf)]
    for name, chances in targets.policies.items():
        known = ~np.isnan(chances).any(axis=1)
        scores.append(scored(name, targets.log.taken(known), chances[known], conf, by))
    return Report(slot, conf, recorded.first, recorded.last, recorded.read, left_out, scores)


def _bundles(outcomes: Iterable[Outcome], slot: str, *, learn: bool) -> Iterator[tuple[Versions, list[Outcome]]]:
    """Give a slot's outcomes, those together that name the same rules and, where it matters, the same plays learned."""
    mine = (outcome for outcome in outcomes if outcome.slot == slot)
    while batch := list(islice(mine, _AT_ONCE)):
        bundles: defaultdict[Versions, list[Outcome]] = defaultdict(list)
        for outcome in batch:
            bundles[Versions(rules=outcome.ver.rules, policy=outcome.ver.policy if learn else None)].append(outcome)
        yield from bundles.items()


def _of_topic(kafka: Kafka, since: int, until: int) -> Iterator[Outcome]:
    """Read the topic: what was shown from so long ago until so long ago."""
    now = now_ms()
    wire.require(wire.admin(kafka.bootstrap, kafka.wait), (TOPIC,))
    with reading.opened(kafka.bootstrap) as reader:
        for message in reader.since(TOPIC, max(0, now - since)):
            body = message.value()
            if not body:
                continue
            try:
                outcome = _decode(body)
            except MsgspecError as error:
                raise Refusal(f"{TOPIC}: partition {message.partition()}, offset {message.offset()}: {error}") from None
            # An outcome is written after it was shown, so none of these lies before.
            if now - since <= outcome.at <= now - until:
                yield outcome


def _of_file(path: Path) -> Iterator[Outcome]:
    """Read records of the topic from a file: JSON lines, or Parquet with a column for each field of a record.

    Raises:
        Refusal: it is neither, or it cannot be read.
    """
    read = {".jsonl": _lines, ".parquet": _rows}.get(path.suffix)
    if read is None:
        raise Refusal(f"scoreboard: {path}: expected a file that ends in .jsonl or .parquet")
    number = 0
    try:
        for outcome in read(path):
            number += 1
            yield outcome
    except (OSError, ArrowException, MsgspecError, UnicodeDecodeError) as error:
        raise Refusal(f"scoreboard: {path}: record {number + 1}: {' '.join(str(error).split())}") from None


def _lines(path: Path) -> Iterator[Outcome]:
    with path.open("rb") as file:
        for line in file:
            yield _decode(line)


def _rows(path: Path) -> Iterator[Outcome]:
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_AT_ONCE):
            for row in batch.to_pylist():
                yield convert(_given(row), Outcome)


def _given(value: Any) -> Any:
    """Leave out what is null or empty, for Parquet has a place for every field and records hold what they know.

    >>> _given({"hits": [("click", 2)], "gains": [], "shown": None, "opened": ["a"]})
    {'hits': {'click': 2}, 'opened': ['a']}
    """
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        value = dict(value)
    if isinstance(value, dict):
        return {key: _given(each) for key, each in value.items() if each is not None and each != []}
    return [_given(each) for each in value] if isinstance(value, list) else value


_decode: Final = json.Decoder(Outcome).decode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs scoreboard", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slot", help="a slot with arms")
    parser.add_argument("--since", type=duration, default="1d", help="how far back to read the topic, such as 12h (1d)")
    parser.add_argument(
        "--until", type=duration, default="0ms", help="what was shown later than so long ago is left out"
    )
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="records of the topic from a file, .jsonl or .parquet, in its place"
    )
    parser.add_argument(
        "--candidate",
        metavar="NAME",
        action="append",
        default=[],
        help="a policy of the slot in conf that is worked out too; may be repeated",
    )
    parser.add_argument(
        "--policy",
        metavar="VERSION",
        help="the policy release that candidates know; if not given, the one of the record",
    )
    parser.add_argument(
        "--by", choices=get_args(By), default="dr", help="the estimator shown and judged by (dr); --out has all"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything there, as JSON")
    return parser
