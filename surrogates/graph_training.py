"""How the graph network is trained: batches of graphs, one cycle of the learning rate, and a checkpoint after every epoch.

A run that was killed goes on from its checkpoint and ends with the very weights it would have ended with: the checkpoint holds weights, optimiser,
best weights so far and the state of the random order, as safetensors and JSON, and is only used for the same data and settings.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: huber's bend, in nats: squared below, absolute above
_BEND = 0.02
#: shares of kernels whose columns are hidden in pre-training: all of them, or those that tell the analytic bounds
_MASKED, _UNBOUND = 0.15, 0.3
_WARM = 0.1

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Plan:
    """How long and how fast: passes over the graphs, graphs per step, peak learning rate."""

    epochs: int
    batch: int
    rate: float
    seed: int

    def pace(self, step: int, steps: int) -> tuple[float, float]:
        """(learning rate, first momentum) at a step: one cycle, up over a tenth of the way and down to nearly nothing (Smith and Topin 2019)."""
        warm = max(_WARM * steps, 1.0)
        if step < warm:
            share = 0.5 * (1.0 - math.cos(math.pi * step / warm))
            return self.rate * (0.04 + 0.96 * share), 0.95 - 0.1 * share
        share = 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(steps - warm, 1.0)))
        return self.rate * max(share, 4e-6), 0.95 - 0.1 * share


class Checkpoint:
    """A folder that holds one unfinished training. `key` identifies data and settings: what was written under another is not used."""

    def __init__(self, folder: str | Path, key: str) -> None:
        self._folder, self._key = Path(folder), key

    @staticmethod
    def key_of(settings: Mapping[str, Any], *arrays: np.ndarray) -> str:
        """16 hex digits over settings and content."""
        sha = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for array in arrays:
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()[:16]

    def load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """(what was noted, arrays), or None where there is nothing that fits; a half-written or damaged one counts as nothing."""
        from safetensors.numpy import load

        try:
            noted = json.loads((self._folder / "training.json").read_text(encoding="utf-8"))
            if noted["key"] != self._key:
                return None
            content = (self._folder / noted["arrays"]).read_bytes()
            return (noted, load(content)) if hashlib.sha256(content).hexdigest() == noted["digest"] else None
        except Exception:  # whatever a damaged file makes a library say: training starts anew
            return None

    def save(self, noted: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Writes the arrays, then the note that names them: a kill in between leaves the checkpoint before."""
        from safetensors.numpy import save

        self._folder.mkdir(parents=True, exist_ok=True)
        content = save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
        name = f"epoch-{noted['epoch']}.safetensors"
        (self._folder / name).write_bytes(content)
        waiting = self._folder / "training.json.new"
        waiting.write_text(json.dumps({**noted, "key": self._key, "arrays": name, "digest": hashlib.sha256(content).hexdigest()}), encoding="utf-8")
        os.replace(waiting, self._folder / "training.json")
        for old in self._folder.glob("epoch-*.safetensors"):
            if old.name != name:
                old.unlink()

    def done(self) -> None:
        """The training is over: the folder goes."""
        shutil.rmtree(self._folder, ignore_errors=True)


def train(net: Any, count: int, loss_of: Callable[[np.ndarray, np.random.Generator], Any], plan: Plan, score: Callable[[], float] | None = None,
          progress: Progress | None = None, checkpoint: Checkpoint | None = None) -> None:
    """Trains `net` in place on `count` graphs; `loss_of(rows, rng)` is a batch's loss. With `score` (less is better) the best weights of the second half
    are kept. Goes on from `checkpoint` where it fits."""
    import torch

    steps = max(1, -(-count // plan.batch)) * plan.epochs
    optimizer = torch.optim.AdamW(net.parameters(), lr=plan.rate, weight_decay=1e-4)
    rng = np.random.default_rng(plan.seed)
    best, kept, step, first = math.inf, None, 0, 0
    found = checkpoint.load() if checkpoint is not None else None
    if found is not None:
        noted, arrays = found
        first, step, best = int(noted["epoch"]), int(noted["step"]), float(noted["best"])
        rng.bit_generator.state = noted["rng"]
        net.load_state_dict({k.removeprefix("net."): torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith("net.")})
        kept = {k.removeprefix("best."): torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith("best.")} or None
        state = {i: {part: torch.from_numpy(arrays[f"optimizer.{i}.{part}"].copy()) for part in ("step", "exp_avg", "exp_avg_sq")}
                 for i in range(len(list(net.parameters()))) if f"optimizer.{i}.step" in arrays}
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for epoch in range(first, plan.epochs):
        net.train()
        losses = []
        order = rng.permutation(count)
        for at in range(0, count, plan.batch):
            rate, momentum = plan.pace(step, steps)
            for group in optimizer.param_groups:
                group["lr"], group["betas"] = rate, (momentum, 0.999)
            loss = loss_of(order[at:at + plan.batch], rng)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            step += 1
            losses.append(float(loss.detach()))
        if progress is not None:
            progress(epoch + 1, plan.epochs, float(np.mean(losses)))
        if score is not None and epoch >= plan.epochs // 2:
            found_score = score()
            if found_score < best:
                best, kept = found_score, {k: v.clone() for k, v in net.state_dict().items()}
        if checkpoint is not None and epoch + 1 < plan.epochs:
            arrays = {f"net.{k}": v.numpy() for k, v in net.state_dict().items()} | {f"best.{k}": v.numpy() for k, v in (kept or {}).items()}
            for i, parts in optimizer.state_dict()["state"].items():
                arrays |= {f"optimizer.{i}.{part}": v.numpy() for part, v in parts.items()}
            checkpoint.save({"epoch": epoch + 1, "step": step, "best": best, "rng": rng.bit_generator.state}, arrays)
    if kept is not None:
        net.load_state_dict(kept)
    net.eval()
    if checkpoint is not None:
        checkpoint.done()


def huber(ours: Any, wanted: Any) -> Any:
    """Smooth absolute error over the finite entries of `wanted`; zero, with a gradient of zero, where there is none."""
    import torch

    good = torch.isfinite(wanted)
    return torch.nn.functional.smooth_l1_loss(ours[good], wanted[good], beta=_BEND) if good.any() else 0.0 * ours.sum()


def hidden_columns(rows: int, bounds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(rows, columns) bool, what pre-training hides of a batch's kernels: either everything of a few (which operator stands here?), or of more the columns
    `bounds` that tell the analytic bounds (how long can it take on this machine?)."""
    if rng.random() < 0.5:
        return np.repeat((rng.random(rows) < _MASKED)[:, None], len(bounds), axis=1)
    return (rng.random(rows) < _UNBOUND)[:, None] & bounds[None, :]
