"""Types the suite's commands as an operator does, and stops where one fails."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.wiring import Refusal
from tests.claims.claim import REPOSITORY


def typed(*words: str, sets: Sequence[str] = (), environ: Mapping[str, str] = os.environ) -> str:
    """Run `python -m jobs`, show what it says, and give it.

    Args:
        words: the verb and its arguments.
        sets: `section.key=value`, what differs from conf.
        environ: of the process.

    Raises:
        Refusal: it failed; with all that it said of that.
    """
    named = [word for each in sets for word in ("--set", each)]
    command = [sys.executable, "-m", "jobs", *named, *words]
    done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        raise Refusal(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def replayed(sets: Sequence[str], source: Path, form: str, out: Path, *options: str) -> None:
    """Send a file through the job at its own times; what the job writes lies in a folder then.

    Raises:
        Refusal: it failed, or not every record is accounted for.
    """
    typed("replay", "--format", form, "--input", str(source), "--out", str(out), *options, sets=sets)
