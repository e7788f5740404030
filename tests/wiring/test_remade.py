"""A record and the releases that it names are enough to make the decision again, to the byte."""

import re
import shutil
from hashlib import sha256
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace

from jobs.wiring import Refusal
from jobs.wiring.remade import Past, parted
from jobs.wiring.store import Store
from schemas.decisions import Decision, Unfit, Versions, Why
from schemas.durations import Millis
from schemas.flags import Flags
from schemas.heads import Head, Regressions
from schemas.policies import Learned, Plays, Posteriors, Thompson
from schemas.rules import Action, Case, Experiment, Rule, Rulebook, Treatment, encoded
from schemas.signals import FEATURES, USER_FEATURES, Signals
from schemas.slots import Arm, Cap, Content, Guards, Knob, Rerank, Trigger, Variant
from udfs.scoring.models import golden

END = 1_767_225_600_000
PATIENCE_MS = 60_000
AUTHORED = Rulebook("conf", 60_000, [], {"hero": Variant({"plain": Arm(), "story": Arm()}, "plain")})
BOOK = Rulebook(
    seed="s",
    valid=300_000,
    counters=["hero"],
    slots={
        "feed": Rerank(4, 6, explore=0.1),
        "hero": Variant(
            {"plain": Arm(0.5), "story": Arm(0.5, {"motion": "soft"})},
            default="plain",
            policies={"learned": Thompson(by="segment", floor=0.05)},
            policy="learned",
            shadow=["weights"],
            guards=Guards(caps=[Cap(3)]),
        ),
        "nudge": Trigger({"help": Arm()}),
        "page": Content(
            {
                "images": Knob("full", ["full", "none"]),
                "length": Knob("short", ["short", "long"], predicted="read_s", cuts=[30.0]),
            }
        ),
    },
    rules={
        "help": Rule("nudge", {"hurried": Case("rate_fast > 2", Action(arms=["help"]))}),
        "slow": Rule("page", {"slow": Case('connection == "slow"', Action(set={"images": "none"}))}),
        "deep": Rule("feed", {"deep": Case("session_depth > 20", Action(pin=["travel7"]))}),
        "quiet": Rule("hero", {"still": Case("gap_s > 60", Action(arms=["plain"]), hold=Millis(1000))}),
    },
    experiments={"heroes": Experiment("hero", {"usual": Treatment(), "control": Treatment(control=True)})},
    explain=0.5,
)
LEARNT = Posteriors({"hero": Learned({"plain": Plays(900, 90, 90)}, {"reader": {"story": Plays(300, 150, 150)}})})


def shelf(quality: float) -> bytes:
    return b"\n".join(
        b'{"id":"%s%d","interest":"%s","popularity":%.2f,"quality":%.2f}' % (name, n, name, 0.9 - n / 20, quality)
        for name in (b"sport", b"travel")
        for n in range(8)
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two catalogues, and one release of each other channel."""
    place = tmp_path_factory.mktemp("store")
    rows = np.random.default_rng(7).normal(size=(2000, len(FEATURES)))
    data = lightgbm.Dataset(rows, rows[:, -2] + rows[:, 0] > 0.5, feature_name=list(FEATURES))
    text = lightgbm.train({"objective": "binary", "num_threads": 1, "verbosity": -1}, data, 20).model_to_string()
    store = Store(str(place))
    for number, payload in enumerate((shelf(0.5), shelf(0.9))):
        store.publish("catalogue", payload, None, effective_at=number, reason="")
    store.publish("model", text.encode(), golden(text, rows[:20]), effective_at=5, reason="")
    store.publish("rules", encoded(BOOK), None, effective_at=0, reason="")
    store.publish("policy", json.encode(LEARNT), None, effective_at=0, reason="")
    params = {"objective": "regression", "num_threads": 1, "verbosity": -1}
    away = np.random.default_rng(8).exponential(40.0, size=(2000, len(USER_FEATURES)))
    data = lightgbm.Dataset(away, away[:, USER_FEATURES.index("gap_s")], feature_name=list(USER_FEATURES))
    text = lightgbm.train(params, data, 20).model_to_string()
    head = Head("read_s", text, golden(text, away[:20]).golden)
    store.publish("heads", json.encode(Regressions({"page": {"length": head}})), None, effective_at=7, reason="")
    store.publish("flags", json.encode(Flags(slots={"page": False})), None, effective_at=0, reason="")
    return place


@pytest.fixture
def store(published: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(published, tmp_path / "store")


def past(store: Path, authored: Rulebook = AUTHORED) -> Past:
    return Past(Store(str(store)), authored, PATIENCE_MS)


def known(row: int, ver: Versions) -> Decision:
    """What is known of one of many people, before anything is decided for them."""
    rng = np.random.default_rng(row)
    return Decision(
        user_id=f"k0:{row}",
        v=1,
        seq=END + row,
        at=END - 1,
        expires=END,
        slots={},
        ver=ver,
        signals=Signals(rate_fast=float(rng.random() * 3), session_depth=row % 40, gap_s=float(rng.random() * 90)),
        session=END - 90_000,
        clicked=("", "sport1", "travel7")[row % 3],
        segment=("", "reader")[row % 2],
        held={"quiet.still": (0, END - 5000)[row % 2]},
        shown={} if row % 3 else {"hero": [3, 3, 9, END - 70_000]},
        unfit=[Unfit.ROBOT] if row % 7 == 0 else [],
    )


VERSIONS = [
    Versions(),
    Versions("c1", rules="r1"),
    Versions("c1", "m1", rules="r1", policy="p1"),
    Versions("c2", "m1", rules="r1", policy="p1", flags="f1"),
    Versions("c2", rules="r1", heads="h1"),
]


def written(store: Path, rows: int = 80) -> list[str]:
    """Records as a job has written them, of all versions in turns."""
    return past(store).remade([known(row, VERSIONS[row % len(VERSIONS)]) for row in range(rows)])


def read(texts: list[str]) -> list[Decision]:
    return [json.decode(text, type=Decision) for text in texts]


def test_records_of_several_releases_are_made_again_to_the_byte_in_any_order(store: Path) -> None:
    texts = written(store)
    records = read(texts)
    reasons = {card.reason for record in records for card in record.slots.values()}
    assert {Why.SCORE, Why.POPULAR, Why.SPLIT, Why.LEARNED, Why.RULE, Why.HEAD, Why.QUIET, Why.USUAL} <= reasons
    assert {Why.CONTROL, Why.OFF, Why.CAPPED, Why.ROBOT} <= reasons
    assert any(trace.contributions for record in records for trace in record.trace.values())
    anew = past(store)
    assert anew.remade(records[::-1]) == texts[::-1]
    assert [text for record in records for text in anew.remade([record])] == texts


def test_where_no_rules_are_named_what_conf_says_decides(store: Path) -> None:
    (record,) = read(past(store).remade([known(1, Versions("c1"))]))
    assert (list(record.slots), record.expires) == (["hero"], record.seq + 60_000)
    longer = past(store, replace(AUTHORED, valid=90_000)).remade([record])
    assert parted(json.encode(record), longer[0].encode())[1:] == [
        f"changed expires: {record.expires} -> {record.expires + 30_000}",
        f"changed slots.hero.expires: {record.expires} -> {record.expires + 30_000}",
    ]


def test_what_a_version_names_is_known_with_the_moment_from_which_it_counted(store: Path) -> None:
    found = past(store).named(Versions("c2", "m1", rules="r1", policy="p1", heads="h1"))
    assert found.releases.versions() == Versions("c2", "m1", rules="r1", heads="h1")
    assert found.learnt is not None
    assert (found.learnt.version, found.book.version) == ("p1", "r1")
    assert found.releases.effective == {"catalogue": 1, "model": 5, "rules": 0, "policy": 0, "heads": 7}


def test_a_release_is_read_once(store: Path) -> None:
    once, records = past(store), read(written(store, 8))
    texts = once.remade(records)
    shutil.rmtree(store)
    assert once.remade(records) == texts


@pytest.mark.parametrize(
    ("ver", "message"),
    [
        (Versions("c3"), r"^catalogue c3: .*/store has no such release, so what it decided is lost$"),
        (Versions(policy="p9"), r"^policy p9: .*/store has no such release, so what it decided is lost$"),
        (Versions(segments="s1"), r"^segments s1: .*/store has no such release, so what it decided is lost$"),
    ],
)
def test_a_release_that_is_gone_is_named(store: Path, ver: Versions, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        past(store).remade([known(1, ver)])


def test_a_release_that_is_damaged_is_named(store: Path) -> None:
    rules = store / "rules" / "r1" / "rules.json"
    rules.write_bytes(rules.read_bytes().replace(b'"s"', b'"t"'))
    with pytest.raises(Refusal, match=r"^rules r1: rules\.json was changed after it was published \(sha256 "):
        past(store).remade([known(1, VERSIONS[1])])
    (store / "catalogue" / "c1" / "items.jsonl").unlink()
    with pytest.raises(Refusal, match=r"^catalogue c1: it cannot be read: "):
        past(store).remade([known(1, Versions("c1"))])
    (store / "catalogue" / "index.jsonl").write_bytes(b"{")
    with pytest.raises(Refusal, match=r"^catalogue c1: the index cannot be read: catalogue: index\.jsonl line 1: "):
        past(store).remade([known(1, Versions("c1"))])


def test_a_model_that_kills_the_process_which_loads_it_kills_a_child(store: Path) -> None:
    index, model = store / "model" / "index.jsonl", store / "model" / "m1" / "model.txt"
    torn = re.sub(rb"split_gain=[0-9]", b"split_gain=x", model.read_bytes(), count=1)
    model.write_bytes(torn)
    index.write_bytes(re.sub(rb"[0-9a-f]{64}", sha256(torn).hexdigest().encode(), index.read_bytes()))
    with pytest.raises(Refusal, match=r"^model m1: loading it kills the process \(SIGABRT\)$"):
        past(store).remade([known(1, VERSIONS[2])])
