"""A model taken apart scores as LightGBM does, whatever it was trained for."""

from typing import Any

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from udfs.scoring.forest import Forest
from udfs.scoring.trees import read

NAMES = ["a", "b", "c", "d"]


def drawn(seed: int, rows: int) -> NDArray[np.float64]:
    """Some smooth features, a count, a flag."""
    rng = np.random.default_rng(seed)
    flag = rng.random(rows) < 0.5
    return np.column_stack([rng.normal(size=rows), rng.exponential(size=rows), rng.poisson(3, rows), flag])


def trained(seed: int = 1, trees: int = 30, **parameters: Any) -> lightgbm.Booster:
    rows = drawn(seed, 3000)
    liked = rows[:, 0] + rows[:, 3] * rows[:, 1] + np.random.default_rng(seed).normal(size=3000) > 1
    data = lightgbm.Dataset(rows, liked.astype(np.float32), feature_name=NAMES, group=[30] * 100)
    return lightgbm.train({"num_threads": 1, "verbosity": -1, "seed": 1} | parameters, data, trees)


def taken_apart(booster: lightgbm.Booster) -> Forest:
    return Forest.of(read("m1", booster.model_to_string(), len(NAMES)))


@pytest.mark.parametrize(
    "parameters",
    [
        {"objective": "binary"},
        {"objective": "binary", "sigmoid": 2.0, "num_leaves": 63},
        {"objective": "cross_entropy", "boosting": "dart"},
        {"objective": "regression", "max_depth": 2},
        {"objective": "lambdarank"},
        {"objective": "poisson"},
        {"objective": "binary", "use_missing": False, "min_data_in_leaf": 1},
    ],
)
def test_scores_are_those_of_lightgbm(parameters: dict[str, Any]) -> None:
    booster, rows = trained(**parameters), drawn(2, 2000)
    np.testing.assert_allclose(taken_apart(booster).score(rows), booster.predict(rows), rtol=1e-12, atol=1e-13)


def test_a_value_right_at_a_threshold_goes_left_as_in_lightgbm() -> None:
    booster = trained(objective="binary")
    forest = taken_apart(booster)
    for feature, thresholds in enumerate(forest.thresholds):
        rows = np.repeat(drawn(3, 1), 3 * len(thresholds), axis=0)
        rows[:, feature] = np.concatenate([thresholds, np.nextafter(thresholds, np.inf), np.nextafter(thresholds, 0)])
        np.testing.assert_allclose(forest.score(rows), booster.predict(rows), rtol=1e-12)


def test_a_model_trained_with_gaps_scores_whole_rows_as_lightgbm_does() -> None:
    rows = drawn(1, 3000)
    liked = rows[:, 0] > 0
    rows[::7, 0] = np.nan
    data = lightgbm.Dataset(rows, liked, feature_name=NAMES)
    booster = lightgbm.train({"objective": "binary", "num_threads": 1, "verbosity": -1}, data, 10)
    whole = drawn(2, 500)
    np.testing.assert_allclose(taken_apart(booster).score(whole), booster.predict(whole), rtol=1e-12)


def test_a_score_is_the_same_bits_in_any_company_and_order_of_summing() -> None:
    forest, rows = taken_apart(trained(trees=200, objective="binary")), drawn(4, 500)
    left_open = forest.left_open(range(4), list(rows.T))
    one_by_one = [forest.score(row[np.newaxis])[0] for row in rows]
    backwards = [forest.values[::-1][boxes[::-1] > 0].sum() for boxes in forest.counted(left_open)]
    assert forest.score(rows).tolist() == one_by_one == forest.scale(np.array(backwards)).tolist()


def test_each_row_ends_in_one_box_of_each_tree() -> None:
    forest = taken_apart(trained(trees=20, objective="binary"))
    assert set(forest.counted(forest.left_open(range(4), list(drawn(5, 300).T))).sum(axis=1).tolist()) == {20.0}


def test_what_some_features_leave_open_is_closed_by_the_others() -> None:
    forest, rows = taken_apart(trained(objective="binary")), drawn(6, 300)
    of_person, of_item = (forest.left_open(each, list(rows.T[each])) for each in ([0, 1], [2, 3]))
    assert (of_person & of_item).tolist() == forest.left_open(range(4), list(rows.T)).tolist()
