"""A model is learned from the topic of outcomes as it lies on a broker, published, and followed."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace

from jobs import train
from jobs.local.lessons import outcomes, pupils
from jobs.local.stack import Stack
from jobs.wiring import Refusal, taught, wire
from jobs.wiring.releases import Follower
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.decisions import Unfit
from schemas.outcomes import Outcome
from schemas.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
DAY_MS = 86_400_000
ROWS = 60_000


@pytest.fixture
def settings(
    stack: Stack, own_topic: Callable[[str, int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A topic of its own, the pretend world's catalogue, and gates that are content with few lists."""
    monkeypatch.setattr(taught, "TOPIC", own_topic("outcomes", 3))
    changes = [f"releases.store={tmp_path / 'store'}", "train.gates.lists=50", "train.min_rows=5000"]
    loaded = load(REPOSITORY, "local", stack.environment(), changes).settings
    shelf = pupils(loaded, 1, ROWS).shelf.catalogue_lines()
    Store(loaded.releases.store).publish("catalogue", shelf, None, effective_at=0, reason="")
    return loaded


def write(settings: Settings, some: list[Outcome | bytes | None]) -> None:
    producer = wire.producer(settings.kafka.bootstrap)
    for number, each in enumerate(some):
        body = json.encode(each) if isinstance(each, Outcome) else each
        at = each.due if isinstance(each, Outcome) else time.time_ns() // 1_000_000
        producer.produce(taught.TOPIC, body, partition=number % 3, timestamp=at)
        producer.poll(0)
    assert producer.flush(20) == 0


def test_a_model_is_learned_from_the_last_days_published_and_followed(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time_ns() // 1_000_000
    recent = list(outcomes(settings, 1, ROWS, start=now - 3 * DAY_MS))
    old = [
        replace(each, id=f"old-{each.id}", at=each.at - 9 * DAY_MS, due=each.due - 9 * DAY_MS) for each in recent[:99]
    ]
    robots = [replace(each, id=f"robot-{each.id}", unfit=[Unfit.ROBOT]) for each in recent[:40]]
    # What a restart writes again is one outcome all the same.
    write(settings, [*old, *recent, *recent[:50], *robots, None, b"{"])

    assert train.main(settings, ["--since", "7d", "--publish"]) == 0

    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(
        "7,591 outcomes, 1 not readable left out, 40 of robots left out: 7,500 lists with 60,000 "
    )
    assert f", from the topic {taught.TOPIC} since 20" in said[0]
    (release,) = Store(settings.releases.store).index("model")
    follower = Follower(settings.releases.store, 1000, 60_000, lambda: now, logging.getLogger(), channels=("model",))
    follower.refresh()
    (found,) = follower.each(np.array([release.effective_at], dtype=np.int64))
    assert found.model is not None
    assert found.model.version == "m1"


def test_without_enough_outcomes_nothing_is_learned(settings: Settings) -> None:
    write(settings, list(outcomes(settings, 1, 4_000, start=time.time_ns() // 1_000_000 - DAY_MS)))
    with pytest.raises(
        Refusal, match=r"^train: 4000 items shown, 5000 are needed \(train\.min_rows\); read further back"
    ):
        train.main(settings, ["--publish"])
    assert not Store(settings.releases.store).index("model")
