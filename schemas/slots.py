"""The places that may be adjusted, as a team declares them in conf/slots.toml."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from schemas.durations import Millis
from schemas.events import Kind
from schemas.policies import Fixed, Policy

NOTHING: Final = "none"
"""The arm of a trigger slot that shows nothing; it is there without being declared."""

OWN: Final = "weights"
"""The policy that every slot has: its arms' weights."""

Scalar = str | int | float | bool
Params = dict[str, Scalar]
Resolve = Literal["priority", "weight", "recency", "confidence"]


class Arm(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One option of a slot."""

    weight: Annotated[float, Meta(gt=0, description="Share of the draws, relative to its siblings.")] = 1.0
    params: Params = {}


ALL: Final = "*"
"""In place of a counter: all slots that are counted."""


class Cap(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often something may be shown before the slot's default takes over."""

    shown: Annotated[int, Meta(ge=1, description="Exposures after which the draw is held back.")]
    per: Annotated[Literal["session", "day", "life"], Meta(description="In which they count; a day is one of UTC.")] = (
        "session"
    )
    of: Annotated[
        str, Meta(description="A counter, `slot` or `slot/arm`; empty: the slot's own; *: all slots that are counted.")
    ] = ""


class Guards(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What holds a slot's choice back, so that its default is shown."""

    caps: list[Cap] = []
    cooldown: Annotated[Millis, Meta(description="How long it must be since the slot was last shown.")] = Millis(0)
    quiet_when: Annotated[
        str, Meta(description="A condition; while it holds, nobody is disturbed (pacing). Empty: always open.")
    ] = ""
    min_events: Annotated[int, Meta(ge=0, description="Events the session needs first: minimum evidence.")] = 0
    confidence: Annotated[
        float, Meta(ge=0, le=1, description="Least probability of the likeliest arm, for leaving the default.")
    ] = 0.0
    refresh: Annotated[
        Millis, Meta(description="Draw anew in each such stretch of a session; 0ms: an arm is kept for the session.")
    ] = Millis(0)
    changes: Annotated[int, Meta(ge=0, description="At most so many new draws in a session; 0: no limit.")] = 0


class Reward(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What counts as success once a slot was shown: events of some kinds, soon after; never more than 1 in all."""

    worth: Annotated[
        dict[Kind, Annotated[float, Meta(gt=0, le=1)]],
        Meta(min_length=1, description="Kind of event -> what one is worth."),
    ]
    within: Annotated[Millis, Meta(description="How long after the exposure; at most `learn.window`.")]
    most: Annotated[
        dict[Kind, Annotated[int, Meta(ge=1)]], Meta(description="Kind -> how many of it count; not named: 1.")
    ] = {}
    by: Annotated[
        Literal["decision", "item", "person"],
        Meta(description="Which events: those that quote the decision, those about an item it showed, or any."),
    ] = "decision"


class Windows(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How alike neighbours in a list may be."""

    most: Annotated[int, Meta(ge=1, description="Items of one interest ...")]
    window: Annotated[int, Meta(ge=2, description="... within so many places in a row.")]


class Rerank(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="rerank"):
    """A slot whose items are put in order."""

    length: Annotated[int, Meta(ge=1, le=100, description="Items shown.")]
    candidates: Annotated[int, Meta(ge=1, le=500, description="Items the prefilter keeps for the model.")]
    explore: Annotated[float, Meta(ge=0, le=1, description="Share of the places that are drawn from the rest.")] = 0.0
    relevance: Annotated[
        float, Meta(gt=0, le=1, description="Weight of the score against sameness (MMR's lambda); 1: the score alone.")
    ] = 1.0
    windows: Windows | None = None
    opened: Annotated[
        Literal["keep", "last", "out"],
        Meta(description="What becomes of items clicked in this session."),
    ] = "keep"
    most_shown: Annotated[
        int,
        Meta(ge=0, description="How often a session's lists show an item, see `exposures.lists`; 0: no limit."),
    ] = 0
    resolve: Resolve = "priority"
    guards: Guards = Guards()
    reward: Reward | None = None


class Variant(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="variant"):
    """A slot that shows one of several arms."""

    arms: Annotated[dict[str, Arm], Meta(min_length=1)]
    default: str
    policies: dict[str, Policy] = {}
    policy: Annotated[str, Meta(description="Which of the policies draws; weights: the arms' own.")] = OWN
    shadow: Annotated[list[str], Meta(description="Policies that are worked out and logged, never shown.")] = []
    resolve: Resolve = "priority"
    guards: Guards = Guards()
    reward: Reward | None = None


class Trigger(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="trigger"):
    """A slot that shows nothing until a rule asks for it: a nudge."""

    arms: Annotated[dict[str, Arm], Meta(min_length=1)]
    policies: dict[str, Policy] = {}
    policy: str = OWN
    shadow: list[str] = []
    resolve: Resolve = "priority"
    guards: Guards = Guards()
    reward: Reward | None = None


class Knob(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One parameter of content."""

    default: Scalar
    options: Annotated[list[Scalar], Meta(description="What it may be; empty: anything of the default's type.")] = []
    least: float | None = None
    most: float | None = None
    predicted: Annotated[
        str,
        Meta(
            description="By what it is set: the target of a regression on the person's signals, released as a head. "
            "Rules still come first. Empty: by rules alone."
        ),
    ] = ""
    cuts: Annotated[
        list[float],
        Meta(description="Of options, which then stand in order: a prediction up to the first cut takes the first."),
    ] = []
    step: Annotated[
        float, Meta(ge=0, description="Of a number: it moves from `least` on in such steps; 0: freely, or by 1.")
    ] = 0.0


class Content(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="params"):
    """A slot that sets parameters of content: its length, density, tone."""

    params: Annotated[dict[str, Knob], Meta(min_length=1)]
    resolve: Resolve = "priority"
    guards: Guards = Guards()
    reward: Reward | None = None


Slot = Rerank | Variant | Trigger | Content
Armed = Variant | Trigger


def policies(slot: Armed) -> dict[str, Policy]:
    """Give the policies of a slot by name, its arms' weights among them.

    >>> list(policies(Variant({"x": Arm()}, "x")))
    ['weights']
    """
    return {OWN: Fixed(), **slot.policies}


def options(slot: Armed) -> tuple[str, ...]:
    """Name a slot's arms in the order in which they are drawn: that of their names, not of the file.

    >>> options(Variant({"b": Arm(), "a": Arm()}, "a")), options(Trigger({"tip": Arm()}))
    (('a', 'b'), ('tip',))
    """
    return tuple(sorted(slot.arms))
