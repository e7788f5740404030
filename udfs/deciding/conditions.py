"""What a rule may ask of people, read once: its condition, how sure it is, and whether anybody is ever like that."""

from collections.abc import Collection, Iterator
from typing import Final

from schemas.decisions import Context
from schemas.events import Connection, Device
from schemas.rules import Case, Rule, Rulebook
from schemas.signals import Signals
from udfs.expressions import Expression, ExpressionError, compiled
from udfs.nearest import no_such

NUMBERS: Final = (*Signals.__struct_fields__, "cluster")
TEXTS: Final = (*Context.__struct_fields__, "segment")
"""What a condition of a rule may use."""

WATCHABLE: Final = (Signals.__struct_fields__, Context.__struct_fields__)
"""What it may use where it has to hold for a while: a segment has a `for` of its own."""

_KINDS: Final = {"device": [each.value for each in Device], "connection": [each.value for each in Connection]}


def condition(text: str, *, watched: bool = False) -> Expression:
    """Read a condition of a rule, or of who takes part in an experiment.

    Raises:
        ExpressionError: it is none.

    >>> condition('segment == "reder" and rate_fst > 1')
    Traceback (most recent call last):
    ...
    udfs.expressions.ExpressionError: column 24: unknown name rate_fst; did you mean rate_fast?
    """
    numbers, texts = WATCHABLE if watched else (NUMBERS, TEXTS)
    read = compiled(text, numbers=numbers, texts=texts)
    if read.kind != "truth":
        raise ExpressionError(f'column 1: a {read.kind} comes out, expected a condition such as "rate_fast > 1"')
    return read


def degree(text: str) -> Expression:
    """Read a formula that says how sure a rule is; raises ExpressionError where it is none."""
    read = compiled(text, numbers=NUMBERS, texts=TEXTS)
    if read.kind != "number":
        raise ExpressionError(f'column 1: a {read.kind} comes out, expected a number such as "churn_risk"')
    return read


def nobody(asked: Expression, segments: Collection[str]) -> Iterator[str]:
    """Say which of the texts that a condition asks for are no segment, device or connection that there is.

    >>> list(nobody(condition('device == "moble" and segment != ""'), ["reader"]))
    ['column 11: there is no device "moble"; did you mean mobile?']
    """
    known = {"segment": segments, **_KINDS}
    for name, text, column in asked.compared:
        # Empty is who is in no segment, or with what is not known.
        if text and name in known and text not in known[name]:
            yield f"column {column}: {no_such(name, text, known[name])}"


def is_watched(book: Rulebook, rule: Rule, case: Case) -> bool:
    """Whether it must be known since when a case has held."""
    slot = book.slots.get(rule.slot)
    return case.hold > 0 or (slot is not None and slot.resolve == "recency")
