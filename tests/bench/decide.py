"""What a decision costs, part by part, in bundles of two sizes; and what scoring costs beside LightGBM itself."""

import gc
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
from msgspec import convert, json, structs
from numpy.random import Generator
from numpy.typing import NDArray

from jobs.local.world import CATALOGUE, Shelf, seeded
from jobs.wiring.settings import load
from schemas.policies import Learned, Plays, Posteriors
from schemas.rules import Experiment, Treatment
from schemas.settings import Settings
from schemas.signals import FEATURES, USER_FEATURES
from schemas.slots import Content, Rerank, Trigger, Variant, options
from tests.bench.children import answer, measured
from tests.bench.cost import Say
from tests.bench.ground import log_of
from tests.bench.people import people
from tests.bench.turns import fastest
from udfs.cleaning.meeting import met
from udfs.deciding import arms, content, lists
from udfs.deciding.book import Book, Place, authored
from udfs.deciding.bundle import Bundle
from udfs.deciding.catalogue import Catalogue
from udfs.deciding.decide import Decider, decision_ids
from udfs.deciding.facts import Facts, observed
from udfs.deciding.guards import asked, states
from udfs.deciding.heard import said_by
from udfs.deciding.heard import taken as taking
from udfs.deciding.in_force import InForce
from udfs.deciding.learned import Learnt
from udfs.deciding.observe import Observer
from udfs.deciding.parts import held_out, parts
from udfs.deciding.rank import People, features, rerank
from udfs.deciding.speaking import voices
from udfs.scoring.models import Model, golden
from udfs.signals.formulas import signals
from udfs.signals.moments import Columns

SIZES: Final = (500, 5000)
"""Rows of a bundle: what a busy second brings, and as many as a full one has."""

GOAL_US: Final = 100.0
"""CPU microseconds of a whole decision: at most."""

GOAL_TIMES: Final = 5.0
"""So many times cheaper than asking LightGBM once per user must scoring be: at least."""

PARTS: Final = (
    "facts",
    "rules",
    "experiments",
    "policies and draw",
    "lists: candidates and model",
    "lists: arrangement",
    "lists: what a score is made of",
    "guards",
    "content",
    "cards, records, JSON",
)

SCORERS: Final = {
    "ours": "ours, from signals to an order",
    "per_user": "LightGBM, predict once per user",
    "at_once": "LightGBM, predict once per bundle",
}
"""The fields of `Scoring`, in words."""

ITEMS: Final = 1000
TREES: Final = 100
LEAVES: Final = 31
_ALONE: Final = 20  # people who are decided for one by one
_TAUGHT: Final = 5000  # people, twenty items each
_GOLDEN: Final = 32
_WAIT_S: Final = 400.0
_SEED: Final = 1
_STREAM: Final = 77

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run: how many bundles of each size."""

    bundles: int


FULL: Final = Plan(4)
QUICK: Final = Plan(1)


@dataclass(frozen=True, slots=True)
class Scoring:
    """Candidates scored per second of one core, in bundles of one size.

    Attributes:
        ours: from signals to ordered candidates: `udfs.deciding.rank.rerank`.
        per_user: LightGBM's `predict` once per user, on features that were put side by side before.
        at_once: the same, once for all users of the bundle.
    """

    ours: float
    per_user: float
    at_once: float


@dataclass(frozen=True, slots=True)
class DecideCost:
    """What was found.

    Attributes:
        plan: what was run.
        parts: size of a bundle -> part -> CPU microseconds per decision.
        whole: size of a bundle -> CPU microseconds per decision, all in one.
        alone_us: CPU microseconds of a decision that is alone in its bundle.
        scoring: size of a bundle -> candidates per second.
        load: of the machine when it began.
    """

    plan: Plan
    parts: Mapping[int, Mapping[str, float]]
    whole: Mapping[int, float]
    alone_us: float
    scoring: Mapping[int, Scoring]
    load: float

    def details(self) -> dict[str, Any]:
        """All of it, for a report."""
        return asdict(self)


@dataclass(frozen=True)
class Setup:
    """What decides: the shipped conf with one experiment, a catalogue, a model, and what was learned of the hero."""

    settings: Settings
    book: Book
    releases: InForce
    learnt: Learnt


def decide_cost(plan: Plan, say: Say) -> DecideCost:
    """Measure in a process of its own, with the environment that workers have.

    Args:
        plan: what to run.
        say: told what goes on.
    """
    environ = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    usage = measured("tests.bench.decide", [str(plan.bundles)], environ, log_of("decide"), _WAIT_S)
    found: DecideCost = convert(usage.answer, DecideCost, str_keys=True)
    for size, us in found.whole.items():
        say(f"    decide {size:>9,} at once: {us:6.1f} CPU us per decision")
    return found


def taken(plan: Plan) -> DecideCost:
    """Measure here and now."""
    load_before = os.getloadavg()[0]
    here = setup(load(Path.cwd(), "local", os.environ, ()).settings)
    gc.collect()
    gc.freeze()  # what the bench holds is not searched while it measures
    found = {size: _measured(here, size, plan.bundles) for size in SIZES}
    alone = _measured(here, 1, _ALONE)
    gc.unfreeze()
    return DecideCost(
        plan,
        parts={size: charged(here.book, us) for size, us in found.items()},
        whole={size: us["whole"] for size, us in found.items()},
        alone_us=alone["whole"],
        scoring={size: _scoring(here.book, us) for size, us in found.items()},
        load=load_before,
    )


def setup(settings: Settings) -> Setup:
    """Make ready what decides."""
    catalogue = Catalogue.parse("c1", Shelf.stocked(seeded(_SEED, CATALOGUE), ITEMS).catalogue_lines())
    halves = Experiment("hero", {"usual": Treatment(), "learned": Treatment(policy="learned")})
    book = Book.of(None, structs.replace(authored(settings), experiments={"learn": halves}))
    hero = settings.slots["hero"]
    assert isinstance(hero, Variant)
    plays = {arm: Plays(200, 20 + 5 * place, 20 + 5 * place) for place, arm in enumerate(options(hero))}
    segments = dict.fromkeys(settings.segments.rules, plays)
    known = Learnt.parse("p1", json.encode(Posteriors({"hero": Learned(arms=plays, segments=segments)})))
    model = trained(settings, catalogue, seeded(_SEED, _STREAM))
    return Setup(settings, book, InForce(catalogue, model), known)


def trained(settings: Settings, catalogue: Catalogue, rng: Generator) -> Model:
    """Teach a model on made-up people and clicks; what it learned is nothing, but as large as a real one."""
    moments = people(_TAUGHT, catalogue.ids.tolist(), rng)
    slot = next(slot for slot in settings.slots.values() if isinstance(slot, Rerank))
    table = candidates(settings, catalogue, slot, moments)
    rows = table.reshape(-1, table.shape[-1])
    scaled = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-9)
    drive = scaled @ rng.normal(0.0, 0.5, rows.shape[1]) + np.sin(3.0 * scaled[:, 0] * scaled[:, -3]) - 1.0
    clicked = rng.random(len(rows)) < 1.0 / (1.0 + np.exp(-drive))
    data = lightgbm.Dataset(rows, clicked.astype(np.float32), feature_name=list(FEATURES))
    wanted = {"objective": "binary", "num_leaves": LEAVES, "verbosity": -1, "num_threads": 1, "seed": 1}
    text = lightgbm.train(wanted | {"deterministic": True, "force_row_wise": True}, data, TREES).model_to_string()
    return Model.parse("m1", text, golden(text, rows[:: len(rows) // _GOLDEN]))


def candidates(settings: Settings, catalogue: Catalogue, slot: Rerank, moments: Columns) -> NDArray[np.float64]:
    """Put people and the items that they may be shown side by side, (people, items, features)."""
    known = signals(moments, settings.signals, settings.noise, USER_FEATURES)
    clicked = moments["clicked"].tolist()
    interests = [catalogue.codes[catalogue.rows[item]] if item else -1 for item in clicked]
    opened = [met(text).opened for text in moments["met"].tolist()]
    return features(People(known, clicked, opened), catalogue, catalogue.candidates(slot.candidates)[interests])


def _measured(here: Setup, size: int, bundles: int) -> dict[str, float]:
    """Measure bundles of one size, no two alike: CPU microseconds per decision of each step, a mean over them."""
    rng, catalogue = seeded(_SEED, size), here.releases.catalogue
    assert catalogue is not None
    spent = [_bundle(here, people(size, catalogue.ids.tolist(), rng)) for _ in range(bundles)]
    return {step: sum(each[step] for each in spent) / bundles * 1e6 / size for step in spent[0]}


def _scoring(book: Book, us: Mapping[str, float]) -> Scoring:
    return Scoring(*(1e6 * _listed(book).candidates / us[step] for step in ("scored", "per user", "at once")))


def _bundle(here: Setup, moments: Columns) -> dict[str, float]:
    """Take every step over one bundle, CPU seconds."""
    settings, book, releases = here.settings, here.book, here.releases
    rules = settings.segments.rules
    decider = Decider(book, settings.signals, settings.noise, rules)
    observer = Observer(rules, settings.signals, settings.noise)
    rows = len(moments["user_id"])
    learnt, in_force = [here.learnt] * rows, [(np.arange(rows), releases)]
    facts = observed(moments, observer, settings.noise, releases, book)
    ends = facts.ends.tolist()
    ids = decision_ids(facts.users, ends, [releases.versions()] * rows)
    bundle = Bundle(facts, releases, book, learnt, ids, [end + book.book.valid for end in ends])
    steps: dict[str, Work] = {
        "whole": lambda: decider(moments, in_force, learnt),
        "facts": lambda: observed(moments, observer, settings.noise, releases, book),
        "held out": lambda: [held_out(book.book.holdout, facts.users) for _ in book.places],
    }
    for place in book.places:
        steps |= {f"{place.name}: {name}": work for name, work in _of_place(place, bundle).items()}
    return fastest(steps | _peers(here, facts, moments))


def _of_place(place: Place, bundle: Bundle) -> dict[str, Work]:
    """Give the steps of one slot: all of it, and what has a name of its own."""
    facts, nobody = bundle.facts, np.full(len(bundle.ids), None, dtype=np.object_)
    everybody = np.ones(len(bundle.ids), dtype=np.bool_)
    kind: Any = {Rerank: lists, Content: content}.get(type(place.slot), arms)
    told = bundle.book.book
    untold = bundle._replace(book=replace(bundle.book, book=structs.replace(told, explain=0.0)))
    return {
        "all": lambda: kind.choose(place, bundle, nobody),
        "all but contributions": lambda: kind.choose(place, untold, nobody),
        "rules": lambda: said_by(place, voices(place, facts, heard=everybody)),
        "experiments": lambda: deque(taking(parts(place, facts)), maxlen=0),
        "guards": lambda: states(asked(place, facts), len(bundle.ids)),
    }


def _peers(here: Setup, facts: Facts, moments: Columns) -> dict[str, Work]:
    """Score the candidates of everybody: as the job does, and by LightGBM, called once per user or once for all."""
    catalogue, model, slot = here.releases.catalogue, here.releases.model, _listed(here.book)
    assert catalogue is not None
    assert model is not None
    table = candidates(here.settings, catalogue, slot, moments)
    predict = partial(model.booster.predict, num_threads=1)
    rows = table.reshape(-1, table.shape[-1])
    ranked = rerank(slot, lists.people(facts), here.releases)
    assert ranked is not None
    assert np.allclose(ranked.scores.ravel(), predict(rows), rtol=0, atol=1e-9), "they score something else"
    return {
        "scored": lambda: rerank(slot, lists.people(facts), here.releases),
        "per user": lambda: deque(map(predict, table), maxlen=0),
        "at once": lambda: predict(rows),
    }


def _listed(book: Book) -> Rerank:
    return next(place.slot for place in book.places if isinstance(place.slot, Rerank))


def charged(book: Book, us: Mapping[str, float]) -> dict[str, float]:
    """Charge every part with its steps; what no step of its own takes is left to the last one.

    Args:
        book: its slots have steps each.
        us: step -> CPU microseconds per decision.

    Returns:
        By `PARTS`; together the step "whole".
    """

    def of(step: str, *kinds: type) -> float:
        return sum(us[f"{place.name}: {step}"] for place in book.places if not kinds or isinstance(place.slot, kinds))

    def rest(*kinds: type) -> float:
        named = sum(of(step, *kinds) for step in ("rules", "experiments", "guards"))
        return of("all but contributions", *kinds) - named

    found = (
        us["facts"],
        of("rules"),
        of("experiments") + us["held out"],
        rest(Variant, Trigger),
        us["scored"],
        rest(Rerank) - us["scored"],
        of("all", Rerank) - of("all but contributions", Rerank),
        of("guards"),
        rest(Content),
    )
    return dict(zip(PARTS, (*found, us["whole"] - sum(found)), strict=True))


def main(arguments: Sequence[str]) -> int:
    """Measure so many bundles of each size, and say what was found."""
    answer(taken(Plan(int(arguments[0]))).details())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
