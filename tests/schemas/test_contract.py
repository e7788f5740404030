"""What other teams read and build upon."""

import json

import msgspec
import pytest

from schemas import control, decisions, reader, rejects
from schemas.contract import CARRIED, PAGE, RECORDS, REDIS_KEYS, contract, declared_topics, json_schemas, written
from schemas.control import Action, State
from schemas.decisions import Card, Heartbeat, SlotCard, Versions, Why
from schemas.events import CODE, PULSE_BODY, Event, Kind
from schemas.rejects import Reason
from schemas.releases import DECIDING
from schemas.signals import FEATURES, Signals

# The card of the design, section 7, with what is in force today.
CARD = b"""{"v":1,"seq":1767225600000,"at":1767225600000,"expires":1767225900000,"slots":{
  "home_feed":{"id":"7Qm2k9wZ4tA1.home_feed","kind":"rerank","p":0.62,"reason":"SCORE","expires":1767225660000,
    "items":["a91","c17","b02"],"why":["interest:sport 0.61"]},
  "hero":{"id":"7Qm2k9wZ4tA1.hero","kind":"variant","p":0.62,"reason":"SPLIT","expires":1767225660000,
    "arm":"short_visual","params":{"density":"low"}}},
 "ver":{"catalogue":"c7","model":"m12"}}"""


@pytest.mark.parametrize("file", written(), ids=lambda file: file.name)
def test_what_is_derived_is_up_to_date(file: object) -> None:
    stale = [path.name for path, text in written().items() if path == file and path.read_text("utf-8") != text]
    assert not stale, "run python -m schemas.contract"


def test_a_card_comes_back_as_it_was_written() -> None:
    card = msgspec.json.decode(CARD, type=Card)
    assert card.slots["hero"] == SlotCard(
        id="7Qm2k9wZ4tA1.hero",
        kind="variant",
        p=0.62,
        reason=Why.SPLIT,
        expires=1767225660000,
        arm="short_visual",
        params={"density": "low"},
    )
    assert card.ver == Versions(catalogue="c7", model="m12")
    assert json.loads(msgspec.json.encode(card)) == json.loads(CARD)


def test_the_reader_takes_what_the_job_writes() -> None:
    now = 1767225601000
    heartbeat = msgspec.json.encode(Heartbeat(v=1, seq=now, acked=now))
    held = {"tt:meta": heartbeat, "tt:{k1:0af1}:d": msgspec.json.encode(msgspec.json.decode(CARD, type=Card))}

    class Pipeline:
        def __init__(self) -> None:
            self.found: list[object] = []

        def get(self, name: str) -> None:
            self.found.append(held.get(name))

        def execute(self, raise_on_error: bool = True) -> list[object]:
            return [] if raise_on_error else self.found

    class Client:
        def pipeline(self, transaction: bool = True) -> Pipeline:
            assert not transaction
            return Pipeline()

    read = reader.Reader(Client(), now=lambda: now).read("k1:0af1", default={})
    assert (read.source, read.slots) == ("user", json.loads(CARD)["slots"])


def test_an_event_carries_its_version_and_no_empty_fields() -> None:
    event = Event(user_id="k1:0af1", at=1767225600000, kind=Kind.CLICK, item="a91")
    assert msgspec.json.encode(event) == (b'{"v":1,"user_id":"k1:0af1","at":1767225600000,"kind":"click","item":"a91"}')


def test_a_pulse_is_no_event_of_a_person() -> None:
    assert "pulse" not in {kind.value for kind in Kind}
    assert json.loads(PULSE_BODY) == {"kind": "pulse"}
    assert list(CODE.values()) == list(range(1, len(Kind) + 1))


def test_every_code_has_a_meaning() -> None:
    assert set(decisions.MEANING) == set(Why)
    assert set(rejects.MEANING) == set(Reason)
    assert set(control.ACTIONS) == set(Action)
    assert set(control.STATES) == set(State)


def test_every_topic_of_the_page_is_declared_with_its_record() -> None:
    assert set(CARRIED) <= set(declared_topics())


def test_the_page_names_every_record_field_key_code_and_signal() -> None:
    page = contract(declared_topics())
    defined = json_schemas()["$defs"]
    named = [record.__name__ for record in RECORDS]
    named += [field for record in RECORDS for field in defined[record.__name__]["properties"]]
    named += [*REDIS_KEYS, *reader.REASONS, *FEATURES]
    named += [code.value for codes in (Why, Reason, Kind, Action, State) for code in codes]
    named += [field.name for field in msgspec.structs.fields(Signals)]
    assert [name for name in named if f"`{name}`" not in page and f"### {name}" not in page] == []


def test_every_signal_has_a_unit_a_meaning_and_a_neutral_value() -> None:
    signals = json_schemas()["$defs"]["Signals"]
    assert signals["required"] == []
    assert [name for name, field in signals["properties"].items() if not (field["unit"] and field["description"])] == []


def test_the_page_lies_beside_the_types() -> None:
    assert PAGE.name == "CONTRACT.md"


def test_records_name_a_release_of_every_channel_that_decides() -> None:
    assert set(Versions.__struct_fields__) == set(DECIDING)
