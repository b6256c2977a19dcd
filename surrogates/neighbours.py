"""What was read nearby: for each row of an op table, what rows of other groups under the same circumstances (machine, formats, framework, kernel) say of it.

Kernels are chosen by rules nobody wrote down, and machines have habits; where a reading lies above what physics says, its neighbours in size mostly do too. Each row is
answered by ordinary kriging (Matheron 1963; Cressie 1993, ch. 3) with an exponential covariance of the `_K` nearest rows, in logarithms of sizes, each size with a scale of its own,
chosen on rows left out. What comes out, log(truth / reference), moves the reference, so that trees and networks learn what neighbours do not tell; how near they lie, how sure
and how much at one they are go along as columns. In training a row never sees its own group: it is answered as a new site will be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import FormatError
from ..datasets.hardware import Hardware
from ..datasets.table import OpQuestions, Table
from ..features.matrix import Features, Vocabulary
from ..features.tabular import tabular_features
from .kin import machine_figures
from .target_scale import clipped

#: neighbours that have a say, asked for at first and, where most are of the row's own group, at last
_K, _FIRST, _LAST = 24, 72, 720
#: fewer readings than this under the same circumstances, or outside a row's group, say nothing
_LEAST = 6
#: share of training rows whose neighbours are hidden, so that answers without any are learned too (assumption)
_HIDDEN = 0.08
#: the covariance at no distance that is noise, as a share of all, tried beside the scales
_NOISES = (0.02, 0.05, 0.15)
#: rows left out to choose scales by, where scales start (octaves), and the factors tried
_TUNED, _START, _FACTORS = 600, 3.0, (0.4, 2.5)
#: circumstances that are told apart without fail; more could share a code by chance
_MOST_CELLS = 1 << 48
#: rows answered at once
_CHUNK = 2000
#: sizes that tell where a row lies; of those that follow from others the first is kept
_SIZES = ("m", "n", "k", "b", "row", "window", "op_batch", "op_heads", "head_sharing", "log_input_bytes", "log_weight_bytes", "log_output_bytes", "log_vector_flops")
_FILE = "neighbours.safetensors"


@dataclass(frozen=True, eq=False)
class Neighbours:
    """n readings: `places` (n, d) in scaled logarithms of the columns `dims`, `cell` (n,) codes of circumstances, `ratios`: target -> (n,) log(truth / reference), NaN where
    there is none. `machines`, `cards`: how circumstances become codes. `figures`: (D, f) of the machines, NaN where nobody published any: a machine never seen has the neighbours
    of the one most like it that ran the same."""

    dims: tuple[str, ...]
    scales: np.ndarray
    noise: float
    machines: tuple[str, ...]
    cards: tuple[int, ...]
    places: np.ndarray
    cell: np.ndarray
    ratios: Mapping[str, np.ndarray]
    figures: np.ndarray
    key: str = ""
    _trees: dict[int, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, features: Features, questions: OpQuestions, targets: Mapping[str, np.ndarray], groups: np.ndarray, seed: int) -> Self:
        """The readings of a table, with the scales that answer rows of it best when their groups are left out. Targets without a reference to trust are left out."""
        dims, raw = _places(features)
        used = np.unique(questions.device_index)
        machines = tuple(questions.device_names[i] for i in used)
        cards = tuple(int(np.nan_to_num(features.values[:, j], nan=-1.0).max()) + 2 for j in features.categorical)
        ratios = {}
        for name, truth in targets.items():
            if name in features.reference and name not in features.guessed and np.isfinite(truth).any() and (truth[np.isfinite(truth)] > 0).all():
                ratio = np.log(truth / features.reference[name]).astype(np.float32)
                ratio[np.isfinite(ratio)] = clipped(ratio[np.isfinite(ratio)])[0]
                ratios[name] = ratio
        first = cls(dims, np.full(len(dims), 1.0 / _START), _NOISES[1], machines, cards, raw, np.zeros(len(raw), dtype=np.int64), ratios,
                    np.array([machine_figures(questions.devices[i]) for i in used]))
        first = replace(first, cell=first.cells(features, questions))
        made = first._tuned(groups, seed) if ratios and dims else first
        digest = hashlib.sha256(made.places.tobytes())
        for ratio in ratios.values():
            digest.update(ratio.tobytes())
        return replace(made, key=digest.hexdigest()[:16], _trees={})

    def _tuned(self, groups: np.ndarray, seed: int) -> Self:
        """The same readings with the scales and the noise that answer a sample of them best, a size at a time."""
        name = next(iter(self.ratios))
        rng = np.random.default_rng(seed)
        told = np.flatnonzero(np.isfinite(self.ratios[name]) & (self.cell >= 0))
        # of many circumstances the largest are tried: each costs a tree of places for every scale
        cells, counts = np.unique(self.cell[told], return_counts=True)
        told = told[np.isin(self.cell[told], cells[np.argsort(-counts, kind="stable")][:8])]
        asked = rng.permutation(told)[:_TUNED]
        if len(asked) < 4 * _LEAST:
            return replace(self, places=self._scaled(self.places))

        def error(scales: np.ndarray, noise: float) -> float:
            there = replace(self, scales=scales, noise=noise, places=(self.places[told] * scales).astype(np.float32), cell=self.cell[told], ratios={name: self.ratios[name][told]}, _trees={})
            found = there._answers((self.places[asked] * scales).astype(np.float32), self.cell[asked], groups[asked], groups[told])[:, 0]
            off = np.abs(np.where(np.isfinite(found), found, np.median(self.ratios[name][told])) - self.ratios[name][asked])
            return float(np.mean(np.minimum(off, 0.5)))

        tried = {f: error(self.scales * f, self.noise) for f in (0.5, 1.0, 2.0)}
        factor = min(tried, key=lambda f: tried[f])
        scales, noise, best = self.scales * factor, self.noise, tried[factor]
        for _ in range(2):
            for j in range(len(scales)):
                for f in _FACTORS:
                    other = np.where(np.arange(len(scales)) == j, scales * f, scales)
                    if (found := error(other, noise)) < 0.998 * best:
                        scales, best = other, found
        for other_noise in _NOISES:
            if (found := error(scales, other_noise)) < 0.998 * best:
                noise, best = other_noise, found
        made = replace(self, scales=scales, noise=noise)
        return replace(made, places=made._scaled(self.places))

    def _scaled(self, raw: np.ndarray) -> np.ndarray:
        return (raw * self.scales).astype(np.float32)

    def cells(self, features: Features, questions: OpQuestions) -> np.ndarray:
        """(n,) code of the circumstances of each row, of the machine most like its own where that was never seen; -1 for a word never seen."""
        place = {name: i for i, name in enumerate(self.machines)}
        lost, rest, span = np.zeros(len(features.values), dtype=bool), np.zeros(len(features.values), dtype=np.int64), 1
        for j, card in zip(features.categorical, self.cards, strict=True):
            code = np.nan_to_num(features.values[:, j], nan=-1.0).astype(np.int64)
            lost |= code >= card - 1
            rest, span = rest * card + code + 1, min(span * card, _MOST_CELLS)
        out = np.full(len(rest), -1, dtype=np.int64)
        for index in np.unique(questions.device_index):
            name, rows = questions.device_names[index], questions.device_index == index
            if name in place:
                out[rows] = place[name] * span + rest[rows]
                continue
            for like in self._kin(questions.devices[index]):
                left = rows & (out < 0)
                out[left] = np.where(np.isin(like * span + rest[left], np.unique(self.cell)), like * span + rest[left], -1)
        return np.where(lost, -1, out)

    def placed(self, features: Features) -> np.ndarray:
        """(n, d) where rows lie, scaled as readings are."""
        raw = np.column_stack([features.values[:, features.names.index(d)] for d in self.dims]) if self.dims else np.zeros((len(features.values), 0))
        return self._scaled(_octaves(raw, self.dims))

    def nearest(self, code: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """((q, k) distances, (q, k) rows) of the readings nearest to scaled `places` under the circumstances `code`; None where they are too few."""
        rows = self._rows(code)
        return self._nearest(code, rows, places, None, None) if len(rows) >= _LEAST else None

    def _kin(self, device: Hardware | None) -> np.ndarray:
        """Numbers of the machines, the one most like another first; none for one without figures."""
        apart = np.array([np.nanmean((own - machine_figures(device)) ** 2) if np.isfinite(own - machine_figures(device)).any() else np.inf for own in self.figures])
        return np.array([i for i in np.argsort(apart, kind="stable") if np.isfinite(apart[i])], dtype=np.int64)

    def columns(self) -> tuple[str, ...]:
        """The names of the columns added to features."""
        return (*(name for target in self.ratios for name in (f"near_{target}", f"near_{target}_spread")), "near_distance", "near_doubt")

    def applied(self, features: Features, questions: OpQuestions) -> Features:
        """`features` with references moved to what the neighbours read, and the columns that tell of it; as they were, and NaN, where there are none."""
        kept = questions.__dict__.get("_near")
        if kept is None or kept[0] != self.key:
            kept = questions.__dict__["_near"] = (self.key, self._answers(self.placed(features), self.cells(features, questions)))
        return self._moved(features, kept[1])

    def _moved(self, features: Features, found: np.ndarray) -> Features:
        reference = dict(features.reference)
        for j, name in enumerate(self.ratios):
            reference[name] = reference[name] * np.exp(np.nan_to_num(found[:, 2 * j].astype(np.float64)))
        names = self.columns()
        return replace(features, names=(*features.names, *names), units=(*features.units, *["log 1"] * len(names)), values=np.concatenate([features.values, found], axis=1),
                       reference=reference, roles=(*features.roles, *["own"] * len(names)) if features.roles else ())

    def _answers(self, places: np.ndarray, cell: np.ndarray, groups: np.ndarray | None = None, own: np.ndarray | None = None) -> np.ndarray:
        """(n, 2 t + 2) per target what neighbours read and how far they lie apart, then the distance to the nearest and the share of the variance that is left.
        With `groups` (n,), readings whose group (`own`) is the row's are left out."""
        out = np.full((len(places), 2 * len(self.ratios) + 2), np.nan, dtype=np.float32)
        stack = np.column_stack(list(self.ratios.values())) if self.ratios else np.zeros((len(self.cell), 0), dtype=np.float32)
        for code in np.unique(cell[cell >= 0]) if self.ratios and self.dims else ():
            rows = self._rows(int(code))
            if len(rows) < _LEAST:
                continue
            asked = np.flatnonzero(cell == code)
            for at in np.split(asked, range(_CHUNK, len(asked), _CHUNK)):
                distance, index = self._nearest(int(code), rows, places[at], groups[at] if groups is not None else None, own)
                out[at] = _kriged(distance, self.places[index], stack[index], self.noise)
        return out

    def _rows(self, code: int) -> np.ndarray:
        return self._tree(code)[1]

    def _tree(self, code: int) -> Any:
        if code not in self._trees:
            from scipy.spatial import cKDTree

            rows = np.flatnonzero(self.cell == code)
            self._trees[code] = (cKDTree(self.places[rows], balanced_tree=False, compact_nodes=False) if len(rows) else None, rows)
        return self._trees[code]

    def _nearest(self, code: int, rows: np.ndarray, places: np.ndarray, groups: np.ndarray | None, own: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """((q, k) distances, infinite where there are fewer; (q, k) rows) of the nearest readings."""
        tree, k = self._tree(code)[0], min(_K, len(rows))
        if groups is None or own is None:
            distance, index = tree.query(places, k=k)
            return distance.reshape(len(places), k), rows[index.reshape(len(places), k)]
        distance, index = np.full((len(places), k), np.inf), np.zeros((len(places), k), dtype=np.int64)
        left = np.arange(len(places))
        for count in (_FIRST, _LAST):
            count = min(count, len(rows))
            d, i = (a.reshape(len(left), count) for a in tree.query(places[left], k=count))
            i = rows[i]
            d = np.where(own[i] == groups[left][:, None], np.inf, d)
            order = np.argsort(d, axis=1, kind="stable")[:, :k]
            distance[left], index[left] = np.take_along_axis(d, order, 1), np.take_along_axis(i, order, 1)
            left = left[np.isfinite(distance[left]).sum(1) < min(_K // 2, k)]
            if not len(left) or count == len(rows):
                break
        return distance, index

    def to_json(self) -> dict[str, Any]:
        """A plain dict; the readings are in `files`."""
        return {"dims": list(self.dims), "noise": self.noise, "machines": list(self.machines), "cards": list(self.cards), "targets": list(self.ratios), "key": self.key}

    def files(self) -> dict[str, bytes]:
        """The readings as safetensors."""
        from safetensors.numpy import save

        cells, index = np.unique(self.cell, return_inverse=True)
        arrays = {"places": np.ascontiguousarray(self.places, dtype=np.float32), "cells": cells, "cell": index.astype(np.int32), "scales": self.scales.astype(np.float64),
                  "figures": np.ascontiguousarray(self.figures, dtype=np.float64)}
        return {_FILE: save(arrays | {f"ratio.{name}": np.ascontiguousarray(ratio, dtype=np.float32) for name, ratio in self.ratios.items()})}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path) -> Self:
        """The inverse of `to_json` and `files`; raises FormatError when readings are missing or of another shape."""
        from safetensors.numpy import load

        if _FILE not in files:
            raise FormatError(f"{folder}: the readings that neighbours are found among are missing ({_FILE})")
        try:
            arrays = load(files[_FILE])
            ratios = {name: arrays[f"ratio.{name}"] for name in spec["targets"]}
            cell = arrays["cells"][arrays["cell"]]
            if arrays["places"].shape != (len(cell), len(spec["dims"])) or any(r.shape != (len(cell),) for r in ratios.values()) or arrays["scales"].shape != (len(spec["dims"]),) \
                    or len(arrays["figures"]) != len(spec["machines"]):
                raise ValueError("readings of another shape")
            return cls(tuple(spec["dims"]), arrays["scales"], float(spec["noise"]), tuple(spec["machines"]), tuple(int(c) for c in spec["cards"]), arrays["places"], cell, ratios, arrays["figures"],
                       str(spec["key"]))
        except Exception as error:
            raise FormatError(f"{folder / _FILE}: not readings to find neighbours among ({error})") from None


def learned_near(table: Table, vocabulary: Vocabulary, targets: Sequence[str], seed: int) -> tuple[Neighbours, Features]:
    """(the neighbours that a table's rows are, its features as its rows will see them with their own groups left out); made once for members that learn from the same table."""
    assert isinstance(table.questions, OpQuestions)
    kept = table.questions.__dict__.get("_left_out")
    wanted = (tuple(targets), seed)
    if kept is None or kept[0] != wanted:
        features = tabular_features(table.questions, vocabulary)
        groups = np.unique(table.groups.astype(str), return_inverse=True)[1]
        near = Neighbours.of(features, table.questions, {name: table.targets[name] for name in targets if name in table.targets}, groups, seed)
        found = near._answers(near.places, near.cell, groups, groups)
        found[np.random.default_rng(seed).random(len(found)) < _HIDDEN] = np.nan
        kept = table.questions.__dict__["_left_out"] = (wanted, near, near._moved(features, found))
    return kept[1], kept[2]


def left_out(table: Table, rows: np.ndarray) -> OpQuestions:
    """Questions of `rows` (r,) of a table that neighbours were `learned_near` of, which see what their own groups do not tell, as in training."""
    assert isinstance(table.questions, OpQuestions)
    _, near, features = table.questions.__dict__["_left_out"]
    questions = table.questions.take(rows)
    questions.__dict__["_near"] = (near.key, features.values[rows, -len(near.columns()):])
    kept = table.questions.__dict__.get("_features")
    if isinstance(kept, dict):
        questions.__dict__["_features"] = {key: each.rows(rows) for key, each in kept.items()}
    return questions


def _octaves(values: np.ndarray, dims: Sequence[str]) -> np.ndarray:
    """(n, d) places before scaling: sizes, which are logarithms already, in octaves; the table's own numbers as logarithms where none is negative."""
    out = np.nan_to_num(values.astype(np.float64))
    for j, name in enumerate(dims):
        if name not in _SIZES:
            out[:, j] = np.sign(out[:, j]) * np.log1p(np.abs(out[:, j]))
    return out / np.log(2.0)


def _places(features: Features) -> tuple[tuple[str, ...], np.ndarray]:
    """(columns that tell rows apart, (n, d) values in octaves): one that nearly follows from those before it is left out."""
    own = [n for n, role in zip(features.names, features.roles, strict=True) if role == "own"] if features.roles else []
    names = [n for n in (*_SIZES, *own) if n in features.names]
    values = _octaves(np.column_stack([features.values[:, features.names.index(n)] for n in names]), names) if names else np.zeros((len(features.values), 0))
    kept: list[int] = []
    for j in range(len(names)):
        column = values[:, j] - values[:, j].mean()
        if kept and column.std() > 0.05:
            others = values[:, kept] - values[:, kept].mean(0)
            column = column - others @ np.linalg.lstsq(others, column, rcond=None)[0]
        if column.std() > max(0.05, 0.02 * values[:, j].std()):
            kept.append(j)
    return tuple(names[j] for j in kept), values[:, kept]


def _kriged(distance: np.ndarray, there: np.ndarray, ratios: np.ndarray, noise: float) -> np.ndarray:
    """(q, 2 t + 2) answers of ordinary kriging from (q, k) distances to neighbours at (q, k, d) that read (q, k, t)."""
    ok = np.isfinite(distance)
    k = distance.shape[1]
    square = (there * there).sum(2)
    apart = square[:, :, None] + square[:, None, :] - 2.0 * (there @ there.transpose(0, 2, 1))
    cov = np.exp(-np.sqrt(np.maximum(apart, 0.0)))
    cov[:, np.arange(k), np.arange(k)] = 1.0 + noise + np.where(ok, 0.0, 1e5)  # one left out counts for nothing
    one = ok.astype(np.float32)
    toward = np.where(ok, np.exp(-np.where(ok, distance, 0.0)), 0.0).astype(np.float32)
    solved = np.linalg.solve(cov.astype(np.float32), np.stack([toward, one], axis=2))
    simple, level = solved[:, :, 0], solved[:, :, 1]
    weight = simple + level * ((1.0 - (one * simple).sum(1)) / np.maximum((one * level).sum(1), 1e-6))[:, None]
    weight = np.where(ok, weight, 0.0)
    parts = []
    for j in range(ratios.shape[2]):
        told = np.isfinite(ratios[:, :, j]) & ok
        w, y = np.where(told, weight, 0.0), np.where(told, ratios[:, :, j], 0.0)
        total = w.sum(1)
        mean = (w * y).sum(1) / np.where(np.abs(total) > 0.1, total, np.nan)
        positive = np.maximum(w, 0.0)
        spread = np.sqrt((positive * (y - mean[:, None]) ** 2).sum(1) / np.maximum(positive.sum(1), 1e-6))
        parts += [np.clip(mean, y.min(1) - 0.7, y.max(1) + 0.7), spread]
    parts += [np.where(ok, distance, np.inf).min(1), 1.0 - (toward * simple).sum(1)]
    out = np.column_stack(parts).astype(np.float32)
    out[ok.sum(1) < min(_LEAST, k)] = np.nan
    return out
