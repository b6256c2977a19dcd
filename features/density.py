"""How far a question lies from those a model learned from, in the physics a model sees: columns that mean the same on every machine and at every size.

Trained rows (at most `KEPT`) are kept in the model card, standardised and turned onto their principal axes. A question further from the nearest of them than
is usual (for a trained row, from rows of other groups) is unlike anything trained on; how thinly the place is settled is the mean over the `NEIGHBOURS` nearest.
"""

from __future__ import annotations

import base64
from collections.abc import Container, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.errors import FormatError
from ..datasets.table import FeatureQuestions, GraphQuestions, OpQuestions
from .device import DEVICE_FEATURES
from .tabular import learn_vocabulary, tabular_features

#: trained rows kept, axes they are kept on, neighbours a distance is the mean over
KEPT, AXES, NEIGHBOURS = 1500, 24, 5
#: the share of trained distances that count as usual
USUAL = 0.98
#: numbers that place a word of a plain table, and what stands between its column's name and theirs
_PLACES, _WORD = 3, "\x1f"
#: standard deviations beyond which a column counts as this far
_FARTHEST = 6.0
#: questions whose distances are held at once
_CHUNK = 4096


def columns(questions: Any, compute: bool = True, rows: np.ndarray | None = None) -> tuple[list[str], np.ndarray] | None:
    """Names and (n, d) values (or those of some `rows`) of the columns that distances are measured in: of whole workloads all but the machine's own figures, of operators the ratios
    that mean the same everywhere, of a plain table the logarithms of its numbers and the places of its words. Columns that a model has left with the questions
    are taken from there; None where there are none and `compute` is False."""
    if isinstance(questions, FeatureQuestions):
        return _numbers(questions.frame if rows is None else questions.frame.iloc[rows])
    kept = questions.__dict__.get("_features")
    features = next(iter(kept.values()), None) if isinstance(kept, dict) else kept
    if features is None:
        if not compute:
            return None
        asked = questions if rows is None or len(rows) == len(questions) else questions.take(rows)
        features, rows = tabular_features(asked, learn_vocabulary(asked) if isinstance(asked, OpQuestions) else {}), None
    if isinstance(questions, GraphQuestions):
        machine = {name for name, _ in DEVICE_FEATURES}
        at = [i for i, name in enumerate(features.names) if name not in machine]
    else:
        at = [i for i, role in enumerate(features.roles) if role == "physics"]
    return [features.names[i] for i in at], features.values[:, at] if rows is None else features.values[np.ix_(rows, np.array(at))]


def known_columns(questions: Any, known: Mapping[str, Any], compute: bool = True, rows: np.ndarray | None = None) -> np.ndarray | None:
    """(n, d) values of the columns that `known` describes; None where the questions lack one. A card made before words were placed goes by numbers alone."""
    if isinstance(questions, FeatureQuestions):
        wanted = {name: i for i, name in enumerate(known["names"])}
        names, values = _numbers(questions.frame if rows is None else questions.frame.iloc[rows], wanted)
        if len(names) < len(wanted):
            return None
        return values if names == list(wanted) else values[:, np.argsort([wanted[name] for name in names])]
    found = columns(questions, compute, rows)
    return found[1] if found is not None and found[0] == list(known["names"]) else None


def _numbers(frame: pd.DataFrame, wanted: Container[str] | None = None) -> tuple[list[str], np.ndarray]:
    """Numbers by their logarithms, and each word at a place of its own, anywhere: `_PLACES` numbers drawn by its digest, so that two are as far apart as two usual numbers, whatever they say.
    `wanted`: the names that are asked for, None for all; what belongs to no other is not computed."""
    asked = [(str(c), c, pd.api.types.is_numeric_dtype(kind)) for c, kind in zip(frame.columns.tolist(), frame.dtypes, strict=True)]
    names, values = [], []
    for name, c, numeric in asked:
        if numeric and (wanted is None or name in wanted):
            v = frame[c].to_numpy(dtype=np.float64, na_value=np.nan)
            names.append(name)
            values.append((np.sign(v) * np.log1p(np.abs(v)))[:, None])
    worded = [(name, c) for name, c, numeric in asked if not numeric and (wanted is None or f"{name}{_WORD}0" in wanted)]
    seen: dict[str, int] = {}  # each different word once, whatever column it stands in
    codes = [np.array([seen.setdefault(w, len(seen)) for w in map(str, frame[c].to_numpy(dtype=object))], dtype=np.int64) for _, c in worded]
    names += [f"{name}{_WORD}{i}" for name, _ in worded for i in range(_PLACES)]
    places = _places(list(seen))
    values += [places[code] for code in codes]
    return names, np.concatenate(values, axis=1) if values else np.zeros((len(frame), 0))


def _places(words: Sequence[str]) -> np.ndarray:
    """(m, `_PLACES`) usual normal numbers, the same for a word wherever it stands: the 32-bit parts of its digest, two by two, by the transform of Box and Muller (1958, "A note on the generation of random
    normal deviates")."""
    if not len(words):
        return np.zeros((0, _PLACES))
    digests = b"".join(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=16).digest() for word in words)
    even = (np.frombuffer(digests, dtype="<u4").reshape(-1, 2, 2) + 0.5) / 2.0**32
    length, turn = np.sqrt(-2.0 * np.log(even[:, :, 0])), 2.0 * np.pi * even[:, :, 1]
    return np.concatenate([length * np.cos(turn), length * np.sin(turn)], axis=1)[:, :_PLACES]


def describe(names: Sequence[str], values: np.ndarray, groups: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """What trained rows (n, d), at most `KEPT` of them, span, as plain JSON. `labels`: each row in words; `groups` (n,): rows of one are no news to each
    other. `usual` is None where there is but one group."""
    values = np.ascontiguousarray(values, dtype=np.float64)  # sums are the same whatever the layout
    there = np.isfinite(values)
    count = np.maximum(there.sum(0), 1)
    mean = np.where(there, values, 0.0).sum(0, dtype=np.float64) / count
    std = np.sqrt(np.where(there, (values - mean) ** 2, 0.0).sum(0) / count)
    std = np.where(std > 1e-6, std, 1.0)
    scaled = _scaled(values, mean, std)
    axes = np.linalg.eigh(scaled.T @ scaled)[1][:, ::-1][:, :AXES]
    axes = _unpacked(packed(axes), axes.shape[1])  # as they will be read
    rows = _unpacked(packed(scaled @ axes), axes.shape[1])
    codes = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    parts = []
    for at in range(0, len(rows), _CHUNK):
        squared = _squared(rows[at:at + _CHUNK], rows)
        squared[codes[at:at + _CHUNK, None] == codes[None, :]] = np.inf
        parts.append(np.sqrt(squared.min(1)))
    usual = np.concatenate(parts)
    usual = usual[np.isfinite(usual)]
    return {"names": list(names), "mean": [float(x) for x in mean], "std": [float(x) for x in std], "axes": packed(axes), "count": int(axes.shape[1]), "rows": packed(rows),
            "keys": list(labels), "usual": max(float(np.quantile(usual, USUAL)), 1e-3) if len(usual) else None}


def joined(known: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """What rows `known` span (`describe`) with the rows of `more` beside them, on the axes and by the usual distance of the first; as it was where their columns are not the same."""
    if list(known["names"]) != list(more["names"]):
        return dict(known)
    values = _unpacked(more["rows"], more["count"]) @ _unpacked(more["axes"], more["count"]).T * np.array(more["std"]) + np.array(more["mean"])
    return {**known, "rows": packed(np.concatenate([_unpacked(known["rows"], known["count"]), projected(known, values)])), "keys": [*known["keys"], *more["keys"]]}


def distances(known: Mapping[str, Any], values: np.ndarray, own: np.ndarray | None = None, theirs: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """((n,) distance to the nearest trained row, (n,) mean distance to the nearest few, (n,) which kept row is nearest) of rows (n, d), n at least 1. `own` (n,), `theirs` (kept,): groups, where
    the rows are trained ones themselves: then those of other groups count (infinitely far where there are none)."""
    turned, trained = projected(known, values), _unpacked(known["rows"], known["count"])
    parts = []
    for at in range(0, len(turned), _CHUNK):
        squared = _squared(turned[at:at + _CHUNK], trained)
        if own is not None and theirs is not None:
            squared[own[at:at + _CHUNK, None] == theirs[None, :]] = np.inf
        at_least = squared.argmin(1)
        parts.append((np.sqrt(squared[np.arange(len(squared)), at_least]), _mean_nearest(squared), at_least))
    nearest, mean, which = (np.concatenate(x) for x in zip(*parts, strict=True))
    return nearest, mean, which


def some(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` row numbers, evenly taken."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def projected(known: Mapping[str, Any], values: np.ndarray) -> np.ndarray:
    """(n, axes) float32 of rows on the axes described."""
    scaled = _scaled(values, np.array(known["mean"]), np.array(known["std"]))
    return (scaled @ _unpacked(known["axes"], known["count"])).astype(np.float32)


def worst(known: Mapping[str, Any], value: np.ndarray, nearest: int) -> str:
    """The column in which a row (d,) differs most from the kept row `nearest`."""
    axes = _unpacked(known["axes"], known["count"])
    theirs = _unpacked(known["rows"], known["count"])[nearest] @ axes.T
    ours = _scaled(value[None, :], np.array(known["mean"]), np.array(known["std"]))[0]
    return str(known["names"][int(np.abs(ours - theirs).argmax())]).partition(_WORD)[0]


def _mean_nearest(squared: np.ndarray) -> np.ndarray:
    """(n,) mean of the few least distances, from (n, m) squared ones."""
    count = min(NEIGHBOURS, squared.shape[1])
    return np.asarray(np.sqrt(np.partition(squared, count - 1, axis=1)[:, :count]).mean(1))


def packed(rows: np.ndarray) -> str:
    """(n, d) numbers as base64 of little-endian float16: a tenth of the time to read that a list of numbers takes."""
    return base64.b64encode(rows.astype("<f2").tobytes()).decode("ascii")


@lru_cache(maxsize=32)
def _unpacked(text: str, columns: int) -> np.ndarray:
    """The inverse of `packed` as float32, read once per card, for reading only; raises FormatError for damaged text."""
    try:
        rows = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f2").astype(np.float32).reshape(-1, columns)
    except ValueError as error:
        raise FormatError(f"model card: its domain is damaged ({error}); train the model again") from None
    rows.setflags(write=False)
    return rows


def unpacked(text: str, columns: int) -> np.ndarray:
    """(n, columns) float32 of `packed` text, for reading only. Raises FormatError for damaged text."""
    return _unpacked(text, columns)


def _scaled(values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return np.clip(np.nan_to_num((values - mean) / std), -_FARTHEST, _FARTHEST).astype(np.float32)


def _squared(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, m) squared distances."""
    return np.maximum((rows**2).sum(1)[:, None] + (others**2).sum(1)[None, :] - 2 * rows @ others.T, 0.0)
