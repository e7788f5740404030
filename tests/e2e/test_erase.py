"""An erased person leaves Redis at once and everything else in a known time, and whoever doubts it can look."""

import io
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its documented names, exported by no __all__
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from msgspec import json
from msgspec.structs import replace
from redis import Redis

from jobs import erase, topics
from jobs.__main__ import main
from jobs.local.stack import Stack
from jobs.topics import Configure
from jobs.wiring import Refusal, reading, wire
from jobs.wiring.settings import load
from schemas.control import Action, Command, Receipt, State
from schemas.decisions import Heartbeat
from schemas.events import PULSE_BODY
from schemas.reader import pseudonym
from schemas.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
RING = "k2 the-newer-secret; k1 the-older-secret"
HOUR_MS = 3_600_000
NUMBERS = itertools.count(1)
STORES = [
    "redis",
    "control",
    "job state",
    "clicks",
    "events",
    "duplicates",
    "decisions",
    "segments",
    "outcomes",
    "uncertain",
    "rejected",
]


def under_both_keys(user_id: str) -> list[str]:
    return [pseudonym(user_id, b"the-newer-secret", "k2"), pseudonym(user_id, b"the-older-secret", "k1")]


@dataclass
class Site:
    """One test's settings and cache keys on the shared stack; the test plays the job."""

    settings: Settings
    redis: Redis

    def beat(self, seq: int) -> None:
        beat = json.encode(Heartbeat(v=1, seq=seq, acked=seq))
        self.redis.set(f"{self.settings.redis.prefix}:meta", beat)

    def card(self, user_id: str) -> str:
        return f"{self.settings.redis.prefix}:{{{user_id}}}:d"

    def serve(self, user_id: str) -> None:
        self.redis.set(self.card(user_id), '{"v":1,"seq":9999999999999,"slots":{}}')

    def served(self, user_id: str) -> bool:
        return bool(self.redis.exists(self.card(user_id)))

    def write(self, topic: str, key: str | None, value: bytes | None, partition: int = -1) -> None:
        producer = wire.producer(self.settings.kafka.bootstrap)
        producer.produce(topic, value, key, partition=partition)
        assert producer.flush(10) == 0

    def records(self, topic: str, key: str) -> list[Message]:
        with reading.opened(self.settings.kafka.bootstrap) as reader:
            return [message for message in reader.since(topic) if message.key() == key.encode()]

    def run(self, *arguments: str) -> tuple[int, list[Receipt]]:
        file = Path(self.settings.releases.store) / "receipt.json"
        code = erase.main(self.settings, [*arguments, "--receipt", str(file)])
        return code, json.decode(file.read_bytes(), type=list[Receipt])

    def states(self, *arguments: str) -> tuple[int, dict[str, State]]:
        """The exit code, and how the stores stand to the first person."""
        code, receipts = self.run(*arguments)
        return code, {remains.store: remains.state for remains in receipts[0].stores}


@pytest.fixture(scope="module")
def declared(stack: Stack) -> Settings:
    settings = load(REPOSITORY, "local", stack.environment(), []).settings
    admin = wire.admin(stack.bootstrap, 5000)
    topics.apply(admin, topics.difference(settings.topics, topics.actual_topics(admin, settings.topics)))
    deadline = time.monotonic() + 10
    while not settings.topics.keys() <= admin.list_topics(timeout=5).topics.keys() and time.monotonic() < deadline:
        time.sleep(0.05)
    return settings


@pytest.fixture
def site(declared: Settings, tmp_path: Path) -> Iterator[Site]:
    prefix = f"erase{next(NUMBERS)}"
    settings = replace(
        declared,
        redis=replace(declared.redis, prefix=prefix),
        erase=replace(declared.erase, wait=declared.time.slice),
        pseudonyms=replace(declared.pseudonyms, key=RING, key_file=""),
        releases=replace(declared.releases, store=str(tmp_path)),
    )
    with Redis.from_url(settings.redis.url) as redis:
        site = Site(settings, redis)
        site.beat(now_ms() + HOUR_MS)
        yield site


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_an_erased_person_is_gone_from_redis_and_on_the_way_out_of_all_else(site: Site) -> None:
    newer, older = under_both_keys("ada-1")
    site.serve(newer)
    site.serve(older)
    began = now_ms()
    code, receipts = site.run("ada-1")
    assert code == 0
    assert [receipt.user_id for receipt in receipts] == [newer, older]
    assert not site.served(newer)
    assert not site.served(older)
    for receipt in receipts:
        (command,) = site.records("control", receipt.user_id)
        assert json.decode(command.value() or b"", type=Command) == Command(Action.ERASE, receipt.user_id)
        assert command.timestamp() == (TIMESTAMP_LOG_APPEND_TIME, receipt.erased_at)
        assert began - 1000 < command.timestamp()[1] <= now_ms()
        assert [remains.store for remains in receipt.stores] == STORES
        found = {remains.store: remains for remains in receipt.stores}
        assert found["redis"].state is State.CLEAN
        assert {found[name].state for name in STORES[1:]} == {State.LEAVING}
        # A week of clicks, whose segments last a week; the command is in its slice, and one more passes.
        assert 1_209_600 - 10 < (found["clicks"].seconds or 0) <= 1_209_600 + 2
        assert 60 * 86_400 - 10 < (found["job state"].seconds or 0) <= 60 * 86_400 + 1


def test_a_line_tells_each_store_and_never_the_id(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run("ada-2")
    site.run("--check", "ada-2")
    said = capsys.readouterr()
    newer, older = under_both_keys("ada-2")
    lines = said.out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ([newer] * 11 + [older] * 11) * 2
    assert f"{newer}  redis       clean" in lines
    assert any(line.startswith(f"{older}  clicks      leaving  clean in 1209") for line in lines)
    everything = said.out + said.err + (Path(site.settings.releases.store) / "receipt.json").read_text()
    assert "ada-2" not in everything


def test_whoever_was_never_erased_is_not_clean(site: Site) -> None:
    newer, _ = under_both_keys("ada-3")
    site.serve(newer)
    assert site.states("--check", "ada-3") == (1, {"redis": State.DIRTY, "control": State.DIRTY})
    assert site.served(newer), "a check changes nothing"


def test_the_newest_command_counts_and_pulses_and_others_words_do_not(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer, _ = under_both_keys("ada-4")
    site.run("ada-4")
    _, receipts = site.run("ada-4")
    site.write("control", None, PULSE_BODY)
    site.write("control", newer, b"no command")
    site.write("control", newer, b'{"action":"dance","user_id":"k2:0"}')
    assert site.run("--check", "ada-4")[1][0].erased_at == receipts[0].erased_at
    # Days later it lies before all that is looked at first.
    later = now_ms() + 48 * HOUR_MS
    monkeypatch.setattr("jobs.wiring.remains.now_ms", lambda: later)
    assert site.run("--check", "ada-4")[1][0].erased_at == receipts[0].erased_at


def test_without_a_job_the_rest_is_done_and_the_exit_code_says_so(site: Site) -> None:
    newer, _ = under_both_keys("ada-5")
    site.serve(newer)
    site.redis.delete(f"{site.settings.redis.prefix}:meta")
    code, states = site.states("ada-5")
    assert (code, states["job state"], states["redis"]) == (1, State.DIRTY, State.CLEAN)
    assert site.states("--check", "ada-5")[0] == 1
    site.beat(now_ms() + HOUR_MS)
    assert site.states("--check", "ada-5")[0] == 0


def test_redis_is_emptied_after_the_job_has_heard_so_that_no_earlier_slice_brings_the_card_back(site: Site) -> None:
    newer, _ = under_both_keys("ada-6")
    site = replace_wait(site, 20_000)
    site.beat(now_ms() - 5000)

    def work() -> None:
        deadline = time.monotonic() + 10
        while not site.records("control", newer) and time.monotonic() < deadline:
            time.sleep(0.05)
        (command,) = site.records("control", newer)
        end = (command.timestamp()[1] // 1000 + 1) * 1000
        site.beat(end)
        time.sleep(0.3)
        site.serve(newer)
        site.beat(end + 1000)

    job = threading.Thread(target=work)
    job.start()
    code, _ = site.run("ada-6")
    job.join()
    assert code == 0
    assert not site.served(newer)


def replace_wait(site: Site, ms: int) -> Site:
    wait = type(site.settings.erase.wait)(ms)
    return Site(replace(site.settings, erase=replace(site.settings.erase, wait=wait)), site.redis)


def test_a_card_that_came_back_is_found(site: Site) -> None:
    _, older = under_both_keys("ada-7")
    site.run("ada-7")
    site.serve(older)
    code, receipts = site.run("--check", "ada-7")
    assert code == 1
    assert receipts[1].stores[0].why == f"{site.card(older)} is there: run python -m jobs erase again"


@pytest.mark.parametrize(
    ("topic", "field", "partition"),
    [
        ("decisions", "seq", 0),
        ("decisions", "seq", 3),
        ("rejected", "at", 0),
    ],
)
def test_a_decision_after_the_erasure_is_found_in_whatever_partition(
    site: Site, topic: str, field: str, partition: int
) -> None:
    user = f"ada-8-{topic}-{partition}"
    newer, _ = under_both_keys(user)
    site.run(user)
    before = now_ms() - 60_000
    key = None if topic == "rejected" else newer
    site.write(topic, key, b'{"user_id":"%s","%s":%d}' % (newer.encode(), field.encode(), before), partition)
    code, states = site.states("--check", user)
    assert (code, states[topic]) == (0, State.LEAVING)
    after = now_ms() + 60_000
    site.write(topic, key, b'{"user_id":"%s","%s":%d}' % (newer.encode(), field.encode(), after), partition)
    code, states = site.states("--check", user)
    assert (code, states.pop(topic)) == (1, State.DIRTY)
    assert State.DIRTY not in states.values()


@pytest.mark.parametrize("topic", ["events", "duplicates"])
def test_what_an_erased_person_does_later_is_written_down_and_leaves_by_age(site: Site, topic: str) -> None:
    user = f"ada-late-{topic}"
    newer, _ = under_both_keys(user)
    site.run(user)
    site.write(topic, newer, b'{"user_id":"%s","at":%d}' % (newer.encode(), now_ms() + 60_000))
    code, states = site.states("--check", user)
    assert (code, states[topic]) == (0, State.LEAVING)


def test_a_decision_counts_by_its_slice_end_and_not_by_its_newest_event(site: Site) -> None:
    newer, _ = under_both_keys("ada-9")
    site.run("ada-9")
    site.write("decisions", newer, b'{"at":%d,"seq":%d}' % (now_ms() - 9000, now_ms() + 9000))
    assert site.states("--check", "ada-9")[1]["decisions"] is State.DIRTY


def test_an_account_that_is_still_named_under_another_id_is_found(site: Site) -> None:
    account, _ = under_both_keys("account-1")
    site.run("account-1")
    site.write("decisions", "k2:somebody", b'{"seq":%d,"account":"%s"}' % (now_ms() + 60_000, account.encode()))
    assert site.states("--check", "account-1")[1]["decisions"] is State.DIRTY


@pytest.fixture
def outcomes(site: Site) -> Iterator[Site]:
    """A site that compacts a topic."""
    admin = wire.admin(site.settings.kafka.bootstrap, 5000)
    for kind in (AlterConfigOpType.SET, AlterConfigOpType.DELETE):
        compacted = ConfigEntry("cleanup.policy", "compact", incremental_operation=kind)
        change = ConfigResource(ResourceType.TOPIC, "outcomes", incremental_configs=[compacted])
        admin.incremental_alter_configs([change])[change].result()
        time.sleep(0.5)
        if kind is AlterConfigOpType.SET:
            yield site


def test_where_topics_are_compacted_every_partition_gets_a_tombstone(outcomes: Site) -> None:
    newer, older = under_both_keys("ada-10")
    outcomes.write("outcomes", newer, b'{"at":1}', 0)
    outcomes.write("outcomes", newer, b'{"at":2}', 1)
    code, states = outcomes.states("ada-10")
    assert (code, states["outcomes"]) == (0, State.LEAVING)
    for user_id in (newer, older):
        ends = {each.partition(): each.value() for each in outcomes.records("outcomes", user_id)}
        assert ends == dict.fromkeys(range(4))
    _, receipts = outcomes.run("--check", "ada-10")
    states = {remains.store: remains.state for remains in receipts[1].stores}
    assert states["outcomes"] is State.CLEAN, "under the older key nothing had been there"


def test_a_record_that_a_restart_wrote_after_the_tombstone_is_found_and_buried_again(outcomes: Site) -> None:
    newer, _ = under_both_keys("ada-11")
    outcomes.run("ada-11")
    outcomes.write("outcomes", newer, b'{"at":1}', 1)
    assert outcomes.states("--check", "ada-11")[1]["outcomes"] is State.DIRTY
    assert outcomes.states("ada-11") == outcomes.states("--check", "ada-11")
    assert outcomes.states("--check", "ada-11")[1]["outcomes"] is State.LEAVING


def test_ids_may_come_by_the_standard_input_so_that_no_history_keeps_them(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("ada-12\n\nzoë lim \nada-12\n"))
    _, receipts = site.run("-", "ada-13")
    expected = [*under_both_keys("ada-12"), *under_both_keys("zoë lim "), *under_both_keys("ada-13")]
    assert [receipt.user_id for receipt in receipts] == expected


def test_an_id_that_begins_with_a_dash_comes_after_two(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert erase.main(site.settings, ["--", "-ada"]) == 0
    assert capsys.readouterr().out.startswith(under_both_keys("-ada")[0])


def refused(site: Site, *arguments: str) -> str:
    with pytest.raises(Refusal) as caught:
        erase.main(site.settings, list(arguments))
    return str(caught.value)


@pytest.mark.parametrize("arguments", [["--chek", "ada"], ["-ada"], ["--check=ada", "eve"], ["eve", "--receipt"]])
def test_what_does_not_fit_is_refused_without_repeating_it(site: Site, arguments: list[str]) -> None:
    message = refused(site, *arguments)
    assert message == (
        "erase: the arguments do not fit; usage: python -m jobs erase [-h] [--check] [--receipt FILE] [USER ...];"
        " put -- before ids that begin with a dash"
    )


@pytest.mark.parametrize("user_id", ["", "a" * 257, "ada\udcff"])
def test_an_id_that_is_nobodys_is_named_by_its_number(site: Site, user_id: str) -> None:
    assert refused(site, "ada", user_id) == "erase: user id number 2 is no text of 1 to 256 characters"


def test_nobody_to_erase_is_refused(
    monkeypatch: pytest.MonkeyPatch, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["erase"], stack.environment(), REPOSITORY) == 2
    said = "trimtab: erase: nobody is named; give raw user ids, or - to read them from the standard input\n"
    assert capsys.readouterr().err == said
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert main(["erase", "-"], stack.environment(), REPOSITORY) == 2
    assert capsys.readouterr().err == said


def test_an_input_that_is_no_utf_8_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ada\xff\n"), encoding="utf-8"))
    assert refused(site, "-") == "erase: the standard input is not UTF-8"


def test_without_the_topic_nothing_is_begun(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.erase.CONTROL", "nowhere")
    assert refused(site, "ada") == "the broker has no topic nowhere: run python -m jobs topics"


def test_without_a_broker_nothing_is_begun(site: Site) -> None:
    wait = type(site.settings.kafka.wait)(200)
    site.settings = replace(site.settings, kafka=replace(site.settings.kafka, bootstrap="127.0.0.1:9", wait=wait))
    assert refused(site, "ada").startswith("no broker answers at 127.0.0.1:9 within 0.2 s")


def test_without_redis_no_command_is_given(site: Site) -> None:
    site.settings = replace(site.settings, redis=replace(site.settings.redis, url="redis://127.0.0.1:1/0"))
    message = refused(site, "ada-14")
    assert message.startswith("redis: Error 111 connecting to 127.0.0.1:1")
    assert message.endswith("once it answers, run this again")
    assert site.records("control", under_both_keys("ada-14")[0]) == []


def test_a_broker_that_takes_no_command_is_named(site: Site) -> None:
    admin = wire.admin(site.settings.kafka.bootstrap, 5000)

    def limit(size: str, before: str) -> None:
        topics.apply(admin, [Configure("control", {"max.message.bytes": before}, {"max.message.bytes": size})])

    usual = topics.actual_topics(admin, ["control"])["control"].config["max.message.bytes"]
    limit("10", usual)
    try:
        message = refused(site, "ada-15")
    finally:
        limit(usual, "10")
    assert message == ("the broker does not take every record; run this again: control: Broker: Message size too large")


def test_a_heartbeat_that_is_none_is_named(site: Site) -> None:
    site.redis.set(f"{site.settings.redis.prefix}:meta", "soon")
    key = f"{site.settings.redis.prefix}:meta"
    assert refused(site, "ada-16").startswith(f"redis: {key} holds no heartbeat: JSON is malformed")


def test_a_receipt_that_cannot_be_kept_was_printed_before(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(site, "ada-17", "--receipt", "/nowhere/receipt.json")
    assert message == "--receipt: cannot write /nowhere/receipt.json: No such file or directory"
    assert capsys.readouterr().out.startswith(under_both_keys("ada-17")[0])


def test_a_record_that_is_none_of_the_suites_is_named_with_its_place(site: Site) -> None:
    newer, _ = under_both_keys("ada-18")
    site.run("ada-18")
    site.write("duplicates", newer, b"no json", 2)
    (record,) = site.records("duplicates", newer)
    assert refused(site, "--check", "ada-18").startswith(
        f"duplicates, partition 2, offset {record.offset()}: no record of the suite: JSON is malformed"
    )
