"""What a policy would have been worth is what the papers' formulas say; where too little is known, that is said."""

from typing import get_args

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

from schemas.settings import Scoreboard
from udfs.judging.certainty import NOTHING, certainty, unbent
from udfs.judging.expected import expected
from udfs.judging.off_policy import (
    Log,
    apart,
    direct,
    doubly_robust,
    interval,
    ips,
    snips,
    support,
)
from udfs.judging.scores import By, live, scored

Column = NDArray[np.float64]

BOUNDS = Scoreboard(confidence=0.95, least_people=100, least_telling=5, clip=100.0)

# person   0     0     1     2
# arm      0     1     0     1
# reward   1     0     0     1
# p      .8 .2 .8 .2 .5 .5 .5 .5    the target: .4 .6 always
# w        .5    3     .8    1.2
LOG = Log(
    person=np.array([0, 0, 1, 2]),
    arm=np.array([0, 1, 0, 1]),
    reward=np.array([1.0, 0.0, 0.0, 1.0]),
    p=np.array([[0.8, 0.2], [0.8, 0.2], [0.5, 0.5], [0.5, 0.5]]),
    expected=np.full((4, 2), 0.5),
)
TARGET = np.array([[0.4, 0.6]] * 4)


def test_each_estimator_is_what_its_paper_says() -> None:
    assert ips(LOG, TARGET).value == pytest.approx((0.5 + 1.2) / 4)
    assert snips(LOG, TARGET).value == pytest.approx(1.7 / 5.5)
    assert direct(LOG, TARGET).value == pytest.approx(0.5)
    assert doubly_robust(LOG, TARGET).value == pytest.approx(0.5 + (0.25 - 1.5 - 0.4 + 0.6) / 4)
    assert ips(LOG, TARGET, most=1.0).value == pytest.approx((0.5 + 1.0) / 4)
    assert doubly_robust(LOG, TARGET, most=1.0).value == pytest.approx(0.5 + (0.25 - 0.4) / 4)


def test_what_a_bound_on_weights_cuts_off_is_known_row_by_row() -> None:
    assert ips(LOG, TARGET, most=1.0).lost == pytest.approx([0.4, 0.4, 0.1, 0.1])
    assert ips(LOG, TARGET).lost.tolist() == [0.0] * 4


def test_effective_sizes_are_kongs_of_plays_and_of_people() -> None:
    found = support(LOG, TARGET, most=100.0)
    assert found.effective == pytest.approx(5.5**2 / (0.25 + 9 + 0.64 + 1.44))
    assert found.people == pytest.approx(5.5**2 / (3.5**2 + 0.8**2 + 1.2**2))
    assert (found.largest, found.unsupported, found.beyond) == pytest.approx((3.0, 0.0, 0.0))


def test_arms_that_could_not_be_drawn_are_unsupported_whether_the_log_knows_them_or_not() -> None:
    log = LOG._replace(p=np.array([[1.0, 0.0], [0.8, 0.2], [1.0, 0.0], [0.5, 0.5]]))
    assert support(log, np.array([[0.4, 0.6]] * 4), most=100.0).unsupported == pytest.approx(0.3)
    assert support(LOG, np.array([[0.4, 0.5]] * 4), most=100.0).unsupported == pytest.approx(0.1)


def test_the_error_adds_up_each_persons_rows_before_it_squares() -> None:
    found = certainty(ips(LOG, TARGET).influence, LOG.person, 0.95)
    sums = np.array([0.075 - 0.425, -0.425, 0.775])
    assert found.error == pytest.approx((1.5 * (sums**2).sum()) ** 0.5 / 4)
    assert found.telling == pytest.approx((sums**2).sum() ** 2 / (sums**4).sum())


def test_of_rare_rewards_as_many_people_tell_as_were_rewarded() -> None:
    reward = np.zeros(100_000)
    reward[:7] = 1.0
    assert certainty(reward - reward.mean(), np.arange(100_000), 0.95).telling == pytest.approx(7, abs=0.01)


# Symmetric, kurtosis 3: Student's t with 5 degrees of freedom, 2.571 in any table.
def test_without_skewness_it_is_students_interval() -> None:
    values = np.array([-1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    found = certainty(values, np.arange(6), 0.95)
    assert found.below == pytest.approx(found.above)
    assert found.below / found.error == pytest.approx(2.571, abs=5e-4)


def test_halls_transformation_is_undone() -> None:
    for skewness in (-0.8, -0.1, 0.02, 0.5, 2.0):
        for x in (-1.96, 0.0, 1.0, 1.96):
            t = unbent(x, skewness)
            bent = t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / 6
            assert bent == pytest.approx(x, abs=1e-12)


def test_the_end_towards_which_a_mean_is_skew_lies_further_off() -> None:
    reward = np.array([1.0] * 5 + [0.0] * 195)
    found = certainty(reward - reward.mean(), np.arange(200), 0.95)
    assert found.above > 1.3 * found.below > 0


def test_where_nobody_tells_anything_nothing_is_sure() -> None:
    assert certainty(np.zeros(50), np.arange(50), 0.95) == pytest.approx(NOTHING, nan_ok=True)
    assert interval(ips(LOG._replace(reward=np.zeros(4)), TARGET), LOG.person, 0.95)[:2] == (0.0, 1.0)


def test_an_average_over_what_may_be_drawn_is_the_truth_for_ips_and_with_any_model_for_dr() -> None:
    p, target, worth = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6]), np.array([0.3, 0.9, 0.5])
    model = np.array([[0.8, 0.1, 0.4]])
    of_ips, of_dr = [], []
    for arm in range(3):
        log = Log(np.array([0]), np.array([arm]), worth[[arm]], p[np.newaxis], model)
        of_ips.append(ips(log, target[np.newaxis]).value)
        of_dr.append(doubly_robust(log, target[np.newaxis]).value)
    assert p @ of_ips == pytest.approx(target @ worth)
    assert p @ of_dr == pytest.approx(target @ worth)


def test_snips_moves_with_the_rewards_and_never_leaves_their_range() -> None:
    raised = LOG._replace(reward=LOG.reward * 0.5 + 0.5)
    assert snips(raised, TARGET).value == pytest.approx(snips(LOG, TARGET).value * 0.5 + 0.5)
    assert snips(LOG._replace(reward=np.ones(4)), TARGET).value == 1.0


def test_a_policy_that_draws_as_was_drawn_differs_by_nothing() -> None:
    for estimator in (ips, snips, direct, doubly_robust):
        assert not apart(estimator(LOG, LOG.p), estimator(LOG, LOG.p)).influence.any()
    assert ips(LOG, LOG.p).value == snips(LOG, LOG.p).value == 0.5


def test_the_interval_leaves_room_for_what_was_cut_off() -> None:
    log, target = played(4000, p=[0.98, 0.02]), np.array([[0.0, 1.0]] * 4000)
    whole, cut = ips(log, target), ips(log, target, most=10.0)
    low, high, _, _ = interval(cut, log.person, 0.95)
    assert cut.lost == pytest.approx(np.full(4000, 0.8))
    assert low < 0.3 * 0.2 < 0.3 < high
    assert high > cut.value + 0.8
    assert interval(whole, log.person, 0.95).high < 0.5


# The model.


def test_no_row_is_expected_by_what_came_of_people_in_its_own_fold() -> None:
    rng = default_rng(1)
    arm, segment, fold = rng.integers(0, 3, 900), rng.integers(0, 4, 900), rng.integers(0, 5, 900)
    reward = (rng.random(900) < 0.3) * 1.0
    before = expected(arm, reward, segment, fold, 3)
    after = expected(arm, np.where(fold == 2, 1.0 - reward, reward), segment, fold, 3)
    assert (before[fold == 2] == after[fold == 2]).all()
    assert (before[fold != 2] != after[fold != 2]).all()


def test_segments_that_differ_are_expected_to_and_those_that_do_not_lean_on_all() -> None:
    rng = default_rng(2)
    segment, fold, arm = rng.integers(0, 3, 30_000), rng.integers(0, 5, 30_000), np.zeros(30_000, dtype=np.intp)
    segment[:9] = 3
    reward = (rng.random(30_000) < np.array([0.1, 0.2, 0.3, 0.2])[segment]) * 1.0
    found = expected(arm, reward, segment, fold, 2)
    for number, worth in enumerate((0.1, 0.2, 0.3)):
        assert found[segment == number, 0] == pytest.approx(worth, abs=0.02)
    assert found[segment == 3, 0] == pytest.approx(0.2, abs=0.06)
    assert found[:, 1] == pytest.approx(0.2, abs=0.01)  # never drawn: as all


# Verdicts.


def played(plays: int, p: list[float], worth: tuple[float, ...] = (0.1, 0.3), people: int = 0, seed: int = 1) -> Log:
    """Let people draw among arms; each once, or each several times."""
    rng = default_rng(seed)
    person = np.sort(rng.integers(0, people, plays)) if people else np.arange(plays)
    arm = rng.choice(len(p), plays, p=p)
    reward = (rng.random(plays) < np.array(worth)[arm]) * 1.0
    model = expected(arm, reward, np.zeros(plays, dtype=np.intp), person % 5, len(p))
    return Log(person, arm, reward, np.array([p] * plays), model)


def verdict(log: Log, target: list[float], by: By = "dr") -> str:
    return scored("it", log, np.array([target] * len(log.arm)), BOUNDS, by).said


def test_a_policy_is_better_or_worse_or_nobody_can_see() -> None:
    log = played(4000, [0.5, 0.5])
    assert verdict(log, [0.1, 0.9]) == "better"
    assert verdict(log, [0.9, 0.1]) == "worse"
    assert verdict(log, [0.51, 0.49]) == "worse"  # the same plays: what moves both alike falls out
    assert verdict(log, [0.5, 0.5]) == "as live"
    assert verdict(played(4000, [0.5, 0.5], worth=(0.2, 0.2)), [0.1, 0.9]) == "no difference seen"


@pytest.mark.parametrize("by", get_args(By))
def test_every_estimator_whose_interval_can_be_trusted_can_be_asked(by: By) -> None:
    assert verdict(played(4000, [0.5, 0.5]), [0.1, 0.9], by) == "better"


def test_what_too_few_people_speak_for_is_refused_and_how_many_more_it_takes_is_said() -> None:
    log = played(1000, [0.95, 0.05])
    score = scored("it", log, np.array([[0.0, 1.0]] * 1000), BOUNDS)
    drawn = int((log.arm == 1).sum())
    assert score.effective == pytest.approx(drawn)
    assert score.needed == pytest.approx(1000 * (100 / drawn - 1), abs=1)
    assert score.said == f"refused: {score.needed:,} more outcomes are needed"


def test_a_thousand_plays_of_ten_people_are_plays_of_ten() -> None:
    score = scored("it", played(1000, [0.5, 0.5], people=10), np.array([[0.2, 0.8]] * 1000), BOUNDS)
    assert score.effective > 600
    assert score.effective_people < 10
    assert score.verdict == "refused"


def test_what_too_few_rewards_speak_for_is_refused() -> None:
    score = scored("it", played(1000, [0.5, 0.5], worth=(0.003, 0.003)), np.array([[0.2, 0.8]] * 1000), BOUNDS)
    assert score.effective_people > 700
    assert score.telling < 5
    assert score.verdict == "refused"


def test_what_was_never_drawn_or_never_rewarded_is_refused_and_nobody_knows_how_many_more_it_takes() -> None:
    assert verdict(played(1000, [1.0, 0.0]), [0.0, 1.0]) == "refused: nothing speaks for it"
    assert verdict(played(1000, [0.5, 0.5], worth=(0.0, 0.0)), [0.2, 0.8]) == "refused: nothing speaks for it"


def test_an_arm_that_was_played_often_and_never_rewarded_is_no_sure_thing_though_the_model_is_sure_of_it() -> None:
    score = scored("it", played(1000, [0.5, 0.5], worth=(0.05, 0.0)), np.array([[0.0, 1.0]] * 1000), BOUNDS)
    assert score.effective_people > 400
    assert score.figure.value.high < 0.01
    assert score.said == "refused: nothing speaks for it"


def test_what_was_hardly_ever_drawn_is_judged_with_weights_cut_and_room_for_the_rest() -> None:
    log = played(20_000, [0.996, 0.004], worth=(0.1, 0.12))
    score = scored("it", log, np.array([[0.5, 0.5]] * 20_000), BOUNDS)
    assert score.by == "clipped"
    assert (score.beyond, score.largest) == pytest.approx((0.1, 125))
    assert score.said == "clipped, 10 % of its plays are out of sight: no difference seen"
    against = score.figure.against
    assert against.low < 0.01 < against.high
    assert against.high - against.low > 0.1 + 3.9 * against.error


def test_the_live_policy_is_worth_the_mean_of_what_came_of_it() -> None:
    log = played(4000, [0.5, 0.5])
    score = live(log, BOUNDS)
    assert score.figure.value.value == pytest.approx(log.reward.mean())
    assert score.figure.value.high - score.figure.value.low == pytest.approx(
        2 * 1.96 * score.figure.value.error, rel=0.02
    )
    assert (score.effective, score.effective_people, score.verdict) == (4000, 4000, "live")
