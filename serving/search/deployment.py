"""One deployment of a language model: which model, on what, how many, cut how, in which formats; and the terms that all deployments of a search share.

The fields of the document are described in `deployments`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from ...datasets.catalog import hardware as catalogue
from ...datasets.catalog.transformers import transformer
from ...datasets.cluster import Cluster
from ...datasets.dtypes import dtype_name
from ...datasets.errors import FormatError, InputError
from ...datasets.hardware import Hardware
from ...datasets.simulator.serving_plan import SCHEDULES, ServingPlan
from .document import keyed, number, shown, whole, words
from .space import Candidate, Space

#: field -> what it is when it is not given. `power_limit`: W per device, 0 as published; `split`: prompts on machines of their own (`prompt_*`: theirs, by default as
#: the others'), `prompt_machines` of them for `token_machines`
FIELDS: dict[str, Any] = {"model": "", "device": "", "tensor": 1, "pipeline": 1, "expert": 1, "batch": 1, "dtype": "bfloat16", "weight_dtype": "", "kv_dtype": "",
                          "schedule": "static", "chunk_tokens": 512, "power_limit": 0.0, "split": False, "prompt_device": "", "prompt_tensor": 0, "prompt_power_limit": 0.0,
                          "prompt_machines": 1, "token_machines": 1}


@dataclass(frozen=True)
class Deployment:
    """One candidate in full. Valid at birth but for what the machine says later (devices, heads that do not divide)."""

    model: str
    device: str
    tensor: int
    pipeline: int
    expert: int
    batch: int
    dtype: str
    weight_dtype: str
    kv_dtype: str
    schedule: str
    chunk_tokens: int
    power_limit: float
    split: bool
    prompt_device: str
    prompt_tensor: int
    prompt_power_limit: float
    prompt_machines: int
    token_machines: int

    @property
    def plan(self) -> ServingPlan:
        """Of the machines that decode (and read, when the phases share them)."""
        return plan_of(self.dtype, self.weight_dtype, self.kv_dtype, self.tensor, self.pipeline, self.expert, "static" if self.split else self.schedule, self.chunk_tokens)

    @property
    def prompt_plan(self) -> ServingPlan:
        """Of the machines that read prompts."""
        return plan_of(self.dtype, self.weight_dtype, self.kv_dtype, self.prompt_tensor or self.tensor, self.pipeline, self.expert, "static", self.chunk_tokens)

    @property
    def reader(self) -> tuple[str, float]:
        """(device, power limit) of the machines that read prompts."""
        return self.prompt_device or self.device, self.prompt_power_limit or self.power_limit

    @property
    def counts(self) -> dict[str, int]:
        """Device -> how many, of the whole deployment."""
        each = max(self.tensor, self.expert) * self.pipeline
        if not self.split:
            return {self.device: each}
        out = {self.device: self.token_machines * each}
        reader = self.prompt_device or self.device
        out[reader] = out.get(reader, 0) + self.prompt_machines * max(self.prompt_tensor or self.tensor, self.expert) * self.pipeline
        return out


@lru_cache(maxsize=4096)
def plan_of(dtype: str, weight_dtype: str, kv_dtype: str, tensor: int, pipeline: int = 1, expert: int = 1, schedule: str = "static", chunk: int = 512) -> ServingPlan:
    """The plan of these; each is made once."""
    return ServingPlan(dtype=dtype, weight_dtype=weight_dtype, kv_dtype=kv_dtype, tensor=tensor, pipeline=pipeline, expert=expert, schedule=schedule, chunk_tokens=chunk)


@lru_cache(maxsize=1024)
def device(key: str, power_limit_w: float) -> Hardware:
    """The catalogue's device at a power limit (0: as published)."""
    found = catalogue(key)
    return found.at(power_limit_w=power_limit_w) if power_limit_w else found


@dataclass(frozen=True)
class DeploymentTerms:
    """What all candidates of a search share: equal requests of so many tokens, prices, and links between devices."""

    prompt_tokens: int
    output_tokens: int
    fixed: tuple[tuple[str, Any], ...]
    prices: tuple[tuple[str, float], ...]
    links: tuple[tuple[str, float], ...]
    link_latency_s: float
    handover_bytes_per_s: float

    keys = ("prompt_tokens", "output_tokens", "fixed", "prices", "link_bandwidth_bytes_per_s", "link_latency_s", "handover_bandwidth_bytes_per_s")

    @classmethod
    def of(cls, given: Any, space: Space, where: str) -> Self:
        """From a `build: deployment:` part. Raises FormatError naming the field, UnknownNameError for a model or device that no catalogue knows."""
        row = keyed(given, where, cls.keys, ("prompt_tokens", "output_tokens"))
        fixed = keyed(row.get("fixed", {}), f"{where}.fixed", tuple(FIELDS))
        for dimension in space.dimensions:
            keyed({dimension.name: 0}, "vary", tuple(FIELDS))
            if dimension.name in fixed:
                raise FormatError(f"{where}.fixed.{dimension.name}: it varies already (vary.{dimension.name})")
            for level in dimension.levels or (dimension.at(0.0),):
                _checked(dimension.name, level, f"vary.{dimension.name}")
        for name, value in fixed.items():
            _checked(name, value, f"{where}.fixed.{name}")
        for name in ("model", "device"):
            if name not in fixed and name not in space.names:
                raise FormatError(f"{where}: missing {name}; let it vary, or give it under fixed")
        links = row.get("link_bandwidth_bytes_per_s", {})
        links = {"other": links} if not isinstance(links, Mapping) else links
        prices = keyed(row.get("prices", {}), f"{where}.prices", tuple(row.get("prices", {})))
        of_prices, of_links = [{catalogue(k).key if k != "other" else k: number(v, f"{where}.{part}.{k}") for k, v in table.items()} for part, table in
                      (("prices", prices), ("link_bandwidth_bytes_per_s", links))]
        for part, table in zip(("prices", "link_bandwidth_bytes_per_s"), (of_prices, of_links), strict=True):
            bad = next((k for k, v in table.items() if v <= 0), None)
            if bad is not None:
                raise FormatError(f"{where}.{part}.{bad}: expected a number above 0, got {table[bad]!r}")
        return cls(whole(row["prompt_tokens"], f"{where}.prompt_tokens"), whole(row["output_tokens"], f"{where}.output_tokens"), tuple(fixed.items()),
                   tuple(of_prices.items()), tuple(of_links.items()), number(row.get("link_latency_s", 0.0), f"{where}.link_latency_s"),
                   number(row.get("handover_bandwidth_bytes_per_s", 0.0), f"{where}.handover_bandwidth_bytes_per_s"))

    def deployment(self, candidate: Candidate) -> Deployment:
        """The candidate in full. Raises InputError for an impossible plan."""
        row = {**FIELDS, **dict(self.fixed), **candidate}
        out = Deployment(**row)
        if out.split and out.expert > 1:
            raise InputError("split phases with experts spread over more devices are not expressed")
        if out.split and not self.handover_bytes_per_s:
            raise InputError("split phases need handover_bandwidth_bytes_per_s: the link the cache goes over")
        return out

    def machine(self, key: str, power_limit_w: float, count: int) -> Hardware | Cluster:
        """A device, or so many of them joined. Raises InputError when no link is given."""
        one = device(key, power_limit_w)
        return one if count == 1 else _joined(one, count, self.link(key), self.link_latency_s)

    def linked(self, key: str) -> bool:
        """Whether a link is given between several of that device."""
        return any(name in ("other", device(key, 0.0).key) for name, _ in self.links)

    def link(self, key: str) -> float:
        """Bytes per second one device sends. Raises InputError when none is given for it."""
        links = dict(self.links)
        found = links.get(device(key, 0.0).key, links.get("other"))
        if found is None:
            raise InputError(f"no link is given between several {key}: give link_bandwidth_bytes_per_s: {{{key}: ...}}")
        return found


@lru_cache(maxsize=1024)
def _joined(one: Hardware, count: int, link: float, latency: float) -> Cluster:
    return Cluster.of(one, count, link, latency_s=latency)


def _checked(name: str, value: Any, where: str) -> None:
    """Raises FormatError for a value its field cannot have, UnknownNameError for a name nobody knows."""
    default = FIELDS[name]
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise FormatError(f"{where}: expected true or false, got {shown(value)}")
    elif isinstance(default, int):
        whole(value, where, 0 if name == "prompt_tensor" else 1)
    elif isinstance(default, float):
        if number(value, where) < 0:
            raise FormatError(f"{where}: expected W per device, 0 for as published, got {shown(value)}")
    elif name in ("device", "prompt_device"):
        if value == "" and name == "prompt_device":
            return  # the same as the others
        catalogue(words(value, where))
    elif name == "model":
        transformer(words(value, where))
    elif name == "schedule":
        if value not in SCHEDULES:
            raise FormatError(f"{where}: expected one of {', '.join(SCHEDULES)}, got {shown(value)}")
    elif value or name == "dtype":
        dtype_name(words(value, where))
