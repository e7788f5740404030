"""What is beyond belief: values no person makes are cut to a bound, moments unlike a person's own are told."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite, log
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.events import RawEvent
from schemas.norms import STRENGTHS, Population, Quartiles, Typical
from schemas.settings import Noise
from udfs.releases import RefusedRelease, decoded
from udfs.smooth import Column

_decode: Final = msgspec.json.Decoder(Population).decode
_NOTHING: Final = (None, None, ())

_NORMAL: Final = 1.4826
"""Standard deviations in a median absolute deviation, where values are spread normally: 1 / 0.6745."""

_LARGEST_EXPONENT: Final = 700.0
_LOWEST, _HIGHEST = -500, 32_000
_EDGES: Final = np.array([_LOWEST, *STRENGTHS, _HIGHEST], dtype=np.float64)
_WIDTHS: Final = np.diff(_EDGES)


@dataclass(frozen=True, eq=False)
class Norms:
    """One norms release: quartiles of the population by the kind of event.

    Attributes:
        version: the release, `n1`, `n2` ...
        dwell_ms: kind -> of attentive time, ms.
        value: kind -> of price, rating or size.
    """

    version: str
    dwell_ms: Mapping[str, Quartiles]
    value: Mapping[str, Quartiles]

    @classmethod
    def parse(cls, version: str, payload: bytes) -> Self:
        """Read `norms.json`, a `schemas.norms.Population`.

        Raises:
            RefusedRelease: it is none, or its quartiles cannot be those of anything.

        >>> Norms.parse("n1", b'{"since":0,"until":9,"kinds":{"dwell":{"dwell_ms":{"n":9,"q1":7,"median":6,"q3":8}}}}')
        Traceback (most recent call last):
        ...
        udfs.releases.RefusedRelease: norms n1: dwell.dwell_ms: quartiles must rise, got 7, 6, 8
        """
        kinds = decoded(_decode, payload, f"norms {version}").kinds
        typical = {kind.value: fields for kind, fields in kinds.items()}
        for kind, fields in typical.items():
            _check(f"norms {version}: {kind}", fields)
        return cls(
            version,
            {kind: fields.dwell_ms for kind, fields in typical.items() if fields.dwell_ms},
            {kind: fields.value for kind, fields in typical.items() if fields.value},
        )


def clip(event: RawEvent, norms: Norms | None, conf: Noise) -> tuple[int | None, float | None, tuple[str, ...]]:
    """Cut an event's values to what can be believed.

    Nobody attends to content for longer than it lasts; a length of 0 is what players report of a live stream, and cuts
    nothing. Then the population's outer fences count, where enough of it was seen.

    Args:
        event: what the tracker sent.
        norms: the population's quartiles in force, if any.
        conf: how far the fences lie out, and from how many values on they count.

    Returns:
        Attentive time in ms, value, and the names of the fields that were cut.

    >>> from schemas.events import Kind
    >>> conf = Noise(fence=3.0, deviations=6.0, min_slices=20, min_events=1000)
    >>> clip(RawEvent("ada", Kind.DWELL, dwell_ms=90_000, duration_ms=60_000), None, conf)
    (60000, None, ('dwell_ms',))
    """
    dwell_ms, value = event.dwell_ms, event.value
    if dwell_ms is None and value is None:
        return _NOTHING
    kind = event.kind._value_
    clipped: tuple[str, ...] = ()
    if dwell_ms is not None:
        most: float = event.duration_ms or dwell_ms
        if norms and (fences := bounds(norms.dwell_ms.get(kind), conf)):
            most = min(most, fences[1])
        if dwell_ms > most:
            dwell_ms, clipped = int(most), ("dwell_ms",)
    if value is not None and norms and (fences := bounds(norms.value.get(kind), conf)):
        believed = min(max(value, fences[0]), fences[1])
        if believed != value:
            value, clipped = believed, (*clipped, "value")
    return dwell_ms, value, clipped


def bounds(found: Quartiles | None, conf: Noise) -> tuple[float, float] | None:
    """Give the fences of a field; None where too few values were seen, or all alike."""
    return fence(found.q1, found.q3, conf.fence) if found and found.n >= conf.min_events else None


def fence(q1: float, q3: float, k: float) -> tuple[float, float] | None:
    """Give the bounds beyond which a value is far out: k interquartile ranges beyond the quartiles.

    The outer fences of Tukey, Exploratory Data Analysis, 1977, section 2D, for k = 3; of what is positive, such as
    times and prices, on its logarithms (chapter 3, re-expression), for on a straight scale they would cut several per
    cent of what honest people do. Where the middle half of the values is all alike, the quartiles say nothing of how
    far the others spread, so there is no bound: else every price but the usual one would be cut.

    Args:
        q1: lower quartile.
        q3: upper quartile.
        k: interquartile ranges, greater than 0.

    >>> fence(10.0, 20.0, 3.0), fence(-10.0, 10.0, 3.0), fence(5.0, 5.0, 3.0)
    ((1.25, 160.0), (-70.0, 70.0), None)
    """
    spread = q3 - q1
    if spread <= 0:
        return None
    if q1 > 0:
        # Beyond that there is no number left to be far out.
        reach = (q3 / q1) ** k if k * log(q3 / q1) < _LARGEST_EXPONENT else inf
        return q1 / reach, q3 * reach
    return q1 - k * spread, q3 + k * spread


def unusual(
    points: NDArray[np.int64], tallies: NDArray[np.int64], events: NDArray[np.int64], min_slices: int
) -> Column:
    """How far a slice's engagement is from the median of the session's earlier slices, in robust deviations.

    The Hampel identifier (Pearson, IEEE Trans. Control Systems Technology 10, 2002; Hampel, JASA 69, 1974):
    (points - median) / (1.4826 * MAD). Both are read off counters, as though the slices of a counter lay evenly in it;
    the lowest counter reaches down to half a point below 0, the highest up to 32 points. So the median of an odd number
    of slices is off by at most the width of its counter, their MAD by at most twice that of the widest counter within
    its reach. Of an even number whose middle two lie apart, the median is where the lower one's counter ends.

    Where slices are all alike, the MAD read off is only that of an even spread: no habit is known more finely than the
    counter in which its median lies, so the deviation is never taken for less than that counter's width.

    Args:
        points: (n,) engagement of the slice, thousandths of a point.
        tallies: (n, 8) slices of the session so far, this one included, by `schemas.norms.STRENGTHS`.
        events: (n,) in the slice: one without any is not judged, nor counted.
        min_slices: from how many earlier slices on a session has a median.

    Returns:
        (n,) deviations; 0 where there are too few earlier slices.

    >>> of_session = np.array([[0, 0, 8, 8, 4, 0, 0, 1]])  # around 1.25 points, then one of 20
    >>> unusual(np.array([20_000]), of_session, np.array([1]), 20).round(1).tolist()
    [18.8]
    """
    counted = tallies.astype(np.float64)
    judged = events > 0
    counted[np.arange(len(points)), np.searchsorted(STRENGTHS, points)] -= judged
    deviations = np.zeros(len(points))
    known = np.flatnonzero(judged & (counted.sum(axis=1) >= min_slices))
    if len(known):
        sums = _cumulated(counted[known])
        median, width = _median(sums)
        scale = np.maximum(_NORMAL * _deviation(sums, median), width)
        deviations[known] = (points[known] - median) / scale
    return deviations


def _check(whose: str, fields: Typical) -> None:
    if fields.dwell_ms and fields.dwell_ms.q1 < 0:
        raise RefusedRelease(f"{whose}.dwell_ms: nobody attends for less than 0 ms, got {fields.dwell_ms.q1:g}")
    for name, found in (("dwell_ms", fields.dwell_ms), ("value", fields.value)):
        if not found:
            continue
        three = (found.q1, found.median, found.q3)
        if not all(map(isfinite, three)) or not found.q1 <= found.median <= found.q3:
            raise RefusedRelease(f"{whose}.{name}: quartiles must rise, got {', '.join(f'{each:g}' for each in three)}")


def _cumulated(counts: Column) -> Column:
    """Slices up to each edge: (n, 8) -> (n, 9)."""
    return np.pad(counts.cumsum(axis=1), ((0, 0), (1, 0)))


def _up_to(sums: Column, points: Column) -> Column:
    """Slices up to any number of points: (n, 9) and (n, k) -> (n, k)."""
    counter = np.clip(np.searchsorted(_EDGES, points) - 1, 0, len(_WIDTHS) - 1)
    share = np.clip((points - _EDGES[counter]) / _WIDTHS[counter], 0.0, 1.0)
    return _between(sums, counter, share)


def _median(sums: Column) -> tuple[Column, Column]:
    """The median, and the width of the counter it lies in, thousandths of a point, each (n,)."""
    counter, share = _halved(sums)
    width = _WIDTHS[counter[:, 0]]
    return _EDGES[counter[:, 0]] + share[:, 0] * width, width


def _deviation(sums: Column, median: Column) -> Column:
    """How far around the median half of the slices lie, thousandths of a point, (n,)."""
    middle = median[:, np.newaxis]
    # Widening around the median, slices come in evenly between one edge and the next.
    reach = np.sort(np.abs(np.column_stack([np.broadcast_to(_EDGES, sums.shape), median]) - middle), axis=1)
    return _between(reach, *_halved(_up_to(sums, middle + reach) - _up_to(sums, middle - reach)))[:, 0]


def _halved(sums: Column) -> tuple[NDArray[np.intp], Column]:
    """Between which two of the rising sums half of the last one lies, and at which share of the way, each (n, 1)."""
    half = sums[:, -1:] / 2
    place = (sums[:, 1:] < half).sum(axis=1, keepdims=True)
    below, up_to = (np.take_along_axis(sums, place + step, axis=1) for step in (0, 1))
    return place, (half - below) / (up_to - below)


def _between(rising: Column, place: NDArray[np.intp], share: Column) -> Column:
    """Go a share of the way from one place to the next, (n, k)."""
    below: Column = np.take_along_axis(rising, place, axis=1)
    return below + share * (np.take_along_axis(rising, place + 1, axis=1) - below)
