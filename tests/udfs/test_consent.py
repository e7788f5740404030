"""What an event says of consent is taken at its word; what it does not say is a no, unless the settings know better."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert
from msgspec.structs import replace

from schemas.events import Kind, Purpose, RawEvent
from schemas.settings import Consent, Granted
from udfs.cleaning.consent import Consents

CONF = Path(__file__).parents[2] / "conf" / "base.toml"
CONSENT = convert(tomllib.loads(CONF.read_text())["consent"], Consent)
PERSONALIZE, LEARN, MEASURE = Purpose
ALL = (PERSONALIZE, LEARN, MEASURE)
# Purposes 3 to 9 and vendors 23, 37, 47, 48, 53, 65, 98; and purposes 2 and 10.
FIVE_SIX_EIGHT = "COrEAV4OrXx94ACABBENAHCIAD-AAAAAAACAAxAAAAgAIAwgAgAAAAEAgQAAAAAEAYQAQAAAACAAAABAAA"
TEN = "COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA"


def denied(said: dict[str, Any], **settings: Any) -> tuple[Purpose, ...]:
    return Consents(replace(CONSENT, **settings)).denied(RawEvent("ada", Kind.VIEW, **said))


@pytest.mark.parametrize(("unknown", "expected"), [([], ALL), ([MEASURE, LEARN], (PERSONALIZE,)), (list(ALL), ())])
def test_who_says_nothing_is_treated_as_the_settings_say(unknown: list[Purpose], expected: tuple[Purpose, ...]) -> None:
    assert denied({}, unknown=unknown) == expected
    assert denied({"gpc": False}, unknown=unknown) == expected


def test_a_consent_event_that_names_no_purpose_grants_none_whatever_is_said_of_the_unknown() -> None:
    consents = Consents(replace(CONSENT, unknown=list(ALL)))
    assert consents.denied(RawEvent("ada", Kind.CONSENT)) == ALL
    assert consents.denied(RawEvent("ada", Kind.CONSENT, gpc=False)) == ALL
    assert consents.denied(RawEvent("ada", Kind.CONSENT, consent={"measure": True})) == (PERSONALIZE, LEARN)


def test_a_category_grants_every_purpose_that_names_it() -> None:
    assert denied({"consent": {"analytics": True}}) == (PERSONALIZE,)
    assert denied({"consent": {"functional": True, "statistics": True}}) == (LEARN,)
    assert denied({"consent": {"personalize": True, "learn": True, "measure": True}}) == ()


@pytest.mark.parametrize(
    "category", ["Site Performance", "site_performance", "SITE-PERFORMANCE", " site -performance "]
)
def test_a_category_may_be_spelled_in_any_case_and_with_any_sign_between(category: str) -> None:
    purposes = CONSENT.purposes | {"measure": Granted(["site-performance"], [8])}
    assert denied({"consent": {category: True}}, purposes=purposes) == (PERSONALIZE, LEARN)


def test_a_purpose_that_a_table_does_not_name_is_not_granted_whatever_is_said_of_the_unknown() -> None:
    for consent in ({}, {"advertising": True}, {"advertising": False}):
        assert denied({"consent": consent}, unknown=list(ALL)) == ALL


def test_of_two_categories_of_one_purpose_a_single_yes_is_enough() -> None:
    for consent in ({"functional": True, "preferences": False}, {"preferences": False, "functional": True}):
        assert denied({"consent": consent}) == (LEARN, MEASURE)


def test_a_consent_string_grants_a_purpose_whose_numbers_it_all_holds() -> None:
    assert denied({"tcf": FIVE_SIX_EIGHT}) == (LEARN,)
    assert denied({"tcf": TEN}) == (PERSONALIZE, MEASURE)
    six_and_ten = CONSENT.purposes | {"personalize": Granted([], [6, 10])}
    assert PERSONALIZE in denied({"tcf": FIVE_SIX_EIGHT}, purposes=six_and_ten)


def test_a_purpose_without_numbers_is_granted_by_no_consent_string() -> None:
    without = CONSENT.purposes | {"measure": Granted(["measure"], [])}
    assert denied({"tcf": FIVE_SIX_EIGHT}, purposes=without) == (LEARN, MEASURE)


def test_the_vendor_of_the_settings_must_be_agreed_to_as_well() -> None:
    assert denied({"tcf": FIVE_SIX_EIGHT}, tcf_vendor=98) == (LEARN,)
    assert denied({"tcf": FIVE_SIX_EIGHT}, tcf_vendor=99) == ALL


def test_the_string_speaks_only_where_the_table_is_silent() -> None:
    assert denied({"consent": {"measure": False}, "tcf": FIVE_SIX_EIGHT}) == (LEARN, MEASURE)
    assert denied({"consent": {"measure": True}, "tcf": TEN}) == (PERSONALIZE,)
    assert denied({"consent": {}, "tcf": FIVE_SIX_EIGHT}) == (LEARN,)


@pytest.mark.parametrize("text", ["", "nonsense", "BObdrPUOevsguAfDqFENCNAAAAAmeAAA", "\ud800", "C" * 4096])
def test_a_string_that_cannot_be_read_grants_nothing(text: str) -> None:
    assert denied({"tcf": text}, unknown=list(ALL)) == ALL
    assert denied({"tcf": text, "consent": {"learn": True}}, unknown=list(ALL)) == (PERSONALIZE, MEASURE)


def test_global_privacy_control_takes_away_whatever_else_was_said() -> None:
    everything = {"consent": {"personalize": True, "learn": True, "measure": True}, "tcf": FIVE_SIX_EIGHT, "gpc": True}
    assert denied(everything) == (PERSONALIZE, LEARN)
    assert denied(everything, gpc_denies=[]) == ()
    assert denied({"gpc": True}, unknown=list(ALL)) == (PERSONALIZE, LEARN)
    assert denied(everything | {"gpc": False}) == ()


def test_the_same_answer_is_the_same_object() -> None:
    consents = Consents(CONSENT)
    said = [RawEvent("ada", Kind.VIEW), RawEvent("eve", Kind.CLICK, consent={"x": True})]
    assert consents.denied(said[0]) is consents.denied(said[1])
