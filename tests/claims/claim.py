"""What a claim is: a sentence about the suite, the bar it must clear, and the figure that was measured."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jobs.wiring.settings import load
from schemas.settings import Settings

REPOSITORY: Final = Path(__file__).resolve().parents[2]
DATA: Final = REPOSITORY.parent / "shared" / "data"
FIGURES: Final = REPOSITORY / "build" / "claims"
"""The last figure of each claim, and a folder of each claim's own."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Something the suite says of itself.

    Attributes:
        name: by which it is run.
        sentence: what is claimed.
        bar: what the figure must reach.
    """

    name: str
    sentence: str
    bar: str


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured.

    Attributes:
        figure: in words, comparable with the bar.
        passed: whether it clears the bar.
        details: whatever else was measured, as JSON knows it.
    """

    figure: str
    passed: bool
    details: Mapping[str, Any] = field(default_factory=dict)


class Skipped(Exception):  # noqa: N818 - nothing went wrong, nothing was measured
    """What the claim is measured on is not on this machine; the message says what and where."""


def shared(path: str) -> Path:
    """Find shared data.

    Raises:
        Skipped: it is absent.
    """
    found = DATA / path
    if not found.exists():
        raise Skipped(f"{found} is absent; the shared data belong beside the repository")
    return found


def folder(name: str) -> Path:
    """Give a claim an empty folder of its own."""
    mine = FIGURES / name
    shutil.rmtree(mine, ignore_errors=True)
    mine.mkdir(parents=True)
    return mine


def settings(*overrides: str, env: str = "local") -> Settings:
    """Read the settings as `python -m jobs --env ... --set ...` does."""
    return load(REPOSITORY, env, os.environ, overrides).settings
