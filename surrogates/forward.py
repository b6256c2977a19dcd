"""The residual network's answers in NumPy: a saved one needs no torch to answer, and loads in a few milliseconds.

The same arithmetic as `network`, whose arrays it takes; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_EPSILON = 1e-5  # of a layer norm, torch's default
#: coefficients of the error function after Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 7.1.26: wrong by 1.5e-7 at most
_ERF = (0.3275911, (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429))


class Forward:
    """The network of `arrays` (torch's names). Raises ValueError when their shapes do not fit together."""

    def __init__(self, arrays: Mapping[str, np.ndarray], inputs: int, cards: Sequence[int], blocks: int, outputs: int, ceilings: int = 0) -> None:
        self.arrays = {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in arrays.items()}
        self._blocks, self._outputs, self._ceilings = blocks, outputs, ceilings
        a = self.arrays
        hidden = a["first.weight"].shape[0]
        shapes = {"first.weight": (hidden, inputs + 8 * len(cards)), "first.bias": (hidden,), "last.weight": (outputs + ceilings, hidden), "last.bias": (outputs + ceilings,)}
        shapes |= {f"embeddings.{j}.weight": (card, 8) for j, card in enumerate(cards)} | ({"borrowed": (ceilings - 1,)} if ceilings else {})
        for i in range(blocks):
            shapes |= {f"blocks.{i}.{part}": (hidden, hidden) if part in ("1.weight", "3.weight") else (hidden,) for part in ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias")}
        wrong = [name for name, shape in shapes.items() if name not in a or a[name].shape != shape]
        if wrong or set(a) - set(shapes):
            raise ValueError(f"arrays of another network: {', '.join([*wrong, *sorted(set(a) - set(shapes))][:3])}")

    def __call__(self, x: np.ndarray, codes: np.ndarray, limits: np.ndarray) -> np.ndarray:
        """(n, outputs) for (n, inputs) numbers, (n, categories) codes and (n, ceilings) log ratios."""
        a = self.arrays
        h = np.concatenate([x, *(a[f"embeddings.{j}.weight"][codes[:, j]] for j in range(codes.shape[1]))], axis=1) @ a["first.weight"].T + a["first.bias"]
        for i in range(self._blocks):
            inner = _gelu(_normed(h) * a[f"blocks.{i}.0.weight"] + a[f"blocks.{i}.0.bias"], a[f"blocks.{i}.1.weight"], a[f"blocks.{i}.1.bias"])
            h = h + inner @ a[f"blocks.{i}.3.weight"].T + a[f"blocks.{i}.3.bias"]
        out = _curved(h) @ a["last.weight"].T + a["last.bias"]
        if not self._ceilings:
            return out
        free = out[:, self._outputs:]
        lost = _softplus(2.0 * free[:, :-1] + 0.5) - a["borrowed"]
        power = 1.5 + 1.5 * _softplus(out[:, :1] + 1.0)
        times = power * (limits + np.concatenate([lost, 2.0 * free[:, -1:]], axis=1))
        most = times.max(axis=1, keepdims=True)
        joined = (most + np.log(np.exp(times - most).sum(axis=1, keepdims=True))) / power
        return np.concatenate([joined, out[:, 1:self._outputs]], axis=1)


def _normed(h: np.ndarray) -> np.ndarray:
    off = h - h.mean(axis=1, keepdims=True)
    return off / np.sqrt((off * off).mean(axis=1, keepdims=True) + _EPSILON)


def _gelu(h: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return _curved(h @ weight.T + bias)


def _curved(x: np.ndarray) -> np.ndarray:
    """x times the normal distribution below it (GELU)."""
    p, coefficients = _ERF
    size = np.abs(x) * np.float32(np.sqrt(0.5))
    t = 1.0 / (1.0 + np.float32(p) * size)
    series = np.zeros_like(x)
    for c in reversed(coefficients):
        series = (series + np.float32(c)) * t
    erf = np.sign(x) * (1.0 - series * np.exp(-size * size))
    return 0.5 * x * (1.0 + erf)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(np.float32(0.0), x)
