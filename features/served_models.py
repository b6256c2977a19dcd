"""What a served language model costs on a machine at the least, from the columns of a plain table that say how it is served.

A name (`language_models`), a machine, and what columns are usually called: tokens in and out, requests at once, devices, number format. From them, at the machine's published rates:

* `step`: one token for every request. Weights that are met are read once, keys and values of every request once, two operations per active parameter and request. Of a mixture of
  experts with even routing a batch of b meets 1 - (1 - active / all)^b of the parameters (each request picks its own; the parameters outside experts are taken as routed, too);
* `prefill`: two operations per active parameter and prompt token, and the weights once;
* `prefill_all`: that for all requests in one batch; `interleaved`: a step, and what of prompts falls to it when each request that ends makes room for another (requests x prefill / tokens out);
* `whole`: prompts of a batch, then a step for every token out.

Parallel devices share everything evenly; communication is left out. What a real system takes is learned as a ratio to these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.columns import DeviceColumns
from ..datasets.dtypes import DTYPE_CODES
from . import language_models
from .device import named_machine

#: what a column is called (its letters and digits, lower case) that says ...; a name that says two things, as `in_out_len`, says both
_ROLES: Mapping[str, re.Pattern[str]] = {
    "tokens_in": re.compile(r"isl|(in|input|prompt|context|prefill)(out)?(put)?(len|length|tokens?|size|seqlen|sequencelength)|(num)?(input|prompt)tokens|seqlen|inoutlen"),
    "tokens_out": re.compile(r"osl|(out|output|gen|generated?|decode|new|token|completion)(len|length|tokens?|size)|max(new)?tokens|(num)?outputtokens|(in|input)(out|output)(len|length|tokens?)"),
    "requests": re.compile(r"bs|batch|batchsize|(max)?concurrency|concurrentrequests|(num)?(requests|users|streams|seqs|prompts)"),
    "devices": re.compile(r"tp|tpsize|tensorparallel(ism|size)?|(num|n)(devices?|gpus?|accelerators?|cards?|chips?)|(devices?|gpus?)(count)?|worldsize"),
    "replicas": re.compile(r"(attention)?dp(size)?|dataparallel(ism|size)?"),
    "stages": re.compile(r"pp|ppsize|pipelineparallel(ism|size)?"),
    "format": re.compile(r"(weight)?(precision|dtype|quant|quantization|quantisation|format)"),
}
#: bytes of a weight, by what a number format is called; in order, for "w4a16" names both
_BYTES = ((re.compile(r"fp4|float4|int4|w4|awq|gptq|4bit", re.IGNORECASE), 0.5), (re.compile(r"fp8|float8|e4m3|int8|w8|8bit", re.IGNORECASE), 1.0), (re.compile(r"16|half", re.IGNORECASE), 2.0), (re.compile(r"32|float$", re.IGNORECASE), 4.0))
#: bytes of a number of the cache, and of a weight of which nothing is told
_CACHE_BYTES, _USUAL_BYTES = 2.0, 2.0
#: the estimates, in seconds
ESTIMATES = ("step", "prefill", "prefill_all", "interleaved", "whole")


def roles(frame: pd.DataFrame, model: str) -> dict[str, str]:
    """Role -> column that says it, `model` and `machine` among them (and `usual_bytes`: of a weight in most rows); empty where no column names machines of the catalogue, or none says tokens or requests."""
    out = {"model": model}
    for column in map(str, frame.columns):
        plain, number = re.sub(r"[^a-z0-9]", "", column.lower()), pd.api.types.is_numeric_dtype(frame[column])
        if column == model or "." in column:
            continue
        if not number and "machine" not in out and any(_rates(str(v))[0] > 0 for v in frame[column].astype(str).unique()[:100]):
            out["machine"] = column
        for role, called in _ROLES.items():
            if role not in out and called.fullmatch(plain) and number == (role != "format"):
                out[role] = column
    return {**out, "usual_bytes": repr(_usual_bytes(frame, out))} if "machine" in out and ("requests" in out or "tokens_in" in out) else {}


def estimates(frame: pd.DataFrame, said: Mapping[str, str]) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """((n,) seconds of each of `ESTIMATES`, NaN where model or machine is not known; what they are made of, as logarithms of ratios: columns that mean the same for every model and
    machine). `said`: as `roles` tells. A cache nobody knows counts as nothing."""
    def numbers(role: str, usual: float) -> np.ndarray:
        if role not in said:
            return np.full(len(frame), usual)
        given = frame[said[role]].to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(given) & (given > 0), given, usual)

    models = _each(frame[said["model"]], lambda w: language_models.figures(w)[:3], 3)
    rates = _each(frame[said["machine"]], _rates, 3)
    size = _weight_bytes(frame, said)
    params, active, cache = models.T
    batch, tokens_in, tokens_out = numbers("requests", 1.0), numbers("tokens_in", 1.0), numbers("tokens_out", 1.0)
    devices = numbers("devices", 1.0) * numbers("replicas", 1.0) * numbers("stages", 1.0)
    memory, compute = devices * rates[:, 0], devices * np.where(size <= 1.0, rates[:, 2], rates[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        active = np.where(np.isfinite(active), np.minimum(active, params), params)
        met = np.where(active < params, -np.expm1(batch * np.log1p(-active / params)), 1.0)
        weights, held = met * params * size / memory, batch * (tokens_in + tokens_out / 2.0) * cache * _CACHE_BYTES / memory
        products, read = 2.0 * active * batch / compute, params * size / memory
        prompt = 2.0 * active * tokens_in / compute
        step = weights + np.nan_to_num(held) + products
        made = (step, prompt + read, batch * prompt + read, step + batch * prompt / tokens_out, batch * prompt + read + tokens_out * step)
        told = {"cache_over_weights": held / weights, "products_over_weights": products / weights, "read_over_prompt": read / prompt, "met": met, "prompts_over_step": batch * prompt / tokens_out / step}
        parts = pd.DataFrame({name: np.log(values) for name, values in told.items()}).replace([np.inf, -np.inf], np.nan)
    return dict(zip(ESTIMATES, made, strict=True)), parts


def _each(words: pd.Series, figures: Callable[[str], Any], width: int) -> np.ndarray:
    """(n, width) figures of words, each word looked up once."""
    places, names = pd.factorize(words.astype(object).map(str))
    return np.array([figures(str(w)) for w in names], dtype=np.float64).reshape(len(names), width)[places]


def _weight_bytes(frame: pd.DataFrame, said: Mapping[str, str]) -> np.ndarray:
    """(n,) bytes of a weight: by the column of formats, else by the model's own name, else as most rows of the column."""
    told = _each(frame[said["format"]], _bytes_of, 1)[:, 0] if "format" in said else np.full(len(frame), np.nan)
    named = _each(frame[said["model"]], _bytes_of, 1)[:, 0]
    return np.where(np.isfinite(told), told, np.where(np.isfinite(named), named, float(said["usual_bytes"])))


def _usual_bytes(frame: pd.DataFrame, said: Mapping[str, str]) -> float:
    """Bytes of a weight in most rows whose format is told; two where none is."""
    told = _each(frame[said["format"]], _bytes_of, 1)[:, 0] if "format" in said else np.zeros(0)
    values, counts = np.unique(told[np.isfinite(told)], return_counts=True)
    return float(values[counts.argmax()]) if len(values) else _USUAL_BYTES


@lru_cache(maxsize=4096)
def _bytes_of(word: str) -> float:
    return next((size for called, size in _BYTES if called.search(word)), float("nan"))


@lru_cache(maxsize=4096)
def _rates(name: str) -> tuple[float, float, float]:
    """(bytes per second of memory, operations per second in float16 and in float8, float16 where it has none) of a machine of the catalogue; NaN of another word."""
    machine = named_machine(name)
    if machine is None:
        return float("nan"), float("nan"), float("nan")
    device = DeviceColumns.from_devices([machine])
    half, quarter = (float(device.matrix_rate[0, DTYPE_CODES[f]]) for f in ("float16", "float8"))
    return float(device.dram_bandwidth[0]), half, quarter if np.isfinite(quarter) and quarter > half else half
