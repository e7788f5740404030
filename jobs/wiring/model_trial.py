"""A rehearsal for models: a corrupt one may end the process that loads it, so a child process loads it first."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from typing import Final, Self

import msgspec

from schemas.releases import Manifest
from udfs.releases import RefusedRelease
from udfs.scoring.heads import Heads
from udfs.scoring.models import Model

_REFUSED: Final = 3
_MEMORY: Final = 4 << 30
"""Bytes the child may address: a number changed in a corrupt file may ask for all there is."""


class _Request(msgspec.Struct, frozen=True):
    """What the child is asked to load: a model, or without a manifest heads."""

    version: str
    text: str
    manifest: Manifest | None
    seconds: int


class Trial:
    """A child process that loads one model, or heads. Close it, or use it in a `with` statement."""

    def __init__(self, version: str, text: str, manifest: Manifest | None, timeout_ms: int) -> None:
        """Start the child; this does not wait for it.

        Args:
            version: The release.
            text: The model as LightGBM saves it; or heads, as JSON.
            manifest: A model's feature names and golden rows; None for heads.
            timeout_ms: How long the child may take.
        """
        self._whose = f"{'model' if manifest else 'heads'} {version}"
        self._timeout_ms = timeout_ms
        self._deadline = time.monotonic() + timeout_ms / 1000
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - open until the child has spoken
        with tempfile.TemporaryFile() as request:
            request.write(msgspec.json.encode(_Request(version, text, manifest, seconds=timeout_ms // 1000 + 1)))
            request.seek(0)
            self._child = subprocess.Popen(
                # -P: a worker's directory may hold files that shadow modules.
                [sys.executable, "-P", "-m", "jobs.wiring.model_trial"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
                stdin=request,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
            )

    def finished(self) -> bool:
        """Whether `verdict` would answer at once."""
        return self._child.poll() is not None or time.monotonic() >= self._deadline

    def verdict(self) -> None:
        """Wait for the child.

        Raises:
            RefusedRelease: The model was refused, killed the child, or took longer than the timeout.
        """
        try:
            code = self._child.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise RefusedRelease(f"{self._whose}: it did not load within {self._timeout_ms} ms") from None
        if code == _REFUSED:
            raise RefusedRelease(self._last_words())
        if code < 0:
            raise RefusedRelease(f"{self._whose}: loading it kills the process ({signal.Signals(-code).name})")
        if code:
            raise RefusedRelease(f"{self._whose}: loading it fails: {self._last_words()}")

    def close(self) -> None:
        """End the child if it still runs."""
        self._child.kill()
        self._child.wait()
        self._said.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"


def _rehearse() -> int:
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=_Request)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    # So that it ends by itself where its parent was killed.
    resource.setrlimit(resource.RLIMIT_CPU, (request.seconds, request.seconds))
    try:
        if request.manifest:
            Model.parse(request.version, request.text, request.manifest)
        else:
            Heads.parse(request.version, request.text.encode()).rehearse()
    except RefusedRelease as refused:
        print(refused, file=sys.stderr)
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_rehearse())
