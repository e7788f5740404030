"""How long something takes or lasts, as a team writes it in conf/."""

import re
from typing import Final

_UNITS: Final = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


class Millis(int):
    """A duration in milliseconds, written in conf as a number with its unit.

    >>> Millis.parse("2min")
    120000
    >>> Millis.parse("10")
    Traceback (most recent call last):
    ...
    ValueError: expected a duration such as "250ms", "10s", "30min", "2h" or "30d", got "10"
    """

    @classmethod
    def parse(cls, text: object) -> "Millis":
        """Read a duration; raises ValueError where it has no number or no unit."""
        match = re.fullmatch(r"(\d+)\s*(ms|s|min|h|d)", text) if isinstance(text, str) else None
        if not match:
            shown = f'"{text}"' if isinstance(text, str) else text
            raise ValueError(f'expected a duration such as "250ms", "10s", "30min", "2h" or "30d", got {shown}')
        return cls(int(match[1]) * _UNITS[match[2]])
