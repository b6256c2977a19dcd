"""Physics of whole networks as columns: sums over operators, and what only a known machine has."""

from __future__ import annotations

import numpy as np
import pandas as pd

from silicast.datasets.encodings import decode
from silicast.datasets.measured import read_measured
from silicast.features.network_table import CLASS_NAMES, ESTIMATES, PROBES, widened

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|{}~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def rows(machines: tuple[str, ...]) -> pd.DataFrame:
    frame = pd.DataFrame([{"arch": CELL.format(op), "gpu": m, "ms": 1.0} for m in machines for op in ("none", "nor_conv_1x1", "nor_conv_3x3")])
    return widened(read_measured(frame, {"workload": {"column": "arch", "format": "nas-bench-201"}, "hardware": "gpu", "targets": {"latency_s": {"column": "ms", "unit": "ms"}}}).questions).frame


def test_classes_of_operators_add_up_to_the_network() -> None:
    frame = rows(("h100",))
    for what in ("ops", "flops", "bytes"):
        np.testing.assert_allclose(sum(frame[f"network.{name}_{what}"] for name in CLASS_NAMES), frame[f"network.{what}"], rtol=1e-6)
    assert frame["network.pointwise_ops"].diff().tolist()[1:] == [15.0, -15.0]  # one edge of fifteen cells
    net = decode("nas-bench-201", CELL.format("nor_conv_3x3"))
    assert frame["network.spatial_flops"][2] <= net.flops


def test_more_work_takes_longer_on_every_probe_and_machine() -> None:
    frame = rows(("h100", "raspberry_pi_4"))
    for name in (*(f"network.on_{p}" for p in PROBES), "machine.estimate_s"):
        assert (frame[name].groupby(frame["gpu"]).diff().dropna() > 0).all(), name
    estimates = frame.groupby("gpu")["machine.estimate_s"].mean()
    assert estimates["h100_sxm"] < estimates["raspberry_pi_4"]
    assert np.allclose(frame.loc[frame["gpu"] == "raspberry_pi_4", "machine.estimate_s"], frame.loc[frame["gpu"] == "raspberry_pi_4", "network.on_raspberry_pi_4"])


def test_a_machine_nobody_knows_has_no_estimates() -> None:
    frame = rows(("h100", "board"))
    unknown = frame["gpu"] == "board"
    assert frame.loc[unknown, [f"machine.{e}" for e in ESTIMATES]].isna().all().all()
    assert frame.loc[~unknown, [f"machine.{e}" for e in ESTIMATES]].notna().all().all()
