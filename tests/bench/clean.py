"""What each part of cleaning costs: reading, naming, consent, surroundings, noise, writing down, finding copies."""

import gc
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import Struct, json
from msgspec.structs import fields
from numpy.typing import NDArray
from pyflink.table.types import create_arrow_schema
from pyflink.table.utils import pandas_to_arrow

from jobs.wiring.functions import CLEAN, narrow
from jobs.wiring.keys import key_ring
from jobs.wiring.settings import load
from schemas.events import Event, RawEvent
from schemas.settings import Settings
from tests.bench.cost import CHANGES, Field, Say, Slope, slope
from tests.bench.ground import ground
from tests.bench.stream import JUNK, NORMS, Shape, records
from tests.bench.turns import fastest
from udfs.cleaning.admission import admission
from udfs.cleaning.canonical import Canonical
from udfs.cleaning.clean import Cleaner, Known, Row, event_key
from udfs.cleaning.consent import Consents
from udfs.cleaning.noise import Norms, clip
from udfs.cleaning.properties import scrubbed
from udfs.cleaning.pseudonym import pseudonymiser
from udfs.cleaning.surroundings import Surroundings
from udfs.cleaning.times import happened

HORIZONS: Final = ("0ms", "2min")
"""Of the look for copies: without it, and as conf/base.toml has it."""

_START_MS: Final = 1_767_225_600_000
_ITEMS: Final = tuple(f"i{number}" for number in range(400))
_AT_ONCE: Final = 5000  # as many rows as a full bundle has
_TEXTS: Final = ("user_id", "event_id", "item", "page", "slot", "decision_id", "shown", "account_id")
_SAID: Final = ("user_agent", "language", "time_zone")
_NUMBERS: Final = ("occurred_at", "dwell_ms", "scroll", "value")


Work = Callable[[slice], object]
"""Does something with a stretch of rows."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run: events for the Python parts, and the two sizes between which Flink's slope is taken, if at all."""

    events: int
    sizes: tuple[int, int] | None


FULL: Final = Plan(250_000, (100_000, 400_000))
QUICK: Final = Plan(60_000, None)


@dataclass(frozen=True, slots=True)
class CleanCost:
    """What was found; CPU seconds per million events, which are microseconds per event.

    Attributes:
        plan: what was run.
        parts: of one event's way through `udfs.cleaning.clean`, and of a bundle's way out of Python.
        decode: of reading the JSON of an event, step by step; together about the first of `parts`.
        duplicates: what Flink adds to find copies; None where it was not measured.
        load: of the machine when it began.
    """

    plan: Plan
    parts: Mapping[str, float]
    decode: Mapping[str, float]
    duplicates: Slope | None
    load: float

    @property
    def python_s(self) -> float:
        """All parts together."""
        return sum(self.parts.values())

    def details(self) -> dict[str, Any]:
        """All of it, for a report."""
        return asdict(self) | {"python_s": self.python_s}


def clean_cost(plan: Plan, say: Say) -> CleanCost:
    """Measure; events in our own JSON, one each, none refused.

    Args:
        plan: what to run.
        say: told what goes on.
    """
    load_before = os.getloadavg()[0]
    settings = load(Path.cwd(), "local", os.environ, ()).settings
    told = [each for each in records(Shape(plan.events), _ITEMS, _START_MS) if each.body not in JUNK]
    bodies, at = [each.body for each in told], [each.at_ms for each in told]
    gc.freeze()  # what the bench holds is not searched while it measures
    decode = decoding(bodies, settings)
    parts = cleaning(bodies, at, settings)
    gc.unfreeze()
    say(f"     clean {len(bodies):>9,} events: {sum(parts.values()):6.1f} CPU s per million in Python")
    return CleanCost(plan, parts, decode, _duplicates(plan.sizes, say) if plan.sizes else None, load_before)


def cleaning(bodies: Sequence[bytes], at: Sequence[int], settings: Settings) -> dict[str, float]:
    """Take each part of cleaning alone, and what is left of the whole.

    Args:
        bodies: of records that hold one event each.
        at: their Kafka timestamps, ms since 1970.
        settings: see conf/base.toml.
    """
    key, clean = key_ring(settings.pseudonyms, os.environ)[0], settings.clean
    pseudonym, consents, around = pseudonymiser(key.secret, key.id), Consents(settings.consent), Surroundings()
    admitted = admission(settings.formats[clean.format], settings.formats, clean)
    canonical = Canonical(pseudonym, consents, around, clean, settings.noise)
    row, encode = Cleaner.of(settings, pseudonym).row, json.Encoder().encode
    raws = [event for event in map(admitted, bodies) if isinstance(event, RawEvent)]
    users = [pseudonym(event.user_id) for event in raws]
    norms, noise = [Norms.parse("n1", json.encode(NORMS))] * len(raws), [settings.noise] * len(raws)
    clocks = zip(*((event.occurred_at, event.sent_at, event.received_at) for event in raws), strict=True)
    places = [0] * len(raws), range(len(raws))
    known = [Known(each) for each in norms]
    rows = list(map(row, bodies, at, *places, known))
    spent = _timed(
        {
            "let in, decoded": _each(admitted, bodies),
            "pseudonym": _each(pseudonym, [event.user_id for event in raws]),
            "consent": _each(consents.denied, raws),
            "time": _each(happened, at, *clocks),
            "surroundings": _each(around, raws, at),
            "noise": _each(clip, raws, norms, noise),
            "page": _each(scrubbed, [event.page for event in raws]),
            "canonical event": _each(canonical, raws, at, users, norms),
            "event key": _each(event_key, users, [event.event_id for event in raws]),
            "written as JSON": _each(_written(encode), list(map(canonical, raws, at, users, norms))),
            "narrow row": _each(row, bodies, at, *places, known),
        }
        | _handing_over(rows, np.array(at)),
        len(bodies),
    )
    spent["canonical event"] -= sum(spent[name] for name in ("consent", "time", "surroundings", "noise", "page"))
    spent["narrow row"] -= sum(spent[name] for name in spent if name not in ("narrow row", "columns", "Arrow"))
    return spent


def _written(encode: Callable[[Event], bytes]) -> Callable[[Event], str]:
    return lambda event: encode(event).decode()


def _handing_over(rows: list[Row], at: NDArray[np.int64]) -> dict[str, Work]:
    """Take rows out of Python, a bundle at a time."""
    schema = create_arrow_schema(["c"], [CLEAN])
    frames = {start: _framed(rows[start : start + _AT_ONCE], at[start : start + _AT_ONCE]) for start in _starts(rows)}

    def written(taken: slice) -> None:
        with pa.RecordBatchStreamWriter(pa.BufferOutputStream(), schema) as stream:
            stream.write_batch(pandas_to_arrow(schema, "UTC", [CLEAN], [frames[taken.start]]))

    return {"columns": lambda taken: _framed(rows[taken], at[taken]), "Arrow": written}


def _framed(rows: list[Row], at: NDArray[np.int64]) -> pd.DataFrame:
    *columns, others = zip(*rows, strict=True)
    return pd.DataFrame(narrow(columns) | {"others": others, "at_ms": at}, copy=False)


def decoding(bodies: Sequence[bytes], settings: Settings) -> dict[str, float]:
    """Read ever more of each body, and charge every step with what it adds.

    Args:
        bodies: of records that hold one event each.
        settings: the limits of what is let in.
    """
    form, forms = settings.formats[settings.clean.format], settings.formats
    steps: dict[str, Callable[[bytes], object]] = {
        "the JSON walked through": json.Decoder(_struct()).decode,
        "texts": json.Decoder(_struct(*_TEXTS)).decode,
        "kind": json.Decoder(_struct(*_TEXTS, "kind")).decode,
        "numbers": json.Decoder(_struct(*_TEXTS, "kind", *_NUMBERS)).decode,
        "user agent, language, zone": json.Decoder(_struct(*_TEXTS, "kind", *_NUMBERS, *_SAID)).decode,
        "consent": json.Decoder(_struct(*_TEXTS, "kind", *_NUMBERS, *_SAID, "consent")).decode,
        "fields that are absent": json.Decoder(_struct(*RawEvent.__struct_fields__)).decode,
        "bounds": json.Decoder(RawEvent).decode,
        "size, texts that break keys": admission(form, forms, settings.clean),
    }
    spent = _timed({name: _each(step, bodies) for name, step in steps.items()}, len(bodies))
    before = [0.0, *spent.values()]
    return {name: taken - last for (name, taken), last in zip(spent.items(), before, strict=False)}


def _struct(*names: str) -> type[Struct]:
    """Make a record of some fields of a raw event, any length and size of theirs allowed."""
    taken = [field for field in fields(RawEvent) if field.name in names]
    return msgspec.defstruct(
        "Taken",
        [(field.name, _unbound(field.type), None) for field in taken],
        frozen=True,
        gc=False,
    )


def _unbound(annotation: Any) -> Any:
    """Take the bounds off a type.

    >>> _unbound(dict[Annotated[str, 1], int] | None)
    dict[str, int] | None
    """
    if get_origin(annotation) is Annotated:
        return _unbound(get_args(annotation)[0])
    inner = tuple(map(_unbound, get_args(annotation)))
    if not inner:
        return annotation
    origin = get_origin(annotation)
    if origin in (dict, list):
        return origin[inner]
    found = inner[0]
    for each in inner[1:]:
        found |= each
    return found


def _each(step: Callable[..., object], *columns: Sequence[Any]) -> Work:
    """Take a step for each row of a stretch."""
    return lambda taken: deque(map(step, *(column[taken] for column in columns)), maxlen=0)


def _timed(steps: Mapping[str, Work], rows: int) -> dict[str, float]:
    """Take every step over all rows, in turns at each few thousand of them, microseconds per row."""
    spent = dict.fromkeys(steps, 0.0)
    for start in _starts(range(rows)):
        turn = fastest({name: partial(work, slice(start, start + _AT_ONCE)) for name, work in steps.items()})
        spent = {name: so_far + turn[name] for name, so_far in spent.items()}
    return {name: seconds * 1e6 / rows for name, seconds in spent.items()}


def _starts(rows: Sequence[Any]) -> range:
    return range(0, len(rows), _AT_ONCE)


def _duplicates(sizes: tuple[int, int], say: Say) -> Slope:
    """Run the job as far as its slices with and without the look for copies, twice over two sizes of stream."""
    both = [Field(events, say) for events in sizes]
    for field in both:
        with ground(past=True, **CHANGES) as place:
            field.feed(place)
            for horizon in (*HORIZONS, *reversed(HORIZONS)):
                place_then = place.with_changes(clean__duplicates=horizon)
                field.measured(place_then, f"slices, {horizon}", "tests.bench.stages", "slices")
    small, large = both
    without, looking = (slope(small, large, f"slices, {horizon}") for horizon in HORIZONS)
    return looking - without
