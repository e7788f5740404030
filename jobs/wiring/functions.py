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

from jobs.wiring.cards import Cards, Entry, Fate
from jobs.wiring.keys import pseudonym_key, sealed
from jobs.wiring.releases import Follower
from schemas.decisions import Heartbeat
from schemas.events import PULSE_USER
from schemas.rejects import Reason, Rejected
from schemas.settings import Redis, Settings
from schemas.slices import MOMENT
from schemas.slots import capped
from udfs.clean import Cleaner, unpacked
from udfs.decide import Decider
from udfs.lags import histogram

log = logging.getLogger("trimtab")

REDIS_VARIABLE = "TRIMTAB__REDIS__URL"

HEARTBEAT_TTL_MS = 3_600_000
"""A pipeline silent for an hour has no heartbeat left to misread."""

_ROW = [
    DataTypes.FIELD("user_id", DataTypes.STRING()),
    DataTypes.FIELD("code", DataTypes.TINYINT()),
    DataTypes.FIELD("dwell_ms", DataTypes.INT()),
    DataTypes.FIELD("scroll_permille", DataTypes.SMALLINT()),
    DataTypes.FIELD("lane", DataTypes.TINYINT()),
    DataTypes.FIELD("clicked", DataTypes.STRING()),
    DataTypes.FIELD("record", DataTypes.STRING()),
]
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

    def __init__(self, settings: Settings) -> None:
        """Keep what a worker needs; a key that the environment gives stays behind."""
        self._formats = settings.formats
        self._limits = settings.clean
        self._pseudonyms = sealed(settings.pseudonyms, os.environ)
        self._lanes = {name: lane for lane, name in enumerate(capped(settings.slots))}

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare the reader once per worker."""
        del function_context
        key = pseudonym_key(self._pseudonyms, os.environ)
        form = self._formats[self._limits.format]
        self._cleaner = Cleaner(form, self._limits, key, self._pseudonyms.key_id, self._lanes, forms=self._formats)

    def eval(
        self, bodies: "pd.Series[Any]", times: "pd.Series[Any]", partitions: "pd.Series[Any]", offsets: "pd.Series[Any]"
    ) -> pd.DataFrame:
        """Read a bundle of records."""
        at = times.to_numpy().astype("datetime64[ms]").astype(np.int64)
        rows = self._cleaner.rows(bodies.tolist(), at, partitions.tolist(), offsets.tolist())
        *columns, others = zip(*rows, strict=True)
        return pd.DataFrame(narrow(columns) | {"others": others, "at_ms": at}, copy=False)


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
    user_id, code, dwell_ms, scroll, lane, clicked, record = columns
    return {
        "user_id": user_id,
        "code": np.array(code, np.int8),
        "dwell_ms": np.array(dwell_ms, np.int32),
        "scroll_permille": np.array(scroll, np.int16),
        "lane": np.array(lane, np.int8),
        "clicked": clicked,
        "record": record,
    }


class Decide(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`decide(the columns of Moment)`: see udfs.decide."""

    def __init__(self, settings: Settings, follower: Follower) -> None:
        """Keep what a worker needs, and where releases come from."""
        self._settings = (settings.slots, settings.decide, settings.signals)
        self._follower = follower

    def is_deterministic(self) -> bool:
        """Keep the planner from evaluating a row twice."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare the decider once per worker."""
        del function_context
        slots, decide, horizons = self._settings
        self._decider = Decider(slots, decide, horizons)

    def eval(self, *columns: "pd.Series[Any]") -> pd.DataFrame:
        """Decide a bundle of moments."""
        moments = {name: column.to_numpy() for name, column in zip(MOMENT, columns, strict=True)}
        self._follower.refresh()
        verdicts = self._decider(moments, self._follower.at(moments["slice_end"]))
        nothing = (None, None, 0)
        card, record, expires = zip(*(verdict or nothing for verdict in verdicts), strict=True)
        return pd.DataFrame({"card": card, "record": record, "expires": np.array(expires, np.int64)}, copy=False)

    def close(self) -> None:
        """Let go of what the follower opened."""
        self._follower.close()


class Serve(ScalarFunction):  # type: ignore[misc]  # pyflink ships no types
    """`serve(user_id, slice_end, first_ms, card, expires)`: write to Redis, return what failed, else NULL.

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

    def eval(
        self,
        users: "pd.Series[Any]",
        seqs: "pd.Series[Any]",
        firsts: "pd.Series[Any]",
        cards: "pd.Series[Any]",
        expiries: "pd.Series[Any]",
    ) -> "pd.Series[Any]":
        """Write a bundle."""
        entries = [
            self._entry(user_id, seq, card, expires)
            for user_id, seq, card, expires in zip(
                users.tolist(), seqs.tolist(), cards.tolist(), expiries.tolist(), strict=True
            )
        ]
        fates = self._cards.put(entries)
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

    def _entry(self, user_id: str, seq: int, card: str | None, expires: int) -> Entry:
        if user_id != PULSE_USER and card is not None:
            return Entry(self._cards.key(user_id), seq, expires + self._conf.grace, card)
        now = now_ms()
        beat = json.encode(Heartbeat(v=1, seq=seq, acked=now)).decode()
        return Entry(self._cards.heartbeat_key, seq, now + HEARTBEAT_TTL_MS, beat)

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
