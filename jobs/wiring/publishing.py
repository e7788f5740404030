"""What a verb that has learned something does with it: try it, publish it, say from when on it counts."""

import argparse
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from textwrap import shorten
from typing import Final, Literal

from jobs.wiring import Refusal
from jobs.wiring.store import Store, trial
from schemas.durations import Millis
from schemas.releases import Channel, Manifest, Release
from schemas.settings import Releases
from udfs.releases import RefusedRelease

Moment = Literal["now", "start"] | int
"""From when on a release counts: at once, from the start of time, or ms since 1970."""

_LAST_MS: Final = 253_402_300_799_999  # of the year 9999, the last that can be written


def published(
    conf: Releases,
    channel: Channel,
    payload: bytes,
    reason: str,
    *,
    manifest: Manifest | None = None,
    at: Moment | None = None,
) -> Release:
    """Publish a release.

    Args:
        conf: where to.
        channel: where it belongs.
        payload: its file.
        reason: for those who read the index.
        manifest: of a model; None for the others.
        at: from when on it counts; None: `releases.lead` from now.

    Raises:
        Refusal: it does not hold, or the store does not take it.
    """
    with refusals(conf):
        trial(channel, payload, manifest, conf.load_timeout)
        # A model's trial takes its time, of which the lead must lose nothing.
        moment = effective(at, now_ms(), conf.lead)
        return Store(conf.store).publish(channel, payload, manifest, effective_at=moment, reason=reason)


def effective(asked: Moment | None, now: int, lead: int) -> int:
    """Say from when on a release counts, ms since 1970.

    Args:
        asked: None for `lead` from now.
        now: ms since 1970.
        lead: ms in which every worker has seen and loaded it.

    >>> [effective(asked, now=1000, lead=50) for asked in (None, "now", "start", 1200)]
    [1050, 1000, 0, 1200]
    """
    if asked is None:
        return now + lead
    named = {"now": now, "start": 0}
    return named[asked] if isinstance(asked, str) else asked


@contextmanager
def refusals(conf: Releases) -> Iterator[None]:
    """Say in one line what a store does not give or take."""
    try:
        yield
    except RefusedRelease as refused:
        raise Refusal(str(refused)) from None
    except OSError as error:
        raise Refusal(f"releases.store {conf.store}: {shorten(str(error), width=300)}") from None


def now_ms() -> int:
    """Read the clock, ms since 1970."""
    return time.time_ns() // 1_000_000


def shown(moment: int) -> str:
    """Write a moment for people.

    >>> shown(1767225600250)
    '2026-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="seconds")


def duration(text: str) -> Millis:
    """Read a stretch of time from the command line.

    >>> duration("12h")
    43200000
    """
    try:
        return Millis.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def moment(text: str) -> Moment:
    """Read from the command line from when on a release counts.

    >>> moment("start"), moment("1767225600250")
    ('start', 1767225600250)
    """
    named: dict[str, Moment] = {"now": "now", "start": "start"}
    if text in named:
        return named[text]
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) > _LAST_MS:
        raise argparse.ArgumentTypeError(f'"{text}" is neither now, start, nor ms since 1970')
    return int(text)
