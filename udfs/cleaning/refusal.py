"""Why a record is not let in, said so that its sender can mend it."""

import re
from base64 import b64encode
from typing import NamedTuple

from msgspec import DecodeError, ValidationError

from schemas.rejects import Reason, Rejected
from udfs.cleaning.properties import personal
from udfs.payloads.texts import UnsafeTextError

_PATH = re.compile(r" - at `(\$[^`]*)`$")
_FIELD = re.compile(r"required field `([^`]*)`")

# msgspec's own words -> our reason. The first that fits counts.
_VALIDATION = (
    (re.compile(r"^Object missing required field"), Reason.MISSING_FIELD),
    (re.compile(r"^Invalid enum value"), Reason.UNKNOWN_KIND),
    (re.compile(r"of length "), Reason.WRONG_LENGTH),
    (re.compile(r"^Expected a record of a declared format"), Reason.UNKNOWN_FORMAT),
    (re.compile(r"out of range|`(int|float)( \| null)?` [<>]=?"), Reason.OUT_OF_RANGE),
)
_SURROGATE = re.compile("surrogate")
_QUOTED = re.compile("['\"`](.*)['\"`]", re.DOTALL)


class InadmissibleError(ValueError):
    """A body is refused before it is read."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


def explain(error: Exception) -> tuple[Reason, str, str]:
    """Say reason, path and detail of what a decoder raised.

    >>> import msgspec
    >>> try:
    ...     msgspec.json.decode(b'{"dwell_ms": "long"}', type=dict[str, int])
    ... except ValidationError as error:
    ...     explain(error)
    (<Reason.WRONG_TYPE: 'wrong_type'>, '$[...]', 'Expected `int`, got `str`')
    """
    message = str(error)
    found = _PATH.search(message)
    path, detail = (found[1], message[: found.start()]) if found else ("", message)
    if isinstance(error, InadmissibleError):
        return error.reason, "", message
    if isinstance(error, ValidationError):
        return _against_schema(path, detail)
    if isinstance(error, RecursionError):
        return Reason.TOO_DEEP, "", "nested too deep"
    if isinstance(error, UnicodeError) or _SURROGATE.search(message):
        return Reason.NOT_UTF8, "", detail
    if isinstance(error, DecodeError):
        return Reason.NOT_JSON, "", detail
    # A reader must be total: one record that raised would restart the job for ever.
    return (Reason.UNSAFE_TEXT if isinstance(error, UnsafeTextError) else Reason.WRONG_TYPE), path, detail


def _against_schema(path: str, detail: str) -> tuple[Reason, str, str]:
    for pattern, reason in _VALIDATION:
        if pattern.search(detail):
            field = _FIELD.search(detail)
            return reason, f"{path or '$'}.{field[1]}" if field else path, detail
    if (not path or path.endswith("]")) and detail.startswith("Expected `object`,"):
        return Reason.NOT_OBJECT, path or "$", detail
    return Reason.WRONG_TYPE, path, detail


class Place(NamedTuple):
    """Where a record lies, and when it came.

    Attributes:
        at: event time, ms since 1970.
        partition: of the raw topic.
        offset: in the partition.
        part: which of a record's several events, from 0; -1 is the record as a whole.
    """

    at: int
    partition: int
    offset: int
    part: int = -1


def rejection(error: Exception, body: bytes, place: Place, kept_bytes: int) -> Rejected:
    """Make the record of the topic `rejected` out of a body, or one of its parts, and what its reader raised.

    So much of the body's start as may be kept goes with it, base64.
    """
    reason, path, detail = explain(error)
    # What is quoted helps to mend the sender, unless it names a person.
    detail = _QUOTED.sub(lambda found: "'*'" if personal(found[1]) else found[0], detail)
    return Rejected(
        reason=reason,
        at=place.at,
        path=path,
        detail=detail,
        partition=place.partition,
        offset=place.offset,
        part=place.part,
        bytes=len(body),
        body=b64encode(body[:kept_bytes]).decode(),
    )
