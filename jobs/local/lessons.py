"""What people of the pretend world were shown and clicked, to learn from: made without a running pipeline."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from jobs.local.world import ARMS, FEED, LESSONS, PUPILS, STEPS, Column, Index, Mask, Step, Visit, World, places, seeded
from schemas.decisions import SlotCard, Trace, Versions, Why
from schemas.events import Kind
from schemas.outcomes import Outcome
from schemas.settings import KindPoints, Settings, Time
from schemas.signals import FEATURES, USER_FEATURES, Signals
from schemas.slots import Rerank
from udfs.deciding.arrange import Candidates, Rules, arrange, spread
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.in_force import InForce
from udfs.deciding.rank import People, features, rerank
from udfs.signals.formulas import signals

PAGES: Final = 24
"""Page views of one person: two sessions, as a rule."""

_LEAVES: Final = 1.0 / 12.0
_AWAY_MS: Final = 8 * 60_000.0  # median; a third stays away for longer than a session's gap or its card's life
_DAY_MS: Final = 86_400_000.0
_FIRST_MS: Final = 1_767_225_600_000
_PINNED, _CANDIDATES, _ANYTHING = range(3)
_MIXTURE: Final = (0.3, 0.5, 0.2)
"""What the pages showed: the pinned items, items the prefilter would offer, or anything; always in random order,
so that no item's place speaks for it."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """One row per item shown, in the order of the page views."""

    features: Column  # (rows, len(FEATURES))
    clicked: Mask  # (rows,)
    user: Index  # (rows,)
    at_ms: NDArray[np.int64]  # (rows,) of the page view


REMEMBERED: Final = (
    *("slice_end", "first_ms", "prev_ms", "points", "session_start", "landmark", "session_slices", "session_clicks"),
    *("life_slices", "life_points", "life_squares", "events"),
)
"""The columns of `schemas.slices.Moment` that the features are made of, but for the fading sums."""


class Memory:
    """What the pipeline would remember of some users: the columns of `schemas.slices.Moment`, event by event.

    The views `recalled` to `fading` of the job, in numpy; only the columns that signals are made of.
    """

    def __init__(self, users: int, time: Time, taus_ms: tuple[int, int, int]) -> None:
        """Know nothing of anybody."""
        self._time = time
        self._taus_ms = np.array(taus_ms, dtype=np.float64)[:, None]
        self._last_ms = np.zeros(users, dtype=np.int64)
        self._fading = np.zeros((3, users))
        self._columns = {name: np.zeros(users, dtype=np.int64) for name in REMEMBERED}

    def observe(self, who: Mask, at_ms: NDArray[np.int64], points: NDArray[np.int64], *, click: bool) -> None:
        """Take in one event of each of `who`, later than all of theirs before.

        Args:
            who: which users, (users,).
            at_ms: event time, (users,).
            points: engagement of the event, thousandths of a point, (users,).
            click: whether the event is a click.
        """
        now, slice_ms = self._columns, self._time.slice
        slice_end = np.where(who, (at_ms // slice_ms + 1) * slice_ms, now["slice_end"])
        begins = slice_end != now["slice_end"]
        session = begins & ((self._last_ms == 0) | (at_ms - self._last_ms > self._time.session_gap))
        now["prev_ms"] = np.where(begins, self._last_ms, now["prev_ms"])
        now["first_ms"] = np.where(begins, at_ms, now["first_ms"])
        now["session_start"] = np.where(session, at_ms, now["session_start"])
        now["slice_end"] = slice_end
        now["events"] = np.where(begins, 0, now["events"]) + np.where(who, 1, 0)
        for name in ("session_slices", "session_clicks"):
            now[name] = np.where(session, 0, now[name])
        now["session_slices"] += begins
        now["session_clicks"] += who & click
        now["life_slices"] += begins
        self._add(who, begins, points)
        self._last_ms = np.where(who, at_ms, self._last_ms)

    def _add(self, who: Mask, begins: Mask, points: NDArray[np.int64]) -> None:
        now, slice_ms, cap_ms = self._columns, self._time.slice, self._time.session_cap
        before = np.where(begins, 0, now["points"])
        added = np.where(who, points, 0)
        now["points"] = before + added
        now["life_points"] += added
        now["life_squares"] += now["points"] ** 2 - before**2
        first = now["session_start"] // slice_ms * slice_ms
        landmark = first + (now["slice_end"] - 1 - first) // cap_ms * cap_ms
        kept = np.where(landmark == now["landmark"], self._fading, 0.0)
        now["landmark"] = np.where(who, landmark, now["landmark"])
        grown = added / 1000.0 * np.exp((now["slice_end"] - now["landmark"]) / self._taus_ms)
        self._fading = np.where(who, kept + grown, self._fading)

    def moments(self) -> dict[str, NDArray[Any]]:
        """The columns as they stand at the end of each user's newest slice."""
        fast, mid, slow = self._fading
        return {**self._columns, "fading_fast": fast, "fading_mid": mid, "fading_slow": slow}


class Shown(NamedTuple):
    """What pages show, a row a user.

    Attributes:
        feed: (users, length) rows of the catalogue.
        scores: (users, length) by which the lists came into their order; None where nothing scored them.
        p: (users, length) how likely each item was at its place.
    """

    feed: Index
    scores: Column | None
    p: Column


class Page(NamedTuple):
    """One page view of each user, and what the job knew just before.

    Attributes:
        people: what lists are ordered by.
        shown: what the page showed.
        visit: what came of it.
        now_ms: (users,) when it began.
        moments: the columns of `schemas.slices.Moment`.
        kept: (users,) who had a card: not those who have just come.
    """

    people: People
    shown: Shown
    visit: Visit
    now_ms: Column
    moments: dict[str, NDArray[Any]]
    kept: Mask


Show = Callable[[People, Index, NDArray[np.int64]], Shown]
"""Lays out pages for some people, whose rows of the item clicked last, -1 for none, and session starts are given."""


def lessons(settings: Settings, seed: int, rows: int) -> Lessons:
    """Play page views until there are so many rows; those without a card, first in a session, are left out.

    Args:
        settings: slots, durations, horizons and engagement points.
        seed: of the world; its people are others than the website's.
        rows: how many items are shown.

    Raises:
        Refusal: the slots are not those the pages have.
    """
    slot, _ = places(settings.slots)
    world = pupils(settings, seed, rows)
    catalogue = Catalogue.parse("c0", world.shelf.catalogue_lines())
    rng = seeded(seed, LESSONS)
    played = _played(world, catalogue, settings, _mixed(world, catalogue, slot, rng), start=_FIRST_MS, rng=rng)
    pages = [_lesson(page, catalogue) for page in played if page.kept.any()]
    features, clicked, user, at_ms = (np.concatenate(column)[:rows] for column in zip(*pages, strict=True))
    return Lessons(features, clicked, user, at_ms)


def outcomes(
    settings: Settings,
    seed: int,
    rows: int,
    *,
    in_force: InForce | None = None,
    world: World | None = None,
    start: int = _FIRST_MS,
) -> Iterator[Outcome]:
    """Play the same page views, and say of each list what the topic `outcomes` would.

    Args:
        settings: as for `lessons`; the slot says how many places are explored.
        seed: of the world, and of what happens.
        rows: how many items are shown.
        in_force: the releases that order the lists; None: they come in any order, and name the catalogue c1.
        world: whose page views; None: those of the seed.
        start: from when on, ms since 1970.

    Raises:
        Refusal: the slots are not those the pages have.
    """
    slot, _ = places(settings.slots)
    world = world or pupils(settings, seed, rows)
    rng = seeded(seed, LESSONS)
    if in_force is None or in_force.catalogue is None:
        catalogue = Catalogue.parse("c1", world.shelf.catalogue_lines())
        in_force, show = InForce(catalogue), _mixed(world, catalogue, slot, rng)
    else:
        catalogue, show = in_force.catalogue, _ordered(in_force, slot, seed)
    left = rows // slot.length
    for page in _played(world, catalogue, settings, show, start=start, rng=rng):
        some = np.flatnonzero(page.kept)[:left].tolist()
        for user in some:
            yield _outcome(page, user, in_force, settings, name=f"k0:pupil{seed}-{user}")
        left -= len(some)


def pupils(settings: Settings, seed: int, rows: int) -> World:
    """Make the world of a seed with as many people as look at so many items."""
    slot, _ = places(settings.slots)
    return World.of(seed, 1 + rows // (slot.length * (PAGES - 4)), PUPILS)


def _played(
    world: World, catalogue: Catalogue, settings: Settings, show: Show, *, start: int, rng: Generator
) -> Iterator[Page]:
    """Play everybody's page views in step, each by their own clock."""
    user = np.arange(len(world.crowd.segment))
    horizons = settings.signals
    memory = Memory(len(user), settings.time, (horizons.fast, horizons.mid, horizons.slow))
    now_ms = start + rng.uniform(0.0, _DAY_MS, len(user))
    mood, arm = world.crowd.first_mood(user, rng), rng.integers(len(ARMS), size=len(user))
    seen = np.zeros((len(user), len(catalogue.ids)), dtype=np.bool_)
    last, begins = np.full(len(user), -1), np.ones(len(user), dtype=np.bool_)
    for number in range(PAGES):
        moments = memory.moments()
        clicked = [catalogue.ids[row] if row >= 0 else "" for row in last.tolist()]
        opened = [[catalogue.ids[item] for item in np.flatnonzero(mine)] for mine in seen]
        known = _signals(moments, settings) if number else dict.fromkeys(USER_FEATURES, np.zeros(len(user)))
        people = People(known, clicked, opened)
        shown = show(people, last, moments["session_start"])
        visit = world.visit(user, mood, shown.feed, arm, seen=seen[user[:, None], shown.feed], rng=rng)
        yield Page(people, shown, visit, now_ms, moments, ~begins)
        _remember(memory, visit, now_ms, horizons.points)

        opens = visit.opened >= 0
        last = np.where(opens, visit.opened, last)
        seen[user[opens], visit.opened[opens]] = True
        begins = rng.random(len(user)) < _LEAVES
        seen[begins] = False
        arm = np.where(begins, rng.integers(len(ARMS), size=len(user)), arm)
        mood = np.where(begins, world.crowd.first_mood(user, rng), world.crowd.next_mood(user, mood, rng))
        now_ms = now_ms + visit.length_ms + begins * _AWAY_MS * rng.lognormal(0.0, 1.5, len(user))


def _signals(moments: dict[str, NDArray[Any]], settings: Settings) -> dict[str, NDArray[Any]]:
    return signals(moments, settings.signals, settings.noise, USER_FEATURES)


def _mixed(world: World, catalogue: Catalogue, slot: Rerank, rng: Generator) -> Show:
    """Draw what each page shows. Rows of catalogue and shelf are the same: both go by id."""

    def show(_people: People, last: Index, _sessions: NDArray[np.int64]) -> Shown:
        users = len(last)
        pinned = np.broadcast_to(world.shelf.most_popular(slot.length), (users, slot.length))
        interest = np.where(last >= 0, catalogue.codes[last], -1)
        offered = rng.permuted(catalogue.candidates(slot.candidates)[interest], axis=1)[:, : slot.length]
        anything = rng.random((users, len(catalogue.ids))).argpartition(slot.length, axis=1)[:, : slot.length]
        source = rng.choice(len(_MIXTURE), users, p=_MIXTURE)[:, None]
        drawn = np.select([source == _PINNED, source == _CANDIDATES], [pinned, offered], anything)
        return Shown(rng.permuted(drawn, axis=1), None, np.ones(drawn.shape))

    return show


def _ordered(in_force: InForce, slot: Rerank, seed: int) -> Show:
    """Order what each page shows as the job does, explored places included."""
    rules = Rules(slot.length, explored=spread(slot.explore, slot.length))

    def show(people: People, last: Index, sessions: NDArray[np.int64]) -> Shown:
        ranked = rerank(slot, people, in_force)
        assert ranked is not None
        keys = [f"{seed}|{user}|{session}|{last[user]}" for user, session in enumerate(sessions.tolist())]
        arranged = arrange(Candidates(ranked.scores), rules, keys)
        feed = np.take_along_axis(ranked.candidates, arranged.order, axis=1)
        return Shown(feed, np.take_along_axis(ranked.scores, arranged.order, axis=1), arranged.p)

    return show


def _lesson(page: Page, catalogue: Catalogue) -> tuple[Column, Mask, Index, NDArray[np.int64]]:
    table = features(page.people, catalogue, page.shown.feed)
    length = table.shape[1]
    clicked = page.visit.clicked[:, None] == np.arange(length)
    return (
        table[page.kept].reshape(-1, len(FEATURES)),
        clicked[page.kept].ravel(),
        np.flatnonzero(page.kept).repeat(length),
        page.now_ms[page.kept].astype(np.int64).repeat(length),
    )


def _outcome(page: Page, user: int, in_force: InForce, settings: Settings, *, name: str) -> Outcome:
    """Say what came of one person's list."""
    catalogue, shown, slot = in_force.catalogue, page.shown, settings.slots[FEED]
    assert catalogue is not None
    assert isinstance(slot, Rerank)
    at, seq = int(page.now_ms[user]), int(page.moments["slice_end"][user])
    items: list[str] = catalogue.ids[shown.feed[user]].tolist()
    scores = None if shown.scores is None else shown.scores[user].tolist()
    p: list[float] = shown.p[user].tolist()
    worth = slot.reward.worth.get(Kind.CLICK, 0.0) if slot.reward else 0.0
    place = int(page.visit.clicked[user])
    gains = {items[place]: worth} if place >= 0 and worth else {}
    reason = Why.SCORE if in_force.model else Why.POPULAR
    card = SlotCard(f"{name}-{at}.{FEED}", "rerank", prod(p), reason, seq + settings.decide.valid, items=items)
    return Outcome(
        id=card.id,
        user_id=name,
        v=1,
        slot=FEED,
        at=at,
        due=at + settings.learn.window,
        reward=sum(gains.values(), start=0.0),
        seq=seq,
        session=int(page.moments["session_start"][user]),
        card=card,
        ver=Versions(catalogue=catalogue.version, model=in_force.model.version if in_force.model else None),
        signals=Signals(**{each: column[user].item() for each, column in page.people.signals.items()}),
        trace=Trace(candidates=slot.candidates, scores=scores, p=p if card.p < 1 else None),
        hits={Kind.CLICK: 1} if gains else {},
        gains=gains,
        shown=items[0],
        clicked=page.people.clicked[user],
        opened=list(page.people.opened[user]),
    )


def _remember(memory: Memory, visit: Visit, now_ms: Column, points: KindPoints) -> None:
    for place, step in enumerate(STEPS):
        at_ms = (now_ms + visit.offset_ms[:, place]).astype(np.int64)
        memory.observe(visit.happens[:, place], at_ms, _points(step, visit, points), click=step.kind is Kind.CLICK)


def _points(step: Step, visit: Visit, points: KindPoints) -> NDArray[np.int64]:
    """Engagement of one step, thousandths of a point, (n,)."""
    match step.kind:
        case Kind.DWELL:
            dwell_ms = visit.item_dwell_ms if step.on_item else visit.dwell_ms
            worth = points.dwell_second * dwell_ms
        case Kind.SCROLL:
            depth = visit.item_scroll if step.on_item else visit.scroll
            worth = points.scroll_page * 1000.0 * depth
        case kind:
            worth = np.full(len(visit.length_ms), 1000.0 * getattr(points, kind.value))
    return worth.astype(np.int64)
