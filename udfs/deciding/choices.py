"""What one slot holds for each person of a bundle, and what led to it."""

from typing import NamedTuple

from schemas.decisions import SlotCard, Trace


class Choices(NamedTuple):
    """One slot, a card and a trace per row."""

    cards: list[SlotCard]
    traces: list[Trace]
