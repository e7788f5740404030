"""What Flink is told about our records."""

from enum import Enum
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from schemas.decisions import Decision
from schemas.derive import Column, columns, ddl
from schemas.slices import MOMENT, Moment


class Colour(Enum):
    RED = "red"


class Inner(Struct):
    x: int


class Everything(Struct):
    text: str
    whole: Annotated[int, Meta(ge=0)]
    number: Annotated[Annotated[float, Meta(le=1)] | None, Meta(description="may be absent")]
    flag: bool
    raw: bytes
    colour: Colour | None
    several: list[str]
    named: dict[str, int] | None
    inner: Inner


def test_every_kind_of_field_has_its_column() -> None:
    assert columns(Everything) == [
        Column("text", "STRING"),
        Column("whole", "BIGINT"),
        Column("number", "DOUBLE"),
        Column("flag", "BOOLEAN"),
        Column("raw", "BYTES"),
        Column("colour", "STRING"),
        Column("several", "STRING"),
        Column("named", "STRING"),
        Column("inner", "STRING"),
    ]


def test_a_moment_keeps_its_order_and_its_integers() -> None:
    derived = columns(Moment)
    assert tuple(column.name for column in derived) == MOMENT
    assert {column.sql_type for column in derived} == {"STRING", "BIGINT", "BOOLEAN", "DOUBLE"}


def test_what_is_nested_in_a_decision_travels_as_json() -> None:
    derived = {column.name: column.sql_type for column in columns(Decision)}
    assert (derived["seq"], derived["slots"], derived["ver"], derived["signals"]) == (
        "BIGINT", "STRING", "STRING", "STRING",
    )  # fmt: skip


def test_a_type_without_a_column_names_the_field() -> None:
    class Odd(Struct):
        either: str | int

    class Fixed(Struct):
        level: Literal["low", "high"]

    with pytest.raises(TypeError, match=r"^Odd\.either: str \| int has no column type"):
        columns(Odd)
    with pytest.raises(TypeError, match=r"^Fixed\.level: "):
        columns(Fixed)


def test_names_and_option_values_cannot_break_out_of_their_quotes() -> None:
    assert ddl("a`b", [Column("c`d", "STRING")], {"k'": "v'; drop"}).splitlines() == [
        "CREATE TEMPORARY TABLE `a``b` (",
        "  `c``d` STRING",
        ") WITH (",
        "  'k''' = 'v''; drop'",
        ")",
    ]
