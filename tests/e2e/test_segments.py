"""Groups are found in the topic of decisions as it lies on a broker, published, followed, and gone on from."""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace

from jobs import anomalies, segments
from jobs.local.stack import Stack
from jobs.wiring import Refusal, sampled, wire
from jobs.wiring.releases import Follower
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.clusters import Clustering
from schemas.decisions import Decision, Unfit, Versions
from schemas.settings import Settings
from schemas.signals import Signals

REPOSITORY = Path(__file__).resolve().parents[2]
HOUR_MS = 3_600_000
PARTITIONS = 3

#         depth gap_s
SKIMMER = (1, 9e4)
READER = (12, 30.0)
SHOPPER = (90, 4.0)
STRAY = (4000, 8.64e4)


@pytest.fixture
def settings(
    stack: Stack, own_topic: Callable[[str, int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A topic of its own for each test, and settings that are content with a few hundred people."""
    monkeypatch.setattr(sampled, "TOPIC", own_topic("decisions", PARTITIONS))
    loaded = load(REPOSITORY, "local", stack.environment(), []).settings
    clusters = replace(loaded.clusters, features=["session_depth", "gap_s"], k=3, layers=[2], min_rows=300)
    releases = replace(loaded.releases, store=str(tmp_path / "store"))
    return replace(loaded, clusters=clusters, releases=releases)


def write(settings: Settings, decisions: Iterable[Decision | bytes | None]) -> None:
    producer = wire.producer(settings.kafka.bootstrap)
    for number, decision in enumerate(decisions):
        body = json.encode(decision) if isinstance(decision, Decision) else decision
        at = decision.seq if isinstance(decision, Decision) else time.time_ns() // 1_000_000
        producer.produce(sampled.TOPIC, body, partition=number % PARTITIONS, timestamp=at)
    assert producer.flush(20) == 0


def decisions(kind: tuple[int, float], at: int, people: int = 100, unfit: tuple[Unfit, ...] = ()) -> Iterable[Decision]:
    """Two decisions of each person, a second apart."""
    depth, gap_s = kind
    for number in range(2 * people):
        signals = Signals(session_depth=depth + number % 2, gap_s=gap_s * (1 + 0.1 * (number % 5)))
        user, seq = f"k0:{depth}-{number // 2}", at + number % 2 * 1000
        yield Decision(user, 1, seq, seq, seq, {}, Versions(), signals, at, unfit=list(unfit))


def published(settings: Settings, number: int) -> Clustering:
    store = Store(settings.releases.store)
    return json.decode(store.read(store.index("segments")[number]), type=Clustering)


def test_the_groups_of_the_last_day_are_found_published_followed_and_gone_on_from(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS
    write(settings, decisions(SHOPPER, now - 30 * HOUR_MS))
    for kind in (SKIMMER, READER, SHOPPER):
        write(settings, decisions(kind, now - 3 * HOUR_MS))
    write(settings, decisions((500, 1.0), now - 3 * HOUR_MS, 20, (Unfit.ROBOT,)))
    write(settings, [None, b"{"])

    assert segments.main(settings, ["--publish"]) == 0

    first = published(settings, 0)
    assert (first.rows, first.parent, [each.id for each in first.clusters]) == (300, "", [1, 2, 3])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("641 decisions since ")
    assert printed[0].endswith("+00:00, 1 not readable left out, 40 of robots left out")
    assert printed[1].startswith("300 moments of about 300, 3 clusters, inertia ")
    assert [line.split()[1] for line in printed[3:6]] == ["k1", "k2", "k3"]
    assert printed[6].startswith("published s1, in force from ")

    (release,) = Store(settings.releases.store).index("segments")
    follower = Follower(settings.releases.store, 1000, 1000, lambda: now, logging.getLogger(), channels=("segments",))
    follower.refresh()
    before, after = follower.each(np.array([release.effective_at - 1, release.effective_at], dtype=np.int64))
    assert before.clusters is None
    assert after.clusters is not None
    three = {"session_depth": np.array([1, 12, 90]), "gap_s": np.array([9e4, 30.0, 4.0])}
    ids = after.clusters.assign(three).tolist()
    assert sorted(ids) == [1, 2, 3]

    # Three hours later nobody is counted twice, and everybody is known again.
    for kind in (SKIMMER, READER, SHOPPER):
        write(settings, decisions(kind, now))
    assert segments.main(settings, ["--publish"]) == 0
    second = published(settings, 1)
    assert (second.rows, second.parent, [each.id for each in second.clusters]) == (300, "s1", [1, 2, 3])
    faded = 0.5 ** (3 * HOUR_MS / settings.clusters.half_life)
    assert [each.mass for each in second.clusters] == pytest.approx([100 * faded + 100] * 3, rel=1e-3)
    follower = Follower(settings.releases.store, 1000, 1000, lambda: now, logging.getLogger(), channels=("segments",))
    follower.refresh()
    (latest,) = follower.each(np.array([now + 24 * HOUR_MS], dtype=np.int64))
    assert latest.clusters is not None
    assert latest.clusters.version == "s2"
    assert latest.clusters.assign(three).tolist() == ids


def test_too_few_moments_are_refused(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    write(settings, decisions(READER, time.time_ns() // 1_000_000 - HOUR_MS, 20))
    with pytest.raises(
        Refusal, match=r"^segments: (20|40) moments, 300 are needed \(clusters\.min_rows\); read further"
    ):
        segments.main(settings, ["--publish"])
    assert capsys.readouterr().out.startswith("40 decisions since ")
    assert not Path(settings.releases.store).exists()


def test_without_publish_nothing_is_published(settings: Settings) -> None:
    for kind in (SKIMMER, READER, SHOPPER):
        write(settings, decisions(kind, time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS))
    assert segments.main(settings, ["--since", "2h", "--fresh", "--seed", "4", "--k", "4"]) == 0
    assert not Path(settings.releases.store).exists()


def test_what_is_strange_is_learned_from_the_same_decisions_published_and_followed(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time_ns() // 1_000_000
    for kind in (SKIMMER, READER, SHOPPER):
        write(settings, decisions(kind, now - HOUR_MS, 200))
    write(settings, decisions(STRAY, now - HOUR_MS, 3))
    write(settings, [b"no json", *decisions(READER, now - HOUR_MS, 3, (Unfit.ROBOT,))])
    assert anomalies.main(settings, ["--publish"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1213 decisions since ")
    assert "1 not readable left out, 6 of robots left out" in said
    assert "published a1, in force from " in said
    (release,) = Store(settings.releases.store).index("anomalies")
    follower = Follower(settings.releases.store, 1000, 1000, lambda: now, logging.getLogger(), channels=("anomalies",))
    follower.refresh()
    (found,) = follower.each(np.array([release.effective_at], dtype=np.int64))
    assert found.anomalies is not None
    alike = {name: np.zeros(2) for name in found.anomalies.payload.features}
    two = alike | {"session_depth": np.array([READER[0], STRAY[0]]), "gap_s": np.array([READER[1], STRAY[1]])}
    reader, stray = found.anomalies.score(two).tolist()
    # Which moments are drawn depends on the day; over forty days the stray was stranger by 0.13 at least.
    assert reader < stray


def test_too_few_moments_tell_nothing_strange_and_a_seed_is_no_negative_number(settings: Settings) -> None:
    write(settings, decisions(READER, time.time_ns() // 1_000_000 - HOUR_MS, 20))
    with pytest.raises(Refusal, match=r"^anomalies: (20|40) moments, 512 are needed; read further back with --since"):
        anomalies.main(settings, [])
    with pytest.raises(Refusal, match="anomalies: --seed must be at least 0"):
        anomalies.main(settings, ["--seed", "-1"])
