"""Published FPGA accelerators beside ours: python benchmarks/papers_fpga.py [--json FILE]

`rows()` gives one dict a headline: system, headline, published, simulated, ratio (simulated / published), assumptions. A system that a dataflow model cannot
express, or whose abstract and tables do not give the network, keeps its row with `simulated` None and the reason.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from _tables import print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.hardware import Fabric, Hardware, MemoryLevel
from silicast.datasets.layers import Net
from silicast.datasets.simulator.finn import finn_design
from silicast.datasets.simulator.fpga import FpgaPlan, design
from silicast.datasets.workload import Workload

#: Kintex UltraScale KU115, the part of Duarte et al. 2018 (DS890: 663,360 LUT, 1,326,720 FF, 5,520 DSP, 2,160 block RAMs of 36 kbit). The bandwidth is a
#: placeholder: a design with weights on chip never asks for it.
KU115 = Hardware("ku115", "KU115", "fpga", (MemoryLevel("none", 1e9, 1e9),), 200e6, fabric=Fabric(663360, 1326720, 5520, 4320))


def rows() -> list[dict[str, Any]]:
    """Every headline, misses included."""
    return [*_jets(), *_digits(), *_finn("SFC-max", _mlp(256), 12.361e6, 0.31e-6, 91131), *_finn("LFC-max", _mlp(1024), 1.561e6, 2.44e-6, 82988),
            *_finn("CNV-max", _cnv(), 21906.0, 283e-6, 46253), *_absent()]


def main() -> int:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = rows()
    print_table("published FPGA accelerators", [{k: v for k, v in row.items() if k != "assumptions"} for row in found])
    for row in found:
        print(f"  {row['system']}, {row['headline']}: {row['assumptions']}")
    write_json(options.json, {"rows": found})
    return 0


def _row(system: str, headline: str, published: float | None, simulated: float | None, assumptions: str) -> dict[str, Any]:
    ratio = simulated / published if simulated and published else None
    return {"system": system, "headline": headline, "published": published, "simulated": simulated, "ratio": ratio, "assumptions": assumptions}


def _jets() -> list[dict[str, Any]]:
    """hls4ml's jet tagger, 16-64-32-32-5 pruned to 30 % of its weights, 16-bit fixed point, fully unrolled (Duarte et al., JINST 13 P07027, 2018)."""
    widths, system = (16, 64, 32, 32, 5), "hls4ml jet tagger (Duarte et al. 2018)"
    net = Net("jets")
    x = net.input((1, widths[0]))
    for width in widths[1:-1]:
        x = net.relu(net.linear(x, width))
    net.softmax(net.linear(x, widths[-1]))
    dense = net.build()
    pruned = replace(dense, ops=tuple(replace(op, sparsity="0.3") if op.kind == "gemm" else op for op in dense.ops))
    made = design(pruned, KU115, FpgaPlan(weight_bits=16, data_bits=16, sum_bits=16, clock_hz=200e6, weight_limit=1.0, integer_bits=6))
    note = "70 % of the weights zero at random, the rest uniform in +-1 (the trained ones are not printed), UltraScale+ delays for a 20 nm UltraScale part"
    return [_row(system, "latency, s", 75e-9, made.latency_cycles / 200e6, note + "; 15 cycles at 200 MHz published"),
            _row(system, "initiation interval, cycles", 1.0, made.interval_cycles, note),
            _row(system, "DSP slices", 954.0, made.dsp, note + "; 954 as later papers' comparison tables quote it, from memory")]


def _digits() -> list[dict[str, Any]]:
    """hls4ml's streamed CNN for street-view digits (Aarrestad et al., Mach. Learn.: Sci. Technol. 2, 045015, 2021), fully unrolled, Virtex UltraScale+ VU9P."""
    net, system = Net("svhn"), "hls4ml street-view CNN (Aarrestad et al. 2021)"
    x = net.image(1, 3, 32, 32)
    for channels in (16, 16, 24):
        x = net.max_pool(net.relu(net.conv(x, channels, 3, 1, 0)), 2, 2)
    x = net.flatten(x)
    for width in (42, 64):
        x = net.relu(net.linear(x, width))
    net.softmax(net.linear(x, 10))
    made = design(net.build(), catalog.hardware("vcu1525"), FpgaPlan(io="stream", weight_bits=14, data_bits=14, sum_bits=14, clock_hz=200e6))
    note = "three 3 x 3 convolutions of 16, 16, 24 channels with 2 x 2 pooling, dense 42, 64, 10; 14 bits; reuse 1; the abstract's rounded 5 us"
    return [_row(system, "latency, s", 5e-6, made.latency_cycles / 200e6, note + ("" if not made.infeasible else f"; ours says {made.infeasible}"))]


def _finn(name: str, workload: Workload, images_per_s: float, latency_s: float, luts: float) -> list[dict[str, Any]]:
    """A prototype of Umuroglu et al., FPGA 2017: binary weights and activations, ZC706 at 200 MHz."""
    board, system = catalog.hardware("zc706"), f"FINN {name} (Umuroglu et al. 2017)"
    first = 8 if name == "CNV-max" else 1
    kept = finn_design(workload, board, first_data_bits=first, interval_cycles=float(int(board.clock_hz / images_per_s) + (name != "CNV-max")))
    spent = finn_design(workload, board, first_data_bits=first, lut_budget=luts)
    remembered = "" if name == "SFC-max" else "; the published LUT count is from memory of table 3"
    return [_row(system, "images/s", images_per_s, spent.images_per_s, f"fastest folding by divisors within the published {luts:,.0f} LUT{remembered}"
                 + ("; the next folding, 16 cycles, needs 2 % more LUT and gives 12.5 M" if name == "SFC-max" else "")),
            _row(system, "LUT", luts, kept.lut, f"smallest folding that keeps the published rate: {kept.images_per_s:,.0f} images/s{remembered}"),
            _row(system, "latency, s", latency_s, kept.latency_cycles / board.clock_hz, "the same folding; ours waits for whole dense layers, theirs has finer overlap where it is shorter")]


def _absent() -> list[dict[str, Any]]:
    """Systems that stay open, and why."""
    return [
        _row("CQMLP, FINN on ZCU104 (Khandelwal et al., arXiv:2401.12240)", "latency per message, s", 0.12e-3, None,
             "not expressible: the abstract gives no layer widths, and the time is that of the driver on the Arm cores (a 4-bit MLP of any size that fits passes the fabric in microseconds)"),
        _row("CoDeNet (Huang et al., FPGA 2021)", "frames/s", 26.9, None, "not expressible: one engine shared by all layers with weights from DRAM and input-dependent addresses, no layer-by-layer dataflow"),
        _row("InTAR on U280", "speed-up", None, None, "not expressible: changes its data path between phases of one run; a dataflow model has one design"),
    ]


def _mlp(width: int) -> Workload:
    net = Net("mlp")
    x = net.input((1, 784))
    for _ in range(3):
        x = net.linear(x, width)
    net.linear(x, 10)
    return net.build()


def _cnv() -> Workload:
    """The CIFAR-10 network of FINN: six 3 x 3 convolutions without padding, two poolings, three dense layers."""
    net = Net("cnv")
    x = net.image(1, 3, 32, 32)
    for i, channels in enumerate((64, 64, 128, 128, 256, 256)):
        x = net.conv(x, channels, 3, 1, 0)
        if i in (1, 3):
            x = net.max_pool(x, 2, 2)
    x = net.flatten(x)
    for width in (512, 512, 10):
        x = net.linear(x, width)
    return net.build()


if __name__ == "__main__":
    raise SystemExit(main())
