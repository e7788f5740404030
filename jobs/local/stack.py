"""A broker and a cache for one run on this machine, with one way in and one way out."""

import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from jobs.local import processes
from jobs.local.broker import Broker
from jobs.local.cache import Cache

_READY_MS: Final = 60_000
_GRACE_MS: Final = 5_000


class Stack:
    """The embedded broker and cache, up for as long as the `with` block lasts.

    Whatever ends the block (its end, an error, Ctrl-C, SIGTERM, a closed terminal) ends every process that was started
    in it, whoever started it. After a kill -9, the next start in the same root does.

    Args:
        root: the folder whose `.local` holds all the stack writes; a second stack there is refused.
        keep_data: keep the broker's records under `.local/kept`, and find them there the next time.
        jars: the broker's jars; `.local/jars/broker` of the root unless given.
        maxmemory: of the cache; see Cache.

    Raises on entry:
        AlreadyRunning: another process runs a stack in this root.
        NotStarted: broker or cache did not come up.
    """

    def __init__(self, root: Path, *, keep_data: bool = False, jars: Path | None = None, maxmemory: str = "0") -> None:
        home = processes.home(root)
        clients, controller, cache = processes.free_ports(3)
        self._root = root
        self._keep = keep_data
        self._data = home / ("kept" if keep_data else "temporary")
        self._exits = ExitStack()
        self.broker = Broker(root, self._data / "broker", jars or home / "jars" / "broker", (clients, controller))
        self.cache = Cache(root, self._data / "cache", cache, maxmemory)

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            exits.enter_context(processes.claim(self._root))
            self._clear()
            exits.enter_context(processes.marked(self._root))
            exits.enter_context(_endings_unwind())
            exits.callback(self._leave)
            self.cache.launch()
            self.broker.launch()
            self.cache.await_ready(_READY_MS)
            self.broker.await_ready(_READY_MS)
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.__exit__(kind, error, trace)

    @property
    def bootstrap(self) -> str:
        """The broker's address, `127.0.0.1:port`."""
        return self.broker.bootstrap

    @property
    def redis_url(self) -> str:
        """The cache's address."""
        return self.cache.url

    def environment(self) -> dict[str, str]:
        """The variables by which settings learn the addresses."""
        return {"TRIMTAB__KAFKA__BOOTSTRAP": self.bootstrap, "TRIMTAB__REDIS__URL": self.redis_url}

    def restart_broker(self) -> None:
        """Bring the broker up again where it was, with its records, after it was stopped or killed."""
        self.broker.stop(_GRACE_MS)
        self.broker.launch()
        self.broker.await_ready(_READY_MS)

    def restart_cache(self) -> None:
        """Bring the cache up again where it was, empty, after it was stopped or killed."""
        self.cache.stop(_GRACE_MS)
        self.cache.launch()
        self.cache.await_ready(_READY_MS)

    def _leave(self) -> None:
        with _endings_wait():
            self.cache.stop(_GRACE_MS)
            self.broker.stop(_GRACE_MS if self._keep else 0)  # records that nobody will read need no farewell
            self._clear()

    def _clear(self) -> None:
        processes.reap(self._root)
        if not self._keep and self._data.exists():
            shutil.rmtree(self._data)


@contextmanager
def _handling(signs: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle signals differently for a while; only the main thread may, in another nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {sign: signal.signal(sign, handler) for sign in signs}
    try:
        yield
    finally:
        for sign, old in before.items():
            signal.signal(sign, old)


@contextmanager
def _endings_unwind() -> Iterator[None]:
    """Let the signals that end a process unwind it instead, so that `with` blocks are left in order."""

    def unwind(sign: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + sign)

    with _handling((signal.SIGTERM, signal.SIGHUP), unwind):
        yield


@contextmanager
def _endings_wait() -> Iterator[None]:
    """Hold back what would interrupt the clearing up, a second Ctrl-C for instance, until it is done."""
    held: list[int] = []
    with _handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), lambda sign, _frame: held.append(sign)):
        yield
    for sign in held[:1]:
        signal.raise_signal(sign)
