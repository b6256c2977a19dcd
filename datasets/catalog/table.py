"""The catalogue as a page of the documentation: docs/devices.md, made from the YAML and never edited by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..hardware import KINDS, Hardware, MemoryLevel

#: dtypes shown, widest first, and how the table abbreviates them
SHOWN = {"float64": "fp64", "float32": "fp32", "tfloat32": "tf32", "bfloat16": "bf16", "float16": "fp16", "float8": "fp8", "float4": "fp4",
         "int32": "int32", "int16": "int16", "int8": "int8", "int4": "int4"}
HEAD = ("key", "device", "year", "units", "clock", "peak matrix rate, Top/s", "memory, innermost first", "power limit", "process", "sources")
TITLES = {"gpu": "GPUs", "cpu": "CPUs", "npu": "NPUs and other accelerators", "fpga": "FPGA boards", "mcu": "Microcontrollers", "pim": "Processing in memory",
          "wafer": "Wafer-scale machines", "asic": "Research chips"}
INTRO = """# The devices

Made from `datasets/catalog/*.yaml` by `python -m silicast.datasets.catalog > docs/devices.md`; a test keeps it fresh. A figure nobody published is
absent: an empty cell, or a memory without a bandwidth. `silicast hardware show KEY` prints a device with the citation of every single figure;
[hardware.md](hardware.md) says how to read them, how far to trust them, and how to add a device."""


def citations(key: str) -> dict[str, str]:
    """The full citations of a device of the catalogue, by the short names its file uses."""
    from importlib.resources import files

    import yaml

    return dict(yaml.safe_load((files(__package__ or "") / f"{key}.yaml").read_text(encoding="utf-8"))["sources"])


def page(devices: Iterable[Hardware], sources: Mapping[str, Mapping[str, str]]) -> str:
    """The whole page: a table for each kind of machine that occurs. `sources`: key of a device -> its citations, as its file names them."""
    devices = list(devices)
    parts = [INTRO, f"{len(devices)} devices."]
    for kind in KINDS:
        members = [d for d in devices if d.kind == kind]
        if members:
            parts += [f"## {TITLES[kind]}", markdown(members, sources)]
    return "\n\n".join(parts) + "\n"


def markdown(devices: Iterable[Hardware], sources: Mapping[str, Mapping[str, str]]) -> str:
    """A markdown table, one row per device in the order given."""
    rows = [HEAD, ("---",) * len(HEAD), *(_row(d, sources[d.key]) for d in devices)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(d: Hardware, sources: Mapping[str, str]) -> tuple[str, ...]:
    rates = ", ".join(f"{short} {d.matrix_rate[name] / 1e12:.5g}" for name, short in SHOWN.items() if name in d.matrix_rate)
    if d.sparsity:
        rates += f"; {d.sparsity} sparse"
    if d.array:
        rates += f"{'; ' if rates else ''}{d.array.count} x {d.array.rows} x {d.array.cols} MACs ({d.array.dataflow})"
    if d.fabric:
        rates += f"{'; ' if rates else ''}{d.fabric.dsp} DSP, {d.fabric.lut} LUT"
    memory = "; ".join([*map(_level, d.memory), *(f"behind it {_level(m)}" for m in d.backing)])
    process = ", ".join([*([f"{d.process_nm:g} nm"] if d.process_nm else []), *([f"{d.area_mm2:,.5g} mm2"] if d.area_mm2 else [])])
    cited = "<br>".join(text.replace("|", "\\|") for text in sources.values())
    return (f"`{d.key}`", d.name, str(d.year or ""), f"{d.units:,}", _clock(d.clock_hz), rates, memory, _power(d.tdp_w), process, cited)


def _level(m: MemoryLevel) -> str:
    speed = m.bandwidth_bytes_per_s
    return f"{m.name} {_bytes(m.capacity_bytes)}" + (f" at {speed / 1e9:,.4g} GB/s" if speed and speed < 1e13 else f" at {speed / 1e12:,.4g} TB/s" if speed else "")


def _clock(hertz: float) -> str:
    return f"{hertz / 1e6:.4g} MHz" if hertz < 1e10 else f"{hertz / 1e9:.4g} GHz"


def _power(watt: float | None) -> str:
    return "" if watt is None else f"{watt:.4g} W" if watt < 1e4 else f"{watt / 1e3:.4g} kW"


def _bytes(size: float) -> str:
    for unit, factor in (("TiB", 2.0**40), ("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size:.4g} B"
