"""Another tracker's record, read as one of our events by a declaration in conf/formats.toml."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeGuard

from msgspec import ValidationError, convert, json

from schemas.events import RawEvent
from schemas.settings import Format, TimePath

_SCALE = {"us": 0.001, "ms": 1, "s": 1000}
_BEYOND = 1e18  # no clock counts so far, in any of these units, and the arithmetic would overflow a little later
_TEXTS = ("user_id", "event_id", "item", "page")
_NUMBERS = ("dwell_ms", "scroll", "value")


def dig(record: Any, path: str) -> Any:
    """Follow a dotted path; None where it leads nowhere.

    >>> dig({"a": {"b": 3}}, "a.b"), dig({"a": 1}, "a.b")
    (3, None)
    """
    for key in path.split("."):
        if not isinstance(record, dict):
            return None
        record = record.get(key)
    return record


def moment_ms(record: Any, where: TimePath) -> int:
    """Read a record's own time, ms since 1970.

    Raises:
        ValidationError: it is absent or not a time in the declared unit.

    >>> moment_ms({"time": "2015-09-12T00:46:58.771Z"}, TimePath("time", "iso8601"))
    1442018818771
    """
    found = dig(record, where.path)
    if where.unit == "iso8601" and isinstance(found, str):
        try:
            instant = datetime.fromisoformat(found)
        except ValueError:
            instant = None
        if instant is not None and instant.tzinfo is not None:
            return round(instant.timestamp() * 1000)
    elif where.unit != "iso8601" and _is_number(found) and abs(found) < _BEYOND:
        return round(found * _SCALE[where.unit])
    shown = type(found).__name__ if found is not None else "null"
    raise ValidationError(f"Expected a time ({where.unit}), got `{shown}` - at `$.{where.path}`")


def explode(record: Any, path: str | None) -> Iterator[Any]:
    """Give the events inside a line, each with the line's other fields; without a path the line itself.

    >>> list(explode({"session": 0, "events": [{"aid": 1}, {"aid": 2}]}, "events"))
    [{'session': 0, 'aid': 1}, {'session': 0, 'aid': 2}]
    """
    if path is None:
        yield record
        return
    inner = dig(record, path)
    if not isinstance(record, dict) or not isinstance(inner, list):
        raise ValidationError(f"Expected `array`, got `{type(inner).__name__}` - at `$.{path}`")
    rest = {key: value for key, value in record.items() if key != path}
    for element in inner:
        if not isinstance(element, dict):
            raise ValidationError(f"Expected `object`, got `{type(element).__name__}` - at `$.{path}[...]`")
        yield rest | element


def reader(form: Format) -> Callable[[bytes], RawEvent]:
    """Choose how a body is read: our own JSON directly, anything else through its declaration.

    >>> wiki = Format(about="", user_id="user", kind="form", item="page")
    >>> reader(convert({"about": "", "user_id": "user", "kind": "form", "item": "page"}, Format))(
    ...     b'{"user": "Ada", "page": "Engine"}').item
    'Engine'
    """
    if form.user_id is None:
        return json.Decoder(RawEvent).decode
    texts = [(name, path) for name in _TEXTS if (path := getattr(form, name))]
    numbers = [(name, path) for name in _NUMBERS if (path := getattr(form, name))]
    decode = json.Decoder(dict[str, Any]).decode

    def read(body: bytes) -> RawEvent:
        record = decode(body)
        found: dict[str, Any] = {}
        for name, path in texts:
            value = dig(record, path)
            # Numeric ids are ids all the same.
            found[name] = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if found["user_id"] is None:
            raise ValidationError(f"Object missing required field `{form.user_id}`")
        for name, path in numbers:
            found[name] = dig(record, path)
        found["kind"] = form.kind if form.kind is not None else _kind(record, form)
        return convert(found, RawEvent)

    return read


def _is_number(found: Any) -> TypeGuard[int | float]:
    return isinstance(found, int | float) and not isinstance(found, bool)


def _kind(record: dict[str, Any], form: Format) -> Any:
    path = form.kind_path or "kind"
    word = dig(record, path)
    if word is None:
        raise ValidationError(f"Object missing required field `{path}`")
    if not isinstance(word, str) or word not in form.kinds:
        raise ValidationError(f"Invalid enum value {word!r} - at `$.{path}`")
    return form.kinds[word]
