"""From a measured table to a model folder: what `silicast fit` and `silicast evaluate` do.

The story of `fit_table`: read -> cut by group -> fit -> conformalise -> judge on groups never seen -> card -> save. Which model is best is
silicast's business: boosted trees and, where torch is installed and there are rows enough, a residual network beside them, weighed on
held-out groups.

A table of few rows or groups cannot spare any: `folds`. Which surrogate learns what: `members`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.errors import TableError
from ..datasets.measured import Schema, read_measured
from ..datasets.measurement import TARGETS
from ..datasets.networks import NetworkQuestions
from ..datasets.splits import split_by_group
from ..datasets.table import FeatureQuestions, Table, target_unit
from ..datasets.units import UNITS
from ..features import FEATURE_VERSION
from ..features import domain as domains
from ..features.tabular import learn_vocabulary, tabular_features
from ..surrogates import store
from ..surrogates.card import ModelCard
from ..surrogates.target_scale import answers
from ..surrogates.trust import guarded, witnessed
from . import metrics, tracking
from .folds import Fitted, fit_folds
from .graph_shots import measured_for
from .members import Say, best_surrogate, best_trees, rehearse
from .pipeline import own_version
from .quarantine import MOST_UNREAD, quarantine

#: of the hash that cuts a table
SALT = "fit "
#: shares of the rows that calibrate, and that judge, at most and at least; rows and groups of each that are enough; rows learned from beyond which more help less than they take
_MOST, _LEAST, _ENOUGH_ROWS, _ENOUGH_GROUPS, _LEARNED = 0.10, 0.04, 2_000, 30, 290_000
#: an ensemble learns again, from the rows that calibrated and judged it too, where these and those it stopped by were at least such a share, of a table of so many rows at most
_WORTH_AGAIN, _MOST_AGAIN = 0.15, 150_000
#: a table with fewer rows or groups than these is judged by folds, not cut in four
LEAST_ROWS_TO_CUT, LEAST_GROUPS_TO_CUT = 1000, 40
#: a plain feature table with fewer rows is judged by folds: its models hold groups out anyway, to be blended
MOST_ROWS_FOR_FOLDS = 20_000
#: with fewer rows words that never repeat are no sign of a label
_LEAST_ROWS_OF_LABELS = 20
#: share of numbers from which words in a column are likely slips
_MOSTLY = 0.9
#: parts of an input's name that make it look like an answer: quantities, and units of time, energy and power (single letters only for joules:
#: w, s and k are widths, strides and depths more often)
_ANSWER_WORDS = frozenset({"latency", "lat", "runtime", "time", "duration", "elapsed", "energy", "power", "cycles", "throughput", "lut", "luts", "dsp", "dsps", "bram", "brams",
                           "uram", "j"} | {u.lower() for q in ("time", "energy", "power") for u in UNITS[q] if len(u) > 1 and u != "min"})


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
              skip_bad_rows: bool = False, networks: bool = True, again: bool = True, say: Say = lambda text: None) -> ModelCard:
    """Fits a surrogate to a measured table, judges it on groups it never saw, and saves it to the folder `out`.

    `targets`: names under the schema's targets; empty means all of them. `again`: whether the rows that judged may calibrate afterwards, and an ensemble learn again from them; a caller who judges the folder by them says no. Two usable rows are enough; what few rows cannot promise
    (intervals, figures on rows never seen) is left out, told through `say` and written to `card.extra["notes"]`. Raises the errors of
    `read_measured`, TableError for an unknown or constant target or fewer than two rows, FormatError when `out` is in the way.
    """
    spec = Schema.read(schema)
    wanted = tuple(targets) or tuple(spec.targets)
    unknown = [t for t in wanted if t not in spec.targets]
    if unknown:
        raise TableError(f"target {unknown[0]!r} is not in the schema; it has: {', '.join(spec.targets) or 'none'}")
    data = quarantine(read_measured(table, spec, skip_bad_rows=skip_bad_rows, unread=MOST_UNREAD, wanted=wanted), wanted)
    for note in data.notes:
        say(note)
    say(f"{len(data):,} rows, {len(np.unique(data.groups)):,} groups, digest {data.digest}")
    wanted = tuple(t for w in wanted for t in data.targets if t == w or t.startswith(f"{w}="))  # words are one answer each: name=word
    _learnable(data, wanted)
    _tell_inputs(data, spec, say)
    by = " x ".join(spec.group) or "equal inputs"
    fitted = learned(data, wanted, by, seed, level, say, networks, again)
    notes = [*data.notes, *fitted.notes, *_energy_notes(data, wanted)]
    for note in notes[len(data.notes):]:
        say(note)
    card = ModelCard(
        name=Path(out).name, version="", shape=fitted.surrogate.shape, targets=wanted, units={t: target_unit(t) if t in TARGETS else spec.targets[t.partition("=")[0]].unit for t in wanted},
        feature_version=FEATURE_VERSION, simulator_version="", data_source=data.source, data_digest=data.digest, data_rows=fitted.rows,
        split=fitted.split, level=fitted.level, domain=fitted.domain, metrics=fitted.metrics, seed=seed, silicast_version=own_version(),
        code_revision=tracking.code_revision(), schema=_schema_used(data, spec).model_dump(mode="json"), extra={"notes": "; ".join(notes)} if notes else {})
    folder = store.save(fitted.surrogate, card, out)
    say(f"saved to {folder}")
    return card


def _learnable(data: Table, wanted: Sequence[str]) -> None:
    """Raises TableError, naming what is needed, for a table that no model can be fitted to."""
    if len(data) < 2:
        raise TableError(f"{data.source}: {len(data)} usable row; at least two with different answers are needed to fit a model")
    for name in wanted:
        if np.ptp(data.targets[name]) == 0:
            reference = tabular_features(data.questions, learn_vocabulary(data.questions)).reference
            try:
                answers(name, data.targets, reference)
            except TableError as error:
                raise TableError(f"{data.source}: {error}; rows with at least two different values are needed, or leave it out with --target") from None


def _tell_inputs(data: Table, spec: Schema, say: Say) -> None:
    """Says what the model sees, and warns of inputs that look like answers."""
    named: list[str] = []
    if isinstance(data.questions, NetworkQuestions):
        named, free = [str(c) for c in data.questions.frame.columns], [*spec.context, *spec.features]
        say(f"{len(data.questions.networks):,} different networks of {len(data.questions.networks.ops):,} different operators")
    elif isinstance(data.questions, FeatureQuestions):
        named = free = [str(c) for c in data.questions.frame.columns]
    else:
        for refs in spec.columns.values():
            for ref in refs.values() if isinstance(refs, Mapping) else [refs]:
                named += [ref] if isinstance(ref, str) else ref
        free = [*spec.context, *spec.features]
        named += [*([] if spec.op is None or isinstance(spec.op, str) else [spec.op.column]), *([spec.hardware] if spec.hardware else []), *free]
    say(f"inputs: {', '.join(dict.fromkeys(named)) or 'none'}")
    columns = {c.column for c in spec.targets.values()}
    words = {name: set(re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())) for name in dict.fromkeys(free)}
    # a limit is set, not measured
    leaks = [name for name, parts in words.items() if name in columns or name in TARGETS or (_ANSWER_WORDS & parts and not parts & {"limit", "cap", "budget"})]
    if leaks:
        say(f"warning: {', '.join(leaks)} {'looks' if len(leaks) == 1 else 'look'} like an answer, not an input: a model that sees one answer to forecast another is of no use "
            "where neither is known; name the inputs with features, or list it under targets")
    for name, share, word in _slips(data):
        say(f"warning: {name}: {share:.1%} of its cells are numbers, the others are words, the first {word!r}: the whole column is taken as words; mend those cells if it is a number")
    labels = _labels(data)
    if labels:
        say(f"warning: {', '.join(labels)}: nearly every row has a word of its own there; a label tells nothing about rows never seen; name the inputs with features, or the group with group")


def _slips(data: Table) -> list[tuple[str, float, str]]:
    """(name, share of numbers, first word) of inputs of a plain feature table that are words by few of their cells."""
    out = []
    for name, cells in data.questions.frame.items() if isinstance(data.questions, FeatureQuestions) and not isinstance(data.questions, NetworkQuestions) else ():
        if not pd.api.types.is_numeric_dtype(cells):
            number = pd.to_numeric(cells, errors="coerce").notna()
            if _MOSTLY <= number.mean() < 1.0:
                out.append((str(name), float(number.mean()), str(cells[~number].iloc[0])))
    return out


def _labels(data: Table) -> list[str]:
    """Inputs of a plain feature table whose words hardly ever repeat."""
    if not isinstance(data.questions, FeatureQuestions) or len(data) < _LEAST_ROWS_OF_LABELS:
        return []
    frame = data.questions.frame
    return [str(c) for c in frame.columns if not pd.api.types.is_numeric_dtype(frame[c]) and frame[c].nunique() > 0.9 * len(frame)]


def _schema_used(data: Table, spec: Schema) -> Schema:
    """The schema with the inputs of a plain feature table spelt out, so that a later table may have other columns beside them, and the units that cells of theirs carried."""
    if spec.op or spec.workload or not isinstance(data.questions, FeatureQuestions):
        return spec
    spec = spec.model_copy(update={"units": {**spec.units, **data.questions.units}})
    seen = [str(c) for c in data.questions.frame.columns]
    return spec if spec.features and set(spec.features) <= set(seen) else spec.model_copy(update={"features": seen})


def _energy_notes(data: Table, wanted: Sequence[str]) -> list[str]:
    """A note when the energies of a table are not power x latency, as the answers will be where all three are asked for."""
    if not {"latency_s", "power_w", "energy_j"} <= set(wanted):
        return []
    product = data.targets["latency_s"] * data.targets["power_w"]
    off = float(np.median(np.abs(product / data.targets["energy_j"] - 1.0)))
    return [f"energy_j is answered as power x latency; the table's own differs from that by {off:.0%} (median)"] if off > 0.05 else []


def learned(data: Table, wanted: Sequence[str], by: str, seed: int, level: float, say: Say, networks: bool = True, again: bool = True) -> Fitted:
    """The default surrogate for a table, fitted, calibrated and judged: what `fit_table` saves. `by`: what rows are grouped by, in words."""
    parts = _cut(data, wanted, seed, level)
    return _fit_parts(data, parts, wanted, by, seed, level, say, networks, again) if parts else fit_folds(data, wanted, by, seed, level, say, networks)


def fractions(data: Table) -> dict[str, float]:
    """The parts that a table's groups are cut in (a workload, a site or whatever the schema's `group` names never stands on both sides): the more rows and groups, the more to learn from."""
    rows, groups = len(data), len(np.unique(data.groups.astype(str)))
    share = float(np.clip(max(_ENOUGH_ROWS / rows, _ENOUGH_GROUPS / groups, (1.0 - _LEARNED / rows) / 2.8), _LEAST, _MOST))
    return {"train": 1.0 - 2.8 * share, "valid": 0.8 * share, "calibrate": share, "test": share}


def parts_of(data: Table, seed: int) -> dict[str, Table]:
    """The parts that `fit` cuts a large table in: train, valid, calibrate and test. With a salt of its own: whoever held groups out by `split_by_group` with the same seed has taken the last of
    them by its hash. Raises TableError where a part would be empty."""
    return split_by_group(data, fractions(data), seed, SALT)


def _cut(data: Table, wanted: Sequence[str], seed: int, level: float) -> dict[str, Table] | None:
    """The four parts of a table large enough to spare rows for each; None for one that is not."""
    if data.questions.shape == "features" and len(data) < MOST_ROWS_FOR_FOLDS:
        return None
    if len(data) < LEAST_ROWS_TO_CUT or len(np.unique(data.groups.astype(str))) < LEAST_GROUPS_TO_CUT:
        return None
    try:
        parts = parts_of(data, seed)
    except TableError:  # a part would be empty: groups of very different sizes, or chance
        return None
    needed = store.member("conformal")(best_trees(wanted, seed), level=level).needed
    varied = all(np.ptp(parts["train"].targets[t]) > 0 or np.ptp(data.targets[t]) == 0 for t in wanted)
    return parts if varied and len(parts["calibrate"]) >= needed else None


def _fit_parts(data: Table, parts: Mapping[str, Table], wanted: Sequence[str], by: str, seed: int, level: float, say: Say, networks: bool = True,
               again: bool = True) -> Fitted:
    """Four parts of `data`: learn, stop, calibrate, judge. Then what was judged calibrates, too, and an ensemble learns again from all but the part that it stops by, where that is worth it: its weights and intervals stay, and its figures are
    those of the first time."""
    shares = fractions(data)
    surrogate = fit_surrogate(parts["train"], parts["valid"], parts["calibrate"], wanted, seed, level, say, networks)
    known = witnessed(_described(parts), parts["calibrate"], surrogate.predict(parts["calibrate"].questions))
    judged = judge(surrogate, known, parts["test"], level)
    split = ", ".join(f"{k} {v:.3g}" for k, v in shares.items()) + f" by {by}, seed {seed}"
    found = Fitted(surrogate, known, metrics.nested(judged.frame), len(parts["train"]), split, level)
    if again:  # twice the groups
        surrogate.conformalize(parts["calibrate"], parts["test"])
        found = replace(found, notes=["coverage is that of intervals by the part that calibrates; those that are kept know the part that judged, too"])
    if not again or surrogate.inner.name != "ensemble" or surrogate.shape != "op" or 1.0 - shares["train"] < _WORTH_AGAIN or len(data) > _MOST_AGAIN:
        return found
    rest = data.take(~np.isin(data.groups.astype(str), np.unique(parts["valid"].groups.astype(str))))
    say(f"learns again, from {len(rest):,} rows: those that calibrated and judged it, too")
    surrogate.inner.learn_again(best_surrogate(wanted, parts["train"], seed, say, networks).members, rest, parts["valid"])
    return replace(found, rows=len(rest), notes=[*found.notes, f"figures and intervals are of the model as it was learned from {len(parts['train']):,} rows; it learned again from {len(rest):,}, those that calibrated and judged it among them; machines and sizes that only those rows have are still answered as never seen"])


def _described(parts: Mapping[str, Table]) -> dict[str, Any]:
    """What the rows learned from span, and the labels among their columns, by the rows that calibrate."""
    train, other = parts["train"], parts["calibrate"]
    known = domains.describe(train)
    if not isinstance(train.questions, FeatureQuestions) or isinstance(train.questions, NetworkQuestions):
        return known
    questions = replace(train.questions, frame=pd.concat([train.questions.frame, other.questions.frame], ignore_index=True))
    fold = np.repeat([0, 1], [len(train), len(other)])
    return domains.with_labels(known, questions, fold, fold == 1)


def fit_surrogate(train: Table, valid: Table, calibrate: Table, wanted: Sequence[str], seed: int, level: float, say: Say, networks: bool = True) -> Any:
    """The default surrogate for a large table, fitted and calibrated; for machines it never saw, by a rehearsal with machines held out."""
    inner = best_surrogate(wanted, train, seed, say, networks)
    surrogate = store.member("conformal")(inner, level=level).fit(train, valid).conformalize(calibrate)
    if inner.name == "ensemble" and surrogate.shape == "op":
        rehearse(surrogate, train, wanted, seed, say, networks)
    elif inner.name == "blended":
        surrogate.expect_far(*inner.expected_far())
    return surrogate


def judge(surrogate: Any, known: dict[str, Any], table: Table, level: float) -> Evaluation:
    """Measures by slice of answers to rows the surrogate never saw."""
    prediction = guarded(known, table.questions, surrogate.predict(table.questions))
    flagged = float(np.mean([d.verdict != "in_domain" for d in prediction.domain]))
    answered = Table(table.questions, {t: table.targets[t] for t in prediction.targets if t in table.targets}, table.groups, table.slices, table.source)
    return Evaluation(metrics.by_slice(answered, prediction, level), flagged, len(table), table.source)


def evaluate_table(folder: str | Path, table: str | Path | pd.DataFrame, *, schema: str | Path | dict[str, Any] | None = None,
                   skip_bad_rows: bool = False) -> Evaluation:
    """How the model in `folder` does on a measured table; the schema defaults to the one it was fitted with.

    Raises TableError when the model was not fitted on a measured table and no schema is given.
    """
    surrogate, card = store.load(folder)
    spec = schema_of(card, schema)
    return judge(surrogate, dict(card.domain), measured_for(surrogate.shape, table, spec, skip_bad_rows=skip_bad_rows, words=domains.known_words(card.domain, spec.hardware or ""), wanted=card.targets), card.level)


def schema_of(card: ModelCard, given: str | Path | dict[str, Any] | None) -> Schema:
    """The given schema, or the one in the card."""
    if given is not None:
        return Schema.read(given)
    if not card.schema:
        raise TableError(f"model {card.name!r} was not fitted on a measured table; give --schema to say what the table's columns mean")
    return Schema.read(card.schema)
