"""Whatever is sent, by whom ever, leaves as an event that says the same, or as a rejection with a reason."""

import gzip
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from msgspec import inspect
from msgspec.structs import fields, replace

from jobs.wiring.cards import Cards
from jobs.wiring.settings import load
from schemas.events import ANONYMOUS, RawEvent
from schemas.formats import Format, Source
from schemas.reader import pseudonym
from schemas.rejects import MEANING, Reason
from schemas.settings import Settings
from udfs.cleaning.clean import Cleaner, Row, unpacked
from udfs.cleaning.properties import scrubbed
from udfs.cleaning.pseudonym import pseudonymiser
from udfs.payloads.fields import listed
from udfs.payloads.mapping import inherited
from udfs.payloads.units import MOMENTS, page

HOSTILE: Final = Path(__file__).resolve().parents[3] / "shared" / "data" / "hostile"
NOW: Final = 1_767_225_600_123
KEY: Final = re.compile(r"^tt:\{k\d+:[0-9a-f]{24}\}:d$")
MARK: Final = "mArKeD-"
LEARNING: Final = {Reason.TOO_LATE, Reason.UNREADABLE}
"""What another job says, see tests/e2e/test_learn.py."""

WRITES: Final = {Reason.WRITE_FAILED, Reason.WRITE_SKIPPED}
"""What no body leads to: see tests/e2e/test_cards.py."""

EVENT: Final = b'{"user_id":"ada","kind":"view"}'
ROW_FIELDS: Final = 131
LONGEST: Final = 65_536
"""Bytes of a body, which alone bound a text that has no bound of its own."""

Record = dict[str, Any]


class Sample(NamedTuple):
    """A record of a format in which nothing is wrong.

    Attributes:
        record: as small as can be.
        way: to its event.
    """

    record: Record
    way: tuple[str | int, ...] = ()


SAMPLES: Final = {
    "trimtab": Sample({"user_id": "ada", "kind": "exposure"}),
    "auto": Sample({"user_id": "ada", "kind": "exposure"}),
    "cloudevents": Sample({"specversion": "1.0", "data": {"user_id": "ada", "kind": "view"}}),
    "segment": Sample({"type": "track", "event": "Exposure", "anonymousId": "ada"}),
    "rudderstack": Sample({"type": "track", "event": "Exposure", "anonymousId": "ada", "channel": "web"}),
    "ga4": Sample({"client_id": "ada", "events": [{"name": "exposure"}]}, ("events", 0)),
    "snowplow": Sample(
        {"event": "page_ping", "collector_tstamp": "2020-07-03 10:15:00.123", "domain_userid": "ada"},
    ),
    "xdm": Sample(
        {
            "eventType": "decisioning.propositionDisplay",
            "timestamp": "2020-07-03T10:15:00Z",
            "identityMap": {"ECID": [{"id": "ada"}]},
        }
    ),
    "posthog": Sample({"event": "exposure", "distinct_id": "ada"}),
    "metarank": Sample({"event": "ranking", "timestamp": "1593771300123", "id": "r1", "user": "ada"}),
    "wikiticker": Sample({"user": "ada"}),
    "otto": Sample({"session": "ada", "events": [{"type": "clicks"}]}, ("events", 0)),
}


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(Path(), "local", {}, ["clean.properties=['plan']"]).settings


@cache
def cleaner(name: str) -> Cleaner:
    settings = load(Path(), "local", {}, ["clean.properties=['plan']"]).settings
    hashed = pseudonymiser(b"for-development-only", "k0")
    return Cleaner.of(replace(settings, clean=replace(settings.clean, format=name)), hashed)


def rows(body: bytes | None, name: str = "trimtab") -> list[Row]:
    """Read a body as the job does; a record of several events gives several rows."""
    first = cleaner(name).row(body, NOW, 3, 42)
    return [first, *map(unpacked, first.others or [])]


def said(row: Row) -> Record:
    found: Record = json.loads(row.record or "")
    return found


def verdict(body: bytes | None, name: str = "trimtab") -> str:
    """Say why a body was refused; "" if it was let in. Whatever else happens is an error."""
    row, *others = rows(body, name)
    for each in (row, *others):
        assert (each.code < 0) == ("reason" in said(each))
    return "" if row.code > 0 else str(Reason(said(row)["reason"]).value)


def put(record: Record, way: tuple[str | int, ...], path: str, value: Any) -> Record:
    """Give a copy of a record that holds a value at the end of a declared path."""
    copy: Record = json.loads(json.dumps(record))
    steps = re.findall(r"\[[^\]]+\]|'[^']+'|[^.\[\]']+", path.removeprefix("$."))
    if path.startswith("$.") or not way:
        return dict(_put(copy, steps, value))
    inner: Any = copy
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = _put(inner[way[-1]], steps, value)
    return copy


def _put(node: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if step.startswith("["):
        key, _, text = step[1:-1].partition("=")
        return [_put({key: text.removesuffix("*")}, rest, value)]
    if step == "*" or step.isdecimal():
        return [_put(None, rest, value)]
    held = dict(node) if isinstance(node, dict) else {}
    step = step.strip("'")
    return held | {step: _put(held.get(step), rest, value)}


def sources(form: Format, name: str) -> Iterator[Source]:
    """List the sources of one of our fields in a format; our own JSON says them by name."""
    if form.user_id is None and not form.holds:
        yield Source(path=name)
        return
    told = getattr(form, name)
    for each in told.values() if isinstance(told, dict) else [told] if told else []:
        yield from listed(each)


def said_in(form: Format) -> list[str]:
    """List every path at which a format looks for something."""
    names = [field.name for field in fields(RawEvent) if field.name != "kind"]
    paths = [source.path for name in names for source in sources(form, name) if source.path]
    for rule in form.kinds:
        paths += [rule.path] if isinstance(rule.path, str) else rule.path
    frame = [form.inside, form.packed, form.events, "batch", "kind", "user_id"]
    return sorted({path for path in (*paths, *frame) if path})


# Reasons


REASONS = [
    (Reason.EMPTY, None, "trimtab"),
    (Reason.EMPTY, b"", "snowplow"),
    (Reason.TOO_LARGE, EVENT + b" " * (65_537 - len(EVENT)), "trimtab"),
    (Reason.NOT_UTF8, b'{"user_id":"ad\xff","kind":"view"}', "trimtab"),
    (Reason.NOT_UTF8, rb'{"user_id":"ad\ud800","kind":"view"}', "trimtab"),
    (Reason.NOT_UTF8, b"\xc0\x80" + b"\t" * 130, "snowplow"),
    (Reason.NOT_JSON, b"view", "trimtab"),
    (Reason.NOT_JSON, b'{"user_id":"ada","kind":"scroll","scroll":NaN}', "trimtab"),
    (Reason.NOT_JSON, b"\0", "auto"),
    (Reason.TOO_DEEP, b'{"user_id":"ada","kind":"view","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "trimtab"),
    (Reason.TOO_DEEP, b"[" * 60_000, "segment"),
    (
        Reason.TOO_DEEP,
        json.dumps(SAMPLES["snowplow"].record | {"contexts": '{"data":' + "[" * 60_000}).encode(),
        "snowplow",
    ),
    (Reason.NOT_OBJECT, b"7", "trimtab"),
    (Reason.NOT_OBJECT, b"[[]]", "segment"),
    (Reason.MISSING_FIELD, b'{"kind":"view"}', "trimtab"),
    (Reason.MISSING_FIELD, b'{"type":"page","messageId":"m1"}', "segment"),
    (Reason.WRONG_TYPE, b'{"user_id":7,"kind":"view"}', "trimtab"),
    (Reason.WRONG_TYPE, b'{"user_id":"ada","kind":"view","occurred_at":1e308}', "trimtab"),
    (Reason.WRONG_TYPE, b'{"type":"page","anonymousId":"ada","timestamp":"0000-01-01T00:00:00Z"}', "segment"),
    (Reason.OUT_OF_RANGE, b'{"user_id":"ada","kind":"view","occurred_at":-1}', "trimtab"),
    (Reason.OUT_OF_RANGE, b'{"type":"page","anonymousId":"ada","timestamp":"9999-12-31T23:59:59Z"}', "segment"),
    (Reason.WRONG_LENGTH, b'{"user_id":"","kind":"view"}', "trimtab"),
    (Reason.WRONG_LENGTH, b"\t" * 128, "snowplow"),
    (Reason.UNKNOWN_KIND, b'{"user_id":"ada","kind":"teleport"}', "trimtab"),
    (Reason.UNKNOWN_KIND, b'{"client_id":"ada","events":[{"name":"teleport"}]}', "ga4"),
    (Reason.UNSAFE_TEXT, b'{"user_id":"a}{da","kind":"view"}', "trimtab"),
    (Reason.UNSAFE_TEXT, b"a\x0bb" + b"\t" * 130, "snowplow"),
    (Reason.UNKNOWN_FORMAT, b'{"vendor":"acme","distinctId":"ada","action":"view"}', "auto"),
]


@pytest.mark.parametrize(("reason", "body", "name"), REASONS, ids=lambda each: str(getattr(each, "value", "")) or None)
def test_each_reason_is_given_for_what_it_is_for(reason: Reason, body: bytes | None, name: str) -> None:
    assert verdict(body, name) == reason.value


def test_no_reason_is_without_a_body_that_leads_to_it_and_a_meaning() -> None:
    bodies = {reason for reason, _, _ in REASONS}
    assert bodies | WRITES | LEARNING == set(Reason) == MEANING.keys()
    assert not bodies & (WRITES | LEARNING)


def test_no_format_is_without_a_sample_that_is_let_in(settings: Settings) -> None:
    assert SAMPLES.keys() == settings.formats.keys()
    assert {
        name: verdict(json.dumps(sample.record).encode(), name) for name, sample in SAMPLES.items()
    } == dict.fromkeys(SAMPLES, "")


# JSON


class Case(NamedTuple):
    """A file of JSONTestSuite: its name, its bytes, and whether they are JSON."""

    name: str
    body: bytes
    valid: bool


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    path = HOSTILE / "json_parsing.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is absent; the shared data belong beside the repository")
    with gzip.open(path) as file:
        found = [json.loads(line) for line in file]
    return [Case(each["name"], b64decode(each["b64"]), each["expect"] == "accept") for each in found]


# Seen to be no object before it is seen to be no JSON, or not looked at.
NO_OBJECT_EITHER: Final = {
    "n_string_with_trailing_garbage.json": "not_object",
    "n_structure_close_unopened_array.json": "not_object",
    "n_structure_number_with_trailing_garbage.json": "not_object",
    "n_structure_no_data.json": "empty",
}

# JSON, but control characters, which would break keys and logs.
CONTROLLED: Final = {
    "y_string_allowed_escapes.json",
    "y_string_escaped_control_character.json",
    "y_string_null_escape.json",
    "y_string_uescaped_newline.json",
    "y_string_unescaped_char_delete.json",
    "y_string_with_del_character.json",
}


def test_a_body_that_is_no_json_is_said_to_be_none_and_one_that_is_only_lacks_an_event(cases: list[Case]) -> None:
    otherwise = {}
    for case in cases:
        found = verdict(case.body)
        assert found != ""
        if (found not in ("not_json", "not_utf8")) != case.valid:
            otherwise[case.name] = found
    assert otherwise == NO_OBJECT_EITHER


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_no_body_of_the_suite_is_an_event_of_any_format(name: str, cases: list[Case]) -> None:
    assert [case.name for case in cases if not verdict(case.body, name)] == []


@pytest.mark.parametrize("name", ["trimtab", "auto"])
@pytest.mark.parametrize(
    "around",
    [b'{"user_id":"ada","kind":"view","x":%b}', b'{"x":%b,"user_id":"ada","kind":"view"}'],
    ids=["end", "start"],
)
def test_in_a_field_nobody_knows_json_is_let_in_and_what_is_none_is_not(
    name: str, around: bytes, cases: list[Case]
) -> None:
    assert [case.name for case in cases if (verdict(around % case.body, name) == "") != case.valid] == []


@pytest.mark.parametrize("field", [field.name for field in fields(RawEvent)])
def test_in_a_field_we_know_what_is_no_json_is_refused_and_what_is_json_is_never_called_none(
    field: str, cases: list[Case]
) -> None:
    others = b"".join(
        b'"%b":%b,' % each for each in ((b"user_id", b'"ada"'), (b"kind", b'"view"')) if each[0] != field.encode()
    )
    for case in cases:
        found = verdict(b'{%b"%b":%b}' % (others, field.encode(), case.body))
        assert case.valid or found != "", case.name
        assert not case.valid or found not in ("not_json", "not_utf8"), case.name


def test_texts_that_are_json_are_refused_for_control_characters_alone(cases: list[Case]) -> None:
    texts = [case for case in cases if case.valid and case.name.startswith("y_string") and case.body.startswith(b"[")]
    found = {case.name: verdict(EVENT[:-1] + b',"items":' + case.body + b"}") for case in texts}
    assert {name for name, reason in found.items() if reason} == CONTROLLED
    assert set(found.values()) == {"", "unsafe_text"}


# Texts


@pytest.fixture(scope="module")
def naughty() -> list[str]:
    path = HOSTILE / "blns.json"
    if not path.exists():
        pytest.skip(f"{path} is absent; the shared data belong beside the repository")
    found: list[str] = json.loads(path.read_bytes())
    # Those of our own: what a list of strings for forms does not think of.
    return [*found, "k0:11997fd1c46f666bb255ad6b", "}:d", "{", "tt:{a}:d", "\x7f", "a\0b", "anonymous", " ", "x" * 300]


class Place(NamedTuple):
    """Somewhere in an event where a text may stand.

    Attributes:
        field: of the event.
        part: `` for the field itself, else what of the list or table.
        longest: characters that it may have.
        shortest: likewise.
    """

    field: str
    part: str
    longest: int
    shortest: int

    def value(self, text: str) -> Any:
        """Write the field."""
        return {"": text, "element": [text], "name": {text: True}, "answer": {"plan": text}}[self.part]


def places() -> Iterator[Place]:
    """Find every text of an event by its schema."""
    event = inspect.type_info(RawEvent)
    assert isinstance(event, inspect.StructType)
    for field in event.fields:
        for kind in options(field.type):
            if isinstance(kind, inspect.StrType):
                yield _place(field.name, "", kind)
            elif isinstance(kind, inspect.ListType):
                yield from (_place(field.name, "element", text) for text in texts_of(kind.item_type))
            elif isinstance(kind, inspect.DictType):
                yield from (_place(field.name, "name", text) for text in texts_of(kind.key_type))
                yield from (_place(field.name, "answer", text) for text in texts_of(kind.value_type))


def options(kind: inspect.Type) -> Iterator[inspect.Type]:
    """Give what a type may be, without what is said of it."""
    if isinstance(kind, inspect.UnionType):
        for each in kind.types:
            yield from options(each)
    elif isinstance(kind, inspect.Metadata):
        yield from options(kind.type)
    else:
        yield kind


def texts_of(kind: inspect.Type) -> list[inspect.StrType]:
    return [each for each in options(kind) if isinstance(each, inspect.StrType)]


def _place(field: str, part: str, text: inspect.StrType) -> Place:
    return Place(field, part, text.max_length or LONGEST, text.min_length or 0)


PLACES: Final = list(places())
CARDS: Final = Cards(load(Path(), "local", {}, []).settings.redis, lambda: 0.0)


def test_every_text_of_an_event_has_a_place_here_and_a_bound() -> None:
    assert [each.field for each in PLACES] == [
        "user_id",
        "event_id",
        "item",
        "page",
        "slot",
        "decision_id",
        "shown",
        "items",
        "account_id",
        "consent",
        "user_agent",
        "language",
        "country",
        "region",
        "time_zone",
        "connection",
        "tcf",
        "ip",
        "properties",
        "properties",
    ]
    # What is kept of properties has a bound of its own: see tests/udfs/test_properties.py.
    assert [(each.field, each.part) for each in PLACES if each.longest == LONGEST] == [("properties", "answer")]


def keys_hold(found: Row) -> bool:
    """Say whether nobody's key in Redis can be split; who has not agreed has none, and counts nowhere."""
    if found.code < 0:
        return found.user_id is None and found.account is None
    named = (found.user_id == ANONYMOUS and not found.counts) or KEY.match(CARDS.key(found.user_id or ""))
    # Behind its time.
    return bool(named) and (found.account is None or KEY.match(CARDS.key(found.account[14:])) is not None)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.field} {place.part}".strip())
def test_a_text_is_refused_for_its_length_braces_or_control_characters_and_else_says_the_same(
    place: Place, naughty: list[str]
) -> None:
    for text in naughty:
        record = {"user_id": "ada", "kind": "exposure", place.field: place.value(text)}
        [found] = rows(json.dumps(record).encode())
        breaks = any(ord(character) < 0x20 or character == "\x7f" for character in text)
        fits = place.shortest <= len(text) <= place.longest
        brace = place.field == "user_id" and ("{" in text or "}" in text)
        assert (found.code > 0) == (fits and not breaks and not brace), text
        assert keys_hold(found), text
        if found.code > 0:
            assert_says(said(found), place, text)


def assert_says(event: Record, place: Place, text: str) -> None:
    """Hold an event against the one text that was put into it."""
    if place.field in ("event_id", "item", "slot", "decision_id", "shown"):
        assert event[place.field] == text
    elif place.field == "page":
        assert event["page"] == (scrubbed(text) if text else "")
    elif place.field == "user_id":
        assert event["user_id"] == pseudonym(text, b"for-development-only", "k0")
    elif place.field == "account_id":
        assert event["account"] == pseudonym(text, b"for-development-only", "k0")
    elif place.field == "properties" and place.part == "answer":
        assert event.get("properties", {}) in ({"plan": text}, {})
    elif place.field in ("country", "region"):
        assert event.get(place.field) in (None, text.strip(), text.strip().upper())
    else:
        allowed = {"v", "user_id", "at", "kind", "denied", "device", "robot", "language", "hour", "connection"}
        assert event.keys() <= allowed
        assert "language" not in event or re.fullmatch("[a-z]{2,3}", event["language"])


@pytest.mark.parametrize("field", ["user_id", "account_id", "ip", "user_agent"])
@pytest.mark.parametrize("before", [True, False], ids=["begins", "ends"])
def test_who_somebody_is_and_where_they_come_from_is_in_nothing_that_comes_out(
    field: str, before: bool, naughty: list[str]
) -> None:
    for text in naughty:
        marked = MARK + text if before else text + MARK
        for kind in ("exposure", "teleport"):
            [found] = rows(json.dumps({"user_id": "ada", "kind": kind, field: marked}).encode())
            assert MARK not in repr(found), text
            assert keys_hold(found), text


@pytest.mark.parametrize("name", ["segment", "ga4"])
def test_naughty_texts_in_a_trackers_record_are_kept_or_refused(
    name: str, naughty: list[str], settings: Settings
) -> None:
    form, sample = inherited(settings.formats[name], settings.formats), SAMPLES[name]
    looked = let_in = 0
    for place in PLACES:
        for source in sources(form, place.field):
            # Where several sources say the same, only the one that is put there does.
            bare = {key: value for key, value in sample.record.items() if value != "ada" or place.field != "user_id"}
            for text in naughty:
                looked += 1
                hidden = place.field in ("user_id", "account_id", "ip", "user_agent")
                value = MARK + text if hidden else text
                body = put(bare, sample.way, source.path, place.value(value) if place.part != "element" else value)
                [found] = rows(json.dumps(body).encode(), name)
                let_in += found.code > 0
                assert keys_hold(found), (source.path, text)
                assert not hidden or MARK not in repr(found), (source.path, text)
                if found.code > 0 and place.field in ("event_id", "item", "slot", "decision_id", "shown"):
                    assert said(found).get(place.field, "") == text, (source.path, text)
                if found.code > 0 and place.field == "page":
                    path = page(text) if source.type == "url" and text else text
                    assert said(found).get("page", "") == (scrubbed(path) if path else ""), (source.path, text)
    assert looked > 20 * len(naughty)
    assert let_in > 0.8 * looked, let_in / looked


def test_a_naughty_kind_is_none(naughty: list[str]) -> None:
    for text in naughty:
        for name, record in (
            ("trimtab", {"user_id": "ada", "kind": text}),
            ("segment", {"type": text, "anonymousId": "ada"}),
            ("ga4", {"client_id": "ada", "events": [{"name": text}]}),
        ):
            assert verdict(json.dumps(record).encode(), name) in ("unknown_kind", "missing_field"), text


# Values that no field was made for


ODD: Final[list[Any]] = [
    None,
    True,
    -1,
    10**20,
    10**400,
    -(10**400),
    10**4000,
    1e308,
    -1e308,
    5e-324,
    -0.0,
    [],
    {},
    [[]],
    [{}],
    [None],
    {"": None},
    {"a": {"b": [1]}},
    "NaN",
    "Infinity",
    "1e999",
    "9" * 400,
    "1" * 5000,
    "\u0663",
    "{",
    "[1]",
    '{"a":',
    "[" * 10_000,
    "%ff%00",
]

TIMES: Final[list[Any]] = [
    "0000-01-01T00:00:00Z",
    "0000-00-00 00:00:00",
    "0001-01-01T00:00:00+23:59",
    "0001-01-01 00:00:00",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-23:59",
    "9999-12-31 23:59:59.999999",
    "9999-12-31T24:00:00Z",
    "2026-02-30T00:00:00Z",
    "-0001-01-01T00:00:00Z",
    "-1",
    "1e308",
    "",
    -1,
    -62_167_219_200_000,
    253_402_300_799_000,
    1e308,
    -1e308,
    10**30,
    10**400,
]


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_an_odd_value_wherever_a_format_looks_is_let_in_or_refused(name: str, settings: Settings) -> None:
    form, sample = inherited(settings.formats[name], settings.formats), SAMPLES[name]
    for path in said_in(form):
        for value in ODD:
            body = json.dumps(put(sample.record, sample.way, path, value)).encode()
            for reader in (name, "auto"):
                assert verdict(body, reader) in {"", *(reason.value for reason in Reason)}
                assert all(map(keys_hold, rows(body, reader))), (path, value)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_time_that_no_clock_shows_is_refused_or_held_within_the_records_own(name: str, settings: Settings) -> None:
    form, sample = inherited(settings.formats[name], settings.formats), SAMPLES[name]
    for moment in MOMENTS:
        for source in sources(form, moment):
            for value in TIMES:
                [found] = rows(json.dumps(put(sample.record, sample.way, source.path, value)).encode(), name)
                event = said(found)
                if found.code > 0:
                    assert 0 <= event.get("occurred_at", 0) <= NOW, (source.path, value)
                else:
                    assert event["reason"] in ("out_of_range", "wrong_type"), (source.path, value, event)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("0000-01-01T00:00:00Z", ("wrong_type", "$.timestamp")),
        ("9999-12-31T23:59:59Z", ("out_of_range", "$.timestamp")),
        ("1969-12-31T23:59:59Z", ("out_of_range", "$.timestamp")),
        ("2099-12-31T23:59:59Z", NOW),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_the_ends_of_time(when: str, expected: tuple[str, str] | int) -> None:
    [found] = rows(json.dumps(SAMPLES["segment"].record | {"timestamp": when}).encode(), "segment")
    event = said(found)
    assert (event["occurred_at"] if found.code > 0 else (event["reason"], event["path"])) == expected


# Bytes


BROKEN: Final = [b"\xff", b"\x80", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"]
SMALL: Final = b'{"user_id":"ada","kind":"view","x":"y"}'


@pytest.mark.parametrize("name", ["trimtab", "auto"])
@pytest.mark.parametrize("broken", BROKEN, ids=bytes.hex)
def test_bytes_that_are_no_text_are_refused_but_where_nobody_reads(name: str, broken: bytes) -> None:
    # What nobody reads is not decoded, and goes nowhere: inside the quotes of x and y.
    unread = [SMALL.index(b"x"), SMALL.index(b"x") + 1, SMALL.index(b'y"'), SMALL.index(b'y"') + 1]
    let_in = []
    for at in range(len(SMALL) + 1):
        [found] = rows(SMALL[:at] + broken + SMALL[at:], name)
        if found.code > 0:
            let_in.append(at)
            assert found == rows(SMALL, name)[0]
        else:
            assert said(found)["reason"] in ("not_json", "not_utf8", "missing_field")
    assert let_in == unread


@pytest.mark.parametrize("broken", BROKEN, ids=bytes.hex)
def test_bytes_that_are_no_text_spoil_a_row_wherever_they_stand(broken: bytes, settings: Settings) -> None:
    columns = settings.formats["snowplow"].columns
    cells = {"event": b"page_view", "domain_userid": b"ada", "collector_tstamp": b"2020-07-03 10:15:00.123"}
    row = [cells.get(column, b"") for column in columns]
    assert verdict(b"\t".join(row), "snowplow") == ""
    for at in range(len(row)):
        assert verdict(b"\t".join([*row[:at], row[at] + broken, *row[at + 1 :]]), "snowplow") == "not_utf8"


@pytest.mark.parametrize("name", ["trimtab", "auto", "segment", "ga4"])
def test_a_zero_byte_is_refused_wherever_it_stands(name: str) -> None:
    body = json.dumps(SAMPLES[name].record).encode()
    assert [at for at in range(len(body) + 1) if not verdict(body[:at] + b"\0" + body[at:], name)] == []


@pytest.mark.parametrize("name", ["snowplow", "auto"])
@pytest.mark.parametrize("count", [1, 2, 129, 130, 132, 133])
def test_a_row_with_another_number_of_fields_is_refused_by_its_length(name: str, count: int) -> None:
    if name == "auto" and count == 1:
        assert verdict(b"page_view", name) == "not_json"
        return
    [found] = rows(b"\t".join([b"page_view"] * count), name)
    assert (said(found)["reason"], said(found)["detail"]) == (
        "wrong_length",
        f"Expected a row of length {ROW_FIELDS}, got {count}",
    )


def test_a_body_may_be_as_long_as_is_allowed_and_no_byte_longer() -> None:
    assert verdict(EVENT + b" " * (65_536 - len(EVENT))) == ""
    [found] = rows(EVENT + b" " * (65_537 - len(EVENT)))
    assert (said(found)["reason"], said(found)["bytes"], "body" in said(found)) == ("too_large", 65_537, False)


@pytest.mark.parametrize("name", sorted(SAMPLES))
@pytest.mark.parametrize("opened", [b"[", b'{"a":', b'[{"batch":', b'{"data":', b'{"body":', b'{"message":'])
def test_what_is_nested_beyond_all_measure_is_refused_not_raised(name: str, opened: bytes) -> None:
    depth = 60_000 // len(opened)
    closed = opened.translate(bytes.maketrans(b"[{", b"]}"), b'":abcdefghijklmnopqrstuvwxyz')[::-1]
    for body in (opened * depth, opened * (depth // 2) + b"0" + closed * (depth // 2)):
        assert verdict(body, name) in ("too_deep", "wrong_length")


def test_envelopes_within_envelopes_are_refused() -> None:
    inner: Record = {"user_id": "ada", "kind": "view"}
    for _ in range(40):
        inner = {"specversion": "1.0", "data": inner}
    assert verdict(json.dumps(inner).encode(), "auto") == "unknown_format"
    packed = b64encode(json.dumps({"specversion": "1.0", "data_base64": "!!!"}).encode()).decode()
    for hidden in ("!!!", "", packed, b64encode(b"\xff\xfe").decode(), b64encode(b"\0").decode(), "7"):
        assert verdict(json.dumps({"specversion": "1.0", "data_base64": hidden}).encode(), "auto") != ""


def test_a_list_of_odd_things_spoils_no_event_in_it() -> None:
    odd: list[Any] = [
        None,
        7,
        "x",
        [],
        {},
        {"user_id": "a}b", "kind": "view"},
    ]
    found = rows(json.dumps([*odd, {"user_id": "ada", "kind": "view"}]).encode())
    assert [said(row).get("reason", "") for row in found] == [
        "not_object",
        "not_object",
        "not_object",
        "not_object",
        "missing_field",
        "unsafe_text",
        "",
    ]
    assert [said(row).get("part") for row in found[:-1]] == [0, 1, 2, 3, 4, 5]
