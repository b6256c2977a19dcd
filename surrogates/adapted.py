"""Few-shot adaptation: ten to a hundred measurements of a new machine, network family or software stack correct a model made without them.

What the shots say is learned by `adapted_process`: guesses of what the new one is like (the model's own answer, the mean over the values it knows, each
of those), weighed by their evidence, each with a Gaussian process around it over what the model itself sees, in blocks (`adapted_blocks`):

    level     one factor for all             answer    a power of the guess itself
    physics   shares of the analytic bounds (compute, memory, launch, ...)
    kinds     one factor per operator kind and circumstance
    others    how the known machines (or stacks) differ from their mean on the same work: the new one is a mix of those
    smooth    a squared exponential over the model's features

It is shrunk: where leaving shots out one by one shows that no correction or one factor would have done better, that is what is kept.
Intervals come from the same left-out residuals, and rows the shots say nothing about (other machines) are answered as before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import FormatError, TableError
from ..datasets.table import Questions, Table
from ..features.tabular import Features, learn_vocabulary, tabular_features
from . import adapted_blocks, adapted_process
from .adapted_blocks import Blocks
from .adapted_process import PRIOR, Process
from .base import Surrogate
from .prediction import Prediction, consistent
from .target_scale import floor_share

#: the ways to correct, plainest first
_WAYS = ("none", "level", "full")
#: a plainer way is kept unless the next one is better than this share of its error (assumption: what chance brings with ten shots)
_WORTH = 0.93
#: how much of the whole correction is taken, as shots left out would have had it (assumption: steps fine enough)
_SHARES = (1.0, 0.75, 0.5, 0.25)
#: for a value never seen in a plain table: a plainer way is kept where its error is below this share of the whole correction's (assumption)
_PLAINLY = 0.6
#: shots learned from at most, evenly taken; rows answered at once
_MOST_SHOTS, _CHUNK = 1500, 8192


class Adapted:
    """`inner` corrected by shots. `scope`: column -> values the shots speak for ("device" for the machine of an op or a workload); empty: all rows.
    `others`: (column, value) pairs the model knows, whose answers a new value is mixed from. `vocabulary`: of the shots, for features.
    """

    name = "adapted"

    def __init__(self, inner: Surrogate, *, scope: Mapping[str, Sequence[str]] | None = None, others: Sequence[tuple[str, str]] = (), level: float = 0.9) -> None:
        self.inner, self.level = inner, level
        self._scope = {k: tuple(v) for k, v in (scope or {}).items()}
        self._others = tuple((str(c), str(v)) for c, v in others)
        self._vocabulary: dict[str, tuple[str, ...]] = {}
        self._features: list[str] = []
        self._share: dict[str, float] = {}
        self._stats: dict[str, np.ndarray] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._way: dict[str, str] = {}
        self._width: dict[str, float] = {}
        #: after `adapt`: (s, t) answers for the shots, each without its own measurement
        self.left_out = np.zeros((0, 0))
        #: after `adapt`: positions of shots taken for slips of the measurement; they count for nothing
        self.slips: tuple[int, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """What `inner` answers."""
        return self.inner.targets

    @property
    def shape(self) -> str:
        """The shape of questions `inner` takes."""
        return self.inner.shape

    @property
    def classes(self) -> tuple[str, ...]:
        """The targets answered as probabilities: they are not corrected."""
        return tuple(getattr(self.inner, "classes", ()))

    @property
    def ways(self) -> dict[str, str]:
        """Target -> how it is corrected: none, level (one factor) or full."""
        return dict(self._way)

    @property
    def calibrated_targets(self) -> tuple[str, ...]:
        """The corrected targets whose shots were enough for intervals."""
        return tuple(self._width)

    @property
    def scope(self) -> dict[str, tuple[str, ...]]:
        """Column -> the values the shots speak for."""
        return dict(self._scope)

    @property
    def _mixed(self) -> bool:
        """Whether answers start from the mean of those for known values: where the model sees nothing of a new one but its name."""
        return bool(self._others) and self.shape == "features"

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Fits `inner` to all rows and adapts to them."""
        self.inner = self.inner.fit(table, valid)
        return self.adapt(table)

    def adapt(self, shots: Table) -> Self:
        """Learns the correction from s rows. Raises TableError when no shot has a positive answer for any target."""
        if len(shots) > _MOST_SHOTS:
            shots = shots.take(np.unique(np.linspace(0, len(shots) - 1, _MOST_SHOTS).astype(np.int64)))
        self._vocabulary = learn_vocabulary(shots.questions)
        seen = tabular_features(shots.questions, self._vocabulary)
        self._features = list(seen.names)
        self._share = {t: floor_share(t, shots.targets[t], seen) for t in self.targets if t in shots.targets and t in seen.floor}
        blocks, curves, _ = self._blocks(shots.questions, learn=True)
        left_out = np.full((len(shots), len(self.targets)), np.nan)
        for j, name in enumerate(self.targets):
            truth = shots.targets.get(name)
            if truth is None or name in self.classes:
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = np.log(truth)
            good = np.isfinite(logs) & np.isfinite(curves[:, :, j]).all(0)
            if not good.any():
                continue
            found, slipped = self._learn(name, blocks.take(good), logs[good], curves[:, good, j])
            left_out[good, j] = np.exp(found)
            self.slips = tuple(sorted({*self.slips, *np.flatnonzero(good)[slipped].tolist()}))
            error = np.sort(np.abs(logs[good] - found)[~slipped])
            rank = math.ceil(round((len(error) + 1) * self.level, 9))
            if rank <= len(error):
                self._width[name] = float(error[rank - 1])
        if not self._way:
            raise TableError(f"calibrate: no row has a positive answer for {' or '.join(self.targets)}; the table has: {', '.join(shots.targets) or 'none'}")
        self.left_out = left_out
        return self

    def _blocks(self, questions: Any, learn: bool = False) -> tuple[Blocks, np.ndarray, Features]:
        """The blocks of n questions, (k, n, t) logarithms of the guesses (the model's own answer, the mean over known values, each of those; the first alone
        where none is known), and the features."""
        features = tabular_features(questions, self._vocabulary).ordered(self._features)
        own = self.inner.predict(questions).point
        known = [self.inner.predict(adapted_blocks.asked_of(questions, column, value)).point for column, value in self._others]
        logs = np.log(np.maximum(np.stack([own, *known]), 1e-300))
        logs = np.where(np.isfinite(logs), logs, logs[:1])  # what a known value has no answer for says nothing
        curves = np.concatenate([logs[:1], logs[1:].mean(0, keepdims=True), logs[1:]]) if known else logs
        return adapted_blocks.blocks(questions, features, self._vocabulary, curves, self._stats, learn), curves, features

    def _learn(self, name: str, blocks: Blocks, truth: np.ndarray, curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The process and the way for one target, from (s,) logarithms and (k, s) guesses; (s,) logarithms with each shot left out, (s,) which are slips."""
        grams = blocks.grams(blocks, self.targets.index(name))
        noisy = adapted_process.slips(truth, curves, grams)
        slipped = noisy > 0
        process, whole = adapted_process.learn(truth, curves, grams, noisy)
        base = curves[1 if self._mixed else 0]
        residual = truth - base
        share = 1.0
        if not self._mixed:
            share = min(_SHARES, key=lambda s: float(np.mean(np.abs(residual - s * (whole - base))[~slipped])))
        without = {"none": base, "level": base + _means_left_out(residual, ~slipped), "full": base + share * (whole - base)}
        errors = {way: float(np.mean(np.abs(truth - points)[~slipped])) for way, points in without.items()}
        best = "none"
        if self._mixed:  # a value never seen is mixed from those known, unless something plainer on their mean is plainly better
            best = min(("none", "level"), key=lambda way: errors[way])
            best = best if errors[best] < _PLAINLY * errors["full"] else "full"
        else:
            for way in _WAYS[1:]:
                if errors[way] < _WORTH * errors[best]:
                    best = way
        self._way[name] = best
        a = self._arrays
        a[f"{name}.level"] = np.array([float(np.median(residual[~slipped])) if len(residual) > 2 else float(residual.mean())])
        a[f"{name}.share"] = np.array([share])
        a[f"{name}.guesses"] = curves
        a |= {f"{name}.process.{k}": v for k, v in process.arrays().items()}
        a |= {f"{name}.shots.{k}": v for k, v in blocks.arrays().items()}
        return without[best], slipped

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) corrected answers in SI, with intervals from shots left out where there were enough; NaN where there were not."""
        before = self.inner.predict(questions)
        mine = self._speaks_for(questions)
        if not mine.any():
            return before
        rows = np.flatnonzero(mine)
        points = {t: before.point[mine, j].copy() for j, t in enumerate(self.targets)}
        for at in range(0, len(rows), _CHUNK):
            part = slice(at, min(at + _CHUNK, len(rows)))
            blocks, curves, features = self._blocks(questions.take(rows[part]))
            for j, name in enumerate(self.targets):
                if name in self._way:
                    points[name][part] = np.exp(self._corrected(name, blocks, curves[:, :, j], j))
                if name in features.floor:  # a correction beats the speed of light no more than the shots did
                    points[name][part] = np.maximum(points[name][part], self._share.get(name, 1.0) * features.floor[name])
        points = {t: np.where(np.isfinite(p), p, before.point[mine, j]) if t in self.classes else p for j, (t, p) in enumerate(consistent(points).items())}
        point, low, high = before.point.copy(), before.low.copy(), before.high.copy()
        for j, name in enumerate(self.targets):
            if name in self.classes:
                continue
            width = self._width.get(name, math.nan)
            point[mine, j] = points[name]
            low[mine, j], high[mine, j] = points[name] * math.exp(-width), points[name] * math.exp(width)
        return Prediction(before.targets, point, low, high, max(before.level, self.level if self._width else 0.0), before.domain, before.model, before.version)

    def _corrected(self, name: str, blocks: Blocks, curves: np.ndarray, column: int) -> np.ndarray:
        """(n,) logarithms of the corrected answers."""
        way, a = self._way[name], self._arrays
        base = curves[1 if self._mixed else 0]
        if way != "full":
            return np.asarray(base + (float(a[f"{name}.level"][0]) if way == "level" else 0.0))
        shots = Blocks.of({k.removeprefix(f"{name}.shots."): v for k, v in a.items() if k.startswith(f"{name}.shots.")})
        process = Process(**{k.removeprefix(f"{name}.process."): v for k, v in a.items() if k.startswith(f"{name}.process.")})
        whole = process.answer(curves, a[f"{name}.guesses"], blocks.grams(shots, column))
        return np.asarray(base + a[f"{name}.share"][0] * (whole - base))

    def _speaks_for(self, questions: Any) -> np.ndarray:
        """(n,) rows whose machine and circumstances are those of the shots."""
        mine = np.ones(len(questions), dtype=bool)
        for column, values in self._scope.items():
            found = adapted_blocks.column_of(questions, column)
            if found is not None:
                mine &= np.isin(found, values)
        return mine

    def most_telling(self, candidates: Any, count: int) -> np.ndarray:
        """(count,) positions of the questions whose measurements would lower the expected error over all candidates most, best first: greedily, each
        by the variance it takes from the others (A-optimal design, under the blocks' variances; those of the priors before any shot)."""
        fresh = not self._stats
        if fresh:
            self._vocabulary = learn_vocabulary(candidates)
            self._features = list(tabular_features(candidates, self._vocabulary).names)
        blocks, _, _ = self._blocks(candidates, learn=fresh)
        name = next((t for t in self.targets if t in self._way), self.targets[0])
        grams = blocks.grams(blocks, self.targets.index(name))
        theta = {k: PRIOR[k][0] for k in (*grams, "noise")}
        if self._way:
            learned, weight = self._arrays[f"{name}.process.theta"], self._arrays[f"{name}.process.weight"]
            theta = dict(zip((*grams, "answer", "noise"), np.exp(weight @ np.log(learned)), strict=True))
        c = np.asarray(sum(theta[k] * g for k, g in grams.items()))
        picked: list[int] = []
        for _ in range(min(count, len(candidates))):
            gain = (c**2).sum(0) / (np.diag(c) + theta["noise"])
            gain[picked] = -np.inf
            best = int(np.argmax(gain))
            picked.append(best)
            c = c - np.outer(c[:, best], c[best]) / (c[best, best] + theta["noise"])
        return np.array(picked, dtype=np.int64)

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The shots' blocks and their weights, and all of `inner`."""
        from safetensors.numpy import save

        spec, files = self.inner.weights()
        arrays = {k: np.ascontiguousarray(v, dtype=np.float64) for k, v in {**self._arrays, **{f"stats.{k}": v for k, v in self._stats.items()}}.items()}
        return {"inner": self.inner.name, "inner_spec": spec, "level": self.level, "scope": self._scope, "others": [list(o) for o in self._others],
                "vocabulary": self._vocabulary, "features": self._features, "share": self._share, "way": self._way, "width": self._width}, {**files, "adapted.safetensors": save(arrays)}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`; raises FormatError when the shots are missing or damaged."""
        from safetensors.numpy import load

        if "adapted.safetensors" not in files:
            raise FormatError(f"{folder}: adapted.safetensors is missing")
        rest = {k: v for k, v in files.items() if k != "adapted.safetensors"}
        out = cls(member(spec["inner"]).from_weights(spec["inner_spec"], rest, folder, member), scope=spec["scope"], others=[tuple(o) for o in spec["others"]], level=spec["level"])
        out._vocabulary = {k: tuple(v) for k, v in spec["vocabulary"].items()}
        out._features, out._share = list(spec["features"]), dict(spec["share"])
        out._way, out._width = dict(spec["way"]), dict(spec["width"])
        try:
            arrays = load(files["adapted.safetensors"])
        except Exception as error:
            raise FormatError(f"{folder / 'adapted.safetensors'}: not the shots of an adapted model ({error})") from None
        out._stats = {k.removeprefix("stats."): v for k, v in arrays.items() if k.startswith("stats.")}
        out._arrays = {k: v for k, v in arrays.items() if not k.startswith("stats.")}
        if any(f"{t}.{part}" not in out._arrays for t in out._way for part in ("process.theta", "process.alpha", "guesses", "level", "share")):
            raise FormatError(f"{folder / 'adapted.safetensors'}: shots of a target are missing")
        return out


def _means_left_out(residual: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(s,) median of the other residuals that count."""
    others = [residual[counted & (np.arange(len(residual)) != i)] for i in range(len(residual))]
    return np.array([float(np.median(o)) if len(o) else 0.0 for o in others])
