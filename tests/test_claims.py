"""The yardsticks of the claims measure what they say: who is a robot, what is found where."""

from base64 import b64encode
from pathlib import Path

import pytest
from msgspec import json

from jobs.local.feed import Record
from jobs.wiring import Refusal
from schemas.decisions import Guard
from schemas.events import Event, Kind
from tests.bench.stream import JUNK
from tests.bench.stream import Record as Sent
from tests.claims import caps
from tests.claims.caps import Plain, compared
from tests.claims.claim import settings
from tests.claims.edge_cases import Met, Outputs, not_the_earliest, promised, read
from tests.claims.hot_swap import in_time
from tests.claims.no_raw_ids import MARKS, extras, in_files, in_texts
from tests.claims.robots import Score, Truth, score, truths
from tests.claims.search import strings
from tests.claims.typed import typed
from udfs.cleaning.clean import Cleaner

NAMES = {"Grace Hopper", "203.0.113.9", "Zoë", "Al"}


def test_a_user_is_a_robot_where_most_of_their_events_are_labelled_so() -> None:
    lines = [b'{"user":"a","isRobot":%s}' % label for label in (b"true", b"false", b"true")]
    assert truths([*lines, b'{"user":"b","isRobot":true}', b'{"user":"b","isRobot":false}']) == {
        "a": Truth(events=3, robot=True),
        "b": Truth(events=2, robot=False),
    }


def test_flags_are_held_against_the_label_among_users_with_enough_events() -> None:
    known = {"fast": Truth(300, True), "slow": Truth(100, True), "few": Truth(2, True), "ada": Truth(150, False)}
    flagged = {"fast", "ada", "few"}
    assert score(flagged, known, 100) == Score(flagged=2, precision=0.5, recall=0.5, recall_of_events=0.75)
    assert score(flagged, known, 1) == Score(flagged=3, precision=0.6667, recall=0.6667, recall_of_events=0.7512)


def test_where_nobody_is_flagged_nothing_is_claimed() -> None:
    assert score(set(), {"ada": Truth(5, False)}, 1) == Score(0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("Grace Hopper", '{"page":"/u/Grace Hopper/talk"}'),
        ("Grace Hopper", '{"page":"/u/Grace%20Hopper"}'),
        ("Grace Hopper", '{"Grace Hopper":1}'),
        ("Zoë", r'{"detail":["by",{"x":"Zo\u00eb"}]}'),
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9", '{"detail":"from 203.0.113.9: refused"}'),
        ("Al", '{"account":"Al"}'),
    ],
)
def test_a_name_that_is_planted_in_a_record_is_found(name: str, record: str) -> None:
    assert in_texts(NAMES, strings(record)).names == {name}


def test_a_short_name_is_no_part_of_a_text_and_a_long_one_is_no_part_of_a_word() -> None:
    record = '{"a":"Al is short","b":"Grace Hoppers","c":"1203.0.113.90","d":"Also"}'
    assert in_texts(NAMES, strings(record)).names == set()


def test_a_name_that_is_planted_in_a_log_or_names_a_file_is_found() -> None:
    files = [(Path("job.log"), "INFO taken from Zoë.\n"), (Path("203.0.113.9.log"), "WARN nothing\n")]
    assert in_files(NAMES, files).names == {"Zoë", "203.0.113.9"}


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("before", ["", "x", "xy"])
def test_a_mark_is_found_within_a_word_and_in_base64(mark: str, before: str) -> None:
    hidden = b64encode(f"{before}{mark}17 and more".encode()).decode()
    assert in_texts([], [f"{before}{mark}17"]).marks == {mark}
    assert in_texts([], strings(json.encode({"body": hidden}))).marks == {mark}
    assert in_files([], [(Path("job.log"), f"cannot read {hidden}")]).marks == {mark}


def test_every_mark_stands_in_extra_records_that_are_let_in_and_in_such_that_are_refused() -> None:
    here = settings("clean.format=auto")
    cleaner = Cleaner.of(here, lambda _: "k0:someone")
    rows = [cleaner.row(extra.body, 0, 0, number) for number, extra in enumerate(extras())]
    refused = [extra for extra, row in zip(extras(), rows, strict=True) if row.user_id is None]
    let_in = [extra for extra, row in zip(extras(), rows, strict=True) if row.user_id is not None]
    assert (len(let_in), len(refused)) == (24, 17)
    for some in (let_in, refused):
        texts = [text for extra in some for text in strings(extra.body)]
        assert in_texts([], texts).marks == set(MARKS)


def row(user_id: str, event_id: str, *, at: int, sent_at: str = "2021-03-02 12:00:00.000") -> Record:
    fields = {
        "user_id": user_id,
        "event": "page_view",
        "event_name": "page_view",
        "event_id": event_id,
        "domain_userid": "d1",
        "collector_tstamp": "2021-03-02 12:00:00.000",
        "dvce_created_tstamp": "2021-03-02 11:00:00.000",
        "dvce_sent_tstamp": sent_at,
    }
    return Record(at, 0, b"d1", json.encode(fields))


def test_rows_are_counted_by_their_edge_case_with_copies_and_late_ones_apart() -> None:
    local = settings("clean.format=snowplow", "clean.duplicates=2s")
    fed = [
        row("dupe", "a", at=1_614_686_400_000),
        row("dupe", "a", at=1_614_686_401_999),
        row("dupe", "a", at=1_614_686_404_000),
        row("stitch - 1", "b", at=1_614_686_400_000, sent_at="2021-03-02 11:00:00.000"),
        row("stitch - 2", "", at=1_614_686_400_000),
    ]
    assert read(fed, local) == {
        "dupe": Met(3, {"late view": 2, "duplicate late view": 1}, 1),
        "stitch": Met(2, {"late view": 1, "view": 1}, 1),
    }


def test_a_copy_that_counts_although_the_other_was_earlier_is_named() -> None:
    def event(event_id: str, at: int) -> Event:
        return Event("k0:ada", at, Kind.VIEW, event_id)

    out = Outputs(
        events=[event("a", 5), event("b", 9)],
        duplicates=[event("a", 5), event("b", 8), event("c", 3)],
        rejected=[],
        decisions=[],
    )
    assert not_the_earliest(out) == ["b", "c"]


def test_a_table_of_edge_cases_is_read_to_its_end() -> None:
    page = (
        "text\n### The edge cases of `snowplow_web/events.csv.gz`\n\n"
        "| `odd: one` | 3 | late view, click 2 | 1 | 2 | 3 | 4 | because |\n"
        "### Next\n| `x` | 1 | view | 1 | 1 | 1 | 1 | none of these |\n"
    )
    assert promised(page) == {"odd: one": (Met(3, {"late view": 1, "click": 2}, 1), (2, 3, 4))}


MINUTE = 60_000
MIDNIGHT = 1_767_312_000_000


def seen(*events: tuple[int, str]) -> Plain:
    plain = Plain(settings())
    for number, (at, shown) in enumerate(events):
        plain.add(caps.Event(at, 0, "exposure" if shown else "view", shown, number))
    return plain


def test_a_session_begins_after_a_silence_and_is_cut_and_is_empty_once_it_is_long_over() -> None:
    start = MIDNIGHT + 300
    plain = seen(*((start + 25 * MINUTE * step, "") for step in range(6)), (start + 156 * MINUTE, ""))
    assert plain.session(MIDNIGHT + 1000) == start
    assert plain.session(MIDNIGHT + 101 * MINUTE) == start
    assert plain.session(MIDNIGHT + 126 * MINUTE) == MIDNIGHT + 120 * MINUTE
    assert plain.session(MIDNIGHT + 156 * MINUTE + 1000) == start + 156 * MINUTE
    assert plain.session(MIDNIGHT + 188 * MINUTE) == start + 156 * MINUTE
    assert plain.session(MIDNIGHT + 189 * MINUTE) == MIDNIGHT + 189 * MINUTE - 1000


def test_what_was_shown_is_counted_by_day_for_life_and_since_the_end_of_its_slice() -> None:
    reminder = "nudge/cart_reminder"
    plain = seen((MIDNIGHT - 500, reminder), (MIDNIGHT - 100, ""), (MIDNIGHT, ""), (MIDNIGHT + 5000, "nudge/welcome"))
    assert plain.guards("nudge", MIDNIGHT, 0) == [
        Guard("cap", 1, 2, held=False),
        Guard("cap", 1, 16, held=False),
        Guard("cooldown", 100, 600_000, held=True),
    ]
    assert plain.guards("nudge", MIDNIGHT + 1000, 0)[0] == Guard("cap", 0, 2, held=False)
    assert plain.guards("nudge", MIDNIGHT + 11 * MINUTE, 0)[1:] == [
        Guard("cap", 2, 16, held=False),
        Guard("cooldown", 655_000, 600_000, held=False),
    ]
    assert plain.guards("hero", MIDNIGHT, 0) == [Guard("cap", 0, 5, held=False), Guard("cap", 0, 20, held=False)]


def test_decisions_that_are_missing_new_repeated_or_different_are_counted() -> None:
    def line(seq: int, arm: str) -> bytes:
        return json.encode({"user_id": "k0:ada", "seq": seq, "arm": arm})

    made = [line(1, "a"), line(1, "a"), line(2, "a"), line(2, "b"), line(3, "a")]
    assert compared(made, [line(1, "a"), line(2, "a"), line(4, "a")]) == {
        "made": 5,
        "repeated": 2,
        "missing": 1,
        "unknown": 1,
        "different": 1,
    }


def test_a_stream_without_late_events_holds_no_junk_either() -> None:
    def sent(delay_ms: int) -> Sent:
        return Sent(MIDNIGHT, "ada", json.encode({"user_id": "ada", "occurred_at": MIDNIGHT - delay_ms}))

    assert list(in_time(iter([sent(0), Sent(MIDNIGHT, "eve", JUNK[1]), sent(80), sent(3_600_000)]))) == [
        sent(0),
        sent(80),
    ]


def test_a_claim_stops_where_a_command_fails_and_says_what_it_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'time.slice = "2s"' in " ".join(typed("config", sets=["time.slice=2s"]).split())
    assert "time.slice" in capsys.readouterr().out
    with pytest.raises(
        Refusal, match=r"^config: trimtab: --set: time\.slyce: unknown key; did you mean time\.slice\?$"
    ):
        typed("config", sets=["time.slyce=2s"])
