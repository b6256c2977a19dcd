"""What a served language model costs on a machine at the least, from the columns of a plain table that say how it is served.

A name (`language_models`), a machine, and what columns are usually called: tokens in and out, requests at once, devices, number format. From them, at the machine's published rates:

* `step`: one token for every request. Weights that are met are read once, keys and values of every request once, two operations per active parameter and request. Of a mixture of
  experts with even routing a batch of b meets 1 - (1 - active / all)^b of the parameters (each request picks its own; the parameters outside experts are taken as routed, too);
* `prefill`: two operations per active parameter and prompt token, and the weights once;
* `prefill_all`: that for all requests in one batch; `interleaved`: a step, and what of prompts falls to it when each request that ends makes room for another (requests x prefill / tokens out);
* `whole`: prompts of a batch, then a step for every token out.

A throughput is a count over such a time: requests, or tokens, of a batch over `whole`. Where nothing tells how many are served at once it is told of a full machine: as many as memory has room for.

Parallel devices share everything evenly (replicas of attention, too, though each reads its weights); communication is left out, and eight-bit integers are multiplied as float8 is. What a real system takes is learned as a ratio to these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.columns import DeviceColumns
from ..datasets.dtypes import DTYPE_CODES
from . import language_models
from .device import named_machine

#: what a column is called (its letters and digits, lower case) that says ..., the surest first: who says it better stands before; a name that says two things, as `in_out_len`, says both
_ROLES: Mapping[str, tuple[re.Pattern[str], ...]] = {
    "tokens_in": (re.compile(r"isl|(in|input|prompt|prefill)(len|length|tokens?|size|seqlen|sequencelength)|num(input|prompt)tokens|(in|input)(out|output)(len|length|tokens?)"), re.compile(r"seqlen|context(len|length|tokens?|size)")),
    "tokens_out": (re.compile(r"osl|(out|output|gen|generated?|decode|completion)(len|length|tokens?|size)|max(new)?tokens|numoutputtokens|(in|input)(out|output)(len|length|tokens?)"), re.compile(r"tokensize")),
    "requests": (re.compile(r"(max)?conc(urrency)?|concurrentrequests"), re.compile(r"bs|batch|batchsize"), re.compile(r"(num)?(users|streams|seqs)")),
    "all_devices": (re.compile(r"(num|n)(devices?|gpus?|accelerators?|cards?|chips?)|(devices?|gpus?)count|devices|gpus|worldsize"),),
    "tensor": (re.compile(r"tp|tpsize|tensorparallel(ism|size)?"),),
    "replicas": (re.compile(r"(attention)?dp(size)?|dataparallel(ism|size)?"),),
    "stages": (re.compile(r"pp|ppsize|pipelineparallel(ism|size)?"),),
    "format": (re.compile(r"(weight)?(precision|dtype|quant|quantization|quantisation|format)"),),
}
#: (bytes of a weight, bytes of what is multiplied) by what a column of number formats says, and by a model's name; in order, for "w4a16" names both. Formats of weights alone are multiplied in 16 bits
_FORMATS = ((re.compile(r"w4a8", re.IGNORECASE), (0.5, 1.0)), (re.compile(r"w8a16", re.IGNORECASE), (1.0, 2.0)), (re.compile(r"(nv|mx)?fp4|float4", re.IGNORECASE), (0.5, 1.0)), (re.compile(r"int4|w4|4bit", re.IGNORECASE), (0.5, 2.0)),
            (re.compile(r"fp8|float8|e4m3|int8|w8|8bit", re.IGNORECASE), (1.0, 1.0)), (re.compile(r"awq|gptq", re.IGNORECASE), (0.5, 2.0)), (re.compile(r"(bf|fp|float)16|half", re.IGNORECASE), (2.0, 2.0)), (re.compile(r"(fp|float)32", re.IGNORECASE), (4.0, 4.0)))
#: bytes of a number of the cache, and of a weight of which nothing is told
_CACHE_BYTES, _USUAL = 2.0, (2.0, 2.0)
#: share of the memory that weights and cache may fill (what vLLM takes unless told otherwise, `gpu_memory_utilization`)
_FILLED = 0.9
#: the estimates, in seconds
ESTIMATES = ("step", "prefill", "prefill_all", "interleaved", "whole")
#: the terms of one pass for all requests, and of the sums that a token, the first one and a whole answer are (`terms`)
_PASS = ("launched", "launched_split", "launched_requests", "weights", "cache", "products", "exchanged")
SUMS: Mapping[str, tuple[str, ...]] = {
    "token": (*_PASS, "prompts", "prompts_exchanged"),
    "first": ("launched", "launched_split", "launched_requests", "weights", "read", "prompt", "prompts", "queue", "exchanged", "prompts_exchanged", "seen", "prompts_seen"),
    "whole": (*_PASS, "prompts", "prompts_exchanged", "prompts_seen"),
}
#: what a throughput may count, its reciprocal being a sum of the terms of `whole`: requests, tokens out, tokens in and out; by all devices, or by each
COUNTED = tuple(f"{what}{by}" for what in ("request", "out", "all") for by in ("", "_device"))


def roles(frame: pd.DataFrame, model: str) -> dict[str, str]:
    """Role -> column that says it, `model` and `machine` among them (and `usual`: the format of most rows, empty where none is told); empty where no column names machines
    of the catalogue, or none says tokens or requests. Of several columns that say the same the surest is taken, whatever their order."""
    out: dict[str, str] = {"model": model}
    found: dict[str, tuple[int, str]] = {}
    for column in map(str, frame.columns):
        plain, number = re.sub(r"[^a-z0-9]", "", column.lower()), pd.api.types.is_numeric_dtype(frame[column])
        if column == model or "." in column:
            continue
        if not number and "machine" not in out and any(_rates(str(v))[0] > 0 for v in frame[column].astype(str).unique()[:100]):
            out["machine"] = column
        for role, calls in _ROLES.items():
            rank = next((i for i, called in enumerate(calls) if called.fullmatch(plain)), len(calls))
            if rank < found.get(role, (len(calls), ""))[0] and number == (role != "format"):
                found[role] = rank, column
    out |= {role: column for role, (_, column) in found.items()}
    return {**out, "usual": _usual(frame, out)} if "machine" in out and ("requests" in out or "tokens_in" in out) else {}


def estimates(frame: pd.DataFrame, said: Mapping[str, str], full: bool = False) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """((n,) seconds of each of `ESTIMATES`, NaN where model or machine is not known; what they are made of, as logarithms of ratios: columns that mean the same for every model and
    machine). `said`: as `roles` tells. A cache nobody knows counts as nothing; NaN, too, where requests or tokens are not told though they have a column. Without a column of requests there is one,
    or, of a machine that is `full`, as many as memory has room for (NaN where nobody knows the cache)."""
    c = _costs(frame, said, full)
    with np.errstate(divide="ignore", invalid="ignore"):
        told = {"cache_over_weights": c.cache / c.weights, "products_over_weights": c.products / c.weights, "read_over_prompt": c.read / c.prompt, "met": c.met,
                "prompts_over_step": c.batch * c.prompt / c.tokens_out / c.step}
        parts = pd.DataFrame({name: np.log(values) for name, values in told.items()}).replace([np.inf, -np.inf], np.nan)
        prompts = c.batch * c.prompt
        made = (c.step, c.prompt + c.read, prompts + c.read, c.step + prompts / c.tokens_out, prompts + c.read + c.tokens_out * c.step)
    return dict(zip(ESTIMATES, made, strict=True)), parts


def terms(frame: pd.DataFrame, said: Mapping[str, str], full: bool = False) -> dict[str, pd.DataFrame]:
    """What times of served models are sums of, each term times a weight that is to be learned: of a token ("token"), of the first one ("first") and of a whole answer ("whole"). (n, k) columns, positive
    or zero, NaN where `estimates` are; seconds at published rates, but for `launched` ones, which count the weight matrices that a pass goes through: small ones take the time of starting them.

    * `exchanged`: two sums over the tensor-parallel devices per layer (Shoeybi et al., Megatron-LM, 2019, section 3) of which a device sends 2 (t - 1) / t of the numbers (Patarasuk and Yuan, Bandwidth
      optimal all-reduce algorithms, 2009), at the rate of memory, for that of links is not known of every machine;
    * `seen`: the products of queries with keys, and of what follows with values, half of them as attention is causal;
    * `queue`: the time of a prompt behind others, where each of N requests that ends makes room for the next: a closed network of one server (a prompt takes p there) and of a stay elsewhere (Z, all steps of
      an answer), by mean-value analysis (Reiser and Lavenberg, JACM 27, 1980) in Schweitzer's approximation (1979): R = p (1 + (N - 1) R / (R + Z)), a quadratic equation in R.
    """
    c = _costs(frame, said, full)
    n, out, t = c.batch, c.tokens_out, c.tensor
    matrices, width, heads = _each(frame[said["model"]], language_models.shape, len(language_models.SHAPE)).T
    with np.errstate(divide="ignore", invalid="ignore"):
        exchanged = 4.0 * width * _CACHE_BYTES * (t - 1.0) / t / c.rate
        seen = 2.0 * c.tokens_in**2 * heads / c.half
        stay = out * c.step
        queue = (n * c.prompt - stay + np.sqrt((n * c.prompt - stay) ** 2 + 4.0 * c.prompt * stay)) / 2.0
        once = {"launched": matrices, "launched_split": matrices * np.log2(t), "launched_requests": n * matrices, "weights": c.weights, "cache": np.nan_to_num(c.cache), "products": c.products,
                "exchanged": n * exchanged}
        all_prompts = {"prompts": n * c.prompt, "prompts_exchanged": n * c.tokens_in * exchanged, "prompts_seen": n * seen}
        made = {"token": once | {name: v / out for name, v in all_prompts.items()}, "first": once | all_prompts | {"read": c.read, "prompt": c.prompt, "queue": queue, "exchanged": c.tokens_in * exchanged, "seen": seen},
                "whole": {name: out * v for name, v in once.items()} | all_prompts}
    return {name: pd.DataFrame({term: made[name][term] for term in names}) for name, names in SUMS.items()}


def counted(frame: pd.DataFrame, said: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """What reciprocals of throughputs are sums of (`COUNTED`), as `terms` tells of times: those of a whole answer over what a batch of them counts. Without a column of requests, of full machines. And
    "token": what one request sees, tokens per second and user."""
    c, of = _costs(frame, said, True), terms(frame, said, True)
    what = {"request": c.batch, "out": c.batch * c.tokens_out, "all": c.batch * (c.tokens_in + c.tokens_out)}
    return {"token": of["token"]} | {f"{name}{by}": of["whole"].mul(each / count, axis=0) for name, count in what.items() for by, each in (("", np.ones(len(frame))), ("_device", c.devices))}


@dataclass(frozen=True)
class _Costs:
    """(n,) each: what a row says, rates in bytes and operations per second of one device or of all, seconds at these rates."""

    batch: np.ndarray
    tokens_in: np.ndarray
    tokens_out: np.ndarray
    tensor: np.ndarray
    devices: np.ndarray
    #: bytes per second of one device, float16 operations per second of all
    rate: np.ndarray
    half: np.ndarray
    #: of one step: weights that are met, keys and values, products; share of the weights met
    weights: np.ndarray
    cache: np.ndarray
    products: np.ndarray
    met: np.ndarray
    step: np.ndarray
    #: of one prompt, and of reading all weights
    prompt: np.ndarray
    read: np.ndarray


def _costs(frame: pd.DataFrame, said: Mapping[str, str], full: bool = False) -> _Costs:
    def numbers(role: str, unsaid: float = np.nan) -> np.ndarray:
        if role not in said:
            return np.ones(len(frame))
        given = frame[said[role]].to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(given) & (given > 0), given, unsaid)

    models = _each(frame[said["model"]], lambda w: language_models.figures(w)[:3], 3)
    rates = _each(frame[said["machine"]], _rates, 4)
    size, width = _formats(frame, said).T
    params, active, cache = models.T
    batch, tokens_in, tokens_out = numbers("requests"), numbers("tokens_in"), numbers("tokens_out")
    tensor = numbers("tensor", 1.0)
    devices = numbers("all_devices", 1.0) if "all_devices" in said else tensor * numbers("replicas", 1.0) * numbers("stages", 1.0)
    memory, compute = devices * rates[:, 0], devices * np.where(width <= 1.0, rates[:, 2], rates[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        if full and "requests" not in said:
            batch = np.maximum((_FILLED * devices * rates[:, 3] - params * size) / ((tokens_in + tokens_out / 2.0) * cache * _CACHE_BYTES), 1.0)
        active = np.where(np.isfinite(active), np.minimum(active, params), params)
        met = np.where(active < params, -np.expm1(batch * np.log1p(-active / params)), 1.0)
        weights, held = met * params * size / memory, batch * (tokens_in + tokens_out / 2.0) * cache * _CACHE_BYTES / memory
        products = 2.0 * active * batch / compute
        return _Costs(batch=batch, tokens_in=tokens_in, tokens_out=tokens_out, tensor=tensor if "tensor" in said else devices, devices=devices, rate=rates[:, 0], half=devices * rates[:, 1], weights=weights, cache=held,
                      products=products, met=met, step=weights + np.nan_to_num(held) + products, prompt=2.0 * active * tokens_in / compute, read=params * size / memory)


def _each(words: pd.Series, figures: Callable[[str], Any], width: int) -> np.ndarray:
    """(n, width) figures of words, each word looked up once."""
    places, names = pd.factorize(words.astype(object).map(str))
    return np.array([figures(str(w)) for w in names], dtype=np.float64).reshape(len(names), width)[places]


def _formats(frame: pd.DataFrame, said: Mapping[str, str]) -> np.ndarray:
    """(n, 2) bytes of a weight and of what is multiplied: by the column of formats, else by the model's own name, else as in most rows of the column."""
    nothing = np.full((len(frame), 2), np.nan)
    told = _each(frame[said["format"]], _format_of, 2) if "format" in said else nothing
    named, usual = _each(frame[said["model"]], _format_of, 2), _format_of(said["usual"])
    found = np.where(np.isfinite(told), told, named)
    return np.where(np.isfinite(found), found, usual if np.isfinite(usual[0]) else _USUAL)


def _usual(frame: pd.DataFrame, said: Mapping[str, str]) -> str:
    """The format of most rows whose format is told; empty where none is."""
    told = frame[said["format"]].astype(object).map(str) if "format" in said else pd.Series(dtype=object)
    told = told[[np.isfinite(_format_of(word)[0]) for word in told]]
    return str(told.value_counts().index[0]) if len(told) else ""


@lru_cache(maxsize=4096)
def _format_of(word: str) -> tuple[float, float]:
    return next((sizes for called, sizes in _FORMATS if called.search(word)), (np.nan, np.nan))


@lru_cache(maxsize=4096)
def _rates(name: str) -> tuple[float, float, float, float]:
    """(bytes per second of memory, operations per second in float16 and in float8, float16 where it has none, bytes of memory) of a machine of the catalogue; NaN of another word."""
    machine = named_machine(name)
    if machine is None:
        return float("nan"), float("nan"), float("nan"), float("nan")
    device = DeviceColumns.from_devices([machine])
    half, quarter = (float(device.matrix_rate[0, DTYPE_CODES[f]]) for f in ("float16", "float8"))
    return float(device.dram_bandwidth[0]), half, quarter if np.isfinite(quarter) and quarter > half else half, float(device.dram_bytes[0])
