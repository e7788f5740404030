"""Segments keep their ids from release to release, and what cannot be a release of them is refused in a line."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace
from numpy.random import default_rng
from scipy.cluster.hierarchy import fcluster, linkage

from schemas.clusters import MAX_CLUSTERS, Cluster, Clustering, Feature
from schemas.signals import REGISTRY
from udfs.releases import RefusedRelease
from udfs.segments.clusters import Clusters
from udfs.segments.kmeans import Fit
from udfs.segments.lineage import Counted, NoIdLeftError, begun, continued, layers, matched
from udfs.segments.scales import BOUNDED, measured, restored, scaled

COUNTED = Counted(rows=100, since=1_000, until=2_000, inertia=0.5)
PLAIN = [
    Feature(signal="session_depth", transform="none", unit=1.0, centre=0.0, scale=1.0),
    Feature(signal="scroll", transform="none", unit=1.0, centre=0.0, scale=1.0),
]
THREE = Clustering(
    features=PLAIN,
    cuts=[2],
    clusters=[
        Cluster(id=7, name="browsers", mass=5.0, centroid=[0.0, 9.0], layers=[4]),
        Cluster(id=2, name="k2", mass=1.0, centroid=[9.0, 0.0], layers=[2]),
        Cluster(id=4, name="k4", mass=8.0, centroid=[0.0, 0.0], layers=[4]),
    ],
    parent="s1",
    rows=100,
    since=1_000,
    until=2_000,
    inertia=0.5,
    next_id=9,
)


def release(content: Clustering, version: str = "s2") -> Clusters:
    return Clusters.parse(version, json.encode(content))


def fit(*centroids: Sequence[float], mass: Sequence[float] = ()) -> Fit:
    return Fit(np.array(centroids, dtype=np.float64), np.array(mass or [1.0] * len(centroids)))


def called(content: Clustering) -> list[tuple[int, str, list[float]]]:
    return [(cluster.id, cluster.name, cluster.centroid) for cluster in content.clusters]


def signals(*rows: tuple[float, float]) -> dict[str, Any]:
    depth, scroll = np.array(rows, dtype=np.float64).T
    return {"session_depth": depth, "scroll": scroll, "gap_s": np.full(len(rows), 1e6)}


class TestPlaces:
    """Which cluster a row lies in."""

    def test_a_row_belongs_to_the_nearest_cluster(self) -> None:
        found = release(THREE).assign(signals((1.0, 2.0), (8.0, 1.0), (-1.0, 7.0)))
        assert found.tolist() == [4, 2, 7]
        assert found.dtype == np.int64

    def test_between_two_clusters_the_smaller_id_has_it(self) -> None:
        assert release(THREE).assign(signals((4.5, 0.0), (0.0, 4.5), (4.5, 4.5))).tolist() == [2, 4, 2]

    def test_how_sure_that_is_goes_from_0_between_two_to_1_at_a_centroid(self) -> None:
        found = release(THREE).placed(signals((0.0, 0.0), (4.5, 0.0), (3.0, 0.0)))
        assert found.cluster.tolist() == [4, 2, 4]
        assert found.distance.tolist() == [0.0, 4.5, 3.0]
        assert found.confidence.tolist() == [1.0, 0.0, 0.5]

    def test_where_there_is_but_one_cluster_it_is_sure(self) -> None:
        lone = replace(THREE, cuts=[], clusters=[replace(THREE.clusters[1], layers=[])])
        assert release(lone).placed(signals((1.0, 2.0))).confidence.tolist() == [1.0]

    def test_where_two_clusters_lie_on_one_spot_nobody_is_sure(self) -> None:
        twins = replace(THREE, clusters=[replace(cluster, centroid=[0.0, 0.0]) for cluster in THREE.clusters])
        assert release(twins).placed(signals((0.0, 0.0))).confidence.tolist() == [0.0]

    def test_a_row_lies_where_it_does_whatever_else_is_in_its_bundle(self) -> None:
        rng = default_rng(1)
        features = [measured(name, rng.standard_t(2, 400), np.ones(400)) for name in ("gap_s", "velocity", "zscore")]
        centroids = rng.normal(size=(9, 3))
        found = release(begun(fit(*centroids.tolist()), features, [3], COUNTED, None))
        rows = {feature.signal: rng.standard_t(2, 501) for feature in features}
        together = found.placed(rows)
        alone = [found.placed({name: row[[place]] for name, row in rows.items()}) for place in range(501)]
        for column, parts in zip(together, zip(*alone, strict=True), strict=True):
            assert column.tobytes() == np.concatenate(parts).tobytes()

    def test_names_and_layers_are_those_of_the_release_and_a_strangers_name_is_its_id(self) -> None:
        found = release(THREE)
        assert [found.name_of(each) for each in (7, 4, 61)] == ["browsers", "k4", "k61"]
        assert [found.layers_of(each) for each in (7, 2, 61)] == [[4], [2], []]


class TestLineage:
    """Who keeps their id."""

    def test_the_first_ids_go_by_mass(self) -> None:
        found = begun(fit([0.0, 0.0], [9.0, 0.0], mass=[1.0, 5.0]), PLAIN, [], COUNTED, None)
        assert called(found) == [(1, "k1", [9.0, 0.0]), (2, "k2", [0.0, 0.0])]
        assert (found.parent, found.next_id, found.until) == ("", 3, 2_000)

    def test_a_cluster_keeps_its_id_and_name_when_it_drifts(self) -> None:
        drifted = fit([0.5, 0.5], [8.5, 0.5], [0.0, 8.0])
        found = continued(drifted, release(THREE), [2], COUNTED, within=1.5)
        assert called(found) == [(2, "k2", [8.5, 0.5]), (4, "k4", [0.5, 0.5]), (7, "browsers", [0.0, 8.0])]
        assert (found.parent, found.next_id, found.features) == ("s2", 9, PLAIN)

    def test_one_that_jumps_is_a_new_cluster(self) -> None:
        found = continued(fit([0.0, 0.0], [9.0, 9.0], [0.0, 9.0]), release(THREE), [2], COUNTED, within=1.5)
        assert [cluster.id for cluster in found.clusters] == [4, 7, 9]
        assert found.clusters[2].name == "k9"
        assert found.next_id == 10

    # s2: 2 4 7 -> s3: 4 7 without 2 -> s4: something where 2 was
    def test_an_id_that_vanished_is_never_given_again(self) -> None:
        third = continued(fit([0.0, 0.0], [0.0, 9.0]), release(THREE), [], COUNTED, within=1.5)
        assert [cluster.id for cluster in third.clusters] == [4, 7]
        back = fit([0.0, 0.0], [0.0, 9.0], [9.0, 0.0])
        fourth = continued(back, release(third, "s3"), [2], COUNTED, within=1.5)
        assert [cluster.id for cluster in fourth.clusters] == [4, 7, 9]

    def test_over_ten_releases_of_drift_every_id_stays(self) -> None:
        rng = default_rng(2)
        centroids = rng.normal(size=(6, 2)) * 20
        parent = release(begun(fit(*centroids.tolist()), PLAIN, [3, 2], COUNTED, None))
        first = parent.centroids
        for number in range(10):
            order = rng.permutation(6)
            moved = parent.centroids + rng.normal(size=(6, 2)) * 0.3
            parent = release(continued(fit(*moved[order].tolist()), parent, [3, 2], COUNTED, within=1.5), f"s{number}")
        assert parent.ids.tolist() == [1, 2, 3, 4, 5, 6]
        assert np.linalg.norm(parent.centroids - first, axis=1).max() < 5

    def test_the_pairs_are_the_best_together_not_one_by_one(self) -> None:
        # Nearest first would pair 1.0 with 1.3, and leave 0.5 with 2.0, too far away.
        assert matched(np.array([[1.0], [2.0]]), np.array([[0.5], [1.3]]), within=1.2).tolist() == [0, 1]

    def test_when_ids_run_out_that_is_said(self) -> None:
        full = replace(THREE, next_id=MAX_CLUSTERS + 1)
        with pytest.raises(NoIdLeftError, match=r"^all 62 ids were given$"):
            continued(fit([50.0, 50.0]), release(full), [], COUNTED, within=1.5)

    def test_who_begins_anew_goes_on_with_the_numbers_as_far_as_they_reach(self) -> None:
        two = fit([0.0, 0.0], [9.0, 0.0])
        assert [each.id for each in begun(two, PLAIN, [], COUNTED, release(THREE)).clusters] == [9, 10]
        last = release(replace(THREE, next_id=MAX_CLUSTERS - 1))
        assert [each.id for each in begun(two, PLAIN, [], COUNTED, last).clusters] == [61, 62]
        full = release(replace(THREE, next_id=MAX_CLUSTERS))
        assert [each.id for each in begun(two, PLAIN, [], COUNTED, full).clusters] == [1, 2]

    def test_what_is_written_can_be_read(self) -> None:
        rng = default_rng(3)
        made = begun(Fit(rng.normal(size=(12, 2)), rng.random(12) + 0.1), PLAIN, [5, 3, 2], COUNTED, None)
        assert release(made).content == made


class TestLayers:
    """How clusters are joined."""

    def test_equally_heavy_clusters_are_joined_as_ward_does(self) -> None:
        centroids = default_rng(4).normal(size=(20, 5))
        found = layers(centroids, np.ones(20), [9, 4, 2])
        tree = linkage(centroids, method="ward")
        for layer, cut in enumerate((9, 4, 2)):
            theirs = fcluster(tree, cut, criterion="maxclust")
            assert len(set(zip(found[:, layer].tolist(), theirs.tolist(), strict=True))) == cut
            assert len(set(found[:, layer].tolist())) == cut

    def test_a_light_cluster_is_joined_before_two_heavy_ones_that_are_nearer(self) -> None:
        #  100 .. 100 ... 1
        centroids = np.array([[0.0], [2.0], [5.0]])
        assert layers(centroids, np.array([100.0, 100.0, 1.0]), [2]).ravel().tolist() == [0, 1, 1]
        assert layers(centroids, np.ones(3), [2]).ravel().tolist() == [0, 0, 2]

    def test_a_group_goes_by_the_id_of_its_heaviest_member(self) -> None:
        one = begun(fit([0.0, 0.0], [1.0, 0.0], [9.0, 9.0], mass=[3.0, 4.0, 9.0]), PLAIN, [2], COUNTED, None)
        assert {cluster.id: cluster.layers for cluster in one.clusters} == {1: [1], 2: [2], 3: [2]}


class TestScales:
    """What makes signals comparable."""

    def test_somebody_away_for_a_month_does_not_outweigh_the_rest(self) -> None:
        gaps = np.append(default_rng(5).exponential(30.0, 999), 2.6e6)
        feature = measured("gap_s", gaps, np.ones(1000))
        assert feature.transform == "asinh"
        assert scaled(gaps, feature).max() < 16  # untamed 31.6
        assert abs(scaled(gaps, feature).mean()) < 1e-9
        assert scaled(gaps, feature).std() == pytest.approx(1.0)

    def test_what_has_two_sides_is_tamed_on_both(self) -> None:
        feature = Feature(signal="velocity", transform="asinh", unit=0.1, centre=0.0, scale=1.0)
        found = scaled(np.array([-100.0, -0.01, 0.0, 0.01, 100.0]), feature)
        assert found.tolist() == (-found[::-1]).tolist()
        assert found[3] == pytest.approx(0.1, rel=0.01)
        assert restored(float(found[4]), feature) == pytest.approx(100.0)

    def test_what_is_the_same_everywhere_keeps_a_scale_of_one(self) -> None:
        assert measured("scroll", np.zeros(5), np.ones(5)) == Feature("scroll", "none", 1.0, 0.0, 1.0)
        assert measured("gap_s", np.zeros(5), np.ones(5)) == Feature("gap_s", "asinh", 1.0, 0.0, 1.0)
        assert measured("gap_s", np.full(5, 3.0), np.ones(5)).scale == 1.0

    def test_rows_that_weigh_more_count_more(self) -> None:
        assert measured("scroll", np.array([0.0, 1.0]), np.array([1.0, 3.0])).centre == 0.75

    def test_every_bounded_unit_is_a_unit_of_the_registry(self) -> None:
        assert {entry.unit for entry in REGISTRY.values()} >= BOUNDED


def changed(**fields: Any) -> Clustering:
    return replace(THREE, **fields)


def with_cluster(place: int, **fields: Any) -> Clustering:
    clusters = list(THREE.clusters)
    clusters[place] = replace(clusters[place], **fields)
    return replace(THREE, clusters=clusters)


FOUR_LAYERED = changed(
    cuts=[3, 2],
    clusters=[
        Cluster(id=1, name="k1", mass=1.0, centroid=[0.0, 0.0], layers=[1, 1]),
        Cluster(id=2, name="k2", mass=1.0, centroid=[1.0, 0.0], layers=[1, 3]),
        Cluster(id=3, name="k3", mass=1.0, centroid=[5.0, 0.0], layers=[3, 3]),
        Cluster(id=4, name="k4", mass=1.0, centroid=[9.0, 0.0], layers=[4, 1]),
    ],
)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "Input data was truncated"),
        (b"\xff", "JSON is malformed: invalid character (byte 0)"),
        (json.encode(THREE).replace(b"9.0", b"1e999"), "Number out of range"),
        (json.encode(THREE).replace(b"9.0", b"NaN"), "JSON is malformed: invalid character (byte"),
        (changed(clusters=[]), "Expected `array` of length >= 1 - at `$.clusters`"),
        (changed(features=[]), "Expected `array` of length >= 1 - at `$.features`"),
        (
            changed(features=[replace(PLAIN[0], scale=0.0), PLAIN[1]]),
            "Expected `float` >= 1e-09 - at `$.features[0].scale`",
        ),
        (
            changed(features=[replace(PLAIN[0], unit=-1.0), PLAIN[1]]),
            "Expected `float` >= 1e-09 - at `$.features[0].unit`",
        ),
        (
            changed(features=[replace(PLAIN[0], transform="log"), PLAIN[1]]),
            "Invalid enum value 'log' - at `$.features[0].",
        ),
        (with_cluster(1, centroid=[1e9, 0.0]), "Expected `float` <= 1000000.0 - at `$.clusters[1].centroid[0]`"),
        (with_cluster(1, mass=0.0), "Expected `float` >= 1e-09 - at `$.clusters[1].mass`"),
        (with_cluster(1, id=0), "Expected `int` >= 1 - at `$.clusters[1].id`"),
        (with_cluster(1, id=63), "Expected `int` <= 62 - at `$.clusters[1].id`"),
        (with_cluster(1, name="Big Spenders"), "Expected `str` matching regex"),
        (
            changed(features=[replace(PLAIN[0], signal="sesion_depth"), PLAIN[1]]),
            'features[0]: there is no signal "sesion_depth"; did you mean session_depth?',
        ),
        (changed(features=[PLAIN[1], PLAIN[1]]), "features[1]: scroll stands at 0 already; leave one out"),
        (with_cluster(1, id=7), "clusters[1]: id 7 stands at 0 already; each has its own"),
        (changed(next_id=7), "clusters[0]: id 7 was never given; next_id, 7, must be greater"),
        (with_cluster(1, name="browsers"), 'clusters[1]: name "browsers" stands at 0 already; choose another'),
        (with_cluster(1, name="k3"), 'clusters[1]: "k3" is the name of another id than 2; choose another'),
        (with_cluster(1, centroid=[9.0]), "clusters[1]: centroid has 1 numbers for 2 features"),
        (with_cluster(1, layers=[]), "clusters[1]: layers has 0 groups for 1 cuts"),
        (changed(cuts=[3]), "cuts: must fall, from fewer than the 3 clusters to 1 or more, got [3]"),
        (changed(cuts=[0]), "cuts: must fall, from fewer than the 3 clusters to 1 or more, got [0]"),
        (with_cluster(0, layers=[7]), "layers[0]: 3 groups, where there are to be 2"),
        (with_cluster(2, layers=[5]), "layers[0]: 3 groups, where there are to be 2"),
        (
            changed(
                clusters=[
                    replace(THREE.clusters[0], layers=[5]),
                    THREE.clusters[1],
                    replace(THREE.clusters[2], layers=[5]),
                ]
            ),
            "layers[0]: cluster 7 lies in 5, which names no group",
        ),
        (FOUR_LAYERED, "layers[1]: cluster 2 lies apart from its group of the layer before"),
    ],
)
def test_what_cannot_be_is_refused_with_channel_place_and_remedy(content: Clustering | bytes, complaint: str) -> None:
    payload = content if isinstance(content, bytes) else json.encode(content)
    with pytest.raises(RefusedRelease) as caught:
        Clusters.parse("s3", payload)
    assert str(caught.value).startswith(f"segments s3: {complaint}")
    assert "\n" not in str(caught.value)
