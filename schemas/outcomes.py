"""What came of what was shown: one record for each slot that a person really saw, with its reward, to learn from."""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.decisions import Context, SlotCard, Trace, Unfit, Versions
from schemas.events import Kind
from schemas.signals import Signals


class Outcome(Struct, frozen=True, omit_defaults=True):
    """A record of the topic `outcomes`: training row, play of a bandit and row of an experiment in one."""

    id: Annotated[str, Meta(description="Decision id with its slot, `moment.slot`: one outcome for each.")]
    user_id: str
    v: Annotated[int, Meta(description="Version of this contract: 1.")]
    slot: str
    at: Annotated[int, Meta(description="Event time of the first exposure, ms since 1970.")]
    due: Annotated[int, Meta(description="When the reward was counted, ms since 1970: `learn.window` after `at`.")]
    reward: Annotated[float, Meta(ge=0, le=1, description="See the slot's `reward` in the rules that decided it.")]
    seq: Annotated[int, Meta(description="Slice end of the decision, ms since 1970.")]
    session: Annotated[int, Meta(description="Start of the session, ms since 1970.")]
    card: Annotated[SlotCard, Meta(description="What was decided, with its exact probability.")]
    ver: Versions
    signals: Signals
    trace: Annotated[Trace, Meta(description="What led to it: options and their probabilities, scores, shadows.")] = (
        Trace()
    )
    uncertainty: Annotated[
        float, Meta(description="How unsure the choice was, 0 to 1, see udfs/learning/uncertainty.py.")
    ] = 0.0
    hits: Annotated[dict[Kind, int], Meta(description="Kind -> events of it that counted.")] = {}
    gains: Annotated[dict[str, float], Meta(description="rerank: item -> what the events about it were worth.")] = {}
    shown: Annotated[str, Meta(description="The arm or item that the page says it showed; empty: it says none.")] = ""
    position: Annotated[int, Meta(description="rerank: place of the page's `shown` in the list, from 0.")] = 0
    clicked: Annotated[str, Meta(description="The item clicked last before the decision.")] = ""
    opened: Annotated[list[str], Meta(description="The items clicked before it in the session.")] = []
    context: Context = Context()
    segment: str = ""
    cluster: int = 0
    asked: Annotated[list[str], Meta(description="The list whose order the page asked for: its slot, its items.")] = []
    unfit: Annotated[list[Unfit], Meta(description="Why learning leaves it out; empty where it does not.")] = []
    unmeasured: Annotated[bool, Meta(description="The person has not agreed to `measure`.")] = False
