"""From a model and a few measurements of something new to a corrected model: what `silicast calibrate` does.

The story of `calibrate_table`: load -> read the shots -> see what is new in them (a machine, a stack, a network family) -> correct
(`surrogates.adapted`) -> judge on rows held out or left out one by one -> card -> save. `suggest` says which of the candidates to measure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.errors import TableError
from ..datasets.measured import Schema, read_frame, read_measured
from ..datasets.table import OpQuestions, Table
from ..features import density, own_sizes, word_pairs
from ..features import domain as domains
from ..surrogates import store
from ..surrogates.adapted_blocks import column_of
from ..surrogates.card import ModelCard
from ..surrogates.prediction import Prediction
from . import metrics, tracking
from .fitting import schema_of
from .graph_shots import measured_for
from .pipeline import own_version

Say = Callable[[str], None]
#: values a model knows that a new one is mixed from; of more, so many are taken evenly
_MOST_OTHERS = 24
#: candidates looked at for a suggestion
_MOST_CANDIDATES = 1500


@dataclass(frozen=True)
class Calibration:
    """The card of the corrected model, and how it does: `shots` used, target -> `way` of correction, errors `before` and `after` (median APE)
    on `judged` rows, which are `held out` or `left out one by one`."""

    card: ModelCard
    shots: int
    ways: Mapping[str, str]
    before: Mapping[str, float]
    after: Mapping[str, float]
    judged: str

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {"model": self.card.name, "shots": self.shots, "ways": dict(self.ways), "median_ape_before": dict(self.before), "median_ape_after": dict(self.after),
                "judged_on": self.judged, "level": self.card.level, "metrics": self.card.metrics, "notes": self.card.extra.get("notes", "")}


    def text(self, out: str) -> str:
        """For people: one line per target."""
        kept = {"none": "mostly left as it was: the shots show little to correct", "level": "mostly corrected by one factor", "full": "corrected"}
        lines = [f"{t}: median error {self.before.get(t, float('nan')):.1%} -> {self.after.get(t, float('nan')):.1%} ({kept[way]})" for t, way in self.ways.items()]
        return "\n".join([f"{self.shots} shots; judged on {self.judged}", *lines, f"written to {out}"])


def calibrate_table(folder: str | Path, table: str | Path | pd.DataFrame, out: str | Path, *, schema: str | Path | dict[str, Any] | None = None, shots: int | None = None,
                    seed: int = 0, skip_bad_rows: bool = False, say: Say = lambda text: None) -> Calibration:
    """Corrects the model in `folder` by the rows of a measured table and saves it to `out`; `shots` rows of it, the most telling ones, when given,
    and then the others judge. Raises the errors of `read_measured` and `store.load`, and TableError when nothing can be learned."""
    surrogate, card = store.load(folder)
    spec = schema_of(card, schema)
    data = measured_for(surrogate.shape, table, spec, skip_bad_rows=skip_bad_rows, words=domains.known_words(card.domain, spec.hardware or ""), wanted=card.targets)
    for note in data.notes:
        say(note)
    if shots is not None and shots < 1:
        raise TableError(f"--shots: expected at least 1, got {shots}")
    model = adapter(surrogate, card, data)
    rows, rest = np.arange(len(data)), np.zeros(0, dtype=np.int64)
    if shots is not None and shots < len(data):
        pool = np.unique(np.linspace(0, len(data) - 1, min(len(data), _MOST_CANDIDATES)).astype(np.int64)) if len(data) > _MOST_CANDIDATES else rows
        if len(data) > _MOST_CANDIDATES:
            pool = np.sort(np.random.default_rng(seed).permutation(len(data))[:_MOST_CANDIDATES])
        rows = pool[model.most_telling(data.questions.take(pool), shots)]
        rest = np.setdiff1d(np.arange(len(data)), rows)
        model = adapter(surrogate, card, data)
    used = data.take(rows)
    say(f"{len(used)} shots" + (f", {len(rest)} rows held out to judge on" if len(rest) else ""))
    model.adapt(used)
    judged_on = data.take(rest) if len(rest) else used
    before = surrogate.predict(judged_on.questions)
    after = model.predict(judged_on.questions) if len(rest) else replace(Prediction.bare(model.targets, _filled(model.left_out, before.point)))
    answered = Table(judged_on.questions, {t: judged_on.targets[t] for t in model.targets if t in judged_on.targets}, judged_on.groups, judged_on.slices, judged_on.source)
    figures = metrics.nested(metrics.by_slice(answered, after, model.level))
    notes = [f"corrected by {len(used)} shots of {data.source} ({_new(model)})"]
    slips = getattr(model, "slips", ())
    if slips:
        notes.append(f"{len(slips)} of {len(used)} shots taken for slips of the measurement and not learned from: row{'s' if len(slips) > 1 else ''} "
                     f"{', '.join(str(int(rows[i])) for i in slips)}, counting from 0")
    uncalibrated = [t for t in model.ways if t not in model.calibrated_targets]
    if uncalibrated:
        notes.append(f"{len(used)} shots are too few to promise intervals at level {model.level:g} for {', '.join(uncalibrated)}: those for what is new stay as wide as they were before, and rows of it are still told as never trained on")
    for note in notes:
        say(note)
    made = replace(card, name=Path(out).name, version="", domain=dict(card.domain) if uncalibrated else _with_shots(widened(card.domain, domains.describe(used)), used), metrics=figures, seed=seed, silicast_version=own_version(),
                   code_revision=tracking.code_revision(), level=max(card.level, model.level if model.calibrated_targets else 0.0),
                   schema=dict(card.schema) or ({} if schema is None else Schema.read(schema).model_dump(mode="json")),
                   extra={**card.extra, "notes": "; ".join([n for n in (card.extra.get("notes", ""), *notes) if n])})
    place = store.save(model, made, out)
    say(f"saved to {place}")
    return Calibration(made, len(used), model.ways, _errors(before, answered), _errors(after, answered), f"{len(rest)} rows held out" if len(rest) else f"{len(used)} shots left out one by one")


def suggest(folder: str | Path, table: str | Path | pd.DataFrame, count: int, *, schema: str | Path | dict[str, Any] | None = None, seed: int = 0) -> pd.DataFrame:
    """The `count` rows of a table of candidates (no answers needed) whose measurements would help the model in `folder` most, best first, with
    `row`, their position in the table counting from 0. Raises TableError for a count below 1, and the errors of `read_measured`."""
    if count < 1:
        raise TableError(f"--suggest: expected at least 1, got {count}")
    surrogate, card = store.load(folder)
    frame = (table if isinstance(table, pd.DataFrame) else read_frame(table)).reset_index(drop=True)
    pool = np.arange(len(frame))
    if len(frame) > _MOST_CANDIDATES:
        pool = np.sort(np.random.default_rng(seed).permutation(len(frame))[:_MOST_CANDIDATES])
    spec = schema_of(card, schema)
    data = read_measured(frame.iloc[pool].reset_index(drop=True), spec, need_targets=False, words=domains.known_words(card.domain, spec.hardware or ""))
    if len(data) != len(pool):
        raise TableError("suggest: the schema's `where` leaves rows out; give a table of candidates alone")
    model = _spoken_for(surrogate, data.questions) or adapter(surrogate, card, data)
    rows = pool[model.most_telling(data.questions, count)]
    return frame.iloc[rows].assign(row=rows).reset_index(drop=True)


def _spoken_for(surrogate: Any, questions: Any) -> Any:
    """The correction that has shots of what is asked, by most of the questions, the last one first; None where there is none: another machine than those corrected before is new again."""
    while surrogate.name == "adapted":
        if np.mean(surrogate.speaks_for(questions)) >= 0.5:
            return surrogate
        surrogate = surrogate.inner
    return None


def adapter(surrogate: Any, card: ModelCard, shots: Table) -> Any:
    """The unlearned correction around a model for such shots: what is new in them, and what the model knows in its place."""
    scope: dict[str, list[str]] = {}
    others: list[tuple[str, str]] = []
    known = _known(card.domain)
    machines = ("device", str(card.schema.get("hardware") or ""))
    seen = {column: found for column in known if (found := column_of(shots.questions, column)) is not None}
    arrived = any(column in machines and not set(found) & set(known[column]) for column, found in seen.items())
    for column, found in seen.items():
        values = known[column]
        new = sorted(set(found) - set(values))
        if column in machines:
            scope[column] = sorted(set(found))
        elif new:  # words the model knew are asked about on a machine that is new itself, shots of them or none
            scope[column] = sorted({*found, *(values if arrived else ())})
        if new and not others and len(values) > 1 and shots.questions.shape != "graph":
            some = values if len(values) <= _MOST_OTHERS else [values[i] for i in np.linspace(0, len(values) - 1, _MOST_OTHERS).astype(int)]
            others = [(column, v) for v in some]
    inner = surrogate
    return store.member("adapted")(inner, scope=scope, others=others, level=card.level or 0.9, known=known)


def _known(domain: Mapping[str, Any]) -> dict[str, list[str]]:
    """Column -> the values a model was trained on; the machine first."""
    if domain.get("shape") == "op":
        return {"device": list(domain["devices"]), **{k: list(v) for k, v in domain["context"].items()}}
    if domain.get("shape") == "graph":
        return {"device": list(domain["device"]["keys"])}
    return {k: list(v) for k, v in domain.get("categories", {}).items()}


def widened(domain: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Any]:
    """What the model knows, and what the shots showed it beside: values, machines and the rows themselves, not ranges of figures, which shots are too few to span."""
    if not domain or domain.get("shape") != seen.get("shape"):
        return dict(domain)
    out = dict(domain)
    for name in ("devices", "device_kinds", "op_kinds", "dtypes"):
        if name in domain:
            out[name] = sorted({*domain[name], *seen[name]})
    for name in ("context", "categories"):
        if name in domain:
            out[name] = {c: sorted({*v, *seen[name].get(c, ())}) for c, v in domain[name].items()}
    if domain.get("density") and seen.get("density"):  # what lies beside a shot is no news, whatever machine it is of
        out["density"] = density.joined(domain["density"], seen["density"])
    if "by_kind" in domain:
        out["by_kind"] = {kinds: widened(part, seen) for kinds, part in domain["by_kind"].items()}
    machines = domain.get("device")
    if machines is not None:
        add = [i for i, key in enumerate(seen["device"]["keys"]) if key not in machines["keys"]]
        out["device"] = {**machines, **{part: [*machines[part], *(seen["device"][part][i] for i in add)] for part in ("keys", "kinds", "rows")}}
    return out


def _with_shots(domain: dict[str, Any], used: Table) -> dict[str, Any]:
    """Of operators, what shots showed: sizes beyond where a machine or a word ended, and words that had never been measured together."""
    if isinstance(used.questions, OpQuestions):
        if domain.get("own_sizes"):
            domain["own_sizes"] = own_sizes.extended(domain["own_sizes"], used.questions.ops, own_sizes.labels(used.questions))
        if domain.get("word_pairs"):
            domain["word_pairs"] = word_pairs.joined(domain["word_pairs"], used.questions)
    return domain


def _filled(left_out: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Left-out answers; for a target that is not corrected the model's own."""
    return np.where(np.isfinite(left_out), left_out, before)


def _new(model: Any) -> str:
    return "; ".join(f"{column}: {', '.join(values[:4])}{f' and {len(values) - 4} more' if len(values) > 4 else ''}" for column, values in model.scope.items()) or "no machine or circumstance of their own"


def _errors(prediction: Prediction, table: Table) -> dict[str, float]:
    out = {}
    for name in table.targets:
        error = metrics.ape(np.asarray(table.targets[name], dtype=float), prediction.point[:, prediction.column(name)])
        if np.isfinite(error).any():
            out[name] = float(np.nanmedian(error))
    return out


