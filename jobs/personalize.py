"""Decides, second by second, what to adjust for each person: raw clicks in, decisions out."""

import logging
import os
from argparse import ArgumentParser
from collections.abc import Mapping
from importlib.resources import files

from pyflink.table import StatementSet, TableEnvironment
from pyflink.table.udf import udf

from jobs.wiring import wire
from jobs.wiring.flow import Interval, Literal, Text, compiled, declare_views, environment, execute, on_cluster, views
from jobs.wiring.functions import (
    CLEAN,
    DECIDE,
    OBSERVE,
    TELL,
    UNPACK,
    Clean,
    Decide,
    Observe,
    Tell,
    Unpack,
    now_ms,
)
from jobs.wiring.jars import connectors
from jobs.wiring.releases import Follower
from jobs.wiring.serving import SORTS
from jobs.wiring.store import Store
from jobs.wiring.tables import Reading, raw_source, sink, source
from schemas.control import Command
from schemas.events import ANONYMOUS, CODE, ERASE_CODE, LAPSED_CODE, QUIET_CODE, WITHDRAWN_CODE
from schemas.lanes import NO_LANE, ONES
from schemas.norms import STRENGTHS
from schemas.releases import DECIDING
from schemas.segments import MAX_RULES
from schemas.settings import Settings
from schemas.slices import LENGTHS
from udfs.cleaning.marks import NO_MOOD
from udfs.cleaning.meeting import BETWEEN

log = logging.getLogger("trimtab")

LIVE = Reading()

NAMED = f"CASE WHEN learn OR measure THEN user_id ELSE '{ANONYMOUS}' END"
EVENTS = f"INSERT INTO events SELECT {NAMED}, record, event_time FROM once WHERE code > 0"  # noqa: S608 - of constants
REPEATED = f"INSERT INTO duplicates SELECT {NAMED}, record, event_time FROM compared WHERE repeated"  # noqa: S608
REFUSED = "INSERT INTO rejected SELECT record FROM once WHERE code < 0"
DECISIONS = (
    "INSERT INTO decisions SELECT user_id, d.record, TO_TIMESTAMP_LTZ(slice_end, 3) FROM decided"
    " WHERE d.record IS NOT NULL"
)
FAILED_WRITES = "INSERT INTO rejected SELECT d.failure FROM decided WHERE d.failure IS NOT NULL"
MOVED = (
    "INSERT INTO segments SELECT user_id, t.{sort}, TO_TIMESTAMP_LTZ(slice_end, 3) FROM moved"
    " WHERE t.{sort} IS NOT NULL"
)
MOVES = tuple(MOVED.format(sort=sort) for sort in SORTS)
UNTOLD = "INSERT INTO rejected SELECT t.failure FROM moved WHERE t.failure IS NOT NULL"


def literals(settings: Settings, reading: Reading = LIVE) -> Mapping[str, Literal]:
    """Name every number that the views take from conf, and until when they tell."""
    time, signals, points = settings.time, settings.signals, settings.signals.points
    kinds = ("view", "click", "hover", "search", "cart", "purchase", "rate", "form", "rage", "error")
    return (
        {kind: round(getattr(points, kind) * 1000) for kind in kinds}
        | {
            "slice": Interval(time.slice),
            "slice_ms": int(time.slice),
            "stride": Interval(settings.quiet.pause // 2),
            "pause": Interval(settings.quiet.pause),
            "session_gap": Interval(time.session_gap),
            "gone": Interval(settings.quiet.gone),
            "memory": Interval(time.memory),
            # Of who has been silent for a session's gap the session is still there, of who is gone it is not.
            "departed_ms": time.session_gap + 2 * settings.quiet.pause,
            "session_gap_ms": int(time.session_gap),
            "session_cap_ms": int(time.session_cap),
            "per_dwell_ms": points.dwell_second,  # points per second are thousandths of a point per millisecond
            "per_scroll_permille": points.scroll_page,
            "fast_ms": float(signals.fast),
            "mid_ms": float(signals.mid),
            "slow_ms": float(signals.slow),
            "refresh_ms": int(settings.decide.refresh),
            "duplicates_ms": int(settings.clean.duplicates),
            "tombstone_ms": int(settings.erase.tombstone),
            "robot_events": settings.robots.slice_events,
            "robot_actions": settings.robots.session_actions,
            "robot_ms": int(settings.robots.remembered),
            "until_ms": reading.until_ms,
            "quick_back_ms": int(signals.quick_back),
            "depth_permille": -(-1000 // LENGTHS["depths"]),
            "day_ms": 86_400_000,
            "second": ONES[1],
            "third": ONES[2],
            "no_lane": NO_LANE,
            "no_mood": NO_MOOD,
            "between": Text(BETWEEN),
            "quiet_code": QUIET_CODE,
            "lapsed_code": LAPSED_CODE,
            "erase_code": ERASE_CODE,
            "withdrawn_code": WITHDRAWN_CODE,
            "urgent": [CODE[kind] for kind in settings.decide.urgent] or [-1],
        }
        | {f"hold_{place}": hold for place, hold in enumerate(_holds(settings))}
        | {f"strength_{place}": bound for place, bound in enumerate(STRENGTHS)}
    )


def _holds(settings: Settings) -> list[int]:
    """How long each rule segment waits until it is entered, ms; 0 for the places that no rule takes."""
    holds = [int(rule.hold) for rule in settings.segments.rules.values()]
    return [*holds, *[0] * (MAX_RULES - len(holds))]


def declare(table: TableEnvironment, settings: Settings, reading: Reading = LIVE, *, serve: bool = True) -> None:
    """Name what the sinks are filled from: the source, the functions, the views.

    Args:
        table: the environment to declare it in.
        settings: see conf/base.toml.
        reading: where to start and stop.
        serve: whether what is decided goes to Redis.
    """
    raw_source(table, settings, "clicks", reading)
    source(table, settings, "control", Command, reading)
    store = (settings.releases.store, settings.releases.poll, settings.releases.load_timeout, now_ms, log)
    functions = {
        "clean": (Clean(settings, Follower(*store, channels=("norms", "catalogue"))), CLEAN),
        "unpack": (Unpack(), UNPACK),
        "observe": (Observe(settings, Follower(*store, channels=("anomalies", "rules"))), OBSERVE),
        "decide": (Decide(settings, Follower(*store, channels=DECIDING), serve=serve), DECIDE),
        "tell": (Tell(settings, Follower(*store, channels=("segments",)), serve=serve), TELL),
    }
    for name, (function, result) in functions.items():
        table.create_temporary_system_function(name, udf(function, result_type=result, func_type="pandas"))
    declare_views(table, views(files("jobs").joinpath("personalize.sql").read_text(), literals(settings, reading)))


def build(table: TableEnvironment, settings: Settings, reading: Reading = LIVE, *, serve: bool = True) -> StatementSet:
    """Lay the pipeline: sources, steps, sinks.

    Args:
        table: the environment to lay it in.
        settings: see conf/base.toml.
        reading: where to start and stop.
        serve: whether decisions go to Redis; a replay of the past has nobody to serve.
    """
    declare(table, settings, reading, serve=serve)
    sink(table, settings, "events")
    sink(table, settings, "duplicates")
    sink(table, settings, "decisions")
    sink(table, settings, "segments")
    sink(table, settings, "rejected", keyed=False)
    flow = table.create_statement_set()
    for insert in (EVENTS, REPEATED, REFUSED, DECISIONS, *MOVES, *([FAILED_WRITES, UNTOLD] if serve else [])):
        flow.add_insert_sql(insert)
    return flow


def planned(flow: StatementSet, settings: Settings) -> str:
    """Plan the pipeline; what is kept by session or by event is kept for twice as long as it can matter."""
    time, clean = settings.time, settings.clean
    ttl_ms = {
        "user_id, landmark": 2 * (time.session_cap + time.session_gap),
        "event_key": 2 * max(clean.duplicates, 1000),
    }
    return compiled(flow, ttl_ms)


def main(settings: Settings, arguments: list[str]) -> int:
    """Submit the job; on an embedded Flink, stay with it until it ends.

    Raises:
        Refusal: no broker answers, a topic is missing, or the release store's address is none.
    """
    parser = ArgumentParser(prog="python -m jobs personalize", description=__doc__)
    parser.add_argument("--bounded", action="store_true", help="read what the topic holds now from its start, then end")
    parser.add_argument("--no-serve", action="store_true", help="leave Redis alone: the past has nobody to serve")
    asked = parser.parse_args(arguments)
    wire.require(wire.admin(settings.kafka.bootstrap, settings.kafka.wait), settings.topics)
    Store(settings.releases.store)
    reading = Reading.all_of(settings, "clicks") if asked.bounded else LIVE
    table = environment(settings, name="trimtab-personalize", jars=connectors())
    flow = build(table, settings, reading, serve=not asked.no_serve)
    result = execute(table, planned(flow, settings))
    if not on_cluster(os.environ):
        result.wait()
    return 0
