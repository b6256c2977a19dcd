"""From a recipe to a ready-made model: what `silicast models build NAME` does.

A measured one goes the way of `silicast fit`, part by part and with trees alone (networks would take most of the making, and of the answering); operators of different kinds are joined (`surrogates.by_kind`). A simulated one is generated,
cut by workload, fitted, calibrated and judged on workloads nobody trained on. Then the card says whose data it was, under which licence, with the SHA-256 of every file
that was read; and the folder is saved small. The same data, seed and versions give the same weights and figures.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..datasets import cells, sources
from ..datasets.errors import InputError, TableError
from ..datasets.measured import read_measured
from ..datasets.measurement import TARGETS
from ..datasets.simulator import SIMULATOR_VERSION
from ..datasets.splits import hold_out, split_by_group
from ..datasets.table import FeatureQuestions, Table, target_unit
from ..features import FEATURE_VERSION
from ..features import domain as domains
from ..surrogates import ready, store, trust
from ..surrogates.card import ModelCard
from ..surrogates.prediction import Prediction
from . import metrics, tracking
from .fitting import SALT, fit_table, parts_of
from .pipeline import own_version
from .quarantine import MOST_UNREAD, quarantine
from .recipes import RECIPES, Part, Recipe, circumstances, recipe

Say = Callable[[str], None]
LEVEL = 0.9
#: how workloads of a simulated recipe are cut
_SIMULATED = {"train": 0.74, "valid": 0.06, "calibrate": 0.10, "test": 0.10}
#: machines left out of a second, otherwise equal model, to see what answers about new ones are worth
_STRANGERS = ("mi300x", "l4", "xeon_8480", "raspberry_pi_4", "tpu_v4")
#: slices of the card's figures
_SLICES = ("kind", "family", "op", "device", "framework")
#: how far saving small may move an answer (half precision): the median, and the worst of a thousand
_MOVED = (0.003, 0.05)


@dataclass(frozen=True)
class Built:
    """A ready-made model in its folder, and its size there."""

    name: str
    folder: Path
    size_bytes: int
    card: ModelCard


def build(name: str, data: str | Path | None = None, out: str | Path = "ready", *, share: float = 1.0, work: str | Path | None = None, say: Say = lambda text: None) -> Built:
    """Makes the ready-made model `name` from the open data in the folder `data` (default: `SILICAST_DATA`; a simulated one needs none) and saves it to `out/name`.

    `share` of the recipe's rows, for a quick try; the card says so. `work`: a folder for generated labels and fitted parts that is kept, so that a second recipe or a second run finds them.
    Raises UnknownNameError for an unknown recipe, InputError where the data is missing.
    """
    made = recipe(name)
    if not 0.0 < share <= 1.0:
        raise InputError(f"share: expected more than 0 and at most 1, got {share}")
    found = sources.files(sources.data_folder(data), made.files) if made.files else {}
    for needed in ("torch",) if made.member == "graphnet" else ():
        _installed(needed)
    scratch = Path(tempfile.mkdtemp(prefix="silicast-ready-"))
    try:
        surrogate, card, asked = _measured(made, found, share, Path(work or scratch), say) if made.files else _simulated(made, share, Path(work or scratch), say)
        card = _told(made, card, found, share)
        place = _saved(surrogate, card, Path(out) / name, asked)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    size = sum(p.stat().st_size for p in place.iterdir())
    say(f"{name}: {size / 1e6:.2f} MB in {place}")
    return Built(name, place, size, store.load(place)[1])


def build_all(data: str | Path | None = None, out: str | Path = "ready", *, share: float = 1.0, work: str | Path | None = None, say: Say = lambda text: None) -> list[Built]:
    """Every recipe in turn; labels that several need are generated once."""
    scratch = Path(tempfile.mkdtemp(prefix="silicast-labels-"))
    try:
        return [build(name, data, out, share=share, work=work or scratch, say=say) for name in RECIPES]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _installed(module: str) -> None:
    import importlib.util

    if importlib.util.find_spec(module) is None:
        raise InputError(f"this recipe needs {module}: pip install 'silicast[gnn]'")


def _measured(made: Recipe, found: Mapping[str, Path], share: float, work: Path, say: Say) -> tuple[Any, ModelCard, Any]:
    """(surrogate, card, some questions): each part fitted as a user's table is, then joined."""
    cards: dict[str, ModelCard] = {}
    members: dict[str, Any] = {}
    frames: list[pd.DataFrame] = []
    judged: list[tuple[Table, Prediction]] = []
    for part in made.parts:
        frame, folder = fitted_part(made, part, found, share, work, say)
        members[part.kinds], cards[part.kinds] = store.load(folder)
        frames.append(frame)
        if made.schema.get("op"):
            test = _test_rows(frame, made)
            judged.append((test, members[part.kinds].predict(test.questions)))
    if not made.schema.get("op"):
        (surrogate,), (card,) = members.values(), cards.values()
        return surrogate, card, read_measured(frames[0].iloc[:1000], dict(made.schema), need_targets=False).questions
    first = next(iter(cards.values()))
    context = tuple(made.schema["context"])
    whole = pd.concat(frames, ignore_index=True)
    whole["hardware"] = cells.machine_names(whole["hardware"])
    card = replace(first, data_rows=sum(c.data_rows for c in cards.values()), data_digest="+".join(c.data_digest for c in cards.values()), domain=_joined(cards), metrics=_pooled(judged),
                   extra={"notes": "; ".join(dict.fromkeys(c.extra["notes"] for c in cards.values() if c.extra.get("notes"))),
                          "circumstances": json.dumps({"context": context, "rows": circumstances(whole, context)}, separators=(",", ":"))})
    asked = read_measured(whole.sample(min(1000, len(whole)), random_state=made.seed).reset_index(drop=True), dict(made.schema), need_targets=False, skip_bad_rows=True).questions
    return store.member("by_kind")(members), card, asked


def fitted_part(made: Recipe, part: Part, found: Mapping[str, Path], share: float, work: Path, say: Say = lambda text: None) -> tuple[pd.DataFrame, Path]:
    """The rows of one part, and the folder of the model fitted to them; one that an earlier run left in `work` is taken as it is."""
    frame = part.make(found, max(round(part.rows * share), 400), made.seed)
    rows = hashlib.sha256(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()).hexdigest()[:12]
    folder = work / f"{made.name}-{part.kinds or 'rows'}-{rows}-{FEATURE_VERSION}.{SIMULATOR_VERSION}-{SALT.strip()}"  # another cut, another model
    say(f"{made.name}: {part.kinds.replace('+', ', ') or 'rows'}, {len(frame):,} of them")
    if not (folder / "model.json").exists():
        fit_table(frame, dict(made.schema), made.targets, folder, seed=made.seed, level=LEVEL, skip_bad_rows=True, networks=False, again=False, say=say)
    return frame, folder


def _test_rows(frame: pd.DataFrame, made: Recipe) -> Table:
    """The rows that `fit_table` kept to judge on; the split depends on nothing but the groups and the seed."""
    data = quarantine(read_measured(frame, dict(made.schema), skip_bad_rows=True, unread=MOST_UNREAD))
    try:
        return parts_of(data, made.seed)["test"]
    except TableError:  # too few groups were cut into folds instead: there the figures are those of all rows, and flatter
        return data


def _pooled(judged: Sequence[tuple[Table, Prediction]]) -> dict[str, Any]:
    """Figures over the test rows of all parts together, by slice."""
    tables, predictions = [t for t, _ in judged], [p for _, p in judged]
    names = predictions[0].targets
    targets = {t: np.concatenate([table.targets[t] for table in tables]) for t in names}
    slices = pd.concat([table.slices for table in tables], ignore_index=True)
    nothing = FeatureQuestions(pd.DataFrame(index=range(len(slices))))
    every = Table(nothing, targets, np.concatenate([table.groups for table in tables]), slices, "test rows")
    point, low, high = (np.concatenate([getattr(p, part) for p in predictions]) for part in ("point", "low", "high"))
    answered = replace(Prediction.bare(names, point), low=low, high=high, level=max(p.level for p in predictions))
    return metrics.nested(metrics.by_slice(every, answered, None, _SLICES))


def _joined(cards: Mapping[str, ModelCard]) -> dict[str, Any]:
    """The domains of operators of several kinds as one: each kind's own under `by_kind`, and what all of them know together."""
    every = [dict(card.domain) for card in cards.values()]
    first = every[0]
    machines = [d["device"] for d in every]
    keys = list(dict.fromkeys(key for m in machines for key in m["keys"]))
    at = {key: (m, m["keys"].index(key)) for m in reversed(machines) for key in m["keys"]}
    known = {name: sorted({v for d in every for v in d[name]}) for name in ("op_kinds", "dtypes", "devices")}
    return {**known, "shape": first["shape"], "context": {c: sorted({v for d in every for v in d["context"].get(c, ())}) for c in dict.fromkeys(c for d in every for c in d["context"])},
            "device": {"keys": keys, **{part: [at[k][0][part][at[k][1]] for k in keys] for part in ("kinds", "rows")}, "usual": max(m["usual"] for m in machines)},
            "ranges": {"names": [], "low": [], "high": []}, "by_kind": {kinds: dict(card.domain) for kinds, card in cards.items()}}


def _simulated(made: Recipe, share: float, work: Path, say: Say) -> tuple[Any, ModelCard, Any]:
    """(surrogate, card, some questions): labels generated, or found where an earlier recipe left them."""
    from ..datasets.generate import generate, read_generated

    count = max(round(made.count * share), 200)
    labels = work / f"labels-{count}-{made.seed}"
    generate(labels, count=count, seed=made.seed, per_workload=4, progress=False, say=say)
    table = read_generated(labels)
    say(f"{made.name}: {len(table):,} rows of {table.source}")
    surrogate, parts, prediction = _learned(made, table, say)
    figures = metrics.nested(metrics.by_slice(parts["test"], prediction, LEVEL))
    if made.member == "boosted":
        figures |= _on_strangers(made, table, say)
    known = _doubting(domains.describe(parts["train"]), parts["calibrate"], surrogate)
    card = ModelCard(
        name=made.name, version="", shape=surrogate.shape, targets=made.targets, units={t: target_unit(t) for t in made.targets}, feature_version=FEATURE_VERSION, simulator_version=SIMULATOR_VERSION,
        data_source=f"simulated:{SIMULATOR_VERSION}", data_digest=table.digest, data_rows=len(parts["train"]), split=", ".join(f"{k} {v:g}" for k, v in _SIMULATED.items()) + f" by workload, seed {made.seed}",
        level=LEVEL, domain=known, metrics=figures, seed=made.seed, silicast_version=own_version(), code_revision=tracking.code_revision())
    return surrogate, card, parts["test"].questions.take(np.arange(min(1000, len(parts["test"]))))


def _learned(made: Recipe, table: Table, say: Say) -> tuple[Any, dict[str, Table], Prediction]:
    """(fitted and calibrated, the parts, its answers to the test part)."""
    parts = split_by_group(table, _SIMULATED, made.seed)
    settings = dict(made.settings)
    if made.member == "graphnet":
        settings["progress"] = lambda epoch, epochs, loss: say(f"{made.name}: epoch {epoch} of {epochs}, loss {loss:.4g}")
    inner = store.member(made.member)(targets=made.targets, seed=made.seed, **settings)
    surrogate = store.member("conformal")(inner, level=LEVEL).fit(parts["train"], parts["valid"]).conformalize(parts["calibrate"])
    return surrogate, parts, surrogate.predict(parts["test"].questions)


def _on_strangers(made: Recipe, table: Table, say: Say) -> dict[str, Any]:
    """Figures on machines that an otherwise equal model never saw: the model itself has seen every machine of the catalogue."""
    there = tuple(key for key in _STRANGERS if (table.slices["device"] == key).any())
    if not there:
        return {}
    rest, unseen = hold_out(table, "device", there)
    say(f"{made.name}: once more without {', '.join(there)}, to judge answers about machines never seen")
    prediction = _learned(made, rest, say)[0].predict(unseen.questions)
    figures = metrics.nested(metrics.by_slice(unseen, prediction, LEVEL))
    return {"unseen devices" if key == "all" else f"unseen {key}": value for key, value in figures.items() if key == "all" or key.startswith("device=")}


def _doubting(known: dict[str, Any], held: Table, surrogate: Any) -> dict[str, Any]:
    return trust.witnessed(known, held, surrogate.predict(held.questions))


def _told(made: Recipe, card: ModelCard, found: Mapping[str, Path], share: float) -> ModelCard:
    """The card with whose data it was, under which terms, what it is for and when not to trust it."""
    sets = [sources.source(name) for name in dict.fromkeys(name for name, _ in made.files)]
    extra = {**card.extra, "about": made.about, "asks": made.asks, "doubts": made.doubts, "rebuild": f"silicast models build {made.name}" + (" --data FOLDER" if made.files else "")}
    rows = ", ".join(f"{part.rows:,} of {part.kinds.replace('+', ', ')}" for part in made.parts if part.kinds)
    said = [f"learned from a seeded sample of the open rows ({rows} at most)"] * bool(rows) + [f"of that {share:.0%}, for a quick try"] * (share < 1.0)
    if said:
        extra["sample"] = ", ".join(said)
    if sets:
        extra |= {"attribution": "; ".join(s.attribution for s in sets), "files": json.dumps(sources.digests(dict(found)))}
    licence = "; ".join(f"{s.licence} ({s.repository})" for s in sets) or "none needed: labels of silicast's own simulator"
    source = ", ".join(s.name for s in sets) or card.data_source
    return replace(card, name=made.name, version="", data_source=f"measured:{source}" if sets else source, data_licence=licence, extra=extra,
                   simulator_version=SIMULATOR_VERSION if card.shape != "features" else "", units={t: TARGETS[t].unit if t in TARGETS else "" for t in made.targets})


def _saved(surrogate: Any, card: ModelCard, place: Path, asked: Any) -> Path:
    """The folder, saved small under a version that its weights decide; with networks in full precision where halves moved the answers. Raises InputError when they
    are moved even so."""
    before = surrogate.predict(asked).point
    probable, moved = np.isin(surrogate.targets, getattr(surrogate, "classes", ())), np.zeros(0)
    for halved in (True, False):
        store.save(surrogate, card, place, small=True, halved=halved)
        document = json.loads((place / "model.json").read_text(encoding="utf-8"))
        weights = json.dumps([document["spec"], {k: v for k, v in document["files"].items() if k != "card.json"}], sort_keys=True)
        store.save(surrogate, replace(card, version=f"{own_version()}-{_short(weights)}"), place, small=True, halved=halved)
        with np.errstate(divide="ignore", invalid="ignore"):
            after = store.load(place)[0].predict(asked).point
            moved = np.where(probable, np.abs(after - before), np.abs(np.log(after / before)))  # a design in a thousand or one in eleven hundred is the same
        moved = moved[np.isfinite(moved)]
        if not len(moved) or (np.median(moved) <= _MOVED[0] and np.quantile(moved, 0.999) <= _MOVED[1]):
            return place
    raise InputError(f"{place}: saved small, the model answers otherwise (median {np.median(moved):.2%}, worst {moved.max():.2%}); this is a defect of the surrogate's weights()")


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def stale() -> dict[str, str]:
    """Ready-made model -> why it no longer fits this silicast; those that fit are left out."""
    found = {name: ready.staleness(ready.card(name)) for name in ready.names()}
    return {name: why for name, why in found.items() if why}
