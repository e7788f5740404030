"""What an operator may ask to have recovered, and what is refused."""

import pytest

from jobs.recover import Found, batches, moment, reasons_of
from jobs.wiring import Refusal
from schemas.rejects import Reason, Rejected
from udfs.cleaning.recovery import Fate, Verdict

NOON = 1_767_268_800_000
A_WRITE = (
    "recover: write_failed is said of a decision that did not reach Redis, not of a record; the topic decisions has it"
)


def found(length: int) -> Found:
    return Found(Rejected(Reason.EMPTY, 0), Verdict(Fate.READY, b"x" * length), None)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "recover: which --reason? there are: empty, too_large, not_utf8, "),
        (["unknown_knid"], 'recover: there is no reason "unknown_knid"; there are: empty, too_large, not_utf8, '),
        (["not_json", "write_failed"], A_WRITE),
    ],
)
def test_a_reason_that_is_none_is_refused_and_those_that_are_get_named(names: list[str], said: str) -> None:
    with pytest.raises(Refusal) as refused:
        reasons_of(names)
    assert str(refused.value).startswith(said)
    assert str(refused.value).count("write_") == said.count("write_")


def test_reasons_may_be_several_and_repeated() -> None:
    assert reasons_of(["not_json", "empty", "not_json"]) == {Reason.NOT_JSON, Reason.EMPTY}


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-01T12:00:00Z", NOON),
        ("2026-01-01T13:00:00.25+01:00", NOON + 250),
        ("2h", NOON),
        ("90000d", 0),
        ("1901-01-01T00:00:00Z", 0),
    ],
)
def test_a_moment_is_one_with_its_zone_or_a_duration_back(text: str, at: int) -> None:
    assert moment(text, NOON + 7_200_000) == at


@pytest.mark.parametrize("text", ["2026-01-01T12:00:00", "2026-01-01", "yesterday", "2", "-2h", ""])
def test_any_other_moment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Refusal, match=r'^recover: --since: expected a moment with its zone such as "2026-'):
        moment(text, NOON)


def test_a_moment_to_come_is_refused() -> None:
    with pytest.raises(Refusal, match=r"^recover: --since: 2026-01-01T12:00:01Z is still to come$"):
        moment("2026-01-01T12:00:01Z", NOON)


def test_a_batch_ends_at_500_records_or_at_a_mebibyte_and_a_larger_record_goes_alone() -> None:
    assert [len(each) for each in batches(found(1) for _ in range(1001))] == [500, 500, 1]
    assert [len(each) for each in batches(map(found, (600_000, 400_000, 2_000_000, 1, 1)))] == [2, 1, 2]
    assert list(batches([])) == []
