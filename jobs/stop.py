"""Stops a job so that it can go on later, or the whole cluster on this machine."""

import os
import signal
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Final

from jobs import cluster as local
from jobs.local import processes
from jobs.submit import JOBS, title
from jobs.wiring import Refusal
from jobs.wiring.cluster import Cluster
from schemas.settings import Settings

_END_S: Final = 60.0
_POLL_S: Final = 0.1


def main(settings: Settings, arguments: list[str]) -> int:
    """Stop a job with a savepoint and print where that lies; without `--savepoint`, end the cluster on this machine.

    Raises:
        Refusal: there is no such job, no savepoint was taken, or the cluster does not end.
    """
    del settings
    parser = ArgumentParser(prog="python -m jobs stop", description=__doc__)
    parser.add_argument(
        "--savepoint", metavar="JOB", nargs="?", const=JOBS[0], choices=JOBS, help=f"the job to stop ({JOBS[0]})"
    )
    parser.add_argument(
        "--rest", metavar="HOST:PORT", help="of the job's cluster; if not given, the one on this machine"
    )
    asked = parser.parse_args(arguments)
    root = Path.cwd()
    if asked.savepoint:
        print(_stopped(Cluster(asked.rest or local.expected(root).rest), title(asked.savepoint)))
    elif asked.rest:
        raise Refusal("stop: only a cluster on this machine can be ended; --rest goes with --savepoint")
    else:
        print("everything has ended" if _ended(root) else "nothing was running")
    return 0


def _stopped(cluster: Cluster, name: str) -> str:
    for job in cluster.running():
        if job.name == name:
            return cluster.stop(job)
    raise Refusal(f"stop: no {name} runs at {cluster.address}")


def _ended(root: Path) -> bool:
    """End the cluster in order, then whatever a kill -9 may have left; returns whether there was anything."""
    up = local.running(root)
    if up:
        os.kill(up.pid, signal.SIGTERM)
        deadline = time.monotonic() + _END_S
        while local.running(root):
            if time.monotonic() > deadline:
                raise Refusal(f"stop: the cluster's process {up.pid} has not ended within {_END_S:.0f} s")
            time.sleep(_POLL_S)
    return bool(processes.reap(root)) or up is not None
