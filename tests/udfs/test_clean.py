"""Whatever bytes arrive, each record leaves as an event, a pulse or a rejection that says why."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import convert
from msgspec.structs import replace

from jobs.wiring.settings import load
from schemas.durations import Millis
from schemas.events import CODE, PULSE_BODY, Kind
from schemas.formats import Format
from schemas.rejects import Reason
from schemas.settings import Exposures
from udfs.cleaning.clean import PULSE, Cleaner, Known, Row, unpacked
from udfs.cleaning.marks import NO_MOOD
from udfs.cleaning.pseudonym import pseudonymiser

OURS = Format(about="our own JSON", events="batch")
ADA = "k0:11997fd1c46f666bb255ad6b"
NOW = 1_767_225_600_123
ALL = b'"consent":{"personalize":true,"learn":true,"measure":true}'


def cleaner(form: Format = OURS, **changes: Any) -> Cleaner:
    """Give a cleaner that asks for consent, unless it is told otherwise."""
    settings = load(Path(), "local", {}, ["consent.unknown=[]"]).settings
    clean = replace(settings.clean, max_bytes=changes.pop("max_bytes", 1000), kept_bytes=16, **changes)
    counters = Exposures(["nudge", "hero", "hero/story", "feed"], ["feed"])
    return Cleaner.of(
        replace(settings, clean=clean, formats=settings.formats | {clean.format: form}, exposures=counters),
        pseudonymiser(b"for-development-only", "k0"),
    )


def read(body: bytes | None, **changes: Any) -> Row:
    return cleaner(**changes).row(body, NOW, 3, 42)


def consented(body: str, **changes: Any) -> Row:
    return read(b"{" + body.encode() + b"," + ALL + b"}", **changes)


def event(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row.record or "")
    return found


def refused(body: bytes | None) -> tuple[str, str]:
    row = read(body)
    assert row.code == -1
    assert row.user_id is None
    record: dict[str, Any] = json.loads(row.record or "")
    return record["reason"], record.get("path", "")


def test_a_click_keeps_what_it_says_under_a_pseudonym() -> None:
    row = consented('"user_id":"ada","kind":"click","item":"a91","unknown":[1]')
    assert (row.user_id, row.code, row.counts, row.clicked) == (ADA, CODE[Kind.CLICK], True, "01767225600123a91")
    assert (row.dwell_ms, row.scroll_permille, row.lane, row.event_key, row.stamp) == (0, 0, -1, 0, 0)
    assert (row.robot, row.learn, row.measure, row.clipped, row.account) == (False, True, True, False, None)
    assert event(row) == {
        "v": 1,
        "user_id": ADA,
        "at": 1767225600123,
        "kind": "click",
        "item": "a91",
    }


def test_dwell_scroll_and_what_an_exposure_counts_for_travel_in_narrow_columns() -> None:
    assert consented('"user_id":"ada","kind":"dwell","dwell_ms":2500').dwell_ms == 2500
    assert consented('"user_id":"ada","kind":"scroll","scroll":0.75').scroll_permille == 750
    story = consented('"user_id":"ada","kind":"exposure","slot":"hero","shown":"story"')
    plain = consented('"user_id":"ada","kind":"exposure","slot":"hero","shown":"plain"')
    feed = consented('"user_id":"ada","kind":"exposure","slot":"feed"')
    # The slot's count and the arm's lie in one packed number, the second and the third of it.
    assert (story.lane, story.mark) == (0, (1 << 20) + (1 << 40))
    assert (plain.lane, plain.mark) == (0, 1 << 20)
    assert (feed.lane, feed.mark) == (1, 1)
    assert consented('"user_id":"ada","kind":"exposure","slot":"home_feed"').lane == -1
    assert consented('"user_id":"ada","kind":"click","slot":"hero"').lane == -1


def test_without_consent_an_event_is_of_nobody_and_counts_for_nobody() -> None:
    row = read(b'{"user_id":"ada","kind":"click","event_id":"e1","account_id":"ada@home","decision_id":"d.hero"}')
    assert (row.user_id, row.counts, row.learn, row.measure, row.account) == ("anonymous", False, False, False, None)
    assert event(row) == {
        "v": 1,
        "user_id": "anonymous",
        "at": NOW,
        "kind": "click",
        "denied": ["personalize", "learn", "measure"],
    }


def test_the_items_that_are_opened_or_shown_by_a_counted_list_travel_together() -> None:
    assert consented('"user_id":"ada","kind":"click","item":"a91"').met == "+a91"
    shown = '"user_id":"ada","kind":"exposure","slot":"%s","shown":"a91","items":["a91","b\\t2"]'
    assert consented(shown.replace("\\\\", "\\") % "feed").code == -1  # a tab would break what parts the items
    seen = '"user_id":"ada","kind":"exposure","slot":"%s","shown":"a91","items":["a91","b02"]'
    assert (consented(seen % "feed").met, consented(seen % "hero").met) == ("-a91\t-b02", None)
    assert consented('"user_id":"ada","kind":"exposure","slot":"feed","shown":"a91"').met == "-a91"
    assert consented('"user_id":"ada","kind":"view","item":"a91"').met is None


def test_each_purpose_is_asked_for_by_itself() -> None:
    row = read(b'{"user_id":"ada","kind":"click","consent":{"measure":true}}')
    assert (row.user_id, row.counts, row.learn, row.measure) == (ADA, False, False, True)
    row = read(b'{"user_id":"ada","kind":"click","event_id":"e1","consent":{"personalize":true}}')
    assert (row.user_id, row.counts, row.learn, row.measure) == (ADA, True, False, False)
    assert (event(row)["user_id"], "event_id" in event(row)) == ("anonymous", False)


def test_a_consent_event_that_grants_no_personalising_is_a_farewell_that_needs_a_name() -> None:
    row = read(b'{"user_id":"ada","kind":"consent","consent":{"personalize":false}}')
    assert (row.user_id, row.code, row.counts) == (ADA, 99, True)
    assert event(row)["user_id"] == "anonymous"
    assert consented('"user_id":"ada","kind":"consent"').code == CODE[Kind.CONSENT]


def test_a_late_event_is_flagged_and_does_not_count_but_a_late_farewell_does() -> None:
    long_ago = NOW - 1_800_001
    row = consented(f'"user_id":"ada","kind":"click","occurred_at":{long_ago}')
    assert (row.counts, event(row)["late"], event(row)["occurred_at"]) == (False, True, long_ago)
    row = consented(f'"user_id":"ada","kind":"click","occurred_at":{long_ago + 1}')
    assert (row.counts, "late" in event(row)) == (True, False)
    row = read(f'{{"user_id":"ada","kind":"consent","consent":{{}},"occurred_at":{long_ago}}}'.encode())
    assert (row.counts, row.code) == (True, 99)


def test_copies_share_their_key_and_the_first_record_has_the_greatest_stamp() -> None:
    body = b'{"user_id":"ada","kind":"click","event_id":"e1"}'
    rows = [cleaner().row(body, NOW, partition, offset) for partition, offset in ((0, 7), (0, 8), (1, 0))]
    assert len({row.event_key for row in rows}) == 1
    assert sorted(rows, key=lambda row: -row.stamp) == rows
    assert cleaner().row(body, NOW + 1, 0, 9).stamp > rows[0].stamp
    assert read(body.replace(b"ada", b"eve")).event_key != rows[0].event_key
    assert read(body, duplicates=Millis(0)).event_key == 0


def test_the_address_and_the_user_agent_stay_behind_and_what_they_say_comes_along() -> None:
    row = consented(
        '"user_id":"ada","kind":"view","ip":"198.51.100.7","language":"de-AT","country":"AT","time_zone":"Europe/Vienna",'
        '"user_agent":"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"'
    )
    assert (row.robot, event(row)["robot"], event(row)["language"], event(row)["country"]) == (True, True, "de", "AT")
    assert event(row)["hour"] == 1
    assert "198.51" not in (row.record or "")
    assert "Googlebot" not in (row.record or "")


def test_only_properties_that_are_listed_are_kept() -> None:
    body = '"user_id":"ada","kind":"view","properties":{"plan":"pro","email":"ada@example.com"}'
    assert "properties" not in event(consented(body))
    assert event(consented(body, properties=["plan"]))["properties"] == {"plan": "pro"}


def test_an_account_travels_under_a_pseudonym_unless_it_is_the_person_already() -> None:
    row = consented('"user_id":"eve","kind":"identify","account_id":"ada"')
    assert (row.account, event(row)["account"]) == (f"01767225600123{ADA}", ADA)
    assert consented('"user_id":"ada","kind":"identify","account_id":"ada"').account is None


def test_a_pulse_is_no_event_of_anybody() -> None:
    assert read(PULSE_BODY) == PULSE


@pytest.mark.parametrize(
    ("body", "reason", "path"),
    [
        (None, Reason.EMPTY, ""),
        (b"", Reason.EMPTY, ""),
        (b'{"user_id":"ada","kind":"view","page":"' + b"x" * 1000 + b'"}', Reason.TOO_LARGE, ""),
        (b'{"user_id":"a\xff","kind":"view"}', Reason.NOT_UTF8, ""),
        (rb'{"user_id":"\ud800","kind":"view"}', Reason.NOT_UTF8, ""),
        (b"not json", Reason.NOT_JSON, ""),
        (b'{"user_id":"ada","kind":"scroll","scroll":NaN}', Reason.NOT_JSON, ""),
        (b'{"user_id":"a\x00","kind":"view"}', Reason.NOT_JSON, ""),
        (b"[1]", Reason.NOT_OBJECT, "$[0]"),
        (b"[]", Reason.WRONG_LENGTH, ""),
        (b'"view"', Reason.NOT_OBJECT, "$"),
        (b'{"kind":"view"}', Reason.MISSING_FIELD, "$.user_id"),
        (b'{"user_id":7,"kind":"view"}', Reason.WRONG_TYPE, "$.user_id"),
        (b'{"user_id":"ada","kind":"dwell","dwell_ms":"long"}', Reason.WRONG_TYPE, "$.dwell_ms"),
        (b'{"user_id":"ada","kind":"dwell","dwell_ms":-1}', Reason.OUT_OF_RANGE, "$.dwell_ms"),
        (b'{"user_id":"ada","kind":"scroll","scroll":1e999}', Reason.OUT_OF_RANGE, "$.scroll"),
        (b'{"user_id":"","kind":"view"}', Reason.WRONG_LENGTH, "$.user_id"),
        (b'{"user_id":"' + b"x" * 300 + b'","kind":"view"}', Reason.WRONG_LENGTH, "$.user_id"),
        (b'{"user_id":"ada","kind":"teleport"}', Reason.UNKNOWN_KIND, "$.kind"),
        (b'{"user_id":"a}{b","kind":"view"}', Reason.UNSAFE_TEXT, "$.user_id"),
        (rb'{"user_id":"a\u0000b","kind":"view"}', Reason.UNSAFE_TEXT, "$.user_id"),
        (rb'{"user_id":"ada","kind":"view","item":"a\nb"}', Reason.UNSAFE_TEXT, "$.item"),
    ],
)
def test_what_is_not_an_event_is_refused_with_reason_and_place(body: bytes, reason: Reason, path: str) -> None:
    assert refused(body) == (reason.value, path)


def test_nesting_beyond_all_measure_is_refused_not_raised() -> None:
    row = cleaner(max_bytes=10**7).row(
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"user_id":"ada","kind":"view"}', 0, 0, 0
    )
    assert json.loads(row.record or "")["reason"] == "too_deep"


def test_the_evidence_is_kept_in_base64_and_capped() -> None:
    record = json.loads(read(b"not json, but long enough to be cut").record or "")
    assert record["bytes"] == 35
    assert record["body"] == "bm90IGpzb24sIGJ1dCBsbw=="
    assert (record["partition"], record["offset"], record["at"]) == (3, 42, 1767225600123)


def test_a_bundle_gives_one_row_per_record_in_order() -> None:
    rows = cleaner().rows([PULSE_BODY, b"x", b'{"user_id":"ada","kind":"view"}'], np.arange(3), [0, 0, 0], [1, 2, 3])
    assert rows[0] == PULSE
    assert [row.code for row in rows] == [0, -1, 1]


def test_a_declared_format_reads_another_trackers_words() -> None:
    otto = convert(
        {
            "about": "OTTO",
            "user_id": "session",
            "kinds": [{"path": "type", "words": {"clicks": "click", "carts": "cart"}}],
            "item": "aid",
        },
        Format,
    )
    row = cleaner(otto).row(b'{"session":0,"aid":1517085,"ts":1659304800025,"type":"clicks"}', 7, 0, 0)
    assert (row.code, row.clicked) == (2, "000000000000071517085")
    odd = cleaner(otto).row(b'{"session":0,"aid":1,"type":"wishes"}', 7, 0, 0)
    assert json.loads(odd.record or "")["reason"] == "unknown_kind"
    nobody = cleaner(otto).row(b'{"aid":1,"type":"clicks"}', 7, 0, 0)
    assert json.loads(nobody.record or "")["path"] == "$.session"


def test_a_batch_gives_its_first_event_and_the_others_packed_in_order() -> None:
    first = read(
        b'{"batch":[{"user_id":"ada","kind":"view",' + ALL + b'},{"user_id":"ada","kind":"click","item":"a91",'
        b'"event_id":"e1",' + ALL + b'},{"kind":"view"}]}'
    )
    assert (first.user_id, first.code) == (ADA, 1)
    second, third = map(unpacked, first.others or [])
    assert (second.user_id, second.code, second.clicked, second.others) == (ADA, 2, "01767225600123a91", None)
    assert second.event_key != 0
    assert third.code == -1
    refusal = json.loads(third.record or "")
    assert (refusal["reason"], refusal["path"], refusal["part"]) == ("missing_field", "$.batch[2].user_id", 2)


def test_a_record_of_no_events_is_refused() -> None:
    assert refused(b'{"batch":[]}')[0] == "wrong_length"


def test_a_page_never_names_the_person_who_reads_it() -> None:
    row = consented('"user_id":"raw 1","kind":"view","page":"/u/raw%201/of/raw 1/raw 11"')
    assert event(row)["page"] == "/u/*/of/*/raw 11"


def test_a_refusal_quotes_what_helps_and_no_address() -> None:
    kinds = (("zoom", "'zoom'"), ("ada@example.com", "'*'"), ("198.51.100.7", "'*'"))
    for kind, shown in kinds:
        record = json.loads(read(f'{{"user_id":"ada","kind":"{kind}"}}'.encode()).record or "")
        assert record["detail"] == f"Invalid enum value {shown}"


def test_an_edit_of_a_form_field_adds_to_the_count_that_its_name_falls_to() -> None:
    first, again, other = (
        consented(f'"user_id":"ada","kind":"form","item":"{item}"') for item in ("mail", "mail", "zip")
    )
    assert (first.lane, first.mark) == (again.lane, again.mark) == (10, 1)
    assert (other.lane, other.mark) == (10, 1 << 40)
    assert consented('"user_id":"ada","kind":"form"').lane == -1


def test_an_event_with_an_item_speaks_for_its_interest_unless_the_person_found_it_bad() -> None:
    def counted(said: str) -> tuple[int, int]:
        body = b'{"user_id":"ada",' + said.encode() + b"," + ALL + b"}"
        row = cleaner().row(body, NOW, 3, 42, Known(interests={"a91": 4}))
        return row.lane, row.mark

    assert counted('"kind":"view","item":"a91"') == (21, 1 << 20)
    assert counted('"kind":"purchase","item":"a91"') == (21, 20 << 20)
    assert counted('"kind":"rate","item":"a91","value":4') == (21, 4 << 20)
    assert counted('"kind":"rate","item":"a91","value":2') == (-1, 0)
    assert counted('"kind":"view","item":"gone"') == (-1, 0)
    assert counted('"kind":"hover","item":"a91"') == (-1, 0)


def test_ratings_and_sentiments_are_read_as_thousandths_between_bad_and_good() -> None:
    moods = [consented(f'"user_id":"ada","kind":"rate","value":{value}').mood for value in (1, 3, 5, 9)]
    assert moods == [-1000, 0, 1000, 1000]
    assert consented('"user_id":"ada","kind":"sentiment","value":-0.25').mood == -250
    assert consented('"user_id":"ada","kind":"rate"').mood == NO_MOOD
    assert consented('"user_id":"ada","kind":"purchase","value":4').mood == NO_MOOD


def test_one_event_in_each_stretch_shows_that_its_person_is_there() -> None:
    rows = cleaner()
    body = b'{"user_id":"ada","kind":"view",' + ALL + b"}"
    assert [rows.row(body, at, 0, 0).stride for at in (NOW, NOW + 100, NOW + 30_000)] == [True, False, True]
    assert not rows.row(b'{"user_id":"eve","kind":"view"}', NOW, 0, 0).stride


def test_surroundings_travel_with_their_time_so_that_the_latest_is_the_greatest() -> None:
    said = '"user_id":"ada","kind":"view","language":"de-AT","connection":"3g","country":"AT"'
    assert consented(said).context == "01767225600123|medium|de|AT||"
    assert consented('"user_id":"ada","kind":"view"').context is None
