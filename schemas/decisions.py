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
    LEARNED = "LEARNED"
    RULE = "RULE"
    HEAD = "HEAD"
    QUIET = "QUIET"
    USUAL = "USUAL"
    HOLDOUT = "HOLDOUT"
    CONTROL = "CONTROL"
    OFF = "OFF"
    CAPPED = "CAPPED"
    COOLDOWN = "COOLDOWN"
    PACED = "PACED"
    EARLY = "EARLY"
    UNSURE = "UNSURE"
    ROBOT = "ROBOT"
    DEFAULT = "DEFAULT"


MEANING: Final = {
    Why.SCORE: "The model's order.",
    Why.POPULAR: "No model is in force: the prefilter's order.",
    Why.SPLIT: "A draw from the configured distribution.",
    Why.LEARNED: "A draw from what was learned of the arms.",
    Why.RULE: "A rule asked for it; where it leaves several arms, a draw among them.",
    Why.HEAD: "What a model predicts of the person sets it.",
    Why.QUIET: "No rule asks for a nudge: nothing.",
    Why.USUAL: "No rule sets anything: the usual parameters.",
    Why.HOLDOUT: "One of the people by whom the whole is measured: the default.",
    Why.CONTROL: "The control group of an experiment: the default.",
    Why.OFF: "Switched off: the default.",
    Why.CAPPED: "Shown often enough: the default.",
    Why.COOLDOWN: "Shown a moment ago: the default.",
    Why.PACED: "The person is busy, or not in the mood: the default.",
    Why.EARLY: "Too little is known of the session: the default.",
    Why.UNSURE: "No arm is likely enough to be the best: the default.",
    Why.ROBOT: "No person asks: what everybody gets.",
    Why.DEFAULT: "Nothing is known of the person: the default arm, the prefilter's order.",
}


class Unfit(Enum):
    """Why learning leaves a decision out."""

    CONSENT = "consent"
    ROBOT = "robot"
    CLIPPED = "clipped"
    OUTLIER = "outlier"


class SlotCard(Struct, frozen=True, gc=False, omit_defaults=True):
    """One slot, as a page needs it."""

    id: Annotated[str, Meta(description="Decision id; an exposure or outcome quotes it.")]
    kind: Annotated[str, Meta(description="rerank, variant, trigger or params.")]
    p: Annotated[float, Meta(description="Exact probability of this choice under the policy.")]
    reason: Why
    expires: Annotated[int, Meta(description="ms since 1970; later, the choice is stale.")]
    items: Annotated[list[str] | None, Meta(description="rerank: item ids, best first.")] = None
    arm: Annotated[str | None, Meta(description="variant, trigger: the arm; none: nothing is shown.")] = None
    params: Annotated[dict[str, str | int | float | bool] | None, Meta(description="Parameters of the content.")] = None
    why: Annotated[list[str] | None, Meta(description="The reason in words.")] = None
    exp: Annotated[str | None, Meta(description="experiment:arm, where the person takes part in one.")] = None
    control: Annotated[bool, Meta(description="The person is in a control group, or held out.")] = False


class Versions(Struct, frozen=True, omit_defaults=True):
    """The releases that were in force; an absent one was not there."""

    catalogue: str | None = None
    model: str | None = None
    segments: str | None = None
    anomalies: str | None = None
    rules: str | None = None
    policy: Annotated[str | None, Meta(description="The one in force when the session began.")] = None
    flags: str | None = None
    heads: str | None = None


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


class Draw(Struct, frozen=True, gc=False):
    """How an arm was drawn, so that anyone can draw it again."""

    key: Annotated[str, Meta(description="What was hashed: seed, slot, user, session start, and which draw of it.")]
    value: Annotated[float, Meta(description="The hash, mapped to [0, 1).")]
    arms: Annotated[list[str], Meta(description="The options, in order.")]
    p: Annotated[list[float], Meta(description="Their probabilities.")]


class Guard(Struct, frozen=True):
    """A guard's state when it was asked."""

    name: Annotated[str, Meta(description="cap, cooldown, pacing, evidence, confidence, changes or stale.")]
    count: Annotated[int | float, Meta(description="What it found; a cooldown: ms since the slot was shown, -1 never.")]
    limit: int | float
    held: Annotated[bool, Meta(description="Whether it held the choice back.")]


class Spoke(Struct, frozen=True, omit_defaults=True):
    """A rule that spoke for its slot."""

    rule: str
    case: Annotated[str, Meta(description="The first of its cases that held; else: none of them did.")]
    won: Annotated[bool, Meta(description="Whether it had a say.")] = False
    rank: Annotated[float, Meta(description="By what it was held against the others: see the slot's `resolve`.")] = 0.0


class Part(Struct, frozen=True):
    """In which arm of an experiment a person is."""

    experiment: str
    arm: str
    bucket: Annotated[float, Meta(description="The hash of the person, mapped to [0, 1).")]


class Trace(Struct, frozen=True, gc=False, omit_defaults=True):
    """What led to one slot's choice. What an item scored follows from the releases, `clicked` and `signals`."""

    candidates: Annotated[int | None, Meta(description="rerank: how many of the catalogue's items were scored.")] = None
    scores: Annotated[list[float] | None, Meta(description="rerank: those of the slot's items, in their order.")] = None
    p: Annotated[
        list[float] | None, Meta(description="rerank: how likely each item was at its place; all 1: left out.")
    ] = None
    draw: Draw | None = None
    guards: list[Guard] | None = None
    rules: list[Spoke] | None = None
    policy: str | None = None
    shadow: Annotated[
        dict[str, list[float]] | None,
        Meta(description="Policies that were not asked: their probabilities of the arms."),
    ] = None
    part: Part | None = None
    heads: Annotated[
        dict[str, float] | None,
        Meta(description="params: parameter -> what the model predicts by which it is set, where no rule sets it."),
    ] = None
    contributions: Annotated[
        dict[str, float] | None,
        Meta(description="rerank, of a sample: what adds most to the first item's raw score, the largest first."),
    ] = None


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
    opened: Annotated[list[str], Meta(description="The items clicked in this session, by name.")] = []
    seen: Annotated[
        dict[str, int], Meta(description="Item -> how often this session's lists showed it, see `exposures.lists`.")
    ] = {}
    trace: dict[str, Trace] = {}
    context: Context = Context()
    segment: str = ""
    cluster: int = 0
    spoken: Annotated[
        dict[str, list[int]],
        Meta(description="Rule segment -> when it was last spoken for and against, ms since 1970; 0: never."),
    ] = {}
    held: Annotated[
        dict[str, int],
        Meta(description="rule.case with a `for` -> since when it has held, ms since 1970; 0: it does not."),
    ] = {}
    shown: Annotated[
        dict[str, list[int]],
        Meta(
            description="Counter -> exposures in this session, this day (UTC) and ever, and when last, ms since 1970."
        ),
    ] = {}
    asked: Annotated[
        list[str],
        Meta(description="A list whose order a page asked for: its slot, and its items as the page has them."),
    ] = []
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


class SlotTable(Struct, frozen=True):
    """One slot of a `PolicyTable`: how likely each arm is for somebody who was never decided for."""

    reason: Annotated[Why, Meta(description="What the card of a draw says: SPLIT or LEARNED.")]
    names: Annotated[list[str], Meta(description="The arms, in the order in which they share [0, 1) out.")]
    arms: Annotated[
        dict[str, dict[str, str | int | float | bool]], Meta(description="Arm -> parameters of its content.")
    ]
    segments: Annotated[
        dict[str, list[float]],
        Meta(description="Rule segment -> exact probabilities; the empty name: everybody whose segment is not named."),
    ]


class HeldOut(Struct, frozen=True):
    """The people by whom the whole is measured: nothing is drawn for them, they see the default."""

    share: Annotated[float, Meta(description="Who hashes below it is held out, by GrowthBook's hash, version 2.")]
    salt: Annotated[str, Meta(description="The seed of the hash; its value is the pseudonym.")]


class PolicyTable(Struct, frozen=True, omit_defaults=True):
    """The Redis value `<prefix>:policy`: what a page may draw from for those of whom there is no card, see Reading."""

    v: int
    seq: Annotated[int, Meta(description="Slice end, ms since 1970; a greater one replaces a smaller one.")]
    expires: Annotated[int, Meta(description="ms since 1970; later, nothing is drawn from it.")]
    seed: Annotated[str, Meta(description="Of all draws; the ticket is of `seed|slot|user|session`.")]
    slots: Annotated[
        dict[str, SlotTable],
        Meta(
            description="Rules and guards are not applied. Left out are triggers, slots with an experiment, slots that "
            "are switched off, and those whose policy asks about a person's signals."
        ),
    ]
    ver: Versions
    holdout: HeldOut | None = None
