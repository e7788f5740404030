"""What all slots of a bundle of decisions share: the people, the releases, and how the decisions are named."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.deciding.book import Book, Place
from udfs.deciding.facts import Facts
from udfs.deciding.in_force import InForce
from udfs.deciding.learned import Learnt


class Bundle(NamedTuple):
    """Some people who are decided for by the same releases.

    Attributes:
        facts: of n people.
        releases: those in force for all of them.
        book: the rulebook in force.
        learnt: what had been learned of arms by when each one draws.
        ids: of the decisions.
        expires: until when they count, ms since 1970.
    """

    facts: Facts
    releases: InForce
    book: Book
    learnt: Sequence[Learnt | None]
    ids: Sequence[str]
    expires: Sequence[int]

    def taken(self, rows: NDArray[np.intp]) -> "Bundle":
        """Give the bundle of some of the people."""
        learnt, ids, expires = ([each[row] for row in rows.tolist()] for each in (self.learnt, self.ids, self.expires))
        return self._replace(facts=self.facts.taken(rows), learnt=learnt, ids=ids, expires=expires)

    def cards(self, place: Place) -> Iterator[tuple[str, int]]:
        """Give the id and the expiry of each card of a slot."""
        return ((f"{each}.{place.name}", end) for each, end in zip(self.ids, self.expires, strict=True))
