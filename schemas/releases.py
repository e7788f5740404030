"""What was authored or learned, as immutable versions: the index line and the files of each channel."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

Channel = Literal["catalogue", "model", "norms", "anomalies", "segments", "rules", "policy", "flags", "heads"]

FILES: dict[Channel, str] = {
    "catalogue": "items.jsonl",
    "model": "model.txt",
    "norms": "norms.json",
    "anomalies": "anomalies.json",
    "segments": "segments.json",
    "rules": "rules.json",
    "policy": "policy.json",
    "flags": "flags.json",
    "heads": "heads.json",
}
"""The payload of each channel; a model's `manifest.json` lies beside it."""


DECIDING: Final[tuple[Channel, ...]] = (
    "catalogue",
    "model",
    "segments",
    "anomalies",
    "rules",
    "policy",
    "flags",
    "heads",
)
"""Channels whose releases decisions are made by: records name one of each, see `schemas.decisions.Versions`."""


class Release(Struct, frozen=True, omit_defaults=True):
    """One line of `store/<channel>/index.jsonl`."""

    version: Annotated[
        str,
        Meta(
            description="A letter and a number that grows: c1, c2 ... for catalogues, m for models, n for norms, "
            "a for anomalies, s for segments, r for rules, p for policies, f for flags, h for heads."
        ),
    ]
    sha256: Annotated[str, Meta(description="Of the payload file.")]
    effective_at: Annotated[
        int, Meta(ge=0, description="First slice end it decides, or event time it cleans, ms since 1970.")
    ]
    parent: str = ""
    reason: str = ""


class Golden(Struct, frozen=True):
    """Rows a model must score as it did where it was made: features in order, and the expected scores."""

    rows: list[list[float]]
    scores: list[float]


class Lineage(Struct, frozen=True, omit_defaults=True):
    """Where a model comes from: what it learned from and how, and how it did on people and times it never saw."""

    outcomes: Annotated[int, Meta(ge=0, description="Lists it learned from, each as one person was shown it.")]
    rows: Annotated[int, Meta(ge=0, description="Items on them.")]
    first: Annotated[int, Meta(description="When the reward of the first of them was counted, ms since 1970.")]
    last: Annotated[int, Meta(description="The same of the last.")]
    code: Annotated[str, Meta(description="Versions of the suite and of LightGBM.")]
    parameters: Annotated[
        dict[str, str | int | float | bool], Meta(description="What it was trained with: the settings of `train`.")
    ]
    parent: Annotated[str, Meta(description="The model it was held against; empty: the prefilter's order.")] = ""
    scores: Annotated[
        dict[str, float], Meta(description="Measure -> its value where it was judged; `parent_`: the parent's there.")
    ] = {}
    left_out: Annotated[dict[str, int], Meta(description="Why outcomes were not learned from -> how many.")] = {}


class Manifest(Struct, frozen=True, omit_defaults=True):
    """What a model file must keep: its feature names, in order, and its golden rows."""

    features: list[str]
    golden: Golden
    lineage: Lineage | None = None
