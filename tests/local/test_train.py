"""A model learns from what lists earned, is held against the live one, and can be trusted and repeated."""

import itertools
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace
from pyarrow import parquet

from jobs import train as verb
from jobs.local.lessons import outcomes
from jobs.local.website import Website
from jobs.local.world import VISITORS, World, seeded
from jobs.train import candidate, keep_training, pretended, publish_demo, train
from jobs.wiring import Refusal
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.durations import Millis
from schemas.events import Kind, RawEvent
from schemas.outcomes import Outcome
from schemas.reader import Read, SlotCard, pseudonym
from schemas.releases import Manifest
from schemas.settings import Settings
from schemas.signals import FEATURES, USER_FEATURES
from schemas.slots import Rerank
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.in_force import InForce
from udfs.deciding.rank import People, rerank
from udfs.scoring.models import Model
from udfs.training.candidate import Candidate

ROOT = Path(__file__).parents[2]
ROWS = 200_000
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
def trained(settings: Settings) -> Candidate:
    return train(settings, 1, ROWS)


def with_store(folder: Path) -> Settings:
    """A store of its own, and gates that are content with few lists: what is tested here is not how much is enough."""
    return load(ROOT, "local", {}, [f"releases.store={folder}", "train.gates.lists=50", "train.min_rows=5000"]).settings


def with_live(folder: Path) -> Settings:
    """The same with the pretend world's catalogue and a model in force."""
    own, model = with_store(folder), train(with_store(folder), 1, 60_000)
    shelf, store = World.of(1, 1, VISITORS).shelf, Store(own.releases.store)
    store.publish("catalogue", shelf.catalogue_lines(), None, effective_at=0, reason="")
    store.publish("model", model.text.encode(), model.manifest, effective_at=0, reason="")
    return own


def lineage(model: Candidate) -> Any:
    assert model.manifest.lineage is not None
    return model.manifest.lineage


def test_on_unseen_users_and_later_times_it_beats_what_there_is_without_a_model(trained: Candidate) -> None:
    assert trained.refused == []
    assert [(each.gate, each.passed) for each in trained.verdicts] == [
        ("enough", True),
        ("order", True),
        ("log loss", True),
        ("calibration", True),
    ]
    scores = lineage(trained).scores
    assert scores["auc"] > 0.66
    assert scores["parent_auc"] < 0.60
    assert scores["ndcg_10"] > scores["parent_ndcg_10"] + 0.05


def test_it_says_what_it_learned_from_and_how(trained: Candidate, settings: Settings) -> None:
    told, learn = lineage(trained), trained.parts.learn
    assert (told.outcomes, told.rows) == (len(learn.ids), len(learn.gains))
    assert (told.first, told.last) == (learn.due.min(), learn.due.max())
    assert told.last <= trained.parts.judge.at.min()
    assert told.code.startswith("trimtab 0.")
    assert "lightgbm 4." in told.code
    assert told.parameters["leaves"] == settings.train.leaves
    assert (told.parent, told.left_out) == ("", {})


def test_the_same_outcomes_give_the_same_bytes_in_whatever_order_they_came(settings: Settings) -> None:
    one, other = pretended(settings, 3, 20_000), pretended(settings, 3, 20_000)
    backwards = other._replace(lists=type(other.lists).joined([other.lists.taken(np.arange(2499, -1, -1))]))
    found = [candidate(settings, source, None) for source in (one, backwards)]
    assert found[0].text == found[1].text
    assert msgspec.json.encode(found[0].manifest) == msgspec.json.encode(found[1].manifest)


def test_it_stops_when_the_people_watched_gain_nothing_more(settings: Settings) -> None:
    many = replace(settings, train=replace(settings.train, trees=400, learning_rate=0.3, patience=5))
    assert candidate(many, pretended(many, 3, 40_000), None).text.count("Tree=") < 100


def test_the_model_keeps_what_its_manifest_promises(trained: Candidate) -> None:
    assert trained.manifest.features == list(FEATURES)
    assert len(trained.manifest.golden.rows) == 32
    assert len(set(trained.manifest.golden.scores)) > 16
    model = Model.parse("m1", trained.text, trained.manifest)
    assert len(model.forest.values) <= 60 * 15


# A page of popular items -> one click -> the next page: by the model, or popular again.
def test_after_one_click_the_models_page_is_clicked_far_more_often(trained: Candidate) -> None:
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

    def __init__(self, trained: Candidate) -> None:
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
def test_with_the_loop_closed_the_treated_pull_ahead_of_the_control_group(
    settings: Settings, trained: Candidate
) -> None:
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
    assert verb.main(own, ["--demo", "--rows", "60000", "--out", str(tmp_path / "out"), "--publish"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "7,500 lists of the pretend world of seed 1"
    assert said[1].startswith("10 trees, 0.")
    assert said[-5].startswith("passed  enough: judged by ")
    assert said[-1].startswith("published m1, in force from 20")
    manifest = msgspec.json.decode((tmp_path / "out" / "manifest.json").read_bytes(), type=Manifest)
    text = (tmp_path / "out" / "model.txt").read_text()
    Model.parse("m1", text, manifest)
    store = Store(own.releases.store)
    (release,) = store.index("model")
    assert release.effective_at > 1_767_225_600_000
    assert ": NDCG@10 0." in release.reason
    assert store.manifest(release) == manifest

    # The same again is nothing new, and the report stands by itself.
    assert verb.main(own, ["--demo", "--rows", "60000", "--publish", "--report", str(tmp_path / "one.html")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "not published: m1 is the same"
    assert any(line.startswith("passed  order: NDCG@10 0.") and ", of m1 0." in line for line in said)
    page = (tmp_path / "one.html").read_text()
    assert not any(word in page for word in ("<script", "http://", "https://", "url(", "@import", "src="))
    assert all(title in page for title in ("passes the gates", "Calibration", "Importance", "By segment", "m1"))


def test_a_worse_model_is_refused_and_the_reasons_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = with_live(tmp_path / "store")
    source = tmp_path / "outcomes.jsonl"
    source.write_bytes(b"\n".join(blind(own, 300_000)))
    with pytest.raises(Refusal, match=r"^train: not published, .*, of m1 0\..*: worse by 0\..* may be chance"):
        verb.main(own, ["--input", str(source), "--publish"])
    assert "REFUSED log loss: " in capsys.readouterr().out
    assert len(Store(own.releases.store).index("model")) == 1


def blind(settings: Settings, rows: int) -> list[bytes]:
    """Outcomes whose rewards went to the next item of the list, but for the newest."""
    told = list(outcomes(settings, 2, rows))
    from_ = np.quantile([each.at for each in told], 0.7)

    def moved(each: Outcome) -> Outcome:
        items = each.card.items or []
        return replace(each, gains={items[(items.index(item) + 3) % 8]: gain for item, gain in each.gains.items()})

    return [msgspec.json.encode(moved(each) if each.at < from_ else each) for each in told]


def test_outcomes_are_read_from_parquet_and_from_lines_alike(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = with_store(tmp_path / "store")
    Store(own.releases.store).publish(
        "catalogue", World.of(1, 1, VISITORS).shelf.catalogue_lines(), None, effective_at=0, reason=""
    )
    told = [msgspec.json.encode(each) for each in outcomes(settings, 1, 30_000)]
    lines, table = tmp_path / "o.jsonl", tmp_path / "o.parquet"
    lines.write_bytes(b"\n".join([*told, b"{", json.dumps({"id": "x"}).encode()]))
    parquet.write_table(pa.table({"record": [each.decode() for each in told], "more": [1] * len(told)}), table)
    for path in (lines, table):
        assert verb.main(own, ["--input", str(path), "--out", str(tmp_path / path.suffix)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("3,752 outcomes, 2 not readable left out: 3,750 lists with 30,000 items, from o.jsonl")
    assert (tmp_path / ".jsonl/model.txt").read_bytes() == (tmp_path / ".parquet/model.txt").read_bytes()
    # Without the oldest tenth and the newest third.
    times = sorted(msgspec.json.decode(each, type=Outcome).at for each in told)
    since, until = (times[-1] - times[int(share * len(times))] for share in (0.1, 0.67))
    assert (
        verb.main(
            own, ["--input", str(lines), "--since", f"{since}ms", "--until", f"{until}ms", "--out", str(tmp_path)]
        )
        == 0
    )
    manifest = msgspec.json.decode((tmp_path / "manifest.json").read_bytes(), type=Manifest)
    assert manifest.lineage is not None
    assert manifest.lineage.first - settings.learn.window >= times[-1] - since
    assert manifest.lineage.last - settings.learn.window < times[-1] - until
    assert manifest.lineage.left_out == {"not readable": 2}


def test_a_file_that_cannot_be_read_or_has_no_records_is_refused(tmp_path: Path) -> None:
    own = with_store(tmp_path / "store")
    parquet.write_table(pa.table({"more": [1]}), tmp_path / "o.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    for name, complaint in (("none", "cannot be read"), ("o.parquet", "no column"), ("broken.parquet", "cannot be")):
        with pytest.raises(Refusal, match=f"{name}.* {complaint}"):
            verb.main(own, ["--input", str(tmp_path / name)])


def test_outcomes_of_a_catalogue_that_is_gone_are_too_few(settings: Settings, tmp_path: Path) -> None:
    lines = tmp_path / "o.jsonl"
    lines.write_bytes(b"\n".join(msgspec.json.encode(each) for each in outcomes(settings, 1, 20_000)))
    with pytest.raises(Refusal, match=r"^train: 0 items shown, 5000 are needed \(train.min_rows\); read further back"):
        verb.main(with_store(tmp_path / "store"), ["--input", str(lines)])


def test_again_and_again_it_trains_tells_what_fails_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = with_live(tmp_path / "store")
    own = replace(own, train=replace(own.train, every=Millis(1)))
    source, stop, rounds = tmp_path / "outcomes.jsonl", threading.Event(), itertools.count(1)
    asked = verb._parser().parse_args(["--schedule", "--input", str(source)])
    worse, honest = blind(own, 300_000), [msgspec.json.encode(each) for each in outcomes(own, 5, 300_000)]

    class Waits(threading.Event):
        """Between two rounds, the file changes: it is missing, teaches nonsense, teaches well, and then it is over."""

        def wait(self, timeout: float | None = None) -> bool:
            del timeout
            match next(rounds):
                case 1:
                    source.write_bytes(b"\n".join(worse))
                case 2:
                    source.write_bytes(b"\n".join(honest))
                case _:
                    self.set()
            return self.is_set()

    stop = Waits()
    keep_training(own, asked, stop)
    told = capsys.readouterr()
    complaints = told.err.splitlines()
    assert [each.split(" cannot")[0].split(", ")[0] for each in complaints] == [
        str(source),
        "train: not published",
    ]
    assert all(each.endswith("; next round in 0 s") for each in complaints)
    assert told.out.splitlines()[-1].startswith("published m2, in force from")


def test_it_ends_cleanly_when_it_is_asked_to(tmp_path: Path) -> None:
    environment = {"TRIMTAB__RELEASES__STORE": str(tmp_path / "store"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "jobs", "train", "--demo", "--rows", "400000", "--schedule"]
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline().startswith("50,000 lists of")
    child.send_signal(signal.SIGTERM)
    out, complaints = child.communicate(timeout=60)
    assert (child.returncode, complaints) == (0, "")
    assert out.splitlines()[-1] == "stopped in the middle of a round: nothing was published"


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
    model = train(own, 1, 60_000)
    store = Store(own.releases.store)
    store.publish("model", model.text.encode(), model.manifest, effective_at=4_102_444_800_000, reason="")
    with pytest.raises(Refusal, match=r"^model: the newest release m1 takes effect at 4102444800000, so this one"):
        verb.main(own, ["--demo", "--rows", "100000", "--publish"])


def test_arguments_out_of_range_are_refused(settings: Settings) -> None:
    with pytest.raises(Refusal, match="--rows must be at least 20000"):
        verb.main(settings, ["--demo", "--rows", "100"])
    never = replace(settings, train=replace(settings.train, every=Millis(0)))
    with pytest.raises(Refusal, match=r"train\.every must be longer than nothing"):
        verb.main(never, ["--demo", "--schedule"])


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(Refusal, match=r"taken/model\.txt cannot be written"):
        verb.main(with_store(tmp_path), ["--demo", "--rows", "20000", "--out", str(tmp_path / "taken")])
