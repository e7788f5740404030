"""Groups of people that a team describes by rules: what they do now, in conf/segments.toml."""

from typing import Annotated, Final

from msgspec import Meta, Struct, field

from schemas.durations import Millis

MAX_RULES: Final = 8
"""Rule segments there may be: the fold keeps two columns of each, when it was last spoken for and against."""


class RuleSegment(Struct, frozen=True, forbid_unknown_fields=True):
    """One group, and when a person comes in and goes out; conditions are as udfs/segments/membership.py reads them."""

    about: str
    enter: Annotated[str, Meta(description="The condition that speaks for the segment.")]
    leave: Annotated[
        str | None, Meta(description="The one that ends it, and wins; not given: as soon as `enter` no longer holds.")
    ] = None
    hold: Annotated[Millis, Meta(description="How long it must be since `leave` last held.")] = field(
        default=Millis(0), name="for"
    )
    min_events: Annotated[int, Meta(ge=0, description="Events that the session needs before `enter` counts.")] = 0


class Segments(Struct, frozen=True, forbid_unknown_fields=True):
    """All of them. Their order is their priority: the first that a person is in names them."""

    rules: dict[str, RuleSegment]
