"""A file of events, fed and decided again: what comes out is known beforehand, and every record is accounted for."""

import gzip
import json
from pathlib import Path

import pytest

from jobs import replay
from jobs.local import feed
from jobs.local.feed import Record, Survey
from jobs.wiring import Refusal
from jobs.wiring.settings import load
from schemas.events import PULSE_BODY, Kind
from schemas.formats import Format
from schemas.settings import Settings
from udfs.payloads.mapping import parts

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = parts(Format(about=""))
OTTO = parts(Format(about="", events="events", occurred_at="ts", user_id="$.session", kind=Kind.CLICK))
NOON = 1_767_268_800_000
ADA, EVE = "k0:11997fd1c46f666bb255ad6b", "k0:c76a4949479e036f59f0f22d"


def settings(*sets: str) -> Settings:
    return load(REPOSITORY, "local", {}, ["releases.store=.local/no-store", *sets]).settings


def line(user: str, at: int, **more: str) -> bytes:
    return json.dumps({"user_id": user, "kind": "click", "occurred_at": at, **more}).encode()


def test_a_line_without_a_readable_time_is_fed_at_the_time_of_the_one_before_it() -> None:
    timeless = b'{"user_id":"eve","kind":"click"}'
    assert feed.of_line(timeless, OURS, 4, before=NOON) == [Record(NOON, 2, b"eve", timeless)]
    assert feed.of_line(line("eve", -1), OURS, 4, before=NOON)[0].at == NOON
    assert feed.of_line(b"\xff", OURS, 4, before=NOON) == [Record(NOON, 0, None, b"\xff")]


def test_the_events_inside_a_line_become_records_of_their_own_with_the_lines_other_fields() -> None:
    session = b'{"session":7,"events":[{"aid":1,"ts":1000},{"aid":2,"ts":900}]}'
    assert feed.of_line(session, OTTO, 1, before=5) == [
        Record(1000, 0, b"7", b'{"session":7,"events":[{"aid":1,"ts":1000}]}'),
        Record(900, 0, b"7", b'{"session":7,"events":[{"aid":2,"ts":900}]}'),
    ]
    broken = b'{"session":7,"events":3}'
    assert feed.of_line(broken, OTTO, 1, before=5) == [Record(5, 0, None, broken)]


def test_records_of_an_unsorted_packed_file_come_in_the_order_of_time_and_stay_in_line_where_it_is_equal(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl.gz"
    lines = [line("a", 200), line("b", 100), line("c", 200), PULSE_BODY, line("d", 100)]
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    assert feed.survey(path, OURS) == Survey(lines=5, bare=1, records=4, in_order=False)
    fed = feed.records(path, OURS, 4, in_order=False)
    assert [(record.at, record.key) for record in fed] == [(100, b"b"), (100, b"d"), (200, b"a"), (200, b"c")]


def test_a_folder_is_read_file_by_file_rows_as_json_and_whole_files_whole(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{\n "user_id": "a"\n}\n')
    (tmp_path / "b.csv").write_bytes(b'user_id,item,note\r\nb,,"two\r\nlines, ""quoted"""\r\n')
    (tmp_path / "c.json").write_bytes(b'{"user_id":"c"}\n{"user_id":"d"}\n')
    (tmp_path / "SOURCE.md").write_bytes(b"where it comes from")
    assert list(feed.lines(tmp_path)) == [
        b'{\n "user_id": "a"\n}\n',
        b'{"user_id":"b","note":"two\\r\\nlines, \\"quoted\\""}',
        b'{"user_id":"c"}',
        b'{"user_id":"d"}',
    ]
    (tmp_path / "b.csv").write_bytes(b"user_id,item\nb\n")
    with pytest.raises(Refusal, match=r"b\.csv: cannot be read: line 2: 1 fields, but 2 names in the first row"):
        list(feed.lines(tmp_path))


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n" * 9)[:-4])
    with pytest.raises(Refusal, match=r"events\.jsonl\.gz: cannot be read"):
        feed.survey(path, OURS)


def test_a_session_begins_after_a_silence_longer_than_the_gap_not_after_one_as_long() -> None:
    assert replay.sessions([], 10) == 0
    assert replay.sessions([0, 10, 20], 10) == 1
    assert replay.sessions([0, 11, 22], 10) == 3


def test_a_replayed_file_gives_events_decisions_and_rejections_in_a_fixed_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    #   12:00:00   eve clicks, junk, ada clicks        12:00:02   ada clicks        12:45:00   ada clicks
    source = tmp_path / "events.jsonl"
    later = NOON + 45 * 60_000
    lines = [line("eve", NOON, item="i1"), b"junk", line("ada", NOON + 2_000), line("ada", NOON), line("ada", later)]
    source.write_bytes(b"".join(each + b"\n" for each in lines))
    out = tmp_path / "out"

    code = replay.main(settings(), ["--input", str(source), "--format", "trimtab", "--out", str(out)])

    assert code == 0
    assert capsys.readouterr().out.startswith(
        "5 records fed, 4 events, 0 duplicates, 1 rejected, 2 users, 3 sessions, 7 decisions"
    )
    events = [json.loads(each) for each in (out / "events.jsonl").read_text().splitlines()]
    assert [(each["user_id"], each["at"]) for each in events] == [
        (ADA, NOON),
        (ADA, NOON + 2_000),
        (ADA, later),
        (EVE, NOON),
    ]
    decisions = [json.loads(each) for each in (out / "decisions.jsonl").read_text().splitlines()]
    # Ada's second click falls into the same stretch of the refresh grid as her first. A silence is told a minute after
    # the stretch of half a minute in which somebody was there, and half an hour after it, while the file goes on.
    assert [(each["user_id"], each["seq"]) for each in decisions] == [
        (ADA, NOON + 1_000),
        (ADA, NOON + 90_000),
        (ADA, NOON + 1_830_000),
        (ADA, later + 1_000),
        (EVE, NOON + 1_000),
        (EVE, NOON + 90_000),
        (EVE, NOON + 1_830_000),
    ]
    assert [each["signals"].get("silence_s") for each in decisions[:4]] == [None, 88.0, 1828.0, None]
    [refused] = [json.loads(each) for each in (out / "rejected.jsonl").read_text().splitlines()]
    assert (refused["reason"], refused["at"], refused["partition"]) == ("not_json", NOON, 0)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["sorted_by_replay"]
    assert summary["rejected"] == {"not_json": 1}
    assert summary["cpu_s"] > 0


def test_who_was_never_spoken_against_is_in_a_segment_once_they_have_been_known_for_long_enough(tmp_path: Path) -> None:
    source = tmp_path / "events.jsonl"
    source.write_bytes(b"".join(line("ada", NOON + second * 1_000) + b"\n" for second in range(15)))
    out = tmp_path / "out"
    steady = 'segments.rules.steady={about="", enter="events > 0", leave="n_error > 0", for="10s"}'
    others = [f'segments.rules.{name}={{about="", enter="n_view < 0"}}' for name in settings().segments.rules]

    # A refresh this long asks for nothing between the first slice and the silence.
    everything = settings(steady, *others, "decide.refresh=10min", "quiet.pause=10s")
    assert replay.main(everything, ["--input", str(source), "--format", "trimtab", "--out", str(out)]) == 0

    decisions = [json.loads(each) for each in (out / "decisions.jsonl").read_text().splitlines()]
    found = [(each["seq"] - NOON, each.get("segment", "")) for each in decisions]
    assert found[:2] == [(1_000, ""), (10_000, "steady")]
