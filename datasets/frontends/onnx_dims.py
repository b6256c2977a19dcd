"""The free dimensions of an ONNX file's inputs, and how a caller binds them.

A dimension is bound by its symbolic name (`batch=8`, every axis of that name) or by input and axis (`x.0=8`). The value
of a scalar integer input is bound by the input's name (`sr=16000`), those of a short vector one by one (`shape[0]=8`). Exporters write -1, "?" or "None" for "free".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import GraphError, UnknownNameError, UnsupportedOpError

#: dim_param texts that say nothing but "free": two axes that carry one need not be equal
ANONYMOUS = frozenset({"", "?", "None", "-1"})

#: a sequence has no more tensors than this
MAX_ITEMS = 1000

#: no tensor of a real workload has more elements than this (2^50 float16 are 2 PiB)
MAX_ELEMENTS = 2**50

Axis = int | str | None


@dataclass(frozen=True)
class InputShape:
    """One graph input as the file states it: axes are sizes, symbolic names, or None (free without a name); rank None: unstated."""

    name: str
    elem: int
    axes: tuple[Axis, ...] | None


def stated_shape(name: str, tensor_type: Any) -> InputShape:
    """The shape in an ONNX tensor type. Raises GraphError for a negative size (-1 means free); 0 is an empty tensor (a cache at its start)."""
    if not tensor_type.HasField("shape"):
        return InputShape(name, tensor_type.elem_type, None)
    axes: list[Axis] = []
    for axis, dim in enumerate(tensor_type.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value != -1:
            if dim.dim_value < 0:
                raise GraphError(f"input {name!r} axis {axis} has the size {dim.dim_value}; expected 0 or more, or a free dimension")
            axes.append(int(dim.dim_value))
        else:
            axes.append(dim.dim_param if dim.dim_param not in ANONYMOUS else None)
    return InputShape(name, tensor_type.elem_type, tuple(axes))


def stated_axes(tensor_type: Any) -> tuple[Axis, ...] | None:
    """What a file says of the shape of a tensor inside the graph: sizes, names, None for nothing; None without a rank."""
    if not tensor_type.HasField("shape"):
        return None
    return tuple(int(d.dim_value) if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param if d.dim_param not in ANONYMOUS else None for d in tensor_type.shape.dim)


def stated_inputs(inputs: Iterable[Any], dims: Mapping[str, int]) -> tuple[list[InputShape], dict[str, str], list[str]]:
    """(tensors, sequence name -> the key of `dims` with its length, notes) of graph inputs (ValueInfoProto).

    A sequence of n tensors becomes the inputs `name[0]`, ...; an optional is taken to hold something, which the notes tell. Raises
    GraphError for a sequence without a length, UnsupportedOpError for maps and the like.
    """
    shapes: list[InputShape] = []
    sequences: dict[str, str] = {}
    notes: list[str] = []
    for item in inputs:
        kind, given = item.type.WhichOneof("value"), item.type
        if kind == "optional_type":
            given = given.optional_type.elem_type
            kind = given.WhichOneof("value")
            notes.append(f"input {item.name!r} is optional; it is taken to be given")
        if kind == "tensor_type":
            shapes.append(stated_shape(item.name, given.tensor_type))
        elif kind == "sequence_type" and given.sequence_type.elem_type.WhichOneof("value") == "tensor_type":
            key = sequences[item.name] = f"{item.name}.length"
            if key not in dims:
                raise GraphError(f"input {item.name!r} is a sequence of tensors: give --dim {key}=VALUE")
            if not 0 <= dims[key] <= MAX_ITEMS:
                raise GraphError(f"--dim {key}={dims[key]}: expected a length from 0 to {MAX_ITEMS}")
            shapes += [stated_shape(f"{item.name}[{i}]", given.sequence_type.elem_type.tensor_type) for i in range(dims[key])]
        else:
            raise UnsupportedOpError(f"input {item.name!r} is no tensor but a {kind or 'value of no type'}; it cannot be counted")
    return shapes, sequences, notes


def bind(inputs: Iterable[InputShape], dims: Mapping[str, int],
         elsewhere: Callable[[str], bool] = lambda key: False) -> tuple[dict[str, tuple[int, ...]], dict[str, list[int]], set[str]]:
    """(shape of every input, numbers of every input that was given them, the keys of `dims` that were used).

    Raises GraphError listing what stays free and how to give it, or for a size that is negative or contradicts the
    file; UnknownNameError for a name in `dims` that no input has and that names nothing `elsewhere`.
    """
    inputs = tuple(inputs)
    for key, value in dims.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise GraphError(f"--dim {key}={value!r}: expected an integer")
    symbols = {axis for item in inputs for axis in item.axes or () if isinstance(axis, str)}
    used: set[str] = set()
    shapes: dict[str, tuple[int, ...]] = {}
    values: dict[str, list[int]] = {}
    free: list[str] = []
    for item in inputs:
        axes = item.axes
        if axes is None:
            axes = _unstated_axes(item, dims)
            if axes is None:
                free.append(f"input {item.name!r} has no shape in the file: give --dim {item.name}.0=VALUE and so on for each of its axes")
                continue
        if not axes and item.name in dims and item.name not in symbols:
            values[item.name] = [dims[item.name]]
            used.add(item.name)
        sizes: list[int] = []
        for index, axis in enumerate(axes):
            size, used_key = _size_of(item, index, axis, dims)
            if size is None:
                called = f"the free dimension {axis!r}" if isinstance(axis, str) else "a free dimension without a name"
                free.append(f"input {item.name!r} axis {index} is {called}: give --dim {axis or f'{item.name}.{index}'}=VALUE")
            else:
                sizes.append(size)
            if used_key is not None:
                used.add(used_key)
        shapes[item.name] = tuple(sizes)
        given = [f"{item.name}[{i}]" for i in range(sizes[0])] if len(sizes) == 1 and sizes[0] <= 64 and item.elem in (6, 7) else []
        if any(key in dims for key in given):
            missing = next((key for key in given if key not in dims), "")
            if missing:
                raise GraphError(f"input {item.name!r} is given some of its {len(given)} numbers: give --dim {missing}=VALUE as well")
            values[item.name] = [dims[key] for key in given]
            used.update(given)
    unknown = [key for key in dims if key not in used and not elsewhere(key)]
    if unknown:
        known = [*symbols, *(f"{i.name}.{a}" for i in inputs for a, axis in enumerate(i.axes or ()) if not isinstance(axis, int))]
        known += [i.name for i in inputs if i.axes == ()] + [f"{i.name}[0]" for i in inputs if i.axes is not None and len(i.axes) == 1 and i.elem in (6, 7)]
        raise UnknownNameError("dimension", unknown[0], known, "" if known else "this file has no free dimensions")
    if free:
        raise GraphError("; ".join(free[:6]) + (f"; and {len(free) - 6} more" if len(free) > 6 else ""))
    for name, shape in shapes.items():
        check_size(f"input {name!r}", shape)
    return shapes, values, used


def check_size(what: str, shape: Iterable[int]) -> int:
    """The number of elements; raises GraphError when a size is negative or the product absurd."""
    shape = tuple(shape)
    count = 1
    for size in shape:
        if size < 0:
            raise GraphError(f"{what} has the impossible shape {shape[:12]}")
        count = min(count * size, 2**100)
    if count > MAX_ELEMENTS:
        sizes = "x".join(map(str, shape[:12])) + ("x..." if len(shape) > 12 else "")
        raise GraphError(f"{what} would have more than {MAX_ELEMENTS:.3g} elements (shape {sizes}); at most that many are accepted")
    return count


def _unstated_axes(item: InputShape, dims: Mapping[str, int]) -> tuple[Axis, ...] | None:
    rank = 0
    while f"{item.name}.{rank}" in dims:
        rank += 1
    return (None,) * rank if rank else None


def _size_of(item: InputShape, index: int, axis: Axis, dims: Mapping[str, int]) -> tuple[int | None, str | None]:
    """(size, the key of `dims` that gave or confirmed it) of one axis; the axis's own key wins over the symbolic name."""
    own = f"{item.name}.{index}"
    key = own if own in dims else axis if isinstance(axis, str) and axis in dims else None
    if isinstance(axis, int):
        if key is not None and dims[key] != axis:
            raise GraphError(f"--dim {own}={dims[own]}: the file fixes input {item.name!r} axis {index} at {axis}; export it with a free dimension to change it")
        return axis, key
    if key is None:
        return None, None
    if dims[key] < 0:
        raise GraphError(f"--dim {key}={dims[key]}: expected a size of 0 or more")
    return dims[key], key
