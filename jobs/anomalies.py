"""Learns what is easily told from all else, so that a strange moment is known by its score."""

import argparse
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from jobs.wiring import Refusal
from jobs.wiring.publishing import duration, now_ms, published, shown
from jobs.wiring.sampled import fill, summary
from schemas.anomalies import FEATURES
from schemas.settings import Settings
from udfs.counting.sampling import Moments, Sample
from udfs.detectors.isolation import SAMPLE, IsolationForest

LEAST: Final = 2 * SAMPLE
"""Moments that are needed: with fewer, the trees would be grown from the same rows."""

_STRANGEST: Final = 5
_QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)


def main(settings: Settings, arguments: list[str]) -> int:
    """Grow a forest, show how it scores what it was grown from, and publish it if asked.

    Raises:
        Refusal: no broker answers, there are too few moments, or the store does not take the release.
    """
    asked = _parser().parse_args(arguments)
    if asked.seed < 0:
        raise Refusal("anomalies: --seed must be at least 0")
    since = max(0, now_ms() - asked.since)
    sample = Sample(FEATURES, settings.clusters.every, settings.clusters.max_rows)
    fill(sample, settings.kafka, since)
    print(summary(sample, since))
    moments = sample.moments()
    forest = grown(moments, asked.seed)
    print("\n".join(table(forest, moments)))
    if asked.publish:
        reason = f"{len(moments.at)} moments since {shown(since)}"
        release = published(settings.releases, "anomalies", forest.encode(), reason)
        print(f"published {release.version}, in force from {shown(release.effective_at)} on")
    return 0


def grown(moments: Moments, seed: int) -> IsolationForest:
    """Grow a forest from moments; the same moments and seed give the same.

    Raises:
        Refusal: there are too few moments.
    """
    if len(moments.at) < LEAST:
        raise Refusal(f"anomalies: {len(moments.at)} moments, {LEAST} are needed; read further back with --since")
    rows = np.column_stack([moments.signals[name] for name in FEATURES])
    return IsolationForest.fit(rows, default_rng(seed))


def table(forest: IsolationForest, moments: Moments) -> Iterator[str]:
    """Show how the moments score, and which of them are the strangest, by what."""
    scores = forest.score(moments.signals)
    quantiles = ", ".join(f"{q:.1%} {score:.3f}" for q, score in zip(_QUANTILES, _at(scores), strict=True))
    yield f"scores: {quantiles}, most {scores.max():.3f}"
    middle = {name: np.median(column) for name, column in moments.signals.items()}
    spread = {name: float(np.std(column)) or 1.0 for name, column in moments.signals.items()}
    for row in np.argsort(-scores, kind="stable")[:_STRANGEST].tolist():
        far = {name: abs(moments.signals[name][row] - middle[name]) / spread[name] for name in FEATURES}
        telling = sorted(far, key=lambda name: -far[name])[:3]
        values = ", ".join(f"{name} {moments.signals[name][row]:.4g}" for name in telling)
        yield f"  {scores[row]:.3f}  {shown(int(moments.at[row]))}  {values}"


def _at(scores: NDArray[np.float64]) -> list[float]:
    found: list[float] = np.quantile(scores, _QUANTILES).tolist()
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs anomalies", description=__doc__)
    parser.add_argument("--since", type=duration, default="1d", help="how far back to read, such as 12h (1d)")
    parser.add_argument("--seed", type=int, default=1, help="of the draws (1)")
    parser.add_argument("--publish", action="store_true", help="publish it, in force releases.lead from now")
    return parser
