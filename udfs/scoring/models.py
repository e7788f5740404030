"""What scores an item for a person: one model release, trusted only after it scored its golden rows as promised."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from lightgbm import Booster
from lightgbm.basic import LightGBMError

from schemas.releases import Golden, Manifest
from schemas.signals import FEATURES
from udfs.releases import RefusedRelease
from udfs.scoring import trees
from udfs.scoring.forest import Forest
from udfs.smooth import Column

_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, eq=False)
class Model:
    """One model release, ready to score.

    Attributes:
        version: The release, `m1`, `m2` ...
        forest: Its trees, for scores.
        booster: LightGBM's own reading of the same text, for what a score is made of.
    """

    version: str
    forest: Forest
    booster: Booster

    @classmethod
    def parse(cls, version: str, text: str, manifest: Manifest) -> Self:
        """Read a model and hold it against its manifest, and LightGBM's reading too.

        What our reading cannot see may still end the process inside LightGBM, so a text of unknown origin is tried in
        another process first.

        Args:
            version: The release.
            text: The model as LightGBM saves it.
            manifest: Its feature names and golden rows.

        Raises:
            RefusedRelease: The text is no model, sees other features than ours, or scores its golden rows otherwise,
                be it by what the scores are made of.
        """
        _check_features(version, "its manifest", manifest.features)
        read = trees.read(version, text, len(FEATURES))
        _check_features(version, "the model", read.features)
        model = cls(version, Forest.of(read), _load(version, text))
        for score in (model._predicted, model.forest.score, model._added_up):
            _check_golden(version, score, manifest.golden)
        return model

    def contributions(self, rows: Column) -> Column:
        """Say what raw scores are made of; a row's numbers do not depend on the rows beside it.

        Each feature's contribution is its Shapley value: what knowing it adds to the expected score, over all orders
        of getting to know them (TreeSHAP; Lundberg, Erion and Lee, arXiv 1802.03888, algorithm 2).

        Args:
            rows: (rows, features), finite.

        Returns:
            (rows, features + 1): of each feature, and last what the model says of nobody in particular. A row's sum is
            its raw score.
        """
        return np.asarray(self.booster.predict(rows, pred_contrib=True, num_threads=1))

    def _predicted(self, rows: Column) -> Column:
        return np.asarray(self.booster.predict(rows, num_threads=1))

    def _added_up(self, rows: Column) -> Column:
        return self.forest.scale(self.contributions(rows).sum(axis=1))


def golden(text: str, rows: Column) -> Manifest:
    """Write down what a model just trained says about some rows, for those who load it later.

    Args:
        text: The model as LightGBM saves it. It is trusted: this is for the place where it was trained.
        rows: (rows, len(FEATURES)), finite; take rows that pass many branches.
    """
    booster = _load("new", text)
    scores = booster.predict(rows, num_threads=1)
    return Manifest(features=booster.feature_name(), golden=Golden(rows=rows.tolist(), scores=scores.tolist()))


def _load(version: str, text: str) -> Any:
    try:
        return Booster(model_str=text)
    except (LightGBMError, ValueError) as error:
        raise RefusedRelease(f"model {version}: {' '.join(str(error).split())}") from None


def _check_features(version: str, whose: str, names: list[str]) -> None:
    for place in range(max(len(names), len(FEATURES))):
        theirs, ours = (seen[place] if place < len(seen) else "nothing" for seen in (names, FEATURES))
        if theirs != ours:
            raise RefusedRelease(
                f"model {version}: feature {place} of {whose} is {theirs}, ours is {ours}: train it on schemas.signals"
            )


def _check_golden(version: str, score: Callable[[Column], Column], expected: Golden) -> None:
    rows = np.array([row for row in expected.rows if len(row) == len(FEATURES)], dtype=np.float64)
    if not len(rows) == len(expected.rows) == len(expected.scores):
        raise RefusedRelease(f"model {version}: golden rows need {len(FEATURES)} numbers and a score each")
    if not len(rows):
        raise RefusedRelease(f"model {version}: its manifest holds no golden row")
    off = np.abs(score(rows) - expected.scores)
    if not (off <= _TOLERANCE).all():
        worst = int(np.argmax(off))
        raise RefusedRelease(
            f"model {version}: golden row {worst} scores {off[worst]:.3g} off its manifest, "
            f"at most {_TOLERANCE:.0e} is allowed"
        )
