"""What is strange in a moment: the payload of the channel `anomalies`, trees that tell rare moments from usual ones."""

from typing import Annotated, Final

from msgspec import Meta, Struct

LEAF: Final = -1
"""In the place of a feature: here a tree ends."""


class IsolationTree(Struct, frozen=True, forbid_unknown_fields=True):
    """One tree, node by node: each stands before its lower part, and that before its upper part."""

    feature: Annotated[list[int], Meta(description="Of each node, which feature it splits, from 0; -1 is a leaf.")]
    split: Annotated[list[float], Meta(description="Of each node that splits: values up to it go to the lower part.")]
    size: Annotated[list[int], Meta(description="Of each leaf: how many rows of the sample ended there.")]


class Isolation(Struct, frozen=True, forbid_unknown_fields=True):
    """`anomalies.json`: the trees of one release, and what they were grown from."""

    features: Annotated[list[str], Meta(min_length=1, description="The signals that are looked at, by name.")]
    sample: Annotated[int, Meta(ge=2, le=65_536, description="Rows each tree was grown from.")]
    rows: Annotated[int, Meta(ge=2, description="Moments these were drawn from.")]
    trees: Annotated[list[IsolationTree], Meta(min_length=1, max_length=1000)]


FEATURES: Final = (
    "events",
    "n_click",
    "n_rage",
    "n_error",
    "scroll",
    "rate_fast",
    "rate_slow",
    "velocity",
    "acceleration",
    "gap_s",
    "session_age_s",
    "session_depth",
    "session_events",
    "session_clicks",
    "session_dwell_s",
    "zscore",
    "unusual",
)
"""The signals that new trees look at. A release carries its own list, so this one may change."""
