"""Learns what came of what was shown: decisions, exposures and what people did then in, one outcome for each out."""

import logging
import os
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import replace as changed
from importlib.resources import files
from typing import Final

from msgspec.structs import replace
from pyflink.table import StatementSet, TableEnvironment
from pyflink.table.udf import udf

from jobs.wiring import Refusal, wire
from jobs.wiring.flow import Interval, Literal, Text, compiled, declare_views, environment, execute, on_cluster, views
from jobs.wiring.functions import now_ms
from jobs.wiring.jars import connectors
from jobs.wiring.learning import ADD_UP, NOTE, SETTLE, AddUp, Note, Settle
from jobs.wiring.releases import Follower
from jobs.wiring.store import Store
from jobs.wiring.tables import Reading, nowhere, sink, text_source
from schemas.events import ANONYMOUS, Kind
from schemas.settings import Settings
from udfs.learning.rewards import APART, kinds

log = logging.getLogger("trimtab")

LIVE: Final = Reading()

OUTCOMES: Final = "INSERT INTO outcomes SELECT user_id, record, event_time FROM outcomes_told"
UNCERTAIN: Final = "INSERT INTO uncertain SELECT user_id, record, event_time FROM doubted"
PLAYS: Final = "INSERT INTO plays SELECT record FROM learned"
REFUSED: Final = "INSERT INTO rejected SELECT record FROM refused"
NOTED: Final = "INSERT INTO noted SELECT note(place, seen) FROM tallied"
TOPICS: Final = ("decisions", "events", "outcomes", "uncertain", "plays", "rejected")

_COPIES_MS: Final = 3_600_000

MOST_EVENTS: Final = 200
"""Of one person within `learn.window`, of those kinds that are worth something; what comes on top counts for nothing.

Every event stands beside every exposure of the window: without a limit, one busy robot would be everybody's work.
"""


def literals(settings: Settings, reading: Reading = LIVE) -> Mapping[str, Literal]:
    """Name every number that the views take from conf, and until when they tell."""
    window, worth = settings.learn.window, [kind.value for kind in kinds(settings.slots)]
    return {
        "window": Interval(window),
        # A session window ends a millisecond after its time.
        "delay": Interval(window + 1),
        "valid": Interval(settings.decide.valid + settings.redis.grace),
        "most_events": MOST_EVENTS,
        "worth": [Text(kind) for kind in worth],
        "wanted": [Text(kind) for kind in dict.fromkeys([Kind.EXPOSURE.value, *worth])],
        "anonymous": [Text(ANONYMOUS)],
        "slots": [Text(name) for name in settings.slots],
        "until_ms": reading.until_ms,
        "apart": Text(APART),
        "period": Interval(settings.learn.period),
    }


def build(table: TableEnvironment, settings: Settings, reading: Reading = LIVE) -> StatementSet:
    """Lay the pipeline: sources, steps, sinks.

    Outcomes lie in the view `outcomes_told`, by user, with the time at which they were due, and they are written then.
    A window over that time closes later, by `learn.window` and as long as a decision may be shown: the interval joins
    hold the watermark back by as much as they keep.

    Nobody pulses `decisions` and `events`: an outcome is told once a later event comes, `learn.disorder` behind its
    time. A partition that is silent for `time.idle` holds the others up no longer; where the job `personalize` writes
    exactly once, that must be longer than `flink.checkpoint`.

    Kept, all by event time: decisions for half as long again as they may be shown; of those that were shown the record,
    and what people did that may be worth something, for half as long again as `learn.window`.

    Args:
        table: the environment to lay it in.
        settings: see conf/base.toml.
        reading: where to start and stop.

    Raises:
        Refusal: no slot declares a reward.
    """
    if not kinds(settings.slots):
        raise Refusal("learn: no slot of conf declares a reward, so there is nothing to learn")
    here = replace(
        settings,
        time=replace(settings.time, disorder=settings.learn.disorder),
        # Others read and write these topics too: each job has its own place in them, and its own transactions.
        kafka=replace(settings.kafka, group=f"{settings.kafka.group}-learn"),
    )
    # Only the fold of what came twice forgets by the clock; both come in one go.
    table.get_config().set("table.exec.state.ttl", f"{_COPIES_MS} ms")
    text_source(table, here, "decisions", reading)
    text_source(table, here, "events", reading)
    store = (settings.releases.store, settings.releases.poll, settings.releases.load_timeout, now_ms, log)
    functions = {
        "settle": (Settle(settings, Follower(*store, channels=("rules",))), SETTLE),
        "add_up": (AddUp(settings, Follower(*store, channels=("rules",))), ADD_UP),
        "note": (Note(list(settings.slots)), NOTE),
    }
    for name, (function, result) in functions.items():
        table.create_temporary_system_function(name, udf(function, result_type=result, func_type="pandas"))
    declare_views(table, views(files("jobs").joinpath("learn.sql").read_text(), literals(settings, reading)))
    sink(table, here, "outcomes")
    sink(table, here, "uncertain")
    sink(table, here, "plays", keyed=False)
    sink(table, here, "rejected", keyed=False)
    nowhere(table, "noted", "BIGINT")
    flow = table.create_statement_set()
    for insert in (OUTCOMES, UNCERTAIN, PLAYS, REFUSED, NOTED):
        flow.add_insert_sql(insert)
    return flow


def main(settings: Settings, arguments: list[str]) -> int:
    """Submit the job; on an embedded Flink, stay with it until it ends.

    Raises:
        Refusal: no broker answers, a topic is missing, no slot declares a reward, or the store's address is none.
    """
    parser = ArgumentParser(prog="python -m jobs learn", description=__doc__)
    parser.add_argument(
        "--bounded", action="store_true", help="read what the topics hold now from their start, then end"
    )
    asked = parser.parse_args(arguments)
    wire.require(wire.admin(settings.kafka.bootstrap, settings.kafka.wait), TOPICS)
    Store(settings.releases.store)
    table = environment(settings, name="trimtab-learn", jars=connectors())
    flow = build(table, settings, all_of(settings) if asked.bounded else LIVE)
    result = execute(table, compiled(flow, {}))
    if not on_cluster(os.environ):
        result.wait()
    return 0


def all_of(settings: Settings) -> Reading:
    """Read what the topics hold now; of what is shown so late that events may still be missing nothing is told."""
    reading = Reading.all_of(settings, "events")
    return changed(reading, until_ms=max(0, reading.until_ms - settings.learn.disorder))
