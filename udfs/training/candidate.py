"""One round of learning: from lists that were shown to a model, and what the gates say of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import lightgbm
import numpy as np
from msgspec.structs import replace

from schemas.releases import Lineage, Manifest
from schemas.settings import Train
from schemas.signals import FEATURES
from udfs.scoring.models import golden
from udfs.smooth import Column
from udfs.training import weights
from udfs.training.examples import Examples, Parts, parted
from udfs.training.fitting import Rows, Told, fitted, labels, settings_of
from udfs.training.gates import Rival, Verdict, refused, verdicts
from udfs.training.quality import Bench, Judged

WITHOUT: Final = "without a model"

_GOLDEN_ROWS: Final = 32
_EXPLAINED: Final = 1_500


class TooLittleError(ValueError):
    """There is too little to learn from; the message says how much is needed."""


class Live(NamedTuple):
    """The model that decides today.

    Attributes:
        version: the release.
        score: (rows, features) -> (rows,).
        chances: whether its scores say how likely a reward is.
    """

    version: str
    score: Callable[[Column], Column]
    chances: bool


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model that was just trained.

    Attributes:
        text: as LightGBM saves it.
        manifest: what it promises, and where it comes from.
        parts: what it learned from and what it was judged by.
        looked_at: slot -> how likely each place was looked at, beside the first, in what it learned from.
        bench: what it was judged by.
        judged: how it did there.
        rivals: how the live model did there, and what there is without one.
        verdicts: what the gates say.
    """

    text: str
    manifest: Manifest
    parts: Parts
    looked_at: Mapping[str, Column]
    bench: Bench
    judged: Judged
    rivals: Sequence[Rival]
    verdicts: Sequence[Verdict]

    @property
    def refused(self) -> list[str]:
        """The reasons against it; none where it passes all gates."""
        return refused(self.verdicts)

    def importance(self) -> dict[str, float]:
        """Say by how much splits on each feature lowered the objective in all, as shares, the largest first."""
        gain = np.asarray(lightgbm.Booster(model_str=self.text).feature_importance("gain"), dtype=np.float64)
        shares = gain / max(float(gain.sum()), 1e-300)
        order = np.argsort(-shares, kind="stable").tolist()
        return {FEATURES[place]: float(shares[place]) for place in order}

    def explained(self) -> tuple[Column, Column]:
        """Give some of the rows it was judged by, and what each feature adds to their raw scores (TreeSHAP), (n, f)."""
        rows = self.bench.lists.features
        some = rows[np.linspace(0, len(rows) - 1, min(_EXPLAINED, len(rows))).astype(np.intp)]
        if not len(some):
            return some, some
        booster = lightgbm.Booster(model_str=self.text)
        return some, np.asarray(booster.predict(some, pred_contrib=True, num_threads=1))[:, :-1]


def learned(
    taught: Examples,
    conf: Train,
    live: Live | None,
    lineage: Callable[[Examples], Lineage],
    *,
    until: float = np.inf,
    told: Told = lambda _trees, _measure: None,
) -> Candidate:
    """Train a model on examples, and hold it against the live one on people and times that neither learned from.

    Args:
        taught: lists in the order of time.
        conf: how.
        live: the model in force; None where there is none that can still be asked.
        lineage: says of what was learned from what the caller knows of it.
        until: see `udfs.training.examples.parted`.
        told: see `udfs.training.fitting.fitted`.

    Raises:
        TooLittleError: there are too few rows, or nothing among them was rewarded.
    """
    parts = parted(taught, conf, until)
    _check(taught, parts, conf)
    chances = weights.looked_at(parts.learn)
    learn, watch = (_rows(part, chances, conf) for part in (parts.learn, parts.watch))
    text = fitted(learn, watch if len(watch.gains) else None, conf, told)
    bench = Bench(
        parts.judge,
        # By what the newest lists say of places: whatever was wrong with those learned from is not wrong here.
        weights.of_places(parts.judge, weights.looked_at(parts.newest), conf),
        labels(parts.judge.gains, "binary" if conf.objective == "lambdarank" else conf.objective).astype(np.float64),
        conf.among,
    )
    rows = parts.judge.features if len(parts.judge.gains) else parts.learn.features
    booster = lightgbm.Booster(model_str=text)
    scores = np.asarray(booster.predict(rows, num_threads=1), dtype=np.float64)
    judged = bench.judged(scores[: len(bench.wanted)], chances=conf.objective != "lambdarank")
    mean = float(labels(parts.learn.gains, conf.objective).mean())
    rivals = [*_of_live(bench, live), _of_nobody(bench, mean, chances=conf.objective != "lambdarank")]
    # From the lowest score to the highest, so that they pass many branches.
    chosen = np.argsort(scores, kind="stable")[np.linspace(0, len(scores) - 1, _GOLDEN_ROWS).astype(np.intp)]
    known = lineage(parts.learn)
    measures = _measures(bench, judged) | {
        f"parent_{name}": value for rival in rivals[:1] for name, value in _measures(bench, rival.judged).items()
    }
    kept = replace(known, parameters=settings_of(conf), parent=live.version if live else "", scores=measures)
    return Candidate(
        text=text,
        manifest=replace(golden(text, rows[chosen]), lineage=kept),
        parts=parts,
        looked_at=chances,
        bench=bench,
        judged=judged,
        rivals=rivals,
        verdicts=verdicts(bench, judged, rivals, conf.gates),
    )


def _check(taught: Examples, parts: Parts, conf: Train) -> None:
    if (count := len(taught.gains)) < conf.min_rows:
        raise TooLittleError(f"{count} items shown, {conf.min_rows} are needed (train.min_rows)")
    if not parts.learn.earned.any():
        raise TooLittleError(f"of {len(parts.learn.gains)} items to learn from none was rewarded")


def _rows(part: Examples, chances: Mapping[str, Column], conf: Train) -> Rows:
    counts = weights.of_places(part, chances, conf) * weights.of_draws(part, conf)
    return Rows(part.features, part.gains, counts, part.sizes)


def _of_live(bench: Bench, live: Live | None) -> list[Rival]:
    if live is None:
        return []
    features = bench.lists.features
    scores = live.score(features) if len(features) else np.empty(0)
    return [Rival(f"of {live.version}", bench.judged(scores, chances=live.chances))]


def _of_nobody(bench: Bench, mean: float, *, chances: bool) -> Rival:
    """Say how the prefilter's order does, and a chance that is the same for all."""
    popularity, quality = (bench.lists.features[:, FEATURES.index(name)] for name in ("popularity", "quality"))
    order = bench.judged(popularity * quality, chances=False)
    if not chances:
        return Rival(WITHOUT, order)
    same = bench.judged(np.full(len(bench.wanted), mean), chances=True)
    return Rival(WITHOUT, Judged(order.auc, order.ndcg, same.losses, same.calibration))


def _measures(bench: Bench, judged: Judged) -> dict[str, float]:
    found: dict[str, Any] = {"auc": judged.auc, f"ndcg_{bench.among}": bench.mean_ndcg(judged.ndcg).value}
    if judged.losses is not None and judged.calibration is not None:
        found |= {"log_loss": bench.mean_loss(judged.losses).value, "calibration": judged.calibration.error}
    return {name: round(float(value), 6) for name, value in found.items() if np.isfinite(value)}
