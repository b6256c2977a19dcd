"""`silicast sum MODEL`: a model of whole networks from one of single operators. The arguments and what the verb does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .reply import Reply, spoken


def add_to(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("sum")(sum_up)


@spoken
def sum_up(model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder of a model of single operators that answers latency_s.", show_default=False)],
           out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to save the model of networks.", show_default=False)],
           table: Annotated[Path | None, typer.Option("--table", metavar="TABLE", help="Rows of operators it has not seen, grouped by network: they say how errors go together, and how wide "
                                                      "the interval of a sum must be.", show_default=False)] = None,
           schema: Annotated[Path | None, typer.Option("--schema", metavar="YAML", help="What the table's columns mean [default: the schema in the model's card].", show_default=False)] = None,
           context: Annotated[list[str] | None, typer.Option("--context", metavar="NAME=VALUE", help="A circumstance networks run in, such as framework=trt; repeatable.", show_default=False)] = None,
           as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, in SI units; logs go to stderr.")] = False) -> Reply:
    """A model of whole networks that adds up the answers of a model of single operators.

    `silicast predict net.onnx --on h100 --model DIR` asks it. Kernels the model of operators doubts make the network doubted.
    """
    from ..datasets.errors import InputError
    from ..datasets.measured import read_measured
    from ..surrogates import store
    from ..training.fitting import schema_of
    from ..training.summing import sum_up as summed

    said: dict[str, str] = {}
    for one in context or ():
        name, found, value = one.partition("=")
        if not found:
            raise InputError(f"--context {one}: expected NAME=VALUE")
        said[name] = value
    rows = None
    if table is not None:
        _, card = store.load(model)
        rows = read_measured(table, schema_of(card, schema), skip_bad_rows=True)
    made = summed(model, out, table=rows, context=said)
    return Reply({"folder": str(out), "summed": made.extra["summed"]}, lambda console: console.print(f"{made.extra['summed']}\nsaved to {out}"))
