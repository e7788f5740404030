"""Which arm of a slot a user sees: a keyed draw from a declared distribution, held back by a cap."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from schemas.decisions import Draw, Guard, SlotCard, Trace, Why
from schemas.slots import Variant
from udfs.choices import Choices
from udfs.draw import pick, ticket

Params = dict[str, str | int | float | bool]


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


class _Drawn(NamedTuple):
    """What the cards of all who drew an arm have in common."""

    p: float
    arm: str
    params: Params | None
    why: list[str]


class Chooser:
    """One variant slot, ready to choose."""

    def __init__(self, name: str, slot: Variant, seed: str) -> None:
        """Take the slot's name (part of the draw's key), its declaration, and the seed of all draws."""
        self._slot = slot
        self._salt = f"{seed}|{name}|"
        self._odds = Distribution.of(slot)
        self._drawn = [
            _Drawn(p, arm, slot.arms[arm].params or None, [f"drawn with p = {p:.3g}"])
            for arm, p in zip(self._odds.arms, self._odds.p, strict=True)
        ]

    def default(self, card_id: str, expires: int, reason: Why, why: list[str] | None = None) -> SlotCard:
        """Give the slot's default arm, undrawn."""
        arm = self._slot.default
        params = self._slot.arms[arm].params or None
        return SlotCard(card_id, "variant", 1.0, reason, expires, arm=arm, params=params, why=why)

    def choose(
        self,
        card_ids: Sequence[str],
        users: Sequence[str],
        sessions: Sequence[int],
        shown: Sequence[int],
        expires: Sequence[int],
    ) -> Choices:
        """Choose for a bundle of users; the same session draws the same arm.

        The draw is made also when the cap holds it back, so that the record shows what was withheld.

        Args:
            card_ids: the decisions' ids.
            users: the pseudonyms.
            sessions: starts of the sessions, ms since 1970: the epochs of the draws.
            shown: exposures of the slot in these sessions.
            expires: ms since 1970.
        """
        keys = [f"{self._salt}{user}|{session}" for user, session in zip(users, sessions, strict=True)]
        values = [ticket(key) for key in keys]
        drawn = [self._drawn[pick(value, self._odds.cumulative)] for value in values]
        arms, odds = list(self._odds.arms), list(self._odds.p)
        guards = self._guards(shown)
        cards = [
            SlotCard(card_id, "variant", option.p, Why.SPLIT, end, None, option.arm, option.params, option.why)
            for card_id, end, option in zip(card_ids, expires, drawn, strict=True)
        ]
        for row, guard in enumerate(guards):
            if guard and guard[0].held:
                why = f"shown {guard[0].count} times in this session, {guard[0].limit} allowed"
                cards[row] = self.default(card_ids[row], expires[row], Why.CAPPED, [why])
        draws = (Draw(key, value, arms, odds) for key, value in zip(keys, values, strict=True))
        return Choices(cards, [Trace(draw=draw, guards=guard) for draw, guard in zip(draws, guards, strict=True)])

    def _guards(self, shown: Sequence[int]) -> list[list[Guard] | None]:
        cap = self._slot.cap
        if cap is None:
            return [None] * len(shown)
        return [[Guard("cap", count, cap.shown, count >= cap.shown)] for count in shown]
