"""`silicast llm ...`: language models served by, or trained on, devices and clusters. The arguments and what the verbs do."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from .reply import Reply, plain, spoken, table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Language models: serving (time to first token, per token, batch that fits) and training steps (MFU, memory).")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, in SI units; logs go to stderr.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model of the catalogue (`silicast llm models`), or the path of its YAML file.")]
On = Annotated[str, typer.Option("--on", metavar="KEY", help="A device or a cluster: key, alias or YAML path (`silicast hardware list`).")]
Link = Annotated[float | None, typer.Option("--link-gb-s", min=0.001, help="Joins devices of a lone --on device by a switch of so many GB/s each way per device.", show_default=False)]
LinkUs = Annotated[float, typer.Option("--link-us", min=0.0, help="Latency of that link in microseconds.")]
Tensor = Annotated[int, typer.Option("--tensor", min=1, help="Tensor-parallel devices.")]
Pipeline = Annotated[int, typer.Option("--pipeline", min=1, help="Pipeline stages.")]
Expert = Annotated[int, typer.Option("--expert", min=1, help="Devices the experts are spread over.")]
Dtype = Annotated[str, typer.Option("--dtype", help="What products compute in.")]


@app.command("models")
@spoken
def models(as_json: Json = False) -> Reply:
    """The transformers of the catalogue."""
    from ..datasets.catalog.transformers import keys, transformer

    found = [transformer(key) for key in keys()]
    document = {"models": [{"key": m.key, "name": m.name, "params": m.params, "active_params": m.active_params, "layers": m.layers, "hidden": m.hidden,
                            "kv_bytes_per_token": m.kv_bytes_per_token(), "aliases": m.aliases, "source": m.source} for m in found]}

    def show(console: Any) -> None:
        out = table("key", "parameters", "active", "layers", "hidden", "cache per token", right=("parameters", "active", "layers", "hidden", "cache per token"))
        for m in found:
            out.add_row(m.key, f"{m.params / 1e9:.3f} B", f"{m.active_params / 1e9:.3f} B", str(m.layers), str(m.hidden), _quantity(m.kv_bytes_per_token(), "B"))
        console.print(out)
        console.print("cache per token: keys and values of one token of context in bfloat16")

    return Reply(document, show)


@app.command("serve")
@spoken
def serve(model: Model, on: On, prompt: Annotated[int, typer.Option("--prompt", min=1, help="Prompt tokens of a request.")] = 1024,
          output: Annotated[int, typer.Option("--output", min=1, help="Tokens a request generates.")] = 128,
          batch: Annotated[int | None, typer.Option("--batch", min=1, help="Requests in flight [default: 1].", show_default=False)] = None,
          rate: Annotated[float | None, typer.Option("--rate", help="Requests that arrive per second, in place of --batch.", show_default=False)] = None,
          schedule: Annotated[str, typer.Option("--schedule", help="static, continuous or chunked.")] = "static",
          chunk: Annotated[int, typer.Option("--chunk", min=1, help="Tokens of a step under the chunked schedule.")] = 512,
          tensor: Tensor = 1, pipeline: Pipeline = 1, expert: Expert = 1, dtype: Dtype = "bfloat16",
          weight_dtype: Annotated[str, typer.Option("--weight-dtype", help="How weights are stored [default: as --dtype].", show_default=False)] = "",
          kv_dtype: Annotated[str, typer.Option("--kv-dtype", help="How the cache is stored.", show_default=False)] = "",
          sparsity: Annotated[str, typer.Option("--sparsity", help="Of the weights, such as 2:4.", show_default=False)] = "",
          step_overhead_us: Annotated[float, typer.Option("--step-overhead-us", min=0.0, help="Host time between steps that the device waits for.")] = 0.0,
          link: Link = None, link_us: LinkUs = 1.0,
          need_ttft: Annotated[float | None, typer.Option("--need-ttft-ms", help="Also: what would meet this time to the first token?", show_default=False)] = None,
          need_tpot: Annotated[float | None, typer.Option("--need-tpot-ms", help="Also: what would meet this time per token?", show_default=False)] = None,
          as_json: Json = False) -> Reply:
    """Time to first token, time per token, throughput, energy, memory.

    TPOT is (end to end - TTFT) / (output tokens - 1).
    """
    from ..datasets.simulator.serving import simulate_serving
    from ..datasets.simulator.serving_plan import ServingPlan
    from ..datasets.simulator.serving_required import required

    plan = ServingPlan(dtype=dtype, weight_dtype=weight_dtype, kv_dtype=kv_dtype, sparsity=sparsity, tensor=tensor, pipeline=pipeline, expert=expert, schedule=schedule,
                       chunk_tokens=chunk, step_overhead_s=step_overhead_us * 1e-6)
    where = _machine(on, max(tensor, expert) * pipeline, link, link_us)
    asked = batch if batch is not None or rate is not None else 1
    answer = simulate_serving(model, where, prompt, output, asked, rate, plan)
    memory = {name: getattr(answer.memory, name) for name in ("weights", "kv", "activations", "streamed", "used", "budget", "capacity", "shortfall")}
    document: dict[str, Any] = {"model": answer.model.key, "hardware": answer.hardware.key, "devices": answer.devices, "batch": answer.batch, "values": answer.values,
                                "request_rate_per_s": answer.request_rate_per_s, "energy_per_token_j": answer.energy_per_token_j, "max_batch": answer.max_batch,
                                "memory_bytes_per_device": memory, "infeasible": answer.infeasible, "notes": list(answer.notes)}
    if need_ttft is not None or need_tpot is not None:
        found = required(model, where, prompt, output, answer.batch, tpot_s=need_tpot and need_tpot / 1e3, ttft_s=need_ttft and need_ttft / 1e3, plan=plan)
        document["required"] = {"met": found.met, "bandwidth_bytes_per_s": found.bandwidth_bytes_per_s, "matrix_ops_per_s": found.matrix_ops_per_s,
                                "devices": found.devices, "memory_bytes": found.memory_bytes}
    return Reply(document, lambda console: _show_serving(console, plain(document)))


@app.command("train")
@spoken
def train(model: Model, on: On, tensor: Tensor = 1, pipeline: Pipeline = 1, data: Annotated[int, typer.Option("--data", min=1, help="Data-parallel replicas.")] = 1,
          context: Annotated[int, typer.Option("--context", min=1, help="Parts of the sequence.")] = 1, expert: Expert = 1,
          batch: Annotated[int, typer.Option("--batch", min=1, help="Sequences of a step, over all devices.")] = 1,
          sequence: Annotated[int, typer.Option("--sequence", min=1, help="Tokens of a sequence.")] = 2048,
          microbatch: Annotated[int, typer.Option("--microbatch", min=1, help="Sequences of one micro-batch.")] = 1,
          schedule: Annotated[str, typer.Option("--schedule", help="gpipe, 1f1b, interleaved or breadth_first.")] = "1f1b",
          chunks: Annotated[int, typer.Option("--chunks", min=1, help="Chunks of layers per stage (interleaved, breadth_first).")] = 1,
          zero: Annotated[int, typer.Option("--zero", min=0, max=3, help="ZeRO stage.")] = 0,
          recompute: Annotated[str, typer.Option("--recompute", help="Activations: none, selective or full.")] = "none",
          sequence_parallel: Annotated[bool, typer.Option("--sequence-parallel", help="Norms cut along the sequence by the tensor group.")] = False,
          offload_optimizer: Annotated[str, typer.Option("--offload-optimizer", help="cpu or nvme.", show_default=False)] = "",
          offload_weights: Annotated[str, typer.Option("--offload-weights", help="cpu or nvme.", show_default=False)] = "",
          dtype: Dtype = "bfloat16", link: Link = None, link_us: LinkUs = 1.0, as_json: Json = False) -> Reply:
    """Seconds of one training step by part, MFU, tokens per second, memory per device."""
    from ..datasets.catalog.transformers import transformer
    from ..datasets.cluster import Cluster
    from ..datasets.errors import InputError
    from ..datasets.simulator.parallel import ParallelPlan
    from ..datasets.simulator.parallel_step import simulate_training

    plan = ParallelPlan(tensor=tensor, pipeline=pipeline, data=data, context=context, expert=expert, microbatch=microbatch, schedule=schedule, chunks=chunks, zero=zero,
                        recompute=recompute, sequence=sequence_parallel, offload_optimizer=offload_optimizer, offload_weights=offload_weights, dtype=dtype)
    where = _machine(on, plan.devices, link, link_us)
    if not isinstance(where, Cluster):
        if plan.devices > 1:
            raise InputError(f"llm train --on {on}: the plan needs {plan.devices} devices, got one; name a cluster, or join devices with --link-gb-s")
        where = Cluster.of(where, 1, 1e9)
    if where.devices != plan.devices:
        where = where.take(plan.devices)
    step = simulate_training(transformer(model), where, plan, batch, sequence)
    memory = {name: getattr(step.memory, name) for name in ("weights_bytes", "gradients_bytes", "optimizer_bytes", "activations_bytes", "kv_cache_bytes", "total_bytes",
                                                            "host_bytes", "capacity_bytes", "shortfall_bytes")}
    document = {"model": step.model.key, "cluster": where.key, "devices": where.devices, "step_s": step.step_s, "parts_s": step.parts_s, "mfu": step.mfu, "hfu": step.hfu,
                "tokens_per_s": step.tokens_per_s, "flops_per_device_s": step.flops_per_device_s, "energy_j": step.energy_j, "memory_per_device": memory,
                "infeasible": step.infeasible, "notes": list(step.notes)}
    return Reply(document, lambda console: _show_training(console, plain(document)))


def _machine(on: str, devices: int, link_gb_s: float | None, link_us: float) -> Any:
    """The device or cluster of that name; `devices` of a lone device joined by a switch when a link is given."""
    from ..datasets.catalog import hardware, keys
    from ..datasets.catalog.clusters import cluster, cluster_keys, read_cluster
    from ..datasets.cluster import Cluster
    from ..datasets.errors import FormatError, UnknownNameError

    if on.lower().endswith((".yaml", ".yml")):
        try:
            machine: Any = hardware(on)
        except FormatError as error:
            if "'levels'" not in str(error):  # the field of a cluster's file
                raise
            return read_cluster(on)
    else:
        try:
            machine = hardware(on)
        except UnknownNameError:
            try:
                return cluster(on)
            except UnknownNameError:
                raise UnknownNameError("device or cluster", on, [*keys(), *cluster_keys()]) from None
    if link_gb_s is None:
        return machine
    return Cluster.of(machine, devices, link_gb_s * 1e9, latency_s=link_us * 1e-6)


def _quantity(value: float | None, unit: str) -> str:
    from .quantities import quantity

    return quantity(value, unit)


def _show_serving(console: Any, told: dict[str, Any]) -> None:
    values = told["values"]
    console.print(f"{told['model']} on {told['devices']} x {told['hardware']}, {told['batch']} in flight")
    out = table("figure", "value", right=("value",))
    for name, value, unit in (("time to first token", values["ttft_s"], "s"), ("time per token", values["tpot_s"], "s"), ("end to end", values["latency_s"], "s"),
                              ("tokens/s, all devices", values["throughput_tok_s"], ""), ("requests/s", told["request_rate_per_s"], ""),
                              ("energy per token", told["energy_per_token_j"], "J"), ("power, all devices", values["power_w"], "W")):
        out.add_row(name, _quantity(value, unit))
    for name in ("weights", "kv", "activations", "used", "budget"):
        out.add_row(f"memory per device: {name}", _quantity(told["memory_bytes_per_device"][name], "B"))
    out.add_row("largest batch that fits", f"{told['max_batch']:,}")
    console.print(out)
    if "required" in told:
        need = told["required"]
        parts = [f"memory bandwidth of {_quantity(need['bandwidth_bytes_per_s'], 'B/s')}"] * bool(need["bandwidth_bytes_per_s"])
        parts += [f"arithmetic of {_quantity(need['matrix_ops_per_s'], 'op/s')}"] * bool(need["matrix_ops_per_s"])
        parts += [f"{need['devices']} devices"] * bool(need["devices"])
        said = f"would be met by {', or '.join(parts)}" if parts else "would be met by no bandwidth, arithmetic or number of devices alone"
        console.print(f"the times asked for {'are met as it stands' if need['met'] else said}")
    _show_doubts(console, told)


def _show_training(console: Any, told: dict[str, Any]) -> None:
    console.print(f"{told['model']} on {told['devices']:,} devices of {told['cluster']}: {_quantity(told['step_s'], 's')} a step, MFU {told['mfu']:.1%}, "
                  f"{told['tokens_per_s']:,.0f} tokens/s")
    out = table("part of the step", "time", "share", right=("time", "share"))
    for name, seconds in told["parts_s"].items():
        out.add_row(name, _quantity(seconds, "s"), f"{seconds / told['step_s']:.1%}" if math.isfinite(told["step_s"]) and told["step_s"] else "-")
    console.print(out)
    out = table("memory per device", "bytes", right=("bytes",))
    for name, size in told["memory_per_device"].items():
        out.add_row(name.removesuffix("_bytes").replace("_", " "), _quantity(size, "B"))
    console.print(out)
    if told["energy_j"] is not None:
        console.print(f"energy of a step, all devices: {_quantity(told['energy_j'], 'J')}")
    _show_doubts(console, told)


def _show_doubts(console: Any, told: dict[str, Any]) -> None:
    if told["infeasible"]:
        console.print(f"DOES NOT FIT: {told['infeasible']}")
    for note in told["notes"]:
        console.print(f"note: {note}")
