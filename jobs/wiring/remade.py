"""Makes decisions again, from their own records and the releases that these name, so that anyone can check them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from jobs.wiring import Refusal
from jobs.wiring.model_trial import Trial
from jobs.wiring.store import LOADERS, Payload, Store, one_line, text_of
from schemas.decisions import Decision, Versions
from schemas.releases import DECIDING, Channel, Release
from schemas.rules import Rulebook
from udfs.deciding.book import Book
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.decide import again
from udfs.deciding.in_force import InForce
from udfs.deciding.learned import Learnt
from udfs.deciding.switches import Switches
from udfs.detectors.isolation import IsolationForest
from udfs.explaining.differences import Side, differences
from udfs.releases import RefusedRelease
from udfs.scoring.heads import Heads
from udfs.scoring.models import Model
from udfs.segments.clusters import Clusters

Kind = TypeVar("Kind")


class Named(NamedTuple):
    """What the `ver` of a record names, ready to decide again.

    Attributes:
        releases: those it was decided by.
        book: the rulebook among them; what conf says where it names none.
        learnt: what had been learned of arms.
    """

    releases: InForce
    book: Book
    learnt: Learnt | None


class Past:
    """The releases of a store by their versions, each read once."""

    def __init__(self, store: Store, authored: Rulebook, load_timeout_ms: int) -> None:
        """Read nothing yet.

        Args:
            store: where the releases lie.
            authored: what conf says of slots, rules and experiments, for records that name no release of rules.
            load_timeout_ms: how long a model may take to load.
        """
        self._store = store
        self._authored = Book.of(None, authored)
        self._load_timeout_ms = load_timeout_ms
        self._published: dict[Channel, dict[str, Release]] = {}
        self._read: dict[str, Payload | Model] = {}
        self._named: dict[Versions, Named] = {}

    def named(self, ver: Versions) -> Named:
        """Load what a record names.

        Raises:
            Refusal: one of the releases is gone or damaged; the message names it.
        """
        if ver not in self._named:
            book = self._found("rules", ver.rules, Book)
            releases = InForce(
                catalogue=self._found("catalogue", ver.catalogue, Catalogue),
                model=self._found("model", ver.model, Model),
                clusters=self._found("segments", ver.segments, Clusters),
                anomalies=self._found("anomalies", ver.anomalies, IsolationForest),
                book=book,
                switches=self._found("flags", ver.flags, Switches),
                heads=self._found("heads", ver.heads, Heads),
                effective={
                    channel: self._release(channel, version).effective_at
                    for channel in DECIDING
                    if (version := getattr(ver, channel)) is not None
                },
            )
            learnt = self._found("policy", ver.policy, Learnt)
            self._named[ver] = Named(releases, book or self._authored, learnt)
        return self._named[ver]

    def remade(self, records: Sequence[Decision]) -> list[str]:
        """Decide again, those together that name the same releases.

        Args:
            records: decisions, in any order.

        Returns:
            What the topic must hold of each, as JSON, in the order of the records.

        Raises:
            Refusal: a release that one of them names is gone or damaged.
        """
        rows_of: defaultdict[Versions, list[int]] = defaultdict(list)
        for row, record in enumerate(records):
            rows_of[record.ver].append(row)
        texts = [""] * len(records)
        for ver, rows in rows_of.items():
            releases, book, learnt = self.named(ver)
            some = again([records[row] for row in rows], releases, book, [learnt] * len(rows))
            for row, text in zip(rows, some, strict=True):
                texts[row] = text
        return texts

    def _found(self, channel: Channel, version: str | None, kind: type[Kind]) -> Kind | None:
        if version is None:
            return None
        if version not in self._read:
            self._read[version] = self._loaded(channel, self._release(channel, version))
        found = self._read[version]
        assert isinstance(found, kind)  # each channel holds one kind of release
        return found

    def _release(self, channel: Channel, version: str) -> Release:
        try:
            if channel not in self._published:
                self._published[channel] = {release.version: release for release in self._store.index(channel)}
        except (OSError, RefusedRelease) as error:
            raise Refusal(f"{channel} {version}: the index cannot be read: {one_line(error)}") from None
        if version not in self._published[channel]:
            raise Refusal(f"{channel} {version}: {self._store.uri} has no such release, so what it decided is lost")
        return self._published[channel][version]

    def _loaded(self, channel: Channel, release: Release) -> Payload | Model:
        version = release.version
        try:
            payload = self._store.read(release)
            if channel != "model":
                return LOADERS[channel](version, payload)
            # Its checksum proves that it is what was published, but who writes the one may write the other: so it goes
            # through a child process here too, a second for each model, and cannot end this one.
            text, manifest = text_of(version, payload), self._store.manifest(release)
            with Trial(version, text, manifest, self._load_timeout_ms) as child:
                child.verdict()
            return Model.parse(version, text, manifest)
        except RefusedRelease as refused:
            raise Refusal(str(refused)) from None
        except OSError as error:
            raise Refusal(f"{channel} {version}: it cannot be read: {one_line(error)}") from None


def parted(recorded: bytes, remade: bytes) -> list[str]:
    """Say where a record and the same one made again part: nothing where they are the same, byte for byte.

    Args:
        recorded: what the topic holds, JSON.
        remade: what `Past.remade` gives.

    >>> parted(b'{"at":1,"trace":{"hero":{"p":[1.0]}}}', b'{"at":1,"trace":{"hero":{"p":[0.5]}}}')
    ['0 added, 0 removed, 1 changed', 'changed trace.hero.p: [1.0] -> [0.5]']
    >>> parted(b'{"at": 1}', b'{"at":1}')
    ['the same values, written otherwise from byte 6 on']
    """
    if recorded == remade:
        return []
    if told := differences("record.json", Side("recorded", recorded), Side("remade", remade)):
        return told
    shorter = min(len(recorded), len(remade))
    place = next((place for place in range(shorter) if recorded[place] != remade[place]), shorter)
    return [f"the same values, written otherwise from byte {place} on"]
