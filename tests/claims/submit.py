"""Claim: the archive runs on a Flink cluster by itself, and goes on from a savepoint as if it had never stopped."""

import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import json
from redis import Redis

from jobs import cluster as local
from jobs.local import feed, processes
from jobs.wiring import Refusal
from jobs.wiring.keys import KEY_VARIABLE
from schemas.decisions import Card, Decision
from tests.claims.claim import REPOSITORY, Claim, Result, folder, settings
from udfs.cleaning.pseudonym import pseudonym

CLAIM: Final = Claim(
    name="submit",
    sentence=(
        "Cluster, archive and job start with one command each; stopped with a savepoint and submitted again, the job"
        " continues every user's sums; the workers run the archive; the key stays in the environment; nothing is left."
    ),
    bar=(
        "every sum continues; 0 events lost or counted twice, 0 decided twice differently; 0 files that hold the key,"
        " 0 processes or ports left"
    ),
)

USERS: Final = [f"user-{n}" for n in range(100)]
KEY: Final = "known-to-the-environment-only"
KINDS: Final = ("view", "click", "scroll", "hover", "dwell", "form")
WAIT_S: Final = 120.0

SHOW: Final = """
import json, sys, jobs, jobs.personalize, schemas, udfs, udfs.cleaning.clean, lightgbm, msgspec
own = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] in ("jobs", "schemas", "udfs")]
print(json.dumps({"own": own, "path": sys.path}))
"""


def run() -> Result:
    """Feed some thousand events before, during and after a stop; each user's last one asks for a decision at once."""
    place = folder(CLAIM.name)
    (place / ".local").mkdir()
    (place / ".local" / "jars").symlink_to(REPOSITORY / ".local" / "jars")
    seconds: dict[str, float] = {}
    try:
        return _measured(place, seconds)
    finally:
        _verb(place, seconds, "stop")


def _measured(place: Path, seconds: dict[str, float]) -> Result:
    _verb(place, seconds, "package")
    _verb(place, seconds, "cluster")
    up = local.expected(place)
    bootstrap, redis = up.variables["TRIMTAB__KAFKA__BOOTSTRAP"], Redis.from_url(up.variables["TRIMTAB__REDIS__URL"])
    rng = random.Random(1)

    job = _verb(place, seconds, "submit", "personalize").split()[1]
    fed = Counter(_fed(bootstrap, _walk(rng, 2_000)))
    fed.update(_fed(bootstrap, [(user, "search") for user in USERS]))
    before = _awaited(bootstrap, fed)
    worker = _worker(place)

    fed.update(_fed(bootstrap, _walk(rng, 1_000)))  # under way while the savepoint is taken
    savepoint = _verb(place, seconds, "stop", "--savepoint").strip()
    fed.update(_fed(bootstrap, _walk(rng, 1_000)))  # while nothing runs
    _verb(place, seconds, "submit", "personalize", "--savepoint", savepoint)
    fed.update(_fed(bootstrap, [(user, "search") for user in USERS]))
    after = _awaited(bootstrap, fed)

    facts: dict[str, Any] = {
        "continued": sum(after[user].signals.session_events == fed[user] for user in USERS),
        "events": _events(bootstrap),
        "contradictions": _contradictions(bootstrap),
        "cards": _cards(redis, after),
        "leaks": _leaks(place),
    }
    ports = _ports(place)
    _verb(place, seconds, "stop")
    left = [pid for pid in processes._marked_pids(processes.home(place)) if Path(f"/proc/{pid}").exists()]
    open_ports = [port for port in ports if _answers(port)]
    passed = (
        facts["continued"] == facts["cards"] == len(USERS)
        and facts["events"] == {"records": fed.total(), "distinct": fed.total()}
        and not facts["contradictions"]
        and not facts["leaks"]
        and worker["from_archive"]
        and not left
        and not open_ports
    )
    return Result(
        figure=(
            f"{fed.total():,} events of {len(USERS)} users: sums continued for {facts['continued']} users,"
            f" {fed.total() - facts['events']['distinct']} events lost,"
            f" {facts['events']['records'] - facts['events']['distinct']} counted twice,"
            f" {facts['contradictions']} decided twice differently, {facts['cards']} cards in Redis;"
            f" workers run the {'archive' if worker['from_archive'] else 'TREE'}; {len(facts['leaks'])} files hold the"
            f" key, {len(left)} processes and {len(open_ports)} ports left; cluster up in {seconds['cluster']:.0f} s,"
            f" job submitted in {seconds['submit']:.0f} s"
        ),
        passed=passed,
        details=facts
        | {
            "job": job,
            "savepoint": savepoint,
            "seconds": {verb: round(value, 1) for verb, value in seconds.items()},
            "sums before the stop": sum(decision.signals.session_events for decision in before.values()),
            "sums after": sum(decision.signals.session_events for decision in after.values()),
            "worker": worker,
            "ports closed again": len(ports) - len(open_ports),
        },
    )


def _verb(place: Path, seconds: dict[str, float], *words: str) -> str:
    """Type a command in the claim's own folder, with the tree on the path: no process it starts may run from there."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "jobs", *words],
        cwd=place,
        env=os.environ | {KEY_VARIABLE: KEY, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds[words[0]] = time.monotonic() - began
    print(f"{' '.join(words)}: {seconds[words[0]]:.1f} s\n{done.stdout}", end="", flush=True)
    if done.returncode:
        raise Refusal(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _walk(rng: random.Random, count: int) -> list[tuple[str, str]]:
    return [(rng.choice(USERS), rng.choice(KINDS)) for _ in range(count)]


def _fed(bootstrap: str, events: Iterable[tuple[str, str]]) -> list[str]:
    """Feed events, and say whose they were."""
    partitions = settings().topics["clicks"].partitions
    records: list[feed.Record] = []
    users: list[str] = []
    for user, kind in events:
        now = time.time_ns()
        body = json.encode({"user_id": user, "kind": kind, "item": f"i{len(user)}", "event_id": f"{now}-{len(users)}"})
        key = user.encode()
        records.append(feed.Record(now // 1_000_000, feed.partition_of(key, partitions), key, body))
        users.append(user)
    feed.produce(bootstrap, "clicks", records)
    return users


def _awaited(bootstrap: str, fed: Mapping[str, int]) -> dict[str, Decision]:
    """Wait until every user's newest decision knows of all their events, or of too many; gives those decisions."""
    names = {_name(user): user for user in USERS}
    deadline = time.monotonic() + WAIT_S
    newest: dict[str, Decision] = {}
    while time.monotonic() < deadline:
        for decision in _decisions(bootstrap):
            user = names[decision.user_id]
            if user not in newest or decision.seq > newest[user].seq:
                newest[user] = decision
        if all(user in newest and newest[user].signals.session_events >= fed[user] for user in USERS):
            return newest
        time.sleep(1.0)
    short = [user for user in USERS if user not in newest or newest[user].signals.session_events < fed[user]]
    raise Refusal(
        f"after {WAIT_S:.0f} s {len(short)} users have no decision that knows of all their events: {short[:3]}"
    )


def _name(user: str) -> str:
    return pseudonym(user, KEY.encode(), settings().pseudonyms.key_id)


def _decisions(bootstrap: str) -> list[Decision]:
    return [json.decode(taken.body or b"", type=Decision) for taken in feed.collect(bootstrap, "decisions")]


def _events(bootstrap: str) -> dict[str, int]:
    ids = [json.decode(taken.body or b"")["event_id"] for taken in feed.collect(bootstrap, "events")]
    return {"records": len(ids), "distinct": len(set(ids))}


def _contradictions(bootstrap: str) -> int:
    """Count the moments of a user for which there are decisions that differ."""
    said: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    for taken, decision in zip(feed.collect(bootstrap, "decisions"), _decisions(bootstrap), strict=True):
        said[decision.user_id, decision.seq].add(taken.body or b"")
    return sum(len(bodies) > 1 for bodies in said.values())


def _cards(redis: Redis, newest: Mapping[str, Decision]) -> int:
    """Count the users whose card is their newest decision's."""
    prefix = settings().redis.prefix
    found = 0
    for user, decision in newest.items():
        body: Any = redis.get(f"{prefix}:{{{_name(user)}}}:d")
        found += body is not None and json.decode(body, type=Card).seq == decision.seq
    return found


def _worker(place: Path) -> dict[str, Any]:
    """Ask, in a Python worker's own environment and folder, where the suite's modules come from."""
    pids = processes._marked_pids(processes.home(place))
    workers = [pid for pid in pids if b"pyflink.fn_execution.beam.beam_boot" in _read(pid, "cmdline")]
    workers = [pid for pid in workers if b"python" in _read(pid, "cmdline").split(b"\0")[0]]
    if not workers:
        raise Refusal("no Python worker runs")
    raw = _read(workers[0], "environ").decode().split("\0")
    environ = dict(entry.split("=", 1) for entry in raw if "=" in entry)
    cwd = Path(f"/proc/{workers[0]}/cwd").readlink()
    shown = subprocess.run(
        [environ["python"], "-c", SHOW], cwd=cwd, env=environ, capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = json.decode(shown.stdout)
    archive = environ["PYTHONPATH"].split(":")[0]
    own = [file for file in found["own"] if file]
    return {
        "workers": len(workers),
        "archive": str(Path(archive).relative_to(place)),
        "modules": len(own),
        "from_archive": all(file.startswith(f"{archive}/") for file in own) and str(REPOSITORY) not in found["path"],
    }


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""  # it ended meanwhile


def _leaks(place: Path) -> list[str]:
    """List the files of cluster, client and broker in which the key stands."""
    home = processes.home(place)
    places = [home / "logs", home / "cluster", home / "kept", place / "build"]
    files = [path for each in places for path in each.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path.relative_to(place)) for path in files if KEY.encode() in path.read_bytes()]


def _ports(place: Path) -> list[int]:
    """List the ports on which the cluster's processes listen."""
    inodes = set()
    for pid in processes._marked_pids(processes.home(place)):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = str(link.readlink()) if link.is_symlink() else ""
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    return sorted({int(row[1].rpartition(":")[2], 16) for row in rows[1:] if row[3] == "0A" and row[9] in inodes})


def _answers(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1.0)
        return client.connect_ex(("127.0.0.1", port)) == 0
