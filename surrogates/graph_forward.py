"""The graph network's answer in plain NumPy: what `graph_layers` computes with mixing `sage`, without the machinery that costs more than the arithmetic on one graph.

A workload's tensors become one sparse matrix of means over producers and consumers, kept per workload; the rest is products of small matrices. Held to torch's
answers by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.special import erf

from ..datasets.simulator.kernels import fuse
from ..datasets.workload import Workload
from ..features.graph_structure import kernel_edges

#: torch's own: what keeps a norm from dividing by nothing
_LEAST_VARIANCE = 1e-5
_HALF_ROOT = np.float32(np.sqrt(0.5))


def neighbours(edges: np.ndarray, count: int) -> Any:
    """(2 V, V) sparse float32: times the states of `count` nodes the mean over each node's producers, and below it the mean over its consumers."""
    source, sink = edges
    rows, columns = np.concatenate([sink, source + count]), np.concatenate([source, sink])
    degree = np.bincount(rows, minlength=2 * count)
    order = np.argsort(rows, kind="stable")
    weights = np.repeat(1.0 / np.maximum(degree, 1), degree).astype(np.float32)
    return csr_array((weights, columns[order], np.concatenate([[0], np.cumsum(degree)])), shape=(2 * count, count))


@lru_cache(maxsize=256)
def neighbours_of(workload: Workload) -> Any:
    """`neighbours` of a workload's kernels; for reading only."""
    return neighbours(kernel_edges(workload), len(fuse(workload).kernels))


class GraphForward:
    """The network of `arrays` (torch's names); sizes and `pool` as in `graph_layers.network`. Raises ValueError when their shapes do not fit together."""

    def __init__(self, arrays: Mapping[str, np.ndarray], nodes: int, machine: int, hidden: int, layers: int, pool: str, places: int, heads: int) -> None:
        a = {name: np.asarray(values, dtype=np.float32) for name, values in arrays.items()}
        pairs = {"node": (nodes, hidden), "machine": (machine, hidden), "factor": (2 * hidden, 1), "overlap": (2 * hidden, 1 + heads)}
        shapes: dict[str, tuple[int, ...]] = {}
        for name, (into, out) in pairs.items():
            shapes |= {f"{name}.0.weight": (hidden, into), f"{name}.0.bias": (hidden,), f"{name}.2.weight": (out if name in ("factor", "overlap") else hidden, hidden)}
            shapes[f"{name}.2.bias"] = shapes[f"{name}.2.weight"][:1]
        for i in range(layers):
            shapes |= {f"{way}.{i}.lin_l.weight": (hidden, hidden) for way in ("down", "up")} | {f"down.{i}.lin_r.weight": (hidden, hidden)}
            shapes |= {f"{name}": (hidden,) for name in (f"down.{i}.lin_l.bias", f"up.{i}.lin_l.bias", f"norm.{i}.weight", f"norm.{i}.bias")}
        shapes |= ({"place.weight": (hidden, places)} if places else {}) | ({"weigh.weight": (1, hidden), "weigh.bias": (1,)} if pool == "attention" else {})
        wrong = [name for name, shape in shapes.items() if name not in a or a[name].shape != shape]
        if wrong or set(a) - set(shapes):
            raise ValueError(f"arrays of another network: {', '.join([*wrong, *sorted(set(a) - set(shapes))][:3])}")
        self._layer = {name.removesuffix(".weight"): (np.ascontiguousarray(a[name].T), a[name.removesuffix("weight") + "bias"])
                       for name in shapes if name.endswith(".weight") and name.partition(".")[0] in (*pairs, "weigh")}
        self._mixing = [(*(np.ascontiguousarray(a[f"{name}.weight"].T) for name in (f"down.{i}.lin_l", f"up.{i}.lin_l", f"down.{i}.lin_r")), a[f"down.{i}.lin_l.bias"] + a[f"up.{i}.lin_l.bias"], a[f"norm.{i}.weight"], a[f"norm.{i}.bias"]) for i in range(layers)]
        self._place = np.ascontiguousarray(a["place.weight"].T) if places else None

    def __call__(self, x: np.ndarray, mean: Any, starts: np.ndarray, graph: np.ndarray, estimate: np.ndarray, machine: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((n, 1 + heads) logarithms: latency over the summed estimates, then the heads over theirs; (V,) each kernel's share of the time), as `graph_layers`.

        `x` (V, d), `machine` (n, d) and `place` (V, d) standardised; `mean`: `neighbours`; `starts` (n,): where each graph begins; `graph` (V,): which a node is of."""
        device = self._two("machine", machine)
        h = self._two("node", x)
        h += device[graph]
        if self._place is not None:
            h += place @ self._place
        count, width = h.shape
        for down, up, own, bias, scale, shift in self._mixing:
            heard = mean @ h
            mixed = heard[:count] @ down  # three products: of one so large a library makes two threads, which costs more than it saves
            mixed += heard[count:] @ up
            mixed += h @ own
            mixed += bias
            mixed -= mixed.mean(1, keepdims=True)
            mixed *= scale / np.sqrt(np.einsum("ij,ij->i", mixed, mixed)[:, None] / width + np.float32(_LEAST_VARIANCE))
            mixed += shift
            h += _gelu(mixed)
        weight, bias = self._layer["factor.0"]
        hidden = h @ weight[:width]
        hidden += (device @ weight[width:] + bias)[graph]
        weight, bias = self._layer["factor.2"]
        factor = np.clip((_gelu(hidden) @ weight + bias)[:, 0], -4.0, 4.0)
        took = estimate / np.add.reduceat(estimate, starts)[graph] * np.exp(factor)
        time = np.add.reduceat(took, starts)
        share = took / time[graph]
        part = share
        if "weigh" in self._layer:
            weight, bias = self._layer["weigh"]
            score = np.log(np.maximum(share, 1e-12)) + (h @ weight + bias)[:, 0]
            part = np.exp(score - np.maximum.reduceat(score, starts)[graph])
            part = part / (np.add.reduceat(part, starts) + 1e-16)[graph]
        pooled = np.add.reduceat(h * part[:, None], starts, axis=0)
        overlap = self._two("overlap", np.concatenate([pooled, device], axis=1))
        return np.concatenate([np.log(time)[:, None] + np.clip(overlap[:, :1], -2.0, 2.0), np.clip(overlap[:, 1:], -4.0, 4.0)], axis=1), share

    def _two(self, name: str, x: np.ndarray) -> np.ndarray:
        """Two layers with a GELU between."""
        (first, bias), (second, last) = self._layer[f"{name}.0"], self._layer[f"{name}.2"]
        out = _gelu(x @ first + bias) @ second
        out += last
        return out


def _gelu(x: np.ndarray) -> np.ndarray:
    """x Phi(x), in the array given (Hendrycks and Gimpel, "Gaussian error linear units", 2016)."""
    half = erf(x * _HALF_ROOT)
    half += 1.0
    half *= 0.5
    half *= x
    return half
