"""A small dense network that has learned a slow model's answers about single operators, from terms that are quick to compute (`terms.py`).

A *lane* is everything of a question but its sizes: kind, number formats, machine, circumstances. What it adds to the first layer, its figures and
the widths of its intervals are computed once and kept. One question then is a page of arithmetic and two small products; columns of questions
are the same over arrays, in chunks that stay in the processor's cache, each chunk in a thread (NumPy lets go of the interpreter in between).

The first layer adds up what the terms give, and one learned row for each circumstance of the lane and, where the student knows machines by their
figures, what the figures give.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.errors import FormatError, VersionError
from ..datasets.hardware import KINDS, Hardware
from ..datasets.ops import KIND_NAMES
from ..datasets.simulator.kernels import Kernels
from ..datasets.simulator.machine import Machines
from .terms import TERMS_VERSION, Figures, Sizes, few_terms, figure_columns, figures, machine_terms, names, terms
from .threads import one_blas_thread

_CORES = os.cpu_count() or 1
#: rows of one chunk: its arrays fit in a core's cache; machines of one chunk of an operator on many, where fewer arrays are made (of 1,024 to 8,192 the quickest)
CHUNK, MACHINES = 2048, 5120
#: lanes remembered; a search over made-up machines must not grow without end
_MOST_LANES = 50_000
#: the circumstances every student has, before those of its table
OWN = ("kind", "dtype", "weight_dtype", "device")


@dataclass(frozen=True)
class Lane:
    """What a question has beside its sizes, ready to compute with. `width`: per target, the logarithmic half width of intervals that is the lane's own."""

    figures: Figures
    bias: np.ndarray
    width: tuple[float, ...]


@dataclass(frozen=True)
class Lanes:
    """G lanes as columns: figures (G,) each, `bias` (G, H) float32, `width` (G, t) half widths of intervals that are the lanes' own."""

    figures: Figures
    bias: np.ndarray
    width: np.ndarray
    outside: Any = False  # (G,) bool: a machine known by its figures that lies outside those learned from

    @classmethod
    def of(cls, lanes: Sequence[Lane]) -> Lanes:
        """The lanes one after another."""
        return cls(Figures(*(np.array(x) for x in zip(*(lane.figures for lane in lanes), strict=True))), np.stack([lane.bias for lane in lanes]), np.array([lane.width for lane in lanes], dtype=np.float64))

    @classmethod
    def joined(cls, parts: Sequence[Lanes]) -> Lanes:
        """The lanes of several one after another."""
        if len(parts) == 1:
            return parts[0]
        return cls(Figures(*(np.concatenate(x) for x in zip(*(p.figures for p in parts), strict=True))), *(np.concatenate([getattr(p, of) for p in parts]) for of in ("bias", "width", "outside")))


def border(kernels: Kernels) -> np.ndarray:
    """(n,) share of the activations of each kernel that travels to memory even where all fit in the last cache: what enters or leaves the graph."""
    live = kernels.ops.input_bytes + kernels.ops.output_bytes + kernels.extra_bytes
    return np.minimum(kernels.boundary_bytes / np.maximum(live, 1.0), 1.0) if kernels.in_graph else np.ones(len(kernels))


def _spread(work: Callable[[Any], None], over: Sequence[Any], threads: int) -> None:
    """`work` for each of `over`, in so many threads; matrix products in one each."""
    with one_blas_thread():
        if threads < 2:
            for at in over:
                work(at)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, over))


class Student:
    """The network. `targets`: what it answers; `known`: circumstance -> the values it learned, `device` holding names; `open_machines`: it takes any
    machine by its figures. Raises FormatError for weights that do not fit together, VersionError for other terms."""

    def __init__(self, spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        if spec.get("terms") != TERMS_VERSION:
            raise VersionError(f"student: learned from terms {spec.get('terms')!r}, this silicast has {TERMS_VERSION!r}; compile the model again")
        self.spec = dict(spec)
        self.targets = tuple(spec["targets"])
        self.parts = tuple(spec["parts"])
        self.known: dict[str, tuple[str, ...]] = {name: tuple(values) for name, values in spec["known"].items()}
        self.open_machines = bool(spec["open_machines"])
        self.derived = {"latency_s", "power_w", "energy_j"} <= set(self.targets)
        self.learned = tuple(t for t in self.targets if not (self.derived and t == "energy_j"))
        #: intervals differ from row to row, and are learned too
        self.widths = bool(spec["widths"])
        #: targets that are a rate over the reference time, where others are learned as they are
        self._timed = [t in ("latency_s", "energy_j") for t in self.learned]
        self.arrays = {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in arrays.items()}
        self._check()
        a = self.arrays
        layers = int(spec["layers"])
        self._first, self._bias, self._last, self._last_bias = a["first"], a["first_bias"], a["last"], a["last_bias"]
        self._turned = np.ascontiguousarray(self._first.T), np.ascontiguousarray(self._last.T)
        self._centre, self._centre_column = a["centre"], a["centre"][:, None]
        self._hidden = [(a[f"hidden.{i}"], a[f"hidden.{i}.bias"]) for i in range(layers - 1)]
        self._turned_hidden = [(np.ascontiguousarray(weight.T), bias) for weight, bias in self._hidden]
        self._alone = self.targets == ("latency_s",)
        if self.open_machines:
            self._span = a["low"][:, None], a["high"][:, None]
        self._zero = np.zeros(self._first.shape[1], dtype=np.float32)
        self._low, self._high = a["least"][:-1].tolist(), a["most"][:-1].tolist()
        self._lanes: dict[Any, Lane] = {}
        self._codes = {name: {value: i for i, value in enumerate(values)} for name, values in self.known.items()}

    def _check(self) -> None:
        """Raises FormatError when an array is missing, has another shape than the rest, or holds what is no number."""
        a, hidden, t = self.arrays, int(self.spec["hidden"]), len(self.learned) + 1 + (len(self.targets) if self.widths else 0)
        shapes: dict[str, tuple[int, ...]] = {"first": (len(names(self.parts)), hidden), "first_bias": (hidden,), "centre": (len(names(self.parts)),), "last": (hidden, t), "last_bias": (t,), "least": (t,), "most": (t,)}
        shapes |= {f"hidden.{i}": (hidden, hidden) for i in range(int(self.spec["layers"]) - 1)} | {f"hidden.{i}.bias": (hidden,) for i in range(int(self.spec["layers"]) - 1)}
        shapes |= {f"known.{name}": (len(values) + 1, hidden) for name, values in self.known.items()}
        shapes |= {"width": (len(self.known["device"]) + 1, len(self.targets))}
        if self.open_machines:
            shapes["machine"] = (len(Figures._fields) + len(KINDS), hidden)
            shapes |= {name: (len(Figures._fields) + len(KINDS),) for name in ("machine_centre", "machine_low", "machine_high")}
            shapes |= {name: (len(names(self.parts)),) for name in ("low", "high")}
        for name, shape in shapes.items():
            if name not in a or a[name].shape != shape:
                raise FormatError(f"student: the weights {name!r} are {'missing' if name not in a else f'of shape {a[name].shape}'}, expected {shape}")
            if not np.isfinite(a[name]).all():
                raise FormatError(f"student: the weights {name!r} hold what is no number")

    def knows(self, kind: int, dtype: int, weight_dtype: int, name: str, device: Hardware | None, context: Mapping[str, str]) -> bool:
        """Whether it learned such questions; sizes apart."""
        codes = self._codes
        machine = name in codes["device"] or (self.open_machines and device is not None and device.fabric is None)
        return (machine and KIND_NAMES[kind] in codes["kind"] and DTYPE_NAMES[dtype] in codes["dtype"] and DTYPE_NAMES[weight_dtype] in codes["weight_dtype"]
                and all(str(context.get(c)) in codes[c] for c in codes if c not in OWN))

    def lane(self, kind: int, dtype: int, weight_dtype: int, name: str, device: Hardware | None, context: Mapping[str, str]) -> Lane:
        """The lane of questions it knows (codes of kind and number formats)."""
        key = (kind, dtype, weight_dtype, name, device.digest if device is not None else "", *context.values())
        found = self._lanes.get(key)
        if found is None:
            said = {"kind": KIND_NAMES[kind], "dtype": DTYPE_NAMES[dtype], "weight_dtype": DTYPE_NAMES[weight_dtype], "device": name, **{c: str(v) for c, v in context.items()}}
            f = figures(device, dtype)
            bias = self._bias.copy()
            for circumstance, codes in self._codes.items():
                bias += self.arrays[f"known.{circumstance}"][codes.get(said[circumstance], len(codes))]
            if self.open_machines:
                bias += (machine_terms(f, KINDS.index(device.kind) if device is not None else 0) - self.arrays["machine_centre"]) @ self.arrays["machine"]
            width = self.arrays["width"][self._codes["device"].get(name, len(self._codes["device"]))]
            found = Lane(f, bias, tuple(float(w) for w in width))
            if len(self._lanes) >= _MOST_LANES:
                self._lanes.clear()
            self._lanes[key] = found
        return found

    def machine_lanes(self, kind: int, dtype: int, weight_dtype: int, devices: Sequence[Hardware], machines: Machines | None = None) -> Lanes:
        """A lane for each of many machines at once, by their figures; for a student of `open_machines` without circumstances of its own. `machines`: the devices as such, where
        they are at hand."""
        at = np.arange(len(devices))
        f = figure_columns(devices, at, np.full(len(devices), dtype), machines)
        told = machine_terms(f, np.array([KINDS.index(d.kind) for d in devices])).T
        outside = ((told < self.arrays["machine_low"]) | (told > self.arrays["machine_high"])).any(1)
        bias = self._bias + (told - self.arrays["machine_centre"]) @ self.arrays["machine"]
        code = self._codes["device"]
        places = np.array([code.get(d.key, len(code)) for d in devices])
        for name, value in (("kind", KIND_NAMES[kind]), ("dtype", DTYPE_NAMES[dtype]), ("weight_dtype", DTYPE_NAMES[weight_dtype])):
            bias += self.arrays[f"known.{name}"][self._codes[name].get(value, len(self._codes[name]))]
        bias += self.arrays["known.device"][places]
        width = self.arrays["width"][places].astype(np.float64)
        return Lanes(f, bias.astype(np.float32), width, outside)

    def one(self, lane: Lane, op: Sizes) -> tuple[list[float], Sequence[float], float]:
        """(the points of one operator (floats), per target, in SI; the logarithmic half widths of their intervals; above 0 where the model's guard would doubt
        them)."""
        x, reference = terms(op, lane.figures, self.parts)
        x -= self._centre  # sums of small numbers: single precision is enough
        h = np.dot(self._turned[0], x)
        h += lane.bias
        np.maximum(h, self._zero, out=h)
        for weight, bias in self._turned_hidden:
            h = np.dot(weight, h)
            h += bias
            np.maximum(h, self._zero, out=h)
        y = np.dot(self._turned[1], h)
        y += self._last_bias
        return self._answer(lane, y.tolist(), reference)

    def few(self, lanes: Sequence[Lane], ops: Sequence[Sizes]) -> list[tuple[list[float], Sequence[float], float]]:
        """What `one` answers to each of a few questions, each in its own lane: the network computes them together. For some dozens at most; `columns` is for more."""
        x, references = few_terms(ops, [lane.figures for lane in lanes], self.parts)
        x -= self._centre
        h = x @ self._first
        for row, lane in zip(h, lanes, strict=True):
            row += lane.bias
        y = self._deeper(h)
        return [self._answer(lane, told, reference) for lane, told, reference in zip(lanes, y.tolist(), references, strict=True)]

    def _deeper(self, h: np.ndarray) -> np.ndarray:
        """(n, outputs) of the last layer from what the first one adds up to, (n, hidden), which is overwritten."""
        np.maximum(h, 0.0, out=h)
        for weight, bias in self._hidden:
            h = h @ weight
            h += bias
            np.maximum(h, 0.0, out=h)
        y = h @ self._last
        y += self._last_bias
        return np.asarray(y)

    def _answer(self, lane: Lane, told: list[float], reference: float) -> tuple[list[float], Sequence[float], float]:
        """(points, half widths, doubt) of one operator by what the last layer says."""
        low, high = self._low, self._high
        if self._alone:  # one target over the reference time: most models
            value = told[0]
            point = math.exp(low[0] if value < low[0] else high[0] if value > high[0] else value) * reference
            if not self.widths:
                return [point], lane.width, told[-1]
            value = told[1]
            return [point], (math.hypot(math.exp(low[1] if value < low[1] else high[1] if value > high[1] else value), lane.width[0]),), told[-1]
        scaled = [math.exp(least if value < least else most if value > most else value) for value, least, most in zip(told[:-1], low, high, strict=True)]
        count = len(self.learned)
        points = self._with_energy([value * reference if timed else value for value, timed in zip(scaled[:count], self._timed, strict=True)])
        half = [math.hypot(width, own) for width, own in zip(scaled[count:], lane.width, strict=True)] if self.widths else lane.width
        return points, half, told[-1]

    def _with_energy(self, points: list[float]) -> list[float]:
        if not self.derived:
            return points
        by = dict(zip(self.learned, points, strict=True))
        by["energy_j"] = by["latency_s"] * by["power_w"]
        return [by[t] for t in self.targets]

    def columns(self, lanes: Lanes, index: np.ndarray, op: Sizes | Callable[[slice], Sizes], threads: int = 0,
                doubt: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """((n, t) points of n operators in SI, (n, t) logarithmic half widths of their intervals, (n,) bool where the model's guard would doubt them): operator i in
        lane `index[i]`. A size is (n,) float64, or a float where all have the same; or `op` gives
        the sizes of a slice of the rows.

        `threads`: how many compute; 0: as many as there are cores and work for. `doubt` (n,) float32 is filled, where it is given, with what is above 0 where the guard would doubt.
        """
        n = len(index)
        out, half, doubted = np.empty((n, len(self.targets))), np.empty((n, len(self.targets))), np.empty(n, dtype=bool)
        wanted = min(threads or _CORES, -(-n // CHUNK))
        starts = range(0, n, CHUNK)

        def chunk(at: int) -> None:
            rows = slice(at, min(at + CHUNK, n))
            sizes = Sizes(*(x[rows] if isinstance(x, np.ndarray) else x for x in op)) if isinstance(op, Sizes) else op(rows)
            self._chunk(lanes, index[rows], sizes, out[rows], half[rows], doubted[rows], doubt[rows] if doubt is not None else None)

        if 0 < n <= CHUNK // 4:
            chunk(0)
        else:
            _spread(chunk, starts, wanted)
        return out, half, doubted

    def crossed(self, lanes: Lanes, group: np.ndarray, ops: Sizes, machines: int, threads: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """((K, D, t) points in SI, (K, D) bool where the answer lies outside what was learned) of K operators ((K,) float64 sizes, or floats), each on the same D `machines`:
        operator j in the lanes `group[j] * D` to `group[j] * D + D - 1`. As `columns`, with what the machines do not change computed once for all of them."""
        kernels = len(group)
        out, doubted = np.empty((kernels, machines, len(self.targets))), np.empty((kernels, machines), dtype=bool)
        sizes = [Sizes(*(float(x[j]) if isinstance(x, np.ndarray) else x for x in ops)) for j in range(kernels)]

        def chunk(at: tuple[int, int]) -> None:
            j, start = at
            here = slice(start, min(start + MACHINES, machines))
            first = int(group[j]) * machines
            self._chunk(lanes, slice(first + here.start, first + here.stop), sizes[j], out[j, here], None, doubted[j, here])

        _spread(chunk, [(j, start) for j in range(kernels) for start in range(0, machines, MACHINES)], min(threads or _CORES, kernels * -(-machines // MACHINES)))
        return out, doubted

    def _chunk(self, lanes: Lanes, index: np.ndarray | slice, op: Sizes, out: np.ndarray, half: np.ndarray | None, doubted: np.ndarray,
               doubt: np.ndarray | None = None) -> None:
        f = Figures(*(x[index] for x in lanes.figures))
        x, reference = terms(op, f, self.parts)
        far = ((x < self._span[0]) | (x > self._span[1])).any(0) if self.open_machines else False
        x -= self._centre_column
        h = x.T @ self._first
        h += lanes.bias[index]
        y = self._deeper(h)
        if doubt is not None:
            doubt[:] = y[:, -1]
        np.greater(y[:, -1], 0.0, out=doubted)
        doubted |= far
        np.clip(y, self.arrays["least"], self.arrays["most"], out=y)
        points = np.exp(y).astype(np.float64)
        for j, timed in enumerate(self._timed):
            if timed:
                points[:, j] *= reference
        if half is not None:
            half[:] = lanes.width[index]
            if self.widths:
                np.hypot(half, points[:, len(self.learned):-1], out=half)
        place = {name: j for j, name in enumerate(self.learned)}
        for j, name in enumerate(self.targets):
            derived = name == "energy_j" and self.derived
            out[:, j] = points[:, place["latency_s"]] * points[:, place["power_w"]] if derived else points[:, place[name]]

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """(spec for JSON, {"student.npz": arrays without pickle})."""
        buffer = BytesIO()
        np.savez(buffer, **self.arrays)  # type: ignore[arg-type]
        return self.spec, {"student.npz": buffer.getvalue()}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes]) -> Student:
        """The inverse of `weights`; raises FormatError for missing or damaged weights."""
        if "student.npz" not in files:
            raise FormatError("student: its weights are missing (student.npz)")
        try:
            with np.load(BytesIO(files["student.npz"]), allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
        except Exception as error:  # whatever a damaged archive makes NumPy say
            raise FormatError(f"student.npz: not this student's weights ({error})") from None
        return cls(spec, arrays)
