"""Claim: what visitors do changes what they are shown, for the better, and again when their tastes change."""

import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from jobs import policy
from jobs.local import processes
from jobs.local.website import Score, Website, opened, settled
from jobs.local.world import SEGMENTS
from jobs.wiring import Refusal
from tests.claims.claim import Claim, Result, folder
from tests.claims.live import live

CLAIM: Final = Claim(
    name="loop",
    sentence=(
        "A website of 1,000 events/s that starts knowing nothing learns which arm suits whom, and nothing but that arm"
        " sets its groups apart; when tastes turn round it learns that too. Without learning neither happens."
    ),
    bar=(
        "within 10 minutes of each of 3 seeds: click rate above control with p < 0.01, and for two minutes on end at"
        " least 80 % of each hidden segment's page views show the arm that suits it best; the same after the turn"
    ),
)

SEEDS: Final = (1, 2, 3)
RATE: Final = 1000.0
CONTROL: Final = 0.2
MINUTES: Final = 10
AGAIN_MINUTES: Final = 12
BAR: Final = 0.8
SURE: Final = 0.01
_LOOK_S: Final = 30.0
"""How long page views are gathered for a look at which arms they showed."""
_STAYED: Final = 4
"""So many looks on end say that it has settled."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How one website went.

    Attributes:
        treated: click rate of the personalised group, once it has settled, or after `MINUTES`.
        control: of the others.
        p: chance of such a difference by chance alone.
        shares: of each hidden segment's page views in the last look, those that showed the arm that suits it best.
        settled_s: seconds until all were above the bar, to stay there; None: never.
        again_s: seconds from the turn of tastes until they were again; None: never, or tastes did not turn.
        policies: how many policy releases there were.
    """

    treated: float
    control: float
    p: float
    shares: list[float]
    settled_s: float | None
    again_s: float | None
    policies: int

    @property
    def passed(self) -> bool:
        """Whether the group is ahead beyond chance, and everybody's page views show what suits them."""
        return self.ahead and self.settled_s is not None and self.again_s is not None

    @property
    def ahead(self) -> bool:
        """Whether the personalised group clicks more, beyond chance."""
        return self.treated > self.control and self.p < SURE


def run() -> Result:
    """Play three websites that learn, and one that does not."""
    place = folder(CLAIM.name)
    learning = [played(place / f"seed{seed}", seed) for seed in SEEDS]
    without = played(place / "without", SEEDS[0], learning=False)
    return Result(
        figure="; ".join([*(told(f"seed {seed}", each) for seed, each in zip(SEEDS, learning, strict=True))])
        + f"; {told('without learning', without)}",
        passed=all(each.passed for each in learning) and not without.ahead and without.settled_s is None,
        details={"seeds": [asdict(each) for each in learning], "without": asdict(without)},
    )


def told(name: str, seen: Seen) -> str:
    """Write how a website went."""
    shares = ", ".join(f"{segment} {100 * share:.0f} %" for segment, share in zip(SEGMENTS, seen.shares, strict=True))
    times = [
        f"{label} {seconds:.0f} s" if seconds is not None else f"{label} never"
        for label, seconds in (("settled after", seen.settled_s), ("again", seen.again_s))
    ]
    return (
        f"{name}: click rate {100 * seen.treated:.1f} % against {100 * seen.control:.1f} % (p {seen.p:.1g}), best arm"
        f" for {shares}, {', '.join(times)}, {seen.policies} policies"
    )


def played(
    place: Path, seed: int, *, learning: bool = True, minutes: float = MINUTES, again: float = AGAIN_MINUTES
) -> Seen:
    """Play a website from an empty store on, so that lists are alike for all; tastes turn round where it has learned.

    Args:
        place: its folder.
        seed: of its world.
        learning: whether what came of decisions is learned from.
        minutes: until it is judged.
        again: how long it may take to settle once tastes have turned.
    """
    sets = [] if learning else ["slots.hero.policy=weights", "slots.hero.shadow=[]"]
    with live(place, *sets, env="local+website") as site, ThreadPoolExecutor(2) as pool:
        over, policies = threading.Event(), list[str]()
        # The port of the first job's REST server is taken.
        words = [sys.executable, "-m", "jobs", *site.sets, "--set", "flink.rest_port=0", "learn"]
        learn = processes.start("learn", words, place) if learning else None
        website = opened(site.settings, seed=seed, rate=RATE, control_share=CONTROL)
        work: list[Future[Any]] = [pool.submit(website.run, float("inf"), over)]
        if learning:
            work.append(pool.submit(policy.follow, site.settings, over, policies.append))
        try:
            there = [each for each in (site.job, learn) if each]
            settled_s, score, shares = _watched(there, website, minutes * 60)
            again_s = None
            if learning:
                website.flip()
                again_s, *_ = _watched(there, website, again * 60)
        finally:
            over.set()
            if learn:
                learn.stop(5_000)
        for each in work:
            each.result()
    treated, control = score.treated.rate.value, score.control.rate.value
    return Seen(treated, control, score.p, shares, settled_s, again_s, len(policies))


def _watched(
    jobs: Sequence[processes.Child], website: Website, seconds: float
) -> tuple[float | None, Score, list[float]]:
    """Look now and then at which arms are shown, until they have settled or time is up.

    Returns:
        Seconds to the first of the looks that say so; None where they do not. And the last look.

    Raises:
        Refusal: a job has ended.
    """
    began, before, stayed = time.monotonic(), website.score(), 0
    while True:
        time.sleep(_LOOK_S)
        for job in jobs:
            if job.ended():
                raise Refusal(f"a job ended by itself; {job.last_words()}")
        score = website.score()
        shares = settled(score, before, website.best)
        before = score
        elapsed = time.monotonic() - began
        print(f"{elapsed:5.0f} s: p {score.p:.2g}, best arm {[round(each, 2) for each in shares]}", flush=True)
        stayed = stayed + 1 if min(shares) >= BAR else 0
        if stayed == _STAYED:
            return elapsed - (_STAYED - 1) * _LOOK_S, score, shares
        if elapsed >= seconds:
            return None, score, shares
