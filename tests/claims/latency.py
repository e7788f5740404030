"""Claim: what a person does changes what they are shown within about a second."""

from tests.bench.latency import FULL, GOAL_P99_MS, delays
from tests.claims.claim import Claim, Result

CLAIM = Claim(
    name="latency",
    sentence=(
        "What a person does is a decision in Redis within about a second: from a slice's first event to the"
        " acknowledgement, at a steady rate, warmed up."
    ),
    bar="p99 at 2,000 events/s at most " + ", ".join(f"{ms:,} ms ({name} slices)" for name, ms in GOAL_P99_MS.items()),
)


def run() -> Result:
    """Measure both slice lengths at both rates; the higher rate is what counts."""
    found = delays(FULL, print)
    highest = [delay for delay in found if delay.rate == max(FULL.rates)]
    return Result(
        figure=", ".join(f"p50 {delay.p50_ms} ms, p99 {delay.p99_ms} ms ({delay.slice} slices)" for delay in highest),
        passed=all(delay.p99_ms <= GOAL_P99_MS[delay.slice] for delay in highest),
        details={"delays": [delay.details() for delay in found]},
    )
