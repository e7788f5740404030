"""What was refused is judged by the format of today, and its part of a record is found, or left alone."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from jobs.wiring.settings import load
from schemas.rejects import Reason, Recovered, Rejected
from udfs.cleaning.recovery import Fate, Recovery, Verdict, pending, unfed
from udfs.cleaning.refusal import Place, explain
from udfs.payloads.mapping import reader, ways
from udfs.payloads.paths import shown

SETTINGS = load(Path(__file__).parents[2], "local", {}, []).settings
FORMATS = SETTINGS.formats
CLICK = b'{"user_id":"ada","kind":"click"}'


def judge(body: bytes | None, refused: Rejected, name: str = "trimtab", *, force: bool = False) -> Verdict:
    limits = replace(SETTINGS.clean, max_bytes=200)
    return Recovery(FORMATS[name], FORMATS, limits).verdict(body, refused, force=force)


def whole(reason: Reason = Reason.UNKNOWN_KIND) -> Rejected:
    return Rejected(reason, 5, "", partition=1, offset=7)


def part(number: int, path: str) -> Rejected:
    return Rejected(Reason.UNKNOWN_KIND, 5, path, partition=1, offset=7, part=number)


def test_what_is_an_event_today_is_ready_as_it_is() -> None:
    assert judge(CLICK, whole()) == Verdict(Fate.READY, CLICK)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b'{"user_id":"%s"}' % (b"a" * 200), "too_large: Expected at most 200 bytes, got 214"),
        (b"xyz", "not_json: JSON is malformed: invalid character (byte 0)"),
        (b'{"kind":"click"}', "missing_field at $.user_id: Object missing required field `user_id`"),
        (b'{"user_id":"a{","kind":"click"}', "unsafe_text at $.user_id: Expected no control character and no brace"),
        (b"[]", "wrong_length: Expected `array` of length >= 1"),
        (b"[5,6]", "not_object at $[0]: Expected `object`, got `int`"),
        (b"[" * 100, "not_json: Input data was truncated"),
    ],
)
def test_what_would_be_refused_again_says_why_and_goes_by_force(body: bytes | None, why: str) -> None:
    assert judge(body, whole()) == Verdict(Fate.REFUSED, why=why)
    assert judge(body, whole(), force=True) == Verdict(Fate.READY, body)


def test_a_record_of_several_events_is_let_in_for_one_of_them() -> None:
    body = b"[5," + CLICK + b"]"
    assert judge(body, whole()) == Verdict(Fate.READY, body)


def test_a_part_comes_alone_with_what_is_around_it() -> None:
    body = b'{"sent":1,"batch":[' + CLICK + b',{"user_id":"eve","kind":"view"}]}'
    alone = b'{"sent":1,"batch":[{"user_id":"eve","kind":"view"}]}'
    assert judge(body, part(1, "$.batch[1].kind")) == Verdict(Fate.READY, alone)


def test_a_part_that_would_be_refused_again_says_why_not_as_one_of_many() -> None:
    assert judge(b"[" + CLICK + b",5]", part(1, "$[1]")) == Verdict(
        Fate.REFUSED, why="not_object at $[0]: Expected `object`, got `int`"
    )


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (CLICK, part(1, "$.batch[1].kind")),
        (b"[" + CLICK + b"]", part(1, "$.batch[1].kind")),
        (b"[" + CLICK + b"]", part(1, "$.user_id")),
        (b"nonsense", part(0, "$[0]")),
        (None, part(0, "$[0]")),
    ],
)
def test_a_part_that_is_not_for_sure_the_same_is_not_even_fed_by_force(body: bytes | None, refused: Rejected) -> None:
    assert judge(body, refused, force=True) == Verdict(Fate.MOVED)


def test_an_element_that_was_of_no_known_format_comes_whole_though_it_holds_several_events_today() -> None:
    batch = b'{"batch":[{"type":"page","anonymousId":"a"},{"type":"page","anonymousId":"b"}]}'
    body = b"[" + CLICK + b"," + batch + b"," + CLICK + b"]"
    assert judge(body, part(1, "$[1]"), "auto") == Verdict(Fate.READY, b"[" + batch + b"]")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("trimtab", b'[{"user_id":"a","kind":"clck"},5,{"kind":"click"},{"user_id":"a{","kind":"click"},[]]'),
        ("segment", b'{"batch":[{"type":"track","event":"Z","anonymousId":"a"},{"type":"page"},7]}'),
        ("ga4", b'{"events":[{"name":"zzz"},{"name":"page_view"}]}'),
        ("auto", b'[{"x":1},{"batch":[{"type":"page"},{"type":"page"}]},{"user_id":"b","kind":"clck"}]'),
        ("auto", b'{"specversion":"1.0","data":[{"user_id":"b","kind":"clck"},{"kind":"click"}]}'),
        ("auto", b'[{"specversion":"1.0","data_base64":"?"},{"specversion":"1.0","data":"?"}]'),
    ],
)
def test_number_and_path_of_every_failure_lead_to_the_same_event(name: str, body: bytes) -> None:
    failures = reader(FORMATS[name], FORMATS)(body)
    assert isinstance(failures, list)
    found = ways(FORMATS[name], FORMATS)(body)
    assert len(found) == len(failures)
    for number, (failure, way) in enumerate(zip(failures, found, strict=True)):
        assert isinstance(failure, Exception)
        reason, path, _ = explain(failure)
        verdict = judge(body, Rejected(reason, 5, path, partition=1, offset=7, part=number), name, force=True)
        assert verdict.fate is Fate.READY
        assert verdict.body is not None
        (left,) = ways(FORMATS[name], FORMATS)(verdict.body)
        assert shown(left) == "".join("[0]" if type(step) is int else f".{step}" for step in way).join(("$", ""))


def test_of_the_refused_the_last_word_on_a_place_counts() -> None:
    first, then = whole(Reason.NOT_JSON), whole(Reason.UNKNOWN_KIND)
    assert pending([first, then], {Reason.NOT_JSON}) == {}
    assert pending([then, first, first], {Reason.NOT_JSON}) == {Place(5, 1, 7): first}


def test_what_was_fed_is_known_by_its_place_and_time() -> None:
    refused = pending([whole(Reason.NOT_JSON)], {Reason.NOT_JSON})
    assert unfed(refused, [Recovered(Reason.EMPTY, 5, 1, 7)]) == {}
    assert unfed(refused, [Recovered(Reason.EMPTY, 6, 1, 7), Recovered(Reason.EMPTY, 5, 0, 7)]) == refused
