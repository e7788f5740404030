"""What sets a parameter by the person: small regressions, one for each, trusted once they score as promised."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from msgspec import json
from numpy.typing import NDArray

from schemas.heads import Head, Regressions
from schemas.releases import Golden
from schemas.signals import USER_FEATURES
from udfs.releases import RefusedRelease, decoded
from udfs.scoring import trees
from udfs.scoring.forest import Forest
from udfs.scoring.models import golden
from udfs.smooth import Column

MAX_LEAVES: Final = 4096
"""Of all trees of a head: what a prediction costs, and the room it takes, grows with them."""

_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, eq=False)
class Heads:
    """One release of heads, ready to predict.

    Attributes:
        version: the release, `h1`, `h2` ...
        content: as it was published.
        forests: slot and parameter -> the trees.
    """

    version: str
    content: Regressions
    forests: Mapping[tuple[str, str], Forest]

    @classmethod
    def parse(cls, version: str, payload: bytes) -> Self:
        """Read `heads.json`, a `schemas.heads.Regressions`, and hold each head against its golden rows.

        LightGBM has no part in it, so a corrupt text ends no process.

        Raises:
            RefusedRelease: it is none, or a head asks other features than ours, or scores its golden rows otherwise.

        >>> Heads.parse("h1", b'{"slots":{"page":{"length":{"predicts":"","trees":"","golden":{}}}}}')
        Traceback (most recent call last):
        ...
        udfs.releases.RefusedRelease: heads h1: Expected `str` of length >= 1 - at `$.slots[...][...].predicts`
        """
        content = decoded(_decode, payload, f"heads {version}")
        try:
            forests = {(slot, name): _forest(f"{slot}.{name}", head) for slot, name, head in _each(content)}
        except RefusedRelease as refused:
            raise RefusedRelease(f"heads {version}: {refused}") from None
        return cls(version, content, forests)

    def rehearse(self) -> None:
        """Hold LightGBM's reading of the texts against their golden rows, too; it may end the process.

        Raises:
            RefusedRelease: a text says something else to LightGBM, or nothing.
        """
        for slot, name, head in _each(self.content):
            try:
                scores = golden(head.trees, _rows(head.golden)).golden.scores
                _check(np.array(scores), head.golden)
            except RefusedRelease as refused:
                raise RefusedRelease(f"heads {self.version}: model {slot}.{name}: {refused}") from None

    def predictions(
        self, slot: str, targets: Mapping[str, str], signals: Mapping[str, NDArray[Any]]
    ) -> dict[str, Column]:
        """Predict what parameters of a slot are set by; a row's numbers do not depend on the rows beside it.

        Args:
            slot: its name.
            targets: parameter -> what is to be predicted for it; a head that predicts something else is not asked.
            signals: `USER_FEATURES` at least, each (n,).

        Returns:
            Parameter -> (n,), of those that have a head.
        """
        heads = self.content.slots.get(slot, {})
        asked = [name for name, target in targets.items() if name in heads and heads[name].predicts == target]
        if not asked:
            return {}
        rows = np.column_stack([signals[name].astype(np.float64) for name in USER_FEATURES])
        return {name: self.forests[slot, name].score(rows) for name in asked}


def _each(content: Regressions) -> list[tuple[str, str, Head]]:
    return [(slot, name, head) for slot, heads in content.slots.items() for name, head in heads.items()]


def _forest(whose: str, head: Head) -> Forest:
    read = trees.read(whose, head.trees, len(USER_FEATURES))
    if tuple(read.features) != USER_FEATURES:
        raise RefusedRelease(f"model {whose}: it asks other features than schemas.signals.USER_FEATURES, in order")
    if (leaves := sum(len(tree.value) for tree in read.trees)) > MAX_LEAVES:
        raise RefusedRelease(f"model {whose}: {leaves} leaves, at most {MAX_LEAVES}: train fewer or smaller trees")
    forest = Forest.of(read)
    try:
        _check(forest.score(_rows(head.golden)), head.golden)
    except RefusedRelease as refused:
        raise RefusedRelease(f"model {whose}: {refused}") from None
    return forest


def _rows(expected: Golden) -> Column:
    rows = expected.rows
    if not rows or len(rows) != len(expected.scores) or any(len(row) != len(USER_FEATURES) for row in rows):
        raise RefusedRelease(f"it needs golden rows, of {len(USER_FEATURES)} numbers and a score each")
    return np.array(rows, dtype=np.float64)


def _check(scores: Column, expected: Golden) -> None:
    off = np.abs(scores - expected.scores)
    allowed = _TOLERANCE * np.maximum(1.0, np.abs(expected.scores))
    if not (off <= allowed).all():
        worst = int(np.argmax(off))
        raise RefusedRelease(f"golden row {worst} scores {off[worst]:.3g} off, at most {allowed[worst]:.3g} is allowed")


_decode: Final = json.Decoder(Regressions).decode
