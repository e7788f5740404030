"""Which releases decide a row: what every worker follows, so that all of them switch at the same row."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jobs.wiring.model_trial import Trial
from jobs.wiring.store import INDEX, LOADERS, Mark, Payload, Store, channel_of, location, one_line, text_of, trial
from schemas.releases import Channel, Manifest, Release
from udfs.cleaning.noise import Norms
from udfs.deciding.in_force import InForce
from udfs.deciding.learned import Learnt
from udfs.releases import RefusedRelease
from udfs.scoring.models import Model

__all__ = ["Follower", "Loaded", "Store", "trial"]

_HOUR_MS: Final = 3_600_000

_FIELD: Final[Mapping[Channel, str]] = {
    "catalogue": "catalogue",
    "model": "model",
    "norms": "norms",
    "anomalies": "anomalies",
    "segments": "clusters",
    "rules": "book",
    "flags": "switches",
    "heads": "heads",
}
"""Where a channel's release stands in `Loaded`."""


@dataclass(frozen=True, eq=False)
class Loaded(InForce):
    """The releases in force for a row, a field for each channel: those it is decided by, and those it is cleaned by."""

    norms: Norms | None = None


@dataclass
class _Channel:
    """What a worker knows about one channel."""

    index: list[Release] = field(default_factory=list)
    effective: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    mark: Mark | None = None
    trouble: str = ""


@dataclass
class _OnTrial:
    """A model whose child process has not answered yet."""

    text: str
    manifest: Manifest
    child: Trial


class Follower:
    """The releases a worker decides by: polled, tried, loaded once, the last good ones kept.

    It can be sent to a worker as long as it was not used. What is not yet in force loads beside the work, in the lead
    between publishing and taking effect.
    """

    def __init__(
        self,
        store_uri: str,
        poll_ms: int,
        load_timeout_ms: int,
        clock: Callable[[], int],
        log: logging.Logger,
        *,
        channels: Sequence[Channel] = ("catalogue", "model"),
    ) -> None:
        """Remember what to follow; nothing is opened yet.

        Args:
            store_uri: See `Store`; a relative path counts from here, not from the worker's directory.
            poll_ms: At most one look at the store in such a stretch.
            load_timeout_ms: How long a model may take to load.
            clock: Wall clock, ms since 1970.
            log: Where refusals and an unreachable store are said, once each.
            channels: What is followed; of the others nothing is in force.
        """
        self._uri = location(store_uri)
        self._poll_ms = poll_ms
        self._load_timeout_ms = load_timeout_ms
        self._clock = clock
        self._log = log
        self._store: Store | None = None
        self._polled: int | None = None
        self._channels: dict[Channel, _Channel] = {channel: _Channel() for channel in channels}
        self._on_trial: dict[str, _OnTrial] = {}
        self._loaded: dict[str, Payload | Model] = {}
        self._asked: dict[str, int] = {}
        self._refused: set[str] = set()
        self._unread: set[str] = set()  # since the last look
        self._missed: set[str] = set()  # ever, and said so

    def refresh(self) -> None:
        """Look for new releases, unless that was done a moment ago, and begin to load what will be needed."""
        now = self._clock()
        if self._polled is not None and 0 <= now - self._polled < self._poll_ms:
            return
        self._polled = now
        self._unread.clear()
        for name, channel in self._channels.items():
            self._poll(name, channel)
        needed = [release for channel in self._channels.values() for release in _needed(channel, now)]
        for release in needed:
            self._begin(release)
        for version in [version for version, waiting in self._on_trial.items() if waiting.child.finished()]:
            self._finish(version)
        # A replay asks for older ones again and again; what nobody asked for in an hour goes.
        kept = {release.version for release in needed} | {v for v, at in self._asked.items() if now - at < _HOUR_MS}
        self._loaded = {version: release for version, release in self._loaded.items() if version in kept}

    def at(self, moments: NDArray[np.int64]) -> list[tuple[NDArray[np.intp], Loaded]]:
        """Say which releases count for a row, the newest with `effective_at` <= its moment; for `policy`: `learnt`.

        Args:
            moments: (rows,) slice ends, or event times, ms since 1970.

        Returns:
            Row numbers, ascending, and the releases in force for them; together they are all rows.
        """
        places = {
            name: np.searchsorted(channel.effective, moments, side="right")
            for name, channel in self._channels.items()
            if name != "policy"
        }
        stretches = np.zeros(len(moments), dtype=np.int64)
        for name, place in places.items():
            stretches = stretches * (len(self._channels[name].index) + 1) + place
        groups = []
        for stretch in np.unique(stretches):
            rows = np.flatnonzero(stretches == stretch)
            found = {name: self._newest_good(name, place[rows[0]]) for name, place in places.items()}
            groups.append((rows, _loaded({name: good for name, good in found.items() if good})))
        return groups

    def learnt(self, moments: NDArray[np.int64]) -> list[Learnt | None]:
        """Say row by row what had been learned by a moment, see `udfs.deciding.learned.known_since`.

        Args:
            moments: (rows,) ms since 1970.
        """
        places, of_row = np.unique(
            np.searchsorted(self._channels["policy"].effective, moments, side="right"), return_inverse=True
        )
        found = [self._newest_good("policy", place) for place in places.tolist()]
        payloads = [good[1] if good else None for good in found]
        return [payloads[place] for place in of_row.tolist()]

    def each(self, moments: NDArray[np.int64]) -> list[Loaded]:
        """Say the same row by row, for what works on one row at a time."""
        groups = self.at(moments)
        if len(groups) == 1:
            return [groups[0][1]] * len(moments)
        in_order = {row: loaded for rows, loaded in groups for row in rows.tolist()}
        return [in_order[row] for row in range(len(moments))]

    def close(self) -> None:
        """End child processes that still run."""
        for waiting in self._on_trial.values():
            waiting.child.close()
        self._on_trial.clear()

    def _poll(self, name: Channel, channel: _Channel) -> None:
        try:
            self._store = self._store or Store(self._uri)
            mark = self._store.mark(name)
            if mark is None and channel.index:
                raise FileNotFoundError(f"{self._uri}/{name}/{INDEX} is gone")
            if mark != channel.mark:
                channel.index = self._store.index(name)
                channel.effective = np.array([release.effective_at for release in channel.index], dtype=np.int64)
                channel.mark = mark
            trouble = ""
        except (OSError, RefusedRelease) as error:
            trouble = one_line(error)
        if trouble and not channel.trouble:
            self._log.warning("%s: the store cannot be followed, the last good release stays: %s", name, trouble)
        if channel.trouble and not trouble:
            self._log.info("%s: the store can be followed again", name)
        channel.trouble = trouble

    def _newest_good(self, name: Channel, place: int) -> tuple[Release, Payload | Model] | None:
        for release in reversed(self._channels[name].index[:place]):
            self._begin(release)
            self._finish(release.version)
            if release.version in self._loaded:
                self._asked[release.version] = self._polled or 0
                return release, self._loaded[release.version]
        return None

    def _begin(self, release: Release) -> None:
        version = release.version
        if version in self._loaded.keys() | self._on_trial.keys() | self._refused | self._unread:
            return
        assert self._store is not None
        try:
            payload = self._store.read(release)
            if channel_of(release) == "model":
                text, manifest = text_of(version, payload), self._store.manifest(release)
                child = Trial(version, text, manifest, self._load_timeout_ms)
                self._on_trial[version] = _OnTrial(text, manifest, child)
            else:
                self._loaded[version] = LOADERS[channel_of(release)](version, payload)
        except OSError as error:
            self._unread.add(version)
            if version not in self._missed:
                self._log.warning(
                    "release %s cannot be read yet, the last good one stays: %s", version, one_line(error)
                )
            self._missed.add(version)
        except RefusedRelease as refused:
            self._refuse(version, refused)

    def _finish(self, version: str) -> None:
        waiting = self._on_trial.pop(version, None)
        if waiting is None:
            return
        try:
            with waiting.child:
                waiting.child.verdict()
            self._loaded[version] = Model.parse(version, waiting.text, waiting.manifest)
        except RefusedRelease as refused:
            self._refuse(version, refused)

    def _refuse(self, version: str, refused: RefusedRelease) -> None:
        self._refused.add(version)
        self._log.error("release %s is refused, the last good one stays: %s", version, refused)


def _loaded(found: Mapping[Channel, tuple[Release, Payload | Model]]) -> Loaded:
    """Put what was found into its fields; each channel's payload is of a kind of its own."""
    said = {_FIELD[channel]: payload for channel, (_, payload) in found.items()}
    effective = {channel: release.effective_at for channel, (release, _) in found.items()}
    return Loaded(**said, effective=effective)  # type: ignore[arg-type]  # LOADERS gives each channel its kind


def _needed(channel: _Channel, now: int) -> list[Release]:
    # Rows may lie an hour back: a job that restarts, a topic that is caught up with.
    oldest = int(np.searchsorted(channel.effective, now - _HOUR_MS, side="right")) - 1
    return channel.index[max(oldest, 0) :]
