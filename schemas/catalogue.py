"""What can be shown: the items of a catalogue release."""

from typing import Annotated

from msgspec import Meta, Struct


class Item(Struct, frozen=True, forbid_unknown_fields=True):
    """One item of the catalogue."""

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    interest: Annotated[str, Meta(max_length=64, description="The named interest it serves.")]
    popularity: Annotated[float, Meta(ge=0, le=1, description="Share of the most popular item's clicks.")]
    quality: Annotated[float, Meta(ge=0, le=1, description="An editor's or a past model's grade.")]
    age_h: Annotated[float, Meta(ge=0, description="Hours since it was published, at the release.")] = 0.0
    available: bool = True
    segments: Annotated[list[str], Meta(description="Rule segments it is for; []: for everybody.")] = []
