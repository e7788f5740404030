"""One event in a tracker's words, said in ours."""

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Final

from msgspec import ValidationError, convert
from msgspec.structs import fields, replace

from schemas.events import RawEvent
from schemas.formats import Format
from udfs.payloads.fields import Consent, Field, Items, Properties
from udfs.payloads.kinds import Kinds
from udfs.payloads.paths import shown
from udfs.payloads.records import Spot, missing
from udfs.payloads.texts import UnsafeTextError, check_texts

_AT: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_NAME: Final = re.compile(r"^\w+")
_Reading = Field | Consent | Properties
_OURS: Final = Format(about="", user_id="user_id", occurred_at="occurred_at", received_at="received_at")


class Translation:
    """The fields and kinds of one declared format, ready to be read."""

    def __init__(self, form: Format, wanted: Collection[str] | None = None) -> None:
        """Prepare every path and rule; of further properties only those that are wanted, or all of them.

        Raises:
            ValueError: one of them is none.
        """
        self.ours = form.user_id is None and not form.holds
        told = _OURS if self.ours else form
        if not (self.ours or form.holds or form.kind or form.kinds):
            raise ValueError("kind: missing, and so are kinds")
        self._kind = form.kind
        self._kinds = Kinds(form.kinds, form.prefix)
        prepare: Mapping[str, Callable[[str, Any, str], _Reading]] = {
            "items": Items,
            "consent": Consent,
            "properties": partial(Properties, wanted=wanted),
        }
        self._fields: dict[str, _Reading] = {}
        for name in (field.name for field in fields(RawEvent) if field.name != "kind"):
            if (sources := getattr(told, name)) not in (None, {}):
                try:
                    reading = prepare.get(name, Field)(name, sources, form.prefix)
                    if name != "properties" or wanted is None or wanted:
                        self._fields[name] = reading
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None

    def heads(self) -> set[str | None]:
        """Give the keys of a record at which any path begins; None stands for a path that may begin anywhere."""
        return {head for field in (self._kinds, *self._fields.values()) for head in field.heads()}

    def event(self, spot: Spot, body: bytes) -> RawEvent:
        """Read an event.

        Args:
            spot: where it lies.
            body: the whole record, for what no text of it may hold.

        Raises:
            ValidationError: it is no event; the message names the place in the tracker's own terms.
            UnsafeTextError: a text would break keys or logs.
        """
        return self._checked(self._converted(spot) if self.ours else self._translated(spot), spot, body)

    def filled(self, event: RawEvent, spot: Spot, body: bytes) -> RawEvent:
        """Let an envelope say what the event in it does not.

        Raises:
            ValidationError: the envelope says something that is not what it was declared to be.
            UnsafeTextError: a text of it would break keys or logs.
        """
        open_fields = [name for name in self._fields if getattr(event, name) is None]
        found = {name: self._fields[name].read(spot, event.kind) for name in open_fields}
        said = self._valid({"user_id": event.user_id, "kind": event.kind} | found, spot)
        return self._checked(replace(event, **{name: getattr(said, name) for name in open_fields}), spot, body)

    def glance(self, spot: Spot, name: str) -> Any:
        """Find one field, or None, whatever else is wrong with the event."""
        field = self._fields.get(name)
        try:
            return field.read(spot, None) if field else None
        except (ValueError, RecursionError):
            return None

    def _converted(self, spot: Spot) -> RawEvent:
        try:
            return convert(spot.element, RawEvent)
        except ValidationError as error:
            raise _placed(error, spot.at, shown(spot.trail)) from None

    def _translated(self, spot: Spot) -> RawEvent:
        # The kind first: what is no event of a person (a group, a catalogue item) is not missed for its user id.
        kind = self._kind or self._kinds.of(spot)
        if (user_id := self._fields["user_id"].read(spot, kind)) is None:
            raise missing(self._fields["user_id"].at(spot))
        found = {name: field.read(spot, kind) for name, field in self._fields.items() if name != "user_id"}
        return self._valid({"user_id": user_id, "kind": kind} | found, spot)

    def _valid(self, found: dict[str, Any], spot: Spot) -> RawEvent:
        try:
            return convert(found, RawEvent)
        except ValidationError as error:
            raise _placed(error, lambda name: self._place(spot, name), shown(spot.trail)) from None

    def _checked(self, event: RawEvent, spot: Spot, body: bytes) -> RawEvent:
        try:
            check_texts(event, body)
        except UnsafeTextError as error:
            raise UnsafeTextError(error.field, self._place(spot, error.field)) from None
        return event

    def _place(self, spot: Spot, name: str) -> str:
        return spot.at(name) if self.ours or name not in self._fields else self._fields[name].at(spot)


def _placed(error: ValidationError, place: Callable[[str], str], at: str) -> ValidationError:
    """Let an error name the place in the tracker's record instead of our field."""
    said = str(error)
    if found := _AT.search(said):
        name = _NAME.match(found[1])
        return ValidationError(f"{said[: found.start()]} - at `{place(name[0]) if name else at}`")
    return ValidationError(said if at == "$" else f"{said} - at `{at}`")
