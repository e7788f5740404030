"""What a team wants to happen when: rules and experiments, the payload of the channel `rules`."""

from datetime import datetime
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field, json

from schemas.durations import Millis
from schemas.slots import Params, Slot

MAX_WATCHED: Final = 4
"""Cases that may have to hold for a while: the fold keeps a column of each, when it last did not hold."""

ELSE: Final = "else"
"""What is said of a rule of which no case held, in place of the case's name."""

Moment = Annotated[datetime, Meta(tz=True)]
Share = Annotated[float, Meta(ge=0, le=1)]
Size = Literal["low", "medium", "high"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Hour = Annotated[int, Meta(ge=0, le=24)]


class Action(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a rule does to its slot."""

    arms: Annotated[list[str], Meta(description="variant, trigger: the arms that are left; the policy draws.")] = []
    set: Annotated[Params, Meta(description="params: what they are set to.")] = {}
    pin: Annotated[list[str], Meta(description="rerank: items that come first, in this order.")] = []
    bury: Annotated[list[str], Meta(description="rerank: items that come last.")] = []
    hide: Annotated[list[str], Meta(description="rerank: interests of which nothing is shown.")] = []
    boost: Annotated[dict[str, float], Meta(description="rerank: interest -> what is added to its items' scores.")] = {}


class Schedule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a rule may act at all."""

    since: Moment | None = None
    until: Moment | None = None
    hours: Annotated[
        list[Hour], Meta(description="From and until: hours of the person's day, [22, 6] over midnight; [] any.")
    ] = []
    days: Annotated[list[Day], Meta(description="Days of the week in UTC; [] any.")] = []


class Case(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One condition and what follows from it."""

    when: Annotated[str, Meta(description="Over signals, segment, cluster, surroundings; see conf/rules.toml.")]
    then: Action
    about: str = ""
    hold: Annotated[Millis, Meta(description="How long the condition must have held.")] = field(
        default=Millis(0), name="for"
    )
    min_events: Annotated[int, Meta(ge=0, description="Events the session needs first.")] = 0
    schedule: Schedule = Schedule()
    confidence: Annotated[
        str, Meta(description="How sure it is: a formula, for slots that resolve by confidence; empty: 1.")
    ] = ""
    impact: Size = "medium"
    effort: Size = "medium"


class Rule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one slot does in some cases, which stand in order: the first that holds speaks for the rule."""

    slot: str
    cases: Annotated[dict[str, Case], Meta(min_length=1)]
    about: str = ""
    otherwise: Annotated[Action | None, Meta(description="What follows where none of them holds.")] = field(
        default=None, name=ELSE
    )
    priority: Annotated[int, Meta(description="Of several rules that speak, the highest counts.")] = 0
    weight: Annotated[float, Meta(gt=0, description="For slots that resolve by weight: share of the draws.")] = 1.0


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    """From when on which share of the people takes part."""

    at: Moment
    share: Share


class Namespace(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Experiments of one namespace share its people out among them."""

    name: str
    since: Share = field(name="from")
    until: Share


class Treatment(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One arm of an experiment: how its people are treated otherwise."""

    weight: Annotated[float, Meta(gt=0)] = 1.0
    control: Annotated[bool, Meta(description="These people get the slot's default, and nothing else.")] = False
    policy: Annotated[str, Meta(description="The slot's policy for them; empty: the usual one.")] = ""
    arms: Annotated[list[str], Meta(description="The slot's arms that are left to them; [] all.")] = []
    refresh: Annotated[Millis | None, Meta(description="In place of the guards' `refresh`.")] = None
    rules: Annotated[bool, Meta(description="Whether rules count for them.")] = True


class Experiment(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """People of one slot, shared out by a hash of who they are."""

    slot: str
    arms: Annotated[dict[str, Treatment], Meta(min_length=2)]
    about: str = ""
    salt: Annotated[str, Meta(description="Seed of the hash; empty: the experiment's name.")] = ""
    when: Annotated[str, Meta(description="Who may take part: a condition; empty: everybody.")] = ""
    namespace: Namespace | None = None
    ramp: Annotated[list[Step], Meta(description="[]: everybody from the start.")] = []


class Holdout(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """People who get the default in every slot, so that the whole can be measured."""

    share: Share = 0.0
    salt: str = "holdout"


class Rulebook(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`rules.json`: all that a team authored, as one release."""

    seed: Annotated[str, Meta(min_length=1, description="Of all draws; changing it redraws every user.")]
    valid: Annotated[int, Meta(ge=1, description="How long a decision counts, ms.")]
    counters: Annotated[list[str], Meta(description="What exposures are counted by: `slot` or `slot/arm`.")]
    slots: dict[str, Slot]
    rules: dict[str, Rule] = {}
    experiments: dict[str, Experiment] = {}
    holdout: Holdout = Holdout()
    stale: Annotated[int, Meta(ge=0, description="Age after which a model is not asked any more, ms; 0: none.")] = 0
    explain: Annotated[Share, Meta(description="Of the lists, whose records say what made the first score.")] = 0.0
    lists: Annotated[list[str], Meta(description="Slots with a list whose items are counted one by one.")] = []


def encoded(book: Rulebook) -> bytes:
    """Write a rulebook; the order of its tables stays, for it is their priority."""
    return json.format(json.encode(book, enc_hook=int), indent=1)


def decoded(payload: bytes) -> Rulebook:
    """Read a rulebook; raises msgspec.MsgspecError where it is none."""
    return _decoder.decode(payload)


def _millis(kind: type, value: object) -> object:
    if kind is Millis and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Millis(value)
    raise ValueError(f"expected whole milliseconds, got {value!r}")


_decoder: Final = json.Decoder(Rulebook, dec_hook=_millis)
