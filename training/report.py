"""One HTML file that says how good the models are: it opens anywhere, links to nothing, and needs no network.

    write_report("report.html", [Tiles(...), Facts("Data", {...}), MetricTable("Errors", frame), Gallery("Parity", (...))], title="first-light")

A report is a list of sections, each a small frozen value; pictures go in as PNG bytes (`training.pictures`) and are inlined.
"""

from __future__ import annotations

import base64
import html
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from .pictures import percent

#: how a measure is headed and written in a table: heading, form
FORMS: dict[str, tuple[str, str]] = {
    "rows": ("rows", "count"), "no_truth": ("no truth", "count"), "no_answer": ("no answer", "count"), "zero_truth": ("truth is 0", "count"),
    "median_ape": ("median APE", "percent"), "mape": ("MAPE", "percent"), "p90_ape": ("p90 APE", "percent"), "within_5": ("within 5 %", "percent"),
    "within_10": ("within 10 %", "percent"), "rmspe": ("RMSPE", "percent"), "r2_log": ("R² (log)", "number"), "spearman": ("Spearman", "number"),
    "kendall": ("Kendall τ", "number"), "top1_regret": ("top-1 regret", "percent"), "coverage": ("coverage", "percent"),
    "log_width": ("interval width (log)", "number"),
    "flagged": ("flagged", "percent"), "wrong": ("wrong", "percent"), "hit_rate": ("hit rate", "percent"),
    "median_ape_flagged": ("median APE, flagged", "percent"), "median_ape_passed": ("median APE, passed", "percent"), "seconds": ("seconds", "number"),
}


@dataclass(frozen=True)
class Tiles:
    """The headline: a few figures, each (label, value in words, a line under it)."""

    tiles: tuple[tuple[str, str, str], ...]

    def html(self) -> str:
        """This section as HTML."""
        cells = (f'<div class="tile"><div class="label">{_e(a)}</div><div class="value">{_e(b)}</div><div class="under">{_e(c)}</div></div>'
                 for a, b, c in self.tiles)
        return f'<section class="tiles">{"".join(cells)}</section>'


@dataclass(frozen=True)
class Heading:
    """The start of a part, such as one model; `note` stands under it."""

    title: str
    note: str = ""

    def html(self) -> str:
        """This section as HTML."""
        return f'<h2 id="{_anchor(self.title)}">{_e(self.title)}</h2>{_note(self.note)}'


@dataclass(frozen=True)
class Text:
    """Paragraphs under a small title."""

    title: str
    paragraphs: tuple[str, ...]

    def html(self) -> str:
        """This section as HTML."""
        return f"<section>{_title(self.title)}{''.join(f'<p>{_e(p)}</p>' for p in self.paragraphs)}</section>"


@dataclass(frozen=True)
class Facts:
    """Names and values: data digests, versions, timings."""

    title: str
    facts: Mapping[str, Any]
    note: str = ""

    def html(self) -> str:
        """This section as HTML."""
        rows = "".join(f"<tr><th>{_e(k)}</th><td>{_e(v)}</td></tr>" for k, v in self.facts.items())
        return f'<section>{_title(self.title, self.note)}<table class="facts">{rows}</table></section>'


@dataclass(frozen=True)
class MetricTable:
    """A table of measures; columns named in `FORMS` are headed and written by it (percentages as such), NaN as a dash.

    At most `most` rows are shown; the table says how many it leaves out. `folded` tables open when asked.
    """

    title: str
    frame: pd.DataFrame
    note: str = ""
    most: int = 60
    folded: bool = False

    def html(self) -> str:
        """This section as HTML."""
        shown = self.frame.head(self.most)
        forms = [FORMS.get(str(c), (str(c), "")) for c in shown.columns]
        head = "".join(f'<th class="{"num" if form else ""}">{_e(name)}</th>' for name, form in forms)
        rows = "".join("<tr>" + "".join(f'<td class="{"num" if form else ""}">{_e(_cell(v, form))}</td>' for v, (_, form) in zip(row, forms, strict=True)) + "</tr>"
                       for row in shown.itertuples(index=False))
        left = len(self.frame) - len(shown)
        more = f'<p class="note">{left} more rows are in metrics.csv beside this report.</p>' if left > 0 else ""
        table = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{more}'
        if self.folded:
            return f"<section><details><summary>{_e(self.title)} ({len(self.frame)} rows)</summary>{_note(self.note)}{table}</details></section>"
        return f"<section>{_title(self.title, self.note)}{table}</section>"


@dataclass(frozen=True)
class Picture:
    """One PNG with the sentence that says what to see in it."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures under a small title."""

    title: str
    pictures: tuple[Picture, ...]
    note: str = ""

    def html(self) -> str:
        """This section as HTML."""
        def one(p: Picture) -> str:
            width = int.from_bytes(p.png[16:20], "big")  # of the PNG header; drawn at 150 dpi, shown at 96
            data = base64.b64encode(p.png).decode()
            return (f'<figure><img style="width:{round(width * 0.64)}px" alt="{_e(p.caption)}" src="data:image/png;base64,{data}">'
                    f"<figcaption>{_e(p.caption)}</figcaption></figure>")

        return f"<section>{_title(self.title, self.note)}{''.join(one(p) for p in self.pictures)}</section>"


@dataclass(frozen=True)
class Listing:
    """Text as it stands, such as the experiment file; folded away until asked for."""

    title: str
    text: str

    def html(self) -> str:
        """This section as HTML."""
        return f"<section><details><summary>{_e(self.title)}</summary><pre>{_e(self.text)}</pre></details></section>"


Section = Tiles | Heading | Text | Facts | MetricTable | Gallery | Listing


def write_report(path: str | Path, sections: Sequence[Section], title: str = "silicast report", subtitle: str = "") -> Path:
    """Writes one self-contained HTML file, whole or not at all; gives back its path."""
    parts = [s.title for s in sections if isinstance(s, Heading)]
    links = "".join(f'<a href="#{_anchor(t)}">{_e(t)}</a>' for t in parts)
    contents = f"<nav>{links}</nav>" if len(parts) > 1 else ""
    page = (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{_e(title)}</title><style>{_CSS}</style></head><body><main><header><h1>{_e(title)}</h1>"
            f"{_note(subtitle)}{contents}</header>\n" + "\n".join(s.html() for s in sections) + "\n</main></body></html>\n")
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    building = place.with_name(f".{place.name}.{os.getpid()}")
    building.write_text(page, encoding="utf-8")
    os.replace(building, place)
    return place


def _e(value: Any) -> str:
    return html.escape(str(value))


def _anchor(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower())


def _title(title: str, note: str = "") -> str:
    return f"<h3>{_e(title)}</h3>{_note(note)}"


def _note(note: str) -> str:
    return f'<p class="note">{_e(note)}</p>' if note else ""


def _cell(value: Any, form: str) -> str:
    if not form:
        return str(value)
    v = float(value)
    if not math.isfinite(v):
        return "–"
    return percent(v) if form == "percent" else f"{int(v):,}" if form == "count" else f"{v:.3g}" if abs(v) < 0.995 else f"{v:.4g}"


_CSS = """
:root{color-scheme:light;--ink:#1b2733;--muted:#5c6873;--line:#e1e6ea;--accent:#1f6fb2}
*{box-sizing:border-box}body{margin:0;background:#f4f6f8;color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:30px;line-height:1.2;margin:0 0 4px}h2{font-size:22px;margin:44px 0 4px;padding-top:8px}h3{font-size:16px;margin:0 0 6px}
.note{color:var(--muted);margin:0 0 12px;max-width:75ch}
nav{display:flex;flex-wrap:wrap;gap:6px 18px;margin:12px 0 0}nav a{color:var(--accent);text-decoration:none}nav a:hover{text-decoration:underline}
section{background:#fff;border:1px solid var(--line);border-radius:10px;padding:18px 20px;margin:14px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(180px,1fr));gap:12px;background:none;border:0;padding:0;margin-top:22px}
.tile{background:#fff;border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.label{color:var(--muted);font-size:13px}.value{font-size:26px;font-weight:650;line-height:1.25;font-variant-numeric:tabular-nums}.under{color:var(--muted);font-size:13px}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13.5px;min-width:60%}
th,td{padding:5px 12px 5px 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}thead th{color:var(--muted);font-weight:600;white-space:nowrap}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}tbody tr:hover{background:#f7fafc}
.facts th{color:var(--muted);font-weight:500;white-space:nowrap;width:1%;padding-right:24px}.facts td{overflow-wrap:anywhere}
figure{margin:8px 0 18px}img{max-width:100%;height:auto;display:block}figcaption{color:var(--muted);font-size:13px;margin-top:4px;max-width:75ch}
pre{overflow-x:auto;background:#f7f9fa;padding:12px;border-radius:8px;font-size:13px}summary{cursor:pointer;font-weight:600}
@media print{body{background:#fff}section,.tile{break-inside:avoid}}
"""
