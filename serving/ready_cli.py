"""`silicast models build`, and what `models list` and `models show` say of the models that come with silicast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..datasets.errors import SilicastError
from .reply import Reply, say, spoken, table

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, in SI units; logs go to stderr.")]


def add_to(models: typer.Typer) -> None:
    """Puts the verb beside the others of `silicast models`."""
    models.command("build")(build)


@spoken
def build(name: Annotated[str, typer.Argument(metavar="NAME|all", help="A ready-made model; `silicast models list` names them.")],
          data: Annotated[Path | None, typer.Option("--data", metavar="FOLDER", help="The open measured data [default: SILICAST_DATA].", show_default=False)] = None,
          out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the model folders go, one per model.")] = Path("ready"),
          share: Annotated[float, typer.Option("--share", help="Share of the recipe's rows, for a quick try.")] = 1.0, as_json: Json = False) -> Reply:
    """Make a ready-made model anew from its data.

    The same data, seed and versions give the same weights and figures; the card tells the digests of the files that were read.
    """
    from ..training import ready as recipes

    built = recipes.build_all(data, out, share=share, say=say) if name == "all" else [recipes.build(name.removeprefix("ready:"), data, out, share=share, say=say)]
    document = {"built": [{"name": b.name, "folder": str(b.folder), "size_bytes": b.size_bytes, "version": b.card.version, "metrics": b.card.metrics.get("all", {})} for b in built]}
    return Reply(document, lambda console: _built(console, built))


def listed(registered: Sequence[Any] | None, why: str = "") -> Reply:
    """Registered models (None: there is no store, and `why`) and ready-made ones."""
    from ..surrogates import ready

    rows: list[dict[str, Any]] = []
    for name in ready.names():
        try:
            card = ready.card(name)
            rows.append({"name": name, "reference": f"{ready.PREFIX}{name}", "version": card.version, "targets": list(card.targets), "shape": card.shape, "about": card.extra.get("about", ""),
                         "licence": card.data_licence, "data": card.data_source, "stale": ready.staleness(card), "size_bytes": sum(p.stat().st_size for p in ready.folder(name).iterdir())})
        except SilicastError as error:
            rows.append({"name": name, "reference": f"{ready.PREFIX}{name}", "version": "", "targets": [], "shape": "", "about": "", "licence": "", "data": "", "stale": str(error), "size_bytes": 0})
    return Reply({"models": list(registered or ()), "ready": rows, "store": why}, lambda console: _listed(console, registered, rows, why))


def shown(name: str) -> Reply:
    """One ready-made model: its card."""
    from ..surrogates import ready

    card = ready.card(name)
    return Reply({"model": f"{ready.PREFIX}{card.name}", "version": card.version, "stale": ready.staleness(card), "card": card}, lambda console: _shown(console, card, ready.staleness(card)))


def _built(console: Any, built: Sequence[Any]) -> None:
    out = table("model", "version", "size", "rows", "folder", right=("size", "rows"))
    for b in built:
        out.add_row(b.name, b.card.version, f"{b.size_bytes / 1e6:.2f} MB", f"{b.card.data_rows:,}", str(b.folder))
    console.print(out)
    console.print(f"{sum(b.size_bytes for b in built) / 1e6:.2f} MB together")


def _listed(console: Any, registered: Sequence[Any] | None, rows: Sequence[Mapping[str, Any]], why: str) -> None:
    from . import show

    if registered is None:
        console.print(f"registered: none; {why}")
    else:
        show.models(console, registered)
    if not rows:
        console.print("ready-made: none installed; `silicast models build all --data FOLDER` makes them")
        return
    out = table("ready-made", "version", "answers", "size", "about", right=("size",))
    for row in rows:
        out.add_row(row["reference"], row["version"], ", ".join(row["targets"]), f"{row['size_bytes'] / 1e6:.2f} MB", f"stale: {row['stale']}" if row["stale"] else row["about"])
    console.print(out)


def _shown(console: Any, card: Any, stale: str) -> None:
    from . import show

    console.print(f"{card.name} version {card.version}: {card.extra.get('about', '')}")
    if stale:
        console.print(f"stale: {stale}; rebuild it with `{card.extra.get('rebuild', 'silicast models build')}`")
    for head, key in (("ask", "asks"), ("do not trust", "doubts"), ("data of", "attribution"), ("note", "sample"), ("rebuild", "rebuild")):
        if card.extra.get(key):
            console.print(f"{head}: {card.extra[key]}")
    show.card(console, card)
