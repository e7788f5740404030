"""What may be kept of what a tracker says: the names on a list, and no text in which a person could be found."""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final, TypeGuard
from urllib.parse import unquote

from schemas.events import Scalar

Kept = str | int | float | bool

_LONGEST: Final = 128
"""Characters of a text that may be kept: what is longer was written, not chosen from a list."""

_NINE_DIGITS: Final = 10**8
"""The least number of nine digits, as telephone and card numbers have at least."""

_EMAIL: Final = r"[^\s@]@[^\s@]"
_IPV4: Final = r"(?<!\d)(?:\d{1,3}\.){3}\d{1,3}(?!\d)"
_GROUPS: Final = r"[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6}"
_IPV6: Final = rf"(?<![\w:])(?:(?:[0-9a-f]{{1,4}}:){{7}}[0-9a-f]{{1,4}}|(?:{_GROUPS})?::(?:{_GROUPS})?)(?![\w:])"
_BETWEEN_DIGITS: Final = r"[\s.,()/+\u2010-\u2015-]"
_QUERY: Final = r"://\S*[?#]|[?&#;][^\s=?&#;]+="

_ADDRESS: Final = re.compile(f"{_EMAIL}|{_IPV4}|{_IPV6}", re.IGNORECASE)
_PERSONAL: Final = re.compile(rf"{_QUERY}|\d(?:{_BETWEEN_DIGITS}{{0,3}}\d){{8}}", re.IGNORECASE)
_LONG_NUMBER: Final = re.compile(rf"\+?\d(?:{_BETWEEN_DIGITS}{{0,3}}\d){{8,}}")
_SUSPECT: Final = re.compile(rf"[@?#%:+]|[0-9]{_BETWEEN_DIGITS}+[0-9]|[^\x00-\x7f]")
"""Without one of these, no page holds anything that `scrubbed` looks for."""

_TELLING: Final = re.compile(r"[\d@:=]")
"""Without one of these, no text holds anything that `kept` looks for."""


def kept(properties: Mapping[str, Scalar], allowed: Collection[str]) -> dict[str, Kept]:
    """Keep the properties whose names are allowed, unless a person could be found in what they say.

    A text is dropped if it is longer than 128 characters or holds an e-mail address, an address on the net, a URL with
    a query, or nine digits in a row, alike with spaces, dots or hyphens between, as telephone and card numbers have. A
    number of nine digits or more before its point is dropped too.

    >>> kept({"plan": "pro", "seats": 3, "note": None, "name": "Ada"}, {"plan", "seats", "note"})
    {'plan': 'pro', 'seats': 3}
    >>> names = "abcdef"
    >>> kept(dict(zip(names, ["ada@example.org", "10.0.0.1", "2001:db8::1", "/p?id=7", "+44 7911 12-34-56"])), names)
    {}
    """
    return {name: value for name, value in properties.items() if name in allowed and _harmless(value)}


@lru_cache(maxsize=8192)
def scrubbed(page: str) -> str:
    """Take out of a page's path what may say who reads it.

    Query and fragment are cut. Each part between slashes that holds an e-mail address, an address on the net, or a
    number of nine digits or more with signs between or a plus before becomes a star, percent-encoded or not; nine
    digits alone stay, for the ids of items and articles are such. The same pages come again and again, so the last
    ones are remembered.

    >>> scrubbed("/games/1002352692"), scrubbed("/u/ada@example.org/edit?token=1"), scrubbed("/who/ada%40example.org#x")
    ('/games/1002352692', '/u/*/edit', '/who/*')
    >>> scrubbed("/call/+447911123456"), scrubbed("/card/4111-1111-1111-1111"), scrubbed("/from/10.0.0.1/2001:db8::1")
    ('/call/*', '/card/*', '/from/*/*')
    """
    if not _SUSPECT.search(page):
        return page
    path = page.partition("?")[0].partition("#")[0]
    return "/".join("*" if _names_someone(unquote(part)) else part for part in path.split("/")) or "/"


def personal(text: str) -> bool:
    """Whether a person could be found in a text, see `kept`.

    >>> personal("ada@example.org"), personal("pro")
    (True, False)
    """
    return bool(_TELLING.search(text) and (_ADDRESS.search(text) or _PERSONAL.search(text)))


def _harmless(value: Scalar) -> TypeGuard[Kept]:
    if isinstance(value, str):
        return len(value) <= _LONGEST and not personal(value)
    # Nothing is greater than an infinity, nor is NaN smaller than anything: neither can be written as JSON.
    return value is not None and abs(value) < _NINE_DIGITS


def _names_someone(part: str) -> bool:
    return bool(_ADDRESS.search(part)) or any(not number[0].isdecimal() for number in _LONG_NUMBER.finditer(part))
