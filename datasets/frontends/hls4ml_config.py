"""What an hls4ml configuration (YAML) says of each layer, and a network with such settings as a workload and its `FpgaPlan` (read from files: `hls4ml`).

    project = read_hls4ml("hls4ml_config.yml")        # names the JSON beside it under KerasJson
    design(project.workload, hardware, project.plan())

    KerasJson: model.json
    ClockPeriod: 5                                    # ns
    IOType: io_parallel
    HLSConfig:
      Model: {Precision: "ap_fixed<16,6>", ReuseFactor: 1, Strategy: Latency}
      LayerType: {Dense: {ReuseFactor: 4}}
      LayerName: {fc1: {Precision: {weight: "ap_fixed<8,3>", accum: "ap_fixed<20,8>"}, ReuseFactor: 8, Strategy: Resource}}

What a layer's own entry does not say, its QKeras quantiser says (weights and activations), then the entry of its type, then the model's; where nobody
does, hls4ml's default holds: ap_fixed<16,6>, reuse 1, latency, io_parallel (hls4ml documentation, "Configuration"). Sums that nobody gives a width are
kept exactly, as its "auto" does. Operators compute in the narrowest whole-number format that holds the bits; the bits themselves are in the plan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import FormatError, UnknownNameError
from ..ops import shown
from ..workload import Workload

if TYPE_CHECKING:
    from ..simulator.fpga import FpgaPlan

#: widest number of bits a format may have
MOST_BITS = 64
STRATEGIES = {"latency": "latency", "resource": "resource"}
IO = {"io_parallel": "parallel", "io_stream": "stream"}
DEFAULT_BITS = 16
_FIXED = re.compile(r"\s*(?:ac_|ap_)?(u?fixed|u?int)\s*<\s*(\d{1,4})\s*(?:,\s*-?\d{1,4}\s*)?(?:,\s*\w+\s*){0,3}>\s*")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is said about a layer; None where nothing is. Bits of weights, result and sums; multiplications per multiplier; hls4ml's strategy.

    Raises FormatError for a value that is impossible.
    """

    weight_bits: int | None = None
    result_bits: int | None = None
    sum_bits: int | None = None
    reuse: int | None = None
    strategy: str | None = None

    def __post_init__(self) -> None:
        for name, most in (("weight_bits", MOST_BITS), ("result_bits", MOST_BITS), ("sum_bits", 2 * MOST_BITS), ("reuse", 2**62)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most):
                raise FormatError(f"{name}: expected a whole number from 1 to {most if most < 2**62 else '2**62'}, got {shown(value)}")

    def over(self, other: Setting) -> Setting:
        """This setting, and the other's where it says nothing."""
        return Setting(*(getattr(self, n) if getattr(self, n) is not None else getattr(other, n) for n in self.__slots__))


@dataclass(frozen=True)
class LayerPlan:
    """One layer as it will be built: its operators (places in the workload), bits of weights, incoming data and sums, reuse and strategy."""

    name: str
    ops: tuple[int, ...]
    weight_bits: int
    data_bits: int
    sum_bits: int
    reuse: int
    strategy: str


@dataclass(frozen=True)
class Hls4mlConfig:
    """Settings by layer name, layer type and for the model, and those of the whole design: io, clock (Hz; None: the machine's) and part."""

    model: Setting = Setting()
    types: Mapping[str, Setting] = field(default_factory=dict)
    names: Mapping[str, Setting] = field(default_factory=dict)
    io: str = "parallel"
    clock_hz: float | None = None
    part: str = ""

    def of(self, name: str, kind: str, quantiser: Setting = Setting()) -> Setting:
        """The setting of layer `name` of Keras class `kind`; a `Q` before it names the same type."""
        found = self.names.get(name, Setting()).over(quantiser).over(self.types.get(kind, self.types.get(kind.removeprefix("Q"), Setting())))
        return found.over(self.model).over(Setting(DEFAULT_BITS, DEFAULT_BITS, None, 1, "latency"))


@dataclass(frozen=True)
class Hls4mlProject:
    """A workload, the settings of its layers in order, and the configuration they came from."""

    workload: Workload
    layers: tuple[LayerPlan, ...]
    config: Hls4mlConfig

    def plan(self) -> FpgaPlan:
        """The design these settings describe, one value per kernel (an op with what is fused into it); one strategy where the layers that share
        multipliers agree."""
        from ..simulator.fpga import FpgaPlan
        from ..simulator.kernels import fuse

        matrix = [layer for layer in self.layers if any(self.workload.ops[i].params for i in layer.ops)] or list(self.layers)
        strategies = sorted({layer.strategy for layer in matrix if layer.reuse > 1} or {matrix[0].strategy})
        owner = {op: layer for layer in self.layers for op in layer.ops}
        kernel_of = fuse(self.workload).kernel_of
        firsts: dict[int, LayerPlan] = {}
        for op, kernel in enumerate(kernel_of):
            firsts.setdefault(int(kernel), owner[op])
        rows = [firsts[k] for k in sorted(firsts)]
        return FpgaPlan(reuse=tuple(r.reuse for r in rows), strategy=strategies[0] if len(strategies) == 1 else tuple(r.strategy for r in rows), io=self.config.io, weight_bits=tuple(r.weight_bits for r in rows),
                        data_bits=tuple(r.data_bits for r in rows), sum_bits=tuple(r.sum_bits for r in rows), clock_hz=self.config.clock_hz)


def bits_of(precision: Any, where: str) -> int | None:
    """Bits of `ap_fixed<16,6>`, `ap_int<8>`, `fixed<8,2>`, `ufixed<...>`; None for "auto". Raises FormatError naming `where`."""
    if precision == "auto":
        return None
    match = _FIXED.fullmatch(precision) if isinstance(precision, str) and len(precision) < 100 else None
    if match is None or not 1 <= int(match[2]) <= MOST_BITS:
        raise FormatError(f"{where}: expected a precision such as ap_fixed<16,6> of 1 to {MOST_BITS} bits, or auto; got {shown(precision)}")
    return int(match[2])


def _setting(entry: Any, where: str) -> Setting:
    if not isinstance(entry, Mapping):
        raise FormatError(f"{where}: expected a mapping with Precision, ReuseFactor, Strategy, got {shown(entry)}")
    precision, strategy = entry.get("Precision", {}), entry.get("Strategy")
    if isinstance(precision, Mapping):
        general = precision.get("default", "auto")
        weight, result, sums = (bits_of(precision.get(n, general if n != "accum" else "auto"), f"{where}, Precision.{n}") for n in ("weight", "result", "accum"))
    else:
        weight = result = sums = bits_of(precision, f"{where}, Precision")
    if strategy is not None and str(strategy).lower() not in STRATEGIES:
        raise UnknownNameError("hls4ml strategy", shown(strategy), [s.capitalize() for s in STRATEGIES], f"in {where}")
    try:
        return Setting(weight, result, sums, entry.get("ReuseFactor"), STRATEGIES[str(strategy).lower()] if strategy is not None else None)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from None


def parse_config(document: Any, where: str) -> Hls4mlConfig:
    """The configuration of a document (the whole YAML, or what is under its HLSConfig). Raises FormatError naming `where` and the field,
    UnknownNameError for a strategy or io nobody knows."""
    if not isinstance(document, Mapping):
        raise FormatError(f"{where}: expected a mapping with HLSConfig, got {shown(document)}")
    hls = document.get("HLSConfig", document)
    parts: dict[str, Mapping[Any, Any]] = {}
    for part in ("Model", "LayerType", "LayerName"):
        given = hls.get(part) or {} if isinstance(hls, Mapping) else None
        if not isinstance(given, Mapping):
            raise FormatError(f"{where}: HLSConfig.{part}: expected a mapping, got {shown(given)}")
        parts[part] = given
    io, period = document.get("IOType", "io_parallel"), document.get("ClockPeriod")
    if not isinstance(io, str) or io not in IO:
        raise UnknownNameError("IOType", shown(io), IO, f"in {where}")
    if period is not None and not (isinstance(period, int | float) and not isinstance(period, bool) and 0.01 <= period <= 1e6):
        raise FormatError(f"{where}: ClockPeriod: expected nanoseconds from 0.01 to a million, got {shown(period)}")
    kinds, names = ({str(k): _setting(v, f"{where}, {part}.{str(k)[:40]}") for k, v in parts[part].items()} for part in ("LayerType", "LayerName"))
    return Hls4mlConfig(_setting(parts["Model"], f"{where}, Model"), kinds, names, IO[io], None if period is None else 1e9 / period,
                        str(document.get("Part", document.get("XilinxPart", "")))[:100])
