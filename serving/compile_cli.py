"""`silicast compile MODEL`: a student beside a model, for answers in microseconds. The arguments and what the verb does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .reply import Reply, say, spoken

SIMULATOR = "simulator"


def add_to(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("compile")(compile_model)


@spoken
def compile_model(model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder of a model of single operators; or `simulator`: a student of the reference simulator, for whole networks.")],
                  out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where to save model and student together [default: MODEL itself].", show_default=False)] = None,
                  table: Annotated[Path | None, typer.Option("--table", metavar="TABLE", help="Rows like those it learned from: questions are drawn around them, and the student is judged on them.",
                                                             show_default=False)] = None,
                  schema: Annotated[Path | None, typer.Option("--schema", metavar="YAML", help="What the table's columns mean [default: the schema in the model's card].", show_default=False)] = None,
                  questions: Annotated[int | None, typer.Option("--questions", min=1000, help="How many the model is asked [default: 160,000].", show_default=False)] = None,
                  shown: Annotated[int | None, typer.Option("--shown", min=1000, help="Rows the student is shown in all: more is nearer, and takes longer [default: 5,000,000].", show_default=False)] = None,
                  seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")] = 0,
                  as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, in SI units; logs go to stderr.")] = False) -> Reply:
    """A student that answers in microseconds.

    It learns the model's answers in a few minutes; how far off it is stands in the model's card. Everything it has not learned the model itself answers.
    """
    from ..datasets.errors import InputError

    given = {name: value for name, value in (("count", questions), ("shown", shown)) if value is not None}
    if model == SIMULATOR:
        if out is None or table is not None or questions is not None:
            raise InputError("compile simulator: expected --out DIR, and neither --table nor --questions")
        from ..training.simulated import compile_simulator

        card = compile_simulator(out, seed=seed, say=say, **{k: v for k, v in given.items() if k == "shown"})
    else:
        from ..datasets.measured import read_measured
        from ..surrogates import store
        from ..training import distilling
        from ..training.fitting import schema_of

        rows = None
        if table is not None:
            _, before = store.load(model)
            rows = read_measured(table, schema_of(before, schema), skip_bad_rows=True)
        card = distilling.compile_model(model, out, table=rows, seed=seed, say=say, **given)
    place = str(out or model)
    return Reply({"folder": place, "student": card.metrics["student"]}, lambda console: console.print(f"{card.extra['student']}\nsaved to {place}"))
