"""Claim: every decision can be made again from its own record and the releases it names, and explains itself."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
from msgspec import json
from msgspec.structs import replace

from jobs import train
from jobs.heads import PARAMETERS
from jobs.local.lessons import lessons
from jobs.local.world import CATALOGUE, INTERESTS, Shelf, seeded
from jobs.wiring.publishing import published
from jobs.wiring.remade import Past, parted
from jobs.wiring.store import Store
from schemas.decisions import Decision, Trace, Why
from schemas.durations import Millis
from schemas.flags import Flags
from schemas.heads import Head, Regressions
from schemas.policies import Learned, Leaves, Linear, LinThompson, Plays, Posteriors, Sparse
from schemas.releases import Channel, Manifest
from schemas.rules import Action, Case, Experiment, Holdout, Namespace, Rule, Rulebook, Treatment, encoded
from schemas.settings import Settings
from schemas.signals import USER_FEATURES
from schemas.slots import Arm, Cap, Guards, Rerank, Variant, Windows
from tests.bench.stream import GRANTED, Record, Shape, records
from tests.claims.claim import REPOSITORY, Claim, Result, folder, settings
from tests.claims.typed import replayed
from tests.udfs.goods import GROUPS
from udfs.deciding.book import authored
from udfs.detectors.isolation import IsolationForest
from udfs.explaining.sentences import sentence
from udfs.explaining.telling import scored, told
from udfs.scoring.models import golden
from udfs.scoring.trees import read
from udfs.training.fitting import parameters

EVENTS: Final = 200_000
CLAIM: Final = Claim(
    name="recompute",
    sentence=(
        "Every decision can be made again, to the byte, from its own record and the releases that the record names,"
        " by a process that has nothing else; and every slot of it explains itself."
    ),
    bar=f"100 % of the decisions of {EVENTS:,} events; two releases of each channel, all reasons",
)

NOON: Final = 1_767_268_800_000
RATE: Final = 200.0
"""Events per second of event time; 200,000 last some 17 minutes, in which sessions begin, end and begin again."""

TURNS_S: Final = (100, 350, 500, 650)
"""When new releases come into force, seconds from the start."""

TWICE: Final = ("catalogue", "model", "rules", "policy", "flags", "heads")
"""Channels whose releases follow one another while the stream lasts."""

UNSEEN: Final = frozenset({Why.DEFAULT})
"""Of no record: it is for those of whom nothing is known."""

_ASKING: Final = 37  # every so-manieth event is replaced by a page's question
_SIGNALS: Final = ["rate_fast", "session_depth", "gap_s"]
_STALE_MS: Final = 200_000  # less than from one model to the next
_AT_ONCE: Final = 20_000
_SCORED: Final = 500
_NOTHING: Final = Rulebook("nothing", 1, [], {})
_AS_SCORED: Final = "as in the record"


def run(events: int = EVENTS) -> Result:
    """Replay a made-up stream under releases that change, and make its decisions again in a process of its own."""
    place = folder(CLAIM.name)
    store = place / "store"
    conf = settings(f"releases.store={store}")
    items = _publish(conf)
    source = place / "events.jsonl"
    shape = Shape(events=events, rate=RATE, people=6_000)
    with source.open("wb") as file:
        file.writelines(record.body + b"\n" for record in asking(records(shape, items, NOON), items))
    replayed((f"releases.store={store}",), source, "trimtab", place / "out")
    done = subprocess.run(
        [sys.executable, "-m", "tests.claims.recompute", str(store), str(place / "out" / "decisions.jsonl")],
        cwd=place,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.decode(done.stdout)
    alone = sorted(channel for channel in TWICE if len(found["releases"][channel].keys() - {"None"}) < 2)
    unseen = sorted({why.value for why in set(Why) - UNSEEN} - found["reasons"].keys())
    share = found["same"] / max(found["decisions"], 1)
    return Result(
        figure=(
            f"{share:.4%} of {found['decisions']:,} decisions the same, byte for byte;"
            f" {found['sampled']:,} with contributions, {found['slots']:,} slots explained,"
            f" {found['scores_off']} of {found['scores']} scores off their contributions"
        ),
        passed=found["same"] == found["decisions"] > events / 10
        and not alone
        and not unseen
        and found["sampled"] > 0
        and found["scores_off"] == 0,
        details=found | {"decided_by_one_release": alone, "unseen": unseen},
    )


def asking(stream: Iterator[Record], items: list[str]) -> Iterator[Record]:
    """Let some events be questions of pages that have a list of their own, with an item nobody knows."""
    for number, record in enumerate(stream):
        if number % _ASKING:
            yield record
            continue
        mine = [items[(number + step * 17) % len(items)] for step in range(9)]
        said = {
            "user_id": record.key,
            "kind": "ask",
            "occurred_at": record.at_ms,
            "slot": "home_feed",
            "items": [*mine, "of-another-shop"],
            "consent": GRANTED,
        }
        yield record._replace(body=json.encode(said))


def _publish(conf: Settings) -> list[str]:
    """Publish what decides: at the start, and anew in the course of the stream; give the ids of the items."""
    turns = [NOON + second * 1000 for second in TURNS_S]
    shelf = Shelf.stocked(seeded(1, CATALOGUE))
    lines = shelf.catalogue_lines()
    book = rulebook(conf, shelf)
    less = replace(book, rules={name: rule for name, rule in book.rules.items() if name != "fresh"})
    first, second = train.train(conf, 1, 30_000), train.train(conf, 2, 30_000)

    def publish(channel: Channel, payload: bytes, at: int, manifest: Manifest | None = None) -> None:
        published(conf.releases, channel, payload, "the claim", manifest=manifest, at=at)

    publish("catalogue", lines, 0)
    publish("catalogue", b"\n".join(lines.splitlines()[:-20]), turns[1])
    publish("model", first.text.encode(), turns[0], first.manifest)
    publish("model", second.text.encode(), turns[2], second.manifest)
    publish("rules", encoded(book), 0)
    publish("rules", encoded(less), turns[2])
    publish("policy", json.encode(posteriors(conf, 1)), 0)
    publish("policy", json.encode(posteriors(conf, 2)), turns[1])
    publish("heads", json.encode(heads(conf, 1)), turns[0])
    publish("heads", json.encode(heads(conf, 2)), turns[2])
    publish("flags", json.encode(Flags(slots={"nudge": False})), turns[2])
    publish("flags", json.encode(Flags()), turns[3])
    publish("segments", json.encode(GROUPS), 0)
    rng = np.random.default_rng(1)
    publish("anomalies", IsolationForest.fit(rng.normal(2.0, 1.0, (600, 3)), rng, features=_SIGNALS).encode(), 0)
    return [item.id for item in shelf.items]


def rulebook(conf: Settings, shelf: Shelf) -> Rulebook:
    """Take what conf says, and add to it until every kind of rule, experiment and policy has a say."""
    book = authored(conf)
    arms = {"plain": Arm(2.0), "loud": Arm(), "calm": Arm(params={"size": 3})}
    slots = book.slots | {
        "home_feed": Rerank(8, 20, explore=0.05, relevance=0.9, windows=Windows(3, 5)),
        "teaser": Variant(
            arms,
            default="plain",
            policies={"line": LinThompson(_SIGNALS, floor=0.02)},
            policy="line",
            shadow=["weights"],
            resolve="weight",
            guards=Guards(min_events=3, confidence=0.4),
        ),
        "banner": Variant(arms, "plain", {"trees": Leaves(floor=0.02)}, "trees", resolve="confidence"),
    }
    hero, nudge = slots["hero"], slots["nudge"]
    assert isinstance(hero, Variant)
    slots["hero"] = replace(
        hero, policy="learned", shadow=["weights"], guards=replace(hero.guards, refresh=Millis(60_000))
    )
    # More than one a session, or the cap would always come before the cooldown.
    slots["nudge"] = replace(nudge, guards=replace(nudge.guards, quiet_when="rate_fast > 0.6", caps=[Cap(2)]))
    rules = {
        "fresh": Rule(
            "home_feed",
            {
                "deep": Case(
                    "session_depth > 12",
                    Action(pin=[shelf.items[7].id], bury=[shelf.items[3].id], boost={"travel": 0.2}),
                ),
                "fast": Case("rate_fast > 1", Action(hide=[INTERESTS[0]])),
            },
        ),
        "loudly": Rule("teaser", {"fast": Case("rate_fast > 0.8", Action(arms=["loud", "calm"]))}, weight=3.0),
        "calmly": Rule("teaser", {"slow": Case("rate_fast > 0.4", Action(arms=["calm"]))}),
        "sure": Rule(
            "banner", {"any": Case("session_depth > 3", Action(arms=["plain", "calm"]), confidence="churn_risk")}
        ),
        "held": Rule(
            "banner", {"a while": Case("rate_slow > 0.2", Action(arms=["loud"]), hold=Millis(20_000), confidence="0.5")}
        ),
    }
    experiments = {
        "heroes": Experiment(
            "hero",
            {
                "usual": Treatment(),
                "drawn": Treatment(policy="weights", rules=False),
                "control": Treatment(control=True),
            },
        ),
        "feeds": Experiment(
            "home_feed",
            {"usual": Treatment(), "control": Treatment(control=True, weight=0.2)},
            namespace=Namespace("feeds", 0.0, 0.5),
        ),
    }
    return replace(
        book,
        slots=slots,
        rules=book.rules | rules,
        experiments=experiments,
        holdout=Holdout(0.03),
        explain=0.05,
        stale=_STALE_MS,
    )


def posteriors(conf: Settings, seed: int) -> Posteriors:
    """Make up what was learned: plays by segment, a line for each arm, and counts by leaf."""
    rng = np.random.default_rng(seed)

    def plays(n: int) -> Plays:
        total = float(rng.integers(1, n // 4))
        return Plays(float(n), total, total)

    hero = Learned(
        {arm: plays(900) for arm in ("plain", "short_visual", "story")},
        {segment: {"story": plays(200), "plain": plays(100)} for segment in ("reader", "skimmer", "engaged")},
    )
    x = np.column_stack([np.ones(300), rng.exponential(size=(300, len(_SIGNALS)))])
    lines = {
        arm: Linear((np.eye(x.shape[1]) + x.T @ x).tolist(), (x * rng.random((300, 1))).sum(axis=0).tolist())
        for arm in ("plain", "loud", "calm")
    }
    taught = lessons(conf, seed, 20_000)
    data = lightgbm.Dataset(
        taught.features[:, : len(USER_FEATURES)], taught.clicked.astype(np.float32), feature_name=list(USER_FEATURES)
    )
    text = lightgbm.train(parameters(conf.train) | {"num_leaves": 6}, data, 5).model_to_string()
    leaves = sum(len(tree.value) for tree in read("p", text, len(USER_FEATURES)).trees)
    counts = {
        arm: Sparse((1 + rng.integers(0, 90, leaves)).astype(float).tolist(), (30 * rng.random(leaves)).tolist())
        for arm in ("plain", "loud", "calm")
    }
    return Posteriors(
        {
            "hero": hero,
            "teaser": Learned(context=_SIGNALS, linear=lines),
            "banner": Learned(trees=text, leaves=counts),
        }
    )


def heads(conf: Settings, seed: int) -> Regressions:
    """Make up what was learned of the length of pages: that the lively like them long."""
    features = lessons(conf, seed, 20_000).features[:, : len(USER_FEATURES)]
    data = lightgbm.Dataset(
        features, 60 * features[:, USER_FEATURES.index("rate_fast")], feature_name=list(USER_FEATURES)
    )
    text = lightgbm.train(PARAMETERS, data, 20).model_to_string()
    return Regressions({"page": {"length": Head("read_s", text, golden(text, features[:32]).golden)}})


def main(store: str, decisions: str) -> dict[str, Any]:
    """Make the decisions of a file again, with the releases of a store alone, and say how many are the same."""
    past = Past(Store(store), _NOTHING, 60_000)
    releases: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    apart: list[dict[str, Any]] = []
    decided = same = sampled = slots = scores = off = 0
    with Path(decisions).open("rb") as file:
        lines = (line.rstrip(b"\n") for line in file)
        while batch := list(islice(lines, _AT_ONCE)):
            some = [json.decode(line, type=Decision) for line in batch]
            for line, record, text in zip(batch, some, past.remade(some), strict=True):
                decided, same = decided + 1, same + (line == text.encode())
                if line != text.encode() and len(apart) < 5:
                    apart.append({"user_id": record.user_id, "seq": record.seq, "apart": parted(line, text.encode())})
                for channel in record.ver.__struct_fields__:
                    releases.setdefault(channel, Counter())[str(getattr(record.ver, channel))] += 1
                sampled += any(trace.contributions for trace in record.trace.values())
                for name, card in record.slots.items():
                    trace = record.trace.get(name, Trace())
                    slots += bool(sentence(name, card, trace)) and bool(list(told(card, trace)))
                    reasons[card.reason.value] += 1
                    if trace.contributions and scores < _SCORED:
                        scores += 1
                        off += _AS_SCORED not in list(scored(name, record, past.named(record.ver).releases))[-1]
    return {
        "decisions": decided,
        "same": same,
        "apart": apart,
        "sampled": sampled,
        "slots": slots,
        "scores": scores,
        "scores_off": off,
        "releases": {channel: dict(sorted(counts.items())) for channel, counts in releases.items()},
        "reasons": dict(reasons.most_common()),
    }


if __name__ == "__main__":
    print(json.encode(main(*sys.argv[1:])).decode())
