"""Names of machines as tables and tools write them: "NVIDIA RTX3090", "3090 24GB", "Intel(R) Xeon(R) Gold 6240 CPU @ 2.60GHz".

Asked after the exact look-up has failed. Words that say only who made a machine and what kind it is are left out, and so is a size of memory equal to
the entry's own; what remains must be a key or alias of exactly one entry. A word too many ("Ti", "Laptop", "MIG", "x 8") is another machine: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..hardware import Hardware

__all__ = ["WrittenNames"]

#: words that may stand in a name of a machine by this vendor, and of no other
_BRANDS = {"nvidia": "nvidia", "geforce": "nvidia", "tesla": "nvidia", "amd": "amd", "radeon": "amd", "instinct": "amd", "xilinx": "amd", "intel": "intel",
           "qualcomm": "qualcomm", "apple": "apple", "google": "google"}
#: words that may stand in a name of a machine of this kind, and of no other
_KINDS = {"gpu": "gpu", "cpu": "cpu", "processor": "cpu"}
_MARKS = re.compile(r"\((?:r|tm|c)\)|[®™©]")
#: the nominal clock behind a processor's name, as operating systems write it
_CLOCK = re.compile(r"\bcpu\s*@\s*\d+(?:\.\d+)?\s*ghz\s*$")
_MEMORY = re.compile(r"(\d+)(?:gb|gib|g)")
_CORES = re.compile(r"(\d+)cores?")
#: a number of a vendor's parts list: letters and digits, such as MSM8998 or AD102
_PART = re.compile(r"([a-z]{2,3})\d{3,4}[a-z]?")
_FAMILY = re.compile(r"([a-z]+)\d")
_SEPARATORS = re.compile(r"[\s_,()-]+")


@dataclass(frozen=True)
class _Told:
    """A name taken apart: what is left of it, the vendors, kinds, memories (GB) and counts of cores that it told."""

    words: tuple[str, ...]
    vendors: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    memory: frozenset[int] = frozenset()
    cores: frozenset[int] = frozenset()

    def fits(self, device: Hardware) -> bool:
        """Whether the machine is what the words left out say."""
        return (self.vendors <= {device.vendor.casefold()} and self.kinds <= {device.kind} and self.cores <= {device.units}
                and all(gigabytes * unit == device.dram.capacity_bytes for gigabytes in self.memory for unit in [2**30 if device.dram.capacity_bytes % 2**30 == 0 else 10**9]))


class WrittenNames:
    """The names of a catalogue without their sizes of memory, to look written ones up in."""

    def __init__(self, devices: Sequence[Hardware]) -> None:
        self._devices = {device.key: device for device in devices}
        #: name without a size of memory -> (keys of machines, those of them whose own name told none)
        self._names: dict[str, tuple[set[str], set[str]]] = {}
        for device in devices:
            for name in (device.key, *device.aliases):
                words, sizes = _without_memory(_words(name))
                every, plain = self._names.setdefault("".join(words), (set(), set()))
                every.add(device.key)
                if not sizes:
                    plain.add(device.key)
        self._families = {found[1] for name in self._names for found in [_FAMILY.match(name)] if found}

    def key(self, written: str) -> str | None:
        """The key of the one machine that `written` names; None where there is none, or more than one."""
        told = _taken_apart(written)
        found = self._found(told.words, told)
        if not found and len(told.words) > 1 and self._is_part(told.words[0]):
            found = self._found(told.words[1:], told)
        return next(iter(found)) if len(found) == 1 else None

    def _found(self, words: Sequence[str], told: _Told) -> set[str]:
        every, plain = self._names.get("".join(words), (set(), set())) if words else (set(), set())
        return {key for key in (every if told.memory else plain) if told.fits(self._devices[key])}

    def _is_part(self, word: str) -> bool:
        """Whether a word can be a number of a parts list: one that goes on a family of the catalogue's own names (RTX, MI) is a machine."""
        found = _PART.fullmatch(word)
        return found is not None and found[1] not in self._families


def _words(name: str) -> list[str]:
    return [word for word in _SEPARATORS.split(_CLOCK.sub("cpu", _MARKS.sub(" ", name.casefold())).strip()) if word]


def _without_memory(words: Sequence[str]) -> tuple[list[str], frozenset[int]]:
    """The words but sizes of memory ("80GB", "80 GB"), and these in GB."""
    left, sizes = list[str](), set[int]()
    for word in words:
        if word in ("gb", "gib") and left and left[-1].isdecimal():
            sizes.add(int(left.pop()))
        elif found := _MEMORY.fullmatch(word):
            sizes.add(int(found[1]))
        else:
            left.append(word)
    return left, frozenset(sizes)


def _taken_apart(written: str) -> _Told:
    words, memory = _without_memory(_words(written))
    joined = _joined_cores(words)
    left = [word for word in joined if word not in _BRANDS and word not in _KINDS and not _CORES.fullmatch(word)]
    return _Told(tuple(left), _told(joined, _BRANDS), _told(joined, _KINDS), memory, frozenset(int(found[1]) for word in joined for found in [_CORES.fullmatch(word)] if found))


def _joined_cores(words: Sequence[str]) -> list[str]:
    """"64-core" is one word."""
    out: list[str] = []
    for word in words:
        if word in ("core", "cores") and out and out[-1].isdecimal():
            out[-1] += word
        else:
            out.append(word)
    return out


def _told(words: Sequence[str], meaning: Mapping[str, str]) -> frozenset[str]:
    return frozenset(meaning[word] for word in words if word in meaning)
