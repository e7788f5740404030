"""The detectors of udfs/detectors/, dressed for Flink: the counts of the latest windows in, alerts out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from msgspec import json
from pyflink.table import DataTypes
from pyflink.table.types import DataType
from pyflink.table.udf import ScalarFunction

from schemas.settings import Watch
from udfs.detectors.watching import History, alerts

DETECT: DataType = DataTypes.ARRAY(DataTypes.STRING())


class Detect(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`detect(number, exposures, clicks, errors, rage, slots)`: what is new at the last of some windows.

    The detectors run anew over all windows each time: so there is no state but Flink's, and a topic gives the same
    alerts whenever it is read. Of a window comes one row, so that costs little.
    """

    def __init__(self, conf: Watch, slots: Sequence[str]) -> None:
        """Keep when a change is a change, and the slots in the order in which the views number them, from 1."""
        self._conf = conf
        self._slots = slots

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def eval(  # noqa: PLR0917 - the columns of a view
        self,
        number: "pd.Series[Any]",
        exposures: "pd.Series[Any]",
        clicks: "pd.Series[Any]",
        errors: "pd.Series[Any]",
        rage: "pd.Series[Any]",
        slots: "pd.Series[Any]",
    ) -> "pd.Series[Any]":
        """Look at some windows, each with those before it."""
        told = []
        for numbers, *site, parts in zip(number, exposures, clicks, errors, rage, slots, strict=True):
            counts = dict(zip(("exposures", "clicks", "errors", "rage"), map(np.asarray, site), strict=True))
            history = History(np.asarray(numbers), counts, [counts_by_slot(part, self._slots) for part in parts])
            told.append([json.encode(alert).decode() for alert in alerts(history, self._slots, self._conf)])
        return pd.Series(told, dtype=object)


def counts_by_slot(text: str, slots: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Read what the views list of a window: place:exposures:clicks of each slot, 0 for what is of none.

    >>> counts_by_slot("0:0:7,2:30:4", ["hero", "home_feed"])
    {'home_feed': (30, 4)}
    """
    found = {}
    for part in text.split(","):
        place, exposures, clicks = map(int, part.split(":"))
        if place:
            found[slots[place - 1]] = (exposures, clicks)
    return found
