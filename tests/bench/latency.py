"""How long a click takes to become a decision in Redis, at a steady rate, with nothing left out."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Consumer, TopicPartition

from jobs.wiring.cards import Cards
from tests.bench.children import BenchError, Meter
from tests.bench.ground import Ground, ground, log_of
from udfs.counting.lags import percentile

if TYPE_CHECKING:
    from subprocess import Popen

CHANGES: Final[Mapping[str, Mapping[str, str]]] = {
    # Nearly every slice is due, for it is the way that is measured and not the waiting for the grid.
    "1 s": {"time__slice": "1s", "decide__refresh": "1s"},
    "250 ms": {
        "time__slice": "250ms",
        "decide__refresh": "1s",
        "time__pulse": "100ms",
        "flink__bundle_time": "20ms",
        "flink__watermark_interval": "20ms",
        "flink__buffer_timeout": "5ms",
    },
}
"""Slice -> what differs from conf/base.toml: the shorter one also waits less at every step."""

GOAL_P99_MS: Final = {"1 s": 1200, "250 ms": 350}
"""Slice -> from the event to Redis' acknowledgement, at the highest rate: at most."""

START_S: Final = 180.0
_POLL_S: Final = 0.1
_SETTLE_S: Final = 5.0
_LONG_S: Final = 900

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run: which slices, at which rates (events per second, the first one warms up), and how long."""

    slices: tuple[str, ...]
    rates: tuple[int, ...]
    warm_s: float
    measured_s: float


FULL: Final = Plan(("1 s", "250 ms"), (2000, 500), warm_s=40.0, measured_s=35.0)
QUICK: Final = Plan(("1 s",), (2000,), warm_s=20.0, measured_s=15.0)


@dataclass(frozen=True, slots=True)
class Delay:
    """What was found for one slice and one rate.

    Attributes:
        slice: its length.
        rate: events per second that were sent.
        events_per_s: events per second that came through the job meanwhile.
        cores: processor seconds per second that the job took meanwhile.
        decisions: how many were acknowledged by Redis meanwhile.
        p50_ms: from the slice's first event to the acknowledgement, ms, rounded up to two digits; so are the others.
        start_s: from the start of the job's process to its first heartbeat.
        changes: what differed from conf/base.toml.
    """

    slice: str
    rate: int
    events_per_s: float
    cores: float
    decisions: int
    p50_ms: int
    p90_ms: int
    p99_ms: int
    max_ms: int
    start_s: float
    changes: dict[str, str]

    def details(self) -> dict[str, Any]:
        """All of it, for a report."""
        return asdict(self)


def delays(plan: Plan, say: Say) -> list[Delay]:
    """Measure: one job per slice length, warmed up once, at one rate after the other.

    Args:
        plan: what to run.
        say: told what goes on.

    Raises:
        BenchError: the job or the stream ended, or no heartbeat came.
    """
    return [delay for name in plan.slices for delay in _delays(name, plan, say)]


def _delays(name: str, plan: Plan, say: Say) -> list[Delay]:
    changes = dict(CHANGES[name])
    found = []
    with ground(past=False, **changes) as place, place.redis() as redis:
        cards = Cards(place.settings.redis, time.monotonic)
        began = time.monotonic()
        with place.started("personalize", "jobs", "personalize") as job:
            for order, rate in enumerate(plan.rates):
                arguments = ("--rate", str(rate), "--seconds", str(_LONG_S))
                with place.started("stream", "tests.bench.stream", *arguments) as source:
                    if order == 0:
                        _await_heartbeat(redis, cards, job)
                        start_s = time.monotonic() - began
                        say(f"  slice {name}: first heartbeat after {start_s:.0f} s")
                    _pass(plan.warm_s if order == 0 else _SETTLE_S, job, source)
                    found.append(_measure(place, redis, cards, plan, (job, source)) | {"rate": rate})
                    say(f"  slice {name}, {rate} events/s: {found[-1]}")
    return [Delay(slice=name, start_s=start_s, changes=changes, **each) for each in found]


def _measure(
    place: Ground, redis: Any, cards: Cards, plan: Plan, running: "tuple[Popen[bytes], ...]"
) -> dict[str, Any]:
    keys = _lag_keys(cards, plan.measured_s)
    redis.delete(*keys)
    meter = Meter(running[0].pid)
    began, before, cpu_s = time.monotonic(), _length(place, "events"), meter.total_s()
    _pass(plan.measured_s, *running)
    took, after, cpu_s = time.monotonic() - began, _length(place, "events"), meter.total_s() - cpu_s
    counts: dict[int, int] = {}
    for key in _lag_keys(cards, plan.measured_s):
        for upper, count in redis.hgetall(key).items():
            counts[int(upper)] = counts.get(int(upper), 0) + int(count)
    if not counts:
        raise BenchError(f"nothing was decided in {took:.0f} s, see {log_of('personalize')}")
    shares = {f"p{round(share * 100)}_ms": percentile(counts, share) for share in (0.5, 0.9, 0.99)}
    return {
        "events_per_s": round((after - before) / took, 1),
        "cores": round(cpu_s / took, 2),
        "decisions": sum(counts.values()),
        **shares,
        "max_ms": max(counts),
    }


def _lag_keys(cards: Cards, seconds: float) -> list[str]:
    this = time.time_ns() // 60_000_000_000
    return [cards.lag_key(minute) for minute in range(this - int(seconds // 60) - 1, this + 1)]


def _await_heartbeat(redis: Any, cards: Cards, job: "Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while not redis.exists(cards.heartbeat_key):
        _check(job)
        if time.monotonic() > deadline:
            raise BenchError(f"no heartbeat within {START_S:.0f} s, see {log_of('personalize')}")
        time.sleep(_POLL_S)


def _pass(seconds: float, *running: "Popen[bytes]") -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        _check(*running)
        time.sleep(min(left, 1.0))


def _check(*running: "Popen[bytes]") -> None:
    for child in running:
        if child.poll() is not None:
            raise BenchError(f"process {child.pid} ended by itself, see {log_of('personalize').parent}")


def _length(place: Ground, topic: str) -> int:
    """Records in a topic so far."""
    consumer = Consumer({"bootstrap.servers": place.settings.kafka.bootstrap, "group.id": "bench"})
    partitions = consumer.list_topics(topic).topics[topic].partitions
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, partition))[1] for partition in partitions]
    consumer.close()
    return sum(ends)
