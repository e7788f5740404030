"""In which rule segments a person is: conditions over their signals, with a threshold each way and a time to wait."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.decisions import Context
from schemas.segments import RuleSegment
from schemas.signals import Signals
from udfs.expressions import Expression, ExpressionError, compiled

NUMBERS: Final = Signals.__struct_fields__
"""Numbers that conditions may use: the signals, `hour` among them."""

TEXTS: Final = Context.__struct_fields__
"""Texts that they may use: the surroundings; empty where they are not known."""

NONE: Final = -1
"""The place of no segment."""


class Rules:
    """The rule segments with their conditions, ready to be held against moments.

    Attributes:
        names: of the segments, the first in priority first.
    """

    def __init__(self, rules: Mapping[str, RuleSegment]) -> None:
        """Read the conditions.

        Raises:
            ExpressionError: one of them is none.
        """
        self.names = tuple(rules)
        self._conditions = [
            (condition(rule.enter), None if rule.leave is None else condition(rule.leave), rule.min_events)
            for rule in rules.values()
        ]

    def bits(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Say what speaks for and against each segment in each moment.

        Args:
            columns: NUMBERS and TEXTS, as far as the conditions use them, and `session_events`, each (n,).

        Returns:
            (n,): bit 2k where segment k may be entered, bit 2k + 1 where it is left, never both: what speaks against
            a segment wins. Without a condition to leave, whatever does not speak for a segment speaks against it.

        >>> rules = Rules({"lively": RuleSegment("", "rate_fast > 1", "rate_fast < 0.5", min_events=3)})
        >>> moments = {"rate_fast": np.array([2.0, 2.0, 0.7, 0.1]), "session_events": np.array([2, 3, 4, 5])}
        >>> rules.bits(moments).tolist()
        [0, 1, 0, 2]
        """
        events = columns["session_events"]
        found = np.zeros(len(events), dtype=np.int64)
        for place, (enter, leave, min_events) in enumerate(self._conditions):
            inside = enter(columns) & (events >= min_events)
            outside = leave(columns) if leave else ~inside
            found |= (inside & ~outside).astype(np.int64) << (2 * place)
            found |= outside.astype(np.int64) << (2 * place + 1)
        return found


def condition(text: str) -> Expression:
    """Read a condition over signals and surroundings.

    Raises:
        ExpressionError: it is none.

    >>> condition("rate_fast - 1")
    Traceback (most recent call last):
    ...
    udfs.expressions.ExpressionError: column 1: a number comes out, expected a condition such as "rate_fast > 1"
    """
    read = compiled(text, numbers=NUMBERS, texts=TEXTS)
    if read.kind != "truth":
        raise ExpressionError(f'column 1: a {read.kind} comes out, expected a condition such as "rate_fast > 1"')
    return read


def members(entered: NDArray[np.int64], left: NDArray[np.int64], hold: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say who is in which segment, from when each was last spoken for and against.

    Somebody is in from the first moment that speaks for the segment at least `hold` after the last one that spoke
    against it, until the next one that does. Two thresholds, and in between all stays as it is: a Schmitt trigger
    (Schmitt, "A thermionic trigger", Journal of Scientific Instruments 15, 1938), one that has to be off for a while
    before it is on again. Whether any moment was late enough shows in the newest, so these two times are all there is
    to remember. With a hold of 2:

        moment    0  1  2  3  4  5  6  7  8  9
        against   x              x
        for          x     x           x
        in                |=====|     |=======

    Args:
        entered: when each segment was last spoken for, ms since 1970, (n, K).
        left: when against; where it never was, when memory began.
        hold: how long somebody must have been out, ms, (K,).

    Returns:
        (n, K).

    >>> left, hold = np.array([[1_000]]), np.array([10_000])
    >>> [members(np.array([[entered]]), left, hold).item() for entered in (0, 1_000, 10_999, 11_000)]
    [False, False, False, True]
    """
    return (entered > left) & (entered - left >= hold)


def label(inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Give the place of the first segment that each person is in, of (n, K); NONE for none.

    >>> label(np.array([[False, True, True], [False, False, False]])).tolist(), label(np.empty((2, 0), bool)).tolist()
    ([1, -1], [-1, -1])
    """
    nowhere = np.ones((len(inside), 1), dtype=np.bool_)
    place = np.hstack([inside, nowhere]).argmax(axis=1)
    return np.where(place < inside.shape[1], place, NONE)
