"""Many deployments at once: the same figures as `simulate_serving` and `simulate_split`, without a call for each.

What deployments have in common is computed once: every distinct layer of a step (model, cut, formats, sequences, context) becomes part of one large graph, which
the simulator answers for all machines that need it; the schedules are then arithmetic on columns. Plans that this does not cover (chunked prefill, experts spread
over devices, machines without a known static power or with memories behind the main one) are left to the caller. A test holds the two paths together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...datasets.catalog.transformers import transformer
from ...datasets.cluster import Cluster
from ...datasets.dtypes import BITS
from ...datasets.errors import InputError
from ...datasets.hardware import Hardware
from ...datasets.simulator import simulate_many
from ...datasets.simulator.collectives import collective
from ...datasets.simulator.machine import static_w
from ...datasets.simulator.serving import GAUSS
from ...datasets.simulator.serving_plan import ServingPlan
from ...datasets.simulator.serving_step import MOST_DECODE_TOKENS, Rig
from ...datasets.transformer import Segment, Transformer
from ...datasets.transformer_layers import head_workload, step_workload
from ...datasets.workload import Tensor, Workload
from .deployment import Deployment, DeploymentTerms, device, plan_of

#: ops of one merged graph: its search holds arrays of kernels x machines
MOST_OPS = 6000
#: of every plan here
PREFILL_TOKENS, MEMORY_SHARE = ServingPlan().prefill_tokens, ServingPlan().memory_share


@dataclass(frozen=True)
class _Shape:
    """What decides the work of one device in one step, the machine aside."""

    model: str
    tensor: int
    dtype: str
    weight_dtype: str
    kv_dtype: str
    batch: int
    new_tokens: int
    past_tokens: int


@dataclass(frozen=True)
class _Need:
    """One step of one deployment: which work, on which machine, with how many pipeline stages."""

    shape: _Shape
    device: str
    power_limit: float
    pipeline: int


def tabulated(design: DeploymentTerms, deployments: Mapping[int, Deployment]) -> dict[int, tuple[dict[str, float], str]]:
    """Index -> (quantities, why not) of those deployments this covers."""
    prompt, output = design.prompt_tokens, design.output_tokens
    places = [prompt + round(output * p) for p in GAUSS] if output > 2 else [prompt + 1]
    ours: list[int] = []
    needs: dict[_Need, int] = {}
    reads: list[int] = []
    writes: list[list[int]] = []
    for i, d in deployments.items():
        if not _covered(design, d):
            continue
        read_tensor, (read_device, read_limit) = (d.prompt_tensor or d.tensor, d.reader) if d.split else (d.tensor, (d.device, d.power_limit))
        wide = d.split or d.schedule == "continuous"
        width = 1 if wide else max(1, min(d.batch, PREFILL_TOKENS // prompt))
        read = _Need(_Shape(d.model, read_tensor, d.dtype, d.weight_dtype, d.kv_dtype, width, prompt, 0), read_device, read_limit, d.pipeline)
        micro = math.ceil(d.batch / d.pipeline)
        write = [_Need(_Shape(d.model, d.tensor, d.dtype, d.weight_dtype, d.kv_dtype, micro, 1, past), d.device, d.power_limit, d.pipeline) for past in places]
        ours.append(i)
        reads.append(needs.setdefault(read, len(needs)))
        writes.append([needs.setdefault(w, len(needs)) for w in write])
    if not ours:
        return {}
    costs = _costs(design, list(needs))
    read_t, read_j = costs[reads].T
    step_t, step_j = costs[np.array(writes)].mean(axis=1).T
    rows = [deployments[i] for i in ours]
    split = np.array([d.split for d in rows])
    out: dict[int, tuple[dict[str, float], str]] = {}
    for mask, scheduled in ((~split, _together), (split, _apart)):
        at = np.flatnonzero(mask)
        if len(at):
            columns, why = scheduled(design, [rows[j] for j in at], read_t[at], read_j[at], step_t[at], step_j[at])
            names, table = list(columns), np.column_stack(list(columns.values())).tolist()
            out |= {ours[j]: (dict(zip(names, values, strict=True)), said) for j, values, said in zip(at, table, why, strict=True)}
    return out


def _covered(design: DeploymentTerms, d: Deployment) -> bool:
    """Whether the columns say what the one-by-one path would; a plan that one refuses goes there, for its error."""
    if d.expert > 1 or (d.schedule == "chunked" and not d.split) or (d.split and design.output_tokens < 2):
        return False
    for key, limit, tensor in ((d.device, d.power_limit, d.tensor), (*d.reader, d.prompt_tensor or d.tensor))[: 1 + d.split]:
        if not _plain(key, limit) or (tensor * d.pipeline > 1 and not design.linked(key)):
            return False
        if not _divides(d.model, tensor, d.pipeline, d.dtype, d.weight_dtype, d.kv_dtype):
            return False
    return True


@lru_cache(maxsize=1024)
def _plain(key: str, limit: float) -> bool:
    machine = device(key, limit)
    return not machine.backing and math.isfinite(static_w(machine)) and not machine.fabric


@lru_cache(maxsize=4096)
def _divides(model: str, tensor: int, pipeline: int, dtype: str, weight_dtype: str, kv_dtype: str) -> bool:
    try:
        found = transformer(model)
        if found.encoder or pipeline > found.layers:
            return False
        _parts(_Shape(model, tensor, dtype, weight_dtype, kv_dtype, 1, 1, 1))
    except InputError:
        return False
    return True


# -- steps ------------------------------------------------------------------------------------------------------------------------------

@lru_cache(maxsize=16384)
def _parts(shape: _Shape) -> tuple[tuple[int, Workload], ...]:
    """(how often, work) of one step's distinct layers and of its head, as `serving_step` has them."""
    model, plan = transformer(shape.model), _formats(shape)
    segment = Segment(shape.batch, shape.new_tokens, shape.past_tokens)
    phase = "decode" if shape.past_tokens and shape.new_tokens <= MOST_DECODE_TOKENS else "prefill"
    logits = shape.batch * shape.new_tokens if phase == "decode" else shape.batch
    layers = tuple((b.count, step_workload(model, (segment,), phase, plan.tensor, 1, layer=b.kind, window=b.window, **plan.formats)) for b in model.blocks)
    return (*layers, (1, _head(shape.model, shape.tensor, plan.activation_dtype, segment.tokens, logits)))


@lru_cache(maxsize=16384)
def _head(model: str, tensor: int, dtype: str, tokens: int, logits: int) -> Workload:
    return head_workload(transformer(model), "prefill", tokens, 1, tensor, dtype, logits=logits)


def _formats(shape: _Shape) -> ServingPlan:
    return plan_of(shape.dtype, shape.weight_dtype, shape.kv_dtype, shape.tensor)


#: (digests of work, machine's digest) -> (seconds, J); emptied when it grows too large
_DONE: dict[tuple[str, str], tuple[float, float]] = {}


def _costs(design: DeploymentTerms, needs: Sequence[_Need]) -> np.ndarray:
    """(n, 2) seconds and J of each step on all devices of its stage, collectives included."""
    machines = {(n.device, n.power_limit): device(n.device, n.power_limit) for n in needs}
    parts = {n.shape: _parts(n.shape) for n in needs}
    asked: dict[str, tuple[Workload, dict[str, Hardware]]] = {}
    if len(_DONE) > 500_000:
        _DONE.clear()
    for n in needs:
        machine = machines[n.device, n.power_limit]
        for _, work in parts[n.shape]:
            if (work.digest, machine.digest) not in _DONE:
                asked.setdefault(work.digest, (work, {}))[1][machine.digest] = machine
    groups: dict[tuple[str, ...], tuple[list[Workload], list[Hardware]]] = {}
    for work, on in asked.values():
        groups.setdefault(tuple(sorted(on)), ([], list(on.values())))[0].append(work)
    for works, together in groups.values():
        _simulate(works, together)
    wires = _wires(design, needs)
    out = np.empty((len(needs), 2))
    for i, n in enumerate(needs):
        machine = machines[n.device, n.power_limit]
        own = [(count, _DONE[work.digest, machine.digest]) for count, work in parts[n.shape]]
        seconds, joules = (sum(count * cost[j] for count, cost in own) for j in (0, 1))
        wire_s, wire_j = wires[i]
        out[i] = seconds + wire_s, (joules + static_w(machine) * wire_s) * n.shape.tensor + wire_j
    return out


def _simulate(works: Sequence[Workload], on: Sequence[Hardware]) -> None:
    """The works on the machines: merged into graphs that do not touch each other, so that the simulator sees them as columns."""
    at = 0
    while at < len(works):
        taken, ops = 0, 0
        while at + taken < len(works) and (not taken or ops + len(works[at + taken].ops) <= MOST_OPS):
            ops += len(works[at + taken].ops)
            taken += 1
        chunk = works[at:at + taken]
        starts = np.cumsum([0, *(len(w.ops) for w in chunk[:-1])])
        for machine, answer in zip(on, simulate_many(_merged(chunk), on), strict=True):
            seconds, joules = np.add.reduceat(answer.op_latency_s, starts).tolist(), np.add.reduceat(answer.op_energy_j, starts).tolist()
            _DONE.update({(work.digest, machine.digest): cost for work, cost in zip(chunk, zip(seconds, joules, strict=True), strict=True)})
        at += taken


def _merged(works: Sequence[Workload]) -> Workload:
    tensors: list[Tensor] = []
    at = 0
    for work in works:
        tensors += [Tensor(t.name, t.bytes, t.producer + at if t.producer >= 0 else -1, tuple(c + at for c in t.consumers)) for t in work.tensors]
        at += len(work.ops)
    return Workload("steps", tuple(op for work in works for op in work.ops), tuple(tensors))


def _wires(design: DeploymentTerms, needs: Sequence[_Need]) -> np.ndarray:
    """(n, 2) seconds and J of the collectives of one pass, as `serving_step` bills them: two all-reduces a layer, one gather of logits, sends between stages."""
    out = np.zeros((len(needs), 2))
    groups: dict[tuple[str, str, int, int], list[int]] = {}
    for i, n in enumerate(needs):
        if n.shape.tensor * n.pipeline > 1:
            groups.setdefault((n.device, n.shape.model, n.shape.tensor, n.pipeline), []).append(i)
    for (key, name, tensor, pipeline), rows in groups.items():
        cluster = design.machine(key, 0.0, tensor * pipeline)
        assert isinstance(cluster, Cluster)
        model = transformer(name)
        size = np.array([BITS[_formats(needs[i].shape).activation_dtype] / 8 for i in rows])
        tokens = np.array([needs[i].shape.batch * needs[i].shape.new_tokens for i in rows], dtype=np.float64)
        logits = np.array([needs[i].shape.batch for i in rows], dtype=np.float64)
        bill: list[tuple[float, str, np.ndarray, int, int]] = []
        if tensor > 1:
            reduces = sum(b.count * (1 if model.norms == 1 else 2) for b in model.blocks)
            bill += [(reduces, "all_reduce", tokens * model.hidden * size, tensor, 1), (1, "all_gather", logits * model.vocab * size, tensor, 1)]
        if pipeline > 1:
            bill.append((pipeline - 1, "send", tokens * model.hidden * size, 2, tensor))
        for count, kind, payload, members, stride in bill:
            cost = collective(kind, payload, cluster.group(members, stride))
            out[rows, 0] += count * np.asarray(cost.time_s)
            out[rows, 1] += count * (0.0 if cost.energy_j is None else np.asarray(cost.energy_j, dtype=np.float64))
    return out


# -- schedules (the formulas of `serving._static`, `serving._continuous` and `serving_split`, on columns) ---------------------------------

def _together(design: DeploymentTerms, rows: Sequence[Deployment], read_t: np.ndarray, read_j: np.ndarray, step_t: np.ndarray, step_j: np.ndarray) -> tuple[dict[str, np.ndarray], list[str]]:
    prompt, output, steps = design.prompt_tokens, design.output_tokens, design.output_tokens - 1
    batch, stages = (np.array([getattr(d, f) for d in rows], dtype=np.float64) for f in ("batch", "pipeline"))
    static = np.array([d.schedule == "static" for d in rows])
    width = np.maximum(1.0, np.minimum(batch, PREFILL_TOKENS // prompt))
    batches = np.ceil(batch / width)
    full = batches * width / batch
    reading = read_t * (1.0 + (batches - 1.0) / stages) / np.where(stages == 1, full, 1.0)
    first = reading * (batches + 1.0) / (2.0 * batches)
    busy = np.minimum(stages, batch)
    waiting = (batch - 1.0) * read_t / stages
    span = np.where(static, reading + steps * step_t, read_t + waiting + steps * step_t)
    ttft = np.where(static, first, read_t + 0.5 * step_t * (batch > 1))
    tpot = np.where(static, (span - first) / max(steps, 1), step_t + waiting / max(steps, 1)) if steps else np.zeros(len(rows))
    energy = np.where(static, batches / full, batch) * read_j + steps * busy * step_j
    tokens = batch * output
    used, why = _memory(rows, prompt, output)
    return {"ttft_s": ttft, "tpot_s": tpot, "latency_s": ttft + tpot * steps, "throughput_tok_s": tokens / span, "power_w": energy / span, "memory_bytes": used,
            "energy_per_token_j": energy / tokens, "request_rate_per_s": tokens / span / output, "devices": np.array([float(d.tensor * d.pipeline) for d in rows])}, why


def _memory(rows: Sequence[Deployment], prompt: int, output: int) -> tuple[np.ndarray, list[str]]:
    """(n,) bytes on the fullest device, and what does not fit."""
    used, why = np.empty(len(rows)), []
    for i, d in enumerate(rows):
        step_tokens = min(PREFILL_TOKENS, prompt * d.batch) if prompt < PREFILL_TOKENS else prompt
        used[i] = need = _bytes(d, d.tensor, prompt + output, d.batch, step_tokens)
        why.append(_short(d.device, need, d.batch))
    return used, why


def _bytes(d: Deployment, tensor: int, tokens: int, sequences: int, step_tokens: int) -> float:
    """Bytes on the fullest device: weights, the cache of so many sequences of so many tokens, what flows."""
    weights, cache = _held(d.model, tensor, d.pipeline, d.dtype, d.weight_dtype, d.kv_dtype, tokens)
    return weights + sequences * cache + _flowing(d.model, tensor, d.dtype, d.weight_dtype, d.kv_dtype, step_tokens)


def _short(key: str, used: float, sequences: int) -> str:
    budget = device(key, 0.0).dram.capacity_bytes * MEMORY_SHARE
    return "" if used <= budget else f"memory overflows on {key}: {used / 1e9:,.2f} GB needed, {budget / 1e9:,.2f} GB to use: {(used - budget) / 1e9:,.2f} GB short for {sequences} in flight"


def _rig(model: Transformer, plan: ServingPlan) -> Rig:
    """Any machine will do where only bytes of the model are asked."""
    one = device("h100_sxm", 0.0)
    return Rig(model, one, Cluster.of(one, plan.devices, 1e9) if plan.devices > 1 else None, plan)


@lru_cache(maxsize=16384)
def _held(model: str, tensor: int, pipeline: int, dtype: str, weight_dtype: str, kv_dtype: str, tokens: int) -> tuple[float, float]:
    rig = _rig(transformer(model), plan_of(dtype, weight_dtype, kv_dtype, tensor, pipeline))
    return rig.weight_bytes, rig.kv_bytes(tokens)


@lru_cache(maxsize=16384)
def _flowing(model: str, tensor: int, dtype: str, weight_dtype: str, kv_dtype: str, step_tokens: int) -> float:
    plan = _formats(_Shape(model, tensor, dtype, weight_dtype, kv_dtype, 1, 1, 0))
    return _rig(transformer(model), plan).memory(1, 1, step_tokens).activations


def _apart(design: DeploymentTerms, rows: Sequence[Deployment], read_t: np.ndarray, read_j: np.ndarray, step_t: np.ndarray, step_j: np.ndarray) -> tuple[dict[str, np.ndarray], list[str]]:
    prompt, output, steps = design.prompt_tokens, design.output_tokens, design.output_tokens - 1
    batch, stages, readers, writers = (np.array([getattr(d, f) for d in rows], dtype=np.float64) for f in ("batch", "pipeline", "prompt_machines", "token_machines"))
    models = [transformer(d.model) for d in rows]
    transfer = np.array([m.kv_bytes(prompt, plan_of(d.dtype, d.weight_dtype, d.kv_dtype, 1).cache_dtype) for m, d in zip(models, rows, strict=True)]) / design.handover_bytes_per_s
    exposed = np.maximum(transfer - read_t, 0.0) + transfer / np.array([m.layers for m in models])
    can_read, can_write = readers * stages / read_t, writers * batch / (steps * step_t + exposed)
    rate = np.minimum(can_read, can_write)
    counts = [((d.prompt_tensor or d.tensor) * d.pipeline, d.tensor * d.pipeline) for d in rows]
    idle = np.array([(static_w(device(*d.reader)) * r, static_w(device(d.device, d.power_limit)) * w) for d, (r, w) in zip(rows, counts, strict=True)])

    def power(machines: np.ndarray, busy_w: np.ndarray, share: np.ndarray, waiting_w: np.ndarray) -> np.ndarray:
        return machines * (share * busy_w + (1.0 - share) * waiting_w)

    watts = (power(readers, read_j * stages / read_t, rate / can_read, idle[:, 0])
             + power(writers, step_j * np.minimum(stages, batch) / step_t, rate / can_write, idle[:, 1]))
    why = []
    for d in rows:
        said = _short(d.device, _bytes(d, d.tensor, prompt + output, d.batch, d.batch), d.batch)
        why.append(said or _short(d.reader[0], _bytes(d, d.prompt_tensor or d.tensor, prompt, 1, prompt), 1))
    return {"ttft_s": read_t, "tpot_s": step_t + exposed / steps, "latency_s": read_t + exposed + steps * step_t, "throughput_tok_s": rate * output, "power_w": watts,
            "energy_per_token_j": watts / (rate * output), "request_rate_per_s": rate,
            "devices": readers * np.array([r for r, _ in counts]) + writers * np.array([w for _, w in counts])}, why
