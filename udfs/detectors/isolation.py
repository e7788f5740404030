"""How strange a person's moment is among all people's, by how few random questions tell it from the others.

Isolation forest (Liu, Ting and Zhou, "Isolation Forest", ICDM 2008): what is rare and far from the rest is alone after
a few random splits; what is usual needs many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite, log, log2
from typing import Any, Final, Self

import msgspec
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from schemas.anomalies import FEATURES, LEAF, Isolation, IsolationTree
from schemas.signals import Signals
from udfs.releases import RefusedRelease, decoded
from udfs.scoring.forest import Forest
from udfs.scoring.trees import Tree, Trees
from udfs.smooth import Column

TREES: Final = 50
SAMPLE: Final = 256
"""From which on more rows add nothing (section 4.2)."""

_EULER: Final = 0.5772156649015329
_DEEPEST: Final = 64
_AT_ONCE: Final = 1024
_BYTES: Final = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1).astype(np.float64)
_decode: Final = msgspec.json.Decoder(Isolation).decode


@dataclass(frozen=True, eq=False)
class IsolationForest:
    """One anomalies release, ready to score.

    Attributes:
        version: the release, `a1`, `a2` ...; empty for one that was just grown.
        payload: what it was read from.
        forest: its trees, taken apart; a leaf's value is the expected path of a row that ends there.
        paths: (bytes, 256) the sum of the paths of the leaves that a byte of `forest.left_open` leaves open.
    """

    version: str
    payload: Isolation
    forest: Forest
    paths: Column

    @classmethod
    def fit(
        cls,
        rows: Column,
        rng: Generator,
        trees: int = TREES,
        sample: int = SAMPLE,
        features: Sequence[str] = FEATURES,
    ) -> Self:
        """Grow trees, each from a sample of the rows (Algorithms 1 and 2).

        A tree ends where rows are all alike, alone, or at depth log2(sample), for what is deeper is usual. Of the
        features those that still differ are drawn from. Splits are drawn on the scale sign(x) * ln(1 + |x|), so that a
        long tail does not take them all, and kept in the signal's own unit to six digits, so that the payload is small.

        Args:
            rows: (n, features) signals as they are, in the order of `features`; finite, at least two rows.
            rng: draws samples, features and splits.
            trees: how many.
            sample: rows of each; of fewer rows all are taken.
            features: names of signals.

        >>> rng = np.random.default_rng(1)
        >>> forest = IsolationForest.fit(rng.normal(size=(1000, 2)), rng, features=["events", "scroll"])
        >>> forest.score({"events": np.array([0.0, 6.0]), "scroll": np.array([0.0, 6.0])}).round(2).tolist()
        [0.46, 0.72]
        """
        taken = min(sample, len(rows))
        limit = ceil(log2(taken))
        grown = [IsolationTree([], [], []) for _ in range(trees)]
        for tree in grown:
            _grow(tree, rows[rng.choice(len(rows), taken, replace=False)], limit, rng)
        return cls._of("", Isolation(list(features), taken, len(rows), grown))

    def encode(self) -> bytes:
        """Write the payload, `anomalies.json`."""
        return msgspec.json.encode(self.payload)

    @classmethod
    def parse(cls, version: str, payload: bytes) -> Self:
        """Read `anomalies.json`, a `schemas.anomalies.Isolation`.

        Raises:
            RefusedRelease: it is none, looks at something that is no signal, or a tree of it is none.

        >>> IsolationForest.parse("a1", b'{"features":[],"sample":2,"rows":2,"trees":[]}')
        Traceback (most recent call last):
        ...
        udfs.releases.RefusedRelease: anomalies a1: Expected `array` of length >= 1 - at `$.features`
        """
        content = decoded(_decode, payload, f"anomalies {version}")
        if unknown := [name for name in content.features if name not in Signals.__struct_fields__]:
            raise RefusedRelease(
                f'anomalies {version}: there is no signal "{unknown[0]}": grow it anew with python -m jobs anomalies'
            )
        return cls._of(version, content)

    @classmethod
    def _of(cls, version: str, read: Isolation) -> Self:
        trees = []
        for number, tree in enumerate(read.trees):
            try:
                trees.append(_tree(tree, len(read.features)))
            except ValueError as error:
                raise RefusedRelease(f"anomalies {version}: tree {number}: {error}") from None
        forest = Forest.of(Trees(tuple(trees), "", read.features))
        padded = np.zeros(8 * forest.allowed[0].shape[1])
        padded[: len(forest.values)] = forest.values
        return cls(version, read, forest, padded.reshape(-1, 8) @ _BYTES.T)

    def score(self, signals: Mapping[str, NDArray[Any]]) -> Column:
        """Score moments: 2^(-E(h) / c(sample)), h the path to a row's leaf in each tree (section 2, equation 2).

        Args:
            signals: (n,) of each signal by its name; all that the release looks at, finite.

        Returns:
            (n,) 0 to 1: about 0.5 for what is usual, the closer to 1 the stranger. It depends on the row alone.
        """
        columns = [signals[name] for name in self.payload.features]
        # In parts, so that what is laid out beside the rows stays within a few MB.
        parts = [
            self._paths([column[start : start + _AT_ONCE] for column in columns])
            for start in range(0, len(columns[0]), _AT_ONCE)
        ]
        paths = np.concatenate(parts) if parts else np.empty(0)
        scores: Column = np.exp2(-paths / len(self.payload.trees) / expected_path(self.payload.sample))
        return scores

    def _paths(self, columns: Sequence[NDArray[Any]]) -> Column:
        """Sum the paths of each row over the trees, (n,); exact, so the same in any company (see `Forest`)."""
        left_open = self.forest.left_open(range(len(columns)), columns)
        paths: Column = self.paths[np.arange(len(self.paths)), left_open].sum(axis=1)
        return paths


def expected_path(rows: int) -> float:
    """Give c(n), the average path of an unsuccessful search in a binary tree of n rows (section 2, equation 1).

    2 H(n - 1) - 2 (n - 1) / n, with ln(i) + Euler's constant for the harmonic number H(i); of two rows it is 1.

    >>> [round(expected_path(rows), 3) for rows in (0, 1, 2, 3, 256)]
    [0.0, 0.0, 1.0, 1.207, 10.245]
    """
    if rows <= 2:  # noqa: PLR2004 - where the approximation of H begins
        return float(rows == 2)  # noqa: PLR2004
    return 2 * (log(rows - 1) + _EULER) - 2 * (rows - 1) / rows


def _grow(tree: IsolationTree, rows: Column, left: int, rng: Generator) -> None:
    """Add the rows' part of a tree, depth first."""
    differing = np.flatnonzero(rows.min(axis=0) < rows.max(axis=0))
    if left == 0 or not len(differing):
        tree.feature.append(LEAF)
        tree.size.append(len(rows))
        return
    feature = int(rng.choice(differing))
    split = _split(rows[:, feature], rng)
    tree.feature.append(feature)
    tree.split.append(split)
    lower = rows[:, feature] <= split
    _grow(tree, rows[lower], left - 1, rng)
    _grow(tree, rows[~lower], left - 1, rng)


def _split(values: Column, rng: Generator) -> float:
    """Draw where values are parted; at least one lies on either side."""
    tamed = np.sign(values) * np.log1p(np.abs(values))
    drawn = rng.uniform(tamed.min(), tamed.max())
    split = float(f"{np.sign(drawn) * np.expm1(np.abs(drawn)):.6g}")
    return split if values.min() <= split < values.max() else float(values.min())


def _tree(tree: IsolationTree, features: int) -> Tree:
    """Read a tree; raises ValueError where its lists make none."""
    inner = len(tree.feature) - tree.feature.count(LEAF)
    if not all(LEAF <= feature < features for feature in tree.feature):
        raise ValueError(f"a feature number is none of {LEAF} to {features - 1}")
    if (len(tree.split), len(tree.size)) != (inner, len(tree.feature) - inner):
        raise ValueError(f"{len(tree.split)} splits and {len(tree.size)} leaf sizes for {len(tree.feature)} nodes")
    if not all(map(isfinite, tree.split)) or min(tree.size, default=0) < 0:
        raise ValueError("a split is not finite, or the size of a leaf is below 0")
    left, right, value = [0] * inner, [0] * inner, list[float]()
    # Whose part the next node is: its depth, and where its number goes.
    waiting: list[tuple[int, list[int], int]] = [(0, [0], 0)]
    split = 0
    for feature in tree.feature:
        if not waiting:
            raise ValueError("it goes on after its last leaf")
        depth, side, above = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError(f"it is deeper than {_DEEPEST} splits")
        if feature == LEAF:
            side[above] = -1 - len(value)
            value.append(depth + expected_path(tree.size[len(value)]))
        else:
            side[above] = split
            waiting += [(depth + 1, right, split), (depth + 1, left, split)]
            split += 1
    if waiting:
        raise ValueError("it ends before its last leaf")
    return Tree(
        np.array([feature for feature in tree.feature if feature != LEAF], dtype=np.intp),
        np.array(tree.split, dtype=np.float64),
        np.array(left, dtype=np.intp),
        np.array(right, dtype=np.intp),
        np.array(value, dtype=np.float64),
    )
