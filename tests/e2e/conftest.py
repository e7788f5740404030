"""One embedded stack for all tests that need a real broker and a real cache."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.cimpl import NewTopic

from jobs.local import processes
from jobs.local.stack import Stack
from jobs.wiring import wire

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def jars() -> Path:
    return processes.home(REPOSITORY) / "jars" / "broker"


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder for this session's stacks; what a killed session left is cleared first."""
    folder = processes.home(REPOSITORY) / "tests"
    for session in folder.glob("[0-9]*"):
        if not Path("/proc", session.name).exists():
            for root in session.iterdir():
                processes.reap(root)
            shutil.rmtree(session)
    mine = folder / str(os.getpid())
    mine.mkdir(parents=True)
    yield mine
    shutil.rmtree(mine)


@pytest.fixture(scope="session")
def stack(scratch: Path, jars: Path) -> Iterator[Stack]:
    with Stack(scratch / "shared", jars=jars) as running:
        yield running


@pytest.fixture
def own_topic(stack: Stack, tmp_path: Path) -> Callable[[str, int], str]:
    """Make a topic of the test's own that forgets nothing, from a word and a number of partitions; give its name."""

    def made(word: str, partitions: int) -> str:
        name = f"{word}-{tmp_path.name}"
        admin = wire.admin(stack.bootstrap, 10_000)
        admin.create_topics([NewTopic(name, partitions, 1, config={"retention.ms": "-1"})])[name].result()
        return name

    return made
