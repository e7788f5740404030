"""The watch on a real broker and in Flink: a change of the site is told with when it began, and nothing before it."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from jobs import topics
from jobs.local.feed import collect
from jobs.local.stack import Stack
from jobs.wiring import wire
from jobs.wiring.settings import load
from tests.e2e import bounded

REPOSITORY = Path(__file__).resolve().parents[2]
MINUTE = 60_000
TURN = 170


def test_what_changes_is_told_with_the_minute_in_which_it_began_each_time_the_topic_is_read(
    scratch: Path, jars: Path
) -> None:
    # Of its own: events of other tests would be counted too.
    with Stack(scratch / "watch", jars=jars) as stack:
        sets = [f"kafka.bootstrap={stack.bootstrap}", f"redis.url={stack.redis_url}", "flink.rest_port=0"]
        sets += [f"flink.checkpoint_dir={REPOSITORY}/.local/tests/watch"]
        sets += ["topics.events.config={'message.timestamp.type'='CreateTime', 'retention.ms'='-1'}"]
        settings = load(REPOSITORY, "local", {}, sets).settings
        topics.apply(wire.admin(stack.bootstrap, 10_000), topics.difference(settings.topics, {}))
        stretch = settings.watch.stretch
        start = (time.time_ns() // 1_000_000 - 5 * stretch) // stretch * stretch
        rng, producer = np.random.default_rng(3), wire.producer(stack.bootstrap)
        for window in range(200):
            told: list[dict[str, Any]] = [{"kind": "error"}] * int(rng.poisson(4 if window < TURN else 20))
            told += [{"kind": "exposure", "slot": "hero"}] * int(rng.poisson(30))
            told += [{"kind": "click", "decision_id": "7Qm2.hero"}] * int(rng.poisson(6 if window < TURN else 18))
            # What was shown in a slot that conf does not know is shown in one that it knows from the turn on.
            slot = "home_feed_of_old" if window < TURN else "home_feed"
            told += [{"kind": "exposure", "slot": slot}] * int(rng.poisson(40))
            told += [{"kind": "error", "robot": True}] * 50
            for event in told:
                at = start + window * MINUTE + int(rng.integers(0, MINUTE))
                body = {"v": 1, "user_id": "k0:ada", "at": at} | event
                producer.produce("events", json.dumps(body).encode(), "k0:ada", timestamp=at)
            producer.poll(0)
        assert producer.flush(30) == 0
        bodies = [watched(stack, [*sets, f"flink.parallelism={parallelism}"]) for parallelism in (1, 2)]
    # The topic keeps what the first run said: the second one said the same again.
    assert bodies[1] == 2 * bodies[0]
    alerts = [json.loads(body) for body in bodies[0]]
    told_of = Counter((alert["subject"], alert["series"]) for alert in alerts)
    assert set(told_of) == {("*", "errors"), ("*", "clicks"), ("home_feed", "exposures"), ("hero", "click_rate")}
    assert min(told_of.values()) >= 2
    assert len({(alert["subject"], alert["series"], alert["what"]) for alert in alerts}) == len(alerts)
    assert max(seen(alerts, place) for place in told_of) <= start + (TURN + 6) * MINUTE
    for alert in alerts:
        assert alert["at"] - start > TURN * MINUTE
        assert abs((alert["since"] - start) / MINUTE - TURN) <= 2
        assert (alert["size"] > 0, alert["sure"] > 0.99) == (True, True)
    assert any(alert["words"].startswith("Exposures of home_feed rose from 0 to ") for alert in alerts)


def watched(stack: Stack, sets: list[str]) -> list[bytes]:
    """Run the job over what the topic holds; give all that lies in the topic of alerts then, in its order."""
    bounded.run("watch", sets)
    return [taken.body or b"" for taken in collect(stack.bootstrap, "alerts")]


def seen(alerts: list[dict[str, Any]], place: tuple[str, str]) -> int:
    """When a series' first alert came, ms since 1970."""
    return min(int(alert["at"]) for alert in alerts if (alert["subject"], alert["series"]) == place)
