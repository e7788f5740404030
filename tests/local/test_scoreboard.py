"""The scoreboard reads outcomes from a file and says which policy would have been worth more, or why nobody can say."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from msgspec import json, to_builtins
from msgspec.structs import replace
from numpy.random import default_rng
from pyarrow import parquet

from jobs import scoreboard
from jobs.wiring import Refusal
from jobs.wiring.publishing import published
from jobs.wiring.settings import load
from schemas.outcomes import Outcome
from schemas.policies import Learned, LinUcb, Plays, Posteriors, Thompson
from schemas.rules import Action, Case, Rule, encoded
from schemas.settings import Settings
from schemas.slots import Arm, Content, Knob, Rerank, Variant
from tests.udfs.people import END, decisions, facts
from tests.udfs.played import outcomes
from udfs.deciding.book import Book, authored
from udfs.deciding.in_force import InForce
from udfs.deciding.learned import Learnt

REPOSITORY = Path(__file__).resolve().parents[2]
WORTH = {"plain": 0.1, "short": 0.1, "story": 0.3}
HERO = Variant(
    {"plain": Arm(0.5), "short": Arm(0.3), "story": Arm(0.2)},
    "plain",
    {"learned": Thompson(floor=0.05), "by_pace": LinUcb(["zscore"])},
    shadow=["learned"],
)
PLAYS = {"plain": Plays(90, 9, 9), "short": Plays(90, 9, 9), "story": Plays(90, 27, 27)}
KNOWN = json.encode(Posteriors({"hero": Learned(PLAYS)}, until=END - 1))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    loaded = load(REPOSITORY, "local", {}, [f"releases.store={tmp_path / 'store'}"]).settings
    slots = {"hero": HERO, "feed": Rerank(length=2, candidates=4), "page": Content({"images": Knob("full")})}
    return replace(
        loaded, slots=slots, rules={}, experiments={}, exposures=replace(loaded.exposures, counters=[], lists=[])
    )


def played(settings: Settings, people: int = 3000, releases: InForce | None = None, **columns: Any) -> list[Outcome]:
    """Let a policy that has learned stand beside weights that draw; the third arm is the best."""
    book = Book.of(None, authored(settings))
    made = decisions(facts(people, **columns), book, Learnt.parse("p1", KNOWN), releases)
    rng = default_rng(3)
    return [
        replace(each, reward=float(rng.random() < WORTH[each.card.arm or ""])) for each in outcomes(made, "hero", [0.0])
    ]


def lines(path: Path, records: list[Outcome]) -> str:
    path.write_bytes(b"\n".join(map(json.encode, records)))
    return str(path)


def cells(line: str) -> list[str]:
    return [each.strip() for each in line.split("  ") if each.strip()]


def test_shadows_and_arms_stand_beside_the_live_policy(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = played(settings)
    file = lines(tmp_path / "outcomes.jsonl", [*records, replace(records[0], slot="other")])
    assert scoreboard.main(settings, ["hero", "--input", file]) == 0
    headline, head, *table = capsys.readouterr().out.splitlines()
    assert headline == (
        "hero: 3000 of 3000 outcomes, of 3000 people, shown from 2026-01-01T00:00:00+00:00 to 2026-01-01T00:00:00+00:00"
    )
    assert cells(head) == ["policy", "plays", "worth", "interval", "effective", "more than live", "verdict"]
    assert {cells(line)[0]: cells(line)[-1] for line in table} == {
        "live": "3000 of 3000 people",
        "shadow learned": "better",
        "uniform": "better",
        "always plain": "worse",
        "always short": "worse",
        "always story": "better",
    }


def test_the_file_that_is_written_holds_every_estimator(settings: Settings, tmp_path: Path) -> None:
    file = lines(tmp_path / "outcomes.jsonl", played(settings))
    out = tmp_path / "scores.json"
    assert scoreboard.main(settings, ["hero", "--input", file, "--out", str(out), "--by", "snips"]) == 0
    report = json.decode(out.read_bytes())
    assert (report["slot"], report["read"], report["left_out"]) == ("hero", 3000, {})
    (story,) = (each for each in report["scores"] if each["policy"] == "always story")
    assert (story["by"], story["verdict"], story["needed"]) == ("snips", "better", 0)
    assert list(story["estimates"]) == ["dr", "ips", "snips", "dm", "clipped", "switch"]
    for estimate in story["estimates"].values():
        assert estimate["value"]["value"] == pytest.approx(0.3, abs=0.06)
    assert story["largest"] == pytest.approx(5)


def test_a_parquet_file_says_the_same(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = played(settings, 400, zscore=np.arange(400) / 100)  # Parquet knows no record without fields
    scoreboard.main(settings, ["hero", "--input", lines(tmp_path / "outcomes.jsonl", records)])
    said = capsys.readouterr().out
    path = tmp_path / "outcomes.parquet"
    table = pa.Table.from_pylist([to_builtins(each) | {"hits": None, "context": None} for each in records])
    maps = pa.array([[("click", 1)] if each.reward else [] for each in records], pa.map_(pa.string(), pa.int64()))
    parquet.write_table(table.set_column(table.column_names.index("hits"), "hits", maps), path)
    assert scoreboard.main(settings, ["hero", "--input", str(path)]) == 0
    assert capsys.readouterr().out == said


def test_a_policy_of_conf_is_worked_out_with_what_had_been_learned_then(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(settings.releases, "policy", KNOWN, "", at="start")
    records = [each for each in played(settings) if each.ver.policy == "p1"]
    assert len(records) == 3000
    file, out = lines(tmp_path / "outcomes.jsonl", records), tmp_path / "scores.json"
    asked = ["hero", "--input", file, "--candidate", "learned", "--candidate", "by_pace", "--out", str(out)]
    assert scoreboard.main(settings, asked) == 0
    scores = {each["policy"]: each for each in json.decode(out.read_bytes())["scores"]}
    shadow, candidate = scores["shadow learned"], scores["candidate learned"]
    assert candidate["estimates"] == shadow["estimates"]
    assert "candidate by_pace" in scores
    assert "has learned until" not in capsys.readouterr().out


def test_a_release_that_has_learned_from_the_plays_it_is_judged_by_is_told_of(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = json.encode(Posteriors({"hero": Learned(PLAYS)}, until=END + 60_000))
    published(settings.releases, "policy", later, "", at="start")
    file = lines(tmp_path / "outcomes.jsonl", played(settings))
    assert scoreboard.main(settings, ["hero", "--input", file, "--candidate", "learned", "--policy", "p1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "p1 has learned until 2026-01-01T00:01:00+00:00, from some of these plays too:"
        " candidates are judged by what they have seen, and seem better than they are"
    )


def test_rules_are_those_of_the_release_that_the_record_names_and_where_it_is_gone_that_is_counted(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ruled = replace(
        settings, rules={"fast": Rule("hero", {"it": Case("rate_fast > 1", Action(arms=["short", "story"]))})}
    )
    published(settings.releases, "rules", encoded(authored(ruled)), "", at="start")
    book = Book.parse("r1", encoded(authored(ruled)))
    records = played(ruled, releases=InForce(book=book), rate_fast=np.arange(3000) % 2 * 2.0)
    lost = [replace(each, id=f"lost-{each.id}", ver=replace(each.ver, rules="r7")) for each in records[:10]]
    out = tmp_path / "scores.json"
    file = lines(tmp_path / "outcomes.jsonl", [*records, *lost])
    assert scoreboard.main(settings, ["hero", "--input", file, "--out", str(out)]) == 0
    headline, *_ = capsys.readouterr().out.splitlines()
    assert headline.startswith("hero: 3000 of 3010 outcomes")
    assert "; 10 left out, decided by a release that is gone (rules r7: " in headline
    plain = next(each for each in json.decode(out.read_bytes())["scores"] if each["policy"] == "always plain")
    assert (plain["unsupported"], plain["largest"]) == (0.0, 2.0)


def test_too_few_plays_are_no_ground_for_a_verdict(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = lines(tmp_path / "outcomes.jsonl", played(settings, 60))
    assert scoreboard.main(settings, ["hero", "--input", file]) == 0
    verdicts = [cells(line)[-1] for line in capsys.readouterr().out.splitlines()[3:]]
    assert len(verdicts) == 5
    assert all(each.startswith("refused: ") for each in verdicts)
    assert verdicts[-1].endswith(" more outcomes are needed")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (["heroe"], 'scoreboard: there is no slot "heroe"; did you mean hero?'),
        (["feed"], "scoreboard: feed has no arms; only slots of the kinds variant and trigger have"),
        (["page"], "scoreboard: page has no arms; only slots of the kinds variant and trigger have"),
        (["hero", "--candidate", "learnt"], 'scoreboard: there is no policy "learnt"; did you mean learned?'),
        (
            ["hero", "--input", "outcomes.csv"],
            "scoreboard: outcomes.csv: expected a file that ends in .jsonl or .parquet",
        ),
        (
            ["hero", "--input", "no.jsonl"],
            "scoreboard: no.jsonl: record 1: [Errno 2] No such file or directory: 'no.jsonl'",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(settings: Settings, asked: list[str], why: str) -> None:
    with pytest.raises(Refusal) as refused:
        scoreboard.main(settings, asked)
    assert str(refused.value) == why


def test_a_release_that_is_not_there_is_refused(settings: Settings) -> None:
    with pytest.raises(Refusal, match=r"^policy p9: .*/store has no such release"):
        scoreboard.main(settings, ["hero", "--policy", "p9", "--input", "outcomes.jsonl"])


def test_a_line_that_is_no_outcome_is_refused_with_its_number(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    path.write_bytes(json.encode(played(settings, 1)[0]) + b"\n{}\n")
    with pytest.raises(Refusal, match=r"outcomes\.jsonl: record 2: Object missing required field `id`$"):
        scoreboard.main(settings, ["hero", "--input", str(path)])


def test_where_nothing_was_drawn_there_is_no_scoreboard(settings: Settings, tmp_path: Path) -> None:
    held = [replace(each, unmeasured=True) for each in played(settings, 5)]
    with pytest.raises(Refusal) as refused:
        scoreboard.main(settings, ["hero", "--input", lines(tmp_path / "outcomes.jsonl", held)])
    assert str(refused.value) == ("scoreboard: hero: of 5 outcomes none tells of a draw; 5 without consent to measure")
