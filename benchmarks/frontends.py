"""Every ONNX file at hand, read: operators, FLOPs, parameters, time; what ONNX Runtime makes of it; and the two times that are promised.

    python benchmarks/frontends.py [--json PATH] [--no-run]

Files come from installed packages (rapidocr-onnxruntime, magika, silero-vad, nudenet, piper-tts, onnx, onnxruntime); one that is not
installed is a row that says so. "runtime" tells of how many tensors ONNX Runtime, fed with zeros, makes the bytes that the workload states.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from _tables import print_table, write_json

from silicast.datasets.errors import SilicastError
from silicast.datasets.frontends import read

#: package -> file name -> dimensions; a file that is not named is read without any
FILES: dict[str, dict[str, dict[str, int]]] = {
    "rapidocr_onnxruntime": {
        "ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x.0": 1, "x.2": 48, "x.3": 192},
        "ch_PP-OCRv4_rec_infer.onnx": {"p2o.DynamicDimension.0": 1, "p2o.DynamicDimension.1": 320, "x.2": 48},
        "ch_PP-OCRv4_det_infer.onnx": {"p2o.DynamicDimension.0": 1, "p2o.DynamicDimension.1": 320, "p2o.DynamicDimension.2": 320},
    },
    "magika": {"model.onnx": {"bytes.0": 2}},
    "silero_vad": {
        "silero_vad.onnx": {"input.0": 1, "input.1": 576, "state.1": 1, "sr": 16000}, "silero_vad_half.onnx": {"batch": 1, "sequence": 576},
        "silero_vad_16k_op15.onnx": {"batch": 1, "sequence": 576}, "silero_vad_16k_sequence.onnx": {"sequence_length": 10},
        "silero_vad_openvino_16k.onnx": {}, "silero_vad_op18_ifless.onnx": {"batch": 1, "sequence": 576, "sr": 16000},
    },
    "nudenet": {"320n.onnx": {"batch": 1, "height": 320, "width": 320}},
    "piper": {"nakdimon.onnx": {"unk__1915": 1, "unk__1916": 80}, "model.onnx": {"batch": 1, "seq": 80}},
    "onnxruntime": {"mul_1.onnx": {}, "sigmoid.onnx": {}, "logreg_iris.onnx": {}},
    "onnx": {},
}
#: of the onnx package only the networks; its operator tests are counted, not listed
NETWORKS = "light"
MOST_RESNET_S, MOST_NODES_S = 0.050, 1.5


def main() -> int:
    """Prints the tables; exit code 1 when a file crashes, disagrees with the runtime, or a promised time is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write what was measured")
    parser.add_argument("--no-run", action="store_true", help="do not run the files with ONNX Runtime")
    given = parser.parse_args()
    rows = [row for package in FILES for row in _package(package, not given.no_run)]
    print_table("ONNX files tried (median of 5 reads; processor time)", rows)
    tests = _operator_tests()
    print_table("Models of onnx's own backend tests", tests)
    speed = _promises()
    print_table("Promised times", speed)
    write_json(given.json, {"files": rows, "backend_tests": tests, "promises": speed})
    return int(any("no:" in str(row.get("runtime")) for row in rows) or not all(row["kept"] for row in speed))


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(next(iter(spec.submodule_search_locations))) if spec is not None and spec.submodule_search_locations else None


def _package(package: str, run: bool) -> list[dict[str, Any]]:
    folder = _folder(package)
    if folder is None:
        return [{"package": package, "file": "not installed"}]
    if package == "onnx":
        folder = folder / "backend" / "test" / "data" / NETWORKS
    return [_file(package, path, FILES[package].get(path.name, {}), run and package != "onnx") for path in sorted(folder.rglob("*.onnx"))]


def _file(package: str, path: Path, dims: dict[str, int], run: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"package": package, "file": path.name}
    try:
        workload = read(path, dims=dims)
    except SilicastError as error:
        return {**row, "refused": str(error).removeprefix(f"{path}: ")[:160]}
    kinds = {op.kind for op in workload.ops}
    row |= {"nodes": _nodes(path), "ops": len(workload.ops), "kinds": len(kinds), "gflops": workload.flops / 1e9, "mparams": workload.params / 1e6,
            "ms": 1e3 * _seconds(lambda: read(path, dims=dims))}
    if run:
        row["runtime"] = _runs(path, dims)
    return row


def _nodes(path: Path) -> int:
    import onnx

    return len(onnx.load(path, load_external_data=False).graph.node)


def _runs(path: Path, dims: dict[str, int]) -> str:
    """Whether the runtime's outputs have the bytes that the workload states."""
    try:
        import numpy as np
        import onnx
        import onnxruntime
    except ImportError:
        return "no runtime"
    onnxruntime.set_default_logger_severity(4)
    tensors = {t.name: t.bytes for t in read(path, dims=dims).tensors if t.producer >= 0}
    model = onnx.load(path)
    stated = {o.name for o in model.graph.output}
    names = [n for n in dict.fromkeys(o for node in model.graph.node for o in node.output) if n in tensors]
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in stated)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_, "tensor(float16)": np.float16}
        feeds = {}
        for item in session.get_inputs():
            shape = [size if isinstance(size, int) and size > 0 else dims.get(f"{item.name}.{axis}", dims.get(str(size), 1)) for axis, size in enumerate(item.shape)]
            feeds[item.name] = np.full(shape, dims.get(item.name, 0 if "float" in item.type else 1), types[item.type])
        made = dict(zip(names, session.run(names or None, feeds), strict=False))
    except Exception as error:  # the runtime has errors of its own
        return f"refuses: {str(error)[:60]}"
    wrong = [f"{n} {tensors[n]} != {a.nbytes}" for n, a in made.items() if tensors[n] != a.nbytes]
    return f"no: {len(wrong)} of {len(names)}, {wrong[0]}" if wrong else f"{len(names)} of {len(names)}" if names else "runs; all inside branches"


def _operator_tests() -> list[dict[str, Any]]:
    folder = _folder("onnx")
    if folder is None:
        return []
    counts: dict[str, list[int]] = {}
    began = time.process_time()
    for path in sorted((folder / "backend" / "test" / "data").rglob("*.onnx")):
        kept = counts.setdefault(path.relative_to(folder / "backend" / "test" / "data").parts[0], [0, 0])
        try:
            read(path)
            kept[0] += 1
        except SilicastError:
            kept[1] += 1
    spent = time.process_time() - began
    return [{"folder": name, "read": good, "refused with a reason": refused} for name, (good, refused) in counts.items()] + [{"folder": f"all in {spent:.1f} s"}]


def _seconds(call: Callable[[], Any], repeats: int = 5) -> float:
    """Median processor time of a call, after one that warms up."""
    call()
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return sorted(taken)[repeats // 2]


def _promises() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        resnet, chain = Path(folder) / "resnet50.onnx", Path(folder) / "chain.onnx"
        _write_resnet50(resnet)
        _write_chain(chain)
        rows = []
        for path, most, what in ((resnet, MOST_RESNET_S, f"ResNet-50 with its weights ({resnet.stat().st_size >> 20} MiB)"), (chain, MOST_NODES_S, "a graph of 10,000 nodes")):
            workload = read(path)
            taken = _seconds(lambda path=path: read(path))
            rows.append({"what": what, "ops": len(workload.ops), "gmacs": workload.macs / 1e9, "mparams": workload.params / 1e6, "ms": 1e3 * taken, "at most ms": 1e3 * most,
                         "kept": taken <= most})
        return rows


def _write_resnet50(path: Path) -> None:
    """He et al. 2015 as torchvision exports it: normalisations apart, weights in the file (zeros)."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    nodes: list[Any] = []
    weights: dict[str, tuple[int, ...]] = {}

    def add(op: str, inputs: list[str], **attrs: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [f"t{len(nodes)}"], name=f"{op}_{len(nodes)}", **attrs))
        return f"t{len(nodes) - 1}"

    def weight(*shape: int) -> str:
        weights[f"w{len(weights)}"] = shape
        return f"w{len(weights) - 1}"

    def conv(x: str, cin: int, cout: int, kernel: int, stride: int = 1, relu: bool = True) -> str:
        x = add("Conv", [x, weight(cout, cin, kernel, kernel)], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4)
        x = add("BatchNormalization", [x, *(weight(cout) for _ in range(4))])
        return add("Relu", [x]) if relu else x

    x = add("MaxPool", [conv("x", 3, 64, 7, 2)], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    cin = 64
    for width, repeats in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(repeats):
            stride = 2 if block == 0 and width > 64 else 1
            y = conv(conv(conv(x, cin, width, 1), width, width, 3, stride), width, 4 * width, 1, relu=False)
            x = add("Relu", [add("Add", [y, conv(x, cin, 4 * width, 1, stride, relu=False) if block == 0 else x])])
            cin = 4 * width
    x = add("Gemm", [add("Flatten", [add("GlobalAveragePool", [x])]), weight(1000, 2048), weight(1000)], transB=1)
    graph = helper.make_graph(nodes, "resnet50", [helper.make_tensor_value_info("x", 1, [1, 3, 224, 224])], [helper.make_tensor_value_info(x, 1, [1, 1000])],
                              [numpy_helper.from_array(np.zeros(s, np.float32), n) for n, s in weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def _write_chain(path: Path) -> None:
    """2500 times Conv, Relu, Add, Reshape."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, last = [], "x"
    for i in range(2500):
        nodes += [helper.make_node("Conv", [last, f"w{i % 10}"], [f"c{i}"], pads=[1, 1, 1, 1]), helper.make_node("Relu", [f"c{i}"], [f"r{i}"]),
                  helper.make_node("Add", [f"r{i}", last], [f"a{i}"]), helper.make_node("Reshape", [f"a{i}", "s"], [f"q{i}"])]
        last = f"q{i}"
    stored = [numpy_helper.from_array(np.array([1, 8, 16, 16]), "s"), *(TensorProto(name=f"w{i}", data_type=1, dims=(8, 8, 3, 3)) for i in range(10))]
    graph = helper.make_graph(nodes, "chain", [helper.make_tensor_value_info("x", 1, [1, 8, 16, 16])], [helper.make_tensor_value_info(last, 1, None)], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


if __name__ == "__main__":
    raise SystemExit(main())
