"""Ours beside other simulators on the same questions: python benchmarks/peers.py [--scalesim CSV] [--genz CSV] [--zigzag CSV] [--json [FILE]]

SCALE-Sim: cycles of a product on a systolic array, exact arithmetic. ZigZag: latency and energy of the best mapping of a convolution on its example machine,
searched for the objective of the row, and how long the search takes. GenZ: language-model latency. Each table is compared row by row; what lies apart
stays in it with the reason. Any table with the columns of its tool works; without one given, those in shared/peers beside the repository are taken.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from _tables import data_folder, machine, print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import InputError, TableError
from silicast.datasets.ops import Op
from silicast.datasets.simulator.array_costs import array_costs
from silicast.datasets.simulator.array_levels import array_levels
from silicast.datasets.simulator.spatial import systolic_cycles

#: how far ours may lie from ZigZag's
BAND = 0.10
#: shares of each memory that the free search lets tiles fill, beside all of it
FREE_SHARES = (1.0, 0.25, 1 / 16, 1 / 64, 1 / 256)
SCALESIM = ("m", "n", "k", "array_rows", "array_cols", "dataflow", "compute_cycles")
ZIGZAG = ("in_channels", "out_channels", "height_width", "kernel", "stride", "objective", "latency_cycles", "energy_pj", "search_s")

#: columns that repeat what another tool printed
THEIRS = ("theirs", "genz_ms", "cycles theirs", "pJ theirs", "their search_s")


def main() -> None:
    """Prints the tables, or one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for tool in ("scalesim", "genz", "zigzag"):
        parser.add_argument(f"--{tool}", type=Path, metavar="CSV")
    parser.add_argument("--kept", action="store_true", help="leave the other tools' own figures out of the JSON: ratios and ours are kept")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="a file, or nothing for standard output instead of the tables")
    options = parser.parse_args()
    given = {tool: getattr(options, tool) for tool in ("scalesim", "genz", "zigzag")}
    if not any(given.values()):
        folder = data_folder()
        named = {"scalesim": "scalesim_gemm.csv", "genz": "genz_llm.csv", "zigzag": "zigzag_tpu_like.csv"}
        given = {tool: folder.parent / "peers" / name if folder and (folder.parent / "peers" / name).exists() else None for tool, name in named.items()}
    try:
        found = {tool: run(path) for (tool, path), run in zip(given.items(), (scalesim, genz, zigzag), strict=True) if path}
    except InputError as error:
        sys.exit(f"peers: {error}")
    if not found:
        sys.exit("peers: no table: give --scalesim, --genz or --zigzag a CSV, or set SILICAST_DATA to the data folder that has ../peers beside it")
    document = {tool: {"summary": summary, "rows": rows} for tool, (rows, summary) in found.items()}
    if options.kept:
        document = {name: {**part, "rows": [{k: v for k, v in row.items() if k not in THEIRS} for row in part["rows"]]} if isinstance(part, dict) and "rows" in part else part
                    for name, part in document.items()}
    if options.json == "-":
        print(json.dumps({"machine": machine(), **document}, indent=1))
        return
    for tool, (rows, summary) in found.items():
        print_table(tool, rows)
        print_table(f"{tool}: summary", [{"": name, "value": value} for name, value in summary.items()])
    write_json(Path(options.json) if options.json else None, document)


def scalesim(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(rows, summary): cycles without stalls, which have a closed form."""
    given = read(path, SCALESIM)
    rows = []
    for row in given:
        sizes = [np.array(number(row, c, path)) for c in SCALESIM[:5]]
        if row["dataflow"] not in ("ws", "os", "is"):
            raise TableError(f"{path}: dataflow: expected ws, os or is, got {row['dataflow']!r}")
        ours, theirs = float(systolic_cycles(*sizes, row["dataflow"])), number(row, "compute_cycles", path)
        rows.append({**{c: row[c] for c in SCALESIM[:6]}, "theirs": int(theirs), "ours": int(ours), "equal": "yes" if ours == theirs else "NO"})
    return rows, {"rows": len(rows), "equal": sum(r["equal"] == "yes" for r in rows)}


def zigzag(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(rows, summary): each layer alone, 8 bits, searched for the row's objective by the rules of ZigZag's search (every order of at most six loops, each memory filled).

    `ours/theirs` compares one published latency model with the other's run of it; `port bound`: what `simulate` answers where the bytes alone keep a port busy for longer
    than that. `free`: the best of ours when tiles need not fill their memories, by our own accounting; it tries ZigZag's mappings too.
    """
    given = read(path, ZIGZAG)
    hardware = catalog.hardware("tpu_like")
    levels = array_levels(hardware)
    ours: list[dict[str, float]] = [{} for _ in given]
    ours_s = 0.0
    for objective in sorted({row["objective"] for row in given}):
        if objective not in ("latency", "energy", "edp", "EDP"):
            raise TableError(f"{path}: objective: expected latency, energy or edp, got {objective!r}")
        at = [i for i, row in enumerate(given) if row["objective"] == objective]
        begin = time.perf_counter()
        ops = OpColumns.from_ops([layer(given[i], path) for i in at])
        macs_j = np.full(len(at), hardware.array.mac_j if hardware.array and hardware.array.mac_j else np.nan)
        found = array_costs(ops, levels, macs_j, objective=objective.lower())
        ours_s += time.perf_counter() - begin
        free = array_costs(ops, levels, macs_j, objective=objective.lower(), shares=FREE_SHARES)
        for j, i in enumerate(at):
            ours[i] = {"cycles": found.windowed[j], "bound": found.cycles[j], "energy": found.energy_j[j] * 1e12, "free": free.cycles[j], "free_energy": free.energy_j[j] * 1e12}
    rows = []
    for row, our in zip(given, ours, strict=True):
        cycles, energy = number(row, "latency_cycles", path), number(row, "energy_pj", path)
        slow, hungry = our["cycles"] / cycles, our["energy"] / energy
        apart = max(abs(slow - 1.0), abs(hungry - 1.0)) > BAND
        rows.append({"layer": "{in_channels}->{out_channels} {height_width} k{kernel} s{stride}".format(**row), "objective": row["objective"],
                     "cycles theirs": round(cycles), "ours": round(our["cycles"]), "ours/theirs": round(slow, 3), "pJ theirs": energy, "pJ ours": our["energy"],
                     "energy ours/theirs": round(hungry, 3), "port bound": round(our["bound"]) if our["bound"] > our["cycles"] * 1.0001 else None,
                     "free cycles": round(our["free"]), "free pJ": our["free_energy"], "their search_s": number(row, "search_s", path), "apart": reason(our, cycles) if apart else ""})
    theirs_s = sum(r["their search_s"] for r in rows)
    latency, joules = np.array([r["ours/theirs"] for r in rows]), np.array([r["energy ours/theirs"] for r in rows])
    return rows, {"rows": len(rows), "within 10 % in latency": int((abs(latency - 1) <= BAND).sum()), "within 10 % in energy": int((abs(joules - 1) <= BAND).sum()),
                  "latency ratio, least": float(latency.min()), "latency ratio, most": float(latency.max()), "energy ratio, least": float(joules.min()),
                  "energy ratio, most": float(joules.max()), "free search, median latency of ours": float(np.median([o["free"] / o["bound"] for o in ours])),
                  "seconds, theirs": theirs_s, "seconds, ours": ours_s, "times faster": theirs_s / ours_s}


def reason(our: dict[str, float], cycles: float) -> str:
    """Why a row lies apart, in words."""
    if our["bound"] > cycles * 1.0001:
        return "their latency is less than their busiest port needs for the bytes of our mapping"
    return "ours is faster" if our["cycles"] < cycles else "ours found no mapping as fast"


def layer(row: dict[str, str], path: Path) -> Op:
    """A row as a convolution with padding kernel // 2. A window narrower than its stride touches one input per step, and ZigZag reads only those: the layer is given on
    the inputs it touches."""
    channels, filters, side, kernel, stride = (int(number(row, c, path)) for c in ZIGZAG[:5])
    out = (side + 2 * (kernel // 2) - kernel) // stride + 1
    if kernel < stride:
        side, stride = out * kernel, kernel
    return Op.of("layer", "conv", dtype="int8", batch=1, in_channels=channels, in_h=side, in_w=side, out_channels=filters, out_h=out, out_w=out,
                 kernel_h=kernel, kernel_w=kernel, stride_h=stride, stride_w=stride)


def genz(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(rows, summary) of language models on chips, by the benchmark of that table."""
    rows, summary = importlib.import_module("genz").run(path)
    return rows, summary


def read(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a CSV that must have these columns. Raises TableError."""
    if not path.is_file():
        raise TableError(f"{path}: no such file; give a CSV with the columns {', '.join(columns)}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    missing = [c for c in columns if not rows or c not in rows[0]]
    if missing:
        raise TableError(f"{path}: missing {', '.join(missing)}; expected the columns {', '.join(columns)}")
    return rows


def number(row: dict[str, str], column: str, path: Path) -> float:
    """A cell as a positive number. Raises TableError."""
    try:
        value = float(row[column])
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise TableError(f"{path}: {column}: expected a number > 0, got {row[column]!r}")
    return value


if __name__ == "__main__":
    main()
