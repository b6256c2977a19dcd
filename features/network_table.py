"""Rows of a table of whole networks -> a plain feature table with their physics: what an encoding means, in operations, bytes and seconds.

Three kinds of columns come beside the table's own. Of the network: operators, operations and bytes by class of operator. Of the network on its machine, where
the catalogue knows it: the summed analytic estimates of `features.bounds`, what limits them, and launches. And of the network on a few machines of different
kinds, whatever machine the row is about: networks that a GPU, a phone, a systolic array order alike a machine never seen will order alike, too.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..datasets import catalog
from ..datasets.columns import DeviceColumns, OpColumns
from ..datasets.hardware import Hardware
from ..datasets.networks import NetworkQuestions, Networks
from ..datasets.ops import KIND_CODES, KIND_NAMES
from ..datasets.table import FeatureQuestions
from .bounds import op_bounds

#: machines of the catalogue that every network is priced on: a systolic array, a fabric, a small and a large processor, an edge and a large GPU
PROBES = ("eyeriss", "zcu102", "raspberry_pi_4", "xeon_gold_6240", "jetson_nano", "gtx_1080_ti")
#: class of operator -> kinds; convolutions are told apart by what they do (`_classes`)
_CLASSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("gemm", ("gemm", "grouped_gemm")), ("attention", ("attention",)), ("recurrent", ("recurrent", "scan")), ("elementwise", ("elementwise",)),
    ("reduction", ("norm", "softmax", "reduce", "pool", "route")),
)
CLASS_NAMES = ("pointwise", "spatial", "depthwise", *(name for name, _ in _CLASSES), "movement")
#: columns of a network on a machine
ESTIMATES = ("estimate_s", "launch_s", "compute_share", "dram_share", "vector_share", "waves_share")


def widened(questions: NetworkQuestions) -> FeatureQuestions:
    """The rows with the physics of their networks as further columns, n rows in order."""
    net = questions.networks
    rows = questions.index
    columns: dict[str, np.ndarray] = {}
    sums = _of_network(net)
    for j, name in enumerate(CLASS_NAMES):
        for i, what in enumerate(("ops", "flops", "bytes")):
            columns[f"network.{name}_{what}"] = sums[rows, i * len(CLASS_NAMES) + j]
    for key in PROBES:
        columns[f"network.on_{key}"] = _priced(net, catalog.hardware(key))[rows, 0]
    if any(device is not None for device in questions.devices):
        found = np.full((len(questions), len(ESTIMATES)), np.nan)
        for at, device in enumerate(questions.devices):
            here = questions.device_index == at
            if device is not None and here.any():
                found[here] = _priced(net, device)[rows[here]]
    else:
        found = np.full((len(questions), len(ESTIMATES)), np.nan)
    columns |= {f"machine.{name}": found[:, j] for j, name in enumerate(ESTIMATES)}
    return FeatureQuestions(pd.concat([questions.frame.reset_index(drop=True), pd.DataFrame(columns)], axis=1))


def _of_network(net: Networks) -> np.ndarray:
    """(W, 3 x classes) counts, operations and bytes by class."""
    kept = net.kept.get("classes")
    if kept is None:
        member = _classes(net.ops)
        kept = net.kept["classes"] = net.total(np.concatenate([member, member * net.ops.flops[:, None], member * net.ops.total_bytes[:, None]], axis=1))
    return kept


def _classes(ops: OpColumns) -> np.ndarray:
    """(U, classes) 0 or 1. A convolution of few numbers per product is depthwise, one of a single place pointwise."""
    conv = np.isin(ops.kind, [KIND_CODES[k] for k in ("conv", "deform_conv") if k in KIND_CODES])
    thin = conv & (ops.n * ops.k < 64)
    columns = [conv & ~thin & (ops.window <= 1), conv & ~thin & (ops.window > 1), thin]
    columns += [np.isin(ops.kind, [KIND_CODES[k] for k in kinds if k in KIND_NAMES]) for _, kinds in _CLASSES]
    return np.column_stack([*columns, ~np.logical_or.reduce(columns)]).astype(np.float64)


def _priced(net: Networks, device: Hardware) -> np.ndarray:
    """(W, len(ESTIMATES)) of every network on one machine, operators one after the other."""
    kept = net.kept.get(device.digest)
    if kept is None:
        machines = DeviceColumns.from_devices([device]).take(np.zeros(len(net.ops), dtype=np.int64))
        b = op_bounds(net.ops, machines, in_graph=True)
        few = b.estimate_s * (b.waves < 1.0) * (net.ops.matrix_flops > 0)
        sums = net.total(np.column_stack([b.estimate_s + b.launch_s, b.launch_s, b.compute_s, b.dram_s, b.vector_s, few]))
        kept = net.kept[device.digest] = np.column_stack([sums[:, :2], sums[:, 2:] / sums[:, :1]])
    return kept
