"""The learning job as Flink plans it: each topic is read once, nothing is taken back, and what is kept has an end."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from pyflink.table import ExplainDetail, StatementSet

from jobs.learn import build
from jobs.local.processes import MARK
from jobs.wiring import Refusal
from jobs.wiring.flow import compiled, environment
from jobs.wiring.jars import connectors
from jobs.wiring.settings import load

if TYPE_CHECKING:
    from schemas.settings import Settings

SETS = ("flink.rest_port=0", "learn.window=10min", "decide.valid=5min", "redis.grace=60s", "learn.disorder=5s")


def laid(*sets: str) -> StatementSet:
    settings: Settings = load(Path(), "local", {}, [*SETS, *sets]).settings
    with pytest.MonkeyPatch.context() as patch:
        # The gateway's JVM lives as long as the tests, longer than a stack whose mark it would inherit.
        patch.delenv(MARK, raising=False)
        table = environment(settings, name="learn plan", jars=connectors())
    return build(table, settings)


@pytest.fixture(scope="module")
def flow() -> StatementSet:
    return laid()


@pytest.fixture(scope="module")
def plan(flow: StatementSet) -> str:
    explained: str = flow.explain()
    return explained.split("== Optimized Execution Plan ==")[1]


@pytest.fixture(scope="module")
def nodes(flow: StatementSet) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(compiled(flow, {}))["nodes"]
    return found


@pytest.mark.parametrize(
    ("step", "times"),
    [
        ("TableSourceScan(", 2),
        ("WindowTableFunction(", 0),
        ("+- WindowAggregate(", 3),
        ("OverAggregate(", 3),
        ("IntervalJoin(", 2),
        ("Deduplicate(", 1),
        (" settle(", 1),
        ("add_up(", 1),
        ("note(", 1),
        ("\nSink(", 5),
    ],
)
def test_each_step_stands_in_the_plan_once_for_all_sinks(plan: str, step: str, times: int) -> None:
    assert plan.count(step) == times


def test_watermarks_are_made_in_the_scans_behind_the_disorder(plan: str) -> None:
    scans = [line for line in plan.splitlines() if "TableSourceScan(" in line]
    assert len(scans) == 2
    assert all(re.search(r"watermark=\[-\(.*, 5000:INTERVAL", line) for line in scans)


def test_nothing_runs_in_decimals_and_no_name_is_cut_to_the_length_of_another(plan: str) -> None:
    assert "DECIMAL" not in plan
    assert re.findall(r"VARCHAR\((?!2147483647)\d+\)", plan) == []


def test_every_stream_is_append_only(flow: StatementSet) -> None:
    modes = re.findall(r"changelogMode=\[([^\]]*)\]", flow.explain(ExplainDetail.CHANGELOG_MODE))
    assert set(modes) - {"NONE"} == {"I"}


def test_exposures_wait_the_window_and_events_from_the_exposure_on_count(plan: str) -> None:
    # A session of one exposure at x ends at x + 600001, and its time is x + 600000; from there back to x.
    assert "gap=[600001 ms]" in plan
    assert plan.count("RANGE BETWEEN 600000 PRECEDING AND CURRENT ROW") == 2
    assert "leftLowerBound=0, leftUpperBound=600000" in plan


def test_an_exposure_meets_a_decision_as_long_as_its_card_may_be_shown(plan: str) -> None:
    assert "leftLowerBound=0, leftUpperBound=360000" in plan
    assert plan.count("RANGE BETWEEN 360000 PRECEDING AND CURRENT ROW") == 1


def test_what_is_kept_goes_by_event_time_but_for_what_tells_copies(nodes: list[dict[str, Any]]) -> None:
    # Folds over a stretch, windows and interval joins let go by the watermark; a fold without an end needs a clock.
    folds = [node for node in nodes if "over-aggregate" in node["type"]]
    assert [node["overSpec"]["groups"][0]["lowerBound"].get("isUnbounded", False) for node in folds] == [False] * 3
    states = {node["type"]: node["state"] for node in nodes if node.get("state")}
    assert {kind: [each["ttl"] for each in kept] for kind, kept in states.items()} == {
        "stream-exec-deduplicate_1": ["1 h"],
    }


def test_no_slot_with_a_reward_is_nothing_to_learn() -> None:
    settings = load(Path(), "local", {}, SETS).settings
    bare = replace(settings, slots={name: replace(slot, reward=None) for name, slot in settings.slots.items()})
    with pytest.raises(Refusal, match="learn: no slot of conf declares a reward, so there is nothing to learn"):
        build(environment(bare, name="learn plan", jars=connectors()), bare)


def test_no_secret_stands_in_the_plan(flow: StatementSet) -> None:
    assert "for-development-only" not in compiled(flow, {})
