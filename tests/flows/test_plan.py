"""The job as Flink plans it: every shared step stands in the plan once, and state that nobody needs is let go."""

import json
import os
import re
from pathlib import Path

import pytest
from pyflink.table import ExplainDetail, StatementSet

from jobs.local.processes import MARK
from jobs.personalize import build
from jobs.wiring.flow import compiled, environment, is_landmark_fold
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
        ("TableSourceScan(", 1),
        (" clean(", 1),
        ("WindowAggregate(", 1),
        ("OverAggregate(", 3),
        ("unpack(", 1),
        (" decide(", 1),
        ("serve(", 1),
        ("Sink(", 3),
    ],
)
def test_each_step_is_evaluated_once_for_all_sinks(plan: str, step: str, times: int) -> None:
    assert plan.count(step) == times


def test_the_watermark_is_made_in_the_scan_so_that_each_partition_has_its_own(plan: str) -> None:
    assert "watermark=[" in next(line for line in plan.splitlines() if "TableSourceScan(" in line)
    assert "WatermarkAssigner(" not in plan


def test_no_formula_runs_in_decimals(plan: str) -> None:
    assert "DECIMAL" not in plan


def test_every_stream_is_append_only(flow: StatementSet) -> None:
    modes = re.findall(r"changelogMode=\[([^\]]*)\]", flow.explain(ExplainDetail.CHANGELOG_MODE))
    assert set(modes) - {"NONE"} == {"I"}


def test_the_fold_per_session_forgets_after_hours_and_the_folds_per_user_keep_the_jobs_ttl(flow: StatementSet) -> None:
    nodes = json.loads(compiled(flow, fading_ttl_ms=18_000_000))["nodes"]
    folds = [node for node in nodes if "over-aggregate" in node["type"]]
    assert [node.get("configuration", {}).get("table.exec.state.ttl") for node in folds if is_landmark_fold(node)] == [
        "18000000 ms"
    ]
    assert [node.get("configuration") for node in folds if not is_landmark_fold(node)] == [None, None]


def test_no_secret_stands_in_the_plan(flow: StatementSet) -> None:
    assert "for-development-only" not in compiled(flow, fading_ttl_ms=1000)
    assert os.environ.get("TRIMTAB__PSEUDONYMS__KEY", "for-development-only") not in flow.explain()
