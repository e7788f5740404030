"""What to adjust for each person now: one pure function from signals to decisions, read from top to bottom."""

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import repeat
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Raw, Struct, json
from msgspec.structs import astuple, fields
from numpy.typing import NDArray

from schemas.decisions import Card, Decision, SlotCard, Trace, Unfit, Versions, Why
from schemas.events import PULSE_USER
from schemas.segments import RuleSegment
from schemas.settings import Decide, Noise, SignalSettings
from schemas.signals import Signals
from schemas.slots import Rerank, Slot, Variant, capped
from udfs.catalogue import Catalogue
from udfs.choices import Choices
from udfs.context import surroundings
from udfs.moments import Columns
from udfs.observe import Observer
from udfs.rank import InForce, popular, rerank
from udfs.variant import Chooser

VERSION: Final = 1
RARE: Final = ("n_cart", "n_purchase", "n_rate")
SIGNALS: Final = fields(Signals)

_ID_BYTES: Final = 9
_ID_LETTERS: Final = 12


class Verdict(NamedTuple):
    """One row's result as JSON: the card for Redis and the record for the topic.

    The card of a pulse is that of everybody of whom nothing is known, and has no record; a person who is to be
    forgotten has neither.
    """

    card: str | None
    record: str | None
    expires: int
    segment: str = ""
    cluster: int = 0


class Decider:
    """Everything about deciding that stays the same from bundle to bundle."""

    def __init__(
        self,
        slots: Mapping[str, Slot],
        decide: Decide,
        horizons: SignalSettings,
        noise: Noise,
        rules: Mapping[str, RuleSegment],
    ) -> None:
        """Take slots, when and how long decisions count, the signals' horizons, what is noise, and rule segments."""
        self._conf = decide
        self._noise = noise
        self._observer = Observer(rules, horizons, noise)
        self._reranks = {name: slot for name, slot in sorted(slots.items()) if isinstance(slot, Rerank)}
        self._choosers = {
            name: Chooser(name, slot, decide.seed) for name, slot in sorted(slots.items()) if isinstance(slot, Variant)
        }
        self._lanes = {name: lane for lane, name in enumerate(capped(dict(slots)))}
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
            for row in rows[pulses[rows]].tolist():
                verdicts[row] = self._default(moments["slice_end"][row].item(), releases)
            people = rows[~pulses[rows] & ~moments["farewell"][rows]]
            if len(people):
                taken = {name: column[people] for name, column in moments.items()}
                for row, verdict in zip(people.tolist(), self._decide(taken, releases), strict=True):
                    verdicts[row] = verdict
        return verdicts

    def _decide(self, moments: Columns, releases: InForce) -> Iterator[Verdict]:
        """Decide for people: slot by slot for all of them, then card and record of each."""
        computed = self._observer.signals(moments, releases.anomalies)
        segments, spoken = self._observer.segments(moments)
        clusters = (releases.clusters.assign(computed) if releases.clusters else np.zeros(len(segments), int)).tolist()
        users, ends = moments["user_id"].tolist(), moments["slice_end"].tolist()
        versions, expires = releases.versions(), [end + self._conf.valid for end in ends]
        ids = decision_ids(users, ends, versions)

        slots: list[dict[str, SlotCard]] = [{} for _ in ids]
        traces: list[dict[str, Trace]] = [{} for _ in ids]
        for name, choices in self._choices(moments, computed, ids, expires, releases):
            for in_slots, in_traces, card, trace in zip(slots, traces, *choices, strict=True):
                in_slots[name], in_traces[name] = card, trace
        for row in np.flatnonzero(moments["robot"]).tolist():
            slots[row] = self._impersonal(ids[row], expires[row], releases.catalogue, Why.ROBOT)
            traces[row] = {}

        columns: dict[str, Iterable[Any]] = {
            "user_id": users,
            "v": repeat(VERSION),
            "seq": ends,
            "at": moments["last_ms"].tolist(),
            "expires": expires,
            # Written once, for card and record.
            "slots": [Raw(self._encode(each)) for each in slots],
            "ver": repeat(versions),
            "signals": map(Signals, *(_listed(computed[field.name], field.default) for field in SIGNALS)),
            "session": moments["session_start"].tolist(),
            "clicked": moments["clicked"].tolist(),
            "trace": traces,
            "context": [surroundings(text)[0] for text in moments["context"].tolist()],
            "segment": segments,
            "cluster": clusters,
            "spoken": spoken,
            "account": moments["account"].tolist(),
            "unfit": self._unfit(moments, computed["unusual"]),
            "unmeasured": moments["unmeasured"].tolist(),
        }
        cards, records = (self._texts(kind, columns) for kind in (Card, Decision))
        yield from map(Verdict, cards, records, expires, segments, clusters)

    def _texts(self, kind: type[Struct], columns: Mapping[str, Iterable[Any]]) -> Iterator[str]:
        """Write rows as JSON."""
        rows = map(kind, *(columns[name] for name in kind.__struct_fields__))
        return (self._encode(row).decode() for row in rows)

    def _choices(
        self, moments: Columns, computed: Columns, ids: list[str], expires: list[int], releases: InForce
    ) -> Iterator[tuple[str, Choices]]:
        """Choose for everybody, slot by slot."""
        for name, slot in self._reranks.items():
            ranked = rerank(slot, computed, moments["clicked"], releases)
            if ranked is not None:
                yield name, ranked.choices(_card_ids(ids, name), moments["clicked"].tolist(), expires)
        users, sessions, none_shown = moments["user_id"].tolist(), moments["session_start"].tolist(), [0] * len(ids)
        for name, chooser in self._choosers.items():
            shown = moments["shown"][:, self._lanes[name]].tolist() if name in self._lanes else none_shown
            yield name, chooser.choose(_card_ids(ids, name), users, sessions, shown, expires)

    def _default(self, end: int, releases: InForce) -> Verdict:
        """Decide for a pulse: what everybody gets of whom nothing is known."""
        expires, versions = end + self._conf.valid, releases.versions()
        (moment_id,) = decision_ids([PULSE_USER], [end], versions)
        cards = self._impersonal(moment_id, expires, releases.catalogue, Why.DEFAULT)
        card = Card(VERSION, end, end, expires, cards, versions)
        return Verdict(self._encode(card).decode(), None, expires)

    def _impersonal(
        self, moment_id: str, expires: int, catalogue: Catalogue | None, reason: Why
    ) -> dict[str, SlotCard]:
        """Make the cards that take nobody's signals into account."""
        lists = {
            name: SlotCard(f"{moment_id}.{name}", "rerank", 1.0, reason, expires, items=items)
            for name, slot in self._reranks.items()
            if (items := popular(slot, catalogue))
        }
        return lists | {
            name: chooser.default(f"{moment_id}.{name}", expires, reason) for name, chooser in self._choosers.items()
        }

    def _unfit(self, moments: Columns, unusual: NDArray[np.float64]) -> list[list[Unfit]]:
        """Say for each row why learning leaves it out."""
        marks = {
            Unfit.CONSENT: moments["unlearned"],
            Unfit.ROBOT: moments["robot"],
            Unfit.CLIPPED: moments["n_clipped"] > 0,
            # A purchase is unusual too, and what learning is for.
            Unfit.OUTLIER: (np.abs(unusual) > self._noise.deviations) & (sum(moments[name] for name in RARE) == 0),
        }
        fit: list[Unfit] = []
        rows = [fit] * len(unusual)
        for reason, marked in marks.items():
            for row in np.flatnonzero(marked).tolist():
                rows[row] = [*rows[row], reason]
        return rows


def decision_ids(users: Sequence[str], seqs: Sequence[int], versions: Versions) -> list[str]:
    """Name decisions by what they were made from, so that a restart gives them the same names.

    >>> decision_ids(["k0:ada", "k0:bob"], [1767225600000] * 2, Versions("c1", "m1"))
    ['q2LX4_f8_puY', '-mheLo0sY9kF']
    """
    releases = "|".join(str(version) for version in (*astuple(versions), VERSION))
    digests = (
        blake2b(f"{user}|{seq}|{releases}".encode(), digest_size=_ID_BYTES).digest()
        for user, seq in zip(users, seqs, strict=True)
    )
    # Nine bytes are twelve letters, none of them shared with the next nine: so all are written at once.
    letters = urlsafe_b64encode(b"".join(digests)).decode()
    return [letters[start : start + _ID_LETTERS] for start in range(0, len(letters), _ID_LETTERS)]


def _listed(column: NDArray[Any], neutral: float) -> list[Any]:
    """List numbers, those that are neutral as the very object that the schema names: so they are left out of JSON."""
    listed = column.astype(np.object_)
    listed[column == neutral] = neutral
    return listed.tolist()  # type: ignore[no-any-return]  # of an object array it is Any


def _card_ids(ids: list[str], name: str) -> list[str]:
    return [f"{moment_id}.{name}" for moment_id in ids]
