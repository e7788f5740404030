"""The scoreboard reads what lies on a broker: the outcomes of a stretch of time."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import json
from msgspec.structs import replace
from numpy.random import default_rng

from jobs import scoreboard
from jobs.local.stack import Stack
from jobs.wiring import Refusal, wire
from jobs.wiring.settings import load
from schemas.settings import Settings
from schemas.slots import Arm, Variant
from tests.udfs.people import decisions, facts
from tests.udfs.played import outcomes
from udfs.deciding.book import Book, authored

REPOSITORY = Path(__file__).resolve().parents[2]
HOUR = 3_600_000


@pytest.fixture
def settings(
    stack: Stack, own_topic: Callable[[str, int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    monkeypatch.setattr(scoreboard, "TOPIC", own_topic("outcomes", 2))
    loaded = load(REPOSITORY, "local", stack.environment(), [f"releases.store={tmp_path / 'store'}"]).settings
    slots = {"hero": Variant({"plain": Arm(), "story": Arm()}, "plain")}
    exposures = replace(loaded.exposures, counters=[], lists=[])
    return replace(loaded, slots=slots, rules={}, experiments={}, exposures=exposures)


def test_outcomes_of_a_stretch_of_time_are_judged_each_once(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    now, rng = time.time_ns() // 1_000_000, default_rng(1)
    made = outcomes(decisions(facts(1000), Book.of(None, authored(settings))), "hero", [0.0])
    producer = wire.producer(settings.kafka.bootstrap)
    for number, each in enumerate([*made, *made[:50]]):
        hours = 1 if number < 400 else 5 if number < 800 else 30 if number < 1000 else 1
        reward = float(rng.random() < (0.4 if each.card.arm == "story" else 0.1))
        record = replace(each, at=now - hours * HOUR, reward=reward)
        producer.produce(scoreboard.TOPIC, json.encode(record), partition=number % 2, timestamp=record.at)
    producer.produce(scoreboard.TOPIC, None, key=b"erased", partition=0, timestamp=now)
    assert producer.flush(20) == 0

    assert scoreboard.main(settings, ["hero"]) == 0
    headline, _, *table = capsys.readouterr().out.splitlines()
    assert headline.startswith("hero: 800 of 800 outcomes, of 800 people, shown from ")
    assert [line.split("  ")[0] for line in table] == ["live", "uniform", "always plain", "always story"]
    assert [line.rpartition("  ")[2] for line in table[1:]] == ["as live", "worse", "better"]

    assert scoreboard.main(settings, ["hero", "--since", "2d", "--until", "3h"]) == 0
    assert capsys.readouterr().out.startswith("hero: 600 of 600 outcomes")


def test_a_record_that_is_no_outcome_is_refused_with_its_place(settings: Settings) -> None:
    producer = wire.producer(settings.kafka.bootstrap)
    producer.produce(scoreboard.TOPIC, b"{}", partition=1)
    assert producer.flush(20) == 0
    with pytest.raises(Refusal, match=r"^outcomes-.*: partition 1, offset 0: Object missing required field `id`$"):
        scoreboard.main(settings, ["hero"])
