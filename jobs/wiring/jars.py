"""The connectors a job brings along where Flink does not have them itself."""

from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(".local/jars/flink")
"""Where `make setup` puts them. On a session cluster they lie in Flink's own lib folder, and this one is absent."""


def connectors(root: Path = Path()) -> Sequence[Path]:
    """List the jars under `root`, in a fixed order."""
    return sorted((root / FOLDER).glob("*.jar"))
