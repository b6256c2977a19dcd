"""What few shots say about a curve: an average of Gaussian processes, each around another guess of what the curve is like.

The guesses are the model's own answer, the mean of what it answers for the values it knows, and each of those by itself: a new machine often is nearly one
of the known, and then no mixture is as good. Around every guess stands a process in the blocks of `adapted_blocks`, its variances the most probable
ones given the shots (Rasmussen and Williams 2006, section 5.4.1); the guesses are weighed by their evidence (ibid., section 5.2; Hoeting et al. 1999,
"Bayesian model averaging"). Shots left out one by one are answered in closed form (ibid., equations 5.10 to 5.12), the weights without that shot as well.

A shot that makes all guesses many times more probable once it is taken for a slip is one: its noise is raised and it counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

#: prior median and spread of the logarithm of each block's variance (of logarithms), and of the noise (assumptions, all of them: weak ones, chosen once on
#: networks of two search spaces and checked on other tables)
PRIOR: Mapping[str, tuple[float, float]] = {"level": (4.0, 2.0), "answer": (0.03, 2.0), "physics": (0.05, 2.0), "kinds": (0.05, 2.0), "others": (0.2, 2.0), "smooth": (0.02, 2.0),
                                            "noise": (0.002, 1.5)}
#: noise variance of a slip, and how much more probable (in nats) all must become for a shot to be called one (assumptions)
_SLIP, _SLIP_EVIDENCE = 4.0, 6.0
#: guesses that are tuned, the best by evidence under the prior medians; shots they are tuned on at most
_TUNED, _TUNED_ON = 12, 150
#: a guess with a smaller weight is let go
_LEAST_WEIGHT = 1e-3


@dataclass(frozen=True)
class Process:
    """C weighted guesses: `curve` (C,) which curve each is, `weight` (C,), `theta` (C, blocks + 1) variances and noise, `alpha` (C, s), `middle` (C, 2) mean and spread of
    the curve over the shots."""

    curve: np.ndarray
    weight: np.ndarray
    theta: np.ndarray
    alpha: np.ndarray
    middle: np.ndarray

    def answer(self, curves: np.ndarray, at_shots: np.ndarray, grams: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n,) logarithms for n questions: `curves` (k, n) and `at_shots` (k, s) the guesses there and at the shots, `grams` block -> (n, s)."""
        out = np.zeros(curves.shape[1])
        seen = {name: gram @ self.alpha.T for name, gram in grams.items()}  # (n, C) each
        for i, curve in enumerate(self.curve.astype(int)):
            mean, spread = self.middle[i]
            slope = (curves[curve] - mean) / spread * float(((at_shots[curve] - mean) / spread) @ self.alpha[i])
            parts = {**{name: g[:, i] for name, g in seen.items()}, "answer": slope}
            out += self.weight[i] * (curves[curve] + sum(v * parts[name] for name, v in zip((*grams, "answer"), self.theta[i], strict=False)))
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name; the inverse is `Process(**arrays)`."""
        return {f.name: np.asarray(getattr(self, f.name), dtype=np.float64) for f in fields(self)}


def learn(truth: np.ndarray, curves: np.ndarray, grams: Mapping[str, np.ndarray], noisy: np.ndarray) -> tuple[Process, np.ndarray]:
    """(the average, (s,) logarithms of shots left out) from (s,) logarithms of truths, (k, s) guesses and block -> (s, s) covariances of unit scale; `noisy` (s,)
    is variance added to the noise of shots (`slips`)."""
    names = (*grams, "answer", "noise")
    order = np.argsort([-_evidence(_stack(grams, c), _start(names), truth - c, noisy)[0] for c in curves], kind="stable")[:_TUNED]
    found = []
    for curve in order:
        stack = _stack(grams, curves[curve])
        theta = _tuned(stack, names, truth - curves[curve], noisy)
        evidence, alpha, inverse = _evidence(stack, theta, truth - curves[curve], noisy)
        evidence -= 0.5 * float((((np.log(theta) - np.log(_start(names))) / _spread(names)) ** 2).sum())
        own = np.diag(inverse)
        left_out = truth - alpha / own
        density = 0.5 * np.log(own) - 0.5 * alpha**2 / own  # of each shot given the others
        found.append((int(curve), theta, alpha, evidence, left_out, density))
    probable = np.array([f[3] for f in found])
    weight = _softmax(probable)
    without = _softmax(probable[:, None] - np.array([f[5] for f in found]))
    left_out = (without * np.array([f[4] for f in found])).sum(0)
    kept = np.flatnonzero(weight >= _LEAST_WEIGHT * weight.max())
    process = Process(np.array([found[i][0] for i in kept]), weight[kept] / weight[kept].sum(), np.array([found[i][1] for i in kept]), np.array([found[i][2] for i in kept]),
                      np.array([_middle(curves[found[i][0]]) for i in kept]))
    return process, left_out


def slips(truth: np.ndarray, curves: np.ndarray, grams: Mapping[str, np.ndarray]) -> np.ndarray:
    """(s,) variance to add to the noise of each shot: 0, or that of a slip. At most a tenth of the shots (one of few) are taken for slips."""
    noisy = np.zeros(len(truth))
    if len(truth) < 5 or len(truth) > _TUNED_ON:
        return noisy
    names = (*grams, "answer", "noise")
    starts = [np.r_[_start(names)[:-1], noise] for noise in (0.002, 0.02, 0.2)]
    for _ in range(max(1, len(truth) // 10)):
        tried = [_evidence(_stack(grams, c), start, truth - c, noisy) for c in curves for start in starts]
        before = _logsum(np.array([t[0] for t in tried])[:, None])
        own = np.array([np.diag(t[2]) for t in tried])
        alpha = np.array([t[1] for t in tried])
        # the determinant lemma and Sherman-Morrison for one more diagonal entry
        gain = np.array([t[0] for t in tried])[:, None] - 0.5 * np.log1p(_SLIP * own) + 0.5 * _SLIP * alpha**2 / (1.0 + _SLIP * own)
        gains = np.where(noisy > 0, -np.inf, _logsum(gain) - before)
        worst = int(np.argmax(gains))
        if gains[worst] < _SLIP_EVIDENCE:
            break
        noisy[worst] = _SLIP
    return noisy


def _stack(grams: Mapping[str, np.ndarray], curve: np.ndarray) -> np.ndarray:
    """(blocks, s, s) with the slope along the guess and the noise last."""
    mean, spread = _middle(curve)
    along = (curve - mean) / spread
    return np.stack([*grams.values(), np.outer(along, along), np.eye(len(curve))])


def _middle(curve: np.ndarray) -> tuple[float, float]:
    return float(curve.mean()), float(max(curve.std(), 0.1))


def _start(names: Sequence[str]) -> np.ndarray:
    return np.array([PRIOR[n][0] for n in names])


def _spread(names: Sequence[str]) -> np.ndarray:
    return np.array([PRIOR[n][1] for n in names])


def _evidence(stack: np.ndarray, theta: np.ndarray, residual: np.ndarray, noisy: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """(log evidence less its constant, K^-1 residual, K^-1)."""
    k = np.tensordot(theta, stack, 1)
    k[np.diag_indices(len(k))] += noisy + 1e-9
    factor = cho_factor(k, lower=True)
    inverse = cho_solve(factor, np.eye(len(k)))
    alpha = inverse @ residual
    return -0.5 * float(residual @ alpha) - float(np.log(np.diag(factor[0])).sum()), alpha, inverse


def _tuned(stack: np.ndarray, names: Sequence[str], residual: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """(blocks,) the most probable variances under their priors, given (s,) residuals."""
    if len(residual) > _TUNED_ON:
        rows = np.unique(np.linspace(0, len(residual) - 1, _TUNED_ON).astype(int))
        stack, residual, noisy = stack[:, rows][:, :, rows], residual[rows], noisy[rows]
    start, spread = np.log(_start(names)), _spread(names)

    def loss(theta: np.ndarray) -> tuple[float, Any]:
        variance = np.exp(theta)
        try:
            evidence, alpha, inverse = _evidence(stack, variance, residual, noisy)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        pull = (theta - start) / spread
        return -evidence + 0.5 * float(pull @ pull), 0.5 * variance * np.tensordot(stack, inverse - np.outer(alpha, alpha), ([1, 2], [0, 1])) + pull / spread

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(s - 4 * w, s + 4 * w) for s, w in zip(start, spread, strict=True)], options={"maxiter": 40})
    return np.exp(found.x)


def _softmax(values: np.ndarray) -> np.ndarray:
    raised = np.exp(values - values.max(0))
    return np.asarray(raised / raised.sum(0))


def _logsum(values: np.ndarray) -> np.ndarray:
    """(n,) logarithms of the sums over the first axis."""
    top = values.max(0)
    return np.asarray(top + np.log(np.exp(values - top).sum(0)))
