"""How a ranking model is grown from examples: trees by LightGBM, the same text for the same rows and settings."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import lightgbm
import numpy as np
from numpy.typing import NDArray

from schemas.settings import Train
from schemas.signals import FEATURES
from udfs.smooth import Column

FIXED: Final[dict[str, Any]] = {
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 2,
    "verbosity": -1,
}

MOST: Final = 4
"""The highest grade of an item: that of a reward of 1."""

_METRICS: Final = {"binary": "binary_logloss", "cross_entropy": "cross_entropy", "lambdarank": "ndcg"}

Told = Callable[[int, float], None]
"""Hears after each tree how many there are, and the measure on the people watched."""


class Rows(NamedTuple):
    """What is fitted to, or held against.

    Attributes:
        features: (rows, len(FEATURES)).
        gains: (rows,) 0 to 1.
        weights: (rows,).
        sizes: (lists,) rows of each list.
    """

    features: Column
    gains: Column
    weights: Column
    sizes: NDArray[np.intp]


def parameters(conf: Train) -> dict[str, Any]:
    """Say with what LightGBM is called."""
    return FIXED | {
        "objective": conf.objective,
        "metric": _METRICS[conf.objective],
        "eval_at": [conf.among],
        "num_leaves": conf.leaves,
        "learning_rate": conf.learning_rate,
        "min_data_in_leaf": conf.leaf_rows,
        "lambda_l2": conf.l2,
    }


def fitted(learn: Rows, watch: Rows | None, conf: Train, told: Told = lambda _trees, _measure: None) -> str:
    """Grow trees until those who are watched gain nothing by more, and give the model as LightGBM saves it.

    Args:
        learn: what is fitted to.
        watch: what says when to stop; without it, all trees are grown.
        conf: objective, size and pace.
        told: see `Told`; what it raises ends the fit.
    """
    data = _dataset(learn, conf)
    valid = [_dataset(watch, conf, data)] if watch else []

    def heard(env: Any) -> None:
        told(env.iteration + 1, env.evaluation_result_list[0][2] if valid else float("nan"))

    callbacks: list[Callable[..., Any]] = [heard]
    if valid:
        callbacks.append(lightgbm.early_stopping(conf.patience, verbose=False))
    booster = lightgbm.train(parameters(conf), data, conf.trees, valid_sets=valid, callbacks=callbacks)
    text: str = booster.model_to_string(num_iteration=booster.best_iteration if valid else None)
    return text


def grades(gains: Column) -> NDArray[np.int64]:
    """Turn rewards into grades whose gain, 2^grade - 1, is as near as can be to 15 times the reward.

    So NDCG and lambdarank, which count in grades, add up what was really earned; 0 is nothing, and nothing else is.

    >>> grades(np.array([0.0, 0.02, 0.2, 0.5, 1.0])).tolist()
    [0, 1, 2, 3, 4]
    """
    found = np.rint(np.log2(1.0 + (2.0**MOST - 1.0) * gains)).astype(np.int64)
    return np.where(gains > 0, np.maximum(found, 1), 0)


def labels(gains: Column, objective: str) -> Column | NDArray[np.int64]:
    """Say what a row is to be: whether it earned anything, how much, or its grade.

    >>> labels(np.array([0.0, 0.5]), "binary").tolist(), labels(np.array([0.0, 0.5]), "lambdarank").tolist()
    ([0.0, 1.0], [0, 3])
    """
    if objective == "lambdarank":
        return grades(gains)
    return gains if objective == "cross_entropy" else (gains > 0).astype(np.float64)


def by_list(weights: Column, earned: NDArray[np.bool_], sizes: NDArray[np.intp]) -> Column:
    """Give each list the mean weight of its rows that earned, 1 where none did, (lists,).

    >>> by_list(np.array([1.0, 3.0, 1.0]), np.array([False, True, False]), np.array([2, 1])).tolist()
    [3.0, 1.0]
    """
    of_list = np.repeat(np.arange(len(sizes)), sizes)
    count = np.bincount(of_list[earned], minlength=len(sizes))
    total = np.bincount(of_list[earned], weights[earned], minlength=len(sizes))
    return np.divide(total, count, out=np.ones(len(sizes)), where=count > 0)


def settings_of(conf: Train) -> dict[str, str | int | float | bool]:
    """Give the settings as a lineage keeps them."""
    names = [name for name in conf.__struct_fields__ if name not in ("gates", "every")]
    return {name: getattr(conf, name) for name in names}


def _dataset(rows: Rows, conf: Train, reference: Any = None) -> Any:
    ranks = conf.objective == "lambdarank"
    weights = rows.weights
    if ranks:
        # A pair counts by what was earned in it, and LightGBM weighs its two sides each by their own.
        weights = np.repeat(by_list(weights, rows.gains > 0, rows.sizes), rows.sizes)
    return lightgbm.Dataset(
        rows.features,
        labels(rows.gains, conf.objective),
        weight=weights,
        group=rows.sizes if ranks else None,
        reference=reference,
        feature_name=list(FEATURES),
    )
