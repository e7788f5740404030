"""Where the main job's time goes: it runs step by step further, and each step is charged with what it adds."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pyflink.table import StatementSet, TableEnvironment, TableResult

from jobs.personalize import (
    DECISIONS,
    EVENTS,
    FAILED_WRITES,
    MOVES,
    NAMED,
    REFUSED,
    REPEATED,
    UNTOLD,
    build,
    declare,
    planned,
)
from jobs.wiring.flow import environment, execute
from jobs.wiring.jars import connectors
from jobs.wiring.settings import load
from jobs.wiring.tables import Reading
from schemas.derive import Column, ddl
from schemas.settings import Settings
from tests.bench.children import answer

PATIENCE: Final = {"restart-strategy.type": "none", "heartbeat.timeout": "60000"}
"""What began anew would be measured twice, so nothing does; a machine that is busy with others answers late."""

_USER = Column("user_id", "STRING")
_RECORD = Column("record", "STRING")
_TIME = Column("event_time", "TIMESTAMP_LTZ(3)")

# What the job writes after it has looked for copies, written without a look.
_READ_EVENTS: Final = f"INSERT INTO events SELECT {NAMED}, record, event_time FROM readings WHERE code > 0"
_READ_REFUSED: Final = "INSERT INTO rejected SELECT record FROM readings WHERE code < 0"

ONCE: Final = (EVENTS, REPEATED, REFUSED)
"""The inserts of what was cleaned, each event once."""


def discard(table: TableEnvironment, name: str, taken: list[Column]) -> None:
    """Declare a sink that throws everything away."""
    table.execute_sql(ddl(name, taken, {"connector": "blackhole"}))


def until(*inserts: str, serve: bool = False) -> Callable[[TableEnvironment, Settings], StatementSet]:
    """Lay the job as far as some inserts need it, into sinks that throw everything away; Redis is none of them."""

    def lay(table: TableEnvironment, settings: Settings) -> StatementSet:
        declare(table, settings, Reading.all_of(settings, "clicks"), serve=serve)
        for keyed in ("events", "duplicates", "decisions", "segments"):
            discard(table, keyed, [_USER, _RECORD, _TIME])
        discard(table, "rejected", [_RECORD])
        flow = table.create_statement_set()
        for insert in inserts:
            flow.add_insert_sql(insert)
        return flow

    return lay


def read(table: TableEnvironment, settings: Settings) -> StatementSet:
    """Lay no more than the source."""
    declare(table, settings, Reading.all_of(settings, "clicks"))
    discard(table, "bodies", [Column("body", "BYTES"), Column("partition", "INT"), Column("offset", "BIGINT"), _TIME])
    flow = table.create_statement_set()
    flow.add_insert_sql("INSERT INTO bodies SELECT body, `partition`, `offset`, event_time FROM clicks")
    return flow


def sliced(table: TableEnvironment, settings: Settings) -> StatementSet:
    """Lay the job as far as its slices."""
    flow = until(*ONCE)(table, settings)
    _discard_view(table, flow, "slices")
    return flow


def upto(view: str) -> Callable[[TableEnvironment, Settings], StatementSet]:
    """Lay the job as far as one of its views."""

    def lay(table: TableEnvironment, settings: Settings) -> StatementSet:
        flow = until(*ONCE)(table, settings)
        _discard_view(table, flow, view)
        return flow

    return lay


def _discard_view(table: TableEnvironment, flow: StatementSet, view: str) -> None:
    """Fill a sink that throws everything away with all columns of a view."""
    taken = table.execute_sql(f"DESCRIBE {view}").collect()
    # A time attribute is written as its type and a mark behind it.
    found = [Column(row[0], str(row[1]).removesuffix(" *ROWTIME*").removesuffix(" NOT NULL")) for row in taken]
    kept = [column for column in found if "PROCTIME" not in column.sql_type]
    discard(table, f"all_{view}", kept)
    names = ", ".join(f"`{column.name}`" for column in kept)
    flow.add_insert_sql(f"INSERT INTO all_{view} SELECT {names} FROM {view}")


def whole(table: TableEnvironment, settings: Settings) -> StatementSet:
    """Lay the job as it is."""
    return build(table, settings, Reading.all_of(settings, "clicks"))


STAGES: Final[Mapping[str, Callable[[TableEnvironment, Settings], StatementSet]]] = {
    "source": read,
    "decode": until(_READ_EVENTS, _READ_REFUSED),
    "once": until(*ONCE),
    "slices": sliced,
    "folds": upto("moments"),
    "segments": upto("due"),
    "decide": until(*ONCE, DECISIONS, *MOVES),
    "redis": until(*ONCE, DECISIONS, *MOVES, FAILED_WRITES, UNTOLD, serve=True),
    "kafka": whole,
}
"""Each is the one before and a step more; the last is the whole job."""

_FOLDED: Final = frozenset({"folds", "segments", "decide", "redis", "kafka"})
"""Those that have all the folds whose memory is set in the compiled plan; no run lasts as long as any memory."""


def run(stage: str, settings: Settings) -> None:
    """Run a stage over all that its topic holds."""
    table = environment(settings, name=f"trimtab-bench-{stage}", jars=connectors())
    for key, value in PATIENCE.items():
        table.get_config().set(key, value)
    flow = STAGES[stage](table, settings)
    result: TableResult = execute(table, planned(flow, settings)) if stage in _FOLDED else flow.execute()
    result.wait()


def main(stage: str) -> int:
    """Run a stage, and say how long the job took."""
    settings = load(Path.cwd(), "local", os.environ, ()).settings
    began = time.monotonic()
    run(stage, settings)
    answer({"job_s": time.monotonic() - began})
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
