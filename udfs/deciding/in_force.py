"""The releases by which a moment is decided: what may be shown, what scores it, what a team and a model have to say."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.decisions import Versions
from udfs.deciding.book import Book
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.switches import Switches
from udfs.detectors.isolation import IsolationForest
from udfs.scoring.heads import Heads
from udfs.scoring.models import Model
from udfs.segments.clusters import Clusters


@dataclass(frozen=True, eq=False)
class InForce:
    """The releases that decide a row, but for what was learned of arms; an absent one was not there.

    Attributes:
        effective: channel -> from when on its release has counted, ms since 1970.
    """

    catalogue: Catalogue | None = None
    model: Model | None = None
    clusters: Clusters | None = None
    anomalies: IsolationForest | None = None
    book: Book | None = None
    switches: Switches | None = None
    heads: Heads | None = None
    effective: Mapping[str, int] = field(default_factory=dict)

    def off(self, slot: str) -> bool:
        """Say whether a slot is switched off."""
        return self.switches is not None and self.switches.off(slot)

    def versions(self) -> Versions:
        """Name them, as cards and records do."""
        return Versions(
            catalogue=self.catalogue.version if self.catalogue else None,
            model=self.model.version if self.model else None,
            segments=self.clusters.version if self.clusters else None,
            anomalies=self.anomalies.version if self.anomalies else None,
            rules=self.book.version if self.book else None,
            flags=self.switches.version if self.switches else None,
            heads=self.heads.version if self.heads else None,
        )
