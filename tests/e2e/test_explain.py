"""A decision is found on a broker, made again from its record and told; whoever asks for a person gets the person."""

import io
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace

from jobs import explain
from jobs.local.stack import Stack
from jobs.wiring import Refusal, wire
from jobs.wiring.remade import Past
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.decisions import Decision, Versions
from schemas.rules import Action, Case, Rule, Rulebook, encoded
from schemas.settings import Settings
from schemas.signals import FEATURES, Signals
from schemas.slots import Arm, Cap, Guards, Rerank, Variant
from udfs.deciding.book import authored
from udfs.scoring.models import golden

REPOSITORY = Path(__file__).resolve().parents[2]
BOOK = Rulebook(
    seed="s",
    valid=300_000,
    counters=["hero"],
    slots={
        "feed": Rerank(3, 6),
        "hero": Variant({"plain": Arm(), "story": Arm()}, "plain", shadow=["weights"], guards=Guards(caps=[Cap(3)])),
    },
    rules={"calm": Rule("hero", {"hurried": Case("rate_fast > 2", Action(arms=["plain"]))}, priority=7)},
    explain=1.0,
)
SHELF = b"\n".join(
    b'{"id":"%s%d","interest":"%s","popularity":%.2f,"quality":0.5}' % (name, n, name, 0.9 - n / 20)
    for name in (b"sport", b"travel")
    for n in range(8)
)
ADA, LIKE_A_DECISION = "k0:11997fd1c46f666bb255ad6b", "abcdefghij_1"


@pytest.fixture
def settings(
    stack: Stack, own_topic: Callable[[str, int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Topics of its own for each test, and a store with a catalogue, a model and a rulebook."""
    monkeypatch.setattr(explain, "_DECISIONS", own_topic("decisions", 2))
    monkeypatch.setattr(explain, "_SEGMENTS", own_topic("segments", 2))
    loaded = load(REPOSITORY, "local", stack.environment(), []).settings
    store = Store(str(tmp_path / "store"))
    rows = np.random.default_rng(7).normal(size=(2000, len(FEATURES)))
    data = lightgbm.Dataset(rows, rows[:, -2] + rows[:, 0] > 0.5, feature_name=list(FEATURES))
    text = lightgbm.train({"objective": "binary", "num_threads": 1, "verbosity": -1}, data, 20).model_to_string()
    store.publish("catalogue", SHELF, None, effective_at=0, reason="")
    store.publish("model", text.encode(), golden(text, rows[:20]), effective_at=0, reason="")
    store.publish("rules", encoded(BOOK), None, effective_at=0, reason="")
    return replace(loaded, releases=replace(loaded.releases, store=store.uri))


def written(settings: Settings, *user_ids: str, spoilt: tuple[bytes, bytes] = (b"", b"")) -> str:
    """Write decisions as the job does; give the id of the last."""
    now = time.time_ns() // 1_000_000
    known = [
        Decision(
            user_id=user_id,
            v=1,
            seq=now,
            at=now,
            expires=now,
            slots={},
            ver=Versions("c1", "m1", rules="r1"),
            signals=Signals(rate_fast=2.5, session_depth=12, gap_s=3.0),
            session=now - 60_000,
            clicked="sport1",
            shown={"hero": [1, 1, 1, now - 9000]},
        )
        for user_id in user_ids
    ]
    past = Past(Store(settings.releases.store), authored(settings), settings.releases.load_timeout)
    bodies = past.remade(known)
    producer = wire.producer(settings.kafka.bootstrap)
    for user_id, body in zip(user_ids, bodies, strict=True):
        producer.produce(explain._DECISIONS, body.encode().replace(*spoilt), key=user_id)
    assert producer.flush(20) == 0
    return json.decode(bodies[-1], type=Decision).slots["hero"].id.partition(".")[0]


def said(settings: Settings, who: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert explain.main(settings, [who]) == 0
    return capsys.readouterr().out


def test_a_decision_is_made_again_and_told_slot_by_slot(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moment_id = written(settings, "k0:" + "0" * 24, ADA)
    told = said(settings, moment_id, capsys)
    head, feed, hero = told.split("\n\n")
    assert head.splitlines()[0].startswith(f"decision {moment_id} for {ADA} at 20")
    assert head.splitlines()[1:] == [
        "decided by catalogue c1, model m1, rules r1",
        "made again from its record and these releases: the same, byte for byte",
    ]
    first, *lines = feed.splitlines()
    assert re.fullmatch(
        r"feed shows (sport|travel)[0-7] first of 3 items because it comes first in the model's order of 6", first
    )
    assert lines[0] == "  reason      SCORE: The model's order."
    at = next(number for number, line in enumerate(lines) if line.startswith("  what m1 makes of "))
    assert re.fullmatch(r" {4}usual +-?[0-9]\.[0-9]{4} +\|", lines[at + 1])
    assert re.fullmatch(r" {4}rate_fast = 2\.5 +\+[0-9]\.[0-9]{4} +\++", lines[at + 2])
    assert re.fullmatch(r" {4}raw score +-?[0-9]\.[0-9]{4} +\|", lines[-2])
    assert re.fullmatch(r" {4}score 0\.[0-9]+, as in the record", lines[-1])

    assert hero.splitlines()[:3] == [
        "hero shows plain because the rule calm asks for it",
        "  reason      RULE: A rule asked for it; where it leaves several arms, a draw among them.",
        "  rule        calm, case hurried, rank 7: its word counted",
    ]
    assert "  guard       cap: 1 of 3, open" in hero.splitlines()
    assert "  shadow      weights: plain 50 %, story 50 %" in hero.splitlines()

    assert said(settings, f"{moment_id}.hero", capsys) == f"{head}\n\n{hero}"
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{moment_id}.hero\n"))
    assert said(settings, "-", capsys) == f"{head}\n\n{hero}"
    with pytest.raises(Refusal, match=rf'explain: decision {moment_id} has no slot "heroo"; it has: feed, hero'):
        explain.main(settings, [f"{moment_id}.heroo"])


def test_where_a_record_parts_from_what_is_made_again_the_place_is_named(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    moment_id = written(settings, ADA, spoilt=(b'"arm":"plain"', b'"arm":"story"'))
    head = said(settings, f"{moment_id}.hero", capsys).splitlines()[2:5]
    assert head == [
        "made again from its record and these releases: it differs",
        "  0 added, 0 removed, 1 changed",
        '  changed slots.hero.arm: "story" -> "plain"',
    ]


def test_a_release_that_is_gone_is_named(settings: Settings) -> None:
    moment_id = written(settings, ADA)
    Path(settings.releases.store, "model", "m1", "model.txt").unlink()
    with pytest.raises(Refusal, match=r"^model m1: it cannot be read: "):
        explain.main(settings, [moment_id])


def test_a_person_is_explained_as_before_also_where_their_id_looks_like_that_of_a_decision(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    pseudonym = explain.named(LIKE_A_DECISION, settings)
    moment_id = written(settings, pseudonym)
    for who in (LIKE_A_DECISION, pseudonym):
        told = said(settings, who, capsys)
        assert told.startswith(f"{pseudonym} at 20")
        assert f"  hero shows plain because the rule calm asks for it ({moment_id}.hero)" in told.splitlines()
    with pytest.raises(Refusal, match=r"^explain: no decision for k0:[0-9a-f]{24}, and none of that id since "):
        explain.main(settings, ["abcdefghij_2"])
    with pytest.raises(Refusal, match=r"^explain: no decision for k0:[0-9a-f]{24} since "):
        explain.main(settings, ["nobody"])
