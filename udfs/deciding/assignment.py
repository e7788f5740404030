"""Who is in which arm of an experiment: the same person always in the same, whoever computes it and whenever.

Buckets and ranges are those of GrowthBook's SDK specification, version 0.7.1, so any of its SDKs, in a browser or on a
server, puts a person where this module does.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from udfs.smooth import Column

NOBODY: Final = -1
"""The arm of those who are in none."""

Users = Sequence[str] | NDArray[Any]
"""The texts that tell people apart, pseudonyms as a rule: a list, or a column of texts."""

Share = TypeVar("Share", float, Column)
Hashes = NDArray[np.uint32]

_OFFSET: Final = 0x811C9DC5
_PRIME: Final = 0x01000193
_TENS: Final = [10**power for power in range(9, -1, -1)]


def bucket(seed: str, values: Users, *, version: Literal[1, 2] = 2) -> Column:
    """Hash people to buckets in [0, 1), evenly, and for each seed as if drawn anew.

    GrowthBook's `hash`. Version 2 gives one of 10,000 buckets, fnv32a(str(fnv32a(seed + value))) % 10000 / 10000;
    version 1 one of 1000, fnv32a(value + seed) % 1000 / 1000, where similar seeds give similar buckets: it is here for
    namespaces only. fnv32a is the 32-bit FNV-1a hash (Fowler, Noll and Vo, RFC 9923), over character codes.

    Args:
        seed: of the experiment.
        values: (n,) short texts; the work is n times the longest one's length.
        version: of the hash.

    Returns:
        (n,).

    >>> bucket("seed", ["a", "b"]).tolist()
    [0.0505, 0.2696]
    """
    start = np.full(len(values), _OFFSET, dtype=np.uint32)
    if version == 1:
        return np.asarray(_continued(_of_texts(start, values), seed) % 1000 / 1000, dtype=np.float64)
    inner = _of_texts(_continued(start, seed), values)
    return np.asarray(_of_decimals(start, inner) % 10_000 / 10_000, dtype=np.float64)


def ranges(weights: Sequence[float], coverage: Share) -> list[tuple[float, Share]]:
    """Give each arm its buckets: from the place that its weight gives it, a share of that weight.

    GrowthBook's `getBucketRanges`. Where an arm starts does not depend on the coverage, so more coverage brings new
    people in and moves nobody from one arm to another. What GrowthBook mends without a word (weights that do not sum
    up to 1 become equal ones, coverage is cut to its bounds) is refused here.

    Args:
        weights: of the arms, together 1 (0.99 to 1.01, as in the specification).
        coverage: 0 to 1, the same for all or each person's own, (n,).

    Returns:
        Per arm, where its buckets start and where they end, the end not included.

    Raises:
        ValueError: the weights do not sum up to 1, one is below 0, or the coverage is out of bounds.

    >>> ranges([0.5, 0.5], 0.5)
    [(0.0, 0.25), (0.5, 0.75)]
    """
    if min(weights, default=0.0) < 0 or not 0.99 <= sum(weights) <= 1.01:  # noqa: PLR2004 - the specification's
        raise ValueError(f"the weights {list(weights)} are no shares of 1")
    if not np.all((np.asarray(coverage) >= 0) & (np.asarray(coverage) <= 1)):
        raise ValueError("the coverage lies outside of 0 to 1")
    start, found = 0.0, []
    for weight in weights:
        found.append((start, start + coverage * weight))
        start += weight
    return found


def chosen(buckets: Column, arms: Sequence[tuple[float, float | Column]]) -> NDArray[np.intp]:
    """Give each person the first arm in whose range their bucket lies: GrowthBook's `chooseVariation`.

    Args:
        buckets: (n,).
        arms: where the buckets of each start and end, see `ranges`.

    Returns:
        (n,): the place of the arm, NOBODY for none.

    >>> chosen(np.array([0.2, 0.25, 0.5]), ranges([0.5, 0.5], 0.5)).tolist()
    [0, -1, 1]
    """
    found = np.full(len(buckets), NOBODY)
    for arm, (start, end) in reversed(list(enumerate(arms))):
        found[(start <= buckets) & (buckets < end)] = arm
    return found


def within(namespace: str, values: Users, start: float, end: float) -> NDArray[np.bool_]:
    """Say who may be in an experiment that has only a part of a namespace: GrowthBook's `inNamespace`.

    Experiments with parts of one namespace that do not overlap exclude each other. By the specification these buckets
    are of version 1, with "__" before the name: 1000 of them.

    Args:
        namespace: its name.
        values: (n,) as for `bucket`.
        start: of the part, from 0.
        end: of the part, to 1, itself not included.

    Returns:
        (n,).

    >>> within("namespace2", ["2", "3"], 0.0, 0.4).tolist()
    [False, True]
    """
    buckets = bucket(f"__{namespace}", values, version=1)
    return (start <= buckets) & (buckets < end)


def coverage_at(ramp: Sequence[tuple[int, float]], at: NDArray[np.int64]) -> Column:
    """Say how much of an experiment is open at the time of each event, so that a replay opens it as it was.

    Args:
        ramp: Steps: from which moment, ms since 1970, which coverage. In any order; of one moment's, the last counts.
        at: (n,) ms since 1970.

    Returns:
        (n,): the coverage of the last step whose moment has come, 0 before the first.

    >>> coverage_at([(1_000, 0.1), (2_000, 0.5)], np.array([999, 1_000, 1_999, 2_000])).tolist()
    [0.0, 0.1, 0.1, 0.5]
    """
    steps = sorted(ramp, key=lambda step: step[0])
    moments = np.array([moment for moment, _ in steps], dtype=np.int64)
    shares = np.array([0.0, *(share for _, share in steps)])
    return shares[np.searchsorted(moments, at, side="right")]


def _of_texts(hashes: Hashes, texts: Users) -> Hashes:
    """Go on with each text, character by character for all at once."""
    if not len(texts):
        return hashes
    # numpy drops zeros at the end of a text; so how long each is must be asked of the texts themselves.
    lengths = np.fromiter(map(len, texts), dtype=np.intp, count=len(texts))
    width = max(int(lengths.max()), 1)
    codes = np.ascontiguousarray(np.array(texts, dtype=f"U{width}").view(np.uint32).reshape(-1, width).T)
    shortest = int(lengths.min())
    for place, code in enumerate(codes):
        mixed = _mixed(hashes, code)
        hashes = mixed if place < shortest else np.where(place < lengths, mixed, hashes)
    return hashes


def _continued(hashes: Hashes, text: str) -> Hashes:
    """Go on with one text for all."""
    for character in text:
        hashes = _mixed(hashes, np.uint32(ord(character)))
    return hashes


def _of_decimals(hashes: Hashes, numbers: Hashes) -> Hashes:
    """Go on with each number as it is written, without leading zeros."""
    for ten in _TENS:
        mixed = _mixed(hashes, numbers // np.uint32(ten) % np.uint32(10) + np.uint32(ord("0")))
        hashes = np.where((numbers >= ten) | (ten == 1), mixed, hashes)
    return hashes


def _mixed(hashes: Hashes, codes: Hashes | np.uint32) -> Hashes:
    return (hashes ^ codes) * np.uint32(_PRIME)
