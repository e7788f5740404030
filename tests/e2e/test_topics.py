"""Topics come out as declared and nothing is taken away; pulses reach every partition until they are told to stop."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.cimpl import NewPartitions, NewTopic
from msgspec.structs import replace

from jobs import pulse, topics
from jobs.local.stack import Stack
from jobs.topics import Actual
from jobs.wiring import wire
from jobs.wiring.settings import load
from schemas.settings import Settings, Topic

REPOSITORY = Path(__file__).resolve().parents[2]


def settings_for(stack: Stack, declared: dict[str, Topic]) -> Settings:
    return replace(load(REPOSITORY, "local", stack.environment(), []).settings, topics=declared)


def bodies(stack: Stack, topic: str, partitions: int) -> dict[int, list[tuple[bytes | None, bytes | None]]]:
    """Key and body of every record, by partition."""
    reader = Consumer(
        {"bootstrap.servers": stack.bootstrap, "group.id": "test", "log_level": 0, "fetch.wait.max.ms": 10}
    )
    found: dict[int, list[tuple[bytes | None, bytes | None]]] = {}
    for partition in range(partitions):
        low, high = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=5)
        reader.assign([TopicPartition(topic, partition, low)])
        messages = reader.consume(high - low, timeout=5) if high > low else []
        found[partition] = [(message.key(), message.value()) for message in messages]
    reader.close()
    return found


def read_topics(stack: Stack) -> dict[tuple[str, int], list[tuple[bytes | None, bytes | None]]]:
    """Every record of the topics that jobs read, by topic and partition."""
    return {
        (topic, partition): records
        for topic, partitions in (("clicks", 4), ("control", 1))
        for partition, records in bodies(stack, topic, partitions).items()
    }


def test_topics_come_out_as_declared_and_a_second_run_changes_nothing(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    small = settings_for(stack, {"a": Topic(about="", partitions=2, config={"retention.ms": "1000"})})
    grown = settings_for(stack, {"a": Topic(about="", partitions=3, config={"retention.ms": "2000"})})
    assert topics.main(small, ["--dry-run"]) == 0
    assert topics.main(small, []) == 0
    assert topics.main(small, []) == 0
    assert topics.main(grown, []) == 0
    assert topics.main(small, []) == 0
    assert capsys.readouterr().out.splitlines() == [
        "create: a, 2 partitions, retention.ms=1000",
        "create: a, 2 partitions, retention.ms=1000",
        "1 topics are as declared",
        "more partitions: a, 2 -> 3; keys move to other partitions",
        "changed config: a, retention.ms 1000 -> 2000",
        "kept: a, 3 partitions though 2 are declared",
        "changed config: a, retention.ms 2000 -> 1000",
    ]
    admin = wire.admin(stack.bootstrap, 1000)
    actual = topics.actual_topics(admin, ["a", "absent"])
    assert {name: topic.partitions for name, topic in actual.items()} == {"a": 3}
    assert actual["a"].config["retention.ms"] == "1000"


def test_every_topic_of_conf_is_taken_by_the_broker(stack: Stack) -> None:
    declared = load(REPOSITORY, "local", stack.environment(), []).settings.topics
    admin = wire.admin(stack.bootstrap, 1000)
    topics.apply(admin, topics.difference(declared, topics.actual_topics(admin, declared)))
    assert topics.difference(declared, topics.actual_topics(admin, declared)) == []


def test_a_setting_that_the_broker_refuses_is_named_in_one_line(stack: Stack) -> None:
    admin = wire.admin(stack.bootstrap, 1000)
    change = topics.difference({"b": Topic(about="", partitions=1, config={"retention.ms": "soon"})}, {})
    with pytest.raises(
        topics.NotTaken, match=r"^create: b, 1 partitions, retention.ms=soon: the broker answers: .*soon"
    ):
        topics.apply(admin, change)


def test_settings_that_are_not_declared_are_nobodys_business() -> None:
    declared = {"a": Topic(about="", partitions=1, config={})}
    assert topics.difference(declared, {"a": Actual(1, {"retention.ms": "1"}), "b": Actual(9, {})}) == []


def test_no_broker_is_told_after_the_wait_in_one_line() -> None:
    started = time.monotonic()
    with pytest.raises(wire.Unreachable, match=r"^no broker answers at 127.0.0.1:9 within 0.3 s: is it running"):
        wire.admin("127.0.0.1:9", 300)
    assert time.monotonic() - started < 1.5


def test_pulses_without_a_topic_say_what_to_do(stack: Stack) -> None:
    with pytest.raises(pulse.NoTopic, match="the broker has no topic nowhere: run python -m jobs topics"):
        pulse.Pulse(wire.producer(stack.bootstrap), "nowhere", 1, print)


def test_pulses_reach_partitions_that_are_added_later(stack: Stack) -> None:
    admin = wire.admin(stack.bootstrap, 1000)
    admin.create_topics([NewTopic("growing", 1, 1)])["growing"].result()
    producer = wire.producer(stack.bootstrap)
    beating = pulse.Pulse(producer, "growing", 2, print)
    beating.beat()
    admin.create_partitions([NewPartitions("growing", 3)])["growing"].result()
    beating.beat()  # the second one looks for new partitions
    assert producer.flush(5) == 0
    one = (None, b'{"kind":"pulse"}')
    assert bodies(stack, "growing", 3) == {0: [one, one], 1: [one], 2: [one]}


def test_a_broker_that_is_away_is_told_once_and_its_return_once(stack: Stack) -> None:
    admin = wire.admin(stack.bootstrap, 1000)
    admin.create_topics([NewTopic("away", 2, 1)])["away"].result()
    said: list[str] = []
    producer = wire.producer(stack.bootstrap, give_up_ms=500)
    beating = pulse.Pulse(producer, "away", 1000, said.append)
    stack.broker.stop(0)
    for _ in range(3):
        beating.beat()
    assert producer.flush(5) == 0
    stack.restart_broker()
    deadline = time.monotonic() + 20
    while len(said) < 2 and time.monotonic() < deadline:
        beating.beat()
        producer.flush(1)
    timed_out = KafkaError(KafkaError._MSG_TIMED_OUT).str()
    assert said[0] in {f"pulse: away, partition {each} takes no pulses: {timed_out}" for each in (0, 1)}
    assert said[1:] == ["pulse: every partition of away takes pulses again"]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_the_verb_beats_until_it_is_told_to_stop(stack: Stack, sign: signal.Signals) -> None:
    admin = wire.admin(stack.bootstrap, 1000)
    declared = load(REPOSITORY, "local", stack.environment(), []).settings.topics
    topics.apply(admin, topics.difference(declared, topics.actual_topics(admin, declared)))
    before = read_topics(stack)
    command = [sys.executable, "-m", "jobs", "--set", "time.pulse=100ms", "pulse"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env={**os.environ, **stack.environment()}, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 20
        while read_topics(stack) == before and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(sign)
        assert process.wait(5) == 0
        assert process.stderr
        assert process.stderr.read() == b""
    after = read_topics(stack)
    written = [records[len(before[place]) :] for place, records in after.items()]
    assert list(after) == [("clicks", 0), ("clicks", 1), ("clicks", 2), ("clicks", 3), ("control", 0)]
    assert {record for records in written for record in records} == {(None, b'{"kind":"pulse"}')}
    assert len({len(records) for records in written}) == 1
    assert len(written[0]) >= 8
