"""Texts that would break keys or logs downstream are kept out."""

from typing import Final

from schemas.events import RawEvent

_BACKSLASH: Final = 0x5C
_DELETE: Final = 0x7F  # as numbers, bytes are found in bytes four times as fast
_CONTROL: Final = dict.fromkeys([*range(0x20), _DELETE])
_TEXTS: Final = (
    "user_id",
    "event_id",
    "item",
    "page",
    "slot",
    "decision_id",
    "shown",
    "account_id",
    "user_agent",
    "language",
    "country",
    "region",
    "time_zone",
    "connection",
    "tcf",
    "ip",
)


class UnsafeTextError(ValueError):
    """A text holds a character that would break keys or logs downstream."""

    def __init__(self, field: str, place: str = "") -> None:
        super().__init__(f"Expected no control character and no brace - at `{place or '$.' + field}`")
        self.field = field


def check_texts(event: RawEvent, body: bytes) -> None:
    """Refuse ids that would break keys or logs downstream.

    Raw control characters but DEL are no JSON, so only a body with a backslash or a DEL can hold one.

    Raises:
        UnsafeTextError: naming the field.
    """
    if "{" in event.user_id or "}" in event.user_id:
        raise UnsafeTextError("user_id")
    if _BACKSLASH in body or _DELETE in body:
        for field in _TEXTS:
            if _breaks(getattr(event, field)):
                raise UnsafeTextError(field)
        said = (event.properties or {}).values()
        values = (value for value in said if isinstance(value, str))
        for field, texts in (
            ("items", event.items),
            ("consent", event.consent),
            ("properties", event.properties),
            ("properties", values),
        ):
            if texts and any(map(_breaks, texts)):
                raise UnsafeTextError(field)


def _breaks(text: str | None) -> bool:
    return text is not None and text.translate(_CONTROL) != text
