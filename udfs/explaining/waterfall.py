"""Draws in text how a sum comes about: each part a bar that begins where the one before it ended."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final

WIDTH: Final = 40
"""Characters from the lowest point to the highest."""

_USUAL: Final = "usual"


def waterfall(base: float, parts: Sequence[tuple[str, float]], total: str) -> Iterator[str]:
    r"""Draw a base, the parts that are added to it, and the sum.

    Args:
        base: where it starts.
        parts: what each is called, and how much it adds.
        total: what the sum is called.

    Returns:
        A line each: name, number, and bar, of + for what is added and - for what is taken away.

    >>> print(*waterfall(1.0, [("same_interest = 1", 2.0), ("gap_s = 90", -0.5)], "raw score"), sep="\n")
    usual               1.0000  |
    same_interest = 1  +2.0000  ++++++++++++++++++++++++++++++++++++++++
    gap_s = 90         -0.5000                                ----------
    raw score           2.5000                                |
    """
    stations = list(accumulate((added for _, added in parts), initial=base))
    lowest, span = min(stations), max(stations) - min(stations)
    columns = [round(WIDTH * (station - lowest) / span) if span else 0 for station in stations]
    width = max(len(name) for name in (_USUAL, total, *(name for name, _ in parts)))
    yield f"{_USUAL:<{width}}  {base:>7.4f}  {' ' * columns[0]}|"
    for (name, added), (before, after) in zip(parts, pairwise(columns), strict=True):
        bar = ("+" if added > 0 else "-") * abs(after - before)
        yield f"{name:<{width}}  {added:>+7.4f}  {' ' * min(before, after)}{bar}".rstrip()
    yield f"{total:<{width}}  {stations[-1]:>7.4f}  {' ' * columns[-1]}|"
