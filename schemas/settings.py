"""Every number a team may change, with its type, unit and bounds; the values live in conf/."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from schemas.clusters import MAX_CLUSTERS
from schemas.durations import Millis
from schemas.events import Kind, Purpose
from schemas.formats import Format
from schemas.lanes import MAX_COUNTERS, MAX_INTERESTS
from schemas.rules import Experiment, Holdout, Rule, Share
from schemas.segments import Segments
from schemas.slots import Slot


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the settings; a key it does not know is an error."""


Count = Annotated[int, Meta(ge=1)]
Points = Annotated[float, Meta(ge=-1000, le=1000)]
Weight = Annotated[int, Meta(ge=0, le=100)]


class Kafka(Section, frozen=True):
    """The broker."""

    bootstrap: str
    group: str
    wait: Millis
    exactly_once: bool


class Redis(Section, frozen=True):
    """Where the cards are served from."""

    url: str
    prefix: Annotated[str, Meta(pattern=r"^[a-z0-9]{1,16}$")]
    connect_timeout: Millis
    command_timeout: Millis
    keys_per_call: Count
    pause: Millis
    grace: Millis


class Time(Section, frozen=True):
    """Slices, sessions, memory."""

    slice: Millis
    pulse: Millis
    disorder: Millis
    idle: Millis
    session_gap: Millis
    session_cap: Millis
    memory: Millis


class Clean(Section, frozen=True):
    """What is let in, and how it is made trustworthy."""

    format: str
    max_bytes: Count
    kept_bytes: Annotated[int, Meta(ge=0)]
    max_lateness: Millis
    duplicates: Millis
    properties: list[str]
    geo_file: str


class Granted(Section, frozen=True):
    """What grants one purpose: any of the categories, or all of the TCF's purposes."""

    categories: list[str]
    tcf: list[Annotated[int, Meta(ge=1, le=24)]]


class Consent(Section, frozen=True):
    """What a person has agreed to, from what their events say."""

    unknown: list[Purpose]
    gpc_denies: list[Purpose]
    tcf_vendor: Annotated[int, Meta(ge=0, le=65535)]
    purposes: dict[str, Granted]


class Robots(Section, frozen=True):
    """What no person does."""

    slice_events: Count
    session_actions: Count
    remembered: Millis


class Noise(Section, frozen=True):
    """What is beyond belief."""

    fence: Annotated[float, Meta(gt=0)]
    deviations: Annotated[float, Meta(gt=0)]
    min_slices: Annotated[int, Meta(ge=3)]
    min_events: Count


class Erase(Section, frozen=True):
    """How a person is forgotten."""

    tombstone: Millis
    wait: Millis


class Watch(Section, frozen=True):
    """When a series of the site is no more what it was."""

    window: Millis
    stretch: Millis
    start: Annotated[int, Meta(ge=10)]
    disorder: Millis
    weight: Annotated[float, Meta(gt=0, le=1)]
    width: Annotated[float, Meta(gt=0)]
    allowed: Annotated[float, Meta(gt=0)]
    threshold: Annotated[float, Meta(gt=0)]
    doubt: Annotated[float, Meta(gt=0, lt=1)]


class Pseudonyms(Section, frozen=True):
    """The keys that turn user ids into pseudonyms."""

    key_id: Annotated[str, Meta(pattern=r"^k[0-9]{1,4}$")]
    key: str
    key_file: str


class KindPoints(Section, frozen=True):
    """Engagement points of one event, by kind; dwell by the second, scroll by the page."""

    view: Points
    click: Points
    hover: Points
    search: Points
    cart: Points
    purchase: Points
    rate: Points
    form: Points
    rage: Points
    error: Points
    dwell_second: Points
    scroll_page: Points


class Liking(Section, frozen=True):
    """How much one event with an item says for the item's interest, by kind; whole numbers, so that sums are exact."""

    view: Weight
    click: Weight
    hover: Weight
    dwell: Weight
    cart: Weight
    purchase: Weight
    rate: Weight


class SignalSettings(Section, frozen=True):
    """Horizons and weights of the signals."""

    fast: Millis
    mid: Millis
    slow: Millis
    baseline_slices: Annotated[int, Meta(ge=2)]
    quick_back: Millis
    expected_gap: Millis
    interests: Annotated[list[str], Meta(max_length=MAX_INTERESTS)]
    rating: Annotated[list[float], Meta(min_length=2, max_length=2)]
    liking: Liking
    points: KindPoints


class Quiet(Section, frozen=True):
    """How long a person is silent until that itself is an event."""

    pause: Millis
    gone: Millis


class Clusters(Section, frozen=True):
    """How k-means segments are found."""

    features: list[str]
    k: Annotated[int, Meta(ge=2, le=MAX_CLUSTERS)]
    layers: list[Annotated[int, Meta(ge=2)]]
    half_life: Millis
    match_within: Annotated[float, Meta(gt=0)]
    every: Millis
    min_rows: Count
    max_rows: Count


class Decide(Section, frozen=True):
    """When and how a user is decided."""

    refresh: Millis
    urgent: list[Kind]
    valid: Millis
    seed: Annotated[str, Meta(min_length=1)]
    stale: Millis
    relearn: Annotated[
        Millis, Meta(description="How soon a session hears what was learned since it began; 0ms: it never does.")
    ]
    explain: Share


class Learn(Section, frozen=True):
    """How what was shown and what came of it find each other, and how soon that is learned from."""

    window: Annotated[Millis, Meta(description="Of every outcome: no slot's `reward.within` is longer.")]
    disorder: Millis
    period: Millis
    news: Share
    uncertain: Share
    half_life: Millis


class Gates(Section, frozen=True):
    """What a model must show on people and times it never saw before it is published."""

    lists: Annotated[
        int, Meta(ge=2, description="Lists of which something was clicked that it is judged by, at least.")
    ]
    ndcg: Annotated[float, Meta(ge=0, description="By how much its NDCG may lie below that of the live model.")]
    log_loss: Annotated[float, Meta(ge=0, description="By what share its log loss may lie above that.")]
    noise: Annotated[float, Meta(gt=0, description="Standard errors from which on a difference is no chance.")]
    calibration: Annotated[
        float, Meta(gt=0, description="Expected calibration error, at most, as a share of the mean chance.")
    ]


class Train(Section, frozen=True):
    """How a ranking model is learned from outcomes."""

    objective: Literal["binary", "cross_entropy", "lambdarank"]
    trees: Annotated[int, Meta(ge=1, le=2000)]
    leaves: Annotated[int, Meta(ge=2, le=255)]
    learning_rate: Annotated[float, Meta(gt=0, le=1)]
    leaf_rows: Count
    l2: Annotated[float, Meta(ge=0)]
    patience: Count
    min_rows: Count
    max_rows: Count
    position_weights: bool
    propensity_weights: bool
    clip: Annotated[float, Meta(ge=1)]
    held_out: Annotated[float, Meta(gt=0, lt=1)]
    watched: Annotated[float, Meta(gt=0, lt=1)]
    newest: Annotated[float, Meta(gt=0, lt=1)]
    among: Count
    every: Millis
    gates: Gates


class Scoreboard(Section, frozen=True):
    """When the off-policy scoreboard holds its tongue."""

    confidence: Annotated[float, Meta(gt=0, lt=1)]
    least_people: Count
    least_telling: Count
    clip: Annotated[float, Meta(ge=1)]


class Drift(Section, frozen=True):
    """When what models see and say, and what comes of it, is no more what it was."""

    window: Annotated[Millis, Meta(description="The newest outcomes, which are looked at.")]
    stretches: Annotated[int, Meta(ge=2, le=1000, description="Equal parts of it, by which it is told since when.")]
    reference: Annotated[Millis, Meta(description="Before it, where a model does not say what it learned from.")]
    least: Annotated[int, Meta(ge=50, description="People on both sides of a slot, else nothing is said of it.")]
    most: Annotated[int, Meta(ge=50, description="People on either side that are looked at.")]
    doubt: Annotated[float, Meta(gt=0, lt=1, description="Share of false ones among what is said to have drifted.")]
    psi: Annotated[float, Meta(ge=0, description="What is below is too small to matter, however sure.")]
    calibration: Annotated[float, Meta(ge=0, description="The same, as a share of the mean promise.")]
    allowed: Annotated[float, Meta(gt=0, description="Page-Hinkley: deviations a part of the window may be off.")]
    every: Millis


class Exposures(Section, frozen=True):
    """What was shown, and how often: the counters that caps and cooldowns ask."""

    counters: Annotated[list[str], Meta(max_length=MAX_COUNTERS)]
    lists: list[str]


class Releases(Section, frozen=True):
    """Where releases lie and how workers follow them."""

    store: str
    poll: Millis
    lead: Millis
    load_timeout: Millis


class Flink(Section, frozen=True):
    """How the job runs."""

    parallelism: Count
    checkpoint: Millis
    checkpoint_dir: str
    state: Literal["heap", "rocksdb"]
    bundle_rows: Count
    bundle_time: Millis
    watermark_interval: Millis
    buffer_timeout: Millis
    rest_port: Annotated[int, Meta(ge=0, le=65535)]


class Topic(Section, frozen=True):
    """One Kafka topic."""

    about: str
    partitions: Count
    config: dict[str, str]


class Settings(Section, frozen=True):
    """All of it."""

    kafka: Kafka
    redis: Redis
    time: Time
    clean: Clean
    consent: Consent
    robots: Robots
    noise: Noise
    erase: Erase
    watch: Watch
    pseudonyms: Pseudonyms
    signals: SignalSettings
    quiet: Quiet
    clusters: Clusters
    decide: Decide
    learn: Learn
    scoreboard: Scoreboard
    drift: Drift
    train: Train
    releases: Releases
    flink: Flink
    topics: dict[str, Topic]
    formats: dict[str, Format]
    exposures: Exposures
    slots: dict[str, Slot]
    rules: dict[str, Rule]
    experiments: dict[str, Experiment]
    holdout: Holdout
    segments: Segments


SECRETS: Final = frozenset({"pseudonyms.key", "redis.url"})
"""Paths that `--print-config` masks."""
