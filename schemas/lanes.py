"""How many small counts of a person travel as one number: the packed counters, and which one an event adds to."""

from collections.abc import Sequence
from typing import Final, NamedTuple

NO_LANE: Final = -1

BITS: Final = 20
"""Of one count: a million of a kind. Three fit into a BIGINT, and sums of packed numbers are packed sums."""

PER_NUMBER: Final = 3
ONES: Final = tuple(1 << (BITS * place) for place in range(PER_NUMBER))
"""What adds 1 to the first, second, third count of a packed number."""

MAX_INTERESTS: Final = 16
"""Named interests whose shares are signals."""

SHOWN_LANES: Final = range(2)
"""Of exposures, by counter. An event adds to one lane, so the counters of a slot and of its arms share one."""

MAX_COUNTERS: Final = PER_NUMBER * len(SHOWN_LANES)
"""Counters of exposures."""

FIELD_LANES: Final = range(10, 14)
"""Of edited form fields, told apart in groups."""

INTEREST_LANES: Final = range(20, 26)
"""Of liking, by interest."""


class Spot(NamedTuple):
    """One count.

    Attributes:
        lane: the packed number.
        one: what adds 1 to the count in it.
    """

    lane: int
    one: int


def spots(lanes: range) -> tuple[Spot, ...]:
    """List the counts of some lanes, in order.

    >>> spots(INTEREST_LANES)[:4]
    (Spot(lane=20, one=1), Spot(lane=20, one=1048576), Spot(lane=20, one=1099511627776), Spot(lane=21, one=1))
    >>> len(spots(INTEREST_LANES)) >= MAX_INTERESTS, len(spots(FIELD_LANES))
    (True, 12)
    """
    return tuple(Spot(lane, one) for lane in lanes for one in ONES)


def shares_lanes(counters: Sequence[str]) -> bool:
    """Tell whether the counters of each slot, `slot` and `slot/arm`, lie in one lane: an event adds to one.

    >>> shares_lanes(["hero", "hero/story", "nudge", "nudge/tip"]), shares_lanes(["hero", "hero/story", "hero/plain"])
    (False, True)
    """
    lanes: dict[str, int] = {}
    return all(
        lanes.setdefault(name.partition("/")[0], place // PER_NUMBER) == place // PER_NUMBER
        for place, name in enumerate(counters)
    )
