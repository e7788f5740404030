"""What came of arms that were drawn and shown: one play of each, and the sums of a period from which is learned."""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.policies import Learned


class Play(Struct, frozen=True, array_like=True):
    """What one outcome says of the arm that was shown."""

    id: Annotated[str, Meta(description="Decision id with its slot.")]
    slot: str
    arm: str
    segment: str
    cluster: int
    reward: float
    x: Annotated[dict[str, float], Meta(description="Signal -> its value, for linear policies; none: nobody asks.")]


class Period(Struct, frozen=True, omit_defaults=True):
    """A record of the topic `plays`: the sums of all outcomes that were due in one period."""

    v: Annotated[int, Meta(description="Version of this contract: 1.")]
    until: Annotated[int, Meta(description="End of the period, ms since 1970.")]
    plays: Annotated[int, Meta(ge=0, description="Outcomes that are summed here.")]
    slots: Annotated[dict[str, Learned], Meta(description="Slot -> its sums; `linear` here without the identity.")]
