"""Releases: published once, tried by a child process first, followed by every worker at the same row."""

import logging
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import lightgbm
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from jobs import release
from jobs.wiring import Refusal
from jobs.wiring.model_trial import Trial
from jobs.wiring.publishing import now_ms
from jobs.wiring.releases import Follower, Loaded, Store, trial
from jobs.wiring.settings import load
from schemas.decisions import Versions
from schemas.heads import Head, Regressions
from schemas.releases import FILES, Golden, Manifest, Release
from schemas.settings import Settings
from schemas.signals import FEATURES, USER_FEATURES
from udfs.deciding.learned import known_since
from udfs.releases import RefusedRelease
from udfs.scoring.models import golden

ROOT = Path(__file__).parents[2]
SHELF = b'{"id":"a","interest":"sport","popularity":1,"quality":0.5}\n'
DEARER = SHELF.replace(b'"quality":0.5', b'"quality":0.75')
WIDER = DEARER + b'{"id":"b","interest":"art","popularity":1,"quality":1}\n'
NORMS = b'{"since":0,"until":9,"kinds":{"dwell":{"dwell_ms":{"n":2000,"q1":1000,"median":2000,"q3":3000}}}}'
SEGMENTS = (
    b'{"features":[{"signal":"session_depth","transform":"asinh","unit":2.0,"centre":1.0,"scale":0.5}],"cuts":[],'
    b'"clusters":[{"id":3,"name":"k3","mass":5.0,"centroid":[-1.0]},{"id":1,"name":"deep","mass":9.0,"centroid":[2.0]}],'
    b'"parent":"","rows":1000,"since":0,"until":9,"inertia":0.5,"next_id":4}'
)
HOUR_MS = 3_600_000
PATIENCE_MS = 60_000


class Trained(NamedTuple):
    """A model and what it promised."""

    payload: bytes
    manifest: Manifest


@pytest.fixture(scope="module")
def model() -> Trained:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(1000, len(FEATURES)))
    liked = rows[:, 0] + rng.normal(size=1000) > 0
    data = lightgbm.Dataset(rows, liked, feature_name=list(FEATURES))
    params = {"objective": "binary", "num_leaves": 7, "num_threads": 1, "verbosity": -1}
    text: str = lightgbm.train(params, data, 10).model_to_string()
    return Trained(text.encode(), golden(text, rng.normal(size=(20, len(FEATURES)))))


@pytest.fixture(scope="module")
def heads() -> bytes:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(1000, len(USER_FEATURES)))
    data = lightgbm.Dataset(rows, rows[:, 0] + rng.normal(size=1000), feature_name=list(USER_FEATURES))
    params = {"objective": "regression", "num_leaves": 7, "num_threads": 1, "verbosity": -1}
    text: str = lightgbm.train(params, data, 10).model_to_string()
    head = Head("read_s", text, golden(text, rng.normal(size=(20, len(USER_FEATURES)))).golden)
    return msgspec.json.encode(Regressions({"page": {"length": head}}))


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(ROOT, "local", {}, []).settings


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


class Clock:
    """A clock that stands until it is set."""

    now = 100 * HOUR_MS

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def follower(store: Store, clock: Clock) -> Iterator[Follower]:
    follower = Follower(store.uri, 1000, PATIENCE_MS, clock, logging.getLogger("followed"))
    yield follower
    follower.close()


def shelf(store: Store, effective_at: int, payload: bytes = SHELF) -> Release:
    return store.publish("catalogue", payload, None, effective_at=effective_at, reason="")


def names(groups: list[tuple[NDArray[np.intp], Loaded]]) -> dict[int, tuple[str | None, str | None]]:
    return {
        row: (
            in_force.catalogue.version if in_force.catalogue else None,
            in_force.model.version if in_force.model else None,
        )
        for rows, in_force in groups
        for row in rows.tolist()
    }


def decided_by(follower: Follower, *slice_ends: int) -> list[tuple[str | None, str | None]]:
    found = names(follower.at(np.array(slice_ends, dtype=np.int64)))
    return [found[row] for row in range(len(slice_ends))]


def test_what_was_published_is_read_back_with_its_lineage(store: Store, model: Trained) -> None:
    shelf(store, 1000)
    store.publish("catalogue", SHELF * 2, None, effective_at=1000, reason="second thoughts")
    first = store.publish("model", *model, effective_at=5, reason="trained")
    assert [(line.version, line.parent, line.reason) for line in store.index("catalogue")] == [
        ("c1", "", ""),
        ("c2", "c1", "second thoughts"),
    ]
    assert store.index("model") == [first]
    assert store.read(first) == model.payload
    assert store.manifest(first) == model.manifest


def test_a_store_lies_where_the_layout_says(store: Store, model: Trained) -> None:
    shelf(store, 1000)
    store.publish("model", *model, effective_at=5, reason="trained")
    root = Path(store.uri)
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == [
        "catalogue/c1/items.jsonl",
        "catalogue/index.jsonl",
        "model/index.jsonl",
        "model/m1/manifest.json",
        "model/m1/model.txt",
    ]


def test_a_store_is_found_by_its_address_too(tmp_path: Path) -> None:
    shelf(Store(f"file://{tmp_path}/store"), 1000)
    assert [line.version for line in Store(str(tmp_path / "store")).index("catalogue")] == ["c1"]


def test_an_address_of_nothing_is_refused() -> None:
    with pytest.raises(Refusal, match=r'^releases\.store: "gopher://store" is no path and no address of a store'):
        Store("gopher://store")


def test_a_release_cannot_take_effect_before_the_newest_one(store: Store) -> None:
    shelf(store, 1000)
    with pytest.raises(RefusedRelease, match=r"^catalogue: the newest release c1 takes effect at 1000, so"):
        shelf(store, 999)
    assert len(store.index("catalogue")) == 1


def test_a_payload_that_changed_after_it_was_published_is_refused(store: Store) -> None:
    published = shelf(store, 1000)
    (Path(store.uri) / "catalogue/c1/items.jsonl").write_bytes(SHELF + b"\n")
    with pytest.raises(RefusedRelease, match=r"^catalogue c1: items\.jsonl was changed after it was published"):
        store.read(published)


def test_a_folder_left_by_a_publisher_that_was_killed_is_never_written_to_again(store: Store) -> None:
    (Path(store.uri) / "catalogue/c4").mkdir(parents=True)
    assert shelf(store, 1000).version == "c5"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"version":"c2","sha2', "catalogue: index.jsonl line 2: Input data was truncated"),
        (b'{"version":"m2","sha256":"","effective_at":1000}', '"m2" is no version of the channel catalogue'),
        (b'{"version":"c2","sha256":"","effective_at":999}', "line 2 takes effect before the line above it"),
    ],
)
def test_an_index_that_was_edited_badly_is_refused(store: Store, line: bytes, complaint: str) -> None:
    shelf(store, 1000)
    with (Path(store.uri) / "catalogue/index.jsonl").open("ab") as index:
        index.write(line)
    with pytest.raises(RefusedRelease, match=re.escape(complaint)):
        store.index("catalogue")


def test_a_sound_model_passes_its_trial(model: Trained) -> None:
    trial("model", *model, PATIENCE_MS)


@pytest.mark.parametrize(
    ("found", "changed", "complaint"),
    [
        (rb".*", b"", 'the text is cut or not a model: no line "end of trees"'),
        (rb"Tree=5.*", b"", 'the text is cut or not a model: no line "end of trees"'),
        (rb".*", b"\xff\xfe", "byte 0 is not text"),
        (rb"left_child=\d+", b"left_child=0", "tree 0: its branches form no tree"),
        # What scores do not need is left to the library, which takes its process with it.
        (rb"split_gain=\d", rb"split_gain=x", "loading it kills the process (SIGABRT)"),
        (rb"leaf_value=(-?)0", rb"leaf_value=\g<1>7", "golden row "),
        (rb"pandas_categorical:null", b"pandas_categorical:nul", "Expecting value"),
        (rb"objective=binary", b"objective=binory", "Unknown objective type name: binory"),
    ],
)
def test_a_corrupt_model_fails_its_trial_and_we_live_to_say_why(
    model: Trained, found: bytes, changed: bytes, complaint: str
) -> None:
    torn, times = re.subn(found, changed, model.payload, count=1, flags=re.DOTALL)
    assert times == 1
    with pytest.raises(RefusedRelease, match=f"^model new: {re.escape(complaint)}[^\n]*$"):
        trial("model", torn, model.manifest, PATIENCE_MS)


def test_sound_heads_pass_their_trial(heads: bytes) -> None:
    trial("heads", heads, None, PATIENCE_MS)


@pytest.mark.parametrize(
    ("found", "changed", "complaint"),
    [
        (rb".*", b"\xff", "JSON is malformed: invalid character (byte 0)"),
        (rb"end of trees", b"", 'model page.length: the text is cut or not a model: no line "end of trees"'),
        (rb"leaf_value=(-?)[0-9]", rb"leaf_value=\g<1>7", "model page.length: golden row "),
        (rb"gap_s", b"gap_m", "model page.length: it asks other features than schemas.signals.USER_FEATURES, in order"),
        # We do not read what scores do not need; LightGBM does, in the child.
        (rb"split_gain=\d", rb"split_gain=x", "loading it kills the process (SIGABRT)"),
        (rb"objective=regression", b"objective=regresion", "model page.length: model new: Unknown objective type name"),
    ],
)
def test_corrupt_heads_fail_their_trial_and_we_live_to_say_why(
    heads: bytes, found: bytes, changed: bytes, complaint: str
) -> None:
    torn, times = re.subn(found, changed, heads, count=1, flags=re.DOTALL)
    assert times == 1
    with pytest.raises(RefusedRelease, match=f"^heads new: {re.escape(complaint)}[^\n]*$"):
        trial("heads", torn, None, PATIENCE_MS)


def test_a_model_without_a_manifest_is_refused(model: Trained) -> None:
    with pytest.raises(RefusedRelease, match=r"^model new: it has no manifest\.json"):
        trial("model", model.payload, None, PATIENCE_MS)


def test_a_model_that_takes_too_long_is_refused(model: Trained) -> None:
    with (
        Trial("m7", model.payload.decode(), model.manifest, timeout_ms=1) as child,
        pytest.raises(RefusedRelease, match=r"^model m7: it did not load within 1 ms$"),
    ):
        child.verdict()


def test_a_row_is_decided_by_the_newest_release_that_took_effect(
    store: Store, follower: Follower, clock: Clock, model: Trained
) -> None:
    now = clock.now
    #        now      +10        +20          +30
    # c      c1       c2         .            c3
    # m      .        .          m1           .
    shelf(store, now)
    shelf(store, now + 10)
    shelf(store, now + 30)
    store.publish("model", *model, effective_at=now + 20, reason="")
    follower.refresh()
    assert decided_by(follower, now + 29, now - 1, now, now + 9, now + 10, now + 20, now + 30) == [
        ("c2", "m1"),
        (None, None),
        ("c1", None),
        ("c1", None),
        ("c2", None),
        ("c2", "m1"),
        ("c3", "m1"),
    ]


def norms_of(store: Store) -> Follower:
    return Follower(store.uri, 1000, PATIENCE_MS, Clock(), logging.getLogger("followed"), channels=("norms",))


def test_who_follows_the_norms_alone_has_them_alone(store: Store, model: Trained) -> None:
    shelf(store, 0)
    store.publish("model", *model, effective_at=0, reason="")
    store.publish("norms", NORMS, None, effective_at=10, reason="")
    norms = norms_of(store)
    norms.refresh()
    ((before, nothing), (after, found)) = norms.at(np.array([12, 9, 10], dtype=np.int64))
    assert (before.tolist(), after.tolist()) == ([1], [0, 2])
    assert (nothing.catalogue, nothing.model, nothing.norms) == (None, None, None)
    assert (found.catalogue, found.model) == (None, None)
    assert found.norms is not None
    assert (found.norms.version, found.norms.dwell_ms["dwell"].q3) == ("n1", 3000.0)


def test_who_follows_catalogue_and_model_sees_no_norms(store: Store, follower: Follower) -> None:
    shelf(store, 0)
    store.publish("norms", NORMS, None, effective_at=10, reason="")
    follower.refresh()
    ((rows, found),) = follower.at(np.array([9, 11], dtype=np.int64))
    assert rows.tolist() == [0, 1]
    assert (found.catalogue is None, found.norms) == (False, None)


def test_who_follows_the_segments_has_them_from_their_time_on(store: Store) -> None:
    store.publish("norms", NORMS, None, effective_at=0, reason="")
    published = store.publish("segments", SEGMENTS, None, effective_at=10, reason="")
    assert (published.version, store.read(published)) == ("s1", SEGMENTS)
    follower = Follower(store.uri, 1000, PATIENCE_MS, Clock(), logging.getLogger("followed"), channels=("segments",))
    follower.refresh()
    before, after = follower.each(np.array([9, 10], dtype=np.int64))
    assert (before.clusters, before.norms, after.norms) == (None, None, None)
    assert after.clusters is not None
    assert after.versions() == Versions(segments="s1")
    assert after.clusters.assign({"session_depth": np.array([1, 30])}).tolist() == [3, 1]
    assert [after.clusters.name_of(each) for each in (3, 1)] == ["k3", "deep"]


def test_refused_segments_are_said_and_the_last_good_ones_stay(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.publish("segments", SEGMENTS, None, effective_at=0, reason="")
    store.publish("segments", SEGMENTS.replace(b"session_depth", b"depth"), None, effective_at=10, reason="")
    follower = Follower(store.uri, 1000, PATIENCE_MS, Clock(), logging.getLogger("followed"), channels=("segments",))
    follower.refresh()
    found = follower.each(np.array([5, 15], dtype=np.int64))
    assert [row.clusters and row.clusters.version for row in found] == ["s1", "s1"]
    (said,) = caplog.messages
    assert said.startswith(
        'release s2 is refused, the last good one stays: segments s2: features[0]: there is no signal "depth"; '
    )


def test_refused_heads_are_said_and_the_last_good_ones_stay(
    store: Store, heads: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    torn = re.sub(rb"leaf_value=(-?)[0-9]", rb"leaf_value=\g<1>7", heads, count=1)
    store.publish("heads", heads, None, effective_at=0, reason="")
    store.publish("heads", torn, None, effective_at=10, reason="")
    follower = Follower(store.uri, 1000, PATIENCE_MS, Clock(), logging.getLogger("followed"), channels=("heads",))
    follower.refresh()
    found = follower.each(np.array([5, 15], dtype=np.int64))
    assert [row.versions() for row in found] == [Versions(heads="h1")] * 2
    (said,) = caplog.messages
    assert said.startswith("release h2 is refused, the last good one stays: heads h2: model page.length: golden row ")


def test_every_channel_may_be_followed_at_once_and_rows_are_told_apart_by_all_of_them(
    store: Store, clock: Clock, model: Trained
) -> None:
    #  at    0    10    20    30
    #        c1         c2
    #        m1   .
    #             n1          n2
    shelf(store, clock.now)
    shelf(store, clock.now + 20)
    store.publish("model", *model, effective_at=clock.now, reason="")
    for moment in (10, 30):
        store.publish("norms", NORMS, None, effective_at=clock.now + moment, reason="")
    log = logging.getLogger("followed")
    everything = Follower(store.uri, 1000, PATIENCE_MS, clock, log, channels=("norms", "model", "catalogue"))
    everything.refresh()
    found = everything.each(clock.now + np.array([31, 5, 25, 15], dtype=np.int64))
    everything.close()
    assert [
        (row.catalogue and row.catalogue.version, row.model and row.model.version, row.norms and row.norms.version)
        for row in found
    ] == [("c2", "m1", "n2"), ("c1", "m1", None), ("c2", "m1", "n1"), ("c1", "m1", "n1")]


@pytest.mark.parametrize(
    ("relearn", "heard"),
    [(0, ["p1", "p1", "p1", "p2"]), (10_000, ["p1", "p1", "p2", "p2"])],
    ids=["never", "every ten seconds"],
)
def test_a_session_draws_by_what_was_known_when_it_began_or_looked_again(
    store: Store, clock: Clock, relearn: int, heard: list[str]
) -> None:
    began = clock.now
    for at in (began - 1, began + 5_000):
        store.publish("policy", b'{"slots":{}}', None, effective_at=at, reason="")
    follower = Follower(store.uri, 1000, PATIENCE_MS, clock, logging.getLogger("followed"), channels=("policy",))
    follower.refresh()
    sessions = began + np.array([0, 0, 0, 6_000], dtype=np.int64)
    ends = began + np.array([1_000, 10_000, 11_000, 7_000], dtype=np.int64)
    found = follower.learnt(known_since(sessions, ends, relearn))
    follower.close()
    assert [each and each.version for each in found] == heard


def test_row_by_row_no_rows_are_none(follower: Follower) -> None:
    follower.refresh()
    assert follower.each(np.empty(0, dtype=np.int64)) == []
    assert len(follower.each(np.array([1, 2], dtype=np.int64))) == 2


def test_refused_norms_are_said_and_the_last_good_ones_stay(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.publish("norms", NORMS, None, effective_at=0, reason="")
    store.publish("norms", NORMS.replace(b"1000", b"9000"), None, effective_at=10, reason="")
    norms = norms_of(store)
    norms.refresh()
    assert [row.norms and row.norms.version for row in norms.each(np.array([5, 15], dtype=np.int64))] == ["n1", "n1"]
    (said,) = caplog.messages
    assert said.startswith("release n2 is refused, the last good one stays: norms n2: dwell.dwell_ms: quartiles must")


def test_a_bundle_within_one_release_is_one_group(store: Store, follower: Follower) -> None:
    shelf(store, 0)
    follower.refresh()
    groups = follower.at(np.array([5, 3, 4], dtype=np.int64))
    assert [rows.tolist() for rows, _ in groups] == [[0, 1, 2]]


def test_without_a_store_nothing_is_in_force_and_nothing_is_said(
    follower: Follower, caplog: pytest.LogCaptureFixture
) -> None:
    follower.refresh()
    assert decided_by(follower, 5) == [(None, None)]
    assert caplog.messages == []


def test_the_store_is_looked_at_once_in_a_poll(store: Store, follower: Follower, clock: Clock) -> None:
    follower.refresh()
    shelf(store, 0)
    clock.now += 999
    follower.refresh()
    assert decided_by(follower, 5) == [(None, None)]
    clock.now += 1
    follower.refresh()
    assert decided_by(follower, 5) == [("c1", None)]


def test_a_refused_release_is_said_once_and_the_last_good_one_stays(
    store: Store, follower: Follower, clock: Clock, model: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    scores = [9.0, *model.manifest.golden.scores[1:]]
    wrong = Manifest(model.manifest.features, Golden(model.manifest.golden.rows, scores))
    shelf(store, 0)
    shelf(store, 10, b"{}")
    store.publish("model", *model, effective_at=0, reason="")
    store.publish("model", model.payload, wrong, effective_at=10, reason="")
    store.publish("model", model.payload[:5000], model.manifest, effective_at=20, reason="")
    for _ in range(3):
        follower.refresh()
        assert decided_by(follower, 5, 15, 25) == [("c1", "m1")] * 3
        clock.now += 1000
    assert sorted(re.sub(r"( scores|: no line) .*", "", message) for message in caplog.messages) == [
        "release c2 is refused, the last good one stays: catalogue c2: line 1: Object missing required field `id`",
        "release m2 is refused, the last good one stays: model m2: golden row 0",
        "release m3 is refused, the last good one stays: model m3: the text is cut or not a model",
    ]


def test_a_store_that_goes_away_is_said_once_and_the_last_good_release_stays(
    store: Store, follower: Follower, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    root = Path(store.uri)
    shelf(store, 0)

    def look_twice() -> None:
        for _ in range(2):
            clock.now += 1000
            follower.refresh()
            assert decided_by(follower, 5) == [("c1", None)]

    look_twice()
    shutil.move(root, root.with_name("moved"))
    look_twice()
    root.write_text("in the way")
    look_twice()
    root.unlink()
    shutil.move(root.with_name("moved"), root)
    look_twice()
    assert [message.partition(": the store can")[2].partition(":")[0] for message in caplog.messages] == [
        "not be followed, the last good release stays",
        " be followed again",
    ]


def test_a_payload_that_is_not_there_yet_is_said_once_and_taken_as_soon_as_it_is(
    store: Store, follower: Follower, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    shelf(store, 0)
    shelf(store, 10)
    late = Path(store.uri) / "catalogue/c2"
    late.rename(late.with_name("elsewhere"))
    for _ in range(3):
        follower.refresh()
        assert decided_by(follower, 15) == [("c1", None)]
        clock.now += 1000
    late.with_name("elsewhere").rename(late)
    follower.refresh()
    assert decided_by(follower, 15) == [("c2", None)]
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "release c2 cannot be read yet, the last good one stays"
    ]


def test_an_old_release_is_there_for_a_replay_and_goes_when_nobody_asks_any_more(
    store: Store, follower: Follower, clock: Clock
) -> None:
    for hours in (0, 10, 98, 101):
        shelf(store, hours * HOUR_MS)
    follower.refresh()
    # At hour 100, rows of the last hour and later need c3 and c4.
    assert sorted(follower._loaded) == ["c3", "c4"]
    assert decided_by(follower, 5 * HOUR_MS, 50 * HOUR_MS) == [("c1", None), ("c2", None)]
    clock.now += HOUR_MS - 1
    follower.refresh()
    assert sorted(follower._loaded) == ["c1", "c2", "c3", "c4"]
    clock.now += 2 * HOUR_MS
    follower.refresh()
    assert sorted(follower._loaded) == ["c4"]


def test_a_model_loads_beside_the_work_while_it_is_not_in_force(
    store: Store, follower: Follower, clock: Clock, model: Trained
) -> None:
    store.publish("model", *model, effective_at=clock.now + 5000, reason="")
    follower.refresh()
    assert decided_by(follower, clock.now) == [(None, None)]
    assert (list(follower._on_trial), list(follower._loaded)) == (["m1"], [])
    follower._on_trial["m1"].child._child.wait()
    clock.now += 1000
    follower.refresh()
    assert (list(follower._on_trial), list(follower._loaded)) == ([], ["m1"])


def test_a_follower_travels_to_a_worker_before_it_is_used(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(Path(store.uri).parent)
    packed = pickle.dumps(Follower("store", 1000, PATIENCE_MS, Clock(), logging.getLogger("followed")))
    monkeypatch.chdir(tmp_path.parent)
    shelf(store, 0)
    arrived: Follower = pickle.loads(packed)
    arrived.refresh()
    assert decided_by(arrived, 5) == [("c1", None)]


class TestVerb:
    """`python -m jobs release`."""

    @pytest.fixture
    def settings(self, settings: Settings, store: Store) -> Settings:
        releases = msgspec.structs.replace(settings.releases, store=store.uri)
        return msgspec.structs.replace(settings, releases=releases)

    @pytest.fixture
    def files(self, tmp_path: Path, model: Trained) -> Path:
        (tmp_path / "items.jsonl").write_bytes(SHELF)
        (tmp_path / "norms.json").write_bytes(NORMS)
        (tmp_path / "segments.json").write_bytes(SEGMENTS)
        (tmp_path / "model.txt").write_bytes(model.payload)
        (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(model.manifest))
        return tmp_path

    @pytest.fixture
    def said(self, capsys: pytest.CaptureFixture[str], settings: Settings) -> Callable[..., list[str]]:
        """What the verb prints."""

        def run(*arguments: str) -> list[str]:
            capsys.readouterr()
            assert release.main(settings, list(arguments)) == 0
            return capsys.readouterr().out.splitlines()

        return run

    def test_a_catalogue_and_a_model_are_published_and_listed(
        self, said: Callable[..., list[str]], files: Path, store: Store
    ) -> None:
        shop = ["publish", "catalogue", str(files / "items.jsonl")]
        said(*shop, "--effective-at", "start", "--reason", "first shelf")
        said(*shop, "--effective-at", "4102444800000")
        said("publish", "model", str(files / "model.txt"))
        sha = store.index("catalogue")[0].sha256[:12]
        shelves = [
            f"* c1     the first     the start  {sha}  first shelf",
            f"  c2     follows c1    2100-01-01T00:00:00+00:00 (4102444800000)  {sha}",
        ]
        assert said("list", "--channel", "catalogue") == shelves
        assert said("list")[:2] == shelves
        assert said("list")[2].startswith("  m1     the first     20")

    @pytest.mark.parametrize("channel", ["norms", "segments"])
    def test_what_is_one_json_is_published_and_listed(
        self, said: Callable[..., list[str]], files: Path, store: Store, channel: Literal["norms", "segments"]
    ) -> None:
        usual = ["publish", channel, str(files / FILES[channel]), "--reason", "of last week"]
        assert said(*usual, "--effective-at", "1000") == [
            f"{channel} {channel[0]}1 counts from 1970-01-01T00:00:01+00:00 (1000) on"
        ]
        sha = store.index(channel)[0].sha256[:12]
        assert said("list") == [
            f"* {channel[0]}1     the first     1970-01-01T00:00:01+00:00 (1000)  {sha}  of last week"
        ]

    def test_the_manifest_may_lie_elsewhere(
        self, said: Callable[..., list[str]], files: Path, store: Store, model: Trained
    ) -> None:
        (files / "manifest.json").rename(files / "promised.json")
        said("publish", "model", str(files / "model.txt"), "--manifest", str(files / "promised.json"))
        assert store.manifest(store.index("model")[0]) == model.manifest

    @pytest.mark.parametrize(("when", "ahead"), [(["--effective-at", "now"], 0), ([], 1)])
    def test_a_release_counts_from_now_or_a_lead_ahead(
        self, settings: Settings, files: Path, store: Store, when: list[str], ahead: int
    ) -> None:
        before = now_ms()
        assert release.main(settings, ["publish", "catalogue", str(files / "items.jsonl"), *when]) == 0
        since = store.index("catalogue")[0].effective_at - ahead * settings.releases.lead
        assert before <= since <= now_ms()

    def test_an_empty_store_is_listed_as_such(self, said: Callable[..., list[str]]) -> None:
        assert said("list") == ["nothing was published yet"]
        assert said("list", "--channel", "model") == ["nothing was published yet"]

    @pytest.mark.parametrize(
        ("spoilt", "complaint"),
        [
            ("items.jsonl", "catalogue new: line 1: "),
            ("norms.json", "norms new: JSON is malformed"),
            ("segments.json", "segments new: JSON is malformed"),
            ("model.txt", "model new: "),
            ("manifest.json", "model new: manifest.json: JSON is malformed"),
        ],
    )
    def test_what_does_not_hold_is_refused_in_one_line_and_not_published(
        self, settings: Settings, files: Path, spoilt: str, complaint: str
    ) -> None:
        (files / spoilt).write_bytes(b"spoilt")
        payload = "model.txt" if spoilt == "manifest.json" else spoilt
        channel = {file: channel for channel, file in FILES.items()}[payload]
        with pytest.raises(Refusal, match=f"^{re.escape(complaint)}[^\n]*$"):
            release.main(settings, ["publish", channel, str(files / payload)])
        assert not Path(settings.releases.store).exists()

    @pytest.mark.parametrize("missing", ["items.jsonl", "manifest.json"])
    def test_a_file_that_is_not_there_is_refused(self, settings: Settings, files: Path, missing: str) -> None:
        (files / missing).unlink()
        channel, payload = ("model", "model.txt") if missing == "manifest.json" else ("catalogue", missing)
        with pytest.raises(
            Refusal, match=rf"^release: .*/{re.escape(missing)} cannot be read: No such file or directory$"
        ):
            release.main(settings, ["publish", channel, str(files / payload)])

    @pytest.mark.parametrize("what", ["list", "rollback", "diff"])
    def test_a_store_that_cannot_be_read_is_refused(self, settings: Settings, store: Store, what: str) -> None:
        (Path(store.uri) / "catalogue/index.jsonl").mkdir(parents=True)
        with pytest.raises(Refusal, match=rf"^releases\.store {re.escape(store.uri)}: [^\n]*index\.jsonl[^\n]*$"):
            release.main(settings, [what] if what == "list" else [what, "catalogue"])

    def test_a_store_that_cannot_be_written_is_refused(self, settings: Settings, store: Store, files: Path) -> None:
        Path(store.uri).write_text("in the way")
        with pytest.raises(Refusal, match=rf"^releases\.store {re.escape(store.uri)}: [^\n]*$"):
            release.main(settings, ["publish", "catalogue", str(files / "items.jsonl")])

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            ([], "the following arguments are required: list|publish|rollback|diff"),
            (["--list"], "the following arguments are required: list|publish|rollback|diff"),
            (["publish", "catalogue"], "the following arguments are required: FILE"),
            (["publish", "shelf", "items.jsonl"], "argument CHANNEL: invalid choice: 'shelf' (choose from 'anomalies'"),
            (["list", "--channel", "shelf"], "argument --channel: invalid choice: 'shelf'"),
            (
                ["rollback", "model", "--effective-at", "tomorrow"],
                'argument --effective-at: "tomorrow" is neither now, start, nor ms since 1970',
            ),
            # Beyond the year 9999 no moment can be written.
            (
                ["rollback", "model", "--effective-at", "253402300800000"],
                'argument --effective-at: "253402300800000" is neither now, start, nor ms since 1970',
            ),
        ],
    )
    def test_what_is_asked_wrongly_is_refused_with_the_usage(
        self, settings: Settings, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
    ) -> None:
        with pytest.raises(SystemExit) as stopped:
            release.main(settings, arguments)
        assert stopped.value.code == 2
        printed = capsys.readouterr().err
        assert printed.startswith("usage: python -m jobs release ")
        assert complaint in printed

    def test_the_last_moment_that_can_be_written_is_taken(self, said: Callable[..., list[str]], files: Path) -> None:
        shop = ["publish", "catalogue", str(files / "items.jsonl")]
        assert said(*shop, "--effective-at", "253402300799999") == [
            "catalogue c1 counts from 9999-12-31T23:59:59+00:00 (253402300799999) on"
        ]

    def test_going_back_publishes_what_the_release_before_held(
        self, said: Callable[..., list[str]], store: Store
    ) -> None:
        for number, payload in enumerate((SHELF, DEARER, WIDER)):
            shelf(store, number, payload)
        assert said("rollback", "catalogue", "--effective-at", "1000") == [
            "catalogue c4 counts from 1970-01-01T00:00:01+00:00 (1000) on, with what c2 holds"
        ]
        newest = store.index("catalogue")[-1]
        assert (newest.version, newest.parent, newest.reason) == ("c4", "c3", "rollback to c2")
        assert store.read(newest) == DEARER

    def test_going_further_back_and_saying_why(self, said: Callable[..., list[str]], store: Store) -> None:
        for number, payload in enumerate((SHELF, DEARER, WIDER)):
            shelf(store, number, payload)
        said("rollback", "catalogue", "--to", "c1", "--reason", "nobody clicks")
        newest = store.index("catalogue")[-1]
        assert (store.read(newest), newest.reason) == (SHELF, "rollback to c1: nobody clicks")
        # A lead from now, as every release.
        assert newest.effective_at > 1_767_225_600_000

    def test_a_model_comes_back_with_its_manifest(
        self, said: Callable[..., list[str]], store: Store, model: Trained
    ) -> None:
        store.publish("model", *model, effective_at=0, reason="")
        store.publish("model", b"another", model.manifest, effective_at=0, reason="")
        assert said("rollback", "model", "--effective-at", "start") == [
            "model m3 counts from the start on, with what m1 holds"
        ]
        newest = store.index("model")[-1]
        assert (store.read(newest), store.manifest(newest)) == (model.payload, model.manifest)

    def test_what_is_not_in_force_yet_is_taken_back_from_the_same_moment_on(
        self, settings: Settings, store: Store
    ) -> None:
        shelf(store, 0)
        shelf(store, 4_102_444_800_000, DEARER)
        with pytest.raises(Refusal, match=r"^catalogue: the newest release c2 takes effect at 4102444800000, so this"):
            release.main(settings, ["rollback", "catalogue"])
        assert release.main(settings, ["rollback", "catalogue", "--effective-at", "4102444800000"]) == 0
        assert [line.effective_at for line in store.index("catalogue")] == [0, 4_102_444_800_000, 4_102_444_800_000]
        assert store.read(store.index("catalogue")[-1]) == SHELF

    def test_there_is_nothing_to_go_back_to(self, settings: Settings, store: Store) -> None:
        with pytest.raises(Refusal, match=r"^catalogue: there is nothing to go back to: nothing was published yet$"):
            release.main(settings, ["rollback", "catalogue"])
        shelf(store, 0)
        with pytest.raises(Refusal, match=r"^catalogue: there is nothing to go back to: c1 is the only release$"):
            release.main(settings, ["rollback", "catalogue"])

    @pytest.mark.parametrize(
        "arguments",
        [["rollback", "catalogue", "--to", "c9"], ["diff", "catalogue", "c1", "c9"]],
        ids=lambda each: each[0],
    )
    def test_a_release_that_nobody_published_is_refused(
        self, settings: Settings, store: Store, arguments: list[str]
    ) -> None:
        shelf(store, 0)
        with pytest.raises(
            Refusal,
            match=r'^catalogue: there is no release "c9"; release list --channel catalogue shows those there are$',
        ):
            release.main(settings, arguments)

    @pytest.mark.parametrize("to", ["c1", "c3"])
    def test_what_the_newest_holds_already_is_not_published_again(
        self, settings: Settings, store: Store, to: str
    ) -> None:
        for number, payload in enumerate((SHELF, DEARER, SHELF)):
            shelf(store, number, payload)
        with pytest.raises(Refusal, match=rf"^catalogue: {to} holds what c3, the newest, holds: nothing would change$"):
            release.main(settings, ["rollback", "catalogue", "--to", to])
        assert len(store.index("catalogue")) == 3

    def test_what_was_damaged_is_not_gone_back_to(self, settings: Settings, store: Store) -> None:
        shelf(store, 0)
        shelf(store, 0, DEARER)
        (Path(store.uri) / "catalogue/c1/items.jsonl").write_bytes(WIDER)
        with pytest.raises(
            Refusal,
            match=r"^catalogue c1: items\.jsonl was changed after it was published \(sha256 .*\); "
            r"name another one with --to$",
        ):
            release.main(settings, ["rollback", "catalogue"])
        assert len(store.index("catalogue")) == 2

    def test_what_would_not_hold_today_is_not_gone_back_to(self, settings: Settings, store: Store) -> None:
        shelf(store, 0, b"{}")
        shelf(store, 0)
        with pytest.raises(Refusal, match=r"^catalogue new: line 1: Object missing required field `id`$"):
            release.main(settings, ["rollback", "catalogue"])
        assert len(store.index("catalogue")) == 2

    def test_the_newest_two_are_compared(self, said: Callable[..., list[str]], store: Store) -> None:
        for number, payload in enumerate((SHELF, DEARER, WIDER)):
            shelf(store, number, payload)
        assert said("diff", "catalogue") == [
            "catalogue: from c2 to c3",
            "1 added, 0 removed, 0 changed",
            'added b: interest "art", popularity 1, quality 1',
        ]
        assert said("diff", "catalogue", "c1", "c2") == [
            "catalogue: from c1 to c2",
            "0 added, 0 removed, 1 changed",
            "changed a: quality 0.5 -> 0.75",
        ]

    def test_what_is_one_json_is_compared_by_path(self, said: Callable[..., list[str]], store: Store) -> None:
        store.publish("segments", SEGMENTS, None, effective_at=0, reason="")
        store.publish("segments", SEGMENTS.replace(b'"k3"', b'"shy"'), None, effective_at=0, reason="")
        assert said("diff", "segments") == [
            "segments: from s1 to s2",
            "0 added, 0 removed, 1 changed",
            'changed clusters[id=3].name: "k3" -> "shy"',
        ]

    def test_models_are_compared_with_their_manifests(
        self, said: Callable[..., list[str]], store: Store, model: Trained
    ) -> None:
        store.publish("model", *model, effective_at=0, reason="")
        slower = model.payload.replace(b"[learning_rate: 0.1]", b"[learning_rate: 0.05]")
        store.publish("model", slower, model.manifest, effective_at=0, reason="")
        assert said("diff", "model") == [
            "model: from m1 to m2",
            "the scores of 20 golden rows move by at most 0, by 0 in the median",
            "0 added, 0 removed, 1 changed",
            'changed parameters.learning_rate: "0.1" -> "0.05"',
        ]

    def test_the_same_again_differs_in_nothing(self, said: Callable[..., list[str]], store: Store) -> None:
        shelf(store, 0)
        shelf(store, 0)
        assert said("diff", "catalogue") == ["catalogue: from c1 to c2", "nothing differs"]

    def test_there_is_nothing_to_compare_with(self, settings: Settings, store: Store) -> None:
        with pytest.raises(Refusal, match=r"^norms: there is nothing to compare: nothing was published yet$"):
            release.main(settings, ["diff", "norms"])
        store.publish("norms", NORMS, None, effective_at=0, reason="")
        with pytest.raises(Refusal, match=r"^norms: there is nothing to compare: n1 is the only release$"):
            release.main(settings, ["diff", "norms"])

    def test_one_release_alone_is_not_compared(self, settings: Settings) -> None:
        with pytest.raises(Refusal, match=r"^release: name two releases to compare, the older one first, or none"):
            release.main(settings, ["diff", "catalogue", "c1"])

    def test_what_was_damaged_is_not_compared(self, settings: Settings, store: Store) -> None:
        shelf(store, 0)
        shelf(store, 0, DEARER)
        (Path(store.uri) / "catalogue/c2/items.jsonl").write_bytes(WIDER)
        with pytest.raises(Refusal, match=r"^catalogue c2: items\.jsonl was changed after it was published"):
            release.main(settings, ["diff", "catalogue"])

    def test_a_model_whose_manifest_is_gone_is_not_compared(
        self, settings: Settings, store: Store, model: Trained
    ) -> None:
        for _ in range(2):
            store.publish("model", *model, effective_at=0, reason="")
        (Path(store.uri) / "model/m1/manifest.json").unlink()
        with pytest.raises(Refusal, match=r"^releases\.store .*m1/manifest\.json"):
            release.main(settings, ["diff", "model"])
