"""Claim: a newcomer clones it, types two commands, and sees it work."""

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.claims.claim import REPOSITORY, Claim, Result, folder

CLAIM: Final = Claim(
    name="run",
    sentence="From a fresh clone and empty caches, visitors who are decided for click more, and all tests pass.",
    bar="both exit 0 within 15 minutes in all; personalised click rate above control, intervals apart",
)

MINUTES: Final = 15
_GROUP: Final = re.compile(r"^(treated|control) .*click rate ([\d.]+) % \(95 % ([\d.]+) to ([\d.]+)\)", re.MULTILINE)
_LATENCY: Final = re.compile(r"^event to Redis: (.*)$", re.MULTILINE)
_SHARE: Final = re.compile(r"personalised share (\d+) %")
_COUNTS: Final = re.compile(r"^events in (\d+).*\ndecisions out (\d+)", re.MULTILINE)


def run() -> Result:
    """Clone what is committed, and run it with nothing from this checkout."""
    place = folder(CLAIM.name)
    clone = place / "clone"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
    ran, run_s, said = _make(clone, place, "run", "SECONDS=120")
    tested, test_s, told = _make(clone, place, "test")
    groups = {name: tuple(map(float, numbers)) for name, *numbers in _GROUP.findall(said)}
    apart = len(groups) == 2 and groups["treated"][1] > groups["control"][2]
    latency, share, counts = _LATENCY.search(said), _SHARE.search(said), _COUNTS.search(said)
    return Result(
        figure=(
            f"make run exits {ran} after {run_s:.0f} s: {counts[1] if counts else '?'} events in,"
            f" {counts[2] if counts else '?'} decisions out, {share[1] if share else '?'} % personalised, click rate"
            f" {groups.get('treated', ('?',))[0]} % against {groups.get('control', ('?',))[0]} %,"
            f" {latency[1] if latency else 'no latency'}; make test exits {tested} after {test_s:.0f} s:"
            f" {told.strip().splitlines()[-1] if told.strip() else 'silence'}"
        ),
        passed=ran == 0 and tested == 0 and apart and run_s + test_s < MINUTES * 60,
        details={"run_s": run_s, "test_s": test_s, "groups": groups},
    )


def _make(clone: Path, place: Path, *words: str) -> tuple[int, float, str]:
    """Run a target as on a new machine; its exit code, seconds and output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TRIMTAB", "VIRTUAL_ENV"))}
    environment |= {"PIP_NO_CACHE_DIR": "1", "MAVEN_OPTS": f"-Dmaven.repo.local={place / 'maven'}"}
    environment.pop("PYTHONPATH", None)
    began = time.monotonic()
    done = subprocess.run(["make", *words], cwd=clone, env=environment, capture_output=True, text=True, check=False)
    (place / f"{words[0]}.log").write_text(done.stdout + done.stderr)
    return done.returncode, time.monotonic() - began, done.stdout
