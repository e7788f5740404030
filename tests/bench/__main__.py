"""Measures cost and delay on this machine, and holds them against the goals."""

import json
import os
import platform
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tests.bench import clean, decide, latency
from tests.bench import cost as costs
from tests.bench.children import ENVIRONMENT, PARTS

REPORT: Final = Path("build/bench.json")

_PACKAGES: Final = ("apache-flink", "lightgbm", "numpy", "pandas", "pyarrow", "msgspec", "redis", "confluent-kafka")


def machine() -> dict[str, Any]:
    """Say on what and with what it was measured."""
    return {
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "environment": ENVIRONMENT,
    }


def cost_lines(found: costs.Cost) -> Iterator[str]:
    """Write the costs as a table."""
    sizes = f"{found.plan.small:,} to {found.plan.large:,}"
    yield f"{f'CPU seconds per million events ({sizes})':<56}{''.join(f'{part:>8}' for part in PARTS)}   total"
    for stage, slope in (*found.stages.items(), ("the whole job", found.job)):
        yield f"  {stage:<54}{''.join(f'{part:8.1f}' for part in astuple(slope))}{slope.total:8.1f}"
    yield f"  {'goal':<54}{costs.GOAL_S:40.1f}"
    yield f"  {'plain consumer':<54}{found.plain_s:40.1f}"
    yield f"  {'job / plain consumer':<54}{found.share:40.3f}   goal {costs.GOAL_SHARE}"
    yield f"  both decided the same: {found.agreement}"


def clean_lines(found: clean.CleanCost) -> Iterator[str]:
    """Write what cleaning costs as a table, and where reading JSON spends its time."""
    yield f"cleaning, CPU seconds per million events ({found.plan.events:,}, load {found.load:.1f})"
    for name, us in found.parts.items():
        yield f"  {name:<54}{us:8.2f}"
    yield f"  {'all of it, in Python':<54}{found.python_s:8.2f}"
    if found.duplicates:
        parts = ", ".join(f"{part} {s:.1f}" for part, s in zip(PARTS, astuple(found.duplicates), strict=True))
        yield f"  {'finding copies, in Flink':<54}{found.duplicates.total:8.2f} ({parts})"
    yield f"of which reading the JSON of an event: {sum(found.decode.values()):.2f}"
    for name, us in found.decode.items():
        yield f"  {name:<54}{us:8.2f}"


def decide_lines(found: decide.DecideCost) -> Iterator[str]:
    """Write what a decision costs as a table, and what scoring costs beside LightGBM."""
    sizes = list(found.whole)
    heads = "".join(f"{f'{size:,} at once':>16}" for size in sizes)
    yield f"{f'deciding, CPU us per decision (load {found.load:.1f})':<56}{heads}"
    for part in decide.PARTS:
        yield f"  {part:<54}{''.join(f'{found.parts[size][part]:16.2f}' for size in sizes)}"
    yield f"  {'all of it':<54}{''.join(f'{found.whole[size]:16.1f}' for size in sizes)}   goal {decide.GOAL_US:g}"
    yield f"  {'alone in its bundle':<54}{found.alone_us:16.1f}"
    yield "candidates scored per second of a core"
    for name in ("ours", "per_user", "at_once"):
        row = "".join(f"{getattr(found.scoring[size], name):16,.0f}" for size in sizes)
        yield f"  {decide.SCORERS[name]:<54}{row}"


def delay_lines(found: list[latency.Delay]) -> Iterator[str]:
    """Write the delays as a table."""
    yield (
        "event -> Redis acknowledged, ms       p50    p90    p99    max   goal p99"
        "   start s   events/s   decisions   cores"
    )
    for each in found:
        name, goal = f"slice {each.slice}, {each.rate} events/s", latency.GOAL_P99_MS[each.slice]
        yield (
            f"  {name:<32} {each.p50_ms:6} {each.p90_ms:6} {each.p99_ms:6} {each.max_ms:6}   {goal:8}"
            f"   {each.start_s:7.1f}   {each.events_per_s:8.1f}   {each.decisions:9}   {each.cores:5.2f}"
        )


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write build/bench.json."""
    parser = ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer stages, smaller sizes: a first look, not a result")
    parser.add_argument("--only", choices=("clean", "decide", "cost", "latency"), help="one of them")
    asked = parser.parse_args(arguments)
    report: dict[str, Any] = {"quick": asked.quick, "machine": machine()}
    lines: list[str] = []
    if asked.only in (None, "clean"):
        cleaned = clean.clean_cost(clean.QUICK if asked.quick else clean.FULL, _say)
        report["clean"] = cleaned.details()
        lines += clean_lines(cleaned)
    if asked.only in (None, "decide"):
        decided = decide.decide_cost(decide.QUICK if asked.quick else decide.FULL, _say)
        report["decide"] = decided.details()
        lines += decide_lines(decided)
    if asked.only in (None, "cost"):
        cost = costs.cost(costs.QUICK if asked.quick else costs.FULL, _say)
        report["cost"] = cost.details()
        lines += cost_lines(cost)
    if asked.only in (None, "latency"):
        found = latency.delays(latency.QUICK if asked.quick else latency.FULL, _say)
        report["latency"] = [each.details() for each in found]
        lines += delay_lines(found)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print("\n".join(["", *lines, "", f"all figures: {REPORT}"]))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
