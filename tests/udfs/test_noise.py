"""What is cut and what is told apart: by the length of the content, by all people, by the person's own session."""

import numpy as np
import pytest
from msgspec import json
from numpy.typing import NDArray

from schemas.events import Kind, RawEvent
from schemas.norms import STRENGTHS, Population, Quartiles, Typical
from schemas.settings import Noise
from udfs.cleaning.noise import Norms, clip, unusual
from udfs.releases import RefusedRelease

CONF = Noise(fence=3.0, deviations=6.0, min_slices=20, min_events=1000)
EDGES = np.array([-500, *STRENGTHS, 32_000])


def judged(points: NDArray[np.int64], tallies: NDArray[np.int64]) -> NDArray[np.float64]:
    """Hold slices with events against their sessions, as CONF has it."""
    return unusual(points, tallies, np.ones(len(points), dtype=np.int64), CONF.min_slices)


def norms(kind: Kind, *, dwell_ms: Quartiles | None = None, value: Quartiles | None = None) -> Norms:
    return Norms.parse("n1", json.encode(Population(0, 1, {kind: Typical(dwell_ms, value)})))


READING = norms(Kind.DWELL, dwell_ms=Quartiles(1000, 5000.0, 7000.0, 10_000.0))  # up to 10 * (10 / 5)^3 = 80 s
PRICES = norms(Kind.CART, value=Quartiles(1000, 10.0, 15.0, 20.0))  # from 1.25 to 160
CHANGES = norms(Kind.FORM, value=Quartiles(1000, -10.0, 0.0, 10.0))  # from -70 to 70


def dwell(ms: int, duration_ms: int | None = None) -> RawEvent:
    return RawEvent("ada", Kind.DWELL, dwell_ms=ms, duration_ms=duration_ms)


def cart(value: float) -> RawEvent:
    return RawEvent("ada", Kind.CART, value=value)


def test_nobody_attends_to_content_for_longer_than_it_lasts() -> None:
    assert clip(dwell(61_000, duration_ms=60_000), None, CONF) == (60_000, None, ("dwell_ms",))
    assert clip(dwell(60_000, duration_ms=60_000), None, CONF) == (60_000, None, ())


def test_a_live_stream_has_no_length_to_be_held_against() -> None:
    assert clip(dwell(61_000, duration_ms=0), None, CONF) == (61_000, None, ())


def test_attention_beyond_the_outer_fence_of_all_people_is_cut_to_it() -> None:
    assert clip(dwell(80_000), READING, CONF) == (80_000, None, ())
    assert clip(dwell(80_001), READING, CONF) == (80_000, None, ("dwell_ms",))


def test_little_attention_is_never_cut() -> None:
    tight = norms(Kind.DWELL, dwell_ms=Quartiles(1000, 9000.0, 9500.0, 10_000.0))
    assert clip(dwell(0), tight, CONF) == (0, None, ())


def test_of_the_contents_length_and_the_fence_the_nearer_counts() -> None:
    assert clip(dwell(95_000, duration_ms=90_000), READING, CONF) == (80_000, None, ("dwell_ms",))
    assert clip(dwell(50_000, duration_ms=30_000), READING, CONF) == (30_000, None, ("dwell_ms",))


@pytest.mark.parametrize(
    ("value", "believed"), [(160.5, 160.0), (1.0, 1.25), (160.0, 160.0), (1.25, 1.25), (-3.0, 1.25)]
)
def test_a_value_is_cut_at_both_ends(value: float, believed: float) -> None:
    assert clip(cart(value), PRICES, CONF) == (None, believed, ("value",) if value != believed else ())


def test_what_may_be_negative_is_held_against_a_straight_scale() -> None:
    event = RawEvent("ada", Kind.FORM, value=-71.0)
    assert clip(event, CHANGES, CONF) == (None, -70.0, ("value",))


def test_a_spread_beyond_all_numbers_bounds_nothing() -> None:
    odd = norms(Kind.CART, value=Quartiles(1000, 1e-300, 1.0, 1e12))
    assert clip(cart(1e12), odd, CONF) == (None, 1e12, ())


def test_both_fields_of_one_event_may_be_cut() -> None:
    both = norms(Kind.RATE, dwell_ms=Quartiles(1000, 1.0, 1.5, 2.0), value=Quartiles(1000, 4.0, 5.0, 8.0))
    event = RawEvent("ada", Kind.RATE, dwell_ms=20, value=100.0)
    assert clip(event, both, CONF) == (16, 64.0, ("dwell_ms", "value"))


def test_another_kind_of_event_is_not_held_against_it() -> None:
    assert clip(RawEvent("ada", Kind.PURCHASE, value=5000.0), PRICES, CONF) == (None, 5000.0, ())


def test_too_few_events_of_the_population_cut_nothing() -> None:
    few = norms(Kind.CART, value=Quartiles(999, 10.0, 15.0, 20.0))
    assert clip(cart(5000.0), few, CONF) == (None, 5000.0, ())


def test_where_the_middle_half_is_all_alike_nothing_is_cut() -> None:
    alike = norms(Kind.CART, value=Quartiles(1000, 9.99, 9.99, 9.99))
    assert clip(cart(12.0), alike, CONF) == (None, 12.0, ())


def test_an_event_without_such_fields_stays_as_it_is() -> None:
    assert clip(RawEvent("ada", Kind.CLICK, item="a"), READING, CONF) == (None, None, ())


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"", "Input data was truncated"),
        (b"\xff", "JSON is malformed: invalid character (byte 0)"),
        (b'{"since":0,"until":1}', "Object missing required field `kinds`"),
        (b'{"since":0,"until":1,"kinds":{"stare":{}}}', "Invalid enum value 'stare' - at `key` in `$.kinds`"),
        (b'{"since":0,"until":1,"kinds":{"view":{"scroll":null}}}', "Object contains unknown field `scroll`"),
        (b'{"n":-1,"q1":1,"median":1,"q3":1}', "Expected `int` >= 0"),
        (b'{"n":1,"q1":NaN,"median":1,"q3":1}', "JSON is malformed: invalid character"),
        (b'{"n":1,"q1":1,"median":1,"q3":1e999}', "Number out of range"),
        (b'{"n":1,"q1":1,"median":3,"q3":2}', "cart.value: quartiles must rise, got 1, 3, 2"),
        (b'{"n":1,"q1":3,"median":1,"q3":2}', "cart.value: quartiles must rise, got 3, 1, 2"),
    ],
)
def test_nonsense_is_refused_in_one_line(payload: bytes, complaint: str) -> None:
    if payload.startswith(b'{"n"'):
        payload = b'{"since":0,"until":1,"kinds":{"cart":{"value":%s}}}' % payload
    with pytest.raises(RefusedRelease) as refused:
        Norms.parse("n3", payload)
    assert str(refused.value).startswith(f"norms n3: {complaint}")
    assert "\n" not in str(refused.value)


def test_attention_of_less_than_nothing_is_refused() -> None:
    with pytest.raises(RefusedRelease, match=r"^norms n1: dwell\.dwell_ms: nobody attends for less than 0 ms, got -1$"):
        norms(Kind.DWELL, dwell_ms=Quartiles(1000, -1.0, 5.0, 9.0))


def counted(points: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(STRENGTHS, points), minlength=8)


def exact(earlier: NDArray[np.int64]) -> tuple[float, float]:
    median = float(np.median(earlier))
    return median, float(np.median(np.abs(earlier - median)))


def session(rng: np.random.Generator, slices: int) -> NDArray[np.int64]:
    """Points of slices: some of nothing but exposures, most of a view or a click, some of much more."""
    strength = rng.lognormal(rng.uniform(6.0, 8.5), rng.uniform(0.2, 1.2), slices)
    points = np.where(rng.random(slices) < rng.uniform(0.0, 0.4), 0, strength)
    return np.minimum(points, 31_000).astype(np.int64)


def test_the_median_and_the_mad_lie_within_the_width_of_their_counters() -> None:
    rng = np.random.default_rng(11)
    for _ in range(300):
        earlier = session(rng, int(rng.integers(10, 200)) * 2 + 1)
        median, mad = exact(earlier)
        tallies = counted(earlier)
        # What two strengths are held to be, beside the same habit, gives away its median and scale.
        now = np.array([0, 20_000])
        low, high = judged(now, np.stack([tallies + counted(now[:1]), tallies + counted(now[1:])]))
        scale = 20_000 / (high - low)
        middle = -low * scale
        width = np.diff(EDGES)[np.searchsorted(STRENGTHS, median)]
        widest = np.diff(EDGES)[np.searchsorted(STRENGTHS, min(median + max(mad, scale / 1.4826), 31_000))]
        assert abs(middle - median) <= width
        assert scale >= width * (1 - 1e-9)
        assert abs(scale - max(1.4826 * mad, width)) <= 1.4826 * 2 * widest


def test_deviations_of_evenly_spread_slices_are_those_of_the_formula() -> None:
    #  points   0      0.5    1             4      8
    #  slices   |  45  |  10  |      0      |  45  |    the median is 0.75 points; 10 slices lie within 0.25 of it,
    #  and from there on 90 a point come in from below, so the 40 that are missing to the half do within 4 / 9 more.
    tallies = np.array([[0, 45, 10, 0, 0, 45, 0, 1]])
    (found,) = judged(np.array([20_000]), tallies)
    assert found == pytest.approx((20_000 - 750) / (1.4826 * (250 + 4000 / 9)), rel=1e-12)


def test_slices_that_are_all_alike_do_not_make_every_other_one_an_outlier() -> None:
    # All of 1 point: the counter reaches from 0.5 to 1, so 3 points more are 4.5 of its widths off its middle.
    tallies = np.array([[0, 0, 50, 0, 0, 0, 0, 0]]) + counted(np.array([3000]))
    assert judged(np.array([3000]), tallies).tolist() == [(3000 - 750) / 500]


def test_the_slice_that_is_judged_is_not_among_those_it_is_held_against() -> None:
    earlier = np.array([0, 10, 10, 0, 0, 0, 0, 0])
    assert judged(np.array([700]), earlier[np.newaxis] + counted(np.array([700]))).tolist() == [
        (700 - 500) / max(1.4826 * 250, 500)
    ]


def test_a_session_with_too_few_earlier_slices_has_no_habit() -> None:
    nineteen = np.array([[0, 0, 19, 0, 0, 0, 0, 1]])
    assert judged(np.array([20_000]), nineteen).tolist() == [0.0]
    assert judged(np.array([20_000]), nineteen + np.eye(8, dtype=np.int64)[2])[0] > 6


def test_less_than_usual_is_below_zero() -> None:
    lively = np.array([[1, 0, 0, 0, 0, 30, 30, 0]])
    assert judged(np.array([0]), lively)[0] < -1


def test_a_row_does_not_depend_on_those_beside_it() -> None:
    rng = np.random.default_rng(5)
    sessions = [session(rng, int(rng.integers(2, 80))) for _ in range(200)]
    points = np.array([each[-1] for each in sessions])
    tallies = np.stack([counted(each) for each in sessions])
    together = judged(points, tallies)
    assert together.tolist() == [judged(points[row : row + 1], tallies[row : row + 1])[0] for row in range(200)]
    assert (together != 0).any()
    assert np.isfinite(together).all()


def test_no_rows_give_no_deviations() -> None:
    assert judged(np.empty(0, dtype=np.int64), np.empty((0, 8), dtype=np.int64)).tolist() == []
