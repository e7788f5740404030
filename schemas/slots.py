"""The places that may be adjusted, as a team declares them in conf/slots.toml."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

MAX_CAPPED: Final = 4
"""Slots that may carry a cap: each has a counter column (`shown_0` ...) in the slices."""


class Arm(Struct, frozen=True, forbid_unknown_fields=True):
    """One option of a variant slot."""

    weight: Annotated[float, Meta(gt=0, description="Share of the draws, relative to its siblings.")]
    params: dict[str, str | int | float | bool] = {}


class Cap(Struct, frozen=True, forbid_unknown_fields=True):
    """How often a slot's draw may be shown before its default takes over."""

    shown: Annotated[int, Meta(ge=1, description="Exposures after which the draw is held back.")]
    per: Literal["session"] = "session"


class Rerank(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="rerank"):
    """A slot whose items are put in order."""

    length: Annotated[int, Meta(ge=1, le=100, description="Items shown.")]
    candidates: Annotated[int, Meta(ge=1, le=500, description="Items the prefilter keeps for the model.")]


class Variant(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="variant"):
    """A slot that shows one of several arms."""

    arms: Annotated[dict[str, Arm], Meta(min_length=1)]
    default: str
    cap: Cap | None = None


Slot = Rerank | Variant


def capped(slots: dict[str, Slot]) -> tuple[str, ...]:
    """The names of the slots with a cap, in the order of their counter columns.

    >>> arm = Arm(weight=1.0)
    >>> capped({"b": Variant({"x": arm}, "x", Cap(3)), "a": Variant({"x": arm}, "x")})
    ('b',)
    """
    return tuple(sorted(name for name, slot in slots.items() if isinstance(slot, Variant) and slot.cap))
