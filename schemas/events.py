"""What a person did: one click, scroll, dwell or purchase, as a tracker sends it and as the suite passes it on."""

from enum import Enum
from typing import Annotated, Final

from msgspec import Meta, Struct


class Kind(Enum):
    """What a person can do. The order is the code in narrow columns (1, 2, ...): append, never reorder."""

    VIEW = "view"
    CLICK = "click"
    SCROLL = "scroll"
    HOVER = "hover"
    DWELL = "dwell"
    SEARCH = "search"
    CART = "cart"
    PURCHASE = "purchase"
    RATE = "rate"
    FORM = "form"
    RAGE = "rage"
    ERROR = "error"
    EXPOSURE = "exposure"
    IDENTIFY = "identify"
    CONSENT = "consent"
    BACK = "back"
    SENTIMENT = "sentiment"
    ASK = "ask"


CODE: Final = {kind: code for code, kind in enumerate(Kind, start=1)}
"""Kind -> its code in the narrow integer column; 0 is a pulse, -1 a rejected record."""

PULSE_CODE: Final = 0
REJECTED_CODE: Final = -1
ERASE_CODE: Final = 100
"""Of a row that asks to forget a person: it comes from the topic `control`, so no tracker can send it."""
WITHDRAWN_CODE: Final = 99
"""Of a consent event that no longer grants `personalize`; such a row is an event like any other, and ends memory.

The greatest code of an event: what lies beyond is said by no tracker."""

QUIET_CODE: Final = 102
"""Of a row that says that a user has been silent for a while: it comes from the clock of the log, from no tracker."""
LAPSED_CODE: Final = 103
"""Of a row that says that a user has been silent for `time.memory`: it ends memory."""

PULSE_BODY: Final = b'{"kind":"pulse"}'
"""The record written to every partition of the raw topic, so that a silent partition stops no window."""

PULSE_USER: Final = ""
"""The user id under which pulses travel to the heartbeat; no person has it."""

ANONYMOUS: Final = "anonymous"
"""Who did what may not be said: the user id of events whose person has agreed to no purpose that needs a name."""


class Purpose(Enum):
    """What a person may agree to."""

    PERSONALIZE = "personalize"
    LEARN = "learn"
    MEASURE = "measure"


class Device(Enum):
    """What kind of device an event came from."""

    DESKTOP = "desktop"
    MOBILE = "mobile"
    TABLET = "tablet"
    TV = "tv"
    OTHER = "other"


class Connection(Enum):
    """How fast the device's connection is."""

    SLOW = "slow"
    MEDIUM = "medium"
    FAST = "fast"


UserId = Annotated[str, Meta(min_length=1, max_length=256, description="The tracker's id of the person.")]
Text = Annotated[str, Meta(max_length=256)]
Moment = Annotated[int, Meta(ge=0, le=4_102_444_800_000)]
Scalar = str | int | float | bool | None


class RawEvent(Struct, frozen=True, gc=False):
    """One event as a tracker sends it in our own JSON. Fields it does not know are ignored."""

    user_id: UserId
    kind: Annotated[Kind, Meta(description="What the person did.")]
    event_id: Annotated[Text | None, Meta(description="The tracker's id of the event.")] = None
    occurred_at: Annotated[
        Moment | None, Meta(description="The device's clock, ms since 1970; data, never the event time.")
    ] = None
    item: Annotated[Text | None, Meta(description="The catalogue item it was about.")] = None
    page: Annotated[Annotated[str, Meta(max_length=512)] | None, Meta(description="Path of the page.")] = None
    dwell_ms: Annotated[
        Annotated[int, Meta(ge=0, le=86_400_000)] | None, Meta(description="Attentive time, ms (at most a day).")
    ] = None
    scroll: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="Depth reached, share of the page, 0 to 1.")
    ] = None
    value: Annotated[
        Annotated[float, Meta(ge=-1e12, le=1e12)] | None,
        Meta(description="Price, rating, sentiment or size; the site's unit."),
    ] = None
    slot: Annotated[Text | None, Meta(description="Exposures: the slot that was shown.")] = None
    decision_id: Annotated[Text | None, Meta(description="Exposures and outcomes: the decision they answer.")] = None
    shown: Annotated[Text | None, Meta(description="Exposures: the arm or item that was really shown.")] = None
    position: Annotated[
        Annotated[int, Meta(ge=0, le=10_000)] | None, Meta(description="Place in the list, from 0.")
    ] = None
    items: Annotated[
        Annotated[list[Text], Meta(max_length=500)] | None,
        Meta(description="The items of a list, in its order: of one that was shown, or is to be put in order (`ask`)."),
    ] = None
    account_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256)] | None,
        Meta(description="Who it is once they are known, where `user_id` is a device or a cookie."),
    ] = None
    sent_at: Annotated[Moment | None, Meta(description="The device's clock when it sent the event, ms since 1970.")] = (
        None
    )
    received_at: Annotated[Moment | None, Meta(description="The collector's clock, ms since 1970.")] = None
    consent: Annotated[
        Annotated[dict[Text, bool], Meta(max_length=100)] | None,
        Meta(description="What the person agreed to, by purpose; a purpose that is not named is not granted."),
    ] = None
    robot: Annotated[bool | None, Meta(description="Whether the tracker takes the user for a robot.")] = None
    user_agent: Annotated[
        Annotated[str, Meta(max_length=2048)] | None, Meta(description="What the browser says of itself.")
    ] = None
    language: Annotated[Text | None, Meta(description="Of the browser or device, such as `en-GB`.")] = None
    country: Annotated[Text | None, Meta(description="As the tracker says it, mostly an ISO 3166 code.")] = None
    region: Annotated[Text | None, Meta(description="The country's part, as the tracker says it.")] = None
    time_zone: Annotated[Text | None, Meta(description="Name such as `Europe/Athens`.")] = None
    connection: Annotated[
        Text | None, Meta(description="Of the device: an effective type such as `3g`, or `wifi`, `ethernet`.")
    ] = None
    duration_ms: Annotated[
        Annotated[int, Meta(ge=0, le=864_000_000)] | None, Meta(description="Length of the content itself, ms.")
    ] = None
    tcf: Annotated[
        Annotated[str, Meta(max_length=4096)] | None,
        Meta(description="Consent string of the IAB's Transparency and Consent Framework, version 2."),
    ] = None
    gpc: Annotated[
        bool | None, Meta(description="Global Privacy Control: whether the browser asks not to be sold.")
    ] = None
    ip: Annotated[Text | None, Meta(description="Address of the device: looked up for its country, never kept.")] = None
    properties: Annotated[
        Annotated[dict[Text, Scalar], Meta(max_length=100)] | None,
        Meta(description="Whatever else the tracker says; only names that `clean.properties` lists are kept."),
    ] = None


class Event(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="v", tag=1):
    """One accepted event, canonical, under the person's pseudonym: a record of the topic `events`."""

    user_id: Annotated[str, Meta(description="Pseudonym: key id, colon, keyed hash; `anonymous` without consent.")]
    at: Annotated[int, Meta(description="Event time: the raw record's Kafka timestamp, ms since 1970.")]
    kind: Kind
    event_id: str | None = None
    occurred_at: Annotated[
        int | None,
        Meta(description="When it happened, ms since 1970: the device's clock, set right, never after `at`."),
    ] = None
    item: str | None = None
    page: str | None = None
    dwell_ms: int | None = None
    scroll: float | None = None
    value: float | None = None
    slot: str | None = None
    decision_id: str | None = None
    shown: str | None = None
    position: int | None = None
    account: Annotated[
        str | None, Meta(description="Pseudonym of the account, once the person has said who they are.")
    ] = None
    late: Annotated[bool, Meta(description="Happened longer ago than `clean.max_lateness`: counts in no signal.")] = (
        False
    )
    robot: Annotated[bool, Meta(description="Its tracker or its user agent says it is no person.")] = False
    clipped: Annotated[
        list[str], Meta(description="Fields whose value was beyond belief and was cut to its bound.")
    ] = []
    denied: Annotated[list[Purpose], Meta(description="Purposes the person has not agreed to.")] = []
    device: Device | None = None
    connection: Connection | None = None
    language: Annotated[str | None, Meta(description="Primary language of the browser, such as `en`.")] = None
    country: Annotated[str | None, Meta(description="ISO 3166 code, or as the tracker says it.")] = None
    region: str | None = None
    hour: Annotated[int | None, Meta(description="Hour of the day where the person is, 0 to 23.")] = None
    properties: Annotated[
        dict[str, str | int | float | bool], Meta(description="What `clean.properties` lets through.")
    ] = {}
    items: Annotated[list[str] | None, Meta(description="ask: the items to put in order, as the page has them.")] = None
