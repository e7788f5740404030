"""Claim: what another policy would have been worth lies where the scoreboard says, as often as it says."""

import csv
import gzip
from collections.abc import Mapping
from typing import Any, Final, get_args

import numpy as np
from msgspec import json, to_builtins
from msgspec.structs import replace

from tests.claims.claim import Claim, Result, settings, shared
from tests.claims.made_up_plays import SCENARIOS, drawn, truth
from udfs.judging.expected import FOLDS, expected
from udfs.judging.off_policy import Log
from udfs.judging.scores import REFUSED, By, Score, live, scored
from udfs.policies.thompson import placed_beta
from udfs.smooth import Column

RUNS: Final = 1_000
LEAST: Final = 0.93
JUDGED: Final = get_args(By)

CLAIM: Final = Claim(
    name="off-policy",
    sentence=(
        "What a policy would have been worth, and how much more than the one that drew, lies within the interval that"
        " is told, near or far, where rewards are rare, and where people play several times; the Open Bandit Dataset's"
        " random log tells what its Thompson sampler was worth, and the other way round, where chances are tiny, no"
        " verdict is given that the log does not bear."
    ),
    bar=(
        f"in each of {len(SCENARIOS)} made-up worlds, for each of {', '.join(JUDGED)}, the 95 % interval of the value"
        f" holds the truth in at least {LEAST:.0%} of {RUNS:,} runs, and so does that of the difference; the sampler's"
        " own mean lies in the interval from the random log; the other direction is refused or clipped"
    ),
)


def run() -> Result:
    """Measure both."""
    real = open_bandit()
    covered = {name: coverage(name) for name in SCENARIOS}
    shares = {
        (name, by, what): share for name, found in covered.items() for by in JUDGED for what, share in found[by].items()
    }
    worst = min(shares, key=lambda key: shares[key])
    there, back, mean = real["to the sampler"], real["to random"], real["the sampler itself"]
    inside = all(_holds(there.estimates[by].value, mean.figure.value.value) for by in JUDGED)
    held = back.verdict == REFUSED or (back.by == "clipped" and back.verdict == "no difference seen")
    return Result(
        figure=(
            f"{len(shares)} intervals, the least sure of them right in {shares[worst]:.1%} of {RUNS:,} runs"
            f" ({', '.join(worst)}), the surest in {max(shares.values()):.1%}; from the random log the sampler is worth"
            f" {_said(there)} (effective {there.effective:.0f} of {there.plays} plays), by its own log {_said(mean)};"
            f" the other way: {back.said} (effective {back.effective:.0f} with weights clipped, largest"
            f" {back.largest:.0f})"
        ),
        passed=min(shares.values()) >= LEAST and inside and held,
        details={"coverage": covered, "open bandit": to_builtins(real)},
    )


def coverage(name: str) -> Mapping[str, Mapping[str, float]]:
    """Say of each estimator in how many runs of a world the truth lies within its intervals."""
    world, bounds = SCENARIOS[name], settings().scoreboard
    bounds = replace(bounds, clip=world.clip)
    worth, more = truth(world)
    hits: dict[str, dict[str, int]] = {}
    for seed in range(RUNS):
        log, target = drawn(world, seed)
        for by, found in scored(name, log, target, bounds).estimates.items():
            counted = hits.setdefault(by, {"value": 0, "difference": 0})
            counted["value"] += _holds(found.value, worth)
            counted["difference"] += _holds(found.against, more)
    return {by: {what: count / RUNS for what, count in counted.items()} for by, counted in hits.items()}


def open_bandit() -> Mapping[str, Score]:
    """Judge each of the dataset's two policies by the log of the other.

    The sampler is that of its prior; it went on learning for the week of the log, the prior does not. Of the items that
    it did not show the log holds no chances: the prior's stand there. There is no user id: an impression counts as a
    person of its own.

    Raises:
        Skipped: the dataset is not on this machine.
    """
    prior = json.decode(shared("obd_women/bts_prior.json").read_bytes())
    placed = placed_beta(np.array(prior["alpha"]), np.array(prior["beta"]), 3)
    random, at_random = _log("random", placed)
    sampler, by_sampler = _log("bts", placed)
    evenly = np.full(by_sampler.shape, 1.0 / by_sampler.shape[1])
    bounds = settings().scoreboard
    return {
        "random itself": live(random, bounds),
        "the sampler itself": live(sampler, bounds),
        "to the sampler": scored("the sampler of the prior", random, at_random, bounds),
        "to random": scored("random", sampler, evenly, bounds),
    }


def _log(name: str, placed: Column) -> tuple[Log, Column]:
    """Read a log, and what the sampler of the prior would have drawn at each of its places."""
    with gzip.open(shared(f"obd_women/{name}.csv.gz"), "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    item, place = (np.array([int(row[column]) for row in rows]) for column in ("item_id", "position"))
    click, logged = (np.array([float(row[column]) for row in rows]) for column in ("click", "propensity_score"))
    prior, number = placed[place - 1], np.arange(len(rows))
    p = np.full(prior.shape, 1.0 / prior.shape[1])
    if name != "random":
        p = prior * ((1.0 - logged) / (1.0 - prior[number, item]))[:, np.newaxis]
        p[number, item] = logged
    model = expected(item, click, place - 1, number % FOLDS, prior.shape[1])
    return Log(number, item, click, p, model), prior


def _holds(figure: Any, value: float) -> bool:
    return bool(figure.low <= value <= figure.high)


def _said(score: Score) -> str:
    value = score.figure.value
    return f"{value.value:.4f} ({value.low:.4f} to {value.high:.4f})"
