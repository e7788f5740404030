"""Claim: a page's own list is put in a good order by a model that sees and says in the job what it does offline."""

import gzip
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import lightgbm
import numpy as np
from msgspec import json
from numpy.typing import NDArray

from jobs.wiring.keys import key_ring
from jobs.wiring.publishing import published
from schemas.catalogue import Item
from schemas.decisions import Decision
from schemas.releases import Manifest
from schemas.settings import Settings
from schemas.signals import FEATURES, USER_FEATURES, Signals
from tests.claims.claim import Claim, Result, folder, settings, shared
from tests.claims.oracle import Oracle
from tests.claims.typed import replayed
from udfs.cleaning.pseudonym import pseudonymiser
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.rank import People, features
from udfs.scoring.models import golden
from udfs.scoring.ndcg import ndcg
from udfs.training.fitting import Rows, fitted

Column = NDArray[np.float64]

CLAIM: Final = Claim(
    name="ranklens",
    sentence=(
        "A page that asks for the order of its own list of films (RankLens) gets it from a model taught on other"
        " people: what the model sees is what the list of all events says, what it scores is what LightGBM scores."
    ),
    bar="NDCG@10 at least 0.600 for held-out users; scores within 1e-9 of LightGBM's; 0 features off",
)

BAR: Final = 0.600
AMONG: Final = 10
TOLERANCE: Final = 1e-9
SLOT: Final = "home_feed"
CONSENT: Final = {"personalize": True, "learn": True, "measure": True}
TAUGHT: Final = 0.7
"""Share of the users, in the order of their first lists, on whom the model is taught."""

BELIEF: Final = 30.0
"""Times shown that count as much as what a film's description lets expect of its click rate."""

FOLDS: Final = 5
"""Of the users taught on: what a film is worth in their lists is worked out from those of the other folds."""

_RIDGE: Final = 30.0
_RESAMPLES: Final = 2000
_GOLDEN_ROWS: Final = 32
_REAL: Final = frozenset(name for name in USER_FEATURES if isinstance(getattr(Signals(), name), float))


class Asked(NamedTuple):
    """A list of films that somebody was shown.

    Attributes:
        at: when, ms since 1970.
        user: whose page it was.
        id: of the list.
        items: as shown.
        clicked: film -> when it was clicked, ms since 1970.
    """

    at: int
    user: str
    id: str
    items: list[str]
    clicked: dict[str, int]


class Answer(NamedTuple):
    """What the job made of a list.

    Attributes:
        record: of the decision.
        items: in the job's order.
        table: (films of the catalogue, features), in the page's order: what a model sees.
        places: of those films on the page.
    """

    record: Decision
    items: list[str]
    table: Column
    places: list[int]


@dataclass(frozen=True)
class Films:
    """What is known of the films.

    Attributes:
        ids: in the order of the file.
        rows: id -> place.
        votes: how many people have voted, logarithm, as a share of the largest, 0 to 1.
        hours: since the release, at the first list.
        genres: the first that is named; "" for none.
        described: (films, columns) all that a description tells, for a regression.
    """

    ids: list[str]
    rows: Mapping[str, int]
    votes: Column
    hours: Column
    genres: list[str]
    described: Column


def run() -> Result:
    """Replay all lists twice: to learn from what the job knew of people, and to see it decide with what was learned."""
    source, place = shared("ranklens_a"), folder(CLAIM.name)
    asked = list(lists(source / "events.jsonl.gz"))
    known = films(source / "items.jsonl.gz", now=asked[0].at)
    taught, held = parted(asked)
    stream = events(asked)
    raw, store = place / "events.jsonl", f"releases.store={place / 'store'}"
    raw.write_bytes(b"".join(json.encode(event) + b"\n" for event in stream))
    conf = settings(store)
    worth = rates(known, taught)
    shelf = shelved(known, worth, worth.max())
    lines = b"".join(json.encode(item) + b"\n" for item in shelf.values())
    catalogue = Catalogue.parse("c1", lines)
    published(conf.releases, "catalogue", lines, "the claim", at="start")
    replayed((store,), raw, "trimtab", place / "before")
    before = answers(place / "before", asked, catalogue, conf)
    text, manifest = learned(known, taught, before, worth.max())
    published(conf.releases, "model", text.encode(), "the claim", manifest=manifest, at="start")
    replayed((store,), raw, "trimtab", place / "after")
    after = answers(place / "after", asked, catalogue, conf)
    unanswered = sum(each.id not in before or each.id not in after for each in asked)
    if unanswered:
        return Result(f"{unanswered} of {len(asked)} lists are not answered", passed=False)
    clicks = dict(zip(known.ids, rates(known, taught, described=False).tolist(), strict=True))
    ranked = quality(
        held,
        {
            "job": lambda each: after[each.id].items,
            "prefilter": lambda each: before[each.id].items,
            "shown": lambda each: each.items,
            "votes": lambda each: sorted(each.items, key=lambda item: -shelf[item].quality if item in shelf else 1),
            "clicks": lambda each: sorted(each.items, key=lambda item: -clicks.get(item, -1)),
            "worth": lambda each: sorted(each.items, key=lambda item: -shelf[item].popularity if item in shelf else 1),
        },
    )
    scored = scores(held, after, lightgbm.Booster(model_str=text))
    seen = seen_alike(asked, before, after)
    plainly = held_to_events(asked, after, stream, Oracle(conf, {}), shelf)
    job = ranked["job"]
    return Result(
        figure=(
            f"NDCG@10 {job['mean']:.4f} (95 % {job['low']:.3f} to {job['high']:.3f}) on {ranked['lists']:,} lists of"
            f" {ranked['users']:,} held-out users, against {ranked['clicks']['mean']:.4f} by click rate,"
            f" {ranked['worth']['mean']:.4f} by click rate and description, {ranked['votes']['mean']:.4f} by votes,"
            f" {ranked['shown']['mean']:.4f} as shown, {ranked['random']['mean']:.4f} at random; {scored['scores']:,}"
            f" scores, at most {scored['largest']:.1e} off; {plainly['numbers']:,} features, {plainly['off']} off"
        ),
        passed=job["mean"] >= BAR and scored["largest"] <= TOLERANCE and plainly["off"] == seen == 0,
        details={"ndcg": ranked, "scores": scored, "features": plainly, "moved_between_replays": seen},
    )


def lists(path: Path) -> Iterator[Asked]:
    """Read the lists and what was clicked of them, in the order of time."""
    found: dict[str, Asked] = {}
    clicks = []
    for record in _lines(path):
        at, user = int(record["timestamp"]), record["user"]
        if record["event"] == "ranking":
            found[record["id"]] = Asked(at, user, record["id"], [item["id"] for item in record["items"]], {})
        else:
            clicks.append((at, record["ranking"], record["item"]))
    for at, shown, item in clicks:
        found[shown].clicked[item] = at
    yield from sorted(found.values(), key=lambda each: (each.at, each.user, each.id))


def films(path: Path, now: int) -> Films:
    """Read what is known of the films.

    Args:
        path: of the file.
        now: ms since 1970, from when on a film's age is counted.
    """
    found = {line["item"]: {field["name"]: field["value"] for field in line["fields"]} for line in _lines(path)}
    every = list(found.values())
    votes, liked, popular, budget, released = (
        np.array([film[name] for film in every], dtype=np.float64)
        for name in ("vote_cnt", "vote_avg", "popularity", "budget", "release_date")
    )
    names = sorted({genre for film in every for genre in film["genres"]})
    of_genres = np.array([[name in film["genres"] for name in names] for film in every], dtype=np.float64)
    v, a, p, b, t = (
        _standard(each) for each in (np.log1p(votes), liked, np.log1p(popular), np.log1p(budget), released)
    )
    columns = [np.ones_like(v), v, v**2, p, a, a**2, b, budget == 0, t, t**2, v * t, v * a]
    return Films(
        ids=list(found),
        rows={film: row for row, film in enumerate(found)},
        votes=np.log1p(votes) / np.log1p(votes.max()),
        hours=np.maximum(now / 1000 - released, 0) / 3600,
        genres=[film["genres"][0] if film["genres"] else "" for film in every],
        described=np.column_stack([*columns, of_genres]),
    )


def parted(asked: Iterable[Asked]) -> tuple[list[Asked], list[Asked]]:
    """Part the lists of those whom the model is taught on from those of the others, who came later."""
    of: defaultdict[str, list[Asked]] = defaultdict(list)
    for each in asked:
        of[each.user].append(each)
    users = list(of)
    until = int(TAUGHT * len(users))
    return [each for user in users[:until] for each in of[user]], [each for user in users[until:] for each in of[user]]


def events(asked: Iterable[Asked]) -> list[dict[str, Any]]:
    """Write lists and clicks down as a page would send them, in the order of time."""
    found: list[dict[str, Any]] = []
    for each in asked:
        common = {"user_id": each.user, "consent": CONSENT}
        found.append(
            common | {"kind": "ask", "slot": SLOT, "items": each.items, "event_id": each.id, "occurred_at": each.at}
        )
        found += [
            common | {"kind": "click", "item": item, "event_id": f"{each.id}/{item}", "occurred_at": at}
            for item, at in each.clicked.items()
        ]
    return sorted(found, key=lambda event: event["occurred_at"])


def rates(known: Films, asked: Iterable[Asked], belief: float = BELIEF, *, described: bool = True) -> Column:
    """Give each film's click rate, drawn towards what its description lets expect, the more the less it was shown.

    The mean of a beta-binomial posterior, whose prior mean is a ridge regression of click rates on descriptions; where
    it is not asked for, the click rate of all.
    """
    shown, clicked = np.zeros(len(known.ids)), np.zeros(len(known.ids))
    for each in asked:
        for item in each.items:
            if item in known.rows:
                shown[known.rows[item]] += 1
                clicked[known.rows[item]] += item in each.clicked
    expected = np.full(len(shown), clicked.sum() / shown.sum())
    if described:
        weighted = (known.described * shown[:, np.newaxis]).T
        penalty = _RIDGE * np.eye(len(weighted))
        penalty[0, 0] = 0  # of the mean
        weights = np.linalg.solve(weighted @ known.described + penalty, known.described.T @ clicked)
        expected = np.clip(known.described @ weights, 0.01, 0.99)
    rate: Column = (clicked + belief * expected) / (shown + belief)
    return rate


def shelved(known: Films, worth: Column, most: float) -> dict[str, Item]:
    """Make a catalogue: popular is what is clicked when it is shown, as a share of `most`, good what many voted on."""
    columns = zip(known.ids, known.genres, worth / most, known.votes, known.hours, strict=True)
    return {
        film: Item(film, genre, float(rate), float(votes), float(hours)) for film, genre, rate, votes, hours in columns
    }


def by_question(asked: Sequence[Asked], conf: Settings) -> dict[tuple[str, tuple[str, ...]], Asked]:
    """Find a list by what its decision says: the person's pseudonym, and the films that the page sent."""
    key = key_ring(conf.pseudonyms, {})[0]
    known_as = pseudonymiser(key.secret, key.id)
    return {(known_as(each.user), tuple(each.items)): each for each in asked}


def answers(out: Path, asked: Sequence[Asked], catalogue: Catalogue, conf: Settings) -> dict[str, Answer]:
    """Find what the job answered to each list, by the list's id; what it did not answer is missing."""
    of, found = by_question(asked, conf), {}
    for line in (out / "decisions.jsonl").read_bytes().splitlines():
        record = _decode(line)
        if not record.asked:
            continue
        each = of[record.user_id, tuple(record.asked[1:])]
        assert record.seq == (each.at // conf.time.slice + 1) * conf.time.slice
        places = [place for place, item in enumerate(each.items) if item in catalogue.rows]
        table = features(
            People.one(record.signals, record.clicked, record.opened),
            catalogue,
            np.array([[catalogue.rows[each.items[place]] for place in places]]),
            np.array([places], dtype=np.float64),
        )[0]
        found[each.id] = Answer(record, record.slots[SLOT].items or [], table, places)
    return found


def learned(known: Films, taught: Sequence[Asked], before: Mapping[str, Answer], most: float) -> tuple[str, Manifest]:
    """Teach a model as the suite does, on what the job knew when it was asked.

    A film's popularity in somebody's lists is that of other people: nobody's own clicks tell what they click.
    """
    users = list(dict.fromkeys(each.user for each in taught))
    fold = {user: place % FOLDS for place, user in enumerate(users)}
    others = [rates(known, (each for each in taught if fold[each.user] != out)) / most for out in range(FOLDS)]
    tables, clicked = [], []
    for each in taught:
        table, places = before[each.id].table.copy(), before[each.id].places
        rows = [known.rows[each.items[place]] for place in places]
        table[:, FEATURES.index("popularity")] = others[fold[each.user]][rows]
        tables.append(table)
        clicked += [each.items[place] in each.clicked for place in places]
    seen = np.concatenate(tables)
    gains, sizes = np.array(clicked, dtype=np.float64), np.array([len(each) for each in tables])
    text = fitted(Rows(seen, gains, np.ones(len(seen)), sizes), None, settings().train)
    return text, golden(text, seen[np.linspace(0, len(seen) - 1, _GOLDEN_ROWS).astype(np.intp)])


def quality(held: Sequence[Asked], orders: Mapping[str, Callable[[Asked], Sequence[str]]]) -> dict[str, Any]:
    """Work out NDCG@10 of some orders on the held-out lists of which something was clicked.

    Args:
        held: lists.
        orders: name -> what puts a list in order; "job" is held against each of the others.
    """
    clicked = [each for each in held if each.clicked]
    users = [each.user for each in clicked]
    found = {name: [judged(order(each), each.clicked) for each in clicked] for name, order in orders.items()}
    found["random"] = [by_chance(len(each.items), len(each.clicked)) for each in clicked]
    for name in [each for each in orders if each != "job"]:
        found[f"job_over_{name}"] = [ours - theirs for ours, theirs in zip(found["job"], found[name], strict=True)]
    return {name: interval(values, users) for name, values in found.items()} | {
        "lists": len(clicked),
        "users": len(set(users)),
        "nothing_clicked": len(held) - len(clicked),
    }


def judged(order: Sequence[str], wanted: Mapping[str, Any]) -> float:
    """Say how near the top of an order the wanted are: NDCG@10, 0 to 1."""
    return float(ndcg(np.array([item in wanted for item in order]), AMONG))


def by_chance(length: int, wanted: int) -> float:
    """Say what `judged` is on average over all orders of a list."""
    discounts = 1 / np.log2(np.arange(2.0, AMONG + 2.0))
    return float(wanted / length * discounts[:length].sum() / discounts[:wanted].sum())


def interval(values: Sequence[float], users: Sequence[str]) -> dict[str, float]:
    """Give the mean over lists, and between what it lies for 95 of 100 other draws of the users (bootstrap)."""
    names = {user: row for row, user in enumerate(dict.fromkeys(users))}
    of = np.array([names[user] for user in users])
    sums, counts = np.bincount(of, np.array(values)), np.bincount(of)
    drawn = np.random.default_rng(1).integers(len(sums), size=(_RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(np.mean(values)), "low": float(low), "high": float(high)}


def scores(held: Iterable[Asked], after: Mapping[str, Answer], booster: lightgbm.Booster) -> dict[str, Any]:
    """Hold the job's scores against LightGBM's, of the same features."""
    count, largest = 0, 0.0
    for each in held:
        answer = after[each.id]
        said = answer.record.trace[SLOT].scores or []
        predicted = np.asarray(booster.predict(answer.table, num_threads=1)).tolist()
        named = {each.items[place]: score for place, score in zip(answer.places, predicted, strict=True)}
        # What the catalogue does not hold stands at the end, and has no score.
        apart = [abs(named[item] - score) for item, score in zip(answer.items[: len(named)], said, strict=True)]
        count, largest = count + len(apart), max(largest, *apart)
    return {"scores": count, "largest": largest}


def seen_alike(asked: Iterable[Asked], before: Mapping[str, Answer], after: Mapping[str, Answer]) -> int:
    """Count the lists of which the model saw something else when it was asked than when it was taught."""
    return sum(not np.array_equal(before[each.id].table, after[each.id].table) for each in asked)


def held_to_events(
    asked: Iterable[Asked],
    after: Mapping[str, Answer],
    stream: Iterable[Mapping[str, Any]],
    oracle: Oracle,
    shelf: Mapping[str, Item],
) -> dict[str, Any]:
    """Hold what the model saw against what the plain list of all events says."""
    events: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in stream:
        events[event["user_id"]].append({**event, "at": event["occurred_at"]})
    allowed = np.array([TOLERANCE if name in _REAL else 0.0 for name in FEATURES])
    numbers, off, largest = 0, 0, 0.0
    for each in asked:
        expected = plain(each, events[each.user], oracle, shelf)
        apart = np.abs(after[each.id].table - expected) / np.maximum(1.0, np.abs(expected))
        numbers, off = numbers + apart.size, off + int((apart > allowed).sum())
        largest = max(largest, float(apart.max()))
    return {"numbers": numbers, "off": off, "largest": largest}


def plain(each: Asked, events: Sequence[Mapping[str, Any]], oracle: Oracle, shelf: Mapping[str, Item]) -> Column:
    """Work out what a model sees of a list, with nothing clever: (films of the catalogue, features)."""
    length = oracle.settings.time.slice
    end = (each.at // length + 1) * length
    signals = oracle.signals(events, end, ())
    clicks = [(event["at"], event["item"]) for event in events if event["kind"] == "click" and event["at"] < end]
    last = max(clicks, default=(0, ""))[1]
    times = sorted(event["at"] for event in events if event["at"] < end)
    gaps = pairwise([-oracle.settings.time.session_gap, *times])
    began = max((at for before, at in gaps if at - before > oracle.settings.time.session_gap), default=0)
    opened = {item for at, item in clicks if at >= began}
    interest = shelf[last].interest if last in shelf else ""
    rows = []
    for place, name in enumerate(each.items):
        if name in shelf:
            item = shelf[name]
            alike = item.interest == interest != ""
            of_item = [item.popularity, item.quality, item.age_h, alike, name == last, name in opened, place]
            rows.append([*(signals[name] for name in USER_FEATURES), *of_item])
    return np.array(rows, dtype=np.float64)


def _standard(values: Column) -> Column:
    standard: Column = (values - values.mean()) / values.std()
    return standard


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path) as file:
        yield from map(json.decode, file)


_decode: Final = json.Decoder(Decision).decode
