"""What `silicast inspect` does: a workload counted, listed, drawn, and put under a machine's roofline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datasets.errors import FormatError, InputError
from . import show
from .arguments import machines, read_workload
from .quantities import quantity
from .reply import Reply, table


def inspect(file: Path, dims: Sequence[str], unknown_ops: str, dtype: str | None, ops: bool, svg: Path | None, key: str | None, plot: Path | None, phase: str | None = None) -> Reply:
    """Ops, FLOPs, bytes and parameters of a workload file; per operator, as a graph, and under a roofline where asked."""
    if svg is not None:
        _writable(svg, "--svg", (".svg",))
    if plot is not None:
        if key is None:
            raise InputError(f"--plot {plot}: the roofline of which device? Give --roofline KEY (the graph is --svg FILE)")
        _writable(plot, "--plot", (".png", ".svg"))
    device = machines([key])[0] if key is not None else None
    workload = read_workload(file, dims, unknown_ops, dtype, phase)
    document = summary(workload)
    document["intensity"] = _intensity(workload.flops, workload.bytes_read + workload.bytes_written)
    if ops:
        document["op_list"] = per_op(workload)
    if device is not None:
        document["roofline"] = under_roof(workload, device)
        if plot is not None:
            from ..training.pictures import roofline

            found = document["roofline"]
            picture = roofline(f"{workload.name} on {device.name}", found["roofs_flops_per_s"], found["bandwidth_bytes_per_s"], found["ops"], plot.suffix[1:].lower())
            plot.write_bytes(picture)
            document["plot"] = str(plot)
    if svg is not None:
        from .drawing import graph_svg

        svg.write_text(graph_svg(workload), encoding="utf-8")
        document["svg"] = str(svg)
    return Reply(document, lambda console: _show(console, document))


def summary(workload: Any) -> dict[str, Any]:
    """What there is to count in a workload; FLOPs count 2 per multiply-add."""
    kinds: dict[str, dict[str, float]] = {}
    for op in workload.ops:
        row = kinds.setdefault(op.kind, {"ops": 0, "flops": 0.0, "bytes_read": 0.0, "bytes_written": 0.0, "params": 0})
        for name, value in (("ops", 1), ("flops", op.flops), ("bytes_read", op.bytes_read), ("bytes_written", op.bytes_written), ("params", op.params)):
            row[name] += value
    dtypes = sorted({op.dtype for op in workload.ops})
    return {"name": workload.name, "family": workload.family, "digest": workload.digest, "ops": len(workload.ops), "flops": workload.flops, "macs": workload.macs,
            "params": workload.params, "weight_bytes": workload.weight_bytes, "peak_activation_bytes": workload.peak_activation_bytes,
            "bytes_read": workload.bytes_read, "bytes_written": workload.bytes_written, "dtypes": dtypes, "by_kind": kinds,
            "bounded_ops": list(workload.bounded_ops), "notes": list(workload.notes)}


def per_op(workload: Any) -> list[dict[str, Any]]:
    """Every operator's counts: FLOPs (2 per multiply-add), bytes read and written once, parameters, FLOPs per byte."""
    return [{"name": op.name, "kind": op.kind, "dims": op.dims, "dtype": op.dtype, "flops": op.flops, "bytes_read": op.bytes_read, "bytes_written": op.bytes_written, "params": op.params,
             "intensity": _intensity(op.flops, op.bytes_read + op.bytes_written), "source": op.source} for op in workload.ops]


def under_roof(workload: Any, device: Any) -> dict[str, Any]:
    """The operators that the simulator launches (what is fused stands with what carries it) under the device's roofs.

    Intensity is FLOPs per byte of the outermost memory as the simulator counts its traffic, None where it counts none. Raises InfeasibleError where the workload does not fit and InputError
    where nothing computes.
    """
    from ..datasets.errors import InfeasibleError
    from ..datasets.simulator import simulate_many

    answer = simulate_many(workload, [device])[0]
    if answer.infeasible:
        raise InfeasibleError(f"{workload.name} on {device.key}: {answer.infeasible}")
    roofs: dict[str, float] = {}
    for dtype in sorted({op.dtype for op in workload.ops if op.counts["matrix_flops"]} or {op.dtype for op in workload.ops}):
        matrix, vector = _rate(device, dtype, True), _rate(device, dtype, False)
        if matrix == vector and matrix:
            roofs[dtype] = matrix
        else:
            roofs |= {f"{dtype}, {name} units": rate for name, rate in (("matrix", matrix), ("vector", vector)) if rate}
    total = float(answer.values["latency_s"])
    ops = []
    for op, took, moved, limit in zip(workload.ops, answer.op_latency_s, answer.op_dram_bytes, answer.op_limit, strict=True):
        if took > 0.0 and op.flops > 0.0:
            intensity = op.flops / float(moved) if moved > 0.0 else None  # None: it found everything on chip
            peak = _rate(device, op.dtype, bool(op.counts["matrix_flops"])) or max(roofs.values(), default=math.inf)
            roof = peak if intensity is None else min(peak, intensity * device.dram_bandwidth)
            ops.append({"name": op.name, "kind": op.kind, "intensity": intensity, "flops_per_s": op.flops / float(took), "roof_flops_per_s": roof,
                        "bound": "memory" if roof < peak else "compute", "limit": limit, "share": float(took) / total})
    if not ops or not roofs:
        raise InputError(f"{workload.name} on {device.key}: no operator computes at a rate that the device's description names; nothing to put under a roof")
    return {"hardware": device.key, "roofs_flops_per_s": roofs, "bandwidth_bytes_per_s": device.dram_bandwidth, "ridge_flops_per_byte": max(roofs.values()) / device.dram_bandwidth,
            "latency_s": total, "ops": ops}


def _rate(device: Any, dtype: str, matrix: bool) -> float:
    return float((device.matrix_rate if matrix else device.vector_rate).get(dtype, 0.0) or 0.0) or (float(device.rate(dtype, matrix)) if device.matrix_rate or device.vector_rate else 0.0)


def _intensity(flops: float, moved: float) -> float:
    return flops / moved if moved else 0.0


def _writable(path: Path, option: str, suffixes: tuple[str, ...]) -> None:
    if path.suffix.lower() not in suffixes:
        raise FormatError(f"{option} {path}: expected a file ending in {' or '.join(suffixes)}")
    if not path.parent.is_dir() or path.is_dir():
        raise FormatError(f"{option} {path}: {'is a folder' if path.is_dir() else f'there is no folder {path.parent}'}")


def _show(console: Any, told: Mapping[str, Any]) -> None:
    show.workload(console, told)
    console.print(f"{told['intensity']:.3g} FLOP per byte read or written, every operand once")
    if "op_list" in told:
        figures = ("FLOPs", "read", "written", "parameters", "FLOP/byte")
        out = table("op", "kind", *figures, right=figures)
        for op in told["op_list"]:
            out.add_row(op["name"], op["kind"], quantity(op["flops"], "flop"), quantity(op["bytes_read"], "B"), quantity(op["bytes_written"], "B"), f"{op['params']:,}", f"{op['intensity']:.3g}")
        console.print(out)
    if "roofline" in told:
        found = told["roofline"]
        figures = ("FLOP/byte", "attained", "roof", "of the roof", "of the time")
        out = table("op", "kind", *figures, "bound by", right=figures, title=f"under the roof of {found['hardware']}")
        for op in sorted(found["ops"], key=lambda o: -o["share"])[:40]:
            out.add_row(op["name"], op["kind"], "on chip" if op["intensity"] is None else f"{op['intensity']:.3g}", quantity(op["flops_per_s"], "op/s"), quantity(op["roof_flops_per_s"], "op/s"),
                        f"{100 * op['flops_per_s'] / op['roof_flops_per_s']:.0f} %", f"{100 * op['share']:.1f} %", op["bound"])
        console.print(out)
        if len(found["ops"]) > 40:
            console.print(f"the 40 longest of {len(found['ops']):,}; --json has them all")
        roofs = ", ".join(f"{name}: {quantity(rate, 'op/s')}" for name, rate in found["roofs_flops_per_s"].items())
        console.print(f"{roofs}; {quantity(found['bandwidth_bytes_per_s'], 'B/s')}; "
                      f"the roof's edge is at {found['ridge_flops_per_byte']:.3g} FLOP/byte")
    for what in ("svg", "plot"):
        if what in told:
            console.print(f"written to {told[what]}")
