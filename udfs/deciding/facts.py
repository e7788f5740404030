"""What decisions are made from: all of it stands in their records, so that each can be made again from its own."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.decisions import Context, Decision, Unfit
from schemas.settings import Noise
from schemas.signals import Signals
from udfs.cleaning.asking import NOTHING, Question, question
from udfs.cleaning.context import columns as said
from udfs.cleaning.context import contexts
from udfs.cleaning.meeting import Met, met
from udfs.deciding.book import Book
from udfs.deciding.in_force import InForce
from udfs.deciding.observe import Observer
from udfs.signals.moments import Columns

RARE: Final = ("n_cart", "n_purchase", "n_rate")
STRETCHES: Final = ("shown", "shown_day", "shown_life", "shown_ms")
"""Of each counter, in the order in which `Facts.shown` and the records have them."""


class Facts(NamedTuple):
    """What is known of people at one moment each, a row a person.

    Attributes:
        users: pseudonyms.
        ends: (n,) slice ends, ms since 1970.
        at: event times of the newest events.
        sessions: (n,) starts of the sessions.
        columns: (n,) of each signal, of `cluster`, `segment`, and of the surroundings: what conditions may ask.
        contexts: the surroundings as records have them.
        clicked: the items clicked last, "" for none.
        spoken: rule segment -> when it was last spoken for and against.
        held: rule.case -> (n,) since when its condition has held; 0 where it does not.
        shown: (n, counters, 4) exposures in the session, in the day, ever, and when last (0: never).
        accounts: pseudonyms of accounts.
        unfit: why learning leaves them out.
        unmeasured: who has not agreed to be measured.
        asked: lists whose order their pages ask for.
        met: items they met in the session.
    """

    users: list[str]
    ends: NDArray[np.int64]
    at: list[int]
    sessions: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]
    contexts: list[Context]
    clicked: list[str]
    spoken: list[dict[str, list[int]]]
    held: dict[str, NDArray[np.int64]]
    shown: NDArray[np.int64]
    accounts: list[str]
    unfit: list[list[Unfit]]
    unmeasured: list[bool]
    asked: list[Question]
    met: list[Met]

    def taken(self, rows: NDArray[np.intp]) -> "Facts":
        """Give the facts of some of the people."""
        listed = rows.tolist()
        return Facts(
            users=[self.users[row] for row in listed],
            ends=self.ends[rows],
            at=[self.at[row] for row in listed],
            sessions=self.sessions[rows],
            columns={name: column[rows] for name, column in self.columns.items()},
            contexts=[self.contexts[row] for row in listed],
            clicked=[self.clicked[row] for row in listed],
            spoken=[self.spoken[row] for row in listed],
            held={name: column[rows] for name, column in self.held.items()},
            shown=self.shown[rows],
            accounts=[self.accounts[row] for row in listed],
            unfit=[self.unfit[row] for row in listed],
            unmeasured=[self.unmeasured[row] for row in listed],
            asked=[self.asked[row] for row in listed],
            met=[self.met[row] for row in listed],
        )

    @property
    def robots(self) -> NDArray[np.bool_]:
        """Who is no person, (n,)."""
        return np.array([Unfit.ROBOT in each for each in self.unfit], dtype=np.bool_)


def observed(moments: Columns, observer: Observer, noise: Noise, releases: InForce, book: Book) -> Facts:
    """Say what moments tell.

    Args:
        moments: the columns of `schemas.slices.Moment`.
        observer: what makes signals and segments of them.
        noise: what is beyond belief.
        releases: those in force; clusters and anomalies are asked here.
        book: the rulebook in force.
    """
    signals = observer.signals(moments, releases.anomalies)
    segments, spoken = observer.segments(moments)
    around = contexts(moments["context"].tolist())
    clusters = releases.clusters.assign(signals) if releases.clusters else np.zeros(len(segments), np.int64)
    # A rulebook that has just come into force has seen nothing hold before.
    began = np.maximum(moments["born"], releases.effective.get("rules", 0))
    ends = moments["slice_end"]
    return Facts(
        users=moments["user_id"].tolist(),
        ends=ends,
        at=moments["last_ms"].tolist(),
        sessions=moments["session_start"],
        columns=signals | said(around) | {"cluster": clusters, "segment": np.array(segments, dtype=np.object_)},
        contexts=around,
        clicked=moments["clicked"].tolist(),
        spoken=spoken,
        held={
            watched.name: np.where(
                moments["unheld"][:, place] == ends, 0, np.maximum(moments["unheld"][:, place], began)
            )
            for place, watched in enumerate(book.watched)
        },
        shown=np.stack([moments[name] for name in STRETCHES], axis=-1)[:, : len(book.book.counters)],
        accounts=moments["account"].tolist(),
        unfit=_unfit(moments, signals["unusual"], noise),
        unmeasured=moments["unmeasured"].tolist(),
        asked=[question(text) for text in moments["asked"].tolist()],
        met=[met(text) for text in moments["met"].tolist()],
    )


def recorded(records: Sequence[Decision], book: Book) -> Facts:
    """Say what records tell: the same as the moments did of which they were made."""
    signals = {
        name: np.array([getattr(record.signals, name) for record in records]) for name in Signals.__struct_fields__
    }
    around = [record.context for record in records]
    nothing = [0] * len(STRETCHES)
    return Facts(
        users=[record.user_id for record in records],
        ends=np.array([record.seq for record in records], dtype=np.int64),
        at=[record.at for record in records],
        sessions=np.array([record.session for record in records], dtype=np.int64),
        columns=signals
        | said(around)
        | {
            "cluster": np.array([record.cluster for record in records], dtype=np.int64),
            "segment": np.array([record.segment for record in records], dtype=np.object_),
        },
        contexts=around,
        clicked=[record.clicked for record in records],
        spoken=[record.spoken for record in records],
        held={
            watched.name: np.array([record.held.get(watched.name, 0) for record in records], dtype=np.int64)
            for watched in book.watched
        },
        shown=np.array(
            [[record.shown.get(name, nothing) for name in book.book.counters] for record in records], dtype=np.int64
        ).reshape(len(records), len(book.book.counters), len(STRETCHES)),
        accounts=[record.account for record in records],
        unfit=[record.unfit for record in records],
        unmeasured=[record.unmeasured for record in records],
        asked=[Question(record.asked[0], record.asked[1:]) if record.asked else NOTHING for record in records],
        met=[Met(record.opened, record.seen) for record in records],
    )


def _unfit(moments: Columns, unusual: NDArray[np.float64], noise: Noise) -> list[list[Unfit]]:
    """Say for each row why learning leaves it out."""
    marks = {
        Unfit.CONSENT: moments["unlearned"],
        Unfit.ROBOT: moments["robot"],
        Unfit.CLIPPED: moments["n_clipped"] > 0,
        # A purchase is unusual too, and what learning is for.
        Unfit.OUTLIER: (np.abs(unusual) > noise.deviations) & (sum(moments[name] for name in RARE) == 0),
    }
    fit: list[Unfit] = []
    rows = [fit] * len(unusual)
    for reason, marked in marks.items():
        for row in np.flatnonzero(marked).tolist():
            rows[row] = [*rows[row], reason]
    return rows
