"""What is told of two releases: every change, under a path that can be found again, and never more than can be read."""

import re

import lightgbm
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.releases import FILES, Golden, Manifest
from schemas.signals import FEATURES
from udfs.explaining.differences import LINES, Side, differences
from udfs.releases import RefusedRelease
from udfs.scoring.models import golden


def told(old: object, new: object) -> list[str]:
    """Compare two documents."""
    before, after = (msgspec.json.encode(each) for each in (old, new))
    return differences("norms.json", Side("n1", before), Side("n2", after))


def of_items(old: bytes, new: bytes) -> list[str]:
    return differences("items.jsonl", Side("c1", old), Side("c2", new))


def test_the_payload_of_every_channel_can_be_compared() -> None:
    def read(file: str) -> str:
        with pytest.raises(RefusedRelease) as refused:
            differences(file, Side("x1", b"\xff", Manifest([], Golden([], []))), Side("x2", b""))
        return str(refused.value)

    assert all(read(file).startswith("x1") for file in FILES.values())


def test_what_comes_and_goes_is_told_before_what_moves() -> None:
    old = {"seed": 1, "kinds": {"dwell": {"n": 5}, "view": {"n": 2}}}
    new = {"seed": 2, "kinds": {"dwell": {"n": 6}, "click": {"n": 9}}}
    assert told(old, new) == [
        "1 added, 1 removed, 2 changed",
        'added kinds.click: {"n":9}',
        'removed kinds.view: {"n":2}',
        "changed seed: 1 -> 2",
        "changed kinds.dwell.n: 5 -> 6",
    ]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ({"kill": False}, {"kill": True}, "changed kill: false -> true"),
        # To Python, these are the same.
        ({"kill": 1}, {"kill": True}, "changed kill: 1 -> true"),
        ({"a": None}, {"a": {}}, "changed a: null -> {}"),
        ({"a.b": {"": 1}}, {"a.b": {"": 2}}, 'changed "a.b"."": 1 -> 2'),
        ({"a": [1, 2]}, {"a": {"0": 1}}, 'changed a: [1,2] -> {"0":1}'),
        (3, 4, "changed the whole: 3 -> 4"),
        # The order of rules is their priority.
        ({"rules": {"x": 1, "y": 2}}, {"rules": {"y": 2, "x": 1}}, "changed rules: in another order"),
        ({"r": [{"id": 1}, {"id": 2}]}, {"r": [{"id": 2}, {"id": 1}]}, "changed r: in another order"),
        ({"r": [{"id": 1, "n": 5}]}, {"r": [{"id": 1, "n": 6}]}, "changed r[id=1].n: 5 -> 6"),
        ({"r": [{"n": 5, "signal": "x"}]}, {"r": [{"n": 6, "signal": "x"}]}, 'changed r[signal="x"].n: 5 -> 6'),
        # Two of a name are told apart by their place alone.
        ({"r": [{"x": "a", "n": 1}] * 2}, {"r": [{"x": "a", "n": 1}, {"x": "a", "n": 2}]}, "changed r[1].n: 1 -> 2"),
        ({"r": ["a", "b", "c"]}, {"r": ["a", "x", "b", "c"]}, 'added r[1]: "x"'),
        ({"r": ["a", "b", "c"]}, {"r": ["b", "c"]}, 'removed r[0]: "a"'),
        ({"r": ["a", "b", "c"]}, {"r": ["a", "x", "c"]}, 'changed r[1]: "b" -> "x"'),
        ({"r": ["a", "a"]}, {"r": ["a"]}, 'removed r[1]: "a"'),
        ({"r": [True]}, {"r": [1]}, "changed r[0]: true -> 1"),
        ({"r": []}, {"r": [1]}, "changed r: [] -> [1]"),
        ({"r": [0.5, 1]}, {"r": [0.5]}, "changed r: [0.5,1] -> [0.5]"),
        ({"r": [[1, 2], [3]]}, {"r": [[1], [2, 3]]}, "changed r: [[1,2],[3]] -> [[1],[2,3]]"),
    ],
)
def test_a_change_is_told_under_its_path(old: object, new: object, line: str) -> None:
    assert told(old, new)[1:] == [line]


@pytest.mark.parametrize(("old", "new"), [({"a": 1}, {"a": 1.0}), ({"r": []}, {"r": []}), ({"r": [1]}, {"r": [1.0]})])
def test_numbers_written_otherwise_are_the_same(old: object, new: object) -> None:
    assert told(old, new) == []


def test_many_numbers_are_told_in_one_line() -> None:
    row = np.arange(60) / 7.0
    moved = row.copy()
    moved[[3, 5]] += (0.25, -0.75)
    assert told({"split": row.tolist()}, {"split": moved.tolist()})[1:] == [
        "changed split: 2 of 60 numbers, by at most 0.75"
    ]
    matrix, other = row.reshape(6, 10).tolist(), moved.reshape(6, 10).tolist()
    assert told({"sums": matrix}, {"sums": other})[1:] == ["changed sums: 2 of 60 numbers, by at most 0.75"]
    assert told({"split": row.tolist()}, {"split": moved.tolist()[1:]})[1:] == [
        "changed split: a list of 60 values -> a list of 59 values"
    ]


def test_a_long_condition_is_shown_where_it_parts() -> None:
    when = "velocity > 2 and session_depth > 5 and session_clicks > 1 and gap_s > {} and silence < 3"
    assert told({"when": when.format(3)}, {"when": when.format(5)})[1:] == [
        'changed when: "...cks > 1 and gap_s > 3 and silence < 3" -> "...cks > 1 and gap_s > 5 and silence < 3"'
    ]


def test_a_long_value_is_cut() -> None:
    assert told({}, {"a": "x" * 99, "b": {str(key): 0 for key in range(99)}, "c": [[]] * 99}) == [
        "3 added, 0 removed, 0 changed",
        'added a: "' + "x" * 56 + "...",
        "added b: an object of 99 fields",
        "added c: a list of 99 values",
    ]


def test_what_is_not_shown_is_counted() -> None:
    lines = told({}, {f"k{number}": number for number in range(LINES + 3)})
    assert (len(lines), LINES) == (42, 40)
    assert lines[0] == "43 added, 0 removed, 0 changed"
    assert lines[-2:] == ["added k39: 39", "and 3 more"]
    assert told({}, {f"k{number}": number for number in range(LINES)})[-1] == "added k39: 39"


def test_items_are_told_by_their_ids_wherever_they_stand() -> None:
    old = b"""{"id":"a","interest":"sport","popularity":0.5}
{"id":"b","interest":"news","popularity":0.5}
{"id":"c","interest":"art","popularity":0.5,"tags":["x"]}"""
    new = b"""{"id":"c","interest":"art","popularity":0.75,"tags":["x","y"],"available":false}
{"id":"a","interest":"sport","popularity":0.5}
{"id":"d e","interest":"art","popularity":1}
"""
    assert of_items(old, new) == [
        "1 added, 1 removed, 1 changed",
        'added "d e": interest "art", popularity 1',
        'removed b: interest "news", popularity 0.5',
        'changed c: popularity 0.5 -> 0.75, added tags[1] "y", added available false',
    ]


def test_an_item_of_many_fields_is_cut() -> None:
    item = msgspec.json.encode({"id": "a"} | {f"field_{number}": number for number in range(99)})
    (_, line) = of_items(b"", item)
    assert line.startswith("added a: field_0 0, field_1 1, ")
    assert line.endswith("...")
    assert len(line) == len("added a: ") + 200


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"[]", "c2: line 1: Expected `object`, got `array`"),
        (b'{"id":"a"}\n{"id"', "c2: line 2: Input data was truncated"),
        (b'{"id":"a"}\n{"name":"b"}', "c2: line 2: an item needs an id, a text that no other one has"),
        (b'{"id":7}', "c2: line 1: an item needs an id, a text that no other one has"),
        (b'{"id":"a"}\n{"id":"a"}', "c2: line 2: an item needs an id, a text that no other one has"),
    ],
)
def test_what_holds_no_items_is_refused(payload: bytes, complaint: str) -> None:
    with pytest.raises(RefusedRelease, match=f"^{re.escape(complaint)}$"):
        of_items(b"", payload)


@pytest.mark.parametrize(
    ("payload", "complaint"), [(b"{", "Input data was truncated"), (b'"\xff"', "'utf-8' codec can't decode byte 0xff")]
)
def test_what_is_no_json_is_refused(payload: bytes, complaint: str) -> None:
    with pytest.raises(RefusedRelease, match=f"^n1: {re.escape(complaint)}"):
        differences("norms.json", Side("n1", payload), Side("n2", b"{}"))


def fitted(trees: int, rate: float, names: list[str] | None = None) -> tuple[str, NDArray[np.float64]]:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(500, len(FEATURES)))
    data = lightgbm.Dataset(rows, rows[:, 0] > 0, feature_name=names or list(FEATURES))
    params = {"objective": "binary", "num_leaves": 7, "learning_rate": rate, "num_threads": 1, "verbosity": -1}
    text: str = lightgbm.train(params, data, trees).model_to_string()
    return text, rows[:20]


def model(version: str, trees: int, rate: float, names: list[str] | None = None) -> Side:
    text, rows = fitted(trees, rate, names)
    return Side(version, text.encode(), golden(text, rows))


class TestModels:
    """Texts as LightGBM saves them."""

    def test_trees_parameters_and_scores_are_told(self) -> None:
        old, new = model("m1", 5, 0.1), model("m2", 8, 0.2)
        assert old.manifest is not None
        assert new.manifest is not None
        moved = np.abs(np.subtract(new.manifest.golden.scores, old.manifest.golden.scores))
        assert moved.max() > 0.1
        assert differences("model.txt", old, new) == [
            f"the scores of 20 golden rows move by at most {moved.max():.3g}, by {np.median(moved):.3g} in the median",
            "0 added, 0 removed, 4 changed",
            "changed trees: 5 -> 8",
            "changed leaves: 18 -> 29",
            'changed parameters.num_iterations: "5" -> "8"',
            'changed parameters.learning_rate: "0.1" -> "0.2"',
        ]

    def test_golden_rows_of_both_are_scored(self) -> None:
        old, new = model("m1", 5, 0.1), model("m2", 8, 0.2)
        assert new.manifest is not None
        others = (np.array(new.manifest.golden.rows) + 1.0).tolist()
        moved = Manifest(new.manifest.features, Golden(others, new.manifest.golden.scores))
        assert differences("model.txt", old, new._replace(manifest=moved))[0].startswith("the scores of 40 golden rows")

    def test_models_that_ask_for_other_features_are_not_scored(self) -> None:
        names = [*FEATURES[:-1], "weather"]
        assert differences("model.txt", model("m1", 5, 0.1), model("m2", 5, 0.1, names)) == [
            "scores cannot be compared: the two ask for other features, or in another order",
            "0 added, 0 removed, 1 changed",
            'changed features[16]: "position" -> "weather"',
        ]

    @pytest.mark.parametrize(
        ("manifest", "complaint"),
        [
            (Manifest(list(FEATURES), Golden([], [])), "its manifest must name its features and hold golden rows"),
            (Manifest(list(FEATURES), Golden([[1.0]], [1.0])), "its manifest must name its features and hold golden"),
            (Manifest([*FEATURES[:-1], "x"], Golden([[0.0] * 17], [1.0])), "its manifest must name its features"),
            (Manifest(["x"], Golden([[0.0]], [1.0])), "max_feature_idx is 16, must be 0"),
        ],
    )
    def test_a_manifest_that_does_not_fit_its_model_is_refused(self, manifest: Manifest, complaint: str) -> None:
        new = model("m2", 5, 0.1)._replace(manifest=manifest)
        with pytest.raises(RefusedRelease, match=f"^model m2: {complaint}"):
            differences("model.txt", model("m1", 8, 0.1), new)

    def test_what_is_no_text_is_refused(self) -> None:
        new = model("m2", 5, 0.1)._replace(payload=b"\xff")
        with pytest.raises(RefusedRelease, match=r"^m2: 'utf-8' codec can't decode byte 0xff"):
            differences("model.txt", model("m1", 8, 0.1), new)
