"""Whatever bytes arrive, each record leaves as an event, a pulse or a rejection that says why."""

import json
from typing import Any

import numpy as np
import pytest
from msgspec import convert

from schemas.events import CODE, PULSE_BODY, Kind
from schemas.formats import Format
from schemas.rejects import Reason
from schemas.settings import Clean
from udfs.clean import PULSE, Cleaner, Row, unpacked

OURS = Format(about="our own JSON", events="batch")
KEY = b"for-development-only"
ADA = "k0:11997fd1c46f666bb255ad6b"


def cleaner(form: Format = OURS) -> Cleaner:
    return Cleaner(form, Clean(format="trimtab", max_bytes=1000, kept_bytes=16), KEY, "k0", {"hero": 2})


def read(body: bytes | None) -> Row:
    return cleaner().row(body, 1_767_225_600_123, 3, 42)


def refused(body: bytes | None) -> tuple[str, str]:
    row = read(body)
    assert row.code == -1
    assert row.user_id is None
    record: dict[str, Any] = json.loads(row.record or "")
    return record["reason"], record.get("path", "")


def test_a_click_keeps_what_it_says_under_a_pseudonym() -> None:
    row = read(b'{"user_id":"ada","kind":"click","item":"a91","unknown":[1]}')
    assert row[:6] == (ADA, CODE[Kind.CLICK], 0, 0, -1, "01767225600123a91")
    assert json.loads(row.record or "") == {
        "v": 1,
        "user_id": ADA,
        "at": 1767225600123,
        "kind": "click",
        "item": "a91",
    }


def test_dwell_scroll_and_the_lane_of_a_capped_slot_travel_in_narrow_columns() -> None:
    assert read(b'{"user_id":"ada","kind":"dwell","dwell_ms":2500}')[:4] == (ADA, 5, 2500, 0)
    assert read(b'{"user_id":"ada","kind":"scroll","scroll":0.75}')[:4] == (ADA, 3, 0, 750)
    assert read(b'{"user_id":"ada","kind":"exposure","slot":"hero","shown":"story"}').lane == 2
    assert read(b'{"user_id":"ada","kind":"exposure","slot":"home_feed"}').lane == -1
    assert read(b'{"user_id":"ada","kind":"click","slot":"hero"}').lane == -1


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
    deep = Cleaner(OURS, Clean(format="trimtab", max_bytes=10**7, kept_bytes=0), KEY, "k0", {})
    row = deep.row(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"user_id":"ada","kind":"view"}', 0, 0, 0)
    assert json.loads(row.record or "")["reason"] == "too_deep"


def test_the_evidence_is_kept_in_base64_and_capped() -> None:
    record = json.loads(read(b"not json, but long enough to be cut").record or "")
    assert record["bytes"] == 35
    assert record["body"] == "bm90IGpzb24sIGJ1dCBsbw=="
    assert (record["partition"], record["offset"], record["at"]) == (3, 42, 1767225600123)


def test_a_bundle_gives_one_row_per_record_in_order() -> None:
    rows = cleaner().rows([PULSE_BODY, b"x", b'{"user_id":"ada","kind":"view"}'], np.arange(3), [0, 0, 0], [1, 2, 3])
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
    body = (
        b"""{"batch":[{"user_id":"ada","kind":"view"},{"user_id":"ada","kind":"click","item":"a91"},{"kind":"view"}]}"""
    )
    first = read(body)
    assert (first.user_id, first.code) == (ADA, 1)
    second, third = map(unpacked, first.others or [])
    assert (second.user_id, second.code, second.clicked, second.others) == (ADA, 2, "01767225600123a91", None)
    assert third.code == -1
    assert json.loads(third.record or "")["reason"] == "missing_field"
    assert json.loads(third.record or "")["path"] == "$.batch[2].user_id"


def test_a_record_of_no_events_is_refused() -> None:
    assert refused(b'{"batch":[]}')[0] == "wrong_length"
