"""The events inside one record: taken out of its envelope, its list, its row."""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from msgspec import ValidationError, json

from udfs.payloads.paths import Trail, shown
from udfs.payloads.texts import UnsafeTextError
from udfs.payloads.units import kind_of

_decode: Final = json.Decoder().decode
_JSON: Final = re.compile(rb"\s*[\[{]")
_CONTROL: Final = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])
_CONTROLS: Final = re.compile(f"[{re.escape(_CONTROL.decode())}]")


class Spot(NamedTuple):
    """Where one event lies in its record.

    Attributes:
        element: the event itself.
        trail: the way to it.
        around: what its list is part of; without a list, the event itself.
        depth: how many steps of the trail lead to `around`.
    """

    element: Any
    trail: Trail
    around: Any
    depth: int

    def at(self, path: str, *, rooted: bool = False) -> str:
        """Write the place of a path as a JSON path."""
        return f"{shown(self.trail[: self.depth] if rooted else self.trail)}.{path}"


def spotted(record: Any) -> Spot:
    """Take a record for the one event that it is."""
    return Spot(record, (), record, 0)


def missing(place: str) -> ValidationError:
    """Say that something must be there, as msgspec would.

    >>> missing("$.batch[1].userId"), missing("$[1].userId")  # doctest: +NORMALIZE_WHITESPACE
    (ValidationError('Object missing required field `userId` - at `$.batch[1]`'),
     ValidationError('Object missing required field `userId` - at `$[1]`'))
    >>> missing("$.user.id")
    ValidationError('Object missing required field `user.id`')
    """
    around, _, field = place.rpartition("].")
    at = f" - at `{around}]`" if around else ""
    return ValidationError(f"Object missing required field `{field.removeprefix('$.')}`{at}")


def is_json(body: bytes) -> bool:
    """Tell JSON that can hold an event from anything else, by its first character."""
    return _JSON.match(body) is not None


def document(body: bytes) -> Any:
    """Read JSON.

    Raises:
        DecodeError: it is none, or no UTF-8.
        RecursionError: it is nested too deep.
    """
    return _decode(body)


def row(body: bytes, columns: Sequence[str], wanted: Iterable[tuple[str, int]]) -> dict[str, str]:
    r"""Read the wanted fields of a tab-separated row, each by its name and place; empty ones are absent.

    Raises:
        ValidationError: it has another number of fields.
        UnicodeDecodeError: it is no UTF-8.
        UnsafeTextError: it holds a control character; JSON could not, a row could.

    >>> row(b"a\t\tc", ["x", "y", "z"], [("y", 1), ("z", 2)])
    {'z': 'c'}
    """
    body = body.rstrip(b"\r\n")
    fields = body.decode().split("\t")
    if len(fields) != len(columns):
        raise ValidationError(f"Expected a row of length {len(columns)}, got {len(fields)}")
    if len(body.translate(None, _CONTROL)) != len(body):
        named = zip(columns, fields, strict=True)
        raise UnsafeTextError(next(name for name, field in named if _CONTROLS.search(field)))
    return {name: fields[place] for name, place in wanted if fields[place]}


def unpacked(text: Any, place: str) -> bytes:
    """Read base64.

    Raises:
        ValidationError: it is none.
    """
    try:
        return b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise ValidationError(f"Expected base64, got `{kind_of(text)}` - at `{place}`") from None


def alone(record: Any, trail: Trail) -> Any:
    """Give a record that holds but one of its events.

    >>> alone({"sent": 7, "batch": [{"a": 1}, {"a": 2}]}, ("batch", 1))
    {'sent': 7, 'batch': [{'a': 2}]}
    """
    if not trail:
        return record
    if isinstance(record, str):
        packed = not is_json(record.encode())
        text = json.encode(alone(document(b64decode(record) if packed else record.encode()), trail))
        return b64encode(text).decode() if packed else text.decode()
    step, rest = trail[0], trail[1:]
    return [alone(record[step], rest)] if isinstance(step, int) else record | {step: alone(record[step], rest)}


def elements(found: Any, trail: Trail) -> Iterator[tuple[Any, Trail]]:
    """Give the elements of a list, each with the way to it.

    Raises:
        ValidationError: it is no list, or an empty one, which says nothing about anybody.
    """
    at = f" - at `{shown(trail)}`" if trail else ""
    if not isinstance(found, list):
        raise ValidationError(f"Expected `array`, got `{kind_of(found)}`{at}")
    if not found:
        raise ValidationError(f"Expected `array` of length >= 1{at}")
    for place, element in enumerate(found):
        yield element, (*trail, place)
