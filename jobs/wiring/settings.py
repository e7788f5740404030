"""Every number a team may change, read once at the start; what does not fit is refused in one line."""

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from importlib.resources.abc import Traversable
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec.structs import fields

from jobs.wiring.layers import BadSettings, Layers, Table, Typed, dotted, stacked
from jobs.wiring.lines import Path
from schemas.clusters import NAME
from schemas.durations import Millis
from schemas.events import Purpose
from schemas.segments import MAX_RULES
from schemas.settings import SECRETS, Clusters, Settings, Watch
from schemas.signals import REGISTRY
from udfs.deciding.book import authored
from udfs.deciding.conditions import nobody
from udfs.deciding.faults import faults, strangers
from udfs.expressions import ExpressionError
from udfs.payloads.mapping import reader
from udfs.segments.membership import condition
from udfs.segments.scales import unknown

__all__ = ["BadSettings", "Loaded", "load", "render"]

MAX_GROWTH: Final = 600
"""Longest session in time constants: exp(709) is the largest that fits a double (forward decay, design of signals)."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and for each dotted path the value as it was written and who wrote it."""

    settings: Settings
    origins: dict[str, tuple[object, str]]


def load(root: Traversable, env: str, environ: Mapping[str, str], overrides: Sequence[str]) -> Loaded:
    """Read the settings of one environment from `root`/conf, the environment and the command line.

    Raises:
        BadSettings: something is unknown, missing, of another type or unit; where nothing is, something contradicts
            something else. All that is wrong, a line each.
    """
    layers = stacked(root, env, environ, overrides)
    slips: list[str] = []
    table = _checked(layers, layers.table, Settings, (), slips)
    if slips:
        raise BadSettings("\n".join(slips))
    settings = msgspec.convert(table, Settings, dec_hook=_duration)
    written = dict(_leaves(table, ()))
    if misfits := [_misfit(layers, written, paths, sentence) for paths, sentence in _misfits(settings)]:
        raise BadSettings("\n".join(misfits))
    return Loaded(settings, {dotted(path): (value, layers.origin(path)) for path, value in written.items()})


def render(loaded: Loaded) -> str:
    """Print every setting with its origin, one a line; secrets are masked."""
    lines = [
        (f"{path} = {_shown(_masked(path, value))}", origin) for path, (value, origin) in sorted(loaded.origins.items())
    ]
    width = min(60, max(len(line) for line, _ in lines))  # the few longer ones stick out
    return "\n".join(f"{line:<{width}}    # {origin}" for line, origin in lines)


def _misfit(layers: Layers, written: Mapping[Path, object], paths: Sequence[Path], sentence: str) -> str:
    path = layers.last(paths)
    values = ", ".join(f"{dotted(each)} = {_shown(written[each])}" for each in paths if each in written)
    got = f"; got {values}" if values else ""
    return f"{layers.place(path)}: {dotted(path)}: {sentence}{got}"


def _masked(path: str, value: object) -> object:
    if path not in SECRETS or not value:
        return value
    if path != "redis.url":
        return "***"
    # Up to the last @, because a password may hold one; redis-py also takes it from the query.
    url = re.sub(r"^([a-z+]+://[^:@]*:).*@", r"\1***@", str(value), flags=re.DOTALL)
    return re.sub(r"([?&]password=)[^&#]*", r"\1***", url)


def _leaves(table: Table, at: Path) -> Iterator[tuple[Path, object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*at, key))
        else:
            yield (*at, key), value


# What each setting must be: the walk over the types of schemas.settings.


def _checked(layers: Layers, value: object, annotation: Any, path: Path, slips: list[str]) -> Any:
    """Return the value in TOML's own types; where it does not fit, return it as it is, and add a line to slips."""
    kind, before = _core(annotation), len(slips)
    if get_origin(kind) is list and isinstance(value, list) and _is_table(_core(get_args(kind)[0])):
        (inner_kind,) = get_args(kind)
        each = [_checked(layers, inner, inner_kind, (*path, str(n)), slips) for n, inner in enumerate(value, 1)]
        return _fitting(layers, each, annotation, path, slips) if len(slips) == before else each
    if not _is_table(kind):
        return _fitting(layers, value, annotation, path, slips)
    if not isinstance(value, dict):
        slips.append(_unfit(layers, value, annotation, path))
        return value
    if get_origin(kind) is dict:
        types = dict.fromkeys(value, get_args(kind)[1])
        required: set[str] = set()
    else:
        struct, tags = _chosen(layers, value, kind, path, slips)
        if struct is None:
            return value
        types = tags | {field.encode_name: field.type for field in fields(struct)}
        required = {field.encode_name for field in fields(struct) if field.required}
    slips += [
        f"{layers.place((*path, key))}: {dotted((*path, key))}: unknown key; {_nearest((*path, key), types)}"
        for key in value
        if key not in types
    ]
    slips += [
        f"{layers.place(path)}: {dotted((*path, key))}: missing; expected {_expected(kind)}"
        for key, kind in types.items()
        if key in required and key not in value
    ]
    checked = {
        key: _checked(layers, inner, types[key], (*path, key), slips) for key, inner in value.items() if key in types
    }
    # What is wrong inside has been said; the whole could only say it again.
    return _fitting(layers, checked, annotation, path, slips) if len(slips) == before else checked


def _fitting(layers: Layers, value: object, annotation: Any, path: Path, slips: list[str]) -> object:
    for reading in value.readings() if isinstance(value, Typed) else (value,):
        try:
            msgspec.convert(reading, annotation, dec_hook=_duration)
        except msgspec.ValidationError:
            continue
        if not (isinstance(reading, float) and not math.isfinite(reading)):
            return reading
    slips.append(_unfit(layers, value, annotation, path))
    return value


def _unfit(layers: Layers, value: object, annotation: Any, path: Path) -> str:
    name = dotted(path)
    hidden = any(each == name or each.startswith(f"{name}.") for each in SECRETS)
    found = "a value that is not shown" if hidden else _shown(value)
    return f"{layers.place(path)}: {name}: expected {_expected(annotation)}, got {found}"


def _chosen(
    layers: Layers, table: Table, kind: Any, path: Path, slips: list[str]
) -> tuple[type[msgspec.Struct] | None, dict[str, Any]]:
    """Pick the Struct a table stands for; of several, its tag field names the one. None where it does not."""
    members = get_args(kind) or (kind,)
    tag = members[0].__struct_config__.tag_field
    if tag is None:
        return members[0], {}
    by_tag = {member.__struct_config__.tag: member for member in members}
    names = " or ".join(f'"{name}"' for name in by_tag)
    at = (*path, tag)
    if tag not in table:
        slips.append(f"{layers.place(path)}: {dotted(at)}: missing; expected {names}")
        return None, {}
    said = str(table[tag]) if isinstance(table[tag], Typed) else table[tag]
    if not isinstance(said, str) or said not in by_tag:
        slips.append(f"{layers.place(at)}: {dotted(at)}: expected {names}, got {_shown(said)}")
        return None, {}
    return by_tag[said], {tag: str}


def _duration(kind: type, value: object) -> object:
    if kind is Millis:
        return Millis.parse(value)
    raise NotImplementedError(f"no setting is a {kind.__name__}")


def _core(annotation: Any) -> Any:
    """Take Annotated and `| None` off a type."""
    if get_origin(annotation) is Annotated:
        return _core(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = tuple(member for member in get_args(annotation) if member is not NoneType)
        return _core(members[0]) if len(members) == 1 else Union[members]  # noqa: UP007 - built at run time
    return annotation


def _is_table(kind: Any) -> bool:
    if get_origin(kind) is Union:
        return _is_table(get_args(kind)[0])
    return get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct))


# The words of the messages.

_WORDS: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    datetime: "a moment such as 2026-12-24T18:00:00Z",
    Millis: 'a duration such as "250ms", "10s", "30min", "2h" or "30d"',
}


def _expected(annotation: Any) -> str:
    """Say in words what a type takes.

    >>> _expected(Annotated[int, msgspec.Meta(ge=0, le=65535)])
    'a whole number >= 0 and <= 65535'
    """
    kind = _core(annotation)
    if get_origin(kind) is Literal:
        words = _one_of(get_args(kind))
    elif isinstance(kind, type) and issubclass(kind, Enum):
        words = _one_of(member.value for member in kind)
    elif _is_table(kind):
        words = "a table"
    elif get_origin(kind) is list:
        words = f"a list, each {_expected(get_args(kind)[0])}"
    elif get_origin(kind) is Union:
        words = " or ".join(_expected(member) for member in get_args(kind))
    else:
        words = _WORDS[kind]
    return f"{words} {_bounds(annotation)}".rstrip()


def _one_of(values: Iterable[object]) -> str:
    return f"one of {', '.join(map(str, values))}"


def _bounds(annotation: Any) -> str:
    if get_origin(annotation) is not Annotated:
        return ""
    metas = [meta for meta in get_args(annotation)[1:] if isinstance(meta, msgspec.Meta)]
    signs = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"), ("min_length", "of length >="), ("pattern", "like"))
    return " and ".join(
        f"{sign} {getattr(meta, name)}" for meta in metas for name, sign in signs if getattr(meta, name) is not None
    )


def _nearest(path: Path, siblings: Iterable[str]) -> str:
    """Name the valid key that was probably meant: among its siblings, else anywhere, else all its siblings."""
    close = difflib.get_close_matches(path[-1], siblings, n=1)
    if close:
        return f"did you mean {dotted((*path[:-1], close[0]))}?"
    elsewhere = {known[-1]: known for known in _known(Settings, ())}
    close = difflib.get_close_matches(path[-1], elsewhere, n=1, cutoff=0.8)
    return f"did you mean {dotted(elsewhere[close[0]])}?" if close else f"there are: {', '.join(siblings)}"


def _known(kind: Any, path: Path) -> list[Path]:
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return [path]
    return [name for field in fields(kind) for name in _known(_core(field.type), (*path, field.encode_name))]


def _shown(value: object) -> str:
    """Write a value on one line, as TOML nearly does."""
    value = next(value.readings()) if isinstance(value, Typed) else value
    return json.dumps(value, ensure_ascii=False, default=str)


# What must hold between settings.

_POSITIVE: Final = (
    ("time", "slice"),
    ("time", "pulse"),
    ("signals", "fast"),
    ("clusters", "half_life"),
    ("clusters", "every"),
    ("watch", "window"),
    ("decide", "refresh"),
    ("decide", "valid"),
    ("learn", "window"),
    ("learn", "period"),
    ("learn", "half_life"),
    ("flink", "checkpoint"),
)


def _misfits(settings: Settings) -> Iterator[tuple[list[Path], str]]:
    """Yield what contradicts what: the paths involved, and the rule they break."""
    book = authored(settings)
    wrong = (*faults(book), *strangers(book, settings.segments.rules))
    yield from (([path], sentence) for path, sentence in wrong)
    yield from _segment_misfits(settings)
    yield from _consent_misfits(settings)
    yield from _cluster_misfits(settings.clusters)
    for section, key in _POSITIVE:
        if getattr(getattr(settings, section), key) == 0:
            yield [(section, key)], "must be longer than nothing"
    signals, time = settings.signals, settings.time
    if not signals.fast < signals.mid < signals.slow:
        horizons: list[Path] = [("signals", "fast"), ("signals", "mid"), ("signals", "slow")]
        yield horizons, "must be in the order signals.fast < signals.mid < signals.slow"
    elif time.session_cap / signals.fast >= MAX_GROWTH:
        paths: list[Path] = [("time", "session_cap"), ("signals", "fast")]
        yield paths, f"time.session_cap must be shorter than {MAX_GROWTH} times signals.fast, or its sums overflow"
    yield from _signal_misfits(settings)
    yield from _watch_misfits(settings.watch)
    yield from _reward_misfits(settings)
    if settings.clean.format not in settings.formats:
        yield [("clean", "format")], f"expected one of {', '.join(settings.formats)} (conf/formats.toml)"
    for name, form in settings.formats.items():
        try:
            reader(form, settings.formats)
        except ValueError as error:
            yield [("formats", name)], str(error)


def _cluster_misfits(clusters: Clusters) -> Iterator[tuple[list[Path], str]]:
    features: list[Path] = [("clusters", "features")]
    if not clusters.features:
        yield features, "must name a signal or more"
    for place, name in enumerate(clusters.features):
        if name not in REGISTRY:
            yield features, unknown(name)
        if name in clusters.features[:place]:
            yield features, f"{name} stands there twice"
    if any(wide <= narrow for wide, narrow in pairwise((clusters.k, *clusters.layers))):
        yield [("clusters", "layers"), ("clusters", "k")], "must fall, from fewer than clusters.k on"
    if clusters.max_rows < clusters.min_rows:
        yield [("clusters", "max_rows"), ("clusters", "min_rows")], "must not be less than clusters.min_rows"


def _watch_misfits(watch: Watch) -> Iterator[tuple[list[Path], str]]:
    if watch.window > 0 and watch.stretch // watch.window < watch.start:
        paths: list[Path] = [("watch", "stretch"), ("watch", "window"), ("watch", "start")]
        yield paths, "watch.stretch must be at least watch.start windows, or no run knows what is usual"


def _reward_misfits(settings: Settings) -> Iterator[tuple[list[Path], str]]:
    for name, slot in settings.slots.items():
        if slot.reward is None:
            continue
        at = ("slots", name, "reward")
        if slot.reward.within > settings.learn.window:
            yield [(*at, "within"), ("learn", "window")], "must not be longer than learn.window"
        for kind in slot.reward.most:
            if kind not in slot.reward.worth:
                yield [(*at, "most", kind.value)], f"{kind.value} is worth nothing: name it in worth too"


def _consent_misfits(settings: Settings) -> Iterator[tuple[list[Path], str]]:
    purposes = [purpose.value for purpose in Purpose]
    for name in settings.consent.purposes:
        if name not in purposes:
            yield [("consent", "purposes", name)], f"no such purpose; there are: {', '.join(purposes)}"
    for name in purposes:
        if name not in settings.consent.purposes:
            yield [("consent", "purposes")], f"{name} is missing; it has categories and TCF purposes that grant it"


def _signal_misfits(settings: Settings) -> Iterator[tuple[list[Path], str]]:
    signals, quiet, time = settings.signals, settings.quiet, settings.time
    if not 2 * time.slice <= quiet.pause < time.session_gap < quiet.gone < time.memory:
        silences: list[Path] = [("quiet", "pause"), ("time", "session_gap"), ("quiet", "gone"), ("time", "memory")]
        order = "2 * time.slice <= quiet.pause < time.session_gap < quiet.gone < time.memory"
        yield silences, f"must be in the order {order}"
    lowest, highest = signals.rating
    if lowest >= highest:
        yield [("signals", "rating")], "expected the lowest value and then the highest"
    if len(set(signals.interests)) < len(signals.interests):
        yield [("signals", "interests")], "an interest stands there twice"


def _segment_misfits(settings: Settings) -> Iterator[tuple[list[Path], str]]:
    rules = settings.segments.rules
    for name, rule in rules.items():
        at: Path = ("segments", "rules", name)
        if not re.fullmatch(NAME, name):
            yield [at], f"expected a name like {NAME}"
        for key, text in (("enter", rule.enter), ("leave", rule.leave)):
            if text is None:
                continue
            try:
                told = list(nobody(condition(text), rules))
            except ExpressionError as error:
                told = [str(error)]
            yield from (([(*at, key)], sentence) for sentence in told)
        if rule.hold > settings.time.session_cap:
            yield [(*at, "for"), ("time", "session_cap")], "must not be longer than time.session_cap"
    if len(rules) > MAX_RULES:
        yield [("segments", "rules", name) for name in rules], f"at most {MAX_RULES} rule segments"
