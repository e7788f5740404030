"""What an event adds to its person's counts: an exposure, an edited field, an interest, a mood."""

from collections.abc import Mapping, Sequence
from typing import Final
from zlib import crc32

from schemas.events import Event, Kind
from schemas.lanes import FIELD_LANES, INTEREST_LANES, NO_LANE, SHOWN_LANES, Spot, spots
from schemas.settings import SignalSettings

_EXPOSURE, _FORM, _RATE, _SENTIMENT = Kind.EXPOSURE, Kind.FORM, Kind.RATE, Kind.SENTIMENT
_FIELDS: Final = spots(FIELD_LANES)
_INTERESTS: Final = spots(INTEREST_LANES)
_NOWHERE: Final = Spot(NO_LANE, 0)

NO_MOOD: Final = -2000
"""In the column `mood`, of an event that says none."""


class Marks:
    """Everything about counting that stays the same from event to event."""

    def __init__(self, signals: SignalSettings, counters: Sequence[str]) -> None:
        """Take what interest and mood are made of, and by what exposures are counted: slots, or arms of theirs."""
        self._counters = dict(zip(counters, spots(SHOWN_LANES), strict=False))
        self._liking = {kind: weight for kind in Kind if (weight := getattr(signals.liking, kind.value, 0))}
        self._lowest, self._highest = signals.rating

    def spot(self, event: Event, mood: int, interests: Mapping[str, int]) -> Spot:
        """Say which packed counter an event adds to, and what.

        Args:
            event: canonical.
            mood: what `mood` says of it.
            interests: item -> place of its interest.
        """
        kind, item = event.kind, event.item
        if kind is _EXPOSURE:
            return self._shown(event.slot or "", event.shown or "")
        # Who finds a thing bad does not like its interest the better.
        if item is None or NO_MOOD < mood < 0:
            return _NOWHERE
        if kind is _FORM:
            # Which fields were edited is told apart in a few groups, so that their number can be estimated.
            return _FIELDS[crc32(item.encode()) % len(_FIELDS)]
        interest = interests.get(item)
        if interest is None or kind not in self._liking:
            return _NOWHERE
        lane, one = _INTERESTS[interest]
        return Spot(lane, one * self._liking[kind])

    def _shown(self, slot: str, arm: str) -> Spot:
        """Say what an exposure adds to: its slot's counter, its arm's, both in one lane, or none."""
        of_slot, of_arm = self._counters.get(slot, _NOWHERE), self._counters.get(f"{slot}/{arm}", _NOWHERE)
        return Spot(max(of_slot.lane, of_arm.lane), of_slot.one + of_arm.one)

    def mood(self, kind: Kind, value: float | None) -> int:
        """Read a rating or a sentiment as thousandths from -1000 (bad) to 1000 (good); else `NO_MOOD`."""
        if value is None or (kind is not _RATE and kind is not _SENTIMENT):
            return NO_MOOD
        said = 2.0 * (value - self._lowest) / (self._highest - self._lowest) - 1.0 if kind is _RATE else value
        return round(1000.0 * min(max(said, -1.0), 1.0))
