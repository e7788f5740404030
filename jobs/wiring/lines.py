"""Where in a TOML file each setting stands, so that what is wrong can be told with its line."""

import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

Path = tuple[str, ...]

_KEY: Final = r"""(?: [A-Za-z0-9_-]+ | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )"""
_KEYS: Final = rf"{_KEY} (?: [ \t]*\.[ \t]* {_KEY} )*"
_PIECE: Final = re.compile(
    rf"""
    ^[ \t]* \[ [ \t]* (?P<header> {_KEYS} ) [ \t]* \]
  | ^[ \t]* \[\[ [ \t]* (?P<listed> {_KEYS} ) [ \t]* \]\]
  | (?P<key> {_KEYS} ) [ \t]* =
  | (?P<opens> [\[{{] ) | (?P<closes> [\]}}] )
  | "{{3}} (?:\\.|[^\\])*? "{{3,5}} | '{{3}} .*? '{{3,5}} | "(?:\\.|[^"\\\n])*" | '[^'\n]*'
  | \#[^\n]*
  | \n
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
"""What tells where keys stand, and what may hold letters that only look like it: texts, comments."""


@lru_cache(maxsize=16)
def lines(text: str) -> Mapping[Path, int]:
    r"""Say in which line each key stands, and where each table begins.

    Args:
        text: TOML that can be read.

    Returns:
        Path -> line, from 1 on. A table begins at its header, else at the first key that names it; tables in lists have
        no paths.

    >>> lines('[a]\nb."c.d" = { e = [\n1], f = 2 }\n[[g]]\ni = 3')
    {('a',): 1, ('a', 'b'): 2, ('a', 'b', 'c.d'): 2, ('a', 'b', 'c.d', 'e'): 2, ('a', 'b', 'c.d', 'f'): 3, ('g',): 4}
    """
    found: dict[Path, int] = {}
    number = 1
    # None: a table in a list.
    table: Path | None = ()
    path: Path | None = ()
    inside: list[Path | None] = []
    lists = set[Path]()
    for piece in _PIECE.finditer(text):
        # Inside a list, a list of one value looks like a header.
        if (header := piece["header"] or piece["listed"]) and not inside:
            table = path = keys(header)
            if any(path[:length] in lists for length in range(1, len(path) + 1)):
                table = None
            elif piece["listed"]:
                lists.add(path)
                _note(found, path, number)
                table = None
            else:
                _note(found, path, number)
                found[path] = number
        elif piece["key"]:
            above = inside[-1] if inside else table
            path = None if above is None else above + keys(piece["key"])
            if path is not None:
                _note(found, path, number)
        elif piece["opens"]:
            inside.append(path if piece["opens"] == "{" and None not in inside else None)
        elif piece["closes"]:
            inside.pop()
        number += piece[0].count("\n")
    return found


def keys(text: str) -> Path:
    """Read a dotted key.

    Raises:
        tomllib.TOMLDecodeError: it is none.

    >>> keys('topics.clicks."retention.ms"')
    ('topics', 'clicks', 'retention.ms')
    """
    table: object = tomllib.loads(f"{text} = 0")
    path: Path = ()
    while isinstance(table, dict) and len(table) == 1:
        ((key, table),) = table.items()
        path += (key,)
    return path


def _note(found: dict[Path, int], path: Path, number: int) -> None:
    for length in range(1, len(path) + 1):
        found.setdefault(path[:length], number)
