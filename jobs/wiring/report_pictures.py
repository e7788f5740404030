"""Draws what a report shows: curves, bars and swarms of dots as SVG that stands in the page itself."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from udfs.smooth import Column

_TINTS: Final = 5
_GRID: Final = (2.0, 1.0, 0.5, 0.2, 0.1)
_LEAST_LINES: Final = 4
_NAMED: Final = 20  # places of a list that are all numbered
_TOLD: Final = 12  # bars that are all labelled
_ROW: Final = 26
_DOT: Final = 3.0


class Scale:
    """Turns values into places of a picture.

    >>> Scale(0, 2, 50, 250)(1)
    150.0
    """

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        """Lay `low` to `start` and `high` to `end`."""
        self._low, self._start, self._factor = low, start, (end - start) / (high - low)

    def __call__(self, value: float) -> float:
        """Say where a value lies, in tenths."""
        return round(self._start + (value - self._low) * self._factor, 1)


def curves(found: Mapping[str, tuple[Column, Column]], across: str, up: str) -> str:
    """Draw curves over a diagonal, both scales the same.

    Args:
        found: class of the style -> (n,) across and up; the first is drawn on top.
        across: what the horizontal scale says.
        up: what the vertical one does.
    """
    most = 1.08 * max(float(max(one.max(), other.max())) for one, other in found.values()) or 1.0
    x, y = Scale(0, most, 52, 500), Scale(0, most, 270, 14)
    parts = [*_grid(most, x, y), f'<path class="axis" stroke-dasharray="4 4" d="M{x(0)} {y(0)}L{x(most)} {y(most)}"/>']
    for style, (one, other) in reversed(list(found.items())):
        points = [(x(at), y(value)) for at, value in zip(one.tolist(), other.tolist(), strict=True)]
        line = "L".join(f"{at} {value}" for at, value in points)
        parts.append(f'<path class="{style}" style="fill:none" stroke-width="2" d="M{line}"/>')
        parts += [f'<circle class="{style}" cx="{at}" cy="{value}" r="3.5"/>' for at, value in points]
    parts += [
        f'<text x="276" y="308" text-anchor="middle">{escape(across)}</text>',
        f'<text x="14" y="142" text-anchor="middle" transform="rotate(-90 14 142)">{escape(up)}</text>',
    ]
    return svg(520, 314, parts)


def columns(values: Column, style: str, about: str) -> str:
    """Draw bars side by side, numbered from 1 on."""
    width, y = 460 / len(values), Scale(0, max(1.0, float(values.max())), 230, 20)
    parts = []
    for place, value in enumerate(values.tolist()):
        left, top = 40 + place * width, y(value)
        bar = f'width="{max(width - 6, 1):.1f}" height="{230 - top:.1f}" rx="3"'
        middle = f'x="{left + width / 2 - 3:.1f}" text-anchor="middle"'
        parts.append(f'<rect class="{style}" x="{left:.1f}" y="{top}" {bar}/>')
        if len(values) <= _NAMED or place % 10 == 0:
            parts.append(f'<text {middle} y="248">{place + 1}</text>')
        if len(values) <= _TOLD:
            parts.append(f'<text {middle} y="{top - 5:.1f}">{value:.2f}</text>')
    return svg(520, 276, [*parts, f'<text x="270" y="270" text-anchor="middle">{escape(about)}</text>'])


def bars(shares: Mapping[str, float], style: str) -> str:
    """Draw shares as bars below each other."""
    longest, parts = Scale(0, max(1e-12, *shares.values()), 0, 310), []
    for place, (name, share) in enumerate(shares.items()):
        top, length = 6 + place * _ROW, longest(share)
        parts += [
            _name(name, top + 14),
            f'<rect class="{style}" x="146" y="{top + 2}" width="{length}" height="16" rx="3"/>',
            f'<text x="{152 + length:.1f}" y="{top + 15}">{share:.1%}</text>',
        ]
    return svg(520, 12 + _ROW * len(shares), parts)


def swarms(found: Mapping[str, tuple[Column, Column]]) -> str:
    """Draw a swarm of dots for each name, on one scale around 0.

    Args:
        found: name -> (n,) where dots lie, and the values that tint them, from cold to warm.
    """
    reach = 1.05 * max(float(np.abs(at).max()) for at, _ in found.values()) or 1.0
    x, bottom = Scale(-reach, reach, 150, 508), 12 + _ROW * len(found)
    parts = [f'<path class="axis" d="M{x(0)} 6V{bottom}"/>']
    for place, (name, (at, values)) in enumerate(found.items()):
        middle = 6 + place * _ROW + _ROW / 2
        parts += [_name(name, middle + 4), *_swarm(np.array([x(each) for each in at.tolist()]), values, middle)]
    for where, anchor, text in ((150, "start", f"-{reach:.2g}"), (x(0), "middle", "0"), (508, "end", f"+{reach:.2g}")):
        parts.append(f'<text x="{where}" y="{bottom + 16}" text-anchor="{anchor}">{text}</text>')
    return svg(520, bottom + 20, parts)


def dumbbell(values: Sequence[float], styles: Sequence[str], low: float, high: float) -> str:
    """Draw a few values of one thing on a line from `low` to `high`."""
    x = Scale(low, high, 6, 194)
    ends = [x(each) for each in values]
    dots = [f'<circle class="{style}" cx="{at}" cy="9" r="5"/>' for style, at in zip(styles, ends, strict=True)]
    line = f'<path class="grid" stroke-width="2" d="M6 9H194"/><path class="axis" d="M{min(ends)} 9H{max(ends)}"/>'
    return svg(200, 18, [line, *reversed(dots)])


def svg(width: float, height: float, parts: Sequence[str]) -> str:
    """Put a picture together."""
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def _swarm(at: Column, values: Column, middle: float) -> Iterator[str]:
    """Lay dots out so that many at one place form a bulge."""
    _, rank = np.unique(values, return_inverse=True)
    tint = np.rint(rank / max(int(rank.max()), 1) * (_TINTS - 1)).astype(np.intp)
    _, heap = np.unique(np.rint(at / _DOT), return_inverse=True)
    size = np.bincount(heap)[heap]
    y = middle + (_nth(heap) - (size - 1) / 2) * np.minimum(_DOT, 20.0 / size)
    for each in range(_TINTS):
        dots = "".join(
            f'<circle cx="{left:.0f}" cy="{top:.1f}" r="1.8"/>'
            for left, top in zip(at[tint == each].tolist(), y[tint == each].tolist(), strict=True)
        )
        if dots:
            share = round(100 * each / (_TINTS - 1))
            yield f'<g opacity=".75" style="fill:color-mix(in srgb, var(--warm) {share}%, var(--cold))">{dots}</g>'


def _nth(groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Number the members of each group in their order.

    >>> _nth(np.array([5, 7, 5, 5])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(groups, kind="stable")
    _, first, counts = np.unique(groups[order], return_index=True, return_counts=True)
    found = np.empty(len(groups), dtype=np.intp)
    found[order] = np.arange(len(groups)) - np.repeat(first, counts)
    return found


def _name(name: str, y: float) -> str:
    return f'<text class="name" x="136" y="{y}" text-anchor="end">{escape(name)}</text>'


def _grid(most: float, x: Scale, y: Scale) -> Iterator[str]:
    """Draw lines at round values up to the highest, both ways."""
    unit = 10.0 ** np.floor(np.log10(most))
    step = next(unit * part for part in _GRID if most / (unit * part) >= _LEAST_LINES)
    for number in range(int(most / step) + 1):
        value = number * step
        yield f'<path class="grid" d="M{x(0)} {y(value)}H{x(most)}M{x(value)} {y(0)}V{y(most)}"/>'
        yield f'<text x="{x(0) - 6}" y="{y(value) + 4}" text-anchor="end">{value:.3g}</text>'
        yield f'<text x="{x(value)}" y="{y(0) + 18}" text-anchor="middle">{value:.3g}</text>'
