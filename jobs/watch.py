"""Watches the site's series, window by window: the clean events in, alerts out."""

import os
from argparse import ArgumentParser
from collections.abc import Mapping
from importlib.resources import files

from msgspec import Struct
from msgspec.structs import replace
from pyflink.table import StatementSet, TableEnvironment
from pyflink.table.udf import udf

from jobs.wiring import wire
from jobs.wiring.flow import Interval, Literal, Text, compiled, declare_views, environment, execute, on_cluster, views
from jobs.wiring.jars import connectors
from jobs.wiring.tables import Reading, sink, source
from jobs.wiring.watching import DETECT, Detect
from schemas.settings import Settings

LIVE = Reading()

ALERTS = "INSERT INTO alerts SELECT record FROM told"
TOPICS = ("events", "alerts")


class Watched(Struct):
    """What is read of a record of the topic `events`, see `schemas.events.Event`."""

    kind: str
    slot: str | None
    decision_id: str | None
    late: bool | None
    robot: bool | None


def literals(settings: Settings) -> Mapping[str, Literal]:
    """Name every number that the views take from conf."""
    watch = settings.watch
    return {
        "window": Interval(watch.window),
        "window_ms": int(watch.window),
        # The stretch that has come so far, and the two before it.
        "before": 3 * (watch.stretch // watch.window) - 1,
        "slots": [Text(name) for name in settings.slots],
    }


def build(table: TableEnvironment, settings: Settings, reading: Reading = LIVE) -> StatementSet:
    """Lay the pipeline: source, steps, sink.

    Nobody pulses `events`, so a window closes only when a later event comes, `watch.disorder` later; the site's last
    window waits for the next visitor. A partition that is silent for `time.idle` holds the others up no longer.

    Args:
        table: the environment to lay it in.
        settings: see conf/base.toml.
        reading: where to start and stop.
    """
    here = replace(settings, time=replace(settings.time, disorder=settings.watch.disorder))
    source(table, here, "events", Watched, reading)
    detect = udf(Detect(settings.watch, list(settings.slots)), result_type=DETECT, func_type="pandas")
    table.create_temporary_system_function("detect", detect)
    declare_views(table, views(files("jobs").joinpath("watch.sql").read_text(), literals(settings)))
    sink(table, settings, "alerts", keyed=False)
    flow = table.create_statement_set()
    flow.add_insert_sql(ALERTS)
    return flow


def main(settings: Settings, arguments: list[str]) -> int:
    """Submit the job; on an embedded Flink, stay with it until it ends.

    Raises:
        Refusal: no broker answers, or a topic is missing.
    """
    parser = ArgumentParser(prog="python -m jobs watch", description=__doc__)
    parser.add_argument("--bounded", action="store_true", help="read what the topic holds now from its start, then end")
    asked = parser.parse_args(arguments)
    wire.require(wire.admin(settings.kafka.bootstrap, settings.kafka.wait), TOPICS)
    table = environment(settings, name="trimtab-watch", jars=connectors())
    flow = build(table, settings, Reading(bounded=asked.bounded))
    result = execute(table, compiled(flow, {}))
    if not on_cluster(os.environ):
        result.wait()
    return 0
