"""A Flink cluster on this machine, with the embedded broker and cache, that outlives the command that starts it."""

import os
import shutil
import sys
import threading
import time
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from jobs import pulse, topics
from jobs.local import processes
from jobs.local.processes import NotStarted
from jobs.local.stack import Stack
from jobs.wiring import Refusal, wire
from jobs.wiring.cluster import DISTRIBUTION, Cluster, Unreachable, furnish, places
from jobs.wiring.handover import changed, variables
from jobs.wiring.jars import connectors
from jobs.wiring.store import location
from schemas.settings import Settings

PYTHON: Final = sys.executable
"""The interpreter that has the suite's dependencies; client and workers use it."""

_START_S: Final = 120.0
_GRACE_MS: Final = 5_000
_KEEPER_GRACE_MS: Final = 30_000
_POLL_S: Final = 0.2


class Up(msgspec.Struct, frozen=True):
    """A cluster that is up.

    Attributes:
        pid: of the process that keeps it.
        rest: address of Flink's REST server, `host:port`.
        variables: by which jobs, and anything else that reads the settings, find broker, cache and releases.
    """

    pid: int
    rest: str
    variables: dict[str, str]

    def __str__(self) -> str:
        return "\n".join([f"Flink at http://{self.rest}", *(f"{key}={value}" for key, value in self.variables.items())])


def folder(root: Path) -> Path:
    """Everything the cluster writes but its broker's and cache's data."""
    return processes.home(root) / "cluster"


def running(root: Path) -> Up | None:
    """Find the cluster of `root`.

    Raises:
        AlreadyRunning: what runs there is something else.
    """
    try:
        with processes.claim(root):
            return None
    except processes.AlreadyRunning as other:
        up = _note(root)
        if up and up.pid == other.pid:
            return up
        raise


def expected(root: Path) -> Up:
    """Find the cluster of `root`, which must be up.

    Raises:
        Refusal: there is none.
    """
    up = running(root)
    if up is None:
        raise Refusal("no cluster runs here: run python -m jobs cluster, or name another one by --rest HOST:PORT")
    return up


def main(settings: Settings, arguments: list[str]) -> int:
    """Start the cluster and return once it can take a job; `--stay` stays with it until Ctrl-C instead.

    Raises:
        Refusal: something did not come up.
    """
    parser = ArgumentParser(prog="python -m jobs cluster", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="stay with it, and end it with Ctrl-C")
    root = Path.cwd()
    if parser.parse_args(arguments).stay:
        return _keep(settings, root)
    if up := running(root):
        print(f"already up\n{up}")
        return 0
    print(_detached(root))
    return 0


def _detached(root: Path) -> Up:
    _note_file(root).unlink(missing_ok=True)
    keeper = processes.start("cluster", [PYTHON, "-m", "jobs", "cluster", "--stay"], root)
    with ExitStack() as undo:
        undo.callback(keeper.stop, _KEEPER_GRACE_MS)
        deadline = time.monotonic() + _START_S
        while not keeper.ended() and time.monotonic() < deadline:
            # Not by `running`: it would hold the claim for a moment, and the keeper could not.
            if up := _note(root):
                undo.pop_all()
                return up
            time.sleep(_POLL_S)
        raise NotStarted(f"the cluster did not come up; {keeper.last_words()}")


def _keep(settings: Settings, root: Path) -> int:
    place = folder(root)
    with Stack(root, keep_data=True) as stack, ExitStack() as exits:
        changes = {
            "kafka.bootstrap": stack.bootstrap,
            "redis.url": stack.redis_url,
            "releases.store": location(settings.releases.store),
        }
        here = changed(settings, changes)
        os.environ.update(variables(changes))
        rest, rpc = processes.free_ports(2)
        furnish(place, _facts(place, rest, rpc), connectors(root))
        children: list[processes.Child] = []
        exits.callback(_end, children)
        children += [processes.start(name, _script(place, name), root) for name in ("jobmanager", "taskmanager")]
        admin = wire.admin(here.kafka.bootstrap, here.kafka.wait)
        topics.apply(admin, topics.difference(here.topics, topics.actual_topics(admin, here.topics)))
        cluster = Cluster(f"127.0.0.1:{rest}")
        _await_slots(cluster, children)
        up = Up(os.getpid(), cluster.address, variables(changes))
        _write_note(root, up)
        print(up, flush=True)
        pulse.keep_alive(here, threading.Event())
    return 0


def _facts(place: Path, rest: int, rpc: int) -> dict[str, str]:
    here = "127.0.0.1"
    scratch = place / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    return {
        "jobmanager.rpc.address": here,
        "jobmanager.rpc.port": str(rpc),
        "jobmanager.bind-host": here,
        "taskmanager.host": here,
        "taskmanager.bind-host": here,
        "rest.address": here,
        "rest.bind-address": here,
        "rest.port": str(rest),
        "io.tmp.dirs": str(scratch),
        "web.tmpdir": str(scratch),
        "execution.checkpointing.dir": (place / "checkpoints").as_uri(),
        "execution.checkpointing.savepoint-dir": (place / "savepoints").as_uri(),
        "python.executable": PYTHON,
        "python.client.executable": PYTHON,
    }


def _script(place: Path, name: str) -> list[str | Path]:
    # Away from the tree, and without a path to it: workers get the code from the archive, or not at all.
    variables = [f"{key}={value}" for key, value in places(place).items()]
    away = ["env", "-C", str(place / "scratch"), "-u", "PYTHONPATH"]
    return [*away, "OMP_NUM_THREADS=1", *variables, DISTRIBUTION / "bin" / f"{name}.sh", "start-foreground"]


def _await_slots(cluster: Cluster, children: list[processes.Child]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        for child in children:
            if child.ended():
                raise NotStarted(f"the {child.name} ended at once; {child.last_words()}")
        try:
            if cluster.slots():
                return
        except Unreachable:
            pass
        time.sleep(_POLL_S)
    raise NotStarted(f"no TaskManager registered within {_START_S:.0f} s; {children[-1].last_words()}")


def _end(children: list[processes.Child]) -> None:
    # The JobManager first: it would take the end of its TaskManager for a failure, and start the job again.
    for child in children:
        child.stop(_GRACE_MS)


def _note_file(root: Path) -> Path:
    return folder(root) / "up.json"


def _note(root: Path) -> Up | None:
    try:
        return msgspec.json.decode(_note_file(root).read_bytes(), type=Up)
    except FileNotFoundError:
        return None


def _write_note(root: Path, up: Up) -> None:
    # Moved into place whole: the command that waits for it must not read half of it.
    draft = _note_file(root).with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(up))
    draft.replace(_note_file(root))
