"""Decides the past again: a file of events in, the events, decisions and rejections that the job makes of them out."""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, json
from msgspec.structs import replace

import jobs
from jobs import personalize, topics
from jobs.local import feed, processes
from jobs.local.feed import Record
from jobs.local.stack import Stack
from jobs.wiring import Refusal, wire
from jobs.wiring.flow import environment, execute
from jobs.wiring.handover import JOB_ENVIRONMENT, changed
from jobs.wiring.jars import connectors
from jobs.wiring.tables import Reading
from schemas.settings import Settings
from udfs.payloads.mapping import parts

TOPICS: Final = ("events", "duplicates", "decisions", "rejected")
_LOOK_S: Final = 0.2
_LEAVE_S: Final = 10.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class _Line(Struct):
    """What orders and counts an output line; the rest of it is carried along unread."""

    user_id: str = ""
    at: int = 0
    seq: int = 0
    partition: int = -1
    offset: int = -1
    reason: str = ""
    late: bool = False
    ver: dict[str, str] = {}


_line = json.Decoder(_Line).decode


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the job made of the past: its output lines in a fixed order, and what they cost.

    Attributes:
        events: by user, time, and the line itself.
        duplicates: events whose id had come before, in the same order.
        decisions: by user and slice end.
        rejected: by the raw record's place.
        wall_s: how long the job ran, seconds.
        cpu_s: CPU seconds of the job, its JVM and its Python workers, while it ran; not those of broker and planning.
    """

    events: Sequence[bytes]
    duplicates: Sequence[bytes]
    decisions: Sequence[bytes]
    rejected: Sequence[bytes]
    wall_s: float
    cpu_s: float


def main(settings: Settings, arguments: list[str]) -> int:
    """Replay a file; the exit code says whether every record is accounted for.

    Raises:
        Refusal: the file cannot be read, there is no such format, or something did not come up.
    """
    asked = _parser().parse_args(arguments)
    if asked.format not in settings.formats:
        raise Refusal(f'replay: there is no format "{asked.format}"; there are: {", ".join(settings.formats)}')
    settings = changed(settings, {"clean.format": asked.format, "flink.parallelism": asked.parallelism})
    apart = parts(settings.formats[asked.format], settings.formats)
    found = feed.survey(asked.input, apart)
    past = feed.records(asked.input, apart, settings.topics["clicks"].partitions, in_order=found.in_order)
    with workplace() as root:
        outcome = decide(settings, past, root)
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in TOPICS:
        (asked.out / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in getattr(outcome, name)))
    summary = summarised(outcome, found, settings)
    (asked.out / "summary.json").write_bytes(json.format(json.encode(summary), indent=2) + b"\n")
    print(
        f"{found.records} records fed, {summary['events']} events, {summary['duplicates']} duplicates,"
        f" {summary['rejections']} rejected,"
        f" {summary['users']} users, {summary['sessions']} sessions, {summary['decisions']} decisions,"
        f" {outcome.wall_s:.1f} s; see {asked.out}"
    )
    if trouble := unaccounted(summary):
        print(f"replay: {trouble}", file=sys.stderr)
        return 1
    return 0


def decide(settings: Settings, past: Iterable[Record], root: Path) -> Outcome:
    """Feed records to an embedded broker and run the job over them, to their end.

    Args:
        settings: the format, the parallelism and everything else the job reads.
        past: in the order of time within each partition.
        root: a folder for the stack, see `workplace`.

    Raises:
        Refusal: something did not come up, or the job failed.
    """
    with Stack(root, jars=_broker_jars()) as stack:
        here = changed(
            settings,
            {
                "kafka.bootstrap": stack.bootstrap,
                "kafka.exactly_once": False,
                "flink.rest_port": 0,
                "flink.checkpoint_dir": str(processes.home(root) / "temporary" / "checkpoints"),
            },
        )
        here = replace(here, topics=feed.replayable(here.topics))
        topics.apply(wire.admin(here.kafka.bootstrap, here.kafka.wait), topics.difference(here.topics, {}))
        feed.produce(here.kafka.bootstrap, "clicks", past)
        wall_s, cpu_s = _run(here, processes.home(root) / "logs")
        events, duplicates, decisions, rejected = (
            [taken.body or b"" for taken in feed.collect(stack.bootstrap, topic)] for topic in TOPICS
        )
    for lines in (events, duplicates):
        lines.sort(key=lambda line: ((found := _line(line)).user_id, found.at, line))
    decisions.sort(key=lambda line: ((found := _line(line)).user_id, found.seq))
    rejected.sort(key=lambda line: ((found := _line(line)).partition, found.offset))
    return Outcome(events, duplicates, decisions, rejected, wall_s, cpu_s)


@contextmanager
def workplace() -> Iterator[Path]:
    """Give a folder of its own to each replay, under `.local`; it stays where the replay failed, for its logs."""
    local = processes.home(Path.cwd())
    local.mkdir(exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="replay-", dir=local))
    failed = False
    try:
        yield root
    except Refusal:
        failed = True
        raise
    finally:
        if not failed:
            shutil.rmtree(root)


def summarised(outcome: Outcome, found: feed.Survey, settings: Settings) -> dict[str, Any]:
    """Count what came out; wall and CPU seconds are the only numbers that differ from run to run."""
    refused = Counter(_line(line).reason for line in outcome.rejected)
    moments: defaultdict[str, list[int]] = defaultdict(list)
    for line in outcome.events:
        event = _line(line)
        moments[event.user_id].append(event.at)
    in_force: defaultdict[str, set[str]] = defaultdict(set)
    for line in outcome.decisions:
        for channel, version in _line(line).ver.items():
            in_force[channel].add(version)
    events = len(outcome.events)
    return {
        "lines": found.lines,
        "bare_lines": found.bare,
        "sorted_by_replay": not found.in_order,
        "records": found.records,
        "events": events,
        "rejections": len(outcome.rejected),
        "rejected": dict(sorted(refused.items())),
        "late": sum(_line(line).late for line in outcome.events),
        "duplicates": len(outcome.duplicates),
        "decisions": len(outcome.decisions),
        "users": len(moments),
        "sessions": sum(sessions(times, settings.time.session_gap) for times in moments.values()),
        "releases": {channel: sorted(versions) for channel, versions in sorted(in_force.items())},
        "parallelism": settings.flink.parallelism,
        "wall_s": round(outcome.wall_s, 3),
        "cpu_s": round(outcome.cpu_s, 3),
        "cpu_s_per_million_events": round(outcome.cpu_s / events * 1e6, 3) if events else None,
    }


def sessions(times: Sequence[int], gap_ms: int) -> int:
    """Count the sessions of one user: one begins after a silence longer than `gap_ms`.

    Args:
        times: of the user's events, ascending, ms.
        gap_ms: `time.session_gap`.

    >>> sessions([0, 1_800_000, 3_600_001], 1_800_000)
    2
    """
    return bool(times) + sum(after - before > gap_ms for before, after in pairwise(times))


def unaccounted(summary: Mapping[str, Any]) -> str:
    """Say which count is off; empty where every record became an event, a duplicate or a rejection.

    >>> unaccounted({"records": 3, "events": 1, "rejections": 1, "duplicates": 0})
    '3 records were fed, but 2 came out: 1 events, 1 rejected, 0 duplicates'
    """
    fed = summary["records"]
    out = summary["events"] + summary["rejections"] + summary["duplicates"]
    if fed == out:
        return ""
    return (
        f"{fed} records were fed, but {out} came out: {summary['events']} events, {summary['rejections']} rejected,"
        f" {summary['duplicates']} duplicates"
    )


def _run(settings: Settings, logs: Path) -> tuple[float, float]:
    """Run the job in a process group of its own, to its end; return its wall and CPU seconds."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    log = logs / "job.log"
    child = multiprocessing.get_context("spawn").Process(target=_job, args=(settings, log, theirs))
    child.start()
    theirs.close()
    used: dict[tuple[int, int], int] = {}
    try:
        began, before = _told(ours, child.pid or 0, used)
        ended, after = _told(ours, child.pid or 0, used)
    except EOFError:
        said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        raise Refusal(f"replay: the job failed: {cause(said)}; see {log}") from None
    child.join(_LEAVE_S)
    return ended - began, (after - before) / _TICKS


def _told(ours: Connection, group: int, used: dict[tuple[int, int], int]) -> tuple[float, int]:
    """Wait for the job's next word, a moment of its clock, and add up what it has used by then.

    Raises:
        EOFError: it ended without a word.
    """
    # Often, because what has ended since the last look keeps only what it had used by then.
    while not ours.poll(_LOOK_S):
        used |= ticks(group)
    used |= ticks(group)
    moment: float = ours.recv()
    return moment, sum(used.values())


def _job(settings: Settings, log: Path, told: Connection) -> None:
    """Be the job's process: plan, say when it begins and ends, go."""
    os.setpgid(0, 0)
    with log.open("wb") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    home = str(Path(jobs.__path__[0]).parent)
    os.environ.update(JOB_ENVIRONMENT, PYTHONPATH=home, FLINK_LOG_DIR=str(log.parent))
    table = environment(settings, name="trimtab-replay", jars=connectors())
    # A bounded job that is restored from a checkpoint may hang before its last windows (FLINK-31006): it takes none,
    # and starts over instead of restarting, which would write everything twice.
    table.get_config().get_configuration().remove_config("execution.checkpointing.interval")
    table.get_config().set("restart-strategy.type", "none")
    flow = personalize.build(table, settings, Reading.all_of(settings, "clicks"), serve=False)
    plan = personalize.planned(flow, settings)
    told.send(time.monotonic())
    execute(table, plan).wait()
    told.send(time.monotonic())


def cause(log: str) -> str:
    r"""Find what a Java or Python traceback is about: its innermost cause, else its last line.

    >>> cause("Traceback\nJavaError: x\nCaused by: A: outer\n  at a.b\nCaused by: B: inner\n  at c.d")
    'B: inner'
    """
    said = [line.strip() for line in log.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in said if line.startswith("Caused by: ")]
    return (causes or said or ["it said nothing"])[-1]


def ticks(group: int) -> dict[tuple[int, int], int]:
    """Read what each process of a process group has used so far: (its id, its start) -> clock ticks."""
    used: dict[tuple[int, int], int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it has just ended
        # The name, in parentheses, may hold anything; the group, both times and the start come after it (man 5 proc).
        facts = stat.rpartition(")")[2].split()
        if int(facts[2]) == group:
            used[int(entry.name), int(facts[19])] = int(facts[11]) + int(facts[12])
    return used


def _broker_jars() -> Path:
    return processes.home(Path.cwd()) / "jars" / "broker"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs replay", description=__doc__)
    parser.add_argument(
        "--input", type=Path, required=True, help="a file of records, or a folder of such files; see conf/FORMATS.md"
    )
    parser.add_argument("--format", required=True, help="of its records: a key of conf/formats.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder for the three outputs and summary.json")
    parser.add_argument(
        "--parallelism", type=_positive, default=1, help="of the job (1); it changes no byte of the outputs"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a whole number from 1 on, got "{text}"')
    return int(text)
