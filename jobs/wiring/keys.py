"""What must not travel inside a job: secrets stay in files and the environment of each process."""

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from jobs.wiring import Refusal
from schemas.settings import Pseudonyms

KEY_VARIABLE = "TRIMTAB__PSEUDONYMS__KEY"
MIN_KEY_BYTES = 8


def sealed(pseudonyms: Pseudonyms, environ: Mapping[str, str]) -> Pseudonyms:
    """Take the key out where the environment gives it: a worker finds it in its own.

    >>> sealed(Pseudonyms(key_id="k1", key="secret-key", key_file=""), {KEY_VARIABLE: "secret-key"}).key
    ''
    """
    return replace(pseudonyms, key="") if KEY_VARIABLE in environ else pseudonyms


def pseudonym_key(pseudonyms: Pseudonyms, environ: Mapping[str, str]) -> bytes:
    """Find the pseudonym key: the environment, else the key file, else conf.

    Raises:
        Refusal: there is none, or it is too short.
    """
    if KEY_VARIABLE in environ:
        key, origin = environ[KEY_VARIABLE].encode(), KEY_VARIABLE
    elif pseudonyms.key_file:
        origin = pseudonyms.key_file
        try:
            key = Path(pseudonyms.key_file).read_bytes().strip()
        except OSError as error:
            raise Refusal(f"pseudonyms.key_file: cannot read {pseudonyms.key_file}: {error.strerror}") from error
    else:
        key, origin = pseudonyms.key.encode(), "pseudonyms.key"
    if len(key) < MIN_KEY_BYTES:
        raise Refusal(
            f"{origin}: the pseudonym key needs at least {MIN_KEY_BYTES} bytes, got {len(key)};"
            f" set {KEY_VARIABLE} or pseudonyms.key_file"
        )
    return key
