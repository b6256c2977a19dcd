"""`silicast drift ...`: measured truth for past predictions, and whether the intervals still cover. The arguments and what the verbs do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .reply import Reply, spoken, table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measured truth for past predictions: does the interval still cover?")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, in SI units; logs go to stderr.")]
Store = Annotated[Path, typer.Argument(metavar="STORE", help="The file that `silicast serve --drift` keeps.")]
#: columns of a table of truths
_COLUMNS = ("id", "target", "value")


@app.command("add")
@spoken
def add(store: Store, truths: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV or Parquet with the columns id, target, value, and optionally unit and measured_at_s.")],
        as_json: Json = False) -> Reply:
    """Keep what was measured.

    One row per prediction and target: the id is the one the answer carried. All rows are kept, or none.
    """
    import pandas as pd

    from ..datasets.errors import InputError, TableError
    from ..datasets.measured import read_frame
    from ..datasets.measurement import target
    from ..datasets.units import to_si
    from .drift import DriftStore, Truth

    kept = DriftStore(store, create=False)
    frame = read_frame(truths)
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        raise TableError(f"{truths}: lacks the column {', '.join(missing)}; expected {', '.join(_COLUMNS)} and optionally unit, measured_at_s; got {', '.join(map(str, frame.columns))}")
    rows = []
    for i, row in enumerate(frame.to_dict("records"), start=1):
        try:
            value, at = float(row["value"]), row.get("measured_at_s")
            unit = row.get("unit")
            if unit is not None and not pd.isna(unit):
                value = to_si(value, str(unit), target(str(row["target"])).quantity, "unit")
            rows.append(Truth(str(row["id"]), str(row["target"]), value, None if at is None or pd.isna(at) else float(at)))
        except (InputError, ValueError, TypeError) as error:
            raise TableError(f"{truths}: row {i}: {error}; nothing was kept") from None
    unmatched = kept.measured(rows)
    document = {"store": str(store), "accepted": len(rows), "unmatched": unmatched}

    def show(console: Any) -> None:
        console.print(f"{len(rows):,} truths kept in {store}" + (f"; {unmatched:,} name predictions it does not know (yet)" if unmatched else ""))

    return Reply(document, show)


@app.command("report")
@spoken
def report(store: Store, by: Annotated[str, typer.Option("--by", metavar="FACET[,FACET]", help="target, model, version, hardware, kind, family, verdict.")] = "target,hardware",
           days: Annotated[float, typer.Option("--days", min=0.01, help="Length of a window of time.")] = 7.0,
           since_days: Annotated[float | None, typer.Option("--since-days", help="Only what was measured in the last so many days.", show_default=False)] = None,
           alpha: Annotated[float, typer.Option("--alpha", help="Chance of a false flag on any slice.")] = 0.01, as_json: Json = False) -> Reply:
    """Coverage and error by slice over time.

    A slice is FLAGGED when its intervals hold so few truths that chance does not explain it (a binomial test).
    """
    import time

    from . import drift_report
    from .drift import DriftStore

    kept = DriftStore(store, create=False)
    since = 0.0 if since_days is None else time.time() - since_days * drift_report.DAY_S
    found = drift_report.report(kept.matched(since), [name.strip() for name in by.split(",") if name.strip()], days * drift_report.DAY_S, kept.counts()["unmatched"], alpha)
    document = {"store": str(store), **kept.counts(), **found.to_json()}
    return Reply(document, lambda console: _show(console, found, kept.counts()))


@app.command("export")
@spoken
def export(store: Store, out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for measured.csv and schema.yaml.")],
           model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="Only what this model was asked.", show_default=False)] = None, as_json: Json = False) -> Reply:
    """The measured rows as a table.

    `silicast calibrate MODEL DIR/measured.csv` and `silicast evaluate` take it from there.
    """
    from .drift import DriftStore

    written, schema = DriftStore(store, create=False).export(out, model)
    document = {"table": str(written), "schema": str(schema)}
    return Reply(document, lambda console: console.print(f"measured rows in {written}, their schema in {schema}"))


def _show(console: Any, found: Any, counts: dict[str, int]) -> None:
    console.print(f"{counts['predictions']:,} predictions, {counts['truths']:,} truths" + (f", {counts['unmatched']:,} of them without a prediction" if counts["unmatched"] else ""))
    out = table("slice", "questions", "held", "expected", "p", "median APE", "bias", "", right=("questions", "held", "expected", "p", "median APE", "bias"))
    for one in found.slices:
        told = one.to_json()
        held = f"{one.coverage:.1%} of {one.claimed}" if one.claimed else "-"
        out.add_row(" ".join(f"{k}={v}" for k, v in one.by.items()), f"{one.rows:,}", held, _share(told["expected"]), "-" if told["p_value"] is None else f"{one.p_value:.2g}",
                    _share(told["median_ape"]), _share(told["bias"], "+"), "FLAGGED" if one.flagged else one.note)
    console.print(out)
    for one in (s for s in found.slices if s.flagged):
        history = ", ".join(f"{w.coverage:.0%} of {w.rows}" for w in one.windows[-8:])
        console.print(f"FLAGGED: intervals of {' '.join(f'{k}={v}' for k, v in one.by.items())} no longer cover (window by window: {history}); `silicast drift export`, then `silicast calibrate`")
    if not found.slices:
        console.print("no truth matches a prediction yet")


def _share(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.1%}"
