"""People of whom nothing is known but what a test says: facts, and what is decided for them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from msgspec import json

from schemas.decisions import Context, Decision, Unfit
from schemas.rules import Rulebook
from schemas.signals import Signals
from udfs.cleaning.asking import NOTHING
from udfs.cleaning.meeting import Met
from udfs.deciding.book import Book
from udfs.deciding.decide import decided
from udfs.deciding.facts import STRETCHES, Facts
from udfs.deciding.in_force import InForce
from udfs.deciding.learned import Learnt

END: Final = 1_767_225_600_000
SESSION: Final = END - 90_000


def facts(
    people: int,
    *,
    held: Mapping[str, Sequence[int]] | None = None,
    shown: Sequence[Sequence[Sequence[int]]] | None = None,
    opened: Sequence[str] = (),
    often: Mapping[str, int] | None = None,
    **columns: Any,
) -> Facts:
    """Tell of some people, a session of a minute and a half each.

    Args:
        people: how many.
        held: rule.case -> since when it has held.
        shown: by person and counter, exposures in the session, the day, ever, and when last.
        opened: items that each has clicked.
        often: item -> how often lists showed it to each.
        columns: signals, surroundings, segment, cluster.
    """
    known: dict[str, Any] = {name: np.full(people, getattr(Signals(), name)) for name in Signals.__struct_fields__}
    known |= {name: np.full(people, "", dtype=object) for name in (*Context.__struct_fields__, "segment")}
    known |= {"cluster": np.zeros(people, dtype=np.int64)}
    nothing: list[Unfit] = []
    return Facts(
        users=[f"k0:{row}" for row in range(people)],
        ends=np.full(people, END),
        at=[END - 1] * people,
        sessions=np.full(people, SESSION),
        columns=known | {name: np.array(column) for name, column in columns.items()},
        contexts=[Context()] * people,
        clicked=[""] * people,
        spoken=[{}] * people,
        held={name: np.array(since) for name, since in (held or {}).items()},
        shown=np.array(shown or [[]] * people, dtype=np.int64).reshape(people, -1, len(STRETCHES)),
        accounts=[""] * people,
        unfit=[nothing] * people,
        unmeasured=[False] * people,
        asked=[NOTHING] * people,
        met=[Met(list(opened), dict(often or {}))] * people,
    )


def book(**said: Any) -> Book:
    """Make a rulebook ready; what is not said is usual."""
    usual: dict[str, Any] = {"seed": "s", "valid": 300_000, "counters": [], "slots": {}}
    return Book.of(None, Rulebook(**usual | said))


def decisions(
    about: Facts, rules: Book, learnt: Learnt | None = None, releases: InForce | None = None
) -> list[Decision]:
    """Decide, and read the records."""
    found = decided(about, releases or InForce(), rules, [learnt] * len(about.users))
    return [json.decode(verdict.record or "", type=Decision) for verdict in found]
