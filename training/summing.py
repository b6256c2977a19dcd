"""From a model of single operators to a model of whole networks that adds its answers up: what `silicast sum` does.

The story of `sum_up`: load -> settle the circumstances it asks about -> learn from a table of operators how their errors go together, where there is one -> save.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..datasets.errors import InputError, TableError, UnknownNameError
from ..datasets.table import Table
from ..surrogates import store
from ..surrogates.card import ModelCard
from ..surrogates.summed import OWN, Summed


def sum_up(folder: str | Path, out: str | Path, *, table: Table | None = None, context: Mapping[str, str] | None = None) -> ModelCard:
    """The model of operators in `folder` as a model of networks, saved to `out`.

    `context`: the circumstances networks run in, such as framework; one that the model saw in one way only need not be told. `table`: rows of operators that the model has
    not seen, those of one network in one group; without it intervals count all errors as alike, which is too wide. Raises TableError for a model of another shape or
    without latency_s, InputError for circumstances that are missing, UnknownNameError for those the model has never seen.
    """
    inner, card = store.load(folder)
    if card.shape != "op":
        raise TableError(f"{folder}: answers {'whole workloads' if card.shape == 'graph' else 'rows of a feature table'} already or never will; only answers of single operators add up")
    summed = Summed(inner, context=circumstances(card, context or {}), level=float(card.level), known=dict(card.domain))
    if table is not None:
        summed.conformalize(table)
    told = "errors of operators as calibration rows say they go together" if table is not None else "errors of operators as if all alike: too wide"
    made = replace(card, name=Path(out).name, version="", shape="graph", targets=summed.targets, units={"latency_s": card.units["latency_s"]}, domain={"shape": "kernels"}, schema={}, metrics={},
                   extra={"summed": f"adds up the kernels of {card.name or folder}; {told}"})
    store.save(summed, made, out)
    return made


def circumstances(card: ModelCard, given: Mapping[str, str]) -> dict[str, str]:
    """Every circumstance of the model with its value: the one given, the only one seen, or the kernel's own number format."""
    known = card.domain.get("context", {})
    for name in given:
        if name not in known:
            raise UnknownNameError(f"circumstance of model {card.name}", name, known)
    out = {}
    for name, values in known.items():
        if name in given:
            if given[name] not in values:
                raise UnknownNameError(name, given[name], values)
            out[name] = given[name]
        elif name == "dtype_name":
            out[name] = OWN
        elif len(values) == 1:
            out[name] = str(values[0])
        else:
            raise InputError(f"model {card.name} has seen {name} as {', '.join(map(str, values[:12]))}; say which: --context {name}={values[0]}")
    return out
