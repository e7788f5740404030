"""Draws what the signals look like on real data: a picture for each family of the signals' page."""

import argparse
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from msgspec import json
from msgspec.structs import fields

from schemas.signals import FAMILIES, REGISTRY, Family, Signals
from tests.claims.claim import REPOSITORY, shared
from tests.claims.signals import KUAIRAND

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "trimtab", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False})

from matplotlib import pyplot as plt  # noqa: E402 - after the backend was chosen
from matplotlib.axes import Axes  # noqa: E402

FOLDER: Final = REPOSITORY / "schemas" / "pictures"
WORK: Final = REPOSITORY / "build" / "pictures"
NEUTRAL: Final = {field.name: field.default for field in fields(Signals)}

Records = Mapping[str, Sequence[dict[str, Any]]]
"""Data set -> its decisions."""

SOURCES: Final = {
    "wikiticker": ("wikiticker_am/events.jsonl.gz", "wikiticker", ()),
    "kuairand": ("kuairand_a", "kuairand", (KUAIRAND, "signals.rating=[0.0, 1.0]")),
    "otto": ("otto/sessions.jsonl", "otto", ()),
    "snowplow": ("snowplow_web/events.csv.gz", "snowplow", ("clean.max_lateness=3650d",)),
}
"""Data set -> its place, its format, and what is set for it."""

_WIDE: Final = 50.0
"""From such values on a straight scale would hide the small ones."""

COLOURS: Final = {"wikiticker": "#4c72b0", "kuairand": "#dd8452", "otto": "#55a868", "snowplow": "#8172b3"}


def main(arguments: Sequence[str]) -> int:
    """Replay the data sets, unless that was done, and draw."""
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__)
    parser.add_argument("--anew", action="store_true", help="replay the data again")
    asked = parser.parse_args(arguments)
    records = {name: replayed(name, anew=asked.anew) for name in SOURCES}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for family in FAMILIES:
        draw = SERIES.get(family)
        names = [name for name, entry in REGISTRY.items() if entry.family == family and _told(records, name)]
        if draw or names:
            path = FOLDER / f"{family}.svg"
            picture(path, names, records, draw)
            print(path.relative_to(REPOSITORY))
    return 0


def replayed(name: str, *, anew: bool) -> list[dict[str, Any]]:
    """Decide a data set with the job as it is."""
    place, form, sets = SOURCES[name]
    out = WORK / name
    if anew or not (out / "summary.json").exists():
        words = [word for each in ("releases.store=.local/no-store", *sets) for word in ("--set", each)]
        command = [sys.executable, "-m", "jobs", *words, "replay", "--format", form, "--input", str(shared(place))]
        subprocess.run([*command, "--out", str(out)], cwd=REPOSITORY, check=True)
    return [json.decode(line) for line in (out / "decisions.jsonl").read_bytes().splitlines()]


def picture(path: Path, names: Sequence[str], records: Records, draw: "Callable[[Axes, Records], None] | None") -> None:
    """Draw how the signals of a family are spread, and before them what it tells of one person, if anything."""
    panels = len(names) + bool(draw)
    columns = min(3, panels)
    rows = -(-panels // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.1 * columns, 1.9 * rows), squeeze=False, layout="constrained")
    flat = list(axes.flat)
    if draw:
        draw(flat[0], records)
    for axis, name in zip(flat[bool(draw) :], names, strict=False):
        spread(axis, name, records)
    for axis in flat[panels:]:
        axis.remove()
    flat[bool(draw) if names and draw else 0].legend(fontsize=6, frameon=False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def spread(axis: Axes, name: str, records: Records) -> None:
    """Draw the share of moments at or below each value, of those in which the signal says something."""
    for source, found in records.items():
        values = np.sort([record["signals"][name] for record in found if name in record["signals"]])
        if len(values) > 1:
            axis.plot(values, np.arange(1, len(values) + 1) / len(values), color=COLOURS[source], lw=1, label=source)
    told = [abs(record["signals"][name]) for found in records.values() for record in found if name in record["signals"]]
    if max(told) > _WIDE:
        axis.set_xscale("symlog", linthresh=1.0)
    axis.set_title(name, fontsize=8)
    axis.set_xlabel(REGISTRY[name].unit, fontsize=7)
    axis.set_ylim(0, 1.02)


def pace(axis: Axes, records: Records) -> None:
    """Draw the three rates of the person who did most in one session."""
    of: defaultdict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for record in records["otto"]:
        if record["signals"].get("events"):
            of[record["user_id"], record["session"]].append(record)
    busiest = max(of.values(), key=len)
    minutes = [(record["seq"] - busiest[0]["seq"]) / 60_000 for record in busiest]
    for name, colour in (("rate_fast", "#c44e52"), ("rate_mid", "#dd8452"), ("rate_slow", "#4c72b0")):
        axis.plot(minutes, [record["signals"].get(name, 0.0) for record in busiest], color=colour, lw=1, label=name)
    axis.set_title("one session", fontsize=8)
    axis.set_xlabel("minutes", fontsize=7)
    axis.set_yscale("symlog", linthresh=0.1)
    axis.legend(fontsize=6, frameon=False)


def silence(axis: Axes, records: Records) -> None:
    """Draw what a silence lets expect of people with short gaps and with long ones."""
    for source, found in records.items():
        told = [record["signals"] for record in found if "silence_s" in record["signals"]]
        if told:
            axis.scatter(
                [each["silence_s"] for each in told],
                [each["churn_risk"] for each in told],
                s=2,
                color=COLOURS[source],
                label=source,
                rasterized=True,
            )
    axis.set_xscale("log")
    axis.set_title("each silence", fontsize=8)
    axis.set_xlabel("silence_s", fontsize=7)
    axis.set_ylabel("churn_risk", fontsize=7)


SERIES: Final[dict[Family, Callable[[Axes, Records], None]]] = {"pace": pace, "silence": silence}
"""What is drawn of single people, before how a family's signals are spread."""


def _told(records: Records, name: str) -> bool:
    return any(name in record["signals"] for found in records.values() for record in found)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
