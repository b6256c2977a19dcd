"""What a correction by few shots is made of: the covariates of `adapted`, in blocks, for every shape of questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ..datasets import catalog
from ..datasets.assigned import assigned
from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.errors import UnknownNameError
from ..datasets.networks import NetworkQuestions
from ..datasets.ops import KIND_NAMES
from ..datasets.table import FeatureQuestions, GraphQuestions, OpQuestions
from ..features.tabular import Features, Vocabulary

#: columns of `features.tabular` that say what limits a piece of work
_PHYSICS = ("bound_over_estimate", "compute_over_estimate", "dram_over_estimate", "vector_over_estimate", "cache_over_estimate", "launch_over_estimate", "power_over_limit",
            "compute_share", "dram_share", "vector_share", "cache_share", "launch_share", "bound_share", "conv_share", "gemm_share", "attention_share", "depthwise_share",
            "elementwise_share", "reduction_share", "movement_share", "compute_bound_share", "resident_share", "few_waves_share")
#: columns smoothness is measured over: sizes
_SIZES = ("m", "n", "k", "b", "row", "window", "log_bytes", "log_matrix_flops", "log_flops", "log_params", "log_activation_bytes", "log_kernels", "log_estimate")

#: what holds an operator back: share of the time that every call costs, arithmetic over memory, what a warm cache would save (logarithms); name, least, most, and the distance over which its effect
#: changes (assumptions)
_REGIME = (("fixed_share", -7.0, 0.0, 1.5), ("arithmetic", -4.0, 4.0, 1.2), ("hot_over_cold", -2.0, 0.0, 0.5))
#: sizes that are no function of one another, and the simulated time: over these kernels change from one to the next
_CLOSE = ("m", "n", "k", "b", "row", "log_simulated")

_NONE, _NOWHERE = np.zeros(0), np.zeros((0, 0))

#: length over which the rough block turns, over that of the smooth one (assumption: what a few dozen shots can tell from noise)
_ROUGH = 0.4


@dataclass(frozen=True)
class Blocks:
    """n rows of covariates. `linear`: block -> (n, p), or (n, t, p) where targets differ; `smooth`: (n, q) places; `regime`, `close`: (n, r) places of operators, in lengths: what holds them
    back, and their sizes (empty for other questions, and of shots kept before they were thought of)."""

    linear: Mapping[str, np.ndarray]
    smooth: np.ndarray
    regime: np.ndarray = field(default_factory=lambda: _NOWHERE)
    close: np.ndarray = field(default_factory=lambda: _NOWHERE)

    def __len__(self) -> int:
        return len(self.smooth)

    def take(self, rows: np.ndarray) -> Blocks:
        """The rows of a (n,) mask or positions."""
        return Blocks({k: v[rows] for k, v in self.linear.items()}, self.smooth[rows], *(a[rows] if len(a) else a for a in (self.regime, self.close)))

    def grams(self, other: Blocks, target: int) -> dict[str, np.ndarray]:
        """Block -> (n, m) covariance of unit scale with the rows of `other`, for the target at that position."""
        out = {"level": np.ones((len(self), len(other)))}
        for name, mine in self.linear.items():
            a, b = (mine[:, target], other.linear[name][:, target]) if mine.ndim == 3 else (mine, other.linear[name])
            out[name] = a @ b.T
        if "physics" in out and "kinds" in out:
            out["each"] = out["physics"] * out["kinds"]
        if self.smooth.shape[1]:
            distance = _square(self.smooth, other.smooth) / self.smooth.shape[1]
            out["smooth"], out["rough"] = np.exp(-0.5 * distance), np.exp(-0.5 * distance / _ROUGH**2)
            if "strange" in out:
                out["strangely"] = out["strange"] * out["smooth"]
        if self.regime.size and other.regime.size:
            out |= {name: np.exp(-0.5 * _square(a, b)) for name, a, b in (("regime", self.regime, other.regime), ("close", self.close, other.close)) if a.shape[1]}  # without a place all are one: a second level
            if "kinds" in out:
                same = out["kinds"] >= np.maximum(self.linear["kinds"].sum(1)[:, None], other.linear["kinds"].sum(1)[None, :]) - 0.5
                out |= {f"own {name}": out[name] * same for name in ("regime", "close") if name in out}
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name; the inverse is `of`."""
        return {**{f"linear.{k}": v for k, v in self.linear.items()}, "smooth": self.smooth, **({"regime": self.regime, "close": self.close} if self.regime.size else {})}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Blocks:
        """From `arrays`; the blocks come in the order they are computed in."""
        order = [k for k in ("physics", "kinds", "others", "strange") if f"linear.{k}" in arrays]
        return cls({k: arrays[f"linear.{k}"] for k in order}, arrays["smooth"], arrays.get("regime", _NOWHERE), arrays.get("close", _NOWHERE))


def blocks(questions: Any, features: Features, words: Vocabulary, curves: np.ndarray, stats: dict[str, np.ndarray], learn: bool,
           known: Mapping[str, Sequence[str]] | None = None) -> Blocks:
    """The blocks of n questions with their `features`. `curves`: (k, n, t) logarithms of the guesses: the model's own answer, the mean of the known values', and each
    of those; `stats`: centres and spreads, written when `learn`, read else; `known`: circumstance -> the words the model was fitted with, of which others are told apart when `learn`."""
    names = list(features.names)
    linear: dict[str, np.ndarray] = {}
    values = features.values.astype(np.float64)
    physics = [names.index(n) for n in _PHYSICS if n in names]
    if physics:
        shares = np.nan_to_num(values[:, physics])
        if learn:
            stats["physics.mean"] = shares.mean(0)
        linear["physics"] = np.clip(shares - stats["physics.mean"], -2.0, 2.0)
    kinds = _kinds(questions, words)
    if kinds.shape[1] > 1:
        linear["kinds"] = kinds
    if len(curves) > 2:
        apart = (np.delete(curves, 1, axis=0) - curves[1]).transpose(1, 2, 0)  # (n, t, k - 1): how each differs from the mean
        if learn:
            stats["others.mean"] = apart.mean(0)
        linear["others"] = (apart - stats["others.mean"]) / np.sqrt(apart.shape[2])
    if learn and known:
        stats["kinds.new"] = _new(questions, words, known)
    if "kinds" in linear and stats.get("kinds.new", _NONE).any():
        linear["strange"] = kinds[:, stats["kinds.new"] > 0]
    places = _places(questions, names, values, features.categorical, kinds, stats, learn)
    if not isinstance(questions, OpQuestions) or not (learn or "close.mean" in stats):
        return Blocks(linear, places)
    return Blocks(linear, places, *_held_back(names, values, stats, learn))


def _places(questions: Any, names: list[str], values: np.ndarray, categorical: tuple[int, ...], kinds: np.ndarray, stats: dict[str, np.ndarray], learn: bool) -> np.ndarray:
    """(n, q) standardised sizes, and kinds beside them; all columns of a plain feature table."""
    if isinstance(questions, FeatureQuestions):
        sized = [values[:, j] for j in range(len(names)) if j not in categorical]
        worded = [(values[:, j, None] == np.unique(stats.get(f"codes.{j}", values[:, j]))) for j in categorical]
        if learn:
            stats |= {f"codes.{j}": np.unique(values[np.isfinite(values[:, j]), j]) for j in categorical}
            worded = [(values[:, j, None] == stats[f"codes.{j}"]) for j in categorical]
        raw = np.column_stack([*(np.sign(v) * np.log1p(np.abs(v)) for v in sized), *worded]) if sized or worded else np.zeros((len(values), 0))
    else:
        raw = np.concatenate([values[:, [names.index(n) for n in _SIZES if n in names]], kinds], axis=1)
    raw = np.nan_to_num(raw.astype(np.float64))
    if learn:
        stats["smooth.mean"], stats["smooth.std"] = raw.mean(0), raw.std(0)
    moves = stats["smooth.std"] > 1e-6
    return np.clip((raw[:, moves] - stats["smooth.mean"][moves]) / stats["smooth.std"][moves], -6.0, 6.0)


def _held_back(names: list[str], values: np.ndarray, stats: dict[str, np.ndarray], learn: bool) -> tuple[np.ndarray, np.ndarray]:
    """((n, 3) what holds operators back, (n, r) their sizes), in lengths over which a correction turns."""
    told = {n: np.nan_to_num(values[:, names.index(n)]) for n in ("fixed_share", "compute_share", "memory_share", "hot_over_cold")}
    told["arithmetic"] = told["compute_share"] - np.log(np.maximum(told["memory_share"], 1e-6))
    raw = np.nan_to_num(values[:, [names.index(n) for n in _CLOSE]])
    if learn:
        stats["close.mean"], stats["close.std"] = raw.mean(0), raw.std(0)
    moves = stats["close.std"] > 1e-6
    close = np.clip((raw[:, moves] - stats["close.mean"][moves]) / stats["close.std"][moves], -6.0, 6.0)
    return np.column_stack([np.clip(told[n], low, high) / length for n, low, high, length in _REGIME]), close


def _square(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) squared distances."""
    return np.asarray(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2.0 * a @ b.T, 0.0))


def _kinds(questions: Any, words: Vocabulary) -> np.ndarray:
    """(n, c) one column per operator kind, per format and per value of a circumstance, as the shots have them."""
    parts = []
    if isinstance(questions, OpQuestions):
        parts.append((questions.ops.kind[:, None] == np.arange(len(KIND_NAMES))[None, :]).astype(np.float64))
        parts.append((questions.ops.dtype[:, None] == np.arange(len(DTYPE_NAMES))[None, :]).astype(np.float64))
        parts += [(questions.context[c].astype(str).to_numpy(dtype=object)[:, None] == np.array(words[c], dtype=object)).astype(np.float64) for c in _told_apart(questions, words)]
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(questions), 0))


def _told_apart(questions: OpQuestions, words: Vocabulary) -> list[str]:
    return [c for c in words if c in questions.context.columns and len(words[c]) > 1]


def _new(questions: Any, words: Vocabulary, known: Mapping[str, Sequence[str]]) -> np.ndarray:
    """(c,) 1 for each of the columns of `_kinds` that is a word of a circumstance the model was not fitted with."""
    if not isinstance(questions, OpQuestions):
        return _NONE
    told = [float(word not in known.get(c, words[c])) for c in _told_apart(questions, words) for word in words[c]]
    return np.array([0.0] * (len(KIND_NAMES) + len(DTYPE_NAMES)) + told)


def column_of(questions: Any, column: str) -> np.ndarray | None:
    """(n,) strings of a column: the machine for "device" of ops and workloads, else a circumstance or a column of the frame; None where there is none."""
    if column == "device" and isinstance(questions, OpQuestions):
        return np.asarray(np.array(questions.device_names, dtype=object)[questions.device_index].astype(str))
    if column == "device" and isinstance(questions, GraphQuestions):
        return np.array([d.key for d in questions.devices], dtype=object)[questions.device_index].astype(str)
    frame: pd.DataFrame | None = getattr(questions, "frame", getattr(questions, "context", None))
    return None if frame is None or column not in frame.columns else np.asarray(frame[column].astype(str).to_numpy(dtype=str))


def asked_of(questions: Any, column: str, value: str) -> Any:
    """The same questions with `value` in that column: another machine, another stack."""
    if isinstance(questions, NetworkQuestions) and column == questions.machine_column:
        return questions.on(value, _machine(value))
    if isinstance(questions, NetworkQuestions):
        return questions.over(assigned(questions.frame, {column: value}), questions.index, questions.device_names, questions.devices, questions.device_index)
    if isinstance(questions, FeatureQuestions):
        return FeatureQuestions(assigned(questions.frame, {column: value}))
    if isinstance(questions, OpQuestions) and column == "device":
        return replace(questions, device_names=(value,), devices=(_machine(value),), device_index=np.zeros(len(questions), dtype=np.int64))
    if isinstance(questions, OpQuestions):
        return replace(questions, context=assigned(questions.context, {column: value}))
    return replace(questions, devices=(catalog.hardware(value),), device_index=np.zeros(len(questions), dtype=np.int64))


def _machine(name: str) -> Any:
    try:
        return catalog.hardware(name)
    except UnknownNameError:
        return None
