"""Reads outcomes, from the topic or from a file, as lists that a ranking model learns from."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from msgspec import MsgspecError, json
from pyarrow import ArrowException, parquet

from jobs.wiring import Refusal, reading, wire
from jobs.wiring.publishing import refusals
from jobs.wiring.store import Store
from schemas.outcomes import Outcome
from schemas.releases import Release
from schemas.settings import Kafka, Releases
from udfs.deciding.catalogue import Catalogue
from udfs.releases import RefusedRelease
from udfs.training.examples import Examples, examples

TOPIC: Final = "outcomes"
COLUMN: Final = "record"
"""Of a Parquet file: an outcome each, as JSON."""

_AT_ONCE: Final = 10_000

Say = Callable[[str], None]
"""Hears how far reading has come, in one line; what it raises ends the reading."""


class Shelves:
    """The catalogues of a store by their versions, each read once."""

    def __init__(self, conf: Releases, say: Say) -> None:
        """Read what was published.

        Raises:
            Refusal: the store cannot be read.
        """
        self._conf, self._say = conf, say
        with refusals(conf):
            self._store = Store(conf.store)
            self._published = {release.version: release for release in self._store.index("catalogue")}
        self._read: dict[str, Catalogue | None] = {}

    def of(self, versions: Iterable[str | None]) -> dict[str, Catalogue]:
        """Give those of some versions that the store has and that hold.

        Raises:
            Refusal: the store cannot be read.
        """
        found = {}
        for version in sorted({version for version in versions if version in self._published}):
            if version not in self._read:
                self._read[version] = self._loaded(self._published[version])
            if catalogue := self._read[version]:
                found[version] = catalogue
        return found

    def _loaded(self, release: Release) -> Catalogue | None:
        with refusals(self._conf):
            try:
                return Catalogue.parse(release.version, self._store.read(release))
            except RefusedRelease as refused:
                self._say(f"passed over: {refused}")
                return None


@dataclass
class Gathering:
    """Lists taken in as they come; of too many the newest are kept.

    Attributes:
        shelves: what is known of items.
        most: rows kept.
        say: hears how far it has come.
        read: records, those left out too.
        left_out: why -> records.
    """

    shelves: Shelves
    most: int
    say: Say
    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    _parts: list[Examples] = field(default_factory=list)
    _rows: int = 0

    def add(self, bodies: Iterable[bytes]) -> None:
        """Take in some records.

        Raises:
            Refusal: the store cannot be read.
        """
        told = 0
        for batch in _batches(bodies):
            outcomes = [outcome for body in batch if (outcome := self._outcome(body))]
            shelves = self.shelves.of(each.ver.catalogue for each in outcomes)
            part = examples(outcomes, shelves, self.left_out)
            self._parts.append(part)
            self._rows += len(part.gains)
            if self._rows > 2 * self.most:
                self._merge()
            if self.read // (10 * _AT_ONCE) > told:
                told = self.read // (10 * _AT_ONCE)
                self.say(f"{self.read:,} outcomes read, {self._rows:,} items shown")
        self._merge()

    def taught(self, since: int = 0, ago: int | None = None) -> Examples:
        """Give the lists in the order of time.

        Args:
            since: the first one is not shown before, ms since 1970.
            ago: nor longer than this before the newest, ms.
        """
        self._merge()
        (found,) = self._parts or [Examples.none()]
        first = since if ago is None or not len(found.at) else max(since, int(found.at[-1]) - ago)
        return found.taken(found.at >= first)

    def summary(self) -> str:
        """Say what was read and what was left out."""
        left_out = "".join(f", {count:,} {reason} left out" for reason, count in sorted(self.left_out.items()))
        return f"{self.read:,} outcomes{left_out}"

    def _merge(self) -> None:
        self._parts = [Examples.joined(self._parts).newest(self.most)]
        self._rows = len(self._parts[0].gains)

    def _outcome(self, body: bytes) -> Outcome | None:
        self.read += 1
        try:
            return _decode(body)
        except (MsgspecError, UnicodeDecodeError):
            self.left_out["not readable"] += 1
            return None


def of_topic(kafka: Kafka, since: int) -> Iterator[bytes]:
    """Give the records of the topic from a moment to the end that it has now.

    Args:
        kafka: where the topic lies.
        since: Kafka timestamp of the first one, ms since 1970.

    Raises:
        Refusal: no broker answers, or the topic is missing.
    """
    wire.require(wire.admin(kafka.bootstrap, kafka.wait), (TOPIC,))
    with reading.opened(kafka.bootstrap) as reader:
        for message in reader.since(TOPIC, since):
            if (body := message.value()) is not None:
                yield body


def of_file(path: Path) -> Iterator[bytes]:
    """Give the records of a file: of a Parquet file its column `record`, of any other its lines.

    Raises:
        Refusal: it cannot be read.
    """
    try:
        if path.suffix == ".parquet":
            for part in parquet.ParquetFile(path).iter_batches(_AT_ONCE, columns=[COLUMN]):
                for record in part.column(0).to_pylist():
                    yield record.encode() if isinstance(record, str) else record or b""
        else:
            with path.open("rb") as file:
                yield from (line for line in file if not line.isspace())
    except (OSError, ArrowException) as error:
        raise Refusal(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    except IndexError:
        raise Refusal(f'{path} has no column "{COLUMN}"') from None


def _batches(bodies: Iterable[bytes]) -> Iterator[list[bytes]]:
    left = iter(bodies)
    while batch := list(islice(left, _AT_ONCE)):
        yield batch


_decode: Final = json.Decoder(Outcome).decode
