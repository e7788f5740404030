"""Claim: a million events cost seconds, not minutes, of a processor; far less than in the obvious program."""

from tests.bench.cost import FULL, GOAL_S, GOAL_SHARE, cost
from tests.claims.claim import Claim, Result

CLAIM = Claim(
    name="cost",
    sentence=(
        "Decoding, signals, model, decisions, Redis and Kafka take few processor seconds per million events, a small"
        " part of what a plain Python consumer takes that decides the same for everybody, in the same run."
    ),
    bar=f"at most {GOAL_S:g} CPU s per million events, at most {GOAL_SHARE:g} of the plain consumer, same decisions",
)


def run() -> Result:
    """Measure the job by stages, and the plain consumer on the same records."""
    found = cost(FULL, print)
    same = "the same decisions" if found.agreement.agreed else "other decisions"
    return Result(
        figure=(
            f"{found.job.total:.1f} CPU s per million events, {found.share:.2f} of the plain consumer's"
            f" {found.plain_s:.0f}, {same}"
        ),
        passed=found.job.total <= GOAL_S and found.share <= GOAL_SHARE and found.agreement.agreed,
        details=found.details(),
    )
