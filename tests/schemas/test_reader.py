"""What a page gets to show, whatever Redis holds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisClusterException, ResponseError
from redis.exceptions import TimeoutError as NoAnswer

from schemas.events import Kind, RawEvent
from schemas.reader import REASONS, Reader, exposure, pseudonym, ticket
from udfs import draw
from udfs.deciding.assignment import bucket

VECTORS = json.loads((Path(__file__).parents[2] / "schemas" / "reader_vectors.json").read_text(encoding="utf-8"))
NOW = 1767225605000
HEARTBEAT = b'{"v":1,"seq":1767225604000,"acked":1767225604200}'
FEED = b'{"id":"7Qm2.home_feed","kind":"rerank","items":["a91"],"p":1.0,"reason":"SCORE","expires":1767225900000}'
CARD = (
    b'{"v":1,"seq":1767225600000,"at":1767225599870,"expires":1767225900000,"slots":{"home_feed":'
    + FEED
    + b'},"ver":{}}'
)


class Shelf:
    """A Redis of one dictionary; its pipelines count as round trips."""

    def __init__(self, values: Mapping[str, object], error: Exception | None = None) -> None:
        self.values = values
        self.error = error
        self.round_trips = 0

    def pipeline(self, transaction: bool = True) -> "Asked":
        assert not transaction, "the keys lie in different slots of a cluster"
        return Asked(self)


class Asked:
    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.names: list[str] = []

    def get(self, name: str) -> None:
        self.names.append(name)

    def execute(self, raise_on_error: bool = True) -> Sequence[object]:
        assert not raise_on_error
        if self.shelf.error:
            raise self.shelf.error
        self.shelf.round_trips += 1
        return [self.shelf.values.get(name) for name in self.names]


@pytest.mark.parametrize("case", VECTORS["reads"], ids=lambda case: case["name"])
@pytest.mark.parametrize("as_bytes", [True, False], ids=["bytes", "text"])
def test_a_golden_vector_is_answered_as_written(case: dict[str, Any], as_bytes: bool) -> None:
    held = {key: value.encode() if value and as_bytes else value for key, value in case["keys"].items()}
    shelf = Shelf(held, NoConnection("connection refused") if case.get("unreachable") else None)
    read = Reader(shelf, now=lambda: case["now"]).read(**case["read"])
    assert {
        "source": read.source,
        "reason": read.reason,
        "age_ms": read.age_ms,
        "seq": read.seq,
        "sources": read.sources,
        "slots": read.slots,
    } == case["expect"]


def test_the_vectors_cover_every_rung_and_every_reason() -> None:
    assert {case["expect"]["source"] for case in VECTORS["reads"]} == {"user", "segment", "default", "caller"}
    assert {case["expect"]["reason"] for case in VECTORS["reads"]} == {None, *REASONS}


@pytest.mark.parametrize("case", VECTORS["draws"], ids=lambda case: case["name"])
@pytest.mark.parametrize("as_bytes", [True, False], ids=["bytes", "text"])
def test_a_golden_vector_is_drawn_as_written(case: dict[str, Any], as_bytes: bool) -> None:
    held = {key: value.encode() if value and as_bytes else value for key, value in case["keys"].items()}
    shelf = Shelf(held, NoConnection("connection refused") if case.get("unreachable") else None)
    assert Reader(shelf, now=lambda: case["now"]).draw(**case["draw"]) == case["expect"]


@pytest.mark.parametrize("case", VECTORS["draws"], ids=lambda case: case["name"])
def test_a_page_holds_the_ticket_that_the_job_holds(case: dict[str, Any]) -> None:
    slot, user_id, session = (case["draw"][name] for name in ("slot", "user_id", "session"))
    key = f"trimtab-1|{slot}|{user_id}|{session}"
    assert ticket(key) == draw.ticket(key) == case["value"]


def test_arms_are_drawn_as_often_as_the_table_says() -> None:
    table = next(case for case in VECTORS["draws"] if case["name"] == "everybody draws by everybody's shares")
    reader = Reader(Shelf(table["keys"]), now=lambda: NOW)
    drawn = [reader.draw("hero", f"k1:{person}", NOW) or {} for person in range(10_000)]
    counts = [sum(card["arm"] == arm for card in drawn) for arm in ("plain", "short_visual", "story")]
    assert counts == pytest.approx([5000, 3000, 2000], abs=200)  # over four standard deviations
    assert len({card["id"] for card in drawn}) == 10_000


def test_a_page_holds_out_whom_the_job_holds_out() -> None:
    case = next(case for case in VECTORS["draws"] if case["name"] == "others are, though some are held out")
    reader = Reader(Shelf(case["keys"]), now=lambda: NOW)
    people = [f"k1:{person}" for person in range(1000)]
    left_out = [reader.draw("hero", person, NOW) is None for person in people]
    assert left_out == (bucket("holdout", people) < 0.5).tolist()


def test_a_draw_is_one_round_trip_and_its_exposure_quotes_it() -> None:
    case = VECTORS["draws"][0]
    shelf = Shelf(case["keys"])
    card = Reader(shelf, now=lambda: NOW).draw(**case["draw"]) or {}
    assert shelf.round_trips == 1
    assert exposure("ada", card, card["arm"], 0) == {
        "user_id": "ada",
        "kind": "exposure",
        "slot": "hero",
        "decision_id": card["id"],
        "shown": "story",
        "position": 0,
    }


@pytest.mark.parametrize("value", [b"\xff\xfe", b"[" * 100_000, ResponseError("WRONGTYPE Operation against")])
@pytest.mark.parametrize("key", ["tt:flags", "tt:policy"])
def test_no_value_makes_a_draw_fail(key: str, value: object) -> None:
    held = VECTORS["draws"][0]["keys"] | {key: value}
    assert Reader(Shelf(held), now=lambda: NOW).draw("hero", "k1:0af1", 7) is None


def test_a_read_is_one_round_trip() -> None:
    shelf = Shelf({})
    Reader(shelf).read("k1:0af1", segment="skimmer", default={})
    assert shelf.round_trips == 1


def test_a_read_under_two_keys_is_one_round_trip_too() -> None:
    shelf = Shelf({"tt:meta": HEARTBEAT, "tt:{k1:0af1}:d": CARD})
    read = Reader(shelf, now=lambda: NOW).read(["k2:9b3c", "k1:0af1"], segment="skimmer", default={})
    assert (read.source, read.seq, shelf.round_trips) == ("user", 1767225600000, 1)


def test_a_person_without_any_pseudonym_has_no_card_of_their_own() -> None:
    read = Reader(Shelf({"tt:meta": HEARTBEAT}), now=lambda: NOW).read([], default={"hero": {"arm": "plain"}})
    assert (read.source, read.reason) == ("caller", "missing")


@pytest.mark.parametrize(
    "value",
    [b"\xff\xfe", b"[" * 100_000, b'{"v":1,"seq":' + b"9" * 5000 + b"}", ResponseError("WRONGTYPE Operation against")],
    ids=["not UTF-8", "nested without end", "a number without end", "a key of another type"],
)
@pytest.mark.parametrize("key", ["tt:flags", "tt:meta", "tt:{k1:0af1}:d"])
def test_no_value_makes_a_page_fail(key: str, value: object) -> None:
    held = {"tt:meta": HEARTBEAT, "tt:{k1:0af1}:d": CARD, key: value}
    read = Reader(Shelf(held), now=lambda: NOW).read("k1:0af1", default={})
    assert (read.source, read.reason) == ("caller", "malformed")


def test_an_error_for_one_key_of_a_cluster_leaves_the_callers_constants() -> None:
    held = {"tt:meta": HEARTBEAT, "tt:{k1:0af1}:d": ResponseError("CLUSTERDOWN The cluster is down")}
    read = Reader(Shelf(held), now=lambda: NOW).read("k1:0af1", default={"hero": {"arm": "plain"}})
    assert (read.source, read.reason, read.slots) == ("caller", "unreachable", {"hero": {"arm": "plain"}})


@pytest.mark.parametrize(
    "error", [NoConnection("refused"), NoAnswer("timed out"), RedisClusterException("no node"), OSError("no route")]
)
def test_no_error_of_the_client_makes_a_page_fail(error: Exception) -> None:
    read = Reader(Shelf({}, error)).read("k1:0af1", default={"hero": {"arm": "plain"}})
    assert (read.source, read.reason, read.slots) == ("caller", "unreachable", {"hero": {"arm": "plain"}})


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    read = Reader.connect("redis://127.0.0.1:1/0").read("k1:0af1", default={"hero": {"arm": "plain"}})
    assert (read.source, read.reason) == ("caller", "unreachable")


def test_another_prefix_reads_other_keys() -> None:
    held = {"shop:meta": HEARTBEAT, "shop:{k1:0af1}:d": CARD}
    read = Reader(Shelf(held), prefix="shop", now=lambda: NOW).read("k1:0af1", default={})
    assert (read.source, read.age_ms, list(read.slots)) == ("user", 5000, ["home_feed"])


@pytest.mark.parametrize("case", VECTORS["pseudonyms"])
def test_a_pseudonym_is_the_keyed_hash_of_the_id(case: dict[str, str]) -> None:
    assert pseudonym(case["user_id"], case["key"].encode(), case["key_id"]) == case["expect"]


@pytest.mark.parametrize("case", VECTORS["pseudonyms"])
def test_the_job_gives_a_person_the_name_the_reader_gives(case: dict[str, str]) -> None:
    job = pytest.importorskip("udfs.cleaning.pseudonym")
    assert job.pseudonym(case["user_id"], case["key"].encode(), case["key_id"]) == case["expect"]


@pytest.mark.parametrize("case", VECTORS["exposures"])
def test_an_exposure_quotes_the_decision_and_a_constant_has_none(case: dict[str, Any]) -> None:
    assert exposure(case["user_id"], case["card_slot"], case["shown"], case["position"]) == case["expect"]


def test_an_exposure_is_an_event_the_suite_takes() -> None:
    made = exposure("ada", {"id": "7Qm2.hero"}, "story", 0)
    assert convert(made, RawEvent) == RawEvent(
        user_id="ada", kind=Kind.EXPOSURE, slot="hero", decision_id="7Qm2.hero", shown="story", position=0
    )
