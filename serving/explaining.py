"""`silicast explain ...` and `sc.explain`: why an answer is what it is. The arguments, the table, and the picture of shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from xml.sax.saxutils import escape

import typer

from ..datasets.errors import FormatError, InputError
from .quantities import quantity
from .reply import Reply, spoken, table

if TYPE_CHECKING:
    from ..surrogates.explaining import Explanation

_WIDTH, _BAR, _LABEL, _MARGIN = 860, 20, 300, 24
#: by what holds a kernel back (Okabe and Ito, "Color universal design", 2008)
_COLOURS = {"compute": "#0072b2", "vector": "#56b4e9", "local memory": "#cc79a7", "cache": "#e69f00", "dram": "#d55e00", "latency": "#5a5a5a", "launch": "#9aa5b1"}


def explain(predictor: Any, workload: Any, hardware: Any = None, *, target: str = "") -> Explanation:
    """Why a `Predictor` answers as it does: for a workload on a machine (or its name), or for one question of the shape its model takes (`hardware` left out).

    The explanation's `parts` sum to the answer, its `terms` to the answer's logarithm. Raises InputError for several questions or no finite answer,
    UnknownNameError for a target the model does not answer.
    """
    from ..datasets.catalog import hardware as machine
    from ..datasets.table import GraphQuestions
    from ..surrogates.explaining import explain as explained
    from .predictor import known_targets

    known_targets(predictor, [target] if target else None)
    questions = workload if hardware is None else GraphQuestions.cross(workload, [machine(hardware) if isinstance(hardware, (str, Path)) else hardware])
    if not hasattr(questions, "shape"):
        raise InputError(f"explain: expected a workload and a machine, or one question of shape {predictor.shape!r}, got {type(workload).__name__}")
    return explained(predictor.surrogate, questions, predictor.predict_table(questions), target)


@spoken
def command(asked: Annotated[Path, typer.Argument(metavar="FILE-or-TABLE", help="A workload file (with --on), or a table (.csv, .parquet) of which --row is explained.")],
            on: Annotated[str | None, typer.Option("--on", metavar="KEY", help="The device: a catalogue key, an alias or a device YAML file.", show_default=False)] = None,
            model: Annotated[str | None, typer.Option("--model", metavar="REF-or-DIR", help="models:/NAME@alias, models:/NAME/VERSION or a model folder "
                                                      "[default: models:/silicast-boosted@champion].", show_default=False)] = None,
            schema: Annotated[Path | None, typer.Option("--schema", metavar="YAML", help="What the table's columns mean [default: the schema in the model's card].", show_default=False)] = None,
            row: Annotated[int, typer.Option("--row", min=1, help="Which row of the table, counting from 1.")] = 1,
            target: Annotated[str, typer.Option("--target", metavar="T", help="Which answer [default: the model's first].", show_default=False)] = "",
            dim: Annotated[list[str] | None, typer.Option("--dim", metavar="NAME=N", help="Size of a free dimension, such as batch=8; repeatable.", show_default=False)] = None,
            dtype: Annotated[str | None, typer.Option("--dtype", help="What if it ran in this precision?", show_default=False)] = None,
            top: Annotated[int, typer.Option("--top", min=1, help="Lines of each table.")] = 12,
            svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw the shares as bars.", show_default=False)] = None,
            as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, in SI units; logs go to stderr.")] = False) -> Reply:
    """Why the answer is what it is.

    Every operator's share, what each column adds (TreeSHAP), and what holds the machine back.
    """
    from . import arguments, sheets

    if svg is not None and svg.suffix.lower() != ".svg":
        raise FormatError(f"--svg {svg}: expected a name ending in .svg")
    predictor = arguments.predictor(model)
    if sheets.is_sheet(asked):
        if on or dim or dtype:
            raise InputError(f"{asked}: a table names its own hardware and sizes; --on, --dim and --dtype belong to a workload file")
        questions, _ = sheets.questions(asked, schema, predictor)
        if row > len(questions):
            raise InputError(f"{asked}: --row {row} of a table of {len(questions)} rows that can be asked")
        import numpy as np

        found, title = explain(predictor, questions.take(np.array([row - 1])), target=target), f"row {row} of {asked.name}"
    else:
        if not on:
            raise InputError(f"explain {asked}: on which device? Give --on KEY; `silicast hardware list` names them")
        workload, [device, *more] = arguments.read_workload(asked, dim or (), "error", dtype), arguments.machines([on])
        if more:
            raise InputError(f"explain {asked}: one device at a time, got {on}")
        found, title = explain(predictor, workload, device, target=target), f"{workload.name} on {device.key}"
    document = {"asked": title, "model": predictor.name, "version": predictor.version, "unit": predictor.card.units.get(found.target, ""), **found.to_json()}
    if svg is not None:
        svg.write_text(bars(found, title, document["unit"]), encoding="utf-8")
        document["svg"] = str(svg)
    return Reply(document, lambda console: show(console, document, top))


def show(console: Any, told: dict[str, Any], top: int = 12) -> None:
    """Kernels by share, columns by factor, and the sentence."""
    unit = told["unit"]
    console.print(f"{told['asked']}: {told['target']} {quantity(told['point'], unit)}")
    if told["words"]:
        console.print(told["words"])
    if told["parts"]:
        parts = sorted(told["parts"], key=lambda p: -p["share"])
        lines = table("operator", "kind", told["target"], "share", "held back by", right=(told["target"], "share"), title=f"shared out by {told['by']}")
        for p in parts[:top]:
            more = f" + {len(p['ops']) - 1} fused" if len(p["ops"]) > 1 else ""
            lines.add_row(p["name"] + more, p["kind"], quantity(p["amount"], unit), f"{100 * p['share']:.1f} %", p["limit"])
        if len(parts) > top:
            rest = sum(p["share"] for p in parts[top:])
            lines.add_row(f"{len(parts) - top} others", "", quantity(told["point"] * rest, unit), f"{100 * rest:.1f} %", "")
        console.print(lines)
        console.print("by kind: " + ", ".join(f"{kind} {100 * share:.1f} %" for kind, share in told["by_kind"].items()))
    terms = told["terms"]
    lines = table("column", "value", "factor" if told["scale"] == "log" else "adds", right=("value", "factor", "adds"), title="what the answer is made of" + (", multiplied" if told["scale"] == "log" else f", added ({told['scale']})"))
    for t in [*terms[:top], *([terms[-1]] if len(terms) > top else [])]:
        value = "" if t["value"] is None else f"{t['value']:.4g}" if isinstance(t["value"], float) else str(t["value"])
        estimate = t["name"] == "analytic estimate"
        lines.add_row(t["name"], value, quantity(t["factor"], unit) if estimate else f"x {t['factor']:.4f}" if told["scale"] == "log" else f"{t['contribution']:+.4g}")
    console.print(lines)
    if len(terms) > top + 1:
        rest = math.fsum(t["contribution"] for t in terms[top:-1])
        console.print(f"{len(terms) - top - 1} further columns together: " + (f"x {math.exp(rest):.4f}" if told["scale"] == "log" else f"{rest:+.4g}"))
    console.print(f"model {told['model']} version {told['version']}" + (f"; drawn to {told['svg']}" if "svg" in told else ""))


def bars(found: Explanation, title: str, unit: str, most: int = 24) -> str:
    """The largest shares as one self-contained SVG, coloured by what holds each back; without kernels, the factors of columns."""
    if found.parts:
        parts = sorted(found.parts, key=lambda p: -p.share)
        rows = [(p.name, p.share, f"{100 * p.share:.1f} %  {quantity(p.amount, unit)}", _COLOURS.get(p.limit, "#9aa5b1")) for p in parts[:most]]
        if len(parts) > most:
            rest = math.fsum(p.share for p in parts[most:])
            rows.append((f"{len(parts) - most} others", rest, f"{100 * rest:.1f} %  {quantity(found.point * rest, unit)}", "#d8dde3"))
        key: Sequence[tuple[str, str]] = [(limit, _COLOURS[limit]) for limit in dict.fromkeys(p.limit for p in parts[:most]) if limit in _COLOURS]
    else:
        terms = [t for t in found.terms if t.name not in ("analytic estimate", "average of the training rows")][:most]
        rows = [(t.name, abs(t.contribution), f"x {math.exp(t.contribution):.3f}" if found.scale == "log" else f"{t.contribution:+.4g}", "#d55e00" if t.contribution > 0 else "#0072b2") for t in terms]
        key = [("more", "#d55e00"), ("less", "#0072b2")]
    longest = max((r[1] for r in rows), default=1.0) or 1.0
    height = 96 + _BAR * 1.4 * len(rows)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}" viewBox="0 0 {_WIDTH} {height:.0f}" font-family="sans-serif">',
           f'<rect width="{_WIDTH}" height="{height:.0f}" fill="white"/>',
           f'<text x="{_MARGIN}" y="26" font-size="14" fill="#1b2733">{_safe(f"{title}: {found.target} {quantity(found.point, unit)}", 110)}</text>',
           f'<text x="{_MARGIN}" y="46" font-size="11" fill="#66717d">{_safe(found.words, 150)}</text>']
    for i, (name, colour) in enumerate(key):
        out.append(f'<rect x="{_MARGIN + 130 * i}" y="56" width="10" height="10" fill="{colour}"/><text x="{_MARGIN + 130 * i + 15}" y="65" font-size="11" fill="#66717d">{_safe(name, 20)}</text>')
    for i, (name, size, said, colour) in enumerate(rows):
        y = 78 + 1.4 * _BAR * i
        width = max((_WIDTH - _LABEL - _MARGIN - 130) * size / longest, 1.0)
        out.append(f'<text x="{_LABEL - 8}" y="{y + 14:.0f}" font-size="11" text-anchor="end" fill="#1b2733">{_safe(name, 44)}</text><rect x="{_LABEL}" y="{y:.0f}" width="{width:.1f}" '
                   f'height="{_BAR}" fill="{colour}"/><text x="{_LABEL + width + 6:.0f}" y="{y + 14:.0f}" font-size="11" fill="#66717d">{_safe(said, 40)}</text>')
    return "\n".join([*out, "</svg>", ""])


def _safe(text: str, most: int) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text).encode("utf-8", "replace").decode("utf-8")
    return escape(plain if len(plain) <= most else plain[: most - 1] + "…", {'"': "&quot;"})
