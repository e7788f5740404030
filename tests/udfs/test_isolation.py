"""Trees that tell rare moments from usual ones: what is far scores high, and only a whole payload is let in."""

from collections.abc import Mapping

import msgspec
import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

from schemas.anomalies import FEATURES, LEAF, Isolation, IsolationTree
from udfs.detectors.isolation import IsolationForest, expected_path
from udfs.releases import RefusedRelease

NAMES = ("events", "gap_s", "velocity")

# A root that splits `events` at 5: up to it a leaf of 1, above it a split of `gap_s` at 2 into leaves of 2 and 253.
TREE = IsolationTree(feature=[0, LEAF, 1, LEAF, LEAF], split=[5.0, 2.0], size=[1, 2, 253])


def moments(seed: int = 1, n: int = 3000) -> NDArray[np.float64]:
    """Counts, times with a long tail, and a difference around 0."""
    rng = default_rng(seed)
    return np.column_stack([rng.poisson(3, n), rng.lognormal(1.0, 1.0, n), rng.normal(0.0, 0.2, n)])


def columns(rows: NDArray[np.float64]) -> Mapping[str, NDArray[np.float64]]:
    return dict(zip(NAMES, rows.T, strict=True))


def walked(tree: IsolationTree, row: NDArray[np.float64]) -> float:
    """The expected path of a row, by walking: node after node as they stand."""
    nodes, splits, sizes = iter(tree.feature), iter(tree.split), iter(tree.size)

    def part(depth: int, *, mine: bool) -> float:
        feature = next(nodes)
        if feature == LEAF:
            size = next(sizes)
            return depth + expected_path(size) if mine else 0.0
        up_to = row[feature] <= next(splits)
        return part(depth + 1, mine=mine and up_to) + part(depth + 1, mine=mine and not up_to)

    return part(0, mine=True)


def payload(*trees: IsolationTree, features: tuple[str, ...] = NAMES, sample: int = 256) -> bytes:
    return msgspec.json.encode(Isolation(list(features), sample, 1000, list(trees)))


def test_scores_are_those_of_walking_each_tree() -> None:
    forest = IsolationForest.fit(moments(), default_rng(2), features=NAMES)
    rows = moments(3, 200)
    paths = [np.mean([walked(tree, row) for tree in forest.payload.trees]) for row in rows]
    np.testing.assert_allclose(forest.score(columns(rows)), np.exp2(-np.array(paths) / expected_path(256)), rtol=1e-12)


def test_what_is_far_from_all_scores_higher_than_all() -> None:
    rows = np.vstack([moments(4, 500), [[200.0, 900.0, 9.0], [90.0, 0.0, -9.0]]])
    scores = IsolationForest.fit(moments(), default_rng(2), features=NAMES).score(columns(rows))
    assert set(np.argsort(scores)[-2:].tolist()) == {500, 501}
    assert ((scores > 0) & (scores < 1)).all()
    assert 0.35 < np.median(scores) < 0.5


def test_a_release_read_again_scores_the_same_bits_in_any_company() -> None:
    grown = IsolationForest.fit(moments(), default_rng(2), features=NAMES)
    read = IsolationForest.parse("a7", grown.encode())
    rows = moments(5, 2500)
    alone = [read.score(columns(row[np.newaxis]))[0] for row in rows[:50]]
    assert read.version == "a7"
    assert read.score(columns(rows)).tolist() == grown.score(columns(rows)).tolist()
    assert read.score(columns(rows))[:50].tolist() == alone
    assert read.score(columns(rows[:0])).tolist() == []


def test_the_same_draws_grow_the_same_payload_and_it_is_small() -> None:
    rows = np.hstack([moments()] * 6)[:, : len(FEATURES)]
    one, again = (IsolationForest.fit(rows, default_rng(8)).encode() for _ in range(2))
    assert one == again != IsolationForest.fit(rows, default_rng(9)).encode()
    assert len(one) < 80_000


def test_no_tree_is_deeper_than_its_samples_logarithm_and_each_ends_with_all_its_rows() -> None:
    forest = IsolationForest.fit(moments(), default_rng(2), trees=10, sample=100, features=NAMES)
    for tree in forest.payload.trees:
        assert sum(tree.size) == 100
        assert len(tree.size) <= 2**7
    assert forest.payload.sample == 100
    assert IsolationForest.fit(moments(n=9), default_rng(2), features=NAMES).payload.sample == 9


def test_where_all_rows_are_alike_nothing_is_strange() -> None:
    forest = IsolationForest.fit(np.full((400, 3), 2.0), default_rng(1), features=NAMES)
    assert forest.score(columns(np.array([[2.0, 2.0, 2.0], [9.0, 9.0, 9.0]]))) == pytest.approx(0.5)


def test_a_split_has_rows_on_both_sides_even_between_neighbouring_numbers() -> None:
    rows = np.repeat([[1.0, 1.0, 1.0], [np.nextafter(1.0, 2.0), 1.0, 1.0]], 50, axis=0)
    forest = IsolationForest.fit(rows, default_rng(1), features=NAMES)
    assert all(tree.split == [1.0] and sorted(tree.size) == [50, 50] for tree in forest.payload.trees)


def test_a_payload_written_by_hand_scores_by_its_leaves() -> None:
    forest = IsolationForest.parse("a1", payload(TREE))
    scores = forest.score(columns(np.array([[5.0, 0.0, 0.0], [5.1, 2.0, 0.0], [6.0, 2.1, 0.0]])))
    # Alone after one split; one of two after two, which take one more on average; one of 253 after two.
    paths = np.array([1.0, 3.0, 2.0 + expected_path(253)])
    np.testing.assert_allclose(scores, np.exp2(-paths / expected_path(256)), rtol=1e-12)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xff", "anomalies a1: "),
        (b'{"features":["events"]}', "anomalies a1: Object missing required field `sample`"),
        (payload(TREE, sample=1), "anomalies a1: Expected `int` >= 2 - at `$.sample`"),
        (payload(), "anomalies a1: Expected `array` of length >= 1 - at `$.trees`"),
        (
            payload(TREE, features=("events", "mood")),
            'anomalies a1: there is no signal "mood": grow it anew',
        ),
        (payload(TREE, features=("events",)), "anomalies a1: tree 0: a feature number is none of -1 to 0"),
        (payload(TREE, IsolationTree([-2], [], [9])), "anomalies a1: tree 1: a feature number is none of -1 to 2"),
        (payload(IsolationTree([], [], [])), "anomalies a1: tree 0: it ends before its last leaf"),
        (payload(IsolationTree([0, LEAF], [1.0], [9])), "anomalies a1: tree 0: it ends before its last leaf"),
        (payload(IsolationTree([LEAF, LEAF], [], [9, 9])), "anomalies a1: tree 0: it goes on after its last leaf"),
        (payload(IsolationTree([LEAF], [1.0], [9])), "anomalies a1: tree 0: 1 splits and 1 leaf sizes for 1 nodes"),
        (
            payload(IsolationTree([LEAF], [], [-9])),
            "anomalies a1: tree 0: a split is not finite, or the size",
        ),
        (
            payload(IsolationTree([0] * 65 + [LEAF] * 66, [1.0] * 65, [1] * 66)),
            "anomalies a1: tree 0: it is deeper than 64 splits",
        ),
    ],
)
def test_what_is_no_payload_is_refused_by_place(body: bytes, said: str) -> None:
    with pytest.raises(RefusedRelease) as refused:
        IsolationForest.parse("a1", body)
    assert str(refused.value).startswith(said)


def test_a_split_beyond_all_numbers_is_refused() -> None:
    body = payload(TREE).replace(b"5.0", b"1e999")
    with pytest.raises(RefusedRelease, match=r"^anomalies a1: "):
        IsolationForest.parse("a1", body)
