"""What `silicast search` does: a YAML file in, a Pareto front out as a table, JSON, CSV and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...datasets.errors import FormatError, InputError
from ...datasets.units import UNITS
from ..quantities import quantity
from ..reply import Reply, plain, say, table

#: what is written into --out
FILES = ("front.csv", "evaluated.csv", "front.json", "front.png", "front.svg")
VERIFIED = "verified"
#: rows of a front that a person is shown
MOST_SHOWN = 40


def search(space: Path, budget: int, model: str | None, out: Path | None, method: str, batch: int, seed: int | None, acquisition: str, compare: bool, doubts: int = 8) -> Reply:
    """The verb. `model` None or "simulator": the simulator answers."""
    from .problem import Problem
    from .run import search as run

    by = None
    if out is not None and out.exists() and (not out.is_dir() or any(p.name not in (*FILES, VERIFIED) for p in out.iterdir())):
        raise FormatError(f"--out {out}: exists and holds something else; choose a new folder")
    problem = Problem.read(space)
    if model not in (None, "simulator"):
        from ..arguments import predictor

        by = predictor(model)
        missing = [g.name for g in problem.goals if g.name.partition("@")[0] not in (*by.targets, "area_mm2", "params", "flops", "power_w", *(problem.given.columns if problem.given else ()))]
        if missing:
            raise InputError(f"--model {model}: it does not answer {', '.join(missing)}; it answers {', '.join(by.targets)}")
    found = run(problem, budget, by, method, batch, seed, acquisition, doubts, compare, say)
    document = plain(found.to_json())
    if out is not None:
        document["out"] = _write(found, document, out)
    return Reply(document, lambda console: _show(console, document))


def _write(found: Any, document: Mapping[str, Any], out: Path) -> list[str]:
    import pandas as pd

    from .picture import front_picture
    from .verify import write_dataset

    out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(found.front.rows()).to_csv(out / "front.csv", index=False)
    pd.DataFrame(found.evaluated.rows()).to_csv(out / "evaluated.csv", index=False)
    (out / "front.json").write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
    for form in ("png", "svg"):
        (out / f"front.{form}").write_bytes(front_picture(found.evaluated, found.front, found.problem.name, form))
    written = [str(out / name) for name in FILES]
    if found.verified is not None and found.verified.measurements:
        written.append(str(write_dataset(found.verified.measurements, out / VERIFIED)))
    return written


def _show(console: Any, told: Mapping[str, Any]) -> None:
    goals, limits, dimensions = list(told["objectives"]), list(told["constraints"]), told["space"]["dimensions"]
    figures = list(dict.fromkeys([*goals, *limits]))
    front = told["front"]
    out = table(*dimensions, *figures, right=tuple(figures), title=f"{told['name']}: {len(front)} on the front of {told['feasible']:,} feasible, {told['evaluated']:,} evaluated")
    for row in front[:MOST_SHOWN]:
        out.add_row(*(_cell(row[d], unit) for d, unit in dimensions.items()), *(_figure(name, row.get(name)) for name in figures))
    if front:
        console.print(out)
    else:
        console.print(f"{told['name']}: none of the {told['evaluated']:,} evaluated candidates keeps every limit; loosen them, or give a larger --budget")
    if len(front) > MOST_SHOWN:
        console.print(f"and {len(front) - MOST_SHOWN} more (--out or --json has all)")
    console.print(f"{told['method']} by {told['model']}: {told['seconds']:.2f} s, of which {told['evaluating_s']:.2f} s were answers")
    if "verified" in told:
        v = told["verified"]
        off = ", ".join(f"{k} {100 * e:.1f} %" for k, e in v["median_ape"].items())
        inside = f"; {100 * v['inside_interval']:.0f} % of true values in their intervals" if v["inside_interval"] is not None else ""
        console.print(f"simulated again: {v['feasible']} of {v['points']} points keep every limit; median error {off or '-'}{inside}. The table shows the simulator's answers")
    if "regret" in told:
        r = told["regret"]
        worse = ", ".join(f"best {k} {100 * b:.2g} % worse" if b else f"best {k} found" for k, b in r["best"].items() if b is not None)
        console.print(f"beside all {r['candidates']:,} candidates simulated in {r['seconds']:.2f} s: {100 * r['hypervolume']:.2g} % of the true front's hypervolume missed; {worse}")
    for note in told["notes"]:
        console.print(f"note: {note}")
    for name in told.get("out", ()):
        console.print(f"wrote {name}")


def _cell(value: Any, unit: str) -> str:
    """A value in the unit of its file."""
    if unit:
        return f"{value / next(units[unit] for units in UNITS.values() if unit in units):.6g} {unit}"
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _figure(name: str, value: Any) -> str:
    from ...datasets.table import target_unit

    if value is None:
        return "-"
    unit = target_unit(name.partition("@")[0]) or {"energy_per_token_j": "J"}.get(name, "")
    return quantity(value, unit) if unit not in ("", "1") else f"{value:.4g}"
