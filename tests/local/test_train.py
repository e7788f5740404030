"""The first model beats popularity because it knows what a person clicked last, and it can be trusted and repeated."""

import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from jobs import train as verb
from jobs.local.lessons import lessons
from jobs.local.website import Website
from jobs.local.world import VISITORS, World, seeded
from jobs.train import Trained, publish_demo, split, train
from jobs.wiring import Refusal
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.events import Kind, RawEvent
from schemas.reader import Read, SlotCard, pseudonym
from schemas.releases import Manifest
from schemas.settings import Settings
from schemas.signals import FEATURES, USER_FEATURES
from schemas.slots import Rerank
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.in_force import InForce
from udfs.deciding.rank import People, rerank
from udfs.scoring.models import Model

ROOT = Path(__file__).parents[2]
ROWS = 100_000
TYPICAL = {
    "rate_fast": 0.6,
    "rate_mid": 0.5,
    "rate_slow": 0.5,
    "velocity": 0.1,
    "gap_s": 2.0,
    "session_age_s": 20.0,
    "session_depth": 6.0,
    "session_clicks": 1.0,
}
"""Signals of somebody who has just clicked on their first page."""


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(ROOT, "local", {}, []).settings


@pytest.fixture(scope="module")
def trained(settings: Settings) -> Trained:
    return train(settings, 1, ROWS)


def with_store(folder: Path) -> Settings:
    return load(ROOT, "local", {}, [f"releases.store={folder}"]).settings


def test_on_unseen_users_and_later_times_it_beats_popularity(trained: Trained) -> None:
    assert trained.judged_rows > 10_000
    assert trained.auc > 0.66
    assert trained.popularity_auc < 0.60


def test_no_user_and_no_moment_is_both_learned_from_and_judged(settings: Settings) -> None:
    taught = lessons(settings, 1, 20_000)
    learn, judge = split(taught)
    assert not set(taught.user[learn].tolist()) & set(taught.user[judge].tolist())
    assert taught.at_ms[learn].max() < taught.at_ms[judge].min()
    assert learn.sum() > 5_000
    assert judge.sum() > 1_000


def test_the_same_rows_give_the_same_bytes(settings: Settings) -> None:
    one, two = (train(settings, 3, 20_000).text for _ in range(2))
    assert hashlib.sha256(one.encode()).hexdigest() == hashlib.sha256(two.encode()).hexdigest()


def test_the_model_keeps_what_its_manifest_promises(trained: Trained) -> None:
    assert trained.manifest.features == list(FEATURES)
    assert len(trained.manifest.golden.rows) == 32
    assert len(set(trained.manifest.golden.scores)) > 16
    model = Model.parse("m1", trained.text, trained.manifest)
    assert len(model.forest.values) <= 60 * 15


# A page of popular items -> one click -> the next page: by the model, or popular again.
def test_after_one_click_the_models_page_is_clicked_far_more_often(trained: Trained) -> None:
    world = World.of(1, 20_000, VISITORS)
    everybody, rng = np.arange(20_000), seeded(1, 9)
    mood, arm = world.crowd.first_mood(everybody, rng), np.zeros(20_000, dtype=np.intp)
    popular = np.tile(world.shelf.most_popular(8), (20_000, 1))
    fresh = np.zeros(popular.shape, dtype=np.bool_)
    first = world.visit(everybody, mood, popular, arm, seen=fresh, rng=rng)
    user = np.flatnonzero(first.clicked >= 0)
    assert len(user) > 1500

    catalogue = Catalogue.parse("c1", world.shelf.catalogue_lines())
    model = Model.parse("m1", trained.text, trained.manifest)
    signals = {name: np.full(len(user), TYPICAL.get(name, 0.0)) for name in USER_FEATURES}
    clicked = [world.shelf.items[row].id for row in first.opened[user]]
    ranked = rerank(
        Rerank(length=8, candidates=20),
        People(signals, clicked, [[item] for item in clicked]),
        InForce(catalogue, model),
    )
    assert ranked is not None
    page = np.take_along_axis(ranked.candidates, ranked.order, axis=1)

    by_model = world.feed_click_rate(user, mood[user], page, arm[user]).mean()
    by_popularity = world.feed_click_rate(user, mood[user], popular[user], arm[user]).mean()
    assert by_model > 1.3 * by_popularity
    last = world.shelf.interest[first.opened[user]]
    assert (world.shelf.interest[page] == last[:, None]).mean() > 0.8


class Shortcut:
    """Broker, job and Redis in one: it hears clicks and answers with the model's order, at once."""

    def __init__(self, trained: Trained) -> None:
        shelf = World.of(1, 1, VISITORS).shelf
        self.in_force = InForce(
            Catalogue.parse("c1", shelf.catalogue_lines()), Model.parse("m1", trained.text, trained.manifest)
        )
        self.clicked: dict[str, str] = {}

    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Callable[[Any, Any], None]) -> None:
        del topic, on_delivery
        event = msgspec.json.decode(value, type=RawEvent)
        if event.kind is Kind.CLICK and event.item:
            self.clicked[pseudonym(key.decode(), b"for-development-only", "k0")] = event.item

    def poll(self, timeout: float) -> int:
        return int(timeout)

    def flush(self, timeout: float) -> int:
        return int(timeout * 0)

    def read(self, user_id: str, *, default: Mapping[str, SlotCard]) -> Read:
        if user_id not in self.clicked:
            return Read(dict(default), "caller", "missing", None, None)
        item = self.clicked[user_id]
        signals = {name: np.array([TYPICAL.get(name, 0.0)]) for name in USER_FEATURES}
        ranked = rerank(Rerank(length=8, candidates=20), People(signals, [item], [[item]]), self.in_force)
        assert ranked is not None
        card = {"id": "d1.home_feed", "kind": "rerank", "items": ranked.items()[0]}
        return Read({**default, "home_feed": card}, "user", None, 0, 0)


# 200 events/s for four minutes; only the order of the feed differs between the groups.
def test_with_the_loop_closed_the_treated_pull_ahead_of_the_control_group(settings: Settings, trained: Trained) -> None:
    loop, clock = Shortcut(trained), itertools.count(0, 25)
    site = Website(
        settings,
        seed=1,
        rate=200.0,
        control_share=0.2,
        producer=loop,
        reader=loop,
        now=lambda: next(clock),
        sleep=lambda _: None,
    )
    site.run(240, threading.Event())
    score = site.score()
    assert 0.3 < score.personalised_share < 0.8
    assert score.p < 0.01
    assert score.treated.rate.value > 1.2 * score.control.rate.value


def test_an_empty_store_gets_catalogue_and_model_in_force_from_the_start_and_keeps_them(tmp_path: Path) -> None:
    own = with_store(tmp_path / "store")
    published = publish_demo(own, 1)
    assert [(release.version, release.effective_at) for release in published] == [("c1", 0), ("m1", 0)]
    store = Store(own.releases.store)
    catalogue = Catalogue.parse("c1", store.read(store.index("catalogue")[0]))
    assert len(catalogue.ids) == 200
    release = store.index("model")[0]
    Model.parse("m1", store.read(release).decode(), store.manifest(release))
    assert publish_demo(own, 2) == []


def test_the_verb_saves_a_model_and_publishes_it_a_lead_ahead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = with_store(tmp_path / "store")
    assert verb.main(own, ["--rows", "30000", "--out", str(tmp_path / "out"), "--publish"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("AUC 0.")
    assert re.search(r"^published m1, in force from 20..-..-..T..:..:..\+00:00 on$", said, re.MULTILINE)
    manifest = msgspec.json.decode((tmp_path / "out" / "manifest.json").read_bytes(), type=Manifest)
    text = (tmp_path / "out" / "model.txt").read_text()
    Model.parse("m1", text, manifest)
    (release,) = Store(own.releases.store).index("model")
    assert release.effective_at > 1_767_225_600_000
    assert "popularity alone 0." in release.reason


def test_a_store_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(Refusal, match=r"^releases\.store .*/store: "):
        publish_demo(with_store(tmp_path / "store"), 1)


def test_a_store_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "index.jsonl").write_text("{")
    with pytest.raises(Refusal, match=r"^catalogue: index\.jsonl line 1: Input data was truncated$"):
        publish_demo(with_store(tmp_path), 1)


def test_a_release_that_the_store_does_not_take_is_refused(tmp_path: Path) -> None:
    own = with_store(tmp_path / "store")
    Store(own.releases.store).publish("model", b"later", None, effective_at=4_102_444_800_000, reason="")
    with pytest.raises(Refusal, match=r"^model: the newest release m1 takes effect at 4102444800000, so this one"):
        verb.main(own, ["--rows", "30000", "--publish"])


def test_too_few_rows_are_refused(settings: Settings) -> None:
    with pytest.raises(Refusal, match="--rows must be at least 20000"):
        verb.main(settings, ["--rows", "100"])


def test_a_folder_that_cannot_be_written_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(Refusal, match="taken cannot be written"):
        verb.main(settings, ["--rows", "20000", "--out", str(tmp_path / "taken")])
