"""Language, place and local hour: coarse, the same on every machine, and nothing for what cannot be told."""

from pathlib import Path

import pytest

from udfs.cleaning.places import ZONES, local_hour, nowhere, place_name, primary_language

NEW_YEAR = 1_767_225_600_000  # 2026-01-01 00:00 UTC
JULY = 1_782_864_000_000  # 2026-07-01 00:00 UTC


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en-GB", "en"),
        ("EN-us", "en"),
        ("en", "en"),
        ("pt_BR", "pt"),
        ("en_US.UTF-8", "en"),
        ("zh-Hant-TW", "zh"),
        ("haw-US", "haw"),
        ("de-CH,de;q=0.9,en;q=0.8", "de"),
        (" fr-FR", "fr"),
        ("*", None),
        ("", None),
        ("und", None),
        ("zxx", None),
        ("C", None),
        ("i-klingon", None),
        ("x-private", None),
        ("english", None),
        ("en1", None),
        ("12-34", None),
        ("日本", None),
        ("../../etc/passwd", None),
        ("\x00en", None),
        ("e" * 256, None),
    ],
)
def test_a_language_is_the_first_part_of_its_tag(tag: str, language: str | None) -> None:
    assert primary_language(tag) == language


@pytest.mark.parametrize(
    ("at", "zone", "hour"),
    [
        (NEW_YEAR, "UTC", 0),
        (NEW_YEAR, "Europe/Athens", 2),
        (JULY, "Europe/Athens", 3),
        (NEW_YEAR - 1, "Europe/Athens", 1),
        (NEW_YEAR, "America/New_York", 19),
        (JULY, "America/New_York", 20),
        (NEW_YEAR, "Asia/Kathmandu", 5),
        (NEW_YEAR + 15 * 60_000, "Asia/Kathmandu", 6),
        (NEW_YEAR, "Pacific/Kiritimati", 14),
        (NEW_YEAR, "US/Pacific", 16),
        (0, "UTC", 0),
        (-1, "UTC", 23),
        (4_102_444_800_000, "UTC", 0),
    ],
)
def test_the_hour_is_that_of_the_persons_clock(at: int, zone: str, hour: int) -> None:
    assert local_hour(at, zone) == hour


def test_the_hour_that_comes_twice_and_the_one_that_never_comes_are_told() -> None:
    # Athens: 2026-03-29 03:00 becomes 04:00, 2026-10-25 04:00 becomes 03:00, both at 01:00 UTC.
    spring, autumn, hour = 1_774_746_000_000, 1_792_890_000_000, 3_600_000
    assert [local_hour(spring + step * hour, "Europe/Athens") for step in (-1, 0)] == [2, 4]
    assert [local_hour(autumn + step * hour, "Europe/Athens") for step in (-1, 0, 1)] == [3, 3, 4]


@pytest.mark.parametrize(
    "zone",
    [
        "Atlantis/Capital",
        "",
        "europe/athens",
        "+02:00",
        "../../etc/passwd",
        "/etc/localtime",
        "zones",
        ".",
        "..",
        "\x00",
        "A" * 256,
    ],
)
def test_a_zone_that_is_none_has_no_hour_and_opens_no_file(zone: str) -> None:
    assert local_hour(NEW_YEAR, zone) is None


def test_the_machines_own_database_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Atlantis").write_bytes(b"TZif")
    monkeypatch.setenv("PYTHONTZPATH", str(tmp_path))
    assert local_hour(NEW_YEAR, "Atlantis") is None


def test_every_zone_of_the_database_has_an_hour() -> None:
    assert len(ZONES) > 590
    assert {local_hour(NEW_YEAR, zone) for zone in ZONES} <= set(range(24))


@pytest.mark.parametrize("at", [10**15 * 9, -(10**17), 2**63, -(2**63)])
def test_a_moment_no_calendar_has_has_no_hour(at: int) -> None:
    assert local_hour(at, "Europe/Athens") is None


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("GB", "GB"),
        ("gb", "GB"),
        (" de ", "DE"),
        ("ENG", "ENG"),
        ("United Kingdom", "United Kingdom"),
        ("Île-de-France", "Île-de-France"),
        ("FR-75", "FR-75"),
        ("Hawke's Bay", "Hawke's Bay"),
        ("日本", "日本"),
        ("", None),
        (" ", None),
        ("203.0.113.7", None),
        ("1.1.1.1", None),
        ("2001:db8::1", None),
        ("51.5007,-0.1246", None),
        ("ada@example.org", None),
        ("SW1A 2AA, 10 Downing Street", None),
        ("<b>", None),
        ("GB\n", "GB"),
        ("G\x00", None),
        ("x" * 65, None),
    ],
)
def test_what_is_finer_than_a_region_is_not_taken_for_one(said: str, name: str | None) -> None:
    assert place_name(said) == name


def test_nowhere_knows_no_address() -> None:
    assert nowhere("203.0.113.7") is None
