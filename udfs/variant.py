"""Which arm of a slot a user sees: a keyed draw from a declared distribution, held back by a cap."""

from dataclasses import dataclass
from itertools import accumulate

from schemas.decisions import Draw, Guard, SlotCard, Trace, Why
from schemas.slots import Variant
from udfs.draw import pick, ticket


@dataclass(frozen=True, slots=True)
class Distribution:
    """The options of a slot and their exact probabilities, in a fixed order."""

    arms: tuple[str, ...]
    p: tuple[float, ...]
    cumulative: tuple[float, ...]

    @classmethod
    def of(cls, slot: Variant) -> "Distribution":
        """Normalise the declared weights; the order is that of the names, not of the file.

        >>> from schemas.slots import Arm
        >>> Distribution.of(Variant({"b": Arm(weight=3.0), "a": Arm(weight=1.0)}, "a")).p
        (0.25, 0.75)
        """
        arms = tuple(sorted(slot.arms))
        total = sum(slot.arms[arm].weight for arm in arms)
        p = tuple(slot.arms[arm].weight / total for arm in arms)
        return cls(arms, p, tuple(accumulate(p)))


class Chooser:
    """One variant slot, ready to choose."""

    def __init__(self, name: str, slot: Variant, seed: str) -> None:
        """Take the slot's name (part of the draw's key), its declaration, and the seed of all draws."""
        self._slot = slot
        self._salt = f"{seed}|{name}|"
        self._odds = Distribution.of(slot)
        self._drawn = [f"drawn with p = {p:.3g}" for p in self._odds.p]

    def default(self, card_id: str, expires: int, reason: Why) -> SlotCard:
        """Give the slot's default arm, undrawn."""
        arm = self._slot.default
        params = self._slot.arms[arm].params or None
        return SlotCard(card_id, "variant", 1.0, reason, expires, arm=arm, params=params)

    def choose(self, card_id: str, user_id: str, session: int, shown: int, expires: int) -> tuple[SlotCard, Trace]:
        """Choose for one user; the same session draws the same arm.

        The draw is made also when the cap holds it back, so that the record shows what was withheld.

        Args:
            card_id: the decision's id.
            user_id: the pseudonym.
            session: start of the session, ms since 1970: the epoch of the draw.
            shown: exposures of the slot in this session.
            expires: ms since 1970.
        """
        slot, odds = self._slot, self._odds
        key = f"{self._salt}{user_id}|{session}"
        value = ticket(key)
        option = pick(value, odds.cumulative)
        arm, p, reason, why = odds.arms[option], odds.p[option], Why.SPLIT, self._drawn[option]
        guards = None
        if slot.cap is not None:
            held = shown >= slot.cap.shown
            guards = [Guard("cap", shown, slot.cap.shown, held)]
            if held:
                arm, p, reason = slot.default, 1.0, Why.CAPPED
                why = f"shown {shown} times in this {slot.cap.per}, {slot.cap.shown} allowed"
        card = SlotCard(
            id=card_id,
            kind="variant",
            p=p,
            reason=reason,
            expires=expires,
            arm=arm,
            params=slot.arms[arm].params or None,
            why=[why],
        )
        return card, Trace(draw=Draw(key, value, list(odds.arms), list(odds.p)), guards=guards)
