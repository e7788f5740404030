"""Hands the archive to a Flink cluster, which runs a job from it and from nothing else."""

import os
import re
import shutil
import subprocess
from argparse import ArgumentParser
from pathlib import Path
from typing import Final

from jobs import cluster as local
from jobs.package import ARCHIVE
from jobs.wiring import Refusal
from jobs.wiring.cluster import DISTRIBUTION, Cluster, furnish, places
from jobs.wiring.handover import variables
from jobs.wiring.jars import connectors
from jobs.wiring.store import location
from schemas.settings import Settings

JOBS: Final = ("personalize", "watch", "learn")

_SUBMIT_S: Final = 180.0
_ID: Final = re.compile(r"JobID ([0-9a-f]{32})")


def title(job: str) -> str:
    """Name a job as operators see it."""
    return f"trimtab-{job}"


def main(settings: Settings, arguments: list[str]) -> int:
    """Submit build/app.zip, and return once the cluster has the job.

    The job reads its settings where it is submitted: from conf/ in the archive and from the environment of this
    command, which `--env` and `--set` are part of. So no setting, and no secret, stands among Flink's arguments.

    Raises:
        Refusal: there is no archive, no cluster or no such savepoint, the job runs already, or Flink does not take it.
    """
    parser = ArgumentParser(prog="python -m jobs submit", description=__doc__)
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--savepoint", metavar="PATH", help="go on from where a job was stopped")
    parser.add_argument("--rest", metavar="HOST:PORT", help="of the cluster; if not given, the one on this machine")
    parser.add_argument("--python", default="python", help="with --rest: the interpreter of its TaskManagers (python)")
    asked = parser.parse_args(arguments)
    root = Path.cwd()
    archive = root / ARCHIVE
    if not archive.is_file():
        raise Refusal(f"submit: there is no {ARCHIVE}: run python -m jobs package")
    folder, found, address = _client(root, asked.rest, asked.python)
    cluster = Cluster(address)
    for job in cluster.running():
        if job.name == title(asked.job):
            raise Refusal(f"submit: {job.name} runs already, as {job.job_id}: stop it first, or two decide the same")
    start = ["-s", savepoint(asked.savepoint)] if asked.savepoint else []
    # A relative store lies beside this command, not beside the client.
    there = variables({"releases.store": location(settings.releases.store)}) | found
    command = ["run", "-d", "-m", address, *start, "-pyfs", str(archive), "-pym", "jobs", "--", asked.job]
    job_id = _run(command, there | places(folder), root / ARCHIVE.parent / "submit")
    print(f"{title(asked.job)} {job_id}\n{cluster.page(job_id)}")
    return 0


def savepoint(place: str) -> str:
    """Name a savepoint so that it means the same everywhere; raises Refusal where a local one is not there."""
    if "://" in place:
        return place
    path = Path(place.removeprefix("file:")).absolute()
    if not (path / "_metadata").is_file():
        raise Refusal(f"submit: {place} is no savepoint: it has no _metadata")
    return path.as_uri()


def outcome(said: str) -> str:
    r"""Find the line that says why Flink did not take a job.

    >>> outcome("trimtab: no broker answers\norg.apache.X: Y\n\tat Z\nCaused by: A\nCaused by: B\n\tat C")
    'no broker answers'
    >>> outcome("org.apache.X: Y\n\tat Z\nCaused by: A\nCaused by: B\n\tat C")
    'Caused by: B'
    """
    lines = said.splitlines()
    ours = [line.removeprefix("trimtab: ") for line in lines if line.startswith("trimtab: ")]
    causes = [line for line in lines if line.startswith("Caused by: ")]
    return (ours or causes or [line for line in lines if line.strip()] or ["it said nothing"])[-1]


def _client(root: Path, rest: str | None, python: str) -> tuple[Path, dict[str, str], str]:
    """Choose the client's folder, what it adds to the environment, and the cluster's address."""
    if rest is None:
        up = local.expected(root)
        return local.folder(root), up.variables, up.rest
    folder = root / ARCHIVE.parent / "client"
    # The job carries the interpreter's name: what the cluster's own configuration says of it is not asked.
    furnish(folder, {"python.executable": python, "python.client.executable": local.PYTHON}, connectors(root))
    return folder, {}, rest


def _run(command: list[str], added: dict[str, str], away: Path) -> str:
    # Flink puts the client's working directory before the archive: from within the tree, the tree would run.
    shutil.rmtree(away, ignore_errors=True)
    away.mkdir(parents=True)
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | added
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours
            [DISTRIBUTION / "bin/flink", *command],
            cwd=away,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SUBMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Refusal(f"submit: Flink's client did not end within {_SUBMIT_S:.0f} s") from error
    found = _ID.search(done.stdout)
    if done.returncode or not found:
        log = away / "flink.log"
        log.write_text(done.stdout, encoding="utf-8")
        raise Refusal(f"submit: {outcome(done.stdout)} (all of it in {log})")
    return found[1]
