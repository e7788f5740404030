"""From SQL views to a running Flink job: the environment, the view files, one plan for all sinks."""

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyflink.table import EnvironmentSettings, StatementSet, TableEnvironment, TableResult

from jobs.wiring import Refusal
from schemas.settings import Settings

_NAME = re.compile(r"\$\{(\w+)\}")
_VIEW = re.compile(r"CREATE TEMPORARY VIEW (\w+) AS\s+(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Interval:
    """A literal of type INTERVAL, from milliseconds.

    >>> str(Interval(250)), str(Interval(90_061_001))
    ("INTERVAL '0 00:00:00.250' DAY TO SECOND(3)", "INTERVAL '1 01:01:01.001' DAY TO SECOND(3)")
    """

    ms: int

    def __str__(self) -> str:
        """Render the literal."""
        seconds, ms = divmod(self.ms, 1000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        return f"INTERVAL '{days} {hours:02d}:{minutes:02d}:{seconds:02d}.{ms:03d}' DAY TO SECOND(3)"


class Text(str):
    """A literal of type STRING, as against the name of a column."""

    __slots__ = ()


Literal = int | float | Interval | Text | Sequence[int] | Sequence[str]
"""What may stand in for a ${name}: a number, interval or text, or a list of integers, of texts, of column names."""


def render(literal: Literal) -> str:
    """Write a literal as SQL; a float is a DOUBLE, never a DECIMAL.

    >>> render(15000.0), render(3), render(Text("it's")), render([7, 8]), render(["user_id"]), render([Text("it's")])
    ('1.5E4', '3', "'it''s'", '7, 8', '`user_id`', "CAST('it''s' AS STRING)")
    """
    if isinstance(literal, float):
        digits, _, exponent = f"{literal:.17E}".partition("E")
        shortest = repr(float(digits))
        return f"{shortest}E{int(exponent)}" if float(f"{shortest}E{exponent}") == literal else f"{literal:.17E}"
    if isinstance(literal, int | Interval):
        return str(literal)
    if isinstance(literal, Text):
        return _quoted(literal)
    return ", ".join(map(_listed, literal))


def _listed(one: int | str) -> str:
    if isinstance(one, Text):
        # By itself a text is of its own length, and what is compared with it is cut to that.
        return f"CAST({_quoted(one)} AS STRING)"
    return f"`{one}`" if isinstance(one, str) else str(one)


def _quoted(text: str) -> str:
    return f"'{text.replace(chr(39), 2 * chr(39))}'"


def views(sql: str, literals: Mapping[str, Literal]) -> dict[str, str]:
    r"""Split a view file into names and queries, in order, and fill in its ${names}.

    Raises:
        Refusal: a name is unknown, a literal is never used, or a statement is no view.

    >>> views("-- Grain.\nCREATE TEMPORARY VIEW a AS SELECT ${n};", {"n": 1})
    {'a': 'SELECT 1'}
    """
    text = "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))
    used = set(_NAME.findall(text))
    if unknown := sorted(used - literals.keys()):
        raise Refusal(f"the views use ${{{unknown[0]}}}, which nobody declares")
    if unused := sorted(literals.keys() - used):
        raise Refusal(f"no view uses ${{{unused[0]}}}")
    filled = _NAME.sub(lambda found: render(literals[found[1]]), text)
    found = {}
    for statement in filter(None, map(str.strip, filled.split(";"))):
        view = _VIEW.fullmatch(statement)
        if not view:
            raise Refusal(f"a view file holds CREATE TEMPORARY VIEW only, not {statement.splitlines()[0]}")
        found[view[1]] = view[2]
    return found


def declare_views(table: TableEnvironment, queries: Mapping[str, str]) -> None:
    """Declare views, each parsed once.

    As text, a view is parsed again for every sink, and two parsings of an UNNEST do not look the same to the planner:
    the steps after it would run once per sink.
    """
    for name, query in queries.items():
        table.create_temporary_view(name, table.sql_query(query))


STATE: Final = {
    "heap": {"state.backend.type": "hashmap"},
    "rocksdb": {"state.backend.type": "rocksdb", "execution.checkpointing.incremental": "true"},
}
"""Where jobs keep what they know of people."""


def environment(settings: Settings, *, name: str, jars: Sequence[Path] = ()) -> TableEnvironment:
    """Open a table environment with everything the suite's jobs have in common.

    Args:
        settings: see conf/base.toml.
        name: of the job, as operators see it.
        jars: of connectors, for an embedded Flink; a cluster has them in its own lib folder.
    """
    flink, time = settings.flink, settings.time
    options = {
        "pipeline.name": name,
        "parallelism.default": str(flink.parallelism),
        "pipeline.object-reuse": "true",
        "pipeline.auto-watermark-interval": f"{flink.watermark_interval} ms",
        "execution.buffer-timeout.interval": f"{flink.buffer_timeout} ms",
        "execution.checkpointing.interval": f"{flink.checkpoint} ms",
        "execution.checkpointing.min-pause": f"{flink.checkpoint // 2} ms",
        "execution.checkpointing.timeout": "2 min",
        "execution.checkpointing.tolerable-failed-checkpoints": "100",
        "execution.checkpointing.num-retained": "3",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        **STATE[flink.state],
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "30 s",
        "python.fn-execution.bundle.size": str(flink.bundle_rows),
        "python.fn-execution.arrow.batch.size": str(flink.bundle_rows),
        "python.fn-execution.bundle.time": str(int(flink.bundle_time)),
        "table.local-time-zone": "UTC",
        # One scan, one decode, one decision for all sinks; without it a shared view runs once per sink.
        "table.optimizer.reuse-optimize-block-with-digest-enabled": "true",
        # A slice holds few events of a user: a local pre-aggregation would only cost.
        "table.optimizer.agg-phase-strategy": "ONE_PHASE",
        # Twice the memory: when the state goes, a silence has already restarted its sums in event time.
        "table.exec.state.ttl": f"{2 * time.memory} ms",
    }
    if not on_cluster(os.environ):
        options |= _embedded(settings, jars)
    table = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for key, value in options.items():
        table.get_config().set(key, value)
    return table


def on_cluster(environ: Mapping[str, str]) -> bool:
    """Whether `flink run` started this program: it hands over the port of the JVM that speaks to the cluster."""
    return "PYFLINK_GATEWAY_PORT" in environ


def _embedded(settings: Settings, jars: Sequence[Path]) -> dict[str, str]:
    """Say what a cluster says for itself: addresses, folders, programs, jars; see conf/flink/config.yaml."""
    flink = settings.flink
    options = {
        "execution.checkpointing.dir": Path(flink.checkpoint_dir).absolute().as_uri(),
        "heartbeat.interval": "1000",
        "heartbeat.timeout": "6000",
        "rest.bind-address": "127.0.0.1",
        "rest.address": "127.0.0.1",
        "rest.bind-port": str(flink.rest_port),
        "rest.port": str(flink.rest_port),
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
    }
    if jars:
        options["pipeline.jars"] = ";".join(jar.absolute().as_uri() for jar in jars)
    return options


def compiled(statements: StatementSet, ttl_ms: Mapping[str, int]) -> str:
    """Plan all inserts as one job, in which some folds forget sooner than others.

    Flink's state TTL is one number for all folds: right for those kept per user, far too long for those kept per
    session or event. The compiled plan carries options per operator, and gives stable operator ids besides.

    Args:
        statements: the inserts.
        ttl_ms: the columns that a fold is kept by, as the plan writes them -> how long it keeps what nobody touches.

    Raises:
        Refusal: the plan has no fold that is kept so.
    """
    plan = json.loads(statements.compile_plan().as_json_string())
    for kept_by, ms in ttl_ms.items():
        folds = [node for node in plan["nodes"] if is_fold(node, kept_by)]
        if not folds:
            raise Refusal(f"the plan keeps no fold by {kept_by}; see the windows of the views")
        for node in folds:
            node["configuration"] = node.get("configuration", {}) | {"table.exec.state.ttl": f"{ms} ms"}
    return json.dumps(plan)


def is_fold(node: Mapping[str, Any], kept_by: str) -> bool:
    """Whether a plan node is an OVER aggregate partitioned by these columns."""
    fold = node["type"].startswith("stream-exec-over-aggregate")
    return fold and f"partitionBy=[{kept_by}]" in node["description"]


def execute(table: TableEnvironment, plan: str) -> TableResult:
    """Run a compiled plan; returns once the job is submitted."""
    # By SQL and from a file: load_plan() of PyFlink 2.3 hands the Java environment on where it needs the Python one.
    with tempfile.NamedTemporaryFile("w", suffix=".json", prefix="trimtab-plan-") as file:
        file.write(plan)
        file.flush()
        return table.execute_sql(f"EXECUTE PLAN '{Path(file.name).as_uri()}'")
