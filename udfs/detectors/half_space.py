"""How strange the newest values of a series are, by how few of the past ones lie where they lie.

Half-space trees (Tan, Ting and Liu, "Fast Anomaly Detection for Streaming Data", IJCAI 2011): each halves the space
of the values again and again at random, without having seen any; then it counts how many of the recent past lie in each
part. The thinner the part, the stranger the value.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from udfs.smooth import Column


@dataclass(frozen=True, slots=True)
class Shape:
    """How many trees look at how much of the past.

    Attributes:
        trees: how many.
        height: halvings on the way to a leaf.
        window: rows after which the profile is renewed; the first ones are scored by none.
        windows: of these the profile holds the last ones.
        few: share of the profile at which a part is no longer halved.
    """

    trees: int = 25
    height: int = 8
    window: int = 250
    windows: int = 25
    few: float = 0.1


@dataclass(frozen=True, eq=False)
class Trees:
    """Grown trees: which feature each inner node halves, and where.

    Nodes are numbered from the root, level by level; the children of node i are 2i + 1 and 2i + 2.

    Attributes:
        feature: (trees, 2^height - 1).
        split: (trees, 2^height - 1) where a feature whose profile lies in 0 to 1 is halved.
    """

    feature: NDArray[np.intp]
    split: Column

    @classmethod
    def grown(cls, shape: Shape, features: int, rng: Generator) -> Self:
        """Grow trees (section 3, Algorithm 1).

        The space of a tree reaches from s - r to s + r in each feature, s drawn from 0 to 1 and r = 2 max(s, 1 - s): it
        holds the profile wherever s lies, and at least as much room around it.

        Args:
            shape: how many, how high.
            features: columns of the rows that will be scored.
            rng: draws the spaces and the features.
        """
        trees, inner = np.arange(shape.trees), 2**shape.height - 1
        feature = rng.integers(0, features, (shape.trees, inner))
        middle = rng.random((shape.trees, features))
        reach = 2 * np.maximum(middle, 1 - middle)
        low, high = (np.repeat(edge[:, np.newaxis], 2 * inner + 1, axis=1) for edge in (middle - reach, middle + reach))
        split = np.empty((shape.trees, inner))
        for node in range(inner):
            halved = feature[:, node]
            split[:, node] = (low[trees, node, halved] + high[trees, node, halved]) / 2
            for child in (2 * node + 1, 2 * node + 2):
                low[:, child], high[:, child] = low[:, node], high[:, node]
            high[trees, 2 * node + 1, halved] = low[trees, 2 * node + 2, halved] = split[:, node]
        return cls(feature, split)


class Standing(NamedTuple):
    """Where the trees stand after some rows.

    Attributes:
        profile: (m, features) rows of the past that count; none in the first window.
        fresh: (k, features) rows since it was renewed.
    """

    profile: Column
    fresh: Column


class Found(NamedTuple):
    """What the trees say.

    Attributes:
        scores: (n,) 0 to 1: the higher, the stranger; 0 in the first window.
        standing: from which the trees go on.
    """

    scores: Column
    standing: Standing


def embedded(values: Column, lags: int, before: Column | None = None) -> Column:
    """Make rows of a series: each value beside those before it, so that its course is judged, not its height alone.

    Args:
        values: (n,), at least one where none came before.
        lags: columns, at least 1.
        before: (lags - 1,) the values before; at the series' start its first one stands for them.

    Returns:
        (n, lags), the value itself in the last column.

    >>> embedded(np.array([5.0, 6.0, 8.0]), 2).tolist()
    [[5.0, 5.0], [5.0, 6.0], [6.0, 8.0]]
    """
    earlier = np.full(lags - 1, values[0]) if before is None else before
    rows: Column = np.lib.stride_tricks.sliding_window_view(np.concatenate([earlier, values]), lags)
    return rows


def half_space(rows: Column, trees: Trees, shape: Shape, standing: Standing | None = None) -> Found:
    """Score rows one after the other, each by what came before its window only.

    A row goes down each tree to the first part that holds few of the profile, or to a leaf. Such a part at depth k with
    m rows of the profile is as dense as m * 2^k (section 3, Algorithm 3). The paper adds these up over the trees, which
    the densest part decides; here their logarithms are averaged, as the depths of an isolation forest are, and m + 1
    stands for m, since an empty part has a depth too. 1 less the share of the greatest possible average is the score.

    Each feature is scaled so that its profile lies between 0 and 1. The paper forgets all but one window; a profile of
    several knows the hours of the day.

    Args:
        rows: (n, features), finite; of a single series see `embedded`.
        trees: grown for as many features and this shape.
        shape: how much of the past counts.
        standing: where earlier rows left off; at the start nothing.
    """
    none = np.empty((0, rows.shape[1]))
    profile, fresh = standing or Standing(none, none)
    scores, place = np.zeros(len(rows)), 0
    while place < len(rows):
        end = min(len(rows), place + shape.window - len(fresh))
        if len(profile):
            scores[place:end] = _scored(rows[place:end], profile, trees, shape)
        fresh = np.concatenate([fresh, rows[place:end]])
        place = end
        if len(fresh) == shape.window:
            profile, fresh = np.concatenate([profile, fresh])[-shape.window * shape.windows :], none
    return Found(scores, Standing(profile, fresh))


def _scored(rows: Column, profile: Column, trees: Trees, shape: Shape) -> Column:
    low = profile.min(axis=0)
    width = profile.max(axis=0) - low
    width[width == 0] = 1.0
    masses = _masses(_leaves((profile - low) / width, trees, shape), shape)
    leaves = _leaves((rows - low) / width, trees, shape)
    numbers = np.arange(shape.trees)
    depth, mass = np.zeros(leaves.shape), np.full(leaves.shape, len(profile))
    for level in range(1, shape.height + 1):
        # Where a part holds few already, nobody looks into its halves.
        further = mass > shape.few * len(profile)
        mass = np.where(further, masses[level][numbers, leaves >> (shape.height - level)], mass)
        depth += further
    scores: Column = 1 - (np.log2(mass + 1) + depth).mean(axis=1) / (np.log2(len(profile) + 1) + shape.height)
    return scores


def _leaves(scaled: Column, trees: Trees, shape: Shape) -> NDArray[np.intp]:
    """Find the leaf of each row in each tree, counted from the left: (n, features) -> (n, trees)."""
    numbers = np.arange(shape.trees)
    node = np.zeros((len(scaled), shape.trees), dtype=np.intp)
    for _ in range(shape.height):
        value = np.take_along_axis(scaled, trees.feature[numbers, node], axis=1)
        node = 2 * node + 1 + (value >= trees.split[numbers, node])
    leaves: NDArray[np.intp] = node - (2**shape.height - 1)
    return leaves


def _masses(leaves: NDArray[np.intp], shape: Shape) -> list[NDArray[np.int64]]:
    """Count the rows in each part, level by level: (trees, 1), (trees, 2), (trees, 4) ..."""
    count = 2**shape.height
    of_leaf = np.bincount((leaves + count * np.arange(shape.trees)).ravel(), minlength=count * shape.trees)
    masses = [of_leaf.reshape(shape.trees, count)]
    for _ in range(shape.height):
        masses.insert(0, masses[0].reshape(shape.trees, -1, 2).sum(axis=2))
    return masses
