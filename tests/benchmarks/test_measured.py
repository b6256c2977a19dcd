"""The benchmark of measured kernels: its arithmetic by hand, on tables made here."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("measured", "kernel_tables", "expert_tables"):
        sys.modules.pop(name, None)
    return importlib.import_module("measured")


def test_errors_by_hand(measured):
    part = pd.DataFrame({"device": "d", "op": "gemm", "dtype": "bfloat16", "source": "s", "measured": [1.0, 2.0, 4.0, 8.0], "ours": [0.5, 2.0, 5.0, 8.0], "roofline": [0.1, 0.2, 0.4, 0.8]})
    row = measured.score(part, "t")[0]
    # errors 50, 0, 25, 0 %
    assert row["median %"] == pytest.approx(12.5)
    assert row["roofline %"] == pytest.approx(90.0)
    assert row["ratio"] == pytest.approx(1.0)
    assert row["rank"] == pytest.approx(1.0)
    # three times the least reading and longer: 4 and 8
    assert (row["above floor n"], row["above floor %"]) == (2, pytest.approx(12.5))
    # ours lifted by 1 - 0.5: 1, 2.5, 5.5, 8.5 against 1, 2, 4, 8: 0, 25, 37.5, 6.25 %
    assert row["harness added %"] == pytest.approx(15.625)
    assert row["why"] == ""


def test_a_large_error_has_its_reason(measured):
    part = pd.DataFrame({"device": "t4", "op": "softmax", "dtype": "float32", "source": "softmax", "measured": [1.0], "ours": [0.1], "roofline": [0.1]})
    assert "eagerly" in measured.score(part, "t")[0]["why"]
    assert measured.score(part.assign(op="unheard of", source="none"), "t")[0]["why"] == "not explained"


def test_a_quantised_layer_is_two_kernels(measured):
    frame = pd.DataFrame({"hardware": ["h100_sxm"] * 2, "dtype": ["bfloat16", "fp8"], "kernel_source": "x", "m": 16, "n": 4096, "k": 1024, "latency_ms": 1.0})
    table = importlib.import_module("kernel_tables").gemm(frame)
    product, quantised = table.launches
    assert product.rows.tolist() == [0, 1]
    assert quantised.rows.tolist() == [1]
    # results are bfloat16 whatever the operands; the quantisation reads 2 B and writes 1 B an element
    assert product.ops.output_bytes.tolist() == [16 * 4096 * 2] * 2
    assert quantised.ops.input_bytes[0] == 16 * 1024 * 2
    assert quantised.ops.output_bytes[0] == 16 * 1024
    scored = measured._simulated(table)
    assert (scored["ours"] > 0).all()
    # 16 x 1024 x 2 B, 1024 x 4096 x 2 B, 16 x 4096 x 2 B at 3.35 TB/s
    assert scored["roofline"][0] == pytest.approx((16 * 1024 + 1024 * 4096 + 16 * 4096) * 2 / 3.35e12)


def test_loads_of_experts(measured):
    loads = importlib.import_module("expert_tables").expert_loads
    assert loads(64, 8, 2, 4, 0.0) == (32.0, 2.0)      # 128 rows over 4 devices of 2 experts
    assert loads(1, 64, 4, 1, 1.2) == (4.0, 4.0)       # 4 rows reach 4 experts
    rows, active = loads(1024, 64, 4, 8, 1.2)
    assert 1024 * 4 / 8 < rows <= 1024 * 4             # the most loaded of 8 devices has more than its share
    assert active <= 8


def test_a_window_of_the_tables_reaches_the_simulator(measured):
    frame = pd.DataFrame({"hardware": ["h100_sxm"] * 2, "framework": "vllm", "kernel_source": "vllm_flash_attn_fa3", "batch_size": 1, "isl": 8192, "num_heads": 8, "num_key_value_heads": 8,
                          "head_dim": 128, "dtype": "bfloat16", "kv_cache_dtype": "bfloat16", "latency_ms": 1.0, "window_size": [0, 128]})
    ops = importlib.import_module("kernel_tables").attention_context(frame).launches[0].ops
    # 8192 x 8193 / 2 pairs a head; with 128 keys a query, 8192 x 128 less the 128 x 127 / 2 that the first queries lack
    assert np.round(ops.matrix_flops[1] / ops.matrix_flops[0], 9) == np.round((8192 * 128 - 128 * 127 / 2) / (8192 * 8193 / 2), 9)
