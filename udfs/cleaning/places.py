"""Where a person is, coarsely: their language, their country and region, and the hour on their clock."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import cache, lru_cache
from importlib.resources import files
from io import BytesIO
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo


class Place(NamedTuple):
    """As fine as it gets: a country, and its part where that is known."""

    country: str | None
    region: str | None = None


Lookup = Callable[[str], Place | None]
"""From a device's address to its place; never raises."""

# Undetermined, several, none at all, none that has a code.
_NO_LANGUAGE: Final = frozenset({"und", "mul", "zxx", "mis"})
_LANGUAGE: Final = re.compile(r"\s*([a-zA-Z]{2,3})(?![a-zA-Z0-9])")

# A name or a short code; an address on the net, a position or an e-mail address has more digits or other signs.
_PLACE_NAME: Final = re.compile(r"(?!(?:\D*\d){4})[\w .,'\u2019()/&-]{1,64}")
_PLACE_CODE: Final = re.compile(r"[A-Za-z]{2}")

ZONES: Final = frozenset((files("tzdata") / "zones").read_text(encoding="utf-8").split())
"""The names of the IANA time zone database, as the package `tzdata` has them."""


def nowhere(address: str) -> Place | None:
    """Know the place of no address."""
    del address
    return None


@lru_cache(maxsize=1024)
def primary_language(tag: str) -> str | None:
    """Take the language out of a language tag (BCP 47, RFC 5646), or out of the first of a list of them.

    >>> primary_language("en-GB"), primary_language("pt_BR"), primary_language("de,en;q=0.9"), primary_language("*")
    ('en', 'pt', 'de', None)
    """
    match = _LANGUAGE.match(tag)
    language = match[1].lower() if match else None
    return None if language in _NO_LANGUAGE else language


@lru_cache(maxsize=4096)
def place_name(said: str) -> str | None:
    """Accept what a tracker says of a country or region, unless it is finer than one; codes in capitals.

    >>> place_name("gb"), place_name("Île-de-France"), place_name("51.5007,-0.1246"), place_name("10.0.0.1")
    ('GB', 'Île-de-France', None, None)
    """
    name = said.strip()
    if _PLACE_CODE.fullmatch(name):
        return name.upper()
    return name if _PLACE_NAME.fullmatch(name) else None


def local_hour(at: int, time_zone: str) -> int | None:
    """Read the hour of the day, 0 to 23, on a clock in a time zone; None for a zone that the database does not name.

    The database is the pinned package's, never the machine's: a replay elsewhere reads the same hour.

    Args:
        at: ms since 1970.
        time_zone: name such as `Europe/Athens`.

    >>> local_hour(1_767_225_600_000, "Europe/Athens"), local_hour(1_767_225_600_000, "Atlantis/Capital")
    (2, None)
    """
    # Only names of the database ever become a path.
    if time_zone not in ZONES:
        return None
    try:
        return datetime.fromtimestamp(at // 1000, _zone(time_zone)).hour
    except (ValueError, OverflowError):  # before year 1 or after year 9999
        return None


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo.from_file(BytesIO(files("tzdata").joinpath("zoneinfo", name).read_bytes()), key=name)
