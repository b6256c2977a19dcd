"""`net(...)`: writes a tiny ONNX model and reads it back as a Workload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from silicast.datasets.frontends import read


def write(path: Path, nodes: list[Any], inputs: dict[str, Any], outputs: list[str], weights: dict[str, Any] | None = None, opset: int = 17,
          domains: dict[str, int] | None = None, **graph_fields: Any) -> Path:
    """Inputs: name -> shape or (element type, shape). Weights: name -> array, or a shape (declared, no data, float32)."""
    initializers = []
    for name, weight in (weights or {}).items():
        if isinstance(weight, tuple):
            initializers.append(TensorProto(name=name, data_type=TensorProto.FLOAT, dims=weight))
        elif isinstance(weight, TensorProto):
            weight.name = name
            initializers.append(weight)
        else:
            initializers.append(numpy_helper.from_array(np.asarray(weight), name))
    infos = []
    for name, given in inputs.items():
        elem, shape = given if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], (list, tuple)) else (TensorProto.FLOAT, given)
        infos.append(helper.make_tensor_value_info(name, elem, shape))
    graph = helper.make_graph(nodes, "g", infos, [helper.make_empty_tensor_value_info(o) for o in outputs], initializers, **graph_fields)
    for info in graph.output:
        info.type.tensor_type.elem_type = TensorProto.FLOAT
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in (domains or {}).items())]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@pytest.fixture
def net(tmp_path: Path) -> Callable[..., Any]:
    def make(nodes: Any, inputs: dict[str, Any], outputs: list[str], weights: dict[str, Any] | None = None, *, opset: int = 17,
             domains: dict[str, int] | None = None, **arguments: Any) -> Any:
        nodes = nodes if isinstance(nodes, list) else [nodes]
        return read(write(tmp_path / "net.onnx", nodes, inputs, outputs, weights, opset, domains), **arguments)
    return make


@pytest.fixture
def onnx_file(tmp_path: Path) -> Callable[..., Path]:
    def make(*arguments: Any, **fields: Any) -> Path:
        return write(tmp_path / "net.onnx", *arguments, **fields)
    return make
