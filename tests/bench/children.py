"""Runs one thing in a process of its own, and says how much processor time it and all its children took."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any, Final, NamedTuple

from jobs.wiring import Refusal

ENVIRONMENT: Final = {
    # Python functions run in processes of their own, as on a cluster.
    "_python_worker_execution_mode": "process",
    "JVM_ARGS": "-XX:+UseParallelGC -Xmx3g",
    "OMP_NUM_THREADS": "1",
}
"""What every measured process is given; it is part of the measurement."""

PARTS: Final = ("java", "gc", "jit", "python")
"""Who took the time: the JVM's own work, its collector, its compiler (which is done after a while), and Python."""

_ANSWER: Final = "TRIMTAB_BENCH_ANSWER"
_SAMPLE_S: Final = 0.1
_FAREWELL_S: Final = 20.0
_THREADS_EVERY: Final = 10  # samples; a JVM has a hundred threads, and the few that count live long
_HOUSEKEEPING: Final = (("GC Thread", "gc"), ("C1 Compiler", "jit"), ("C2 Compiler", "jit"))
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class BenchError(Refusal):
    """A measurement could not be taken; the message is one line and says where to look."""


class Usage(NamedTuple):
    """What one run took.

    Attributes:
        cpu_s: processor seconds by PARTS, from the start of the process to its answer.
        wall_s: seconds from the start of the process to its answer.
        answer: what it said.
    """

    cpu_s: dict[str, float]
    wall_s: float
    answer: dict[str, Any]

    @property
    def total_s(self) -> float:
        """Processor seconds of all parts."""
        return sum(self.cpu_s.values())


class _Task(NamedTuple):
    """A process or a thread, as the kernel lists it."""

    id: int
    parent: int
    started: int
    name: str
    cpu_s: float


@dataclass
class Meter:
    """Watches a process and its descendants.

    A worker may end, and be inherited by nobody who counts it, before its job does; so each process counts with what
    it had when it was last seen.
    """

    root: int
    _seen: dict[tuple[int, int], _Task] = field(default_factory=dict)
    _threads: dict[tuple[int, int], _Task] = field(default_factory=dict)
    _samples: int = 0

    def sample(self, *, threads: bool = False) -> None:
        """Look at all that lives, and now and then, or where it is asked for, at the threads of JVMs."""
        alive = {task.id: task for task in _tasks(Path("/proc"))}
        family = {task.id for task in self._seen.values()} | {self.root}
        grown = True
        while grown:
            children = {task.id for task in alive.values() if task.parent in family} - family
            family |= children
            grown = bool(children)
        for pid in family & alive.keys():
            self._seen[pid, alive[pid].started] = alive[pid]
        if threads or self._samples % _THREADS_EVERY == 0:
            jvms = [pid for pid in family & alive.keys() if alive[pid].name == "java"]
            self._threads |= {
                (task.id, task.started): task for pid in jvms for task in _tasks(Path(f"/proc/{pid}/task"))
            }
        self._samples += 1

    def total_s(self) -> float:
        """Look, and give the processor seconds so far."""
        self.sample()
        return sum(self.cpu_s().values())

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds so far, by PARTS."""
        total = dict.fromkeys(PARTS, 0.0)
        for task in self._seen.values():
            total["java" if task.name == "java" else "python"] += task.cpu_s
        for task in self._threads.values():
            for beginning, part in _HOUSEKEEPING:
                if task.name.startswith(beginning):
                    total[part] += task.cpu_s
                    total["java"] -= task.cpu_s
        return total


def measured(module: str, arguments: Sequence[str], environ: Mapping[str, str], log: Path, wait_s: float) -> Usage:
    """Run `python -m module` until it answers, and add up what it took; then let it end.

    Args:
        module: calls `answer` when it is done.
        arguments: for it.
        environ: its environment, `ENVIRONMENT` added.
        log: where its output goes.
        wait_s: how long it may take.

    Raises:
        BenchError: it ended without an answer, or took too long.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as output:
        place = Path(folder) / "answer"
        began = time.monotonic()
        with Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**environ, **ENVIRONMENT, "FLINK_LOG_DIR": str(log.parent.absolute()), _ANSWER: str(place)},
        ) as child:
            try:
                meter = Meter(child.pid)
                while not place.exists():
                    meter.sample()
                    if child.poll() is not None or time.monotonic() - began > wait_s:
                        raise BenchError(f"{module} {' '.join(arguments)}: no answer, see {log}")
                    time.sleep(_SAMPLE_S)
                meter.sample(threads=True)
                wall_s = time.monotonic() - began
                said = json.loads(place.read_bytes())
                with suppress(BrokenPipeError):
                    child.communicate(timeout=_FAREWELL_S)
            finally:
                child.kill()
        return Usage(meter.cpu_s(), wall_s, said)


@contextmanager
def started(module: str, arguments: Sequence[str], environ: Mapping[str, str], log: Path) -> "Iterator[Popen[bytes]]":
    """Run `python -m module` beside the block, and end it with the block."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**environ, **ENVIRONMENT, "FLINK_LOG_DIR": str(log.parent.absolute())},
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(_FAREWELL_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def answer(said: Mapping[str, Any]) -> None:
    """Say what was found, and stay until the processor time is read."""
    place = Path(os.environ[_ANSWER])
    written = place.with_suffix(".part")
    written.write_text(json.dumps(said), encoding="utf-8")
    written.replace(place)
    sys.stdin.read()


def _tasks(folder: Path) -> list[_Task]:
    found = []
    with suppress(OSError):  # it ended meanwhile
        for entry in folder.iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):
                    found.append(_task(int(entry.name), (entry / "stat").read_text(encoding="utf-8", errors="replace")))
    return found


def _task(number: int, stat: str) -> _Task:
    # The name, in parentheses, may hold anything; the numbers follow.
    head, _, tail = stat.rpartition(")")
    numbers = tail.split()
    return _Task(
        id=number,
        parent=int(numbers[1]),
        started=int(numbers[19]),
        name=head.partition("(")[2],
        cpu_s=(int(numbers[11]) + int(numbers[12])) / _TICKS,
    )
