"""The page about formats says what is true: its example works, and its tables are what the samples become."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from msgspec import convert, to_builtins
from msgspec.structs import fields

from schemas.events import RawEvent
from schemas.formats import Format
from tests.claims import edge_cases
from tests.claims.claim import Skipped, settings, shared
from tests.claims.payloads import PAGE, Row, Sample, counted, tables
from udfs.cleaning.refusal import explain
from udfs.payloads.mapping import reader

TEXT = PAGE.read_text(encoding="utf-8")
DECLARED = tomllib.loads(PAGE.with_name("formats.toml").read_text(encoding="utf-8"))["formats"]
FORMATS = convert(DECLARED, dict[str, Format])
TABLES = dict(tables())


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def declared(block: str) -> dict[str, Format]:
    return FORMATS | convert(tomllib.loads(block)["formats"], dict[str, Format])


def test_the_tracker_of_the_page_becomes_what_the_page_says() -> None:
    record, expected = blocks("json")
    forms = declared(blocks("toml")[0])
    found = reader(forms["beacon"], forms)(record.encode())
    assert not isinstance(found, RawEvent)
    said: list[object] = []
    for each in found:
        if isinstance(each, RawEvent):
            said.append({name: value for name, value in to_builtins(each).items() if value is not None})
        else:
            reason, path, detail = explain(each)
            said.append(f"{reason.value} at {path}: {detail}")
    assert said == json.loads(expected)


def test_the_shop_of_the_page_adds_its_words_to_segments() -> None:
    forms = declared(blocks("toml")[1])
    read = reader(forms["shop"], forms)
    for event, kind in (("recipe saved", "rate"), ("Product Added", "cart")):
        found = read(json.dumps({"type": "track", "event": event, "anonymousId": "a"}).encode())
        assert isinstance(found, RawEvent)
        assert found.kind.value == kind


@pytest.mark.parametrize(("sample", "rows"), TABLES.items(), ids=[f"{each.path} as {each.form}" for each in TABLES])
def test_a_sample_becomes_what_its_table_says(sample: Sample, rows: list[Row]) -> None:
    try:
        assert rows == counted(sample, FORMATS)
    except Skipped as skipped:
        pytest.skip(str(skipped))


def test_the_edge_cases_of_snowplows_rows_become_what_their_table_says() -> None:
    local = settings(f"clean.format={edge_cases.FORM}")
    try:
        past = edge_cases.past(shared(edge_cases.SAMPLE), local)
    except Skipped as skipped:
        pytest.skip(str(skipped))
    said = {case: met for case, (met, _) in edge_cases.promised(TEXT).items()}
    assert said == edge_cases.read(past, local)


def test_the_page_names_every_format_and_every_word_of_a_declaration() -> None:
    named = [*FORMATS, *(field.name for field in fields(Format) if field.name not in RawEvent.__struct_fields__)]
    assert [name for name in named if f"`{name}`" not in TEXT] == []


def test_whatever_a_format_may_say_of_an_event_is_a_field_of_an_event() -> None:
    ours = set(RawEvent.__struct_fields__)
    assert ours <= {field.name for field in fields(Format)}


def test_every_sample_that_a_payload_claim_is_about_has_its_table() -> None:
    paths = {Path(sample.path).parts[0] for sample in TABLES}
    assert paths == {"payloads", "snowplow_web", "ranklens_a"}
