"""What few shots say about a curve: an average of Gaussian processes, each around another guess of what the curve is like.

The guesses are the model's own answer, the mean of what it answers for the values it knows, and each of those by itself: a new machine often is nearly one
of the known, and then no mixture is as good. Around every guess stands a process in the blocks of `adapted_blocks`, its variances the most probable
ones given the shots (Rasmussen and Williams 2006, section 5.4.1); the guesses are weighed by their evidence (ibid., section 5.2; Hoeting et al. 1999,
"Bayesian model averaging"). The model's own answer stands among them twice: as a start like the others, and as nearly right already. Shots left out one by one
are answered in closed form (ibid., equations 5.10 to 5.12), the weights without that shot as well.

Measurements lie farther apart than a normal curve allows (another kernel, a first run), and a few of ten would carry the whole correction: noise is Student's t, a mixture
of normal ones whose scales are found shot by shot (Lange, Little and Taylor 1989, "Robust statistical modeling using the t distribution").
A shot that makes all guesses many times more probable once it is taken for a slip is one: its noise is raised and it counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

#: prior median and spread of the logarithm of each block's variance (of logarithms), and of the noise. Of networks, whose machines are known by name alone and are as fast as they
#: like: assumptions, weak ones, chosen once on two search spaces
NETWORKS: Mapping[str, tuple[float, float]] = {"level": (4.0, 2.0), "answer": (0.03, 2.0), "physics": (0.05, 2.0), "kinds": (0.05, 2.0), "others": (0.2, 2.0), "each": (0.01, 2.0),
                                               "smooth": (0.02, 2.0), "rough": (0.01, 2.0), "regime": (0.02, 1.5), "close": (0.02, 1.3), "own regime": (0.01, 1.5), "own close": (0.01, 1.5), "noise": (0.002, 1.5)}
#: of operators and plain tables, which are told a machine's figures: what such answers were off by about machines held out. Means and spreads, rounded, of the most probable variances given
#: 300 rows, of nine pairs of machine and operator table (GEMM, attention, NeuSight, Vidur, power) and thirteen of machine and plain target (Zeus, LLM-Inference-Bench, Splitwise); means
#: without a table's own family did as well on it (measured once, by hand, on one seed; no benchmark repeats it). Words nobody knew (a kernel of this machine alone) lie farther off than all others do (an assumption: there are few of them);
#: of `regime` and `close`, and of each circumstance's own, assumptions
ROWS: Mapping[str, tuple[float, float]] = {"level": (0.015, 1.2), "answer": (0.008, 1.2), "physics": (0.005, 1.2), "kinds": (0.005, 1.2), "others": (0.2, 1.5), "strange": (0.1, 2.0),
                                           "each": (0.0006, 0.8), "smooth": (0.03, 1.5), "rough": (0.03, 1.3), "strangely": (0.05, 2.0), "regime": (0.02, 1.5), "close": (0.02, 1.3), "own regime": (0.01, 1.5), "own close": (0.01, 1.5),
                                           "noise": (0.003, 1.3)}
#: of an answer that is nearly right already: medians over those above, that of the level (a twentieth), and how probable that is beside each other guess (assumptions)
_NEARLY, _NEARLY_LEVEL, _NEARLY_RIGHT = 0.02, 0.0025, 0.1
#: degrees of freedom of the noise (assumption, Lange et al. advise four), rounds of finding its scales, and of the variances before and after
_FREEDOM, _SCALED, _ROUNDS = 4.0, 2, (15, 25)
#: noise variance of a slip, and how much more probable (in nats) all must become for a shot to be called one (assumptions)
_SLIP, _SLIP_EVIDENCE = 4.0, 6.0
#: guesses that are tuned, the best by evidence under the prior medians, and of more shots than `_TUNED_ON`, of which so many tell the variances; guesses that are looked at again without
#: some of the shots
_TUNED, _TUNED_ON, _TUNED_OF_MANY, _AGAIN = 12, 150, 3, 4
#: a guess with a smaller weight is let go
_LEAST_WEIGHT = 1e-3


@dataclass(frozen=True)
class Guess:
    """One of the curves, by number, with (b,) prior medians of the variances of blocks, slope and noise, and (b,) where their search starts; `log_prior` of the guess itself."""

    curve: int
    medians: np.ndarray
    theta: np.ndarray
    log_prior: float = 0.0


@dataclass(frozen=True)
class Process:
    """C weighted guesses: `curve` (C,) which curve each is, `weight` (C,), `theta` (C, blocks + 2) variances of the blocks, the slope and the noise, `alpha` (C, s),
    `middle` (C, 2) mean and spread of the curve over the shots."""

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


def learn(truth: np.ndarray, curves: np.ndarray, grams: Mapping[str, np.ndarray], noisy: np.ndarray, known: Sequence[Guess] = (),
          prior: Mapping[str, tuple[float, float]] = NETWORKS) -> tuple[Process, np.ndarray, list[Guess]]:
    """(the average, (s,) logarithms of shots left out, the best guesses with their variances) from (s,) logarithms of truths, (k, s) guesses and block -> (s, s) covariances
    of unit scale; `noisy` (s,) is variance added to the noise of shots (`slips`). `known`: the best guesses from more shots than these, to be looked at alone. `prior`: medians and spreads of the variances."""
    names = (*grams, "answer", "noise")
    spread, rows = _spread(names, prior), _some(len(truth))
    few = {name: gram[np.ix_(rows, rows)] for name, gram in grams.items()}
    found = []
    for guess in known or _guesses(truth[rows], curves[:, rows], few, noisy[rows], len(truth), prior):
        curve, theta, scale = curves[guess.curve], guess.theta, np.ones(len(rows))
        residual = truth - curve
        for rounds in _ROUNDS[:1] if known else _ROUNDS:
            theta = _tuned(_stack(few, curve[rows], scale), guess.medians, spread, theta, residual[rows], noisy[rows], rounds)
            for _ in range(_SCALED):
                scale = _scales(_stack(few, curve[rows], scale), theta, residual[rows], noisy[rows], scale)
        if len(rows) < len(truth):
            scale = _scales(_stack(grams, curve, np.ones(len(truth))), theta, residual, noisy, np.ones(len(truth)))
        evidence, alpha, inverse = _evidence(_stack(grams, curve, scale), theta, residual, noisy)
        evidence += guess.log_prior - 0.5 * float((((np.log(theta) - np.log(guess.medians)) / spread) ** 2).sum())
        evidence += 0.5 * _FREEDOM * float((1.0 - np.log(scale) - 1.0 / scale).sum())  # the prior of the scales
        own = np.diag(inverse)
        density = 0.5 * np.log(own) - 0.5 * alpha**2 / own  # of each shot given the others
        found.append((guess, theta, alpha, evidence, truth - alpha / own, density))
    probable = np.array([f[3] for f in found])
    weight = _softmax(probable)
    without = _softmax(probable[:, None] - np.array([f[5] for f in found]))
    left_out = (without * np.array([f[4] for f in found])).sum(0)
    kept = np.flatnonzero(weight >= _LEAST_WEIGHT * weight.max())
    process = Process(np.array([found[i][0].curve for i in kept]), weight[kept] / weight[kept].sum(), np.array([found[i][1] for i in kept]), np.array([found[i][2] for i in kept]),
                      np.array([_middle(curves[found[i][0].curve]) for i in kept]))
    best = np.argsort(-weight, kind="stable")[:_AGAIN]
    return process, left_out, [Guess(found[i][0].curve, found[i][0].medians, found[i][1], found[i][0].log_prior) for i in best]


def without_folds(truth: np.ndarray, curves: np.ndarray, grams: Mapping[str, np.ndarray], noisy: np.ndarray, known: Sequence[Guess], folds: int,
                  prior: Mapping[str, tuple[float, float]] = NETWORKS) -> np.ndarray:
    """(s,) logarithms, each by an average that learned from no shot of its fold: variances, weights and scales were found without it too; the guesses, and where the search for them starts, are those of all shots. Folds are drawn, the same for the same s."""
    out = np.zeros(len(truth))
    fold = np.random.default_rng(0).permutation(len(truth)) % folds
    for i in range(folds):
        rest, held = np.flatnonzero(fold != i), np.flatnonzero(fold == i)
        process, _, _ = learn(truth[rest], curves[:, rest], {k: g[np.ix_(rest, rest)] for k, g in grams.items()}, noisy[rest], known, prior)
        out[held] = process.answer(curves[:, held], curves[:, rest], {k: g[np.ix_(held, rest)] for k, g in grams.items()})
    return out


def _guesses(truth: np.ndarray, curves: np.ndarray, grams: Mapping[str, np.ndarray], noisy: np.ndarray, shots: int, prior: Mapping[str, tuple[float, float]]) -> list[Guess]:
    """The most probable curves under the prior medians, and the first once more, as nearly right already."""
    names = (*grams, "answer", "noise")
    wide = _start(names, prior)
    near = np.array([_NEARLY_LEVEL if n == "level" else v if n == "noise" else _NEARLY * v for n, v in zip(names, wide, strict=True)])
    evidence = [_evidence(_stack(grams, c, np.ones(len(truth))), wide, truth - c, noisy)[0] for c in curves]
    order = np.argsort(-np.array(evidence), kind="stable")[: _TUNED if shots <= _TUNED_ON else _TUNED_OF_MANY]
    return [*(Guess(int(i), wide, wide) for i in order), Guess(0, near, near, float(np.log(_NEARLY_RIGHT)))]


def _some(count: int) -> np.ndarray:
    """Positions of `_TUNED_ON` shots at most, evenly taken."""
    return np.unique(np.linspace(0, count - 1, min(count, _TUNED_ON)).astype(int))


def _scales(stack: np.ndarray, theta: np.ndarray, residual: np.ndarray, noisy: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(s,) the next scales of the noise: what is expected of its square, drawn towards 1 by the degrees of freedom."""
    _, alpha, inverse = _evidence(stack, theta, residual, noisy)
    own = theta[-1] * scale
    square = (own * alpha) ** 2 + own - own**2 * np.diag(inverse)
    return np.asarray((_FREEDOM + square / theta[-1]) / (_FREEDOM + 1.0))


def slips(truth: np.ndarray, curves: np.ndarray, grams: Mapping[str, np.ndarray]) -> np.ndarray:
    """(s,) variance to add to the noise of each shot: 0, or that of a slip. At most a tenth of the shots (one of few) are taken for slips."""
    noisy = np.zeros(len(truth))
    if len(truth) < 5 or len(truth) > _TUNED_ON:
        return noisy
    names = (*grams, "answer", "noise")
    flat = np.ones(len(truth))
    # wide ones, whatever the table: a machine far from all others has no slips for that; and a kernel that nobody knew may be as far off as a slip is
    prior = {**NETWORKS, "strange": (_SLIP, 1.0), "strangely": (_SLIP, 1.0)}
    starts = [np.r_[_start(names, prior)[:-1], noise] for noise in (0.002, 0.02, 0.2)]
    for _ in range(max(1, len(truth) // 10)):
        tried = [_evidence(_stack(grams, c, flat), start, truth - c, noisy) for c in curves for start in starts]
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


def _stack(grams: Mapping[str, np.ndarray], curve: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(blocks, s, s) with the slope along the guess and the noise last, shot by shot `scale` (s,) of its usual variance."""
    mean, spread = _middle(curve)
    along = (curve - mean) / spread
    return np.stack([*grams.values(), np.outer(along, along), np.diag(scale)])


def _middle(curve: np.ndarray) -> tuple[float, float]:
    return float(curve.mean()), float(max(curve.std(), 0.1))


def _start(names: Sequence[str], prior: Mapping[str, tuple[float, float]]) -> np.ndarray:
    return np.array([prior[n][0] for n in names])


def _spread(names: Sequence[str], prior: Mapping[str, tuple[float, float]]) -> np.ndarray:
    return np.array([prior[n][1] for n in names])


def _evidence(stack: np.ndarray, theta: np.ndarray, residual: np.ndarray, noisy: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """(log evidence less its constant, K^-1 residual, K^-1)."""
    k = np.tensordot(theta, stack, 1)
    k[np.diag_indices(len(k))] += noisy + 1e-9
    factor = cho_factor(k, lower=True)
    inverse = cho_solve(factor, np.eye(len(k)))
    alpha = inverse @ residual
    return -0.5 * float(residual @ alpha) - float(np.log(np.diag(factor[0])).sum()), alpha, inverse


def _tuned(stack: np.ndarray, medians: np.ndarray, spread: np.ndarray, first: np.ndarray, residual: np.ndarray, noisy: np.ndarray, rounds: int) -> np.ndarray:
    """(blocks,) the most probable variances under their priors, given (s,) residuals; the search starts at `first`."""
    start = np.log(medians)

    def loss(theta: np.ndarray) -> tuple[float, Any]:
        variance = np.exp(theta)
        try:
            evidence, alpha, inverse = _evidence(stack, variance, residual, noisy)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        pull = (theta - start) / spread
        return -evidence + 0.5 * float(pull @ pull), 0.5 * variance * np.tensordot(stack, inverse - np.outer(alpha, alpha), ([1, 2], [0, 1])) + pull / spread

    found = minimize(loss, np.log(first), jac=True, method="L-BFGS-B", bounds=[(s - 4 * w, s + 4 * w) for s, w in zip(start, spread, strict=True)], options={"maxiter": rounds})
    return np.exp(found.x)


def _softmax(values: np.ndarray) -> np.ndarray:
    raised = np.exp(values - values.max(0))
    return np.asarray(raised / raised.sum(0))


def _logsum(values: np.ndarray) -> np.ndarray:
    """(n,) logarithms of the sums over the first axis."""
    top = values.max(0)
    return np.asarray(top + np.log(np.exp(values - top).sum(0)))
