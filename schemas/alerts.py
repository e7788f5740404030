"""What an operator should look at: what is not what it was on the site or in its models, since when, how surely."""

from enum import Enum
from typing import Annotated, Final

from msgspec import Meta, Struct

SITE: Final = "*"
"""In the place of a slot: the whole site."""


class Detector(Enum):
    """What saw it."""

    EWMA = "ewma"
    PAGE_HINKLEY = "page_hinkley"
    ADWIN = "adwin"
    DRIFT = "drift"
    CALIBRATION = "calibration"


DETECTORS: Final = {
    Detector.EWMA: "A weighted average has left its control limits; `size` in standard deviations of the average.",
    Detector.PAGE_HINKLEY: (
        "A cumulative sum has run away; `size` is how far, in standard deviations of one window's value."
    ),
    Detector.ADWIN: (
        "Two parts of a stretch differ; `size` is by how much, in standard deviations of one window's value."
    ),
    Detector.DRIFT: (
        "A column of outcomes is spread otherwise than in the reference; `size` is the population stability index."
    ),
    Detector.CALIBRATION: (
        "What comes of items has moved against what a model promises of them; `size` is by how much, on average."
    ),
}


class Alert(Struct, frozen=True, tag_field="v", tag=1, omit_defaults=True):
    """One change of one series, told once by each detector that sees it: a record of the topic `alerts`."""

    at: Annotated[int, Meta(description="End of the window at which it was seen, ms since 1970.")]
    since: Annotated[int, Meta(description="Start of the first window not as before, by estimate, ms since 1970.")]
    what: Annotated[Detector, Meta(description="What saw it.")]
    subject: Annotated[str, Meta(description="The slot, or `*` for the whole site.")]
    series: Annotated[
        str,
        Meta(
            description="`exposures`, `clicks`, `errors`, `rage` in a window; `click_rate`: clicks per exposure. Of "
            "outcomes: a signal, `score`, `arms` that were chosen, `calibration` of the scores, `reward`."
        ),
    ]
    value: Annotated[
        float,
        Meta(
            description="Mean since then, in the series' unit; arms: share of the one that has changed most; "
            "calibration: the expected calibration error."
        ),
    ]
    expected: Annotated[
        float, Meta(description="The same before, as far back as the detectors look; of outcomes, in the reference.")
    ]
    size: Annotated[float, Meta(description="How great the change is, in the detector's unit; below 0 for a fall.")]
    sure: Annotated[float, Meta(ge=0, le=1, description="1 less the chance of such an alarm if nothing had changed.")]
    words: Annotated[str, Meta(description="The same as a sentence.")]
    against: Annotated[
        str,
        Meta(description="Of outcomes: the reference. What the model `m12` learned from, or from when to when it was."),
    ] = ""
