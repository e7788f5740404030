"""Starts what runs beside a job on this machine, and leaves nothing of it behind, whatever ended the run."""

import fcntl
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import SystemRandom
from typing import Final, Self

from jobs.wiring import Refusal

MARK: Final = "TRIMTAB_STACK"
"""Environment variable that every process of a stack inherits; its value is the stack's home."""

_LAST_LINES: Final = 3
_POLL_S: Final = 0.02
_ROUNDS: Final = 5
_PORTS: Final = range(20_000, 30_000)


class NotStarted(Refusal):
    """Something the stack needs did not come up; the message is one line and says what to do."""


class AlreadyRunning(Refusal):
    """Another process runs a stack in the same place."""

    def __init__(self, home: Path, pid: int) -> None:
        super().__init__(f"{home}: process {pid} already runs a stack here; end it first, or work in another folder")
        self.pid = pid


def home(root: Path) -> Path:
    """The folder under which a stack in `root` keeps everything: logs, data, jars, the lock."""
    return root.resolve() / ".local"


@dataclass(frozen=True, slots=True)
class Child:
    """One process that was started here, leader of its own process group."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def ended(self) -> bool:
        """Whether it is gone."""
        return self.process.poll() is not None

    def last_words(self) -> str:
        """The end of its log without stack frames, in one line, for an error message."""
        lines = map(str.strip, self.log.read_text(encoding="utf-8", errors="replace").splitlines())
        said = [line for line in lines if line and not line.startswith("at ")][-_LAST_LINES:]
        return f"{self.log} ends: {' | '.join(said)}" if said else f"{self.log} is empty"

    def stop(self, wait_ms: int) -> None:
        """Ask the process and its group to end, and end them by force after `wait_ms` milliseconds (0: at once)."""
        if not self.ended() and wait_ms:
            os.killpg(self.process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):  # force follows
                self.process.wait(wait_ms / 1000)
        if not self.ended():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(name: str, command: Sequence[str | Path], root: Path) -> Child:
    """Start `command` in its own process group, marked as belonging to the stack in `root`.

    A Ctrl-C in the terminal therefore reaches the owner only, which then stops its children in order. What the
    process prints goes to `logs/<name>.log` in the stack's home, of which one earlier run is kept as `.old`.

    Raises:
        NotStarted: the program does not exist or may not be run.
    """
    logs = home(root) / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{name}.log"
    if log.exists():
        log.replace(log.with_suffix(".old"))
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - the commands are ours
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: str(home(root))},
                process_group=0,
            )
        except OSError as error:
            raise NotStarted(f"{name}: {command[0]} cannot be run: {error.strerror}") from error
    return Child(name, process, log)


@contextmanager
def claim(root: Path) -> Iterator[None]:
    """Hold the stack in `root` for this process; the kernel lets go of it however the process ends.

    Raises:
        AlreadyRunning: another process holds it.
    """
    home(root).mkdir(parents=True, exist_ok=True)
    with (home(root) / "lock").open("a+", encoding="ascii") as lock:
        lock.seek(0)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(home(root), int(lock.read() or 0)) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def marked(root: Path) -> Iterator[None]:
    """Let every process that is started meanwhile, by whatever library, inherit the mark of the stack in `root`."""
    before = os.environ.get(MARK)
    os.environ[MARK] = str(home(root))
    try:
        yield
    finally:
        os.environ.pop(MARK)
        if before is not None:
            os.environ[MARK] = before


def reap(root: Path, wait_ms: int = 3000) -> list[int]:
    """End every process that carries the mark of the stack in `root`, but for the caller and its ancestors.

    A JVM that was killed leaves its Python workers alive for minutes; they are found here because they inherited
    the mark. Each is asked to end, and forced after `wait_ms` milliseconds.

    Returns:
        The ids of the processes that were ended.

    Raises:
        NotStarted: a process survives being forced.
    """
    spared = _self_and_ancestors()
    ended: list[int] = []
    for _ in range(_ROUNDS):  # a process may start another one while it is being ended
        left = [pid for pid in _marked_pids(home(root)) if pid not in spared]
        handles = [handle for pid in left if (handle := _Handle.of(pid, home(root)))]
        if not handles:
            return ended
        _end(handles, wait_ms)
        ended += [handle.pid for handle in handles]
    raise NotStarted(
        f"{home(root)}: processes of an earlier run cannot be ended: {sorted(set(left))}; end them by hand"
    )


def free_ports(count: int) -> list[int]:
    """Find distinct ports of 127.0.0.1 that nobody listens on.

    They lie below the range from which the kernel serves outgoing connections, so that a server that is down for a
    moment finds its port free when it comes back.

    Raises:
        NotStarted: there are not enough.
    """
    shuffled = SystemRandom().sample(_PORTS, k=len(_PORTS))  # several stacks may be looking at this moment
    found = list(islice(filter(_is_free, shuffled), count))
    if len(found) < count:
        raise NotStarted(f"no free port on 127.0.0.1 from {_PORTS.start} to {_PORTS.stop - 1}: stop what listens there")
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers themselves do
        try:
            server.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Handle:
    """A process that cannot be mistaken for a later one with the same id."""

    pid: int
    descriptor: int

    @classmethod
    def of(cls, pid: int, place: Path) -> Self | None:
        """Take hold of a process, if it is still there and still carries the mark."""
        try:
            handle = cls(pid, os.pidfd_open(pid))
        except ProcessLookupError:
            return None
        if _is_marked(pid, place):
            return handle
        handle.close()
        return None

    def send(self, sign: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, sign)

    def gone(self) -> bool:
        return bool(select.select([self.descriptor], [], [], 0)[0])

    def close(self) -> None:
        os.close(self.descriptor)


def _end(handles: Sequence[_Handle], wait_ms: int) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for handle in handles:
            handle.send(sign)
        deadline = time.monotonic() + wait_ms / 1000
        while time.monotonic() < deadline and not all(handle.gone() for handle in handles):
            time.sleep(_POLL_S)
    for handle in handles:
        handle.close()


def _marked_pids(place: Path) -> list[int]:
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [pid for pid in pids if _is_marked(pid, place)]


def _is_marked(pid: int, place: Path) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False  # it ended, or it is not ours to read
    return f"{MARK}={place}".encode() in environment.split(b"\0")


def _self_and_ancestors() -> set[int]:
    found: set[int] = set()
    pid = os.getpid()
    while pid:
        found.add(pid)
        # The name, in parentheses, may hold anything; after it come the state and the parent.
        pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    return found
