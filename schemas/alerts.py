"""What an operator should look at: a series of the site that is not what it was, since when, and how sure that is."""

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


DETECTORS: Final = {
    Detector.EWMA: "A weighted average has left its control limits; `size` in standard deviations of the average.",
    Detector.PAGE_HINKLEY: (
        "A cumulative sum has run away; `size` is how far, in standard deviations of one window's value."
    ),
    Detector.ADWIN: (
        "Two parts of a stretch differ; `size` is by how much, in standard deviations of one window's value."
    ),
}


class Alert(Struct, frozen=True, tag_field="v", tag=1):
    """One change of one series, told once by each detector that sees it: a record of the topic `alerts`."""

    at: Annotated[int, Meta(description="End of the window at which it was seen, ms since 1970.")]
    since: Annotated[int, Meta(description="Start of the first window not as before, by estimate, ms since 1970.")]
    what: Annotated[Detector, Meta(description="What saw it.")]
    subject: Annotated[str, Meta(description="The slot, or `*` for the whole site.")]
    series: Annotated[
        str, Meta(description="`exposures`, `clicks`, `errors`, `rage` in a window; `click_rate`: clicks per exposure.")
    ]
    value: Annotated[float, Meta(description="Mean since then, in the series' unit.")]
    expected: Annotated[float, Meta(description="Mean before, as far back as the detectors look.")]
    size: Annotated[float, Meta(description="How great the change is, in the detector's unit; below 0 for a fall.")]
    sure: Annotated[float, Meta(ge=0, le=1, description="1 less the chance of such an alarm if nothing had changed.")]
    words: Annotated[str, Meta(description="The same as a sentence.")]
