"""Claim: each decision that was shown has one outcome with the right reward, in whatever order, whatever is killed."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from heapq import merge
from itertools import product
from multiprocessing.process import BaseProcess
from operator import lt
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from msgspec import json
from pyflink.table import TableEnvironment

from jobs import learn, topics
from jobs.local import feed
from jobs.local.feed import Record
from jobs.local.stack import Stack
from jobs.replay import cause, ticks
from jobs.wiring import Refusal, wire
from jobs.wiring.flow import compiled, environment, execute
from jobs.wiring.handover import JOB_ENVIRONMENT, changed
from jobs.wiring.jars import connectors
from schemas.decisions import Decision, Draw, SlotCard, Trace, Versions, Why
from schemas.settings import Settings
from schemas.signals import Signals
from tests.claims.claim import REPOSITORY, Claim, Result, folder, settings

EVENTS: Final = 500_000

CLAIM: Final = Claim(
    name="join",
    sentence=(
        f"Of {EVENTS:,} events with late rewards, copies, lost exposures and topics out of order, each decision that"
        " was shown has one outcome, with the reward of a plain count, though workers and JVM are killed meanwhile."
    ),
    bar="0 outcomes missing, double, unknown or different; 2 kill -9 of the workers and 2 of the JVM survived",
)

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
NOON: Final = 1_767_268_800_000
SPAN: Final = 30 * MINUTE
DISORDER: Final = 5 * SECOND
WINDOW: Final = 2 * MINUTE
VALID: Final = 70 * SECOND
PERSON: Final = 200
"""Events of one person, about."""

PARTITIONS: Final = 4
RATE: Final = 6_000
KILLS_AT_S: Final = (("workers", 25.0), ("JVM", 45.0), ("workers", 75.0), ("JVM", 95.0))
"""Since the first outcome; after each the job takes some seconds to go on."""

SETS: Final = (
    *("learn.window=2min", "learn.disorder=5s", "decide.valid=1min", "redis.grace=10s"),
    # Of a past that is read at once no partition is idle, however long the job takes to come back.
    *("time.idle=1h", "flink.checkpoint=3s", "flink.parallelism=2", "kafka.exactly_once=true"),
    "slots.home_feed.reward={worth={click=0.6, cart=1.0}, within='1min', by='item'}",
    "slots.hero.reward={worth={click=0.4, purchase=1.0}, most={click=2}, within='2min', by='person'}",
    "slots.nudge.reward={worth={click=0.7, purchase=1.0}, within='30s', by='decision'}",
)

COPIED: Final = 0.03
MARKS: Final = {"workers": b"pyflink.fn_execution", "JVM": b"java"}
"""What stands in the command lines of those that are killed."""

_START_S: Final = 180.0
_QUIET_S: Final = 20.0
_LOOK_S: Final = 0.2
_AT_ONCE: Final = 600
_MARKS: Final = 500  # a transaction that is undone leaves a mark, too
_TICKS: Final = os.sysconf("SC_CLK_TCK")

Fields = dict[str, Any]


class World(NamedTuple):
    """What lies in the topics, each record once, with its time."""

    decisions: list[tuple[int, Fields]]
    events: list[tuple[int, Fields]]


def run(events: int = EVENTS) -> Result:
    """Feed topics while the job runs and is killed, count plainly, and let the job read it all again by itself."""
    place = folder(CLAIM.name)
    world = people(events, seed=3)
    with Stack(place, jars=REPOSITORY / ".local" / "jars" / "broker") as stack:
        home = (f"kafka.bootstrap={stack.bootstrap}", f"flink.checkpoint_dir={place / 'checkpoints'}")
        conf = settings(*home, *SETS, "flink.rest_port=0", f"releases.store={place / 'store'}")
        wanted = feed.replayable({name: conf.topics[name] for name in learn.TOPICS})
        topics.apply(wire.admin(conf.kafka.bootstrap, conf.kafka.wait), topics.difference(wanted, {}))
        expected = outcomes(world)
        facts: Fields = _disturbed(conf, world, len(expected), place)
        made = Counter(taken.body or b"" for taken in feed.collect(stack.bootstrap, "outcomes"))
        facts |= compared(made, expected) | {"rejected": feed.length(stack.bootstrap, "rejected")}
        print(facts, flush=True)
        facts |= _alone_again(conf, place, facts["records"])
        again = Counter(taken.body or b"" for taken in feed.collect(stack.bootstrap, "outcomes")) - made
        facts["again"] = compared(again, expected)
    nothing = ("missing", "double", "unknown", "different")
    counted = Counter(kind for kind, _ in KILLS_AT_S)
    return Result(
        figure=(
            f"{facts['events']:,} events and {facts['decisions']:,} decisions as {facts['records']:,} records;"
            f" {facts['expected']:,} outcomes, {facts['rewarded']:,} with a reward: {facts['missing']} missing,"
            f" {facts['double']} double, {facts['unknown']} unknown, {facts['different']} different, after"
            f" {facts['killed']['workers']} kills of the workers and {facts['killed']['JVM']} of the JVM; read again at"
            f" once {sum(facts['again'][name] for name in nothing)} off, {facts['cpu_s_per_million']:.0f} CPU s per"
            f" million events"
        ),
        passed=not any(facts[name] or facts["again"][name] for name in nothing)
        and facts["killed"] == counted
        and facts["rejected"] == 0,
        details=facts,
    )


def people(events: int, seed: int) -> World:
    """Make up what people were shown and did: some exposures lost, some repeated, some rewards too late."""
    rng, world = Random(seed), World([], [])
    number = 0
    while len(world.events) < events:
        user, at = f"k0:{rng.getrandbits(96):024x}", NOON + rng.randrange(SPAN)
        for _ in range(PERSON // 8):
            at += rng.choice((0, 400, 2_000, 9_000, 20_000, 45_000))
            seq = (at // SECOND + 1) * SECOND
            world.decisions.append((seq, _decision(user, seq, number, rng)))
            # Some read on another device what was decided for their account; many exposures are lost.
            reader = user if rng.random() < 0.95 else f"{user}'s tablet"
            for slot in rng.sample(("home_feed", "hero", "nudge", "page"), k=rng.choice((0, 0, 1, 2, 3))):
                _shown(
                    world, reader, f"{number:012d}.{slot}", seq + rng.choice((0, 50, 900, 20_000, 69_000, 71_000)), rng
                )
            for _ in range(rng.choice((2, 3, 4))):
                _did(world, rng, user, rng.choice(("view", "scroll", "dwell", "hover")), at + rng.randrange(5_000))
            number += 1
    return World(world.decisions, world.events[:events])


def _decision(user: str, seq: int, number: int, rng: Random) -> Fields:
    items = [f"i{each}" for each in rng.sample(range(60), 6)]
    arms = ["plain", "story"]
    cards = {
        "home_feed": SlotCard(f"{number:012d}.home_feed", "rerank", 1.0, Why.POPULAR, seq + MINUTE, items=items),
        "hero": SlotCard(f"{number:012d}.hero", "variant", 0.5, Why.SPLIT, seq + MINUTE, arm=rng.choice(arms)),
        "nudge": SlotCard(f"{number:012d}.nudge", "trigger", 1.0, Why.RULE, seq + MINUTE, arm="welcome"),
        "page": SlotCard(f"{number:012d}.page", "params", 1.0, Why.USUAL, seq + MINUTE, params={"motion": True}),
    }
    signals = Signals(session_clicks=rng.randrange(9), engagement=rng.random(), scroll=rng.random())
    trace = {"hero": Trace(draw=Draw(f"seed|hero|{user}", rng.random(), arms, [0.5, 0.5]))}
    record = Decision(user, 1, seq, seq - 1, seq + MINUTE, cards, Versions(), signals, seq - 5, trace=trace)
    fields: Fields = json.decode(json.encode(record))
    return fields


def _shown(world: World, user: str, decision_id: str, at: int, rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 1, 2))):
        more = {"decision_id": decision_id, "slot": decision_id[13:], "position": rng.randrange(3)}
        _did(world, rng, user, "exposure", at, **more)
        at += rng.choice((0, 1, 3_000, 30_000))
    for _ in range(rng.choice((0, 0, 1, 2))):
        late = rng.choice((0, 800, 15_000, 30_000, 30_001, 60_000, 60_001, 120_000, 120_001, 150_000))
        about = {"item": f"i{rng.randrange(60)}"} | rng.choice(({}, {"decision_id": decision_id}))
        _did(world, rng, user, rng.choice(("click", "click", "cart", "purchase")), at + late, **about)


def _did(world: World, rng: Random, user: str, kind: str, at: int, **more: Any) -> None:
    event: Fields = {"v": 1, "user_id": user, "at": at, "kind": kind}
    if rng.random() < 0.8:  # else two that are alike are one
        event["event_id"] = f"e{rng.getrandbits(64):016x}"
    world.events.append((at, event | more | ({"late": True} if rng.random() < 0.01 else {})))


def outcomes(world: World) -> dict[str, Fields]:
    """Count plainly: what each decision and slot that was shown has brought, by id."""
    decided = {f"{record['slots'][slot]['id']}": record for _, record in world.decisions for slot in record["slots"]}
    shown: dict[str, list[tuple[int, bytes, Fields]]] = defaultdict(list)
    done: dict[str, list[tuple[int, bytes, Fields]]] = defaultdict(list)
    for at, event in world.events:
        if event.get("late"):
            continue
        if event["kind"] == "exposure":
            shown[event["decision_id"]].append((at, json.encode(event), event))
        elif event["kind"] in ("click", "cart", "purchase"):
            done[event["user_id"]].append((at, json.encode(event), event))
    for of_user in done.values():
        of_user.sort(key=lambda each: each[:2])
    found: dict[str, Fields] = {}
    for name, exposures in shown.items():
        record, (at, _, first) = decided[name], min(exposures, key=lambda each: each[:2])
        rule = _RULES.get(name[13:])
        if rule is None or not 0 <= at - record["seq"] <= VALID:
            continue
        of_user = done[first["user_id"]]
        start = bisect_left(of_user, at, key=lambda each: each[0])
        end = bisect_right(of_user, at + rule.within, key=lambda each: each[0])
        card = record["slots"][name[13:]]
        counted = list(_counted([event for _, _, event in of_user[start:end]], rule, card))
        hits, reward = _worth(counted, rule)
        about = {item: [event for event in counted if event.get("item") == item] for item in card.get("items", [])}
        gains = {item: _worth(events, rule)[1] for item, events in about.items() if events}
        found[name] = {
            "user_id": record["user_id"],
            "at": at,
            "due": at + WINDOW,
            "reward": reward,
            "hits": hits,
            "gains": gains,
            "shown": "",
            "position": first["position"],
            "card": card,
            "signals": record["signals"],
            "trace": record["trace"].get(name[13:], {}),
            "seq": record["seq"],
        }
    return found


class Rule(NamedTuple):
    """A slot's reward, as `SETS` has it."""

    worth: Mapping[str, float]
    most: Mapping[str, int]
    within: int
    by: str


_RULES: Final = {
    "home_feed": Rule({"click": 0.6, "cart": 1.0}, {}, MINUTE, "item"),
    "hero": Rule({"click": 0.4, "purchase": 1.0}, {"click": 2}, 2 * MINUTE, "person"),
    "nudge": Rule({"click": 0.7, "purchase": 1.0}, {}, 30 * SECOND, "decision"),
}


def _counted(events: Sequence[Fields], rule: Rule, card: Fields) -> Iterator[Fields]:
    seen: list[Any] = []
    for event in events:
        mine = {
            "item": event.get("item") in card.get("items", []),
            "decision": event.get("decision_id") == card["id"],
            "person": True,
        }[rule.by]
        same = event.get("event_id") or event
        if event["kind"] in rule.worth and mine and same not in seen:
            seen.append(same)
            yield event


def _worth(events: Sequence[Fields], rule: Rule) -> tuple[dict[str, int], float]:
    hits = Counter(event["kind"] for event in events)
    kept = {kind: min(hits[kind], rule.most.get(kind, 1)) for kind in rule.worth if hits[kind]}
    return kept, min(1.0, sum(rule.worth[kind] * count for kind, count in kept.items()))


def compared(made: Counter[bytes], expected: Mapping[str, Fields]) -> Fields:
    """Hold outcomes against the plain count."""
    told = [json.decode(record) for record in made.elements()]
    times, found = Counter(each["id"] for each in told), {each["id"]: each for each in told}
    absent = {"hits": {}, "gains": {}, "shown": "", "position": 0, "trace": {}}
    off = [
        name
        for name in found.keys() & expected.keys()
        if {key: (absent | found[name])[key] for key in expected[name]} != expected[name]
    ]
    first = min(off, default="")
    return {
        "expected": len(expected),
        "rewarded": sum(each["reward"] > 0 for each in expected.values()),
        "missing": len(expected.keys() - found.keys()),
        "unknown": len(found.keys() - expected.keys()),
        "double": sum(count - 1 for count in times.values()),
        "different": len(off),
        "first_different": [found[first], expected[first]] if first else [],
    }


class Written(NamedTuple):
    """A record and when it is written, ms of event time."""

    written: int
    record: Record


def written(kept: Sequence[tuple[int, Fields]], seed: int) -> list[Written]:
    """Put records in the order in which they are written: almost that of time, some twice, as after a crash."""
    rng, found = Random(seed), list[Written]()
    for at, fields in kept:
        key = fields["user_id"].encode()
        record = Record(at, feed.partition_of(key, PARTITIONS), key, json.encode(fields))
        found += [Written(at + rng.randrange(DISORDER), record) for _ in range(1 + (rng.random() < COPIED))]
    return sorted(found, key=lambda each: each.written)


class Job:
    """The job in a process group of its own, from its newest checkpoint on where there is one.

    Args:
        conf: the settings.
        place: a folder for its logs.
    """

    def __init__(self, conf: Settings, place: Path) -> None:
        place.mkdir(exist_ok=True)
        self._conf = conf
        self._log = place / "learn.log"
        self._child = self._started(None)

    def restart(self) -> None:
        """Start anew from the newest checkpoint, once nothing of the old one is left."""
        self.end()
        checkpoints = Path(self._conf.flink.checkpoint_dir).glob("*/chk-*/_metadata")
        newest = max(checkpoints, key=lambda found: found.stat().st_mtime)
        self._child = self._started(newest.parent.as_uri())

    def kill(self, mark: bytes) -> int:
        """Kill -9 all its processes whose command line holds a word; how many there were."""
        found = [pid for pid, _ in ticks(self._child.pid or 0) if mark in _command(pid)]
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return len(found)

    def end(self) -> None:
        """End what is left of it by force."""
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid or 0, signal.SIGKILL)
        self._child.join()

    def ran(self) -> float:
        """Wait for its end, and give the CPU seconds it used.

        Raises:
            Refusal: it failed.
        """
        used: dict[tuple[int, int], int] = {}
        while self._child.is_alive():
            used |= ticks(self._child.pid or 0)
            time.sleep(_LOOK_S)
        if self._child.exitcode:
            raise Refusal(f"the job failed: {cause(self._log.read_text(errors='replace'))}; see {self._log}")
        return sum(used.values()) / _TICKS

    def check(self) -> None:
        """Make sure that it is there; raises Refusal where it ended by itself."""
        if not self._child.is_alive():
            raise Refusal(f"the job ended by itself: {cause(self._log.read_text(errors='replace'))}; see {self._log}")

    def _started(self, checkpoint: str | None) -> BaseProcess:
        child = multiprocessing.get_context("spawn").Process(target=_job, args=(self._conf, self._log, checkpoint))
        child.start()
        return child


class Alone(Job):
    """The same over what the topics hold now, to their end, at parallelism 1 and without checkpoints."""

    def _started(self, checkpoint: str | None) -> BaseProcess:
        del checkpoint
        child = multiprocessing.get_context("spawn").Process(target=_alone, args=(self._conf, self._log))
        child.start()
        return child


def _job(conf: Settings, log: Path, checkpoint: str | None) -> None:
    """Be the job's process."""
    table = _table(conf, log)
    if checkpoint:
        table.get_config().set("execution.state-recovery.path", checkpoint)
    execute(table, compiled(learn.build(table, conf), {})).wait()


def _alone(conf: Settings, log: Path) -> None:
    table = _table(conf, log)
    # A bounded job that is restored from a checkpoint may hang before its last windows (FLINK-31006).
    table.get_config().get_configuration().remove_config("execution.checkpointing.interval")
    table.get_config().set("restart-strategy.type", "none")
    execute(table, compiled(learn.build(table, conf, learn.all_of(conf)), {})).wait()


def _table(conf: Settings, log: Path) -> TableEnvironment:
    os.setpgid(0, 0)
    with log.open("ab") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    os.environ.update(JOB_ENVIRONMENT, PYTHONPATH=str(REPOSITORY), FLINK_LOG_DIR=str(log.parent))
    return environment(conf, name="trimtab-learn", jars=connectors())


def _disturbed(conf: Settings, world: World, expected: int, place: Path) -> Fields:
    """Feed both topics side by side while the job runs, kill it on the way, and wait for the last outcome."""
    over, killed = threading.Event(), Counter[str]()
    job = Job(conf, place)
    with ThreadPoolExecutor(1) as pool:
        try:
            fed = pool.submit(_feed, conf, world, over)
            _await(conf, job, lambda told: told > 0, _START_S, "the first outcome")
            began = time.monotonic()
            for what, at_s in KILLS_AT_S:
                time.sleep(max(0.0, began + at_s - time.monotonic()))
                # After the kill before, there may be none yet.
                _await(conf, job, lambda _, what=what: job.kill(MARKS[what]) > 0, _START_S, f"{what} to kill")  # type: ignore[misc]
                killed[what] += 1
                before = _told(conf)
                if what == "JVM":
                    job.restart()
                _await(conf, job, partial(lt, before + _MARKS), _START_S, f"outcomes after a kill of the {what}")
            facts = fed.result()
            _drained(conf, job, expected)
        finally:
            over.set()
            job.end()
    return facts | {"killed": dict(killed)}


def _alone_again(conf: Settings, place: Path, events: int) -> Fields:
    """Let the job read it all at once, undisturbed; what it costs, start and all."""
    quiet = changed(conf, {"flink.parallelism": 1, "kafka.exactly_once": False, "kafka.group": "again"})
    began = time.monotonic()
    used = Alone(quiet, place / "again").ran()
    return {
        "cpu_s": round(used, 1),
        "wall_s": round(time.monotonic() - began, 1),
        "cpu_s_per_million": round(used / events * 1e6, 1),
    }


def _feed(conf: Settings, world: World, over: threading.Event) -> Fields:
    """Write both topics side by side, at a steady pace, and let the clocks of all partitions run out."""
    streams = [
        [(each.written, topic, each.record) for each in written(kept, seed)]
        for topic, kept, seed in (("decisions", world.decisions, 4), ("events", world.events, 5))
    ]
    producer = wire.producer(conf.kafka.bootstrap)
    count, began = 0, time.monotonic()
    for _, topic, record in merge(*streams, key=lambda each: each[0]):
        if over.is_set():
            break
        while True:
            try:
                producer.produce(topic, record.body, record.key, partition=record.partition, timestamp=record.at)
            except BufferError:
                producer.poll(_LOOK_S)
                continue
            break
        count += 1
        if count % _AT_ONCE == 0:
            producer.poll(0)
            over.wait(max(0.0, began + count / RATE - time.monotonic()))
    newest = max(at for kept in world for at, _ in kept)
    for topic, partition in product(("decisions", "events"), range(PARTITIONS)):
        # No decision, and no event that any outcome asks for.
        body = b'{"id":"nobody\'s","kind":"view"}'
        producer.produce(topic, body, partition=partition, timestamp=newest + WINDOW + 2 * DISORDER)
    producer.flush()
    return {"events": len(world.events), "decisions": len(world.decisions), "records": count}


def _await(conf: Settings, job: Job, until: Callable[[int], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not until(_told(conf)):
        job.check()
        if time.monotonic() > deadline:
            raise Refusal(f"after {seconds:g} s still waiting for {what}")
        time.sleep(_LOOK_S)


def _drained(conf: Settings, job: Job, expected: int) -> None:
    """Wait until no outcome has come for a while; for long where some are still missing, as after a start."""
    told, since = _told(conf), time.monotonic()
    while time.monotonic() < since + (_QUIET_S if told >= expected else _START_S):
        job.check()
        time.sleep(_LOOK_S)
        if (now := _told(conf)) != told:
            told, since = now, time.monotonic()


def _told(conf: Settings) -> int:
    """Count the outcomes; marks of transactions count too."""
    return feed.length(conf.kafka.bootstrap, "outcomes")


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # it has just ended
