"""A model of the candidates themselves, refitted in milliseconds: ridge regression on smooth bumps around what was evaluated (kernel ridge, which is the mean of a
Gaussian process: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equations 2.25 and 2.26), on the logarithm of positive quantities.

Width and noise are those with the smallest error when each row in turn is left out (closed form: section 5.4.2 there). The same errors scale its intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: widths and noises that are tried, in units of the features' scale
WIDTHS = (0.35, 0.7, 1.4, 2.8, 5.6)
NOISES = (1e-6, 1e-4, 1e-2)
#: rows it is fitted to at most: the newest
MOST_ROWS = 800


@dataclass(frozen=True)
class Quick:
    """A fitted model: `Quick.fit(features (n, f), values (n,))`, then `predict(features) -> (mean, deviation)` on the fitted scale (`log` says which)."""

    features: np.ndarray
    weights: np.ndarray
    inverse: np.ndarray
    middle: float
    slope: np.ndarray
    width: float
    scale: float
    log: bool

    @classmethod
    def fit(cls, features: np.ndarray, values: np.ndarray) -> Quick:
        """To at least two rows of finite values."""
        x, y = features[-MOST_ROWS:], values[-MOST_ROWS:]
        log = bool((y > 0).all())
        y = np.log(y) if log else y
        middle, slope = _plane(x, y)
        rest = y - middle - x @ slope
        distance = _distance(x, x)
        best: tuple[float, float, np.ndarray, np.ndarray] | None = None
        for width in WIDTHS:
            bumps = _bumps(distance, width)
            for noise in NOISES:
                inverse = np.linalg.inv(bumps + noise * np.eye(len(x)))
                weights = inverse @ rest
                left_out = weights / np.diag(inverse)  # the error of each row when it is left out
                error = float(np.mean(left_out**2))
                if best is None or error < best[0]:
                    best = error, width, weights, inverse
        assert best is not None
        _, width, weights, inverse = best
        # left-out errors over what the process with unit scale expects of them
        scale = float(np.sqrt(np.mean(weights**2 / np.diag(inverse))))
        return cls(x, weights, inverse, middle, slope, width, max(scale, 1e-12), log)

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) mean and standard deviation, of the logarithm where `log`."""
        bumps = _bumps(_distance(features, self.features), self.width)
        mean = self.middle + features @ self.slope + bumps @ self.weights
        variance = 1.0 - np.einsum("ij,jk,ik->i", bumps, self.inverse, bumps, optimize=True)
        return mean, self.scale * np.sqrt(np.maximum(variance, 1e-12))


def _plane(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The plane under the bumps, by ridge: what lies far from every row still follows the trend."""
    centre, middle = x.mean(axis=0), float(y.mean())
    shifted = x - centre
    slope = np.linalg.solve(shifted.T @ shifted + 0.1 * np.eye(x.shape[1]), shifted.T @ (y - middle))
    return middle - float(centre @ slope), slope


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
    return np.sqrt(np.maximum(square, 0.0))


def _bumps(distance: np.ndarray, width: float) -> np.ndarray:
    """Matern's kernel with exponent 5/2 (equation 4.17 there)."""
    r = np.sqrt(5.0) * distance / width
    return np.asarray((1.0 + r + r**2 / 3.0) * np.exp(-r))
