"""A MaxMind database turns an address into a country and region, and into nothing finer."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import pytest

from jobs.wiring import Refusal
from jobs.wiring.geo import place_lookup
from udfs.cleaning.places import Place

LONDON: Final = {
    "country": {"iso_code": "GB", "names": {"en": "United Kingdom"}},
    "subdivisions": [{"iso_code": "ENG"}, {"iso_code": "WSM"}],
    "city": {"names": {"en": "London"}},
    "postal": {"code": "SW1A"},
    "location": {"time_zone": "Europe/London"},
}
NETWORKS: Final[dict[str, Any]] = {
    "203.0.113.0/25": LONDON,
    "203.0.113.128/26": {"country": {"iso_code": "FR"}},
    "203.0.113.192/26": {"registered_country": {"iso_code": "US"}, "country": {}, "subdivisions": []},
    "198.51.100.0/24": {"country": "GB", "subdivisions": {"iso_code": "ENG"}},
    "192.0.2.0/24": {"country": {"iso_code": "GB"}, "subdivisions": [{"iso_code": "10 Downing Street"}]},
    "2001:db8::/32": {"country": {"iso_code": "DE"}, "subdivisions": [{"iso_code": "BY"}]},
}
_STRING, _UINT16, _UINT32, _MAP, _UINT64, _ARRAY = 2, 5, 6, 7, 9, 11


def encoded(value: Any) -> bytes:
    """One value of the data section: MaxMind DB file format 2.0, "Output Data Section"."""
    match value:
        case str():
            kind, size, body = _STRING, len(value.encode()), value.encode()
        case (int() as kind, int() as number):
            body = number.to_bytes(8, "big").lstrip(b"\0")
            size = len(body)
        case dict():
            kind, size, body = _MAP, len(value), b"".join(encoded(key) + encoded(each) for key, each in value.items())
        case _:
            kind, size, body = _ARRAY, len(value), b"".join(map(encoded, value))
    first, rest = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return (bytes([kind << 5 | first]) if kind < 8 else bytes([first, kind - 7])) + rest + body


def database(networks: dict[str, Any], kind: str = "GeoLite2-City") -> bytes:
    """A whole file: a binary tree over the addresses' bits, the records it points to, what the file says of itself."""
    nodes: list[list[int | None]] = [[None, None]]
    data, offsets = b"", []
    for text, record in networks.items():
        network = ip_network(text)
        # Addresses of version 4 lie at ::/96.
        bits = f"{int(network.network_address):0128b}"[: network.prefixlen + (96 if network.version == 4 else 0)]
        node = 0
        for bit in map(int, bits[:-1]):
            if nodes[node][bit] is None:
                nodes.append([None, None])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit] or 0
        offsets.append(len(data))
        nodes[node][int(bits[-1])] = -len(offsets)
        data += encoded(record)
    count = len(nodes)

    def side(target: int | None) -> bytes:
        if target is None:
            return count.to_bytes(4, "big")
        return (target if target > 0 else count + 16 + offsets[-target - 1]).to_bytes(4, "big")

    about = {
        "binary_format_major_version": (_UINT16, 2),
        "binary_format_minor_version": (_UINT16, 0),
        "build_epoch": (_UINT64, 1_767_225_600),
        "database_type": kind,
        "description": {"en": "for tests"},
        "ip_version": (_UINT16, 6),
        "languages": ["en"],
        "node_count": (_UINT32, count),
        "record_size": (_UINT16, 32),
    }
    tree = b"".join(side(left) + side(right) for left, right in nodes)
    return tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + encoded(about)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "places.mmdb"
    path.write_bytes(database(NETWORKS))
    return path


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("203.0.113.7", Place("GB", "ENG")),
        ("::ffff:203.0.113.7", Place("GB", "ENG")),
        ("203.0.113.130", Place("FR")),
        ("2001:db8::1", Place("DE", "BY")),
        ("10.0.0.1", None),
    ],
)
def test_an_address_has_a_country_and_a_region_and_nothing_finer(file: Path, address: str, place: Place | None) -> None:
    assert place_lookup(str(file))(address) == place


def test_a_record_of_another_shape_has_no_place(file: Path) -> None:
    place = place_lookup(str(file))
    assert place("203.0.113.200") is None
    assert place("198.51.100.1") is None
    assert place("192.0.2.1") == Place("GB")


@pytest.mark.parametrize(
    "address",
    ["", " ", "unknown", "203.0.113.7 ", "203.0.113.7/32", "203.0.113.7:443", "203.0.113.7, 10.0.0.1", "203.0.113",
     "203.0.113.007", "3405803783", "0xcb.0.113.7", "1" * 256, "203.0.113.7\x00", "\ud800", "::1%lo", "localhost",
     "../../etc/passwd", "٢٠٣.0.113.7"],
)  # fmt: skip
def test_a_hostile_address_has_no_place(file: Path, address: str) -> None:
    assert place_lookup(str(file))(address) is None


def test_without_a_file_no_address_has_a_place() -> None:
    assert place_lookup("")("203.0.113.7") is None


def refusal(path: Path) -> str:
    with pytest.raises(Refusal) as caught:
        place_lookup(str(path))
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_a_missing_file_is_refused_by_the_name_of_its_setting(tmp_path: Path) -> None:
    path = tmp_path / "none.mmdb"
    assert refusal(path) == f"clean.geo_file: cannot read {path}: No such file or directory"
    assert refusal(tmp_path) == f"clean.geo_file: cannot read {tmp_path}: Is a directory"


def test_a_damaged_file_is_refused_by_the_name_of_its_setting(file: Path) -> None:
    whole = file.read_bytes()
    tree = whole.index(bytes(16))
    for damaged in (
        b"",
        b"no database",
        whole[:-40],
        whole[: len(whole) // 2],
        whole.replace(b"MaxMind.com", b"Maxmind.com"),
        b"\xff" * tree + whole[tree:],
    ):
        file.write_bytes(damaged)
        assert refusal(file).startswith(f"clean.geo_file: {file} is damaged or no MaxMind database: ")


def test_a_database_without_countries_is_refused(file: Path) -> None:
    file.write_bytes(database({"203.0.113.0/24": {"autonomous_system_number": (_UINT32, 64_496)}}, "GeoLite2-ASN"))
    assert refusal(file) == f'clean.geo_file: {file} is a "GeoLite2-ASN"; expected a country or city database'


def test_one_bad_spot_costs_an_event_its_country_and_no_more(file: Path) -> None:
    whole = file.read_bytes()
    # A pointer out of the file where the record of 203.0.113.128/26 begins.
    spot = whole.index(encoded({"country": {"iso_code": "FR"}}))
    file.write_bytes(whole[:spot] + b"\x38\xff\xff\xff\xff" + whole[spot + 5 :])
    place = place_lookup(str(file))
    assert place("203.0.113.130") is None
    assert place("203.0.113.7") == Place("GB", "ENG")
