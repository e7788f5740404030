"""A few moments of everybody stand for all, in whatever order they come."""

from collections.abc import Iterable

from msgspec import json
from numpy.random import default_rng

from schemas.decisions import Unfit
from schemas.signals import Signals
from udfs.counting.sampling import LEFT_OUT, Sample, Seen

MINUTE_MS = 60_000
AT = 1_767_225_600_000


def bodies(moments: Iterable[tuple[str, int, int]], unfit: list[Unfit] | None = None) -> list[bytes]:
    """Decisions from (user, minute, depth of the session)."""
    return [
        json.encode(Seen(user, AT + minute * MINUTE_MS, Signals(session_depth=depth), unfit or []))
        for user, minute, depth in moments
    ]


def sample(most: int = 1000, counted: int = 0) -> Sample:
    return Sample(["session_depth", "gap_s"], 10 * MINUTE_MS, most, counted)


# ada   0 1 2 3 4 5 6 7 8 9 | 10 11
# bo        3               |
def test_a_busy_person_counts_once_in_a_stretch() -> None:
    drawn = sample()
    drawn.add(bodies(("ada", minute, minute) for minute in range(12)))
    drawn.add(bodies([("bo", 3, 50)]))
    found = drawn.moments()
    assert (len(found.at), found.total, drawn.read) == (3, 3.0, 13)
    depths = found.signals["session_depth"].tolist()
    assert 50.0 in depths
    assert [depth // 10 for depth in depths if depth < 50] == [0.0, 1.0]
    assert found.signals["gap_s"].tolist() == [0.0] * 3
    assert found.at.tolist() == sorted(found.at.tolist())


def test_which_moment_of_a_stretch_counts_is_left_to_chance() -> None:
    drawn = sample()
    drawn.add(bodies((f"user-{number}", minute, minute) for number in range(1000) for minute in range(10)))
    depths = drawn.moments().signals["session_depth"]
    assert len(depths) == 1000
    assert [50 < (depths == minute).sum() < 150 for minute in range(10)] == [True] * 10


def test_the_same_records_give_the_same_sample_in_any_order() -> None:
    records = bodies((f"user-{number % 300}", number % 77, number) for number in range(5000))
    shuffled = [records[place] for place in default_rng(1).permutation(5000)]
    found = []
    for some in (records, shuffled):
        drawn = sample(most=200)
        for start in range(0, 5000, 500):
            drawn.add(some[start : start + 500])
        found.append(drawn.moments())
    one, two = found
    assert len(one.at) == 200
    assert one.at.tolist() == two.at.tolist()
    assert one.signals["session_depth"].tolist() == two.signals["session_depth"].tolist()
    assert one.total == two.total


def test_memory_is_bounded_and_the_number_of_all_moments_is_estimated() -> None:
    drawn = sample(most=1000)
    for start in range(0, 40_000, 2000):
        drawn.add(bodies((f"user-{number}", 0, 1) for number in range(start, start + 2000)))
        assert len(drawn._drawn) <= 2 * 1000
    found = drawn.moments()
    assert len(found.at) == 1000
    assert 36_000 < found.total < 44_000


def test_as_many_moments_as_may_be_kept_are_all_kept() -> None:
    drawn = sample(most=5)
    drawn.add(bodies((f"user-{number}", 0, 1) for number in range(5)))
    assert (len(drawn.moments().at), drawn.moments().total) == (5, 5.0)


def test_what_says_nothing_of_people_is_left_out_and_counted_by_its_reason() -> None:
    drawn = sample(counted=AT + 10 * MINUTE_MS)
    drawn.add(bodies([("ada", 10, 1), ("bo", 5, 1), ("cy", 11, 1)]))
    for reason in Unfit:
        drawn.add(bodies([("di", 20, 1)], [reason]))
    drawn.add([b"{", b"\xff", b'{"user_id":"ed","seq":0}'])
    assert len(drawn.moments().at) == 1
    assert dict(drawn.left_out) == {
        "counted before": 2,
        "not readable": 3,
        "of robots": 1,
        "unlike the person's own": 1,
        "with a value cut to its bound": 1,
        "without consent to learn": 1,
    }
    assert drawn.read == 10


def test_every_reason_has_its_words() -> None:
    assert set(LEFT_OUT) == set(Unfit)


def test_nothing_is_an_empty_sample() -> None:
    found = sample().moments()
    assert (found.at.tolist(), found.signals["gap_s"].tolist(), found.total) == ([], [], 0.0)
