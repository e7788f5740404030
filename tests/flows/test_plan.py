"""The job as Flink plans it: every shared step stands in the plan once, and state that nobody needs is let go."""

import json
import os
import re
from pathlib import Path

import pytest
from pyflink.table import ExplainDetail, StatementSet

from jobs.local.processes import MARK
from jobs.personalize import build
from jobs.wiring import Refusal
from jobs.wiring.flow import compiled, environment, is_fold
from jobs.wiring.jars import connectors
from jobs.wiring.settings import load


@pytest.fixture(scope="module")
def flow() -> StatementSet:
    settings = load(Path(), "local", {}, ["flink.rest_port=0"]).settings
    with pytest.MonkeyPatch.context() as patch:
        # The gateway's JVM lives as long as the tests, longer than a stack whose mark it would inherit.
        patch.delenv(MARK, raising=False)
        table = environment(settings, name="plan", jars=connectors())
    return build(table, settings)


@pytest.fixture(scope="module")
def plan(flow: StatementSet) -> str:
    explained: str = flow.explain()
    return explained.split("== Optimized Execution Plan ==")[1]


@pytest.mark.parametrize(
    ("step", "times"),
    [
        ("TableSourceScan(", 2),
        (" clean(", 1),
        ("WindowAggregate(", 6),
        ("OverAggregate(", 6),
        ("unpack(", 1),
        (" observe(", 1),
        (" decide(", 1),
        (" tell(", 1),
        ("Sink(", 5),
    ],
)
def test_each_step_is_evaluated_once_for_all_sinks(plan: str, step: str, times: int) -> None:
    assert plan.count(step) == times


def test_the_watermark_is_made_in_the_scan_so_that_each_partition_has_its_own(plan: str) -> None:
    assert all("watermark=[" in line for line in plan.splitlines() if "TableSourceScan(" in line)
    assert "WatermarkAssigner(" not in plan


def test_no_formula_runs_in_decimals(plan: str) -> None:
    assert "DECIMAL" not in plan


def test_every_stream_is_append_only(flow: StatementSet) -> None:
    modes = re.findall(r"changelogMode=\[([^\]]*)\]", flow.explain(ExplainDetail.CHANGELOG_MODE))
    assert set(modes) - {"NONE"} == {"I"}


def test_events_are_forgotten_after_minutes_sessions_after_hours_and_people_by_the_jobs_ttl(flow: StatementSet) -> None:
    ttl_ms = {"event_key": 240_000, "user_id, landmark": 18_000_000}
    nodes = json.loads(compiled(flow, ttl_ms))["nodes"]
    found = {
        kept_by: [node.get("configuration", {}).get("table.exec.state.ttl") for node in nodes if is_fold(node, kept_by)]
        for kept_by in (*ttl_ms, "user_id")
    }
    assert found == {"event_key": ["240000 ms"], "user_id, landmark": ["18000000 ms"], "user_id": [None] * 3}


def test_a_fold_that_is_not_there_is_missed(flow: StatementSet) -> None:
    with pytest.raises(Refusal, match="the plan keeps no fold by page"):
        compiled(flow, {"page": 1000})


def test_no_secret_stands_in_the_plan(flow: StatementSet) -> None:
    assert "for-development-only" not in compiled(flow, {})
    assert os.environ.get("TRIMTAB__PSEUDONYMS__KEY", "for-development-only") not in flow.explain()
