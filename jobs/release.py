"""Publish what the job decides by as releases, see what was published and what it changed, and go back."""

import argparse
from pathlib import Path

from jobs.wiring import Refusal
from jobs.wiring.publishing import moment, now_ms, published, refusals, shown
from jobs.wiring.store import MANIFEST, Store, manifest_of
from schemas.releases import FILES, Channel, Release
from schemas.settings import Releases, Settings
from udfs.explaining.differences import Side, differences
from udfs.releases import RefusedRelease


def main(settings: Settings, arguments: list[str]) -> int:
    """List, publish, go back, or compare.

    Raises:
        Refusal: The release does not hold, there is none such, or a file or the store cannot be read or written.
    """
    asked = _parser().parse_args(arguments)
    does = {"list": _listed, "publish": _published, "rollback": _rolled_back, "diff": _compared}[asked.what]
    conf = settings.releases
    with refusals(conf):
        lines = does(conf, asked)
    print("\n".join(lines))
    return 0


def _listed(conf: Releases, asked: argparse.Namespace) -> list[str]:
    store, now = Store(conf.store), now_ms()
    channels = [asked.channel] if asked.channel else list(FILES)
    return [line for channel in channels for line in _lines(store.index(channel), now)] or ["nothing was published yet"]


def _lines(index: list[Release], now: int) -> list[str]:
    in_force = max((place for place, release in enumerate(index) if release.effective_at <= now), default=None)
    return [
        f"{'*' if place == in_force else ' '} {release.version:<6} {_follows(release):<13}"
        f" {_clock(release.effective_at)}  {release.sha256[:12]}  {release.reason}".rstrip()
        for place, release in enumerate(index)
    ]


def _follows(release: Release) -> str:
    return f"follows {release.parent}" if release.parent else "the first"


def _published(conf: Releases, asked: argparse.Namespace) -> list[str]:
    payload, manifest = _content(asked.file), None
    if asked.channel == "model":
        manifest = manifest_of("new", _content(asked.manifest or asked.file.with_name(MANIFEST)))
    release = published(conf, asked.channel, payload, asked.reason, manifest=manifest, at=asked.effective_at)
    return [_counts(asked.channel, release)]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refusal(f"release: {path} cannot be read: {error.strerror}") from None


def _rolled_back(conf: Releases, asked: argparse.Namespace) -> list[str]:
    channel: Channel = asked.channel
    store = Store(conf.store)
    index = store.index(channel)
    target = _named(channel, index, asked.to) if asked.to else _last_two(channel, index, "go back to")[0]
    newest = index[-1]
    # An index only grows: whatever is published now takes the place of the newest, be that in force yet or not.
    if target.sha256 == newest.sha256:
        raise Refusal(
            f"{channel}: {target.version} holds what {newest.version}, the newest, holds: nothing would change"
        )
    try:
        side = _side(store, channel, target)
    except RefusedRelease as refused:
        raise Refusal(f"{refused}; name another one with --to") from None
    reason = f"rollback to {target.version}" + (f": {asked.reason}" if asked.reason else "")
    release = published(conf, channel, side.payload, reason, manifest=side.manifest, at=asked.effective_at)
    return [f"{_counts(channel, release)}, with what {target.version} holds"]


def _compared(conf: Releases, asked: argparse.Namespace) -> list[str]:
    channel: Channel = asked.channel
    if asked.old and not asked.new:
        raise Refusal("release: name two releases to compare, the older one first, or none for the newest two")
    store = Store(conf.store)
    index = store.index(channel)
    if asked.old:
        old, new = (_named(channel, index, version) for version in (asked.old, asked.new))
    else:
        old, new = _last_two(channel, index, "compare")
    told = differences(FILES[channel], *(_side(store, channel, each) for each in (old, new)))
    return [f"{channel}: from {old.version} to {new.version}", *(told or ["nothing differs"])]


def _named(channel: Channel, index: list[Release], version: str) -> Release:
    for release in index:
        if release.version == version:
            return release
    raise Refusal(f'{channel}: there is no release "{version}"; release list --channel {channel} shows those there are')


def _last_two(channel: Channel, index: list[Release], purpose: str) -> tuple[Release, Release]:
    match index:
        case [*_, before, newest]:
            return before, newest
        case [only]:
            raise Refusal(f"{channel}: there is nothing to {purpose}: {only.version} is the only release")
        case _:
            raise Refusal(f"{channel}: there is nothing to {purpose}: nothing was published yet")


def _side(store: Store, channel: Channel, release: Release) -> Side:
    manifest = store.manifest(release) if channel == "model" else None
    return Side(release.version, store.read(release), manifest)


def _counts(channel: Channel, release: Release) -> str:
    return f"{channel} {release.version} counts from {_clock(release.effective_at)} on"


def _clock(moment: int) -> str:
    """Write a moment for people and for `--effective-at`.

    >>> _clock(0), _clock(1767225600250)
    ('the start', '2026-01-01T00:00:00+00:00 (1767225600250)')
    """
    return f"{shown(moment)} ({moment})" if moment else "the start"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs release", description=__doc__)
    whats = parser.add_subparsers(dest="what", metavar="list|publish|rollback|diff", required=True)
    of_channel = argparse.ArgumentParser(add_help=False)
    of_channel.add_argument("channel", metavar="CHANNEL", choices=sorted(FILES), help=", ".join(sorted(FILES)))
    publishing = argparse.ArgumentParser(add_help=False)
    publishing.add_argument(
        "--effective-at", type=moment, help="ms since 1970, now or start; if not given, releases.lead from now"
    )
    publishing.add_argument("--reason", default="", help="why, for those who read the list")

    about = "print every release, oldest first; * marks those in force"
    what = whats.add_parser("list", help=about, description=about)
    what.add_argument("--channel", choices=sorted(FILES), help="of this channel alone")

    about = "try a file and publish it"
    what = whats.add_parser("publish", help=about, description=about, parents=[of_channel, publishing])
    what.add_argument("file", type=Path, metavar="FILE", help=f"its payload: {' or '.join(FILES.values())}")
    what.add_argument("--manifest", type=Path, help=f"of a model; if not given, {MANIFEST} beside its file")

    about = "publish what an older release holds again, as a new release"
    what = whats.add_parser("rollback", help=about, description=about, parents=[of_channel, publishing])
    what.add_argument("--to", metavar="VERSION", help="that release; if not given, the one before the newest")

    about = "say what changed from one release to another"
    what = whats.add_parser("diff", help=about, description=about, parents=[of_channel])
    what.add_argument("old", nargs="?", metavar="OLD", help="if not given, the one before the newest")
    what.add_argument("new", nargs="?", metavar="NEW", help="if not given, the newest")
    return parser
