"""Why something was refused: the reasons, and the record that keeps the evidence."""

from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct


class Reason(Enum):
    """Why a record or a write did not go through. Each is explained in the contract page."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    NOT_OBJECT = "not_object"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    WRONG_LENGTH = "wrong_length"
    UNKNOWN_KIND = "unknown_kind"
    UNSAFE_TEXT = "unsafe_text"
    WRITE_FAILED = "write_failed"
    WRITE_SKIPPED = "write_skipped"
    UNKNOWN_FORMAT = "unknown_format"
    TOO_LATE = "too_late"
    UNREADABLE = "unreadable"


MEANING = {
    Reason.EMPTY: "The record has no body.",
    Reason.TOO_LARGE: "The body is longer than `clean.max_bytes`.",
    Reason.NOT_UTF8: "The body, or a text of it that is read, is not valid UTF-8 (a lone surrogate included).",
    Reason.NOT_JSON: "The body is not JSON; NaN and Infinity are not JSON either.",
    Reason.TOO_DEEP: "The body is nested deeper than any event needs.",
    Reason.NOT_OBJECT: "The body is JSON but not an object.",
    Reason.MISSING_FIELD: "A required field is absent.",
    Reason.WRONG_TYPE: "A field has another type than its schema says.",
    Reason.OUT_OF_RANGE: "A number lies outside its range.",
    Reason.WRONG_LENGTH: "A text or list is empty or too long, or a row has too few or too many fields.",
    Reason.UNKNOWN_KIND: "`kind` names nothing the suite knows.",
    Reason.UNSAFE_TEXT: "An id holds a control character or a brace, which would break keys and logs downstream.",
    Reason.WRITE_FAILED: "Redis did not take the decision; the topic `decisions` has it.",
    Reason.WRITE_SKIPPED: "Redis had just failed, so this decision was not sent; the topic `decisions` has it.",
    Reason.UNKNOWN_FORMAT: "The record has the marks of no declared format (conf/FORMATS.md).",
    Reason.TOO_LATE: "A decision or event lay further out of order than `learn.disorder`: no outcome knows of it.",
    Reason.UNREADABLE: "A record of `decisions` or `events` is none of the suite's: no outcome knows of it.",
}


class Rejected(Struct, frozen=True, omit_defaults=True, tag_field="v", tag=1):
    """One refused record or failed write: a record of the topic `rejected`."""

    reason: Reason
    at: Annotated[int, Meta(description="Event time, ms since 1970; of a write, the decision's `seq`.")]
    path: Annotated[str, Meta(description="Where in the record, as a JSON path.")] = ""
    detail: Annotated[str, Meta(description="What was expected, in words.")] = ""
    partition: Annotated[int, Meta(description="Partition of the raw record.")] = -1
    offset: Annotated[int, Meta(description="Offset of the raw record.")] = -1
    part: Annotated[
        int, Meta(description="Which of a record's several events, from 0; -1 is the record as a whole.")
    ] = -1
    user_id: Annotated[str, Meta(description="Of a write: the pseudonym whose decision it was.")] = ""
    bytes: Annotated[int, Meta(description="Length of the whole body.")] = 0
    body: Annotated[str, Meta(description="Base64 of the body's start, at most `clean.kept_bytes`.")] = ""


class Recovered(Struct, frozen=True, omit_defaults=True, tag_field="v", tag=1):
    """One refused record that was fed again: a record of the topic `recovered`, keyed by its place in the raw topic."""

    reason: Reason
    at: Annotated[int, Meta(description="Event time of the refused record, ms since 1970.")]
    partition: Annotated[int, Meta(description="Partition of the refused record.")]
    offset: Annotated[int, Meta(description="Offset of the refused record.")]
    part: Annotated[
        int, Meta(description="Which of a record's several events, from 0; -1 is the record as a whole.")
    ] = -1
