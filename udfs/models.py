"""What scores an item for a person: one model release, trusted only after it scored its golden rows as promised."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from lightgbm import Booster
from lightgbm.basic import LightGBMError
from numpy.typing import NDArray

from schemas.releases import Golden, Manifest
from schemas.signals import FEATURES
from udfs import trees
from udfs.releases import RefusedRelease

_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, eq=False)
class Model:
    """One model release, ready to score.

    Attributes:
        version: The release, `m1`, `m2` ...
        booster: The loaded LightGBM model.
    """

    version: str
    booster: Any

    @classmethod
    def parse(cls, version: str, text: str, manifest: Manifest) -> Self:
        """Load a model and hold it against its manifest.

        What the text check cannot see may still end the process inside LightGBM, so a text of unknown origin is tried
        in another process first.

        Args:
            version: The release.
            text: The model as LightGBM saves it.
            manifest: Its feature names and golden rows.

        Raises:
            RefusedRelease: The text is no model, sees other features than ours, or scores its golden rows otherwise.
        """
        _check_features(version, "its manifest", manifest.features)
        trees.check(version, text, len(FEATURES))
        model = cls(version, _load(version, text))
        _check_features(version, "the model", model.booster.feature_name())
        _check_golden(model, manifest.golden)
        return model

    def score(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score items; a row's score does not depend on the rows beside it.

        Args:
            features: (rows, len(FEATURES)), C order.

        Returns:
            (rows,) scores on the model's own scale.
        """
        scores: NDArray[np.float64] = self.booster.predict(features, num_threads=1)
        return scores


def golden(text: str, rows: NDArray[np.float64]) -> Manifest:
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


def _check_golden(model: Model, expected: Golden) -> None:
    rows = np.array([row for row in expected.rows if len(row) == len(FEATURES)], dtype=np.float64)
    if not len(rows) == len(expected.rows) == len(expected.scores):
        raise RefusedRelease(f"model {model.version}: golden rows need {len(FEATURES)} numbers and a score each")
    if not len(rows):
        raise RefusedRelease(f"model {model.version}: its manifest holds no golden row")
    off = np.abs(model.score(rows) - expected.scores)
    if not (off <= _TOLERANCE).all():
        worst = int(np.argmax(off))
        raise RefusedRelease(
            f"model {model.version}: golden row {worst} scores {off[worst]:.3g} off its manifest, "
            f"at most {_TOLERANCE:.0e} is allowed"
        )
