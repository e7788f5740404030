"""Looks for names in whatever the suite has written: in keys, values, headers and lines, however they are spelled."""

import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator
from json import dumps
from typing import Any, Final
from urllib.parse import quote

from msgspec import DecodeError, json

LONG: Final = 5
"""Characters from which on a name is looked for inside other text; shorter ones are syllables of everything."""

_TELLING_CHARACTERS: Final = 6
"""Characters of base64 that hold nothing but the name, below which they could stand anywhere."""


def strings(body: bytes | str) -> Iterator[str]:
    """Give a record's texts: all strings of a JSON value, names of fields too; what is no JSON is one text.

    >>> list(strings(b'{"page": ["/p", {"n": 7}]}')), list(strings(b"k1:0af1"))
    (['page', '/p', 'n'], ['k1:0af1'])
    """
    try:
        value = json.decode(body)
    except (DecodeError, UnicodeDecodeError):
        yield body if isinstance(body, str) else body.decode(errors="replace")
    else:
        yield from _inside(value)


def whole(names: Collection[str], texts: Iterable[str]) -> set[str]:
    """Find the names that are a text.

    >>> whole({"Ada", "Al"}, ["Ada", "Also"])
    {'Ada'}
    """
    return set(names) & set(texts)


def worded(names: Iterable[str], text: str) -> set[str]:
    r"""Find the names that stand in a text with no letter, digit or underscore beside them, in any of their spellings.

    >>> worded(["Ada L.", "10.0.0.1"], "by Ada L., from 110.0.0.1"), worded(["Zoë"], r'{"by":"Zo\u00eb"} /Zo%C3%AB')
    ({'Ada L.'}, {'Zoë'})
    """
    return {
        name
        for name in names
        if any(
            spelled in text and re.search(rf"(?<!\w){re.escape(spelled)}(?!\w)", text) for spelled in spellings(name)
        )
    }


def spellings(name: str) -> set[str]:
    r"""Give the ways in which a name may be written: itself, in JSON of ASCII alone, in a URL.

    >>> sorted(spellings("Zoë"))
    ['Zo%C3%AB', 'Zo\\u00eb', 'Zoë']
    """
    return {name, dumps(name)[1:-1], quote(name), quote(name, safe="")}


def marked(marks: Iterable[str], text: str) -> set[str]:
    """Find the marks that stand anywhere in a text, also within a word, in a URL, or in base64 at any alignment.

    >>> from base64 import b64encode
    >>> hidden = [b64encode(before + b"raw-user-7 and more").decode() for before in (b"", b"x", b"xy")]
    >>> [marked(["raw-user-7", "ada@x.example"], text) for text in (*hidden, "to=ada%40x.example", "raw-user-8")]
    [{'raw-user-7'}, {'raw-user-7'}, {'raw-user-7'}, {'ada@x.example'}, set()]
    """
    return {mark for mark in marks if any(form in text for form in (*spellings(mark), *base64_cores(mark)))}


def base64_cores(mark: str) -> list[str]:
    """Give the characters of base64 that a mark alone decides, at each of its three alignments, in both alphabets.

    >>> base64_cores("raw-user-")
    ['cmF3LXVzZXIt', 'Jhdy11c2VyL', 'yYXctdXNlci']
    """
    data = mark.encode()
    found: list[str] = []
    for before in range(3):
        written = b64encode(bytes(before) + data).decode()
        # Six bits a character: those that share a byte with a neighbour are left out.
        core = written[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        if len(core) >= _TELLING_CHARACTERS:
            found += dict.fromkeys((core, core.replace("+", "-").replace("/", "_")))
    return found


def _inside(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _inside(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _inside(each)
