"""Says what was probably meant where something that somebody named is not there."""

from collections.abc import Collection
from difflib import get_close_matches


def nearest(name: str, known: Collection[str], hint: str = "") -> str:
    """Name what is most like it, or else all that there is, and a hint.

    >>> nearest("rate_fst", ["rate_fast", "gap_s"]), nearest("x", ["rate_fast", "gap_s"]), nearest("x", [], ", so far")
    ('did you mean rate_fast?', 'there are: rate_fast, gap_s', 'there are: none, so far')
    """
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(known) or 'none'}{hint}"


def no_such(what: str, name: str, known: Collection[str]) -> str:
    """Say that something is not there, and what was probably meant.

    >>> no_such("rule", "cart_resque", ["cart_rescue"])
    'there is no rule "cart_resque"; did you mean cart_rescue?'
    """
    return f'there is no {what} "{name}"; {nearest(name, known)}'
