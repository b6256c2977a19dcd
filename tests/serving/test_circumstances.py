"""What a question about an operator left out is taken as it was measured most often, and said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from silicast.datasets.measured import read_measured
from silicast.serving.circumstances import completed
from silicast.surrogates.card import ModelCard

GEMM = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "hardware": "hardware", "targets": {}}
CARD = ModelCard("kernels", "1", "op", ("latency_s",), {}, "1", "1", "made up", "d", 10, "none", 0.9, schema={"columns": {"gemm": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "softmax": {}},
                 "op": {"column": "op"}, "context": ["framework", "kernel_source", "variant"], "hardware": "hardware", "group": ["site"], "targets": {}},
                 extra={"circumstances": json.dumps({"context": ["framework", "kernel_source", "variant"], "rows": [
                     ["gemm", "h100_sxm", "bfloat16", "vllm", "cublas", "", 90], ["gemm", "h100_sxm", "fp8", "sglang", "deepgemm", "", 50],
                     ["gemm", "h100_sxm", "bfloat16", "trtllm", "torch_flow", "", 10], ["gemm", "a100_sxm", "float16", "pytorch", "vllm", "linear", 5]]})})


def asked(frame: pd.DataFrame, context: tuple[str, ...] = ()) -> Any:
    return read_measured(frame, {**GEMM, "context": list(context)}, need_targets=False).questions


def one(**fields: Any) -> pd.DataFrame:
    return pd.DataFrame([{"m": 16, "n": 32, "k": 64, "dtype": "bfloat16", "hardware": "h100_sxm", **fields}])


def test_what_is_not_told_is_what_was_measured_most_often() -> None:
    whole, notes = completed(asked(one()), CARD)
    assert whole.context.loc[0, ["op", "dtype_name", "framework", "kernel_source", "variant"]].tolist() == ["gemm", "bfloat16", "vllm", "cublas", ""]
    assert notes == ["framework, kernel_source not told: taken as measured most often (gemm on h100_sxm: vllm / cublas)"]


def test_what_is_told_is_kept_and_decides_the_rest() -> None:
    whole, _ = completed(asked(one(framework="trtllm"), ("framework",)), CARD)
    assert whole.context.loc[0, ["framework", "kernel_source"]].tolist() == ["trtllm", "torch_flow"]
    whole, _ = completed(asked(one(dtype="fp8")), CARD)
    assert whole.context.loc[0, ["framework", "kernel_source"]].tolist() == ["sglang", "deepgemm"]


def test_sixteen_bits_stand_for_sixteen_bits() -> None:
    whole, notes = completed(asked(one(dtype="float16")), CARD)
    assert whole.context.loc[0, "dtype_name"] == "bfloat16"
    assert "bfloat16" in notes[-1]
    kept, _ = completed(asked(one(dtype="float16", hardware="a100_sxm")), CARD)
    assert kept.context.loc[0, "dtype_name"] == "float16"
    assert np.array_equal(kept.ops.dtype, asked(one(dtype="float16")).ops.dtype)


def test_a_model_of_the_users_own_is_left_alone() -> None:
    questions = asked(one())
    assert completed(questions, replace(CARD, extra={}))[0] is questions
