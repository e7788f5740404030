"""The hidden truth of the pretend website: what people really like, how moods sway them, and what they do on a page."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from jobs.wiring import Refusal
from schemas.catalogue import Item
from schemas.events import Kind
from schemas.slots import Rerank, Slot, Variant

Column = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

INTERESTS: Final = ("sport", "travel", "science", "food", "music", "games", "money", "home")
_PREVALENCE: Final = np.array([0.20, 0.16, 0.14, 0.13, 0.11, 0.10, 0.09, 0.07])
"""Share of the people whose favourite each interest is; no interest is rare, so no list of eight pleases everyone."""

SEGMENTS: Final = ("skimmer", "reader", "browser")
_SEGMENT_SHARE: Final = np.array([0.40, 0.35, 0.25])

MOODS: Final = ("curious", "focused", "hurried", "tired")
_MOOD_KEPT: Final = 0.85  # chance that a mood outlasts a page
_MOODS_OF: Final = np.array([[0.10, 0.20, 0.55, 0.15], [0.55, 0.25, 0.05, 0.15], [0.25, 0.35, 0.15, 0.25]])
"""Per segment, the moods it falls into."""

_SCROLL: Final = np.array([0.20, 0.80, 0.50])
_HOVER: Final = np.array([0.0, 0.0, 0.97])
"""Per segment, mean depth and the chance of a hover on a page: by this, behaviour gives the segment away."""

_APPETITE: Final = np.array([0.35, 0.10, -0.20, -0.60])  # of a mood, in log-odds of a click
_STEEPNESS: Final = np.array([0.35, 0.50, 0.90, 0.70])  # of a mood: how fast attention fades down the list
_PAGE_S: Final = np.array([16.0, 14.0, 8.0, 15.0])  # of a mood: seconds on a page, median
_DEEPER: Final = np.array([0.08, 0.02, -0.08, -0.04])  # of a mood: added to the segment's mean depth of scrolling

ARMS: Final = ("plain", "short_visual", "story")
_ARM_LIFT: Final = np.array([[0.0, 0.90, -0.70], [0.0, -0.70, 0.90], [0.40, -0.80, -0.80]])
"""Per segment and arm, in log-odds: each arm suits somebody, none suits everybody, a blind draw gains nothing."""

_BASE: Final = -6.1  # log-odds of a click on an item that leaves one cold, first in the list
_TASTE: Final = 6.0  # times the share of one's taste
_QUALITY: Final = 0.8
_FRESH: Final = 0.5
_FRESH_H: Final = 72.0
_AGAIN: Final = -1.0  # for an item already opened in this session

# In the order of STEPS.
_CHANCE: Final = {"error": 0.004, "scroll": 0.85, "rage": 0.003, "dwell": 0.95}
_SEARCH: Final = 0.06
_CHANCE_ON_ITEM: Final = {"scroll": 0.8, "dwell": 0.95, "rate": 0.05}
_FOUND: Final = 0.5  # of the searches end in a click
_CART_TO_PURCHASE: Final = 0.4
_LONGER_WITH_ITEM: Final = 1.6


class Step(NamedTuple):
    """Something that may happen on a page view, on the feed or on the item it led to."""

    kind: Kind
    on_item: bool = False


STEPS: Final = (
    Step(Kind.VIEW),
    Step(Kind.ERROR),
    Step(Kind.SCROLL),
    Step(Kind.HOVER),
    Step(Kind.RAGE),
    Step(Kind.DWELL),
    Step(Kind.SEARCH),
    Step(Kind.CLICK),
    Step(Kind.VIEW, on_item=True),
    Step(Kind.SCROLL, on_item=True),
    Step(Kind.DWELL, on_item=True),
    Step(Kind.RATE, on_item=True),
    Step(Kind.CART, on_item=True),
    Step(Kind.PURCHASE, on_item=True),
)
"""In the order in which they happen; a page view takes a subset."""

_FEED_DWELL: Final = STEPS.index(Step(Kind.DWELL))
_ITEM_VIEW: Final = STEPS.index(Step(Kind.VIEW, on_item=True))
_ITEM_DWELL: Final = STEPS.index(Step(Kind.DWELL, on_item=True))


CATALOGUE: Final = 0
VISITORS: Final = 1
VISITS: Final = 2
PUPILS: Final = 3
LESSONS: Final = 4
"""Streams of a seed: the items; the website's people and what they do; other people to learn from, and what they do."""


FEED: Final = "home_feed"
HERO: Final = "hero"
"""The slots its pages have."""


def places(slots: Mapping[str, Slot]) -> tuple[Rerank, Variant]:
    """Find the feed and the hero among the declared slots; raises Refusal where they are not there."""
    feed, hero = slots.get(FEED), slots.get(HERO)
    if not isinstance(feed, Rerank) or not isinstance(hero, Variant):
        raise Refusal(f"slots: the pretend website shows a rerank slot {FEED} and a variant slot {HERO}; declare both")
    return feed, hero


def seeded(seed: int, stream: int) -> Generator:
    """Make the generator of one stream of a seed; streams of one seed are independent of each other."""
    return np.random.default_rng((seed, stream))


@dataclass(frozen=True, slots=True)
class Shelf:
    """The items: what a catalogue says of them, and what it does not."""

    items: tuple[Item, ...]
    interest: Index  # (items,) into INTERESTS
    charm: Column  # (items,) log-odds: quality, freshness, and what no column tells
    price: Column  # (items,)

    @classmethod
    def stocked(cls, rng: Generator, items: int = 200) -> "Shelf":
        """Stock the shelf: interests in turn, quality, age and charm at random, popularity as it follows from them."""
        interest = np.arange(items) % len(INTERESTS)
        quality = rng.beta(4.0, 3.0, items)
        age_h = rng.exponential(120.0, items)
        charm = _QUALITY * (quality - 0.5) + _FRESH * np.exp(-age_h / _FRESH_H) + rng.normal(0.0, 0.4, items)
        # Past clicks also depend on where an item happened to stand, which has nothing to do with it.
        clicks = _PREVALENCE[interest] * np.exp(charm) * rng.lognormal(0.0, 0.35, items)
        popularity = clicks / clicks.max()
        listed = tuple(
            Item(
                id=f"i{n:03d}",
                interest=INTERESTS[interest[n]],
                popularity=round(float(popularity[n]), 4),
                quality=round(float(quality[n]), 4),
                age_h=round(float(age_h[n]), 1),
            )
            for n in range(items)
        )
        return cls(listed, interest, charm, rng.lognormal(3.0, 0.6, items).round(2))

    def most_popular(self, length: int) -> Index:
        """Pick what an editor would pin: the most popular items, best first."""
        return np.argsort(np.array([-item.popularity for item in self.items]), kind="stable")[:length]

    def catalogue_lines(self) -> bytes:
        """Write the payload of a catalogue release: one JSON item a line."""
        return b"".join(msgspec.json.encode(item) + b"\n" for item in self.items)


@dataclass(frozen=True, slots=True)
class Crowd:
    """The people: what nobody but the world knows of them."""

    taste: Column  # (people, interests), rows sum to 1
    segment: Index  # (people,) into SEGMENTS

    @classmethod
    def gathered(cls, rng: Generator, people: int) -> "Crowd":
        """Gather people: a favourite interest each, which persists, and a liking for a few others."""
        favourite = rng.choice(len(INTERESTS), people, p=_PREVALENCE)
        taste = 0.5 * rng.dirichlet(np.full(len(INTERESTS), 0.5), people)
        taste[np.arange(people), favourite] += 0.5
        return cls(taste, rng.choice(len(SEGMENTS), people, p=_SEGMENT_SHARE))

    @property
    def favourite(self) -> Index:
        """Each person's favourite interest, (people,)."""
        return np.asarray(self.taste.argmax(axis=1), dtype=np.intp)

    def first_mood(self, user: Index, rng: Generator) -> Index:
        """Draw the mood in which each user arrives."""
        return _drawn(_MOODS_OF[self.segment[user]], rng)

    def next_mood(self, user: Index, mood: Index, rng: Generator) -> Index:
        """Let moods drift from one page to the next: most stay, some change to what the person is prone to."""
        kept = rng.random(len(user)) < _MOOD_KEPT
        return np.where(kept, mood, self.first_mood(user, rng))


@dataclass(frozen=True, slots=True)
class Visit:
    """What came of n page views: arrays of shape (n,), or (n, steps) where they speak of STEPS."""

    happens: Mask  # (n, steps)
    offset_ms: Column  # (n, steps) from the start of the page view, ascending
    length_ms: Column  # until the next page view
    clicked: Index  # position in the feed, -1 for none
    opened: Index  # item of the click, in the feed or after a search; -1 for none
    hovered: Index  # position in the feed
    scroll: Column  # of the feed, 0 to 1
    item_scroll: Column
    dwell_ms: Column  # on the feed
    item_dwell_ms: Column
    stars: Index  # 1 to 5


@dataclass(frozen=True, slots=True)
class World:
    """Items and people, and what happens between them."""

    shelf: Shelf
    crowd: Crowd
    lift: Column  # (segments, arms), log-odds

    @classmethod
    def of(cls, seed: int, people: int, stream: int) -> "World":
        """Make the world of a seed: always the same items, and as many people as asked for, others in each stream."""
        return cls(Shelf.stocked(seeded(seed, CATALOGUE)), Crowd.gathered(seeded(seed, stream), people), _ARM_LIFT)

    @property
    def best(self) -> Index:
        """The arm that suits each segment best, (segments,)."""
        return np.asarray(self.lift.argmax(axis=1), dtype=np.intp)

    def flipped(self) -> "World":
        """Turn tastes round: what the short visual was to everybody, the story is from now on, and the reverse."""
        return replace(self, lift=self.lift[:, [0, 2, 1]])

    def click_probability(
        self, user: Index, mood: Index, item: Index, position: Index, arm: Index, *, seen: Mask | None = None
    ) -> Column:
        """How likely a click is, given that the user gets that far; all arguments broadcast against each other.

        An examination model (Richardson et al., WWW 2007): the chance to look at a position, times the chance to
        want what stands there.

        Args:
            user: into the crowd.
            mood: into MOODS.
            item: into the shelf.
            position: place in the list, from 0.
            arm: of the hero, into ARMS.
            seen: whether the user already opened the item in this session; None: no item.

        Returns:
            Probabilities, in the broadcast shape.
        """
        segment = self.crowd.segment[user]
        wish = (
            _BASE
            + _TASTE * self.crowd.taste[user, self.shelf.interest[item]]
            + self.shelf.charm[item]
            + _APPETITE[mood]
            + self.lift[segment, arm]
        )
        if seen is not None:
            wish = wish + _AGAIN * seen
        looked = (1.0 + position) ** -_STEEPNESS[mood]
        chance: Column = looked / (1.0 + np.exp(-wish))
        return chance

    def purchase_probability(self, user: Index, mood: Index, item: Index) -> Column:
        """How likely someone who opened an item buys it; all arguments broadcast against each other."""
        share = self.crowd.taste[user, self.shelf.interest[item]]
        chance: Column = (0.02 + 0.08 * share) * np.exp(0.5 * _APPETITE[mood])
        return chance

    def feed_click_rate(self, user: Index, mood: Index, feed: Index, arm: Index) -> Column:
        """How likely a page view with this feed, (n, length), ends in a click on it, (n,)."""
        position = np.arange(feed.shape[1])
        p = self.click_probability(user[:, None], mood[:, None], feed, position, arm[:, None])
        rate: Column = 1.0 - np.prod(1.0 - p, axis=1)
        return rate

    def found(self, user: Index, rng: Generator) -> Index:
        """Draw what each user opens after a search: an item of an interest drawn from their taste."""
        interest = _drawn(self.crowd.taste[user], rng)
        # The shelf holds the interests in turn, so every len(INTERESTS)-th item is of the same.
        rows = len(self.shelf.items) // len(INTERESTS)
        return rng.integers(0, rows, len(user), dtype=np.intp) * len(INTERESTS) + interest

    def visit(self, user: Index, mood: Index, feed: Index, arm: Index, *, seen: Mask, rng: Generator) -> Visit:
        """Play n page views: who scrolls, hovers, searches, clicks, buys, and when.

        Whoever clicks leaves the feed, so a page view has one click at most: the first in the order of the list.

        Args:
            user: into the crowd, (n,).
            mood: into MOODS, (n,).
            feed: items shown, into the shelf, (n, length).
            arm: of the hero, into ARMS, (n,).
            seen: which of the feed's items the user opened in this session, (n, length).
            rng: the only source of chance.

        Returns:
            What happened, and when.
        """
        n, length = feed.shape
        p = self.click_probability(user[:, None], mood[:, None], feed, np.arange(length), arm[:, None], seen=seen)
        wanted = rng.random((n, length)) < p
        clicks = wanted.any(axis=1)
        clicked = np.where(clicks, wanted.argmax(axis=1), -1)
        hovered = (rng.random((n, length)) * p).argmax(axis=1)

        searches = ~clicks & (rng.random(n) < _SEARCH)
        finds = searches & (rng.random(n) < _FOUND)
        opens = clicks | finds
        opened = np.where(finds, self.found(user, rng), np.where(clicks, feed[np.arange(n), clicked], -1))
        match = np.where(opens, self.crowd.taste[user, self.shelf.interest[opened]], 0.0)
        carts = opens & (rng.random(n) < self.purchase_probability(user, mood, opened) / _CART_TO_PURCHASE)
        buys = carts & (rng.random(n) < _CART_TO_PURCHASE)
        segment = self.crowd.segment[user]
        chances = _CHANCE | {"hover": _HOVER[segment]}
        on_feed = [rng.random(n) < chances[step.kind.value] for step in STEPS[1 : _FEED_DWELL + 1]]
        on_item = [opens & (rng.random(n) < chance) for chance in _CHANCE_ON_ITEM.values()]
        # The order of STEPS.
        happens = np.stack([np.ones(n, bool), *on_feed, searches, opens, opens, *on_item, carts, buys], axis=1)

        depth = _SCROLL[segment] + _DEEPER[mood]
        length_ms = 1000.0 * _PAGE_S[mood] * rng.lognormal(0.0, 0.5, n) * np.where(opens, _LONGER_WITH_ITEM, 1.0)
        cell = (np.arange(len(STEPS)) + rng.random((n, len(STEPS)))) / len(STEPS)
        cell[:, 0] = 0.0  # a page view starts with its view
        offset_ms = cell * length_ms[:, None]
        return Visit(
            happens=happens,
            offset_ms=offset_ms,
            length_ms=length_ms,
            clicked=clicked,
            opened=opened,
            hovered=hovered,
            scroll=_depth(depth, rng),
            item_scroll=_depth(np.clip(depth + 0.4 * (match - 0.3), 0.1, 0.9), rng),
            dwell_ms=offset_ms[:, _FEED_DWELL] * rng.uniform(0.5, 1.0, n),
            item_dwell_ms=(offset_ms[:, _ITEM_DWELL] - offset_ms[:, _ITEM_VIEW]) * np.clip(0.3 + match, 0.3, 1.0),
            stars=np.clip(np.round(2.5 + 3.0 * match + rng.normal(0.0, 0.7, n)), 1, 5).astype(np.intp),
        )


def _depth(mean: Column, rng: Generator) -> Column:
    """Draw scroll depths around their means, 0 to 1: a beta distribution of concentration 20."""
    return rng.beta(20.0 * mean, 20.0 * (1.0 - mean))


def _drawn(chances: Column, rng: Generator) -> Index:
    """Draw one option per row of chances, (n, options) -> (n,)."""
    at_least = rng.random(len(chances))[:, None] >= chances.cumsum(axis=1)
    # Rounding may leave the last sum a hair below 1.
    option: Index = np.minimum(at_least.sum(axis=1, dtype=np.intp), chances.shape[1] - 1)
    return option
