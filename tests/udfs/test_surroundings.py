"""What surrounds an event is derived from it alone; an event that says nothing costs nothing."""

from typing import Any

from schemas.events import Connection, Device, Kind, RawEvent
from udfs.cleaning.places import Place
from udfs.cleaning.surroundings import NOTHING, Surroundings

NEW_YEAR = 1_767_225_600_000  # 2026-01-01 00:00 UTC
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
PLACES = {"203.0.113.7": Place("GB", "ENG"), "203.0.113.8": Place("FR")}

surroundings = Surroundings(PLACES.get)


def said(**fields: Any) -> RawEvent:
    return RawEvent("ada", Kind.CLICK, **fields)


def test_an_event_that_says_nothing_gives_nothing() -> None:
    assert surroundings(said(item="a91"), NEW_YEAR) is NOTHING
    assert list(NOTHING) == [None, False, None, None, None, None, None]


def test_an_event_that_says_all_gives_all() -> None:
    where = {"country": "gb", "region": "SCT", "time_zone": "Europe/Athens"}
    event = said(user_agent=IPHONE, language="en-GB", connection="wifi", **where)
    assert surroundings(event, NEW_YEAR) == (Device.MOBILE, False, "en", "GB", "SCT", 2, Connection.FAST)


def test_each_field_is_derived_without_the_others() -> None:
    assert surroundings(said(user_agent="curl/8.5.0"), NEW_YEAR) == (Device.OTHER, True, None, None, None, None, None)
    assert surroundings(said(language="pt-BR"), NEW_YEAR) == (None, False, "pt", None, None, None, None)
    assert surroundings(said(country="DE"), NEW_YEAR) == (None, False, None, "DE", None, None, None)
    assert surroundings(said(region="BY"), NEW_YEAR) == (None, False, None, None, "BY", None, None)
    assert surroundings(said(time_zone="UTC"), NEW_YEAR) == (None, False, None, None, None, 0, None)
    assert surroundings(said(ip="203.0.113.7"), NEW_YEAR) == (None, False, None, "GB", "ENG", None, None)
    assert surroundings(said(connection="Slow-2G"), NEW_YEAR)[-1] is Connection.SLOW
    assert surroundings(said(connection="pigeon"), NEW_YEAR) == NOTHING


def test_the_trackers_own_word_wins_over_the_address() -> None:
    assert surroundings(said(country="DE", ip="203.0.113.7"), NEW_YEAR)[3:5] == ("DE", None)
    assert surroundings(said(region="WLS", ip="203.0.113.7"), NEW_YEAR)[3:5] == ("GB", "WLS")


def test_an_address_in_the_place_of_a_country_is_no_country() -> None:
    event = said(country="203.0.113.7", region="51.5007,-0.1246", ip="203.0.113.8")
    assert surroundings(event, NEW_YEAR)[3:5] == ("FR", None)


def test_an_address_nobody_knows_has_no_place() -> None:
    assert surroundings(said(ip="198.51.100.1"), NEW_YEAR) == NOTHING
    assert Surroundings()(said(ip="203.0.113.7"), NEW_YEAR) == NOTHING


def test_empty_fields_say_nothing() -> None:
    event = said(user_agent="", language="", country="", region="", time_zone="", ip="", connection="")
    assert surroundings(event, NEW_YEAR) == NOTHING
