"""A job over what its topics hold now, to its end."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jobs.wiring.handover import JOB_ENVIRONMENT

REPOSITORY: Final = Path(__file__).resolve().parents[2]


def run(verb: str, sets: Sequence[str]) -> None:
    """Run a job of ours; it must end well.

    Args:
        verb: its name.
        sets: settings, as for `--set`.
    """
    words = [word for each in sets for word in ("--set", each)]
    done = subprocess.run(
        [sys.executable, "-m", "jobs", *words, verb, "--bounded"],
        cwd=REPOSITORY,
        env=os.environ | JOB_ENVIRONMENT,
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
