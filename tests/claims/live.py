"""The main job as it runs in earnest, on an embedded broker and cache, for claims that disturb it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from msgspec import json
from redis import Redis

from jobs import pulse, topics
from jobs.local import feed, processes
from jobs.local.stack import Stack
from jobs.replay import ticks
from jobs.run import at_home
from jobs.wiring import Refusal, wire
from jobs.wiring.cards import Cards
from jobs.wiring.handover import JOB_ENVIRONMENT
from schemas.settings import Settings
from tests.claims.claim import REPOSITORY, settings

START_S: Final = 240.0
_ANSWER_S: Final = 10.0
_METRIC_AGE_S: Final = 11.0
_GRACE_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Live:
    """A running job and the ways to look at it."""

    settings: Settings
    job: processes.Child
    redis: Any  # its types mix in asynchronous answers
    cards: Cards
    sets: list[str]

    def heartbeat(self) -> int:
        """The newest slice end that went through the whole pipeline, ms since 1970; 0 before the first."""
        value = self.redis.get(self.cards.heartbeat_key)
        return int(json.decode(value)["seq"]) if value else 0

    def workers(self) -> list[int]:
        """The processes in which the job's Python functions run."""
        return sorted(pid for pid, _ in ticks(self.job.process.pid) if _is_worker(pid))

    def restarts(self) -> int:
        """How often the job was restarted, by its own metric."""
        metric = f"jobs/{self._job_id()}/metrics?get=numRestarts"
        # Asking makes the server look; what it then saw, it tells when asked again.
        self._rest(metric)
        time.sleep(_METRIC_AGE_S)
        [value] = self._rest(metric)
        return int(value["value"])

    def failures(self) -> list[str]:
        """What made it restart, in the words of its exception history."""
        history = self._rest(f"jobs/{self._job_id()}/exceptions")["exceptionHistory"]["entries"]
        return [entry["stacktrace"].splitlines()[0] for entry in history]

    def checkpoints(self) -> int:
        """How many have been completed since the job was started or restored."""
        return int(self._rest(f"jobs/{self._job_id()}/checkpoints")["counts"]["completed"])

    def kill_workers(self) -> int:
        """Kill -9 all of them; how many there were."""
        found = self.workers()
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return len(found)

    def stored(self) -> list[bytes]:
        """Every key in Redis, and the value of every user's."""
        users = list(self.redis.scan_iter(self.cards.key("*"), count=1000))
        values = self.redis.mget(users) if users else []
        return [*self.redis.scan_iter(count=1000), *(value for value in values if value)]

    def taken(self, topic: str) -> list[feed.Taken]:
        """Everything in a topic."""
        return feed.collect(self.settings.kafka.bootstrap, topic)

    def wait(self, until: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for something while the job is there.

        Raises:
            Refusal: it does not happen in time, or the job ended.
        """
        deadline = time.monotonic() + seconds
        while not until():
            if self.job.ended():
                raise Refusal(f"the job ended by itself; {self.job.last_words()}")
            if time.monotonic() > deadline:
                raise Refusal(f"after {seconds:g} s still waiting for {what}; {self.job.last_words()}")
            time.sleep(0.2)

    def _job_id(self) -> str:
        [job] = self._rest("jobs/overview")["jobs"]
        return str(job["jid"])

    def _rest(self, path: str) -> Any:
        with urlopen(f"http://127.0.0.1:{self.settings.flink.rest_port}/{path}", timeout=_ANSWER_S) as answer:
            return json.decode(answer.read())


@contextmanager
def live(
    root: Path,
    *overrides: str,
    past: Callable[[Settings, threading.Event], None] | None = None,
    env: str = "local",
) -> Iterator[Live]:
    """Run stack, pulses and job in a folder, from the first heartbeat on.

    Args:
        root: the folder; logs stay in it.
        overrides: settings, as `--set` takes them.
        env: which of conf's environments.
        past: feeds records with times of their own until the event is set, pulses too; None: it is now.

    Raises:
        Refusal: something did not come up.
    """
    with Stack(root, jars=REPOSITORY / ".local" / "jars" / "broker") as stack:
        here = at_home(stack, root) | {"flink.rest_port": processes.free_ports(1)[0]}
        changes = [*(f"{path}={value}" for path, value in here.items()), *overrides]
        settled = settings(*changes, env=env)
        broker = wire.admin(stack.bootstrap, settled.kafka.wait)
        wanted = feed.replayable(settled.topics) if past else settled.topics
        topics.apply(broker, topics.difference(wanted, {}))
        logs = processes.home(root) / "logs"
        os.environ.update(JOB_ENVIRONMENT, PYTHONPATH=str(REPOSITORY), FLINK_LOG_DIR=str(logs))
        sets = ["--env", env, *(word for change in changes for word in ("--set", change))]
        job = processes.start("personalize", [sys.executable, "-m", "jobs", *sets, "personalize"], root)
        over = threading.Event()
        with ThreadPoolExecutor(1) as pool, Redis.from_url(stack.redis_url) as redis:
            pulses = pool.submit(past or pulse.keep_alive, settled, over)
            try:
                running = Live(settled, job, redis, Cards(settled.redis, time.monotonic), sets)
                running.wait(lambda: running.heartbeat() > 0, START_S, "the first heartbeat")
                yield running
            finally:
                over.set()
                job.stop(_GRACE_MS)
        pulses.result()


def _is_worker(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False  # it has just ended
    return b"python" in Path(words[0].decode()).name.encode() and any(b"pyflink.fn_execution" in word for word in words)
