"""Claim: what is known of people costs the same for a million of them as for ten thousand."""

from typing import Final

from tests.bench.engage import FULL, engage_cost
from tests.claims.claim import Claim, Result

LEVEL: Final = 1.25
"""So many times what it costs for ten thousand people may it cost for as many as there are events."""

CLAIM: Final = Claim(
    name="engage-cost",
    sentence=(
        "Silences, slices, running sums and rule segments with all signals on take so many processor seconds per"
        " million events and so many bytes of a checkpoint per active person, however many people there are."
    ),
    bar=f"per event at most {LEVEL:g} times, per person at most 1,024 bytes and no more than with few",
)


def run() -> Result:
    """Measure the stage for few people and for many, and the state of both."""
    found = engage_cost(FULL, print)
    few, many = found
    return Result(
        figure=(
            f"{few.slope.total:.0f} CPU s per million events for {few.people:,} people ({few.slope.jit:.0f} of them the"
            f" JVM's compiler), {many.slope.total:.0f} for {many.people:,}; {few.bytes_each:,.0f} and"
            f" {many.bytes_each:,.0f} bytes of a checkpoint per person"
        ),
        passed=many.slope.total <= LEVEL * few.slope.total and many.bytes_each <= min(1024, few.bytes_each * LEVEL),
        details={"few": few.details(), "many": many.details()},
    )
