"""From a measured table to a model folder: what `silicast fit` and `silicast evaluate` do.

The story of `fit_table`: read -> cut by group -> fit -> conformalise -> judge on groups never seen -> card -> save. Which model is best is
silicast's business: boosted trees and, where torch is installed and there are rows enough, a residual network beside them, weighed on
held-out groups.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.errors import TableError
from ..datasets.measured import Schema, read_measured
from ..datasets.measurement import TARGETS
from ..datasets.splits import split_by_group
from ..datasets.table import Table, target_unit
from ..features import FEATURE_VERSION
from ..features import domain as domains
from ..surrogates import store
from ..surrogates.card import ModelCard
from . import metrics, tracking
from .pipeline import own_version

Say = Callable[[str], None]
#: groups are cut so; a workload, a site or whatever the schema's `group` names never stands on both sides
FRACTIONS = {"train": 0.72, "valid": 0.08, "calibrate": 0.10, "test": 0.10}
#: fewer training rows than this and the network is left out: trees do better there
LEAST_ROWS_FOR_NETWORK = 3000


@dataclass(frozen=True)
class Evaluation:
    """How a model did on a table: measures by slice (`training.metrics.by_slice`), how often the guard spoke, rows and source."""

    frame: pd.DataFrame
    flagged: float
    rows: int
    source: str

    def to_json(self) -> dict[str, Any]:
        """A plain dict: slice -> target -> measure."""
        return {"rows": self.rows, "source": self.source, "flagged_share": self.flagged, "metrics": metrics.nested(self.frame)}


def fit_table(table: str | Path | pd.DataFrame, schema: str | Path | dict[str, Any], targets: Sequence[str], out: str | Path, *, seed: int = 0, level: float = 0.9,
              skip_bad_rows: bool = False, say: Say = lambda text: None) -> ModelCard:
    """Fits a surrogate to a measured table, judges it on groups it never saw, and saves it to the folder `out`.

    `targets`: names under the schema's targets; empty means all of them. Raises the errors of `read_measured`, TableError for
    an unknown target or too few groups, FormatError when `out` is in the way.
    """
    spec = Schema.read(schema)
    wanted = tuple(targets) or tuple(spec.targets)
    unknown = [t for t in wanted if t not in spec.targets]
    if unknown:
        raise TableError(f"target {unknown[0]!r} is not in the schema; it has: {', '.join(spec.targets) or 'none'}")
    data = read_measured(table, spec, skip_bad_rows=skip_bad_rows)
    for note in data.notes:
        say(note)
    say(f"{len(data):,} rows, {len(np.unique(data.groups)):,} groups, digest {data.digest}")
    parts = split_by_group(data, FRACTIONS, seed)
    surrogate = store.member("conformal")(best_surrogate(wanted, parts["train"], seed, say), level=level)
    surrogate.fit(parts["train"], parts["valid"]).conformalize(parts["calibrate"])
    known = domains.describe(parts["train"])
    judged = judge(surrogate, known, parts["test"], level)
    card = ModelCard(
        name=Path(out).name, version="", shape=surrogate.shape, targets=wanted, units={t: target_unit(t) if t in TARGETS else spec.targets[t].unit for t in wanted},
        feature_version=FEATURE_VERSION, simulator_version="", data_source=data.source, data_digest=data.digest, data_rows=len(parts["train"]),
        split=", ".join(f"{k} {v:g}" for k, v in FRACTIONS.items()) + f" by {' x '.join(spec.group) or 'equal inputs'}, seed {seed}", level=level,
        domain=known, metrics=metrics.nested(judged.frame), seed=seed, silicast_version=own_version(), code_revision=tracking.code_revision(), schema=spec.model_dump(mode="json"),
        extra={"notes": "; ".join(data.notes)} if data.notes else {})
    folder = store.save(surrogate, card, out)
    say(f"saved to {folder}")
    return card


def best_surrogate(targets: Sequence[str], train: Table, seed: int, say: Say) -> Any:
    """The unfitted surrogate for a table: trees, and a network beside them where it can help."""
    boosted = store.member("boosted")(targets=targets, seed=seed, trees=1000)
    if importlib.util.find_spec("torch") is None:
        say("torch is not installed: trees alone (pip install 'silicast[gnn]' adds the network, which is more accurate on large tables)")
        return boosted
    if len(train) < LEAST_ROWS_FOR_NETWORK:
        return boosted

    def progress(epoch: int, epochs: int, loss: float) -> None:
        if epoch % max(epochs // 5, 1) == 0 or epoch == epochs:
            say(f"network: epoch {epoch} of {epochs}, loss {loss:.4g}")

    return store.member("ensemble")([boosted, store.member("neural")(targets=targets, seed=seed, progress=progress)])


def judge(surrogate: Any, known: dict[str, Any], table: Table, level: float) -> Evaluation:
    """Measures by slice of answers to rows the surrogate never saw."""
    prediction = surrogate.predict(table.questions).with_domain(domains.check(known, table.questions))
    flagged = float(np.mean([d.verdict != "in_domain" for d in prediction.domain]))
    answered = Table(table.questions, {t: table.targets[t] for t in prediction.targets if t in table.targets}, table.groups, table.slices, table.source)
    return Evaluation(metrics.by_slice(answered, prediction, level), flagged, len(table), table.source)


def evaluate_table(folder: str | Path, table: str | Path | pd.DataFrame, *, schema: str | Path | dict[str, Any] | None = None,
                   skip_bad_rows: bool = False) -> Evaluation:
    """How the model in `folder` does on a measured table; the schema defaults to the one it was fitted with.

    Raises TableError when the model was not fitted on a measured table and no schema is given.
    """
    surrogate, card = store.load(folder)
    return judge(surrogate, dict(card.domain), read_measured(table, schema_of(card, schema), skip_bad_rows=skip_bad_rows), card.level)


def schema_of(card: ModelCard, given: str | Path | dict[str, Any] | None) -> Schema:
    """The given schema, or the one in the card."""
    if given is not None:
        return Schema.read(given)
    if not card.schema:
        raise TableError(f"model {card.name!r} was not fitted on a measured table; give --schema to say what the table's columns mean")
    return Schema.read(card.schema)
