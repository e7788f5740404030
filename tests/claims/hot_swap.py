"""Claim: what decides is exchanged while the job runs, at the same row everywhere, and what is broken never gets in."""

import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import json
from msgspec.structs import replace

from jobs import release, train
from jobs.local import feed
from jobs.local.world import CATALOGUE, Shelf, seeded
from jobs.replay import decide
from jobs.wiring import Refusal, wire
from jobs.wiring.publishing import now_ms, published
from jobs.wiring.store import MANIFEST, PREFIX, Store
from schemas.decisions import Decision, Why
from schemas.events import PULSE_BODY
from schemas.flags import Flags
from schemas.policies import Learned, Plays, Posteriors
from schemas.releases import FILES, Channel, Manifest, Release
from schemas.rules import Action, Case, Rule, Rulebook, encoded
from schemas.settings import Settings
from schemas.slots import Cap, Guards, Variant
from tests.bench.stream import JUNK, Record, Shape, pace, records
from tests.claims.claim import Claim, Result, folder, settings
from tests.claims.live import Live, live
from udfs.deciding.book import authored

RATE: Final = 700
PARALLELISM: Final = 2

CLAIM: Final = Claim(
    name="hot-swap",
    sentence=(
        f"At {RATE} events/s new rules, guards, models, policies and switches, and a step back, come into force without"
        " a restart, at the same row in every worker; broken ones are refused by the verb, and by every worker too."
    ),
    bar="0 restarts; 0 decisions by a wrong release, none late or unlike a replay; 4 broken releases refused both ways",
)

STAY_MS: Final = 8_000
"""How long a release is left in force before the next one is published."""

LEAST: Final = 100
"""Decisions that each release must have made."""

FOLLOWERS: Final[Mapping[Channel, int]] = {"model": 1, "policy": 1, "rules": 2}
"""How many functions of a subtask follow a channel."""

_LONGEST_S: Final = 900
_AHEAD_MS: Final = 5_000
_WAIT_S: Final = 240.0
_ARM: Final = "story"
_LIMITS: Final = (12, 1)  # of the heroes of a session, usually and by other guards


class Broken(NamedTuple):
    """A release that must not decide anything.

    Attributes:
        channel: where it would belong.
        payload: its file.
        complaint: a part of the sentence by which it is refused.
    """

    channel: Channel
    payload: bytes
    complaint: str


class Ground(NamedTuple):
    """What the claim publishes.

    Attributes:
        conf: the settings.
        files: where payloads lie for the verb.
        manifests: of each model's text.
        broken: what must be refused.
    """

    conf: Settings
    files: Path
    manifests: Mapping[bytes, Manifest]
    broken: Sequence[Broken]

    def publish(self, channel: Channel, payload: bytes) -> Release:
        """Publish as a person does: by the verb, with the usual lead."""
        file = self.files / FILES[channel]
        file.write_bytes(payload)
        if channel == "model":
            (self.files / MANIFEST).write_bytes(json.encode(self._manifest(payload)))
        release.main(self.conf, ["publish", channel, str(file), "--reason", "the claim"])
        return self.listed(channel)[-1]

    def smuggle(self, broken: Broken) -> Release:
        """Write into the store what nobody has tried."""
        manifest = self._manifest(broken.payload) if broken.channel == "model" else None
        effective_at = now_ms() + self.conf.releases.lead
        store = Store(self.conf.releases.store)
        return store.publish(broken.channel, broken.payload, manifest, effective_at=effective_at, reason="untried")

    def listed(self, channel: Channel) -> list[Release]:
        """List what was published."""
        return Store(self.conf.releases.store).index(channel)

    def _manifest(self, payload: bytes) -> Manifest:
        return self.manifests.get(payload, next(iter(self.manifests.values())))


class Seen(NamedTuple):
    """What became of the releases while the job ran.

    Attributes:
        refused: version -> channel, of broken ones that lay in the store.
        said: what the verb said to each broken one.
        turns: name of a turn -> from when on it counts, ms since 1970.
    """

    refused: dict[str, Channel]
    said: list[str]
    turns: dict[str, int]


def run() -> Result:
    """Exchange releases before a running job, good ones and broken ones, and look at every decision it made."""
    place = folder(CLAIM.name)
    overrides = (f"releases.store={place / 'store'}", f"flink.parallelism={PARALLELISM}")
    conf = settings(*overrides)
    ground, turns = _prepared(conf, place)
    with live(place / "live", *overrides) as running:
        workers, over = running.workers(), threading.Event()
        with ThreadPoolExecutor(1) as pool:
            fed = pool.submit(_feed, running.settings, ground, over)
            try:
                seen = _exchanged(running, ground, turns)
            finally:
                over.set()
            events = fed.result()
        settled = now_ms() + 2 * conf.time.slice
        running.wait(lambda: running.heartbeat() > settled, _WAIT_S, "the last decisions")
        facts: dict[str, Any] = {"restarts": running.restarts(), "same_workers": running.workers() == workers}
        raw, taken, decisions, rejected = (
            running.taken(each) for each in ("clicks", "events", "decisions", "rejected")
        )
    lines = _until(settled, [each.body or b"" for each in decisions])
    facts |= {
        "rejected": len(rejected),
        "late": sum(b'"late":true' in (each.body or b"") for each in taken),
        "said_by_workers": _said(place / "live", seen.refused),
        "said_by_verb": seen.said,
        "turns": seen.turns,
    }
    facts |= _versions(lines, {channel: _good(ground, channel, seen) for channel in PREFIX})
    facts |= _contents(lines, seen.turns)
    past = [feed.Record(each.at, each.partition, each.key, each.body) for each in raw]
    replayed = _until(settled, decide(settings(overrides[0]), past, place / "replay").decisions)
    facts |= {"unlike_replay": len(set(lines) ^ set(replayed)), "repeated": len(lines) - len(set(lines))}
    fed_records = sum(each.body != PULSE_BODY for each in raw)
    # Each says it once: a worker that says nothing has let it in, one that says it again tries it again and again.
    otherwise = [
        version
        for version, channel in seen.refused.items()
        if facts["said_by_workers"][version] != PARALLELISM * FOLLOWERS[channel]
    ]
    refused = sum(broken.complaint in said for broken, said in zip(ground.broken, seen.said, strict=True))
    nothing = ("restarts", "rejected", "late", "wrong_version", "wrong_content", "unlike_replay", "repeated")
    return Result(
        figure=(
            f"{events:,} events, {len(lines):,} decisions by {facts['releases']} releases:"
            f" {facts['restarts']} restarts, {facts['wrong_version']} by a wrong release,"
            f" {facts['wrong_content']} with a wrong content,"
            f" {facts['late'] + facts['rejected']} late or rejected, {facts['unlike_replay']} unlike a replay;"
            f" of {len(ground.broken)} broken releases {refused} refused by the verb,"
            f" {len(seen.refused) - len(otherwise)} by every worker, each saying so once"
        ),
        passed=not any(facts[name] for name in nothing)
        and not otherwise
        and refused == len(ground.broken) == len(seen.refused)
        and facts["same_workers"]
        and fed_records == events
        and facts["fewest"] >= LEAST,
        details=facts | {"said_otherwise": otherwise},
    )


def _prepared(conf: Settings, place: Path) -> tuple[Ground, dict[str, tuple[Channel, bytes]]]:
    """Publish what decides at first; give what is exchanged for it, turn by turn, and what is broken."""
    shelf = Shelf.stocked(seeded(1, CATALOGUE))
    first, second = train.train(conf, 1, 30_000), train.train(conf, 2, 30_000)
    manifests = {each.text.encode(): each.manifest for each in (first, second)}
    book = rulebook(conf)
    published(conf.releases, "catalogue", shelf.catalogue_lines(), "the claim", at="start")
    published(conf.releases, "model", first.text.encode(), "the claim", manifest=first.manifest, at="start")
    published(conf.releases, "rules", encoded(book), "the claim", at="start")
    published(conf.releases, "policy", _posteriors(300.0, 60.0), "the claim", at="start")
    turns: dict[str, tuple[Channel, bytes]] = {
        "another arm": ("rules", encoded(_with(book, Action(arms=[_ARM])))),
        "another model": ("model", second.text.encode()),
        "another policy": ("policy", _posteriors(60.0, 300.0)),
        "off": ("flags", json.encode(Flags(slots={"hero": False}))),
        "on": ("flags", json.encode(Flags())),
        "other guards": ("rules", encoded(_guarded(book, _LIMITS[1]))),
    }
    torn = re.sub(rb"split_gain=\d", b"split_gain=x", first.text.encode(), count=1)
    broken = (
        Broken("model", torn, "loading it kills the process"),
        Broken("rules", encoded(_with(book, Action(arms=[_ARM]), when="rate_fst > 1")), "did you mean rate_fast?"),
        Broken("rules", encoded(_with(book, Action(arms=["storey"]))), 'there is no arm "storey"'),
        Broken("policy", _posteriors(20.0, 2_000.0), "has more reward"),
    )
    files = place / "files"
    files.mkdir()
    return Ground(conf, files, manifests, broken), turns


def rulebook(conf: Settings) -> Rulebook:
    """Take what conf says, and let what was learned have a say in the hero."""
    book = authored(conf)
    hero = book.slots["hero"]
    assert isinstance(hero, Variant)
    slots = book.slots | {"hero": replace(hero, policy="learned", shadow=[])}
    return _guarded(replace(book, slots=slots), _LIMITS[0])


def _guarded(book: Rulebook, most: int) -> Rulebook:
    slots = book.slots | {"hero": replace(book.slots["hero"], guards=Guards(caps=[Cap(most, "session")]))}
    return replace(book, slots=slots)


def _with(book: Rulebook, action: Action, when: str = "session_depth >= 0") -> Rulebook:
    return replace(book, rules=book.rules | {"forced": Rule("hero", {"always": Case(when, action)}, priority=99)})


def _posteriors(plain: float, story: float) -> bytes:
    arms = {"plain": Plays(1000.0, plain, plain), _ARM: Plays(1000.0, story, story)}
    return json.encode(Posteriors({"hero": Learned(arms)}))


def _feed(conf: Settings, ground: Ground, over: threading.Event) -> int:
    """Send what visitors do, as it happens, until `over` is set; how many events."""
    lines = Store(conf.releases.store).read(ground.listed("catalogue")[0]).splitlines()
    items = [json.decode(line)["id"] for line in lines]
    sent = 0

    def counted(stream: Iterator[Record]) -> Iterator[Record]:
        nonlocal sent
        for record in stream:
            yield record
            sent += 1

    shape = Shape(events=RATE * _LONGEST_S, rate=RATE)
    stream = in_time(records(shape, items, now_ms() + _AHEAD_MS))
    pace(wire.producer(conf.kafka.bootstrap), "clicks", counted(stream), over)
    return sent


def in_time(stream: Iterator[Record]) -> Iterator[Record]:
    """Leave out what is no event, and what lay on a device for long: so any late one is the job's doing."""
    for record in stream:
        if record.body not in JUNK and json.decode(record.body)["occurred_at"] > record.at_ms - 60_000:
            yield record


def _exchanged(running: Live, ground: Ground, turns: Mapping[str, tuple[Channel, bytes]]) -> Seen:
    """Publish turn by turn, then what is broken, by the verb and past it, then go back."""
    _stay(running, now_ms() + _AHEAD_MS)
    effective: dict[str, int] = {}
    for name, (channel, payload) in turns.items():
        effective[name] = ground.publish(channel, payload).effective_at
        _stay(running, effective[name])
    said = []
    for broken in ground.broken:
        before = ground.listed(broken.channel)
        try:
            ground.publish(broken.channel, broken.payload)
            said.append("published")
        except Refusal as refusal:
            said.append(str(refusal))
        assert ground.listed(broken.channel) == before, "what was refused stands in the index"
    smuggled = [(ground.smuggle(broken), broken.channel) for broken in ground.broken]
    _stay(running, max(each.effective_at for each, _ in smuggled))
    for channel in ("rules", "model"):
        release.main(ground.conf, ["rollback", channel, "--to", f"{PREFIX[channel]}1", "--reason", "the claim"])
        effective[f"{channel} back"] = ground.listed(channel)[-1].effective_at
    _stay(running, max(effective.values()))
    return Seen({each.version: channel for each, channel in smuggled}, said, effective)


def _stay(running: Live, effective_at: int) -> None:
    """Wait until a release has decided for a while."""
    running.wait(lambda: running.heartbeat() > effective_at + STAY_MS, _WAIT_S, "decisions by a new release")


def _good(ground: Ground, channel: Channel, seen: Seen) -> list[Release]:
    return [each for each in ground.listed(channel) if each.version not in seen.refused]


def _versions(lines: Sequence[bytes], good: Mapping[str, Sequence[Release]]) -> dict[str, Any]:
    """Hold the releases that each decision names against those that were in force for its row."""
    wrong: Counter[str] = Counter()
    made: Counter[str] = Counter()
    for line in lines:
        record = _decode(line)
        for channel, index in good.items():
            # What was learned counts for sessions that begin after it; the rest from a slice end on.
            moment = record.session if channel == "policy" else record.seq
            expected = next((each.version for each in reversed(index) if each.effective_at <= moment), None)
            named = getattr(record.ver, channel, None)
            made[str(expected)] += 1
            if named != expected:
                wrong[f"{channel}: {named} instead of {expected}"] += 1
    published_ = [each.version for index in good.values() for each in index]
    return {
        "wrong_version": wrong.total(),
        "wrong_versions": dict(wrong.most_common(5)),
        "releases": len(published_),
        "fewest": min(made[version] for version in published_),
        "made": {version: made[version] for version in published_},
    }


def _contents(lines: Sequence[bytes], turns: Mapping[str, int]) -> dict[str, Any]:
    """Hold the hero of each decision against what the release in force says of it."""
    wrong: Counter[str] = Counter()
    for line in lines:
        record = _decode(line)
        card, trace = record.slots["hero"], record.trace.get("hero")
        off = turns["off"] <= record.seq < turns["on"]
        forced = turns["another arm"] <= record.seq < turns["other guards"]
        guarded = turns["other guards"] <= record.seq < turns["rules back"]
        wrong["switch"] += (card.reason is Why.OFF) != off
        if trace is None or off:
            continue  # a robot gets what everybody gets
        assert trace.guards is not None
        wrong["guards"] += trace.guards[0].limit != _LIMITS[guarded]
        wrong["arm"] += forced and not trace.guards[0].held and (card.reason, card.arm) != (Why.RULE, _ARM)
    return {"wrong_content": wrong.total(), "wrong_contents": dict(wrong)}


def _until(settled: int, lines: Sequence[bytes]) -> list[bytes]:
    """Leave out what was decided after a moment: of the last slices the topics need not hold all yet."""
    return [line for line in lines if _decode(line).seq <= settled]


def _said(root: Path, versions: Mapping[str, Channel]) -> dict[str, int]:
    """Count how often the job's logs say that a release is refused."""
    logs = [path.read_text(errors="replace") for path in root.rglob("*.log*") if path.is_file()]
    return {version: sum(text.count(f"release {version} is refused") for text in logs) for version in versions}


_decode: Final = json.Decoder(Decision).decode
