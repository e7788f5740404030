"""Which moments stand for all: a few of everybody's, drawn so that no busy person outweighs the others."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np
from msgspec import MsgspecError, Struct, json
from numpy.typing import NDArray

from schemas.decisions import Unfit
from schemas.signals import Signals

LEFT_OUT: Final = {
    Unfit.CONSENT: "without consent to learn",
    Unfit.ROBOT: "of robots",
    Unfit.CLIPPED: "with a value cut to its bound",
    Unfit.OUTLIER: "unlike the person's own",
}

_HASHES: Final = 1 << 64


class Seen(Struct, gc=False):
    """What counts of a record of the topic `decisions`, see `schemas.decisions.Decision`."""

    user_id: str
    seq: int
    signals: Signals
    unfit: list[Unfit] = []


class Moments(NamedTuple):
    """What clusters are fitted to, the oldest first.

    Attributes:
        at: (n,) slice ends, ms since 1970.
        signals: (n,) of each feature.
        total: how many moments they were drawn from, estimated.
    """

    at: NDArray[np.int64]
    signals: Mapping[str, NDArray[np.float64]]
    total: float


@dataclass
class Sample:
    """Moments drawn from decisions as they come: one of a person in a stretch, and of these at most so many.

    Which moment stands for a person's stretch, and which stretches are kept, is drawn by hashes, the smallest win. So
    no list of people is needed, and the same records give the same sample in whatever order they come. Kept are the
    k smallest of all stretches' hashes; their spread tells how many stretches there were (Bar-Yossef et al., RANDOM
    2002, algorithm 1; unbiased as Beyer et al., SIGMOD 2007).

    Attributes:
        features: signals that are kept.
        every: length of a stretch, ms.
        most: moments kept.
        counted: the slice end, ms since 1970, up to which moments were counted before.
        read: records, those left out too.
        left_out: why -> records.
    """

    features: Sequence[str]
    every: int
    most: int
    counted: int = 0
    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    # stretch -> (draw, slice end, signals)
    _drawn: dict[int, tuple[int, int, list[float]]] = field(default_factory=dict)
    _bar: int = _HASHES  # no stretch from here on is kept

    def add(self, bodies: Iterable[bytes]) -> None:
        """Draw from some more records."""
        for body in bodies:
            self.read += 1
            seen = _seen(body)
            if reason := self.unwanted(seen):
                self.left_out[reason] += 1
            elif seen:
                self._draw(seen)
        if len(self._drawn) > 2 * self.most:
            self._prune()

    def unwanted(self, seen: Seen | None) -> str:
        """Say why a decision says nothing of how people behave; empty where it counts."""
        if seen is None:
            return "not readable"
        if seen.unfit:
            return LEFT_OUT[seen.unfit[0]]
        return "counted before" if seen.seq <= self.counted else ""

    def moments(self) -> Moments:
        """Give what was drawn."""
        total = float(len(self._drawn))
        if len(self._drawn) > self.most or self._bar < _HASHES:
            self._prune()
            total = max(total, (self.most - 1) / ((self._bar - 1) / _HASHES))
        rows = sorted((at, stretch, values) for stretch, (_, at, values) in self._drawn.items())
        table = np.array([values for _, _, values in rows], dtype=np.float64).reshape(len(rows), len(self.features))
        at = np.array([at for at, _, _ in rows], dtype=np.int64)
        return Moments(at, dict(zip(self.features, table.T, strict=True)), total)

    def _draw(self, seen: Seen) -> None:
        stretch = _hash(seen.user_id, seen.seq // self.every)
        if stretch >= self._bar:
            return
        draw = _hash(seen.user_id, seen.seq)
        if stretch not in self._drawn or draw < self._drawn[stretch][0]:
            signals = [float(getattr(seen.signals, name)) for name in self.features]
            self._drawn[stretch] = (draw, seen.seq, signals)

    def _prune(self) -> None:
        kept = sorted(self._drawn)[: self.most]
        self._drawn = {stretch: self._drawn[stretch] for stretch in kept}
        if len(kept) == self.most:
            self._bar = kept[-1] + 1


def _hash(user_id: str, number: int) -> int:
    return int.from_bytes(blake2b(f"{user_id}|{number}".encode(), digest_size=8).digest())


def _seen(body: bytes) -> Seen | None:
    try:
        return _read(body)
    except (MsgspecError, UnicodeDecodeError):
        return None


_read = json.Decoder(Seen).decode
