"""From a measured table to a model folder: what `silicast fit` and `silicast evaluate` do.

The story of `fit_table`: read -> cut by group -> fit -> conformalise -> judge on groups never seen -> card -> save. Which model is best is
silicast's business: boosted trees and, where torch is installed and there are rows enough, a residual network beside them, weighed on
held-out groups.

A table of few rows or groups cannot spare any: it is cut into folds by group, every row is answered by a model that did not see its
group, those answers give figures and intervals, and the model that is kept learns from all rows. Where even that promises nothing (one
group, too few rows for the level) the model answers without intervals, and says so.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from ..surrogates import rehearsal, store
from ..surrogates.blended import whole_groups
from ..surrogates.card import ModelCard
from ..surrogates.prediction import Prediction
from ..surrogates.target_scale import answers
from ..surrogates.trust import guarded, witnessed
from . import metrics, tracking
from .graph_shots import measured_for
from .pipeline import own_version
from .quarantine import MOST_UNREAD, quarantine

Say = Callable[[str], None]
#: groups are cut so; a workload, a site or whatever the schema's `group` names never stands on both sides
FRACTIONS = {"train": 0.72, "valid": 0.08, "calibrate": 0.10, "test": 0.10}
#: fewer training rows than this and networks are left out. At 2,100 rows of open tables they still help: GEMM sites 10.3 to 7.8 %, power of GEMM 13.6 to 8.6 % (median)
LEAST_ROWS_FOR_NETWORK = 1500
#: a table with fewer rows or groups than these is judged by folds, not cut in four
LEAST_ROWS_TO_CUT, LEAST_GROUPS_TO_CUT = 1000, 40
#: a plain feature table with fewer rows is judged by folds: its models hold groups out anyway, to be blended
MOST_ROWS_FOR_FOLDS = 20_000
#: rows of a machine, and of all others, from which a small table is rehearsed with it held out
LEAST_ROWS_OF_MACHINE = 30
#: folds, where there are as many groups
FOLDS = 10
#: with fewer groups than this, figures and intervals say little about the next group, and the card says so
_FEW_GROUPS = 10
#: with fewer rows words that never repeat are no sign of a label
_LEAST_ROWS_OF_LABELS = 20
#: parts of an input's name that make it look like an answer: quantities, and units of time, energy and power (single letters only for joules:
#: w, s and k are widths, strides and depths more often)
_ANSWER_WORDS = frozenset({"latency", "lat", "runtime", "time", "duration", "elapsed", "energy", "power", "cycles", "throughput", "lut", "luts", "dsp", "dsps", "bram", "brams",
                           "uram", "j"} | {u.lower() for q in ("time", "energy", "power") for u in UNITS[q] if len(u) > 1})


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
              skip_bad_rows: bool = False, networks: bool = True, say: Say = lambda text: None) -> ModelCard:
    """Fits a surrogate to a measured table, judges it on groups it never saw, and saves it to the folder `out`.

    `targets`: names under the schema's targets; empty means all of them. Two usable rows are enough; what few rows cannot promise
    (intervals, figures on rows never seen) is left out, told through `say` and written to `card.extra["notes"]`. Raises the errors of
    `read_measured`, TableError for an unknown or constant target or fewer than two rows, FormatError when `out` is in the way.
    """
    spec = Schema.read(schema)
    wanted = tuple(targets) or tuple(spec.targets)
    unknown = [t for t in wanted if t not in spec.targets]
    if unknown:
        raise TableError(f"target {unknown[0]!r} is not in the schema; it has: {', '.join(spec.targets) or 'none'}")
    data = quarantine(read_measured(table, spec, skip_bad_rows=skip_bad_rows, unread=MOST_UNREAD))
    for note in data.notes:
        say(note)
    say(f"{len(data):,} rows, {len(np.unique(data.groups)):,} groups, digest {data.digest}")
    wanted = tuple(t for w in wanted for t in data.targets if t == w or t.startswith(f"{w}="))  # words are one answer each: name=word
    _learnable(data, wanted)
    _tell_inputs(data, spec, say)
    by = " x ".join(spec.group) or "equal inputs"
    parts = _cut(data, wanted, seed, level)
    fitted = _fit_parts(parts, wanted, by, seed, level, say, networks) if parts else _fit_folds(data, wanted, by, seed, level, say)
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


@dataclass(frozen=True)
class _Fitted:
    """A surrogate ready to be saved, and what its card says of it. `level` is 0 where there are no intervals; `rows`: trained on."""

    surrogate: Any
    domain: dict[str, Any]
    metrics: dict[str, Any]
    rows: int
    split: str
    level: float
    notes: list[str] = field(default_factory=list)


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
    labels = _labels(data)
    if labels:
        say(f"warning: {', '.join(labels)}: nearly every row has a word of its own there; a label tells nothing about rows never seen; name the inputs with features, or the group with group")


def _labels(data: Table) -> list[str]:
    """Inputs of a plain feature table whose words hardly ever repeat."""
    if not isinstance(data.questions, FeatureQuestions) or len(data) < _LEAST_ROWS_OF_LABELS:
        return []
    frame = data.questions.frame
    return [str(c) for c in frame.columns if not pd.api.types.is_numeric_dtype(frame[c]) and frame[c].nunique() > 0.9 * len(frame)]


def _schema_used(data: Table, spec: Schema) -> Schema:
    """The schema with the inputs of a plain feature table spelt out, so that a later table may have other columns beside them."""
    if spec.op or spec.workload or not isinstance(data.questions, FeatureQuestions):
        return spec
    seen = [str(c) for c in data.questions.frame.columns]
    return spec if spec.features and set(spec.features) <= set(seen) else spec.model_copy(update={"features": seen})


def _energy_notes(data: Table, wanted: Sequence[str]) -> list[str]:
    """A note when the energies of a table are not power x latency, as the answers will be where all three are asked for."""
    if not {"latency_s", "power_w", "energy_j"} <= set(wanted):
        return []
    product = data.targets["latency_s"] * data.targets["power_w"]
    off = float(np.median(np.abs(product / data.targets["energy_j"] - 1.0)))
    return [f"energy_j is answered as power x latency; the table's own differs from that by {off:.0%} (median)"] if off > 0.05 else []


def _cut(data: Table, wanted: Sequence[str], seed: int, level: float) -> dict[str, Table] | None:
    """The four parts of a table large enough to spare rows for each; None for one that is not."""
    if data.questions.shape == "features" and len(data) < MOST_ROWS_FOR_FOLDS:
        return None
    if len(data) < LEAST_ROWS_TO_CUT or len(np.unique(data.groups.astype(str))) < LEAST_GROUPS_TO_CUT:
        return None
    try:
        parts = split_by_group(data, FRACTIONS, seed)
    except TableError:  # a part would be empty: groups of very different sizes, or chance
        return None
    needed = store.member("conformal")(best_trees(wanted, seed), level=level).needed
    varied = all(np.ptp(parts["train"].targets[t]) > 0 or np.ptp(data.targets[t]) == 0 for t in wanted)
    return parts if varied and len(parts["calibrate"]) >= needed else None


def _fit_parts(parts: Mapping[str, Table], wanted: Sequence[str], by: str, seed: int, level: float, say: Say, networks: bool = True) -> _Fitted:
    """Four parts: learn, stop, calibrate, judge."""
    surrogate = fit_surrogate(parts["train"], parts["valid"], parts["calibrate"], wanted, seed, level, say, networks)
    known = witnessed(domains.describe(parts["train"]), parts["calibrate"], surrogate.predict(parts["calibrate"].questions))
    judged = judge(surrogate, known, parts["test"], level)
    return _Fitted(surrogate, known, metrics.nested(judged.frame), len(parts["train"]), ", ".join(f"{k} {v:g}" for k, v in FRACTIONS.items()) + f" by {by}, seed {seed}", level)


def fit_surrogate(train: Table, valid: Table, calibrate: Table, wanted: Sequence[str], seed: int, level: float, say: Say, networks: bool = True) -> Any:
    """The default surrogate for a large table, fitted and calibrated; for machines it never saw, by a rehearsal with machines held out."""
    inner = best_surrogate(wanted, train, seed, say, networks)
    surrogate = store.member("conformal")(inner, level=level).fit(train, valid).conformalize(calibrate)
    if inner.name == "ensemble" and surrogate.shape == "op":
        rehearsed = inner.rehearse(train, lambda: op_members(wanted, seed, small=True, networks=networks and networks_help(len(train)), near=networks), seed)
        if rehearsed.machines:
            say("rehearsed on machines held out: intervals for machines never seen are as wide as the errors about the worst of them")
        surrogate.expect_strangers(sorted(set(train.questions.strata.astype(str))), rehearsed.machines, rehearsed.machine, rehearsed.kind)
        if rehearsed.sizes:
            say("rehearsed on the largest sizes held out: intervals beyond the table's sizes are as wide as the errors there")
            surrogate.expect_far(rehearsed.sizes, rehearsed.size_kind)
    elif inner.name == "blended":
        surrogate.expect_far(inner.rehearsed)
    return surrogate


def _fit_folds(data: Table, wanted: Sequence[str], by: str, seed: int, level: float, say: Say) -> _Fitted:
    """All rows learned from; figures and intervals from out-of-fold answers."""
    groups = len(np.unique(data.groups.astype(str)))
    plain = data.questions.shape == "features"
    surrogate = store.member("conformal")(store.member("blended")(targets=wanted, seed=seed) if plain else _small_trees(wanted, data, seed), level=level)
    surrogate.fit(data)
    known = domains.describe(data)
    if groups < 2 or len(data) < 3:
        why = f"{len(data)} rows in {groups} group{'s' if groups > 1 else ''} (by {by}): no rows are left to judge on; no figures and no intervals (3 rows in 2 groups are the least)"
        return _Fitted(surrogate, known, {}, len(data), f"none: all rows trained on, by {by}", 0.0, [why])
    notes = [f"only {groups} groups (by {by}): figures and intervals say little about a group unlike them"] if groups < _FEW_GROUPS else []
    fold = surrogate.inner.fold if plain else whole_groups(data.groups, min(FOLDS, groups), seed)  # a blend has held its own folds out already
    folds = int(fold.max()) + 1
    say(f"few rows or groups: {folds}-fold cross-validation by {by}, then a fit to all rows")
    point = surrogate.inner.out_of_fold.point if plain else _out_of_fold(data, wanted, fold, seed)
    strata = data.questions.strata
    apart = surrogate.inner.out_of_fold.spread if plain else None

    def told(rows: np.ndarray) -> dict[str, Any]:
        return {"spread": {} if apart is None else {t: apart[rows, j] for j, t in enumerate(wanted)}, "groups": data.groups[rows]} if plain else {}

    def scored(rows: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {t: (data.targets[t][rows], point[rows, j]) for j, t in enumerate(wanted)}

    def enough(rows: np.ndarray) -> bool:
        return all(int(np.isfinite(p).sum()) >= surrogate.needed for _, p in scored(rows).values())

    every = np.ones(len(data), dtype=bool)
    low, high = np.full_like(point, np.nan), np.full_like(point, np.nan)
    for i in range(folds):  # a fold's own residuals must not widen the intervals it is judged by
        here = fold == i
        if enough(~here):
            widths = store.member("conformal")(surrogate.inner, level=level).calibrate_from(strata[~here], scored(~here), **told(~here))
            bare = Prediction.bare(wanted, point[here])
            judged = widths.around(bare if apart is None else replace(bare, spread=apart[here]), strata[here])
            low[here], high[here] = judged.low, judged.high
    bare = Prediction.bare(wanted, point)
    prediction = Prediction(bare.targets, point, low, high, level if np.isfinite(low).any() else 0.0, bare.domain)
    asked = Table(data.questions, {t: data.targets[t] for t in wanted}, data.groups, data.slices, data.source)
    figures = metrics.nested(metrics.by_slice(asked, prediction, level))
    split = f"{folds}-fold by {by}; "
    if not enough(every):
        notes.append(f"{len(data)} rows are too few to promise intervals at level {level:g} ({surrogate.needed} answered rows are the least): the model answers without")
        return _Fitted(surrogate, known, figures, len(data), f"{split}no intervals", 0.0, notes)
    surrogate.calibrate_from(strata, scored(every), **told(every))
    if plain:
        surrogate.expect_far(surrogate.inner.rehearsed)
    elif data.questions.shape == "op":
        surrogate.expect_strangers(sorted(set(strata.astype(str))), *_machines_out(data, wanted, seed))
    known = witnessed(known, asked, prediction)
    return _Fitted(surrogate, known, figures, len(data), f"{split}intervals from out-of-fold residuals", level, notes)


def _out_of_fold(data: Table, wanted: Sequence[str], fold: np.ndarray, seed: int) -> np.ndarray:
    """(n, t) points in SI, each by trees that saw no row of its fold. A target that does not vary in the rows of the other folds is
    answered with the one value it has there, as trees would."""
    point = np.full((len(data), len(wanted)), np.nan)
    for i in range(int(fold.max()) + 1):
        here = np.flatnonzero(fold == i)
        train = data.take(fold != i)
        varied = tuple(t for t in wanted if np.ptp(train.targets[t]) > 0)
        for j, name in enumerate(wanted):
            point[here, j] = train.targets[name][0]
        if varied:
            found = _small_trees(varied, train, seed).fit(train).predict(data.questions.take(here))
            for name in varied:
                point[here, wanted.index(name)] = found.point[:, found.column(name)]
    return point


def _machines_out(data: Table, wanted: Sequence[str], seed: int) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """(each target's (n,) truth and answer in SI on machines held out in turn, (n,) number of the machine); nothing where machines or rows are too few."""
    parts = rehearsal.machines(data, lambda: [_small_trees(wanted, data, seed)], wanted, seed, least=LEAST_ROWS_OF_MACHINE)
    scored = {t: (np.concatenate([p.truth[t] for p in parts]), np.concatenate([p.points[0][t] for p in parts])) for t in wanted} if parts else {}
    return scored, np.repeat(np.arange(len(parts)), [len(p.kind) for p in parts])


def _small_trees(targets: Sequence[str], train: Table, seed: int) -> Any:
    """Trees for a table cut into folds: as many are grown as there are folds, so each is modest, and there are no rows to stop early by."""
    small = len(train) < 2000
    return store.member("boosted")(targets=targets, seed=seed, trees=300 if small else 600, leaves=15 if small else 63, full_tails=True,
                                  threads=1 if small else 0)


def best_trees(targets: Sequence[str], seed: int) -> Any:
    """The unfitted trees for a large table."""
    return store.member("boosted")(targets=targets, seed=seed, trees=1000)


def best_surrogate(targets: Sequence[str], train: Table, seed: int, say: Say, networks: bool = True) -> Any:
    """The unfitted surrogate for a table: trees, and a network beside them where it can help and is wanted."""
    if train.questions.shape == "features":
        return store.member("blended")(targets=targets, seed=seed)

    def progress(epoch: int, epochs: int, loss: float) -> None:
        if epoch % max(epochs // 5, 1) == 0 or epoch == epochs:
            say(f"network: epoch {epoch} of {epochs}, loss {loss:.4g}")

    helpful = networks_help(len(train))
    if networks and not helpful and len(train) >= LEAST_ROWS_FOR_NETWORK:
        say("torch is not installed: trees alone (pip install 'silicast[gnn]' adds the network, which is more accurate on large tables)")
    near, networks = networks, networks and helpful
    if train.questions.shape == "op":
        return store.member("ensemble")(op_members(targets, seed, len(train), networks=networks, near=near, progress=progress))
    boosted = best_trees(targets, seed)
    return store.member("ensemble")([boosted, store.member("neural")(targets=targets, seed=seed, progress=progress)]) if networks else boosted


def networks_help(rows: int) -> bool:
    """Whether networks stand beside the trees of a table of so many rows: torch is installed, and there are enough."""
    return rows >= LEAST_ROWS_FOR_NETWORK and importlib.util.find_spec("torch") is not None


def op_members(targets: Sequence[str], seed: int, rows: int = 0, small: bool = False, networks: bool = True, near: bool = True,
               progress: Callable[[int, int, float], None] | None = None) -> list[Any]:
    """The unfitted members for an op table of `rows`: trees and a network that see everything, the trees what was read nearby too (`near`: the model then holds the table's
    readings), trees that see sizes and figures alone, and ones that see what is the same on
    machines and at sizes never measured, from where each machine settles, the network as achieved fractions of ceilings; where each machine settles alone;
    and trees that know the roofline and no simulator. `small`: copies that rehearse."""
    boosted, neural = store.member("boosted"), store.member("neural")
    trees: dict[str, Any] = {"targets": targets, "seed": seed, "bins": 63, "column_share": 0.4, "min_leaf": 5, "full_tails": True}
    grown = (120, 120, 31) if small else (400, 300, int(np.clip(rows // 250, 63, 127 if near else 255)))
    nets: list[dict[str, Any]] = [{"samples": 50_000, "hidden": 64, "blocks": 2, "batch": 128}] * 2 if small else [
        {"samples": 1_800_000, "hidden": 192, "progress": progress}, {"samples": 600_000, "hidden": 128, "blocks": 2, "batch": 512}]
    members = [boosted(**trees, trees=grown[0], leaves=grown[2], columns="near" if near else "all"), boosted(**trees, trees=grown[1], leaves=min(grown[2], 63), columns="plain"),
               boosted(**trees, trees=grown[1], leaves=min(grown[2], 63), columns="kin"), store.member("anchored")(targets=targets, seed=seed),
               boosted(targets=targets, seed=seed, trees=120 if small else 300, rate=0.1, leaves=31, min_leaf=20, column_share=1.0, columns="roofline")]
    if networks:
        members += [neural(targets=targets, seed=seed, full_tails=True, **nets[0]), neural(targets=targets, seed=seed, columns="kin", head="ceilings", **nets[1])]
    return members


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
    return judge(surrogate, dict(card.domain), measured_for(surrogate.shape, table, schema_of(card, schema), skip_bad_rows=skip_bad_rows), card.level)


def schema_of(card: ModelCard, given: str | Path | dict[str, Any] | None) -> Schema:
    """The given schema, or the one in the card."""
    if given is not None:
        return Schema.read(given)
    if not card.schema:
        raise TableError(f"model {card.name!r} was not fitted on a measured table; give --schema to say what the table's columns mean")
    return Schema.read(card.schema)
