"""Few-shot adaptation: ten to a hundred measurements of a new machine, network family or software stack correct a model made without them.

The residual log(truth / answer) of the shots is a Gaussian process over what the model itself sees, in blocks whose variances are learned
from the shots by marginal likelihood under priors (Rasmussen and Williams 2006, section 5.4.1):

    level     one factor for all             answer    a power of the answer itself
    physics   shares of the analytic bounds (compute, memory, launch, ...)
    kinds     one factor per operator kind and circumstance
    others    what the model answers for machines (or stacks) it knows, asked about the same work: the new one is a mix of those, each
              weighed by how well it explains the shots. The prior of that mix is the spread of the known ones themselves.
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
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from ..datasets.errors import FormatError, TableError
from ..datasets.table import Questions, Table
from ..features.tabular import Features, learn_vocabulary, tabular_features
from . import adapted_blocks
from .adapted_blocks import Blocks
from .base import Surrogate
from .prediction import Prediction, consistent
from .target_scale import floor_share

#: prior medians of a block's variance (of logarithms) and of the noise; spreads are in log variance
_PRIOR = {"level": 1.0, "answer": 0.02, "physics": 0.05, "kinds": 0.05, "others": 1.0, "smooth": 0.02}
_PRIOR_SPREAD = {"level": 3.0, "others": 1.0}
_USUAL_SPREAD, _NOISE, _NOISE_SPREAD = 2.0, 0.0025, 1.5
#: the ways to correct, plainest first
_WAYS = ("none", "level", "full")
#: a plainer way is kept unless the next one is better than this share of its error
_WORTH = 0.93
#: how much of the whole correction is taken, as shots left out would have had it
_SHARES = (1.0, 0.75, 0.5, 0.25)
#: for a value never seen: one factor is kept where its error is below this share of the whole correction's
_PLAINLY = 0.6


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
        self._vocabulary = learn_vocabulary(shots.questions)
        seen = tabular_features(shots.questions, self._vocabulary)
        self._features = list(seen.names)
        self._share = {t: floor_share(t, shots.targets[t], seen) for t in self.targets if t in shots.targets and t in seen.floor}
        blocks, base, _ = self._blocks(shots.questions, learn=True)
        left_out = np.full((len(shots), len(self.targets)), np.nan)
        for j, name in enumerate(self.targets):
            truth = shots.targets.get(name)
            if truth is None or name in self.classes:
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                residual = np.log(truth / base[:, j])
            good = np.isfinite(residual)
            if not good.any():
                continue
            left_out[good, j] = self._learn(name, blocks.take(good), residual[good], base[good, j])
            error = np.sort(np.abs(np.log(truth[good] / left_out[good, j])))
            rank = math.ceil(round((len(error) + 1) * self.level, 9))
            if rank <= len(error):
                self._width[name] = float(error[rank - 1])
        if not self._way:
            raise TableError(f"calibrate: no row has a positive answer for {' or '.join(self.targets)}; the table has: {', '.join(shots.targets) or 'none'}")
        self.left_out = left_out
        return self

    def _blocks(self, questions: Any, learn: bool = False) -> tuple[Blocks, np.ndarray, Features]:
        """The blocks of n questions, (n, t) answers to be corrected (`inner`'s, or where the model never saw the value of a plain column, the mean of
        those for the known ones), and the features."""
        features = tabular_features(questions, self._vocabulary).ordered(self._features)
        answer = self.inner.predict(questions).point
        mixed = [self.inner.predict(adapted_blocks.asked_of(questions, column, value)).point for column, value in self._others]
        logs = np.log(np.maximum(np.stack(mixed), 1e-300)) if mixed else np.zeros((0, *answer.shape))
        base = np.exp(logs.mean(0)) if self._mixed else answer
        return adapted_blocks.blocks(questions, features, self._vocabulary, base, logs, self._stats, learn), base, features

    def _learn(self, name: str, blocks: Blocks, residual: np.ndarray, base: np.ndarray) -> np.ndarray:
        """Variances, weights and the way for one target; (s,) answers with each shot left out."""
        grams = blocks.grams(blocks, self.targets.index(name))
        theta = _tuned(grams, residual, self._mixed)
        errors, points = {}, {}
        share = 1.0
        for way in _WAYS:
            if way == "none":
                without = np.zeros(len(residual))
            elif way == "level":
                without = _means_left_out(residual)
            else:
                factor = cho_factor(_covariance(grams, theta), lower=True)
                alpha = cho_solve(factor, residual)
                whole = residual - alpha / np.diag(cho_solve(factor, np.eye(len(residual))))
                if not self._mixed:
                    share = min(_SHARES, key=lambda s: float(np.mean(np.abs(residual - s * whole))))
                without = share * whole
            errors[way], points[way] = float(np.mean(np.abs(residual - without))), without
        best = "none"
        if self._mixed:  # a value never seen is mixed from those known, unless one factor on their mean is plainly better
            best = "level" if errors["level"] < _PLAINLY * errors["full"] else "full"
        else:
            for way in _WAYS[1:]:
                if errors[way] < _WORTH * errors[best]:
                    best = way
        self._way[name] = best
        a = self._arrays
        a[f"{name}.theta"], a[f"{name}.level"] = np.array([theta[k] for k in (*grams, "noise")]), np.array([float(np.median(residual)) if len(residual) > 2 else float(residual.mean())])
        a[f"{name}.alpha"] = cho_solve(cho_factor(_covariance(grams, theta), lower=True), residual)
        a[f"{name}.share"] = np.array([share])
        a |= {f"{name}.shots.{k}": v for k, v in blocks.arrays().items()}
        return base * np.exp(points[best])

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) corrected answers in SI, with intervals from shots left out where there were enough; NaN where there were not."""
        before = self.inner.predict(questions)
        mine = self._speaks_for(questions)
        if not mine.any():
            return before
        asked = questions.take(np.flatnonzero(mine))
        blocks, base, features = self._blocks(asked)
        points = {t: base[:, j].copy() for j, t in enumerate(self.targets)}
        for j, name in enumerate(self.targets):
            if name in self._way:
                points[name] *= np.exp(self._correction(name, blocks, j))
            if name in features.floor:  # a correction beats the speed of light no more than the shots did
                points[name] = np.maximum(points[name], self._share.get(name, 1.0) * features.floor[name])
        points = {t: np.where(np.isfinite(p), p, before.point[mine, j]) if t in self.classes else p for j, (t, p) in enumerate(consistent(points).items())}
        point, low, high = before.point.copy(), before.low.copy(), before.high.copy()
        for j, name in enumerate(self.targets):
            if name in self.classes:
                continue
            width = self._width.get(name, math.nan)
            point[mine, j] = points[name]
            low[mine, j], high[mine, j] = points[name] * math.exp(-width), points[name] * math.exp(width)
        return Prediction(before.targets, point, low, high, max(before.level, self.level if self._width else 0.0), before.domain, before.model, before.version)

    def _correction(self, name: str, blocks: Blocks, column: int) -> np.ndarray:
        way, a = self._way[name], self._arrays
        if way == "none":
            return np.zeros(len(blocks))
        if way == "level":
            return np.full(len(blocks), float(a[f"{name}.level"][0]))
        shots = Blocks.of({k.removeprefix(f"{name}.shots."): v for k, v in a.items() if k.startswith(f"{name}.shots.")})
        grams = blocks.grams(shots, column)
        theta = dict(zip((*grams, "noise"), a[f"{name}.theta"], strict=True))
        return np.asarray(a[f"{name}.share"][0] * (sum(theta[k] * g for k, g in grams.items()) @ a[f"{name}.alpha"]))

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
        theta = {k: _prior(k, self._mixed)[0] for k in grams} | {"noise": _NOISE}
        if self._way:
            theta = dict(zip((*grams, "noise"), self._arrays[f"{name}.theta"], strict=True))
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
        if any(f"{t}.{part}" not in out._arrays for t in out._way for part in ("theta", "alpha", "level", "share")):
            raise FormatError(f"{folder / 'adapted.safetensors'}: shots of a target are missing")
        return out


def _means_left_out(residual: np.ndarray) -> np.ndarray:
    """(s,) median of the other residuals."""
    if len(residual) < 2:
        return np.zeros(len(residual))
    return np.array([np.median(np.delete(residual, i)) for i in range(len(residual))])


def _covariance(grams: Mapping[str, np.ndarray], theta: Mapping[str, float]) -> np.ndarray:
    k = np.asarray(sum(theta[name] * g for name, g in grams.items()))
    return k + np.eye(len(k)) * (theta["noise"] + 1e-9)


def _prior(block: str, mixed: bool) -> tuple[float, float]:
    """(median variance, spread of its logarithm). Known machines say much about one of which only the name is new, less about one whose figures the
    model has seen through already."""
    if block == "others" and not mixed:
        return _PRIOR["smooth"], _USUAL_SPREAD
    return _PRIOR[block], _PRIOR_SPREAD.get(block, _USUAL_SPREAD)


def _tuned(grams: Mapping[str, np.ndarray], residual: np.ndarray, mixed: bool) -> dict[str, float]:
    """Block -> variance, and the noise: the most probable ones under priors that are wide, given (s,) residuals."""
    names = list(grams)
    start = np.log([*(_prior(n, mixed)[0] for n in names), _NOISE])
    spread = np.array([*(_prior(n, mixed)[1] for n in names), _NOISE_SPREAD])
    stack = np.stack([*(grams[n] for n in names), np.eye(len(residual))])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        variance = np.exp(theta)
        k = np.tensordot(variance, stack, 1) + 1e-9 * np.eye(len(residual))
        try:
            factor = cho_factor(k, lower=True)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        alpha = cho_solve(factor, residual)
        g = cho_solve(factor, np.eye(len(residual))) - np.outer(alpha, alpha)
        pull = (theta - start) / spread
        value = 0.5 * float(residual @ alpha) + float(np.log(np.diag(factor[0])).sum()) + 0.5 * float(pull @ pull)
        return value, 0.5 * variance * np.tensordot(stack, g, ([1, 2], [0, 1])) + pull / spread

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(s - 4 * w, s + 4 * w) for s, w in zip(start, spread, strict=True)]).x
    return dict(zip((*names, "noise"), np.exp(found).tolist(), strict=True))
