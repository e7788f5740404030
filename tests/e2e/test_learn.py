"""The learning job on a real broker, in Flink: each decision that was shown has one outcome, in time."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from jobs import topics
from jobs.local.feed import collect
from jobs.local.stack import Stack
from jobs.wiring import wire
from jobs.wiring.handover import JOB_ENVIRONMENT
from jobs.wiring.settings import load
from schemas.decisions import Decision, SlotCard, Unfit, Versions, Why
from schemas.events import Event, Kind
from schemas.signals import Signals
from tests.e2e import bounded

REPOSITORY = Path(__file__).resolve().parents[2]
SECOND = 1_000
MINUTE = 60 * SECOND
DISORDER = 5 * SECOND
WITHIN = 40 * SECOND
WINDOW = 2 * MINUTE
VALID = 70 * SECOND
"""As long a decision may be shown: decide.valid and redis.grace."""

SETS = (
    *("learn.window=2min", "learn.disorder=5s", "decide.valid=1min", "redis.grace=10s", "flink.rest_port=0"),
    *("slots.home_feed.reward={worth={click=1.0}, within='40s'}", "releases.store=.local/tests/no-store"),
    *("slots.hero.reward={worth={click=0.5, purchase=1.0}, most={click=2}, within='40s', by='person'}",),
    *("slots.nudge.reward={worth={click=1.0}, within='40s', by='person'}",),
    *(
        f"topics.{name}.config={{'message.timestamp.type'='CreateTime', 'retention.ms'='-1'}}"
        for name in ("events", "decisions")
    ),
)

Story = dict[str, Any]


def moment(number: int) -> str:
    return f"m{number:011d}"


@dataclass
class Log:
    """What lies in the topics, each record with its time."""

    start: int
    decisions: list[tuple[int, str, bytes]] = field(default_factory=list)
    events: list[tuple[int, str, bytes]] = field(default_factory=list)

    def decided(self, number: int, user: str, after: int, **more: Any) -> None:
        at, cards = self.start + after, {}
        for name in ("home_feed", "hero", "page"):
            one = {"items": ["i1", "i2"]} if name == "home_feed" else {"arm": "plain"}
            kind = "rerank" if name == "home_feed" else "variant"
            cards[name] = SlotCard(f"{moment(number)}.{name}", kind, 0.5, Why.SPLIT, at + MINUTE, **one)
        record = Decision(user, 1, at, at - 1, at + MINUTE, cards, Versions(), Signals(), at - 9, **more)
        self.decisions.append((at, user, msgspec.json.encode(record)))

    def did(self, user: str, kind: Kind, after: int, **more: Any) -> None:
        at = self.start + after
        self.events.append((at, user, msgspec.json.encode(Event(user, at, kind, **more))))

    def saw(self, user: str, number: int, slot: str, after: int, **more: Any) -> None:
        self.did(user, Kind.EXPOSURE, after, slot=slot, decision_id=f"{moment(number)}.{slot}", **more)

    def clicked(self, user: str, after: int, number: int = 0, slot: str = "home_feed", **more: Any) -> None:
        self.did(user, Kind.CLICK, after, decision_id=f"{moment(number)}.{slot}", **more)


def history(start: int) -> tuple[Log, dict[str, Story]]:  # noqa: PLR0915 - one story
    """Tell what some people were shown and did; and the outcomes that follow, by id."""
    log, expected = Log(start), dict[str, Story]()

    def outcome(  # noqa: PLR0917 - a line of the story
        number: int, slot: str, user: str, after: int, reward: float, hits: dict[str, int], **more: Any
    ) -> None:
        at = start + after
        told = {"user_id": user, "slot": slot, "at": at, "due": at + WINDOW, "reward": reward, "hits": hits}
        expected[f"{moment(number)}.{slot}"] = told | more

    # Ada sees two slots of one decision, one of them again and again, and clicks as late as counts.
    log.decided(1, "ada", 0)
    log.saw("ada", 1, "home_feed", 2 * SECOND, shown="i1", position=1)
    for again in (0, 1, 3 * SECOND, 30 * SECOND):
        log.saw("ada", 1, "home_feed", 2 * SECOND + again, shown="i2")
    log.clicked("ada", 2 * SECOND + WITHIN, 1, item="i2", event_id="a")
    log.saw("ada", 1, "hero", 20 * SECOND)
    outcome(1, "home_feed", "ada", 2 * SECOND, 1.0, {"click": 1}, gains={"i2": 1.0}, shown="i1", position=1)
    outcome(1, "hero", "ada", 20 * SECOND, 0.5, {"click": 1})

    # Bob clicks a millisecond too late, and what he does in the very millisecond of the exposure counts.
    log.decided(2, "bob", SECOND)
    log.saw("bob", 2, "home_feed", 4 * SECOND)
    log.clicked("bob", 4 * SECOND + WITHIN + 1, 2)
    log.decided(3, "bob", 2 * MINUTE)
    log.saw("bob", 3, "hero", 2 * MINUTE + SECOND)
    log.did("bob", Kind.PURCHASE, 2 * MINUTE + SECOND)
    outcome(2, "home_feed", "bob", 4 * SECOND, 0.0, {})
    outcome(3, "hero", "bob", 2 * MINUTE + SECOND, 1.0, {"purchase": 1})

    # Cleo was shown nothing; Dan's page waited as long as it may, and then too long.
    log.decided(4, "cleo", 5 * SECOND)
    log.clicked("cleo", 6 * SECOND, 4)
    log.decided(5, "dan", 0)
    log.saw("dan", 5, "home_feed", VALID)
    log.saw("dan", 5, "hero", VALID + 1)
    outcome(5, "home_feed", "dan", VALID, 0.0, {})

    # What was shown before it was decided was something else; nothing is known of what a card of everybody shows.
    log.decided(6, "eve", 3 * SECOND)
    log.saw("eve", 6, "home_feed", 3 * SECOND - 1)
    log.saw("eve", 777, "home_feed", 4 * SECOND)
    log.did("eve", Kind.EXPOSURE, 5 * SECOND, slot="hero")

    # Fay reads on her other device, where the card of her account lies: what she does there counts, and nothing else.
    log.decided(7, "fay", 0, account="fay-account")
    log.saw("fay-tablet", 7, "hero", 8 * SECOND)
    log.clicked("fay-tablet", 9 * SECOND, 999, event_id="f1")
    log.clicked("fay-tablet", 10 * SECOND, 999, event_id="f2")
    log.clicked("fay-tablet", 11 * SECOND, 999, event_id="f2")
    log.clicked("fay", 12 * SECOND, 999)
    log.did("fay", Kind.PURCHASE, 12 * SECOND)
    outcome(7, "hero", "fay", 8 * SECOND, 1.0, {"click": 2})

    # Nobody's exposure, a slot without a reward, a person who has agreed to nothing.
    log.decided(8, "gus", 0)
    log.saw("anonymous", 8, "hero", SECOND)
    log.saw("gus", 8, "page", SECOND)
    log.decided(9, "hal", 0, unfit=[Unfit.CONSENT], unmeasured=True)
    log.saw("hal", 9, "hero", SECOND)
    log.decided(10, "ida", 0, unfit=[Unfit.CONSENT])
    log.saw("ida", 10, "hero", SECOND)
    outcome(10, "hero", "ida", SECOND, 0.0, {}, unfit=["consent"])

    # A robot clicks, and a device that was long without a network.
    log.decided(11, "jim", 0)
    log.saw("jim", 11, "hero", SECOND)
    log.clicked("jim", 2 * SECOND, 11, robot=True)
    log.clicked("jim", 3 * SECOND, 11, late=True)
    outcome(11, "hero", "jim", SECOND, 0.0, {})

    # The topic ends when Kim's time is up, but not that of Leo, a millisecond later.
    end = 10 * MINUTE
    log.decided(12, "kim", end - WINDOW - DISORDER)
    log.saw("kim", 12, "hero", end - WINDOW - DISORDER)
    log.decided(13, "leo", end - WINDOW - DISORDER)
    log.saw("leo", 13, "hero", end - WINDOW - DISORDER + 1)
    outcome(12, "hero", "kim", end - WINDOW - DISORDER, 0.0, {})
    for second in range(0, end + 1, SECOND):
        log.did("zoe", Kind.VIEW, second)
    return log, expected


@pytest.fixture
def stack(scratch: Path, jars: Path) -> Iterator[Stack]:
    """Of its own: what others wrote would be read as well."""
    with Stack(scratch / "learn", jars=jars) as running:
        yield running


def prepared(stack: Stack) -> list[str]:
    sets = [f"kafka.bootstrap={stack.bootstrap}", f"redis.url={stack.redis_url}", *SETS]
    sets += [f"flink.checkpoint_dir={REPOSITORY}/.local/tests/learn"]
    settings = load(REPOSITORY, "local", {}, sets).settings
    topics.apply(wire.admin(stack.bootstrap, 10_000), topics.difference(settings.topics, {}))
    return sets


def write(stack: Stack, topic: str, records: Iterable[tuple[int, str, bytes]], rng: Random) -> None:
    """Write records almost in the order of time, wherever, some twice: as jobs do that fall and rise again."""
    copied = [each for record in records for each in [record] * (1 + (rng.random() < 0.3))]
    producer = wire.producer(stack.bootstrap)
    for at, user, body in sorted(copied, key=lambda record: record[0] + rng.randrange(DISORDER)):
        producer.produce(topic, body, user, partition=rng.randrange(4), timestamp=at)
    assert producer.flush(30) == 0


def told(stack: Stack, topic: str) -> list[Story]:
    return [json.loads(taken.body or b"") for taken in collect(stack.bootstrap, topic)]


def late_ones(stack: Stack) -> list[Story]:
    """Give what was refused for coming late; what only moves the clock is no decision, and refused too."""
    return [each for each in told(stack, "rejected") if each["reason"] == "too_late"]


def test_every_decision_that_was_shown_has_one_outcome_and_what_is_no_record_is_refused(stack: Stack) -> None:
    sets, rng = prepared(stack), Random(3)
    start = time.time_ns() // 1_000_000 - 60 * MINUTE
    log, expected = history(start)
    write(stack, "decisions", log.decisions, rng)
    write(stack, "events", log.events, rng)
    producer = wire.producer(stack.bootstrap)
    producer.produce("decisions", b"no decision", "ada", timestamp=start)
    torn, timeless = b'{"v":1,"user_id":"ada","at":1,"kind":"click"', b'{"v":1,"user_id":"ada","kind":"click"}'
    for body in (b"no event", torn, timeless):
        producer.produce("events", body, "ada", timestamp=start + 10 * SECOND)
    producer.produce("events", None, "ada", timestamp=start)
    assert producer.flush(30) == 0

    runs = []
    for parallelism in (1, 2):
        bounded.run("learn", [*sets, f"flink.parallelism={parallelism}"])
        runs.append(sorted(taken.body or b"" for taken in collect(stack.bootstrap, "outcomes")))
    # The topic keeps what the first run said: the second one said the same again.
    assert runs[1] == sorted(2 * runs[0])
    found = {outcome["id"]: outcome for outcome in map(json.loads, runs[0])}
    assert len(runs[0]) == len(found)
    assert found.keys() == expected.keys()
    for name, outcome in expected.items():
        said = {"hits": {}, "gains": {}, "shown": "", "position": 0, "unfit": [], "unmeasured": False} | outcome
        assert {key: found[name].get(key, said[key]) for key in said} == said
    times = {taken.at - json.loads(taken.body or b"")["at"] for taken in collect(stack.bootstrap, "outcomes")}
    assert times == {WINDOW}

    told_of = told(stack, "rejected")
    refused = [each for each in told_of if each["reason"] == "unreadable"]
    places = [each["detail"].split(", offset ")[0] for each in refused if ", offset " in each["detail"]]
    assert sorted(place.split(",")[0] for place in places) == ["decisions"] * 2 + ["events"] * 4
    # Of what Ada did, one record is JSON but no event: the outcome that hears of it complains, unless it came too late.
    words = [each["detail"] for each in refused if ", offset " not in each["detail"]]
    assert words + [each["reason"] for each in told_of if each["reason"] != "unreadable"] in (
        ["Object missing required field `at`"] * 2,
        ["Object missing required field `at`", "too_late"],
        ["too_late"] * 2,
    )


def test_what_comes_later_than_the_disorder_allows_is_refused_with_its_place_and_changes_nothing(stack: Stack) -> None:
    sets, rng = prepared(stack), Random(4)
    start = time.time_ns() // 1_000_000 - 60 * MINUTE
    log, expected = history(start)
    words = [word for each in sets for word in ("--set", each)]
    job = subprocess.Popen(
        [sys.executable, "-m", "jobs", *words, "--set", "time.idle=1min", "learn"],
        cwd=REPOSITORY,
        env=os.environ | JOB_ENVIRONMENT,
        process_group=0,
    )
    try:
        write(stack, "decisions", [*log.decisions, *ticks(start + 11 * MINUTE)], rng)
        write(stack, "events", [*log.events, *ticks(start + 11 * MINUTE)], rng)
        wait(lambda: len(told(stack, "outcomes")) >= len(expected), "outcomes")
        producer = wire.producer(stack.bootstrap)
        late = Log(start)
        late.decided(14, "max", MINUTE)
        late.saw("max", 14, "hero", MINUTE + SECOND)
        late.clicked("max", MINUTE + 2 * SECOND)
        late.did("max", Kind.VIEW, MINUTE)  # which no outcome would have asked for
        for topic, records in (("decisions", late.decisions), ("events", late.events)):
            for at, user, body in records:
                producer.produce(topic, body, user, partition=2, timestamp=at)
        assert producer.flush(30) == 0
        wait(lambda: len(late_ones(stack)) >= 3, "refusals")
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    assert sorted(
        (each["reason"], each["at"] - start, each["detail"].split(", offset")[0]) for each in late_ones(stack)
    ) == [
        ("too_late", MINUTE, "decisions, partition 2"),
        ("too_late", MINUTE + SECOND, "events, partition 2"),
        ("too_late", MINUTE + 2 * SECOND, "events, partition 2"),
    ]
    assert sorted(each["id"] for each in told(stack, "outcomes")) == sorted([*expected, f"{moment(13)}.hero"])


def ticks(at: int) -> list[tuple[int, str, bytes]]:
    """Let the clock of each partition run on, by records that no outcome asks for."""
    body = msgspec.json.encode(Event("zoe", at, Kind.VIEW, decision_id='"id":"no"'))
    return [(at + number, f"zoe-{number}", body) for number in range(200)]


def wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not until():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.5)
