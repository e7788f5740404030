"""Claim: a model that the loop teaches itself ranks films as well as one taught offline from the same lists."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import json

from jobs import topics
from jobs.local import feed
from jobs.local.feed import Record
from jobs.local.stack import Stack
from jobs.wiring import wire
from jobs.wiring.handover import changed
from jobs.wiring.publishing import published
from jobs.wiring.store import Store
from schemas.decisions import Decision
from schemas.releases import Manifest
from schemas.settings import Settings
from tests.claims import ranklens
from tests.claims.claim import REPOSITORY, Claim, Result, folder, settings, shared
from tests.claims.ranklens import Answer, Asked, Films
from tests.claims.typed import replayed, typed
from udfs.deciding.catalogue import Catalogue

CLAIM: Final = Claim(
    name="ranklens-loop",
    sentence=(
        "Film lists (RankLens) are ordered by the job, shown, clicked and joined; what `train` makes of those outcomes"
        " orders the lists of people it never met as well as a model taught offline from the same lists."
    ),
    bar="NDCG@10 for held-out users at most 0.005 below the offline model's; every list shown has its outcome",
)

WITHIN: Final = 0.005
PARTS: Final = 20
"""Catalogues: each counts clicks of what was shown before it, so that nobody's own clicks are told of a film."""

SHOWN_AFTER: Final = 2_000
"""ms from a page's question to its exposure; the films are clicked three seconds later."""

WINDOW: Final = 30_000
_NOBODY: Final = b'{"id":"nobody\'s","kind":"view"}'
SETS: Final = (
    f"learn.window={WINDOW}ms",
    f"slots.home_feed.reward={{worth={{click=1.0}}, within='{WINDOW}ms', most={{click=100}}, by='item'}}",
    *(f"slots.{slot}.reward.within={WINDOW}ms" for slot in ("hero", "nudge")),
    # People looked at all of a list: nothing there says that they did not.
    "train.position_weights=false",
    # Another third of the people is held out for the claim; few are asked to judge within the loop, so that most teach.
    *("train.held_out=0.1", "train.watched=0.1", "train.newest=0.1", "train.gates.lists=20"),
    "flink.rest_port=0",
)


def run() -> Result:
    """Teach one model offline, one by the loop, and let the job order the lists of those held out by each."""
    source, place = shared("ranklens_a"), folder(CLAIM.name)
    asked = list(ranklens.lists(source / "events.jsonl.gz"))
    known = ranklens.films(source / "items.jsonl.gz", now=asked[0].at)
    taught, held = ranklens.parted(asked)
    raw = place / "events.jsonl"
    raw.write_bytes(_lines(ranklens.events(asked)))

    shelf = shelved(known, taught)
    before = ordered(place / "before", raw, asked, shelf, None)
    offline = ranklens.learned(known, taught, before, most=1.0)
    looped, facts = taught_by_loop(place / "loop", known, taught)
    orders: dict[str, Callable[[Asked], Sequence[str]]] = {}
    for name, model in (("job", looped), ("offline", offline)):
        after = ordered(place / name, raw, asked, shelf, model)
        orders[name] = lambda each, after=after: after[each.id].items  # type: ignore[misc]
    orders["prefilter"] = lambda each: before[each.id].items
    ranked = ranklens.quality(held, orders)
    job, other, apart = ranked["job"], ranked["offline"], ranked["job_over_offline"]
    return Result(
        figure=(
            f"NDCG@10 {job['mean']:.4f}, offline {other['mean']:.4f}: {apart['mean']:+.4f} (95 % {apart['low']:+.4f} to"
            f" {apart['high']:+.4f}) on {ranked['lists']:,} lists of {ranked['users']:,} held-out users; without a"
            f" model {ranked['prefilter']['mean']:.4f}; {facts['outcomes']:,} outcomes of {facts['shown']:,} lists"
        ),
        passed=apart["mean"] >= -WITHIN and facts["outcomes"] == facts["shown"] > 0,
        details={"ndcg": ranked, "loop": facts},
    )


def shelved(known: Films, seen: Sequence[Asked]) -> bytes:
    """Make a catalogue whose popularity is the click rate in lists seen so far."""
    items = ranklens.shelved(known, ranklens.rates(known, seen), most=1.0)
    return b"".join(json.encode(item) + b"\n" for item in items.values())


def ordered(
    place: Path, raw: Path, asked: Sequence[Asked], shelf: bytes, model: tuple[str, Manifest] | None
) -> dict[str, Answer]:
    """Let the job order all lists by a model, or without one; its answers by list."""
    store = f"releases.store={place / 'store'}"
    conf = settings(store)
    published(conf.releases, "catalogue", shelf, "the claim", at="start")
    if model:
        published(conf.releases, "model", model[0].encode(), "the claim", manifest=model[1], at="start")
    replayed((store,), raw, "trimtab", place)
    return ranklens.answers(place, asked, Catalogue.parse("c1", shelf), conf)


def taught_by_loop(place: Path, known: Films, taught: Sequence[Asked]) -> tuple[tuple[str, Manifest], dict[str, Any]]:
    """Show lists as the job decides them, learn what comes of it, and train on the topic of outcomes.

    Returns:
        The model that the verb published, and what was counted on the way.
    """
    sets = (*SETS, f"releases.store={place / 'store'}", f"flink.checkpoint_dir={place / 'checkpoints'}")
    conf = settings(*sets)
    shown = stocked(conf, known, taught)
    raw = place / "events.jsonl"
    # An exposure quotes its decision, so the questions are asked twice: for the ids, and with what was shown then.
    raw.write_bytes(_lines(ranklens.events(taught)))
    replayed(sets, raw, "trimtab", place / "asked")
    raw.write_bytes(_lines(events(taught, shown, ids(place / "asked", taught, conf))))
    replayed(sets, raw, "trimtab", place / "decided")
    with Stack(place, jars=REPOSITORY / ".local" / "jars" / "broker") as stack:
        here = changed(conf, {"kafka.bootstrap": stack.bootstrap})
        wanted = feed.replayable(here.topics)
        topics.apply(wire.admin(stack.bootstrap, here.kafka.wait), topics.difference(wanted, {}))
        for topic, records in told(place / "decided", here).items():
            feed.produce(stack.bootstrap, topic, records)
        environ = os.environ | stack.environment()
        typed("learn", "--bounded", sets=sets, environ=environ)
        outcomes = len({json.decode(each.body or b"")["id"] for each in feed.collect(stack.bootstrap, "outcomes")})
        said = typed("train", "--report", str(place / "report.html"), "--publish", sets=sets, environ=environ)
    store = Store(conf.releases.store)
    (release,) = store.index("model")
    facts = {"lists": len(taught), "shown": len(shown), "outcomes": outcomes, "said": said.splitlines()}
    return (store.read(release).decode(), store.manifest(release)), facts


def stocked(conf: Settings, known: Films, taught: Sequence[Asked]) -> list[Asked]:
    """Publish a catalogue now and then, as a shop would that counts its clicks.

    Returns:
        The lists that are shown: those from the first catalogue on.
    """
    in_time = sorted(each.at for each in taught)
    starts = sorted({in_time[len(in_time) * part // PARTS] for part in range(1, PARTS)})
    for start in starts:
        seen = [each for each in taught if all(at < start for at in (each.at, *each.clicked.values()))]
        published(conf.releases, "catalogue", shelved(known, seen), "clicks so far", at=start)
    return [each for each in taught if each.at >= starts[0]]


def ids(out: Path, taught: Sequence[Asked], conf: Settings) -> dict[str, str]:
    """Find the id of the decision that answered each list; before there was a catalogue, none did."""
    of = ranklens.by_question(taught, conf)
    records = (json.decode(line, type=Decision) for line in (out / "decisions.jsonl").read_bytes().splitlines())
    return {
        of[record.user_id, tuple(record.asked[1:])].id: record.slots[ranklens.SLOT].id
        for record in records
        if record.asked and ranklens.SLOT in record.slots
    }


def events(taught: Sequence[Asked], shown: Sequence[Asked], answered: Mapping[str, str]) -> list[dict[str, Any]]:
    """Write down what a page sends: questions, exposures that quote the decision, and clicks."""
    found = ranklens.events(taught)
    for each in shown:
        found.append(
            {
                "user_id": each.user,
                "consent": ranklens.CONSENT,
                "kind": "exposure",
                "slot": ranklens.SLOT,
                "decision_id": answered[each.id],
                "event_id": f"{each.id}/shown",
                "occurred_at": each.at + SHOWN_AFTER,
            }
        )
    return sorted(found, key=lambda event: event["occurred_at"])


def told(decided: Path, conf: Settings) -> dict[str, list[Record]]:
    """Give what the job wrote as both topics hold it; then records that no outcome asks for, so that clocks run out."""
    found = {}
    for topic, moment in (("decisions", "seq"), ("events", "at")):
        partitions, records = conf.topics[topic].partitions, []
        for line in (decided / f"{topic}.jsonl").read_bytes().splitlines():
            fields = json.decode(line)
            key = fields["user_id"].encode()
            records.append(Record(fields[moment], feed.partition_of(key, partitions), key, line))
        records.sort(key=lambda record: record.at)
        over = records[-1].at + 10 * WINDOW
        found[topic] = [*records, *(Record(over, partition, None, _NOBODY) for partition in range(partitions))]
    return found


def _lines(every: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(json.encode(each) + b"\n" for each in every)
