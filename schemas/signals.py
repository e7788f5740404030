"""The named numbers about a user at a slice end: their units, neutral values, and the order a model sees them in."""

from typing import Annotated, Final

from msgspec import Meta, Struct


def unit(name: str, description: str) -> Meta:
    """Say in which unit a signal counts, and what it means."""
    return Meta(description=description, extra_json_schema={"unit": name})


class Signals(Struct, frozen=True, omit_defaults=True):
    """One user at one slice end. A field's default is its neutral value: what is assumed where nothing is known."""

    events: Annotated[int, unit("events", "Events in the slice.")] = 0
    n_view: Annotated[int, unit("events", "Pages or items seen in the slice.")] = 0
    n_click: Annotated[int, unit("events", "Clicks in the slice.")] = 0
    n_scroll: Annotated[int, unit("events", "Scrolls in the slice.")] = 0
    n_hover: Annotated[int, unit("events", "Hovers in the slice.")] = 0
    n_dwell: Annotated[int, unit("events", "Dwell reports in the slice.")] = 0
    n_search: Annotated[int, unit("events", "Searches in the slice.")] = 0
    n_cart: Annotated[int, unit("events", "Things put in the cart in the slice.")] = 0
    n_purchase: Annotated[int, unit("events", "Purchases in the slice.")] = 0
    n_rate: Annotated[int, unit("events", "Ratings given in the slice.")] = 0
    n_form: Annotated[int, unit("events", "Form edits in the slice.")] = 0
    n_rage: Annotated[int, unit("events", "Rage clicks in the slice.")] = 0
    n_error: Annotated[int, unit("events", "Errors met in the slice.")] = 0
    n_exposure: Annotated[int, unit("events", "Decisions really shown in the slice.")] = 0
    dwell_s: Annotated[float, unit("s", "Attentive time in the slice.")] = 0.0
    scroll: Annotated[float, unit("share", "Deepest scroll in the slice, 0 to 1.")] = 0.0
    engagement: Annotated[float, unit("points", "Engagement of the slice: its events weighted by conf.")] = 0.0
    rate_fast: Annotated[float, unit("points/s", "Engagement rate, bias-corrected EMA over the fast horizon.")] = 0.0
    rate_mid: Annotated[float, unit("points/s", "The same over the middle horizon.")] = 0.0
    rate_slow: Annotated[float, unit("points/s", "The same over the slow horizon.")] = 0.0
    velocity: Annotated[float, unit("points/s", "rate_fast - rate_slow: above 0, the user is warming up.")] = 0.0
    acceleration: Annotated[
        float, unit("points/s", "(rate_fast - rate_mid) - (rate_mid - rate_slow): above 0, ever faster.")
    ] = 0.0
    gap_s: Annotated[float, unit("s", "Silence before the slice; 0 for a user not remembered.")] = 0.0
    session_age_s: Annotated[float, unit("s", "From the session's first event to the slice end.")] = 0.0
    session_depth: Annotated[int, unit("slices", "Slices of the session so far.")] = 0
    session_events: Annotated[int, unit("events", "Events of the session so far.")] = 0
    session_clicks: Annotated[int, unit("events", "Clicks of the session so far.")] = 0
    session_dwell_s: Annotated[float, unit("s", "Attentive time of the session so far.")] = 0.0
    baseline: Annotated[float, unit("points", "Mean engagement of the user's earlier slices.")] = 0.0
    spread: Annotated[float, unit("points", "Standard deviation of the same.")] = 0.0
    zscore: Annotated[float, unit("deviations", "This slice's engagement against the user's own baseline.")] = 0.0
    unusual: Annotated[
        float, unit("deviations", "The same against the session's median, in scaled median absolute deviations.")
    ] = 0.0


USER_FEATURES: Final = (
    "rate_fast",
    "rate_mid",
    "rate_slow",
    "velocity",
    "acceleration",
    "gap_s",
    "session_age_s",
    "session_depth",
    "session_clicks",
    "zscore",
)
ITEM_FEATURES: Final = ("popularity", "quality", "age_h", "same_interest", "same_item")

FEATURES: Final = USER_FEATURES + ITEM_FEATURES
"""The order in which a model sees the numbers. A model whose names differ is refused."""
