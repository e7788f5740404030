"""Whether a model's text is whole: every tree a tree, every split on a feature that exists.

The library that scores trusts its files: a child that points back at its parent loops for ever, a feature that does not
exist reads foreign memory, and golden rows see only the branches they pass. So the text is checked before it is loaded.
Layout of the text: `Tree::ToString` and `GBDT::SaveModelToString` in LightGBM 4.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from udfs.releases import RefusedRelease

_END: Final = "\nend of trees\n"
_PER_SPLIT: Final = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
_CATEGORICAL: Final = 1  # lowest bit of decision_type


def check(version: str, text: str, features: int) -> None:
    r"""Refuse a model text that is not whole.

    Args:
        version: The release, for the message.
        text: The model as LightGBM saves it.
        features: How many features a row has.

    Raises:
        RefusedRelease: The text is cut, more than one score per row, or a tree is none.

    >>> check("m3", "tree\nversion=v4", features=15)
    Traceback (most recent call last):
    ...
    udfs.releases.RefusedRelease: model m3: the text is cut or not a model: no line "end of trees"
    """
    try:
        _check_text(text, features)
    except ValueError as error:
        raise RefusedRelease(f"model {version}: {error}") from None


def _check_text(text: str, features: int) -> None:
    if "\0" in text:
        raise ValueError(f"a zero byte at {text.index(chr(0))}: not a text")
    forest, end, _ = text.partition(_END)
    if not end:
        raise ValueError('the text is cut or not a model: no line "end of trees"')
    head, *trees = forest.split("\nTree=")
    header = _fields(head)
    for name, expected in (("num_class", 1), ("num_tree_per_iteration", 1), ("max_feature_idx", features - 1)):
        if header.get(name) != str(expected):
            raise ValueError(f"{name} is {header.get(name, 'absent')}, must be {expected}")
    # The sizes count the line "Tree=" and one more line end.
    if header.get("tree_sizes", "").split() != [str(len(f"Tree={tree}\n")) for tree in trees]:
        raise ValueError("its trees are not as many and as long as tree_sizes says")
    for number, tree in enumerate(trees):
        try:
            _check_tree(_fields(tree), features)
        except ValueError as error:
            raise ValueError(f"tree {number}: {error}") from None


def _fields(text: str) -> dict[str, str]:
    return {name: value for name, equals, value in (line.partition("=") for line in text.splitlines()) if equals}


def _check_tree(tree: dict[str, str], features: int) -> None:
    if tree.get("num_cat") != "0" or tree.get("is_linear", "0") != "0":
        raise ValueError("categorical splits and linear leaves are not taken: every feature is a plain number")
    leaves = int(tree.get("num_leaves", "0"))
    values = _numbers(tree, "leaf_value", leaves)
    splits = {name: _numbers(tree, name, leaves - 1) for name in _PER_SPLIT}
    if not (np.isfinite(values).all() and np.isfinite(splits["threshold"]).all()):
        raise ValueError("a leaf or a threshold is not a finite number")
    if not np.isin(splits["split_feature"], np.arange(features)).all():
        raise ValueError(f"a split on a feature that is none of the {features}")
    if (splits["decision_type"].astype(np.int64) & _CATEGORICAL).any():
        raise ValueError("a categorical split in a tree without categories")
    # Every leaf (-1, -2 ...) and every split but the root (1, 2 ...) is somebody's child exactly once.
    children = np.sort(np.concatenate([splits["left_child"], splits["right_child"]]))
    if leaves > 1 and not np.array_equal(children, np.r_[-leaves:0, 1 : leaves - 1]):
        raise ValueError("its branches form no tree")


def _numbers(tree: dict[str, str], name: str, count: int) -> NDArray[np.float64]:
    words = tree.get(name, "").split()
    if count < 0 or len(words) != count:
        raise ValueError(f"{len(words)} numbers in {name}, must be {count}")
    return np.array(words, dtype=np.float64)
