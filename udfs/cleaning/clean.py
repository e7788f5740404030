"""Raw records in, trustworthy events out: what is not an event leaves here with its reason, nothing is lost."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import repeat
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from msgspec import json
from numpy.typing import NDArray

from schemas.events import (
    CODE,
    PULSE_BODY,
    PULSE_CODE,
    PULSE_USER,
    REJECTED_CODE,
    WITHDRAWN_CODE,
    Kind,
    Purpose,
    RawEvent,
)
from schemas.formats import Format
from schemas.lanes import NO_LANE
from schemas.settings import Clean, Settings
from udfs.cleaning import asking, meeting
from udfs.cleaning.admission import admission
from udfs.cleaning.canonical import Canonical
from udfs.cleaning.consent import Consents
from udfs.cleaning.context import written
from udfs.cleaning.marks import NO_MOOD, Marks
from udfs.cleaning.noise import Norms
from udfs.cleaning.places import Lookup, nowhere
from udfs.cleaning.refusal import Place, rejection
from udfs.cleaning.strides import Strides
from udfs.cleaning.surroundings import Surroundings

_CODE = {kind.value: code for kind, code in CODE.items()}
# To take a member out of its class costs as much as to hash a name: it is done once.
_PERSONALIZE, _LEARN, _MEASURE = Purpose
_CONSENT, _CLICK, _ASK, _EXPOSURE = Kind.CONSENT, Kind.CLICK, Kind.ASK, Kind.EXPOSURE
_EVENT_KEY = blake2b(digest_size=8)
_ORDER_BITS = 20
_ORDER_MASK = (1 << _ORDER_BITS) - 1


class Known(NamedTuple):
    """What the releases in force say of a record.

    Attributes:
        norms: the population's quartiles.
        interests: item -> place of its interest among those whose shares are signals.
    """

    norms: Norms | None = None
    interests: Mapping[str, int] = MappingProxyType({})


NOTHING: Final = Known()


class Row(NamedTuple):
    """What the job needs of one event, in narrow columns; `record` is the whole, as JSON.

    A record that holds several events gives the first of them, with the others packed: so the way of a single event,
    which is that of nearly all, carries no more than an empty column.

    Attributes:
        user_id: the pseudonym; None where the record was refused.
        code: of the kind, or one of the codes of `schemas.events`.
        counts: whether it counts towards signals: its person agreed to it, and it is not late.
        event_key: what tells an event from its repetition; 0 where nothing does.
        stamp: of several copies in one millisecond, the first record's is the greatest.
        robot: whether it says itself that no person did it.
        learn: whether its person agreed to `learn`.
        measure: whether its person agreed to `measure`.
        clipped: whether a value of it was cut.
        account: time and pseudonym of the account, where it names one, as with `clicked`.
        dwell_ms: attentive time.
        scroll_permille: depth reached, thousandths of the page.
        lane: which packed counter it adds to, see schemas.lanes; -1 for none.
        mark: what it adds there.
        mood: what a rating or a sentiment says, thousandths from -1000 (bad) to 1000 (good); else `NO_MOOD`.
        stride: whether it shows that its person is there, see `udfs.cleaning.strides`.
        clicked: time and item of a click, in an order that puts the latest last.
        context: time and surroundings likewise, see `udfs.cleaning.context.written`.
        asked: time, slot and items of a question for their order likewise, see `udfs.cleaning.asking.written`.
        met: items it opens or shows, see `udfs.cleaning.meeting`.
        record: the event or the rejection, as JSON.
        others: further events of the record.
    """

    user_id: str | None
    code: int
    counts: bool = False
    event_key: int = 0
    stamp: int = 0
    robot: bool = False
    learn: bool = True
    measure: bool = True
    clipped: bool = False
    account: str | None = None
    dwell_ms: int = 0
    scroll_permille: int = 0
    lane: int = NO_LANE
    mark: int = 0
    mood: int = NO_MOOD
    stride: bool = False
    clicked: str | None = None
    context: str | None = None
    asked: str | None = None
    met: str | None = None
    record: str | None = None
    others: list[str] | None = None


PULSE = Row(PULSE_USER, PULSE_CODE, counts=True)

unpacked = json.Decoder(Row).decode
"""Read a packed row."""


class Cleaner:
    """Reads bundles of records; all choices (format, key, limits) are taken once, here."""

    def __init__(
        self,
        form: Format,
        forms: Mapping[str, Format],
        limits: Clean,
        *,
        canonical: Canonical,
        marks: Marks,
        strides: Strides,
        lists: Collection[str] = (),
    ) -> None:
        """Take the format, all formats, the limits, how events are said, what they add to, and who is there.

        The slots in `lists` are those whose items are counted one by one.
        """
        self._admitted = admission(form, forms, limits)
        self._limits = limits
        self._canonical = canonical
        self._marks = marks
        self._strides = strides
        self._lists = frozenset(lists)
        self._encode = json.Encoder().encode

    @classmethod
    def of(cls, settings: Settings, pseudonym: Callable[[str], str], lookup: Lookup = nowhere) -> "Cleaner":
        """Prepare a reader by the settings.

        Args:
            settings: see conf/base.toml.
            pseudonym: the keyed hash.
            lookup: from an address to its place.
        """
        clean = settings.clean
        canonical = Canonical(pseudonym, Consents(settings.consent), Surroundings(lookup), clean, settings.noise)
        return cls(
            settings.formats[clean.format],
            settings.formats,
            clean,
            canonical=canonical,
            marks=Marks(settings.signals, settings.exposures.counters),
            strides=Strides(settings.quiet.pause // 2),
            lists=settings.exposures.lists,
        )

    def rows(
        self,
        bodies: Sequence[bytes | None],
        at: NDArray[np.int64],
        partitions: Sequence[int],
        offsets: Sequence[int],
        known: Iterable[Known] = repeat(NOTHING),
    ) -> list[Row]:
        """Read a bundle; the result has one row per record, in order, the first of its events where it holds several.

        Args:
            bodies: the records' bytes, (n,).
            at: event times, ms since 1970, (n,).
            partitions: where the records lie, (n,).
            offsets: where the records lie, (n,).
            known: what the releases in force for each say, (n,).
        """
        return list(map(self.row, bodies, at.tolist(), partitions, offsets, known))

    def row(self, body: bytes | None, at: int, partition: int, offset: int, known: Known = NOTHING) -> Row:
        """Read one record: an event, a pulse, or a rejection."""
        if body == PULSE_BODY:
            return PULSE
        try:
            found = self._admitted(body)
        except (ValueError, ArithmeticError, RecursionError) as error:
            # Whatever a record does to its reader: raised, it would restart the job for ever.
            return self._refused(error, body, Place(at, partition, offset))
        order = (partition * 131_071 + offset) * 512
        if isinstance(found, RawEvent):
            return self._accepted(found, at, order, known)
        first, *others = [
            self._accepted(each, at, order + part + 1, known)
            if isinstance(each, RawEvent)
            else self._refused(each, body, Place(at, partition, offset, part))
            for part, each in enumerate(found)
        ]
        return first._replace(others=[self._encode(row).decode() for row in others] or None)

    def _refused(self, error: Exception, body: bytes | None, place: Place) -> Row:
        refused = rejection(error, body or b"", place, self._limits.kept_bytes)
        return Row(None, REJECTED_CODE, record=self._encode(refused).decode())

    def _accepted(self, raw: RawEvent, at: int, order: int, known: Known) -> Row:
        user_id = self._canonical.pseudonym(raw.user_id)
        event = self._canonical(raw, at, user_id, known.norms)
        kind, item, denied = event.kind, event.item, event.denied
        personal = _PERSONALIZE not in denied
        # To forget a person their name is needed once more.
        withdrawn = kind is _CONSENT and not personal
        event_id = raw.event_id if self._limits.duplicates else None
        counts = withdrawn or (personal and not event.late)
        mood = self._marks.mood(kind, event.value)
        lane, mark = self._marks.spot(event, mood, known.interests)
        return Row(
            user_id if personal or withdrawn else event.user_id,
            WITHDRAWN_CODE if withdrawn else _CODE[kind._value_],
            counts,
            event_key(user_id, event_id) if event_id else 0,
            (at << _ORDER_BITS) - (order & _ORDER_MASK) if event_id else 0,
            event.robot,
            _LEARN not in denied,
            _MEASURE not in denied,
            bool(event.clipped),
            f"{at:014d}{event.account}" if event.account else None,
            event.dwell_ms or 0,
            round(event.scroll * 1000) if event.scroll else 0,
            lane,
            mark,
            mood,
            counts and not withdrawn and self._strides.new(user_id, at),
            # The latest click of a slice is the greatest of these: by time, then by item.
            f"{at:014d}{item}" if kind is _CLICK and item else None,
            written(at, event),
            asking.written(at, event) if kind is _ASK else None,
            meeting.written(event, raw, self._lists) if kind is _CLICK or kind is _EXPOSURE else None,
            self._encode(event).decode(),
        )


def event_key(user_id: str, event_id: str) -> int:
    """Tell an event from all others: 64 bits of a hash, never 0.

    Among ten million events within the horizon, two share a key with a chance of about 3 in a million.

    >>> event_key("k0:ada", "7f3c"), event_key("k0:ada", "7f3d") == event_key("k0:ada", "7f3c")
    (5963958125896711684, False)
    """
    state = _EVENT_KEY.copy()
    state.update(f"{user_id}|{event_id}".encode())
    return int.from_bytes(state.digest(), "little", signed=True) or 1
