"""What a moment says of a person: their signals, and which segments it speaks for and against."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.segments import MAX_RULES, RuleSegment
from schemas.settings import Noise, SignalSettings
from udfs.cleaning.context import columns, contexts
from udfs.deciding.book import Book
from udfs.detectors.isolation import IsolationForest
from udfs.segments.membership import Rules, label, members
from udfs.signals.formulas import signals
from udfs.signals.moments import Columns


class Observer:
    """Everything about observing that stays the same from bundle to bundle."""

    def __init__(self, rules: Mapping[str, RuleSegment], horizons: SignalSettings, noise: Noise) -> None:
        """Take the rule segments, the signals' horizons, and what is noise."""
        self._rules = Rules(rules)
        self._holds = np.array([rule.hold for rule in rules.values()], dtype=np.int64)
        self._horizons = horizons
        self._noise = noise

    def signals(self, moments: Columns, anomalies: IsolationForest | None) -> dict[str, NDArray[Any]]:
        """Compute all signals, the one that a release scores too, each (n,)."""
        found = signals(moments, self._horizons, self._noise)
        if anomalies:
            found["anomaly"] = anomalies.score(found)
        return found

    def bits(self, moments: Columns, anomalies: IsolationForest | None, book: Book) -> NDArray[np.int64]:
        """Say what speaks for and against each rule segment now, and which watched cases of rules do not hold, (n,).

        The lowest bits are the segments', two each; after those of MAX_RULES segments there is one for each case.
        """
        known = self.signals(moments, anomalies) | columns(contexts(moments["context"].tolist()))
        found = self._rules.bits(known)
        for place, watched in enumerate(book.watched):
            found |= (~watched.when(known)).astype(np.int64) << (2 * MAX_RULES + place)
        return found

    def segments(self, moments: Columns) -> tuple[list[str], list[dict[str, list[int]]]]:
        """Say in which segment each person is, the first of several, and when each was last spoken for and against.

        What was before memory began is not known any more.
        """
        names, count = self._rules.names, len(self._rules.names)
        born = moments["born"][:, np.newaxis]
        entered, left = moments["entered"][:, :count], moments["left"][:, :count]
        entered, left = np.where(entered > born, entered, 0), np.maximum(left, born)
        inside = members(entered, left, self._holds)
        places = label(inside).tolist()
        spoken = [
            {name: [for_it, against] for name, for_it, against in zip(names, fors, againsts, strict=True) if for_it}
            for fors, againsts in zip(entered.tolist(), left.tolist(), strict=True)
        ]
        return [names[place] if place >= 0 else "" for place in places], spoken
