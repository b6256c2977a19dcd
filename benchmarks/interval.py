"""Interval analysis of CPU cores beside compiled code: python benchmarks/interval.py [--core KEY] [--quick] [--json FILE]

The kernels of datasets/nests.py are compiled from C, scalar and vectorised, and then
* counted by `valgrind --tool=cachegrind`: exact instructions, and misses of simulated caches of the core's sizes (two levels, least recently used, by sets): what the
  footprint model is held against; warm repetitions only, by difference of two runs;
* timed on this machine, at a clock measured by a chain of additions: only where `--core` names what this machine has (zen3 by default; said if the processor is another).
Performance counters (`perf`) would give instructions of the real core; where they are refused, measured IPC is cachegrind's instructions over measured time. What is missing is said and left out.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _tables import print_table, write_json

from silicast.datasets import nests as family
from silicast.datasets.catalog.cores import core as core_named
from silicast.datasets.core import Core
from silicast.datasets.loopnest import LoopNest
from silicast.datasets.simulator.interval import run_nests

SOURCE = Path(__file__).with_name("_nests.c")
COMMON = ["-O2", "-mavx2", "-mfma", "-fno-tree-loop-distribute-patterns", "-fno-tree-slp-vectorize"]
BUILDS = {"scalar": [*COMMON, "-fno-tree-vectorize"], "vector": [*COMMON, "-ftree-vectorize", "-fvect-cost-model=dynamic", "-ffast-math"]}
#: kernel -> sizes; small enough for cachegrind, which is 50 times slower
SIZES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("copy", "triad", "dot"), (1_000, 20_000, 400_000)), "divide": (1_000, 100_000), "horner": (1_000, 100_000), "positive_sum": (100_000,),
    "strided_sum": (1_000, 50_000), "transpose": (64, 300, 1000), "matvec": (60, 500, 1500), "matmul_ijk": (24, 60, 100, 128, 200), "matmul_ikj": (24, 60, 100, 200),
    "matmul_ikj_tiled": (96, 192), "jacobi": (60, 300, 1000), "stencil3d": (20, 60, 100), "conv2d": (60, 300),
}
#: processor family and model -> core of the catalogue
KNOWN = {("AuthenticAMD", 25, 1): "zen3", ("AuthenticAMD", 25, 33): "zen3", ("GenuineIntel", 6, 85): "skylake_sp"}
#: build -> kernel (or its beginning) -> why it is apart, where it is: read off the compiled code for instructions, supposed for time
REASONS: dict[str, dict[str, str]] = {
    "vector": {"matmul_ijk": "gcc builds vectors of the strided operand from scalar loads; the model leaves such a loop scalar", "transpose": "stores to lines of one row, loads at a large stride"},
    "": {"copy": "one store a cycle expected, one in two measured", "jacobi": "gcc keeps more pointers than strides; neighbours' loads cross lines", "conv2d": "gcc tests and prepares each entry of a loop of three turns",
         "stencil3d": "gcc keeps more pointers than strides; neighbours' loads cross lines", "matmul_ikj": "gcc keeps two pointers for one stride; stores and loads of one row",
         "horner": "gcc copies a register before each multiply-add", "matmul_ijk": "a step down a column of B misses the first cache, and from 64 pages on the first translation buffer: the model overlaps the one fully and does not count the other",
         "positive_sum": "the branch after the comparison is counted as two instructions, gcc needs one more"},
}
#: apart: factors beyond which a row needs a reason
APART = {"time ratio": 1.4, "instructions ratio": 1.15}
#: repetitions after which the first, cold one no longer counts
WARM = 1000
PUBLISHED = "Eyerman et al., TOCS 2009: 7 % mean error of interval analysis against detailed simulation, with miss counts given to it by simulation"


def main() -> None:
    """Prints the tables, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    here = _processor()
    key = options.core or KNOWN.get(here, "zen3")
    same = KNOWN.get(here) == key
    notes = [f"processor {here}; core {key}" + ("" if same else ": another one than this machine's, so nothing is timed")]
    if not shutil.which("gcc"):
        print("no gcc: nothing can be compiled and compared")
        return
    counted = bool(shutil.which("valgrind"))
    notes += [] if counted else ["no valgrind: instructions and misses are not checked"]
    with tempfile.TemporaryDirectory() as folder:
        programs = {build: _compile(Path(folder) / build, flags) for build, flags in BUILDS.items()}
        clock, alone = _clock(Path(folder)) if same else (0.0, 0.0)
        core = core_named(key).at(clock) if same else core_named(key)
        notes += [f"clock measured {clock / 1e9:.2f} GHz; {alone:.2f} independent additions a cycle, of 4 that a core to itself makes" + (
            "" if alone > 3.5 else ": another thread shares this core, so what is bound by throughput takes longer here than the core needs")] if same else []
        notes.append("perf counters: " + ("available" if _perf() else "refused here; measured IPC is cachegrind's instructions over measured time"))
        rows = [_row(name, n, build, program, core, counted, same) for name, sizes in SIZES.items() for n in (sizes[:2] if options.quick else sizes)
                for build, program in programs.items()]
    for note in notes:
        print(note)
    print_table("one warm repetition: model / outside", rows)
    summary = _summary(rows)
    print_table("in all", summary)
    print(PUBLISHED)
    write_json(options.json, {"notes": notes, "rows": rows, "summary": summary, "published": PUBLISHED, "core": key, "clock_hz": clock, "additions_per_cycle": alone, "stood_in": core.stood_in, "quick": options.quick})


def _nest(name: str, n: int, build: str) -> LoopNest:
    """The nest of one build: vectors and reassociation only where the compiler was allowed them."""
    fast = build == "vector"
    if name.startswith("matmul"):
        tile = 32 if name.endswith("tiled") else 0
        nest = family.matmul(n, name.split("_")[1], reassociable=fast, tile=tile)
    elif name in ("dot", "matvec", "conv2d"):
        nest = family.KERNELS[name](n, reassociable=fast)
    else:
        nest = family.kernel(name, n)
    return LoopNest(nest.name, nest.loops, nest.statements, fast, nest.family)


def _row(name: str, n: int, build: str, program: Path, core: Core, counted: bool, timed: bool) -> dict[str, Any]:
    nest = _nest(name, n, build)
    few, many = run_nests([nest.repeated(2)], [core]), run_nests([nest.repeated(WARM)], [core])

    def warm(what: str) -> np.ndarray:
        return getattr(many, what)[0] / WARM

    misses = (many.cache_misses - few.cache_misses)[0] / (WARM - 2)
    row: dict[str, Any] = {"kernel": name, "n": n, "build": build, "ipc": float(warm("instructions") / warm("cycles"))}
    if counted:
        first, later = _cachegrind(program, name, n, 2, core), _cachegrind(program, name, n, 4, core)
        truth = {k: (later[k] - first[k]) / 2.0 for k in later}
        row |= {"instructions": truth["instructions"], "instructions ratio": float(warm("instructions")) / truth["instructions"],
                "l1 misses": truth["l1"], "l1 model": float(misses[0]), "l2 misses": truth["l2"], "l2 model": float(misses[1])}
    if timed:
        guess = float(warm("latency_s"))
        seconds = _time(program, name, n, guess)
        row |= {"us": seconds * 1e6, "model us": guess * 1e6, "time ratio": guess / seconds}
        if counted:
            row["measured ipc"] = row["instructions"] / (seconds * core.clock_hz)
        parts = {p: float(warm(p)) for p in ("base", "branch", "long_miss", "memory_bound")}
        row["limit"] = "memory" if parts["memory_bound"] > parts["base"] + parts["branch"] + parts["long_miss"] else max(("base", "branch", "long_miss"), key=lambda p: parts[p])
    if any(abs(np.log(row[what])) > np.log(limit) for what, limit in APART.items() if what in row):
        told = [text for b in (build, "") for start, text in REASONS.get(b, {}).items() if name.startswith(start)]
        row["apart, supposed reason"] = told[0] if told else "none found beyond the shared core"
    return row


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out = []
    for what, pairs in {
        "instructions": [(r["instructions"] * r["instructions ratio"], r["instructions"]) for r in rows if "instructions" in r],
        "L1 misses (of rows with more than 1 in 1,000 instructions)": [(r["l1 model"], r["l1 misses"]) for r in rows if r.get("l1 misses", 0) > r.get("instructions", 0) / 1000],
        "L2 misses (of rows with more than 1 in 1,000 instructions)": [(r["l2 model"], r["l2 misses"]) for r in rows if r.get("l2 misses", 0) > r.get("instructions", 0) / 1000],
        "time": [(r["model us"], r["us"]) for r in rows if "us" in r], "time, scalar": [(r["model us"], r["us"]) for r in rows if "us" in r and r["build"] == "scalar"],
        "time, vector": [(r["model us"], r["us"]) for r in rows if "us" in r and r["build"] == "vector"],
        "IPC": [(r["ipc"], r["measured ipc"]) for r in rows if "measured ipc" in r],
    }.items():
        if pairs:
            ours, theirs = (np.maximum(np.array(c, dtype=float), 1.0 if "misses" in what else 1e-12) for c in zip(*pairs, strict=True))
            error = np.abs(np.log(ours / theirs))
            ranks = [np.argsort(np.argsort(v)) for v in (ours, theirs)]
            out.append({"what": what, "rows": len(pairs), "median ratio": float(np.median(ours / theirs)), "median |log ratio|": float(np.median(error)),
                        "p90 |log ratio|": float(np.quantile(error, 0.9)), "rank correlation": float(np.corrcoef(*ranks)[0, 1])})
    return out


def _compile(path: Path, flags: list[str]) -> Path:
    subprocess.run(["gcc", *flags, str(SOURCE), "-o", str(path)], check=True, capture_output=True)
    return path


def _cachegrind(program: Path, name: str, n: int, repetitions: int, core: Core) -> dict[str, float]:
    """Instructions and data misses of the first two levels."""
    levels = [f"{int(c.capacity_bytes)},{c.ways or 8},{core.line_bytes}" for c in core.caches[:2]]
    done = subprocess.run(["valgrind", "--tool=cachegrind", "--cache-sim=yes", "--cachegrind-out-file=/dev/null", f"--D1={levels[0]}", f"--LL={levels[1]}", "--I1=32768,8,64",
                           str(program), name, str(n), str(repetitions)], capture_output=True, text=True, check=True)
    found = {m[1].strip(): float(m[2].replace(",", "")) for m in re.finditer(r"==\d+== ([A-Za-z0-9 ]+?):\s+([\d,]+)", done.stderr)}
    return {"instructions": found["I   refs"], "l1": found["D1  misses"], "l2": found["LLd misses"]}


def _time(program: Path, name: str, n: int, guess_s: float) -> float:
    """Seconds of a repetition: the best of many short rounds, for what else runs on the machine comes and goes."""
    repetitions = max(3, int(0.0005 / max(guess_s, 1e-9)))
    rounds = min(400, max(10, int(0.3 / (repetitions * guess_s))))
    done = subprocess.run([str(program), name, str(n), str(repetitions), str(rounds)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _clock(folder: Path) -> tuple[float, float]:
    """Hz under load, from a chain of dependent additions, one a cycle, the best of 20; and additions a cycle from four chains, the median: four where the core is ours alone,
    fewer where a neighbour runs on its other thread."""
    one, four = r'"add $1,%0\n"' * 16, r'"add $1,%0\n add $1,%1\n add $1,%2\n add $1,%3\n"' * 4
    source = folder / "clock.c"
    source.write_text("#include <stdio.h>\n#include <time.h>\nstatic double at(void){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec+1e-9*t.tv_nsec;}\n"
                      "int main(){unsigned long x=1,y=1,z=1,w=1;for(int r=0;r<20;r++){double t=at();"
                      f"for(long i=0;i<4000000;i+=16)__asm__ volatile({one}:\"+r\"(x));double u=at();"
                      f"for(long i=0;i<16000000;i+=16)__asm__ volatile({four}:\"+r\"(x),\"+r\"(y),\"+r\"(z),\"+r\"(w));double v=at();"
                      "printf(\"%.0f %.0f\\n\",4000000/(u-t),16000000/(v-u));}}")
    subprocess.run(["gcc", "-O2", str(source), "-o", str(folder / "clock")], check=True, capture_output=True)
    found = np.array([line.split() for line in subprocess.run([str(folder / "clock")], capture_output=True, text=True, check=True).stdout.splitlines()], dtype=float)
    return float(found[:, 0].max()), float(np.median(found[:, 1]) / found[:, 0].max())


def _perf() -> bool:
    if not shutil.which("perf"):
        return False
    done = subprocess.run(["perf", "stat", "-e", "instructions:u", "true"], capture_output=True, text=True)
    return done.returncode == 0 and "not supported" not in done.stderr


def _processor() -> tuple[str, int, int]:
    """Vendor, family and model of this machine."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "unknown", 0, 0
    found = {k: m[1].strip() if (m := re.search(rf"^{k}\s*:\s*(.+)$", text, re.M)) else "" for k in ("vendor_id", "cpu family", "model")}
    return found["vendor_id"] or "unknown", int(found["cpu family"] or 0), int(found["model"] or 0)


if __name__ == "__main__":
    main()
