"""Machines nobody knows: whose times go like whose, what a name tells, and who is asked about without rows."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import DeviceColumns, OpColumns
from silicast.datasets.ops import Op
from silicast.datasets.table import OpQuestions
from silicast.features.bounds import op_bounds
from silicast.features.stand_ins import MARK, chosen, stood_in
from silicast.features.tabular import tabular_features

SIZES = list(product((16, 64, 256, 1024), repeat=3))


def asked(name: str, sizes: list[tuple[int, int, int]] = SIZES) -> OpQuestions:
    ops = OpColumns.from_ops([Op.of("g", "gemm", m=m, n=n, k=k, dtype="float32") for m, n, k in sizes])
    nothing = pd.DataFrame(index=range(len(ops)))
    return OpQuestions(ops, (name,), (None,), np.zeros(len(ops), dtype=np.int64), nothing, nothing)


def estimated(key: str, questions: OpQuestions) -> np.ndarray:
    b = op_bounds(questions.ops, DeviceColumns.from_devices([catalog.hardware(key)] * len(questions)), in_graph=False)
    return np.asarray(b.estimate_s + b.launch_s)


@pytest.mark.parametrize("key", ["raspberry_pi_4", "epyc_7742", "jetson_nano"])
def test_times_like_those_of_a_machine_are_priced_like_them(key: str) -> None:
    some, rest = asked("board of mine", SIZES[::3]), asked("board of mine", SIZES[1::3])
    vocabulary = {**chosen(some, 3.0 * estimated(key, some)), "device": ("board of mine",)}
    devices, factor = stood_in(rest, vocabulary)
    assert devices[0] is not None
    off = np.abs(factor * estimated(devices[0].key, rest) / (3.0 * estimated(key, rest)) - 1.0)
    assert np.median(off) < 0.15
    assert np.quantile(off, 0.9) < 0.5
    reference = tabular_features(rest, vocabulary).reference["latency_s"]
    unpriced = tabular_features(asked("board of mine", SIZES[1::3]), {"device": ("board of mine",)}).reference["latency_s"]
    truth = 3.0 * estimated(key, rest)
    # the simulator's answer for the stand-in is no copy of its estimate, but far nearer than that for a typical GPU where the machine is none
    spread = [np.abs(np.log(r / truth) - np.median(np.log(r / truth))).mean() for r in (reference, unpriced)]
    assert spread[0] < 0.5 * spread[1]


def test_a_name_tips_the_scale_and_speaks_for_machines_without_rows() -> None:
    rows = asked("MI308X")
    told = chosen(rows, estimated("mi300x", rows))
    assert told[MARK][0].startswith("mi300x 1 ")
    for name, key in (("NVIDIA GeForce RTX 3060 Laptop GPU", "rtx_3060"), ("Xeon Gold 6138", "xeon_gold_6130"), ("node 17", "mi300x"), ("machine a", "mi300x"), ("Intel CPU", "mi300x"), ("rtx", "mi300x")):
        devices, factor = stood_in(asked(name), told)
        assert devices[0] is not None
        assert devices[0].key == key
        assert (factor == pytest.approx(1.0)) if key != "mi300x" else np.isfinite(factor).all()


def test_nothing_is_chosen_where_rows_do_not_tell() -> None:
    few = asked("board", SIZES[:3])
    assert chosen(few, estimated("t4", few)) == {}
    assert stood_in(few, {})[0] == (None,)
    bad = asked("board")
    assert chosen(bad, np.full(len(bad), np.nan)) == {}
