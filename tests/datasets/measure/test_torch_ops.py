"""Single operators really run: every kind, the right shapes, another set of operands each time."""

from __future__ import annotations

from typing import Any

import pytest

from silicast.datasets.errors import InputError, UnsupportedOpError
from silicast.datasets.measure.torch_ops import OPS, runnable, torch_device

torch = pytest.importorskip("torch")
#: kind -> sizes, and the shape of the result by hand
CASES: dict[str, tuple[dict[str, int], tuple[int, ...]]] = {
    "gemm": ({"b": 1, "m": 8, "n": 12, "k": 16}, (8, 12)), "conv": ({"batch": 2, "in_channels": 4, "in_h": 9, "in_w": 9, "out_channels": 6, "out_h": 5, "out_w": 5, "kernel_h": 3,
                                                                     "kernel_w": 3, "stride_h": 2, "stride_w": 2, "groups": 2}, (2, 6, 5, 5)),
    "attention": ({"batch": 1, "heads": 4, "kv_heads": 2, "q_len": 6, "kv_len": 6, "head_dim": 8, "v_dim": 8, "causal": 1}, (1, 4, 6, 8)),
    "norm": ({"rows": 4, "cols": 8}, (4, 8)), "softmax": ({"rows": 4, "cols": 8}, (4, 8)), "elementwise": ({"elements": 100, "cost": 1, "extra_elements": 100}, (100,)),
}


@pytest.fixture(autouse=True)
def _small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silicast.datasets.measure.torch_ops.cache_bytes", lambda device: 2**16)


@pytest.mark.parametrize("kind", OPS)
def test_every_kind_runs(kind: str) -> None:
    sizes, shape = CASES[kind]
    ready = runnable(kind, sizes, "float32", "cpu")
    first, second = ready.call(0), ready.call(1)
    assert tuple(first.shape) == shape
    assert ready.cold
    assert not torch.equal(first, second)  # other operands
    assert ready.clock(ready.call, 0, 3) > 0.0


def test_what_cannot_be_measured_is_told() -> None:
    with pytest.raises(UnsupportedOpError, match="'move'"):
        runnable("move", {"elements": 4}, "float32", "cpu")
    sizes: dict[str, Any] = {**CASES["attention"][0], "kv_len": 9}
    with pytest.raises(UnsupportedOpError, match="aligns its mask"):
        runnable("attention", sizes, "float32", "cpu")
    with pytest.raises(InputError, match="expected cpu or cuda"):
        torch_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            torch_device("cuda")
