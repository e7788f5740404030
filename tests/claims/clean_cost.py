"""Claim: making events trustworthy costs little of what the whole job may cost, and each part of it is known."""

from typing import Any, Final

from msgspec import json

from tests.bench.__main__ import clean_lines
from tests.bench.clean import FULL, clean_cost
from tests.bench.cost import GOAL_S, Slope
from tests.claims import cost
from tests.claims.claim import FIGURES, Claim, Result

CLAIM: Final = Claim(
    name="clean-cost",
    sentence=(
        "Reading, naming, consent, surroundings, noise and finding copies take few processor seconds per million events"
        " each, and the whole job stays within its goal with all of them on."
    ),
    bar=f"the whole job, as the claim {cost.CLAIM.name} last found it: at most {GOAL_S:g} CPU s per million events",
)


def run() -> Result:
    """Measure the parts; the whole is what was last measured of it, and was measured by a claim of its own."""
    found, whole = clean_cost(FULL, print), _whole_job()
    print("\n".join(clean_lines(found)))
    assert found.duplicates is not None
    largest = sorted(found.parts, key=lambda name: -found.parts[name])[:4]
    parts = ", ".join(f"{name} {found.parts[name]:.1f}" for name in largest)
    return Result(
        figure=(
            f"{found.python_s:.1f} CPU s per million events in Python ({parts}), {found.duplicates.total:.1f} for"
            f" finding copies; the whole job {f'{whole[0]:.1f} ({whole[1]})' if whole else 'was not measured here'}"
        ),
        passed=whole is not None and whole[0] <= GOAL_S,
        details=found.details() | {"job_s": whole and whole[0]},
    )


def _whole_job() -> tuple[float, str] | None:
    """Look up what a million events last cost in the whole job, and on which day; None where nobody has measured it."""
    path = FIGURES / f"{cost.CLAIM.name}.json"
    if not path.exists():
        return None
    kept: dict[str, Any] = json.decode(path.read_bytes())
    return Slope(**kept["details"]["job"]).total, kept["date"]
