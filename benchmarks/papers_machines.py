"""Published headlines of unusual machines beside ours: python benchmarks/papers_machines.py [--json FILE]

`rows()` gives one dict a headline: system, headline, published, simulated, ratio (simulated / published), assumptions. What an analytical model cannot express,
or what its paper's abstract does not say enough of, keeps its row with `simulated` None and the reason. Nothing is fitted to these rows.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _papers_networks import bert_base, ds_cnn, fft_convolution, lstm_steps, mixtral_layer, mobilenet_v1, mobilenet_v2, resnet8, resnet50, resnet_convs, vgg16
from _tables import print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.families.transformer import Shape, decoder
from silicast.datasets.hardware import Hardware, MemoryLevel, SpatialArray
from silicast.datasets.layers import Net
from silicast.datasets.ops import Op
from silicast.datasets.simulator import simulate, simulate_ops
from silicast.datasets.simulator import technology as tech
from silicast.datasets.simulator.cooling import wall_plug_j
from silicast.datasets.simulator.kernels import fuse
from silicast.datasets.simulator.machine import Machines
from silicast.datasets.simulator.memory_tiers import fused_s, switch_s
from silicast.datasets.simulator.pim import with_banks
from silicast.datasets.simulator.throughput import throughput_costs
from silicast.datasets.simulator.training_memory import training_macs, training_memory
from silicast.datasets.workload import Workload

Row = dict[str, Any]


def rows() -> list[Row]:
    """Every headline, misses included."""
    parts: Sequence[Callable[[], list[Row]]] = (_three_tiers, _flash, _in_memory, _superconducting, _stacked_cache, _flexible, _fused_attention, _utilisation, _sparse,
                                                _recurrent, _on_device_training, _hardwired, _absent)
    return [row for part in parts for row in part()]


def main() -> int:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = rows()
    print_table("published machines", [{k: v for k, v in row.items() if k != "assumptions"} for row in found])
    for row in found:
        print(f"  {row['system']}, {row['headline']}: {row['assumptions']}")
    write_json(options.json, {"rows": found})
    return 0


def _row(system: str, headline: str, published: float | None, simulated: float | None, assumptions: str) -> Row:
    ratio = simulated / published if simulated and published else None
    return {"system": system, "headline": headline, "published": published, "simulated": simulated, "ratio": ratio, "assumptions": assumptions}


def _latency(workload: Workload, machine: Hardware | str) -> float:
    return float(simulate(workload, machine).values["latency_s"])


def _mean(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def _gpt(layers: int, width: int, heads: int, hidden: int, context: int, tokens: int = 1, dtype: str = "float16", vocabulary: int = 50257, gated: bool = False,
         kv_heads: int = 0) -> Workload:
    """A decoder-only model: `tokens` new ones after a cached context, logits of the last."""
    net = Net("gpt", dtype)
    shape = Shape(heads, kv_heads or heads, width // heads, width, hidden, layers, vocabulary, gated, gated, gated, not gated, True, "silu" if gated else "gelu")
    decoder(net, net.tokens(1, tokens), shape, context, 1)
    return net.build()


def _three_tiers() -> list[Row]:
    """SambaNova SN40L (Prabhakar et al., MICRO 2024): experts of 7B parameters are copied from DDR to HBM when they are needed."""
    socket, expert = catalog.hardware("sn40l"), 6.74e9 * 2
    node = switch_s(expert / 8, socket)
    out = [_row("SambaNova SN40L (MICRO 2024)", f"model switching over {name}, times", published, switch_s(expert, replace(catalog.hardware(key), backing=(MemoryLevel("ddr", 1e12, link),))) / node,
                f"8 sockets copy their eighth of a 7B expert at 100 GB/s each (Hot Chips 2024); the GPU node copies it over one {link / 1e9:g} GB/s host link: with all eight links at once the gain would be an eighth of that")
           for name, key, published, link in (("DGX A100", "a100_sxm", 31.0, 32e9), ("DGX H100", "h100_sxm", 15.0, 64e9))]
    out.append(_row("SambaNova SN40L (Hot Chips 2024)", "switching to Llama 3.1 8B, s", 0.01, switch_s(8.03e9 * 2 / 16, socket), "16 sockets, bfloat16"))
    works = {"Llama-2 7B decode": _gpt(32, 4096, 32, 11008, 4096, 1, "bfloat16", 32000, gated=True), "Llama-2 7B prefill of 4096": _gpt(32, 4096, 32, 11008, 4096, 4096, "bfloat16", 32000, gated=True),
             "FFT convolution": fft_convolution(2**15, 512)}
    gains = {name: float(simulate_ops(work.columns, [socket]).time_s.sum()) / fused_s(work, socket) for name, work in works.items()}
    note = "on one socket: " + ", ".join(f"{name} {gain:.2f}" for name, gain in gains.items()) + \
           f"; the FFT convolution is of our size (the paper names one, from memory); unfused: every operator alone, operands and results in HBM, {tech.LAUNCH_S['npu'] * 1e6:g} us between kernels (assumption; the paper's launch cost is not published, and decode pays it most)"
    return [*out, _row("SambaNova SN40L (MICRO 2024)", "fused over unfused, least, times", 2.0, min(gains.values()), note),
            _row("SambaNova SN40L (MICRO 2024)", "fused over unfused, most, times", 13.0, max(gains.values()), note)]


def _flash() -> list[Row]:
    """Cambricon-LLM (Yu et al., MICRO 2024): weights stay in flash that computes; every token reads them once."""
    bandwidth = 36.34 * 6.74e9
    machine = Hardware("npu_and_flash", "NPU and flash", "npu", (MemoryLevel("flash_banks", 1e12, bandwidth / tech.DRAM_EFFICIENCY),), 1e9, matrix_rate={"int8": 1e15}, launch_overhead_s=1e-12)
    token = fused_s(_gpt(80, 8192, 64, 28672, 1, 1, "int8", 32000, gated=True, kv_heads=8), machine)
    return [_row("Cambricon-LLM (MICRO 2024)", "Llama-2 70B, tok/s", 3.44, 1 / token, "the bandwidth of its flash is taken from the 7B headline (36.34 tok/s x 6.74e9 bytes) and must give the 70B one: what limits it is one reading of the weights per token")]


def _with_banks_s(workload: Workload, machine: Hardware, reuse: float = 1.0) -> float:
    """Seconds of a workload on a machine whose banks compute."""
    graph, machines = fuse(workload), Machines.of([machine])
    costs = with_banks(throughput_costs(graph.unique, machines), graph.unique, machines, [machine], reuse)
    return float((costs.time_s[graph.inverse, 0] + machines.launch_s[0]).sum())


def _in_memory() -> list[Row]:
    pim = catalog.hardware("pim_gpt")
    models = {"GPT-2 small": _gpt(12, 768, 12, 3072, 512, dtype="bfloat16"), "GPT-2 XL (1.5B)": _gpt(48, 1600, 25, 6400, 512, dtype="bfloat16")}
    gains = {name: _latency(work, "t4") / _with_banks_s(work, pim) for name, work in models.items()}
    said = ", ".join(f"{name} {gain:.1f}" for name, gain in gains.items())
    note = f"one token at 512 of context ({said}). In-bank bandwidth is 12.8 times the T4's, which bounds us; the rest of the paper's gain is that its GPU baseline, measured in PyTorch, is far from its own bandwidth"
    gpu = catalog.hardware("h100_sxm")
    logic = replace(gpu, memory=(*gpu.memory[:-1], MemoryLevel("bank", gpu.dram.capacity_bytes, 4 * gpu.dram_bandwidth, serves=("weights",)), gpu.dram))
    times = [(batch, _latency(mixtral_layer(batch, 2048), gpu), _logic_pim_s(mixtral_layer(batch, 2048), gpu, logic)) for batch in (32, 64, 128)]
    said = ", ".join(f"batch {b} {old / new:.2f}" for b, old, new in times)
    return [_row("PIM-GPT (2024)", "over a T4, least, times", 41.0, min(gains.values()), note), _row("PIM-GPT (2024)", "over a T4, most, times", 137.0, max(gains.values()), note),
            _row("Duplex (MICRO 2024)", "throughput over GPU, most, times", 2.67, max(old / new for _, old, new in times),
                 f"Mixtral 8x7B layer, decode at 2048 of context ({said}); four times the pins' bandwidth between DRAM and logic die and eight uses of a byte there, both from memory of the paper; its co-processing of experts on both sides is not expressed")]


def _logic_pim_s(workload: Workload, gpu: Hardware, logic: Hardware) -> float:
    """A GPU whose memory computes on its logic die: the GPU's own costs (its caches are its own), or the banks' where they are faster."""
    graph, machines = fuse(workload), Machines.of([gpu])
    costs = with_banks(throughput_costs(graph.unique, machines), graph.unique, machines, [logic], reuse=8.0)
    return float((costs.time_s[graph.inverse, 0] + machines.launch_s[0]).sum())


def _superconducting() -> list[Row]:
    """SuperNPU (Ishida et al., MICRO 2020) over a TPU core with the same memory."""
    chip, tpu = catalog.hardware("supernpu"), catalog.hardware("tpu_v1")
    tpu = replace(tpu, key="tpu_core", memory=(*tpu.memory[:-1], replace(tpu.dram, bandwidth_bytes_per_s=300e9)), tdp_w=None, idle_w=None)
    nets = {"ResNet-50": (resnet50, 20, 30), "MobileNetV1": (mobilenet_v1, 20, 30), "VGG-16": (vgg16, 3, 7)}
    gains = {name: (_latency(make(old, "int8"), tpu) / old) / (_latency(make(new, "int8"), chip) / new) for name, (make, old, new) in nets.items()}
    said, mean = ", ".join(f"{name} {gain:.1f}" for name, gain in gains.items()), _mean(list(gains.values()))
    note = f"per image, int8, batches as each chip's buffers allow in the paper, from memory ({said}); both at 300 GB/s, so what is bound by memory gains nothing in our model, where the paper's larger batches hide it"
    return [_row("SuperNPU (MICRO 2020)", "over a TPU core, times", 23.0, mean, note),
            _row("SuperNPU (MICRO 2020)", "per chip watt, cooling free, times", 490.0, mean * 40.0 / 1.9, note + "; 40 W and 1.9 W are the paper's"),
            _row("SuperNPU (MICRO 2020)", "per watt with cooling, times", 1.23, mean * 40.0 / wall_plug_j(1.9, 4.0), note + "; 400 W of cooling per watt at 4 K")]


def _stacked_cache() -> list[Row]:
    """LARC (Domke et al., TACO 2023): a chip of 16 core groups with 384 MiB of stacked SRAM each, over A64FX."""
    def chain(elements: int) -> Workload:
        net = Net("stream", "float64")
        x = net.input((elements,))
        for _ in range(10):
            x = net.activation(net.layer_norm(net.reshape(x, (elements // 1024, 1024))), "gelu")
            x = net.reshape(x, (elements,))
        return net.build()

    def product(size: int) -> Workload:
        net = Net("dgemm", "float64")
        net.linear(net.input((size, size)), size, bias=False)
        return net.build()

    cases = {"stream of 256 MiB": chain(2**25), "stream of 1 GiB": chain(2**27), "dgemm 4096": product(4096)}
    gains = {name: _latency(work, "a64fx") / _latency(work, "larc") for name, work in cases.items()}
    return [_row("LARC 3D-stacked cache (TACO 2023)", "cache-sensitive codes over A64FX, times", 9.77, _mean(list(gains.values())),
                 "geometric mean of " + ", ".join(f"{name} {gain:.1f}" for name, gain in gains.items()) + "; their proxy applications are not ours; 9.77 in the first version, 9.56 in the printed one")]


def _flexible() -> list[Row]:
    """FEATHER (Tong et al., ISCA 2024): a dataflow chosen layer by layer, against fixed ones."""
    def array(dataflow: str) -> Hardware:
        return Hardware(f"array_{dataflow}", dataflow, "asic", (MemoryLevel("sram", 2**20, 64e9), MemoryLevel("dram", 2**32, 32e9)), 1e9, array=SpatialArray(16, 16, dataflow), matrix_rate={"int8": 512e9},
                        vector_rate={"int8": 3.2e10}, process_nm=28.0)

    nets = {"ResNet-50": resnet50(1, "int8"), "MobileNetV2": mobilenet_v2(1, "int8"), "BERT": bert_base(128, "int8")}
    flows = ("ws", "os", "is", "rs")
    answers = {(flow, name): simulate(net, array(flow)) for flow in flows for name, net in nets.items()}
    out = []
    for what, key, low, high in (("latency", "op_latency_s", 1.27, 2.89), ("energy", "op_energy_j", 1.3, 6.43)):
        best = {name: float(np.min([getattr(answers[flow, name], key) for flow in flows], axis=0).sum()) for name in nets}
        means = {flow: _mean([float(getattr(answers[flow, name], key).sum()) / best[name] for name in nets]) for flow in flows}
        note = "mean over ResNet-50, MobileNetV2, BERT on 16 x 16 PEs, a fixed dataflow over the best of the four layer by layer: " + ", ".join(f"{flow} {gain:.2f}" for flow, gain in means.items()) + \
               "; memories are ours (1 MiB, 32 GB/s, assumption); the paper's fixed designs also suffer bank conflicts when layouts differ, which we do not model"
        out += [_row("FEATHER (ISCA 2024)", f"{what} over fixed dataflow, least, times", low, min(means.values()), note),
                _row("FEATHER (ISCA 2024)", f"{what} over fixed dataflow, most, times", high, max(means.values()), note)]
    return out


def _fused_attention() -> list[Row]:
    """FuseMax (Nayak et al., MICRO 2024): softmax on the 2D array as well, against FLAT's 1D vector units."""
    def machine(vector_lanes: int) -> Hardware:
        return Hardware(f"lanes_{vector_lanes}", "array with vector lanes", "asic", (MemoryLevel("sram", 16 * 2**20, 4e12), MemoryLevel("dram", 2**35, 400e9)), 940e6,
                        array=SpatialArray(256, 256, "ws"), matrix_rate={"bfloat16": 2.0 * 65536 * 940e6}, vector_rate={"bfloat16": vector_lanes * 940e6}, process_nm=45.0)

    gains = {}
    for length in (1024, 16384, 262144):
        net = Net("attention", "bfloat16")
        q, k, v = (net.input((1, length, 1024), name) for name in "qkv")
        net.attention(q, k, v, 16)
        gains[length] = _latency(net.build(), machine(256)) / _latency(net.build(), machine(256 * 256))
    return [_row("FuseMax (MICRO 2024)", "attention over FLAT, times", 6.7, _mean(list(gains.values())),
                 "BERT-like heads at " + ", ".join(f"{n} tokens {gain:.1f}" for n, gain in gains.items()) + "; exponentials on 256 lanes against all 65,536 elements of the array (sizes from memory); both sides overlap "
                 "products and softmax perfectly in our model, where FuseMax shares the array between them; at the longest, both sides wait for keys and values that our array reads again for every block of queries")]


def _utilisation() -> list[Row]:
    """DRACO (Jha et al., 2020): MobileNetV1 on a 64 x 64 row-stationary array."""
    array = Hardware("rs_64", "64 x 64 row stationary", "asic", (MemoryLevel("sram", 2**20, 512e9), MemoryLevel("dram", 2**32, 100e9)), 1e9, array=SpatialArray(64, 64, "rs"),
                     matrix_rate={"int8": 2.0 * 64 * 64 * 1e9}, vector_rate={"int8": 1.28e11})
    share = simulate(mobilenet_v1(1, "int8"), array).values["utilization"]
    return [_row("DRACO (2020)", "gain in PE utilisation of MobileNetV1, %", 41.8, None,
                 f"not expressible: its regrouping of depthwise layers is found by a search whose result the abstract does not give. The baseline is: {share:.1%} of 64 x 64 PEs busy under row stationary (memories assumed)")]


def _sparse() -> list[Row]:
    net = Net("gemm", "float16")
    net.linear(net.input((4096, 4096)), 4096, bias=False)
    base = Hardware("formats", "FP16 : INT8 : FP4 as 1 : 2 : 4", "npu", (MemoryLevel("sram", 64 * 2**20, 2e13), MemoryLevel("hbm", 2**36, 3e12)), 1.5e9, units=64,
                    matrix_rate={"float16": 2.5e14, "int8": 5e14, "float4": 1e15}, launch_overhead_s=1e-9)

    def part(dtype: str, pattern: str) -> float:
        op = Op.of("w", "gemm", m=4096, n=4096, k=4096, dtype=dtype, params=4096 * 4096, sparsity=pattern)
        return _latency(Workload("part", (op,), ()), replace(base, sparsity=pattern))

    sdq = _latency(net.build(), base) / (part("int8", "1:8") + part("float4", "6:8"))
    gain = {}
    for name, columns in (("ResNet-18", resnet_convs(64)),):
        machine = replace(base, matrix_rate={"float16": 5e13}, sparsity="2:8")
        dense, sparse = (sum(_latency(Workload("step", tuple(Op.of(f"g{i}", "gemm", m=m, n=n, k=k, params=n * k, sparsity=s if i < 2 else "") for i, (m, n, k) in enumerate(three)), ()), machine)
                             for three in columns) for s in ("", "2:8"))
        gain[name] = dense / sparse
    return [_row("SDQ (2024)", "effective compute throughput, times", 4.0, sdq, "weights as 1:8 INT8 outliers plus 6:8 FP4 inliers (its W7:8 form, from memory) against dense FP16, on a machine whose N:M units skip all zeros"),
            _row("SAT, N:M training (2023)", "training speed at 2:8, times", 1.75, gain["ResNet-18"],
                 "convolutions of ResNet-18 at batch 64: forward and input gradient with 2:8 weights, weight gradient dense, so 2 at best; the paper's own overheads (pruning, normalisation) are left out")]


def _recurrent() -> list[Row]:
    """FlashRNN (Poeppel et al., 2024): one kernel for all steps against a PyTorch loop."""
    net = Net("lstm", "bfloat16")
    net.recurrent(net.input((16, 1024, 768)), 768)
    gain = _latency(lstm_steps(16, 768), "h100_sxm") * 1024 / _latency(net.build(), "h100_sxm")
    return [_row("FlashRNN (2024)", "over a vanilla PyTorch loop, most, times", 50.0, gain,
                 "LSTM of 768, batch 16, 1024 steps on an H100: the loop launches its products and elementwise kernels every step at 2.5 us each; PyTorch's own time on the host, several us a launch, is not ours to count")]


def _on_device_training() -> list[Row]:
    out = []
    for name, make, published in (("ResNet8", resnet8, 17.1e-3), ("DS-CNN", ds_cnn, 6.4e-3)):
        work = make("float16")
        step = _latency(work, "vega") * training_macs(work) / work.macs
        out.append(_row("MCU training, 8 + 1 cores (Nadalini et al. 2023)", f"{name} training step, s", published, step,
                        f"MLPerf Tiny's network, {training_macs(work) / 1e6:.1f} million multiply-adds a step, FP16 on Vega's 8 cores at 450 MHz at inference's rate; the abstract names neither the chip's clock nor the networks' sizes"))
    work = mobilenet_v2(1, "int8", width=0.35, size=128)
    convs = [op.name for op in work.ops if op.kind == "conv" and op.params]
    sparse = training_memory(work, {name: (0.25 if at >= len(convs) - 12 and at % 3 == 0 else 0.0) for at, name in enumerate(convs) if at >= len(convs) - 18})
    full = training_memory(work)
    out.append(_row("On-device training under 256 KB (NeurIPS 2022)", "peak SRAM of MobileNetV2 0.35, bytes", 256 * 1024, sparse.peak_bytes,
                    f"int8, 128 x 128, batch 1, activations fused in place, biases of the last 18 convolutions and a quarter of the weights of four of them (our choice in the paper's manner; its searched scheme is not printed); full update needs {full.peak_bytes / 1024:,.0f} KiB, "
                    f"frozen weights of {sparse.frozen_bytes / 1024:,.0f} KiB stay in flash. No tiling of the first layers (MCUNet's patches)"))
    return out


def _hardwired() -> list[Row]:
    """HNLPU (Liu et al., 2025): gpt-oss 120B in wires."""
    arithmetic = 5.1e9 * float(tech.mac_j([5.0])[0][catalog_dtype("float4")]) * tech.PIPELINE_OVER_MAC["array"]
    return [_row("HNLPU (2025)", "energy per token, J", 1 / 36.0, arithmetic,
                 "5.1e9 active weights, a 4-bit multiply-add each at 5 nm, weights cost no traffic: arithmetic only. Its KV cache in memory, links between 16 chips and leakage are not published in the abstract; they are the rest")]


def catalog_dtype(name: str) -> int:
    """The column of a dtype in tables by dtype."""
    from silicast.datasets.dtypes import DTYPE_CODES

    return DTYPE_CODES[name]


def _absent() -> list[Row]:
    """Headlines that stay open, and why."""
    absent = (("COSMA (2023)", "non-compulsory traffic avoided, %", 84.0, "needs its joint operator order and scratchpad allocation of recurrent-free vision and language graphs; our liveness keeps the given order"),
              ("NASAIC (DAC 2020)", "latency reduction, %", 17.77, "a joint search over networks and templates; a search, not a machine"),
              ("SBCFormer (WACV 2024)", "frames/s on Raspberry Pi 4", 1.0, "the abstract gives no layer sizes; PyTorch on the Pi reaches a small part of its peak, which no data sheet tells"),
              ("FemtoDet (ICCV 2023)", "frames/s at 1.11 W", 64.47, "a detector whose layer sizes the abstract does not give, on a phone whose memory is not published"),
              ("S4 (Moffett 2022)", "speed over T4", None, "no figure in its abstract; no rate of its chip is published"),
              ("InstInfer (2024)", "throughput over flash offload, times", 11.1, "rates of the computational storage drives are not public; attention in storage itself is a kernel in a bank (datasets/simulator/pim.py)"),
              ("CryoCore (ISCA 2020)", "power cost saved at equal speed, %", 38.0, "needs its transistor model of voltage scaling at 77 K; cooling alone is expressed (9.65 W per W)"),
              ("alpha-FLOPs (2022)", "closeness to GPU time", None, "no figure in its abstract"))
    return [_row(system, headline, published, None, f"not expressible: {why}") for system, headline, published, why in absent]


if __name__ == "__main__":
    raise SystemExit(main())
