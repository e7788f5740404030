"""The pure functions of udfs/, dressed for Flink: bundles of columns in, one row of columns out."""

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from msgspec import json
from msgspec.structs import replace
from pyflink.table import DataTypes
from pyflink.table.types import DataType
from pyflink.table.udf import FunctionContext, ScalarFunction

from jobs.wiring.cards import SEVERITY, Cards, Entry, Fate
from jobs.wiring.geo import place_lookup
from jobs.wiring.keys import key_ring, sealed
from jobs.wiring.releases import Follower
from schemas.decisions import Heartbeat
from schemas.events import PULSE_USER
from schemas.rejects import Reason, Rejected
from schemas.settings import Redis, Settings
from schemas.slices import MOMENT
from udfs.clean import Cleaner, unpacked
from udfs.decide import Decider
from udfs.lags import histogram
from udfs.pseudonym import pseudonymiser

log = logging.getLogger("trimtab")

REDIS_VARIABLE = "TRIMTAB__REDIS__URL"

HEARTBEAT_TTL_MS = 3_600_000
"""A pipeline silent for an hour has no heartbeat left to misread."""

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
        DataTypes.FIELD("card", DataTypes.STRING()),
        DataTypes.FIELD("record", DataTypes.STRING()),
        DataTypes.FIELD("expires", DataTypes.BIGINT()),
    ]
)


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
    """`decide(the columns of Moment)`: see udfs.decide."""

    def __init__(self, settings: Settings, follower: Follower) -> None:
        """Keep what a worker needs, and where releases come from."""
        self._settings = (settings.slots, settings.decide, settings.signals, settings.noise)
        self._follower = follower

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare the decider once per worker."""
        del function_context
        self._decider = Decider(*self._settings)

    def eval(self, *columns: "pd.Series[Any]") -> pd.DataFrame:
        """Decide a bundle of moments."""
        moments = {name: column.to_numpy() for name, column in zip(MOMENT, columns, strict=True)}
        self._follower.refresh()
        verdicts = self._decider(moments, self._follower.at(moments["slice_end"]))
        card, record, expires = zip(*verdicts, strict=True)
        return pd.DataFrame({"card": card, "record": record, "expires": np.array(expires, np.int64)}, copy=False)

    def close(self) -> None:
        """Let go of what the follower opened."""
        self._follower.close()


class Serve(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`serve(user_id, account, slice_end, first_ms, card, expires)`: write to Redis, return what failed, else NULL.

    A pulse brings the heartbeat and the card of everybody; a person without a card is to have none from now on.
    A bundle ends before the checkpoint's barrier, so every decision of a checkpoint has been offered to Redis.
    """

    def __init__(self, conf: Redis) -> None:
        """Keep the connection's settings; an address that the environment gives, password and all, stays behind."""
        self._conf = replace(conf, url="") if REDIS_VARIABLE in os.environ else conf

    def is_deterministic(self) -> bool:
        """Keep the planner from writing twice."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare the writer and its metrics once per worker; the connection opens with the first write."""
        url = os.environ.get(REDIS_VARIABLE, self._conf.url)
        self._cards = Cards(replace(self._conf, url=url), time.monotonic)
        group = function_context.get_metric_group().add_group("trimtab")
        self._counters = {fate: group.counter(f"redis_{fate.value}") for fate in Fate}
        self._trouble = ""

    def eval(  # noqa: PLR0917 - Flink hands columns over by position
        self,
        users: "pd.Series[Any]",
        accounts: "pd.Series[Any]",
        seqs: "pd.Series[Any]",
        firsts: "pd.Series[Any]",
        cards: "pd.Series[Any]",
        expiries: "pd.Series[Any]",
    ) -> "pd.Series[Any]":
        """Write a bundle."""
        rows = zip(users.tolist(), accounts.tolist(), seqs.tolist(), cards.tolist(), expiries.tolist(), strict=True)
        writes = [self._entries(*row) for row in rows]
        each = iter(self._cards.put([entry for entries in writes for entry in entries]))
        # A row is written where all of its entries are.
        fates = [max([next(each) for _ in entries], key=SEVERITY.index) for entries in writes]
        now = now_ms()
        written = np.array([fate is Fate.WRITTEN for fate in fates]) & (users.to_numpy() != PULSE_USER)
        if written.any():
            self._cards.count_lags(now // 60_000, histogram(now - firsts.to_numpy()[written]))
        self._report(fates)
        return pd.Series(
            [
                failure(fate, seq, user_id, self._cards.trouble)
                for fate, seq, user_id in zip(fates, seqs.tolist(), users.tolist(), strict=True)
            ],
            dtype=object,
        )

    def _entries(self, user_id: str, account: str, seq: int, card: str | None, expires: int) -> list[Entry]:
        until = expires + self._conf.grace
        if user_id != PULSE_USER:
            names = [user_id, account] if account else [user_id]
            return [Entry(self._cards.key(name), seq, until, card) for name in names]
        now = now_ms()
        beat = json.encode(Heartbeat(v=1, seq=seq, acked=now)).decode()
        heartbeat = Entry(self._cards.heartbeat_key, seq, now + HEARTBEAT_TTL_MS, beat)
        return [heartbeat] if card is None else [heartbeat, Entry(self._cards.default_key, seq, until, card)]

    def _report(self, fates: list[Fate]) -> None:
        for fate, counter in self._counters.items():
            counter.inc(fates.count(fate))
        if self._cards.trouble != self._trouble:
            self._trouble = self._cards.trouble
            log.warning("redis: %s", self._trouble or "answers again")


def now_ms() -> int:
    """Read the wall clock, ms since 1970."""
    return time.time_ns() // 1_000_000


def failure(fate: Fate, seq: int, user_id: str, trouble: str) -> str | None:
    """Make the record of the topic `rejected` for a write that did not go through."""
    if fate in (Fate.WRITTEN, Fate.OLDER) or user_id == PULSE_USER:
        return None
    reason = Reason.WRITE_FAILED if fate is Fate.FAILED else Reason.WRITE_SKIPPED
    return json.encode(Rejected(reason=reason, at=seq, user_id=user_id, detail=trouble)).decode()
