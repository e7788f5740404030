"""The reader for Node answers as the one for Python does, golden vector by golden vector."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

SCHEMAS: Final = Path(__file__).parents[2] / "schemas"
RUNNER: Final = Path(__file__).with_name("run_vectors.mjs")
VECTORS: Final = json.loads((SCHEMAS / "reader_vectors.json").read_text(encoding="utf-8"))
NODE: Final = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="this machine has no Node, which runs schemas/reader.js")


@pytest.fixture(scope="module")
def answers() -> dict[str, list[Any]]:
    """What reader.js makes of the vectors, in their order."""
    assert NODE
    done = subprocess.run([NODE, RUNNER, SCHEMAS], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("place", range(len(VECTORS["reads"])), ids=lambda place: VECTORS["reads"][place]["name"])
def test_a_golden_vector_is_answered_as_written(answers: dict[str, list[Any]], place: int) -> None:
    assert answers["reads"][place] == VECTORS["reads"][place]["expect"]


@pytest.mark.parametrize("place", range(len(VECTORS["draws"])), ids=lambda place: VECTORS["draws"][place]["name"])
def test_a_golden_vector_is_drawn_as_written(answers: dict[str, list[Any]], place: int) -> None:
    case = VECTORS["draws"][place]
    assert answers["draws"][place] == {"value": case["value"], "card": case["expect"]}


@pytest.mark.parametrize("what", ["pseudonyms", "exposures"])
def test_names_and_exposures_are_as_written(answers: dict[str, list[Any]], what: str) -> None:
    assert answers[what] == [case["expect"] for case in VECTORS[what]]


def test_a_client_that_does_not_answer_or_throws_is_unreachable_in_time(answers: dict[str, list[Any]]) -> None:
    assert answers["troubles"] == [{"source": "caller", "reason": "unreachable", "draw": None}] * 4
