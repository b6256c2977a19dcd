"""A Gaussian process on the columns of a plain feature table: smooth where trees step, and sure of itself with a hundred rows.

The covariance is a constant, a linear part and a squared exponential, both with one weight per column learned by marginal likelihood
(automatic relevance determination; Rasmussen and Williams 2006, sections 4.2.1, 5.1 and 5.4.1): a column that does not matter loses its
weight, and beyond the trained range the linear part goes on as a power law of the sizes. Rows far off the others are trusted less
(two reweightings with Huber's weights). Beyond `exact` rows a subset of them carries the process (subset of regressors, ibid. section 8.3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

from ..datasets.errors import FormatError, TableError
from ..datasets.table import Questions, Table
from ..features.tabular import Features
from .prediction import Prediction
from .smooth_columns import learn_columns, smooth
from .target_scale import all_points, answers, choose_scale, decode, encode, learned_targets

#: variance of the constant part, of targets scaled to unit spread
_CONSTANT = 4.0
#: rows beyond which reweighting (it needs the whole inverse) is left out
_REWEIGHTED = 1200
_JITTER = 1e-6
#: rows that weights are learned from first
_FIRST_ROWS = 300
#: rows learned from at most
_MOST_ROWS = 60_000
#: how far answers may leave the trained range, as a share of its width on the learned scale
_BEYOND = 0.5
#: rows worked on at a time
_BLOCK = 64
_NOTHING = Features((), (), np.zeros((0, 0), dtype=np.float32))


class Kernel:
    """The process, one per target. `tuned_on`: rows the weights are learned from; `exact`: rows up to which all of them carry the process;
    `carriers`: rows that carry it beyond. Deterministic in `seed`."""

    name = "kernel"

    def __init__(self, *, targets: Sequence[str] = ("latency_s",), seed: int = 0, tuned_on: int = 700, exact: int = 3000, carriers: int = 1500, rounds: int = 60) -> None:
        self.targets = tuple(targets)
        self.shape = ""
        self._settings: dict[str, Any] = {"seed": seed, "tuned_on": tuned_on, "exact": exact, "carriers": carriers, "rounds": rounds}
        self._inputs: list[str] = []
        self._columns: list[dict[str, Any]] = []
        self._scale: dict[str, str] = {}
        self._span: dict[str, list[float]] = {}
        self._arrays: dict[str, np.ndarray] = {}

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Learns columns, weights and rows. Raises TableError for questions that are no feature table, and for an unusable target."""
        if table.questions.shape != "features":
            raise TableError(f"kernel: answers rows of a plain feature table, not {table.questions.shape} questions")
        self.shape = "features"
        self._inputs = [str(c) for c in table.questions.frame.columns]
        self._columns = learn_columns(table.questions.frame)
        table = self._sampled(table)
        x, part = smooth(table.questions.frame, self._columns)
        for name in learned_targets(self.targets):
            truth = answers(name, table.targets, {})
            self._scale[name] = choose_scale(name, truth, _NOTHING)
            y = encode(name, truth, _NOTHING, self._scale[name])
            good = np.isfinite(y)
            self._arrays[f"{name}.theta"] = self._tune(x[good], y[good], part)
        return self.learn_rows(table)

    def learn_rows(self, table: Table) -> Self:
        """The same columns and weights on other rows: what a fold of a cross-validation needs."""
        table = self._sampled(table)
        x, part = smooth(table.questions.frame, self._columns)
        for name in learned_targets(self.targets):
            y = encode(name, table.targets[name], _NOTHING, self._scale[name])
            good = np.isfinite(y)
            self._span[name] = [float(y[good].min()), float(y[good].max())]
            self._condition(name, x[good], y[good], part)
        return self

    def _sampled(self, table: Table) -> Table:
        """The table, or `_MOST_ROWS` of its rows: the carriers are no more, and what more rows add to them is little."""
        return table if len(table) <= _MOST_ROWS else table.take(np.sort(np.random.default_rng(int(self._settings["seed"]) + 2).permutation(len(table))[:_MOST_ROWS]))

    @property
    def columns(self) -> list[dict[str, Any]]:
        """How the inputs become numbers (`smooth_columns.learn_columns`)."""
        return [dict(c) for c in self._columns]

    def sibling(self) -> Kernel:
        """Another process with the same columns and weights, and no rows yet."""
        other = Kernel(targets=self.targets, **self._settings)
        other.shape, other._inputs, other._columns, other._scale = self.shape, self._inputs, self._columns, dict(self._scale)
        other._arrays = {k: v for k, v in self._arrays.items() if k.endswith(".theta")}
        return other

    def _tune(self, x: np.ndarray, y: np.ndarray, part: np.ndarray) -> np.ndarray:
        """(p + 3,) logarithms: a weight per learned column, then the variances of the linear part, the squared exponential and the noise."""
        rng = np.random.default_rng(self._settings["seed"])
        rows = rng.permutation(len(y))[:int(self._settings["tuned_on"])]
        parts = int(part.max()) + 1 if len(part) else 0
        usual = np.log(1.0 / max(x.shape[1], 1))
        start = np.r_[np.full(parts, usual), -1.0, 0.0, np.log(0.01)]
        spread = np.r_[np.full(parts, 2.0), 2.0, 1.5, 2.0]

        def loss(theta: np.ndarray, xs: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
            weight = np.exp(theta[:parts])[part]
            linear, exponential, noise = np.exp(theta[parts:])
            a = xs * np.sqrt(weight)
            inner = a @ a.T
            half = 0.5 * np.diag(inner)
            e = inner - half
            e -= half[:, None]
            np.exp(np.minimum(e, 0.0, out=e), out=e)
            k = exponential * e
            k += linear * inner
            k += _CONSTANT
            k.flat[::len(t) + 1] += noise + _JITTER
            try:
                factor, _ = cho_factor(k.T, lower=True, overwrite_a=True, check_finite=False)
            except np.linalg.LinAlgError:
                return 1e10, np.zeros_like(theta)
            alpha = cho_solve((factor, True), t, check_finite=False)
            determinant = float(np.log(np.diag(factor)).sum())
            g = _inverse(factor)
            g -= alpha[:, None] * alpha
            ge = np.multiply(g, e, out=e)
            # sum over pairs of ge * (x_i - x_k)^2 = 2 (rows of ge) . x^2 - 2 x' ge x, column by column
            rows_of = ge.sum(1)
            of_distance = 2.0 * (rows_of @ xs**2) - 2.0 * np.einsum("ij,ij->j", xs, ge @ xs)
            of_product = np.einsum("ij,ij->j", xs, g @ xs)
            by_column = 0.5 * weight * (linear * of_product - 0.5 * exponential * of_distance)
            # the product of g with the linear part is what its columns bring, weighted
            gradient = np.r_[np.bincount(part, by_column, minlength=parts) if parts else np.zeros(0), 0.5 * linear * float(weight @ of_product),
                             0.5 * exponential * float(rows_of.sum()), 0.5 * noise * float(np.trace(g))]
            pull = (theta - start) / spread
            value = 0.5 * float(t @ alpha) + determinant + 0.5 * float(pull @ pull)
            return value, gradient + pull / spread

        bounds = [(-14.0, 4.0)] * parts + [(-12.0, 4.0), (-6.0, 5.0), (-14.0, 1.0)]
        scaled, rounds, theta = _standard(y)[0], int(self._settings["rounds"]), start
        # most of the way is gone with few rows, where a round costs a tenth
        for some, most in ((rows[:_FIRST_ROWS], rounds), (rows, max(rounds // 3, 1))) if len(rows) > 1.3 * _FIRST_ROWS else ((rows, rounds),):
            theta = minimize(loss, theta, (x[some], scaled[some]), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": most}).x
        return np.asarray(theta)

    def _condition(self, name: str, x: np.ndarray, y: np.ndarray, part: np.ndarray) -> None:
        theta = self._arrays[f"{name}.theta"]
        t, middle, spread = _standard(y)
        noise = float(np.exp(theta[-1])) + _JITTER
        if len(t) <= int(self._settings["exact"]):
            carriers = x
            k = _covariance(x, x, theta, part)
            trust = np.ones(len(t))
            last = 2 if 8 <= len(t) <= _REWEIGHTED else 0
            for turn in range(last + 1):
                noisy = k if turn == last else k.copy()
                noisy.flat[::len(t) + 1] += noise / trust
                factor = cho_factor(noisy.T, lower=True, overwrite_a=True, check_finite=False)  # as it is: columns are rows, and nothing is copied
                alpha = cho_solve(factor, t, check_finite=False)
                if turn == last:
                    break
                left_out = np.abs(alpha / np.diag(dpotri(factor[0], lower=1)[0]))
                trust = 1.0 / np.maximum(1.0, left_out / (1.5 * 1.4826 * np.median(left_out) + 1e-9))
        else:
            rng = np.random.default_rng(int(self._settings["seed"]) + 1)
            carriers = x[rng.permutation(len(t))[:int(self._settings["carriers"])]]
            k = _covariance(carriers, carriers, theta, part)
            k[np.diag_indices(len(carriers))] += _JITTER * 10
            lower = np.linalg.cholesky(k)
            gram, right = np.zeros_like(k), np.zeros(len(carriers))
            for at in range(0, len(t), 4096):
                seen = solve_triangular(lower, _covariance(x[at:at + 4096], carriers, theta, part).T, lower=True, overwrite_b=True, check_finite=False)
                gram += seen @ seen.T
                right += seen @ t[at:at + 4096]
            gram[np.diag_indices(len(carriers))] += noise
            alpha = solve_triangular(lower, cho_solve(cho_factor(gram, lower=True), right), lower=True, trans="T")
        self._arrays[f"{name}.rows"], self._arrays[f"{name}.alpha"] = carriers, alpha
        self._arrays[f"{name}.scale"] = np.array([middle, spread])

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI. Raises TableError for questions of another shape or other columns."""
        if questions.shape != self.shape:
            raise TableError(f"this model answers {self.shape} questions, got {questions.shape} ones")
        if not len(questions):
            return Prediction.nothing(self.targets)
        frame: Any = questions.frame  # type: ignore[attr-defined]
        lost, new = sorted(set(self._inputs) - set(frame.columns)), sorted(set(map(str, frame.columns)) - set(self._inputs))
        if lost or new:
            raise TableError(f"the questions' columns differ from those the model was fitted with: missing {', '.join(lost) or 'none'}, unknown {', '.join(new) or 'none'}")
        x, part = smooth(frame, self._columns)
        points = {}
        for name in learned_targets(self.targets):
            a = self._arrays
            middle, spread = a[f"{name}.scale"]
            y = np.concatenate([_covariance(x[at:at + 512], a[f"{name}.rows"], a[f"{name}.theta"], part) @ a[f"{name}.alpha"] for at in range(0, len(x), 512)]) * spread + middle
            low, high = self._span[name]
            width = max(high - low, 1e-9)
            points[name] = decode(name, np.clip(y, low - _BEYOND * width, high + _BEYOND * width), _NOTHING, self._scale[name], 0.0)
        return Prediction.bare(self.targets, all_points(points, self.targets))

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Settings and columns in JSON, rows and weights as safetensors."""
        from safetensors.numpy import save

        spec = {"targets": list(self.targets), "shape": self.shape, "settings": self._settings, "inputs": self._inputs, "columns": self._columns, "scale": self._scale, "span": self._span}
        return spec, {"kernel.safetensors": save({k: np.ascontiguousarray(v, dtype=np.float64) for k, v in self._arrays.items()})}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`; raises FormatError when its arrays are missing or do not fit together."""
        from safetensors.numpy import load

        out = cls(targets=spec["targets"], **spec["settings"])
        out.shape, out._inputs, out._columns = spec["shape"], list(spec["inputs"]), [dict(c) for c in spec["columns"]]
        out._scale, out._span = dict(spec["scale"]), {k: list(v) for k, v in spec["span"].items()}
        if "kernel.safetensors" not in files:
            raise FormatError(f"{folder}: kernel.safetensors is missing")
        try:
            out._arrays = load(files["kernel.safetensors"])
            fits = all(len(out._arrays[f"{t}.rows"]) == len(out._arrays[f"{t}.alpha"]) and len(out._arrays[f"{t}.theta"]) == len(out._columns) + 3
                       and out._arrays[f"{t}.scale"].shape == (2,) for t in learned_targets(out.targets))
        except Exception as error:
            raise FormatError(f"{folder / 'kernel.safetensors'}: not this process's rows ({error})") from None
        if not fits:
            raise FormatError(f"{folder / 'kernel.safetensors'}: rows, weights and columns do not fit together")
        return out


def _inverse(lower: np.ndarray) -> np.ndarray:
    """(m, m) inverse of the matrix whose Cholesky factor stands in the lower triangle: a third of the work of solving for every unit vector."""
    found, _ = dpotri(lower, lower=1)
    for at in range(0, len(found), _BLOCK):  # the upper triangle from the lower one, block by block: each stays in the cache
        own = found[at:at + _BLOCK, at:at + _BLOCK]
        own[:] = np.tril(own) + np.tril(own, -1).T
        found[at:at + _BLOCK, at + _BLOCK:] = found[at + _BLOCK:, at:at + _BLOCK].T
    return np.asarray(found)


def _standard(y: np.ndarray) -> tuple[np.ndarray, float, float]:
    """((n,) scaled, middle, spread)."""
    middle, spread = float(np.median(y)), float(max(np.std(y), 1e-9))
    return (y - middle) / spread, middle, spread


def _covariance(x: np.ndarray, z: np.ndarray, theta: np.ndarray, part: np.ndarray) -> np.ndarray:
    """(n, m) covariance of rows (n, p) and (m, p); some rows at a time, in place: whole matrices of each step took five times as long."""
    root = np.exp(0.5 * theta[:-3])[part]
    linear, exponential = np.exp(theta[-3:-1])
    a, b = x * root, z * root
    of_a, of_b = 0.5 * (a**2).sum(1), 0.5 * (b**2).sum(1)
    out, room = np.empty((len(x), len(z))), np.empty((min(_BLOCK, len(x)), len(z)))
    for at in range(0, len(x), _BLOCK):
        inner = np.matmul(a[at:at + _BLOCK], b.T, out=out[at:at + _BLOCK])
        e = np.subtract(inner, of_b, out=room[:len(inner)])
        e -= of_a[at:at + _BLOCK, None]
        np.exp(np.minimum(e, 0.0, out=e), out=e)
        e *= exponential
        inner *= linear
        inner += e
        inner += _CONSTANT
    return out
