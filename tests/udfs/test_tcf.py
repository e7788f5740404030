"""Consent strings of the IAB's framework: what they say is read, and what they do not say is never made up."""

import random
import string
from base64 import urlsafe_b64encode
from typing import NamedTuple

import pytest

from udfs.cleaning.tcf import Restriction, Tcf, Vendors, tcf

FIELD = {"version": 6, "created": 36, "updated": 36, "cmp": 12, "cmp_version": 12, "screen": 6, "language": 12} | {
    "list": 12,
    "policy": 6,
    "service": 1,
    "texts": 1,
    "features": 12,
}


class Written(NamedTuple):
    """What a string is to say; vendors are a highest number with those in it, or ranges."""

    purposes: tuple[int, ...] = ()
    interests: tuple[int, ...] = ()
    vendors: tuple[int, tuple[int, ...]] | list[tuple[int, int]] = (0, ())
    restrictions: tuple[tuple[int, int, list[tuple[int, int]]], ...] = ()
    created: int = 15_800_580_600
    version: int = 2


def number(value: int, width: int) -> str:
    return format(value, f"0{width}b")


def flags(numbers: tuple[int, ...], width: int) -> str:
    return "".join("1" if each in numbers else "0" for each in range(1, width + 1))


def entries(ranges: list[tuple[int, int]]) -> str:
    return number(len(ranges), 12) + "".join(
        "0" + number(first, 16) if first == last else "1" + number(first, 16) + number(last, 16)
        for first, last in ranges
    )


def encoded(written: Written) -> str:
    said = {"version": written.version, "created": written.created}
    bits = "".join(number(said.get(name, 0), width) for name, width in FIELD.items())
    assert len(bits) == 152
    bits += flags(written.purposes, 24) + flags(written.interests, 24) + "1" + number(0, 12)
    if isinstance(written.vendors, list):
        bits += number(max(last for _, last in written.vendors), 16) + "1" + entries(written.vendors)
    else:
        highest, those = written.vendors
        bits += number(highest, 16) + "0" + flags(those, highest)
    bits += number(0, 16) + "0" + number(len(written.restrictions), 12)
    bits += "".join(
        number(purpose, 6) + number(kind, 2) + entries(whom) for purpose, kind, whom in written.restrictions
    )
    bits += "0" * (-len(bits) % 8)
    return urlsafe_b64encode(int(bits, 2).to_bytes(len(bits) // 8)).decode().rstrip("=")


def read(text: str) -> Tcf:
    found = tcf(text)
    assert found is not None
    return found


# The strings that the IAB's own decoders are tested with.
@pytest.mark.parametrize(
    ("text", "created", "purposes", "interests", "vendors"),
    [
        ("COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA", 1_580_058_060_000, {2, 10}, {2, 9}, set()),
        (
            "COrEAV4OrXx94ACABBENAHCIAD-AAAAAAACAAxAAAAgAIAwgAgAAAAEAgQAAAAAEAYQAQAAAACAAAABAAA",
            1_575_485_580_000,
            {3, 4, 5, 6, 7, 8, 9},
            set(),
            {23, 37, 47, 48, 53, 65, 98},
        ),
    ],
)
def test_a_published_string_says_what_its_publisher_says_it_says(
    text: str, created: int, purposes: set[int], interests: set[int], vendors: set[int]
) -> None:
    for each in (text, f"{text}.IBAgAAAgAIAwgAgAAAAEAAAACA.QAagAQAgAIAwgA", f"{text}=="):
        found = read(each)
        assert (found.created, set(found.purposes), set(found.interests)) == (created, purposes, interests)
        assert {vendor for vendor in range(200) if found.vendors.holds(vendor)} == vendors


def test_what_was_written_is_read_back() -> None:
    found = read(encoded(Written((1, 5, 24), (7,), (9, (1, 9)))))
    assert found == Tcf(1_580_058_060_000, frozenset({1, 5, 24}), frozenset({7}), Vendors(9, 0b100000001), ())


def test_vendors_may_be_written_as_ranges() -> None:
    found = read(encoded(Written((5,), vendors=[(3, 3), (700, 755), (65535, 65535)])))
    assert [found.vendors.holds(each) for each in (0, 2, 3, 4, 699, 700, 755, 756, 65535)] == [
        *(False, False, True, False),
        *(False, True, True, False, True),
    ]


def test_all_of_the_purposes_must_be_agreed_to_and_the_vendor_too() -> None:
    found = read(encoded(Written((5, 6, 10), (8,), vendors=(755, (755,)))))
    assert found.grants([5, 6])
    assert found.grants([5, 6], 755)
    assert not found.grants([5, 6], 754)
    assert not found.grants([5, 7])
    assert not found.grants([8])  # only a legitimate interest
    assert not found.grants([])


@pytest.mark.parametrize(("kind", "granted"), [(0, False), (1, True), (2, False), (3, True)])
def test_a_publisher_may_bar_a_vendor_from_a_purpose(kind: int, granted: bool) -> None:
    found = read(encoded(Written((5, 6), vendors=[(1, 900)], restrictions=((6, kind, [(9, 9), (700, 800)]),))))
    assert found.restrictions == (Restriction(6, kind, ((9, 9), (700, 800))),)
    assert found.grants([5, 6], 755) is granted
    assert found.grants([5], 755)
    assert found.grants([5, 6], 10)
    assert found.grants([5, 6])


def test_a_string_that_ends_early_says_nothing_wherever_it_ends() -> None:
    text = encoded(Written((5,), vendors=[(1, 900)], restrictions=((6, 0, [(9, 9)]),)))
    assert tcf(text) is not None
    for length in range(len(text) - 1):  # the last character but fills up the last byte
        assert tcf(text[:length]) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "=",
        "C",
        "BObdrPUOevsguAfDqFENCNAAAAAmeAAA",  # version 1
        encoded(Written((5, 6), version=3)),
        "COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAA!",
        " COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA",
        "COtybn4PA_zT4KjACBENAPCI\nAEBAAECAAIAAAAAAAAAA",
        "COtybn4PA=zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA",
        "\uff23\uff2ftybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA",
        "\ud800",
        "\x00",
        "1YNN",  # a United States privacy string
        "DBABMA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA",  # a GPP string
    ],
)
def test_what_is_no_string_of_version_2_says_nothing(text: str) -> None:
    assert tcf(text) is None


def test_no_text_raises() -> None:
    some = random.Random(8)
    base64 = string.ascii_letters + string.digits + "-_"
    whole = encoded(Written((5, 6), (7,), [(1, 9), (20, 20)], ((6, 0, [(9, 9)]),)))
    for _ in range(3000):
        alphabet = some.choice((base64, base64 + "+/=.", string.printable, "Aé\ud800\U0001f600C_"))
        tcf("".join(some.choices(alphabet, k=some.randrange(200))))
        tcf("C" + "".join(some.choices(base64, k=some.randrange(300))))
        place = some.randrange(len(whole))
        tcf(whole[:place] + some.choice(base64) + whole[place + 1 :])
    for long in ("C" * 4096, "_" * 4096, "C" + "_" * 4095, "." * 4096):
        tcf(long)
