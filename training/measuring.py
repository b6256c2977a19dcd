"""A device's profile within a time budget: measure, fit in passing, and go next where the model is least sure.

`profile` is the story: begin spread out over the plan's grid; from then on, every time the table has grown by a quarter, a committee of small boosted models is
fitted to resamples of it, and the points where its members disagree most come next (query by committee: Seung, Opper, Sompolinsky, COLT 1992), every fourth
one drawn blindly so that a committee that agrees on a mistake is found out. A run that was killed goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.errors import InputError, SilicastError
from ..datasets.frontends import read
from ..datasets.measure import machine, plan, power
from ..datasets.measure.onnx_model import onnx_call
from ..datasets.measure.record import Record
from ..datasets.measure.timing import Clock, Timing, timed, wall_clock
from ..datasets.measured import read_measured
from ..surrogates.boosted import Boosted

Say = Callable[[str], None]
#: points spread out over the grid before a model is asked
FIRST = 16
#: members of the committee, and points they choose at a time at most
MEMBERS, BATCH = 5, 16
#: candidates the committee looks at; more only take time
CANDIDATES = 2000
#: most seconds one point may take to be timed
MOST_POINT_S = 2.0


def profile(name: str, out: str | Path, *, device: str = "cpu", budget_s: float = 60.0, repeats: int = 30, threads: int | None = None, hardware: str = "",
            seed: int = 0, energy: bool = True, say: Say = lambda text: None) -> dict[str, Any]:
    """Measures points of plan `name` on this machine for about `budget_s` seconds; the folder `out` then holds table, schema and provenance.

    Returns what was done. Raises UnknownNameError for another plan, InputError for a device that is not here or a budget too short for a single point.
    """
    from ..datasets.measure.torch_ops import gpu_uuid, hardware_name, set_threads, torch_device

    begin = time.perf_counter()
    if not budget_s > 0:
        raise InputError(f"--budget-s {budget_s}: expected seconds, more than 0")
    if name in plan.PLANS:
        torch_device(device)
    grid = plan.points(name, device, min(plan.MOST_S, budget_s / 300.0))
    record = Record(out, plan.PLANS[name])
    threads = machine.usable_threads() if threads is None else threads
    hardware = hardware or hardware_name(device) + (f", {threads} thread{'s' * (threads > 1)}" if device == "cpu" else "")
    fixed = {"hardware": hardware, "framework": "torch"}
    meter = power.meter(device, gpu_uuid() if device == "cuda" else "") if energy else power.Meter("", None, "not asked for")
    rng = np.random.default_rng([seed, len(record.rows)])
    cube = plan.coordinates(grid)
    known = {_key({k: v for k, v in row.items() if k in grid[0]}) for row in record.rows if row["hardware"] == hardware}
    open_ = np.array([_key(row) not in known for row in grid])
    say(f"{name}: {len(grid):,} points, {len(known):,} measured before; energy {meter.name or meter.why}")
    queue: list[tuple[int, float]] = []
    fitted_at, made, failed = 0, 0, []
    with machine.pinned(threads):
        set_threads(threads)
        while open_.any() and (time.perf_counter() - begin < budget_s or not made):
            if not queue:
                rows = [r for r in record.rows if r["hardware"] == hardware]
                if len(rows) < FIRST:
                    queue = [(i, 0.0) for i in plan.spread_out(cube, FIRST - len(rows), np.flatnonzero(~open_), rng)]
                else:
                    queue = _least_sure(record, grid, np.flatnonzero(open_), rng, fixed, max(4, min(BATCH, len(rows) // 4)))
                    fitted_at += 1
                queue = [(i, s) for i, s in queue if open_[i]]
                if not queue:
                    break
            index, unsure = queue.pop(0)
            open_[index] = False
            try:
                row = _point(plan.PLANS[name], grid[index], device, meter, repeats)
            except (SilicastError, RuntimeError, MemoryError) as error:  # a size the device refuses is told, and the others go on
                failed.append({"point": grid[index], "why": str(error).splitlines()[0][:200] if str(error) else type(error).__name__})
                continue
            record.add({**grid[index], **fixed, **row, "spread": unsure})
            made += 1
    if not record.rows:
        raise InputError(f"{name}: no point could be measured; the first failed with: {failed[0]['why'] if failed else 'none was left'}")
    came = machine.provenance(device, hardware, threads, plan=name, budget_s=budget_s, seed=seed, seconds=time.perf_counter() - begin, measured=made, repeats=repeats,
                              energy=meter.name or meter.why, committees=fitted_at, refused=failed[:20])
    files = record.finish(came)
    return {"plan": name, "hardware": hardware, "points": len(grid), "measured": made, "rows": len(record.rows), "left": int(open_.sum()), "refused": failed, "committees": fitted_at,
            "energy": meter.name or meter.why, "seconds": time.perf_counter() - begin, "files": files}


def measure_file(path: Path, out: str | Path, *, dims: Mapping[str, int], device: str = "cpu", repeats: int = 30, threads: int | None = None, hardware: str = "",
                 most_s: float = 10.0, say: Say = lambda text: None) -> dict[str, Any]:
    """Measures an ONNX model by ONNX Runtime; its row joins those of the folder `out`. Raises the errors of the reader and of the runtime."""
    from ..datasets.measure.torch_ops import cache_bytes, gpu_uuid, hardware_name

    workload = read(path, dims=dict(dims), unknown_ops="bound")
    threads = machine.usable_threads() if threads is None else threads
    cache = (machine.last_level_cache_bytes() or machine.UNKNOWN_CACHE_BYTES) if device == "cpu" else cache_bytes(device)
    record = Record(out, "network")
    hardware = hardware or (f"{machine.cpu_model()}, {threads} thread{'s' * (threads > 1)}" if device == "cpu" else hardware_name(device))
    meter = power.meter(device, gpu_uuid() if device == "cuda" else "")
    with machine.pinned(threads):
        call = onnx_call(path, dims, threads, device, 2 * cache)
        begun = _state(meter)
        took = timed(call, repeats=repeats, most_s=most_s)
        drawn = power.drawn(meter, lambda first, count: wall_clock(call, first, count), took.median_s)
    row = {"network": path.stem, "digest": workload.digest, "flops": workload.flops, "bytes_read": workload.bytes_read, "bytes_written": workload.bytes_written,
           "params": workload.params, "ops": len(workload.ops), "hardware": hardware, "framework": "onnxruntime", **_columns(took, drawn, begun), "at": _now()}
    record.add(row)
    energy = meter.name or meter.why
    files = record.finish(machine.provenance(device, hardware, threads, file=path.name, dims=dict(dims), repeats=repeats, energy=energy, seconds=None, measured=1))
    say(f"{path.name}: {len(workload.notes)} notes of the reader" if workload.notes else f"{path.name}: read")
    return {"network": path.stem, "digest": workload.digest, "hardware": hardware, **took.columns, "power_w": row.get("power_w"), "energy_j": row.get("energy_j"), "energy": energy,
            "clock_hz": begun.clock_hz, "temperature_c": begun.temperature_c, "threads": threads, "rows": len(record.rows), "files": files}


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted(row.items()))


def _now() -> float:
    return round(time.time(), 3)


def _state(meter: power.Meter) -> machine.State:
    return meter.state() if meter.state else machine.cpu_state()


def _columns(took: Timing, drawn: power.Drawn | None, state: machine.State) -> dict[str, Any]:
    """What came out of a point. Where energy was read, the answer's latency and energy agree: both are of the window."""
    found: dict[str, Any] = dict(took.columns)
    if drawn is not None:
        found |= {"power_w": drawn.power_w, "energy_j": drawn.power_w * took.median_s, "window_s": drawn.window_s}
    return {**found, "clock_hz": state.clock_hz, "temperature_c": state.temperature_c}


def _point(shape: str, row: Mapping[str, Any], device: str, meter: power.Meter, repeats: int) -> dict[str, Any]:
    from ..datasets.measure.torch_networks import runnable_network
    from ..datasets.measure.torch_ops import runnable

    more: dict[str, Any] = {}
    if shape == "network":
        ready, more = runnable_network(row, device)
    else:
        sizes = {k: v for k, v in row.items() if k != "dtype"}
        ready = runnable(shape, sizes, row["dtype"], device)
    clock: Clock = ready.clock
    state = _state(meter)
    took = timed(ready.call, repeats=repeats, most_s=MOST_POINT_S, clock=clock)
    drawn = power.drawn(meter, lambda first, count: clock(ready.call, first, count), took.median_s)
    return {**more, **_columns(took, drawn, state), "cold": ready.cold, "at": _now()}


def _least_sure(record: Record, grid: Sequence[dict[str, Any]], left: np.ndarray, rng: np.random.Generator, fixed: Mapping[str, str], count: int) -> list[tuple[int, float]]:
    """(point, spread of the committee there in log) of the next points to measure."""
    frame = record.frame
    frame = frame[frame["hardware"] == fixed["hardware"]]
    asked = rng.permutation(left)[:CANDIDATES]
    schema: dict[str, Any] = record.schema() if record.shape != "network" else {"features": list(grid[0]), "targets": {"latency_s": {"column": "latency_s", "unit": "s"}}}
    schema["targets"] = {"latency_s": {"column": "latency_s", "unit": "s"}}
    table = read_measured(frame, schema)
    questions = read_measured(pd.DataFrame([{**grid[i], **fixed} for i in asked]), schema, need_targets=False).questions
    votes = []
    for _ in range(MEMBERS):
        sample = table.take(np.sort(rng.integers(len(table), size=len(table))))
        try:
            member = Boosted(targets=("latency_s",), trees=40, leaves=7, rate=0.2, min_leaf=2, seed=int(rng.integers(2**31)), threads=1).fit(sample)
        except SilicastError:  # a resample of one value
            continue
        votes.append(np.log(member.predict(questions).point[:, 0]))
    if len(votes) < 2:
        return [(int(i), 0.0) for i in asked[:count]]
    unsure = np.std(votes, axis=0)
    order = np.argsort(-unsure)
    wide = order[: 6 * count]  # of those it is least sure of, ones apart from each other: neighbours tell the same
    picked = [int(wide[i]) for i in plan.spread_out(plan.coordinates([grid[asked[i]] for i in wide]), count - count // 4, np.array([], dtype=np.int64), rng)]
    blind = [i for i in range(len(asked)) if i not in set(picked)][: count // 4]  # asked is in random order
    return [(int(asked[i]), float(unsure[i])) for i in (*picked, *blind)]
