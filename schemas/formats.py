"""How a team says what a tracker's record means: the vocabulary of conf/formats.toml."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.events import Kind

Unit = Literal["ms", "s", "us", "iso8601", "utc"]


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a value lies in a record, and what it is there."""

    path: Annotated[str, Meta(description="Dotted; `$.` begins at the record around the event.")] = ""
    unit: Annotated[
        Unit | None, Meta(description="Of a time or duration; `utc` is a date and time without a zone, taken as UTC.")
    ] = None
    type: Annotated[
        Literal["numeral", "url"] | None,
        Meta(description="`numeral`: a number that may come as text. `url`: of which the path is taken."),
    ] = None
    scale: Annotated[float, Meta(description="What a number is multiplied by: 0.01 for percent.")] = 1.0
    words: Annotated[dict[str, bool], Meta(description="Which words mean yes and which no.")] = {}
    default: Annotated[str | int | float | None, Meta(description="Where the path leads to nothing.")] = None
    only: Annotated[Kind | None, Meta(description="For events of this kind alone.")] = None


Sources = str | Source | list[str | Source]
"""A path, or a path with more to say about it, or alternatives of which the first that leads somewhere counts."""


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """One question asked of a record to know its kind. The rules are asked in order."""

    path: Annotated[str | list[str], Meta(description="Of the first of these that leads somewhere.")]
    find: Annotated[str | None, Meta(description="Regular expression; its group is the word, where it fits.")] = None
    words: Annotated[dict[str, Kind], Meta(description="The tracker's words; case, spaces and hyphens are alike.")] = {}
    next: Annotated[list[str], Meta(description="Words that leave it to the next rule; others are unknown.")] = []
    there: Annotated[Kind | None, Meta(description="The kind, if there is anything but null, false, 0 or no text.")] = (
        None
    )


class Format(Struct, frozen=True, forbid_unknown_fields=True):
    """How a tracker's record becomes events. One that names no `user_id` and `holds` nothing is our own JSON."""

    about: str
    like: Annotated[str | None, Meta(description="The format that says whatever this one does not.")] = None
    inside: Annotated[str | None, Meta(description="Where the record lies, if it comes in an envelope.")] = None
    packed: Annotated[str | None, Meta(description="The same, as base64.")] = None
    holds: Annotated[list[str], Meta(description="Formats that may be inside; the first whose marks fit reads.")] = []
    marks: Annotated[
        list[list[str]], Meta(description="Groups of paths; a record in which one group is there has this format.")
    ] = []
    events: Annotated[str | None, Meta(description="The list whose elements are events of their own.")] = None
    columns: Annotated[list[str], Meta(description="Names of tab-separated fields, where a record is no JSON.")] = []
    prefix: Annotated[str, Meta(description="With which keys may begin, left out of the paths.")] = ""

    kind: Annotated[Kind | None, Meta(description="Of every event; else `kinds` says it.")] = None
    kinds: list[Rule] = []
    user_id: Sources | None = None
    account_id: Sources | None = None
    event_id: Sources | None = None
    occurred_at: Sources | None = None
    sent_at: Sources | None = None
    received_at: Sources | None = None
    item: Sources | None = None
    items: Sources | None = None
    page: Sources | None = None
    dwell_ms: Sources | None = None
    duration_ms: Sources | None = None
    scroll: Sources | None = None
    value: Sources | None = None
    slot: Sources | None = None
    decision_id: Sources | None = None
    shown: Sources | None = None
    position: Sources | None = None
    user_agent: Sources | None = None
    connection: Sources | None = None
    language: Sources | None = None
    country: Sources | None = None
    region: Sources | None = None
    time_zone: Sources | None = None
    robot: Sources | None = None
    ip: Sources | None = None
    tcf: Sources | None = None
    gpc: Sources | None = None
    properties: Annotated[dict[str, Sources], Meta(description="By name; `*` is a table of names and values.")] = {}
    consent: Annotated[
        dict[str, Sources], Meta(description="By purpose; `*` is a list of those granted, or a table of yes and no.")
    ] = {}
