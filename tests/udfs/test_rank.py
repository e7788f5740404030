"""Lists: who gets which items, in which order, and what is refused before it may decide anything."""

import re
from collections.abc import Mapping

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.decisions import Why
from schemas.releases import Golden, Manifest
from schemas.signals import FEATURES, USER_FEATURES
from schemas.slots import Rerank
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.in_force import InForce
from udfs.deciding.rank import People, among, answered, features, rerank
from udfs.releases import RefusedRelease
from udfs.scoring.models import Model, golden

Signals = Mapping[str, NDArray[np.float64]]

SHELF = b"""\
{"id":"ski","interest":"sport","popularity":0.5,"quality":0.5,"age_h":3}
{"id":"bike","interest":"sport","popularity":1.0,"quality":0.2,"age_h":50}
{"id":"ball","interest":"sport","popularity":0.1,"quality":0.1}
{"id":"rome","interest":"travel","popularity":1.0,"quality":1.0,"age_h":7}
{"id":"oslo","interest":"travel","popularity":1.0,"quality":0.5}
{"id":"moon","interest":"science","popularity":0.5,"quality":1.0}
{"id":"mars","interest":"science","popularity":1.0,"quality":0.9,"available":false}
"""


def quiet(users: int) -> Signals:
    return {name: np.zeros(users) for name in USER_FEATURES}


def busy(users: int) -> Signals:
    rng = np.random.default_rng(11)
    return {name: rng.normal(size=users) for name in USER_FEATURES}


def who(signals: Signals, clicked: list[str], opened: list[list[str]] | None = None) -> People:
    """Tell of people who have clicked nothing but the last item, if nothing else is said."""
    return People(signals, clicked, opened or [[item] if item else [] for item in clicked])


def test_everybody_has_named_items_of_their_own_and_what_the_catalogue_lacks_is_none_of_its_items() -> None:
    catalogue = Catalogue.parse("c1", SHELF)
    items = np.array([[catalogue.rows[name] for name in ("ski", "mars", "moon")]] * 4)
    found = among(catalogue, items, [["ski", "moon", "ski"], [], ["gone"], ["mars", "gone"]])
    assert found.tolist() == [[True, False, True], [False] * 3, [False] * 3, [False, True, False]]
    assert among(catalogue, items[:2], [[], []]).tolist() == [[False] * 3] * 2


@pytest.fixture(scope="module")
def text() -> str:
    """A model that learnt to prefer the interest of the item clicked last."""
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(2000, len(FEATURES)))
    rows[:, -4:-1] = rng.random((2000, 3)) < 0.5
    liked = rows[:, FEATURES.index("same_interest")] + 0.3 * rows[:, 0] + rng.normal(size=2000) > 0.5
    data = lightgbm.Dataset(rows, liked.astype(np.int8), feature_name=list(FEATURES))
    params = {"objective": "binary", "num_leaves": 15, "num_threads": 1, "verbosity": -1, "seed": 1}
    written: str = lightgbm.train(params, data, 20).model_to_string()
    return written


@pytest.fixture(scope="module")
def manifest(text: str) -> Manifest:
    return golden(text, np.random.default_rng(3).normal(size=(20, len(FEATURES))))


@pytest.fixture(scope="module")
def model(text: str, manifest: Manifest) -> Model:
    return Model.parse("m1", text, manifest)


def test_half_of_the_candidates_are_of_the_interest_clicked_last_and_the_rest_are_the_best_of_all() -> None:
    catalogue = Catalogue.parse("c1", SHELF)
    tables = catalogue.ids[catalogue.candidates(3)].tolist()
    # Priors: rome 1.0, moon 0.5 and oslo 0.5 (by id), ski 0.25, bike 0.2, ball 0.01; mars is not available.
    assert dict(zip([*catalogue.interests, "none"], tables, strict=True)) == {
        "science": ["rome", "moon", "oslo"],
        "sport": ["rome", "ski", "bike"],
        "travel": ["rome", "moon", "oslo"],
        "none": ["rome", "moon", "oslo"],
    }


def test_a_shelf_with_fewer_items_than_candidates_gives_them_all() -> None:
    catalogue = Catalogue.parse("c1", SHELF)
    assert catalogue.candidates(20).shape == (4, 6)


def test_without_a_model_the_list_is_the_most_popular_and_says_so() -> None:
    ranked = rerank(Rerank(length=2, candidates=4), who(quiet(1), [""]), InForce(Catalogue.parse("c1", SHELF), None))
    assert ranked is not None
    assert ranked.reason is Why.POPULAR
    assert ranked.items() == [["rome", "moon"]]
    assert np.take_along_axis(ranked.scores, ranked.order, axis=1).tolist() == [[1.0, 0.5]]


def test_the_model_puts_the_interest_clicked_last_first(model: Model) -> None:
    in_force = InForce(Catalogue.parse("c1", SHELF), model)
    ranked = rerank(Rerank(length=2, candidates=4), who(quiet(2), ["ball", "oslo"]), in_force)
    assert ranked is not None
    assert ranked.reason is Why.SCORE
    assert [set(items) for items in ranked.items()] == [{"ski", "bike"}, {"rome", "oslo"}]


def test_a_score_is_to_the_bit_what_the_model_says_of_the_features(model: Model) -> None:
    catalogue, clicked = Catalogue.parse("c1", SHELF), [("ski", "rome", "", "moon", "gone")[n % 5] for n in range(50)]
    opened = [[["ski", "oslo"], [], ["bike", "gone", "moon"]][n % 3] for n in range(50)]
    ranked = rerank(Rerank(length=4, candidates=6), who(busy(50), clicked, opened), InForce(catalogue, model))
    assert ranked is not None
    table = features(who(busy(50), clicked, opened), catalogue, ranked.candidates)
    assert ranked.scores.ravel().tolist() == model.forest.score(table.reshape(-1, len(FEATURES))).tolist()


def test_the_order_is_that_of_the_scores_best_first(model: Model) -> None:
    ranked = rerank(
        Rerank(length=4, candidates=6), who(busy(50), ["ski"] * 50), InForce(Catalogue.parse("c1", SHELF), model)
    )
    assert ranked is not None
    shown = np.take_along_axis(ranked.scores, ranked.order, axis=1).tolist()
    assert shown == [sorted(scores, reverse=True)[:4] for scores in ranked.scores.tolist()]


def test_equal_scores_stay_in_the_prefilters_order() -> None:
    lines = b"\n".join(b'{"id":"%c","interest":"x","popularity":0.5,"quality":0.5}' % c for c in b"dbca")
    ranked = rerank(Rerank(length=4, candidates=4), who(quiet(1), [""]), InForce(Catalogue.parse("c1", lines), None))
    assert ranked is not None
    assert ranked.items() == [["a", "b", "c", "d"]]


def test_the_features_stand_in_the_order_of_the_schema() -> None:
    catalogue = Catalogue.parse("c1", SHELF)
    signals = {name: np.array([float(place)]) for place, name in enumerate(USER_FEATURES)}
    items = np.array([[catalogue.rows[item] for item in ("ski", "bike", "rome")]])
    assert features(who(signals, ["ski"]), catalogue, items).tolist() == [
        [
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0.5, 0.5, 3, 1, 1, 1, 0],
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1.0, 0.2, 50, 1, 0, 0, 0],
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1.0, 1.0, 7, 0, 0, 0, 0],
        ]
    ]


@pytest.mark.parametrize("clicked", ["", "gone"])
def test_an_item_the_catalogue_does_not_know_has_no_interest_in_common_with_any(clicked: str) -> None:
    lines = SHELF + b'{"id":"odd","interest":"","popularity":1,"quality":1}'
    catalogue = Catalogue.parse("c1", lines)
    table = features(who(quiet(1), [clicked]), catalogue, catalogue.candidates(7)[-1:])
    assert table[0, :, -3:].tolist() == [[0.0, 0.0, 0.0]] * 7


def test_an_item_without_interest_has_none_in_common_with_another_one() -> None:
    lines = b"\n".join(b'{"id":"%c","interest":"","popularity":1,"quality":1}' % c for c in b"ab")
    catalogue = Catalogue.parse("c1", lines)
    assert features(who(quiet(1), ["a"]), catalogue, np.array([[0, 1]]))[0, :, -4:-1].tolist() == [
        [0.0, 1.0, 1.0],
        [0.0, 0.0, 0.0],
    ]


def test_an_item_clicked_last_counts_though_it_is_not_available_any_more(model: Model) -> None:
    ranked = rerank(Rerank(2, 2), who(quiet(1), ["mars"]), InForce(Catalogue.parse("c1", SHELF), model))
    assert ranked is not None
    assert ranked.items()[0][0] == "moon"


def test_a_list_does_not_depend_on_who_else_is_in_the_bundle(model: Model) -> None:
    users = 300
    signals, slot = busy(users), Rerank(length=4, candidates=6)
    clicked = [("ski", "rome", "", "moon", "gone")[user % 5] for user in range(users)]
    in_force = InForce(Catalogue.parse("c1", SHELF), model)

    def told(rows: NDArray[np.intp]) -> list[tuple[int, list[str], list[float]]]:
        own = {name: column[rows] for name, column in signals.items()}
        ranked = rerank(slot, who(own, [clicked[row] for row in rows]), in_force)
        assert ranked is not None
        return list(zip(rows.tolist(), ranked.items(), ranked.scores.tolist(), strict=True))

    at_once = told(np.arange(users))
    one_by_one = [told(np.array([user]))[0] for user in range(users)]
    in_sevens = [user for start in range(0, users, 7) for user in told(np.arange(start, min(start + 7, users)))]
    shuffled = sorted(told(np.random.default_rng(5).permutation(users)), key=lambda user: user[0])
    # Equality of floats, not closeness: a replay bundles otherwise and must give the same bytes.
    assert at_once == one_by_one == in_sevens == shuffled


def test_a_catalogue_does_not_depend_on_the_order_of_its_lines() -> None:
    forward, backward = (Catalogue.parse("c1", b"\n".join(SHELF.splitlines()[::step])) for step in (1, -1))
    assert forward.ids.tolist() == backward.ids.tolist()
    assert forward.candidates(3).tolist() == backward.candidates(3).tolist()


@pytest.mark.parametrize(
    "in_force",
    [
        InForce(None, None),
        InForce(Catalogue.parse("c1", b'{"id":"a","interest":"x","popularity":1,"quality":1,"available":false}'), None),
    ],
)
def test_without_anything_to_show_there_is_no_list(in_force: InForce) -> None:
    assert rerank(Rerank(2, 4), who(quiet(1), [""]), in_force) is None


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"", "catalogue c9: it holds no item"),
        (SHELF + b"\n{}", "catalogue c9: line 8: "),
        (SHELF + b'{"id":"a"}', "catalogue c9: line 8: Object missing required field `interest`"),
        (SHELF + SHELF.splitlines()[1], 'catalogue c9: line 8: item "bike" stands in line 2 already'),
        (SHELF.replace(b"0.2", b"1.2"), "catalogue c9: line 2: Expected `float` <= 1.0 - at `$.quality`"),
        (SHELF.replace(b"ski", b"\xff"), "catalogue c9: line 1: 'utf-8' codec"),
        (SHELF.replace(b'"age_h"', b'"age"'), "catalogue c9: line 1: Object contains unknown field `age`"),
    ],
)
def test_a_catalogue_that_does_not_hold_is_refused_with_line_and_reason(payload: bytes, complaint: str) -> None:
    with pytest.raises(RefusedRelease) as refused:
        Catalogue.parse("c9", payload)
    assert str(refused.value).startswith(complaint)
    assert "\n" not in str(refused.value)


def test_a_model_that_sees_the_features_in_another_order_is_refused(text: str, manifest: Manifest) -> None:
    swapped = text.replace("rate_fast rate_mid", "rate_mid rate_fast")
    with pytest.raises(RefusedRelease, match=r"^model m2: feature 0 of the model is rate_mid, ours is rate_fast"):
        Model.parse("m2", swapped, manifest)


def test_a_manifest_that_lacks_a_feature_is_refused(text: str, manifest: Manifest) -> None:
    short = Manifest(features=manifest.features[:-1], golden=manifest.golden)
    with pytest.raises(RefusedRelease, match=r"^model m2: feature 16 of its manifest is nothing, ours is position"):
        Model.parse("m2", text, short)


def test_a_model_that_scores_a_golden_row_otherwise_is_refused(text: str, manifest: Manifest) -> None:
    scores = manifest.golden.scores.copy()
    scores[4] += 1e-6
    changed = Manifest(features=manifest.features, golden=Golden(rows=manifest.golden.rows, scores=scores))
    with pytest.raises(RefusedRelease, match=r"^model m2: golden row 4 scores 1e-06 off its manifest"):
        Model.parse("m2", text, changed)


@pytest.mark.parametrize("keep", [0, 19])
def test_golden_rows_without_scores_are_refused(text: str, manifest: Manifest, keep: int) -> None:
    torn = Golden(rows=manifest.golden.rows, scores=manifest.golden.scores[:keep])
    with pytest.raises(RefusedRelease, match="golden rows need 17 numbers and a score each"):
        Model.parse("m2", text, Manifest(features=manifest.features, golden=torn))


def test_a_model_without_golden_rows_is_refused(text: str, manifest: Manifest) -> None:
    with pytest.raises(RefusedRelease, match="holds no golden row"):
        Model.parse("m2", text, Manifest(features=manifest.features, golden=Golden(rows=[], scores=[])))


def test_a_model_of_a_single_leaf_is_a_model() -> None:
    data = lightgbm.Dataset(np.zeros((50, len(FEATURES))), np.ones(50), feature_name=list(FEATURES))
    flat = lightgbm.train({"objective": "regression", "verbosity": -1}, data, 2).model_to_string()
    rows = np.zeros((2, len(FEATURES)))
    assert Model.parse("m1", flat, golden(flat, rows)).forest.score(rows).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("found", "changed", "complaint"),
    [
        (r".*", "", 'no line "end of trees"'),
        (r"\nTree=7.*", "", 'no line "end of trees"'),
        ("leaf_weight", "leaf\0weight", "a zero byte at"),
        ("num_class=1", "num_class=9", "num_class is 9, must be 1"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=0", "num_tree_per_iteration is 0, must be 1"),
        ("max_feature_idx=16", "max_feature_idx=15", "max_feature_idx is 15, must be 16"),
        (r"tree_sizes=\d", "tree_sizes=9", "its trees are not as many and as long as tree_sizes says"),
        (r"\nTree=0.*?\nTree=1\n", r"\nTree=1\n", "its trees are not as many and as long as tree_sizes says"),
        ("num_leaves=15", "num_leaves=99", "tree 0: 15 numbers in leaf_value, must be 99"),
        ("num_cat=0", "num_cat=1", "tree 0: categorical splits and linear leaves are not taken"),
        ("is_linear=0", "is_linear=1", "tree 0: categorical splits and linear leaves are not taken"),
        ("split_feature=13", "split_feature=99", "tree 0: a split on a feature that is none of the 17"),
        ("decision_type=2", "decision_type=6", "tree 0: a split takes 0 for a missing value"),
        ("decision_type=2", "decision_type=1", "tree 0: a categorical split"),
        (r"left_child=\d+", "left_child=0", "tree 0: its branches form no tree"),
        (r"threshold=\d\.", "threshold=x.", "tree 0: could not convert"),
        (r"leaf_value=...", "leaf_value=inf", "tree 0: could not convert"),
    ],
)
def test_a_model_whose_text_is_not_whole_is_refused_before_it_is_loaded(
    text: str, manifest: Manifest, found: str, changed: str, complaint: str
) -> None:
    torn, times = re.subn(found, changed, text, count=1, flags=re.DOTALL)
    assert times == 1
    with pytest.raises(RefusedRelease, match=f"^model m2: .*{re.escape(complaint)}"):
        Model.parse("m2", torn, manifest)


def test_a_page_that_asks_gets_its_own_list_in_order_without_what_is_gone_and_the_unknown_last(model: Model) -> None:
    in_force = InForce(Catalogue.parse("c1", SHELF), model)
    lists = [["oslo", "mars", "new", "ski"], ["bike"], ["new", "newer"]]
    found = answered(lists, who(busy(3), ["ski", "", ""]), in_force)
    assert found is not None
    assert found.absent is not None
    assert found.positions is not None
    kept = [
        [item for item, gone in zip(row, out, strict=True) if not gone]
        for row, out in zip(
            found.ids[np.take_along_axis(found.candidates, found.order, axis=1)].tolist(),
            np.take_along_axis(found.absent, found.order, axis=1).tolist(),
            strict=True,
        )
    ]
    assert [sorted(row) for row in kept] == [["oslo", "ski"], ["bike"], []]
    assert found.unknown == [["new"], [], ["new", "newer"]]
    assert found.positions[0].tolist() == [0, 1, 3]
    table = features(who(busy(3), ["ski", "", ""]), Catalogue.parse("c1", SHELF), found.candidates, found.positions)
    assert found.scores.ravel().tolist() == model.forest.score(table.reshape(-1, len(FEATURES))).tolist()
    assert table[0, :, -1].tolist() == [0.0, 1.0, 3.0]
