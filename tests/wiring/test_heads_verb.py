"""What a team types to have a parameter of content set by a model of the person, and what comes back."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from msgspec import json
from pyarrow import parquet

from jobs.__main__ import main
from jobs.heads import fit, read
from jobs.wiring.settings import load
from jobs.wiring.store import Store
from schemas.signals import USER_FEATURES
from udfs.scoring.heads import Heads

ROOT = Path(__file__).parents[2]
TONE = 'params.tone = { default = 0.5, least = 0.0, most = 1.0, predicted = "liked", step = 0.25 }'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of conf/ with a number that is predicted, too, and a store of its own."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    store = f'[releases]\nstore = "{tmp_path / "store"}"\n[slots.page]\n{TONE}\n'
    (tmp_path / "conf" / "local.toml").write_text(store)
    return tmp_path


def columns(rows: int = 6000, people: int = 600, noise: float = 3.0) -> dict[str, Any]:
    """Moments of people: who comes back late reads long."""
    rng = np.random.default_rng(5)
    found: dict[str, Any] = {name: rng.exponential(20.0, rows) for name in USER_FEATURES}
    found["session_depth"] = rng.integers(0, 30, rows)
    who = rng.integers(0, people, rows)
    liking = rng.normal(size=people)[who]
    return found | {
        "user_id": [f"k0:{each}" for each in who.tolist()],
        "read_s": found["gap_s"] + noise * (liking + rng.normal(size=rows)),
        "liked": liking + rng.normal(size=rows),
    }


def written(place: Path, told: dict[str, Any]) -> str:
    parquet.write_table(pa.table(told), place / "rows.parquet")
    return str(place / "rows.parquet")


def asked(root: Path, param: str, file: str, *more: str) -> int:
    return main(["heads", "--slot", "page", "--param", param, "--input", file, *more], {}, root)


def test_a_head_is_taught_and_published_beside_those_there_are(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = columns()
    file = written(root, told | {"liked": 0.5 + np.asarray(told["gap_s"]) / 80})
    assert asked(root, "length", file) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"read_s: R2 0\.9\d\d, mean error \d\.\d+, of the mean 1\d\.\d+ \(1\d{3} rows of people held out\)", first
    )
    share = r"\d(\.\d)? %"
    assert re.fullmatch(rf"page\.length would be short 3{share}, normal 4{share}, long 1{share}", second)
    conf = load(root, "local", {}, []).settings
    store = Store(conf.releases.store)
    assert store.index("heads") == []
    assert asked(root, "length", file, "--publish") == asked(root, "tone", file, "--publish") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2] == "page.tone would be 0.75 in the median, 0.5 to 0.75 for half of the moments"
    assert said[-1].startswith("published h2, in force from 2")
    releases = store.index("heads")
    assert [re.sub("R2.*", "R2", release.reason) for release in releases] == ["page.length: R2", "page.tone: R2"]
    heads = Heads.parse("h2", store.read(releases[1]))
    signals = {name: np.array([10.0, 10.0]) for name in USER_FEATURES} | {"gap_s": np.array([2.0, 60.0])}
    found = heads.predictions("page", {"length": "read_s", "tone": "liked"}, signals)
    assert found["length"].tolist() == pytest.approx([2.0, 60.0], abs=4.0)
    assert found["tone"].tolist() == pytest.approx([0.525, 1.25], abs=0.05)


def test_what_is_no_better_than_the_mean_is_not_published(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # What a person likes is alike in all their rows, and has nothing to do with what is known of them.
    file = written(root, columns())
    assert asked(root, "tone", file) == 0
    assert asked(root, "tone", file, "--publish") == 2
    said = capsys.readouterr().err
    assert said.startswith("trimtab: heads: not published, it is not surely better than the mean: R2 -0.0")
    assert Store(load(root, "local", {}, []).settings.releases.store).index("heads") == []


def test_the_same_rows_give_the_same_text_as_parquet_and_as_json_with_what_is_neutral_left_out(tmp_path: Path) -> None:
    told = columns()
    told["gap_s"][::2] = told["acceleration"][:] = 0.0
    values = zip(*(np.asarray(each).tolist() for each in told.values()), strict=True)
    lines = [{name: value for name, value in zip(told, row, strict=True) if value != 0.0} for row in values]
    extra = [{"user_id": "k0:x", "gap_s": 3.0}, {"gap_s": 3.0, "read_s": 9.0}, {"user_id": None, "read_s": 9.0}]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(json.encode(line) for line in [*extra, *lines]))
    texts = [fit(read(file, "read_s")) for file in (Path(written(tmp_path, told)), tmp_path / "rows.jsonl")]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--slot", "pag", "--param", "length"], 'there is no slot with parameters "pag"; did you mean page?'),
        (["--slot", "hero", "--param", "length"], 'there is no slot with parameters "hero"; there are: page'),
        (["--slot", "page", "--param", "lenght"], 'there is no parameter "lenght"; did you mean length?'),
        (
            ["--slot", "page", "--param", "images"],
            "page.images is not `predicted` by anything; say by what in conf/slots.toml",
        ),
        (["--slot", "page", "--param", "length"], "rows.csv: expected a file that ends in .parquet or .jsonl"),
        (
            ["--slot", "page", "--param", "length", "--input", "gone.parquet"],
            "gone.parquet cannot be read: gone.parquet",
        ),
        (
            ["--slot", "page", "--param", "length", "--input", __file__.replace(".py", ".jsonl")],
            ".jsonl cannot be read:",
        ),
    ],
)
def test_a_slip_is_named(root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str) -> None:
    assert main(["heads", "--input", "rows.csv", *arguments], {}, root) == 2
    said = capsys.readouterr().err
    assert said.startswith("trimtab: heads: ")
    assert complaint in said
    assert said.count("\n") == 1


def test_a_damaged_file_and_too_few_people_are_refused_and_a_signal_that_is_never_given_is_said(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "rows.jsonl").write_text('{"user_id":"a","gap_s":"long","read_s":3}\n')
    assert asked(root, "length", str(root / "rows.jsonl")) == 2
    assert "rows.jsonl cannot be read: Could not open JSON input source" in capsys.readouterr().err
    told = columns(people=50)
    del told["zscore"]
    assert asked(root, "length", written(root, told)) == 2
    said = capsys.readouterr()
    assert said.out == "never given, so neutral: zscore\n"
    assert re.search(r"rows\.parquet: 50 people with a read_s, of whom \d\d are held out; 100 are needed", said.err)
