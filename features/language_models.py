"""Names of models in a plain table -> what the named models are: of language models parameters, those a token meets, the cache a token leaves, layers and width; of networks for images parameters and
the multiply-adds of an image (`datasets/catalog/image_networks`).

A name says nothing about a model never measured; its figures do. Those the catalogue knows (`datasets/catalog/transformers`, each with its published source) bring
all of them, in whatever way the name is decorated (owner, `-Instruct`, number format); of others only what the name itself tells is known: "235B-A22B" has 235e9
parameters of which a token meets 22e9, "8x7B" eight experts of 7e9. Where a column names the machine, what a token costs there stands beside them: reading the parameters it meets,
and two operations for each of them, at the machine's published rates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.catalog.drawn import LAWFUL
from ..datasets.catalog.image_networks import image_network
from ..datasets.catalog.transformers import keys, transformer
from ..datasets.columns import DeviceColumns
from ..datasets.dtypes import DTYPE_CODES
from ..datasets.transformer import Transformer
from .device import named_machine

#: what is told of a model, per column of names: all as plain numbers. `active_params`: multiply-adds of a token, of a network for images those of an image
FIGURES = ("params", "active_params", "cache_numbers", "layers", "hidden")
_ACTIVE = FIGURES.index("active_params")
#: what a name may end with and still be the same network: training beyond the base, formats, packaging
_ENDINGS = re.compile(r"[-_.](hf|instruct|chat|base|it|fp8|fp4|nvfp4|mxfp4|fp16|bf16|int8|int4|awq|gptq|gguf|w4a16|w8a8|dynamic|v\d+(\.\d+)*|\d{4})$", re.IGNORECASE)
#: "70b", "8x7B", "350M" in a name, and "-A22B" behind it
_COUNT = re.compile(r"(?<![A-Za-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bBmM])(?![a-zA-Z])(?:-[aA](\d+(?:\.\d+)?)[bB])?")
#: what is nothing but a number, in other units
_ALONE, _UNITS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKgGtT])\s*"), {"k": 1e3, "g": 1e9, "t": 1e12}
#: share of a column's values that must be known
_LEAST_KNOWN = 0.5
#: of a model on a machine, per token, at two bytes a number and the rate of float16
COSTS = ("read_s", "compute_s")
_BYTES = 2.0


def named(frame: pd.DataFrame) -> tuple[str, ...]:
    """The text columns of a table that hold names of models: at least half of their values tell their parameters, and the catalogue knows two of them (one, if there is no other); or
    columns of several values that are all nothing but such a number ("7b", "760m")."""
    out = []
    for column in map(str, frame.columns):
        if pd.api.types.is_numeric_dtype(frame[column]):
            continue
        values = frame[column].astype(str).unique()
        known = sum(find(v) is not None or image_network(v) is not None for v in values[:1000])
        counted = sum(bool(np.isfinite(told(v)[_ACTIVE])) for v in values[:1000])
        sizes = len(values) > 1 and all(_COUNT.fullmatch(v.strip()) or _ALONE.fullmatch(v) for v in values) and any(_COUNT.fullmatch(v.strip()) for v in values)
        if sizes or (known >= min(2, len(values)) and counted >= _LEAST_KNOWN * min(len(values), 1000)):
            out.append(column)
    return tuple(out)


def widened(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """`frame` with `FIGURES` of each of the columns, named `column.figure`, and `COSTS` on the machine that another column names; NaN where nobody knows. A column that is NaN
    throughout stays: a model is asked with the columns it was learned with. Columns of an earlier widening are made anew."""
    rates = _rates(frame, columns) if columns else None
    parts: dict[str, np.ndarray] = {}
    for column in columns:
        words, inverse = np.unique(frame[column].astype(str).to_numpy(dtype=str), return_inverse=True)
        each = np.array([told(str(w)) for w in words]).reshape(len(words), len(FIGURES))[inverse]
        parts |= {f"{column}.{name}": each[:, j] for j, name in enumerate(FIGURES)}
        image = np.array([_of_images(str(w)) for w in words])[inverse]
        read = np.where(image, each[:, FIGURES.index("params")], each[:, _ACTIVE])
        for name, amount, rate in zip(COSTS, (_BYTES * read, 2.0 * each[:, _ACTIVE]), rates if rates is not None else [np.full(len(frame), np.nan)] * 2, strict=True):
            parts[f"{column}.{name}"] = amount / rate
    return pd.concat([frame.drop(columns=[c for c in parts if c in frame.columns]).reset_index(drop=True), pd.DataFrame(parts)], axis=1) if parts else frame


def _rates(frame: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """((n,) bytes per second, (n,) operations per second) of the machines that the first column of known machines names."""
    for column in map(str, frame.columns):
        if column in names or pd.api.types.is_numeric_dtype(frame[column]):
            continue
        words, inverse = np.unique(frame[column].astype(str).to_numpy(dtype=str), return_inverse=True)
        found = np.array([_machine(str(w)) for w in words]).reshape(len(words), 2)
        if np.isfinite(found).all(1).any():
            return found[inverse, 0], found[inverse, 1]
    return None


@lru_cache(maxsize=4096)
def _machine(name: str) -> tuple[float, float]:
    """(bytes per second of memory, operations per second in float16) of a machine of the catalogue, NaN of another word."""
    machine = named_machine(name)
    if machine is None:
        return float("nan"), float("nan")
    device = DeviceColumns.from_devices([machine])
    return float(device.dram_bandwidth[0]), float(device.matrix_rate[0, DTYPE_CODES["float16"]])


@lru_cache(maxsize=4096)
def told(name: str) -> tuple[float, ...]:
    """(len(FIGURES),) of a model by name: of a language model its `figures`, of a network for images parameters and the multiply-adds of an image; NaN where nobody knows."""
    network = image_network(name) if _of_images(name) else None
    if network is None:
        return figures(name)
    return float("nan") if network.params is None else network.params, network.macs, *(float("nan"),) * (len(FIGURES) - 2)


def of_images(names: pd.Series[Any]) -> bool:
    """Whether most of the different names are networks for images."""
    values = names.astype(str).unique()[:1000]
    return bool(np.mean([_of_images(v) for v in values]) > 0.5) if len(values) else False


def _of_images(name: str) -> bool:
    """Whether a name stands for a network for images."""
    return find(name) is None and image_network(name) is not None


@lru_cache(maxsize=4096)
def figures(name: str) -> tuple[float, ...]:
    """(len(FIGURES),) of a language model by name; `cache_numbers`: numbers of keys and values that a token adds to the cache."""
    model = find(name)
    if model is not None:
        cache = model.kv_rank + model.rope_dim if model.kv_rank else 2 * model.kv_heads * model.head_dim
        return float(model.params), float(model.active_params), float(model.layers * cache), float(model.layers), float(model.hidden)
    counted, alone = _COUNT.search(name), _ALONE.fullmatch(name)
    if alone:  # a size like the others of its column, if not one of parameters
        return (size := float(alone[1]) * _UNITS[alone[2].lower()]), size, *(float("nan"),) * (len(FIGURES) - 2)
    if counted is None:
        return (float("nan"),) * len(FIGURES)
    experts, number, unit, active = counted.groups()
    params = float(experts or 1) * float(number) * (1e9 if unit in "bB" else 1e6)
    return params, float(active) * 1e9 if active else float("nan") if experts else params, float("nan"), float("nan"), float("nan")


#: what is told of how a model is built, summed over its layers
SHAPE = ("matrices", "width", "seen")


@lru_cache(maxsize=4096)
def shape(name: str) -> tuple[float, ...]:
    """(len(SHAPE),) of a model by name: weight matrices that a token passes (query, key, value and output, or those of latent attention; two or three of a feed-forward; with experts a router, one
    expert and the shared ones), the widths of layers, and the widths of heads in layers that see the whole context. Of a model that the catalogue has not, what its models of as many parameters
    have, all and active ones (a power law of both, least squares of logarithms). NaN where the parameters are not known."""
    model = find(name)
    if model is not None:
        return _shape(model)
    params, active = figures(name)[:2]
    return tuple(float(v) for v in np.exp(np.array([1.0, np.log(params), np.log(active if np.isfinite(active) else params)]) @ _laws()))


def _shape(model: Transformer) -> tuple[float, ...]:
    """`shape` of a model of the catalogue."""
    attention = (5 if model.q_rank else 4) if model.latent else 4
    ffn = 3 if model.gated else 2
    each = {"dense": ffn, "moe": 1 + ffn + (ffn if model.shared_experts else 0)}
    heads = model.heads * (model.nope_dim + model.rope_dim + model.v_dim) / 2.0 if model.latent else float(model.heads * model.head_dim)
    return float(sum(b.count * (attention + each[b.kind]) for b in model.blocks)), float(model.layers * model.hidden), heads * sum(b.count for b in model.blocks if not b.window)


@lru_cache(maxsize=1)
def _laws() -> np.ndarray:
    """(3, len(SHAPE)) of the laws that models of the catalogue follow (`LAWFUL`: adding a model to the catalogue changes no forecast about others)."""
    models = [transformer(key) for key in LAWFUL]
    told = np.log([[m.params, m.active_params] for m in models])
    return np.linalg.lstsq(np.column_stack([np.ones(len(models)), told]), np.log(np.maximum([_shape(m) for m in models], 1.0)), rcond=None)[0]


@lru_cache(maxsize=4096)
def find(name: str) -> Transformer | None:
    """The catalogue's model that a name stands for, None where it has none: as it is written, without its owner, without what it ends with."""
    text = name.strip()
    while text:
        for written in (text, text.rpartition("/")[2]):
            key = _known().get(_plain(written))
            if key is not None:
                return transformer(key)
        shorter = _ENDINGS.sub("", text)
        if shorter == text:
            return None
        text = shorter
    return None


@lru_cache(maxsize=1)
def _known() -> dict[str, str]:
    """Keys, names and aliases as `_plain` writes them, with and without owners and endings -> key."""
    out: dict[str, str] = {}
    for key in keys():
        model = transformer(key)
        for name in (key, model.name, *model.aliases):
            for written in (name, name.rpartition("/")[2]):
                out.setdefault(_plain(written), key)
                out.setdefault(_plain(_ENDINGS.sub("", written)), key)
    return out


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]", "", name.casefold().removeprefix("meta-"))
