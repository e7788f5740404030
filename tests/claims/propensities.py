"""Claim: the chance that is written down with a draw is the chance with which it was drawn."""

import csv
import gzip
from collections.abc import Mapping
from itertools import islice
from typing import Final

import numpy as np
from msgspec import json
from numpy.random import default_rng
from numpy.typing import NDArray
from scipy.stats import chisquare

from tests.claims.claim import Claim, Result, shared
from tests.claims.thompson import SIMULATED, compared
from udfs.draw import pick, ticket
from udfs.policies import epsilon, leaves, linear, posteriors, ucb
from udfs.policies.floor import floored
from udfs.policies.grid import rounded
from udfs.policies.thompson import best_beta, best_normal, placed_beta

Column = NDArray[np.float64]

DRAWS: Final = 200_000
LEAST: Final = 0.01
ROWS: Final = 100
SIGNIFICANCE: Final = 0.001
ERROR: Final = 1e-4
ALIKE: Final = 0.95

DEVIATIONS: Final = 4.5
"""Standard errors; of some 270 comparisons, one lies beyond them about once in 500 times."""

CLAIM: Final = Claim(
    name="propensities",
    sentence=(
        "Every policy draws its arms with the chances it writes down; those of Thompson sampling, which are computed,"
        " are what simulating it comes to, and what the logger of the Open Bandit Dataset wrote down follows from its"
        " prior."
    ),
    bar=(
        f"over {DRAWS:,} draws of each policy chi-square p > {SIGNIFICANCE:g}; for n = 1 to 1,000,000 no chance"
        f" {ERROR:g} off a precise integral, nor {DEVIATIONS:g} standard errors off {SIMULATED:,} simulated draws;"
        f" Pearson r at least {ALIKE:g} with the propensities of the dataset's first {ROWS} rows"
    ),
)


def run() -> Result:
    """Measure all three."""
    alike = logger()
    drawn = {name: p_value(name, p) for name, p in distributions().items()}
    found = compared()
    least = min(drawn, key=lambda name: drawn[name])
    integral, simulation, deviations = (max(values) for values in zip(*found.values(), strict=True))
    return Result(
        figure=(
            f"{len(drawn)} distributions, least p {drawn[least]:.3f} ({least}); in {len(found)} cases at most"
            f" {integral:.0e} off the integral, and {simulation:.1e} or {deviations:.1f} standard errors off the"
            f" simulation; r {alike['by place']:.3f}"
        ),
        passed=drawn[least] > SIGNIFICANCE
        and integral < ERROR
        and deviations < DEVIATIONS
        and alike["by place"] >= ALIKE,
        details={"p": drawn, "thompson": {name: off._asdict() for name, off in found.items()}, "r": alike},
    )


def p_value(name: str, p: Column) -> float:
    """Draw with keys, and say how likely counts are that are so far from what is expected; 0 for what is impossible."""
    cumulative = np.cumsum(p).tolist()
    drawn = [pick(ticket(f"trimtab-1|{name}|{key}"), cumulative) for key in range(DRAWS)]
    counts, possible = np.bincount(drawn, minlength=len(p)), p > 0
    if counts[~possible].any():
        return 0.0
    return float(chisquare(counts[possible], DRAWS * p[possible]).pvalue) if possible.sum() > 1 else 1.0


def distributions() -> Mapping[str, Column]:
    """Let each policy decide about four arms, as it is and as it is drawn from: floored, and on the grid."""
    n = np.array([[300.0, 400.0, 10.0, 20.0], [20.0, 30.0, 2.0, 0.0], [500.0, 600.0, 30.0, 20.0]])
    total = np.array([[30.0, 56.0, 0.5, 3.0], [6.0, 3.0, 1.0, 0.0], [50.0, 66.0, 3.0, 1.0]])
    segments = (n, total, 0.8 * total)
    slot = [column.sum(axis=0) for column in segments]
    third = [column[1] for column in posteriors.shrunk(segments, slot)]
    rng = default_rng(5)
    x = np.column_stack([np.ones(400), rng.normal(size=(400, 3))])
    precision = np.eye(4) + np.stack([x[:size].T @ x[:size] for size in (20, 90, 300, 400)])
    weighted = np.stack([x[:size].sum(axis=0) * 0.1 for size in (20, 90, 300, 400)])
    lines = linear.ready(precision, weighted)
    known = leaves.ready(1.0 + rng.integers(0, 90, (4, 24)), 4.0 * rng.random((4, 24)))
    row = leaves.columns(rng.integers(0, 8, (1, 3)), np.full(3, 8))
    three = np.array([True, True, False, True])
    plain = {
        "epsilon-greedy": epsilon.distribution(posteriors.means(*slot[:2]), 0.2),
        "UCB1": ucb.distribution(*slot[:2]),
        "Thompson, Beta": best_beta(*posteriors.beta(*slot[:2])),
        "Thompson, Normal": best_normal(*posteriors.normal(*slot)),
        "Thompson, a segment": best_beta(*posteriors.beta(*third[:2])),
        "LinUCB": linear.ucb(x[:1], lines, 1.0)[0],
        "linear Thompson": linear.thompson(x[:1], lines, 0.5)[0],
        "leaves": leaves.distribution(row, known, 0.5)[0],
    }
    ruled = {
        "Thompson, Beta, three arms": best_beta(*posteriors.beta(*slot[:2]), three),
        "linear Thompson, three arms": linear.thompson(x[:1], lines, 0.5, three)[0],
    }
    return {
        **{name: rounded(p) for name, p in (plain | ruled).items()},
        **{f"{name}, floored": rounded(floored(p, LEAST)) for name, p in plain.items()},
        **{f"{name}, floored": rounded(floored(p, LEAST, three)) for name, p in ruled.items()},
    }


def logger() -> Mapping[str, float]:
    """Hold what the dataset's logger wrote down against what follows from its prior, Pearson's r.

    It shows three items at a time, sorted by a draw from each one's Beta distribution; its propensity is that of an
    item at a place. It goes on learning, which the prior does not, so only the first rows are asked; the very first is
    written down as drawn evenly.

    Returns:
        Reading -> r: by place as it should be; and for comparison, what else the propensity might be.

    Raises:
        Skipped: the dataset is not on this machine.
    """
    prior = json.decode(shared("obd_women/bts_prior.json").read_bytes())
    placed = placed_beta(np.array(prior["alpha"]), np.array(prior["beta"]), 3)
    with gzip.open(shared("obd_women/bts.csv.gz"), "rt", encoding="utf-8", newline="") as lines:
        rows = list(islice(csv.DictReader(lines), 10 * ROWS))
    items, places = (np.array([int(row[name]) for row in rows]) for name in ("item_id", "position"))
    logged = np.array([float(row["propensity_score"]) for row in rows])

    def r(expected: Column, first: int = 0, last: int = ROWS) -> float:
        return float(np.corrcoef(expected[first:last], logged[first:last])[0, 1])

    by_place = placed[places - 1, items]
    return {
        "by place": r(by_place),
        "by place, without the first row": r(by_place, first=1),
        "over the places": r(placed.mean(axis=0)[items]),
        "at the first place": r(placed[0, items]),
        f"by place, {10 * ROWS} rows": r(by_place, last=10 * ROWS),
    }
