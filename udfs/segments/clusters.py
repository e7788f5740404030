"""Which k-means segment a person is in at a moment, how surely, and in which wider groups that lies."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Final, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.clusters import Cluster, Clustering
from schemas.signals import REGISTRY
from udfs.releases import RefusedRelease, decoded
from udfs.segments.kmeans import Points, squares
from udfs.segments.scales import scaled, unknown

_decode: Final = msgspec.json.Decoder(Clustering).decode
_DEFAULT_NAME: Final = re.compile(r"k[0-9]+")


class Placed(NamedTuple):
    """Where rows belong.

    Attributes:
        cluster: (n,) id of the nearest cluster; of equally near ones the smallest.
        distance: (n,) to its centroid, deviations.
        confidence: (n,) 0 where two clusters are equally near, 1 at a centroid or where there is but one cluster.
    """

    cluster: NDArray[np.int64]
    distance: NDArray[np.float64]
    confidence: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Clusters:
    """One release of the channel `segments`.

    Attributes:
        version: the release, `s1`, `s2` ...
        content: what it holds, its clusters in the order of their ids.
        ids: (k,) ascending.
        centroids: (k, d), in the order of the ids and of the features.
        by_id: its clusters.
    """

    version: str
    content: Clustering
    ids: NDArray[np.int64]
    centroids: Points
    by_id: Mapping[int, Cluster]

    @classmethod
    def parse(cls, version: str, payload: bytes) -> Self:
        """Read `segments.json`, a `schemas.clusters.Clustering`.

        Raises:
            RefusedRelease: it is none, or contradicts itself or the registry of signals.

        >>> Clusters.parse("s1", b'{"features":[]}')
        Traceback (most recent call last):
        ...
        udfs.releases.RefusedRelease: segments s1: Expected `array` of length >= 1 - at `$.features`
        """
        content = decoded(_decode, payload, f"segments {version}")
        for fault in chain(_feature_faults(content), _cluster_faults(content), _layer_faults(content)):
            raise RefusedRelease(f"segments {version}: {fault}")
        clusters = sorted(content.clusters, key=lambda cluster: cluster.id)
        return cls(
            version,
            msgspec.structs.replace(content, clusters=clusters),
            np.array([cluster.id for cluster in clusters], dtype=np.int64),
            np.array([cluster.centroid for cluster in clusters], dtype=np.float64),
            {cluster.id: cluster for cluster in clusters},
        )

    def assign(self, signals: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Give the id of the nearest cluster for each row; of equally near ones the smallest.

        Args:
            signals: one array, (n,), for each of the features' signals; others are ignored.

        Returns:
            (n,) ids.
        """
        nearest = squares(self.points(signals), self.centroids).argmin(axis=1)
        ids: NDArray[np.int64] = self.ids[nearest]
        return ids

    def placed(self, signals: Mapping[str, NDArray[Any]]) -> Placed:
        """Say how near and how sure that is as well.

        The confidence is the simplified silhouette (Hruschka, de Castro and Campello, ICDM 2004, section 3): 1 - a / b,
        a the distance to the nearest centroid, b to the second nearest.

        Args:
            signals: as for `assign`.
        """
        apart = np.sqrt(squares(self.points(signals), self.centroids))
        nearest = apart.argmin(axis=1)
        ordered = np.sort(np.pad(apart, ((0, 0), (0, 1)), constant_values=np.inf), axis=1)
        one, other = ordered[:, 0], ordered[:, 1]
        confidence = np.where(other > 0, 1 - one / np.where(other > 0, other, 1.0), 0.0)
        return Placed(self.ids[nearest], one, confidence)

    def points(self, signals: Mapping[str, NDArray[Any]]) -> Points:
        """Put signals on the features' scales.

        Returns:
            (n, d), deviations.
        """
        return np.column_stack([scaled(signals[each.signal], each) for each in self.content.features])

    def name_of(self, cluster: int) -> str:
        """Name a cluster; one that the release does not hold goes by its id."""
        found = self.by_id.get(cluster)
        return found.name if found else default_name(cluster)

    def layers_of(self, cluster: int) -> list[int]:
        """List the groups a cluster lies in, the narrowest first; none where the release does not hold it."""
        found = self.by_id.get(cluster)
        return found.layers if found else []


def default_name(cluster: int) -> str:
    """Name a cluster that nobody has named."""
    return f"k{cluster}"


def _feature_faults(content: Clustering) -> Iterator[str]:
    """Say what is wrong with the features: place and remedy."""
    names = [feature.signal for feature in content.features]
    for place, name in enumerate(names):
        if name not in REGISTRY:
            yield f"features[{place}]: {unknown(name)}"
        if name in names[:place]:
            yield f"features[{place}]: {name} stands at {names.index(name)} already; leave one out"


def _cluster_faults(content: Clustering) -> Iterator[str]:
    ids, names = [cluster.id for cluster in content.clusters], [cluster.name for cluster in content.clusters]
    for place, cluster in enumerate(content.clusters):
        at = f"clusters[{place}]"
        if cluster.id in ids[:place]:
            yield f"{at}: id {cluster.id} stands at {ids.index(cluster.id)} already; each has its own"
        if cluster.id >= content.next_id:
            yield f"{at}: id {cluster.id} was never given; next_id, {content.next_id}, must be greater"
        if cluster.name in names[:place]:
            yield f'{at}: name "{cluster.name}" stands at {names.index(cluster.name)} already; choose another'
        if _DEFAULT_NAME.fullmatch(cluster.name) and cluster.name != default_name(cluster.id):
            yield f'{at}: "{cluster.name}" is the name of another id than {cluster.id}; choose another'
        if len(cluster.centroid) != len(content.features):
            yield f"{at}: centroid has {len(cluster.centroid)} numbers for {len(content.features)} features"
        if len(cluster.layers) != len(content.cuts):
            yield f"{at}: layers has {len(cluster.layers)} groups for {len(content.cuts)} cuts"


def _layer_faults(content: Clustering) -> Iterator[str]:
    k = len(content.clusters)
    if any(wide <= narrow for wide, narrow in pairwise((k, *content.cuts))) or min(content.cuts, default=k) < 1:
        yield f"cuts: must fall, from fewer than the {k} clusters to 1 or more, got {content.cuts}"
        return
    by_id = {cluster.id: cluster for cluster in content.clusters}
    for layer, cut in enumerate(content.cuts):
        groups = {cluster.layers[layer] for cluster in content.clusters}
        if len(groups) != cut:
            yield f"layers[{layer}]: {len(groups)} groups, where there are to be {cut}"
        for cluster in content.clusters:
            group = by_id.get(cluster.layers[layer])
            if group is None or group.layers[layer] != group.id:
                yield f"layers[{layer}]: cluster {cluster.id} lies in {cluster.layers[layer]}, which names no group"
            elif layer and by_id[cluster.layers[layer - 1]].layers[layer] != group.id:
                yield f"layers[{layer}]: cluster {cluster.id} lies apart from its group of the layer before"
