"""Everything on one machine: clicks enter Kafka, decisions reach Redis, and a website reads them and behaves so."""

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from redis import Redis

from jobs import policy, pulse, topics, train
from jobs.local import processes
from jobs.local.feed import length
from jobs.local.stack import Stack
from jobs.local.website import Score, Website, line, opened, settled
from jobs.local.world import SEGMENTS
from jobs.wiring import Refusal, wire
from jobs.wiring.cards import Cards
from jobs.wiring.handover import JOB_ENVIRONMENT, changed, variables
from jobs.wiring.publishing import now_ms
from jobs.wiring.store import Store
from schemas.releases import Channel
from schemas.settings import Settings
from udfs.counting.lags import percentile

START_S: Final = 180.0
"""How long the job may take to its first heartbeat."""

REPORT_S: Final = 5.0

JOBS: Final = ("personalize", "learn")
"""What decides, and what learns from what came of it."""

SHOWN: Final[tuple[Channel, ...]] = ("model", "policy")
"""Channels whose versions the live view shows."""

Work = Future[Any]


def main(settings: Settings, arguments: list[str]) -> int:
    """Run the main job on an embedded stack until the time is up or Ctrl-C; the exit code says whether it worked.

    Raises:
        Refusal: something did not come up, or the job ended by itself.
    """
    asked = _parser().parse_args(arguments)
    root = Path.cwd()
    began = time.monotonic()
    with Stack(root) as stack:
        changes = at_home(stack, root)
        os.environ.update(variables(changes) | JOB_ENVIRONMENT)
        here = changed(settings, changes)
        print(f"Kafka at {stack.bootstrap}, Redis at {stack.redis_url}, logs in .local/logs", flush=True)
        admin = wire.admin(here.kafka.bootstrap, here.kafka.wait)
        topics.apply(admin, topics.difference(here.topics, topics.actual_topics(admin, here.topics)))
        train.publish_demo(here, asked.seed)

        jobs = [processes.start(verb, [sys.executable, "-m", "jobs", verb], root) for verb in JOBS]
        over = threading.Event()
        with ThreadPoolExecutor(3) as pool, Redis.from_url(here.redis.url) as redis:
            cards = Cards(here.redis, time.monotonic)
            try:
                work: list[Work] = [
                    pool.submit(pulse.keep_alive, here, over),
                    pool.submit(policy.follow, here, over, _quiet),
                ]
                _await_heartbeat(redis, cards, jobs, work)
                print(
                    f"first heartbeat {time.monotonic() - began:.0f} s after the start; opening the website", flush=True
                )
                website = opened(here, seed=asked.seed, rate=asked.rate, control_share=asked.control)
                visitors = pool.submit(website.run, asked.seconds or float("inf"), over)
                _watch(website, cards, redis, Store(here.releases.store), jobs=jobs, work=[visitors, *work])
            except KeyboardInterrupt:
                print("stopping", flush=True)
            finally:
                over.set()
            return _summary(here, website.score(), cards, redis)


def at_home(stack: Stack, root: Path) -> dict[str, str | int]:
    """Say what differs on an embedded stack: its addresses, and that all it leaves behind lies under `.local`."""
    temporary = processes.home(root) / "temporary"
    return {
        "kafka.bootstrap": stack.bootstrap,
        "redis.url": stack.redis_url,
        "releases.store": str(temporary / "store"),
        "flink.checkpoint_dir": str(temporary / "checkpoints"),
        "flink.rest_port": 0,
    }


def _await_heartbeat(redis: Redis, cards: Cards, jobs: Sequence[processes.Child], work: Sequence[Work]) -> None:
    deadline = time.monotonic() + START_S
    while not redis.exists(cards.heartbeat_key):
        _check(jobs, work)
        if time.monotonic() > deadline:
            raise Refusal(f"run: no heartbeat within {START_S:.0f} s; {jobs[0].last_words()}")
        time.sleep(0.2)


def _watch(
    website: Website, cards: Cards, redis: Redis, store: Store, *, jobs: Sequence[processes.Child], work: Sequence[Work]
) -> None:
    visitors, due, before = work[0], time.monotonic(), website.score()
    while not visitors.done():
        _check(jobs, work)
        if time.monotonic() >= due:
            due += REPORT_S
            score = website.score()
            lags = _lags(cards, redis, minutes=1)
            print(line(score), flush=True)
            print(
                f"  best arm for {_settled(settled(score, before, website.best))}; {_versions(store)}; event to Redis"
                f" p50 {percentile(lags, 0.5)} ms, p99 {percentile(lags, 0.99)} ms",
                flush=True,
            )
            before = score
        time.sleep(0.1)
    visitors.result()


def _settled(shares: Sequence[float]) -> str:
    """Say how often each hidden segment saw the arm that suits it best.

    >>> _settled([0.84, 0.9, float("nan")])
    'skimmer 84 %, reader 90 %, browser -'
    """
    told = (f"{100 * share:.0f} %" if share == share else "-" for share in shares)  # noqa: PLR0124 - nan is not itself
    return ", ".join(f"{segment} {each}" for segment, each in zip(SEGMENTS, told, strict=True))


def _versions(store: Store) -> str:
    """Name the model and the policy that are in force."""
    now = now_ms()
    found = [[each.version for each in store.index(channel) if each.effective_at <= now] for channel in SHOWN]
    return ", ".join(each[-1] if each else f"no {channel}" for channel, each in zip(SHOWN, found, strict=True))


def _check(jobs: Sequence[processes.Child], work: Sequence[Work]) -> None:
    for job in jobs:
        if job.ended():
            raise Refusal(f"run: a job ended by itself; {job.last_words()}")
    for each in work:
        if each.done():
            each.result()


def _quiet(_line: str) -> None:
    """Say nothing of a release: the live view names the newest."""


def _lags(cards: Cards, redis: Redis, minutes: int) -> dict[int, int]:
    """Add up the histograms of this minute and of those before it."""
    counted: Any = redis  # redis-py types its answers as if they might be awaited
    now = time.time_ns() // 60_000_000_000
    total: dict[int, int] = {}
    for minute in range(now - minutes, now + 1):
        for upper, count in counted.hgetall(cards.lag_key(minute)).items():
            total[int(upper)] = total.get(int(upper), 0) + int(count)
    return total


def _summary(settings: Settings, score: Score, cards: Cards, redis: Redis) -> int:
    decisions = length(settings.kafka.bootstrap, "decisions")
    users = sum(1 for _ in redis.scan_iter(cards.key("*"), count=1000))
    lags = _lags(cards, redis, minutes=60)
    for name, group in (("treated", score.treated), ("control", score.control)):
        low, high = group.rate.interval
        print(
            f"{name:<10} {group.views} page views, click rate {100 * group.rate.value:.1f} %"
            f" (95 % {100 * low:.1f} to {100 * high:.1f}), {group.purchases} purchases"
        )
    print(
        f"events in {score.events}, in the topic `events` {length(settings.kafka.bootstrap, 'events')}, rejected"
        f" {length(settings.kafka.bootstrap, 'rejected')}\ndecisions out {decisions}, users in Redis {users},"
        f" personalised share {100 * score.personalised_share:.0f} % of treated page views\n"
        f"event to Redis: p50 {percentile(lags, 0.5)} ms, p99 {percentile(lags, 0.99)} ms"
    )
    if not users:
        print("no decision reached Redis", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs run", description=__doc__)
    parser.add_argument("--seconds", type=float, help="how long the website stays open; if not given, until Ctrl-C")
    parser.add_argument("--rate", type=float, default=200.0, help="events per second (200)")
    parser.add_argument("--seed", type=int, default=1, help="of the world and its visitors (1)")
    parser.add_argument("--control", type=float, default=0.2, help="share of users who see the default (0.2)")
    return parser
