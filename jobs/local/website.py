"""The pretend website: people come, look around, click or leave, and most are shown what was decided for them."""

import argparse
import heapq
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from jobs.local.world import (
    ARMS,
    FEED,
    HERO,
    SEGMENTS,
    STEPS,
    VISITORS,
    VISITS,
    Column,
    Index,
    Step,
    Visit,
    World,
    places,
    seeded,
)
from jobs.wiring import Refusal, wire
from jobs.wiring.keys import key_ring
from schemas.decisions import Why
from schemas.events import Kind, Purpose
from schemas.reader import Read, Reader, SlotCard, exposure, pseudonym
from schemas.settings import Settings
from udfs.draw import ticket
from udfs.learning.rates import NEVER, Rate, chance, rate

TOPIC: Final = "clicks"
AGREED: Final = {purpose.value: True for purpose in Purpose}
"""What every visitor has agreed to."""

QUANTUM_MS: Final = 50
"""What is due within such a stretch is done at once; stretches, not the clock, so that a slow machine only lags."""

SECONDS_PER_EVENT: Final = 3.0
PAGES_PER_SESSION: Final = 12.0
_USERS_PER_ACTIVE: Final = 2.5
_DRAWN: Final = (Why.SPLIT.value, Why.LEARNED.value, Why.RULE.value)
_EXPOSED_AFTER_MS: Final = 250.0
_ASSUMED: Final = (5.5, 16_500.0)  # events and ms of a page view, until 500 were seen
_ASSUMED_WEIGHT: Final = 500
_LEFT_OF_PAGE: Final = 0.72  # of a mean page view, to whoever looks in at random: (1 + variance / mean^2) / 2
_FLUSH_S: Final = 10.0
_REPORT_S: Final = 5.0


class Producer(Protocol):
    """What is asked of a Kafka producer."""

    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Callable[[Any, Any], None]) -> None:
        """Queue a record; raises BufferError where the queue is full."""

    def poll(self, timeout: float) -> int:
        """Serve delivery reports."""

    def flush(self, timeout: float) -> int:
        """Wait until everything is acknowledged; returns how much is not."""


class Cards(Protocol):
    """What is asked of `schemas.reader.Reader`."""

    def read(self, user_id: str, *, default: Mapping[str, SlotCard]) -> Read:
        """Read what to show to one person."""


@dataclass(frozen=True, slots=True)
class Group:
    """How one group of page views went."""

    views: int = 0
    clicks: int = 0
    purchases: int = 0
    rate: Rate = NEVER
    """Of page views that ended in a click on the feed, page views of one person taken together."""


@dataclass(frozen=True, slots=True)
class Score:
    """What the website saw so far; it knows who was treated, and learns nothing."""

    events: int = 0
    lost: int = 0
    personalised: int = 0
    treated: Group = Group()
    control: Group = Group()
    arms: tuple[tuple[int, ...], ...] = ()
    """Hidden segment, arm -> page views of the treated for which it was drawn."""

    @property
    def personalised_share(self) -> float:
        """Share of the treated page views that showed the user's own card; 0 where there was none."""
        return self.personalised / self.treated.views if self.treated.views else 0.0

    @property
    def purchases(self) -> int:
        """Purchases of both groups."""
        return self.treated.purchases + self.control.purchases

    @property
    def p(self) -> float:
        """How likely the two groups' click rates would differ at least so much by chance alone."""
        return chance(self.treated.rate, self.control.rate)


@dataclass(frozen=True, slots=True)
class _Page:
    """What one page view shows: rows of the shelf, an arm, and the cards it came from."""

    feed: Index
    arm: int
    cards: Mapping[str, SlotCard]
    own: bool


class Website:
    """Visitors at a steady rate, in event time that follows the clock.

    The same seed gives the same people, arrivals and chances; what they do also depends on what Redis answers.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        seed: int,
        rate: float,
        control_share: float,
        producer: Producer,
        reader: Cards,
        now: Callable[[], int],
        sleep: Callable[[float], object],
        users: int | None = None,
    ) -> None:
        """Open the doors; nobody is in yet.

        Args:
            settings: slots and pseudonym key.
            seed: of the world and everything that happens in it.
            rate: events per second to come to, on average.
            control_share: share of the users who are shown the default whatever was decided, 0 to 1.
            producer: takes the events.
            reader: answers what was decided.
            now: the clock, ms since 1970.
            sleep: waits so many seconds.
            users: how many different people there are; None: enough for the rate.

        Raises:
            Refusal: the slots are not those the pages have, or there are too few users for the rate.
        """
        active = max(1, round(rate * SECONDS_PER_EVENT))
        people = max(20, math.ceil(active * _USERS_PER_ACTIVE)) if users is None else users
        if people < active * 1.25:
            raise Refusal(f"website: {rate:g} events/s need about {math.ceil(active * 1.25)} users, got {people}")
        self._rate = rate
        self._producer = producer
        self._reader = reader
        self._now = now
        self._sleep = sleep
        self._world = World.of(seed, people, VISITORS)
        self._rng = seeded(seed, VISITS)

        names = [f"u{seed}-{person}" for person in range(people)]
        key = key_ring(settings.pseudonyms, os.environ)[0]
        self._names = names
        self._pseudonyms = [pseudonym(name, key.secret, key.id) for name in names]
        self._control = np.array([ticket(f"website|{seed}|{name}") < control_share for name in names])

        feed, hero = places(settings.slots)
        self._ids = [item.id for item in self._world.shelf.items]
        self._rows = {item_id: row for row, item_id in enumerate(self._ids)}
        pinned = self._world.shelf.most_popular(feed.length)
        self._default: dict[str, SlotCard] = {
            FEED: {"kind": "rerank", "items": [self._ids[row] for row in pinned]},
            HERO: {"kind": "variant", "arm": hero.default},
        }
        self._pinned = pinned
        self._plain = _Page(pinned, _arm(hero.default), {}, own=False)

        self._mood = np.zeros(people, dtype=np.intp)
        self._seen = np.zeros((people, len(self._ids)), dtype=np.bool_)
        self._leaves = np.zeros(people, dtype=np.bool_)
        self._away = list(range(people))
        self._pages: list[tuple[float, int]] = []  # (due, user)
        self._events: list[tuple[float, int, bytes, bytes]] = []  # (due, number, key, body)
        self._made = 0
        self._quantum = 0
        self._started = 0
        self._tally = np.array(_ASSUMED) * _ASSUMED_WEIGHT
        self._tallied = _ASSUMED_WEIGHT
        self._lock = threading.Lock()
        self._score = Score()
        # What came of each person's page views: views, clicks, purchases.
        self._came = np.zeros((people, 3), dtype=np.int64)
        self._arms = np.zeros((len(SEGMENTS), len(ARMS)), dtype=np.int64)
        self._fill(active)

    def run(self, seconds: float, stop: threading.Event) -> None:
        """Play so many seconds (infinity: for ever), or until told to stop; another call goes on where this one ended.

        Where the broker's queue is full it waits for room, so a broker that is away delays visitors and loses none.
        """
        last = self._quantum + seconds * 1000 / QUANTUM_MS
        self._started = self._now() - self._quantum * QUANTUM_MS
        while self._quantum < last and not stop.is_set():
            # Only when the stretch is over: no event is sent before it happened.
            ahead_ms = self._started + (self._quantum + 1) * QUANTUM_MS - self._now()
            if ahead_ms > 0:
                self._sleep(ahead_ms / 1000)
            self._play(self._quantum * QUANTUM_MS, stop)
            self._quantum += 1
        self._producer.flush(_FLUSH_S)

    def score(self) -> Score:
        """What happened so far; may be asked from any thread."""
        with self._lock:
            return replace(
                self._score,
                treated=_group(self._came[~self._control]),
                control=_group(self._came[self._control]),
                arms=tuple(map(tuple, self._arms.tolist())),
            )

    def flip(self) -> None:
        """Turn the visitors' tastes round, from the next page view on; may be asked from any thread."""
        self._world = self._world.flipped()

    @property
    def best(self) -> tuple[int, ...]:
        """The arm that suits each hidden segment best at the moment."""
        return tuple(self._world.best.tolist())

    def _play(self, start_ms: float, stop: threading.Event) -> None:
        """Do everything that is due within the quantum."""
        end_ms = start_ms + QUANTUM_MS
        # Nobody comes while everybody is here.
        for _ in range(min(len(self._away), self._rng.poisson(self._arrivals_per_ms() * QUANTUM_MS))):
            self._welcome(start_ms)
        due: list[tuple[float, int]] = []
        while self._pages and self._pages[0][0] < end_ms:
            at_ms, user = heapq.heappop(self._pages)
            if self._leaves[user]:
                self._away.append(user)
            else:
                due.append((at_ms, user))
        if due:
            self._show(np.array([at_ms for at_ms, _ in due]), np.array([user for _, user in due], dtype=np.intp))
        sent = 0
        while self._events and self._events[0][0] < end_ms and not stop.is_set():
            _, _, key, body = heapq.heappop(self._events)
            sent += self._send(key, body, stop)
        self._producer.poll(0)
        with self._lock:
            self._score = replace(self._score, events=self._score.events + sent)

    def _fill(self, active: int) -> None:
        """Begin in full swing: so many users in the middle of a page, from which some will leave as from any other."""
        for _ in range(active):
            user = self._welcome(self._rng.exponential(_LEFT_OF_PAGE * self._page_ms()))
            self._leaves[user] = self._rng.random() < 1.0 / PAGES_PER_SESSION

    def _welcome(self, at_ms: float) -> int:
        """Let somebody who is away begin a session."""
        place = int(self._rng.integers(len(self._away)))
        self._away[place], self._away[-1] = self._away[-1], self._away[place]
        user = self._away.pop()
        self._mood[user] = self._world.crowd.first_mood(np.array([user]), self._rng)[0]
        self._seen[user] = False
        self._leaves[user] = False
        heapq.heappush(self._pages, (at_ms, user))
        return user

    def _show(self, at_ms: Column, user: Index) -> None:
        """Show a page to each of some users, and note what they will do on it."""
        rng, rows = self._rng, np.arange(len(user))
        pages = [self._page(person) for person in user.tolist()]
        feed = np.stack([page.feed for page in pages])
        arm = np.array([page.arm for page in pages], dtype=np.intp)
        seen = self._seen[user[:, None], feed]
        visit = self._world.visit(user, self._mood[user], feed, arm, seen=seen, rng=rng)
        before = self._made
        for row in rows.tolist():
            self._note(int(user[row]), pages[row], visit, row, float(at_ms[row]))
        self._count(user, pages, visit)

        opens = visit.opened >= 0
        self._seen[user[opens], visit.opened[opens]] = True
        self._mood[user] = self._world.crowd.next_mood(user, self._mood[user], rng)
        self._leaves[user] = rng.random(len(user)) < 1.0 / PAGES_PER_SESSION
        for due_ms, person in zip((at_ms + visit.length_ms * self._pace()).tolist(), user.tolist(), strict=True):
            heapq.heappush(self._pages, (due_ms, person))
        self._tally += (self._made - before, visit.length_ms.sum())
        self._tallied += len(user)

    def _page(self, user: int) -> _Page:
        """Lay out a page: what was decided, filled up with what is pinned where the shelf lacks an item."""
        if self._control[user]:
            return self._plain
        read = self._reader.read(self._pseudonyms[user], default=self._default)
        listed = [self._rows[item] for item in read.slots[FEED]["items"] if item in self._rows]
        filled = dict.fromkeys([*listed, *self._pinned.tolist()])
        feed = np.fromiter(filled, dtype=np.intp)[: len(self._pinned)]
        return _Page(feed, _arm(read.slots[HERO]["arm"]), read.slots, own=read.source == "user")

    def _note(self, user: int, page: _Page, visit: Visit, row: int, at_ms: float) -> None:
        """Queue the events of one page view, each for its own moment."""
        pace = self._pace()
        for shown in self._exposures(user, page):
            self._queue(user, at_ms + _EXPOSED_AFTER_MS, shown)
        for place in np.flatnonzero(visit.happens[row]).tolist():
            body = self._event(STEPS[place], page, visit, row)
            self._queue(user, at_ms + float(visit.offset_ms[row, place]) * pace, body)

    def _exposures(self, user: int, page: _Page) -> Iterator[dict[str, object]]:
        for slot, shown in ((FEED, self._ids[page.feed[0]]), (HERO, ARMS[page.arm])):
            said = exposure(self._names[user], page.cards.get(slot, {}), shown, 0)
            if said is not None:
                yield said | {"page": "/"}

    def _event(self, step: Step, page: _Page, visit: Visit, row: int) -> dict[str, object]:
        """Say what one step of a page view looks like to a tracker."""
        body: dict[str, object] = {"kind": step.kind.value, "page": "/"}
        opened, clicked = int(visit.opened[row]), int(visit.clicked[row])
        if step.on_item:
            body |= {"page": f"/items/{self._ids[opened]}", "item": self._ids[opened]}
        match step:
            case Step(Kind.HOVER):
                body |= {"item": self._ids[page.feed[visit.hovered[row]]], "position": int(visit.hovered[row])}
            case Step(Kind.SCROLL):
                body["scroll"] = round(float((visit.item_scroll if step.on_item else visit.scroll)[row]), 3)
            case Step(Kind.DWELL):
                dwell_ms = (visit.item_dwell_ms if step.on_item else visit.dwell_ms)[row]
                body["dwell_ms"] = round(float(dwell_ms) * self._pace())
            case Step(Kind.CLICK):
                body |= {"item": self._ids[opened]} | ({"position": clicked} if clicked >= 0 else {"page": "/search"})
            case Step(Kind.SEARCH):
                body["page"] = "/search"
            case Step(Kind.RATE):
                body["value"] = float(visit.stars[row])
            case Step(Kind.CART | Kind.PURCHASE):
                body["value"] = float(self._world.shelf.price[opened])
        answers = page.cards.get(FEED, {}).get("id")
        if answers and clicked >= 0 and step.kind in (Kind.CLICK, Kind.CART, Kind.PURCHASE):
            body |= {"slot": FEED, "decision_id": answers}
        return body

    def _queue(self, user: int, due_ms: float, body: dict[str, object]) -> None:
        name, at = self._names[user], self._started + round(due_ms)
        full = {
            "user_id": name,
            "event_id": f"{self._started:x}-{self._made:x}",
            "occurred_at": at,
            "consent": AGREED,
        } | body
        heapq.heappush(self._events, (due_ms, self._made, name.encode(), msgspec.json.encode(full)))
        self._made += 1

    def _send(self, key: bytes, body: bytes, stop: threading.Event) -> bool:
        while not stop.is_set():
            try:
                self._producer.produce(TOPIC, body, key, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return True
        return False

    def _delivered(self, error: object, _: object) -> None:
        if error is not None:
            with self._lock:
                self._score = replace(self._score, lost=self._score.lost + 1)

    def _count(self, user: Index, pages: list[_Page], visit: Visit) -> None:
        buys = visit.happens[:, STEPS.index(Step(Kind.PURCHASE, on_item=True))]
        came = np.stack([np.ones(len(user), dtype=np.int64), visit.clicked >= 0, buys], axis=1)
        drawn = np.array([page.own and page.cards[HERO].get("reason") in _DRAWN for page in pages])
        arms = np.array([page.arm for page in pages], dtype=np.intp)[drawn]
        with self._lock:
            np.add.at(self._came, user, came)
            np.add.at(self._arms, (self._world.crowd.segment[user[drawn]], arms), 1)
            self._score = replace(self._score, personalised=self._score.personalised + sum(page.own for page in pages))

    def _pace(self) -> float:
        """Stretch of a page view that gives an event every three seconds, from what page views were like so far."""
        events, length_ms = self._tally
        return float(SECONDS_PER_EVENT * 1000.0 * events / length_ms)

    def _page_ms(self) -> float:
        return float(SECONDS_PER_EVENT * 1000.0 * self._tally[0] / self._tallied)

    def _arrivals_per_ms(self) -> float:
        """As many as leave: those active, over the length of a session."""
        return self._rate * SECONDS_PER_EVENT / (PAGES_PER_SESSION * self._page_ms())


def line(score: Score) -> str:
    """Write a score for people, on one line.

    >>> print(line(Score(events=9, personalised=2, treated=Group(8, 4, 1, Rate(0.5, 0.1)), control=Group(2, 0))))
    events 9, own cards 25 %, clicks: treated 50.0 % [30.4, 69.6] of 8, control 0.0 % [0.0, 0.0] of 2, p 5.7e-07
    """
    treated, control = (
        f"{100 * group.rate.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {group.views}"
        for group in (score.treated, score.control)
        for low, high in [group.rate.interval]
    )
    return (
        f"events {score.events}, own cards {100 * score.personalised_share:.0f} %, clicks: treated {treated}, "
        f"control {control}, p {score.p:.2g}" + (f", lost {score.lost}" if score.lost else "")
    )


def settled(score: Score, before: Score, best: Sequence[int]) -> list[float]:
    """Say how often each hidden segment drew the arm that suits it best, of the page views between two scores.

    Args:
        score: the later one.
        before: the earlier one.
        best: of each segment, its best arm.

    Returns:
        Of each segment, 0 to 1; nan where nobody looked.

    >>> settled(Score(arms=((3, 7), (2, 2))), Score(arms=((1, 1), (2, 2))), [1, 0])
    [0.75, nan]
    """
    now = np.array(score.arms, dtype=np.float64)
    drawn = now - np.array(before.arms) if before.arms else now
    shown = drawn.sum(axis=1)
    found: list[float] = np.divide(
        drawn[np.arange(len(drawn)), best], shown, out=np.full(len(drawn), np.nan), where=shown > 0
    ).tolist()
    return found


def _group(came: NDArray[np.int64]) -> Group:
    views, clicks, purchases = came.T
    return Group(int(views.sum()), int(clicks.sum()), int(purchases.sum()), rate(clicks, views))


def _arm(name: str) -> int:
    """Find an arm's place in the world; one that the world does not know looks plain."""
    return ARMS.index(name) if name in ARMS else 0


def opened(settings: Settings, *, seed: int, rate: float, control_share: float, users: int | None = None) -> Website:
    """Open the website against the configured broker and Redis, by the wall clock; arguments as for `Website`."""
    return Website(
        settings,
        seed=seed,
        rate=rate,
        control_share=control_share,
        producer=wire.producer(settings.kafka.bootstrap),
        reader=Reader.connect(settings.redis.url, prefix=settings.redis.prefix),
        now=lambda: time.time_ns() // 1_000_000,
        sleep=time.sleep,
        users=users,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs website", description=__doc__)
    parser.add_argument("--rate", type=float, required=True, metavar="EVENTS_PER_S")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--users", type=int, help="how many different people; if not given, enough for the rate")
    parser.add_argument("--control", type=float, default=0.2, help="share who see the default (0.2)")
    return parser


def main(settings: Settings, arguments: list[str]) -> int:
    """Play visitors against the configured broker and Redis; print a line every five seconds and one at the end.

    Raises:
        Refusal: an argument is out of range, no broker answers, it lacks the topic, or slots or secret are not there.
    """
    asked = _parser().parse_args(arguments)
    if not (asked.rate > 0 and asked.seconds > 0 and asked.seed >= 0 and 0 <= asked.control <= 1):
        raise Refusal("website: --rate and --seconds must be above 0, --seed at least 0, --control from 0 to 1")
    wire.require(wire.admin(settings.kafka.bootstrap, settings.kafka.wait), [TOPIC])
    website = opened(settings, seed=asked.seed, rate=asked.rate, control_share=asked.control, users=asked.users)
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        visitors = pool.submit(website.run, asked.seconds, stop)
        try:
            while not wait([visitors], timeout=_REPORT_S).done:
                print(line(website.score()), flush=True)
        finally:
            stop.set()
        visitors.result()
    print(line(website.score()), flush=True)
    return 0
