"""A residual network on tabular features: smooth where trees step, so it interpolates between sites that trees can only bin.

It learns what the trees learn (`target_scale`), one network with a head per target; with `head="ceilings"` latencies are put together from achieved
fractions of what the machine could do at best (`network`). Learning needs torch (extra `gnn`), answering does not (`forward`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import FormatError, TableError
from ..datasets.table import OpQuestions, Questions, Table
from ..features.tabular import Features, table_vocabulary, tabular_features
from .forward import Forward
from .kin import Kin
from .neighbours import Neighbours, learned_near
from .network import network
from .prediction import Prediction
from .target_scale import all_points, answers, choose_scale, clipped, decode, encode, floor_share, learned_targets
from .threads import fair_share, wait_asleep

_CHUNK = 16384
#: epochs of a network that goes on from weights it has, and its peak rate, over those of one that begins; epochs at least
_ONWARD_EPOCHS, _ONWARD_RATE, _LEAST_ONWARD = 0.25, 0.5, 4
#: share of category values hidden in training
_HIDDEN = 0.02
#: a few rows are a step or two an epoch: fewer steps in all than this and the weights have hardly moved
_LEAST_STEPS = 400
#: rows of a step times width of the network from which a second thread brings more than waiting for it costs (a small step took ten times the processor time on two threads)
_LEAST_FOR_THREADS = 100_000
#: standard deviations beyond which an input counts as this far: beyond what was seen a network knows nothing
_FARTHEST = 4.0


class Neural:
    """The network. `samples`: rows shown in all (epochs = samples / rows, between 2 and 80, more where that makes fewer than 400 steps); `hidden`, `blocks`: size; `rate`: peak learning rate.
    `columns`: "all", "plain" for sizes and figures without what physics makes of them, "portable" for what means the same on machines and at sizes never seen, "kin" for that and the machine's name (`kin`: one never seen answers
    as its kin would), or "near" for all and what was read nearby (`neighbours`; tables of operators). `head`: "ratio" or "ceilings" (for latencies of op tables; elsewhere it is "ratio"). `full_tails`: whether a last tile that is full is told so (`Features.full_tails`).

    Deterministic in `seed` on one machine.
    """

    name = "neural"

    def __init__(self, *, targets: Sequence[str] = ("latency_s",), hidden: int = 256, blocks: int = 3, samples: int = 4_000_000, batch: int = 1024,
                 rate: float = 2e-3, columns: str = "all", head: str = "ratio", full_tails: bool = False, seed: int = 0, progress: Callable[[int, int, float], None] | None = None) -> None:
        self.targets = tuple(targets)
        self.shape = ""
        self._settings: dict[str, Any] = {"hidden": hidden, "blocks": blocks, "samples": samples, "batch": batch, "rate": rate, "columns": columns, "head": head, "full_tails": full_tails, "seed": seed}
        self._progress = progress
        self._vocabulary: dict[str, tuple[str, ...]] = {}
        self._features: list[str] = []
        self._numeric: list[int] = []
        self._categorical: list[int] = []
        self._cards: list[int] = []
        self._scale: dict[str, str] = {}
        self._least: dict[str, float] = {}
        self._share: dict[str, float] = {}
        self._kin: Kin | None = None
        self._near: Neighbours | None = None
        self._stats: dict[str, np.ndarray] = {}
        self._net: Any = None
        self._ceilings = 0
        self._begun: Neural | None = None

    def goes_on_from(self, earlier: Neural) -> Self:
        """Learning will begin from the weights of a fitted network with the same settings, and be the shorter for it; from scratch where the table has other columns or categories than its."""
        self._begun = earlier if isinstance(earlier, Neural) and isinstance(earlier._net, Forward) and earlier._settings == self._settings and earlier.targets == self.targets else None
        return self

    def _kinship(self, table: Table) -> Kin | None:
        if self._settings["columns"] != "kin" or not isinstance(table.questions, OpQuestions):
            return None
        learned = {name: table.targets[name] for name in learned_targets(self.targets) if name in table.targets}
        return Kin.of(tabular_features(table.questions, self._vocabulary), table.questions, learned, int(self._settings["seed"]))

    def _seen(self, questions: Questions) -> Features:
        features = tabular_features(questions, self._vocabulary)
        features = features.full_tails() if self._settings["full_tails"] else features
        if self._settings["columns"] in ("all", "plain", "near"):
            return self._near.applied(features, questions) if self._near and isinstance(questions, OpQuestions) else features.plain() if self._settings["columns"] == "plain" else features
        return self._kin.seen(features.portable(), questions) if self._kin and isinstance(questions, OpQuestions) else features.portable()

    @property
    def general(self) -> bool:
        """Whether it sees what is the same everywhere, not a table's own readings: a sample of a large table teaches it as much."""
        return self._settings["columns"] in ("plain", "portable", "kin")

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Trains on all learned targets at once; rows lacking one still teach the others. With `valid`, the weights of the epoch that did
        best there are kept. Raises TableError for an unusable target."""

        self.shape = table.questions.shape
        self._vocabulary = table_vocabulary(table)
        self._kin = self._kinship(table)
        if self._settings["columns"] == "near" and isinstance(table.questions, OpQuestions):
            self._near, features = learned_near(table, self._vocabulary, learned_targets(self.targets), int(self._settings["seed"]))
            features = features.full_tails() if self._settings["full_tails"] else features
        else:
            features = self._seen(table.questions)
        self._features = list(features.names)
        numeric = [j for j in range(len(features.names)) if j not in features.categorical]
        x = np.nan_to_num(features.values[:, numeric])
        spread = x.std(0)
        self._numeric = [j for j, s in zip(numeric, spread, strict=True) if s > 1e-5]
        self._categorical = list(features.categorical)
        codes = np.nan_to_num(features.values[:, self._categorical], nan=-1.0)
        self._cards = [int(codes[:, j].max()) + 2 for j in range(codes.shape[1])]  # one more for a value never seen
        kept = features.values[:, self._numeric]
        self._stats = {"mean": np.nan_to_num(kept).mean(0), "std": np.nan_to_num(kept).std(0) + 1e-6}
        learned = learned_targets(self.targets)
        y = np.full((len(table), len(learned)), np.nan, dtype=np.float32)
        for j, name in enumerate(learned):
            truth = answers(name, table.targets, features.reference)
            self._scale[name] = choose_scale(name, truth, features)
            self._share[name] = floor_share(name, truth, features)
            encoded = encode(name, truth, features, self._scale[name])
            good = np.isfinite(encoded)
            rows, self._least[name] = clipped(encoded[good])
            y[good, j] = rows
        self._stats |= {"y_mean": np.nanmean(y, 0), "y_std": np.nanstd(y, 0) + 1e-6}
        first = learned[0]
        if self._settings["head"] == "ceilings" and first == "latency_s" and self._scale[first] == "ratio" and features.ceilings is not None:
            self._ceilings = features.ceilings.shape[1]
        if self._begun is not None:
            if self._alike(self._begun):
                self._stats = dict(self._begun._stats)  # its weights mean what they meant
            else:
                self._begun = None
        y = (y - self._stats["y_mean"]) / self._stats["y_std"]
        held = None
        if valid is not None and len(valid):
            seen = self._seen(valid.questions).ordered(self._features)
            wanted = np.column_stack([encode(n, answers(n, valid.targets, seen.reference), seen, self._scale[n]) for n in learned])
            held = (seen, (wanted - self._stats["y_mean"]) / self._stats["y_std"])
        self._train(features, y, held)
        self._begun = None
        return self

    def _alike(self, other: Neural) -> bool:
        """Whether inputs and outputs of another fitted network mean what they mean here."""
        return all(getattr(self, name) == getattr(other, name) for name in ("_vocabulary", "_features", "_numeric", "_categorical", "_cards", "_scale", "_ceilings"))

    def _train(self, features: Features, truth: np.ndarray, held: tuple[Features, np.ndarray] | None) -> None:
        wait_asleep()
        import torch

        s = self._settings
        before = torch.get_num_threads()
        if fair_share() or int(s["batch"]) * int(s["hidden"]) < _LEAST_FOR_THREADS:
            torch.set_num_threads(fair_share() or 1)
        try:
            self._descend(torch, features, truth, held)
        finally:
            torch.set_num_threads(before)

    def _descend(self, torch: Any, features: Features, truth: np.ndarray, held: tuple[Features, np.ndarray] | None) -> None:
        s = self._settings
        torch.manual_seed(int(s["seed"]))
        x, codes, limits = (torch.from_numpy(a) for a in self._inputs(features))
        y = torch.from_numpy(truth)
        n, batch = len(x), min(int(s["batch"]), max(16, len(x) // 8))
        steps = max(1, -(-n // batch))
        epochs, rate = max(int(np.clip(s["samples"] // n, 2, 80)), -(-_LEAST_STEPS // steps)), float(s["rate"])
        self._net = network(x.shape[1], self._cards, int(s["hidden"]), int(s["blocks"]), y.shape[1], self._ceilings)
        if self._begun is not None:
            epochs, rate = min(epochs, max(_LEAST_ONWARD, round(_ONWARD_EPOCHS * epochs))), _ONWARD_RATE * rate
            self._net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in self._begun._net.arrays.items()})
        optimizer = torch.optim.AdamW(self._net.parameters(), lr=rate, weight_decay=1e-3, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps * epochs, pct_start=0.15)
        beta = 0.15  # of a standard deviation: absolute error beyond, squared within
        unseen = torch.tensor([c - 1 for c in self._cards])
        best, kept = np.inf, None
        for epoch in range(epochs):
            self._net.train()
            order, total = torch.randperm(n), 0.0
            for i in range(steps):
                rows = order[i * batch:(i + 1) * batch]
                wanted = y[rows]
                good = torch.isfinite(wanted)
                # now and then a category is hidden, so that the place of a value never seen is trained too
                shown = torch.where(torch.rand(len(rows), len(self._cards)) < _HIDDEN, unseen, codes[rows])
                loss = torch.nn.functional.smooth_l1_loss(self._out(x[rows], shown, limits[rows])[good], wanted[good], beta=beta)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self._net.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total += float(loss.detach())
            if self._progress:
                self._progress(epoch + 1, epochs, total / steps)
            if held is not None and epoch >= epochs // 3:
                error = np.nanmedian(np.abs(self._raw(held[0]) - held[1]), axis=0)
                if np.isfinite(error).any() and np.nansum(error) < best:
                    best, kept = float(np.nansum(error)), {k: v.clone() for k, v in self._net.state_dict().items()}
        if kept is not None:
            self._net.load_state_dict(kept)
        self._net = self._forward({k: v.numpy() for k, v in self._net.state_dict().items()})  # the fitted one answers as the saved one will

    def _forward(self, arrays: Mapping[str, np.ndarray]) -> Forward:
        return Forward(arrays, len(self._numeric), self._cards, int(self._settings["blocks"]), len(learned_targets(self.targets)), self._ceilings)

    def _out(self, x: Any, codes: Any, limits: Any) -> Any:
        """(n, learned) on the standardised scale."""
        import torch

        out = self._net(x, codes, limits)
        if not self._ceilings:
            return out
        joined = (out[:, :1] - float(self._stats["y_mean"][0])) / float(self._stats["y_std"][0])
        return torch.cat([joined, out[:, 1:]], 1)

    def _raw(self, features: Features) -> np.ndarray:
        """(n, learned) answers on the standardised scale; a fitted network needs no torch for them."""
        x, codes, limits = self._inputs(features)
        chunks = [slice(i, i + _CHUNK) for i in range(0, len(x), _CHUNK)]
        if isinstance(self._net, Forward):
            out = np.concatenate([self._net(x[c], codes[c], limits[c]) for c in chunks]).astype(np.float64)
            if self._ceilings:
                out[:, 0] = (out[:, 0] - float(self._stats["y_mean"][0])) / float(self._stats["y_std"][0])
            return out
        import torch

        self._net.eval()
        with torch.inference_mode():
            parts = [self._out(*(torch.from_numpy(a[c]) for a in (x, codes, limits))).numpy() for c in chunks]
        return np.concatenate(parts).astype(np.float64)

    def _inputs(self, features: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n, numeric) standardised, (n, categorical) codes, (n, ceilings) log ratios."""
        x = (np.nan_to_num(features.values[:, self._numeric]) - self._stats["mean"]) / self._stats["std"]
        codes = features.values[:, self._categorical]
        unseen = np.array([c - 1 for c in self._cards], dtype=np.float32)
        codes = np.where(np.isfinite(codes) & (codes < unseen), codes, unseen).astype(np.int64)
        limits = np.zeros((len(x), 0), dtype=np.float32)
        if self._ceilings:
            assert features.ceilings is not None
            limits = np.clip(np.log(features.ceilings / features.reference["latency_s"][:, None]), -8.0, 3.0).astype(np.float32)
        return np.clip(x, -_FARTHEST, _FARTHEST).astype(np.float32), codes, limits

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI."""
        if questions.shape != self.shape:
            raise TableError(f"this model answers {self.shape} questions, got {questions.shape} ones")
        if not len(questions):
            return Prediction.nothing(self.targets)
        features = self._seen(questions).ordered(self._features)
        y = self._kin.answer(features, questions, self._raw) if self._kin and isinstance(questions, OpQuestions) else self._raw(features)
        y = y * self._stats["y_std"] + self._stats["y_mean"]
        points = {name: decode(name, y[:, j], features, self._scale[name], self._least[name], self._share[name]) for j, name in enumerate(learned_targets(self.targets))}
        return Prediction.bare(self.targets, all_points(points, self.targets))

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Settings in JSON, weights and input statistics as safetensors."""
        from safetensors.numpy import save

        arrays = self._net.arrays | {f"stats.{k}": v for k, v in self._stats.items()}
        spec = {"targets": list(self.targets), "shape": self.shape, "settings": self._settings, "vocabulary": self._vocabulary, "features": self._features,
                "numeric": self._numeric, "categorical": self._categorical, "cards": self._cards, "scale": self._scale, "least": self._least, "share": self._share, "kin": self._kin.to_json() if self._kin else None,
                "ceilings": self._ceilings, **({"near": self._near.to_json()} if self._near else {})}
        return spec, {"neural.safetensors": save({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in arrays.items()}), **(self._near.files() if self._near else {})}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`; raises FormatError when weights are missing or of another shape."""
        from safetensors.numpy import load

        out = cls(targets=spec["targets"], **spec["settings"])
        out.shape, out._features = spec["shape"], list(spec["features"])
        out._numeric, out._categorical, out._cards = list(spec["numeric"]), list(spec["categorical"]), list(spec["cards"])
        out._scale, out._least, out._share = dict(spec["scale"]), dict(spec["least"]), dict(spec["share"])
        out._vocabulary, out._ceilings = {k: tuple(v) for k, v in spec["vocabulary"].items()}, int(spec["ceilings"])
        out._kin = Kin.from_json(spec["kin"]) if spec["kin"] else None
        out._near = Neighbours.from_weights(spec["near"], files, folder) if out._settings["columns"] == "near" and out.shape == "op" else None
        try:
            arrays = load(files["neural.safetensors"])
            out._stats = {k.removeprefix("stats."): v for k, v in arrays.items() if k.startswith("stats.")}
            out._net = out._forward({k: v for k, v in arrays.items() if not k.startswith("stats.")})
            lengths = {"mean": len(out._numeric), "std": len(out._numeric), "y_mean": len(learned_targets(out.targets)), "y_std": len(learned_targets(out.targets))}
            if any(out._stats[name].shape != (length,) for name, length in lengths.items()):
                raise ValueError("input statistics of another length")
        except KeyError:
            raise FormatError(f"{folder}: neural.safetensors is missing") from None
        except Exception as error:
            raise FormatError(f"{folder / 'neural.safetensors'}: not this network's weights ({error})") from None
        return out
