"""What the main job believes and whom it lets go: consent, copies, lateness, robots, accounts, farewells."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis

from jobs import topics
from jobs.local.feed import collect
from jobs.local.stack import Stack
from jobs.wiring import wire
from jobs.wiring.settings import load
from schemas.events import PULSE_BODY
from schemas.reader import Reader, pseudonym
from tests.e2e import bounded

REPOSITORY = Path(__file__).resolve().parents[2]
KEY: Final = b"for-development-only"
ALL: Final = {"personalize": True, "learn": True, "measure": True}
CRAWLER: Final = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000

Records = list[dict[str, Any]]


def name(user: str) -> str:
    return pseudonym(user, KEY, "k0")


@dataclass
class Run:
    """What came out, by topic, and when it all began."""

    start: int
    records: Mapping[str, Records]
    redis: Any

    def of(self, topic: str, user: str) -> Records:
        """Give a person's records; of decisions those about what they did, not about their silence."""
        found = [record for record in self.records[topic] if record["user_id"] == name(user)]
        found = [record for record in found if "signals" not in record or record["signals"].get("events")]
        return sorted(found, key=lambda record: (record["at"], record.get("seq", 0)))

    def card(self, user: str) -> dict[str, Any] | None:
        value = self.redis.get(f"tt:{{{name(user)}}}:d")
        return None if value is None else json.loads(value)


def story(start: int) -> list[tuple[int, int, dict[str, Any]]]:
    """Say when which record is written, into which partition."""
    told: list[tuple[int, int, dict[str, Any]]] = []

    def does(user: str, at: int, *, partition: int = 0, kind: str = "click", **more: Any) -> None:
        body = {"user_id": user, "kind": kind, "item": "i1", "consent": ALL} | more
        told.append((start + at, partition, body))

    does("twice", 0, event_id="a")
    does("twice", 700, event_id="a", partition=1)
    does("twice", 1_400, event_id="b")
    does("twice", 300 * SECOND, event_id="a")
    does("tie", 0, event_id="t", partition=0, item="one")
    does("tie", 0, event_id="t", partition=2, item="two")
    does("slow", 5 * SECOND, occurred_at=start - HOUR)
    does("skewed", 5 * SECOND, occurred_at=start + HOUR, sent_at=start + HOUR + 2 * SECOND)
    does("ahead", 5 * SECOND, occurred_at=start + HOUR)
    does("silent", 0, consent={})
    does("silent", 10 * SECOND, consent={"personalize": False})
    does("counted", 0, event_id="c", consent={"measure": True})
    does("shy", 0, consent={"personalize": True, "measure": True})
    does("leaver", 0)
    does("leaver", 20 * SECOND)
    does("leaver", 40 * SECOND, kind="consent", consent={"personalize": False, "measure": True})
    does("leaver", 50 * SECOND, consent={"personalize": False, "measure": True})
    does("returner", 0, item="before")
    does("returner", 20 * SECOND, item="same slice")
    does("returner", 20 * SECOND + 100, kind="consent", consent={})
    does("returner", 20 * SECOND + 200, item="same slice")
    does("returner", 40 * SECOND, kind="view")
    does("crawler", 0, user_agent=CRAWLER)
    does("crawler", 10 * SECOND)
    for number in range(60):
        does("hasty", 10 * number)
    does("hasty", 10 * SECOND)
    does("member", 0)
    does("member", 10 * SECOND, kind="identify", account_id="member@home")
    does("member", 20 * SECOND)
    does("sleeper", 0, kind="dwell", dwell_ms=900_000, duration_ms=60_000)
    does("erased", 0)
    does("erased", 20 * SECOND)
    does("erased", 40 * SECOND)
    does("stayer", 0)
    does("stayer", 40 * SECOND)
    return sorted(told, key=lambda each: each[0])


@pytest.fixture(scope="module")
def run(scratch: Path, jars: Path) -> Iterator[Run]:
    # Of its own: what others wrote would be read as well.
    with Stack(scratch / "trust", jars=jars) as stack:
        yield played(stack)


def played(stack: Stack) -> Run:
    sets = [f"kafka.bootstrap={stack.bootstrap}", f"redis.url={stack.redis_url}", "kafka.group=trust"]
    sets += ["consent.unknown=[]", "flink.rest_port=0", "flink.parallelism=2", "decide.valid=7d"]
    sets += ["flink.state=rocksdb"]
    sets += [f"flink.checkpoint_dir={REPOSITORY}/.local/tests/trust", "releases.store=.local/tests/no-store"]
    for topic in ("clicks", "control"):
        sets += [f"topics.{topic}.config={{'message.timestamp.type'='CreateTime', 'retention.ms'='-1'}}"]
    settings = load(REPOSITORY, "local", {}, sets).settings
    admin = wire.admin(settings.kafka.bootstrap, 10_000)
    topics.apply(admin, topics.difference(settings.topics, {}))

    start = (int(time.time() * 1000) - 2 * HOUR) // 10_000 * 10_000
    producer = wire.producer(stack.bootstrap)
    for at, partition, body in story(start):
        producer.produce("clicks", json.dumps(body).encode(), body["user_id"], partition=partition, timestamp=at)
    producer.produce("clicks", PULSE_BODY, partition=3, timestamp=start + MINUTE)
    asked = json.dumps({"action": "erase", "user_id": name("erased")}).encode()
    producer.produce("control", PULSE_BODY, timestamp=start)
    producer.produce("control", asked, name("erased"), timestamp=start + 30 * SECOND)
    assert producer.flush(30) == 0

    bounded.run("personalize", sets)
    out = ("events", "duplicates", "decisions", "rejected")
    records = {topic: [json.loads(taken.body or b"") for taken in collect(stack.bootstrap, topic)] for topic in out}
    return Run(start, records, Redis.from_url(stack.redis_url))


def test_an_event_whose_id_came_a_moment_ago_counts_once_and_goes_to_duplicates(run: Run) -> None:
    assert [(event["event_id"], event["at"] - run.start) for event in run.of("events", "twice")] == [
        ("a", 0),
        ("b", 1_400),
        ("a", 300_000),
    ]
    assert [event["at"] - run.start for event in run.of("duplicates", "twice")] == [700]
    assert [d["signals"]["session_clicks"] for d in run.of("decisions", "twice")] == [1, 3]


def test_of_two_copies_in_one_millisecond_one_counts(run: Run) -> None:
    assert [event["item"] for event in run.of("events", "tie")] == ["one"]
    assert [event["item"] for event in run.of("duplicates", "tie")] == ["two"]


def test_what_happened_an_hour_ago_is_late_and_decides_nothing(run: Run) -> None:
    (event,) = run.of("events", "slow")
    assert (event["late"], event["occurred_at"]) == (True, run.start - HOUR)
    assert run.of("decisions", "slow") == []


def test_a_clock_that_is_ahead_is_set_right_by_the_time_of_sending_else_held_back(run: Run) -> None:
    (skewed,), (ahead,) = run.of("events", "skewed"), run.of("events", "ahead")
    assert skewed["occurred_at"] == run.start + 3 * SECOND
    assert ahead["occurred_at"] == run.start + 5 * SECOND
    assert len(run.of("decisions", "skewed")) == len(run.of("decisions", "ahead")) == 1


def test_without_consent_there_is_an_event_of_nobody_and_no_decision_and_no_key(run: Run) -> None:
    assert run.of("events", "silent") == run.of("decisions", "silent") == []
    assert run.card("silent") is None
    of_nobody = [event for event in run.records["events"] if event["user_id"] == "anonymous"]
    assert {tuple(event["denied"]) for event in of_nobody} == {("personalize", "learn", "measure")}
    assert len(of_nobody) == 3  # two of the silent one's, and the returner's refusal


def test_who_agrees_to_be_counted_only_is_counted_under_their_name_but_not_decided(run: Run) -> None:
    (event,) = run.of("events", "counted")
    assert (event["event_id"], event["denied"]) == ("c", ["personalize", "learn"])
    assert run.of("decisions", "counted") == []
    assert run.card("counted") is None


def test_a_decision_for_one_who_will_not_be_learned_from_says_so(run: Run) -> None:
    (decision,) = run.of("decisions", "shy")
    assert decision["unfit"] == ["consent"]
    assert run.card("shy") is not None


def test_a_withdrawal_takes_the_card_away_and_ends_the_decisions_at_its_slice(run: Run) -> None:
    assert [decision["seq"] - run.start for decision in run.of("decisions", "leaver")] == [1_000, 21_000]
    assert run.card("leaver") is None
    assert len(run.of("events", "leaver")) == 4


def test_who_comes_back_after_a_withdrawal_is_new(run: Run) -> None:
    first, *_, last = run.of("decisions", "returner")
    assert first["opened"] == ["before"]
    assert last["seq"] == run.start + 41_000
    assert last["session"] == run.start + 40_000
    assert (last["signals"]["session_events"], last.get("clicked", ""), last["signals"].get("gap_s", 0)) == (1, "", 0)
    assert "opened" not in last
    assert run.card("returner") is not None


def test_a_declared_robot_gets_what_everybody_gets_and_teaches_nothing(run: Run) -> None:
    first, second = run.of("decisions", "crawler")
    for decision in (first, second):  # it is remembered, also where it does not say so again
        assert decision["unfit"] == ["robot"]
        assert decision["slots"]["hero"]["reason"] == "ROBOT"
        assert decision["slots"]["hero"]["arm"] == "plain"
    assert [event.get("robot", False) for event in run.of("events", "crawler")] == [True, False]


def test_who_clicks_faster_than_a_person_can_is_taken_for_a_robot(run: Run) -> None:
    assert {tuple(decision["unfit"]) for decision in run.of("decisions", "hasty")} == {("robot",)}


def test_an_account_that_a_person_names_is_known_from_then_on_and_has_their_card_too(run: Run) -> None:
    assert [decision.get("account", "") for decision in run.of("decisions", "member")] == [
        "",
        name("member@home"),
        name("member@home"),
    ]
    assert run.card("member@home") == run.card("member")


def test_a_dwell_longer_than_its_content_is_cut_and_not_learned_from(run: Run) -> None:
    (event,) = run.of("events", "sleeper")
    assert (event["dwell_ms"], event["clipped"]) == (60_000, ["dwell_ms"])
    (decision,) = run.of("decisions", "sleeper")
    assert (decision["signals"]["dwell_s"], decision["unfit"]) == (60.0, ["clipped"])


def test_an_erased_person_has_no_card_and_no_decision_from_then_on_and_others_do(run: Run) -> None:
    assert [decision["seq"] - run.start for decision in run.of("decisions", "erased")] == [1_000, 21_000]
    assert run.card("erased") is None
    assert [decision["seq"] - run.start for decision in run.of("decisions", "stayer")] == [1_000, 41_000]
    assert run.card("stayer") is not None


def test_a_pulse_renews_the_card_of_everybody_whom_a_page_shows_to_who_has_not_agreed(run: Run) -> None:
    run.redis.set("tt:meta", json.dumps({"v": 1, "seq": run.start, "acked": run.start}))
    read = Reader(run.redis, now=lambda: run.start + MINUTE + SECOND).read(name("silent"), default={})
    assert (read.source, read.seq) == ("default", run.start + MINUTE + SECOND)
    assert read.slots["hero"] == {
        "id": read.slots["hero"]["id"],
        "kind": "variant",
        "p": 1.0,
        "reason": "DEFAULT",
        "expires": run.start + MINUTE + SECOND + 7 * 24 * HOUR,
        "arm": "plain",
        "params": {"density": "high", "motion": "none"},
    }


def test_no_raw_name_is_in_any_output(run: Run) -> None:
    told = {body["user_id"] for _, _, body in story(run.start)} | {"member@home"}
    out = json.dumps(run.records)
    assert [user for user in sorted(told) if f'"{user}"' in out] == []
