"""Arms are given as GrowthBook's SDKs give them, ramps move nobody, and experiments know nothing of each other.

The published values are those of the test cases that all of GrowthBook's SDKs share, specification version 0.7.1.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from udfs.deciding.assignment import NOBODY, bucket, chosen, coverage_at, ranges, within

USERS = [f"k0:{number:024x}" for number in range(100_000)]


def fnv32a(text: str) -> int:
    found = 0x811C9DC5
    for character in text:
        found = (found ^ ord(character)) * 0x01000193 % 2**32
    return found


def chi_square(table: NDArray[np.intp]) -> float:
    """Pearson's statistic of independence."""
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())


@pytest.mark.parametrize(
    ("seed", "value", "expected"),
    [
        ("seed", "a", 0.0505),
        ("seed", "b", 0.2696),
        ("foo", "ab", 0.2575),
        ("foo", "def", 0.2019),
        ("89123klj", "8952klfjas09ujkasdf", 0.124),
        ("90850943850283058242805", "123", 0.7516),
        ("()**(%$##$%#$#", '___)((*":&', 0.0128),
    ],
)
def test_buckets_of_version_2_are_the_published_ones(seed: str, value: str, expected: float) -> None:
    assert bucket(seed, [value]).tolist() == [expected]


@pytest.mark.parametrize(
    ("seed", "value", "expected"),
    [
        ("", "a", 0.22),
        ("", "b", 0.077),
        ("b", "a", 0.946),
        ("ef", "d", 0.652),
        ("asdf", "8952klfjas09ujk", 0.549),
        ("", "123", 0.011),
        ("", '___)((*":&', 0.563),
    ],
)
def test_buckets_of_version_1_are_the_published_ones(seed: str, value: str, expected: float) -> None:
    assert bucket(seed, [value], version=1).tolist() == [expected]


def test_a_bundle_of_texts_of_any_length_is_hashed_as_they_are_one_by_one() -> None:
    texts = ["", "a", "ä", "\U0001f600", "a\0", "\0", "k0:11997fd1c46f666bb255ad6b", "x" * 200, *USERS[:500]]
    twice = [fnv32a(str(fnv32a(f"hero{text}"))) % 10_000 / 10_000 for text in texts]
    once = [fnv32a(f"{text}hero") % 1000 / 1000 for text in texts]
    assert bucket("hero", texts).tolist() == twice
    assert bucket("hero", np.array(texts, dtype=np.object_)).tolist() == twice
    assert bucket("hero", texts, version=1).tolist() == once
    assert np.concatenate([bucket("hero", [text]) for text in texts]).tolist() == twice


def test_nobody_has_no_bucket() -> None:
    assert bucket("hero", []).tolist() == []
    assert within("hero", [], 0.0, 1.0).tolist() == []


def test_buckets_are_filled_evenly() -> None:
    counts = np.histogram(bucket("hero", USERS), 100, (0.0, 1.0))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 148.2  # p > 0.001 at 99 degrees of freedom


@pytest.mark.parametrize(
    ("weights", "coverage", "expected"),
    [
        ([0.5, 0.5], 1.0, [(0, 0.5), (0.5, 1)]),
        ([0.5, 0.5], 0.5, [(0, 0.25), (0.5, 0.75)]),
        ([0.5, 0.5], 0.0, [(0, 0), (0.5, 0.5)]),
        ([0.25, 0.25, 0.25, 0.25], 1.0, [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]),
        ([0.4, 0.6], 1.0, [(0, 0.4), (0.4, 1)]),
        ([0.2, 0.3, 0.5], 1.0, [(0, 0.2), (0.2, 0.5), (0.5, 1)]),
        ([0.2, 0.3, 0.5], 0.2, [(0, 0.04), (0.2, 0.26), (0.5, 0.6)]),
        ([0.4, 0.5999], 1.0, [(0, 0.4), (0.4, 0.9999)]),
    ],
)
def test_ranges_are_the_published_ones(
    weights: list[float], coverage: float, expected: list[tuple[float, float]]
) -> None:
    assert np.array(ranges(weights, coverage)) == pytest.approx(np.array(expected))


@pytest.mark.parametrize(
    ("weights", "coverage"),
    [
        ([0.5, 0.5], -0.2),
        ([0.5, 0.5], 1.5),
        ([0.5, 0.5], float("nan")),
        ([0.4, 0.1], 1.0),
        ([0.7, 0.6], 1.0),
        ([1.5, -0.5], 1.0),
        ([], 1.0),
    ],
)
def test_what_the_specification_would_mend_without_a_word_is_refused(weights: list[float], coverage: float) -> None:
    with pytest.raises(ValueError, match=r"the weights .* are no shares of 1|the coverage lies outside of 0 to 1"):
        ranges(weights, coverage)


@pytest.mark.parametrize(
    ("value", "arms", "expected"),
    [
        (0.2, [(0.0, 0.5), (0.5, 1.0)], 0),
        (0.4, [(0.0, 0.5), (0.5, 1.0)], 0),
        (0.6, [(0.0, 0.5), (0.5, 1.0)], 1),
        (0.8, [(0.0, 0.5), (0.5, 1.0)], 1),
        (0.0, [(0.0, 0.5), (0.5, 1.0)], 0),
        (0.5, [(0.0, 0.5), (0.5, 1.0)], 1),
        (0.2, [(0.0, 0.25), (0.5, 0.75)], 0),
        (0.4, [(0.0, 0.25), (0.5, 0.75)], -1),
        (0.6, [(0.0, 0.25), (0.5, 0.75)], 1),
        (0.8, [(0.0, 0.25), (0.5, 0.75)], -1),
        (0.25, [(0.0, 0.25), (0.5, 0.75)], -1),
        (0.5, [(0.0, 0.25), (0.5, 0.75)], 1),
        (0.5, [(0.0, 0.5), (0.5, 0.5), (0.5, 1.0)], 2),
    ],
)
def test_chosen_arms_are_the_published_ones(value: float, arms: list[tuple[float, float]], expected: int) -> None:
    assert chosen(np.array([value]), arms).tolist() == [expected]


def test_arms_are_given_as_often_as_their_weights_say() -> None:
    counts = np.bincount(chosen(bucket("hero", USERS), ranges([0.2, 0.3, 0.5], 0.5)) + 1)
    expected = np.array([50_000, 10_000, 15_000, 25_000])
    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # p > 0.001 at three degrees of freedom


def test_ramping_up_brings_people_in_and_moves_nobody() -> None:
    buckets, weights = bucket("hero", USERS), [0.1, 1 / 3, 1 - 0.1 - 1 / 3]
    before = chosen(buckets, ranges(weights, 0.0))
    assert (before == NOBODY).all()
    for coverage in np.linspace(0.05, 1.0, 20).tolist():
        after = chosen(buckets, ranges(weights, coverage))
        stayed = before != NOBODY
        assert (after[stayed] == before[stayed]).all()
        assert (after != NOBODY).sum() > stayed.sum()
        before = after
    assert (before != NOBODY).all()


def test_a_ramp_is_a_matter_of_the_events_time() -> None:
    #  moment     0     10          20          30
    #  share      0     |==== 0.1 ==|=== 0.5 ===|=== 0.2 (taken back)
    ramp = [(10, 0.1), (30, 0.2), (20, 0.5)]
    at = np.array([0, 9, 10, 19, 20, 29, 30, 9_999_999_999_999])
    assert coverage_at(ramp, at).tolist() == [0.0, 0.0, 0.1, 0.1, 0.5, 0.5, 0.2, 0.2]
    assert coverage_at([(10, 0.1), (10, 0.3)], at[:3]).tolist() == [0.0, 0.0, 0.3]
    assert coverage_at([], at[:2]).tolist() == [0.0, 0.0]


def test_each_event_of_a_bundle_has_the_coverage_of_its_own_time() -> None:
    ramp, weights = [(10, 0.1), (20, 0.6), (30, 1.0)], [0.25, 0.75]
    at, buckets = np.arange(5000) % 40, bucket("hero", USERS[:5000])
    at_once = chosen(buckets, ranges(weights, coverage_at(ramp, at)))
    for time in range(40):
        (share,) = coverage_at(ramp, np.array([time])).tolist()
        rows = at == time
        assert at_once[rows].tolist() == chosen(buckets[rows], ranges(weights, share)).tolist()


@pytest.mark.parametrize(
    ("user", "namespace", "start", "end", "expected"),
    [
        ("1", "namespace1", 0.0, 0.4, False),
        ("1", "namespace1", 0.4, 1.0, True),
        ("1", "namespace2", 0.0, 0.4, False),
        ("1", "namespace2", 0.4, 1.0, True),
        ("2", "namespace1", 0.0, 0.4, False),
        ("2", "namespace1", 0.4, 1.0, True),
        ("2", "namespace2", 0.0, 0.4, False),
        ("2", "namespace2", 0.4, 1.0, True),
        ("3", "namespace1", 0.0, 0.4, False),
        ("3", "namespace1", 0.4, 1.0, True),
        ("3", "namespace2", 0.0, 0.4, True),
        ("3", "namespace2", 0.4, 1.0, False),
        ("4", "namespace1", 0.0, 0.4, False),
        ("4", "namespace1", 0.4, 1.0, True),
        ("4", "namespace2", 0.0, 0.4, True),
        ("4", "namespace2", 0.4, 1.0, False),
    ],
)
def test_namespaces_are_the_published_ones(user: str, namespace: str, start: float, end: float, expected: bool) -> None:
    assert within(namespace, [user], start, end).tolist() == [expected]


def test_experiments_in_one_namespace_exclude_each_other() -> None:
    parts = np.array([within("checkout", USERS, *part) for part in [(0.0, 0.2), (0.2, 0.5), (0.5, 1.0)]])
    assert (parts.sum(axis=0) == 1).all()
    assert parts.mean(axis=1) == pytest.approx([0.2, 0.3, 0.5], abs=0.01)


@pytest.mark.parametrize(
    ("one", "other"), [("hero", "promo"), ("exp-1", "exp-2"), ("a", "b"), ("hero", "her"), ("2026-01", "2026-10")]
)
def test_two_experiments_with_seeds_of_their_own_are_independent(one: str, other: str) -> None:
    first = chosen(bucket(one, USERS), ranges([0.2, 0.3, 0.5], 0.8)) + 1
    second = chosen(bucket(other, USERS), ranges([0.5, 0.5], 0.9)) + 1
    table = np.bincount(first * 3 + second, minlength=12).reshape(4, 3)
    assert chi_square(table) < 22.5  # p > 0.001 at six degrees of freedom


def test_an_experiment_in_a_namespace_is_split_evenly() -> None:
    inside = within("checkout", USERS, 0.2, 0.5)
    arms = chosen(bucket("hero", USERS), ranges([0.5, 0.5], 1.0))
    table = np.bincount(2 * inside + arms, minlength=4).reshape(2, 2)
    assert chi_square(table) < 10.8  # p > 0.001 at one degree of freedom
