"""`silicast models register`, `search` and `protect`: a model folder into the registry, which registered model answers what well enough, and where no later one may be worse. The
arguments and what the verbs do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .reply import Reply, spoken, table

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, in SI units; logs go to stderr.")]


def add_to(models: typer.Typer) -> None:
    """Puts the verbs beside the others of `silicast models`."""
    models.command("register")(register)
    models.command("search")(search)
    models.command("protect")(protect)


@spoken
def register(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A model folder, as `silicast fit` or `compile` writes it.")],
             name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called there; it becomes the next version of that name.")],
             promote: Annotated[bool, typer.Option("--promote", help="Make it the champion, if the gate lets it.")] = False, as_json: Json = False) -> Reply:
    """Put a model folder into the registry.

    The store is SQLite in the working directory, made where there is none, or the one that MLFLOW_TRACKING_URI names.
    """
    from ..training import registry
    from ..training.tracking import Run

    with Run(f"register {name}") as run:
        version = registry.register(folder, name, run)
    document: dict[str, Any] = {"name": name, "version": version}
    if promote:
        document |= {"champion": True, "reasons": list(registry.promote(name, version).reasons)}
    return Reply(document, lambda console: console.print(f"{name} {version}: registered" + (f"; champion now ({'; '.join(document['reasons'])})" if promote else "")))


@spoken
def search(target: Annotated[str | None, typer.Option("--target", metavar="T", help="It answers this target, such as power_w.", show_default=False)] = None,
           family: Annotated[str | None, typer.Option("--family", metavar="F", help="It was judged on this family of workloads, or kind of machine (gpu); figures are those there.",
                                                      show_default=False)] = None,
           metric: Annotated[list[str] | None, typer.Option("--metric", metavar="T.M<V", help="A condition such as 'latency_s.median_ape<5%' or 'power_w.coverage>=0.85'; repeatable. "
                                                            "The best by the first come first.", show_default=False)] = None,
           champions: Annotated[bool, typer.Option("--champions", help="Champions only.")] = False, as_json: Json = False) -> Reply:
    """Registered versions by target, family and metric.

    Read off what was recorded when they were registered; no model is loaded.
    """
    from ..training import registry_search
    from .arguments import store_exists

    store_exists()
    found = registry_search.search(target, family, metric or (), champions)
    return Reply({"found": found}, lambda console: _show(console, found))


@spoken
def protect(name: Annotated[str, typer.Argument(metavar="NAME", help="A registered model.")],
            slices: Annotated[list[str] | None, typer.Argument(metavar="[SLICE]...", help="family=..., kind=... or device=...; none: no more.", show_default=False)] = None,
            as_json: Json = False) -> Reply:
    """Name slices in which no later champion may be worse.

    The gate then judges them from 20 rows on, by coverage as well, and refuses a version whose card lacks them.
    """
    from ..training import registry
    from .arguments import store_exists

    store_exists()
    before = registry.protect(name, slices or ())
    document = {"name": name, "protected": list(slices or ()), "before": list(before)}
    return Reply(document, lambda console: console.print(f"{name}: protected slices are {', '.join(slices or ()) or 'none'} (before: {', '.join(before) or 'none'})"))


def _show(console: Any, found: Any) -> None:
    if not found:
        console.print("no registered version fits; ask for less, or see `silicast models list`")
        return
    names = list(dict.fromkeys(name for one in found for name in one.figures))
    out = table("model", "version", "", "targets", "judged on", *names, "data", right=tuple(names))
    for one in found:
        cells = [f"{one.figures[n]:.4g}" if n in one.figures else "-" for n in names]
        out.add_row(one.name, one.version, "champion" if one.champion else "", ", ".join(one.targets), one.where, *cells, one.data_digest or "-")
    console.print(out)
