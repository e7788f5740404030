"""The pure functions of udfs/, dressed for Flink: bundles of columns in, one row of columns out."""

import logging
import os
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from msgspec.structs import replace
from numpy.typing import NDArray
from pyflink.table import DataTypes
from pyflink.table.types import DataType
from pyflink.table.udf import FunctionContext, ScalarFunction

from jobs.wiring.cards import Cards, Fate
from jobs.wiring.geo import place_lookup
from jobs.wiring.keys import key_ring, sealed
from jobs.wiring.releases import Follower
from jobs.wiring.serving import Serving
from schemas.derive import columns
from schemas.settings import Settings
from schemas.slices import Moment
from udfs.clean import Cleaner, unpacked
from udfs.decide import Decider
from udfs.pseudonym import pseudonymiser

log = logging.getLogger("trimtab")

REDIS_VARIABLE = "TRIMTAB__REDIS__URL"

_NARROW: dict[str, tuple[DataType, type[np.generic]]] = {
    "user_id": (DataTypes.STRING(), np.object_),
    "code": (DataTypes.TINYINT(), np.int8),
    "counts": (DataTypes.BOOLEAN(), np.bool_),
    "event_key": (DataTypes.BIGINT(), np.int64),
    "stamp": (DataTypes.BIGINT(), np.int64),
    "robot": (DataTypes.BOOLEAN(), np.bool_),
    "learn": (DataTypes.BOOLEAN(), np.bool_),
    "measure": (DataTypes.BOOLEAN(), np.bool_),
    "clipped": (DataTypes.BOOLEAN(), np.bool_),
    "account": (DataTypes.STRING(), np.object_),
    "dwell_ms": (DataTypes.INT(), np.int32),
    "scroll_permille": (DataTypes.SMALLINT(), np.int16),
    "lane": (DataTypes.TINYINT(), np.int8),
    "clicked": (DataTypes.STRING(), np.object_),
    "record": (DataTypes.STRING(), np.object_),
}
"""The columns of udfs.clean.Row, but for `others`: as Flink and as numpy know them."""

_ROW = [DataTypes.FIELD(name, sql) for name, (sql, _) in _NARROW.items()]
UNPACK: DataType = DataTypes.ROW(_ROW)
CLEAN: DataType = DataTypes.ROW(
    [
        *_ROW,
        DataTypes.FIELD("others", DataTypes.ARRAY(DataTypes.STRING())),
        DataTypes.FIELD("at_ms", DataTypes.BIGINT()),
    ]
)
DECIDE: DataType = DataTypes.ROW(
    [
        DataTypes.FIELD("record", DataTypes.STRING()),
        DataTypes.FIELD("failure", DataTypes.STRING()),
    ]
)


PACKED: Final = {
    name: tuple(column.name for column in columns(Moment) if column.sql_type == sql_type)
    for name, sql_type in {"texts": "STRING", "wholes": "BIGINT", "flags": "BOOLEAN", "reals": "DOUBLE"}.items()
}
"""The columns of a moment by type. Numbers travel as arrays: a column costs a bundle 20 us, whatever is in it."""


class Clean(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`clean(body, event_time, partition, offset)`: see udfs.clean."""

    def __init__(self, settings: Settings, follower: Follower) -> None:
        """Keep what a worker needs, and where the norms come from; a key that the environment gives stays behind."""
        self._settings = replace(
            settings, pseudonyms=sealed(settings.pseudonyms, os.environ), redis=replace(settings.redis, url="")
        )
        self._follower = follower

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare the reader once per worker."""
        del function_context
        settings = self._settings
        key = key_ring(settings.pseudonyms, os.environ)[0]
        lookup = place_lookup(settings.clean.geo_file)
        self._cleaner = Cleaner.of(settings, pseudonymiser(key.secret, key.id), lookup)

    def eval(
        self, bodies: "pd.Series[Any]", times: "pd.Series[Any]", partitions: "pd.Series[Any]", offsets: "pd.Series[Any]"
    ) -> pd.DataFrame:
        """Read a bundle of records."""
        at = times.to_numpy().astype("datetime64[ms]").astype(np.int64)
        self._follower.refresh()
        norms = (loaded.norms for loaded in self._follower.each(at))
        rows = self._cleaner.rows(bodies.tolist(), at, partitions.tolist(), offsets.tolist(), norms)
        *columns, others = zip(*rows, strict=True)
        return pd.DataFrame(narrow(columns) | {"others": others, "at_ms": at}, copy=False)

    def close(self) -> None:
        """Let go of what the follower opened."""
        self._follower.close()


class Unpack(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`unpack(packed)`: the further events of a record that holds several, see udfs.clean.Row."""

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def eval(self, packed: "pd.Series[Any]") -> pd.DataFrame:
        """Unpack a bundle."""
        *columns, _ = zip(*map(unpacked, packed.tolist()), strict=True)
        return pd.DataFrame(narrow(columns), copy=False)


def narrow(columns: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Give the columns of udfs.clean.Row, but for `others`, their names and types."""
    return {
        name: column if dtype is np.object_ else np.array(column, dtype)
        for (name, (_, dtype)), column in zip(_NARROW.items(), columns, strict=True)
    }


class Decide(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`decide(texts ..., wholes, flags, reals)`: decides a bundle (udfs.decide) and serves it (jobs.wiring.serving).

    Two thoughts, one function: each costs a bundle its way to Python and back, in time and in work. A bundle
    ends before the checkpoint's barrier, so every decision of a checkpoint has been offered to Redis.
    """

    def __init__(self, settings: Settings, follower: Follower, *, serve: bool) -> None:
        """Keep what a worker needs, and where releases come from.

        Args:
            settings: an address of Redis that the environment gives, password and all, stays behind.
            follower: of the releases.
            serve: whether decisions go to Redis.
        """
        self._settings = (settings.slots, settings.decide, settings.signals, settings.noise)
        self._follower = follower
        conf = replace(settings.redis, url="") if REDIS_VARIABLE in os.environ else settings.redis
        self._redis = conf if serve else None

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare decider, writer and metrics once per worker; the connection opens with the first write."""
        self._decider = Decider(*self._settings)
        self._serving = None
        if self._redis:
            url = os.environ.get(REDIS_VARIABLE, self._redis.url)
            cards = Cards(replace(self._redis, url=url), time.monotonic)
            group = function_context.get_metric_group().add_group("trimtab")
            counters = {fate: group.counter(f"redis_{fate.value}") for fate in Fate}
            self._serving = Serving(cards, self._redis.grace, now_ms, counters, log)

    def eval(self, *columns: "pd.Series[Any]") -> pd.DataFrame:
        """Decide a bundle of moments, and serve it."""
        moments = moments_of(columns)
        self._follower.refresh()
        verdicts = self._decider(moments, self._follower.at(moments["slice_end"]))
        failures = self._serving.serve(moments, verdicts) if self._serving else [None] * len(verdicts)
        return pd.DataFrame({"record": [verdict.record for verdict in verdicts], "failure": failures}, dtype=object)

    def close(self) -> None:
        """Send what waits to be sent, and let go of what the follower opened."""
        if self._serving:
            self._serving.close()
        self._follower.close()


def moments_of(columns: Sequence["pd.Series[Any]"]) -> dict[str, NDArray[Any]]:
    """Unpack the columns of Moment.

    >>> row = [[""]] * 3 + [[np.arange(len(PACKED[name]))] for name in ("wholes", "flags", "reals")]
    >>> found = moments_of([pd.Series(column) for column in row])
    >>> {name: found[name].tolist() for name in ("user_id", "slice_end", "first_ms", "fading_slow")}
    {'user_id': [''], 'slice_end': [0], 'first_ms': [1], 'fading_slow': [2]}
    """
    texts, *packs = PACKED.values()
    moments = {name: column.to_numpy() for name, column in zip(texts, columns, strict=False)}
    for names, pack in zip(packs, columns[len(texts) :], strict=True):
        rows = np.concatenate(pack.to_numpy()).reshape(len(pack), len(names))
        moments.update(zip(names, np.ascontiguousarray(rows.T), strict=True))
    return moments


def now_ms() -> int:
    """Read the wall clock, ms since 1970."""
    return time.time_ns() // 1_000_000
