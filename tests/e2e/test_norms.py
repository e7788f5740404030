"""What is normal is counted from the topic of events as it lies on a broker, and followed from then on."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec import json
from msgspec.structs import replace

from jobs import norms
from jobs.local.stack import Stack
from jobs.wiring import Refusal, wire
from jobs.wiring.releases import Follower
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.events import Event, Kind, Purpose, RawEvent
from schemas.norms import Population
from schemas.settings import Settings
from udfs.cleaning.noise import clip

REPOSITORY = Path(__file__).resolve().parents[2]
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PARTITIONS = 3


@pytest.fixture
def settings(
    stack: Stack, own_topic: Callable[[str, int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A topic of its own for each test."""
    monkeypatch.setattr(norms, "_TOPIC", own_topic("events", PARTITIONS))
    loaded = load(REPOSITORY, "local", stack.environment(), []).settings
    return replace(loaded, releases=replace(loaded.releases, store=str(tmp_path / "store")))


def write(settings: Settings, events: Iterable[Event | bytes | None], *, at: int, commit: bool | None = None) -> None:
    """Write records, outside of a transaction, or in one that is committed or taken back."""
    name = "" if commit is None else f"test-{norms._TOPIC}-{commit}"
    producer = wire.producer(settings.kafka.bootstrap, transactional_id=name)
    if commit is not None:
        producer.init_transactions(20)
        producer.begin_transaction()
    for number, event in enumerate(events):
        body = json.encode(event) if isinstance(event, Event) else event
        producer.produce(norms._TOPIC, body, partition=number % PARTITIONS, timestamp=at)
    assert producer.flush(20) == 0
    if commit is not None:
        (producer.commit_transaction if commit else producer.abort_transaction)(20)


def dwells(values: Iterable[float], **marks: object) -> Iterator[Event]:
    for value in values:
        yield Event("k0:ada", 0, Kind.DWELL, dwell_ms=int(value), **marks)  # type: ignore[arg-type]


def published(settings: Settings) -> Population:
    store = Store(settings.releases.store)
    return json.decode(store.read(store.index("norms")[-1]), type=Population)


def test_the_norms_of_the_last_day_are_counted_published_and_followed(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(3)
    usual = rng.lognormal(9.0, 0.6, 6000).round()
    paid = [4.99] * 3500 + [19.99] * 2500
    now = time.time_ns() // 1_000_000
    write(settings, dwells([9e6] * 3000), at=now - 2 * DAY_MS)
    write(settings, dwells(usual), at=now - HOUR_MS)
    write(settings, (Event("k0:bo", 0, Kind.CART, value=value) for value in paid), at=now - HOUR_MS)
    write(settings, (Event("k0:bo", 0, Kind.RATE, value=5.0) for _ in range(1200)), at=now - HOUR_MS)
    write(settings, [*dwells([1.0] * 900, late=True), *dwells([2.0] * 800, robot=True)], at=now - HOUR_MS)
    write(settings, dwells([3.0] * 700, denied=[Purpose.LEARN]), at=now - HOUR_MS)
    write(settings, [Event("k0:cy", 0, Kind.CLICK, item="a"), None, b"{"], at=now - HOUR_MS)

    assert norms.main(settings, ["--since", "1d", "--publish"]) == 0

    found = published(settings)
    dwell, cart, rate = (found.kinds[kind] for kind in (Kind.DWELL, Kind.CART, Kind.RATE))
    assert list(found.kinds) == [Kind.DWELL, Kind.CART, Kind.RATE]
    assert dwell.dwell_ms is not None
    assert (dwell.dwell_ms.n, dwell.value) == (6000, None)
    assert [dwell.dwell_ms.q1, dwell.dwell_ms.median, dwell.dwell_ms.q3] == pytest.approx(
        np.quantile(usual, [0.25, 0.5, 0.75]).tolist(), rel=0.0101
    )
    assert cart.value is not None
    assert [cart.value.q1, cart.value.median, cart.value.q3] == pytest.approx([4.99, 4.99, 19.99], rel=0.0101)
    assert rate.value is not None
    assert rate.value.q1 == rate.value.q3

    printed = capsys.readouterr().out.splitlines()
    left_out = (
        "900 late left out, 1 not readable left out, 800 of robots left out, 700 without consent to learn left out"
    )
    assert printed[0].startswith("15602 events since ")
    assert printed[0].endswith(f"+00:00, {left_out}")
    assert [line.split()[:3] for line in printed[1:5]] == [
        ["kind", "field", "n"],
        ["dwell", "dwell_ms", "6000"],
        ["cart", "value", "6000"],
        ["rate", "value", "1200"],
    ]
    assert printed[4].endswith("no bounds: all alike")
    assert printed[5].startswith("published n1, in force from ")

    (release,) = Store(settings.releases.store).index("norms")
    assert release.effective_at >= now + settings.releases.lead
    assert release.reason.startswith("13201 events since ")

    follower = Follower(settings.releases.store, 1000, 1000, lambda: now, logging.getLogger(), channels=("norms",))
    follower.refresh()
    before, after = follower.each(np.array([release.effective_at - 1, release.effective_at], dtype=np.int64))
    fence = dwell.dwell_ms.q3 * (dwell.dwell_ms.q3 / dwell.dwell_ms.q1) ** 3
    wild = RawEvent("ada", Kind.DWELL, dwell_ms=int(fence) + 2)
    assert clip(wild, before.norms, settings.noise) == (int(fence) + 2, None, ())
    assert clip(wild, after.norms, settings.noise) == (int(fence), None, ("dwell_ms",))


def test_what_was_cut_counts_at_its_bound_so_the_next_norms_stay_where_they_are(settings: Settings) -> None:
    now = time.time_ns() // 1_000_000
    values = np.random.default_rng(3).lognormal(9.0, 1.2, 3000)
    write(settings, dwells(values), at=now - HOUR_MS)
    assert norms.main(settings, ["--publish"]) == 0
    first = published(settings).kinds[Kind.DWELL].dwell_ms
    assert first is not None
    fence = first.q3 * (first.q3 / first.q1) ** 3
    write(settings, dwells(np.minimum(values, fence), clipped=["dwell_ms"]), at=now - HOUR_MS)
    assert norms.main(settings, ["--publish"]) == 0
    second = published(settings).kinds[Kind.DWELL].dwell_ms
    assert second is not None
    assert second.n == 6000
    assert [second.q1, second.q3] == pytest.approx([first.q1, first.q3], rel=1e-3)


def test_what_a_transaction_took_back_was_never_there(settings: Settings) -> None:
    now = time.time_ns() // 1_000_000
    write(settings, dwells([5000.0] * 600 + [7000.0] * 600), at=now, commit=True)
    write(settings, dwells([9e6] * 3000), at=now, commit=False)
    assert norms.main(settings, ["--publish"]) == 0
    found = published(settings).kinds[Kind.DWELL].dwell_ms
    assert found is not None
    assert found.n == 1200


def test_too_few_events_are_shown_and_refused(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    write(settings, dwells([5000.0] * 999), at=time.time_ns() // 1_000_000)
    with pytest.raises(Refusal, match=r"^norms: too few events since .*: no kind has 1000 values of a field \(noise\."):
        norms.main(settings, ["--publish"])
    assert capsys.readouterr().out.splitlines()[-1].endswith("no bounds: too few")
    assert not Path(settings.releases.store).exists()


def test_an_empty_topic_is_refused(settings: Settings) -> None:
    with pytest.raises(Refusal, match=r"^norms: too few events since "):
        norms.main(settings, [])


def test_without_publish_nothing_is_published(settings: Settings) -> None:
    write(settings, dwells(range(1000, 3000)), at=time.time_ns() // 1_000_000)
    assert norms.main(settings, ["--since", "1h"]) == 0
    assert not Path(settings.releases.store).exists()


def test_a_stretch_that_is_none_is_refused(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        norms.main(settings, ["--since", "yesterday"])
    assert 'expected a duration such as "250ms"' in capsys.readouterr().err
