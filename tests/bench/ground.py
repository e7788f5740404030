"""What measurements stand on: a broker, a cache and a store of their own, apart from any that run beside."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from confluent_kafka.admin import AdminClient
from msgspec import json
from msgspec.structs import replace
from redis import Redis

from jobs import topics, train
from jobs.local import processes
from jobs.local.stack import Stack
from jobs.wiring import wire
from jobs.wiring.handover import variables
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.settings import Settings, Topic
from tests.bench.children import Usage, measured, started
from tests.bench.stream import NORMS

if TYPE_CHECKING:
    from subprocess import Popen

HOME: Final = Path("build/bench")
"""Where all of it lies; logs in `logs`."""

SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Ground:
    """A running stack, and the settings by which the measured processes find it."""

    changes: Mapping[str, str]

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a measured process."""
        return {**os.environ, **variables(self.changes), "PYTHONPATH": str(Path.cwd())}

    @property
    def settings(self) -> Settings:
        """What that process will load."""
        return load(Path.cwd(), "local", self.environ, ()).settings

    def with_changes(self, **changes: str) -> "Ground":
        """Change more settings; `time__slice` stands for `time.slice`."""
        return Ground({**self.changes, **{path.replace("__", "."): value for path, value in changes.items()}})

    def measured(self, name: str, module: str, *arguments: str, wait_s: float = 600) -> Usage:
        """Run a module as a measured process; its output goes to a log of that name."""
        return measured(module, arguments, self.environ, log_of(name), wait_s)

    def started(self, name: str, module: str, *arguments: str) -> "AbstractContextManager[Popen[bytes]]":
        """Run a module beside a block; its output goes to a log of that name."""
        return started(module, arguments, self.environ, log_of(name))

    def redis(self) -> Redis:
        """Open the cache."""
        return Redis.from_url(self.settings.redis.url)


@contextmanager
def ground(*, past: bool, **changes: str) -> Iterator[Ground]:
    """Set up broker, cache, topics and the demo releases.

    Args:
        past: whether the raw topic takes records with times of their own, and keeps them whatever these are.
        changes: of settings, `time__slice` for `time.slice`.
    """
    with Stack(HOME, jars=processes.home(Path.cwd()) / "jars" / "broker") as stack:
        temporary = (processes.home(HOME) / "temporary").absolute()
        here = Ground(
            {
                "kafka.bootstrap": stack.bootstrap,
                "redis.url": stack.redis_url,
                "releases.store": str(temporary / "store"),
                "flink.checkpoint_dir": str(temporary / "checkpoints"),
                "flink.rest_port": "0",
            }
        ).with_changes(**changes)
        settings = here.settings
        admin = wire.admin(settings.kafka.bootstrap, settings.kafka.wait)
        create(admin, {name: _dated(topic) if past else topic for name, topic in settings.topics.items()})
        train.publish_demo(settings, SEED)
        if not (store := Store(settings.releases.store)).index("norms"):
            store.publish("norms", json.encode(NORMS), None, effective_at=0, reason="what the stream is made of")
        yield here


def create(admin: AdminClient, declared: Mapping[str, Topic]) -> None:
    """Create topics that are not there yet."""
    topics.apply(admin, topics.difference(declared, topics.actual_topics(admin, declared)))


def _dated(topic: Topic) -> Topic:
    own = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    return replace(topic, config={**topic.config, **own})


def log_of(name: str) -> Path:
    """Say where a process writes what it prints."""
    return HOME / "logs" / f"{name}.log"
