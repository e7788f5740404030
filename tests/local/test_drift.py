"""The verb looks at outcomes in a file and shows what has drifted: how much, how surely, since when."""

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from msgspec import json
from numpy.random import default_rng
from pyarrow import parquet

from jobs import drift
from jobs.wiring import Refusal
from jobs.wiring.settings import load
from schemas.outcomes import Outcome
from schemas.settings import Settings
from tests.udfs.drifting import outcome

REPOSITORY = Path(__file__).resolve().parents[2]
MINUTE = 60_000
NOON = 1_767_268_800_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    sets = [f"releases.store={tmp_path / 'store'}", "drift.window=24min", "drift.reference=2h"]
    return load(REPOSITORY, "local", {}, sets).settings


def played(people: int = 1500, minutes: int = 144, turn: int = 132) -> Iterator[Outcome]:
    """Two hours and a window of 24 minutes, in whose middle a signal turns."""
    rng = default_rng(9)
    for number in range(people):
        minute = minutes * number / people
        yield outcome(
            f"u{number}",
            NOON + int(minute * MINUTE),
            reward=float(rng.random() < 0.2),
            rate_fast=float(rng.normal() + 2.0 * (minute >= turn)),
            gap_s=float(rng.exponential()),
        )


def lines(path: Path, records: list[Outcome]) -> str:
    path.write_bytes(b"".join(json.encode(each) + b"\n" for each in records))
    return str(path)


def test_what_has_drifted_stands_first_with_its_size_and_the_minute_in_which_it_began(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drift.main(settings, ["--input", lines(tmp_path / "o.jsonl", [*played()])]) == 0
    headline, columns, first, *rest = capsys.readouterr().out.splitlines()
    assert headline == "1500 outcomes; from 2026-01-01T14:00:00+00:00 on, against the 2 h before"
    assert columns.split() == ["slot", "column", "PSI", "KS", "p", "before", "now", "people", "verdict"]
    assert re.fullmatch(
        r"hero +rate_fast +\d\.\d{3} +0\.\d{3} +\S+e-\d+ +-?0\.0\S+ +\d\.\d+ +1250 / 250"
        r" +drifted since 2026-01-01T14:1[123]:00\+00:00",
        first,
    )
    assert len(rest) == 11
    assert all(line.endswith("not seen") for line in rest)
    assert [line.split()[1] for line in rest if "reward" in line or "arms" in line] == ["arms/plain", "reward"]
    sizes = [float(line.split()[2]) for line in [first, *rest[:-1]]]
    assert sizes == sorted(sizes, reverse=True)


def test_parquet_shows_the_same_and_so_does_any_order(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [*played()]
    table = pa.table({"record": [json.encode(each).decode() for each in records[::-1]], "more": [1] * len(records)})
    parquet.write_table(table, tmp_path / "o.parquet")
    assert drift.main(settings, ["--input", lines(tmp_path / "o.jsonl", records)]) == 0
    first = capsys.readouterr().out
    assert drift.main(settings, ["--input", str(tmp_path / "o.parquet")]) == 0
    assert capsys.readouterr().out == first


def test_a_reference_may_be_named_and_what_is_not_readable_is_counted(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = lines(tmp_path / "o.jsonl", [*played()])
    with Path(file).open("ab") as more:
        more.write(b'{"due":1767277440000}\nno outcome\n')
    # All of it: what was usual is what is now.
    assert drift.main(settings, ["--input", file, "--reference", "12min", "1min"]) == 0
    printed = capsys.readouterr().out
    assert ", 2 not readable left out; from " in printed
    assert "against 0.2 to 0.0166667 h ago" in printed
    assert printed.splitlines()[2].endswith("too few")
    assert "drifted" not in printed


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--input", "gone.jsonl"], "gone.jsonl cannot be read: "),
        (["--input", "empty.jsonl"], "drift: there are no outcomes in empty.jsonl"),
        (["--input", "o.jsonl", "--schedule"], "drift: neither --schedule nor --retrain goes with --input"),
        (["--input", "o.jsonl", "--retrain"], "drift: neither --schedule nor --retrain goes with --input"),
        (
            ["--input", "o.jsonl", "--reference", "1h", "0ms"],
            "drift: there is too little after 1 to 0 h ago: less than a ",
        ),
        (["--reference", "1d", "8d"], "drift: --reference takes the longer time first, such as 8d 1d"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.jsonl").touch()
    lines(Path("o.jsonl"), [*played(60)])
    with pytest.raises(Refusal) as refused:
        drift.main(settings, arguments)
    assert str(refused.value).startswith(complaint)
    assert "\n" not in str(refused.value)


def test_stretches_shorter_than_a_millisecond_are_refused(tmp_path: Path) -> None:
    settings = load(REPOSITORY, "local", {}, [f"releases.store={tmp_path / 'store'}", "drift.window=5ms"]).settings
    with pytest.raises(Refusal, match=r"^drift: drift\.window, each of its stretches and drift\.reference must be "):
        drift.main(settings, [])
