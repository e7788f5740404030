"""`python -m jobs segments`, but for the broker: groups are found, followed, shown and published under the same ids."""

from pathlib import Path

import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace
from numpy.random import default_rng

from jobs import segments
from jobs.segments import newest, segmented, table
from jobs.wiring import Refusal
from jobs.wiring.publishing import published
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.clusters import Clustering
from schemas.settings import Settings
from udfs.counting.sampling import Moments
from udfs.segments.clusters import Clusters

ROOT = Path(__file__).parents[2]
DAY_MS = 86_400_000
NOON = 1_767_268_800_000

#          depth  gap_s  scroll
SKIMMERS = (2.0, 5.0, 0.1)
READERS = (5.0, 60.0, 0.9)
GUESTS = (1.0, 9e4, 0.2)
BUYERS = (40.0, 20.0, 0.5)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    loaded = load(ROOT, "local", {}, []).settings
    conf = replace(
        loaded.clusters, features=["session_depth", "gap_s", "scroll"], k=3, layers=[2], min_rows=100, half_life=DAY_MS
    )
    return replace(loaded, clusters=conf, releases=replace(loaded.releases, store=str(tmp_path / "store")))


def crowd(*kinds: tuple[float, float, float], day: int = 0, each: int = 100, seed: int = 0) -> Moments:
    """So many moments of each kind of people, in the course of a day."""
    rng = default_rng([seed, day])
    rows = np.repeat(np.array(kinds), each, axis=0) * rng.lognormal(0.0, 0.1, (each * len(kinds), 3))
    at = NOON + day * DAY_MS + np.arange(len(rows)) * 1000
    return Moments(at, dict(zip(("session_depth", "gap_s", "scroll"), rows.T, strict=True)), float(len(rows)))


def first(settings: Settings) -> Clusters:
    moments = crowd(SKIMMERS, READERS, GUESTS)
    made = segmented(moments, settings.clusters, None, None, default_rng(1))
    return Clusters.parse("s1", json.encode(made))


def where(clusters: Clusters | Clustering, kind: tuple[float, float, float]) -> int:
    """Say which cluster a typical moment lies in."""
    known = clusters if isinstance(clusters, Clusters) else Clusters.parse("s9", json.encode(clusters))
    (found,) = known.assign(
        {name: np.array([value]) for name, value in zip(("session_depth", "gap_s", "scroll"), kind, strict=True)}
    )
    return int(found)


def test_kinds_of_people_become_clusters(settings: Settings) -> None:
    found = first(settings)
    assert {where(found, kind) for kind in (SKIMMERS, READERS, GUESTS)} == {1, 2, 3}
    assert (found.content.rows, found.content.since, found.content.until) == (300, NOON, NOON + 299_000)
    assert [cluster.mass for cluster in found.content.clusters] == pytest.approx([100.0] * 3, rel=0.01)
    assert found.content.next_id == 4


def test_the_same_moments_and_seed_give_the_same_payload(settings: Settings) -> None:
    assert json.encode(first(settings).content) == json.encode(first(settings).content)


def test_the_day_after_each_kind_has_the_id_it_had(settings: Settings) -> None:
    parent = first(settings)
    moved = [tuple(value * 1.2 for value in kind) for kind in (SKIMMERS, READERS, GUESTS)]
    found = segmented(crowd(*moved, day=1), settings.clusters, parent, parent, default_rng(2))  # type: ignore[arg-type]
    assert [where(found, kind) for kind in (SKIMMERS, READERS, GUESTS)] == [
        where(parent, kind) for kind in (SKIMMERS, READERS, GUESTS)
    ]
    assert (found.parent, found.features, found.next_id) == ("s1", parent.content.features, 4)
    # A day is a half-life: 50 of yesterday's hundred are left.
    assert [cluster.mass for cluster in found.clusters] == pytest.approx([150.0] * 3, rel=0.01)


def test_when_a_kind_is_replaced_by_another_that_one_gets_a_new_id(settings: Settings) -> None:
    parent = first(settings)
    for day in range(1, 12):
        moments = crowd(SKIMMERS, READERS, BUYERS, day=day)
        content = segmented(moments, settings.clusters, parent, parent, default_rng(day))
        parent = Clusters.parse(f"s{day + 1}", json.encode(content))
    was = first(settings)
    assert [where(parent, kind) for kind in (SKIMMERS, READERS)] == [where(was, kind) for kind in (SKIMMERS, READERS)]
    assert where(parent, BUYERS) == 4
    assert parent.content.next_id == 5


def test_an_operators_name_stays_with_the_cluster(settings: Settings) -> None:
    content = first(settings).content
    named = replace(content, clusters=[replace(each, name=f"people-{each.id}") for each in content.clusters])
    parent = Clusters.parse("s2", json.encode(named))
    found = segmented(crowd(SKIMMERS, READERS, GUESTS, day=1), settings.clusters, parent, parent, default_rng(2))
    assert [cluster.name for cluster in found.clusters] == ["people-1", "people-2", "people-3"]


def test_who_begins_anew_gets_new_scales_and_new_ids(settings: Settings) -> None:
    before = first(settings)
    found = segmented(crowd(READERS, GUESTS, BUYERS, day=1), settings.clusters, None, before, default_rng(2))
    assert [cluster.id for cluster in found.clusters] == [4, 5, 6]
    assert found.parent == ""
    assert found.features != before.content.features


def test_a_drawn_moment_stands_for_those_that_were_not(settings: Settings) -> None:
    moments = crowd(SKIMMERS, READERS, GUESTS)._replace(total=3000.0)
    found = segmented(moments, settings.clusters, None, None, default_rng(1))
    assert sum(cluster.mass for cluster in found.clusters) == pytest.approx(3000, rel=0.01)


def test_the_table_says_who_they_are(settings: Settings) -> None:
    moments = crowd(SKIMMERS, READERS, GUESTS)
    content = segmented(moments, settings.clusters, None, None, default_rng(1))
    lines = table(content, moments, None)
    assert lines[0].startswith("300 moments of about 300, 3 clusters, inertia 0.")
    assert lines[0].endswith(" per moment, begun anew")
    assert lines[1].split() == ["id", "name", "share", "moved", "layers", "most", "telling"]
    readers = next(line for line in lines[2:] if line.split()[0] == str(where(content, READERS)))
    assert readers.split()[1:4] == [f"k{where(content, READERS)}", "33.3%", "new"]
    assert "scroll 0.897 (+1.4), session_depth 4.99 (+1.3), gap_s 60.6 (-0.6)" in readers


def test_the_table_says_how_far_they_moved_who_is_gone_and_what_tells_nothing(settings: Settings) -> None:
    parent = first(settings)
    moments = crowd(SKIMMERS, READERS, BUYERS, day=30)
    moments.signals["scroll"][:] = 0.5
    content = segmented(moments, settings.clusters, parent, parent, default_rng(2))
    lines = table(content, moments, parent)
    assert f"goes on from s1 (there {parent.content.inertia:.3g})" in lines[0]
    assert lines[1] == "the same in all moments, so it tells nothing: scroll"
    ids = [line.split()[0] for line in lines[3:-1]]
    moved = dict(zip(ids, [line.split()[3] for line in lines[3:-1]], strict=True))
    assert moved[str(where(content, (40.0, 20.0, 0.5)))] == "new"
    assert lines[-1].startswith("gone: k")
    assert not {name.removeprefix("k") for name in lines[-1].removeprefix("gone: ").split(", ")} & set(ids)


def test_too_few_moments_are_refused_with_the_number_needed(settings: Settings) -> None:
    with pytest.raises(Refusal) as caught:
        segmented(crowd(SKIMMERS, each=99), settings.clusters, None, None, default_rng(1))
    assert str(caught.value) == (
        "segments: 99 moments, 100 are needed (clusters.min_rows); read further back with --since"
    )
    parent = first(settings)
    with pytest.raises(Refusal, match=r"; wait until there are more since s1$"):
        segmented(crowd(SKIMMERS, each=99), settings.clusters, parent, parent, default_rng(1))


def test_moments_that_are_too_much_alike_are_refused(settings: Settings) -> None:
    same = crowd(SKIMMERS)
    for values in same.signals.values():
        values[:] = 1.0
    with pytest.raises(Refusal, match=r"^segments: only 1 of 3 groups differ; ask for fewer with --k$"):
        segmented(same, settings.clusters, None, None, default_rng(1))


def test_when_all_ids_were_given_it_is_said_what_to_do(settings: Settings) -> None:
    parent = Clusters.parse("s7", json.encode(replace(first(settings).content, next_id=63)))
    with pytest.raises(Refusal, match=r"^segments: all 62 ids were given; --fresh begins anew$"):
        segmented(crowd(SKIMMERS, READERS, BUYERS, day=30), settings.clusters, parent, parent, default_rng(2))


def test_the_newest_release_that_holds_is_gone_on_from(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert newest(settings.releases) is None
    release = published(settings.releases, "segments", json.encode(first(settings).content), "first")
    assert (release.version, release.reason) == ("s1", "first")
    Store(settings.releases.store).publish("segments", b"{}", None, effective_at=4_102_444_800_000, reason="torn")
    found = newest(settings.releases)
    assert found is not None
    assert found.version == "s1"
    assert capsys.readouterr().out.startswith("passed over: segments s2: Object missing required field")


def test_what_does_not_hold_is_not_published(settings: Settings) -> None:
    with pytest.raises(Refusal, match=r"^segments new: Object missing required field `features`$"):
        published(settings.releases, "segments", b"{}", "")
    assert not Path(settings.releases.store).exists()


def test_a_store_that_cannot_be_read_is_refused(settings: Settings) -> None:
    Path(settings.releases.store).write_text("in the way")
    with pytest.raises(Refusal, match=r"^releases\.store .*/store: "):
        published(settings.releases, "segments", json.encode(first(settings).content), "")


def test_other_features_than_the_parents_are_refused(settings: Settings) -> None:
    published(settings.releases, "segments", json.encode(first(settings).content), "")
    other = replace(settings, clusters=replace(settings.clusters, features=["gap_s", "zscore"]))
    with pytest.raises(Refusal) as caught:
        segments.main(other, [])
    assert str(caught.value) == (
        "segments: clusters.features are no longer those of s1, session_depth, gap_s, scroll;"
        " --fresh begins anew, with new ids"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--k", "2"], "segments: --k must be from 3 to 62, where clusters.layers is [2]"),
        (["--k", "63"], "segments: --k must be from 3 to 62, where clusters.layers is [2]"),
        (["--seed", "-1"], "segments: --seed must be at least 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(settings: Settings, arguments: list[str], complaint: str) -> None:
    with pytest.raises(Refusal) as caught:
        segments.main(settings, arguments)
    assert str(caught.value) == complaint


def test_a_stretch_that_is_none_is_refused(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        segments.main(settings, ["--since", "yesterday"])
    assert 'expected a duration such as "250ms"' in capsys.readouterr().err
