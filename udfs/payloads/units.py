"""What a tracker's numbers and texts mean: moments, durations, numbers, pages."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard

from msgspec import ValidationError

from schemas.formats import Source

_SCALE: Final = {"us": 0.001, "ms": 1, "s": 1000}
_BEYOND: Final = 1e18  # no clock counts so far, in any of these units, and the arithmetic would overflow a little later
_NUMERAL: Final = re.compile(r"[+-]?\d{1,400}(\.\d{1,400})?([eE][+-]?\d{1,3})?", re.ASCII)
_ORIGIN: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*:)?//[^/?#]*")
_REST: Final = re.compile(r"[?#].*", re.DOTALL)
_SPELLED: Final = {"true": True, "false": False, "1": True, "0": False}
_WORDS: Final = {dict: "object", list: "array", type(None): "null"}


def kind_of(value: Any) -> str:
    """Say what a value is, as msgspec's messages do.

    >>> kind_of({}), kind_of("a"), kind_of(None)
    ('object', 'str', 'null')
    """
    return _WORDS.get(type(value), type(value).__name__)


def text(value: Any) -> Any:
    """Let numeric ids be ids all the same.

    >>> text(7), text("a")
    ('7', 'a')
    """
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def page(value: Any) -> Any:
    """Keep the path of a URL: what comes before it says where the site is, what follows may say who reads it.

    >>> page("https://shop.example/a/b?token=1#top"), page("https://shop.example"), page("/a?b"), page("Home")
    ('/a/b', '/', '/a', 'Home')
    """
    return _REST.sub("", _ORIGIN.sub("", value, count=1)) or "/" if isinstance(value, str) else value


def number(value: Any, source: Source) -> Any:
    """Read a number; where the tracker sends numerals, also from text.

    Raises:
        ValidationError: the text is no numeral.

    >>> number("1.5", Source(type="numeral")), number("7", Source(type="numeral")), number(90, Source(scale=0.01))
    (1.5, 7, 0.9)
    >>> number(10**400, Source(scale=0.01))
    1e+16
    """
    if source.type == "numeral" and isinstance(value, str):
        if not _NUMERAL.fullmatch(value):
            raise ValidationError("Expected a number, got `str`")
        value = int(value) if value.lstrip("+-").isdecimal() and len(value) < 20 else float(value)  # noqa: PLR2004
    return value if source.scale == 1 or not _counts(value) else _held(value) * source.scale


def duration_ms(value: Any, source: Source) -> int:
    """Read a duration in its unit, as whole milliseconds.

    Raises:
        ValidationError: it is none.

    >>> duration_ms(1.5, Source(unit="s")), duration_ms(200, Source())
    (1500, 200)
    """
    found = number(value, source)
    if not _counts(found):
        raise ValidationError(f"Expected a duration ({source.unit or 'ms'}), got `{kind_of(value)}`")
    return round(_held(found) * _SCALE[source.unit or "ms"])


def moment_ms(value: Any, source: Source) -> int:
    """Read a time in its unit, as milliseconds since 1970.

    Raises:
        ValidationError: it is no time in that unit.

    >>> moment_ms("2015-09-12T00:46:58.771Z", Source(unit="iso8601"))
    1442018818771
    >>> moment_ms("2020-07-03 10:15:00.123", Source(unit="utc"))
    1593771300123
    """
    unit = source.unit or "ms"
    if unit in _SCALE:
        found = number(value, source)
        if _counts(found) and abs(found) < _BEYOND:
            return round(found * _SCALE[unit])
    elif isinstance(value, str):
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            instant = None
        if instant is not None and unit == "utc" and instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        if instant is not None and instant.tzinfo is not None:
            return round(instant.timestamp() * 1000)
    raise ValidationError(f"Expected a time ({unit}), got {_quoted(value)}")


def flag(value: Any, source: Source) -> Any:
    """Read yes or no, in the tracker's words where it has some.

    Raises:
        ValidationError: it is neither.

    >>> flag("GRANTED", Source(words={"GRANTED": True})), flag(True, Source(words={"true": False}))
    (True, False)
    >>> flag("TRUE", Source()), flag(1, Source()), flag("0", Source())
    (True, True, False)
    """
    if isinstance(value, bool) and not source.words:
        return value
    word = str(value).lower() if isinstance(value, bool) else str(value) if value in (0, 1) else value
    if isinstance(word, str):
        found = source.words.get(word, _SPELLED.get(word.lower()) if not source.words else None)
        if found is not None:
            return found
    raise ValidationError(f"Expected yes or no, got {_quoted(value)}")


def granted(value: Any, source: Source) -> Mapping[str, Any]:
    """Read what was agreed to: a list of the purposes granted, or a table of purposes and answers.

    Raises:
        ValidationError: it is neither.

    >>> granted(["ads"], Source()), granted({"ads": True, "news": False}, Source())
    ({'ads': True}, {'ads': True, 'news': False})
    """
    if isinstance(value, dict):
        return {purpose: flag(answer, source) for purpose, answer in value.items()}
    if isinstance(value, list) and all(isinstance(purpose, str) for purpose in value):
        return dict.fromkeys(value, True)
    raise ValidationError(f"Expected a list or table of purposes, got `{kind_of(value)}`")


def table(value: Any, source: Source) -> Mapping[str, Any]:
    """Read a table of properties; what is none has none.

    >>> table({"a": 1}, Source()), table([], Source())
    ({'a': 1}, {})
    """
    del source
    return value if isinstance(value, dict) else {}


def scalar(value: Any, source: Source) -> Any:
    """Read a property, in the words or as the type that it was declared to have; what is nested is none.

    Raises:
        ValidationError: it is not what it was declared to be.

    >>> scalar("a", Source()), scalar("1.5", Source(type="numeral")), scalar({"a": 1}, Source())
    ('a', 1.5, None)
    """
    if source.words:
        return flag(value, source)
    found = page(value) if source.type == "url" else number(value, source)
    return found if isinstance(found, str | int | float) else None


MOMENTS: Final = ("occurred_at", "sent_at", "received_at")
DURATIONS: Final = ("dwell_ms", "duration_ms")

READINGS: Final[Mapping[str, Callable[[Any, Source], Any]]] = {
    **dict.fromkeys(MOMENTS, moment_ms),
    **dict.fromkeys(DURATIONS, duration_ms),
    **dict.fromkeys(("scroll", "value", "position"), number),
    **dict.fromkeys(("robot", "gpc"), flag),
}
"""Field -> how it is read; the rest is text."""


def _held(value: float) -> float:
    """Keep a number within what arithmetic takes; beyond that it is out of any field's range all the same."""
    return min(max(value, -_BEYOND), _BEYOND)


def _counts(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _quoted(value: Any) -> str:
    return repr(value[:40]) if isinstance(value, str) else f"`{kind_of(value)}`"
