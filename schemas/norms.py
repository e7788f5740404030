"""What is normal among all people: the payload of the channel `norms`, counted from the topic `events`."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas.events import Kind

STRENGTHS: Final = (0, 500, 1000, 2000, 4000, 8000, 16000)
"""Upper bounds, thousandths of a point, of the counters in which a session's slices are told apart by their engagement;
a last counter takes what is above."""


class Quartiles(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the middle half of a field's values lies, in the field's unit."""

    n: Annotated[int, Meta(ge=0, description="Values counted.")]
    q1: Annotated[float, Meta(description="A quarter of the values lies below.")]
    median: float
    q3: Annotated[float, Meta(description="A quarter of the values lies above.")]


class Typical(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The fields of one kind of event; one that is absent was never seen."""

    dwell_ms: Annotated[Quartiles | None, Meta(description="Attentive time, ms.")] = None
    value: Annotated[Quartiles | None, Meta(description="Price, rating or size; the site's unit.")] = None


class Population(Struct, frozen=True, forbid_unknown_fields=True):
    """`norms.json`: what was normal in one stretch of the topic `events`."""

    since: Annotated[int, Meta(ge=0, description="Event time of the first record read, ms since 1970.")]
    until: Annotated[int, Meta(ge=0, description="When it was read, ms since 1970.")]
    kinds: dict[Kind, Typical]
