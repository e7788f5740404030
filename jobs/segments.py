"""Finds groups of people who behave alike, and follows them from release to release under the same ids."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from msgspec import json
from msgspec.structs import replace
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from jobs.wiring import Refusal
from jobs.wiring.publishing import duration, now_ms, published, refusals, shown
from jobs.wiring.sampled import fill, summary
from jobs.wiring.store import Store
from schemas.clusters import MAX_CLUSTERS, Clustering
from schemas.settings import Clusters as Conf
from schemas.settings import Releases, Settings
from udfs.counting.sampling import Moments, Sample
from udfs.releases import RefusedRelease
from udfs.segments.clusters import Clusters
from udfs.segments.kmeans import Fit, TooAlikeError, fitted, inertia, refitted, squares
from udfs.segments.lineage import Counted, NoIdLeftError, begun, continued
from udfs.segments.scales import measured, restored, scaled

_TELLING: Final = 3
_ROUND: Final = 100.0


def main(settings: Settings, arguments: list[str]) -> int:
    """Fit, print, and publish if asked.

    Raises:
        Refusal: no broker answers, an argument is out of range, there are too few moments or they are too much alike,
            the features are no longer those of the release before, or the store does not take the release.
    """
    asked = _parser().parse_args(arguments)
    conf = _conf(settings.clusters, asked.k)
    if asked.seed < 0:
        raise Refusal("segments: --seed must be at least 0")
    before = newest(settings.releases)
    parent = None if asked.fresh else before
    if parent and (features := _names(parent)) != conf.features:
        raise Refusal(
            f"segments: clusters.features are no longer those of {parent.version}, {', '.join(features)};"
            " --fresh begins anew, with new ids"
        )
    sample = Sample(conf.features, conf.every, conf.max_rows, parent.content.until if parent else 0)
    since = max(now_ms() - asked.since, sample.counted)
    fill(sample, settings.kafka, since)
    print(summary(sample, since))
    moments = sample.moments()
    clustering = segmented(moments, conf, parent, before, default_rng(asked.seed))
    print("\n".join(table(clustering, moments, parent)))
    if asked.publish:
        reason = f"{clustering.rows} moments since {shown(clustering.since)}" + (
            f", going on from {parent.version}" if parent else ", begun anew"
        )
        release = published(settings.releases, "segments", json.encode(clustering), reason)
        print(f"published {release.version}, in force from {shown(release.effective_at)} on")
    return 0


def newest(conf: Releases) -> Clusters | None:
    """Load the newest release that holds, in force already or about to be: its ids are given, whoever follows it.

    Raises:
        Refusal: the store cannot be read.
    """
    with refusals(conf):
        store = Store(conf.store)
        for release in reversed(store.index("segments")):
            try:
                return Clusters.parse(release.version, store.read(release))
            except RefusedRelease as refused:
                print(f"passed over: {refused}")
    return None


def segmented(
    moments: Moments, conf: Conf, parent: Clusters | None, before: Clusters | None, rng: Generator
) -> Clustering:
    """Fit clusters to moments.

    Args:
        moments: what to fit to.
        conf: how many clusters, their layers, and how fast the past fades.
        parent: the release to go on from; its scales are kept, so that its centroids mean what they meant. None: anew.
        before: the newest release there is, the parent or one that is not gone on from.
        rng: of the draws.

    Raises:
        Refusal: there are too few moments, too few that differ, or no ids left.
    """
    n = len(moments.at)
    if n < conf.min_rows:
        remedy = f"wait until there are more since {parent.version}" if parent else "read further back with --since"
        raise Refusal(f"segments: {n} moments, {conf.min_rows} are needed (clusters.min_rows); {remedy}")
    since, until = int(moments.at[0]), int(moments.at[-1])
    # A drawn moment stands for those that were not.
    weights = 0.5 ** ((until - moments.at) / conf.half_life) * (moments.total / n)
    signals = moments.signals
    features = parent.content.features if parent else [measured(name, signals[name], weights) for name in conf.features]
    points = np.column_stack([scaled(signals[each.signal], each) for each in features])
    with _remedied(TooAlikeError, "ask for fewer with --k"):
        if parent:
            masses = np.array([cluster.mass for cluster in parent.content.clusters])
            past = Fit(parent.centroids, masses).faded(until - parent.content.until, conf.half_life)
            fit = refitted(points, weights, past, conf.k, rng)
        else:
            fit = fitted(points, weights, conf.k, rng)
    counted = Counted(n, since, until, inertia(points, weights, fit.centroids))
    if parent is None:
        return begun(fit, features, conf.layers, counted, before)
    with _remedied(NoIdLeftError, "--fresh begins anew"):
        return continued(fit, parent, conf.layers, counted, conf.match_within)


def table(clustering: Clustering, moments: Moments, parent: Clusters | None) -> list[str]:
    """Show each cluster as a line: its share of the moments, how far it moved, and what tells it from all of them.

    A feature tells by its centroid's distance from the mean of all moments, in deviations of these; the centroid itself
    is shown in the signal's unit.
    """
    points = np.column_stack([scaled(moments.signals[each.signal], each) for each in clustering.features])
    centroids = np.array([cluster.centroid for cluster in clustering.clusters])
    shares = np.bincount(squares(points, centroids).argmin(axis=1), minlength=len(centroids)) / len(points)
    # What is the same in all rows has a hair of deviation left, by rounding.
    spread = np.where(np.ptp(points, axis=0) > 0, points.std(axis=0), 0.0)
    apart = (centroids - points.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    lines = [_headline(clustering, moments, parent), *_alike(clustering, spread)]
    lines.append(f"{'id':>2}  {'name':<16}{'share':>7}{'moved':>8}  {'layers':<10}most telling")
    for cluster, share, told in zip(clustering.clusters, shares, apart, strict=True):
        old = parent.by_id.get(cluster.id) if parent else None
        moved = f"{np.linalg.norm(np.subtract(cluster.centroid, old.centroid)):.2f}" if old else "new"
        groups = " ".join(map(str, cluster.layers))
        telling = ", ".join(_telling(clustering, cluster.centroid, told))
        lines.append(f"{cluster.id:>2}  {cluster.name:<16}{share:>7.1%}{moved:>8}  {groups:<10}{telling}")
    gone = [each.name for each in parent.content.clusters if each.id not in _ids(clustering)] if parent else []
    return [*lines, f"gone: {', '.join(gone)}"] if gone else lines


def _headline(clustering: Clustering, moments: Moments, parent: Clusters | None) -> str:
    before = f"goes on from {parent.version} (there {parent.content.inertia:.3g})" if parent else "begun anew"
    drawn = f"{clustering.rows} moments of about {moments.total:.0f}"
    return f"{drawn}, {len(clustering.clusters)} clusters, inertia {clustering.inertia:.3g} per moment, {before}"


def _alike(clustering: Clustering, spread: NDArray[np.float64]) -> Iterator[str]:
    same = [each.signal for each, deviation in zip(clustering.features, spread, strict=True) if deviation == 0]
    if same:
        yield f"the same in all moments, so it tells nothing: {', '.join(same)}"


def _telling(clustering: Clustering, centroid: Sequence[float], apart: NDArray[np.float64]) -> Iterator[str]:
    for place in np.argsort(-np.abs(apart), kind="stable")[:_TELLING].tolist():
        feature = clustering.features[place]
        yield f"{feature.signal} {_number(restored(centroid[place], feature))} ({apart[place]:+.1f})"


def _number(value: float) -> str:
    """Write a number with three digits, or as many as it has before the point; what rounding left of 0 is 0.

    >>> [_number(each) for each in (10912.3, 4.1234, -0.0427, 5.6e-16)]
    ['10912', '4.12', '-0.0427', '0']
    """
    return f"{value:.0f}" if abs(value) >= _ROUND else f"{round(value, 9) + 0.0:.3g}"


def _ids(clustering: Clustering) -> set[int]:
    return {cluster.id for cluster in clustering.clusters}


def _names(parent: Clusters) -> list[str]:
    return [feature.signal for feature in parent.content.features]


def _conf(conf: Conf, k: int | None) -> Conf:
    """Take another number of clusters from the command line, where it goes with the layers."""
    if k is None:
        return conf
    least = max([1, *conf.layers]) + 1
    if not least <= k <= MAX_CLUSTERS:
        raise Refusal(f"segments: --k must be from {least} to {MAX_CLUSTERS}, where clusters.layers is {conf.layers}")
    return replace(conf, k=k)


@contextmanager
def _remedied(what: type[ValueError], remedy: str) -> Iterator[None]:
    try:
        yield
    except what as error:
        raise Refusal(f"segments: {error}; {remedy}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs segments", description=__doc__)
    parser.add_argument("--since", type=duration, default="1d", help="how far back to read, such as 12h (1d)")
    parser.add_argument("--k", type=int, help="how many clusters; if not given, clusters.k")
    parser.add_argument("--seed", type=int, default=1, help="of the draws (1)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, with new scales and new ids")
    parser.add_argument("--publish", action="store_true", help="publish it, in force releases.lead from now")
    return parser
