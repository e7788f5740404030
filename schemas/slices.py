"""One user's moment: what they did in one slice, and what the running sums remember of them."""

from typing import Annotated, Final, NamedTuple

from msgspec import Meta, Struct
from msgspec.structs import fields

from schemas.lanes import (
    BITS,
    FIELD_LANES,
    MAX_COUNTERS,
    MAX_INTERESTS,
    PER_NUMBER,
    SHOWN_LANES,
    spots,
)
from schemas.norms import STRENGTHS

Each = Annotated[list[int], Meta(description="One count for each.")]


class Moment(Struct, frozen=True):
    """One row per user and slice: what signals are made of, and decisions.

    Counts and sums are integers, so that neither their order nor the parallelism can change them. Lists are columns of
    several numbers each, (n, length).
    """

    user_id: str
    clicked: Annotated[str, Meta(description="The item clicked last, empty if none.")]
    context: Annotated[
        str, Meta(description="Surroundings known last: device|connection|language|country|region|hour.")
    ]
    account: Annotated[str, Meta(description="Pseudonym of the account the person named last, empty if none.")]
    asked: Annotated[str, Meta(description="The slot and the items a page asked the order of in the slice; or empty.")]
    met: Annotated[str, Meta(description="The items met in this session, see udfs/cleaning/meeting.py; or empty.")]

    farewell: Annotated[bool, Meta(description="The person withdrew their consent, or is to be forgotten.")]
    robot: Annotated[bool, Meta(description="Its user agent, its tracker or its pace says it is no person.")]
    unlearned: Annotated[bool, Meta(description="The newest slice with events holds one without consent to `learn`.")]
    unmeasured: Annotated[bool, Meta(description="The same of `measure`.")]

    events: Annotated[int, Meta(description="Events in the slice, 0 at a silence; so are the counts by kind.")]
    n_view: int
    n_click: int
    n_scroll: int
    n_hover: int
    n_dwell: int
    n_search: int
    n_cart: int
    n_purchase: int
    n_rate: int
    n_form: int
    n_rage: int
    n_error: int
    n_exposure: int
    n_back: int
    n_sentiment: int
    moods: Annotated[int, Meta(description="Ratings and sentiments with a value in the slice.")]
    mood: Annotated[int, Meta(description="Their sum, each -1000 to 1000.")]
    dwell_ms: Annotated[int, Meta(description="Sum of attentive time in the slice.")]
    scroll_permille: Annotated[int, Meta(description="Deepest scroll in the slice, thousandths of the page.")]
    n_clipped: Annotated[int, Meta(description="Events of the slice with a value beyond belief, which was cut.")]

    slice_end: Annotated[int, Meta(description="End of the slice, ms since 1970; the decision's `seq`.")]
    first_ms: Annotated[int, Meta(description="Event time of the slice's first event; at a silence, its last ms.")]
    last_ms: Annotated[int, Meta(description="Event time of the newest event.")]
    points: Annotated[int, Meta(description="Engagement of the slice, thousandths of a point.")]
    prev_ms: Annotated[int, Meta(description="Event time of the last event before the slice; 0: none remembered.")]
    session_start: Annotated[int, Meta(description="Event time of the session's first event.")]
    landmark: Annotated[int, Meta(description="From when the fading sums count, ms since 1970.")]
    session_slices: int
    session_events: int
    session_dwell_ms: int
    session_mood: int
    session_response_ms: Annotated[int, Meta(description="Sum of the times to react, see `response_ms`.")]
    session_clicks: int
    session_views: int
    session_searches: int
    session_carts: int
    session_purchases: int
    session_forms: int
    session_rages: int
    session_errors: int
    session_backs: Annotated[int, Meta(description="Slices with a quick return, see `signals.quick_back`.")]
    session_hovers: int
    session_responses: Annotated[int, Meta(description="Slices with a click whose page is known.")]
    session_moods: int
    shown: Annotated[Each, Meta(description="Exposures in this session by counter, this slice's too.")]
    shown_day: Annotated[Each, Meta(description="The same in this day of UTC.")]
    shown_life: Annotated[Each, Meta(description="The same within memory.")]
    shown_ms: Annotated[Each, Meta(description="The last event of the slice of the last exposure; 0: none.")]
    tallies: Annotated[Each, Meta(description="Slices of the session by engagement, see `norms.STRENGTHS`.")]
    depths: Annotated[Each, Meta(description="Slices of the session by deepest scroll, in six classes.")]
    session_fields: Annotated[Each, Meta(description="Edits of form fields, by a hash of the field.")]
    session_liking: Annotated[Each, Meta(description="Liking shown in this session, by interest.")]
    born: Annotated[int, Meta(description="Event time of the first event remembered.")]
    sessions: Annotated[int, Meta(description="Sessions within memory, this one too.")]
    recency_ms: Annotated[int, Meta(description="The silence before this session; 0: none.")]
    gaps_ms: Annotated[int, Meta(description="Sum of the silences between them.")]
    life_slices: Annotated[int, Meta(description="Slices with events within memory, this one included.")]
    life_points: int
    life_squares: Annotated[int, Meta(description="Sum of squared points, millionths of a squared point.")]
    life_moods: int
    life_mood: int
    life_liking: Annotated[Each, Meta(description="Liking shown within memory, by interest.")]
    carts: Annotated[int, Meta(description="Things put in the cart since the last purchase.")]
    cart_ms: Annotated[int, Meta(description="When the last thing was put in the cart; 0: never.")]
    search_ms: int
    click_ms: int
    purchase_ms: int
    response_ms: Annotated[
        int, Meta(description="From the page seen to the slice's first click; -1 where either is missing.")
    ]
    quick_back: Annotated[int, Meta(description="1 where the person turned back right after a page came.")]

    fading_fast: Annotated[float, Meta(description="Points, each grown by exp((slice_end - landmark) / tau).")]
    fading_mid: float
    fading_slow: float
    fading_slices: Annotated[float, Meta(description="Slices with events, grown likewise over the middle horizon.")]
    fading_squares: Annotated[float, Meta(description="The same, by the square of what each grew by.")]
    fading_trouble: Annotated[float, Meta(description="Rage clicks, errors, quick returns, over the middle horizon.")]

    bits: Annotated[
        int, Meta(description="What speaks for and against each rule segment now, see udfs/segments/membership.py.")
    ]
    entered: Annotated[Each, Meta(description="When each rule segment was last spoken for, ms since 1970; 0: never.")]
    left: Annotated[Each, Meta(description="When each was last spoken against; 0: never.")]
    unheld: Annotated[Each, Meta(description="When each case of a rule with a `for` last did not hold; 0: never.")]


MOMENT: Final = tuple(field.name for field in fields(Moment))

TEXTS: Final = ("user_id", "clicked", "context", "account", "asked", "met")

COUNTED: Final = tuple(MOMENT[MOMENT.index("events") : MOMENT.index("slice_end")])
"""What travels in the array `counted`, in order."""

_LIKING: Final = range(-(-MAX_INTERESTS // PER_NUMBER))

SUMMED: Final = (
    *("slice_end", "first_ms", "last_ms", "points", "prev_ms", "session_start", "landmark"),
    *("session_slices", "session_events", "session_dwell_ms", "session_mood", "session_response_ms"),
    *(
        "kinds_0",
        "kinds_1",
        "kinds_2",
        "kinds_3",
        "shown_p0",
        "shown_p1",
        "tally_p0",
        "tally_p1",
        "tally_p2",
        "depth_p0",
        "depth_p1",
    ),
    *(f"session_fields_p{number}" for number in range(len(FIELD_LANES))),
    *(f"session_liking_p{number}" for number in _LIKING),
    *(
        "born",
        "sessions",
        "recency_ms",
        "gaps_ms",
        "life_slices",
        "life_points",
        "life_squares",
        "life_moods",
        "life_mood",
    ),
    *(f"life_liking_p{number}" for number in _LIKING),
    *("carts", "cart_ms", "search_ms", "click_ms", "purchase_ms"),
    *(f"{column}_p{number}" for column in ("shown_day", "shown_life") for number in range(len(SHOWN_LANES))),
    *(f"shown_ms.{place}" for place in range(MAX_COUNTERS)),
    *("response_ms", "quick_back", "refusals"),
)
"""What travels in the array `summed`, in order; some of it packed."""

FLAGS: Final = ("farewell", "robot")
REALS: Final = tuple(name for name in MOMENT if name.startswith("fading_"))

LENGTHS: Final = {
    **dict.fromkeys(("shown", "shown_day", "shown_life", "shown_ms"), MAX_COUNTERS),
    "tallies": len(STRENGTHS) + 1,
    "depths": 6,
    "session_fields": len(spots(FIELD_LANES)),
    "session_liking": MAX_INTERESTS,
    "life_liking": MAX_INTERESTS,
}
"""Column of several counts -> how many."""


def numbered(column: str) -> tuple[str, ...]:
    """Name the counts of a column.

    >>> numbered("shown")
    ('shown.0', 'shown.1', 'shown.2', 'shown.3', 'shown.4', 'shown.5')
    """
    return tuple(f"{column}.{place}" for place in range(LENGTHS[column]))


class Pack(NamedTuple):
    """Several small counts in one number.

    Attributes:
        names: of the counts, the lowest first.
        bits: of each.
    """

    names: tuple[str, ...]
    bits: int = BITS


def _packs(column: str) -> dict[str, Pack]:
    names = numbered(column)
    starts = range(0, len(names), PER_NUMBER)
    return {f"{column}_p{number}": Pack(names[start : start + PER_NUMBER]) for number, start in enumerate(starts)}


PACKS: Final = {
    "kinds_0": Pack(("session_clicks", "session_views", "session_searches")),
    "kinds_1": Pack(("session_carts", "session_purchases", "session_forms")),
    "kinds_2": Pack(("session_rages", "session_errors", "session_backs")),
    "kinds_3": Pack(("session_hovers", "session_responses", "session_moods")),
    "tally_p0": Pack(numbered("tallies")[:3]),
    "tally_p1": Pack(numbered("tallies")[3:6]),
    "tally_p2": Pack(numbered("tallies")[6:]),
    "depth_p0": Pack(numbered("depths")[:3]),
    "depth_p1": Pack(numbered("depths")[3:]),
    "refusals": Pack(("unmeasured", "unlearned"), bits=1),
    **_packs("shown"),
    **_packs("shown_day"),
    **_packs("shown_life"),
    **_packs("session_fields"),
    **_packs("session_liking"),
    **_packs("life_liking"),
}
"""Packed number -> the counts in it."""
