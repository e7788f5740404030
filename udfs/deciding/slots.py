"""One slot, whatever its kind: what each person gets in it, and what everybody gets."""

import numpy as np

from schemas.decisions import SlotCard, Why
from schemas.slots import Content, Rerank
from udfs.deciding import arms, content, lists
from udfs.deciding.book import Place
from udfs.deciding.bundle import Bundle
from udfs.deciding.choices import Choices
from udfs.deciding.heard import Reasons
from udfs.deciding.in_force import InForce


def choose(place: Place, bundle: Bundle, reasons: Reasons) -> Choices | None:
    """Choose for each person; None where there is nothing to show.

    Args:
        place: the slot.
        bundle: of n people.
        reasons: (n,) why the default is shown already, None where it need not be; a slot that is off is.
    """
    if bundle.releases.off(place.name):
        reasons = np.full(len(reasons), Why.OFF, dtype=np.object_)
    if isinstance(place.slot, Rerank):
        return lists.choose(place, bundle, reasons)
    if isinstance(place.slot, Content):
        return content.choose(place, bundle, reasons)
    return arms.choose(place, bundle, reasons)


def impersonal(place: Place, card_id: str, expires: int, reason: Why, releases: InForce) -> SlotCard | None:
    """Make the card that takes nobody's signals into account; None where there is nothing to show."""
    reason = Why.OFF if releases.off(place.name) else reason
    if isinstance(place.slot, Rerank):
        return lists.impersonal(place, card_id, expires, reason, releases.catalogue)
    if isinstance(place.slot, Content):
        return content.impersonal(place, card_id, expires, reason)
    return arms.impersonal(place, card_id, expires, reason)
