"""The watch as Flink plans it: one scan with its watermark, one look, and nothing that is ever taken back."""

import re
from pathlib import Path

import pytest
from pyflink.table import ExplainDetail, StatementSet

from jobs.local.processes import MARK
from jobs.watch import build
from jobs.wiring.flow import compiled, environment
from jobs.wiring.jars import connectors
from jobs.wiring.settings import load


@pytest.fixture(scope="module")
def flow() -> StatementSet:
    settings = load(Path(), "local", {}, ["flink.rest_port=0", "watch.stretch=2h", "watch.window=1min"]).settings
    with pytest.MonkeyPatch.context() as patch:
        # The gateway's JVM lives as long as the tests, longer than a stack whose mark it would inherit.
        patch.delenv(MARK, raising=False)
        table = environment(settings, name="watch plan", jars=connectors())
    return build(table, settings)


def test_each_step_stands_in_the_plan_once(flow: StatementSet) -> None:
    plan = flow.explain().split("== Optimized Execution Plan ==")[1]
    steps = ("TableSourceScan(", "WindowAggregate(", "OverAggregate(", "detect(", "Sink(")
    assert {step: plan.count(step) for step in steps} == dict.fromkeys(steps, 1) | {"WindowAggregate(": 2}
    assert re.search(r"TableSourceScan\(.*watermark=\[.*30000:INTERVAL", plan)
    assert "ROWS BETWEEN 359 PRECEDING AND CURRENT ROW" in plan
    assert "DECIMAL" not in plan
    # A slot that is not in conf must not be cut to the name of one that is.
    assert "VARCHAR(9)" not in plan


def test_the_stream_is_append_only(flow: StatementSet) -> None:
    modes = re.findall(r"changelogMode=\[([^\]]*)\]", flow.explain(ExplainDetail.CHANGELOG_MODE))
    assert set(modes) - {"NONE"} == {"I"}


def test_the_plan_compiles(flow: StatementSet) -> None:
    assert "stream-exec-over-aggregate" in compiled(flow, {})
