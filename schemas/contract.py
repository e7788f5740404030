"""The contract page: topics, records, Redis keys and codes, derived from the types that the jobs themselves use.

`python -m schemas.contract` writes CONTRACT.md and contract.schema.json; a test fails while they are stale.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from schemas import alerts, control, decisions, reader, rejects
from schemas.alerts import Alert
from schemas.anomalies import Isolation, IsolationTree
from schemas.clusters import Cluster, Clustering, Feature
from schemas.control import Command, Receipt, Remains
from schemas.decisions import (
    Card,
    Context,
    Decision,
    Draw,
    Guard,
    Heartbeat,
    HeldOut,
    Membership,
    Part,
    PolicyTable,
    SlotCard,
    SlotTable,
    Spoke,
    Trace,
    Versions,
)
from schemas.derive import Column, columns, ddl
from schemas.events import CODE, PULSE_BODY, Event, RawEvent
from schemas.heads import Head, Regressions
from schemas.norms import Population, Quartiles, Typical
from schemas.outcomes import Outcome
from schemas.plays import Period
from schemas.rejects import Recovered, Rejected
from schemas.releases import FILES, Golden, Lineage, Manifest, Release
from schemas.settings import Topic
from schemas.signals import FAMILIES, FEATURES, REGISTRY, USER_FEATURES, Signals

RECORDS: Final = (
    RawEvent,
    Event,
    Rejected,
    Command,
    Receipt,
    Card,
    Decision,
    Heartbeat,
    PolicyTable,
    Outcome,
    Period,
    Membership,
    Release,
    Manifest,
    Population,
    Clustering,
    Alert,
    Isolation,
    Regressions,
)
"""What crosses a boundary whole."""

CARRIED: Final[dict[str, type[Struct]]] = {
    "clicks": RawEvent,
    "events": Event,
    "duplicates": Event,
    "rejected": Rejected,
    "recovered": Recovered,
    "control": Command,
    "decisions": Decision,
    "outcomes": Outcome,
    "uncertain": Outcome,
    "plays": Period,
    "segments": Membership,
    "alerts": Alert,
}
"""Topic -> its record."""

SAME_FIELDS: Final = {"Event": "RawEvent", "Decision": "Card", "Heartbeat": "Card", "PolicyTable": "Card"}
"""Record -> the record whose fields of the same name mean the same."""

REDIS_KEYS: Final = {
    "<prefix>:{<user>}:d": "A `Card`: what was decided for one person. The braces keep a person in one cluster slot.",
    "<prefix>:{<user>}:s:rules": "A `Membership`: the rule segment the person is in, since when, and from where.",
    "<prefix>:{<user>}:s:clusters": "The same of the k-means segment.",
    "<prefix>:meta": "A `Heartbeat`: how far the pipeline has come. While it is not fresh, no user's card is trusted.",
    "<prefix>:seg:<segment>:d": (
        "A `Card`: what a person in a rule segment gets of whom nothing else is known. Every pulse renews it."
    ),
    "<prefix>:default:d": (
        "A `Card`: what everybody gets of whom nothing is known, and what shows in a stopped slot. Renewed likewise."
    ),
    "<prefix>:policy": "A `PolicyTable`: what pages may draw from for those who have no card. Renewed likewise.",
    "<prefix>:flags": '`{"kill": true}` stops all decisions, `{"slots": {"hero": false}}` those of one slot.',
}

FOLDER: Final = Path(__file__).parent
PAGE: Final = FOLDER / "CONTRACT.md"
SIGNALS_PAGE: Final = FOLDER / "SIGNALS.md"
PICTURES: Final = FOLDER / "pictures"
SCHEMA: Final = FOLDER / "contract.schema.json"
TOPICS: Final = FOLDER.parent / "conf" / "topics.toml"

_WORDS: Final = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_BOUNDS: Final = (
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
    ("minLength", "length at least {}"),
    ("maxLength", "length at most {}"),
)


def json_schemas() -> dict[str, Any]:
    """Give the JSON Schema (2020-12) of every record; `$defs` holds them by name."""
    _, parts = msgspec.json.schema_components(RECORDS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Trimtab contract",
        "$defs": dict(sorted(parts.items())),
    }


def contract(topics: Mapping[str, Topic]) -> str:
    """Write the page, in Markdown."""
    return "\n".join([*_lines(topics)]) + "\n"


def signals_page() -> str:
    """Write the page of the signals, in Markdown: family by family, with what is drawn of real data."""
    return "\n".join([*_signal_lines()]) + "\n"


def declared_topics() -> dict[str, Topic]:
    """Read the topics that conf/topics.toml declares."""
    return msgspec.convert(tomllib.loads(TOPICS.read_text(encoding="utf-8"))["topics"], dict[str, Topic])


def written() -> dict[Path, str]:
    """Say what each derived file must hold."""
    return {
        PAGE: contract(declared_topics()),
        SIGNALS_PAGE: signals_page(),
        SCHEMA: json.dumps(json_schemas(), indent=1, ensure_ascii=False) + "\n",
    }


def _table_of(topic: str, record: type[Struct]) -> str:
    time = Column("event_time", "TIMESTAMP_LTZ(3)", metadata="timestamp", virtual=True)
    options = {
        "connector": "kafka",
        "topic": topic,
        "properties.bootstrap.servers": "...",
        "scan.startup.mode": "earliest-offset",
        "format": "json",
    }
    return ddl(topic, [*columns(record), time], options, watermark=(time.name, f"`{time.name}`"))


def _lines(topics: Mapping[str, Topic]) -> Iterator[str]:
    parts = json_schemas()["$defs"]
    yield "# Contract"
    yield ""
    yield "Derived from the types in `schemas/` by `python -m schemas.contract`; edit those, not this page."
    yield "Times are milliseconds since 1970 in UTC. Everything on the wire is JSON, UTF-8. Fields may be added: ignore"
    yield "those you do not know. A field that is not required is left out, or null, where nothing is known."
    yield from _section("Topics", "Keyed by user: one person's records keep their order.")
    yield from _table(("topic", "partitions", "record", "what", "config"), _topic_rows(topics))
    yield ""
    yield f"`clicks` and `control` also carry pulses, `{PULSE_BODY.decode()}`, several a second in every partition."
    in_decisions = (Decision, Context, Trace, Draw, Guard, Spoke, Part)
    yield from _records((RawEvent, Event, Rejected, Command, *in_decisions, Outcome, Period, Membership, Alert), parts)
    yield from _section("Topics in Flink SQL", "For analysts: what lies inside a record arrives as JSON text.")
    yield "```sql"
    yield from (f"{_table_of(topic, record)};" for topic, record in CARRIED.items() if record is not RawEvent)
    yield "```"
    yield from _section(
        "Redis keys", "`<prefix>` is `tt` unless it was set; `<user>` is the pseudonym. Values are text."
    )
    yield from _table(("key", "value"), ((f"`{key}`", about) for key, about in REDIS_KEYS.items()))
    yield from _records((Card, SlotCard, Versions, Heartbeat, PolicyTable, SlotTable, HeldOut), parts)
    yield from _reading()
    yield from _section("Codes", "Append-only: a code never changes its meaning.")
    yield from _codes("Kind", "What a person did; the number stands for it in narrow columns.", _kind_rows(), "number")
    yield from _codes("Why", "Why a slot holds what it holds.", _meaning_rows(decisions.MEANING))
    yield from _codes("Reason", "Why a record or a write was refused.", _meaning_rows(rejects.MEANING))
    yield from _codes("Detector", "What saw a change.", _meaning_rows(alerts.DETECTORS))
    yield from _codes("Action", "What is commanded.", _meaning_rows(control.ACTIONS))
    yield from _codes("State", "How a store stands to a person who was erased.", _meaning_rows(control.STATES))
    yield from _section("Erasure", "What `python -m jobs erase --receipt FILE` writes: a list of receipts.")
    yield from _records((Receipt, Remains), parts)
    yield from _section(
        "Signals",
        "A user at a slice end. Neutral is what is assumed where nothing is known. Formulas, horizons and sources stand"
        " in [SIGNALS.md](SIGNALS.md).",
    )
    yield from _table(("signal", "unit", "neutral", "meaning"), _signal_rows(parts["Signals"]["properties"]))
    yield from _section("Feature order", "What a model sees, in this order; one whose names differ is refused.")
    yield from _table(("#", "feature", "of"), _feature_rows())
    yield from _section(
        "Releases", "`store/<channel>/index.jsonl`, one `Release` a line; the payload lies in a folder."
    )
    yield from _table(
        ("channel", "files of `store/<channel>/<version>/`"),
        ((f"`{channel}`", f"`{file}`, `manifest.json`") for channel, file in FILES.items()),
    )
    yield from _records((Release, Manifest, Golden, Lineage, Population, Typical, Quartiles), parts)
    yield from _records((Clustering, Cluster, Feature, Isolation, IsolationTree, Regressions, Head), parts)


def _reading() -> Iterator[str]:
    yield from _section(
        "Reading",
        "`reader.py` is the reference, `reader.js` the same in JavaScript; `reader_vectors.json` tests any reader.",
    )
    yield "Flags, then the user's card, the segment's, everybody's, the caller's constant; slot by slot, the first that"
    yield "is there, whole and not past its `expires`. While a key rotation lasts a person may have a card under each"
    yield "key: the first that may be shown is theirs. A read says why it was not the user's card:"
    yield ""
    yield from _table(("reason", "meaning"), ((f"`{code}`", about) for code, about in reader.REASONS.items()))
    yield ""
    yield "The cards of segments and of everybody are no draws, for each serves many people: `p` is 1, the reason is"
    yield "`DEFAULT`, there is no record of them, and nothing is learned from them. That of a segment holds what a"
    yield "person in it gets of whom nothing else is known: all signals neutral, the arm that the policy makes the"
    yield "likeliest, the popular list, both as rules bend them. Caps and cooldowns cannot hold anything back there."
    yield ""
    yield "In place of a constant a page may draw an arm from the `PolicyTable`, where no flag stops the slot. The"
    yield "ticket is BLAKE2b (digest of 8 bytes) of `seed|slot|user|session`, a big-endian number, shifted right by"
    yield "11 bits, times 2^-53. The arm is the first where the sum of the probabilities exceeds it; the last with"
    yield "any takes what rounding leaves over. The card's `id` is `cold:`, BLAKE2b (9 bytes, base64url) of"
    yield "`seed|slot|user|session|segment|seq`, a dot and the slot; `seq` is the table's, `segment` empty where it"
    yield "is not known. `decisions` has no record of such an id: who wants to learn from these draws keeps the"
    yield "cards, whose `p` is exact, and joins exposures by id."


def _signal_lines() -> Iterator[str]:
    yield "# Signals"
    yield ""
    yield "Derived from the registry in `schemas/signals.py` by `python -m schemas.contract`; edit that, not this page."
    yield "A signal is a named number about a person at the end of a slice. Formulas are over the columns of `Moment`"
    yield "in `schemas/slices.py`, over signals above them, over `fast`, `mid` and `slow` (ms), and over the functions"
    yield "of `udfs/signals/formulas.py`; a division by 0 is 0. The pictures show how often a value, or less, was met"
    yield "when real streams were decided (`make pictures`): edits of Wikipedia, OTTO's shop, KuaiRand's short videos,"
    yield "web events of Snowplow's."
    neutral = {field.name: field.default for field in fields(Signals)}
    for family, about in FAMILIES.items():
        yield from _section(family.capitalize(), about)
        if (PICTURES / f"{family}.svg").exists():
            yield f"![{family}](pictures/{family}.svg)"
            yield ""
        head = ("signal", "unit", "neutral", "looks back", "meaning", "formula", "source")
        rows = (
            (
                f"`{name}`{' (feature)' if entry.feature else ''}",
                entry.unit,
                f"{neutral[name]:g}",
                entry.horizon,
                entry.about,
                f"`{entry.of}`" if entry.of else "",
                entry.source,
            )
            for name, entry in REGISTRY.items()
            if entry.family == family
        )
        yield from _table(head, rows)


def _section(title: str, about: str) -> Iterator[str]:
    yield from ("", f"## {title}", "", about, "")


def _records(records: Iterable[type[Struct]], parts: Mapping[str, Any]) -> Iterator[str]:
    for record in records:
        schema = parts[record.__name__]
        yield from ("", f"### {record.__name__}", "", schema["description"], "")
        if schema["type"] == "array":
            yield f"Travels as a list: {', '.join(f'`{field.name}`' for field in fields(record))}."
        else:
            yield from _table(("field", "type", "required", "meaning"), _field_rows(record.__name__, parts))


def _field_rows(record: str, parts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    same = parts[SAME_FIELDS[record]]["properties"] if record in SAME_FIELDS else {}
    for name, field in parts[record]["properties"].items():
        required = "yes" if name in parts[record]["required"] else ""
        meaning = field.get("description") or same.get(name, {}).get("description", "")
        yield f"`{name}`", _type(field, parts), required, meaning


def _type(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """Say a JSON Schema type in words, bounds included.

    >>> _type({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}, {})
    'whole number, at least 0'
    """
    if "anyOf" in schema:
        return " or ".join(_type(each, parts) for each in schema["anyOf"] if each != {"type": "null"})
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"code `{name}`" if "enum" in parts[name] else f"`{name}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'], parts)}"
    if schema["type"] == "object":
        return f"table of {_type(schema['additionalProperties'], parts)}"
    return ", ".join([_WORDS[schema["type"]], *(words.format(schema[key]) for key, words in _BOUNDS if key in schema)])


def _topic_rows(topics: Mapping[str, Topic]) -> Iterator[tuple[str, ...]]:
    for name, topic in topics.items():
        config = ", ".join(f"`{key}={value}`" for key, value in topic.config.items())
        record = f"`{CARRIED[name].__name__}`" if name in CARRIED else ""
        yield f"`{name}`", str(topic.partitions), record, topic.about, config


def _codes(name: str, about: str, rows: Iterable[tuple[str, ...]], second: str = "meaning") -> Iterator[str]:
    yield from ("", f"### {name}", "", about, "")
    yield from _table(("code", second), rows)


def _kind_rows() -> Iterator[tuple[str, ...]]:
    return ((f"`{kind.value}`", str(number)) for kind, number in CODE.items())


def _meaning_rows(meaning: Mapping[Any, str]) -> Iterator[tuple[str, ...]]:
    return ((f"`{code.value}`", about) for code, about in meaning.items())


def _signal_rows(properties: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for field in fields(Signals):
        schema = properties[field.name]
        yield f"`{field.name}`", schema["unit"], f"{field.default:g}", schema["description"]


def _feature_rows() -> Iterator[tuple[str, ...]]:
    for place, name in enumerate(FEATURES):
        yield str(place), f"`{name}`", "user" if name in USER_FEATURES else "item"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


if __name__ == "__main__":
    for file, text in written().items():
        file.write_text(text, encoding="utf-8")
