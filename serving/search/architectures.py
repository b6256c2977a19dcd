"""Network search: a family of networks on one or more devices.

    build:
      network:
        family: mnasnet
        fixed: {dtype: int8}
        devices: [raspberry_pi_4, jetson_nano]

Dimensions are the choices of the family (`networks.NETWORKS`). With several devices each quantity stands as `latency_s@raspberry_pi_4`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...datasets.catalog import hardware as catalogue
from ...datasets.errors import FormatError
from ...datasets.hardware import Hardware
from ...datasets.workload import Workload
from .answers import Answers
from .cases import Case, predicted, simulated
from .document import keyed, shown, words
from .machines import grouped
from .networks import checked, network
from .space import Candidate, Space


@dataclass(frozen=True)
class NetworkDesign:
    """Candidates that are networks; `devices` are what each of them runs on."""

    family: str
    fixed: tuple[tuple[str, Any], ...]
    devices: tuple[Hardware, ...]
    _built: dict[tuple[Any, ...], Workload] = field(default_factory=dict, compare=False, repr=False)

    kind = "network"
    keys = ("family", "fixed", "devices")

    @classmethod
    def of(cls, given: Any, space: Space, where: str) -> NetworkDesign:
        """From a `build: network:` part. Raises FormatError naming a choice the family does not have."""
        row = keyed(given, where, cls.keys, ("family", "devices"))
        family = network(row["family"], f"{where}.family")
        fixed = keyed(row.get("fixed", {}), f"{where}.fixed", tuple(family.choices))
        for dimension in space.dimensions:
            keyed({dimension.name: 0}, "vary", tuple(family.choices))
            if dimension.name in fixed:
                raise FormatError(f"{where}.fixed.{dimension.name}: it varies already (vary.{dimension.name})")
        if not isinstance(row["devices"], list) or not row["devices"]:
            raise FormatError(f"{where}.devices: expected a list of catalogue keys, got {shown(row['devices'])}")
        devices = tuple(catalogue(words(d, f"{where}.devices")) for d in row["devices"])
        return cls(row["family"], tuple(fixed.items()), devices)

    def workload(self, candidate: Candidate) -> Workload:
        """The network of a candidate. Raises InputError for an impossible one."""
        key = tuple(candidate.items())
        if key not in self._built:
            family = network(self.family, "family")
            if len(self._built) > 20_000:
                self._built.clear()
            self._built[key] = family.build(checked(family, {**dict(self.fixed), **candidate}, self.family))
        return self._built[key]

    def cases(self, candidate: Candidate) -> list[Case]:
        """What is asked of a candidate: its network on every device."""
        work = self.workload(candidate)
        return [Case(device.key, work, device) for device in self.devices]

    def answers(self, candidates: Sequence[Candidate], by: Any = None) -> Answers:
        """n candidates answered by the simulator, or by a predictor."""
        groups, why = grouped(self, candidates)
        return simulated(groups, why) if by is None else predicted(groups, why, by)
