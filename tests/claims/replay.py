"""Claim: the past decided again gives the same bytes, run after run and at any parallelism."""

from pathlib import Path
from typing import Any, Final

from msgspec import json

from jobs.train import publish_demo
from tests.claims.claim import Claim, Result, folder, settings, shared
from tests.claims.typed import replayed

CLAIM: Final = Claim(
    name="replay",
    sentence="A replayed file loses nothing, and gives the same bytes in a second run and at another parallelism.",
    bar="wikiticker 16,512 events, 4,869 users, 6,209 sessions; otto 862 events, 20 users; 0 outputs differ",
)

WIKITICKER: Final = {"records": 16_512, "events": 16_512, "users": 4_869, "sessions": 6_209}
OTTO: Final = {"records": 862, "events": 862, "users": 20}
OUTPUTS: Final = ("events.jsonl", "decisions.jsonl", "rejected.jsonl")


def run() -> Result:
    """Replay wikiticker three times, the last time at parallelism 2, and otto once; all with a model in force."""
    wikiticker, otto = shared("wikiticker_am/events.jsonl.gz"), shared("otto/sessions.jsonl")
    place = folder(CLAIM.name)
    store = f"releases.store={place / 'store'}"
    publish_demo(settings(store), seed=1)
    summaries = {
        "first": _replayed(store, wikiticker, "wikiticker", place / "first", 1),
        "again": _replayed(store, wikiticker, "wikiticker", place / "again", 1),
        "parallel": _replayed(store, wikiticker, "wikiticker", place / "parallel", 2),
        "otto": _replayed(store, otto, "otto", place / "otto", 1),
    }
    wrong = [
        f"{name}: {key} {summaries[name][key]} instead of {expected}"
        for name, bar in (("first", WIKITICKER), ("again", WIKITICKER), ("parallel", WIKITICKER), ("otto", OTTO))
        for key, expected in bar.items()
        if summaries[name][key] != expected
    ]
    differ = [
        f"{other}/{output}"
        for other in ("again", "parallel")
        for output in OUTPUTS
        if (place / other / output).read_bytes() != (place / "first" / output).read_bytes()
    ]
    first = summaries["first"]
    return Result(
        figure=(
            f"wikiticker {first['events']:,} events, {first['users']:,} users, {first['sessions']:,} sessions,"
            f" {first['decisions']:,} decisions; otto {summaries['otto']['events']} events,"
            f" {summaries['otto']['users']} users; {len(differ)} outputs differ"
        ),
        passed=not wrong and not differ,
        details={"wrong": wrong, "differ": differ, "summaries": summaries},
    )


def _replayed(store: str, source: Path, form: str, out: Path, parallelism: int) -> dict[str, Any]:
    replayed((store,), source, form, out, "--parallelism", str(parallelism))
    summary: dict[str, Any] = json.decode((out / "summary.json").read_bytes())
    return summary
