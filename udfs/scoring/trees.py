"""A model's trees, read from its text, which must be whole: every tree a tree, every split on a feature there is.

The library trusts its files: a child that points back at its parent loops for ever, a feature that does not exist
reads foreign memory, and golden rows see only the branches they pass. So the text is checked before it is loaded.
Layout of the text: `Tree::ToString` and `GBDT::SaveModelToString` in LightGBM 4.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.releases import RefusedRelease

_END: Final = "\nend of trees\n"
_PER_SPLIT: Final = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
_CATEGORICAL: Final = 1  # lowest bit of decision_type
_MISSING: Final = 12  # the next but one and two
_ZERO_IS_MISSING: Final = 4


class Tree(NamedTuple):
    """One tree: its splits from the root on, and its leaves.

    Attributes:
        feature: which one each split asks, (splits,).
        threshold: values up to this go left, (splits,).
        left: the split that follows there, or the leaf as -1 - its number, (splits,).
        right: likewise.
        value: of each leaf, (splits + 1,).
    """

    feature: NDArray[np.intp]
    threshold: NDArray[np.float64]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    value: NDArray[np.float64]


class Trees(NamedTuple):
    """What a text holds.

    Attributes:
        trees: their sum is a raw score.
        objective: what they were trained for, which says how a score follows from that.
        features: the names of what they ask.
    """

    trees: tuple[Tree, ...]
    objective: str
    features: list[str]


def leaf_numbers(trees: Trees, rows: NDArray[np.float64]) -> NDArray[np.intp]:
    """Say in which leaf of each tree rows end.

    Args:
        trees: as `read` gives them.
        rows: (n, features), finite.

    Returns:
        (n, trees) numbers from 0 on, each tree's own.

    >>> stump = Tree(np.array([0]), np.array([0.5]), np.array([-1]), np.array([-2]), np.array([0.1, 0.9]))
    >>> leaf_numbers(Trees((stump,), "", ["x"]), np.array([[0.5], [0.6]])).tolist()
    [[0], [1]]
    """
    found = np.empty((len(rows), len(trees.trees)), dtype=np.intp)
    for place, tree in enumerate(trees.trees):
        node = np.full(len(rows), 0 if len(tree.feature) else -1, dtype=np.intp)
        while (inner := np.flatnonzero(node >= 0)).size:
            at = node[inner]
            lower = rows[inner, tree.feature[at]] <= tree.threshold[at]
            node[inner] = np.where(lower, tree.left[at], tree.right[at])
        found[:, place] = -1 - node
    return found


def read(version: str, text: str, features: int) -> Trees:
    r"""Read a model text; refuse one that is not whole.

    Args:
        version: The release, for the message.
        text: The model as LightGBM saves it.
        features: How many features a row has.

    Raises:
        RefusedRelease: The text is cut, more than one score per row, or a tree is none.

    >>> read("m3", "tree\nversion=v4", features=15)
    Traceback (most recent call last):
    ...
    udfs.releases.RefusedRelease: model m3: the text is cut or not a model: no line "end of trees"
    """
    try:
        return _read_text(text, features)
    except ValueError as error:
        raise RefusedRelease(f"model {version}: {error}") from None


def _read_text(text: str, features: int) -> Trees:
    if "\0" in text:
        raise ValueError(f"a zero byte at {text.index(chr(0))}: not a text")
    forest, end, _ = text.partition(_END)
    if not end:
        raise ValueError('the text is cut or not a model: no line "end of trees"')
    head, *texts = forest.split("\nTree=")
    header = _fields(head)
    for name, expected in (("num_class", 1), ("num_tree_per_iteration", 1), ("max_feature_idx", features - 1)):
        if header.get(name) != str(expected):
            raise ValueError(f"{name} is {header.get(name, 'absent')}, must be {expected}")
    # The sizes count the line "Tree=" and one more line end.
    if header.get("tree_sizes", "").split() != [str(len(f"Tree={tree}\n")) for tree in texts]:
        raise ValueError("its trees are not as many and as long as tree_sizes says")
    if not texts:
        raise ValueError("it holds no tree")
    trees = []
    for number, tree in enumerate(texts):
        try:
            trees.append(_tree(_fields(tree), features))
        except ValueError as error:
            raise ValueError(f"tree {number}: {error}") from None
    return Trees(tuple(trees), header.get("objective", ""), header.get("feature_names", "").split())


def _fields(text: str) -> dict[str, str]:
    return {name: value for name, equals, value in (line.partition("=") for line in text.splitlines()) if equals}


def _tree(tree: dict[str, str], features: int) -> Tree:
    if tree.get("num_cat") != "0" or tree.get("is_linear", "0") != "0":
        raise ValueError("categorical splits and linear leaves are not taken: every feature is a plain number")
    leaves = int(tree.get("num_leaves", "0"))
    values = _numbers(tree, "leaf_value", leaves)
    splits = {name: _numbers(tree, name, leaves - 1) for name in _PER_SPLIT}
    if not (np.isfinite(values).all() and np.isfinite(splits["threshold"]).all()):
        raise ValueError("a leaf or a threshold is not a finite number")
    if not np.isin(splits["split_feature"], np.arange(features)).all():
        raise ValueError(f"a split on a feature that is none of the {features}")
    kinds = splits["decision_type"].astype(np.int64)
    if (kinds & _CATEGORICAL).any():
        raise ValueError("a categorical split in a tree without categories")
    if ((kinds & _MISSING) == _ZERO_IS_MISSING).any():
        raise ValueError("a split takes 0 for a missing value: train without zero_as_missing")
    # Every leaf (-1, -2 ...) and every split but the root (1, 2 ...) is somebody's child exactly once.
    children = np.sort(np.concatenate([splits["left_child"], splits["right_child"]]))
    if leaves > 1 and not np.array_equal(children, np.r_[-leaves:0, 1 : leaves - 1]):
        raise ValueError("its branches form no tree")
    feature, left, right = (splits[name].astype(np.intp) for name in ("split_feature", "left_child", "right_child"))
    return Tree(feature, splits["threshold"], left, right, values)


def _numbers(tree: dict[str, str], name: str, count: int) -> NDArray[np.float64]:
    words = tree.get(name, "").split()
    if count < 0 or len(words) != count:
        raise ValueError(f"{len(words)} numbers in {name}, must be {count}")
    return np.array(words, dtype=np.float64)
