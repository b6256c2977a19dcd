"""A graph network (PyTorch Geometric) over kernels: message passing both ways along the tensors, then a readout that adds.

Latency is the sum over kernels of analytic estimate x learned factor, times a learned overlap of the whole graph; so a bigger graph costs
more by construction. Power and DRAM traffic are the analytic estimates times factors read from a pool. Memory is counted, not learned. What the network
is made of is in `graph_layers`, how it is trained (and goes on after a kill) in `graph_training`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import FormatError, TableError, UnknownNameError, VersionError
from ..datasets.table import GraphQuestions, Questions, Table
from ..features.graph import GLOBAL_FEATURES, NODE_FEATURES, STRUCTURE_FEATURES, Graphs, graphs_of
from ..features.graph_structure import depths
from ..features.op import OP_FEATURES
from . import graph_training
from .graph_forward import GraphForward, neighbours, neighbours_of
from .graph_layers import MIXINGS, POOLS, network
from .prediction import Prediction, consistent
from .target_scale import answers
from .threads import wait_asleep

#: what a network can learn: latency by adding kernels up, the others from a pool
_LEARNED = ("latency_s", "power_w", "dram_bytes")
_ANSWERED = (*_LEARNED, "energy_j", "memory_bytes")
#: graphs scored at once; larger batches are slower on few cores
_CHUNK = 256
#: what models saved before these settings existed were made with
_BEFORE = {"mixing": "sage", "pool": "time", "places": False, "pretrain": 0}


class GraphNet:
    """The graph network. `hidden`, `layers`: size; `epochs`: passes over the table; `batch`: graphs per step; `rate`: peak learning rate.

    `mixing`, `pool`: see `graph_layers`; `places`: whether kernels know where in the graph they stand. `pretrain`: passes before `fit` in which the
    network learns to fill in hidden operators and bounds, for which no answers are needed. `checkpoint`: a folder for unfinished training; a `fit` that
    was killed goes on from there. Deterministic in `seed` on one machine. `progress` is told (epoch, epochs, loss).
    """

    name = "graphnet"

    def __init__(self, *, targets: Sequence[str] = ("latency_s", "power_w", "energy_j", "memory_bytes"), hidden: int = 64, layers: int = 3, epochs: int = 24,
                 batch: int = 128, rate: float = 3e-3, mixing: str = "sage", pool: str = "time", places: bool = False, pretrain: int = 4, seed: int = 0,
                 checkpoint: str = "", progress: Callable[[int, int, float], None] | None = None) -> None:
        unknown = set(targets) - set(_ANSWERED)
        if unknown or not set(targets) - {"memory_bytes"}:
            raise TableError(f"graphnet: cannot answer {', '.join(sorted(unknown)) or 'memory_bytes alone, which is counted'}; it answers {', '.join(_ANSWERED)}")
        for what, given, known in (("mixing", mixing, MIXINGS), ("pool", pool, POOLS)):
            if given not in known:
                raise UnknownNameError(f"{what} of graphnet", given, known)
        self.targets = tuple(targets)
        self.shape = "graph"
        self._settings: dict[str, Any] = {"hidden": hidden, "layers": layers, "epochs": epochs, "batch": batch, "rate": rate, "mixing": mixing, "pool": pool,
                                          "places": places, "pretrain": pretrain, "seed": seed}
        self._progress, self._checkpoint = progress, checkpoint
        self._net: Any = None
        #: a fitted or saved network without sweeps and attention answers in NumPy; `_saved`: weights that torch has not been given yet
        self._plain: GraphForward | None = None
        self._saved: dict[str, np.ndarray] = {}
        self._stats: dict[str, np.ndarray] = {}

    @property
    def _heads(self) -> tuple[str, ...]:
        """What the pool answers, power always."""
        return ("power_w", *(["dram_bytes"] if "dram_bytes" in self.targets else []))

    @property
    def _learned(self) -> tuple[str, ...]:
        """Which of `_LEARNED` the targets need; energy needs latency and power."""
        return tuple(name for name in _LEARNED if name in self.targets or ("energy_j" in self.targets and name != "dram_bytes"))

    def _made(self) -> Any:
        s = self._settings
        return network(len(NODE_FEATURES), len(GLOBAL_FEATURES), int(s["hidden"]), int(s["layers"]), str(s["mixing"]), str(s["pool"]),
                       len(STRUCTURE_FEATURES) if s["places"] else 0, len(self._heads))

    def _answers_plainly(self) -> Self:
        """From now on NumPy answers, where it can: the fitted network as the saved one will."""
        if self._settings["mixing"] == "sage":
            s = self._settings
            arrays = self._saved or {name: values.numpy().copy() for name, values in self._net.state_dict().items()}
            self._plain = GraphForward(arrays, len(NODE_FEATURES), len(GLOBAL_FEATURES), int(s["hidden"]), int(s["layers"]), str(s["pool"]),
                                       len(STRUCTURE_FEATURES) if s["places"] else 0, len(self._heads))
        return self

    def _in_torch(self) -> Any:
        """The network as torch has it; a saved one is given to torch when that is first needed. None where nothing was learned."""
        if self._net is None and self._saved:
            wait_asleep()
            import torch

            self._net = self._made()
            self._net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in self._saved.items()})
            self._net.eval()
        return self._net

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Trains on graph questions; the weights of the best epoch on `valid` are kept. Raises TableError for other questions."""
        graphs = self._begin(table.questions)
        if int(self._settings["pretrain"]):
            self._fill_in(graphs)
        return self._learn(graphs, table, valid, int(self._settings["epochs"]), float(self._settings["rate"]), "fit")

    def pretrain(self, questions: GraphQuestions, epochs: int = 4) -> Self:
        """Learns to fill in hidden operators and bounds of graphs that need no answers; `adapt` then learns from answers. Raises TableError for other
        questions."""
        graphs = self._begin(questions)
        self._settings["pretrain"] = epochs
        self._fill_in(graphs)
        self._net.eval()
        return self._answers_plainly()

    def adapt(self, table: Table, valid: Table | None = None, *, epochs: int = 12, rate: float = 1e-3) -> Self:
        """Goes on learning from where it is, gently: from simulated graphs to measured ones. Targets that the table lacks stay as they are. Raises
        TableError for a network that has learned nothing yet, and for a table without any of its targets."""
        if self._in_torch() is None:
            raise TableError("graphnet: nothing to adapt yet; fit or pretrain it first")
        if not isinstance(table.questions, GraphQuestions):
            raise TableError(f"graphnet learns from graph questions, got {table.questions.shape} ones")
        if not any(name in table.targets for name in self._learned):
            raise TableError(f"graphnet: the table has none of {', '.join(self._learned)}; it has: {', '.join(table.targets) or 'none'}")
        return self._learn(graphs_of(table.questions), table, valid, epochs, rate, "adapt")

    def _begin(self, questions: Any) -> Graphs:
        """A fresh network, and what its inputs are standardised by."""
        wait_asleep()
        import torch

        if not isinstance(questions, GraphQuestions):
            raise TableError(f"graphnet learns from graph questions, got {questions.shape} ones")
        torch.manual_seed(int(self._settings["seed"]))
        graphs = graphs_of(questions)
        self._stats = {"node_mean": graphs.nodes.mean(0), "node_std": _spread(graphs.nodes), "machine_mean": graphs.machine.mean(0), "machine_std": _spread(graphs.machine)}
        if self._settings["places"]:
            places = graphs.places(np.arange(len(graphs)))
            self._stats |= {"place_mean": places.mean(0), "place_std": _spread(places)}
        self._net, self._plain, self._saved = self._made(), None, {}
        return graphs

    def _fill_in(self, graphs: Graphs) -> None:
        import torch

        hidden = int(self._settings["hidden"])
        both = torch.nn.ModuleDict({"net": self._net, "back": torch.nn.Linear(hidden, len(NODE_FEATURES))})
        bounds = np.arange(len(NODE_FEATURES)) >= len(OP_FEATURES)

        def loss_of(index: np.ndarray, rng: np.random.Generator) -> Any:
            x, edges, graph, _, machine, place, levels = self._tensors(graphs, index)
            gone = torch.from_numpy(graph_training.hidden_columns(len(x), bounds, rng))
            h, _ = self._net.states(torch.where(gone, 0.0, x), edges, graph, machine, place, levels)
            return graph_training.huber(both["back"](h), torch.where(gone, x, torch.nan))

        plan = graph_training.Plan(int(self._settings["pretrain"]), int(self._settings["batch"]), float(self._settings["rate"]), int(self._settings["seed"]))
        graph_training.train(both, len(graphs), loss_of, plan, progress=self._progress, checkpoint=self._unfinished("pretrain", graphs))

    def _learn(self, graphs: Graphs, table: Table, valid: Table | None, epochs: int, rate: float, what: str) -> Self:
        import torch

        self._plain, self._saved = None, {}  # torch answers while it learns
        y = self._ratios(table, graphs, what)
        held = (graphs_of(valid.questions), valid) if valid is not None else None
        columns = {name: i for i, name in enumerate(("latency_s", *self._heads))}

        def loss_of(index: np.ndarray, rng: np.random.Generator) -> Any:
            ours, _ = self._net(*self._tensors(graphs, index))
            return sum(graph_training.huber(ours[:, columns[name]], torch.from_numpy(truth[index])) for name, truth in y.items())

        plan = graph_training.Plan(epochs, int(self._settings["batch"]), rate, int(self._settings["seed"]))
        graph_training.train(self._net, len(graphs), loss_of, plan, (lambda: self._error(*held)) if held is not None else None, self._progress,
                             self._unfinished(f"{what}-{epochs}-{rate:g}", graphs, *y.values()))
        return self._answers_plainly()

    def _unfinished(self, what: str, graphs: Graphs, *truth: np.ndarray) -> graph_training.Checkpoint | None:
        if not self._checkpoint:
            return None
        key = graph_training.Checkpoint.key_of({**self._settings, "targets": self.targets, "what": what}, graphs.nodes, graphs.machine, graphs.edges, *truth)
        return graph_training.Checkpoint(Path(self._checkpoint) / what.partition("-")[0], key)

    def _ratios(self, table: Table, graphs: Graphs, what: str = "score") -> dict[str, np.ndarray]:
        out = {}
        for name in self._learned:
            if what == "fit":
                truth = answers(name, table.targets, graphs.reference)
            elif name not in table.targets:
                continue
            else:
                truth = table.targets[name]
            base = _estimate(graphs) if name == "latency_s" else graphs.reference[name]
            with np.errstate(divide="ignore", invalid="ignore"):
                out[name] = np.log(truth / base).astype(np.float32)
        return out

    def _error(self, graphs: Graphs, table: Table) -> float:
        ours = self._raw(graphs)[0]
        errors = [np.abs(ours[name] - y) for name, y in self._ratios(table, graphs).items()]
        return sum(float(np.median(e[np.isfinite(e)])) for e in errors if np.isfinite(e).any())

    def _tensors(self, graphs: Graphs, index: np.ndarray) -> tuple[Any, ...]:
        import torch

        nodes, edges, graph, estimate, machine = graphs.batch(index)
        x, device, place = self._standardised(graphs, index, nodes, machine)
        levels = np.stack([depths(edges, len(nodes)), depths(edges[::-1], len(nodes))]) if self._settings["mixing"] == "order" else np.zeros((2, 0), dtype=np.int64)
        return tuple(map(torch.from_numpy, (x, edges, graph, estimate, device, place, levels)))

    def _standardised(self, graphs: Graphs, index: np.ndarray, nodes: np.ndarray, machine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        s = self._stats
        place = _standard(graphs.places(index), s["place_mean"], s["place_std"]) if self._settings["places"] else np.zeros((0, 0), dtype=np.float32)
        return _standard(nodes, s["node_mean"], s["node_std"]), _standard(machine, s["machine_mean"], s["machine_std"]), place

    def _raw(self, graphs: Graphs) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """(target -> (n,) logarithm over its estimate, (V,) each kernel's share of its graph's time)."""
        out, shares = np.empty((len(graphs), 1 + len(self._heads))), []
        ask = self._by_torch if self._plain is None else self._by_numpy
        for at in range(0, len(graphs), _CHUNK):
            index = np.arange(at, min(at + _CHUNK, len(graphs)))
            out[index], share = ask(graphs, index)
            shares.append(share.astype(np.float64))
        return dict(zip(("latency_s", *self._heads), out.T, strict=True)), np.concatenate(shares)

    def _by_torch(self, graphs: Graphs, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import torch

        if self._in_torch().training:
            self._net.eval()
        with torch.inference_mode():
            found, share = self._net(*self._tensors(graphs, index))
            return found.numpy(), share.numpy()

    def _by_numpy(self, graphs: Graphs, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert self._plain is not None
        if len(graphs) == 1:
            nodes, graph, estimate, machine, mean = graphs.nodes, np.zeros(len(graphs.nodes), dtype=np.int64), graphs.estimate_s, graphs.machine, neighbours_of(graphs.workloads[0])
        else:
            nodes, edges, graph, estimate, machine = graphs.batch(index)
            mean = neighbours(edges, len(nodes))
        x, device, place = self._standardised(graphs, index, nodes, machine)
        return self._plain(x, mean, graphs.node_start[index] - graphs.node_start[index[0]], graph, estimate, device, place)

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI, latency never below the speed of light."""
        if not isinstance(questions, GraphQuestions):
            raise TableError(f"this model answers graph questions, got {questions.shape} ones")
        if not len(questions):
            return Prediction.nothing(self.targets)
        graphs = graphs_of(questions)
        ours, _ = self._raw(graphs)
        points = {"latency_s": np.maximum(np.exp(ours["latency_s"]) * _estimate(graphs), graphs.floor_s), "energy_j": np.zeros(len(graphs)),
                  "memory_bytes": graphs.reference["memory_bytes"], **{name: np.exp(ours[name]) * graphs.reference[name] for name in self._heads}}
        points = consistent(points)
        return Prediction.bare(self.targets, np.column_stack([points[t] for t in self.targets]))

    def kernel_shares(self, questions: GraphQuestions) -> list[np.ndarray]:
        """Per question the (V,) share of each kernel in the latency, as the readout adds them up; each sums to 1."""
        graphs = graphs_of(questions)
        shares = self._raw(graphs)[1]
        parts = np.split(shares, graphs.node_start[1:-1])
        return [p / p.sum() for p in parts]

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Settings in JSON, weights and input statistics as safetensors."""
        from safetensors.numpy import save

        arrays = (self._saved or {k: v.numpy() for k, v in self._net.state_dict().items()}) | {f"stats.{k}": v for k, v in self._stats.items()}
        return {"targets": list(self.targets), "settings": self._settings, "nodes": [n for n, _ in NODE_FEATURES], "machine": [n for n, _ in GLOBAL_FEATURES],
                "places": [n for n, _ in STRUCTURE_FEATURES]}, {
            "network.safetensors": save({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in arrays.items()})}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`, and of what was saved before there was a choice of mixings; raises FormatError when weights are missing or of another shape."""
        from safetensors.numpy import load

        out = cls(targets=spec["targets"], **{**_BEFORE, **spec["settings"]})
        columns = {"node": NODE_FEATURES, "machine": GLOBAL_FEATURES, **({"place": STRUCTURE_FEATURES} if out._settings["places"] else {})}
        names = {kind: [n for n, _ in known] for kind, known in columns.items()}
        saved = {"node": spec["nodes"], "machine": spec["machine"], **({"place": spec["places"]} if "mixing" in spec["settings"] else {})}
        if any(saved[kind] != known for kind, known in names.items()):
            raise VersionError(f"{folder}: made with other node or machine columns than this silicast computes; train it again")
        try:
            arrays = load(files["network.safetensors"])
            out._stats = {k.removeprefix("stats."): v for k, v in arrays.items() if k.startswith("stats.")}
            out._saved = {k: v for k, v in arrays.items() if not k.startswith("stats.")}
            out._answers_plainly()  # or raises
            if out._plain is None:
                out._in_torch()
            for kind, known in columns.items():
                if any(out._stats[f"{kind}_{s}"].shape != (len(known),) for s in ("mean", "std")):
                    raise ValueError(f"statistics of {kind} columns of another length")
        except KeyError:
            raise FormatError(f"{folder}: network.safetensors is missing") from None
        except Exception as error:
            raise FormatError(f"{folder / 'network.safetensors'}: not this network's weights ({error})") from None
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
