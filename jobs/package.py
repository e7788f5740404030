"""Builds what a cluster takes: one archive with code and settings, and the connectors' jars beside it."""

import hashlib
import shutil
import zipfile
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from jobs.wiring import Refusal
from jobs.wiring.jars import connectors
from schemas.settings import Settings

SOURCE: Final = Path(__file__).resolve().parents[1]
"""What holds jobs/, udfs/, schemas/ and conf/."""

ARCHIVE: Final = Path("build/app.zip")
JARS: Final = Path("build/jars")

_PACKAGES: Final = ("jobs", "udfs", "schemas")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
_PLAIN_FILE: Final = 0o100644 << 16


def members(source: Path) -> Iterator[Path]:
    """List what belongs into the archive, relative to `source`, in a fixed order: packages, views, settings."""
    for package in _PACKAGES:
        for path in sorted((source / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                yield path.relative_to(source)
    for path in sorted((source / "conf").glob("*.toml")):
        yield path.relative_to(source)


def archive(source: Path, target: Path) -> None:
    """Write the archive; the same files give the same bytes, whenever and wherever it is built."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Stored, not compressed: what a compressor writes depends on its version.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as file:
        for member in members(source):
            entry = zipfile.ZipInfo(member.as_posix(), _EPOCH)
            entry.create_system = 3  # Unix, whose permissions follow
            entry.external_attr = _PLAIN_FILE
            file.writestr(entry, (source / member).read_bytes())


def main(settings: Settings, arguments: list[str]) -> int:
    """Write build/app.zip and build/jars/ under the current folder.

    Raises:
        Refusal: the connectors' jars are not there.
    """
    del settings
    ArgumentParser(prog="python -m jobs package", description=__doc__).parse_args(arguments)
    jars = connectors()
    if not jars:
        raise Refusal("package: no connector in .local/jars/flink: run make setup")
    archive(SOURCE, ARCHIVE)
    shutil.rmtree(JARS, ignore_errors=True)
    JARS.mkdir(parents=True)
    for jar in jars:
        shutil.copyfile(jar, JARS / jar.name)
    digest = hashlib.sha256(ARCHIVE.read_bytes()).hexdigest()
    print(f"{ARCHIVE} sha256 {digest[:16]}, {JARS}: {', '.join(jar.name for jar in jars)}")
    return 0
