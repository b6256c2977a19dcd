"""Ours beside GenZ (Bambhaniya et al., "Demystifying Platform Requirements for Diverse LLM Inference Use Cases", 2024) on the same chips and requests.

    python benchmarks/genz.py [CSV] [--json PATH]

GenZ is a roofline per operator. Its chips are built here from the figures of its table, and its accounting, as its own breakdown columns show
it, is taken over where it is an input rather than physics:

* efficiencies of 1: rates and bandwidths are what kernels reach, so our shares of the peak are divided out;
* a GB/s of memory is 2^30 bytes/s, of a link 10^9; memory is one level behind an on-chip store that holds every operand of an operator;
* attention of a prefill prices every pair of tokens, causal or not, and the head computes logits of every token;
* a decode step sees input + output tokens;
* vector work is free (its softmax is zero);
* all-reduces are rings: in its Collective column time grows by 2 (n - 1)/n of the payload over the link, and with the hops. (With the quickest algorithm
  on a switch the median difference is 5.3 %, with NCCL's cost model 11 %: this one choice was made after seeing all three.)

What is ours stays: tiles, launches of kernels, traffic, experts hit, the alpha-beta cost of a ring. No constant is chosen per row. A row farther off than `BAND` says why.
"""

from __future__ import annotations

import argparse
import csv
import re
import statistics
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from _tables import data_folder, print_table, write_json

from silicast.datasets.catalog.transformers import transformer
from silicast.datasets.cluster import Cluster
from silicast.datasets.errors import TableError
from silicast.datasets.hardware import Hardware, MemoryLevel
from silicast.datasets.simulator import technology as tech
from silicast.datasets.simulator.serving_plan import ServingPlan
from silicast.datasets.simulator.serving_step import Rig, StepCost
from silicast.datasets.transformer import Segment

#: chip -> TFLOP/s bf16, GB, GB/s of memory, GB/s of link, one way (the table's own README)
CHIPS: dict[str, tuple[float, float, float, float]] = {
    "A100_40GB": (312, 40, 1600, 150), "A100_80GB": (312, 80, 2039, 150), "H100": (989, 80, 3400, 450),
    "TPUv4": (275, 32, 1228, 24), "MI300X": (1307, 192, 5300, 400), "Gaudi3": (1835, 128, 3675, 300),
}
#: seconds of wire and switch on one hop (assumption: the table does not say)
LINK_LATENCY_S = 1e-6
BAND = 0.10
COLUMNS = ("phase", "model", "system", "bits", "batch", "input_tokens", "output_tokens", "tensor_parallel", "latency_ms")
FORMATS = {"bf16": "bfloat16", "fp16": "float16", "int8": "int8", "fp8": "float8", "int4": "int4", "fp32": "float32"}


@cache
def chip(system: str) -> Hardware:
    """GenZ's chip of that name as a machine. Raises TableError for one that is not in `CHIPS`."""
    key = next((k for k in CHIPS if system.upper().startswith(k.upper())), None)
    if key is None:
        raise TableError(f"GenZ table: system {system!r} is not known; expected one that begins with {', '.join(CHIPS)}")
    flops, gigabytes, bandwidth, _ = CHIPS[key]
    matrix = flops * 1e12 / getattr(tech, "MATRIX_EFFICIENCY", 1.0)
    rates = {d: matrix * scale for d, scale in (("bfloat16", 1.0), ("float16", 1.0), ("int8", 2.0))}
    # one unit, an unbounded on-chip store and no clock to speak of: a roofline has no waves of tiles, cache misses or cycles to fill a pipeline
    return Hardware(f"genz_{key}", key, "gpu", (MemoryLevel("chip", 2.0**36, 1e18), MemoryLevel("hbm", gigabytes * 2**30, bandwidth * 2**30 / getattr(tech, "DRAM_EFFICIENCY", 1.0))),
                    clock_hz=1e15, matrix_rate=rates, vector_rate=rates, units=1)


@dataclass(frozen=True)
class Forecast:
    """Seconds ours says for one row: in all, of the devices alone, of that the launches of kernels, and of collectives."""

    time_s: float
    device_s: float
    launch_s: float
    wire_s: float


def forecast(row: dict[str, str], only_chosen_experts: bool = False) -> Forecast:
    """Ours for one row of the table; `only_chosen_experts`: a mixture has no experts but those one token chooses, for finding out why a row is apart."""
    model = transformer(row["model"])
    if only_chosen_experts:
        model = replace(model, experts=model.top_k)
    hardware, ways = chip(row["system"]), int(row["tensor_parallel"])
    link = next(f[3] for k, f in CHIPS.items() if row["system"].upper().startswith(k.upper())) * 1e9
    batch, prompt = int(row["batch"]), int(row["input_tokens"])
    plan = ServingPlan(dtype=FORMATS.get(row["bits"], row["bits"]), tensor=ways, algorithm="ring")

    def cost(machine: Hardware) -> StepCost:
        cluster = Cluster.of(machine, ways, link, LINK_LATENCY_S) if ways > 1 else None
        rig = Rig(replace(model, encoder=row["phase"] == "prefill", window=0), machine, cluster, plan)
        if row["phase"] == "prefill":
            return rig.step((Segment(batch, prompt),), batch * prompt)
        return rig.decode(batch, prompt + int(row["output_tokens"]) - 1)

    full, bare = cost(hardware), cost(replace(hardware, launch_overhead_s=1e-12))
    return Forecast(full.time_s, full.device_s, full.device_s - bare.device_s, full.exposed_s)


def reason(row: dict[str, str], ours: Forecast) -> str:
    """Why a row is outside the band, in words and figures: what is left when the part that differs is taken from both."""
    theirs = float(row["latency_ms"])
    shares = {name: float(value) for name, value in re.findall(r"(\w+): ([-\d.eE]+)", row.get("runtime_breakdown") or "")}
    wire, model, said = shares.get("Collective", 0.0), transformer(row["model"]), []
    rest = ours.device_s * 1e3 / (theirs - wire)
    if model.experts and row["phase"] == "decode" and int(row["batch"]) > 1:
        same = forecast(row, only_chosen_experts=True).device_s * 1e3
        hit = model.experts * (1 - (1 - model.top_k / model.experts) ** int(row["batch"]))
        said.append(f"GenZ reads {model.top_k} experts whatever the batch, {row['batch']} tokens hit {hit:.1f} of {model.experts}; were it {model.top_k}, devices would take {same / (theirs - wire):.2f} of theirs")
        rest = same / (theirs - wire)
    if abs(ours.wire_s * 1e3 - wire) > 0.05 * theirs:
        said.append(f"collectives {ours.wire_s * 1e3:.3g} ms against {wire:.3g}: each of GenZ's has a start-up of several us beside the hops of its ring, ours the hops")
    if ours.launch_s * 1e3 > 0.03 * theirs:
        said.append(f"launches of kernels, which GenZ has none of: {ours.launch_s * 1e3:.3g} ms")
    if abs(rest - 1) > BAND or not said:
        more = "norms, positions, residual sums, dispatch of tokens to experts and the router, which GenZ prices at nothing" if rest > 1 else "GenZ's embedding and all operands of every operator from memory; ours keeps small activations on chip"
        said.append(f"devices take {rest:.2f} of theirs: {more}")
    return "; ".join(said)


def run(path: str | Path | None = None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(one row per row of the table, summary). Raises TableError when columns are missing or the file is not there."""
    where = Path(path) if path else _default()
    if where is None or not where.is_file():
        raise TableError(f"GenZ table: no file {str(where)!r}; give a CSV with the columns {', '.join(COLUMNS)}")
    with where.open(encoding="utf-8", newline="") as file:
        given = list(csv.DictReader(file))
    missing = [c for c in COLUMNS if not given or c not in given[0]]
    if missing:
        raise TableError(f"{where}: missing {', '.join(missing)}; expected the columns {', '.join(COLUMNS)}")
    out = []
    for row in given:
        theirs, ours = float(row["latency_ms"]), forecast(row)
        ratio = ours.time_s * 1e3 / theirs
        out.append({**{c: row[c] for c in COLUMNS[:-1]}, "genz_ms": theirs, "ours_ms": ours.time_s * 1e3, "ratio": ratio, "ours_without_launch_ms": (ours.time_s - ours.launch_s) * 1e3,
                    "ours_collectives_ms": ours.wire_s * 1e3, "reason": "" if abs(ratio - 1) <= BAND else reason(row, ours)})
    return out, summary(out)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and p90 of the absolute difference, with and without launches, over all and by phase."""
    def spread(chosen: list[dict[str, Any]], column: str) -> dict[str, float]:
        off = sorted(abs(r[column] / r["genz_ms"] - 1) for r in chosen)
        return {"median": statistics.median(off), "p90": off[int(0.9 * (len(off) - 1))], "within_band": sum(o <= BAND for o in off) / len(off)}

    slices = {"all": rows, **{p: [r for r in rows if r["phase"] == p] for p in ("prefill", "decode")}}
    return {"rows": len(rows), "outliers": sum(bool(r["reason"]) for r in rows),
            **{f"{name}{suffix}": spread(chosen, column) for name, chosen in slices.items() if chosen for suffix, column in (("", "ours_ms"), ("_without_launch", "ours_without_launch_ms"))}}


def _default() -> Path | None:
    data = data_folder()
    return data.parent / "peers" / "genz_llm.csv" if data else None


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("csv", nargs="?", type=Path, help="a table with GenZ's columns (default: the one beside the repository)")
    parser.add_argument("--json", type=Path, help="write rows and summary there")
    asked = parser.parse_args()
    rows, said = run(asked.csv)
    outside = [r for r in rows if r["reason"]]
    print_table("GenZ: difference of ours from theirs", [{"slice": k, **v} for k, v in said.items() if isinstance(v, dict)])
    print_table(f"{len(outside)} of {len(rows)} rows are more than {BAND:.0%} apart", [
        {k: r[k] for k in ("model", "system", "phase", "batch", "input_tokens", "tensor_parallel", "genz_ms", "ours_ms", "ratio", "reason")} for r in outside])
    write_json(asked.json, {"benchmark": "genz", "assumptions": __doc__, "summary": said, "rows": rows})


if __name__ == "__main__":
    main()
