"""What several tests decide by: a shelf of two interests, a model that knows what it likes, two groups of people."""

from typing import Final

import lightgbm
import numpy as np

from schemas.clusters import Cluster, Clustering, Feature
from schemas.signals import FEATURES
from udfs.deciding.catalogue import Catalogue

GROUPS: Final = Clustering(
    features=[Feature(signal="session_depth", transform="none", unit=1.0, centre=0.0, scale=1.0)],
    cuts=[1],
    clusters=[
        Cluster(id=3, name="k3", mass=5.0, centroid=[1.0], layers=[3]),
        Cluster(id=8, name="k8", mass=1.0, centroid=[30.0], layers=[3]),
    ],
    parent="",
    rows=100,
    since=1_000,
    until=2_000,
    inertia=0.5,
    next_id=9,
)


def shelf(each: int) -> Catalogue:
    """Stock so many items of each interest, `sport0` and `travel0` the most popular."""
    lines = (
        b'{"id":"%s%d","interest":"%s","popularity":%.2f,"quality":0.5}' % (name, n, name, 0.9 - n / 20)
        for name in (b"sport", b"travel")
        for n in range(each)
    )
    return Catalogue.parse("c1", b"\n".join(lines))


def trained() -> str:
    """Teach a model, as LightGBM saves it."""
    rows = np.random.default_rng(7).normal(size=(2000, len(FEATURES)))
    rows[:, -2:] = rows[:, -2:] > 0
    liked = rows[:, -2] + 0.3 * rows[:, 0] + rows[:, 10] > 0.5
    data = lightgbm.Dataset(rows, liked, feature_name=list(FEATURES))
    text: str = lightgbm.train({"objective": "binary", "num_threads": 1, "verbosity": -1}, data, 20).model_to_string()
    return text
