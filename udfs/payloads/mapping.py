"""Any tracker's record, read as our events by its declaration in conf/formats.toml."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from msgspec import DecodeError, ValidationError, json
from msgspec.structs import fields, replace

from schemas.events import RawEvent
from schemas.formats import Format, Rule
from udfs.payloads import records
from udfs.payloads.kinds import paths_of
from udfs.payloads.paths import Path, Trail, keys, shown
from udfs.payloads.records import Spot, is_json
from udfs.payloads.translation import Translation
from udfs.payloads.units import kind_of

Failure = DecodeError | ValueError | RecursionError
Found = RawEvent | Sequence[RawEvent | Failure]
"""What a record holds: one event; or several, and in the place of those that are none, why not."""

Formats = Mapping[str, Format]

_NONE: Final[Formats] = MappingProxyType({})
OUR_LIST: Final = "batch"
"""The list in which several events of our own JSON may come."""

_NOT_ONE: Final = ("Expected `object`, got `array`", "Object missing required field `user_id`")
"""What msgspec says of several events in our own JSON, decoded as one."""


class Part(NamedTuple):
    """One event of a record, as a record of its own.

    Attributes:
        body: what holds this event alone, in the same format.
        user_id: of whom, raw; None where it does not say.
        at: when it was received, else when it occurred, ms since 1970; None where it does not say.
    """

    body: bytes
    user_id: str | None
    at: int | None


def reader(form: Format, forms: Formats = _NONE, properties: Collection[str] | None = None) -> Callable[[bytes], Found]:
    """Choose how a body is read.

    A body with one event gives the event, also out of a list, or raises. A body with several gives them in their order,
    with a failure in the place of each that is none. What is raised or given is what `refusal.explain` explains. Texts
    have been checked (`udfs.payloads.texts`), but for one event in our own JSON, which is decoded and no more.

    Args:
        form: the declared format.
        forms: all declared formats, for one that names others.
        properties: names of the further properties that are looked for in a tracker's record; None is all of them.
            Those that our own JSON says come with it in any case.

    Raises:
        ValueError: from this call, not from reading: the declaration says something impossible.

    >>> from schemas.events import Kind
    >>> reader(Format(about="", user_id="user", kind=Kind.FORM, item="page"))(b'{"user": "Ada", "page": "Engine"}').item
    'Engine'
    """
    mapper = Mapper(form, forms, properties=properties)
    if not mapper.ours_first:
        return mapper.read
    decode = json.Decoder(RawEvent).decode

    def read(body: bytes) -> Found:
        try:
            return decode(body)
        except DecodeError as error:
            if mapper.ours and str(error) not in _NOT_ONE:
                raise
        return mapper.read(body)

    return read


def parts(form: Format, forms: Formats = _NONE) -> Callable[[bytes], list[Part]]:
    """Choose how a body is taken apart into bodies of one event each; whether those are events is left open.

    Raises:
        ValueError: from this call, not from taking apart: the declaration says something impossible.

    >>> from schemas.events import Kind
    >>> otto = Format(about="", events="events", user_id="$.session", kind=Kind.CLICK)
    >>> [part.body for part in parts(otto)(b'{"session": 7, "events": [{"ts": 5}, {"ts": 6}]}')]
    [b'{"session":7,"events":[{"ts":5}]}', b'{"session":7,"events":[{"ts":6}]}']
    """
    return Mapper(form, forms).parts


def ways(form: Format, forms: Formats = _NONE) -> Callable[[bytes], list[Trail]]:
    """Choose how a body is searched for its events: the way to each, in the order in which `reader` gives them.

    Raises:
        ValueError: from this call, not from searching: the declaration says something impossible.

    >>> ways(Format(about=""))(b'{"batch": [{"kind": "click"}, 5]}')
    [('batch', 0), ('batch', 1)]
    """
    return Mapper(form, forms).ways


def inherited(form: Format, forms: Formats) -> Format:
    """Let a format say what the one it is `like` says, where it is silent itself; of the same rule both sets of words.

    Raises:
        ValueError: there is no such format, or it is like itself.

    >>> segment = Format(about="a", user_id="userId", kinds=[Rule("type", next=["track"]), Rule("event")])
    >>> ours = Format(about="b", like="segment", kinds=[Rule("event", next=["x"])])
    >>> found = inherited(ours, {"segment": segment})
    >>> found.user_id, [(rule.path, rule.next) for rule in found.kinds]
    ('userId', [('type', ['track']), ('event', ['x'])])
    """
    seen = [form]
    while (name := seen[-1].like) is not None:
        seen.append(_named(name, forms))
        if any(seen[-1] is each for each in seen[:-1]):
            raise ValueError(f'like: "{name}" is like itself')
    found = seen[-1]
    for nearer in reversed(seen[:-1]):
        told = {field.name: value for field in fields(Format) if (value := getattr(nearer, field.name))}
        found = replace(found, **told | {"kinds": _both(nearer.kinds, found.kinds)})
    return found


class _Miss(NamedTuple):
    """A place where an event was expected, and why there is none."""

    trail: Trail
    error: Failure


class _Hit(NamedTuple):
    """An event's place, who reads it, and the envelopes around it, the innermost first."""

    translation: Translation
    spot: Spot
    envelopes: tuple[tuple[Translation, Spot], ...] = ()


class Mapper:
    """A declared format, ready to find the events inside a record and to read them."""

    def __init__(
        self,
        form: Format,
        forms: Formats = _NONE,
        above: tuple[str, ...] = (),
        properties: Collection[str] | None = None,
    ) -> None:
        """Prepare paths, rules, and the formats that it holds, which lie inside those `above`.

        Raises:
            ValueError: the declaration says something impossible.
        """
        form = inherited(form, forms)
        if circle := set(form.holds) & set(above):
            raise ValueError(f'holds: "{circle.pop()}" holds itself')
        self._names = ", ".join(form.holds)
        self._holds = [Mapper(_named(name, forms), forms, (*above, name), properties) for name in form.holds]
        self._translation = Translation(form, properties)
        self.ours = self._translation.ours
        self._columns = form.columns
        heads = self._translation.heads()
        self._wanted = [(name, place) for place, name in enumerate(form.columns) if None in heads or name in heads]
        self._inside = keys(form.inside) if form.inside else ()
        self._packed = keys(form.packed) if form.packed else ()
        self._packs: bool = bool(self._packed) or any(each._packs for each in self._holds)  # noqa: SLF001 - as below
        self._events = keys(form.events or OUR_LIST) if form.events or self.ours else ()
        self._marks = [[Path(mark, form.prefix) for mark in group] for group in form.marks]

    @property
    def ours_first(self) -> bool:
        """Say whether a record is first tried as one event in our own JSON."""
        return self.ours or (not self._inside and bool(self._holds) and self._holds[0].ours_first)

    def read(self, body: bytes) -> Found:
        """Read a body, see `reader`."""
        found = list(self._events_of(body))
        # What base64 hides has not been looked at: its texts are checked as if the body had a backslash.
        seen = b"\\" if self._packs else body
        return _event(found[0], seen) if len(found) == 1 else [_attempt(each, seen) for each in found]

    def parts(self, body: bytes) -> list[Part]:
        """Take a body apart, see `parts`."""
        found = list(self._events_of(body))
        if len(found) == 1:
            return [_part(found[0], body)]
        whole = records.document(body)
        return [_part(each, json.encode(records.alone(whole, _trail(each)))) for each in found]

    def ways(self, body: bytes) -> list[Trail]:
        """Find the ways to a body's events, see `ways`."""
        return [_trail(each) for each in self._events_of(body)]

    def _events_of(self, body: bytes) -> Iterator[_Hit | _Miss]:
        mapper, whole = self._decoded(body)
        return _each(whole, (), mapper._opened)  # noqa: SLF001 - a mapper like this one

    def _decoded(self, body: bytes) -> tuple["Mapper", Any]:
        """Decode a body, and say who goes on with it: a row has its reader by its form."""
        tables = [each for each in (self, *self._holds) if each._columns]  # noqa: SLF001
        if not tables or is_json(body) or (self._holds and b"\t" not in body):
            return self, records.document(body)
        width = body.count(b"\t") + 1
        table = next((each for each in tables if len(each._columns) == width), tables[0])  # noqa: SLF001
        return table, records.row(body, table._columns, table._wanted)  # noqa: SLF001

    def _opened(self, record: dict[str, Any], trail: Trail) -> Iterator[_Hit | _Miss]:
        """Take a record out of its envelope, if it has one."""
        found, way = self._content(record, trail)
        if found is None:
            yield from self._within(record, trail)
            return
        mapper: Mapper = self
        if isinstance(found, str | bytes):
            mapper, found = self._decoded(found.encode() if isinstance(found, str) else found)
        hits = list(_each(found, way, mapper._within))  # noqa: SLF001
        if len(hits) == 1 and isinstance(hits[0], _Hit) and self._holds:
            around = (self._translation, Spot(record, trail, record, len(trail)))
            hits[0] = hits[0]._replace(envelopes=(*hits[0].envelopes, around))
        yield from hits

    def _content(self, record: dict[str, Any], trail: Trail) -> tuple[Any, Trail]:
        """Find what an envelope holds; None where there is no envelope."""
        if self._inside and (found := _dug(record, self._inside)) is not None and self._is_content(found):
            return found, (*trail, *self._inside)
        if self._packed and (found := _dug(record, self._packed)) is not None:
            return records.unpacked(found, shown((*trail, *self._packed))), (*trail, *self._packed)
        if self._inside and self._holds:
            raise records.missing(shown((*trail, *self._inside)))
        return None, trail

    def _is_content(self, found: Any) -> bool:
        # What may come with or without an envelope may also have a text of the same name.
        return (
            bool(self._holds) or isinstance(found, dict | list) or (isinstance(found, str) and is_json(found.encode()))
        )

    def _within(self, record: dict[str, Any], trail: Trail) -> Iterator[_Hit | _Miss]:
        """Find the events of a record that has no envelope any more."""
        if self._holds:
            fitting = next((each for each in self._holds if each._fits(record)), None)  # noqa: SLF001
            if fitting is None:
                at = f" - at `{shown(trail)}`" if trail else ""
                raise ValidationError(f"Expected a record of a declared format ({self._names}){at}")
            yield from fitting._opened(record, trail)  # noqa: SLF001
        elif (inner := self._list_in(record)) is not None:
            for element, way in records.elements(inner, (*trail, *self._events)):
                if isinstance(element, dict):
                    yield _Hit(self._translation, Spot(element, way, record, len(trail)))
                else:
                    yield _Miss(way, _no_object(element, way))
        else:
            yield _Hit(self._translation, Spot(record, trail, record, len(trail)))

    def _list_in(self, record: dict[str, Any]) -> Any:
        # An event of our own may have a field of any name that we do not know.
        if not self._events or (self.ours and "user_id" in record):
            return None
        return _dug(record, self._events)

    def _fits(self, record: dict[str, Any]) -> bool:
        return any(
            all((mark.head is None or mark.head in record) and mark.first(record) is not None for mark in group)
            for group in self._marks
        )


def _each(
    found: Any, trail: Trail, go: Callable[[dict[str, Any], Trail], Iterator[_Hit | _Miss]]
) -> Iterator[_Hit | _Miss]:
    """Go through a record, or through a list of records, of which a bad one spoils no other."""
    if not isinstance(found, list):
        yield from go(_object(found, trail), trail)
        return
    for element, way in records.elements(found, trail):
        try:
            hits = list(go(_object(element, way), way))
        except (ValueError, RecursionError) as error:
            hits = [_Miss(way, error)]
        yield from hits


def _object(found: Any, trail: Trail) -> dict[str, Any]:
    if isinstance(found, dict):
        return found
    raise _no_object(found, trail)


def _no_object(found: Any, trail: Trail) -> ValidationError:
    at = f" - at `{shown(trail)}`" if trail else ""
    return ValidationError(f"Expected `object`, got `{kind_of(found)}`{at}")


def _dug(record: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        record = record.get(step) if isinstance(record, dict) else None
    return record


def _event(found: _Hit | _Miss, body: bytes) -> RawEvent:
    if isinstance(found, _Miss):
        raise found.error
    event = found.translation.event(found.spot, body)
    for translation, spot in found.envelopes:
        event = translation.filled(event, spot, body)
    return event


def _attempt(found: _Hit | _Miss, body: bytes) -> RawEvent | Failure:
    try:
        return _event(found, body)
    except (ValueError, RecursionError) as error:
        return error


def _part(found: _Hit | _Miss, body: bytes) -> Part:
    if isinstance(found, _Miss):
        return Part(body, None, None)
    spots = ((found.translation, found.spot), *found.envelopes)
    times = (look.glance(spot, name) for look, spot in spots for name in ("received_at", "occurred_at"))
    at = next((each for each in times if each is not None), None)
    user_id = found.translation.glance(found.spot, "user_id")
    return Part(body, user_id if isinstance(user_id, str) else None, at)


def _trail(found: _Hit | _Miss) -> Trail:
    return found.trail if isinstance(found, _Miss) else found.spot.trail


def _named(name: str, forms: Formats) -> Format:
    if name not in forms:
        raise ValueError(f'there is no format "{name}"')
    return forms[name]


def _both(nearer: Sequence[Rule], further: Sequence[Rule]) -> list[Rule]:
    own = {tuple(paths_of(rule)): rule for rule in nearer}
    joined = []
    for rule in further:
        mine = own.pop(tuple(paths_of(rule)), None)
        joined.append(replace(mine, words=rule.words | mine.words, next=[*rule.next, *mine.next]) if mine else rule)
    return [*joined, *own.values()]
