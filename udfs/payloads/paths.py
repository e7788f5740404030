"""Where a value lies in a tracker's record, written as a dotted path."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

from msgspec import DecodeError, ValidationError, json

_STEP: Final = re.compile(r"""\[([^\]=]+)=([^\]]*)\]|'([^']+)'|([^.\[\]'"]+)""")
_JSON_TEXT: Final = re.compile(r"\s*[\[{]")

Trail = tuple[str | int, ...]


class _Each(NamedTuple):
    """A step to every element whose `key` reads as `text`, or begins with it; without a key, to every element.

    An object that has the key is asked itself.
    """

    key: str = ""
    text: str = ""
    begins: bool = False

    def of(self, value: Any, prefix: str) -> Iterable[Any]:
        if isinstance(value, dict):
            asked = self.key and (self.key in value or (prefix and prefix + self.key in value))
            elements: Iterable[Any] = (value,) if asked else value.values()
        else:
            elements = value if isinstance(value, list) else ()
        return (
            [each for each in elements if isinstance(each, dict) and self._fits(each, prefix)] if self.key else elements
        )

    def _fits(self, element: dict[str, Any], prefix: str) -> bool:
        found = element.get(self.key, element.get(prefix + self.key) if prefix else None)
        said = found if isinstance(found, str) else json.encode(found).decode()
        return said.startswith(self.text) if self.begins else said == self.text


class Path:
    """A path, taken apart once.

    Steps are keys, places in a list (`0`), `*` for every element, and `[key=text]` for those elements that say so
    (`[key=text*]`: that begin so), or for an object that says so itself. A key with a dot stands in quotes. A text that
    a path leads on into is read as JSON.
    """

    __slots__ = ("_plain", "_prefix", "_steps", "head", "rooted", "text")

    def __init__(self, text: str, prefix: str = "") -> None:
        """Take a path apart; the keys of the record may begin with a prefix that the path leaves out.

        Raises:
            ValueError: it is no path.
        """
        self.text = text.removeprefix("$.")
        self.rooted = text.startswith("$.")
        self._prefix = prefix
        self._steps = tuple(_steps(self.text))
        self._plain = not any(isinstance(step, _Each) for step in self._steps)
        # A record without this key need not be searched, which saves most of the time.
        self.head = None if prefix or isinstance(self._steps[0], _Each) else self._steps[0]

    def first(self, record: Any) -> Any:
        """Give the first value that the path leads to; None where it leads nowhere.

        Raises:
            ValidationError: the path leads into a text that is no JSON.

        >>> record = {"a": {"b": 3}, "who": {"x": [{"id": 7}], "y": [{"id": 8, "primary": True}]}, "more": '{"c": 5}'}
        >>> Path("a.b").first(record), Path("a.b.c").first(record), Path("who.*.[primary=true].id").first(record)
        (3, None, 8)
        >>> Path("who.x.0.id").first(record), Path("more.c").first(record), Path("a.[b=3].b").first(record)
        (7, 5, 3)
        """
        if self._plain:
            for step in self._steps:
                record = record.get(step) if type(record) is dict and not self._prefix else self._into(record, step)
                if record is None:
                    return None
            return record
        return next((found for found in self.every(record) if found is not None), None)

    def every(self, record: Any) -> Iterator[Any]:
        """Give every value that the path leads to, in the record's order.

        >>> list(Path("items.*.id").every({"items": [{"id": 1}, {}, {"id": 2}]}))
        [1, 2]
        """
        return self._walk(record, 0)

    def _walk(self, value: Any, at: int) -> Iterator[Any]:
        if at == len(self._steps):
            yield value
            return
        step = self._steps[at]
        onward = step.of(self._opened(value), self._prefix) if isinstance(step, _Each) else (self._into(value, step),)
        for found in onward:
            if found is not None:
                yield from self._walk(found, at + 1)

    def _into(self, value: Any, step: Any) -> Any:
        value = self._opened(value)
        if isinstance(value, dict):
            found = value.get(step)
            return value.get(self._prefix + step) if found is None and self._prefix else found
        if isinstance(value, list) and step.isdecimal() and len(step) < 6 and int(step) < len(value):  # noqa: PLR2004
            return value[int(step)]
        return None

    def _opened(self, value: Any) -> Any:
        return _json_in(value) if isinstance(value, str) and _JSON_TEXT.match(value) else value


def shown(trail: Trail) -> str:
    """Write the way to an element as a JSON path.

    >>> shown(("batch", 1))
    '$.batch[1]'
    """
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in trail)


def keys(text: str) -> tuple[str, ...]:
    """Take a path apart that may hold nothing but keys.

    Raises:
        ValueError: it is no such path.
    """
    steps = tuple(step for step in _steps(text) if isinstance(step, str))
    if "*" in text or "[" in text:
        raise ValueError(f'"{text}" must be a path of keys alone')
    return steps


@lru_cache(maxsize=64)
def _json_in(text: str) -> Any:
    """Read JSON once for all the paths that lead into it; nobody may change what it gives."""
    try:
        return json.decode(text)
    except DecodeError as error:
        raise ValidationError(f"Expected JSON in a text ({error})") from None


def _step(key: str | None, said: str, quoted: str | None, bare: str) -> str | _Each:
    if key:
        return _Each(key, said.removesuffix("*"), said.endswith("*"))
    return quoted or (_Each() if bare == "*" else bare)


@lru_cache(maxsize=1024)
def _steps(text: str) -> tuple[str | _Each, ...]:
    steps: list[str | _Each] = []
    at = 0
    while at < len(text) or not steps:
        found = _STEP.match(text, at)
        if not found or (found.end() < len(text) and text[found.end()] not in ".["):
            raise ValueError(f'"{text}" is no path: expected keys with dots between, such as "context.page.path"')
        steps.append(_step(*found.groups()))
        at = found.end() + (found.end() < len(text) and text[found.end()] == ".")
    if text.endswith("."):
        raise ValueError(f'"{text}" is no path: it ends with a dot')
    return tuple(steps)
