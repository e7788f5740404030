"""The registry of signals: the named numbers about a user at a slice end, what each means and how it is made."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import fields

Family = Literal["slice", "pace", "session", "reading", "trouble", "shop", "taste", "silence", "surroundings", "odd"]

FAMILIES: Final[dict[Family, str]] = {
    "slice": "What happened in the slice itself.",
    "pace": "How lively a person is, how that changes, and how unusual it is for them.",
    "session": "The visit so far, and the visits before it.",
    "reading": "How content is taken in.",
    "trouble": "Hesitation and frustration.",
    "shop": "Search and cart.",
    "taste": "Interests, how broad they are and how they shift; ratings and sentiment.",
    "silence": "Who has gone quiet, and whether they will be back.",
    "surroundings": "Where and when.",
    "odd": "Alarms, which rules can use as they use any other signal.",
}
"""Signals that belong together, in the order of the docs page."""


class Entry(Struct, frozen=True):
    """What the registry says of a signal, besides its name, its type and its neutral value.

    Attributes:
        family: whom it belongs to.
        unit: in which it counts.
        about: what it means.
        of: its formula over the columns of `schemas.slices.Moment`, the signals above it, the horizons `fast`, `mid`,
            `slow` (ms) and the functions of `udfs.signals.formulas`; empty: the column of the same name.
        horizon: how far back it looks.
        source: where the formula comes from: paper or standard, section.
        feature: whether a ranking model sees it.
    """

    family: Family
    unit: str
    about: str
    of: str
    horizon: str
    source: str
    feature: bool


def _signal(
    family: Family,
    unit: str,
    about: str,
    of: str = "",
    *,
    horizon: str = "slice",
    source: str = "",
    feature: bool = False,
) -> Meta:
    """Declare a signal; see Entry."""
    entry = Entry(family, unit, about, of, horizon, source, feature)
    return Meta(description=about, extra_json_schema={"unit": unit}, extra={"entry": entry})


_DECAY: Final = "Cormode et al., Forward Decay, ICDE 2009, III; bias as Kingma and Ba, Adam, ICLR 2015, 3"
_WELFORD: Final = "sample mean and deviation; exact from integer sums"
_LOMAX: Final = "Lomax, JASA 49, 1954: an exponential's rate under a Gamma prior (Schmittlein et al., 1987, 2)"


class Signals(Struct, frozen=True, omit_defaults=True):
    """One user at one slice end. A field's default is its neutral value: what is assumed where nothing is known."""

    events: Annotated[int, _signal("slice", "events", "Events in the slice; 0 at a silence.")] = 0
    n_view: Annotated[int, _signal("slice", "events", "Pages or items seen in the slice.")] = 0
    n_click: Annotated[int, _signal("slice", "events", "Clicks in the slice.")] = 0
    n_scroll: Annotated[int, _signal("slice", "events", "Scrolls in the slice.")] = 0
    n_hover: Annotated[int, _signal("slice", "events", "Hovers in the slice.")] = 0
    n_dwell: Annotated[int, _signal("slice", "events", "Dwell reports in the slice.")] = 0
    n_search: Annotated[int, _signal("slice", "events", "Searches in the slice.")] = 0
    n_cart: Annotated[int, _signal("slice", "events", "Things put in the cart in the slice.")] = 0
    n_purchase: Annotated[int, _signal("slice", "events", "Purchases in the slice.")] = 0
    n_rate: Annotated[int, _signal("slice", "events", "Ratings given in the slice.")] = 0
    n_form: Annotated[int, _signal("slice", "events", "Form edits in the slice.")] = 0
    n_rage: Annotated[int, _signal("slice", "events", "Rage clicks in the slice.")] = 0
    n_error: Annotated[int, _signal("slice", "events", "Errors met in the slice.")] = 0
    n_exposure: Annotated[int, _signal("slice", "events", "Decisions really shown in the slice.")] = 0
    n_back: Annotated[int, _signal("slice", "events", "Turns back to the page before in the slice.")] = 0
    n_sentiment: Annotated[int, _signal("slice", "events", "Sentiments told in the slice.")] = 0
    dwell_s: Annotated[float, _signal("slice", "s", "Attentive time in the slice.", "dwell_ms / 1000")] = 0.0
    scroll: Annotated[
        float, _signal("slice", "share", "Deepest scroll in the slice, 0 to 1.", "scroll_permille / 1000")
    ] = 0.0
    engagement: Annotated[
        float, _signal("slice", "points", "Engagement of the slice: its events weighted by conf.", "points / 1000")
    ] = 0.0

    rate_fast: Annotated[
        float,
        _signal(
            "pace",
            "points/s",
            "Engagement rate, bias-corrected EMA over the fast horizon.",
            "faded_rate(fading_fast, slice_end - landmark, fast)",
            horizon="signals.fast",
            source=_DECAY,
            feature=True,
        ),
    ] = 0.0
    rate_mid: Annotated[
        float,
        _signal(
            "pace",
            "points/s",
            "The same over the middle horizon.",
            "faded_rate(fading_mid, slice_end - landmark, mid)",
            horizon="signals.mid",
            source=_DECAY,
            feature=True,
        ),
    ] = 0.0
    rate_slow: Annotated[
        float,
        _signal(
            "pace",
            "points/s",
            "The same over the slow horizon.",
            "faded_rate(fading_slow, slice_end - landmark, slow)",
            horizon="signals.slow",
            source=_DECAY,
            feature=True,
        ),
    ] = 0.0
    velocity: Annotated[
        float,
        _signal(
            "pace",
            "points/s",
            "Above 0, the user is warming up.",
            "rate_fast - rate_slow",
            horizon="signals.fast against signals.slow",
            source="Appel, The Moving Average Convergence-Divergence Trading Method, 1979",
            feature=True,
        ),
    ] = 0.0
    surge: Annotated[
        float,
        _signal(
            "pace",
            "points/s",
            "The same within minutes: above 0, livelier than a moment ago.",
            "rate_fast - rate_mid",
            horizon="signals.fast against signals.mid",
            source="Appel, 1979",
        ),
    ] = 0.0
    drift: Annotated[
        float,
        _signal(
            "pace",
            "points/s",
            "The same over the session: above 0, livelier than at its start.",
            "rate_mid - rate_slow",
            horizon="signals.mid against signals.slow",
            source="Appel, 1979",
        ),
    ] = 0.0
    acceleration: Annotated[
        float,
        _signal(
            "pace",
            "points/s",
            "Above 0, ever faster: the velocity of now less that of a while ago.",
            "surge - drift",
            horizon="all three",
            source="second difference of the averages",
            feature=True,
        ),
    ] = 0.0
    baseline: Annotated[
        float,
        _signal(
            "pace",
            "points",
            "Mean engagement of the user's earlier slices.",
            "own_mean(life_slices, life_points, points, events, baseline_slices)",
            horizon="time.memory",
            source=_WELFORD,
        ),
    ] = 0.0
    spread: Annotated[
        float,
        _signal(
            "pace",
            "points",
            "Standard deviation of the same.",
            "own_spread(life_slices, life_points, life_squares, points, events, baseline_slices)",
            horizon="time.memory",
            source=_WELFORD,
        ),
    ] = 0.0
    gap_s: Annotated[
        float,
        _signal(
            "session",
            "s",
            "Silence before the slice; 0 for a user not remembered.",
            "gap(first_ms, prev_ms, events)",
            horizon="time.memory",
            feature=True,
        ),
    ] = 0.0
    session_age_s: Annotated[
        float,
        _signal(
            "session",
            "s",
            "From the session's first event to the slice end.",
            "(slice_end - session_start) / 1000",
            horizon="session",
            feature=True,
        ),
    ] = 0.0
    session_depth: Annotated[
        int,
        _signal(
            "session", "slices", "Slices of the session so far.", "session_slices", horizon="session", feature=True
        ),
    ] = 0
    session_events: Annotated[int, _signal("session", "events", "Events of the session so far.", horizon="session")] = 0
    session_clicks: Annotated[
        int, _signal("session", "events", "Clicks of the session so far.", horizon="session", feature=True)
    ] = 0
    session_views: Annotated[
        int, _signal("session", "events", "Pages or items seen in the session so far.", horizon="session")
    ] = 0
    session_dwell_s: Annotated[
        float,
        _signal("session", "s", "Attentive time of the session so far.", "session_dwell_ms / 1000", horizon="session"),
    ] = 0.0
    sessions: Annotated[
        int, _signal("session", "sessions", "Sessions remembered, this one too.", horizon="time.memory")
    ] = 0
    frequency: Annotated[
        float,
        _signal(
            "session",
            "sessions/day",
            "How often the person comes.",
            "sessions / at_least((slice_end - born) / 86400000, 1)",
            horizon="time.memory",
            source="the F of RFM; Hughes, Strategic Database Marketing, 1994",
        ),
    ] = 0.0
    recency_s: Annotated[
        float,
        _signal(
            "session",
            "s",
            "From the last event of the session before to the first of this one; 0 in a first session.",
            "recency_ms / 1000",
            horizon="time.memory",
            source="the R of RFM; Hughes, 1994",
        ),
    ] = 0.0
    zscore: Annotated[
        float,
        _signal(
            "pace",
            "deviations",
            "This slice's engagement against the user's own baseline.",
            "zscore(engagement, baseline, spread, events)",
            horizon="time.memory",
            source="standard score",
            feature=True,
        ),
    ] = 0.0
    unusual: Annotated[
        float,
        _signal(
            "pace",
            "deviations",
            "The same against the session's median, in scaled median absolute deviations.",
            "unusual(points, tallies, events, min_slices)",
            horizon="session",
            source="Hampel, JASA 69, 1974; Pearson, IEEE TCST 10, 2002",
        ),
    ] = 0.0

    scroll_p50: Annotated[
        float,
        _signal(
            "reading",
            "share",
            "Median of the depths scrolled to, by slices of the session.",
            "quantile_of_classes(depths, 0.5)",
            horizon="session",
            source="grouped median; linear within classes of a sixth",
        ),
    ] = 0.0
    scroll_p90: Annotated[
        float,
        _signal(
            "reading",
            "share",
            "The depth that one in ten exceeds.",
            "quantile_of_classes(depths, 0.9)",
            horizon="session",
        ),
    ] = 0.0
    dwell_share: Annotated[
        float,
        _signal(
            "reading",
            "share",
            "Attentive time as a share of the session.",
            "at_most(session_dwell_ms / (slice_end - session_start), 1)",
            horizon="session",
        ),
    ] = 0.0

    response_s: Annotated[
        float,
        _signal(
            "trouble",
            "s",
            "From the page seen to the slice's first click; -1 where there is none.",
            "seconds(response_ms)",
            source="response latency; of the slice's own pages only the first is known",
        ),
    ] = -1.0
    session_response_s: Annotated[
        float,
        _signal(
            "trouble",
            "s",
            "Mean of the same; 0 before the first.",
            "session_response_ms / session_responses / 1000",
            horizon="session",
        ),
    ] = 0.0
    hover_share: Annotated[
        float,
        _signal(
            "trouble",
            "share",
            "Hovers among hovers and clicks: looking without choosing.",
            "session_hovers / (session_hovers + session_clicks)",
            horizon="session",
        ),
    ] = 0.0
    form_edits: Annotated[
        int, _signal("trouble", "events", "Form edits of the session so far.", "session_forms", horizon="session")
    ] = 0
    form_reedits: Annotated[
        float,
        _signal(
            "trouble",
            "events",
            "Edits of fields that had been edited before, estimated.",
            "reedits(session_forms, session_fields)",
            horizon="session",
            source="linear counting; Whang et al., ACM TODS 15, 1990, 2",
        ),
    ] = 0.0
    frustration: Annotated[
        float,
        _signal(
            "trouble",
            "events/min",
            "Rage clicks, errors and quick returns, faded over the middle horizon.",
            "60 * faded_rate(fading_trouble, slice_end - landmark, mid)",
            horizon="signals.mid",
            source=_DECAY,
        ),
    ] = 0.0
    session_rages: Annotated[int, _signal("trouble", "events", "Rage clicks of the session.", horizon="session")] = 0
    session_errors: Annotated[int, _signal("trouble", "events", "Errors met in the session.", horizon="session")] = 0
    session_backs: Annotated[
        int, _signal("trouble", "slices", "Quick returns: back right after a page came.", horizon="session")
    ] = 0

    session_searches: Annotated[int, _signal("shop", "events", "Searches of the session.", horizon="session")] = 0
    searching: Annotated[
        int,
        _signal(
            "shop",
            "0 or 1",
            "Has searched, and clicked nothing since.",
            "later(search_ms, click_ms)",
            horizon="time.memory",
        ),
    ] = 0
    cart_items: Annotated[
        int, _signal("shop", "things", "Put in the cart since the last purchase.", "carts", horizon="time.memory")
    ] = 0
    cart_age_s: Annotated[
        float,
        _signal(
            "shop",
            "s",
            "Since the last of them; 0 with an empty cart.",
            "gap(slice_end, cart_ms, carts)",
            horizon="time.memory",
        ),
    ] = 0.0
    session_purchases: Annotated[int, _signal("shop", "events", "Purchases of the session.", horizon="session")] = 0

    taste: Annotated[
        float,
        _signal(
            "taste",
            "share",
            "Share of the session's liking that goes to its foremost interest.",
            "foremost(session_liking)",
            horizon="session",
        ),
    ] = 0.0
    diversity: Annotated[
        float,
        _signal(
            "taste",
            "share",
            "How evenly liking is spread over the interests: 0 all on one, 1 all alike.",
            "evenness(life_liking)",
            horizon="time.memory",
            source="Shannon entropy over its maximum; Pielou, J. Theor. Biol. 13, 1966",
        ),
    ] = 0.0
    shift: Annotated[
        float,
        _signal(
            "taste",
            "bits",
            "How far the session's interests are from those remembered, 0 to 1.",
            "divergence(session_liking, life_liking)",
            horizon="session against time.memory",
            source="Jensen-Shannon divergence; Lin, IEEE Trans. Inf. Theory 37, 1991, IV",
        ),
    ] = 0.0
    rating: Annotated[
        float,
        _signal(
            "taste",
            "-1 to 1",
            "Mean of ratings and sentiments, drawn towards 0 as by one more of 0.",
            "life_mood / (life_moods + 1) / 1000",
            horizon="time.memory",
            source="shrinkage by a prior of weight one",
        ),
    ] = 0.0
    session_rating: Annotated[
        float,
        _signal(
            "taste",
            "-1 to 1",
            "Mean of the session's ratings and sentiments.",
            "session_mood / session_moods / 1000",
            horizon="session",
        ),
    ] = 0.0

    silence_s: Annotated[
        float,
        _signal(
            "silence",
            "s",
            "Since the last event, in a moment of silence; else 0.",
            "silence(slice_end, prev_ms, events)",
        ),
    ] = 0.0
    expected_gap_s: Annotated[
        float,
        _signal(
            "silence",
            "s",
            "Between two sessions of this person, as their own gaps and the prior of conf let expect.",
            "(expected_gap + gaps_ms) / at_least(sessions, 1) / 1000",
            horizon="time.memory",
            source=_LOMAX,
        ),
    ] = 0.0
    churn_risk: Annotated[
        float,
        _signal(
            "silence",
            "probability",
            "That somebody with such gaps would have been back by now.",
            "returned_by(silence_s * 1000, at_least(sessions, 1), expected_gap + gaps_ms)",
            horizon="time.memory",
            source=_LOMAX,
        ),
    ] = 0.0

    hour: Annotated[int, _signal("surroundings", "h", "Hour of the day where the person is; -1: unknown.")] = -1

    chart: Annotated[
        float,
        _signal(
            "odd",
            "deviations",
            "Mean engagement of late against the own baseline, in its own standard errors.",
            "chart(fading_mid, fading_slices, fading_squares, baseline, spread)",
            horizon="signals.mid",
            source="EWMA control chart; Roberts, Technometrics 1, 1959; limits as Montgomery, SQC, 9.2",
        ),
    ] = 0.0
    anomaly: Annotated[
        float,
        _signal(
            "odd",
            "score",
            "How easily the moment is told from all others, 0 to 1; 0 without a release of `anomalies`.",
            source="isolation forest; Liu, Ting and Zhou, ICDM 2008",
        ),
    ] = 0.0


def _entry(annotation: Any) -> Entry:
    (meta,) = annotation.__metadata__
    entry: Entry = meta.extra["entry"]
    return entry


REGISTRY: Final = {field.name: _entry(field.type) for field in fields(Signals)}
"""Signal -> what is said of it, in order."""

USER_FEATURES: Final = tuple(name for name, entry in REGISTRY.items() if entry.feature)
ITEM_FEATURES: Final = ("popularity", "quality", "age_h", "same_interest", "same_item", "opened", "position")
"""Of an item beside a person; its position is the place, from 0, in the list a page asks the order of, else 0."""

FEATURES: Final = USER_FEATURES + ITEM_FEATURES
"""The order in which a model sees the numbers. A model whose names differ is refused."""
