"""What `silicast measure` does: an ONNX model or a plan, measured on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datasets.errors import FormatError, InputError
from .arguments import dimensions
from .quantities import quantity
from .reply import Reply, say


def measure(file: Path | None, out: Path | None, plan: str | None, on: str, device: str, budget_s: float, dims: Sequence[str], repeats: int, threads: int | None,
            hardware: str, seed: int) -> Reply:
    """Measures a file or a plan here. Raises InputError for arguments that do not go together, a device or runtime that is not here."""
    if on != "local":
        raise InputError(f"--on {on}: silicast measures on this machine only; expected local (answers for other machines come from simulate and predict)")
    if (file is None) == (plan is None):
        raise InputError("measure what? Give the path of an ONNX model or --plan NAME" + (", not both" if file is not None else ""))
    if out is None:
        raise InputError("--out DIR: expected the folder for the measured table")
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: expected cpu or cuda")
    from ..training import measuring

    if plan is not None:
        if dims:
            raise InputError(f"--dim {dims[0]}: a plan has its own sizes; --dim belongs to a file")
        done = measuring.profile(plan, out, device=device, budget_s=budget_s, repeats=repeats, threads=threads, hardware=hardware, seed=seed, say=say)
        return Reply(done, lambda console: _show_plan(console, done))
    assert file is not None
    if file.suffix.lower() != ".onnx":
        raise FormatError(f"{file}: cannot measure a file ending in {file.suffix!r}; expected an ONNX model (.onnx)")
    found = measuring.measure_file(file, out, dims=dimensions(dims), device=device, repeats=repeats, threads=threads, hardware=hardware, say=say)
    return Reply(found, lambda console: _show_file(console, found))


def _show_plan(console: Any, told: Mapping[str, Any]) -> None:
    console.print(f"{told['plan']} on {told['hardware']}: {told['measured']:,} points measured in {told['seconds']:.1f} s, {told['rows']:,} in the table, {told['left']:,} of the plan left; "
                  f"the model was asked {told['committees']} times where to go next")
    for refused in told["refused"][:3]:
        console.print(f"refused: {refused['point']}: {refused['why']}")
    _show_end(console, told)


def _show_file(console: Any, told: Mapping[str, Any]) -> None:
    console.print(f"{told['network']} on {told['hardware']}: {quantity(told['latency_s'], 's')} (median of {told['samples']}; deviation {quantity(told['latency_mad_s'], 's')}, "
                  f"10 % {quantity(told['latency_p10_s'], 's')}, 90 % {quantity(told['latency_p90_s'], 's')})")
    if told["power_w"] is not None:
        console.print(f"{quantity(told['power_w'], 'W')}, {quantity(told['energy_j'], 'J')} a run")
    _show_end(console, told)


def _show_end(console: Any, told: Mapping[str, Any]) -> None:
    console.print(f"energy: {told['energy']}")
    files = told["files"]
    console.print(f"written to {files['table.parquet']}; learn from it: silicast fit {files['table.parquet']} --schema {files['schema.yaml']} --out MODEL")
