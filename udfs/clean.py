"""Raw records in, trustworthy events out: what is not an event leaves here with its reason, nothing is lost."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import json
from numpy.typing import NDArray

from schemas.events import CODE, PULSE_BODY, PULSE_CODE, PULSE_USER, REJECTED_CODE, Event, Kind, RawEvent
from schemas.rejects import Reason
from schemas.settings import Clean, Format
from udfs.mapping import reader
from udfs.pseudonym import pseudonymiser
from udfs.refusal import UnsafeTextError, rejected, rejection

_CODE = {kind.value: code for kind, code in CODE.items()}
_CONTROL = dict.fromkeys([*range(0x20), 0x7F])


class Row(NamedTuple):
    """What the job needs of one record, in narrow columns; `record` is the whole, as JSON."""

    user_id: str | None
    code: int
    dwell_ms: int
    scroll_permille: int
    lane: int
    clicked: str | None
    record: str | None


PULSE = Row(PULSE_USER, PULSE_CODE, 0, 0, -1, None, None)


def check_texts(event: RawEvent, body: bytes) -> None:
    """Refuse ids that would break keys or logs downstream.

    Raw control characters are no JSON, so only a body with a backslash can hide one.

    Raises:
        UnsafeTextError: naming the field.
    """
    if "{" in event.user_id or "}" in event.user_id:
        raise UnsafeTextError("user_id")
    if b"\\" in body:
        for field in ("user_id", "event_id", "item", "page", "slot", "decision_id", "shown"):
            text = getattr(event, field)
            if text is not None and text.translate(_CONTROL) != text:
                raise UnsafeTextError(field)


class Cleaner:
    """Reads bundles of records; all choices (format, key, limits) are taken once, here."""

    def __init__(self, form: Format, limits: Clean, key: bytes, key_id: str, lanes: Mapping[str, int]) -> None:
        """Take the declared format, the limits, the pseudonym key, and the counter lane of each capped slot."""
        self._read = reader(form)
        self._limits = limits
        self._pseudonym = pseudonymiser(key, key_id)
        self._lanes = dict(lanes)
        self._encode = json.Encoder().encode

    def rows(
        self, bodies: Sequence[bytes | None], at: NDArray[np.int64], partitions: Sequence[int], offsets: Sequence[int]
    ) -> list[Row]:
        """Read a bundle; the result has one row per record, in order.

        Args:
            bodies: the records' bytes, (n,).
            at: event times, ms since 1970, (n,).
            partitions: where the records lie, (n,).
            offsets: where the records lie, (n,).
        """
        row = self.row
        return [
            row(body, ms, partition, offset)
            for body, ms, partition, offset in zip(bodies, at.tolist(), partitions, offsets, strict=True)
        ]

    def row(self, body: bytes | None, at: int, partition: int, offset: int) -> Row:
        """Read one record: an event, a pulse, or a rejection."""
        if body == PULSE_BODY:
            return PULSE
        kept = self._limits.kept_bytes
        if not body:
            refused = rejected(Reason.EMPTY, b"", at=at, partition=partition, offset=offset, kept_bytes=kept)
        elif len(body) > self._limits.max_bytes:
            refused = rejected(
                Reason.TOO_LARGE,
                body,
                at=at,
                partition=partition,
                offset=offset,
                kept_bytes=kept,
                detail=f"Expected at most {self._limits.max_bytes} bytes, got {len(body)}",
            )
        else:
            try:
                event = self._read(body)
                check_texts(event, body)
            except (ValueError, RecursionError) as error:
                refused = rejection(error, body, at=at, partition=partition, offset=offset, kept_bytes=kept)
            else:
                return self._accepted(event, at)
        return Row(None, REJECTED_CODE, 0, 0, -1, None, self._encode(refused).decode())

    def _accepted(self, event: RawEvent, at: int) -> Row:
        kind = event.kind
        user_id = self._pseudonym(event.user_id)
        item = event.item
        record = Event(
            user_id,
            at,
            kind,
            event.event_id,
            event.occurred_at,
            item,
            event.page,
            event.dwell_ms,
            event.scroll,
            event.value,
            event.slot,
            event.decision_id,
            event.shown,
            event.position,
        )
        return Row(
            user_id,
            _CODE[kind._value_],
            event.dwell_ms or 0,
            round(event.scroll * 1000) if event.scroll else 0,
            self._lanes.get(event.slot, -1) if kind is Kind.EXPOSURE and event.slot else -1,
            # The latest click of a slice is the greatest of these: by time, then by item.
            f"{at:014d}{item}" if kind is Kind.CLICK and item else None,
            self._encode(record).decode(),
        )
