"""How a model scores all of a page's items at once: its trees, taken apart by feature.

Each leaf of a tree is a box: a row ends in it if each of its features lies within two bounds. So what a person's own
numbers leave open of all boxes is found once for all items, what an item's leave open once for all people, and the
score of the two is the sum of the boxes that both leave open: a product of two tables instead of a walk through every
tree (bits per feature instead of walks are the idea of QuickScorer; Lucchese et al., SIGIR 2015).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import frexp
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from udfs.scoring.trees import Tree, Trees
from udfs.smooth import Column

Bits = NDArray[np.uint8]
"""Eight boxes a byte."""

Scale = Callable[[Column], Column]
"""Makes a model's scores of its raw ones."""

_DIGITS: Final = 52  # binary ones, of a float


@dataclass(frozen=True, eq=False)
class Forest:
    """A model, ready to score.

    Attributes:
        thresholds: Per feature, where its splits lie, ascending.
        allowed: Per feature, which boxes stay open to a value, a bit each: a row for the values up to the first
            threshold, one for those up to the second, and so on.
        values: (boxes,) what each adds to the raw score. They lie on a grid on which sums are exact, so that a score
            depends neither on the order of summing nor on what is scored beside it.
        scale: Makes the scores of the raw ones.
    """

    thresholds: tuple[Column, ...]
    allowed: tuple[Bits, ...]
    values: Column
    scale: Scale

    @classmethod
    def of(cls, model: Trees) -> Self:
        """Take a model apart."""
        trees, features = model.trees, range(len(model.features))
        boxes = [box for tree in trees for box in _boxes(tree, len(features))]
        above, up_to, values = (np.array(side) for side in zip(*boxes, strict=True))
        splits = [np.concatenate([tree.threshold[tree.feature == feature] for tree in trees]) for feature in features]
        thresholds = tuple(map(np.unique, splits))
        return cls(
            thresholds=thresholds,
            allowed=tuple(_allowed(thresholds[each], above[:, each], up_to[:, each]) for each in features),
            values=_exact(values, sum(np.abs(tree.value).max() for tree in trees)),
            scale=_scale(model.objective),
        )

    def left_open(self, features: Sequence[int], columns: Sequence[NDArray[Any]]) -> Bits:
        """Say which boxes the values of some features leave open.

        Args:
            features: Their places.
            columns: Their values, finite, each (rows,).

        Returns:
            (rows, boxes / 8): what is left open by two of these is their bitwise and.
        """
        left: Bits = np.full((len(columns[0]), self.allowed[0].shape[1]), 255, dtype=np.uint8)
        for feature, column in zip(features, columns, strict=True):
            left &= self.allowed[feature].take(np.searchsorted(self.thresholds[feature], column), axis=0)
        return left

    def counted(self, left_open: Bits) -> Column:
        """Count each box left open as 1, each other as 0, (rows, boxes): times `values`, a raw score."""
        return np.unpackbits(left_open, axis=1, count=len(self.values)).astype(np.float64)

    def score(self, rows: Column) -> Column:
        """Score whole rows, (rows, features) -> (rows,)."""
        return self.scale(self.counted(self.left_open(range(rows.shape[1]), list(rows.T))) @ self.values)


def _boxes(tree: Tree, features: int) -> Iterator[tuple[Column, Column, float]]:
    """Walk to each leaf: its features lie above the first bounds and up to the second; and its value."""
    ends = np.full(features, np.inf)
    to_walk = [(0 if len(tree.feature) else -1, -ends, ends)]
    while to_walk:
        node, above, up_to = to_walk.pop()
        if node < 0:
            yield above, up_to, tree.value[-1 - node]
            continue
        feature, threshold = tree.feature[node], tree.threshold[node]
        higher, lower = above.copy(), up_to.copy()
        higher[feature] = max(above[feature], threshold)
        lower[feature] = min(up_to[feature], threshold)
        to_walk += [(tree.left[node], above, lower), (tree.right[node], higher, up_to)]


def _allowed(thresholds: Column, above: Column, up_to: Column) -> Bits:
    """Hold the intervals between a feature's thresholds against the bounds of the boxes, (intervals, boxes / 8)."""
    edges = np.concatenate([[-np.inf], thresholds, [np.inf]])[:, np.newaxis]
    return np.packbits((above <= edges[:-1]) & (edges[1:] <= up_to), axis=1)


def _exact(values: Column, most: float) -> Column:
    """Round to a grid on which sums up to a size need no more digits than a float has.

    Each value is off by half a step at most: the sum of 100 trees, where it stays below 8, by less than 1e-13.

    >>> a, b, c = _exact(np.array([0.1, 0.2, 0.3]), 1.0).tolist()
    >>> (a + b) + c == a + (b + c), (0.1 + 0.2) + 0.3 == 0.1 + (0.2 + 0.3)
    (True, False)
    """
    step = 2.0 ** (frexp(most)[1] - _DIGITS)
    rounded: Column = np.rint(values / step) * step
    return rounded


def _scale(objective: str) -> Scale:
    """Say how scores follow from raw ones; where it is otherwise, a model's golden rows show it.

    >>> _scale("binary sigmoid:1")(np.array([0.0])).tolist(), _scale("lambdarank")(np.array([7.0])).tolist()
    ([0.5], [7.0])
    """
    name, _, parameter = objective.partition(" sigmoid:")
    if name in ("binary", "cross_entropy"):
        steepness = float(parameter or 1)
        return lambda raw: 1.0 / (1.0 + np.exp(-steepness * raw))
    if name.partition(" ")[0] in ("poisson", "gamma", "tweedie"):
        return np.exp
    return lambda raw: raw
