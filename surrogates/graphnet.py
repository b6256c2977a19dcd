"""A graph network (PyTorch Geometric) over kernels: message passing both ways along the tensors, then a readout that adds.

Latency is the sum over kernels of analytic estimate x learned factor, times a learned overlap of the whole graph; so a bigger graph costs
more by construction. Power is the analytic estimate times a factor read from an attention pool. Memory is counted, not learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import FormatError, TableError, VersionError
from ..datasets.table import GraphQuestions, Questions, Table
from ..features.graph import GLOBAL_FEATURES, NODE_FEATURES, Graphs, graphs_of
from .prediction import Prediction, consistent
from .target_scale import answers
from .threads import wait_asleep

_LEARNED = ("latency_s", "power_w")
#: graphs scored at once; larger batches are slower on few cores
_CHUNK = 256


def _network(hidden: int, layers: int) -> Any:
    import torch
    from torch import nn
    from torch_geometric.nn import SAGEConv

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.node = nn.Sequential(nn.Linear(len(NODE_FEATURES), hidden), nn.GELU(), nn.Linear(hidden, hidden))
            self.machine = nn.Sequential(nn.Linear(len(GLOBAL_FEATURES), hidden), nn.GELU(), nn.Linear(hidden, hidden))
            self.down = nn.ModuleList(SAGEConv(hidden, hidden, aggr="mean") for _ in range(layers))
            self.up = nn.ModuleList(SAGEConv(hidden, hidden, aggr="mean", root_weight=False) for _ in range(layers))
            self.norm = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
            self.factor = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.GELU(), nn.Linear(hidden, 1))
            self.overlap = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.GELU(), nn.Linear(hidden, 2))
            for head in (self.factor, self.overlap):
                for parameter in head[-1].parameters():
                    nn.init.zeros_(parameter)

        def forward(self, x: Any, edges: Any, graph: Any, estimate: Any, machine: Any) -> tuple[Any, Any]:
            """((n,) log of latency over the summed estimates, (n,) log of power over its estimate)."""
            device = self.machine(machine)
            h = self.node(x) + device[graph]
            for down, up, norm in zip(self.down, self.up, self.norm, strict=True):
                h = h + torch.nn.functional.gelu(norm(down(h, edges) + up(h, edges.flip(0))))
            total = torch.zeros(len(machine)).index_add_(0, graph, estimate)
            share = estimate / total[graph]
            factor = self.factor(torch.cat([h, device[graph]], 1))[:, 0].clamp(-4, 4)
            time = torch.zeros(len(machine)).index_add_(0, graph, share * torch.exp(factor))
            pooled = torch.zeros(len(machine), hidden).index_add_(0, graph, h * (share * torch.exp(factor) / time[graph])[:, None])
            overlap = self.overlap(torch.cat([pooled, device], 1))
            return torch.log(time) + overlap[:, 0].clamp(-2, 2), overlap[:, 1].clamp(-4, 4)

    return Network()


class GraphNet:
    """The graph network. `hidden`, `layers`: size; `epochs`: passes over the table; `batch`: graphs per step; `rate`: peak learning rate.

    Deterministic in `seed` on one machine. `progress` is told (epoch, epochs, loss).
    """

    name = "graphnet"

    def __init__(self, *, targets: Sequence[str] = ("latency_s", "power_w", "energy_j", "memory_bytes"), hidden: int = 64, layers: int = 3, epochs: int = 24,
                 batch: int = 128, rate: float = 3e-3, seed: int = 0, progress: Callable[[int, int, float], None] | None = None) -> None:
        unknown = set(targets) - {*_LEARNED, "energy_j", "memory_bytes"}
        if unknown or not set(targets) - {"memory_bytes"}:
            raise TableError(f"graphnet: cannot answer {', '.join(sorted(unknown)) or 'memory_bytes alone, which is counted'}; "
                             "it answers latency_s, power_w, energy_j, memory_bytes")
        self.targets = tuple(targets)
        self.shape = "graph"
        self._settings: dict[str, Any] = {"hidden": hidden, "layers": layers, "epochs": epochs, "batch": batch, "rate": rate, "seed": seed}
        self._progress = progress
        self._net: Any = None
        self._stats: dict[str, np.ndarray] = {}

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Trains on graph questions; the weights of the best epoch on `valid` are kept. Raises TableError for other questions."""
        wait_asleep()
        import torch

        if not isinstance(table.questions, GraphQuestions):
            raise TableError(f"graphnet learns from graph questions, got {table.questions.shape} ones")
        torch.manual_seed(int(self._settings["seed"]))
        graphs = graphs_of(table.questions)
        y = self._ratios(table, graphs)
        self._stats = {"node_mean": graphs.nodes.mean(0), "node_std": _spread(graphs.nodes), "machine_mean": graphs.machine.mean(0), "machine_std": _spread(graphs.machine)}
        self._net = _network(int(self._settings["hidden"]), int(self._settings["layers"]))
        held = (graphs_of(valid.questions), valid) if valid is not None else None
        epochs, size = int(self._settings["epochs"]), int(self._settings["batch"])
        steps = max(1, -(-len(graphs) // size)) * epochs
        optimizer = torch.optim.AdamW(self._net.parameters(), lr=self._settings["rate"], weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self._settings["rate"], total_steps=steps, pct_start=0.1)
        rng = np.random.default_rng(int(self._settings["seed"]))
        best, kept = np.inf, None
        for epoch in range(epochs):
            self._net.train()
            losses = []
            order = rng.permutation(len(graphs))
            for at in range(0, len(order), size):
                index = order[at:at + size]
                ours = dict(zip(_LEARNED, self._net(*self._tensors(graphs, index)), strict=True))
                loss = 0.0 * ours["latency_s"].sum()  # a batch without a single answer teaches nothing
                for name, truth in y.items():
                    out, wanted = ours[name], torch.from_numpy(truth[index])
                    good = torch.isfinite(wanted)
                    if good.any():
                        loss = loss + torch.nn.functional.smooth_l1_loss(out[good], wanted[good], beta=0.02)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self._net.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                losses.append(float(loss.detach()))
            if self._progress:
                self._progress(epoch + 1, epochs, float(np.mean(losses)))
            if held is not None and epoch >= epochs // 2:
                score = self._error(*held)
                if score < best:
                    best, kept = score, {k: v.clone() for k, v in self._net.state_dict().items()}
        if kept is not None:
            self._net.load_state_dict(kept)
        self._net.eval()
        return self

    @property
    def _learned(self) -> tuple[str, ...]:
        """Which of `_LEARNED` the targets need; energy needs both."""
        return tuple(name for name in _LEARNED if name in self.targets or "energy_j" in self.targets)

    def _ratios(self, table: Table, graphs: Graphs, strict: bool = True) -> dict[str, np.ndarray]:
        out = {}
        for name in self._learned:
            truth = answers(name, table.targets, graphs.reference) if strict else table.targets.get(name, np.full(len(table), np.nan))
            base = _estimate(graphs) if name == "latency_s" else graphs.reference[name]
            with np.errstate(divide="ignore", invalid="ignore"):
                out[name] = np.log(truth / base).astype(np.float32)
        return out

    def _error(self, graphs: Graphs, table: Table) -> float:
        ours = dict(zip(_LEARNED, self._raw(graphs), strict=True))
        errors = [np.abs(ours[name] - y) for name, y in self._ratios(table, graphs, strict=False).items()]
        return sum(float(np.median(e[np.isfinite(e)])) for e in errors if np.isfinite(e).any())

    def _tensors(self, graphs: Graphs, index: np.ndarray) -> tuple[Any, ...]:
        import torch

        nodes, edges, graph, estimate, machine = graphs.batch(index)
        s = self._stats
        return (torch.from_numpy(_standard(nodes, s["node_mean"], s["node_std"])), torch.from_numpy(edges), torch.from_numpy(graph), torch.from_numpy(estimate),
                torch.from_numpy(_standard(machine, s["machine_mean"], s["machine_std"])))

    def _raw(self, graphs: Graphs) -> tuple[np.ndarray, np.ndarray]:
        import torch

        self._net.eval()
        latency, power = np.empty(len(graphs)), np.empty(len(graphs))
        with torch.inference_mode():
            for at in range(0, len(graphs), _CHUNK):
                index = np.arange(at, min(at + _CHUNK, len(graphs)))
                out = self._net(*self._tensors(graphs, index))
                latency[index], power[index] = out[0].numpy(), out[1].numpy()
        return latency, power

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI, latency never below the speed of light."""
        if not isinstance(questions, GraphQuestions):
            raise TableError(f"this model answers graph questions, got {questions.shape} ones")
        if not len(questions):
            return Prediction.nothing(self.targets)
        graphs = graphs_of(questions)
        latency, power = self._raw(graphs)
        points = {"latency_s": np.maximum(np.exp(latency) * _estimate(graphs), graphs.floor_s), "power_w": np.exp(power) * graphs.reference["power_w"],
                  "energy_j": np.zeros(len(graphs)), "memory_bytes": graphs.reference["memory_bytes"]}
        points = consistent(points)
        return Prediction.bare(self.targets, np.column_stack([points[t] for t in self.targets]))

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Settings in JSON, weights and input statistics as safetensors."""
        from safetensors.numpy import save

        arrays = {k: v.numpy() for k, v in self._net.state_dict().items()} | {f"stats.{k}": v for k, v in self._stats.items()}
        return {"targets": list(self.targets), "settings": self._settings, "nodes": [n for n, _ in NODE_FEATURES], "machine": [n for n, _ in GLOBAL_FEATURES]}, {
            "network.safetensors": save({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in arrays.items()})}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`; raises FormatError when weights are missing or of another shape."""
        wait_asleep()
        import torch
        from safetensors.numpy import load

        out = cls(targets=spec["targets"], **spec["settings"])
        if (spec["nodes"], spec["machine"]) != ([n for n, _ in NODE_FEATURES], [n for n, _ in GLOBAL_FEATURES]):
            raise VersionError(f"{folder}: made with other node or machine columns than this silicast computes; train it again")
        try:
            arrays = load(files["network.safetensors"])
            out._stats = {k.removeprefix("stats."): v for k, v in arrays.items() if k.startswith("stats.")}
            out._net = _network(int(spec["settings"]["hidden"]), int(spec["settings"]["layers"]))
            out._net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in arrays.items() if not k.startswith("stats.")})
            for kind, columns in (("node", NODE_FEATURES), ("machine", GLOBAL_FEATURES)):
                if any(out._stats[f"{kind}_{s}"].shape != (len(columns),) for s in ("mean", "std")):
                    raise ValueError(f"statistics of {kind} columns of another length")
        except KeyError:
            raise FormatError(f"{folder}: network.safetensors is missing") from None
        except Exception as error:
            raise FormatError(f"{folder / 'network.safetensors'}: not this network's weights ({error})") from None
        out._net.eval()
        return out


def _spread(values: np.ndarray) -> np.ndarray:
    """(d,) standard deviations; a column that never varies counts for nothing, whatever it is on a machine never seen."""
    spread = values.std(0)
    return np.where(spread > 1e-5, spread, 1e12).astype(np.float32)


def _standard(values: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Columns in standard deviations from their mean, at most six: beyond what it has seen a network is no guide."""
    return np.clip((values - mean) / spread, -6.0, 6.0).astype(np.float32)


def _estimate(graphs: Graphs) -> np.ndarray:
    """(n,) summed node estimates in seconds."""
    return np.add.reduceat(graphs.estimate_s.astype(np.float64), graphs.node_start[:-1])
