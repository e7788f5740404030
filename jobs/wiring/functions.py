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
from jobs.wiring.releases import Follower, Loaded
from jobs.wiring.serving import Memberships, Move, Serving, Told
from schemas.events import PULSE_USER
from schemas.segments import MAX_RULES
from schemas.settings import Redis as RedisSettings
from schemas.settings import Settings
from schemas.slices import TEXTS
from udfs.cleaning.clean import Cleaner, Known, unpacked
from udfs.cleaning.pseudonym import pseudonymiser
from udfs.deciding.book import Book, authored
from udfs.deciding.decide import Decider
from udfs.deciding.learned import known_since
from udfs.deciding.observe import Observer
from udfs.signals.moments import unpacked as unpacked_moments

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
    "mark": (DataTypes.BIGINT(), np.int64),
    "mood": (DataTypes.SMALLINT(), np.int16),
    "stride": (DataTypes.BOOLEAN(), np.bool_),
    "clicked": (DataTypes.STRING(), np.object_),
    "context": (DataTypes.STRING(), np.object_),
    "asked": (DataTypes.STRING(), np.object_),
    "met": (DataTypes.STRING(), np.object_),
    "record": (DataTypes.STRING(), np.object_),
}
"""The columns of udfs.cleaning.clean.Row, but for `others`: as Flink and as numpy know them."""

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
        DataTypes.FIELD("segment", DataTypes.STRING()),
        DataTypes.FIELD("cluster", DataTypes.BIGINT()),
    ]
)
TELL: DataType = DataTypes.ROW(
    [
        DataTypes.FIELD("rules", DataTypes.STRING()),
        DataTypes.FIELD("clusters", DataTypes.STRING()),
        DataTypes.FIELD("failure", DataTypes.STRING()),
    ]
)
OBSERVE: DataType = DataTypes.BIGINT()

ARRAYS: Final = ("counted", "summed", "flags", "reals")
"""How the numbers of a moment travel: a column costs a bundle 20 us, whatever is in it."""


class Clean(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`clean(body, event_time, partition, offset)`: see udfs.cleaning.clean."""

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
        in_force = self._follower.each(at)
        names = self._settings.signals.interests
        # Nearly always the same releases are in force for all: what they say is put together once.
        distinct = {id(loaded): loaded for loaded in in_force}
        said = {key: _known(loaded, names) for key, loaded in distinct.items()}
        known = (said[id(loaded)] for loaded in in_force)
        rows = self._cleaner.rows(bodies.tolist(), at, partitions.tolist(), offsets.tolist(), known)
        *columns, others = zip(*rows, strict=True)
        return pd.DataFrame(narrow(columns) | {"others": others, "at_ms": at}, copy=False)

    def close(self) -> None:
        """Let go of what the follower opened."""
        self._follower.close()


class Unpack(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`unpack(packed)`: the further events of a record that holds several, see udfs.cleaning.clean.Row."""

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def eval(self, packed: "pd.Series[Any]") -> pd.DataFrame:
        """Unpack a bundle."""
        *columns, _ = zip(*map(unpacked, packed.tolist()), strict=True)
        return pd.DataFrame(narrow(columns), copy=False)


def _known(loaded: Loaded, names: Sequence[str]) -> Known:
    return Known(loaded.norms, loaded.catalogue.interest_places(names) if loaded.catalogue and names else {})


def narrow(columns: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Give the columns of udfs.cleaning.clean.Row, but for `others`, their names and types."""
    return {
        name: column if dtype is np.object_ else np.array(column, dtype)
        for (name, (_, dtype)), column in zip(_NARROW.items(), columns, strict=True)
    }


class Decide(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`decide(texts ..., arrays ..., spoken)`: decides a bundle (udfs.deciding.decide), serves it (jobs.wiring).

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
        self._authored = authored(settings)
        self._settings = (settings.signals, settings.noise, settings.segments.rules)
        self._relearn = int(settings.decide.relearn)
        self._follower = follower
        self._redis = _served(settings) if serve else None

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare decider, writer and metrics once per worker; the connection opens with the first write."""
        self._decider = Decider(Book.of(None, self._authored), *self._settings)
        self._serving = None
        if self._redis:
            cards = _cards(self._redis)
            group = function_context.get_metric_group().add_group("trimtab")
            counters = {fate: group.counter(f"redis_{fate.value}") for fate in Fate}
            self._serving = Serving(cards, self._redis.grace, now_ms, counters, log)

    def eval(self, *columns: "pd.Series[Any]") -> pd.DataFrame:
        """Decide a bundle of moments, and serve it."""
        *known, spoken = columns
        moments = moments_of(TEXTS, known) | spoken_of(spoken)
        self._follower.refresh()
        # A pulse has no session, and shows what is known now.
        ends, pulses = moments["slice_end"], moments["user_id"] == PULSE_USER
        since = known_since(moments["session_start"], ends, self._relearn)
        learnt = self._follower.learnt(np.where(pulses, ends, since))
        verdicts = self._decider(moments, self._follower.at(ends), learnt)
        failures = self._serving.serve(moments, verdicts) if self._serving else [None] * len(verdicts)
        return pd.DataFrame(
            {
                "record": np.array([verdict.record for verdict in verdicts], dtype=object),
                "failure": np.array(failures, dtype=object),
                "segment": np.array([verdict.segment for verdict in verdicts], dtype=object),
                "cluster": np.array([verdict.cluster for verdict in verdicts], dtype=np.int64),
            },
            copy=False,
        )

    def close(self) -> None:
        """Send what waits to be sent, and let go of what the follower opened."""
        if self._serving:
            self._serving.close()
        self._follower.close()


class Observe(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`observe(context, arrays ...)`: what speaks for and against segments and cases, see udfs.deciding.observe."""

    def __init__(self, settings: Settings, follower: Follower) -> None:
        """Keep what a worker needs, and where releases of anomalies and rules come from."""
        self._authored = authored(settings)
        self._settings = (settings.segments.rules, settings.signals, settings.noise)
        self._follower = follower

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare the observer once per worker."""
        del function_context
        self._observer = Observer(*self._settings)
        self._book = Book.of(None, self._authored)

    def eval(self, *columns: "pd.Series[Any]") -> "pd.Series[Any]":
        """Observe a bundle of moments."""
        moments = moments_of(("context",), columns)
        self._follower.refresh()
        bits = np.zeros(len(columns[0]), dtype=np.int64)
        for rows, releases in self._follower.at(moments["slice_end"]):
            taken = {name: column[rows] for name, column in moments.items()}
            bits[rows] = self._observer.bits(taken, releases.anomalies, releases.book or self._book)
        return pd.Series(bits)

    def close(self) -> None:
        """Let go of what the follower opened."""
        self._follower.close()


class Tell(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`tell(...)`: who changed segments, to Redis and as records; see jobs.wiring.serving.Memberships."""

    def __init__(self, settings: Settings, follower: Follower, *, serve: bool) -> None:
        """Keep what a worker needs; see Decide."""
        self._follower = follower
        self._kept_ms = int(settings.time.memory)
        self._redis = _served(settings) if serve else None

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare the writer once per worker."""
        del function_context
        self._memberships = Memberships(_cards(self._redis) if self._redis else None, self._kept_ms, log)

    def eval(self, *columns: "pd.Series[Any]") -> pd.DataFrame:
        """Tell of a bundle of changes."""
        moves = [Move(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
        self._follower.refresh()
        in_force = self._follower.each(np.array([move.slice_end for move in moves], dtype=np.int64))
        told = self._memberships.tell(moves, [releases.clusters for releases in in_force])
        return pd.DataFrame(
            {
                name: np.array(column, dtype=object)
                for name, column in zip(Told._fields, zip(*told, strict=True), strict=True)
            },
            copy=False,
        )

    def close(self) -> None:
        """Let go of what the follower opened."""
        self._follower.close()


def _served(settings: Settings) -> RedisSettings:
    """Give the connection's settings; an address that the environment gives, password and all, stays behind."""
    return replace(settings.redis, url="") if REDIS_VARIABLE in os.environ else settings.redis


def _cards(conf: RedisSettings) -> Cards:
    return Cards(replace(conf, url=os.environ.get(REDIS_VARIABLE, conf.url)), time.monotonic)


def moments_of(texts: Sequence[str], columns: Sequence["pd.Series[Any]"]) -> dict[str, NDArray[Any]]:
    """Unpack the columns of Moment: some texts, then the arrays of `ARRAYS`.

    >>> from schemas.slices import COUNTED, FLAGS, REALS, SUMMED
    >>> row = [[""]] + [[np.arange(len(names))] for names in (COUNTED, SUMMED, FLAGS, REALS)]
    >>> found = moments_of(["context"], [pd.Series(column) for column in row])
    >>> {name: found[name].tolist() for name in ("context", "events", "slice_end", "first_ms", "fading_slow")}
    {'context': [''], 'events': [0], 'slice_end': [0], 'first_ms': [1], 'fading_slow': [2]}
    """
    named = {name: column.to_numpy() for name, column in zip(texts, columns, strict=False)}
    arrays = {name: _table(column) for name, column in zip(ARRAYS, columns[len(texts) :], strict=True)}
    return named | unpacked_moments(arrays)


def spoken_of(column: "pd.Series[Any]") -> dict[str, NDArray[np.int64]]:
    """Unpack what speaks for and against rule segments, when each last did, and when cases of rules last did not hold.

    >>> found = spoken_of(pd.Series([np.arange(1 + 2 * MAX_RULES + 4)]))
    >>> {name: array[:, :2].tolist() for name, array in found.items() if name != "bits"}
    {'entered': [[1, 3]], 'left': [[2, 4]], 'unheld': [[17, 18]]}
    """
    table = _table(column)
    until = 1 + 2 * MAX_RULES
    return {
        "bits": table[:, 0],
        "entered": table[:, 1:until:2],
        "left": table[:, 2:until:2],
        "unheld": table[:, until:],
    }


def _table(column: "pd.Series[Any]") -> NDArray[Any]:
    """Make one array, (n, length), of a column of arrays."""
    rows = column.to_numpy()
    table: NDArray[Any] = np.concatenate(rows).reshape(len(rows), -1)
    return table


def now_ms() -> int:
    """Read the wall clock, ms since 1970."""
    return time.time_ns() // 1_000_000
