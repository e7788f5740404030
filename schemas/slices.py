"""One user's moment: what they did in one slice, and what the running sums remember of them."""

from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import fields

from schemas.slots import MAX_CAPPED


class Moment(Struct, frozen=True):
    """One row per user and slice that is due: the columns of the view `due`, in the order `decide` takes them.

    Counts and sums are integers, so that neither their order nor the parallelism can change them.
    """

    user_id: str
    slice_end: Annotated[int, Meta(description="End of the slice, ms since 1970; the decision's `seq`.")]
    first_ms: Annotated[int, Meta(description="Event time of the slice's first event.")]
    last_ms: Annotated[int, Meta(description="Event time of the slice's last event.")]
    farewell: Annotated[bool, Meta(description="The person withdrew their consent, or is to be forgotten.")]
    robot: Annotated[bool, Meta(description="Its user agent, its tracker or its pace says it is no person.")]
    unlearned: Annotated[bool, Meta(description="Some event of the slice came without consent to `learn`.")]
    unmeasured: Annotated[bool, Meta(description="Some event of the slice came without consent to `measure`.")]
    clipped: Annotated[bool, Meta(description="Some value in the slice was beyond belief, and cut.")]
    events: Annotated[int, Meta(description="Events in the slice; so are the counts by kind.")]
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
    dwell_ms: Annotated[int, Meta(description="Sum of attentive time in the slice.")]
    scroll_permille: Annotated[int, Meta(description="Deepest scroll in the slice, thousandths of the page.")]
    points: Annotated[int, Meta(description="Engagement of the slice, thousandths of a point.")]
    prev_ms: Annotated[int, Meta(description="Event time of the last event before the slice; 0: none remembered.")]
    session_start: Annotated[int, Meta(description="Event time of the session's first event.")]
    session_slices: int
    session_events: int
    session_clicks: int
    session_dwell_ms: int
    life_slices: Annotated[int, Meta(description="Slices within `memory`, this one included.")]
    life_points: int
    life_squares: Annotated[int, Meta(description="Sum of squared points, millionths of a squared point.")]
    tally_0: Annotated[int, Meta(description="Slices of the session up to the first of `norms.STRENGTHS`; so on.")]
    tally_1: int
    tally_2: int
    tally_3: int
    tally_4: int
    tally_5: int
    tally_6: int
    tally_7: int
    landmark: Annotated[int, Meta(description="From when the fading sums count, ms since 1970.")]
    fading_fast: Annotated[float, Meta(description="Points, each grown by exp((slice_end - landmark) / tau).")]
    fading_mid: float
    fading_slow: float
    clicked: Annotated[str, Meta(description="The item clicked last, empty if none.")]
    account: Annotated[str, Meta(description="Pseudonym of the account the person named last, empty if none.")]
    shown_0: Annotated[int, Meta(description="Exposures of the first capped slot in this session, this slice's too.")]
    shown_1: int
    shown_2: int
    shown_3: int


MOMENT: Final = tuple(field.name for field in fields(Moment))
TALLIES: Final = tuple(name for name in MOMENT if name.startswith("tally_"))
SHOWN: Final = tuple(f"shown_{lane}" for lane in range(MAX_CAPPED))
