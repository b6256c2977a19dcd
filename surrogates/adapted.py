"""Few-shot adaptation: ten to a hundred measurements of a new machine, network family or software stack correct a model made without them.

What the shots say is learned by `adapted_process`: guesses of what the new one is like (the model's own answer, the mean over the values it knows, each
of those), weighed by their evidence, each with a Gaussian process around it over what the model itself sees, in blocks (`adapted_blocks`):

    level     one factor for all             answer    a power of the guess itself
    physics   shares of the analytic bounds (compute, memory, launch, ...)
    kinds     one factor per operator kind and circumstance
    each      the same shares for each kind and circumstance by itself
    strange   kernels and other words that the model was not fitted with, one factor each; `strangely`: smoothly over sizes
    others    how the known machines (or stacks) differ from their mean on the same work: the new one is a mix of those
    smooth    a squared exponential over the model's features; `rough`: a shorter one
    regime    of operators: one over what holds them back (calls, arithmetic, memory, a cold cache); `close`: over sizes alone; `own` ones for each circumstance by itself

None of it is taken for granted: the answer as before, one factor and the whole correction are mixed by how right each was about shots it had not seen (`adapted_shares`).
Intervals come from the same errors; where `inner` is less sure of a row on the machines it knows than it is of the shots (a word never seen, a size beyond all), by that much wider (logarithms add in
quadrature: the two are taken for independent). Of shots too few for a width, intervals stay as wide as they were. Rows the shots say nothing about (other machines) are answered as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import FormatError, TableError
from ..datasets.networks import NetworkQuestions
from ..datasets.table import FeatureQuestions, GraphQuestions, OpQuestions, Questions, Table
from ..features.tabular import Features, learn_vocabulary, tabular_features
from . import adapted_blocks, adapted_process, adapted_shares
from .adapted_blocks import Blocks
from .adapted_process import Process
from .base import Surrogate
from .prediction import Prediction, consistent
from .target_scale import floor_share
from .threads import one_blas_thread

#: parts in which shots are left out, and of how few and how many: of fewer nothing is left to learn from, of more one by one is as honest
_FOLDS, _LEAST_FOLDED, _MOST_FOLDED = 5, 6, 300
#: how far beyond the corrections that shots asked for another may go, over the range of those (assumption: linear parts reach too far where sizes do)
_BEYOND = 0.25
#: shots learned from at most, evenly taken; rows answered at once
_MOST_SHOTS, _CHUNK = 1500, 8192
#: the file of the shots, and what those of an inner model that was corrected before are called beside it
_SHOTS, _INNER = "adapted.safetensors", "inner."


class Adapted:
    """`inner` corrected by shots. `scope`: column -> values the shots speak for ("device" for the machine of an op or a workload); empty: all rows.
    `others`: (column, value) pairs the model knows, whose answers a new value is mixed from. `known`: circumstance -> the words `inner` was fitted with: kernels
    nobody knew are learned by themselves. `vocabulary`: of the shots, for features.
    """

    name = "adapted"

    def __init__(self, inner: Surrogate, *, scope: Mapping[str, Sequence[str]] | None = None, others: Sequence[tuple[str, str]] = (), level: float = 0.9,
                 known: Mapping[str, Sequence[str]] | None = None) -> None:
        self.inner, self.level = inner, level
        self._scope = {k: tuple(v) for k, v in (scope or {}).items()}
        self._others = tuple((str(c), str(v)) for c, v in others)
        self._known = {k: tuple(v) for k, v in (known or {}).items()}  # asked for while learning alone
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
        """Target -> the way to correct that counts most: none, level (one factor) or full."""
        return dict(self._way)

    @property
    def calibrated_targets(self) -> tuple[str, ...]:
        """The corrected targets whose shots were enough for intervals."""
        return tuple(self._width)

    @property
    def scope(self) -> dict[str, tuple[str, ...]]:
        """Column -> the values the shots speak for."""
        return dict(self._scope)

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
        blocks, curves, _, doubt = self._blocks(shots.questions, learn=True)
        prior, before, cautious = _prior(shots.questions), _before(shots.questions), isinstance(shots.questions, OpQuestions)
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
            with one_blas_thread():  # many small products
                found, slipped = self._learn(name, blocks.take(good), logs[good], curves[:, good, j], prior, before, cautious)
            left_out[good, j] = np.exp(found)
            self.slips = tuple(sorted({*self.slips, *np.flatnonzero(good)[slipped].tolist()}))
            width = adapted_shares.width(np.abs(logs[good] - found)[~slipped], self.level)
            if width is not None:
                self._width[name] = width
                if np.isfinite(doubt[good, j]).any():
                    self._arrays[f"{name}.doubt"] = np.array([np.nanquantile(doubt[good, j], self.level)])  # of shots, as if run on what is known, such a share as the level has no wider half width (log)
        if not self._way:
            raise TableError(f"calibrate: no row has a positive answer for {' or '.join(self.targets)}; the table has: {', '.join(shots.targets) or 'none'}")
        self.left_out = left_out
        return self

    def _blocks(self, questions: Any, learn: bool = False) -> tuple[Blocks, np.ndarray, Features, np.ndarray]:
        """The blocks of n questions, (k, n, t) logarithms of the guesses (the model's own answer, the mean over known values, each of those; the first alone
        where none is known), the features, and (n, t) half widths (log) about the rows as if run on what is known, the middle one; NaN where the model has no intervals."""
        features = tabular_features(questions, self._vocabulary).ordered(self._features)
        own, *known = [self.inner.predict(asked) for asked in (questions, *(adapted_blocks.asked_of(questions, column, value) for column, value in self._others))]
        doubt = np.median([_half(p) for p in known or [own]], axis=0)
        logs = np.log(np.maximum(np.stack([p.point for p in (own, *known)]), 1e-300))
        logs = np.where(np.isfinite(logs), logs, logs[:1])  # what a known value has no answer for says nothing
        curves = np.concatenate([logs[:1], logs[1:].mean(0, keepdims=True), logs[1:]]) if known else logs
        return adapted_blocks.blocks(questions, features, self._vocabulary, curves, self._stats, learn, self._known), curves, features, doubt

    def _learn(self, name: str, blocks: Blocks, truth: np.ndarray, curves: np.ndarray, prior: Mapping[str, tuple[float, float]],
               before: Sequence[float], cautious: bool) -> tuple[np.ndarray, np.ndarray]:
        """The process and the shares for one target, from (s,) logarithms and (k, s) guesses; (s,) logarithms with each shot left out, (s,) which are slips."""
        grams = blocks.grams(blocks, self.targets.index(name))
        noisy = adapted_process.slips(truth, curves, grams)
        counted = noisy == 0
        process, whole, best = adapted_process.learn(truth, curves, grams, noisy, prior=prior)
        if _LEAST_FOLDED <= len(truth) <= _MOST_FOLDED:
            whole = adapted_process.without_folds(truth, curves, grams, noisy, best, _FOLDS, prior)
        points = adapted_shares.ways(truth, curves[0], whole, counted)
        shares, found = adapted_shares.shares(truth, points, counted, before, cautious)
        self._way[name] = adapted_shares.WAYS[int(np.argmax(shares))]
        a = self._arrays
        a |= {f"{name}.shares": shares, f"{name}.level": np.array([adapted_shares.level(truth - curves[0], counted)]), f"{name}.start": np.zeros(1), f"{name}.guesses": curves}
        told = (truth - curves[0])[counted] if counted.any() else truth - curves[0]
        a[f"{name}.reach"] = np.array([told.min(), told.max()]) + _BEYOND * np.ptp(told) * np.array([-1.0, 1.0])
        a |= {f"{name}.process.{k}": v for k, v in process.arrays().items()}
        a |= {f"{name}.shots.{k}": v for k, v in blocks.arrays().items()}
        return found, ~counted

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) corrected answers in SI, with intervals from shots left out where there were enough, as wide as before where there were not."""
        before = self.inner.predict(questions)
        mine = self.speaks_for(questions)
        if not mine.any():
            return before
        rows = np.flatnonzero(mine)
        points = {t: before.point[mine, j].copy() for j, t in enumerate(self.targets)}
        doubts = np.full((len(rows), len(self.targets)), np.nan)
        for at in range(0, len(rows), _CHUNK):
            part = slice(at, min(at + _CHUNK, len(rows)))
            blocks, curves, features, doubts[part] = self._blocks(questions.take(rows[part]))
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
            if name in self._width:
                told = float(self._arrays.get(f"{name}.doubt", [np.inf])[0])  # none in folders written before it was kept
                width = np.exp(np.sqrt(self._width[name] ** 2 + np.fmax(doubts[:, j] ** 2 - told**2, 0.0)))
            else:
                width = np.exp(_half(before)[mine, j])
            point[mine, j] = points[name]
            low[mine, j], high[mine, j] = points[name] / width, points[name] * width
        return Prediction(before.targets, point, low, high, max(before.level, self.level if self._width else 0.0), before.domain, before.model, before.version)

    def _corrected(self, name: str, blocks: Blocks, curves: np.ndarray, column: int) -> np.ndarray:
        """(n,) logarithms of the corrected answers."""
        a = self._arrays
        start, shares = curves[int(a[f"{name}.start"][0])], a[f"{name}.shares"]
        if shares[2] == 0.0:
            return np.asarray(start + shares[1] * float(a[f"{name}.level"][0]))
        shots = Blocks.of({k.removeprefix(f"{name}.shots."): v for k, v in a.items() if k.startswith(f"{name}.shots.")})
        process = Process(**{k.removeprefix(f"{name}.process."): v for k, v in a.items() if k.startswith(f"{name}.process.")})
        whole = process.answer(curves, a[f"{name}.guesses"], blocks.grams(shots, column))
        reach = a.get(f"{name}.reach")  # none in folders written before it was kept
        if reach is not None:
            whole = start + np.clip(whole - start, reach[0], reach[1])
        return np.asarray(shares @ np.stack([start, start + float(a[f"{name}.level"][0]), whole]))

    def speaks_for(self, questions: Any) -> np.ndarray:
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
        blocks, _, _, _ = self._blocks(candidates, learn=fresh)
        name = next((t for t in self.targets if t in self._way), self.targets[0])
        grams = blocks.grams(blocks, self.targets.index(name))
        theta = {k: _prior(candidates)[k][0] for k in (*grams, "noise")}
        if self._way:
            learned, weight = self._arrays[f"{name}.process.theta"], self._arrays[f"{name}.process.weight"]
            theta = dict(zip((*grams, "answer", "noise"), np.exp(weight @ np.log(np.maximum(learned, 1e-12))), strict=True))
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
                "vocabulary": self._vocabulary, "features": self._features, "share": self._share, "way": self._way, "width": self._width}, {**{_INNER + k if k.endswith(_SHOTS) else k: v for k, v in files.items()}, _SHOTS: save(arrays)}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`; raises FormatError when the shots are missing or damaged."""
        from safetensors.numpy import load

        if _SHOTS not in files:
            raise FormatError(f"{folder}: {_SHOTS} is missing")
        rest = {k.removeprefix(_INNER) if k.endswith(_SHOTS) else k: v for k, v in files.items() if k != _SHOTS}
        out = cls(member(spec["inner"]).from_weights(spec["inner_spec"], rest, folder, member), scope=spec["scope"], others=[tuple(o) for o in spec["others"]], level=spec["level"])
        out._vocabulary = {k: tuple(v) for k, v in spec["vocabulary"].items()}
        out._features, out._share = list(spec["features"]), dict(spec["share"])
        out._way, out._width = dict(spec["way"]), dict(spec["width"])
        try:
            arrays = load(files[_SHOTS])
        except Exception as error:
            raise FormatError(f"{folder / _SHOTS}: not the shots of an adapted model ({error})") from None
        out._stats = {k.removeprefix("stats."): v for k, v in arrays.items() if k.startswith("stats.")}
        try:
            out._arrays = _as_now({k: v for k, v in arrays.items() if not k.startswith("stats.")}, out._way, bool(out._others) and out.shape == "features")
            whole = all(f"{t}.{part}" in out._arrays for t in out._way for part in ("process.theta", "process.alpha", "guesses", "level", "shares", "start"))
        except KeyError:
            whole = False
        if not whole:
            raise FormatError(f"{folder / _SHOTS}: shots of a target are missing")
        return out


def _half(prediction: Prediction) -> np.ndarray:
    """(n, t) half widths of intervals (log); NaN where there are none, or answers are not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.log(prediction.high / prediction.point)
    return np.where(np.isfinite(half) & (prediction.point > 0), half, np.nan)


def _prior(questions: Any) -> Mapping[str, tuple[float, float]]:
    """How far off answers may be: of networks by far, for their machines are known by name alone."""
    return adapted_process.NETWORKS if isinstance(questions, NetworkQuestions | GraphQuestions) else adapted_process.ROWS


def _before(questions: Any) -> Sequence[float]:
    """How probable each way is before any shot."""
    plain = isinstance(questions, FeatureQuestions) and not isinstance(questions, NetworkQuestions)
    return adapted_shares.BEFORE_IN_PLAIN_TABLES if plain else adapted_shares.BEFORE


def _as_now(arrays: dict[str, np.ndarray], way: Mapping[str, str], mixed: bool) -> dict[str, np.ndarray]:
    """Arrays of a folder as they are kept now. One written before ways were mixed has one way and a share of the whole correction, in a plain table about the mean of known values
    (`mixed`), and processes without the blocks `each` and `rough`: their variance is nil."""
    for name, way_then in way.items():
        share = arrays.pop(f"{name}.share", None)
        if share is None:
            continue
        taken = float(share[0]) if way_then == "full" else 0.0
        arrays[f"{name}.shares"] = np.array([1.0 - taken, 0.0, taken]) if way_then != "level" else np.array([0.0, 1.0, 0.0])
        arrays[f"{name}.start"] = np.array([1.0 if mixed else 0.0])
        blocks = Blocks.of({k.removeprefix(f"{name}.shots."): v for k, v in arrays.items() if k.startswith(f"{name}.shots.")})
        theta, column = arrays[f"{name}.process.theta"], 0
        wide = []
        for block in (*blocks.take(np.arange(1)).grams(blocks.take(np.arange(1)), 0), "answer", "noise"):
            wide.append(np.zeros(len(theta)) if block in ("each", "rough") else theta[:, column])
            column += block not in ("each", "rough")
        arrays[f"{name}.process.theta"] = np.column_stack(wide)
    return arrays
