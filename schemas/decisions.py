"""What was decided for one user at one moment: the record of the topic, and the smaller card that Redis holds."""

from enum import Enum
from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas.signals import Signals


class Why(Enum):
    """Why a slot holds what it holds."""

    SCORE = "SCORE"
    POPULAR = "POPULAR"
    SPLIT = "SPLIT"
    CAPPED = "CAPPED"
    ROBOT = "ROBOT"
    DEFAULT = "DEFAULT"


MEANING: Final = {
    Why.SCORE: "The model's order.",
    Why.POPULAR: "No model is in force: the prefilter's order.",
    Why.SPLIT: "A draw from the configured distribution.",
    Why.CAPPED: "Shown often enough: the default arm.",
    Why.ROBOT: "No person asks: what everybody gets.",
    Why.DEFAULT: "Nothing is known of the person: the default arm, the prefilter's order.",
}


class Unfit(Enum):
    """Why learning leaves a decision out."""

    CONSENT = "consent"
    ROBOT = "robot"
    CLIPPED = "clipped"
    OUTLIER = "outlier"


class SlotCard(Struct, frozen=True, omit_defaults=True):
    """One slot, as a page needs it."""

    id: Annotated[str, Meta(description="Decision id; an exposure or outcome quotes it.")]
    kind: Annotated[str, Meta(description="rerank or variant.")]
    p: Annotated[float, Meta(description="Exact probability of this choice under the policy.")]
    reason: Why
    expires: Annotated[int, Meta(description="ms since 1970; later, the choice is stale.")]
    items: Annotated[list[str] | None, Meta(description="rerank: item ids, best first.")] = None
    arm: Annotated[str | None, Meta(description="variant: the arm.")] = None
    params: Annotated[dict[str, str | int | float | bool] | None, Meta(description="variant: its parameters.")] = None
    why: Annotated[list[str] | None, Meta(description="The reason in words.")] = None


class Versions(Struct, frozen=True, omit_defaults=True):
    """The releases that were in force; an absent one was not there."""

    catalogue: str | None = None
    model: str | None = None
    segments: str | None = None
    anomalies: str | None = None


class Context(Struct, frozen=True, omit_defaults=True):
    """A person's surroundings as they were known last; empty: not known."""

    device: Annotated[str, Meta(description="desktop, mobile, tablet, tv or other.")] = ""
    connection: Annotated[str, Meta(description="slow, medium or fast.")] = ""
    language: str = ""
    country: str = ""
    region: str = ""


class Card(Struct, frozen=True, omit_defaults=True):
    """The Redis value `<prefix>:{<user>}:d`: everything a page view reads, in one key."""

    v: Annotated[int, Meta(description="Version of this contract: 1.")]
    seq: Annotated[int, Meta(description="Slice end, ms since 1970; a greater one replaces a smaller one.")]
    at: Annotated[int, Meta(description="Event time of the newest event it knows, ms since 1970.")]
    expires: Annotated[int, Meta(description="ms since 1970; the latest expiry of its slots.")]
    slots: dict[str, SlotCard]
    ver: Versions
    segment: Annotated[
        str, Meta(description="The rule segment the person is in now, the first of several; empty: none.")
    ] = ""
    cluster: Annotated[int, Meta(description="The k-means segment, by its id in the release; 0: none.")] = 0


class Draw(Struct, frozen=True):
    """How an arm was drawn, so that anyone can draw it again."""

    key: Annotated[str, Meta(description="What was hashed: seed, slot, user, session start.")]
    value: Annotated[float, Meta(description="The hash, mapped to [0, 1).")]
    arms: Annotated[list[str], Meta(description="The options, in order.")]
    p: Annotated[list[float], Meta(description="Their probabilities.")]


class Guard(Struct, frozen=True):
    """A guard's state when it was asked."""

    name: str
    count: int
    limit: int
    held: Annotated[bool, Meta(description="Whether it held the draw back.")]


class Trace(Struct, frozen=True, omit_defaults=True):
    """What led to one slot's choice. What an item scored follows from the releases, `clicked` and `signals`."""

    candidates: Annotated[int | None, Meta(description="rerank: how many of the catalogue's items were scored.")] = None
    scores: Annotated[list[float] | None, Meta(description="rerank: those of the slot's items, in their order.")] = None
    draw: Draw | None = None
    guards: list[Guard] | None = None


class Decision(Struct, frozen=True, omit_defaults=True):
    """A record of the topic `decisions`: the card, and what is needed to recompute it."""

    user_id: str
    v: int
    seq: int
    at: int
    expires: int
    slots: dict[str, SlotCard]
    ver: Versions
    signals: Signals
    session: Annotated[int, Meta(description="Start of the session, ms since 1970: the epoch of the draws.")]
    clicked: Annotated[str, Meta(description="The item clicked last.")] = ""
    trace: dict[str, Trace] = {}
    context: Context = Context()
    segment: str = ""
    cluster: int = 0
    spoken: Annotated[
        dict[str, list[int]],
        Meta(description="Rule segment -> when it was last spoken for and against, ms since 1970; 0: never."),
    ] = {}
    account: Annotated[str, Meta(description="Pseudonym of the account, once the person has said who they are.")] = ""
    unfit: Annotated[list[Unfit], Meta(description="Why learning leaves it out; empty where it does not.")] = []
    unmeasured: Annotated[bool, Meta(description="The person has not agreed to `measure`.")] = False


class Sort(Enum):
    """What tells segments apart."""

    RULES = "rules"
    CLUSTERS = "clusters"


class Membership(Struct, frozen=True, omit_defaults=True):
    """A change of segment: a record of the topic `segments`, and the newest of each sort in Redis."""

    v: Annotated[int, Meta(description="Version of this contract: 1.")]
    seq: Annotated[int, Meta(description="Slice end, ms since 1970: since when.")]
    user_id: str
    by: Sort
    segment: Annotated[str, Meta(description="Name of the rule segment, or of the cluster; empty: none.")] = ""
    prev: Annotated[str, Meta(description="The one before; empty: none.")] = ""
    layers: Annotated[list[int], Meta(description="clusters: the groups it lies in, the narrowest first.")] = []
    ver: Annotated[str, Meta(description="clusters: the release that tells them apart.")] = ""


class Heartbeat(Struct, frozen=True):
    """The Redis value `<prefix>:meta`: how far the whole pipeline has come, carried by the pulses."""

    v: int
    seq: Annotated[int, Meta(description="Newest slice end that reached Redis, ms since 1970.")]
    acked: Annotated[int, Meta(description="Wall clock of the writer, ms since 1970.")]
