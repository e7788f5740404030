"""What was learned changes how likely an arm is: by slot or by segment, and only where it fits together."""

from typing import Any

import lightgbm
import numpy as np
import pytest
from msgspec import json

from schemas.decisions import Why
from schemas.policies import (
    Epsilon,
    Learned,
    Leaves,
    Linear,
    LinThompson,
    LinUcb,
    Plays,
    Posteriors,
    Sparse,
    Thompson,
    Ucb,
)
from schemas.signals import USER_FEATURES
from schemas.slots import Arm, Variant
from tests.udfs.people import book, decisions, facts
from udfs.deciding.learned import Learnt
from udfs.releases import RefusedRelease

ARMS = {"a": Arm(), "b": Arm(), "c": Arm()}
GOOD_B = {"a": Plays(100, 10, 10), "b": Plays(100, 30, 30), "c": Plays(100, 10, 10)}
GOOD_C = {"a": Plays(900, 90, 90), "b": Plays(900, 90, 90), "c": Plays(900, 400, 400)}


def learnt(**said: Any) -> Learnt:
    return Learnt.parse("p3", json.encode(Posteriors({"hero": Learned(**said)})))


def chances(policy: Any, known: Learnt | None, **columns: Any) -> list[list[float]]:
    slot = Variant(ARMS, "a", policies={"it": policy}, policy="it")
    people = max(map(len, columns.values()), default=1)
    found = decisions(facts(people, **columns), book(slots={"hero": slot}), known)
    assert {each.slots["hero"].reason for each in found} == {Why.LEARNED}
    return [each.trace["hero"].draw.p for each in found if each.trace["hero"].draw]


def test_thompson_draws_an_arm_as_often_as_it_is_likely_to_be_the_best() -> None:
    (known,) = chances(Thompson(), learnt(arms=GOOD_B))
    rng = np.random.default_rng(5)
    drawn = rng.beta([11, 31, 11], [91, 71, 91], (400_000, 3)).argmax(axis=1)
    assert known == pytest.approx([np.mean(drawn == arm) for arm in range(3)], abs=0.002)
    assert sum(known) == 1.0


def test_where_nothing_was_learned_all_are_as_likely() -> None:
    assert chances(Thompson(), None) == [pytest.approx([1 / 3] * 3)]
    assert chances(Ucb(), None) == [pytest.approx([1 / 3] * 3)]


def test_a_floor_keeps_every_arm_possible() -> None:
    (known,) = chances(Thompson(floor=0.05), learnt(arms=GOOD_B))
    assert min(known) >= 0.05
    assert sum(known) == 1.0


def test_epsilon_and_ucb_follow_the_same_plays() -> None:
    assert chances(Epsilon(0.3), learnt(arms=GOOD_B)) == [pytest.approx([0.1, 0.8, 0.1])]
    assert chances(Ucb(), learnt(arms=GOOD_B)) == [[0.0, 1.0, 0.0]]


def test_a_segment_with_plays_of_its_own_has_its_own_best_arm() -> None:
    known = learnt(arms=GOOD_B, segments={"reader": GOOD_C, "skimmer": GOOD_B})
    reader, skimmer, other = chances(Thompson(by="segment"), known, segment=["reader", "skimmer", ""])
    assert (int(np.argmax(reader)), int(np.argmax(skimmer)), int(np.argmax(other))) == (2, 1, 1)
    assert reader[2] > 0.99


def test_a_line_for_each_arm_tells_people_apart() -> None:
    # Arm a brings 1 where velocity is high, arm b where it is low, arm c never.
    lines = {
        "a": Linear([[201.0, 0.0], [0.0, 101.0]], [100.0, 69.0]),
        "b": Linear([[201.0, 0.0], [0.0, 101.0]], [100.0, -69.0]),
        "c": Linear([[201.0, 0.0], [0.0, 101.0]], [0.0, 0.0]),
    }
    known = learnt(context=["velocity"], linear=lines)
    for policy in (LinUcb(["velocity"], alpha=0.5), LinThompson(["velocity"])):
        high, low = chances(policy, known, velocity=[1.0, -1.0])
        assert high[0] > 0.99
        assert low[1] > 0.99
    # What was learned about another signal says nothing.
    assert chances(LinUcb(["rate_fast"]), known) == [pytest.approx([1 / 3] * 3)]


def test_the_leaves_in_which_a_person_ends_tell_people_apart() -> None:
    rows = np.random.default_rng(3).random((500, len(USER_FEATURES)))
    column = USER_FEATURES.index("velocity")
    data = lightgbm.Dataset(rows, rows[:, column] > 0.5, feature_name=list(USER_FEATURES))
    settings = {"objective": "binary", "num_threads": 1, "verbosity": -1, "num_leaves": 2}
    text = lightgbm.train(settings, data, 1).model_to_string()
    sums = {"a": Sparse([400.0, 400.0], [40.0, 200.0]), "b": Sparse([400.0, 400.0], [200.0, 40.0])}
    sums["c"] = Sparse([400.0, 400.0], [0.0, 0.0])
    low, high = chances(Leaves(), learnt(trees=text, leaves=sums), velocity=[0.1, 0.9])
    assert low[1] > 0.99
    assert high[0] > 0.99
    assert chances(Leaves(), None) == [pytest.approx([1 / 3] * 3)]
    with pytest.raises(RefusedRelease, match='arm "a": its sums must be of 2 leaves'):
        learnt(trees=text, leaves={"a": Sparse([1.0], [1.0])})


def test_the_release_stands_in_the_record_and_in_the_id() -> None:
    slot = Variant(ARMS, "a", policies={"it": Thompson()}, policy="it")
    rules = book(slots={"hero": slot})
    (with_it,), (without,) = (decisions(facts(1), rules, known) for known in (learnt(arms=GOOD_B), None))
    assert (with_it.ver.policy, without.ver.policy) == ("p3", None)
    assert with_it.slots["hero"].id != without.slots["hero"].id


def test_a_shadow_policy_is_logged_and_never_shown() -> None:
    slot = Variant(ARMS, "a", policies={"it": Ucb()}, shadow=["it"])
    (found,) = decisions(facts(1), book(slots={"hero": slot}), learnt(arms=GOOD_B))
    assert found.trace["hero"].shadow == {"it": [0.0, 1.0, 0.0]}
    assert (found.slots["hero"].reason, found.trace["hero"].policy) == (Why.SPLIT, "weights")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"arms": {"a": Plays(1, 2, 1)}}, 'hero: arm "a" has more reward (2) than plays (1)'),
        ({"arms": {"a": Plays(3, 1, 2)}}, 'hero: arm "a" has more squared reward (2) than reward (1)'),
        ({"context": ["rate_fst"]}, 'hero: there is no signal "rate_fst"'),
        ({"linear": {"a": Linear([[1.0]], [1.0, 2.0])}}, 'arm "a": its linear sums must be of 1, for 1 and 0 signals'),
        ({"leaves": {"a": Sparse([1.0], [1.0])}}, "hero: there are leaves, but no trees"),
    ],
)
def test_sums_that_do_not_fit_together_are_refused(said: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RefusedRelease, match=r"^policy p3: ") as refused:
        learnt(**said)
    assert str(refused.value).endswith(sentence)
