"""Teaches a model which items a person clicks next, and shows that it beats showing everybody the popular ones."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import lightgbm
import msgspec
import numpy as np
from numpy.typing import NDArray

from jobs.local.lessons import Lessons, lessons
from jobs.local.world import CATALOGUE, Shelf, seeded
from jobs.wiring import Refusal
from jobs.wiring.publishing import published, refusals, shown
from jobs.wiring.store import MANIFEST, Store
from schemas.releases import FILES, Manifest, Release
from schemas.settings import Settings
from schemas.signals import FEATURES
from udfs.scoring.models import golden

ROWS: Final = 200_000
TREES: Final = 60
PARAMETERS: Final[dict[str, Any]] = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.08,
    "min_data_in_leaf": 200,
    "lambda_l2": 10.0,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 2,
    "verbosity": -1,
}
"""Small on purpose: scoring costs more than anything else in the job, and grows with the trees."""

_HELD_OUT: Final = (10, 3)  # of ten users, three
_LATER: Final = 0.6  # the model learns from the time before this share of the rows, and is judged by the time after
_GOLDEN_ROWS: Final = 32
_LEAST_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Trained:
    """A model as text, what it promises, and how it did on users and times it never saw."""

    text: str
    manifest: Manifest
    auc: float
    popularity_auc: float
    judged_rows: int


def train(settings: Settings, seed: int, rows: int) -> Trained:
    """Learn from so many rows of the pretend world; the same seed, rows and settings give the same text.

    Raises:
        Refusal: the slots are not those of the pretend world.
    """
    taught = lessons(settings, seed, rows)
    learn, judge = split(taught)
    text = fit(taught.features[learn], taught.clicked[learn])
    rows_judged, clicked = taught.features[judge], taught.clicked[judge]
    scores = np.asarray(lightgbm.Booster(model_str=text).predict(rows_judged, num_threads=1), dtype=np.float64)
    # From the lowest score to the highest, so that they pass many branches.
    chosen = np.argsort(scores, kind="stable")[np.linspace(0, len(scores) - 1, _GOLDEN_ROWS).astype(np.intp)]
    return Trained(
        text=text,
        manifest=golden(text, rows_judged[chosen]),
        auc=auc(scores, clicked),
        popularity_auc=auc(rows_judged[:, FEATURES.index("popularity")], clicked),
        judged_rows=len(scores),
    )


def split(taught: Lessons) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Part what is learned from what is judged: other users, and later; the rest is left out."""
    of, users = _HELD_OUT
    held_out = taught.user % of < users
    later = taught.at_ms >= np.quantile(taught.at_ms, _LATER)
    return ~held_out & ~later, held_out & later


def fit(features: NDArray[np.float64], clicked: NDArray[np.bool_]) -> str:
    """Fit the trees and give them as LightGBM saves them.

    Args:
        features: (rows, len(FEATURES)).
        clicked: (rows,).
    """
    data = lightgbm.Dataset(features, clicked.astype(np.float32), feature_name=list(FEATURES))
    text: str = lightgbm.train(PARAMETERS, data, num_boost_round=TREES).model_to_string()
    return text


def auc(scores: NDArray[np.float64], clicked: NDArray[np.bool_]) -> float:
    """Give the chance that a clicked row scores above one that was not clicked; ties count half.

    The Mann-Whitney statistic (Hanley and McNeil, Radiology 143, 1982).

    >>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True]))
    0.875
    """
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    middle_rank = count.cumsum() - (count - 1) / 2.0
    hits = int(clicked.sum())
    misses = len(clicked) - hits
    return float((middle_rank[place][clicked].sum() - hits * (hits + 1) / 2.0) / (hits * misses))


def publish_demo(settings: Settings, seed: int) -> list[Release]:
    """Give an empty store the pretend world's catalogue and a model, in force from the start of time.

    What a channel already holds stays as it is.

    Returns:
        What was published.

    Raises:
        Refusal: the slots are not those of the pretend world, or the store does not take the releases.
    """
    reason = f"the pretend world of seed {seed}"
    conf = settings.releases
    with refusals(conf):
        store = Store(conf.store)
        has_catalogue, has_model = bool(store.index("catalogue")), bool(store.index("model"))
    releases = []
    if not has_catalogue:
        payload = Shelf.stocked(seeded(seed, CATALOGUE)).catalogue_lines()
        releases.append(published(conf, "catalogue", payload, reason, at="start"))
    if not has_model:
        trained = train(settings, seed, ROWS)
        releases.append(published(conf, "model", trained.text.encode(), reason, manifest=trained.manifest, at="start"))
    return releases


def _save(folder: Path, trained: Trained) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILES["model"]).write_text(trained.text, encoding="utf-8")
        (folder / MANIFEST).write_bytes(msgspec.json.encode(trained.manifest))
    except OSError as error:
        raise Refusal(f"train: {folder} cannot be written: {error.strerror}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs train", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"items shown in the pretend world ({ROWS})")
    parser.add_argument("--seed", type=int, default=1, help="of the pretend world (1)")
    parser.add_argument("--publish", action="store_true", help="publish it, in force releases.lead from now")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"write {FILES['model']} and {MANIFEST} there")
    return parser


def main(settings: Settings, arguments: list[str]) -> int:
    """Train, say how well it did, and save or publish it.

    Raises:
        Refusal: an argument is out of range, the model is no better than popularity alone and was to be published,
            or the folder or the store does not take it.
    """
    asked = _parser().parse_args(arguments)
    if asked.rows < _LEAST_ROWS or asked.seed < 0:
        raise Refusal(f"train: --rows must be at least {_LEAST_ROWS}, --seed at least 0")
    trained = train(settings, asked.seed, asked.rows)
    found = f"AUC {trained.auc:.3f}, popularity alone {trained.popularity_auc:.3f}"
    print(f"{found} ({trained.judged_rows} later rows of users held out)")
    if asked.out:
        _save(asked.out, trained)
        print(f"saved in {asked.out}")
    if asked.publish:
        if trained.auc <= trained.popularity_auc:
            raise Refusal(f"train: not published, it is no better than popularity: {found}")
        payload, reason = trained.text.encode(), f"trained: {found}"
        release = published(settings.releases, "model", payload, reason, manifest=trained.manifest)
        print(f"published {release.version}, in force from {shown(release.effective_at)} on")
    return 0
