"""Where releases lie: catalogues, models and norms, published once and never changed."""

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from textwrap import shorten
from typing import Final

import msgspec
from pyarrow import ArrowInvalid, fs

from jobs.wiring import Refusal
from jobs.wiring.model_trial import Trial
from schemas.releases import FILES, Channel, Manifest, Release
from udfs.cleaning.noise import Norms
from udfs.deciding.book import Book
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.learned import Learnt
from udfs.deciding.switches import Switches
from udfs.detectors.isolation import IsolationForest
from udfs.releases import RefusedRelease, decoded
from udfs.scoring.heads import Heads
from udfs.segments.clusters import Clusters

INDEX: Final = "index.jsonl"
MANIFEST: Final = "manifest.json"

PREFIX: Final[dict[Channel, str]] = {
    "catalogue": "c",
    "model": "m",
    "norms": "n",
    "anomalies": "a",
    "segments": "s",
    "rules": "r",
    "policy": "p",
    "flags": "f",
    "heads": "h",
}
"""Versions are this letter and a number that grows."""

Payload = Catalogue | Norms | IsolationForest | Clusters | Book | Learnt | Switches | Heads
"""What the payloads of all channels but the models' are, once they are read."""

LOADERS: Final[dict[Channel, Callable[[str, bytes], Payload]]] = {
    "catalogue": Catalogue.parse,
    "norms": Norms.parse,
    "anomalies": IsolationForest.parse,
    "segments": Clusters.parse,
    "rules": Book.parse,
    "policy": Learnt.parse,
    "flags": Switches.parse,
    "heads": Heads.parse,
}
"""What makes a payload ready for use. A model is not among them: loading one may end the process, see `Trial`."""

_CHANNELS: Final[dict[str, Channel]] = {prefix: channel for channel, prefix in PREFIX.items()}
_manifest: Final = msgspec.json.Decoder(Manifest).decode
_entry: Final = msgspec.json.Decoder(Release).decode

Mark = tuple[int, int | None]
"""Size and time of an index, by which a change is seen without reading it."""


def location(uri: str) -> str:
    """Give a store's place in a form that means the same in every working directory.

    >>> location("s3://bucket/store")
    's3://bucket/store'
    """
    return uri if "://" in uri else str(Path(uri).absolute())


def channel_of(release: Release) -> Channel:
    """Tell a release's channel from its version.

    >>> channel_of(Release(version="m12", sha256="", effective_at=0))
    'model'
    """
    return _CHANNELS[release.version[0]]


class Store:
    """A folder of releases: `<uri>/<channel>/<version>/` and `<uri>/<channel>/index.jsonl`.

    One publisher at a time; any number of readers.
    """

    def __init__(self, uri: str) -> None:
        """Open the store; nothing is created.

        Args:
            uri: A path, or any address `pyarrow.fs` knows.

        Raises:
            Refusal: The address names no kind of store.
            OSError: The store cannot be reached.
        """
        self.uri = location(uri)
        try:
            self._files, self._root = fs.FileSystem.from_uri(self.uri)
        except ArrowInvalid as error:
            raise Refusal(f'releases.store: "{uri}" is no path and no address of a store: {error}') from None

    def mark(self, channel: Channel) -> Mark | None:
        """See cheaply whether an index changed; None where there is none.

        Raises:
            OSError: The store cannot be reached.
        """
        info = self._files.get_file_info(f"{self._root}/{channel}/{INDEX}")
        return None if info.type == fs.FileType.NotFound else (info.size, info.mtime_ns)

    def index(self, channel: Channel) -> list[Release]:
        """Read what was published, oldest first.

        Raises:
            OSError: The store cannot be reached.
            RefusedRelease: A line of the index is no release, or takes effect before the one above it.
        """
        if self.mark(channel) is None:
            return []
        lines = self._read(f"{channel}/{INDEX}").splitlines()
        releases = [_release(channel, number, line) for number, line in enumerate(lines, start=1)]
        for number, (older, newer) in enumerate(pairwise(releases), start=2):
            if newer.effective_at < older.effective_at:
                raise RefusedRelease(f"{channel}: {INDEX} line {number} takes effect before the line above it")
        return releases

    def read(self, release: Release) -> bytes:
        """Read a release's payload, and hold it against its checksum.

        Raises:
            OSError: The payload cannot be read.
            RefusedRelease: It is not what was published.
        """
        channel = channel_of(release)
        payload = self._read(f"{channel}/{release.version}/{FILES[channel]}")
        found = hashlib.sha256(payload).hexdigest()
        if found != release.sha256:
            raise RefusedRelease(
                f"{channel} {release.version}: {FILES[channel]} was changed after it was published "
                f"(sha256 {found[:12]}, published {release.sha256[:12]})"
            )
        return payload

    def manifest(self, release: Release) -> Manifest:
        """Read what a model must keep.

        Raises:
            OSError: The manifest cannot be read.
            RefusedRelease: It is no manifest.
        """
        return manifest_of(release.version, self._read(f"{channel_of(release)}/{release.version}/{MANIFEST}"))

    def publish(
        self, channel: Channel, payload: bytes, manifest: Manifest | None, *, effective_at: int, reason: str
    ) -> Release:
        """Add a release that was tried before (see `trial`).

        Args:
            channel: Where it belongs.
            payload: Its file.
            manifest: Of a model; None for the others.
            effective_at: The first slice end it decides, or event time it cleans, ms since 1970.
            reason: Why it is published, for those who read the index.

        Raises:
            OSError: The store cannot be written.
            RefusedRelease: It would take effect before the newest one, or somebody else is publishing.
        """
        mark = self.mark(channel)
        index = self.index(channel)
        newest = index[-1] if index else None
        if newest and effective_at < newest.effective_at:
            raise RefusedRelease(
                f"{channel}: the newest release {newest.version} takes effect at {newest.effective_at}, "
                f"so this one cannot at {effective_at}: choose that time or a later one"
            )
        release = Release(
            version=f"{PREFIX[channel]}{self._next_number(channel, index)}",
            sha256=hashlib.sha256(payload).hexdigest(),
            effective_at=effective_at,
            parent=newest.version if newest else "",
            reason=reason,
        )
        folder = f"{channel}/{release.version}"
        self._files.create_dir(f"{self._root}/{folder}")
        self._write(f"{folder}/{FILES[channel]}", payload)
        if manifest:
            self._write(f"{folder}/{MANIFEST}", msgspec.json.encode(manifest))
        if self.mark(channel) != mark:
            raise RefusedRelease(f"{channel}: somebody else published meanwhile: look at the index and try again")
        # Moved into place whole, so that a reader never sees half a line.
        self._write(f"{channel}/{INDEX}.new", b"".join(msgspec.json.encode(line) + b"\n" for line in [*index, release]))
        self._files.move(f"{self._root}/{channel}/{INDEX}.new", f"{self._root}/{channel}/{INDEX}")
        return release

    def _next_number(self, channel: Channel, index: list[Release]) -> int:
        # Folders count too: one whose publisher was killed before it wrote the index is never written to again.
        selector = fs.FileSelector(f"{self._root}/{channel}", allow_not_found=True)
        taken = [info.base_name for info in self._files.get_file_info(selector)] + [line.version for line in index]
        numbers = (name.removeprefix(PREFIX[channel]) for name in taken)
        return 1 + max((int(number) for number in numbers if number.isdecimal()), default=0)

    def _read(self, path: str) -> bytes:
        with self._files.open_input_stream(f"{self._root}/{path}") as stream:
            content: bytes = stream.read()
        return content

    def _write(self, path: str, content: bytes) -> None:
        with self._files.open_output_stream(f"{self._root}/{path}") as stream:
            stream.write(content)


def manifest_of(version: str, content: bytes) -> Manifest:
    """Read a model's manifest; raises RefusedRelease where it is none."""
    return decoded(_manifest, content, f"model {version}: {MANIFEST}")


def text_of(version: str, payload: bytes) -> str:
    """Read a model's text; raises RefusedRelease where it is none."""
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise RefusedRelease(f"model {version}: byte {error.start} is not text") from None


def one_line(error: Exception) -> str:
    """Say in a line what a store answers; some file systems answer with pages."""
    return shorten(str(error), width=200, placeholder=" ...")


def trial(channel: Channel, payload: bytes, manifest: Manifest | None, timeout_ms: int) -> None:
    """Try what is to be published; what LightGBM has to read, in a child process.

    Raises:
        RefusedRelease: It must not be published; the message says why.
    """
    if channel != "model":
        LOADERS[channel]("new", payload)
        if channel != "heads":
            return
        manifest = None  # each head has its golden rows with it
    elif manifest is None:
        raise RefusedRelease(f"model new: it has no {MANIFEST}, so nobody can tell whether it scores as it should")
    with Trial("new", text_of("new", payload), manifest, timeout_ms) as child:
        child.verdict()


def _release(channel: Channel, number: int, line: bytes) -> Release:
    release = decoded(_entry, line, f"{channel}: {INDEX} line {number}")
    if _CHANNELS.get(release.version[:1]) != channel:
        raise RefusedRelease(
            f'{channel}: {INDEX} line {number}: "{release.version}" is no version of the channel {channel}'
        )
    return release
