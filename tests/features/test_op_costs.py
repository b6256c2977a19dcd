"""The simulator's answers as rows: each row is its own operator's answer on its own machine, hot is never slower than cold."""

from __future__ import annotations

import numpy as np
import pandas as pd

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.ops import Op
from silicast.datasets.simulator.simulate import simulate_ops
from silicast.datasets.table import OpQuestions
from silicast.features.matrix import ROLES
from silicast.features.op_costs import op_costs
from silicast.features.tabular import tabular_features

DEVICES = (catalog.hardware("a100_sxm"), None, catalog.hardware("tpu_v3"), catalog.hardware("zcu102"))


def questions() -> OpQuestions:
    rng = np.random.default_rng(0)
    ops = OpColumns.from_ops([Op.of("o", "gemm", m=int(rng.integers(1, 4096)), n=256, k=512) for _ in range(10)] + [Op.of("e", "elementwise", elements=10**6)] * 2)
    return OpQuestions(ops.take(np.repeat(np.arange(12), 4)), ("a", "b", "c", "d"), DEVICES, np.arange(48) % 4, pd.DataFrame(index=range(48)), pd.DataFrame(index=range(48)))


def test_each_row_is_what_the_simulator_says_of_it() -> None:
    asked, found = questions(), op_costs(questions())
    for device in (0, 2):
        rows = np.flatnonzero(asked.device_index == device)
        truth = simulate_ops(asked.ops.take(rows), [DEVICES[device]]).time_s[:, 0]  # type: ignore[list-item]
        np.testing.assert_allclose(found.cold_s[rows] + found.launch_s[rows], truth, rtol=1e-9)


def test_hot_is_never_slower_and_nothing_is_said_where_nothing_is_known() -> None:
    found = op_costs(questions())
    said = np.isin(questions().device_index, (0, 2))
    np.testing.assert_array_equal(np.isfinite(found.cold_s), said)
    assert (found.hot_s[said] <= found.cold_s[said] * (1 + 1e-9)).all()
    assert (found.compute_s[said] <= found.cold_s[said] * (1 + 1e-9)).all()


def test_portable_columns_are_neither_sizes_nor_figures() -> None:
    features = tabular_features(questions(), {"device": ("b",)})
    assert set(features.roles) <= set(ROLES)
    assert len(features.roles) == len(features.names)
    portable = features.portable()
    assert not set(portable.roles) & {"size", "device"}
    assert [portable.names[i] for i in portable.categorical] == [features.names[i] for i in features.categorical]
    assert portable.values.shape == (48, len(portable.names))
    assert features.ceilings is not None
    assert (features.ceilings > 0).all()
