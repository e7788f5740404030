"""What has drifted in the topic of outcomes is told to that of alerts, each drift once, against what the model knew."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace
from numpy.random import default_rng

from jobs import drift
from jobs.local.feed import collect
from jobs.local.stack import Stack
from jobs.wiring import Refusal, taught, wire
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.alerts import Alert, Detector
from schemas.outcomes import Outcome
from schemas.releases import Golden, Lineage, Manifest
from schemas.settings import Settings
from tests.udfs.drifting import listed, outcome

REPOSITORY = Path(__file__).resolve().parents[2]
MINUTE = 60_000


@pytest.fixture
def settings(
    stack: Stack, own_topic: Callable[[str, int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Topics of its own for each test, and a window of 24 minutes."""
    monkeypatch.setattr(taught, "TOPIC", own_topic("outcomes", 2))
    monkeypatch.setattr(drift, "ALERTS", own_topic("alerts", 2))
    sets = [f"releases.store={tmp_path / 'store'}", "drift.window=24min", "drift.reference=2h", "learn.window=6min"]
    return load(REPOSITORY, "local", stack.environment(), sets).settings


def write(settings: Settings, outcomes: Iterable[Outcome]) -> None:
    producer = wire.producer(settings.kafka.bootstrap)
    for number, each in enumerate(outcomes):
        producer.produce(taught.TOPIC, json.encode(each), partition=number % 2, timestamp=each.due)
    assert producer.flush(20) == 0


def played(begin: int, first: int, last: int, *, seed: int = 9, shift: float = 0.0, turn: int = 0) -> Iterator[Outcome]:
    """Somebody new every five seconds, of whom a signal turns at a minute."""
    rng = default_rng(seed)
    for number in range(12 * first, 12 * last):
        seen = float(rng.normal()) + shift * (number >= 12 * turn)
        yield outcome(f"u{number}", begin + number * 5000, reward=float(rng.random() < 0.2), rate_fast=seen)


def lists(begin: int, first: int, last: int, seed: int = 9, worth: float = 1.0) -> Iterator[Outcome]:
    rng = default_rng(seed)
    for number in range(12 * first, 12 * last):
        scores = 1.0 / (1.0 + np.exp(1.0 - rng.normal(size=6)))
        gains = (rng.random(6) < worth * scores).astype(np.float64)
        yield listed(f"u{number}", begin + number * 5000, scores, gains, "m1")


def publish(settings: Settings, first: int, last: int, effective_at: int) -> None:
    """Put a release into the index that says what it learned from; nobody asks it for scores here."""
    lineage = Lineage(900, 900, first, last, "", {"objective": "binary"})
    manifest = Manifest([], Golden([], []), lineage)
    Store(settings.releases.store).publish("model", b"none", manifest, effective_at=effective_at, reason="")


def told(settings: Settings) -> list[Alert]:
    """Read what was told, in the order of telling: an alert lies in any partition."""
    taken = sorted(collect(settings.kafka.bootstrap, drift.ALERTS), key=attrgetter("at"))
    return [json.decode(each.body or b"", type=Alert) for each in taken]


def test_a_drift_is_told_once_and_again_when_it_begins_anew_or_the_model_is_another(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = time.time_ns() // 1_000_000 // MINUTE * MINUTE - 200 * MINUTE
    publish(settings, begin, begin + 60 * MINUTE, begin + 61 * MINUTE)
    # Half an hour in between, which is neither looked at nor usual, is wild.
    write(settings, [*played(begin, 0, 60), *played(begin, 61, 90, shift=9.0)])
    write(settings, played(begin, 90, 120, seed=10, shift=2.5, turn=108))
    assert drift.main(settings, []) == 0
    (first,) = told(settings)
    assert (first.what, first.subject, first.series) == (Detector.DRIFT, "hero", "rate_fast")
    assert first.against == "what m1 learned from"
    assert abs(first.since - (begin + 108 * MINUTE)) <= 2 * MINUTE
    assert first.at == begin + 120 * MINUTE
    assert first.value - first.expected == pytest.approx(2.5, abs=0.5)
    assert first.sure > 0.99
    assert first.words.startswith("Signal rate_fast of hero moved from ")
    printed = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"1008 outcomes; from \S+ on, against what m1 learned from", printed[0])
    assert printed[-1] == "1 drifted, 1 of them told now"

    # It goes on, and is known.
    write(settings, played(begin, 120, 126, seed=11, shift=2.5))
    assert drift.main(settings, []) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 drifted, 0 of them told now"
    assert len(told(settings)) == 1

    # It ends, and begins anew.
    write(settings, [*played(begin, 126, 150, seed=12), *played(begin, 150, 162, seed=13, shift=2.5)])
    assert drift.main(settings, []) == 0
    second = told(settings)[-1]
    assert len(told(settings)) == 2
    assert abs(second.since - (begin + 150 * MINUTE)) <= 2 * MINUTE

    # Another model has learned from what was before, too.
    publish(settings, begin, begin + 60 * MINUTE + 1, begin + 62 * MINUTE)
    assert drift.main(settings, []) == 0
    assert drift.main(settings, []) == 0
    assert [each.against for each in told(settings)] == ["what m1 learned from"] * 2 + ["what m2 learned from"]


def test_a_models_promises_are_held_against_its_own_first_ones(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = time.time_ns() // 1_000_000 // MINUTE * MINUTE - 200 * MINUTE
    publish(settings, begin, begin + 30 * MINUTE, begin + 31 * MINUTE)
    # What it learned from was shown without it: no scores of its own.
    before = (replace(each, ver=replace(each.ver, model=None)) for each in lists(begin, 0, 30))
    write(settings, [*before, *lists(begin, 31, 60), *lists(begin, 96, 120, seed=10, worth=0.4)])
    with pytest.raises(Refusal, match=r"^train: \d[\d,]* items shown, 20000 are needed \(train\.min_rows\)"):
        drift.main(settings, ["--retrain"])
    alerts = told(settings)
    assert {(each.subject, each.series, each.what) for each in alerts} == {
        ("home_feed", "calibration", Detector.CALIBRATION),
        ("home_feed", "reward", Detector.PAGE_HINKLEY),
    }
    assert all(each.since == begin + 96 * MINUTE for each in alerts)
    scores = [line for line in capsys.readouterr().out.splitlines() if " score " in line]
    assert len(scores) == 1
    assert re.search(r"348 / 288 +not seen$", scores[0])


def test_where_the_model_does_not_say_or_nothing_of_it_is_left_the_time_before_is_usual(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = time.time_ns() // 1_000_000 // MINUTE * MINUTE - 200 * MINUTE
    write(settings, [*played(begin, 0, 120), *played(begin, 120, 144, seed=10, shift=2.0)])
    # An arm is no list: there is nothing to train.
    assert drift.main(settings, ["--retrain"]) == 0
    publish(settings, 1000, 2000, begin)
    assert drift.main(settings, []) == 0
    assert [each.against for each in told(settings)] == ["the 2 h before"]
    assert "what m1 learned from is not there any more" in capsys.readouterr().out.splitlines()


def test_without_outcomes_or_where_an_alert_is_none_it_is_said(settings: Settings) -> None:
    with pytest.raises(Refusal, match=rf"^drift: there are no outcomes in the topic {taught.TOPIC}$"):
        drift.main(settings, [])
    write(settings, played(time.time_ns() // 1_000_000 - 200 * MINUTE, 0, 10))
    producer = wire.producer(settings.kafka.bootstrap)
    producer.produce(drift.ALERTS, b"{}", partition=1)
    producer.flush(20)
    with pytest.raises(Refusal, match=rf"^{drift.ALERTS}, partition 1, offset 0: no alert: "):
        drift.main(settings, [])


def test_on_a_schedule_it_looks_again_whatever_one_look_meets_and_ends_when_told(stack: Stack, tmp_path: Path) -> None:
    sets = [f"releases.store={tmp_path}", "drift.every=1s", "kafka.wait=2s", "kafka.bootstrap=127.0.0.1:1"]
    command = [sys.executable, "-m", "jobs", *(f"--set={each}" for each in sets), "drift", "--schedule"]
    env = {**os.environ, **stack.environment()}
    with subprocess.Popen(command, cwd=REPOSITORY, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for _ in range(2):
            assert process.stderr.readline().startswith("no broker answers at 127.0.0.1:1 within 2 s")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
