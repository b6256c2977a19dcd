"""What a question about an operator left out: the library, the framework, the phase, as they were most often when the model's table was measured.

A card that has `circumstances` tells how often each went with what; any other model needs nothing filled in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..surrogates.card import ModelCard

if TYPE_CHECKING:
    import numpy as np

#: circumstances a user seldom tells: their column -> how much agreement in it counts when the most likely ones are looked up
_WEIGHTS = {"hardware": 4.0, "dtype": 2.0}
#: formats of 16 bits run at one rate on every GPU that has both; where only one was measured, it stands for the other
_SAME_RATE = {"float16": "bfloat16", "bfloat16": "float16"}


def completed(questions: Any, card: ModelCard) -> tuple[Any, list[str]]:
    """(questions with every circumstance the model was trained with, notes on what was taken for granted). What is not told is taken as the most frequent among
    the measured rows that agree with what is told."""
    if "circumstances" not in card.extra or questions.shape != "op" or not len(questions) or "_completed" in questions.__dict__:
        return questions, []
    import numpy as np
    import pandas as pd

    from ..datasets.dtypes import DTYPE_CODES, DTYPE_NAMES
    from ..datasets.ops import KIND_NAMES

    told = json.loads(card.extra["circumstances"])
    names: list[str] = told["context"]
    measured = pd.DataFrame(told["rows"], columns=["op", "hardware", "dtype", *names, "rows"])
    q, context, notes = questions, questions.context.copy(), []
    kinds = np.array(KIND_NAMES, dtype=object)[q.ops.kind]
    machine = np.array(q.device_names, dtype=object)[q.device_index]
    plain = np.array(DTYPE_NAMES, dtype=object)[q.ops.dtype]
    dtype = context["dtype_name"].astype(str).to_numpy(dtype=object) if "dtype_name" in context else plain
    dtype = np.where(np.isin(dtype, measured["dtype"].unique()), dtype, plain)
    missing = [name for name in names if name not in context]
    if "variant" in missing:
        context["variant"] = _phase(kinds, q.ops)
    rows = pd.DataFrame({"op": kinds, "hardware": machine, "dtype": dtype, **{n: context[n].astype(str) if n in context else "" for n in names}})
    found = rows.drop_duplicates().reset_index(drop=True)
    asked: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in found.to_dict("records")]
    taken = [_likeliest(measured, row, [n for n in names if n not in missing or n == "variant"]) for row in asked]
    at = rows.merge(found.assign(at=np.arange(len(found))), how="left", on=list(rows.columns))["at"].to_numpy()
    for name in missing:
        context[name] = np.array([t[name] if name != "variant" or not row["variant"] else row["variant"] for t, row in zip(taken, asked, strict=True)], dtype=object)[at]
    named = np.array([t["dtype"] if t["hardware"] == row["hardware"] else "" for t, row in zip(taken, asked, strict=True)], dtype=object)[at]
    swapped = np.array([_SAME_RATE.get(str(d)) == t for d, t in zip(dtype, named, strict=True)], dtype=bool)
    dtype = np.where(swapped, named, dtype)
    codes = np.where(swapped, [DTYPE_CODES.get(str(d), 0) for d in dtype], q.ops.dtype).astype(q.ops.dtype.dtype)
    context["op"], context["dtype_name"] = kinds, dtype
    silent = [n for n in missing if n != "variant"]
    if silent:
        some = dict.fromkeys(f"{t['op']} on {t['hardware']}: {' / '.join(t[n] or 'not told' for n in silent)}" for t in taken)
        notes.append(f"{', '.join(silent)} not told: taken as measured most often ({'; '.join(list(some)[:3])}{f'; and {len(some) - 3} more' if len(some) > 3 else ''})")
    if swapped.any():
        notes.append(f"{int(swapped.sum())} rows of 16 bits are answered for {', '.join(sorted(set(named[swapped])))}, which was measured there and runs at the same rate")
    whole = replace(q, ops=replace(q.ops, dtype=codes), context=context)
    whole.__dict__["_completed"] = True
    return whole, notes


def _phase(kinds: np.ndarray, ops: Any) -> Any:
    """(n,) the phase of attention as the tables call it, "" for other kinds: one query is generation, keys of 576 are latent ones."""
    import numpy as np

    one, latent = ops.m <= 1, np.where(ops.m <= 1, ops.k == 576, ops.k == 192)
    named = np.where(latent, np.where(one, "latent_generation", "latent_context"), np.where(one, "generation", "context"))
    return np.where(kinds == "attention", named, "").astype(object)


def _likeliest(measured: Any, row: Mapping[str, Any], told: Sequence[str]) -> dict[str, Any]:
    """The measured circumstances of this operator that agree best with what is told, the most frequent of them."""
    mine = measured[measured["op"] == row["op"]]
    if mine.empty:
        return {**row, **{n: "" for n in measured.columns if n not in row}}
    score = sum(weight * (mine[c] == row[c]) for c, weight in _WEIGHTS.items()) + 1.5 * (mine["dtype"] == _SAME_RATE.get(row["dtype"], "")) + sum(8.0 * (mine[n] == row[n]) for n in told if row[n])
    return {str(k): v for k, v in mine.loc[(score + mine["rows"] / (1.0 + mine["rows"].max())).idxmax()].items()}
