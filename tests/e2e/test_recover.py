"""Refused records come again after a fix, each once: whatever is asked, and whatever dies in between."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaException, Message, TopicPartition
from msgspec import json

from jobs import recover, topics
from jobs.local import feed
from jobs.local.stack import Stack
from jobs.recover import Feeder, Found
from jobs.wiring import Refusal, reading, wire
from jobs.wiring.settings import load
from schemas.rejects import Reason, Rejected
from udfs.cleaning.recovery import Fate, Verdict

REPOSITORY = Path(__file__).resolve().parents[2]
CLICK = b'{"user_id":"ada","kind":"click"}'
UNKNOWN = ["--reason", "unknown_kind", "--since", "1h"]
LONG_AGO = "2020-01-01T00:00:00Z"


class Fed(NamedTuple):
    """A record that was fed again."""

    header: str
    partition: int
    key: bytes | None
    body: bytes | None


class Log:
    """The topics of one test, told from those of the others by the places of its raw records."""

    def __init__(self, bootstrap: str, group: str) -> None:
        self.bootstrap = bootstrap
        self.group = group
        self.settings = load(
            REPOSITORY, "local", {"TRIMTAB__KAFKA__BOOTSTRAP": bootstrap}, [f"kafka.group={group}"]
        ).settings
        self.places: set[str] = set()

    def raw(self, *bodies: bytes | None, key: bytes = b"ada", partition: int = 2, headers: Any = None) -> list[Message]:
        """Write raw records, and return them as they lie."""
        lying: list[Message] = []
        producer = wire.producer(self.bootstrap)
        for body in bodies:
            producer.produce(
                "clicks",
                body,
                key,
                partition=partition,
                headers=headers or [],
                on_delivery=lambda _error, message: lying.append(message),
            )
        assert producer.flush(10) == 0
        return lying

    def refuse(self, raw: Sequence[Message], reason: Reason, path: str = "", part: int = -1) -> list[Rejected]:
        """Write what the job writes for raw records that it refuses."""
        refused = [
            Rejected(reason, each.timestamp()[1], path, "", *reading.spot_of(each), part=part, bytes=len(each))
            for each in raw
        ]
        self.write("rejected", *(json.encode(each) for each in refused))
        self.places |= {f"{each.partition}/{each.offset}/{each.part}" for each in refused}
        return refused

    def write(self, topic: str, *bodies: bytes) -> None:
        producer = wire.producer(self.bootstrap)
        for body in bodies:
            producer.produce(topic, body, partition=0)
        assert producer.flush(10) == 0

    def fed(self) -> list[Fed]:
        """Read what was fed of this test's records, in the order of the raw topic."""
        with reading.opened(self.bootstrap) as reader:
            raw = [(each, dict(each.headers() or {}).get("recovered")) for each in reader.since("clicks")]
        found = [
            Fed(header.decode(), reading.spot_of(each)[0], each.key(), each.value())
            for each, header in raw
            if isinstance(header, bytes)
        ]
        return [each for each in found if each.header in self.places]

    def recover(self, *arguments: str) -> int:
        return recover.main(self.settings, list(arguments))


@pytest.fixture(scope="module")
def bootstrap(scratch: Path, jars: Path) -> Iterator[str]:
    with Stack(scratch / "recover", jars=jars) as stack:
        declared = load(REPOSITORY, "local", stack.environment(), []).settings.topics
        topics.apply(wire.admin(stack.bootstrap, 1000), topics.difference(declared, {}))
        yield stack.bootstrap


@pytest.fixture
def log(bootstrap: str, request: pytest.FixtureRequest) -> Log:
    # What other tests have left is refused for reasons of their own, or was fed.
    return Log(bootstrap, request.node.name)


def test_a_refused_record_comes_again_with_its_key_and_headers_and_a_second_run_finds_nothing(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = log.raw(CLICK, headers=[("trace", b"7"), ("recovered", b"0/1/-1")])
    log.refuse(raw, Reason.UNKNOWN_KIND, "$.kind")
    partition, offset = reading.spot_of(raw[0])
    assert log.recover(*UNKNOWN) == 0
    assert log.recover(*UNKNOWN) == 0
    assert log.fed() == [Fed(f"2/{offset}/-1", partition, b"ada", CLICK)]
    said = capsys.readouterr()
    assert [line.split(", ")[-1] for line in said.out.splitlines()] == [
        "0 of them fed before", "1 fed", "1 of them fed before", "0 fed",
    ]  # fmt: skip
    assert said.err == ""
    with reading.opened(log.bootstrap) as reader:
        newest = [each for each in reader.since("clicks") if each.partition() == 2][-1]
        remembered = [each.key() for each in reader.since("recovered")]
    assert newest.headers() == [("trace", b"7"), ("recovered", f"2/{offset}/-1".encode())]
    assert remembered.count(f"2/{offset}/-1".encode()) == 1


def test_an_earlier_since_feeds_what_is_older_and_nothing_of_what_was_fed(log: Log) -> None:
    first, second = log.raw(CLICK, CLICK)
    log.refuse([first], Reason.NOT_JSON)
    time.sleep(0.01)
    between = datetime.now(UTC).isoformat()
    log.refuse([second], Reason.NOT_JSON)
    assert log.recover("--reason", "not_json", "--since", between) == 0
    assert [each.header for each in log.fed()] == [f"2/{second.offset()}/-1"]
    assert log.recover("--reason", "not_json", "--since", LONG_AGO) == 0
    assert [each.header for each in log.fed()] == [f"2/{second.offset()}/-1", f"2/{first.offset()}/-1"]


def test_what_a_restarted_job_refuses_twice_comes_again_once(log: Log) -> None:
    raw = log.raw(CLICK, CLICK, CLICK)
    log.refuse(raw, Reason.TOO_DEEP)
    log.refuse(raw[1:], Reason.TOO_DEEP)
    assert log.recover("--reason", "too_deep", "--since", "1h") == 0
    log.refuse(raw, Reason.TOO_DEEP)
    assert log.recover("--reason", "too_deep", "--since", "1h") == 0
    assert [each.header for each in log.fed()] == [f"2/{each.offset()}/-1" for each in raw]


def test_of_a_record_of_several_events_only_the_refused_ones_come_again(log: Log) -> None:
    body = (
        b'{"sent":7,"batch":[{"user_id":"ada","kind":"view"},{"user_id":"ada","kind":"click"},{"user_id":"eve"},'
        b'{"user_id":"ada","kind":"cart"}]}'
    )
    raw = log.raw(body)
    log.refuse(raw, Reason.WRONG_TYPE, "$.batch[1].item", part=1)
    log.refuse(raw, Reason.OUT_OF_RANGE, "$.batch[3].scroll", part=3)
    assert log.recover("--reason", "wrong_type", "--reason", "out_of_range", "--since", "1h") == 0
    at = raw[0].offset()
    assert log.fed() == [
        Fed(f"2/{at}/1", 2, b"ada", b'{"sent":7,"batch":[{"user_id":"ada","kind":"click"}]}'),
        Fed(f"2/{at}/3", 2, b"ada", b'{"sent":7,"batch":[{"user_id":"ada","kind":"cart"}]}'),
    ]


def test_a_part_that_is_no_longer_told_apart_is_left_and_said(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    raw = log.raw(CLICK)
    log.refuse(raw, Reason.NOT_OBJECT, "$.events[1]", part=1)
    assert log.recover("--reason", "not_object", "--since", "1h") == 1
    assert log.fed() == []
    assert capsys.readouterr().err == (
        "recover: 1 of 1 are parts of records that are now read otherwise, so which part each was is not known;"
        f" the first is 2/{raw[0].offset()}/1, not_object at $.events[1]\n"
    )


def test_what_would_be_refused_again_is_left_until_it_is_forced(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, none = log.raw(CLICK, b'{"user_id":"ada"}', None)
    log.refuse([good, bad], Reason.MISSING_FIELD, "$.kind")
    log.refuse([none], Reason.EMPTY)
    asked = ["--reason", "missing_field", "--reason", "empty", "--since", "1h"]
    assert log.recover(*asked, "--dry-run") == 1
    assert log.fed() == []
    assert capsys.readouterr().out.splitlines()[1:] == [
        "        2 missing_field  $.kind",
        "        1 empty",
        "1 to be fed",
    ]
    assert log.recover(*asked) == 1
    assert [each.header for each in log.fed()] == [f"2/{good.offset()}/-1"]
    assert capsys.readouterr().err == (
        "recover: 2 of 3 would be refused again: mend the format, or feed them with --force; the first is"
        f" 2/{bad.offset()}/-1, missing_field at $.kind: Object missing required field `kind`\n"
    )
    assert log.recover(*asked, "--force") == 0
    assert [each.header for each in log.fed()] == [f"2/{each.offset()}/-1" for each in (good, bad, none)]
    assert log.fed()[-1].body is None


def test_what_is_refused_again_after_it_was_fed_has_a_new_place_and_comes_again(log: Log) -> None:
    log.refuse(log.raw(CLICK), Reason.UNSAFE_TEXT)
    asked = ["--reason", "unsafe_text", "--since", "1h"]
    assert log.recover(*asked) == 0
    with reading.opened(log.bootstrap) as reader:
        again = [each for each in reader.since("clicks") if each.partition() == 2][-1]
    log.refuse([again], Reason.UNSAFE_TEXT)
    assert log.recover(*asked) == 0
    assert log.recover(*asked) == 0
    assert [each.body for each in log.fed()] == [CLICK, CLICK]


def test_what_the_raw_topic_has_deleted_is_counted_and_the_rest_comes_again(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    deleted, kept = log.raw(CLICK, CLICK, partition=3)
    log.refuse([deleted, kept], Reason.WRONG_LENGTH, "$.item")
    end = TopicPartition("clicks", 3, kept.offset() or 0)
    admin = wire.admin(log.bootstrap, 1000)
    admin.delete_records([end])[end].result()
    for _ in range(2):
        assert log.recover("--reason", "wrong_length", "--since", "1h") == 1
    assert [each.header for each in log.fed()] == [f"3/{kept.offset()}/-1"]
    gone = f"are no longer in the raw topic and are lost; the first is 3/{deleted.offset()}/-1, wrong_length at $.item"
    assert capsys.readouterr().err == f"recover: 1 of 2 {gone}\nrecover: 1 of 1 {gone}\n"


def test_a_record_of_a_topic_that_was_made_anew_is_not_taken_for_that_of_the_old_one(log: Log) -> None:
    (raw,) = log.raw(CLICK)
    stranger = Rejected(Reason.UNKNOWN_FORMAT, raw.timestamp()[1] - 1, partition=2, offset=raw.offset() or 0)
    log.write("rejected", json.encode(stranger))
    log.places.add(f"2/{raw.offset()}/-1")
    assert log.recover("--reason", "unknown_format", "--since", "1h") == 1
    assert log.fed() == []


def test_a_batch_that_a_dead_run_left_open_is_undone_and_comes_again_once(log: Log) -> None:
    (raw,) = log.raw(CLICK)
    (refused,) = log.refuse([raw], Reason.NOT_UTF8)
    dead = Feeder(log.bootstrap, log.group)._producer
    dead.begin_transaction()
    recover._write(dead, refused, Verdict(Fate.READY, CLICK), raw)
    assert dead.flush(10) == 0
    assert log.recover("--reason", "not_utf8", "--since", "1h") == 0
    assert [each.body for each in log.fed()] == [CLICK]
    with pytest.raises(KafkaException):
        dead.commit_transaction(10)
    taken = [
        each
        for each in feed.collect(log.bootstrap, "clicks")
        if each.partition == 2 and each.offset > reading.spot_of(raw)[1]
    ]
    assert [each.body for each in taken] == [CLICK]


def test_of_two_runs_at_once_the_later_one_is_the_one_that_feeds(log: Log) -> None:
    (raw,) = log.raw(CLICK)
    (refused,) = log.refuse([raw], Reason.NOT_UTF8)
    early = Feeder(log.bootstrap, log.group)
    assert log.recover("--reason", "not_utf8", "--since", "1h") == 0
    with pytest.raises(
        Refusal, match=r"^recover: the broker did not take a batch: .*; what was fed before it is remem"
    ):
        early.feed([Found(refused, Verdict(Fate.READY, CLICK), raw)])
    assert [each.body for each in log.fed()] == [CLICK]


def test_a_run_that_is_killed_midway_and_run_again_has_fed_every_record_once(log: Log) -> None:
    log.refuse(log.raw(*[CLICK] * 20_000, partition=1), Reason.TOO_LARGE)
    asked = ["--reason", "too_large", "--since", "1h"]
    command = [sys.executable, "-m", "jobs", "--set", f"kafka.group={log.group}", "recover", *asked]
    environ = {**os.environ, "TRIMTAB__KAFKA__BOOTSTRAP": log.bootstrap}
    with reading.opened(log.bootstrap) as reader, subprocess.Popen(command, cwd=REPOSITORY, env=environ) as process:
        written = reader._ends("clicks")[1][1]
        deadline = time.monotonic() + 30
        while reader._ends("clicks")[1][1] < written + 1_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -9
    assert 0 < len(log.fed()) < 20_000
    assert log.recover(*asked) == 0
    assert Counter(each.header for each in log.fed()) == dict.fromkeys(log.places, 1)


def test_garbage_among_the_refused_is_counted_and_stops_nothing(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.write("rejected", b"\xff", b'{"v":2,"reason":"not_json"}', b"")
    log.refuse(log.raw(CLICK), Reason.UNKNOWN_KIND)
    assert log.recover("--reason", "unknown_kind", "--since", "1h") == 1
    assert [each.body for each in log.fed()] == [CLICK]
    assert "recover: 3 records of the topic rejected cannot be read; the first is 0/" in capsys.readouterr().err


def test_garbage_in_the_ledger_stops_everything(log: Log) -> None:  # the last one: nothing is fed after it
    log.refuse(log.raw(CLICK), Reason.UNKNOWN_KIND)
    log.write("recovered", b"{}")
    with pytest.raises(
        Refusal, match=r"^recover: recovered: the record at 0/\d+ cannot be read, so what was fed before"
    ):
        log.recover(*UNKNOWN)
    assert log.fed() == []
