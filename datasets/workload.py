"""What is to be run: an immutable directed acyclic graph of operators with tensors on its edges.

A `Workload` is valid at birth: operators stand in a topological order, every tensor is produced before it is
consumed, so a cycle cannot exist. Its digest depends on content only (kinds, sizes, dtypes, edges), not on names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .columns import OpColumns
from .dtypes import BITS, dtype_name
from .errors import FormatError, GraphError
from .ops import MAX_SIZE, Op, shown

FORMAT = "silicast-workload/1"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value on the graph's edges: `bytes` long, made by op `producer` (-1: a graph input), read by ops `consumers`.

    A tensor without consumers is a graph output.
    """

    name: str
    bytes: int
    producer: int
    consumers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Workload:
    """A graph of V operators in topological order and the tensors between them.

    Raises GraphError when it has no operators, an index is out of range, or a tensor is consumed before it is produced.
    """

    name: str
    ops: tuple[Op, ...]
    tensors: tuple[Tensor, ...]
    family: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.ops:
            raise GraphError(f"workload {self.name!r} has no operators")
        count = len(self.ops)
        for tensor in self.tensors:
            if not all(type(i) is int for i in (tensor.bytes, tensor.producer, *tensor.consumers)):
                raise GraphError(f"workload {self.name!r}: tensor {tensor.name!r}: bytes, producer and consumers must be integers")
            if not 0 <= tensor.bytes <= MAX_SIZE or not -1 <= tensor.producer < count:
                raise GraphError(f"workload {self.name!r}: tensor {tensor.name!r} has {shown(tensor.bytes)} bytes and producer {shown(tensor.producer)}; "
                                 f"expected bytes from 0 to 2**62 and a producer in -1..{count - 1}")
            for reader in tensor.consumers:
                if not tensor.producer < reader < count:
                    raise GraphError(f"workload {self.name!r}: tensor {tensor.name!r} is made by op {tensor.producer} but read by op {reader}; "
                                     "operators must stand in topological order (a cycle cannot be expressed)")

    @classmethod
    def of(cls, name: str, ops: Sequence[Op], tensors: Iterable[Tensor], family: str = "", notes: Sequence[str] = ()) -> Workload:
        """A workload from ops in any order: sorted topologically here.

        Raises GraphError naming operators on a cycle.
        """
        tensors = tuple(tensors)
        waiting = [0] * len(ops)
        readers: list[list[int]] = [[] for _ in ops]
        for tensor in tensors:
            if not -1 <= tensor.producer < len(ops):
                raise GraphError(f"workload {name!r}: tensor {tensor.name!r} is made by op {shown(tensor.producer)}; expected -1 (an input) to {len(ops) - 1}")
            for reader in tensor.consumers:
                if not 0 <= reader < len(ops):
                    raise GraphError(f"workload {name!r}: tensor {tensor.name!r} joins op {tensor.producer} to op {shown(reader)} of {len(ops)}")
                if tensor.producer >= 0:
                    waiting[reader] += 1
                    readers[tensor.producer].append(reader)
        ready = [i for i, w in enumerate(waiting) if w == 0]
        order: list[int] = []
        at = 0
        while at < len(ready):
            op = ready[at]
            at += 1
            order.append(op)
            for reader in readers[op]:
                waiting[reader] -= 1
                if waiting[reader] == 0:
                    ready.append(reader)
        if len(order) < len(ops):
            stuck = [ops[i].name for i, w in enumerate(waiting) if w > 0]
            raise GraphError(f"workload {name!r} is cyclic: {len(stuck)} operators wait for each other, among them {', '.join(map(repr, stuck[:4]))}")
        if all(t.producer < r for t in tensors for r in t.consumers):
            order = list(range(len(ops)))  # already in order: keep it as given
        place = {op: i for i, op in enumerate(order)}
        place[-1] = -1
        moved = tuple(Tensor(t.name, t.bytes, place[t.producer], tuple(sorted(place[c] for c in t.consumers))) for t in tensors)
        return cls(name, tuple(ops[i] for i in order), moved, family, tuple(notes))

    @cached_property
    def columns(self) -> OpColumns:
        """The ops as arrays of length V."""
        return OpColumns.from_ops(self.ops)

    @cached_property
    def edges(self) -> np.ndarray:
        """(E, 2) array of int64: producer and consumer of every tensor between two ops."""
        pairs = [(t.producer, c) for t in self.tensors if t.producer >= 0 for c in t.consumers]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the content; equal graphs have equal digests whatever their names."""
        ops = [(op.kind, op.sizes, op.dtype, op.weight_dtype, op.output_dtype, op.params) for op in self.ops]
        tensors = sorted((t.producer, t.consumers, t.bytes) for t in self.tensors)
        return hashlib.sha256(json.dumps([ops, tensors]).encode()).hexdigest()[:16]

    def __hash__(self) -> int:
        return hash(self.digest)  # once per workload; hashing every operator at each look-up would cost more than an answer

    @property
    def flops(self) -> float:
        """Operations in all, 2 per multiply-add."""
        return float(self.columns.matrix_flops.sum() + self.columns.vector_flops.sum())

    @property
    def macs(self) -> float:
        """Multiply-adds on matrix units."""
        return float(self.columns.matrix_flops.sum() / 2)

    @property
    def params(self) -> int:
        """Parameter elements in all."""
        return sum(op.params for op in self.ops)

    @property
    def weight_bytes(self) -> float:
        """Bytes of all parameters."""
        return float(self.columns.param_bytes.sum())

    @property
    def bytes_read(self) -> float:
        """Sum over ops of distinct bytes read."""
        return float((self.columns.input_bytes + self.columns.weight_bytes).sum())

    @property
    def bytes_written(self) -> float:
        """Sum over ops of bytes written."""
        return float(self.columns.output_bytes.sum())

    @cached_property
    def peak_activation_bytes(self) -> float:
        """Largest sum of live tensors while ops run in order (liveness; inputs live from the start, outputs to the end)."""
        count = len(self.ops)
        change = np.zeros(count + 1)
        for tensor in self.tensors:
            first = max(tensor.producer, 0)
            last = max(tensor.consumers) if tensor.consumers else count - 1
            change[first] += tensor.bytes
            change[last + 1] -= tensor.bytes
        return float(np.cumsum(change)[:count].max(initial=0.0))

    @property
    def bounded_ops(self) -> tuple[str, ...]:
        """Names of ops that are only bounded (unknown operators the caller let through)."""
        return tuple(op.name for op in self.ops if op.kind == "bound")

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `Workload.from_json` gives back an equal workload."""
        names = [op.name for op in self.ops]
        return {"format": FORMAT, "name": self.name, "family": self.family, "digest": self.digest, "notes": list(self.notes),
                "ops": [op.to_json() for op in self.ops],
                "tensors": [{"name": t.name, "bytes": t.bytes, "from": None if t.producer < 0 else names[t.producer],
                             "producer": t.producer, "consumers": list(t.consumers)} for t in self.tensors]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Workload:
        """Reads `to_json`. Raises FormatError for another document, GraphError for an impossible graph."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            got = data.get("format") if isinstance(data, Mapping) else type(data).__name__
            raise FormatError(f"expected a workload document with format {FORMAT!r}, got {got!r}")
        if not isinstance(data.get("ops"), list) or not isinstance(data.get("tensors"), list):
            raise FormatError("workload document: expected lists under 'ops' and 'tensors'")
        name, family, notes = data.get("name", "workload"), data.get("family", ""), data.get("notes", [])
        if not (isinstance(name, str) and isinstance(family, str) and isinstance(notes, list) and all(isinstance(n, str) for n in notes)):
            raise FormatError("workload document: expected text under 'name' and 'family' and a list of texts under 'notes'")
        ops = [Op.from_json(op) for op in data["ops"]]
        return cls.of(name, ops, [_tensor(t, i) for i, t in enumerate(data["tensors"])], family, notes)

    @classmethod
    def load(cls, path: str | Path) -> Workload:
        """A workload from a JSON file. Raises FormatError naming the file."""
        try:
            text = Path(path).read_text(encoding="utf-8")
            data = json.loads(text)
        except FileNotFoundError:
            raise FormatError(f"{path}: no such file") from None
        except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, or a number of thousands of digits
            raise FormatError(f"{path}: not a readable JSON document ({error})") from None
        return cls.from_json(data)


def _tensor(data: Any, at: int) -> Tensor:
    """Tensor number `at` of a document. Raises FormatError for a missing key or one of the wrong type."""
    wanted = {"name": str, "bytes": int, "producer": int, "consumers": list}
    if not isinstance(data, Mapping):
        raise FormatError(f"workload document: tensors[{at}]: expected a mapping with {', '.join(wanted)}; got {type(data).__name__}")
    for key, kind in wanted.items():
        if type(data.get(key)) is not kind:
            got = type(data[key]).__name__ if key in data else "nothing"
            raise FormatError(f"workload document: tensors[{at}].{key}: expected {kind.__name__}, got {got}")
    if not all(type(c) is int for c in data["consumers"]):
        raise FormatError(f"workload document: tensors[{at}].consumers: expected a list of op numbers")
    return Tensor(data["name"], data["bytes"], data["producer"], tuple(data["consumers"]))


class WorkloadBuilder:
    """Collects ops and tensors in the order they run, then `build()` gives the immutable `Workload`.

    A tensor is known by the integer `input` or `add` returned for it.
    """

    def __init__(self, name: str, family: str = "") -> None:
        self.name, self.family = name, family
        self.notes: list[str] = []
        self._ops: list[Op] = []
        self._tensors: list[tuple[str, int, int, list[int]]] = []

    def input(self, name: str, elements: int, dtype: str = "float16") -> int:
        """A graph input of so many elements; returns its tensor id."""
        self._tensors.append((name, (elements * BITS[dtype_name(dtype)] + 7) // 8, -1, []))
        return len(self._tensors) - 1

    def add(self, op: Op, inputs: Iterable[int], output_elements: int | None = None) -> int:
        """Appends an op that reads the tensors `inputs`; returns the id of its output tensor. Raises GraphError for an unknown tensor."""
        index = len(self._ops)
        wanted = list(dict.fromkeys(inputs))
        for tensor in wanted:
            if not 0 <= tensor < len(self._tensors):
                raise GraphError(f"workload {self.name!r}: op {op.name!r} reads tensor {tensor}, but there are {len(self._tensors)}")
        self._ops.append(op)
        for tensor in wanted:
            self._tensors[tensor][3].append(index)
        elements = int(op.counts["output_elements"]) if output_elements is None else output_elements
        self._tensors.append((op.name, (elements * BITS[op.output_dtype] + 7) // 8, index, []))
        return len(self._tensors) - 1

    def build(self) -> Workload:
        """The immutable workload; raises GraphError when nothing was added."""
        return Workload(self.name, tuple(self._ops), tuple(Tensor(n, b, p, tuple(c)) for n, b, p, c in self._tensors), self.family, tuple(self.notes))
