"""The pictures of a report: how close, for whom, and whether the intervals hold. Each function gives the bytes of one PNG.

Drawn with matplotlib's objects on the Agg canvas; pyplot and its global state are never touched, so any thread may draw.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.table import target_unit

INK, MUTED, GRID, ACCENT, BAND = "#1b2733", "#66717d", "#e6eaee", "#1f6fb2", "#dbe9f5"
#: told apart by colour-blind readers too (Okabe and Ito, "Color universal design", 2008)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5a5a5a")
#: most slices that one picture shows; it says how many it leaves out
MOST_SLICES = 24
#: most points of a parity plot; more only make it black
MOST_POINTS = 6000


def parity(truth: Mapping[str, np.ndarray], answers: Mapping[str, Mapping[str, Any]], kinds: np.ndarray | None = None) -> bytes:
    """Answer against truth on log axes, one panel per target, with the line of perfection and a band of +-10 %.

    `truth`: target -> (n,) SI; `answers`: target -> {"point": (n,), "median_ape": float}; `kinds`: (n,) labels that colour the points.
    """
    names = [n for n in answers if n in truth]
    columns = min(len(names), 3)
    rows = math.ceil(len(names) / columns)
    figure = _figure(3.5 * columns + 0.3, 3.5 * rows + (0.4 if kinds is not None else 0.0))
    shown: dict[str, str] = {}
    labels = np.unique(kinds.astype(str)) if kinds is not None else np.array(["all"])
    for i, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, i + 1)
        y, p = np.asarray(truth[name], dtype=float), np.asarray(answers[name]["point"], dtype=float)
        use = np.flatnonzero((y > 0) & (p > 0) & np.isfinite(y) & np.isfinite(p))
        if len(use) > MOST_POINTS:
            use = use[np.linspace(0, len(use) - 1, MOST_POINTS).astype(int)]
        if not len(use):
            axes.text(0.5, 0.5, "no positive rows", ha="center", va="center", transform=axes.transAxes, color=MUTED)
            continue
        low, high = min(y[use].min(), p[use].min()) / 1.5, max(y[use].max(), p[use].max()) * 1.5
        line = np.array([low, high])
        axes.fill_between(line, line / 1.1, line * 1.1, color=BAND, lw=0, zorder=1)
        axes.plot(line, line, color=MUTED, lw=0.9, zorder=2)
        for c, label in enumerate(labels):
            of = use[kinds[use].astype(str) == label] if kinds is not None else use
            few = len(use) < 800
            axes.plot(y[of], p[of], "o", ms=3.0 if few else 2.2, mew=0, alpha=0.75 if few else 0.4, color=COLOURS[c % len(COLOURS)], zorder=3)
            if len(of):
                shown.setdefault(str(label), COLOURS[c % len(COLOURS)])
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        unit = target_unit(name)
        _dress(axes, f"{name}", f"truth [{unit}]" if unit not in ("", "1") else "truth", f"forecast [{unit}]" if unit not in ("", "1") else "forecast")
        error = answers[name].get("median_ape", math.nan)
        if math.isfinite(error):
            axes.text(0.04, 0.95, f"median APE {percent(error)}", transform=axes.transAxes, va="top", color=INK, fontsize=9)
    if kinds is not None and shown:
        figure.legend([_dot(colour) for colour in shown.values()], list(shown), loc="outside lower center", ncols=min(len(shown), 7), frameon=False, fontsize=9)
    return _png(figure)


def error_distribution(errors: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """Share of answers within an error (the ECDF of APE): one panel per target, one curve per model; further left is better.

    `errors`: target -> model -> (n,) APE.
    """
    columns = min(len(errors), 3)
    rows = math.ceil(len(errors) / columns)
    figure = _figure(3.7 * columns, 3.0 * rows + 0.4)
    models = list(dict.fromkeys(m for of in errors.values() for m in of))
    lines: dict[str, Any] = {}
    for i, (name, of) in enumerate(errors.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        least, most = 1e-3, 0.2
        for model, error in of.items():
            e = np.sort(np.maximum(error[np.isfinite(error)], 1e-4))
            if len(e):
                lines[model] = axes.step(e, np.arange(1, len(e) + 1) / len(e), where="post", lw=1.8, color=COLOURS[models.index(model) % len(COLOURS)])[0]
                most = max(most, float(np.quantile(e, 0.995)))
                least = min(least, float(np.quantile(e, 0.05)))
        for mark in (0.05, 0.10):
            axes.axvline(mark, color=MUTED, lw=0.8, ls=(0, (3, 3)), zorder=1)
        axes.set(xscale="log", xlim=(max(least, 1e-4), most * 1.05), ylim=(0, 1.01))
        _percent_axis(axes.xaxis)
        _percent_axis(axes.yaxis)
        _dress(axes, name, "absolute percentage error", "share of answers within" if i % columns == 0 else "")
    if lines:
        figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=min(len(lines), 5), frameon=False, fontsize=9)
    return _png(figure)


def error_by_slice(frame: pd.DataFrame, column: str) -> bytes:
    """Median (dot) to 90th percentile (bar end) of APE for each value of the slice `column`, worst on top, one panel per target.

    `frame`: `metrics.by_slice`. Shows the `MOST_SLICES` worst by median.
    """
    part = frame[(frame["slice"] == column) & frame["median_ape"].notna()]
    targets = list(dict.fromkeys(part["target"]))
    order = part.groupby("value")["median_ape"].mean().sort_values(ascending=False)
    values = list(order.index[:MOST_SLICES])[::-1]
    figure = _figure(min(2.4 + 2.9 * len(targets), 11.5), 1.25 + 0.27 * len(values))
    first: Any = None
    for i, name in enumerate(targets):
        axes = first = figure.add_subplot(1, len(targets), i + 1, sharey=first)
        of = part[part["target"] == name].set_index("value").reindex(values)
        place = np.arange(len(values))
        middle, tail = (np.maximum(of[c].to_numpy(dtype=float), 1e-4) for c in ("median_ape", "p90_ape"))  # a log axis has no zero
        axes.set(xscale="log", xlim=(min(float(np.nanmin(middle)) / 1.6, 0.008), max(float(np.nanmax(tail)) * 1.5, 0.13)), ylim=(-0.7, len(values) - 0.3))
        axes.hlines(place, middle, tail, color="#b9cfe3", lw=4.5, zorder=2)
        axes.scatter(middle, place, s=34, color=ACCENT, zorder=3, lw=0)
        whole = frame[(frame["slice"] == "all") & (frame["target"] == name)]["median_ape"].iloc[0]
        if math.isfinite(whole):
            axes.axvline(whole, color=MUTED, lw=0.9, ls=(0, (3, 3)), zorder=1)
        rows = part[part["target"] == name].set_index("value")["rows"].to_dict()
        axes.set_yticks(place, [f"{_short(v)}  ({int(rows.get(v, 0))})" for v in values])
        axes.tick_params(labelleft=i == 0)
        _percent_axis(axes.xaxis)
        _dress(axes, name, "APE: median to p90", "", y_grid=False)
    return _png(figure)


def coverage_by_slice(frame: pd.DataFrame, level: float, columns: Sequence[str] = ("kind", "family")) -> bytes:
    """Share of answers inside their interval per slice, with its sampling error, beside the promised level.

    The whiskers are Wilson's 95 % interval (Wilson 1927): a slice is at fault only when they miss the band level +-5 points.
    """
    part = frame[frame["coverage"].notna() & frame["slice"].isin(["all", *columns])]
    targets = list(dict.fromkeys(part["target"]))
    keys = list(dict.fromkeys(zip(part["slice"], part["value"], strict=True)))
    keys = [k for k in keys if k[0] == "all"] + [k for k in keys if k[0] != "all"][:MOST_SLICES]
    keys = keys[::-1]
    figure = _figure(min(2.6 + 2.7 * max(len(targets), 1), 11.5), 1.25 + 0.27 * max(len(keys), 2))
    lowest = float(wilson(part["coverage"].to_numpy(dtype=float), part["rows"].to_numpy(dtype=float))[0].min()) if len(part) else 0.7
    first: Any = None
    for i, name in enumerate(targets):
        axes = first = figure.add_subplot(1, len(targets), i + 1, sharey=first)
        of = part[part["target"] == name].set_index(["slice", "value"]).reindex(keys)
        place = np.arange(len(keys))
        share, n = of["coverage"].to_numpy(dtype=float), of["rows"].to_numpy(dtype=float)
        low, high = wilson(share, n)
        axes.axvspan(level - 0.05, min(level + 0.05, 1.0), color=BAND, lw=0, zorder=0)
        axes.axvline(level, color=MUTED, lw=0.9, ls=(0, (3, 3)), zorder=1)
        off = (high < level - 0.05) | (low > level + 0.05)
        colours = np.where(off, COLOURS[1], ACCENT)
        axes.hlines(place, low, high, color=colours, lw=1.4, zorder=2)
        axes.scatter(share, place, s=30, c=colours, zorder=3, lw=0)
        axes.set(xlim=(max(min(level - 0.2, lowest - 0.03), 0.0), 1.01), ylim=(-0.7, len(keys) - 0.3))
        axes.set_yticks(place, ["all" if s == "all" else f"{s} {_short(v)}" for s, v in keys])
        axes.tick_params(labelleft=i == 0)
        _percent_axis(axes.xaxis)
        _dress(axes, name, f"inside the {level:.0%} interval", "", y_grid=False)
    return _png(figure)


def wilson(share: np.ndarray, n: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a share of n rows (E. B. Wilson, JASA 22, 1927): (low, high)."""
    n = np.maximum(n, 1.0)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


def percent(value: float) -> str:
    """0.0312 -> "3.1 %"; three figures or fewer, never a false zero."""
    if not math.isfinite(value):
        return "–"
    v = 100.0 * value
    return f"{v:.0f} %" if abs(v) >= 99.95 else f"{v:.1f} %" if abs(v) >= 0.95 or v == 0 else f"{v:.2g} %"


def _short(label: str, most: int = 26) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _dot(colour: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], marker="o", ls="", ms=6, mew=0, color=colour)


def _dress(axes: Any, title: str, x: str, y: str, y_grid: bool = True) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, fontweight="bold")
    axes.set_xlabel(x, fontsize=9, color=MUTED)
    axes.set_ylabel(y, fontsize=9, color=MUTED)
    axes.tick_params(which="both", labelsize=8.5, colors=MUTED, length=0)
    axes.grid(True, axis="both" if y_grid else "x", color=GRID, lw=0.7, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#c5ccd3")


def _percent_axis(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 80 else (1.0, 3.0) if high / low < 1500 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))
    axis.set_minor_formatter(NullFormatter())


def _png(figure: Any, form: str = "png") -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format=form, dpi=150)
    return out.getvalue()


def roofline(name: str, roofs: Mapping[str, float], bandwidth: float, ops: Sequence[Mapping[str, Any]], form: str = "png") -> bytes:
    """Operators of a workload under the roofline of a machine (Williams, Waterman, Patterson, CACM 52(4), 2009); the bytes of a PNG or SVG (`form`).

    `roofs`: what computes -> FLOP/s; `bandwidth`: bytes/s of the outermost memory; `ops`: kind, intensity (FLOP/byte; None: on chip,
    drawn as a triangle at the right edge), flops_per_s and share of the time of each, the share as the area of its dot.
    """
    figure = _figure(7.2, 4.9)
    axes = figure.add_subplot(1, 1, 1)
    chip = np.array([op["intensity"] is None for op in ops])
    x = np.array([1.0 if op["intensity"] is None else max(float(op["intensity"]), 1e-3) for op in ops])
    y = np.array([max(float(op["flops_per_s"]), 1.0) for op in ops])
    ridge = max(roofs.values()) / bandwidth
    low, high = min(x.min() / 2, ridge / 10), max(x.max() * 2, ridge * 10)
    x[chip] = high / 1.15
    for i, (label, peak) in enumerate(sorted(roofs.items(), key=lambda r: -r[1])):
        line = np.array([low, peak / bandwidth, high])
        axes.plot(line, np.minimum(line * bandwidth, peak), color=INK if i == 0 else MUTED, lw=1.6 if i == 0 else 1.0, ls="-" if i == 0 else (0, (4, 3)), zorder=2)
        axes.annotate(label, (high, peak), xytext=(-4, 4), textcoords="offset points", ha="right", fontsize=8.5, color=MUTED)
    kinds = list(dict.fromkeys(str(op["kind"]) for op in ops))
    share = np.array([float(op["share"]) for op in ops])
    for i, kind in enumerate(kinds):
        of = np.array([op["kind"] == kind for op in ops])
        for mark, some in (("o", of & ~chip), (">", of & chip)):
            axes.scatter(x[some], y[some], s=14 + 500 * share[some], marker=mark, color=COLOURS[i % len(COLOURS)], alpha=0.6, lw=0, zorder=3)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(min(y.min() / 2, low * bandwidth), max(roofs.values()) * 2.5))
    _dress(axes, name, "arithmetic intensity [FLOP/byte of the outermost memory]", "attained [FLOP/s]")
    figure.legend([_dot(COLOURS[i % len(COLOURS)]) for i in range(len(kinds))], kinds, loc="outside lower center", ncols=min(len(kinds), 7), frameon=False, fontsize=9)
    return _png(figure, form)
