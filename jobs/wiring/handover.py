"""What a command passes on to the processes it starts, so that they read the same settings."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from schemas.settings import Settings

JOB_ENVIRONMENT: Final = {
    # Python functions run in processes of their own, as on a cluster.
    "_python_worker_execution_mode": "process",
    "JVM_ARGS": "-XX:+UseParallelGC -Xmx2g",
    "OMP_NUM_THREADS": "1",
}
"""What a process needs that runs a job on an embedded Flink."""


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Change single settings, named `section.key`, to values that need no checking."""
    for path, value in changes.items():
        section, key = path.split(".")
        settings = replace(settings, **{section: replace(getattr(settings, section), **{key: value})})
    return settings


def variables(changes: Mapping[str, Any]) -> dict[str, str]:
    """Write the same changes as environment variables, for a process that reads its settings anew.

    >>> variables({"flink.rest_port": 0})
    {'TRIMTAB__FLINK__REST_PORT': '0'}
    """
    return {f"TRIMTAB__{path.upper().replace('.', '__')}": str(value) for path, value in changes.items()}
