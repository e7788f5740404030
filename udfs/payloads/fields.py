"""One field of an event, found in a tracker's record by its declared sources."""

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain, islice
from typing import Any, Final, get_args

from msgspec import ValidationError

from schemas.events import Kind
from schemas.formats import Source, Sources, Unit
from udfs.payloads.paths import Path
from udfs.payloads.records import Spot
from udfs.payloads.units import DURATIONS, MOMENTS, READINGS, flag, granted, page, scalar, table, text

_MOST: Final = 100
"""Properties that an event may have; `schemas.events` refuses one with more."""

_LONGEST: Final = 256
"""Characters of a property's name, likewise."""


class _Found:
    """One source, ready to be looked up."""

    def __init__(self, source: Source, prefix: str, read: Callable[[Any, Source], Any]) -> None:
        if not source.path and source.default is None:
            raise ValueError("a source needs a path or a default")
        self.path = Path(source.path, prefix) if source.path else None
        self.head = self.path.head if self.path else ""
        self.rooted = self.path is not None and self.path.rooted
        self.default = source.default
        self.only = source.only
        self._source = source
        self._read = read

    def values(self, spot: Spot) -> list[Any]:
        """Give what the path leads to; a text of no length is nothing."""
        if self.path is None:
            return []
        found = self.path.every(spot.around if self.rooted else spot.element)
        return [each for each in found if each is not None and each != ""]

    def first(self, spot: Spot) -> Any:
        """Give the first of these."""
        if self.path is None:
            return None
        found = self.path.first(spot.around if self.rooted else spot.element)
        return None if found == "" else found

    def read(self, value: Any) -> Any:
        """Read a value as what it was declared to be."""
        return self._read(value, self._source)

    def at(self, spot: Spot) -> str:
        """Write the place as a JSON path."""
        return spot.at(self.path.text, rooted=self.path.rooted) if self.path else spot.at("")


class Field:
    """A field and its alternatives, of which the first that leads somewhere counts."""

    def __init__(
        self, name: str, sources: Sources, prefix: str, read: Callable[[Any, Source], Any] | None = None
    ) -> None:
        """Prepare the sources; a field is read as its name says, or as it is told.

        Raises:
            ValueError: a path is none, or a source says nothing, or something that does not fit the field.
        """
        self.name = name
        self._sources = [_Found(source, prefix, read or _reading(name, source)) for source in listed(sources)]

    def read(self, spot: Spot, kind: Kind | None) -> Any:
        """Find the value; None where there is none.

        Raises:
            ValidationError: it is not what it was declared to be.
        """
        for source in self._sources:
            if source.only is not None and source.only is not kind:
                continue
            if source.head is None or source.head in (spot.around if source.rooted else spot.element):
                try:
                    if (found := source.first(spot)) is not None:
                        return source.read(found)
                except ValidationError as error:
                    raise ValidationError(f"{error} - at `{source.at(spot)}`") from None
            if source.default is not None:
                return source.default
        return None

    def heads(self) -> Iterator[str | None]:
        """Give the keys of a record at which the paths begin."""
        return (source.head for source in self._sources)

    def at(self, spot: Spot) -> str:
        """Write the place where the value was found, or first looked for, as a JSON path."""
        found = next((source for source in self._sources if source.first(spot) is not None), self._sources[0])
        return found.at(spot)


class Items(Field):
    """A field that is a list: of everything that the path leads to."""

    def read(self, spot: Spot, kind: Kind | None) -> Any:
        """Find the values; None where there are none.

        Raises:
            ValidationError: the path leads into a text that is no JSON.
        """
        for source in self._sources:
            if source.only is not None and source.only is not kind:
                continue
            if source.head is None or source.head in (spot.around if source.rooted else spot.element):
                try:
                    if found := source.values(spot):
                        return [source.read(value) for value in found]
                except ValidationError as error:
                    raise ValidationError(f"{error} - at `{source.at(spot)}`") from None
        return None


class Consent:
    """What a record says about consent, purpose by purpose."""

    def __init__(self, name: str, purposes: Mapping[str, Sources], prefix: str) -> None:
        """Prepare the sources; the purpose `*` stands for all that a list or a table names.

        Raises:
            ValueError: a path is none, or a source says nothing.
        """
        self.name = name
        self._all = Field("*", purposes["*"], prefix, granted) if "*" in purposes else None
        self._each = {name: Field(name, found, prefix, flag) for name, found in purposes.items() if name != "*"}

    def read(self, spot: Spot, kind: Kind | None) -> Any:
        """Find the answers; None where there are none.

        Raises:
            ValidationError: an answer is neither yes nor no.
        """
        said = self._all.read(spot, kind) if self._all else None
        each = {name: field.read(spot, kind) for name, field in self._each.items()}
        answers = {name: answer for name, answer in each.items() if answer is not None}
        # A list or table in which nothing stands is an answer too: nothing was granted.
        return answers or None if said is None else said | answers

    def heads(self) -> Iterator[str | None]:
        """Give the keys of a record at which the paths begin."""
        return chain.from_iterable(field.heads() for field in (self._all, *self._each.values()) if field)

    def at(self, spot: Spot) -> str:
        """Write the place as a JSON path."""
        return (self._all or next(iter(self._each.values()))).at(spot)


class Properties:
    """Whatever else a record says: names and values, of which what is nested is left out."""

    def __init__(
        self, name: str, sources: Mapping[str, Sources], prefix: str, wanted: Collection[str] | None = None
    ) -> None:
        """Prepare the sources; the name `*` stands for all that a table holds.

        Args:
            name: of the field.
            sources: by the name of the property.
            prefix: with which keys may begin.
            wanted: the names of those that are looked for, which saves time; None is all of them.

        Raises:
            ValueError: a path is none, or a source says nothing, or something that does not fit a property.
        """
        self.name = name
        if any(source.unit for each in sources.values() for source in listed(each)):
            raise ValueError("only times and durations have a unit")
        self._all = Field("*", sources["*"], prefix, table) if "*" in sources else None
        self._each = {
            name: Field(name, each, prefix, scalar)
            for name, each in sources.items()
            if name != "*" and (wanted is None or name in wanted)
        }
        self._wanted = wanted

    def read(self, spot: Spot, kind: Kind | None) -> Any:
        """Find the properties; None where there are none. Of more than an event may have, the first are taken.

        Raises:
            ValidationError: one is not what it was declared to be.
        """
        said = (self._all.read(spot, kind) if self._all else None) or {}
        if self._wanted is not None:
            said = {name: said[name] for name in self._wanted if name in said}
        each = {name: field.read(spot, kind) for name, field in self._each.items()}
        found = (
            (name, value)
            for name, value in (said | each).items()
            if isinstance(value, str | int | float) and len(name) <= _LONGEST
        )
        return dict(islice(found, _MOST)) or None

    def heads(self) -> Iterator[str | None]:
        """Give the keys of a record at which the paths begin."""
        return chain.from_iterable(field.heads() for field in (self._all, *self._each.values()) if field)

    def at(self, spot: Spot) -> str:
        """Write the place as a JSON path."""
        return (self._all or next(iter(self._each.values()))).at(spot)


def listed(sources: Sources) -> list[Source]:
    """Write every source out in full.

    >>> listed("a") == listed(["a"]) == [Source(path="a")]
    True
    """
    found = sources if isinstance(sources, list) else [sources]
    return [Source(path=source) if isinstance(source, str) else source for source in found]


def _reading(name: str, source: Source) -> Callable[[Any, Source], Any]:
    read = READINGS.get(name, _read_text)
    units = _UNITS.get(name, ())
    if source.unit is not None and source.unit not in units:
        raise ValueError(f"unit: expected {', '.join(units)}" if units else "only times and durations have a unit")
    if source.type == "url":
        if read is not _read_text:
            raise ValueError('only a text can be of the type "url"')
        return _read_page
    return read


def _read_text(value: Any, source: Source) -> Any:
    del source
    return text(value)


def _read_page(value: Any, source: Source) -> Any:
    del source
    return page(value)


_UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(MOMENTS, get_args(Unit)),
    **dict.fromkeys(DURATIONS, ("ms", "s", "us")),
}
