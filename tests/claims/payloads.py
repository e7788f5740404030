"""Claim: any tracker's clicks come in: each vendor's sample becomes what conf/FORMATS.md says."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from jobs.local import feed
from schemas.events import RawEvent
from schemas.formats import Format
from tests.claims import edge_cases
from tests.claims.claim import REPOSITORY, Claim, Result, folder, settings, shared
from tests.claims.edge_cases import Decided, Met, Outputs, not_the_earliest, outputs
from tests.claims.typed import replayed
from udfs.cleaning.refusal import explain
from udfs.payloads.mapping import reader

CLAIM: Final = Claim(
    name="payloads",
    sentence=(
        "Samples of Segment, RudderStack, GA4, Snowplow and Adobe come in event by event, or are refused by name;"
        " copies, late arrivals, stray pings, missing, rotating and stitched ids become what their rows say."
    ),
    bar=(
        "each file's counts per kind and reason as conf/FORMATS.md has them, by its own format and by `auto`;"
        " each edge case of Snowplow's as its table there; of copies the earliest counts"
    ),
)

PAGE: Final = REPOSITORY / "conf" / "FORMATS.md"
_TITLE: Final = re.compile(r"^### `([^`]+)` as `([^`]+)`")
_ROW: Final = re.compile(r"^\| (refused )?`([^`]+)` \| ([\d,]+) \| ([^|]*) \|")
_WORD: Final = re.compile(r"^Invalid enum value '(.*)'$")
_PLACE: Final = re.compile(r"\[\d+\]")


class Sample(NamedTuple):
    """A file or folder of the shared data, and the format that reads it."""

    path: str
    form: str


class Row(NamedTuple):
    """A row of a sample's table: a kind, or a reason why events were refused."""

    outcome: str
    events: int
    of_which: str


def run() -> Result:
    """Replay every payload sample by its vendor's format, and all payloads at once as `auto`."""
    place = folder(CLAIM.name)
    promised = {sample: counts(rows) for sample, rows in tables() if not sample.path.startswith("ranklens")}
    together: Counter[str] = Counter()
    for sample, expected in promised.items():
        if sample.path.startswith("payloads"):
            together.update(expected)
    promised[Sample("payloads", "auto")] = together
    replays = {sample: _replayed(sample, place / str(number)) for number, sample in enumerate(promised)}
    found = {sample: _counted(out) for sample, out in replays.items()}
    differ = [
        f"{sample.path} as {sample.form}: {outcome} {found[sample][outcome]} instead of {expected[outcome]}"
        for sample, expected in promised.items()
        for outcome in sorted(found[sample] | expected)
        if found[sample][outcome] != expected[outcome]
    ]
    edges = edge_cases.promised(PAGE.read_text(encoding="utf-8"))
    others = _other_edges(edges, replays[Sample(edge_cases.SAMPLE, edge_cases.FORM)])
    events = [event for out in replays.values() for event in out.events]
    late = sum(event.late for event in events)
    copies, refused = (sum(len(getattr(out, name)) for out in replays.values()) for name in ("duplicates", "rejected"))
    return Result(
        figure=(
            f"{len(found)} replays: {len(events)} events, {late} of them late, {copies} copies, {refused} refused;"
            f" {len(differ)} counts differ; {len(others)} of {len(edges)} edge cases become something else"
        ),
        passed=bool(edges) and not differ and not others,
        details={
            "counts_differ": differ,
            "edge_cases_differ": others,
            "found": {f"{each.path} as {each.form}": dict(found[each]) for each in found},
            "copies": {f"{each.path} as {each.form}": len(out.duplicates) for each, out in replays.items()},
        },
    )


def tables() -> Iterator[tuple[Sample, list[Row]]]:
    """Read the tables of the page: of each sample, what its events become."""
    for section in PAGE.read_text(encoding="utf-8").split("\n### ")[1:]:
        lines = f"### {section}".splitlines()
        if title := _TITLE.match(lines[0]):
            rows = [_ROW.match(line) for line in lines]
            yield Sample(title[1], title[2]), [_row(*row.groups()) for row in rows if row]


def counts(rows: list[Row]) -> Counter[str]:
    """Give the events of each outcome."""
    return Counter({row.outcome: row.events for row in rows})


def counted(sample: Sample, formats: Mapping[str, Format]) -> list[Row]:
    """Read a sample without any Flink, and make the rows of its table.

    Raises:
        Skipped: it is absent.
    """
    read = reader(formats[sample.form], formats)
    kinds: Counter[str] = Counter()
    refused: dict[str, Counter[str]] = {}
    for body in feed.lines(shared(sample.path)):
        try:
            found = read(body)
        except (ValueError, RecursionError) as error:
            found = [error]
        for each in [found] if isinstance(found, RawEvent) else found:
            if isinstance(each, RawEvent):
                kinds[each.kind.value] += 1
            else:
                reason, path, detail = explain(each)
                word = _WORD.match(detail)
                said = word[1] if word else _PLACE.sub("", path).removeprefix("$.")
                refused.setdefault(reason.value, Counter())[said] += 1
    rows = [Row(kind, count, "") for kind, count in _ranked(kinds)]
    for code, count in _ranked(Counter({code: which.total() for code, which in refused.items()})):
        of_which = ", ".join(f"{said} {n}" if n > 1 else said for said, n in _ranked(refused[code]))
        rows.append(Row(f"refused {code}", count, of_which))
    return rows


def _ranked(found: Counter[str]) -> list[tuple[str, int]]:
    return sorted(found.items(), key=lambda each: (-each[1], each[0]))


def _row(refused: str | None, outcome: str, events: str, of_which: str) -> Row:
    return Row(f"{refused or ''}{outcome}", int(events.replace(",", "")), of_which.strip())


def _replayed(sample: Sample, out: Path) -> Outputs:
    replayed((), shared(sample.path), sample.form, out)
    return outputs(out)


def _counted(out: Outputs) -> Counter[str]:
    """Count by outcome; copies of an event are events of their kind, and lie in a topic of their own."""
    kinds = Counter(event.kind.value for event in (*out.events, *out.duplicates))
    return kinds + Counter(f"refused {each.reason.value}" for each in out.rejected)


def _other_edges(edges: Mapping[str, tuple[Met, Decided]], out: Outputs) -> list[str]:
    """Say which edge cases became something else than the page says."""
    local = settings()
    found = edge_cases.found(edge_cases.past(shared(edge_cases.SAMPLE), local), out, local)
    wrong = [
        f"{case}: {found.get(case)} instead of {edges.get(case)}"
        for case in sorted(found.keys() | edges.keys())
        if found.get(case) != edges.get(case)
    ]
    return wrong + [f"{event_id}: the earliest of its copies does not count" for event_id in not_the_earliest(out)]
