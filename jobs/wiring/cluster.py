"""A Flink cluster as a client sees it: who is there, which jobs run, and stopping one so that it can go on later."""

import http.client
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pyflink

from jobs.wiring import Refusal

_ROOT: Final = Path(__file__).parents[2]
DISTRIBUTION: Final = Path(pyflink.__path__[0])
"""Flink as pip brings it: bin/, lib/, opt/, conf/."""

_ANSWER_S: Final = 10.0
_POLL_S: Final = 0.2
_SAVEPOINT_S: Final = 120.0
_ENDED: Final = frozenset({"FINISHED", "CANCELED", "FAILED", "SUSPENDED"})


class Unreachable(Refusal):
    """No cluster answers at the address."""


class Job(msgspec.Struct, frozen=True, rename={"job_id": "jid"}):
    """A job the cluster knows."""

    job_id: str
    name: str
    state: str


class _Jobs(msgspec.Struct):
    jobs: list[Job]


class _Overview(msgspec.Struct):
    slots: int = msgspec.field(name="slots-total")


class _Request(msgspec.Struct):
    request_id: str = msgspec.field(name="request-id")


class _Status(msgspec.Struct):
    id: str


class _Cause(msgspec.Struct):
    trace: str = msgspec.field(name="stack-trace")


class _Operation(msgspec.Struct):
    location: str = ""
    cause: _Cause | None = msgspec.field(name="failure-cause", default=None)


class _Savepoint(msgspec.Struct):
    status: _Status
    operation: _Operation | None = None


class Cluster:
    """A cluster's REST interface.

    Args:
        address: of the JobManager's REST server, `host:port`.

    Every method raises Unreachable where nobody answers.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def slots(self) -> int:
        """Count the slots of the TaskManagers that have registered."""
        return msgspec.json.decode(self._call("GET", "/overview"), type=_Overview).slots

    def running(self) -> list[Job]:
        """List the jobs that have not ended, restarting ones included."""
        jobs = msgspec.json.decode(self._call("GET", "/jobs/overview"), type=_Jobs).jobs
        return [job for job in jobs if job.state not in _ENDED]

    def page(self, job_id: str) -> str:
        """Name the job's page for people."""
        return f"http://{self.address}/#/job/running/{job_id}"

    def stop(self, job: Job) -> str:
        """Stop a job with a savepoint, in the folder that the cluster keeps for them; returns the savepoint's place.

        Raises:
            Refusal: the savepoint was not taken; the job goes on.
        """
        body = msgspec.json.encode({"drain": False, "formatType": "CANONICAL"})
        asked = msgspec.json.decode(self._call("POST", f"/jobs/{job.job_id}/stop", body), type=_Request)
        deadline = time.monotonic() + _SAVEPOINT_S
        while time.monotonic() < deadline:
            answer = self._call("GET", f"/jobs/{job.job_id}/savepoints/{asked.request_id}")
            operation = msgspec.json.decode(answer, type=_Savepoint).operation
            if operation and operation.cause:
                why = operation.cause.trace.strip().splitlines()
                raise Refusal(f"{job.name}: no savepoint was taken, the job goes on: {why[0] if why else 'no reason'}")
            if operation:
                return operation.location
            time.sleep(_POLL_S)
        raise Refusal(f"{job.name}: no savepoint within {_SAVEPOINT_S:.0f} s; see {self.page(job.job_id)}")

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection(self.address, timeout=_ANSWER_S)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"no Flink cluster answers at {self.address} ({error}): start one with python -m jobs cluster"
            ) from error
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise Refusal(f"the cluster at {self.address} refuses {method} {path}: {content.decode(errors='replace')}")
        return content


def furnish(folder: Path, facts: Mapping[str, str], jars: Sequence[Path]) -> None:
    """Give Flink's scripts a configuration and a lib folder, under `folder`; see `places`.

    Args:
        folder: is made where it is missing.
        facts: options that conf/flink/config.yaml leaves to the place.
        jars: connectors, which join Flink's own.

    Raises:
        Refusal: there are no connectors.
    """
    if not jars:
        raise Refusal("no connector in .local/jars/flink: run make setup")
    conf, lib = folder / "conf", folder / "lib"
    for each in (conf, lib):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir(parents=True)
    loggers = (_ROOT / "conf/flink/loggers.properties").read_bytes()
    for properties in (DISTRIBUTION / "conf").glob("log4j*.properties"):
        (conf / properties.name).write_bytes(properties.read_bytes() + loggers)
    common = (_ROOT / "conf/flink/config.yaml").read_text(encoding="utf-8")
    lines = [f"{key}: {msgspec.json.encode(value).decode()}" for key, value in facts.items()]
    (conf / "config.yaml").write_text("\n".join([common, *lines, ""]), encoding="utf-8")
    # flink-python belongs here too: loaded once per job, its native parts would be refused the second time.
    for jar in (*DISTRIBUTION.glob("lib/*.jar"), *DISTRIBUTION.glob("opt/flink-python*.jar"), *jars):
        (lib / jar.name).symlink_to(jar.absolute())


def places(folder: Path) -> dict[str, str]:
    """Name the variables by which Flink's scripts find what `furnish` made, and where they may write."""
    return {
        "FLINK_CONF_DIR": str(folder / "conf"),
        "FLINK_LIB_DIR": str(folder / "lib"),
        "FLINK_LOG_DIR": str(folder / "log"),
        "FLINK_PID_DIR": str(folder / "pids"),
    }
