"""What of a record may come in: nothing empty, nothing huge, nothing that no format can read."""

from collections.abc import Callable, Mapping

from msgspec import ValidationError

from schemas.events import RawEvent
from schemas.formats import Format
from schemas.rejects import Reason
from schemas.settings import Clean
from udfs.cleaning.refusal import InadmissibleError
from udfs.payloads.mapping import Found, reader
from udfs.payloads.texts import check_texts


def admission(form: Format, forms: Mapping[str, Format], limits: Clean) -> Callable[[bytes | None], Found]:
    """Choose what is let in; the result reads a body as `udfs.payloads.mapping.reader` does, or raises.

    Args:
        form: the declared format.
        forms: all declared formats, for one that names others.
        limits: how long a body may be.

    Raises:
        ValueError: from this call, not from reading: the declaration says something impossible.

    >>> from schemas.durations import Millis
    >>> limits = Clean("trimtab", 40, 0, Millis(0), Millis(0), [], "")
    >>> admission(Format(about=""), {}, limits)(b'{"user_id":"ada","kind":"click","item":"a91"}')
    Traceback (most recent call last):
    ...
    udfs.cleaning.refusal.InadmissibleError: Expected at most 40 bytes, got 45
    """
    read = reader(form, forms, limits.properties)
    longest = limits.max_bytes

    def found(body: bytes | None) -> Found:
        if not body:
            raise InadmissibleError(Reason.EMPTY)
        if len(body) > longest:
            raise InadmissibleError(Reason.TOO_LARGE, f"Expected at most {longest} bytes, got {len(body)}")
        event = read(body)
        if isinstance(event, RawEvent):
            check_texts(event, body)
        elif not event:
            raise ValidationError("Expected `array` of length >= 1")
        return event

    return found
