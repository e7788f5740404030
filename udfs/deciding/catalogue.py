"""What can be shown: the items of one catalogue release, and which few of them are worth a model's time."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.catalogue import Item
from udfs.releases import RefusedRelease, decoded

_MAX_INTERESTS = int(np.iinfo(np.int16).max)
_decode = msgspec.json.Decoder(Item).decode


@dataclass(frozen=True, eq=False)
class Catalogue:
    """One catalogue release as columns, its items in the order of their ids.

    Attributes:
        version: The release, `c1`, `c2` ...
        ids: Item ids, ascending.
        interests: Names of the interests, ascending.
        codes: Each item's place in `interests`; -1 for an item that names none.
        features: (items, 3): popularity (0 to 1), quality (0 to 1), age_h (hours).
        available: Which items may be shown.
        rows: Item id -> its row.
        reserved: Rule segment -> (items,) which of those that are for some segments only are for it.
    """

    version: str
    ids: NDArray[np.object_]
    interests: tuple[str, ...]
    codes: NDArray[np.int16]
    features: NDArray[np.float64]
    available: NDArray[np.bool_]
    rows: Mapping[str, int]
    reserved: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    _tables: dict[int, NDArray[np.intp]] = field(default_factory=dict, init=False, repr=False)
    _places: dict[tuple[str, ...], Mapping[str, int]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def parse(cls, version: str, payload: bytes) -> Self:
        r"""Read `items.jsonl`, one `schemas.catalogue.Item` a line.

        Raises:
            RefusedRelease: A line is not an item, an id stands twice, or there is no item at all.

        >>> line = b'{"id":"a91","interest":"sport","popularity":0.5,"quality":0.8}'
        >>> Catalogue.parse("c7", line).prior.tolist()
        [0.4]
        >>> Catalogue.parse("c7", line + b"\n" + line)
        Traceback (most recent call last):
        ...
        udfs.releases.RefusedRelease: catalogue c7: line 2: item "a91" stands in line 1 already
        """
        items = sorted(_items(version, payload), key=lambda item: item.id)
        interests = tuple(sorted({item.interest for item in items} - {""}))
        if len(interests) > _MAX_INTERESTS:
            raise RefusedRelease(f"catalogue {version}: {len(interests)} interests, at most {_MAX_INTERESTS} fit")
        code = {name: place for place, name in enumerate(interests)}
        return cls(
            version=version,
            ids=np.array([item.id for item in items], dtype=np.object_),
            interests=interests,
            codes=np.array([code.get(item.interest, -1) for item in items], dtype=np.int16),
            features=np.array([(item.popularity, item.quality, item.age_h) for item in items], dtype=np.float64),
            available=np.array([item.available for item in items], dtype=np.bool_),
            rows={item.id: row for row, item in enumerate(items)},
            reserved=_reserved(items),
        )

    def interest_places(self, names: Sequence[str]) -> Mapping[str, int]:
        """Say for each item whose interest is among some names at which place it stands there; made once per list.

        >>> line = b'{"id":"a91","interest":"sport","popularity":0.5,"quality":0.8}'
        >>> dict(Catalogue.parse("c7", line).interest_places(["news", "sport"]))
        {'a91': 1}
        """
        wanted = tuple(names)
        if wanted not in self._places:
            place = {code: wanted.index(name) for code, name in enumerate(self.interests) if name in wanted}
            codes = self.codes.tolist()
            self._places[wanted] = {item: place[codes[row]] for item, row in self.rows.items() if codes[row] in place}
        return self._places[wanted]

    def kept_from(self, segments: Sequence[str], items: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Say which items are not for people of some segments.

        Args:
            segments: (users,) the rule segment each is in.
            items: (users, items) rows of the catalogue.

        Returns:
            (users, items).

        >>> lines = b'{"id":"a","interest":"","popularity":1,"quality":1,"segments":["reader"]}'
        >>> Catalogue.parse("c1", lines).kept_from(["reader", ""], np.array([[0], [0]])).tolist()
        [[False], [True]]
        """
        found = np.zeros(items.shape, dtype=np.bool_)
        if self.reserved:
            restricted = np.logical_or.reduce(list(self.reserved.values()))
            nobodys = np.zeros(len(self.ids), dtype=np.bool_)
            of_row = np.array(segments, dtype=np.object_)
            for segment in set(segments):
                rows = np.flatnonzero(of_row == segment)
                found[rows] = (restricted & ~self.reserved.get(segment, nobodys))[items[rows]]
        return found

    @cached_property
    def prior(self) -> NDArray[np.float64]:
        """What an item is worth before anything is known about the user: popularity * quality, 0 to 1."""
        return self.features[:, 0] * self.features[:, 1]

    @cached_property
    def ranked(self) -> NDArray[np.intp]:
        """Rows of the available items by falling prior; equals stand in the order of their ids."""
        rows = np.flatnonzero(self.available)
        return rows[np.argsort(-self.prior[rows], kind="stable")]

    def popular(self, count: int) -> list[str]:
        """Name the best items for everybody, best first."""
        rows = self.ranked
        if self.reserved:
            rows = rows[~self.kept_from([""], rows[np.newaxis])[0]]
        found: list[str] = self.ids[rows[:count]].tolist()
        return found

    def candidates(self, count: int) -> NDArray[np.intp]:
        r"""The items worth scoring: one row of item rows per interest, and a last one for no interest.

        Half of the places (rounded up) go to the interest's best, the others to the best of all; what an interest
        cannot fill goes to the best of all. Each row is in the order of `ranked`. The table is made once per count.

        Args:
            count: Places per row; fewer where fewer items are available.

        >>> lines = [b'{"id":"%c","interest":"%s","popularity":%.1f,"quality":1}' % line for line in
        ...          ((b"a", b"sport", 0.9), (b"b", b"sport", 0.8), (b"c", b"news", 0.7), (b"d", b"sport", 0.6))]
        >>> catalogue = Catalogue.parse("c1", b"\n".join(lines))
        >>> catalogue.interests, catalogue.ids[catalogue.candidates(2)].tolist()
        (('news', 'sport'), [['a', 'c'], ['a', 'b'], ['a', 'b']])
        """
        if count not in self._tables:
            self._tables[count] = self._table(min(count, len(self.ranked)))
        return self._tables[count]

    def _table(self, width: int) -> NDArray[np.intp]:
        codes = self.codes[self.ranked]
        by_interest = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[by_interest], np.arange(len(self.interests) + 1))
        best = np.arange(width)
        places = np.empty((len(self.interests) + 1, width), dtype=np.intp)
        for interest, (start, stop) in enumerate(itertools.pairwise(starts)):
            own = by_interest[start:stop][: (width + 1) // 2]
            others = np.setdiff1d(best, own, assume_unique=True)[: width - len(own)]
            places[interest] = np.sort(np.concatenate([own, others]))
        places[-1] = best
        return self.ranked[places]


def _reserved(items: Sequence[Item]) -> dict[str, NDArray[np.bool_]]:
    names = sorted({segment for item in items for segment in item.segments})
    return {name: np.array([name in item.segments for item in items], dtype=np.bool_) for name in names}


def _items(version: str, payload: bytes) -> Iterator[Item]:
    seen: dict[str, int] = {}
    for number, line in enumerate(payload.splitlines(), start=1):
        item = decoded(_decode, line, f"catalogue {version}: line {number}")
        if item.id in seen:
            raise RefusedRelease(
                f'catalogue {version}: line {number}: item "{item.id}" stands in line {seen[item.id]} already'
            )
        seen[item.id] = number
        yield item
    if not seen:
        raise RefusedRelease(f"catalogue {version}: it holds no item")
