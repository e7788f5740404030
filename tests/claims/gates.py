"""Claim: a model that was taught wrongly is not published, whatever went wrong; one that was taught well is."""

from collections.abc import Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import Final

from msgspec import json
from msgspec.structs import replace
from numpy.random import Generator, default_rng

from jobs import train
from jobs.local.lessons import outcomes, pupils
from jobs.local.world import World
from jobs.wiring import Refusal
from jobs.wiring.publishing import published
from jobs.wiring.store import Store
from schemas.outcomes import Outcome
from schemas.settings import Settings
from tests.claims.claim import Claim, Result, folder, settings
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.in_force import InForce
from udfs.scoring.models import Model

CLAIM: Final = Claim(
    name="gates",
    sentence=(
        "Beside a live model of the pretend world, `train` refuses one that learned from shuffled rewards, one that did"
        " not see what tells most, and one that learned before tastes had changed, each with the reason and by how"
        " much; one that learned from the same people as they are is published."
    ),
    bar="in 3 worlds 9 of 9 spoiled models refused as worse than the live one, 3 of 3 honest ones published",
)

WORLDS: Final = (1, 2, 3)
ROWS: Final = 480_000
MONTH_MS: Final = 30 * 86_400_000
HONEST: Final = "honest"

_LIVELIER: Final = 2.2  # log-odds: so that those who like what others do not click as often


def run() -> Result:
    """Teach a live model, spoil the outcomes from which the next one learns, and let `train` have them."""
    told = {seed: world(seed, folder(f"{CLAIM.name}/{seed}")) for seed in WORLDS}
    spoiled = [said for each in told.values() for name, said in each.items() if name != HONEST]
    refused = [said for said in spoiled if ", of m1 " in said and ": worse by " in said]
    let_in = [each[HONEST] for each in told.values() if each[HONEST].startswith("published")]
    count = len(WORLDS)
    by = "; ".join(f"{name}: {said.partition(';')[0]}" for name, said in told[WORLDS[0]].items())
    return Result(
        figure=(
            f"{len(refused)} of {3 * count} spoiled models refused, {len(let_in)} of {count} honest ones published;"
            f" in the first world {by}"
        ),
        passed=len(refused) == len(spoiled) == 3 * count and len(let_in) == count,
        details={str(seed): each for seed, each in told.items()},
    )


def world(seed: int, place: Path) -> dict[str, str]:
    """Try everything in one world.

    Returns:
        What was done -> what came of it.
    """
    conf = settings(f"releases.store={place / 'store'}", "slots.home_feed.explore=0.25")
    today = pupils(conf, seed, ROWS)
    shelf = today.shelf.catalogue_lines()
    published(conf.releases, "catalogue", shelf, "the claim", at="start")
    attempt(conf, place / "live.jsonl", list(outcomes(conf, seed, ROWS, world=today)))
    in_force = InForce(Catalogue.parse("c1", shelf), newest(conf))

    def shown(number: int, of: World, start: int) -> list[Outcome]:
        told = outcomes(conf, number, ROWS, in_force=in_force, world=of, start=start)
        return sorted(told, key=lambda each: (each.at, each.id))

    now = shown(seed + 10, today, train_starts(1))
    early = int((1 - conf.train.newest) * len(now))
    before = shown(seed + 20, as_they_were(today), train_starts(1) - MONTH_MS)[:early]
    ways: dict[str, Sequence[Outcome]] = {
        "rewards shuffled": shuffled(now[:early], default_rng(seed)),
        "last click not seen": [replace(each, clicked="", opened=[]) for each in now[:early]],
        "learned before tastes changed": before,
        HONEST: now[:early],
    }
    return {
        name: attempt(conf, place / f"{name.replace(' ', '_')}.jsonl", [*learned, *now[early:]])
        for name, learned in ways.items()
    }


def train_starts(day: int) -> int:
    """Say when page views begin, so many days after those of the live model's lessons, ms since 1970."""
    return 1_767_225_600_000 + day * 86_400_000


def as_they_were(now: World) -> World:
    """Turn tastes round: people like all interests but those they like now, and what is good or new puts them off."""
    taste = now.crowd.taste
    crowd = changed(now.crowd, taste=(1 - taste) / (taste.shape[1] - 1))
    return changed(now, crowd=crowd, shelf=changed(now.shelf, charm=_LIVELIER - now.shelf.charm))


def shuffled(told: Sequence[Outcome], rng: Generator) -> list[Outcome]:
    """Give as many rewards to items at random."""
    rows = [(number, item) for number, each in enumerate(told) for item in each.card.items or []]
    count = sum(len(each.gains) for each in told)
    gains: list[dict[str, float]] = [{} for _ in told]
    for row in rng.choice(len(rows), count, replace=False).tolist():
        number, item = rows[row]
        gains[number][item] = 1.0
    return [replace(each, gains=mine) for each, mine in zip(told, gains, strict=True)]


def attempt(conf: Settings, path: Path, told: Sequence[Outcome]) -> str:
    """Let the verb learn from outcomes and publish what it may; say what came of it."""
    path.write_bytes(b"".join(json.encode(each) + b"\n" for each in told))
    try:
        train.main(conf, ["--input", str(path), "--publish", "--report", str(path.with_suffix(".html"))])
    except Refusal as refused:
        return str(refused).removeprefix("train: not published, ")
    finally:
        path.unlink()
    release = Store(conf.releases.store).index("model")[-1]
    return f"published {release.version}, {release.reason.partition(': ')[2]}"


def newest(conf: Settings) -> Model:
    """Load the model that was published last."""
    store = Store(conf.releases.store)
    release = store.index("model")[-1]
    return Model.parse(release.version, store.read(release).decode(), store.manifest(release))
