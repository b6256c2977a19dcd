"""The graph of a workload as a picture: one self-contained SVG, producers above consumers, what repeats drawn once.

Layers by longest path; within a layer operators stand near the middle of their neighbours (barycentre sweeps: Sugiyama, Tagawa, Toda, IEEE Trans. SMC 11, 1981).
A stretch of operators that comes several times over, as the layers of a transformer do, is drawn once in a frame that says how often.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from ..datasets.errors import InputError
from ..datasets.workload import Workload
from .quantities import quantity

#: graphs up to this size are drawn whole
WHOLE = 60
#: most boxes of a picture; more is no picture
MOST = 600
#: longest stretch that is looked for
LONGEST = 400
_COLOURS = {"gemm": "#cfe3f5", "conv": "#cfe3f5", "grouped_gemm": "#cfe3f5", "attention": "#f9d9c8", "recurrent": "#f9d9c8", "scan": "#f9d9c8", "norm": "#dff0d8", "softmax": "#dff0d8",
            "reduce": "#dff0d8", "pool": "#dff0d8", "gather": "#f6edc9", "move": "#ececec", "bound": "#f3c6c6"}
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 190, 34, 18, 34, 24


@dataclass(frozen=True)
class Stretch:
    """Operators `start` to `start + length - 1`, which come `times` times in a row."""

    start: int
    length: int
    times: int


def fold(workload: Workload) -> list[Stretch]:
    """The operators in order as stretches, each drawn once; (i, 1, 1) is an operator alone. Equal means equal kind, sizes and dtypes."""
    seen: dict[tuple[object, ...], int] = {}
    word = np.array([seen.setdefault((op.kind, op.sizes, op.dtype, op.weight_dtype), len(seen)) for op in workload.ops])
    if len(word) <= WHOLE:
        return [Stretch(i, 1, 1) for i in range(len(word))]
    out: list[Stretch] = []
    waiting = [(0, len(word))]
    while waiting:
        first, last = waiting.pop()
        found = _repeats(word[first:last])
        if found is None:
            out += [Stretch(i, 1, 1) for i in range(first, last)]
            continue
        start, length, times = found
        out.append(Stretch(first + start, length, times))
        waiting += [(a, b) for a, b in ((first, first + start), (first + start + length * times, last)) if b > a]
    return sorted(out, key=lambda s: s.start)


def _repeats(word: np.ndarray) -> tuple[int, int, int] | None:
    """(start, length, times) of the repetition that saves most; None where none saves four boxes."""
    best, saved = None, 3
    for length in range(1, min(LONGEST, len(word) // 2) + 1):
        same = np.concatenate([[False], word[:-length] == word[length:], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            times = (end - begin) // length + 1
            if times >= 2 and (times - 1) * length > saved:
                best, saved = (int(begin), length, int(times)), (times - 1) * length
    return best


def graph_svg(workload: Workload) -> str:
    """The graph as SVG text. Raises InputError for one that has more than `MOST` different operators to show."""
    stretches = fold(workload)
    shown = [op for s in stretches for op in range(s.start, s.start + s.length)]
    if len(shown) > MOST:
        raise InputError(f"{workload.name}: {len(workload.ops):,} operators, {len(shown):,} of them different from the ones before, are too many for a picture (at most {MOST}); "
                         "--ops lists them")
    place = {}
    for s in stretches:
        for i in range(s.length * s.times):
            place[s.start + i] = s.start + i % s.length
    edges = {(place[a], place[b]) for a, b in workload.edges.tolist()}
    edges = {(a, b) for a, b in edges if a < b}  # the others lead from one repetition into the next
    layer = dict.fromkeys(shown, 0)
    before: dict[int, list[int]] = {i: [] for i in shown}
    after: dict[int, list[int]] = {i: [] for i in shown}
    for a, b in sorted(edges):
        before[b].append(a)
        after[a].append(b)
    for i in shown:  # in topological order
        layer[i] = max((layer[p] + 1 for p in before[i]), default=0)
    rows: list[list[int]] = [[] for _ in range(max(layer.values()) + 1)]
    for i in shown:
        rows[layer[i]].append(i)
    middle = _arrange(rows, before, after)
    left = min(middle.values()) - _WIDTH / 2 - _MARGIN
    width = max(middle.values()) + _WIDTH / 2 + _MARGIN - left
    top = {i: _MARGIN + 26 + layer[i] * (_HEIGHT + _GAP_Y) for i in shown}
    height = max(top.values()) + _HEIGHT + _MARGIN
    title = f"{workload.name}: {len(workload.ops):,} ops, {quantity(workload.flops, 'flop')}, {workload.params:,} parameters"
    width = max(width, 7.2 * len(_short(title, 90)) + 2 * _MARGIN)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="{left:.0f} 0 {width:.0f} {height:.0f}" font-family="sans-serif">',
           f'<rect x="{left:.0f}" y="0" width="{width:.0f}" height="{height:.0f}" fill="white"/>',
           f'<text x="{left + _MARGIN:.0f}" y="24" font-size="13" fill="#1b2733">{_text(title, 90)}</text>']
    for s in stretches:
        if s.times > 1:
            inside = range(s.start, s.start + s.length)
            x0, x1 = min(middle[i] for i in inside) - _WIDTH / 2 - 9, max(middle[i] for i in inside) + _WIDTH / 2 + 9
            y0, y1 = min(top[i] for i in inside) - 12, max(top[i] for i in inside) + _HEIGHT + 9
            out.append(f'<rect x="{x0:.0f}" y="{y0:.0f}" width="{x1 - x0:.0f}" height="{y1 - y0:.0f}" rx="8" fill="none" stroke="#d55e00" stroke-dasharray="5 4"/>'
                       f'<text x="{x1 - 5:.0f}" y="{y0 + 11:.0f}" font-size="11" text-anchor="end" fill="#d55e00">{s.times} times</text>')
    for a, b in sorted(edges):
        xa, ya, xb, yb = middle[a], top[a] + _HEIGHT, middle[b], top[b]
        bend = (xa + xb) / 2 + (0.0 if layer[b] - layer[a] == 1 else _WIDTH * 0.62)  # one that skips layers passes beside the boxes
        out.append(f'<path d="M{xa:.0f} {ya:.0f}C{bend if layer[b] - layer[a] > 1 else xa:.0f} {ya + 22:.0f} {bend if layer[b] - layer[a] > 1 else xb:.0f} {yb - 22:.0f} '
                   f'{xb:.0f} {yb:.0f}" fill="none" stroke="#9aa5b1"/>')
    for i in shown:
        op = workload.ops[i]
        x = middle[i] - _WIDTH / 2
        out.append(f'<g><title>{_text(op.name, 400)} {_text(str(op.dims), 400)}</title><rect x="{x:.0f}" y="{top[i]:.0f}" width="{_WIDTH}" height="{_HEIGHT}" rx="4" '
                   f'fill="{_COLOURS.get(op.kind, "#f7f7f7")}" stroke="#9aa5b1"/><text x="{middle[i]:.0f}" y="{top[i] + 14:.0f}" font-size="10.5" text-anchor="middle" fill="#1b2733">'
                   f'{_text(op.name, 32, tail=True)}</text><text x="{middle[i]:.0f}" y="{top[i] + 27:.0f}" font-size="9.5" text-anchor="middle" fill="#66717d">'
                   f'{op.kind}, {quantity(op.flops, "flop")}</text></g>')
    return "\n".join([*out, "</svg>", ""])


def _arrange(rows: list[list[int]], before: dict[int, list[int]], after: dict[int, list[int]]) -> dict[int, float]:
    """Horizontal middle of every box: as close to its neighbours' middle as the boxes beside it allow."""
    step = _WIDTH + _GAP_X
    middle = {i: (k - (len(row) - 1) / 2) * step for row in rows for k, i in enumerate(row)}
    for sweep in range(6):
        near = before if sweep % 2 == 0 else after
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wish = {i: float(np.mean([middle[n] for n in near[i]])) if near[i] else middle[i] for i in row}
            order = sorted(row, key=lambda i: wish[i])
            at = -np.inf
            for i in order:
                at = max(wish[i], at + step)
                middle[i] = at
            shift = float(np.mean([wish[i] - middle[i] for i in order]))
            for i in order:
                middle[i] += shift
    return middle


def _short(text: str, most: int, tail: bool = False) -> str:
    return text if len(text) <= most else "…" + text[1 - most:] if tail else text[: most - 1] + "…"


def _text(text: str, most: int, tail: bool = False) -> str:
    """Text for SVG: shortened, escaped, without what XML may not hold."""
    plain = "".join(c if c.isprintable() else " " for c in text).encode("utf-8", "replace").decode("utf-8")
    return escape(_short(plain, most, tail), {'"': "&quot;"})
