"""From an address to its country and region, by a MaxMind database that a team may lay beside the suite."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

import maxminddb
from maxminddb import InvalidDatabaseError, Reader

from jobs.wiring import Refusal
from udfs.cleaning.places import Lookup, Place, nowhere

_KINDS: Final = ("Country", "City", "Enterprise")
_CODE: Final = re.compile(r"[A-Z0-9]{1,3}")  # ISO 3166-1 and the part of ISO 3166-2 behind the hyphen

# Spread over the address space: damage in the search tree is met at the start, not in the middle of the night.
_TRIED: Final = tuple(f"{first}.{second}.1.1" for first in range(1, 224) for second in (0, 100, 200))


def place_lookup(geo_file: str) -> Lookup:
    """Open the database once; the result maps an address to its place, and any other text to None.

    Args:
        geo_file: path of a country or city database (.mmdb); "" for none.

    Raises:
        Refusal: the file is missing, damaged, or holds no countries.
    """
    if not geo_file:
        return nowhere
    reader = _opened(geo_file)

    def place(address: str) -> Place | None:
        try:
            return _place(reader.get(_address(address)))
        except (ValueError, InvalidDatabaseError):
            # No address, or not of the database's version of them, or one spot of the file is bad: an event is worth
            # more than its country.
            return None

    return place


def _opened(geo_file: str) -> Reader:
    try:
        # The library says no more of a file that it may not read than that it is invalid.
        Path(geo_file).open("rb").close()
        reader = maxminddb.open_database(geo_file)
        kind = reader.metadata().database_type
        for address in _TRIED:
            reader.get(address)
    except OSError as error:
        raise Refusal(f"clean.geo_file: cannot read {geo_file}: {error.strerror}") from error
    except (InvalidDatabaseError, ValueError) as error:
        raise Refusal(f"clean.geo_file: {geo_file} is damaged or no MaxMind database: {error}; get it anew") from error
    if not any(each in kind for each in _KINDS):
        raise Refusal(f'clean.geo_file: {geo_file} is a "{kind}"; expected a country or city database')
    return reader


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    # Servers that listen on both versions write ::ffff:203.0.113.7.
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _place(record: object) -> Place | None:
    if not isinstance(record, dict):
        return None
    country = _code(record.get("country"))
    parts = record.get("subdivisions")
    region = _code(parts[0]) if isinstance(parts, list) and parts else None
    return Place(country, region) if country else None


def _code(part: object) -> str | None:
    code = part.get("iso_code") if isinstance(part, dict) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None
