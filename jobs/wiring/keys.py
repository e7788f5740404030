"""What must not travel inside a job: secrets stay in files and the environment of each process."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from jobs.wiring import Refusal
from schemas.settings import Pseudonyms

KEY_VARIABLE: Final = "TRIMTAB__PSEUDONYMS__KEY"
MIN_KEY_BYTES: Final = 8

_ID: Final = re.compile(rb"k[0-9]{1,4}")


class Key(NamedTuple):
    """A secret that makes pseudonyms, and the id that stands before the colon of each.

    Attributes:
        id: such as `k1`.
        secret: never printed, never logged.
    """

    id: str
    secret: bytes


def sealed(pseudonyms: Pseudonyms, environ: Mapping[str, str]) -> Pseudonyms:
    """Take the key out where the environment gives it: a worker finds it in its own.

    >>> sealed(Pseudonyms(key_id="k1", key="secret-key", key_file=""), {KEY_VARIABLE: "secret-key"}).key
    ''
    """
    return replace(pseudonyms, key="") if KEY_VARIABLE in environ else pseudonyms


def key_ring(pseudonyms: Pseudonyms, environ: Mapping[str, str]) -> tuple[Key, ...]:
    """Find the pseudonym keys: in the environment, else in the key file, else in conf.

    Each is a line `k2 <secret>`; outside of a file a semicolon ends a line, too. The first is in use; people are still
    known under those below it while a rotation lasts. A secret alone, without a blank, goes by `pseudonyms.key_id`.

    Raises:
        Refusal: there is none, one is too short or has no proper id, or an id stands twice.

    >>> key_ring(Pseudonyms(key_id="k1", key="k2 newer-secret; k1 older-secret", key_file=""), {})
    (Key(id='k2', secret=b'newer-secret'), Key(id='k1', secret=b'older-secret'))
    >>> key_ring(Pseudonyms(key_id="k1", key="secret-key", key_file=""), {})
    (Key(id='k1', secret=b'secret-key'),)
    """
    if KEY_VARIABLE in environ:
        origin, lines = KEY_VARIABLE, _lines(environ[KEY_VARIABLE])
    elif pseudonyms.key_file:
        origin, lines = pseudonyms.key_file, _read(pseudonyms.key_file).split(b"\n")
    else:
        origin, lines = "pseudonyms.key", _lines(pseudonyms.key)
    said = {number: line.strip() for number, line in enumerate(lines, start=1) if line.strip()}
    alone = len(said) <= 1 and not any(len(line.split()) > 1 for line in said.values())
    if alone:
        return (_long_enough(Key(pseudonyms.key_id, b"".join(said.values())), origin),)
    ring = tuple(_key(line, f"{origin}, line {number}") for number, line in said.items())
    ids = [key.id for key in ring]
    if twice := next((one for one in ids if ids.count(one) > 1), None):
        raise Refusal(f"{origin}: the key id {twice} stands twice; a new key needs an id that was never in use")
    return ring


def _lines(text: str) -> list[bytes]:
    return text.replace(";", "\n").encode().split(b"\n")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Refusal(f"pseudonyms.key_file: cannot read {path}: {error.strerror}") from error


def _key(line: bytes, origin: str) -> Key:
    """Read one line; what stands in it is not shown, it may be the secret itself."""
    first, *rest = line.split(None, 1)
    if not rest or not _ID.fullmatch(first):
        raise Refusal(f"{origin}: expected a key id such as k2, a blank and the secret")
    return _long_enough(Key(first.decode(), rest[0]), origin)


def _long_enough(key: Key, origin: str) -> Key:
    if len(key.secret) < MIN_KEY_BYTES:
        raise Refusal(
            f"{origin}: the pseudonym key needs at least {MIN_KEY_BYTES} bytes, got {len(key.secret)};"
            f" set {KEY_VARIABLE} or pseudonyms.key_file"
        )
    return key
