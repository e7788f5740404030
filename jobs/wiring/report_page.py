"""Shows a model that was trained on one page: how good it is beside the live one, for whom, and by what it goes."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from math import isfinite
from typing import Final

import numpy as np

from jobs.wiring.publishing import shown
from jobs.wiring.report_pictures import bars, columns, curves, dumbbell, swarms
from schemas.signals import FEATURES
from udfs.learning.rates import Rate
from udfs.training.candidate import Candidate
from udfs.training.quality import Judged, segments

_NEW, _LIVE, _NOBODY = "new", "live", "nobody"
_TOP: Final = 12  # features shown
_DOTS: Final = 300  # of a feature
_Z95: Final = 1.96

_STYLE: Final = """
:root {
  --ink: #1d2430; --soft: #667085; --line: #e2e6ec; --back: #f6f7f9; --card: #fff; --new: #2f6fde; --live: #e08a2c;
  --nobody: #98a2b3; --good: #1f8a4c; --bad: #c4362f; --cold: #3b6fd4; --warm: #d6455d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ef; --soft: #98a2b3; --line: #2c3440; --back: #12161d; --card: #1a2029; --new: #6ea0ff;
    --live: #f0a95a; --nobody: #7b8698; --good: #4cc38a; --bad: #ff7b72;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 16px; margin: 0 0 2px; }
p { margin: 0 0 12px; color: var(--soft); max-width: 90ch; }
small { color: var(--soft); }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px; margin-top: 16px;
  min-width: 0;
}
.row { display: grid; gap: 0 16px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); }
.tiles { display: grid; gap: 0 16px; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); }
.tiles b { display: block; font-size: 28px; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tiles b small { font-size: 16px; font-weight: 400; }
.yes { color: var(--good); }
.no { color: var(--bad); }
.badge { border-radius: 99px; padding: 3px 12px; color: #fff; margin-left: 10px; font-size: 14px; vertical-align: 4px; }
.badge.yes { background: var(--good); color: var(--card); }
.badge.no { background: var(--bad); color: var(--card); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; }
th, td { padding: 6px 12px 6px 0; vertical-align: top; }
tr + tr td, thead + tbody td { border-top: 1px solid var(--line); }
.number { text-align: right; white-space: nowrap; }
.key span { margin-right: 16px; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg .name { fill: var(--ink); }
.grid { stroke: var(--line); }
.axis { stroke: var(--soft); }
.new { fill: var(--new); stroke: var(--new); }
.live { fill: var(--live); stroke: var(--live); }
"""


def page(model: Candidate, noted: str) -> str:
    """Write the page, self-contained HTML: no scripts, nothing that is fetched.

    Args:
        model: what was trained.
        noted: where its examples come from, in a few words.
    """
    lineage = model.manifest.lineage
    assert lineage is not None
    verdict, style = ("refused", "no") if model.refused else ("passes the gates", "yes")
    judge = model.parts.judge
    about = (
        f"From {noted}. It learned from {lineage.outcomes:,} lists with {lineage.rows:,} items, known from"
        f" {shown(lineage.first)} to {shown(lineage.last)}, and is judged by {len(judge.ids):,} newer lists of"
        f" {len(set(judge.users.tolist())):,} people held out. {lineage.code}."
    )
    body = [
        f'<h1>Ranking model <span class="badge {style}">{verdict}</span></h1><p>{escape(about)}</p>',
        _key(model),
        _gates(model),
        f'<div class="tiles">{"".join(_tiles(model))}</div>',
        _row(_calibration(model), _looked_at(model)),
        _row(_importance(model), _contributions(model)),
        _by_segment(model),
        _row(
            _section("Settings", "What it was trained with.", _pairs(lineage.parameters.items())),
            _section("Left out", "Outcomes that teach nothing, and why.", _pairs(lineage.left_out.items()) or "None."),
        ),
    ]
    head = "<meta charset=utf-8><meta name=viewport content=width=device-width><title>Ranking model</title>"
    return (
        f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _section(title: str, about: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(about)}</p>{content}</section>"


def _row(*sections: str) -> str:
    return f'<div class="row">{"".join(sections)}</div>'


def _sides(model: Candidate) -> Iterator[tuple[str, str, Judged]]:
    """Give what was judged: its style, its name, how it did; last what there is without a model."""
    yield _NEW, "this model", model.judged
    for rival in model.rivals:
        yield _NOBODY if rival is model.rivals[-1] else _LIVE, rival.name.removeprefix("of "), rival.judged


def _models(model: Candidate) -> list[tuple[str, str, Judged]]:
    return [each for each in _sides(model) if each[0] != _NOBODY]


def _key(model: Candidate) -> str:
    entries = (
        f'<span><i style="background:var(--{style})"></i>{escape(name)}</span>' for style, name, _ in _sides(model)
    )
    return f'<div class="key">{"".join(entries)}</div>'


def _gates(model: Candidate) -> str:
    rows = (
        f'<tr><td class="{"yes" if each.passed else "no"}">{"✓" if each.passed else "✗"}</td>'
        f"<td>{escape(each.gate)}</td><td>{escape(each.said)}</td></tr>"
        for each in model.verdicts
    )
    about = "What is worse than the live model, or does not mean what it says, is not published."
    return _section("Gates", about, _table("", rows))


def _tiles(model: Candidate) -> Iterator[str]:
    bench, sides = model.bench, list(_sides(model))
    order = [(name, bench.mean_ndcg(judged.ndcg)) for _, name, judged in sides]
    above = [(name, Rate(judged.auc, 0.0)) for _, name, judged in sides]
    yield _tile(f"NDCG@{bench.among}", "What was rewarded stands at the top: 1 is best.", order, 4)
    yield _tile("AUC", "A rewarded item scores above one that was not: 0.5 is chance.", above, 4)
    if model.judged.losses is not None:
        losses = [(name, bench.mean_loss(judged.losses)) for _, name, judged in sides if judged.losses is not None]
        errors = [(name, Rate(judged.calibration.error, 0.0)) for _, name, judged in sides if judged.calibration]
        yield _tile("Log loss", "Surprise at what came: less is better.", losses, 5)
        yield _tile("Calibration error", "From what was promised to what came: less is better.", errors, 5)


def _tile(title: str, about: str, values: Sequence[tuple[str, Rate]], digits: int) -> str:
    (_, mine), *others = values
    beside = "".join(f"<div>{escape(name)} {_number(value.value, digits)}</div>" for name, value in others)
    error = f" <small>±{_Z95 * mine.error:.2g}</small>" if mine.error else ""
    number = f"<b>{_number(mine.value, digits)}{error}</b>"
    return f"<section><h2>{title}</h2>{number}<small>{about}{beside}</small></section>"


def _calibration(model: Candidate) -> str:
    found = {style: each.calibration for style, _, each in _models(model) if each.calibration is not None}
    if not found or not model.bench.wanted.size:
        return _section("Calibration", "These scores are no chances, or nothing was judged.", "")
    about = "Items by what they were promised, in ten equal parts: on the line, what was promised is what came."
    drawn = curves({style: (each.promised, each.came) for style, each in found.items()}, "promised", "came")
    return _section("Calibration", about, drawn)


def _looked_at(model: Candidate) -> str:
    found = {slot: chances for slot, chances in model.looked_at.items() if len(chances)}
    if not found:
        return _section("Places", "No list came in the order of logged scores, so nothing is known of places.", "")
    about = (
        "How likely a place is looked at, beside the first, as the lists themselves tell: a reward where few look"
        " counts for more, unless position_weights says otherwise."
    )
    drawn = (columns(chances, _NEW, f"place in {slot}") for slot, chances in found.items())
    return _section("Places", about, "".join(drawn))


def _importance(model: Candidate) -> str:
    about = "By how much splits on a feature lowered the objective, as shares of the whole."
    return _section("Importance", about, bars(dict(list(model.importance().items())[:_TOP]), _NEW))


def _contributions(model: Candidate) -> str:
    rows, added = model.explained()
    if not len(rows):
        return _section("Contributions", "Nothing was judged.", "")
    about = (
        "What features add to raw scores (TreeSHAP), a dot for an item that was judged: blue where the feature is low,"
        " red where it is high. Ordered by mean size."
    )
    largest = np.argsort(-np.abs(added).mean(axis=0), kind="stable")[:_TOP].tolist()
    some = np.linspace(0, len(rows) - 1, min(_DOTS, len(rows))).astype(np.intp)
    return _section(
        "Contributions", about, swarms({FEATURES[each]: (added[some, each], rows[some, each]) for each in largest})
    )


def _by_segment(model: Candidate) -> str:
    about = "By the rule segment people were in. ± is the 95 % interval; people are independent, lists of one are not."
    bench, sides = model.bench, _models(model)
    chancy = [(name, judged.losses) for _, name, judged in sides if judged.losses is not None]
    found = [
        (name or "none", some, [bench.mean_ndcg(judged.ndcg, some) for _, _, judged in sides])
        for name, some in segments(bench.lists)
    ]
    values = [each.value for _, _, order in found for each in order] or [0.0]
    low, high = min(values) - 0.05, max(values) + 0.05
    heads = ["segment", "lists", "with a reward", *(f"NDCG@{bench.among}{_of(name)}" for _, name, _ in sides)]
    heads += [f"log loss{_of(name)}" for name, _ in chancy]
    rows = []
    for name, some, order in found:
        won = int((bench.list_weights[some] > 0).sum())
        cells = [f"{int(some.sum()):,}", f"{won:,}", *(_with_error(each, 4) if won else "" for each in order)]
        cells += [_with_error(bench.mean_loss(losses, some), 5) for _, losses in chancy]
        told = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        picture = dumbbell([each.value for each in order], [style for style, _, _ in sides], low, high) if won else ""
        rows.append(f"<tr><td>{escape(name)}</td>{told}<td>{picture}</td></tr>")
    head = "".join(f"<th{' class=number' if place else ''}>{escape(each)}</th>" for place, each in enumerate(heads))
    return _section(
        "By segment", about, _table(f'{head}<th style="width:20%">NDCG, {low:.2f} to {high:.2f}</th>', rows)
    )


def _table(head: str, rows: Iterable[str]) -> str:
    above = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f'<div class="wide"><table>{above}<tbody>{"".join(rows)}</tbody></table></div>'


def _pairs(entries: Iterable[tuple[str, object]]) -> str:
    rows = [f"<tr><td>{escape(name)}</td><td class=number>{escape(_said(value))}</td></tr>" for name, value in entries]
    return _table("", rows) if rows else ""


def _of(name: str) -> str:
    return "" if name == "this model" else f", {name}"


def _with_error(value: Rate, digits: int) -> str:
    return f"{_number(value.value, digits)} <small>±{_Z95 * value.error:.2g}</small>"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if isfinite(value) else "unknown"


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
