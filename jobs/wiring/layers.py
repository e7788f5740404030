"""Who says what: the files, the environment and the command line, laid over each other, each value with its origin."""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Any, Final

from jobs.wiring import Refusal
from jobs.wiring.lines import Path, keys, lines

Table = dict[str, Any]

BASE: Final = "base"
SINGLE: Final = ("slots", "rules", "experiments", "segments", "topics", "formats")
"""Files that hold one table each, of their own name."""

SET: Final = "--set"
_VARIABLE: Final = "TRIMTAB__"


class BadSettings(Refusal):
    """Settings are unknown, missing, or not what they should be; the message says where, a line for each."""


class Typed(str):
    """What a person typed outside a file: TOML where that fits the setting, else plain text."""

    __slots__ = ()

    def readings(self) -> Iterator[object]:
        """Yield what it may mean, the likelier first.

        >>> list(Typed("5").readings()), list(Typed("10s").readings())
        ([5, '5'], ['10s'])
        """
        try:
            found = tomllib.loads(f"v = {self}")
        except tomllib.TOMLDecodeError:
            found = {}
        if set(found) == {"v"}:
            yield found["v"]
        yield str(self)


class Layers:
    """A stack of tables; the later one wins, key by key, and every value knows who said it."""

    def __init__(self) -> None:
        self.table: Table = {}
        self.order: list[str] = []
        self._origins: dict[Path, str] = {}
        self._texts: dict[str, str] = {}

    def lay(self, origin: str, table: Table, text: str = "") -> None:
        """Lay a table on top; `text` is what it was read from, where that is a file."""
        self.order.append(origin)
        self._texts[origin] = text
        self._lay(origin, table, self.table, ())

    def origin(self, path: Path) -> str:
        """Say who set a path, or who first wrote the table it is missing from."""
        return self._origins.get(self._written(path), f"conf/{BASE}.toml")

    def place(self, path: Path) -> str:
        """Say the same, with the line where that is a file."""
        origin = self.origin(path)
        return _place(origin, self._texts.get(origin, ""), self._written(path))

    def last(self, paths: Iterable[Path]) -> Path:
        """Pick the path that was set by the topmost layer: the one to correct."""
        return max(paths, key=lambda path: self.order.index(self.origin(path)))

    def spelled(self, path: Path) -> Path:
        """Give a path that was typed in any case the case it has in the files."""
        table: object = self.table
        found: list[str] = []
        for step in path:
            keys = table if isinstance(table, dict) else {}
            found.append(next((key for key in keys if key.lower() == step.lower()), step.lower()))
            table = keys.get(found[-1])
        return tuple(found)

    def _written(self, path: Path) -> Path:
        while path and path not in self._origins:
            path = path[:-1]
        return path

    def _lay(self, origin: str, table: Table, onto: Table, at: Path) -> None:
        for key, value in table.items():
            path = (*at, key)
            if not isinstance(value, dict):
                onto[key] = value
                self._origins[path] = origin
                continue
            if not isinstance(onto.get(key), dict):
                onto[key] = {}
                self._origins[path] = origin
            self._lay(origin, value, onto[key], path)


def stacked(root: Traversable, env: str, environ: Mapping[str, str], overrides: Sequence[str]) -> Layers:
    """Stack conf/base.toml, the files of one table, conf/<env>.toml, TRIMTAB__SECTION__KEY and --set.

    Several environments are joined by a plus, `local+website`, and laid over each other in that order.

    Raises:
        BadSettings: a file is absent or no TOML, there is no such environment, or a name cannot be read.
    """
    conf = root / "conf"
    there, names = environments(root), env.split("+")
    for name in names:
        if name not in there:
            known = ", ".join(there) or "none"
            raise BadSettings(f'conf/{name}.toml: there is no environment "{name}"; there are: {known}')
    layers = Layers()
    for name in (BASE, *SINGLE, *names):
        origin = f"conf/{name}.toml"
        table, text = _parsed(conf / f"{name}.toml", origin)
        for key in table if name in SINGLE else ():
            if key != name:
                raise BadSettings(f"{_place(origin, text, (key,))}: {dotted((key,))}: only [{name}] belongs here")
        layers.lay(origin, table, text)
    for variable in sorted(environ):
        if variable.upper().startswith(_VARIABLE):
            path = layers.spelled(tuple(variable[len(_VARIABLE) :].split("__")))
            layers.lay(f"environment {variable}", _nested(path, environ[variable]))
    for override in overrides:
        layers.lay(SET, _nested(*_assignment(override)))
    return layers


def environments(root: Traversable) -> list[str]:
    """List the environments there are files for."""
    conf = root / "conf"
    names = [entry.name for entry in conf.iterdir()] if conf.is_dir() else []
    return sorted(
        name.removesuffix(".toml")
        for name in names
        if name.endswith(".toml") and name.removesuffix(".toml") not in (BASE, *SINGLE)
    )


def dotted(path: Path) -> str:
    """Write a path as TOML does.

    >>> dotted(("topics", "clicks", "config", "retention.ms"))
    'topics.clicks.config."retention.ms"'
    """
    return ".".join(key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key) for key in path)


def _place(origin: str, text: str, path: Path) -> str:
    line = lines(text).get(path)
    return f"{origin}:{line}" if line else origin


def _parsed(file: Traversable, origin: str) -> tuple[Table, str]:
    try:
        text = file.read_bytes().decode()
        return tomllib.loads(text), text
    except FileNotFoundError as error:
        raise BadSettings(f"{origin}: there is no such file; it belongs in the folder conf/") from error
    except UnicodeDecodeError as error:
        raise BadSettings(f"{origin}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        sentence = str(error).replace("at end of document", f"at line {len(text.splitlines())}, the last")
        line = re.search(r"at line ([0-9]+)", sentence)
        raise BadSettings(f"{origin}{f':{line[1]}' if line else ''}: not TOML: {sentence}") from error


def _assignment(override: str) -> tuple[Path, str]:
    name, equals, value = override.partition("=")
    try:
        path = keys(name) if equals else ()
    except tomllib.TOMLDecodeError:
        path = ()
    if not path:
        raise BadSettings(f"{SET}: {json.dumps(name)}: expected section.key=value, such as decide.refresh=10s")
    return path, value


def _nested(path: Path, text: str) -> Table:
    """Put a typed value where it belongs; a typed table is laid like one from a file."""
    first = next(Typed(text).readings())
    value: object = first if isinstance(first, dict) else Typed(text)
    for key in reversed(path):
        value = {key: value}
    return value if isinstance(value, dict) else {}
