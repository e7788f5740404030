"""Who is there: one event of each person in each stretch of time is enough to find out who falls silent."""

from typing import Final

_MOST_REMEMBERED: Final = 100_000
"""People whose stride is remembered; the rest are said to be there once more than needed, which changes nothing."""


class Strides:
    """Tells one event of each person in each stretch of time, so that who falls silent is found without counting all.

    It may tell more than one, where it has forgotten or another worker told it too: what counts is that there is one.
    """

    def __init__(self, stride_ms: int) -> None:
        """Take the length of a stretch."""
        self._stride_ms = stride_ms
        self._told: dict[str, int] = {}

    def new(self, user_id: str, at: int) -> bool:
        """Whether a person has not been told of in the stretch in which a moment lies.

        >>> strides = Strides(30_000)
        >>> [strides.new("ada", at) for at in (1_000, 29_999, 30_000, 2_000)]
        [True, False, True, True]
        """
        stretch = at // self._stride_ms
        if self._told.get(user_id) == stretch:
            return False
        if len(self._told) >= _MOST_REMEMBERED:
            self._told.clear()
        self._told[user_id] = stretch
        return True
