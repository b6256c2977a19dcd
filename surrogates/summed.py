"""A network's latency from a model of single operators: kernels are asked one by one and added up, with an interval for the sum.

The errors of operators are neither independent (the square root of squares would promise too much) nor all the same (a plain sum too little). Per machine the
correlation of standardised errors is estimated on calibration rows, within a kind of operator and across kinds; a kernel that runs twice errs twice the
same way. With s_i the share of kernel i in the time and w_i its logarithmic half width,

    W^2 = sum over i, j of  r_ij (s_i w_i) (s_j w_j),   r_ii = 1,   r_ij = r_same or r_other

and, where calibration rows belong to networks, W is stretched by the quantile of |log(truth / answer)| / W over them (split conformal on whole networks).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.errors import TableError
from ..datasets.ops import KIND_NAMES
from ..datasets.table import GraphQuestions, OpQuestions, Questions, Table
from ..features.pairs import KernelRows, kernel_rows
from .base import Surrogate
from .prediction import Domain, Prediction
from .trust import guarded

#: rows of a machine that count as much as all machines together, when its own correlation is estimated
_SHRINK = 200.0
#: a circumstance that is every kernel's own number format
OWN = "(its own)"
#: share of a network's time in doubted kernels from which it is doubted itself (assumption)
_DOUBTED = 0.05
#: networks below which their sums say nothing about the stretch
_LEAST_NETWORKS = 20


class Summed:
    """`inner` answers single operators with intervals; this answers networks with `latency_s`. `context`: the circumstances asked about, for an inner model
    that knows some; `OWN` stands for a circumstance that is every kernel's own number format. `known`: the domain in the card of `inner`; with it networks get verdicts,
    from their kernels'. Until `conformalize`, operators count as fully correlated: too wide, never too narrow."""

    name = "summed"

    def __init__(self, inner: Surrogate, *, context: Mapping[str, str] | None = None, level: float = 0.9, known: Mapping[str, Any] | None = None) -> None:
        if inner.shape not in ("op", "") or "latency_s" not in inner.targets:
            raise TableError(f"summed: needs a model of single operators that answers latency_s; got one of shape {inner.shape!r} that answers {', '.join(inner.targets)}")
        self.inner, self.level = inner, level
        self.targets: tuple[str, ...] = ("latency_s",)
        self.shape = "graph"
        self._context = dict(context or {})
        self._known = dict(known or {})
        self._correlation: dict[str, tuple[float, float]] = {"": (1.0, 1.0)}
        self._stretch = 1.0

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Raises TableError: the model of operators learns from a table of operators, this adds its answers up."""
        raise TableError("summed: fit the model of single operators; this adds its answers up (`conformalize` learns how their errors go together)")

    @property
    def correlation(self) -> dict[str, tuple[float, float]]:
        """Machine -> (correlation of errors within a kind of operator, across kinds); "" for machines not calibrated on: all alike."""
        return dict(self._correlation)

    def conformalize(self, table: Table) -> Self:
        """Learns how errors go together from a table of operators that `inner` has not seen. Rows of one group are one network's, where groups repeat.
        Raises TableError for another shape, or answers without intervals."""
        questions = table.questions
        if not isinstance(questions, OpQuestions):
            raise TableError(f"summed: calibrates on rows of single operators, got {questions.shape} questions")
        answer = self.inner.predict(questions)
        point, half = self._answered(answer)
        truth = np.asarray(table.targets["latency_s"], dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.log(truth / point)
        good = np.isfinite(error) & np.isfinite(half) & (half > 0)
        if not good.any():
            raise TableError("summed: no row has both an answer and an interval; conformalize the model of operators first")
        z = error[good] / half[good]
        spread = math.sqrt(float(np.mean(np.clip(z, -3.0, 3.0) ** 2)))  # a few wild rows must not make all others look alike
        z = np.clip(z, -3.0, 3.0) / max(spread, 1e-9)
        device, kind = questions.strata.astype(str)[good], questions.ops.kind[good]
        groups = np.asarray(table.groups).astype(str)[good]
        pooled = _pairwise(z, device, kind, groups)
        self._correlation = {"": (1.0, 1.0)}  # a machine not calibrated on may be off as a whole
        for name in np.unique(device):
            here = device == name
            own = _pairwise(z[here], device[here], kind[here], groups[here])
            weight = here.sum() / (here.sum() + _SHRINK)
            self._correlation[str(name)] = _valid((weight * own[0] + (1 - weight) * pooled[0], weight * own[1] + (1 - weight) * pooled[1]))
        self._stretch = self._stretched(truth[good], point[good], half[good], device, kind, groups)
        return self

    def _stretched(self, truth: np.ndarray, point: np.ndarray, half: np.ndarray, device: np.ndarray, kind: np.ndarray, groups: np.ndarray) -> float:
        labels, first, network = np.unique(np.char.add(np.char.add(groups, "\n"), device), return_index=True, return_inverse=True)
        rows = np.bincount(network)
        if (rows > 1).sum() < _LEAST_NETWORKS:
            return 1.0
        total, summed = np.bincount(network, truth), np.bincount(network, point)
        width = self._widths(network, len(labels), point, half, np.ones(len(point)), kind, device[first])
        score = np.sort((np.abs(np.log(total / summed)) / np.maximum(width, 1e-9))[rows > 1])
        return float(score[min(math.ceil(round((len(score) + 1) * self.level, 9)), len(score)) - 1])

    def _answered(self, answer: Prediction) -> tuple[np.ndarray, np.ndarray]:
        j = answer.column("latency_s")
        with np.errstate(divide="ignore", invalid="ignore"):
            return answer.point[:, j], 0.5 * np.log(answer.high[:, j] / answer.low[:, j])

    def _widths(self, pair: np.ndarray, count: int, point: np.ndarray, half: np.ndarray, weight: np.ndarray, kind: np.ndarray, devices: np.ndarray) -> np.ndarray:
        """(count,) logarithmic half widths of sums over the rows of each pair; `weight`: how many equal kernels a row stands for, which err alike."""
        total = np.bincount(pair, point * weight, minlength=count)
        part = point * weight / total[pair] * half
        same, other = (np.array([self._correlation.get(d, self._correlation[""])[i] for d in devices]) for i in (0, 1))
        of_kind = np.zeros((count, len(KIND_NAMES)))
        np.add.at(of_kind, (pair, kind), part)
        own, within = np.bincount(pair, part**2, minlength=count), (of_kind**2).sum(1)
        across = of_kind.sum(1) ** 2
        return np.sqrt(np.maximum(own + same * (within - own) + other * (across - within), own))

    def predict(self, questions: Questions) -> Prediction:
        """(n, 1) latencies in SI: kernels after fusion, each asked of `inner`, added up."""
        if not isinstance(questions, GraphQuestions):
            raise TableError(f"this model answers graph questions, got {questions.shape} ones")
        n = len(questions)
        if not n:
            return Prediction.nothing(self.targets)
        point, width = np.empty(n), np.empty(n)
        domain: list[Domain] = [Domain("unchecked", "nothing says what the model of operators was trained on")] * n
        keys = tuple(d.key for d in questions.devices)
        for pairs, rows in kernel_rows(questions, unique=True):
            asked = kernel_questions(questions, pairs, rows, self._context)
            answer = self.inner.predict(asked)
            each, half = self._answered(answer)
            point[pairs] = np.bincount(rows.pair, each * rows.weight, minlength=len(pairs))
            width[pairs] = self._widths(rows.pair, len(pairs), each, half, rows.weight, rows.ops.kind, np.array(keys)[questions.device_index[pairs]])
            if self._known:
                for pair, verdict in zip(pairs, _verdicts(guarded(self._known, asked, answer).domain, rows.pair, each * rows.weight, len(pairs)), strict=True):
                    domain[pair] = verdict
        width = width * self._stretch
        bare = Prediction.bare(self.targets, point[:, None]).with_domain(tuple(domain))
        if not np.isfinite(width).all():
            return bare
        return replace(bare, low=(point * np.exp(-width))[:, None], high=(point * np.exp(width))[:, None], level=self.level)

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The correlations, and all of `inner`."""
        spec, files = self.inner.weights()
        return {"inner": self.inner.name, "inner_spec": spec, "context": self._context, "level": self.level, "correlation": {k: list(v) for k, v in self._correlation.items()},
                "stretch": self._stretch, "known": self._known}, files

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`."""
        out = cls(member(spec["inner"]).from_weights(spec["inner_spec"], files, folder, member), context=spec["context"], level=float(spec["level"]), known=spec.get("known"))
        out._correlation = {k: (float(v[0]), float(v[1])) for k, v in spec["correlation"].items()}
        out._stretch = float(spec["stretch"])
        return out


def kernel_questions(questions: GraphQuestions, pairs: np.ndarray, rows: KernelRows, context: Mapping[str, str] | None = None) -> OpQuestions:
    """Kernel rows of some pairs (`features.pairs.kernel_rows`) as questions about single operators, in those circumstances."""
    own = np.array(DTYPE_NAMES, dtype=object)[rows.ops.dtype]
    told = pd.DataFrame({name: own if value == OWN else np.full(len(rows.ops), value, dtype=object) for name, value in (context or {}).items()}, index=range(len(rows.ops)))
    return OpQuestions(rows.ops, tuple(d.key for d in questions.devices), questions.devices, questions.device_index[pairs][rows.pair], told, pd.DataFrame(index=range(len(rows.ops))))


def _verdicts(kernels: Sequence[Domain], pair: np.ndarray, seconds: np.ndarray, count: int) -> list[Domain]:
    """(count,) verdicts on networks from those on their kernels: unsupported where one kernel is, extrapolating where more than `_DOUBTED` of the time is in kernels that are."""
    out = []
    doubted = np.array([one.verdict not in ("in_domain", "unchecked") for one in kernels])
    unsupported = np.array([one.verdict == "unsupported" for one in kernels])
    total, within = np.bincount(pair, seconds, minlength=count), np.bincount(pair, seconds * doubted, minlength=count)
    for at in range(count):
        mine = np.flatnonzero((pair == at) & doubted)
        lost = mine[unsupported[mine]]
        if len(lost):
            more = f"; and {len(lost) - 1} more of its kernels" if len(lost) > 1 else ""
            out.append(Domain("unsupported", f"kernel: {kernels[lost[0]].reason}{more}"))
        elif len(mine) and not within[at] <= _DOUBTED * total[at]:
            worst = mine[int(np.argmax(seconds[mine]))]
            out.append(Domain("extrapolating", f"{within[at] / total[at]:.0%} of its time is in kernels the model of operators doubts; the longest: {kernels[worst].reason}"))
        else:
            out.append(Domain("in_domain"))
    return out


def _pairwise(z: np.ndarray, device: np.ndarray, kind: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """(mean product of standardised errors of two different rows of a machine, of one kind of operator; of two kinds). Pairs are those that would stand in
    one network: of one group where groups hold several rows, else any two of the machine."""
    together = np.char.add(np.char.add(device.astype(str), "\n"), groups.astype(str))
    if len(np.unique(together)) > 0.8 * len(z):  # every row a group of its own
        together = device.astype(str)
    _, code = np.unique(together, return_inverse=True)
    count = int(code.max()) + 1
    sums, squares, rows = np.zeros((count, len(KIND_NAMES))), np.zeros((count, len(KIND_NAMES))), np.zeros((count, len(KIND_NAMES)))
    for array, values in ((sums, z), (squares, z**2), (rows, np.ones(len(z)))):
        np.add.at(array, (code, kind), values)
    same, pairs_same = (sums**2 - squares).sum(1), (rows * (rows - 1)).sum(1)
    other, pairs_other = sums.sum(1) ** 2 - (sums**2).sum(1), rows.sum(1) ** 2 - (rows**2).sum(1)
    # each network counts by its rows, not by its pairs: one of a thousand kernels is no better evidence than a hundred of ten
    size = rows.sum(1)

    def mean(total: np.ndarray, pairs: np.ndarray, fallback: float) -> float:
        there = pairs > 0
        return float(np.average(total[there] / pairs[there], weights=size[there])) if there.any() else fallback

    within = mean(same, pairs_same, 1.0)
    return within, mean(other, pairs_other, within)


def _valid(pair: tuple[float, float]) -> tuple[float, float]:
    """Correlations between 0 and 1, those across kinds no larger than within."""
    same = float(np.clip(pair[0], 0.0, 1.0))
    return same, float(np.clip(pair[1], 0.0, same))
