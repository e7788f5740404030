"""Raw records in, trustworthy events out: what is not an event leaves here with its reason, nothing is lost."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import ValidationError, json
from numpy.typing import NDArray

from schemas.events import CODE, PULSE_BODY, PULSE_CODE, PULSE_USER, REJECTED_CODE, Event, Kind, RawEvent
from schemas.formats import Format
from schemas.rejects import Reason, Rejected
from schemas.settings import Clean
from udfs.payloads.mapping import reader
from udfs.pseudonym import pseudonymiser
from udfs.refusal import rejected, rejection
from udfs.texts import check_texts

_CODE = {kind.value: code for kind, code in CODE.items()}


class Row(NamedTuple):
    """What the job needs of one event, in narrow columns; `record` is the whole, as JSON.

    A record that holds several events gives the first of them, with the others packed: so the way of a single event,
    which is that of nearly all, carries no more than an empty column.
    """

    user_id: str | None
    code: int
    dwell_ms: int
    scroll_permille: int
    lane: int
    clicked: str | None
    record: str | None
    others: list[str] | None = None


PULSE = Row(PULSE_USER, PULSE_CODE, 0, 0, -1, None, None)

unpacked = json.Decoder(Row).decode
"""Read a packed row."""


class Cleaner:
    """Reads bundles of records; all choices (format, key, limits) are taken once, here."""

    def __init__(
        self,
        form: Format,
        limits: Clean,
        key: bytes,
        key_id: str,
        lanes: Mapping[str, int],
        *,
        forms: Mapping[str, Format] | None = None,
    ) -> None:
        """Take the format, the limits, the pseudonym key, the counter lane of each capped slot, and all formats."""
        self._read = reader(form, forms or {})
        self._limits = limits
        self._pseudonym = pseudonymiser(key, key_id)
        self._lanes = dict(lanes)
        self._encode = json.Encoder().encode

    def rows(
        self, bodies: Sequence[bytes | None], at: NDArray[np.int64], partitions: Sequence[int], offsets: Sequence[int]
    ) -> list[Row]:
        """Read a bundle; the result has one row per record, in order, the first of its events where it holds several.

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
        limits = self._limits
        if not body:
            return self._refused(
                rejected(Reason.EMPTY, b"", at=at, partition=partition, offset=offset, kept_bytes=limits.kept_bytes)
            )
        if len(body) > limits.max_bytes:
            return self._refused(
                rejected(
                    Reason.TOO_LARGE,
                    body,
                    at=at,
                    partition=partition,
                    offset=offset,
                    kept_bytes=limits.kept_bytes,
                    detail=f"Expected at most {limits.max_bytes} bytes, got {len(body)}",
                )
            )
        try:
            found = self._read(body)
            if isinstance(found, RawEvent):
                check_texts(found, body)
                return self._accepted(found, at)
        except (ValueError, RecursionError) as error:
            found = [error]
        rows = [
            self._accepted(each, at)
            if isinstance(each, RawEvent)
            else self._refused(
                rejection(each, body, at=at, partition=partition, offset=offset, kept_bytes=limits.kept_bytes)
            )
            for each in found or [ValidationError("Expected `array` of length >= 1")]
        ]
        return rows[0]._replace(others=[self._encode(row).decode() for row in rows[1:]] or None)

    def _refused(self, refused: Rejected) -> Row:
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
