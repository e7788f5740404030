"""Who behaves alike: the payload of the channel `segments`, groups of moments that k-means found in `decisions`."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

MAX_CLUSTERS: Final = 62
"""Ids go from 1 to this, so that a set of them fits a BIGINT."""

NAME: Final = r"^[a-z][a-z0-9_-]{0,31}$"

Id = Annotated[int, Meta(ge=1, le=MAX_CLUSTERS)]
Size = Annotated[float, Meta(ge=1e-9, le=1e12)]
Place = Annotated[float, Meta(ge=-1e6, le=1e6)]


class Feature(Struct, frozen=True, forbid_unknown_fields=True):
    """A signal as clusters see it: tamed, and counted in deviations from the population."""

    signal: Annotated[str, Meta(description="By its name in the registry.")]
    transform: Annotated[
        Literal["asinh", "none"],
        Meta(description="asinh(value / unit), else value / unit: what is told in shares needs no taming."),
    ]
    unit: Annotated[Size, Meta(description="A usual value, in the signal's unit: up to it the scale is straight.")]
    centre: Annotated[Place, Meta(description="Mean of the transformed values.")]
    scale: Annotated[Size, Meta(description="Their standard deviation.")]


class Cluster(Struct, frozen=True, forbid_unknown_fields=True):
    """A group of moments that are alike."""

    id: Annotated[Id, Meta(description="Stays with the group from release to release; never given to another one.")]
    name: Annotated[str, Meta(pattern=NAME, description="Stays too. `k<id>` unless somebody chose another.")]
    mass: Annotated[Size, Meta(description="Moments that it stands for; older ones count less.")]
    centroid: Annotated[list[Place], Meta(description="Its middle, in deviations; in the order of the features.")]
    layers: Annotated[
        list[Id], Meta(description="The groups of clusters it lies in, the narrowest first, by their heaviest member.")
    ] = []


class Clustering(Struct, frozen=True, forbid_unknown_fields=True):
    """`segments.json`: the clusters of one release, and where they come from."""

    features: Annotated[list[Feature], Meta(min_length=1)]
    cuts: Annotated[list[int], Meta(description="Groups in each layer, falling.")]
    clusters: Annotated[list[Cluster], Meta(min_length=1, max_length=MAX_CLUSTERS)]
    parent: Annotated[str, Meta(description="The release whose clusters they go on from; empty: begun anew.")]
    rows: Annotated[int, Meta(ge=1, description="Moments they were fitted to.")]
    since: Annotated[int, Meta(ge=0, description="Slice end of the oldest of these, ms since 1970.")]
    until: Annotated[int, Meta(ge=0, description="Slice end of the newest, ms since 1970.")]
    inertia: Annotated[float, Meta(ge=0, description="Mean squared distance of a moment to its centroid.")]
    next_id: Annotated[int, Meta(ge=2, le=MAX_CLUSTERS + 1, description="The least id that was never given.")]
