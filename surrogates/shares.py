"""How several answers to the same rows become one: on which scale they are compared, which shares come nearest to the truth, and the mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_STEPS = np.linspace(0.0, 1.0, 21)


def mixed(answers: Mapping[str, np.ndarray], every: Mapping[str, Mapping[str, float]], targets: Sequence[str], counted: Sequence[str]) -> np.ndarray:
    """(n, t) blended answers in SI: in log space where every member's answer is positive."""
    out = np.full((len(next(iter(answers.values()))), len(targets)), np.nan)
    for j, t in enumerate(targets):
        shares = every[t]
        stack = np.stack([answers[name][:, j] for name in shares])
        weight = np.array(list(shares.values()))
        positive = (stack > 0).all(0)
        logs = np.log(np.where(positive, stack, 1.0))
        if t in counted:  # less than half of one is none
            stack = np.where(stack < 0.5, 0.0, stack)
            positive &= (stack > 0).all(0)
        out[:, j] = np.where(positive, np.exp(np.tensordot(weight, logs, 1)), np.tensordot(weight, stack, 1))
        if t in counted:
            out[:, j] = np.where(out[:, j] < 0.5, 0.0, out[:, j])
    return out


def of_those(shares: Mapping[str, float], members: Mapping[str, Any]) -> dict[str, float]:
    """The shares of some members, summing to 1; trees stand for trees. Equal ones where none has a share."""
    lost = sum(shares.get(name, 0.0) for name in ("squared", "deep") if name not in members)
    found = {name: shares.get(name, 0.0) + (lost if name == "absolute" else 0.0) for name in members}
    total = sum(found.values())
    return {name: w / total if total > 0 else 1.0 / len(found) for name, w in found.items()}


def best_shares(stack: np.ndarray, y: np.ndarray, most: float = np.inf) -> np.ndarray:
    """(k,) shares of (k, n) answers that come nearest to (n,) truths, by rounds of coordinate search. With `most`, an error beyond it counts as that much, and the median counts beside
    the mean: on logarithms a row that is lost is lost, whether by three or by thirty times. Without, root mean squares count beside the mean: there the worst rows tell."""
    def error(w: np.ndarray) -> float:
        off = np.abs(np.tensordot(w, stack, 1) - y)
        if np.isfinite(most):
            return float(np.mean(np.minimum(off, most)) + 0.5 * np.median(off))
        return float(np.mean(off) + 0.5 * np.sqrt(np.mean(off**2)))

    best = min((np.eye(len(stack))[i] for i in range(len(stack))), key=error)
    for _ in range(3):
        for i in range(len(stack)):
            others = np.delete(best, i)
            others = others / others.sum() if others.sum() > 0 else np.full(len(others), 1.0 / max(len(others), 1))
            best = min([best, *(np.insert(others * (1.0 - s), i, s) for s in _STEPS)], key=error)
    return best


def is_logarithmic(truth: np.ndarray) -> bool:
    """Whether `scaled` takes logarithms of answers to (n,) truths."""
    good = truth[np.isfinite(truth)]
    return bool((good > 0).all()) or (bool((good >= 0).all()) and float(good.max(initial=0.0)) > 1.0)


def from_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(k, n) values less the mean of each row's group."""
    _, group = np.unique(groups.astype(str), return_inverse=True)
    rows = np.bincount(group)
    return np.stack([v - (np.bincount(group, v) / rows)[group] for v in values])


def scaled(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """On the scale shares are judged on: logarithms of positive targets, log1p where there are zeros beside sizes, else as they are."""
    good = truth[np.isfinite(truth)]
    if (good > 0).all():
        return np.log(np.maximum(values, 1e-300))
    return np.log1p(np.maximum(values, 0.0)) if is_logarithmic(truth) else values


def is_counted(truth: np.ndarray) -> bool:
    """Whether (n,) answers are whole numbers from zero on: resources, of which a design may need none."""
    good = truth[np.isfinite(truth)]
    return len(good) > 0 and bool((good >= 0).all() and (good == 0).any() and (good == np.floor(good)).all())
