"""What a verb that has learned something does with it: try it, publish it, say from when on it counts."""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from textwrap import shorten

from jobs.wiring import Refusal
from jobs.wiring.store import Store, trial
from schemas.durations import Millis
from schemas.releases import Channel, Release
from schemas.settings import Releases
from udfs.releases import RefusedRelease


def published(conf: Releases, channel: Channel, payload: bytes, reason: str) -> Release:
    """Publish a release in force `releases.lead` from now.

    Args:
        conf: where to.
        channel: any but the models'.
        payload: its file.
        reason: for those who read the index.

    Raises:
        Refusal: it does not hold, or the store does not take it.
    """
    with refusals(conf):
        trial(channel, payload, None, conf.load_timeout)
        return Store(conf.store).publish(channel, payload, None, effective_at=now_ms() + conf.lead, reason=reason)


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
