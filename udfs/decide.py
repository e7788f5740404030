"""What to adjust for each person now: one pure function from signals to decisions, read from top to bottom."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from msgspec import json
from numpy.typing import NDArray

from schemas.decisions import Candidate, Card, Decision, SlotCard, Trace, Unfit, Versions, Why
from schemas.events import PULSE_USER
from schemas.settings import Decide, Noise, SignalSettings
from schemas.signals import Signals
from schemas.slots import Rerank, Slot, Variant, capped
from udfs.rank import InForce, rerank
from udfs.signals import signals
from udfs.variant import Chooser

Columns = Mapping[str, NDArray[Any]]
VERSION = 1
RARE = ("n_cart", "n_purchase", "n_rate")
NAMES = Signals.__struct_fields__


class Verdict(NamedTuple):
    """One row's result as JSON: the card for Redis and the record for the topic.

    The card of a pulse is that of everybody of whom nothing is known, and has no record; a person who is to be
    forgotten has neither.
    """

    card: str | None
    record: str | None
    expires: int


class Lists(NamedTuple):
    """A rerank slot's lists for a bundle: item ids and candidates per row."""

    reason: Why
    items: list[list[str]]
    candidates: list[list[Candidate]]

    def card(self, row: int, card_id: str, clicked: str, expires: int) -> tuple[SlotCard, Trace]:
        """Make one row's card and trace. The order is certain, so its probability is 1."""
        card = SlotCard(
            id=card_id,
            kind="rerank",
            p=1.0,
            reason=self.reason,
            expires=expires,
            items=self.items[row],
            why=[f"clicked:{clicked}" if clicked else "nothing clicked yet"],
        )
        return card, Trace(candidates=self.candidates[row])


class Decider:
    """Everything about deciding that stays the same from bundle to bundle."""

    def __init__(self, slots: Mapping[str, Slot], decide: Decide, horizons: SignalSettings, noise: Noise) -> None:
        """Take the declared slots, when and how long decisions count, the signals' horizons, and what is noise."""
        self._conf = decide
        self._horizons = horizons
        self._noise = noise
        self._reranks = {name: slot for name, slot in sorted(slots.items()) if isinstance(slot, Rerank)}
        self._choosers = {
            name: Chooser(name, slot, decide.seed) for name, slot in sorted(slots.items()) if isinstance(slot, Variant)
        }
        self._lanes = {name: f"shown_{lane}" for lane, name in enumerate(capped(dict(slots)))}
        self._encode = json.Encoder().encode

    def __call__(self, moments: Columns, in_force: Sequence[tuple[NDArray[np.intp], InForce]]) -> list[Verdict]:
        """Decide a bundle.

        Args:
            moments: the columns of `schemas.slices.Moment`, each of shape (n,).
            in_force: which rows are decided by which releases; the index arrays together cover 0 .. n-1.

        Returns:
            One verdict per row, in order.
        """
        verdicts = [Verdict(None, None, end) for end in moments["slice_end"].tolist()]
        pulses = moments["user_id"] == PULSE_USER
        for rows, releases in in_force:
            everybody = self._everybody(releases)
            for row in rows[pulses[rows]].tolist():
                verdicts[row] = self._default(moments["slice_end"][row].item(), everybody, releases)
            people = rows[~pulses[rows] & ~moments["farewell"][rows]]
            if len(people):
                taken = {name: column[people] for name, column in moments.items()}
                for row, verdict in zip(people.tolist(), self._decide(taken, everybody, releases), strict=True):
                    verdicts[row] = verdict
        return verdicts

    def _everybody(self, releases: InForce) -> Mapping[str, list[str]]:
        """Order each list for whom nothing is known."""
        found = {
            name: rerank(slot, {}, [""], InForce(releases.catalogue, None)) for name, slot in self._reranks.items()
        }
        return {name: ranked.items()[0] for name, ranked in found.items() if ranked is not None}

    def _default(self, end: int, everybody: Mapping[str, list[str]], releases: InForce) -> Verdict:
        expires, versions = end + self._conf.valid, releases.versions()
        moment_id = decision_id(PULSE_USER, end, versions)
        cards = self._impersonal(moment_id, everybody, expires, Why.DEFAULT)
        card = Card(VERSION, end, end, expires, cards, versions)
        return Verdict(self._encode(card).decode(), None, expires)

    def _impersonal(
        self, moment_id: str, everybody: Mapping[str, list[str]], expires: int, reason: Why
    ) -> dict[str, SlotCard]:
        """Make the cards that take nobody's signals into account."""
        lists = {
            name: SlotCard(f"{moment_id}.{name}", "rerank", 1.0, reason, expires, items=items)
            for name, items in everybody.items()
        }
        return lists | {
            name: chooser.default(f"{moment_id}.{name}", expires, reason) for name, chooser in self._choosers.items()
        }

    def _decide(self, moments: Columns, everybody: Mapping[str, list[str]], releases: InForce) -> Iterator[Verdict]:
        computed = signals(moments, self._horizons, self._noise)
        unfit = self._unfit(moments, computed["unusual"])
        versions = releases.versions()
        lists = {
            name: Lists(ranked.reason, ranked.items(), ranked.traces())
            for name, slot in self._reranks.items()
            if (ranked := rerank(slot, computed, moments["clicked"], releases)) is not None
        }
        shown = {name: moments[column].tolist() for name, column in self._lanes.items()}
        users, ends = moments["user_id"].tolist(), moments["slice_end"].tolist()
        lasts, sessions = moments["last_ms"].tolist(), moments["session_start"].tolist()
        clicked, accounts = moments["clicked"].tolist(), moments["account"].tolist()
        robots, unmeasured = moments["robot"].tolist(), moments["unmeasured"].tolist()
        rows_of_signals = zip(*(computed[name].tolist() for name in NAMES), strict=True)
        for row, values in enumerate(rows_of_signals):
            user_id, end, session = users[row], ends[row], sessions[row]
            expires = end + self._conf.valid
            moment_id = decision_id(user_id, end, versions)
            cards: dict[str, SlotCard] = {}
            traces: dict[str, Trace] = {}
            if robots[row]:
                cards = self._impersonal(moment_id, everybody, expires, Why.ROBOT)
            else:
                for name, found in lists.items():
                    cards[name], traces[name] = found.card(row, f"{moment_id}.{name}", clicked[row], expires)
                for name, chooser in self._choosers.items():
                    count = shown[name][row] if name in shown else 0
                    cards[name], traces[name] = chooser.choose(f"{moment_id}.{name}", user_id, session, count, expires)
            card = Card(VERSION, end, lasts[row], expires, cards, versions)
            record = Decision(
                user_id=user_id,
                v=VERSION,
                seq=end,
                at=lasts[row],
                expires=expires,
                slots=cards,
                ver=versions,
                signals=Signals(*values),
                session=session,
                clicked=clicked[row],
                trace=traces,
                account=accounts[row],
                unfit=unfit[row],
                unmeasured=unmeasured[row],
            )
            yield Verdict(self._encode(card).decode(), self._encode(record).decode(), expires)

    def _unfit(self, moments: Columns, unusual: NDArray[np.float64]) -> list[list[Unfit]]:
        """Say for each row why learning leaves it out."""
        marks = {
            Unfit.CONSENT: moments["unlearned"],
            Unfit.ROBOT: moments["robot"],
            Unfit.CLIPPED: moments["clipped"],
            # A purchase is unusual too, and what learning is for.
            Unfit.OUTLIER: (np.abs(unusual) > self._noise.deviations) & (sum(moments[name] for name in RARE) == 0),
        }
        rows: list[list[Unfit]] = [[] for _ in range(len(unusual))]
        for reason, marked in marks.items():
            for row in np.flatnonzero(marked).tolist():
                rows[row].append(reason)
        return rows


def decision_id(user_id: str, seq: int, versions: Versions) -> str:
    """Name a decision by what it was made from, so that a restart gives it the same name.

    >>> decision_id("k0:ada", 1767225600000, Versions("c1", "m1"))
    'YoGayg1j4E3C'
    """
    made_from = f"{user_id}|{seq}|{versions.catalogue}|{versions.model}|{VERSION}"
    return urlsafe_b64encode(blake2b(made_from.encode(), digest_size=9).digest()).decode()
