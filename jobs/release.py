"""Publish what may be shown, what scores it, or what is normal: a release, tried before anybody follows it."""

import argparse
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from textwrap import shorten

from jobs.wiring import Refusal
from jobs.wiring.releases import Store, trial
from jobs.wiring.store import MANIFEST, manifest_of
from schemas.releases import FILES, Channel, Manifest, Release
from schemas.settings import Settings
from udfs.releases import RefusedRelease


def main(settings: Settings, arguments: list[str]) -> int:
    """Publish a release, or list what was published.

    Raises:
        Refusal: The release does not hold, or a file or the store cannot be read or written.
    """
    asked = _parser().parse_args(arguments)
    try:
        store = Store(settings.releases.store)
        lines = _listed(store) if asked.list else _published(store, settings, asked)
    except RefusedRelease as refused:
        raise Refusal(str(refused)) from None
    except OSError as error:
        raise Refusal(f"releases.store {settings.releases.store}: {shorten(str(error), width=300)}") from None
    print("\n".join(lines))
    return 0


def effective(asked: str | None, now: int, lead: int) -> int:
    """Read from when a release counts.

    Args:
        asked: `now`, `start`, ms since 1970, or None for `lead` from now.
        now: ms since 1970.
        lead: ms in which every worker has seen and loaded it.

    >>> [effective(asked, now=1000, lead=50) for asked in (None, "now", "start", "1200")]
    [1050, 1000, 0, 1200]
    """
    named = {None: now + lead, "now": now, "start": 0}
    return named[asked] if asked in named else int(str(asked))


def _moment(text: str) -> str:
    if text not in ("now", "start") and not re.fullmatch(r"[0-9]{1,15}", text):
        raise argparse.ArgumentTypeError(f'"{text}" is neither now, start, nor ms since 1970')
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs release", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="print every release, oldest first; * marks those in force")
    what.add_argument("--channel", choices=sorted(FILES), help="publish a release of this channel")
    parser.add_argument("--file", type=Path, help=f"its payload: {' or '.join(FILES.values())}")
    parser.add_argument("--manifest", type=Path, help=f"of a model; if not given, {MANIFEST} beside its file")
    parser.add_argument(
        "--effective-at", type=_moment, help="ms since 1970, now or start; if not given, releases.lead from now"
    )
    parser.add_argument("--reason", default="", help="why, for those who read the list")
    return parser


def _published(store: Store, settings: Settings, asked: argparse.Namespace) -> list[str]:
    channel: Channel = asked.channel
    if asked.file is None:
        raise Refusal(f"release: say with --file which {FILES[channel]} to publish")
    payload = _content(asked.file)
    manifest = _manifest(asked.manifest or asked.file.with_name(MANIFEST)) if channel == "model" else None
    trial(channel, payload, manifest, settings.releases.load_timeout)
    moment = effective(asked.effective_at, time.time_ns() // 1_000_000, settings.releases.lead)
    release = store.publish(channel, payload, manifest, effective_at=moment, reason=asked.reason)
    return [f"{channel} {release.version} counts from {_clock(moment)} on"]


def _manifest(path: Path) -> Manifest:
    return manifest_of("new", _content(path))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refusal(f"release: {path} cannot be read: {error.strerror}") from None


def _listed(store: Store) -> list[str]:
    now = time.time_ns() // 1_000_000
    return [line for channel in FILES for line in _lines(store.index(channel), now)] or ["nothing was published yet"]


def _lines(index: list[Release], now: int) -> list[str]:
    in_force = max((place for place, release in enumerate(index) if release.effective_at <= now), default=None)
    return [
        f"{'*' if place == in_force else ' '} {release.version:<6} {_clock(release.effective_at)}"
        f"  {release.sha256[:12]}  {release.reason}".rstrip()
        for place, release in enumerate(index)
    ]


def _clock(moment: int) -> str:
    """Write a moment for people and for `--effective-at`.

    >>> _clock(0), _clock(1767225600250)
    ('the start', '2026-01-01T00:00:00.250+00:00 (1767225600250)')
    """
    return (
        f"{datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec='milliseconds')} ({moment})"
        if moment
        else "the start"
    )
