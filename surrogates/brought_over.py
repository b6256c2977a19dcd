"""What is known of a table of machines, beside their rates, for bringing answers from one to another that was never seen: what serving a language model needs on either, and whose software ran there.

Rates at large do not tell which of them holds a row. Where a table says how language models are served, `served_models` tells what a row needs at the least on the one machine and on the other: a prompt the
arithmetic units, a token the memory. Half of what is brought over to a machine of kin is said by that.

A machine without kin in a table mostly runs its vendor's own software, a word as new as the machine; and what a vendor shows its machine with is the best there is for it. It is answered by the best that
each known machine was measured with, not by what software a word nobody knows would be on average.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..features import served_models
from .newcomer import quantity

#: the power that times go with of what is needed at the least, and how much that counts against the rates at large (assumptions: over pairs of machines of LLM-Inference-Bench, Splitwise and served models, powers of 0.4 to 1
#: came nearest, and the two together missed by a third less than either)
POWER, SHARE = 0.75, 0.5
#: a word of what columns are called that say which software runs a row; with more words in them than this they say something else; cells that say nothing
_SOFTWARE, _MOST_WORDS = frozenset({"framework", "frameworks", "backend", "runtime", "engine", "library", "compiler", "software", "stack", "sdk"}), 8
EMPTY = ("", "nan", "None", "<NA>", "(empty)")


def served(frame: pd.DataFrame, column: str, models: Sequence[str], targets: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """How the rows of a table are served (`said`), and the estimate each target that is a time or a throughput goes with ("by"): the one whose ratio to it is steadiest on a machine. `column`: of machines;
    `targets`: name -> (n,) in SI. Empty where columns do not tell."""
    for model in models:
        said = served_models.roles(frame, model)
        if said.get("machine") != column:
            continue
        made, by = served_models.estimates(frame, said)[0], {}
        machines = frame[column].astype(str).to_numpy(dtype=str)
        for target, values in targets.items():
            sign = {"time": 1.0, "throughput": -1.0}.get(quantity(target), 0.0)
            apart = {name: _unsteady(sign * np.log(np.where(values > 0, values, np.nan)) - np.log(each), machines) for name, each in made.items()} if sign else {}
            if apart and np.isfinite(list(apart.values())).any():
                by[target] = min(apart, key=lambda name: apart[name] if np.isfinite(apart[name]) else np.inf)
        if by:
            return {"said": said, "by": by}
    return {}


def needed(told: Mapping[str, Any], frame: pd.DataFrame, targets: Sequence[str]) -> np.ndarray:
    """(n, t) logarithms of what answers go with, NaN where nobody knows; of throughputs the reciprocal. `told`: what `served` found."""
    out = np.full((len(frame), len(targets)), np.nan)
    if told and all(c in frame for role, c in told["said"].items() if role != "usual"):
        made = served_models.estimates(frame, told["said"])[0]
        for j, target in enumerate(targets):
            if target in told["by"]:
                each = made[told["by"][target]]
                out[:, j] = np.log(np.where(each > 0, each, np.nan)) * (-1.0 if quantity(target) == "throughput" else 1.0)
    return out


def software(frame: pd.DataFrame, column: str, columns: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Column of software -> machine -> the words it was measured with; of the columns of words among `columns` that are called so."""
    out: dict[str, dict[str, list[str]]] = {}
    for name in columns:
        if name != column and frame[name].dtype.kind not in "fiub" and _SOFTWARE & {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)} and 1 < frame[name].nunique() <= _MOST_WORDS:
            out[name] = {str(machine): sorted(set(words) - set(EMPTY)) for machine, words in frame[name].astype(str).groupby(frame[column].astype(str))}
    return out


def best(target: str, answers: np.ndarray) -> np.ndarray:
    """(n,) the best of (k, n) answers: the least time or energy, the largest throughput; of other quantities the middle."""
    kind = quantity(target)
    return np.asarray(answers.min(0) if kind in ("time", "energy") else answers.max(0) if kind == "throughput" else np.median(answers, axis=0))


def _unsteady(log: np.ndarray, machines: np.ndarray) -> float:
    """The median over machines of how far logarithms spread on each (standard deviation); NaN where hardly any is known."""
    spread = [float(np.std(here)) for name in np.unique(machines) for here in [log[(machines == name) & np.isfinite(log)]] if len(here) >= 3]
    return float(np.median(spread)) if spread else float("nan")
