"""The picture of a search: what was evaluated and the front, for each pair of objectives, as PNG or SVG."""

from __future__ import annotations

import io
from itertools import combinations
from typing import Any

import numpy as np

from ...datasets.errors import InputError
from ...datasets.table import target_unit
from ...training.pictures import ACCENT, GRID, INK, MUTED
from .problem import Evaluations

#: most panels; a search with more pairs of objectives shows the first ones
MOST_PANELS = 6
FORMATS = ("png", "svg")


def front_picture(evaluated: Evaluations, front: Evaluations, title: str = "", form: str = "png") -> bytes:
    """The bytes of one picture. With one objective: its best value so far over the evaluations. Raises InputError for another format."""
    if form not in FORMATS:
        raise InputError(f"picture: expected one of {', '.join(FORMATS)}, got {form!r}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [g.name for g in evaluated.goals]
    pairs = list(combinations(range(len(names)), 2))[:MOST_PANELS]
    columns = min(max(len(pairs), 1), 3)
    rows = -(-max(len(pairs), 1) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.9 * rows + (0.3 if title else 0.0)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, x=0.02, ha="left", fontsize=11.5, color=INK, fontweight="bold")
    if not pairs:
        _history(figure.add_subplot(1, 1, 1), evaluated, names[0])
    for at, (i, j) in enumerate(pairs):
        axes = figure.add_subplot(rows, columns, at + 1)
        _panel(axes, evaluated, front, i, j)
        _dress(axes, _label(names[i], evaluated), _label(names[j], evaluated))
        _ticks(axes.xaxis, names[i])
        _ticks(axes.yaxis, names[j])
    if figure.axes[0].get_legend_handles_labels()[0]:
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9, labelcolor=INK)
    out = io.BytesIO()
    figure.savefig(out, format=form, dpi=150)
    return out.getvalue()


def _signed(of: Evaluations, j: int) -> np.ndarray:
    return of.objectives[:, j] * (-1.0 if of.goals[j].maximise else 1.0)


def _panel(axes: Any, evaluated: Evaluations, front: Evaluations, i: int, j: int) -> None:
    x, y, good = _signed(evaluated, i), _signed(evaluated, j), evaluated.feasible
    shown = np.isfinite(x) & np.isfinite(y)
    axes.plot(x[shown & ~good], y[shown & ~good], "x", ms=4, mew=0.8, color="#b9c0c7", zorder=2, label="outside the limits")
    axes.plot(x[good], y[good], "o", ms=4, mew=0, alpha=0.55, color="#7d93a8", zorder=3, label="evaluated")
    order = np.argsort(_signed(front, i))
    fx, fy = _signed(front, i)[order], _signed(front, j)[order]
    if evaluated.objectives.shape[1] == 2 and len(fx) > 1:
        axes.plot(fx, fy, drawstyle="steps-post" if not evaluated.goals[i].maximise else "steps-pre", lw=1.4, color=ACCENT, zorder=4)
    axes.plot(fx, fy, "o", ms=6, mew=0.8, mec="white", color=ACCENT, zorder=5, label="front")
    for axis, values in (("x", x[shown]), ("y", y[shown])):
        if len(values) and values.min() > 0 and values.max() > 10 * values.min():
            getattr(axes, f"set_{axis}scale")("log")


def _history(axes: Any, evaluated: Evaluations, name: str) -> None:
    values = np.where(evaluated.feasible, evaluated.objectives[:, 0], np.inf)
    best = np.minimum.accumulate(values) if len(values) else values
    at = np.flatnonzero(np.isfinite(best))
    sign = -1.0 if evaluated.goals[0].maximise else 1.0
    axes.plot(np.flatnonzero(np.isfinite(values)) + 1, sign * values[np.isfinite(values)], "o", ms=4, mew=0, alpha=0.55, color="#7d93a8", label="evaluated")
    axes.step(at + 1, sign * best[at], where="post", lw=1.6, color=ACCENT, label="best so far")
    _dress(axes, "evaluations", _label(name, evaluated))


def _label(name: str, of: Evaluations) -> str:
    unit = target_unit(name.partition("@")[0])  # the ticks carry the others
    way = next("larger" if g.maximise else "smaller" for g in of.goals if g.name == name)
    return f"{name}{f' [{unit}]' if unit == 'mm2' else ''} ({way} is better)"


def _ticks(axis: Any, name: str) -> None:
    """1.5 ms, 20 mJ, 3 G; square millimetres take no prefix."""
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

    unit = target_unit(name.partition("@")[0])
    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 200 else (1.0,)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}") if unit == "mm2" else EngFormatter(unit="" if unit == "1" else unit))


def _dress(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=9, color=MUTED)
    axes.set_ylabel(y, fontsize=9, color=MUTED)
    axes.tick_params(which="both", labelsize=8.5, colors=MUTED, length=0)
    axes.grid(True, color=GRID, lw=0.7, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
