"""The house stands as drawn: imports point down only, and what is pure knows no network, clock or chance."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
MODULES = sorted(path for floor in ("jobs", "udfs", "schemas") for path in (REPOSITORY / floor).rglob("*.py"))

BANNED_IN_UDFS = ("pyflink", "redis", "confluent_kafka", "random", "requests", "socket", "subprocess", "os", "time")
BANNED_CALLS_IN_UDFS = ("now", "utcnow", "today", "hash", "open", "getenv", "urandom", "default_rng")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


ROOMS = (
    "payloads",
    "cleaning",
    "signals",
    "scoring",
    "segments",
    "detectors",
    "policies",
    "deciding",
    "explaining",
    "learning",
    "training",
    "judging",
    "drifting",
)


def floor(module: str) -> int:
    """0 is the ground; a module may import from its own floor and from those below."""
    first, _, rest = module.partition(".")
    if first == "schemas":
        return 0
    if first == "udfs":
        return 1
    return 2 if rest.startswith("wiring") or not rest else 3


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    mine = floor(name_of(path))
    above = [name for name in imports(path) if name.split(".")[0] in ("jobs", "udfs", "schemas") and floor(name) > mine]
    assert above == []


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name in ROOMS], ids=name_of)
def test_what_is_known_later_imports_from_what_is_known_earlier(path: Path) -> None:
    rooms = [name.split(".")[1] for name in imports(path) if name.startswith("udfs.")]
    assert [room for room in rooms if room in ROOMS[ROOMS.index(path.parent.name) + 1 :]] == []


@pytest.mark.parametrize("path", [path for path in MODULES if floor(name_of(path)) == 1], ids=name_of)
def test_what_is_pure_knows_no_network_clock_environment_or_chance(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert [name for name in imports(path) if name.split(".")[0] in BANNED_IN_UDFS] == []
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = [call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in called]
    assert [name for name in names if name in BANNED_CALLS_IN_UDFS] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_first_line_says_what_a_module_is_for(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert said.splitlines()[0].endswith((".", ">."))


def test_the_reader_stands_alone() -> None:
    used = {name.split(".")[0] for name in imports(REPOSITORY / "schemas" / "reader.py")}
    assert not used & {"jobs", "udfs", "schemas", "msgspec", "numpy"}


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path).startswith("jobs")], ids=name_of)
def test_no_job_file_carries_a_librarys_name(path: Path) -> None:
    libraries = {"redis", "kafka", "pyflink", "proto", "google", "lightgbm", "numpy", "pandas", "pyarrow", "msgspec"}
    assert path.stem not in libraries | sys.stdlib_module_names - {"__init__", "__main__"}
