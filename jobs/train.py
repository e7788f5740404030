"""Teaches a ranking model from what lists earned, and publishes it where it is no worse than the live one."""

import argparse
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
from lightgbm.basic import LightGBMError

from jobs.local.lessons import outcomes, pupils
from jobs.local.world import CATALOGUE, Shelf, seeded
from jobs.pulse import repeat
from jobs.wiring import Refusal, taught
from jobs.wiring.publishing import duration, now_ms, published, refusals, shown
from jobs.wiring.report_page import page
from jobs.wiring.store import MANIFEST, Store, text_of, trial
from jobs.wiring.taught import Gathering, Say, Shelves
from schemas.releases import FILES, Lineage, Release
from schemas.settings import Releases, Settings
from udfs.deciding.catalogue import Catalogue
from udfs.releases import RefusedRelease
from udfs.scoring.models import Model
from udfs.scoring.trees import read
from udfs.training.candidate import Candidate, Live, TooLittleError, learned
from udfs.training.examples import Examples, examples

ROWS: Final = 200_000
REPORT: Final = "report.html"

_LEAST_ROWS: Final = 20_000
_TREES_TOLD: Final = 10
_CHANCES: Final = ("binary", "cross_entropy")


class Source(NamedTuple):
    """Lists to learn from.

    Attributes:
        lists: in the order of time.
        left_out: why -> outcomes.
        noted: where they come from.
    """

    lists: Examples
    left_out: Counter[str]
    noted: str


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The round is not finished, because the process is asked to end."""


def main(settings: Settings, arguments: list[str]) -> int:
    """Train, say how good the model is and what the gates say, and save, show or publish it; or do so again and again.

    Raises:
        Refusal: an argument is out of range, there is too little to learn from, the gates are not passed and it was to
            be published, or the broker, a file or the store cannot be read or written.
    """
    asked = _parser().parse_args(arguments)
    if asked.rows < _LEAST_ROWS or asked.seed < 0:
        raise Refusal(f"train: --rows must be at least {_LEAST_ROWS}, --seed at least 0")
    if not asked.schedule:
        _round(settings, asked, _say)
        return 0
    if not settings.train.every:
        raise Refusal("train: train.every must be longer than nothing, for --schedule")
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda _sign, _frame: stop.set())
    keep_training(settings, asked, stop)
    return 0


def keep_training(settings: Settings, asked: argparse.Namespace, stop: threading.Event) -> None:
    """Train every `train.every` and publish what passes the gates, until `stop` is set; a failed round is only told."""

    def say(line: str) -> None:
        if stop.is_set():
            raise Stopped
        _say(line)

    def once() -> None:
        try:
            _round(settings, asked, say)
        except Refusal as refused:
            print(f"{refused}; next round in {settings.train.every / 1000:.0f} s", file=sys.stderr, flush=True)
        except Stopped:
            _say("stopped in the middle of a round: nothing was published")

    repeat(once, settings.train.every / 1000, stop.is_set, stop.wait)


def train(settings: Settings, seed: int, rows: int) -> Candidate:
    """Learn from so many items shown in the pretend world; the same seed, rows and settings give the same text.

    Raises:
        Refusal: the slots are not those of the pretend world, or there is too little to learn from.
    """
    return candidate(settings, pretended(settings, seed, rows), None)


def pretended(settings: Settings, seed: int, rows: int) -> Source:
    """Play page views of the pretend world, for those who have no outcomes yet.

    Raises:
        Refusal: the slots are not those of the pretend world.
    """
    catalogue = Catalogue.parse("c1", pupils(settings, seed, rows).shelf.catalogue_lines())
    left_out = Counter[str]()
    lists = examples(outcomes(settings, seed, rows), {catalogue.version: catalogue}, left_out)
    return Source(lists, left_out, f"the pretend world of seed {seed}")


def candidate(
    settings: Settings, source: Source, live: Live | None, *, until: float = np.inf, say: Say = lambda _line: None
) -> Candidate:
    """Train a model on lists, and hold it against the live one; see `udfs.training.candidate.learned`.

    Raises:
        Refusal: there is too little to learn from, or LightGBM does not take it.
    """

    def lineage(learn: Examples) -> Lineage:
        return Lineage(
            outcomes=len(learn.ids),
            rows=len(learn.gains),
            first=int(learn.due.min()),
            last=int(learn.due.max()),
            code=f"trimtab {_version('trimtab')}, lightgbm {_version('lightgbm')}",
            parameters={},
            left_out=dict(sorted(source.left_out.items())),
        )

    def told(trees: int, measure: float) -> None:
        if trees % _TREES_TOLD == 0:
            say(f"{trees} trees, {measure:.5f} on the people watched")

    try:
        return learned(source.lists, settings.train, live, lineage, until=until, told=told)
    except TooLittleError as error:
        raise Refusal(f"train: {error}; read further back with --since, or wait for more") from None
    except LightGBMError as error:
        raise Refusal(f"train: LightGBM: {' '.join(str(error).split())}") from None


def publish_demo(settings: Settings, seed: int) -> list[Release]:
    """Give an empty store the pretend world's catalogue and a model, in force from the start of time.

    What a channel already holds stays as it is.

    Returns:
        What was published.

    Raises:
        Refusal: the slots are not those of the pretend world, or the store does not take the releases.
    """
    reason = f"the pretend world of seed {seed}"
    conf = settings.releases
    with refusals(conf):
        store = Store(conf.store)
        has_catalogue, has_model = bool(store.index("catalogue")), bool(store.index("model"))
    releases = []
    if not has_catalogue:
        payload = Shelf.stocked(seeded(seed, CATALOGUE)).catalogue_lines()
        releases.append(published(conf, "catalogue", payload, reason, at="start"))
    if not has_model:
        model = train(settings, seed, ROWS)
        releases.append(published(conf, "model", model.text.encode(), reason, manifest=model.manifest, at="start"))
    return releases


def live_model(conf: Releases, say: Say) -> tuple[Live, Release] | None:
    """Load the newest model that holds, in force already or about to be; None where there is none.

    Raises:
        Refusal: the store cannot be read.
    """
    with refusals(conf):
        store = Store(conf.store)
        for release in reversed(store.index("model")):
            try:
                return _live(conf, store, release), release
            except RefusedRelease as refused:
                say(f"passed over: {refused}")
    return None


def _live(conf: Releases, store: Store, release: Release) -> Live:
    payload, manifest = store.read(release), store.manifest(release)
    trial("model", payload, manifest, conf.load_timeout)
    text = text_of(release.version, payload)
    booster = Model.parse(release.version, text, manifest).booster
    objective, _, _ = read(release.version, text, len(manifest.features)).objective.partition(" ")
    return Live(release.version, lambda rows: np.asarray(booster.predict(rows, num_threads=1)), objective in _CHANCES)


def _round(settings: Settings, asked: argparse.Namespace, say: Say) -> None:
    """Do it once."""
    now = now_ms()
    source = _source(settings, asked, now, say)
    newest = int(source.lists.at[-1]) if len(source.lists.at) else now
    until = np.inf if asked.until is None else (newest if asked.input or asked.demo else now) - asked.until
    found = live_model(settings.releases, say)
    model = candidate(settings, source, found[0] if found else None, until=until, say=say)
    for line in _told(model):
        say(line)
    _written(asked, model, source.noted)
    if asked.publish or asked.schedule:
        say(_published(settings, model, found[1] if found else None))


def _source(settings: Settings, asked: argparse.Namespace, now: int, say: Say) -> Source:
    if asked.demo:
        source = pretended(settings, asked.seed, asked.rows)
        say(f"{len(source.lists.ids):,} lists of {source.noted}")
        return source
    gathering = Gathering(Shelves(settings.releases, say), settings.train.max_rows, say)
    if asked.input:
        gathering.add(taught.of_file(asked.input))
        lists, noted = gathering.taught(ago=asked.since), f"{asked.input.name}"
    else:
        since = now - asked.since if asked.since else 0
        gathering.add(taught.of_topic(settings.kafka, since))
        lists, noted = (
            gathering.taught(since),
            f"the topic {taught.TOPIC}" + (f" since {shown(since)}" if since else ""),
        )
    say(f"{gathering.summary()}: {len(lists.ids):,} lists with {len(lists.gains):,} items, from {noted}")
    return Source(lists, gathering.left_out, noted)


def _told(model: Candidate) -> Iterable[str]:
    parts, lineage = model.parts, model.manifest.lineage
    assert lineage is not None
    learn, watch, judge = (len(each.ids) for each in (parts.learn, parts.watch, parts.judge))
    yield f"{learn:,} lists to learn from, {watch:,} that said when to stop, {judge:,} newer ones of people held out"
    yield ", ".join(f"{name} {value:.5g}" for name, value in lineage.scores.items() if not name.startswith("parent_"))
    for verdict in model.verdicts:
        yield f"{'passed ' if verdict.passed else 'REFUSED'} {verdict.gate}: {verdict.said}"


def _written(asked: argparse.Namespace, model: Candidate, noted: str) -> None:
    files: dict[Path, bytes] = {}
    if asked.out:
        files[asked.out / FILES["model"]] = model.text.encode()
        files[asked.out / MANIFEST] = msgspec.json.encode(model.manifest)
    for path in [asked.report] if asked.report else [asked.out / REPORT] if asked.out else []:
        files[path] = page(model, noted).encode()
    for path, content in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise Refusal(f"train: {path} cannot be written: {error.strerror}") from None


def _published(settings: Settings, model: Candidate, newest: Release | None) -> str:
    """Publish what passes the gates, and say so.

    Raises:
        Refusal: it does not pass, with the reasons; or the store does not take it.
    """
    if reasons := model.refused:
        raise Refusal(f"train: not published, {'; '.join(reasons)}")
    payload = model.text.encode()
    if newest and newest.sha256 == sha256(payload).hexdigest():
        return f"not published: {newest.version} is the same"
    lineage = model.manifest.lineage
    assert lineage is not None
    order = next(each.said for each in model.verdicts if each.gate == "order")
    reason = f"trained on {lineage.outcomes} lists until {shown(lineage.last)}: {order}"
    release = published(settings.releases, "model", payload, reason, manifest=model.manifest)
    return f"published {release.version}, in force from {shown(release.effective_at)} on"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs train", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--input", type=Path, metavar="FILE", help="outcomes from a file: Parquet with a column `record`, or JSON lines"
    )
    source.add_argument("--demo", action="store_true", help="outcomes of the pretend world, made on the spot")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"with --demo: items shown ({ROWS})")
    parser.add_argument("--seed", type=int, default=1, help="with --demo: of the pretend world (1)")
    parser.add_argument(
        "--since", type=duration, help="how far back to read, such as 30d; of a file, from its newest outcome (all)"
    )
    parser.add_argument(
        "--until", type=duration, help="learn from nothing newer than so long ago; judged are the newest all the same"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"write {FILES['model']}, {MANIFEST} and {REPORT} there"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="for the report alone")
    parser.add_argument("--publish", action="store_true", help="publish it, in force releases.lead from now")
    parser.add_argument(
        "--schedule", action="store_true", help="train and publish every train.every, until SIGTERM or Ctrl-C"
    )
    return parser
