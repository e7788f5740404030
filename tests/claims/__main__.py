"""What the suite claims of itself, and the door to measuring it again: python -m tests.claims [NAME]."""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from msgspec import json

from jobs.wiring import Refusal
from tests.claims.claim import FIGURES, Claim, Result, Skipped

PASSED: Final = 0
SHORT: Final = 1
REFUSED: Final = 2


def main(arguments: Sequence[str], today: str) -> int:
    """List the claims, or measure one; the exit code is 0 only where its figure clears the bar.

    Args:
        arguments: of the command line.
        today: the date that the figure carries unless `--date` gives another.
    """
    asked = _parser(today).parse_args(arguments)
    known = {module.CLAIM.name: module for module in claims()}
    if asked.name is None:
        for module in known.values():
            print(listed(module.CLAIM))
        return PASSED
    if asked.name not in known:
        print(f'claims: there is no claim "{asked.name}"; there are: {", ".join(known)}', file=sys.stderr)
        return REFUSED
    module = known[asked.name]
    try:
        result: Result = module.run()
    except Skipped as skipped:
        print(f"{asked.name}: skipped: {skipped}")
        return SHORT
    except Refusal as refusal:
        print(f"{asked.name}: could not be measured: {refusal}", file=sys.stderr)
        return REFUSED
    _kept(module.CLAIM, result, asked.date)
    print(f"{asked.name}: {result.figure}; {'passed' if result.passed else 'FALLS SHORT'} (bar: {module.CLAIM.bar})")
    return PASSED if result.passed else SHORT


def claims() -> list[ModuleType]:
    """Find every module beside this one that holds a CLAIM, by name."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__main__")
    modules = [import_module(f"tests.claims.{name}") for name in names]
    return [module for module in modules if hasattr(module, "CLAIM")]


def listed(claim: Claim) -> str:
    """Write a claim with its bar and its last figure."""
    path = FIGURES / f"{claim.name}.json"
    last = "never measured here"
    if path.exists():
        kept: dict[str, Any] = json.decode(path.read_bytes())
        last = f"{kept['figure']} ({'passed' if kept['passed'] else 'FELL SHORT'}, {kept['date']})"
    return f"{claim.name}\n  {claim.sentence}\n  bar:  {claim.bar}\n  last: {last}"


def _kept(claim: Claim, result: Result, date: str) -> None:
    FIGURES.mkdir(parents=True, exist_ok=True)
    facts = {
        "claim": claim.name,
        "sentence": claim.sentence,
        "bar": claim.bar,
        "figure": result.figure,
        "passed": result.passed,
        "date": date,
        "machine": {"cores": os.cpu_count()},
        "details": result.details,
    }
    (FIGURES / f"{claim.name}.json").write_bytes(json.format(json.encode(facts), indent=2) + b"\n")


def _parser(today: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.claims", description=__doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="the claim to measure; without it, all are listed")
    parser.add_argument("--date", default=today, help="the date its figure carries (today)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], datetime.now(UTC).date().isoformat()))
