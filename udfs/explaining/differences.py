"""What changed between two releases, told so that a person can decide whether to keep the newer one."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec
import numpy as np

from schemas.releases import Manifest
from udfs.releases import RefusedRelease, decoded
from udfs.scoring import trees
from udfs.scoring.forest import Forest

LINES: Final = 40
"""At most so many changes are told; the others are counted."""

_VALUE_LENGTH: Final = 60  # characters
_ITEM_LENGTH: Final = 200
_BEFORE: Final = 20
_JSON: Final = msgspec.json.Decoder()
_ITEM: Final = msgspec.json.Decoder(dict[str, Any])
_PLAIN: Final = re.compile(r"[\w-]+")
_PARAMETER: Final = re.compile(r"^\[(\w+): (.*)\]$", re.MULTILINE)

Kind = Literal["added", "removed", "changed"]


class Side(NamedTuple):
    """One of two releases.

    Attributes:
        version: `c1`, `m2` ...
        payload: its file.
        manifest: of a model, which needs one; None for all else.
    """

    version: str
    payload: bytes
    manifest: Manifest | None = None


class _Change(NamedTuple):
    kind: Kind
    path: str
    what: str


def differences(file: str, old: Side, new: Side) -> list[str]:
    r"""Say what a newer release changes.

    A `.json` is compared value by value, each under its path, and objects in a list by what names them; a `.jsonl` item
    by item, each under its `id`; a `.txt` is a model: its trees, what it was trained for and with, and how far the
    scores of both releases' golden rows move.

    Args:
        file: The name of the payload's file, whose ending tells how it is read.
        old: The release to compare with.
        new: The one that changes it.

    Returns:
        How many changes of each kind, then at most `LINES` of them, then how many more there are; nothing where nothing
        differs.

    Raises:
        RefusedRelease: A payload is not what its file's ending says, or a golden row does not fit its model.

    >>> old = b'{"limit":3,"rules":[{"name":"cart","from":2},{"name":"new","from":0}]}'
    >>> new = b'{"limit":3,"rules":[{"name":"cart","from":5}],"since":"May"}'
    >>> print(*differences("rules.json", Side("r1", old), Side("r2", new)), sep="\n")
    1 added, 1 removed, 1 changed
    added since: "May"
    removed rules[name="new"]: {"name":"new","from":0}
    changed rules[name="cart"].from: 2 -> 5
    >>> shelf = [b'{"id":"a91","price":%d,"tags":["x"]}' % price for price in (5, 7)]
    >>> print(*differences("items.jsonl", Side("c1", shelf[0]), Side("c2", shelf[1])), sep="\n")
    0 added, 0 removed, 1 changed
    changed a91: price 5 -> 7
    >>> differences("flags.json", Side("f1", b'{"kill":false}'), Side("f2", b'{ "kill": false }'))
    []
    """
    if old.payload == new.payload:
        return []
    tell = {"json": _documents, "jsonl": _shelves, "txt": _models}[file.rpartition(".")[2]]
    return tell(old, new)


def _documents(old: Side, new: Side) -> list[str]:
    return _told(_walk("", *(decoded(_JSON.decode, side.payload, side.version) for side in (old, new))))


def _shelves(old: Side, new: Side) -> list[str]:
    return _told(_items(*(_by_id(side) for side in (old, new))))


def _models(old: Side, new: Side) -> list[str]:
    read = _trees(old), _trees(new)
    about = (_about(side, model) for side, model in zip((old, new), read, strict=True))
    return [_scores(old, new, *read), *_told(_walk("", *about))]


def _told(changes: Iterable[_Change]) -> list[str]:
    kinds = get_args(Kind)
    # Values move by the hundred; what comes and goes must not be lost behind them.
    ordered = sorted(changes, key=lambda change: kinds.index(change.kind))
    if not ordered:
        return []
    counts = Counter(change.kind for change in ordered)
    lines = [f"{kind} {path or 'the whole'}: {what}" for kind, path, what in ordered[:LINES]]
    rest = len(ordered) - len(lines)
    return [", ".join(f"{counts[kind]} {kind}" for kind in kinds), *lines, *([f"and {rest} more"] if rest else [])]


def _walk(path: str, old: Any, new: Any) -> Iterator[_Change]:
    """Go through two values of JSON side by side."""
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _entries(path, lambda key: f"{path}.{_name(key)}".removeprefix("."), old, new)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(path, old, new)
    # To Python, true is 1.
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        both = isinstance(old, str) and isinstance(new, str)
        yield _Change("changed", path, _texts(old, new) if both else f"{_shown(old)} -> {_shown(new)}")


def _entries(
    path: str, path_of: Callable[[Any], str], old: Mapping[Any, Any], new: Mapping[Any, Any]
) -> Iterator[_Change]:
    for key in {**old, **new}:
        if key not in new:
            yield _Change("removed", path_of(key), _shown(old[key]))
        elif key not in old:
            yield _Change("added", path_of(key), _shown(new[key]))
        else:
            yield from _walk(path_of(key), old[key], new[key])
    # Of rules, the first that holds counts.
    if [key for key in old if key in new] != [key for key in new if key in old]:
        yield _Change("changed", path, "in another order")


def _lists(path: str, old: list[Any], new: list[Any]) -> Iterator[_Change]:
    if name := _naming(old, new):
        olds, news = ({item[name]: item for item in side} for side in (old, new))
        yield from _entries(path, lambda key: f"{path}[{_name(name)}={_shown(key)}]", olds, news)
    elif _numeric(old) and _numeric(new):
        if old != new:
            yield _Change("changed", path, _numbers(old, new))
    else:
        olds, news = (dict(enumerate(side, start)) for start, side in _unlike(old, new))
        yield from _entries(path, lambda place: f"{path}[{place}]", olds, news)


def _naming(old: list[Any], new: list[Any]) -> str:
    """Find the field that tells objects of a list apart; empty where there is none.

    >>> _naming([{"at": 1, "signal": "gap_s"}], [{"at": 1, "signal": "gap_s"}, {"at": 1, "signal": "rate"}])
    'signal'
    >>> _naming([{"id": 3, "name": "x"}], []), _naming([{"from": 1}], [{"from": 2}]), _naming([], [])
    ('id', '', '')
    """
    items = [*old, *new]
    if not items or not all(isinstance(item, dict) for item in items):
        return ""
    for name in ("id", *items[0]):
        # A number that is not called an id is a quantity: it changes, and the object stays the same.
        kinds = (str, int) if name == "id" else (str,)
        if all(type(item.get(name)) in kinds for item in items) and all(
            len({item[name] for item in side}) == len(side) for side in (old, new)
        ):
            return str(name)
    return ""


def _unlike(old: list[Any], new: list[Any]) -> tuple[tuple[int, list[Any]], tuple[int, list[Any]]]:
    """Leave out what two lists begin and end with alike, so that what was put in between moves nothing.

    >>> _unlike(["a", "b", "c"], ["a", "x", "b", "c"])
    ((1, []), (1, ['x']))
    """
    olds, news = ([msgspec.json.encode(each) for each in side] for side in (old, new))
    shorter = min(len(old), len(new))
    start = next((place for place in range(shorter) if olds[place] != news[place]), shorter)
    left = shorter - start
    end = next((place for place in range(left) if olds[-1 - place] != news[-1 - place]), left)
    return (start, old[start : len(old) - end]), (start, new[start : len(new) - end])


def _numeric(value: Any) -> bool:
    """Say whether a value is a number, or a row or a matrix of numbers."""
    return all(map(_numeric, value)) if isinstance(value, list) else type(value) in (int, float)


def _flat(value: Any) -> list[float]:
    return [each for part in value for each in _flat(part)] if isinstance(value, list) else [value]


def _numbers(old: list[Any], new: list[Any]) -> str:
    """Tell of two rows or matrices of numbers in one line: themselves, or how far they are apart.

    >>> _numbers([1, 2], [1, 2.5]), _numbers([[1000.0] * 9] * 9, [[1000.0] * 9] * 8 + [[1000.5] * 9])
    ('[1,2] -> [1,2.5]', '9 of 81 numbers, by at most 0.5')
    """
    olds, news = _flat(old), _flat(new)
    apart = [abs(one - other) for one, other in zip(olds, news, strict=False) if one != other]
    if len(olds) != len(news) or not apart or not _long(old, new):
        return f"{_shown(old)} -> {_shown(new)}"
    return f"{len(apart)} of {len(olds)} numbers, by at most {max(apart):.3g}"


def _texts(old: str, new: str) -> str:
    """Tell of two texts; of long ones, from a little before they part.

    >>> _texts("yes", "no"), _texts("a" * 80 + " > 3", "a" * 80 + " > 5")
    ('"yes" -> "no"', '"...aaaaaaaaaaaaaaaaa > 3" -> "...aaaaaaaaaaaaaaaaa > 5"')
    """
    if _long(old, new):
        shorter = min(len(old), len(new))
        parted = next((place for place in range(shorter) if old[place] != new[place]), shorter)
        if parted > _BEFORE:
            old, new = (f"...{text[parted - _BEFORE :]}" for text in (old, new))
    return f"{_shown(old)} -> {_shown(new)}"


def _long(*values: Any) -> bool:
    return any(len(msgspec.json.encode(value)) > _VALUE_LENGTH for value in values)


def _name(key: str) -> str:
    """Write a key as part of a path.

    >>> _name("dwell_ms"), _name("a.b")
    ('dwell_ms', '"a.b"')
    """
    return key if _PLAIN.fullmatch(key) else msgspec.json.encode(key).decode()


def _shown(value: Any) -> str:
    """Write a value, or say how large it is.

    >>> _shown({"a": True}), _shown([0.5] * 99), _shown({str(key): key for key in range(99)})
    ('{"a":true}', 'a list of 99 values', 'an object of 99 fields')
    """
    text = msgspec.json.encode(value).decode()
    if len(text) > _VALUE_LENGTH and isinstance(value, dict):
        return f"an object of {len(value)} fields"
    if len(text) > _VALUE_LENGTH and isinstance(value, list):
        return f"a list of {len(value)} values"
    return _cut(text, _VALUE_LENGTH)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _items(old: Mapping[str, dict[str, Any]], new: Mapping[str, dict[str, Any]]) -> Iterator[_Change]:
    for name in {**old, **new}:
        if name not in new:
            yield _Change("removed", _name(name), _fields(old[name]))
        elif name not in old:
            yield _Change("added", _name(name), _fields(new[name]))
        elif changes := list(_walk("", old[name], new[name])):
            told = (f"{'' if kind == 'changed' else kind} {path} {what}".strip() for kind, path, what in changes)
            yield _Change("changed", _name(name), _cut(", ".join(told), _ITEM_LENGTH))


def _fields(item: Mapping[str, Any]) -> str:
    return _cut(", ".join(f"{_name(key)} {_shown(value)}" for key, value in item.items()), _ITEM_LENGTH)


def _by_id(side: Side) -> dict[str, dict[str, Any]]:
    items: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(side.payload.splitlines(), start=1):
        at = f"{side.version}: line {number}"
        item = decoded(_ITEM.decode, line, at)
        name = item.pop("id", None)
        if not isinstance(name, str) or name in items:
            raise RefusedRelease(f"{at}: an item needs an id, a text that no other one has")
        items[name] = item
    return items


def _trees(side: Side) -> trees.Trees:
    assert side.manifest is not None
    features, rows = side.manifest.features, side.manifest.golden.rows
    read = trees.read(side.version, decoded(bytes.decode, side.payload, side.version), len(features))
    if read.features != features or not rows or any(len(row) != len(features) for row in rows):
        raise RefusedRelease(
            f"model {side.version}: its manifest must name its features and hold golden rows of as many numbers"
        )
    return read


def _about(side: Side, model: trees.Trees) -> dict[str, Any]:
    return {
        "trees": len(model.trees),
        "leaves": sum(len(tree.value) for tree in model.trees),
        "objective": model.objective,
        "features": model.features,
        "parameters": dict(_PARAMETER.findall(side.payload.decode())),
    }


def _scores(old: Side, new: Side, before: trees.Trees, after: trees.Trees) -> str:
    if before.features != after.features:
        return "scores cannot be compared: the two ask for other features, or in another order"
    assert old.manifest is not None
    assert new.manifest is not None
    rows = np.unique(np.array([*old.manifest.golden.rows, *new.manifest.golden.rows]), axis=0)
    moved = np.abs(Forest.of(after).score(rows) - Forest.of(before).score(rows))
    return (
        f"the scores of {len(rows)} golden rows move by at most {moved.max():.3g}, "
        f"by {float(np.median(moved)):.3g} in the median"
    )
