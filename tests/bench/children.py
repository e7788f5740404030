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

ENVIRONMENT: Final = {
    # Python functions run in processes of their own, as on a cluster.
    "_python_worker_execution_mode": "process",
    "JVM_ARGS": "-XX:+UseParallelGC -Xmx3g",
    "OMP_NUM_THREADS": "1",
}
"""What every measured process is given; it is part of the measurement."""

_ANSWER: Final = "TRIMTAB_BENCH_ANSWER"
_SAMPLE_S: Final = 0.1
_FAREWELL_S: Final = 20.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A measurement could not be taken; the message is one line and says where to look."""


class Usage(NamedTuple):
    """What one run took.

    Attributes:
        cpu_s: processor seconds by program (`java`, `python`), from the start of the process to its answer.
        wall_s: seconds from the start of the process to its answer.
        answer: what it said.
    """

    cpu_s: dict[str, float]
    wall_s: float
    answer: dict[str, Any]

    @property
    def total_s(self) -> float:
        """Processor seconds of all programs."""
        return sum(self.cpu_s.values())


class _Process(NamedTuple):
    pid: int
    parent: int
    started: int
    program: str
    cpu_s: float


@dataclass
class Meter:
    """Watches a process and its descendants.

    A worker may end, and be inherited by nobody who counts it, before its job does; so each process counts with what
    it had when it was last seen.
    """

    root: int
    _seen: dict[tuple[int, int], _Process] = field(default_factory=dict)

    def sample(self) -> None:
        """Look at all that lives."""
        alive = {process.pid: process for process in _processes()}
        family = {process.pid for process in self._seen.values()} | {self.root}
        grown = True
        while grown:
            children = {process.pid for process in alive.values() if process.parent in family} - family
            family |= children
            grown = bool(children)
        for pid in family & alive.keys():
            process = alive[pid]
            self._seen[pid, process.started] = process

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds so far, by program."""
        total: dict[str, float] = {}
        for process in self._seen.values():
            name = "java" if process.program == "java" else "python"
            total[name] = total.get(name, 0.0) + process.cpu_s
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
                meter.sample()
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


def _processes() -> list[_Process]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it ended meanwhile
                # The name, in parentheses, may hold anything; the numbers follow.
                head, _, tail = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
                numbers = tail.split()
                found.append(
                    _Process(
                        pid=int(entry.name),
                        parent=int(numbers[1]),
                        started=int(numbers[19]),
                        program=head.partition("(")[2],
                        cpu_s=(int(numbers[11]) + int(numbers[12])) / _TICKS,
                    )
                )
    return found
