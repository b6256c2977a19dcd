"""Every model that the onnx package tests its own backends with: it is read, or refused with a reason; its outputs have the size of the reference outputs."""

from __future__ import annotations

import importlib.util
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from silicast.datasets.dtypes import BITS
from silicast.datasets.errors import SilicastError
from silicast.datasets.frontends import read

#: what may be said of a model that is not read; everything else is a mistake of ours
REASONS = ("nothing is left to count", "text has no size", "has no silicast dtype", "does not know operators of this domain", "is in the data of the image",
           "score_mod and prob_mod", "depends on data", "depends on the data", "give --dim", "takes a diagonal", "batch axis of its own", "is no tensor but a")


def folder() -> Path:
    spec = importlib.util.find_spec("onnx")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))) / "backend" / "test" / "data"


def test_every_file_of_the_package():
    files = sorted(folder().rglob("*.onnx"))
    if not files:
        pytest.skip("this onnx release carries no test models")
    unclear = []
    read_in_full = 0
    for path in files:
        try:
            read(path, dims={"n": 4} if "n" in {d.dim_param for i in onnx.load(path, load_external_data=False).graph.input for d in i.type.tensor_type.shape.dim} else None)
            read_in_full += 1
        except SilicastError as error:
            if str(path) not in str(error) or not any(reason in str(error) for reason in REASONS):
                unclear.append(str(error)[:300])
    assert not unclear
    assert read_in_full > 0.85 * len(files)


def bound(model: Any, inputs: list[Any]) -> dict[str, int]:
    """What a caller would bind: the numbers of small integer inputs, lengths of sequences, free sizes."""
    dims: dict[str, int] = {}
    for item, value in zip(model.graph.input, inputs, strict=False):
        if isinstance(value, list):
            dims[f"{item.name}.length"] = len(value)
            for i, one in enumerate(value):
                dims.update({f"{item.name}[{i}].{a}": int(s) for a, s in enumerate(np.shape(one))})
        elif isinstance(value, (np.ndarray, np.generic)):
            if np.asarray(value).dtype in (np.int64, np.int32) and np.ndim(value) == 0:
                dims[item.name] = int(value)
            elif np.asarray(value).dtype in (np.int64, np.int32) and np.ndim(value) == 1 and 0 < np.size(value) <= 64:
                dims.update({f"{item.name}[{i}]": int(v) for i, v in enumerate(value)})
            for axis, dim in enumerate(item.type.tensor_type.shape.dim):
                if not dim.HasField("dim_value"):
                    dims[dim.dim_param or f"{item.name}.{axis}"] = np.shape(value)[axis]
    return dims


@pytest.mark.slow
def test_sizes_of_every_node_test(tmp_path):
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    told: Counter[str] = Counter()
    wrong, unclear = [], []
    for case in cases:
        if not case.data_sets:
            continue
        path = tmp_path / f"{case.name}.onnx"
        path.write_bytes(case.model.SerializeToString())
        inputs, outputs = case.data_sets[0]
        try:
            workload = read(path, dims=bound(case.model, inputs))
        except SilicastError as error:
            told["refused"] += 1
            if str(path) not in str(error) or not any(reason in str(error) for reason in REASONS):
                unclear.append(str(error).removeprefix(str(path))[:300])
            continue
        told["read"] += 1
        tensors = {t.name: t for t in workload.tensors}
        for item, value in zip(case.model.graph.output, outputs, strict=False):
            tensor = tensors.get(item.name)
            if tensor is None or not isinstance(value, np.ndarray) or tensor.producer < 0:
                continue
            bits = BITS[workload.ops[tensor.producer].output_dtype]
            told["outputs"] += 1
            # several outputs of one operator may have other types than its first
            if tensor.bytes not in ((value.size * bits + 7) // 8, value.nbytes):
                wrong.append(f"{case.name}: {item.name} has {tensor.bytes} bytes, the reference {value.shape} of {value.dtype}")
    assert not wrong, wrong[:20]
    assert not unclear, (len(unclear), unclear[:20])
    assert told["read"] > 0.85 * (told["read"] + told["refused"]), told
    assert told["outputs"] > 1000
    print(told)
