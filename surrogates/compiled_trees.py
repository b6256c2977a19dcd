"""Boosted trees through ONNX Runtime: one row in microseconds, the same answers as LightGBM's.

LightGBM compares in double precision, ONNX's tree operator in single: a threshold becomes the largest single-precision number not above it, so that every
single-precision input goes the same way (and features are single precision: `features.matrix`). A set of categories becomes a chain of comparisons with the ends
of its runs, so that all nodes compare alike: the runtime's loop over such trees is its fastest. What is missing goes where LightGBM sends it. Needs onnxruntime (extra
`measure`).
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..datasets.errors import FormatError, InputError, UnknownNameError


def single_below(threshold: float) -> np.float32:
    """The largest single-precision number that is not above `threshold`."""
    near = np.float32(np.clip(threshold, -3.4e38, 3.4e38))
    return np.nextafter(near, np.float32(-np.inf)) if float(near) > threshold else near


class _Nodes:
    """The lists that ONNX's tree operator is made of."""

    def __init__(self) -> None:
        self.lists: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids", "missing_value_tracks_true")}
        self.leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
        self._count = 0

    def tree(self, number: int, root: Mapping[str, Any]) -> None:
        """One tree of LightGBM's dump."""
        self._count = 0
        self._node(number, root)

    def _add(self, number: int, feature: int, mode: str, value: float, missing: bool = False) -> tuple[int, int]:
        """(node's id, its place in the lists); its children are told later."""
        at = len(self.lists["nodeids"])
        node = self._count
        self._count += 1
        for name, given in (("treeids", number), ("nodeids", node), ("featureids", feature), ("modes", mode), ("values", float(value)), ("truenodeids", 0), ("falsenodeids", 0),
                            ("missing_value_tracks_true", int(missing))):
            self.lists[name].append(given)
        return node, at

    def _children(self, at: int, yes: int, no: int) -> None:
        self.lists["truenodeids"][at], self.lists["falsenodeids"][at] = yes, no

    def _node(self, number: int, node: Mapping[str, Any]) -> int:
        if "leaf_value" in node and "split_feature" not in node:
            made, _ = self._add(number, 0, "LEAF", 0.0)
            for name, given in (("treeids", number), ("nodeids", made), ("ids", 0), ("weights", float(node["leaf_value"]))):
                self.leaves[name].append(given)
            return made
        kind, feature = node["decision_type"], int(node["split_feature"])
        if kind == "<=":
            threshold = float(node["threshold"])
            # where nothing counts as missing, NaN is zero
            missing = bool(node["default_left"]) if node["missing_type"] == "NaN" else threshold >= 0.0
            if node["missing_type"] == "Zero":
                raise FormatError("trees: zeros count as missing, which no single comparison can tell; fit without zero_as_missing")
            made, at = self._add(number, feature, "BRANCH_LEQ", float(single_below(threshold)), missing)
            self._children(at, self._node(number, node["left_child"]), self._node(number, node["right_child"]))
            return made
        if kind != "==":
            raise FormatError(f"trees: a decision {kind!r}; expected <= or ==")
        # below a run: no; not above its end: yes; above the last, or missing: no
        ends = [end for first, last in _runs(sorted(int(value) for value in str(node["threshold"]).split("||"))) for end in (first - 1, last)]
        chain = [self._add(number, feature, "BRANCH_LEQ", float(end)) for end in ends]
        yes, no = self._node(number, node["left_child"]), self._node(number, node["right_child"])
        for i, (_, at) in enumerate(chain):
            self._children(at, yes if i % 2 else no, chain[i + 1][0] if i + 1 < len(chain) else no)
        return chain[0][0]


def _runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """(first, last) of each run of consecutive numbers in rising ones."""
    out: list[tuple[int, int]] = []
    for value in values:
        if out and out[-1][1] == value - 1:
            out[-1] = out[-1][0], value
        else:
            out.append((value, value))
    return out


def as_onnx(booster: Any) -> bytes:
    """A fitted LightGBM regressor as an ONNX model: (n, d) float32 -> (n, 1) float32. Raises FormatError for trees that cannot be told so."""
    from onnx import TensorProto, helper

    dump = booster.dump_model(num_iteration=booster.best_iteration or -1)
    nodes = _Nodes()
    for number, tree in enumerate(dump["tree_info"]):
        nodes.tree(number, tree["tree_structure"])
    columns = int(dump["max_feature_idx"]) + 1
    said: dict[str, Any] = {"n_targets": 1, "aggregate_function": "AVERAGE" if dump.get("average_output") else "SUM",
                            **{f"nodes_{k}": v for k, v in nodes.lists.items()}, **{f"target_{k}": v for k, v in nodes.leaves.items()}}
    made = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **said)
    graph = helper.make_graph([made], "trees", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, columns])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


#: what may run trees
BACK_ENDS = ("onnxruntime", "lleaves")


def compiled(surrogate: Any, backend: str = "onnxruntime") -> Any:
    """The same surrogate with every tree in it compiled, in wrappers and members too; what has no trees stays as it is. Raises FormatError where trees cannot be, UnknownNameError for a
    back end that is none of `BACK_ENDS`, InputError where it is not installed."""
    if backend not in BACK_ENDS:
        raise UnknownNameError("back end for trees", backend, BACK_ENDS)
    made = copy.copy(surrogate)
    if hasattr(surrogate, "_boosters"):
        made._boosters = {name: _made(one, backend) for name, one in surrogate._boosters.items()}
    if isinstance(getattr(surrogate, "members", None), list):
        made.members = [compiled(one, backend) for one in surrogate.members]
    inner = getattr(surrogate, "inner", None)
    if inner is not None:
        setattr(made, "_inner" if hasattr(surrogate, "_inner") else "inner", compiled(inner, backend))
    return made


def _made(booster: Any, backend: str) -> Any:
    if backend == "lleaves":
        from .native_trees import NativeTrees

        return NativeTrees(booster)
    try:
        return CompiledTrees(booster)
    except ModuleNotFoundError as error:
        raise InputError(f"trees in ONNX Runtime: {error.name} is not installed; run: pip install onnxruntime") from None


def _row(session: Any) -> tuple[np.ndarray, np.ndarray, Callable[[], None]]:
    """(one row (1, d), its answer (1, 1), what computes the one from the other): where the runtime reads and writes them itself. Handing over arrays costs as much
    as a third of the trees."""
    from onnxruntime import OrtValue

    values, answer = np.zeros((1, int(session.get_inputs()[0].shape[1])), dtype=np.float32), np.zeros((1, 1), dtype=np.float32)
    bound = session.io_binding()
    # on a processor these share the arrays' memory, and keep hold of it
    bound.bind_ortvalue_input("x", OrtValue.ortvalue_from_numpy(values))
    bound.bind_ortvalue_output("y", OrtValue.ortvalue_from_numpy(answer))
    inner: Any = getattr(session, "_sess", None)
    holder = getattr(bound, "_iobinding", None)
    if hasattr(inner, "run_with_iobinding") and holder is not None:  # without the checks of the class around it, which cost a twentieth
        return values, answer, partial(inner.run_with_iobinding, holder, None)
    return values, answer, partial(session.run_with_iobinding, bound)


class CompiledTrees:
    """A booster in ONNX Runtime, one thread. `predict`: (n, d) -> (n,)."""

    def __init__(self, booster: Any) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(as_onnx(booster), options, providers=["CPUExecutionProvider"])
        self._columns = int(self._session.get_inputs()[0].shape[1])
        self._mine = threading.local()  # each thread has a row of its own

    def predict(self, values: np.ndarray, num_threads: int = 1) -> np.ndarray:
        """(n,) sums of leaves for (n, d) features, on the learned scale; in one thread, whatever is asked for, as LightGBM does for few rows. Raises for another number
        of features."""
        if values.shape != (1, self._columns):
            return np.asarray(self._session.run(None, {"x": np.ascontiguousarray(values, dtype=np.float32)})[0], dtype=np.float64)[:, 0]
        try:
            row, answer, run = self._mine.row
        except AttributeError:
            row, answer, run = self._mine.row = _row(self._session)
        row[:] = values
        run()
        return answer[0].astype(np.float64)
