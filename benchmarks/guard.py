"""What the domain guard is worth: python benchmarks/guard.py [--quick] [--only NAME,...] [--json FILE]

Each trial holds out whole groups, a machine and the largest sizes (of the synthetic table: workloads, four machines, a family), fits what `silicast fit` fits
by default on a few thousand rows of the rest, and asks about all three at once. An answer is *wrong* where its error exceeds twice the half width of its
interval. Told are the AUROC of the novelty and of the verdict for that, and how much larger the errors (of logarithms) of rejected
answers are than those of accepted ones.
Nothing of the guard is set on the rows it is judged by. Without the open tables only the synthetic trial runs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _tables import data_folder, print_table, write_json
from accuracy_ops import GEMM, PROTOCOLS, _neusight, _sampled, aiconfigurator

from silicast.datasets.generate import generate, read_generated
from silicast.datasets.measured import read_measured
from silicast.datasets.splits import split_by_group
from silicast.datasets.table import Table
from silicast.features import domain
from silicast.serving.demo import UNSEEN_DEVICES
from silicast.surrogates import store
from silicast.surrogates.classifier import auroc
from silicast.surrogates.trust import guarded, witnessed
from silicast.training.fitting import fit_surrogate

_PARTS = {"train": 0.70, "valid": 0.07, "calibrate": 0.11, "group": 0.12}


@dataclass(frozen=True)
class Trial:
    """A table and the rows held out by kind: a row of none is cut by group into what is learned, calibrated on and asked."""

    name: str
    table: Table
    held: dict[str, np.ndarray]
    synthetic: bool = False


def gemm(data: Path, rows: int) -> Iterator[Trial]:
    """GEMM of four GPUs, one never seen, sizes beyond the table."""
    table = read_measured(_sampled(aiconfigurator(data, "gemm"), rows, 0), GEMM)
    ops = table.questions.ops
    large = (ops.n > 16384) | (ops.m > 8192) | (ops.k > 16384)
    for device in ("l40s", "b200_sxm"):
        new = (table.slices["device"] == device).to_numpy()
        yield Trial(f"GEMM, {device}", table, {"machine": new & ~large, "size": large & ~new, "": large & new})


def neusight(data: Path, rows: int) -> Iterator[Trial]:
    """NeuSight's operators: the A100 never seen, its own test rows far beyond."""
    frame, table = _neusight(data, int(0.75 * rows), 0)
    new, far = frame["hardware"].str.contains("A100").to_numpy(), (frame["split"] == "test").to_numpy()
    yield Trial("NeuSight, A100", table, {"machine": new & ~far, "size": far & ~new, "": far & new})


def vidur(data: Path, rows: int) -> Iterator[Trial]:
    """Vidur's linear layers: the A40 never seen, the longest batches held out."""
    case = list(PROTOCOLS["vidur"].cases(data, 0, rows))[-1]
    large = case.table.questions.ops.m > 3000
    yield Trial("Vidur, A40", case.table, {"machine": case.held & ~large, "size": large & ~case.held, "": large & case.held})


def synthetic(rows: int, folder: Path | None) -> Iterator[Trial]:
    """Simulated networks: machines that none is sampled around, and a family, never seen."""
    if folder is not None:
        table = read_generated(folder)
    else:
        scratch = Path(tempfile.mkdtemp())
        try:
            generate(scratch / "set", count=rows, seed=11, per_workload=4, unrelated=UNSEEN_DEVICES, progress=False, say=lambda text: None)
            table = read_generated(scratch / "set")
        finally:
            shutil.rmtree(scratch)
    new, family = table.slices["device"].isin(UNSEEN_DEVICES).to_numpy(), (table.slices["family"] == "nas_cell").to_numpy()
    answered = np.isfinite(table.targets["latency_s"])
    yield Trial("synthetic networks", table, {"machine": new & ~family & answered, "family": family & ~new & answered, "": (family & new) | ~answered}, synthetic=True)


#: tables that trials are cut from, in their order
TRIALS = ("gemm", "neusight", "vidur", "synthetic")


def trials(name: str, data: Path | None, quick: bool, generated: Path | None = None) -> Iterator[Trial]:
    """The trials of one of `TRIALS`, a few thousand rows each; of the open tables none where these are not there. `generated`: a folder of labels in place of making some. Raises KeyError for another name."""
    rows = 3_000 if quick else 8_000
    if name == "synthetic":
        return synthetic(rows, generated)
    return iter(()) if data is None else {"gemm": gemm, "neusight": neusight, "vidur": vidur}[name](data, rows)


def main() -> int:
    """Prints the tables, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3,000 rows of each table instead of 8,000")
    parser.add_argument("--only", default="", help="some of: gemm, neusight, vidur, synthetic")
    parser.add_argument("--generated", type=Path, help="a folder `silicast generate` filled, for the synthetic trial")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = data_folder()
    wanted = options.only.split(",") if options.only else list(TRIALS)
    if data is None:
        print("the open tables are not here: only the synthetic trial runs", file=sys.stderr)
    found: list[dict[str, Any]] = []
    for name in (n for n in TRIALS if n in wanted and (n == "synthetic" or data is not None)):
        for trial in trials(name, data, options.quick, options.generated):
            found += judged(trial)
            print_table(trial.name, [r for r in found if r["trial"] == trial.name])
    print_table("the domain guard (aims: AUROC 0.85, rejected over accepted 3)", [r for r in found if r["held out"] == "all"])
    write_json(options.json, {"rows": found, "quick": options.quick})
    return 0


def judged(trial: Trial) -> list[dict[str, Any]]:
    """A row for all that was asked, and one per kind of what was held out."""
    begin = time.perf_counter()
    taken = np.logical_or.reduce(list(trial.held.values()))
    parts = split_by_group(trial.table.take(~taken), _PARTS, 1)
    if trial.synthetic:
        surrogate = store.member("conformal")(store.member("boosted")(trees=300)).fit(parts["train"], parts["valid"]).conformalize(parts["calibrate"])
    else:
        surrogate = fit_surrogate(parts["train"], parts["valid"], parts["calibrate"], ("latency_s",), 0, 0.9, lambda text: None)
    known = witnessed(domain.describe(parts["train"]), parts["calibrate"], surrogate.predict(parts["calibrate"].questions))
    asked = {"group": parts["group"], **{name: trial.table.take(mask) for name, mask in trial.held.items() if name and mask.any()}}
    told: dict[str, dict[str, np.ndarray]] = {}
    for name, table in asked.items():
        answers = guarded(known, table.questions, surrogate.predict(table.questions))
        truth = table.targets["latency_s"]
        good = np.isfinite(truth)
        told[name] = {"error": np.abs(np.log(answers.point[:, 0] / truth))[good], "half": np.log(answers.high[:, 0] / answers.point[:, 0])[good],
                      "ape": np.abs(answers.point[:, 0] / truth - 1.0)[good], "covered": ((truth >= answers.low[:, 0]) & (truth <= answers.high[:, 0]))[good],
                      "novelty": np.array([d.novelty for d in answers.domain])[good], "flagged": np.array([d.verdict != "in_domain" for d in answers.domain])[good]}
    told = {"all": {k: np.concatenate([t[k] for t in told.values()]) for k in next(iter(told.values()))}, **told}
    seconds = time.perf_counter() - begin
    return [{"trial": trial.name, "held out": name, **_worth(t), "s": round(seconds)} for name, t in told.items()]


def _worth(t: dict[str, np.ndarray]) -> dict[str, Any]:
    wrong, flagged = (t["error"] > 2.0 * t["half"]).astype(float), t["flagged"]
    novel = t["novelty"] > 1.0
    return {"rows": len(wrong), "wrong %": 100.0 * float(wrong.mean()), "AUROC novelty": _auroc(wrong, np.nan_to_num(t["novelty"])), "AUROC verdict": _auroc(wrong, flagged.astype(float)),
            "flagged %": 100.0 * float(flagged.mean()), "rejected / accepted": _ratio(t["error"], flagged), "novel / not": _ratio(t["error"], novel), "median APE %": 100.0 * float(np.median(t["ape"])),
            "covered, accepted %": 100.0 * float(t["covered"][~flagged].mean()) if (~flagged).any() else None, "covered, rejected %": 100.0 * float(t["covered"][flagged].mean()) if flagged.any() else None}


def _auroc(wrong: np.ndarray, score: np.ndarray) -> float | None:
    return float(auroc(wrong, score)) if 0 < wrong.sum() < len(wrong) else None


def _ratio(error: np.ndarray, rejected: np.ndarray) -> float | None:
    """Mean error (of logarithms, so that one wild row does not decide) of the rejected over that of the accepted."""
    return float(error[rejected].mean() / error[~rejected].mean()) if rejected.any() and (~rejected).any() else None


if __name__ == "__main__":
    raise SystemExit(main())
