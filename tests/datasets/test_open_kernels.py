"""Measured kernels under silicast's own names: sizes by hand from made-up rows of each set, and the open sets themselves where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import open_kernels, sources
from silicast.datasets.measured import read_measured

DATA = next((Path(p) for p in (os.environ.get(sources.VARIABLE), Path(__file__).resolve().parents[3] / "shared" / "data") if p and Path(p).is_dir()), None)


def test_routed_experts_are_one_devices_share(tmp_path: Path) -> None:
    frame = pd.DataFrame({"hardware": ["h100_sxm"], "framework": ["vllm"], "kernel_source": ["x"], "dtype": ["fp8"], "num_tokens": [1024], "hidden_size": [4096], "inter_size": [2048], "topk": [8],
                          "num_experts": [64], "moe_tp_size": [2], "moe_ep_size": [4], "distribution": ["balanced"], "latency_ms": [1.0]})
    frame.to_parquet(tmp_path / "moe.parquet")
    row = open_kernels.experts({"aiconfigurator/moe.parquet": tmp_path / "moe.parquet"}, 10, 0).iloc[0]
    # 64 experts on 4 devices; 1024 tokens to 8 experts each, a quarter of them here; each expert's 2048 columns halved
    assert (row["groups"], row["m"], row["n"], row["k"], row["variant"]) == (16, 2048, 1024, 4096, "balanced")


def test_vidurs_projections_have_the_sizes_of_the_layer(tmp_path: Path) -> None:
    base = {"device": "a100", "model": "m", "source": "s", "n_head": 32, "n_kv_head": 8, "n_embd": 4096, "n_expanded_embd": 14336, "vocab_size": 1, "use_gated_mlp": True, "num_tokens": 100,
            "num_tensor_parallel_workers": 2, "mean_ms": 1.0, "median_ms": 1.0, "std_ms": 0.0}
    pd.DataFrame([{**base, "op": op} for op in ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj")]).to_parquet(tmp_path / "v.parquet")
    sizes = open_kernels._vidur_gemms(tmp_path / "v.parquet", 10, 0).set_index("variant")[["m", "n", "k"]]
    # Llama-3-8B on two devices: 16 heads and twice 4 key heads of 128; 7168 of 14336 columns, twice for the gate
    assert sizes.loc["attn_pre_proj"].tolist() == [100, 128 * (16 + 8), 4096]
    assert sizes.loc["attn_post_proj"].tolist() == [100, 4096, 2048]
    assert sizes.loc["mlp_up_proj"].tolist() == [100, 2 * 7168, 4096]
    assert sizes.loc["mlp_down_proj"].tolist() == [100, 4096, 7168]


@pytest.mark.skipif(DATA is None, reason="the open measured data is not at hand (SILICAST_DATA)")
@pytest.mark.parametrize("name", ["gemms", "attention", "experts", "vectors", "powers"])
def test_every_open_row_can_be_read(name: str) -> None:
    assert DATA is not None
    found = {f"{s.name}/{file}": DATA / s.name / file for s in sources.SOURCES.values() for file in s.files}
    frame = getattr(open_kernels, name)(found, 600, 0)
    table = read_measured(frame, open_kernels.POWER_SCHEMA if name == "powers" else open_kernels.SCHEMA)
    assert len(table) == len(frame) > 500
    assert all(d is not None for d in table.questions.devices)
    assert (table.targets["latency_s"] > 0).all()
    if name == "powers":
        np.testing.assert_allclose(table.targets["energy_j"], table.targets["latency_s"] * table.targets["power_w"], rtol=1e-5)
