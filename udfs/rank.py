"""Which items come first for a person: a cheap choice of candidates, then a model's order of those."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.decisions import Candidate, Versions, Why
from schemas.signals import FEATURES, USER_FEATURES
from schemas.slots import Rerank
from udfs.catalogue import Catalogue
from udfs.models import Model

Clicked = Sequence[str] | NDArray[Any]
"""The item each user clicked last, "" if none: a list, or a column of texts."""

_UNKNOWN: Final = -1


@dataclass(frozen=True, eq=False)
class InForce:
    """The releases that decide a row; an absent one was not there."""

    catalogue: Catalogue | None
    model: Model | None

    def versions(self) -> Versions:
        """Name them, as cards and records do."""
        return Versions(
            catalogue=self.catalogue.version if self.catalogue else None,
            model=self.model.version if self.model else None,
        )


@dataclass(frozen=True, eq=False)
class Ranked:
    """One slot's lists for a bundle of users.

    Attributes:
        reason: SCORE where a model ordered them, POPULAR where none is in force.
        ids: Ids by the catalogue's rows.
        candidates: (users, candidates) rows of the catalogue, in the prefilter's order.
        scores: (users, candidates) what the order follows.
        order: (users, length) places among the candidates, best first; equal scores stay in the prefilter's order.
    """

    reason: Why
    ids: NDArray[np.object_]
    candidates: NDArray[np.intp]
    scores: NDArray[np.float64]
    order: NDArray[np.intp]

    def items(self) -> list[list[str]]:
        """Per user, the item ids, best first."""
        chosen: list[list[str]] = self.ids[np.take_along_axis(self.candidates, self.order, axis=1)].tolist()
        return chosen

    def traces(self) -> list[list[Candidate]]:
        """Per user, every candidate with its score, in the prefilter's order."""
        pairs = zip(self.ids[self.candidates].tolist(), self.scores.tolist(), strict=True)
        return [[*map(Candidate, items, scores)] for items, scores in pairs]


def rerank(slot: Rerank, signals: Mapping[str, NDArray[Any]], clicked: Clicked, in_force: InForce) -> Ranked | None:
    """Order a slot's items for each user of a bundle; a user's list does not depend on the users beside them.

    Args:
        slot: How many candidates, how many shown.
        signals: `USER_FEATURES` at least, each (users,).
        clicked: The item each user clicked last, "" if none.
        in_force: The releases that decide.

    Returns:
        The lists, or None where there is no catalogue or it has nothing available.
    """
    catalogue, model = in_force.catalogue, in_force.model
    if catalogue is None or not len(catalogue.ranked):
        return None
    last = _last(catalogue, clicked)
    candidates = catalogue.candidates(slot.candidates)[_interests(catalogue, last)]
    if model is None:
        scores = catalogue.prior[candidates]
    else:
        rows = features(signals, clicked, catalogue, candidates)
        scores = model.score(rows.reshape(-1, len(FEATURES))).reshape(candidates.shape)
    return Ranked(
        reason=Why.SCORE if model else Why.POPULAR,
        ids=catalogue.ids,
        candidates=candidates,
        scores=scores,
        order=np.argsort(-scores, axis=1, kind="stable")[:, : slot.length],
    )


def features(
    signals: Mapping[str, NDArray[Any]], clicked: Clicked, catalogue: Catalogue, items: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Put users and items side by side, as a model sees them.

    Args:
        signals: `USER_FEATURES` at least, each (users,).
        clicked: The item each user clicked last, "" if none.
        catalogue: Where the items come from.
        items: (users, items) rows of the catalogue.

    Returns:
        (users, items, len(FEATURES)) in the order of `FEATURES`.
    """
    last = _last(catalogue, clicked)
    interests = _interests(catalogue, last)
    table = np.empty((*items.shape, len(FEATURES)), dtype=np.float64)
    for place, name in enumerate(USER_FEATURES):
        table[:, :, place] = signals[name][:, np.newaxis]
    of_item = table[:, :, len(USER_FEATURES) :]
    of_item[:, :, :3] = catalogue.features[items]
    of_item[:, :, 3] = (catalogue.codes[items] == interests[:, np.newaxis]) & (interests != _UNKNOWN)[:, np.newaxis]
    of_item[:, :, 4] = items == last[:, np.newaxis]
    return table


def _last(catalogue: Catalogue, clicked: Clicked) -> NDArray[np.intp]:
    return np.array([catalogue.rows.get(item, _UNKNOWN) for item in clicked], dtype=np.intp)


def _interests(catalogue: Catalogue, last: NDArray[np.intp]) -> NDArray[np.int16]:
    # The unknown, -1, picks the last row of the catalogue's candidates: the best of all.
    return np.where(last == _UNKNOWN, np.int16(_UNKNOWN), catalogue.codes[last])
