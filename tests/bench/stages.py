"""Where the main job's time goes: it runs step by step further, and each step is charged with what it adds."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pyflink.table import StatementSet, TableEnvironment, TableResult

from jobs.personalize import DECISIONS, EVENTS, FAILED_WRITES, REFUSED, build, declare, planned
from jobs.wiring.flow import environment, execute
from jobs.wiring.jars import connectors
from jobs.wiring.settings import load
from jobs.wiring.tables import Reading
from schemas.derive import Column, columns, ddl
from schemas.settings import Settings
from schemas.slices import Moment
from tests.bench.children import answer

BOUNDED: Final = Reading(bounded=True)

_USER = Column("user_id", "STRING")
_RECORD = Column("record", "STRING")
_TIME = Column("event_time", "TIMESTAMP_LTZ(3)")
_TEXTS: Final = frozenset({"user_id", "clicked"})


def discard(table: TableEnvironment, name: str, taken: list[Column]) -> None:
    """Declare a sink that throws everything away."""
    table.execute_sql(ddl(name, taken, {"connector": "blackhole"}))


def until(*inserts: str) -> Callable[[TableEnvironment, Settings], StatementSet]:
    """Lay the job as far as some of its own inserts need it, into sinks that throw everything away."""

    def lay(table: TableEnvironment, settings: Settings) -> StatementSet:
        declare(table, settings, BOUNDED)
        discard(table, "events", [_USER, _RECORD, _TIME])
        discard(table, "decisions", [_USER, _RECORD, _TIME])
        discard(table, "rejected", [_RECORD])
        flow = table.create_statement_set()
        for insert in inserts:
            flow.add_insert_sql(insert)
        return flow

    return lay


def read(table: TableEnvironment, settings: Settings) -> StatementSet:
    """Lay no more than the source."""
    declare(table, settings, BOUNDED)
    discard(table, "bodies", [Column("body", "BYTES"), Column("partition", "INT"), Column("offset", "BIGINT"), _TIME])
    flow = table.create_statement_set()
    flow.add_insert_sql("INSERT INTO bodies SELECT body, `partition`, `offset`, event_time FROM clicks")
    return flow


def sliced(table: TableEnvironment, settings: Settings) -> StatementSet:
    """Lay the job as far as its slices."""
    flow = until(EVENTS, REFUSED)(table, settings)
    names = table.from_path("slices").get_schema().get_field_names()
    discard(table, "all_slices", [Column(name, "STRING" if name in _TEXTS else "BIGINT") for name in names])
    flow.add_insert_sql("INSERT INTO all_slices SELECT * FROM slices")
    return flow


def due(table: TableEnvironment, settings: Settings) -> StatementSet:
    """Lay the job as far as the moments that are due, with their running sums."""
    flow = until(EVENTS, REFUSED)(table, settings)
    discard(table, "moments", columns(Moment))
    flow.add_insert_sql("INSERT INTO moments SELECT * FROM due")
    return flow


def whole(table: TableEnvironment, settings: Settings) -> StatementSet:
    """Lay the job as it is."""
    return build(table, settings, BOUNDED)


STAGES: Final[Mapping[str, Callable[[TableEnvironment, Settings], StatementSet]]] = {
    "source": read,
    "decode": until(EVENTS, REFUSED),
    "slices": sliced,
    "signals": due,
    "decide": until(EVENTS, REFUSED, DECISIONS),
    "redis": until(EVENTS, REFUSED, DECISIONS, FAILED_WRITES),
    "kafka": whole,
}
"""Each is the one before and a step more; the last is the whole job."""

_FOLDED: Final = frozenset({"signals", "decide", "redis", "kafka"})
"""Those that have the fold whose memory is set in the compiled plan."""


def run(stage: str, settings: Settings) -> None:
    """Run a stage over all that its topic holds."""
    table = environment(settings, name=f"trimtab-bench-{stage}", jars=connectors())
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
