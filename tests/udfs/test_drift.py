"""Drift of what models see and say: published numbers, no false alarms to speak of, and the shift that was made."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.random import Generator, default_rng
from scipy.stats import false_discovery_control, kstwobign

from jobs.wiring.settings import load
from schemas.alerts import Alert, Detector
from schemas.decisions import Unfit
from schemas.durations import Millis
from schemas.outcomes import Outcome
from tests.udfs.drifting import Column, listed, outcome
from udfs.drifting.distances import (
    Sample,
    adjusted,
    bounds,
    counts,
    ks,
    ks_chance,
    places,
    psi,
    psi_bound,
    psi_chance,
)
from udfs.drifting.drift import Finding, look
from udfs.drifting.rewards import course
from udfs.drifting.rows import Drawn, Gathered, Ranges, Rows, Span
from udfs.drifting.words import alert, same

DAY = 24_000
"""Of the tests: a window of 24 stretches of a second."""

WINDOW = Span(7 * DAY, 8 * DAY)
RANGES = Ranges("the 7 days before", Span(0, 7 * DAY), WINDOW, DAY // 24, "m3", Span(0, 7 * DAY), "binary")
CONF = replace(load(Path(__file__).parents[2], "local", {}, []).settings.drift, window=Millis(DAY))


def alike(values: Iterable[float]) -> Sample:
    found = np.array(list(values), dtype=np.float64)
    return Sample(found, np.ones(len(found)))


class Site:
    """People who come more or less often, several times in a day they come, each with a taste that stays."""

    def __init__(self, rng: Generator, people: int = 1500) -> None:
        self.rng = rng
        self.often = rng.choice([0.1, 0.4, 0.95], people, p=[0.7, 0.25, 0.05])
        # Those who come often are others than those who come rarely.
        self.taste = rng.normal(size=people) + 2.0 * (self.often > 0.2)

    def days(self, first: int, last: int, shift: float = 0.0, since: int = 0) -> Iterator[Outcome]:
        rng = self.rng
        for day in range(first, last):
            there = np.flatnonzero(rng.random(len(self.often)) < self.often)
            for number in there.tolist():
                for _ in range(1 + int(rng.poisson(1.0))):
                    at = day * DAY + int(rng.integers(DAY))
                    seen = float(self.taste[number] + 0.3 * rng.normal()) + shift * (at >= since)
                    yield outcome(
                        f"u{number}",
                        at,
                        reward=float(rng.random() < 0.1),
                        arm="story" if rng.random() < 0.3 else "plain",
                        rate_fast=seen,
                        rate_mid=seen + float(rng.normal()),
                        gap_s=math.exp(float(rng.normal())),
                        session_depth=int(rng.poisson(4.0)),
                        session_clicks=int(rng.random() < 0.1),
                    )


def looked(outcomes: Iterable[Outcome], **conf: float) -> dict[str, Finding]:
    gathered = Gathered(RANGES, CONF.most)
    gathered.add(outcomes)
    return {f"{each.slot}.{each.series}": each for each in look(gathered, RANGES, replace(CONF, **conf))}


def test_the_index_of_counts_worked_out_by_hand() -> None:
    # (0.2 - 0.5) ln 0.4 + (0.5 - 0.2) ln 2.5 = 0.54977
    assert psi(np.array([50.0, 30.0, 20.0]), np.array([20.0, 30.0, 50.0])) == pytest.approx(0.54977, abs=1e-5)
    # Half a value where a bin is empty: shares 10 and 0.5 of 10.5; -0.45238 ln 0.525 + 0.45238 ln 10.5.
    assert psi(np.array([10.0, 0.0]), np.array([5.0, 5.0])) == pytest.approx(1.35521, abs=1e-4)
    assert psi(np.array([10.0, 0.0, 10.0]), np.array([4.0, 0.0, 4.0])) == 0.0


def test_of_a_normal_that_moves_it_is_the_square_of_the_move() -> None:
    grid = np.linspace(-8, 8, 160_001)
    one, other = (np.exp(-((grid - middle) ** 2) / 2) for middle in (0.0, 0.5))
    assert psi(one * 1e9, other * 1e9) == pytest.approx(0.25, abs=1e-3)


def test_the_bound_is_that_of_chi_square_and_depends_on_how_many_there_are() -> None:
    # Chi-square of 9 degrees: 16.919 at 5 %, 21.666 at 1 %.
    assert psi_bound(100, 100, 10, 0.05) == pytest.approx(16.919 * 0.02, abs=1e-5)
    assert psi_bound(500, 2000, 10, 0.01) == pytest.approx(21.666 * 0.0025, abs=1e-5)
    rng, beyond = default_rng(3), 0
    for _ in range(1000):
        one, other = alike(rng.normal(size=100)), alike(rng.normal(size=100))
        edges = bounds(one)
        beyond += bool(psi(*(counts(places(each.values, edges), each.weight, 10) for each in (one, other))) > 0.25)
    # The usual bound of 0.25, for two samples of the same: chi-square of 9 degrees beyond 12.5, which is 18.7 %.
    assert 150 < beyond < 240


def test_bins_hold_a_tenth_each_and_equal_values_share_one() -> None:
    assert bounds(alike(range(1, 101))).tolist() == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    mostly = bounds(alike([0.0] * 75 + [3.0] * 15 + [8.0] * 10))
    assert mostly[1:].tolist() == [0.0, 3.0]
    assert -1e-300 < mostly[0] < 0.0
    # What was never there before has bins of its own.
    assert places(np.array([-1.0, 0.0, 2.0, 3.0, 8.0]), mostly).tolist() == [0, 1, 2, 2, 3]
    assert places(np.array([4.0, 5.0, 6.0]), bounds(alike([5.0] * 9))).tolist() == [0, 1, 2]


def test_a_value_that_counts_twice_stands_there_twice() -> None:
    rng = default_rng(8)
    values, weight = rng.normal(size=60), rng.integers(1, 4, 60).astype(np.float64)
    weighted, written = Sample(values, weight), alike(np.repeat(values, weight.astype(int)))
    assert bounds(weighted).tolist() == bounds(written).tolist()
    other = alike(rng.normal(size=50))
    assert ks(weighted, other) == pytest.approx(ks(written, other), abs=1e-12)
    place = places(values, bounds(weighted))
    shares = counts(place, weight, 10) / weighted.size
    assert shares == pytest.approx(counts(places(written.values, bounds(written)), written.weight, 10) / written.size)
    assert weighted.size < 60 < written.size


def test_the_distance_of_two_samples_by_hand() -> None:
    # At 2: three of five against none. At 3: four of five against one of four.
    assert ks(alike([1, 2, 2, 3, 9]), alike([3, 4, 5, 6])) == pytest.approx(0.6)
    assert ks(alike([3, 2, 2, 1, 9]), alike([2, 4, 5, 6])) == pytest.approx(0.8 - 0.25)
    assert ks(alike([1, 1, 2]), alike([1, 1, 2, 1, 1, 2])) == 0.0


@pytest.mark.parametrize(("level", "at"), [(0.10, 1.2238), (0.05, 1.3581), (0.01, 1.6276), (0.001, 1.9495)])
def test_chances_are_those_of_smirnovs_table(level: float, at: float) -> None:
    n = 10**10
    assert ks_chance(at / math.sqrt(n / 2), n, n) == pytest.approx(level, rel=1e-3)


def test_the_series_is_that_of_scipy() -> None:
    for x in (0.21, 0.3, 0.5, 1.0, 2.0, 4.0):
        assert ks_chance(x / math.sqrt(5e13), 10**14, 10**14) == pytest.approx(float(kstwobign.sf(x)), abs=1e-6)
    assert ks_chance(0.0, 10, 10) == ks_chance(0.01, 10, 10) == 1.0


@pytest.mark.parametrize(
    ("n", "m"), [(250, 250), (2000, 300), (300, 2000)], ids=["few", "many against few", "few against many"]
)
def test_both_tests_keep_their_level_where_nothing_has_changed(n: int, m: int) -> None:
    rng = default_rng(12)
    kinds: dict[str, Callable[[int], Column]] = {
        "normal": lambda size: rng.normal(size=size),
        "mostly 0": lambda size: np.where(rng.random(size) < 0.7, 0.0, rng.exponential(size=size)),
        "counts": lambda size: 1.0 * rng.poisson(4.0, size),
        "rare": lambda size: np.where(rng.random(size) < 0.03, 1.0, 0.0),
    }
    for name, kind in kinds.items():
        by_index, by_distance = [], []
        for _ in range(250):
            one, other = alike(kind(n)), alike(kind(m))
            edges = bounds(one)
            one_counts, other_counts = (
                counts(places(each.values, edges), each.weight, len(edges) + 1) for each in (one, other)
            )
            by_index.append(psi_chance(one_counts, other_counts) < 0.05)
            by_distance.append(ks_chance(ks(one, other), n, m) < 0.05)
        # Five in a hundred, and three standard errors.
        assert np.mean(by_index) < 0.092, name
        assert np.mean(by_distance) < 0.092, name


def test_chances_are_adjusted_for_one_another_as_scipy_does() -> None:
    chances = default_rng(4).random(40) ** 3
    assert adjusted(chances) == pytest.approx(false_discovery_control(chances))
    # 0.001 * 4, 0.02 * 4 / 2, 0.03 * 4 / 3, 0.9: the second may not be above the third.
    assert adjusted(np.array([0.03, 0.001, 0.9, 0.02])) == pytest.approx([0.04, 0.004, 0.9, 0.04])
    assert adjusted(np.array([])).tolist() == []


def test_of_each_person_one_outcome_stands_for_all_in_whatever_order_they_come() -> None:
    outcomes = [outcome(f"u{number % 40}", number * 100, rate_fast=float(number)) for number in range(400)]
    there, back = Drawn(1000, 0, 4000), Drawn(1000, 0, 4000)
    for one, other in zip(outcomes, outcomes[::-1], strict=True):
        there.add(one, "")
        back.add(other, "")
    rows = there.rows()
    assert [each.tolist() for each in rows[:4]] == [each.tolist() for each in back.rows()[:4]]
    assert len(rows.at) == 40
    # Everybody was there in each of the ten stretches of four seconds.
    assert rows.weight.tolist() == [10.0] * 40
    assert rows.at.tolist() == sorted(rows.at.tolist())
    assert np.bincount(rows.at // 4000, minlength=10).max() < 12


def test_of_too_many_people_some_are_drawn_and_the_same_ones_in_whatever_order_they_come() -> None:
    outcomes = [outcome(f"u{number}", number) for number in range(1000)]
    there, back = Drawn(100, 0, 1000), Drawn(100, 0, 1000)
    for one, other in zip(outcomes, outcomes[::-1], strict=True):
        there.add(one, "")
        back.add(other, "")
    assert there.rows().at.tolist() == back.rows().at.tolist()
    assert len(there.rows().at) == 100
    assert 400 < there.rows().at.mean() < 600


def test_a_longer_reference_is_the_same_people_as_often_as_they_come() -> None:
    site = Site(default_rng(21), people=4000)
    gathered = Gathered(RANGES, CONF.most)
    gathered.add(site.days(0, 8))
    (slot,) = gathered.slots()
    reference, window = slot.reference, slot.window
    assert window.weight.tolist() == [1.0] * len(window.at)
    seen = float(np.average(reference.signals[:, 0], weights=reference.weight))
    assert seen == pytest.approx(float(window.signals[:, 0].mean()), abs=0.12)
    # Not so where each counts once: over a week there are more of those who come rarely.
    assert float(reference.signals[:, 0].mean()) < seen - 0.3


def test_where_nothing_has_changed_next_to_nothing_is_said() -> None:
    said = Counter[str]()
    for seed in range(50):
        found = looked(Site(default_rng(seed), people=1200).days(0, 8), doubt=0.05)
        said[", ".join(sorted({each.verdict for each in found.values()}))] += 1
    # A doubt of 0.05, for columns and again for rewards: in five of fifty looks at most, and three standard errors.
    assert said["not seen"] >= 50 - 11
    assert "too few" not in said
    assert all("drifted" not in verdicts for verdicts in said)


def test_the_columns_that_were_shifted_are_told_and_since_when() -> None:
    turn = WINDOW.since + 12 * RANGES.stretch
    since, others = [], Counter[str]()
    for seed in range(20):
        site = Site(default_rng(100 + seed))
        found = looked([*site.days(0, 7), *site.days(7, 8, shift=3.0, since=turn)])
        shifted = found["hero.rate_fast"]
        assert shifted.verdict == "drifted"
        assert shifted.size > 0.5
        assert shifted.latest - shifted.before == pytest.approx(3.0, abs=0.6)
        since.append((shifted.since - turn) / RANGES.stretch)
        others.update(name for name, each in found.items() if each.verdict == "drifted")
    assert np.abs(since).max() <= 2
    # What follows from it has drifted, too; nothing else has.
    assert set(others) == {"hero.rate_fast", "hero.rate_mid"}


def test_a_small_change_is_seen_but_not_told() -> None:
    rng = default_rng(5)
    people = [
        outcome(f"{day}-{number}", day * DAY + number * 3, rate_fast=float(rng.normal() + 0.15 * (day == 7)))
        for day in range(8)
        for number in range(6000)
    ]
    found = looked(people)["hero.rate_fast"]
    assert found.verdict == "too small to matter"
    assert found.chance < 1e-6
    # 0.15 squared
    assert found.size == pytest.approx(0.0225, abs=0.012)


def test_an_arm_that_is_chosen_more_often_is_named() -> None:
    rng = default_rng(6)
    people = [
        outcome(f"{day}-{number}", day * DAY + number * 24, arm="story" if rng.random() < share else "plain")
        for day, share in [*((day, 0.2) for day in range(7)), (7, 0.5)]
        for number in range(1000)
    ]
    found = looked(people)["hero.arms"]
    assert (found.verdict, found.arm) == ("drifted", "story")
    assert found.since - WINDOW.since <= RANGES.stretch
    # (0.5 - 0.2) ln 2.5 + (0.5 - 0.8) ln 0.625 = 0.4159
    assert found.size == pytest.approx(0.4159, abs=0.08)
    told = alert(found, RANGES)
    assert told.words.startswith("Arm story of hero moved from ")
    assert ", since 1970-01-01 00:02:4" in told.words
    assert f" UTC; before: the 7 days before (PSI {found.size:.2f}, chance " in told.words
    assert (told.what, told.subject, told.series, told.against) == (Detector.DRIFT, "hero", "arms", RANGES.against)
    assert told.value == pytest.approx(0.5, abs=0.05)
    assert told.sure > 0.999


def rewards(rng: Generator, shares: Iterable[float]) -> Rows:
    values = (rng.random(len(list(shares := list(shares)))) < shares).astype(np.float64)
    n = len(values)
    nothing = np.empty(0)
    texts = np.array([""] * n, dtype=np.object_)
    blank = np.full(n, np.nan)
    return Rows(
        *(np.arange(n), np.ones(n), values, np.zeros((n, 1)), texts, blank, nothing, nothing, np.empty(0, np.intp))
    )


def test_a_reward_that_falls_is_told_with_the_row_since_which_and_one_that_stays_is_not() -> None:
    rng = default_rng(31)
    since, alarms = [], 0
    for _ in range(40):
        usual = rewards(rng, [0.1] * 5000)
        fallen = course(usual, rewards(rng, [0.1] * 3000 + [0.05] * 3000), 24, 0.5, 0.01)
        assert fallen is not None
        # The bound is the logarithm of 2 sides, 24 parts and a doubt of 0.01.
        assert fallen.size < -8.476
        assert fallen.chance <= 0.01
        since.append(fallen.since / 250)
        same_as_ever = course(usual, rewards(rng, [0.1] * 6000), 24, 0.5, 0.05)
        assert same_as_ever is not None
        alarms += same_as_ever.size != 0.0
    assert np.median(np.abs(np.array(since) - 12)) <= 1
    assert alarms <= 2


def test_rewards_that_are_too_few_or_all_the_same_say_nothing() -> None:
    rng = default_rng(32)
    assert course(rewards(rng, [0.0] * 900), rewards(rng, [0.5] * 900), 24, 0.5, 0.01) is None
    # Five of a hundred: a sum of 100 rewards has a variance of 5 only.
    assert course(rewards(rng, [0.05] * 900), rewards(rng, [0.05] * 80), 24, 0.5, 0.01) is None
    found = course(rewards(rng, [0.5] * 900), rewards(rng, [0.5] * 80), 24, 0.5, 0.01)
    assert found is not None
    assert found.size == 0.0


def lists(rng: Generator, day: int, people: int = 1500, worth: float = 1.0, shift: float = 0.0) -> Iterator[Outcome]:
    """Lists of six whose items earn something as often as their scores say, times what they are worth."""
    for number in range(people):
        scores = 1.0 / (1.0 + np.exp(2.0 - shift - rng.normal(size=6)))
        gains = (rng.random(6) < worth * scores).astype(np.float64)
        yield listed(f"{day}-{number}", day * DAY + number * (DAY // people), scores, gains)


def test_scores_that_no_longer_keep_their_promise_are_told_though_they_are_as_they_were() -> None:
    rng = default_rng(41)
    found = looked([*lists(rng, 3), *lists(rng, 4), *lists(rng, 7, worth=0.6)])
    kept, score = found["home_feed.calibration"], found["home_feed.score"]
    assert (kept.verdict, kept.what, score.verdict) == ("drifted", Detector.CALIBRATION, "not seen")
    # The mean promise is 0.16, of which four tenths do not come.
    assert kept.size == pytest.approx(0.4 * 0.16, abs=0.02)
    assert kept.before < 0.02
    assert kept.latest > 0.04
    assert found["home_feed.reward"].verdict == "drifted"
    assert alert(kept, RANGES).words.startswith("The calibration error of home_feed moved from 0.0")


def test_scores_that_are_others_are_told_though_they_keep_their_promise() -> None:
    rng = default_rng(42)
    found = looked([*lists(rng, 3), *lists(rng, 4), *lists(rng, 7, shift=1.0)])
    assert found["home_feed.score"].verdict == "drifted"
    assert found["home_feed.score"].latest > found["home_feed.score"].before + 0.1
    assert found["home_feed.calibration"].verdict == "not seen"


def test_where_nothing_has_changed_promises_are_as_well_kept_as_before() -> None:
    rng, seen = default_rng(43), 0
    for _ in range(40):
        found = looked([*lists(rng, 3, 400), *lists(rng, 7, 400)])["home_feed.calibration"]
        seen += found.verdict != "not seen"
    assert seen <= 2


def test_scores_of_another_model_are_not_held_against_those_of_this_one() -> None:
    rng = default_rng(44)
    before = [listed(f"{number}", number, np.array([3.5, 1.0]), np.zeros(2), "m2") for number in range(900)]
    found = looked([*before, *lists(rng, 7, 900)])
    assert found["home_feed.score"].verdict == "too few"
    assert found["home_feed.score"].people == (0, 900)
    assert found["home_feed.calibration"].verdict == "too few"
    assert found["home_feed.gap_s"].verdict == "not seen"


def test_what_is_left_out_and_what_lies_outside_counts_for_nothing() -> None:
    gathered = Gathered(RANGES, 100)
    inside = [outcome("ada", WINDOW.since), outcome("bo", WINDOW.until - 1), outcome("cy", RANGES.reference.since)]
    robot = outcome("robot", 5, unfit=(Unfit.ROBOT,))
    silent = replace(outcome("di", 6), unmeasured=True)
    gathered.add([*inside, robot, silent, outcome("ed", WINDOW.until)])
    assert gathered.read == 5
    assert dict(gathered.left_out) == {"of robots": 1, "without consent to measure": 1}
    (slot,) = gathered.slots()
    assert (slot.reference.at.tolist(), slot.window.at.tolist()) == ([0], [WINDOW.since, WINDOW.until - 1])
    assert {each.verdict for each in look(gathered, RANGES, CONF)} == {"too few"}


def test_a_drift_is_the_same_while_it_began_before_it_was_told_and_the_reference_is_the_same() -> None:
    told = Alert(8000, 5000, Detector.DRIFT, "hero", "gap_s", 2.0, 1.0, 0.3, 0.999, "", "what m3 learned from")
    assert same(replace(told, at=9000, since=6000), told)
    assert same(replace(told, size=-0.2), told)
    assert not same(replace(told, at=11_000, since=8001), told)
    for name, value in (("series", "score"), ("subject", "nudge"), ("against", ""), ("what", Detector.CALIBRATION)):
        assert not same(replace(told, **{name: value}), told)
