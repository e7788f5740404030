"""What models say suits a person: the payload of the channel `heads`, a small regression for each parameter."""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.releases import Golden


class Head(Struct, frozen=True, forbid_unknown_fields=True):
    """One regression, and rows that it must score as it did where it was made."""

    predicts: Annotated[
        str, Meta(min_length=1, description="Its target; it counts where the slot's parameter is `predicted` by this.")
    ]
    trees: Annotated[str, Meta(description="LightGBM's text; they ask the user features alone, in their order.")]
    golden: Golden


class Regressions(Struct, frozen=True, forbid_unknown_fields=True):
    """`heads.json`: slot -> parameter -> what predicts it."""

    slots: dict[str, dict[str, Head]]
