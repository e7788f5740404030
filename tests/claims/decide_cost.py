"""Claim: a decision costs microseconds, and each part of it is known; scoring is cheaper than asking the library."""

from typing import Final

from tests.bench.__main__ import decide_lines
from tests.bench.decide import FULL, GOAL_TIMES, GOAL_US, SIZES, decide_cost
from tests.claims.claim import Claim, Result

CLAIM: Final = Claim(
    name="decide-cost",
    sentence=(
        "Facts, rules, experiments, policies, lists, guards and the record of a decision take few microseconds each,"
        " with the shipped slots and rules, a thousand items and a model of a hundred trees; candidates are scored"
        " several times cheaper than by LightGBM, called once per user, in the same run."
    ),
    bar=(
        f"at most {GOAL_US:g} CPU us per decision, scoring at least {GOAL_TIMES:g} times cheaper than once per user,"
        f" in bundles of {' and of '.join(f'{size:,}' for size in SIZES)}"
    ),
)


def run() -> Result:
    """Measure bundles of two sizes."""
    found = decide_cost(FULL, print)
    print("\n".join(decide_lines(found)))
    small, large = found.whole
    times = {size: each.ours / each.per_user for size, each in found.scoring.items()}
    at_once = min(each.ours / each.at_once for each in found.scoring.values())
    largest = sorted(found.parts[large], key=lambda part: -found.parts[large][part])[:4]
    parts = ", ".join(f"{part} {found.parts[large][part]:.0f}" for part in largest)
    return Result(
        figure=(
            f"{found.whole[small]:.0f} CPU us per decision in bundles of {small:,}, {found.whole[large]:.0f} of"
            f" {large:,} ({parts}), {found.alone_us:,.0f} alone; {found.scoring[large].ours / 1e6:.1f} million"
            f" candidates scored per second of a core, {min(times.values()):.1f} times what LightGBM does asked once"
            f" per user, {at_once:.1f} times asked once per bundle"
        ),
        passed=max(found.whole.values()) <= GOAL_US and min(times.values()) >= GOAL_TIMES,
        details=found.details(),
    )
