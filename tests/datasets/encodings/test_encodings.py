"""Networks of search spaces: multiply-adds and parameters as published, and as the open tables count them; bad vectors refused by name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from silicast.datasets.encodings import ENCODINGS, decode
from silicast.datasets.encodings.ecnas import channels_of
from silicast.datasets.encodings.nas_bench_201 import cell_of
from silicast.datasets.encodings.vector import divisible
from silicast.datasets.errors import FormatError, GraphError, InputError, UnknownNameError
from silicast.datasets.workload import Workload

DATA = Path(os.environ.get("SILICAST_DATA") or Path(__file__).resolve().parents[3].parent / "shared" / "data")


def rows(path: str, count: int) -> list[dict]:
    """`count` rows of an open table, evenly spread."""
    if not (DATA / path).exists():
        pytest.skip(f"no open table {path}: set SILICAST_DATA")
    table = pd.read_parquet(DATA / path)
    return table.iloc[:: max(1, len(table) // count)].to_dict("records")


def nb201(*names: str) -> str:
    a, b, c, d, e, f = names
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


CONV, SKIP, NONE = "nor_conv_3x3", "skip_connect", "none"
# 22 layers of the FBNets, A to C (figure 4 of the paper; layer 16 of A as its authors' code has it)
FBNETS = {
    "A": "skip k3_e3 k3_e1 skip skip k5_e6 k3_e3 k5_e1 k3_e3 k5_e6 k5_e3 k5_e1_g2 k5_e6 k3_e6 k5_e1_g2 k5_e3 k3_e1_g2 k5_e6 k5_e6 k5_e3 k5_e6 k5_e6",
    "B": "k3_e1 k3_e6 k5_e1 k3_e1 k3_e1 k5_e6 k5_e3 k3_e6 k5_e6 k5_e6 k5_e1 skip k5_e3 k5_e6 k3_e1 k5_e1 k5_e3 k5_e6 k5_e1 k5_e6 k5_e6 k3_e6",
    "C": "k3_e1 k3_e6 skip k3_e1 k3_e1 k5_e6 k5_e3 k5_e6 k3_e6 k5_e6 k5_e3 k5_e6 k5_e6 k5_e6 k5_e6 k5_e6 k5_e3 k5_e6 k5_e6 k5_e6 k5_e6 k3_e6",
}
V3_LARGE = {"ks": [3] * 4 + [5] * 4 + [3] * 8 + [5] * 4, "e": [4, 3, 1, 1, 3, 3, 3, 1, 6, 2.5, 2.3, 2.3, 6, 6, 1, 1, 6, 6, 6, 1], "d": [2, 3, 4, 2, 3], "width": 1.0}
MNASNET_B1 = {"e": [1, 3, 3, 6, 6, 6, 6], "k": [3, 3, 5, 5, 3, 5, 3], "l": [1, 3, 3, 3, 2, 4, 1], "se": [0] * 7}
INCEPTION = {"adjacency": [[0, 1, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1],
                           [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0]],
             "ops": ["input", "conv1x1-bn-relu", "conv3x3-bn-relu", "conv3x3-bn-relu", "conv3x3-bn-relu", "maxpool3x3", "output"]}
HAT_284 = {"encoder-embed-dim-subtransformer": 512, "decoder-embed-dim-subtransformer": 512, "encoder-ffn-embed-dim-all-subtransformer": [3072] * 6,
           "decoder-ffn-embed-dim-all-subtransformer": [2048, 2048, 3072, 3072, 2048], "encoder-layer-num-subtransformer": 6,
           "decoder-layer-num-subtransformer": 5, "encoder-self-attention-heads-all-subtransformer": [8, 4, 8, 8, 8, 8],
           "decoder-self-attention-heads-all-subtransformer": [8, 8, 8, 4, 8], "decoder-ende-attention-heads-all-subtransformer": [4, 8, 8, 8, 8],
           "decoder-arbitrary-ende-attn-all-subtransformer": [-1, 1, 1, 1, -1]}
GOOD = {"nas-bench-201": nb201(*[CONV] * 6), "fbnet": FBNETS["C"], "ofa": V3_LARGE, "mnasnet": MNASNET_B1, "ecnas": INCEPTION, "hat": HAT_284}


@pytest.mark.parametrize(("names", "macs", "params"), [
    ((CONV,) * 6, 220.12, 1.531546), ((CONV, CONV, CONV, SKIP, CONV, CONV), 184.73, 1.288506), ((SKIP,) * 6, 7.78, 0.073306)])
def test_nas_bench_201_counts_as_the_benchmark_does(names, macs, params):
    w = decode("nas-bench-201", nb201(*names))
    assert w.macs / 1e6 == pytest.approx(macs, abs=0.005)
    assert w.params / 1e6 == pytest.approx(params, abs=5e-7)


def test_nas_bench_201_by_hand():
    # stem 432 x 32 x 32; reductions (16 x 32 x 9 + 32 x 32 x 9 + 16 x 32) x 16 x 16 and the same at 32 -> 64; dense 640
    assert decode("nas-bench-201", nb201(*[NONE] * 6)).macs == 432 * 1024 + 14336 * 256 + 57344 * 64 + 640
    assert decode("nas-bench-201", nb201(*[SKIP] * 6), batch=32).macs == 32 * (432 * 1024 + 14336 * 256 + 57344 * 64 + 640)


def test_edges_that_lead_nowhere_are_there():
    # the benchmark counts a convolution behind `none`: node 1 feeds nothing here
    w = decode("nas-bench-201", nb201(CONV, SKIP, NONE, SKIP, NONE, SKIP))
    assert w.macs - decode("nas-bench-201", nb201(*[SKIP] * 6)).macs == 5 * (2304 * 1024 + 9216 * 256 + 36864 * 64)


def test_the_order_of_edges():
    names = [CONV, SKIP, NONE, "avg_pool_3x3", "nor_conv_1x1", SKIP]
    columns = dict(zip(("op01", "op02", "op12", "op03", "op13", "op23"), names, strict=True))
    assert cell_of(nb201(*names)) == cell_of(columns) == cell_of(names) == cell_of({"arch_str": nb201(*names)})
    assert cell_of(nb201(*names))[1, 3] == "nor_conv_1x1"


#: the models that the authors released with the paper (facebookresearch/mobile-vision, model_info.json of 2019): channels of the head, multiply-adds, weights (no
#: batch norms, no biases), and multiply-adds and weights of 5x5 depthwise layers that they ran as two of 3x3 (`ir_k3_sep` in their code): 7 of 25 taps fewer
RELEASED = {"A": (1504, 249_921_848, 4_286_480, 0, 0), "B": (1984, 295_561_032, 4_777_296, 7 * 192 * 28**2, 7 * 192),
            "C": (1984, 382_984_480, 5_520_784, 7 * 192 * 28**2 + 7 * 672 * 14**2, 7 * (192 + 672))}


@pytest.mark.parametrize("name", RELEASED)
def test_fbnet_equals_the_authors_models(name):
    head, macs, weights, fewer_macs, fewer_weights = RELEASED[name]
    w = decode("fbnet", {**{f"op{i:02}": block for i, block in enumerate(FBNETS[name].split())}, "head": head})
    assert w.macs - fewer_macs == macs
    norms = 2 * sum(op.dims["out_channels"] for op in w.ops if op.kind == "conv")
    assert w.params - norms - 1000 - fewer_weights == weights


def test_fbnet_is_near_the_papers_figures():
    # table 3 of the paper: A 249 M, B 295 M, C 375 M, which is the authors' FBNet-C1 (374.2 M), a C with the head of A
    assert decode("fbnet", {**{f"op{i:02}": b for i, b in enumerate(FBNETS["C"].split())}, "head": 1504}).macs - RELEASED["C"][3] == pytest.approx(374.2e6, abs=5e4)
    assert round(decode("fbnet", FBNETS["C"]).params / 1e6, 2) == 5.57  # timm's fbnetc_100
    with pytest.raises(FormatError, match="head"):
        decode("fbnet", {**{f"op{i:02}": 0 for i in range(22)}, "head": 0})


def test_fbnet_for_small_images_keeps_the_size():
    w = decode("fbnet", FBNETS["C"], resolution=32)
    last = [op for op in w.ops if op.kind == "conv"][-1].dims
    assert (last["out_channels"], last["out_h"]) == (1504, 4)
    assert w.ops[-1].dims["n"] == 100
    assert decode("fbnet", [0] * 22).digest == decode("fbnet", ",".join("0" * 22)).digest == decode("fbnet", {f"op{i:02}": 0 for i in range(22)}).digest


def test_ofa_holds_mobilenet_v3_large():
    w = decode("ofa", V3_LARGE)
    assert w.params == 5_483_032 - 1280  # torchvision's mobilenet_v3_large has a bias in the layer before the last
    assert w.macs / 1e6 == pytest.approx(219, rel=0.015)  # Howard et al. 2019, table 3; torchvision: 0.22 G
    assert divisible(134.4) == 136
    assert divisible(19.2) == 24  # 16 would be more than a tenth below


def test_ofa_ignores_blocks_beyond_the_depth_and_takes_the_side_from_the_row():
    row = {**{f"ks{i}": 5 for i in range(20)}, **{f"e{i}": 4 for i in range(20)}, **{f"d{i}": 2 for i in range(5)}, "r": 160}
    other = {**row, "ks2": 7, "e3": 6, "ks19": 3}
    assert decode("ofa", row).digest == decode("ofa", other).digest
    assert decode("ofa", row).digest == decode("ofa", {**row, "r": 224}, resolution=160).digest
    assert decode("ofa", {**row, "ks1": 7}).macs > decode("ofa", row).macs


def test_a_factor_of_hundreds_of_digits_is_refused():
    row = {**{f"ks{i}": 5 for i in range(20)}, **{f"e{i}": 4 for i in range(20)}, **{f"d{i}": 2 for i in range(5)}, "r": 160}
    with pytest.raises(FormatError, match="ofa, e6: expected a number above 0, at most 64"):
        decode("ofa", {**row, "e6": 10**400})


def test_mnasnet_by_hand():
    # one stage spelled out: 112 x 112, 32 -> depthwise 3x3 -> 16, then the rest of the difference of one more layer in the last stage
    more = {**MNASNET_B1, "l": [1, 3, 3, 3, 2, 4, 2]}
    assert decode("mnasnet", more).macs - decode("mnasnet", MNASNET_B1).macs == (320 * 1920 * 2 + 1920 * 9) * 49
    assert decode("mnasnet", more).params - decode("mnasnet", MNASNET_B1).params == 320 * 1920 * 2 + 1920 * 9 + 2 * (1920 * 2 + 320)


def test_nas_bench_101_counts_its_own_example():
    assert decode("ecnas", INCEPTION).params == 2_694_282  # the README of google-research/nasbench


def test_channels_of_vertices():
    edges = [[False, True, True, True, False], [False, False, False, False, True], [False, False, False, False, True], [False, False, False, False, True], [False] * 5]
    assert channels_of(edges, 128, 128) == [128, 43, 43, 42, 128]


def test_dead_vertices_are_dropped():
    straight = {"adjacency": [[0, 1, 0], [0, 0, 1], [0, 0, 0]], "ops": [-1, 0, -2]}
    dangling = {"adjacency": [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]], "ops": [-1, 0, 1, -2]}
    assert decode("ecnas", straight).digest == decode("ecnas", dangling).digest


def test_hat_has_the_published_size():
    w = decode("hat", HAT_284)
    body = sum(op.params for op in w.ops if op.kind != "gather")
    assert body / 1e6 == pytest.approx(48.3, abs=0.05)  # the paper: 48 M, word vectors not counted
    assert w.params - body == 32768 * 512  # one table for both sides and the output
    parts = [decode("hat", {**HAT_284, "part": part}) for part in ("encoder", "decoder")]
    assert sum(sum(op.params for op in p.ops if op.kind != "gather") for p in parts) == body
    one = decode("hat", HAT_284, batch=2)
    assert one.macs == 2 * w.macs


def test_hat_from_means_keeps_the_work():
    row = {"encoder_embed_dim": 512, "encoder_layer_num": 6, "encoder_ffn_embed_dim_avg": 3072.0, "encoder_self_attention_heads_avg": 44 / 6,
           "decoder_embed_dim": 512, "decoder_layer_num": 5, "decoder_ffn_embed_dim_avg": 2457.6, "decoder_self_attention_heads_avg": 7.2,
           "decoder_ende_attention_heads_avg": 7.2, "decoder_arbitrary_ende_attn_avg": 1.6}
    assert decode("hat", row).macs == decode("hat", HAT_284).macs
    assert decode("hat", row).params == decode("hat", HAT_284).params
    with pytest.raises(FormatError, match="decoder_ffn_embed_dim_avg"):
        decode("hat", {**row, "decoder_ffn_embed_dim_avg": 2500.0})


# -- the open tables' own columns --------------------------------------------------------------------------------------------------------


def test_every_parameter_count_of_ecnas():
    wrong = [(decode("ecnas", row).params, row["trainable_params"]) for row in rows("ecnas/cell_training_energy.parquet", 60)]
    assert all(ours == theirs for ours, theirs in wrong)


def test_every_count_of_accel_nasbench():
    for row in rows("accel_nasbench/performance.parquet", 60):
        w = decode("mnasnet", row)
        assert w.params == round(row["params"] * 1e6)
        # its counter: four per element of a batch norm, and a mean costs its window and one division
        norms = sum(4 * op.dims["elements"] for op in w.ops if op.kind == "elementwise" and op.params)
        means = sum(op.dims["rows"] * (op.dims["cols"] + 1) for op in w.ops if op.kind == "reduce")
        assert w.macs + norms + means == pytest.approx(row["macs"] * 1e6, rel=1e-9)


@pytest.mark.parametrize(("format", "path", "resolution"), [
    ("nas-bench-201", "help/nasbench201_latency.parquet", 0), ("fbnet", "help/fbnet_latency.parquet", 32),
    ("ofa", "help/ofa_latency.parquet", 0), ("hat", "hat/latency.parquet", 0)])
def test_rows_of_the_open_tables_decode(format, path, resolution):
    for row in rows(path, 10):
        assert decode(format, row, batch=2, resolution=resolution).macs > 0


# -- what is refused ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ENCODINGS)
def test_every_space_builds_scales_and_reads_text(format):
    good = GOOD[format]
    w = decode(format, good)
    assert isinstance(w, Workload)
    assert w.digest == decode(format, json.dumps(good) if isinstance(good, dict) else good).digest
    assert decode(format, pd.Series(good)).digest == w.digest if isinstance(good, dict) else True
    assert decode(format, good, batch=3).macs == 3 * w.macs
    assert decode(format, good, dtype="float16").weight_bytes == w.weight_bytes / 2


@pytest.mark.parametrize("format", ENCODINGS)
@pytest.mark.parametrize("bad", ["", "{", "[" * 20000, {}, [], None, 3, "|x~0|+|y~0|z~1|+|x~0|y~1|z~2|", {"ops": 3, "ks": 1, "op00": "k9", "e": [1]}, ["none"] * 7, "9 " * 22,
                                 {**HAT_284, "part": "middle"}, {**INCEPTION, "ops": [-1, 9, 0, 0, 0, 0, -2]}, "x" * 100_000])
def test_bad_vectors_are_one_clear_error(format, bad):
    with pytest.raises(InputError) as caught:
        decode(format, bad)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_what_the_errors_say():
    with pytest.raises(UnknownNameError, match="fbnet"):
        decode("fbnett", FBNETS["A"])
    with pytest.raises(UnknownNameError, match="nor_conv_3x3"):
        decode("nas-bench-201", nb201("nor_conv_5x5", *[SKIP] * 5))
    with pytest.raises(FormatError, match="no path"):
        decode("ecnas", {"adjacency": [[0, 1, 0], [0, 0, 0], [0, 0, 0]], "ops": [-1, 0, -2]})
    with pytest.raises(FormatError, match="upper triangular"):
        decode("ecnas", {"adjacency": [[0, 1, 0], [1, 0, 1], [0, 0, 0]], "ops": [-1, 0, -2]})
    with pytest.raises(FormatError, match="block3_k"):
        decode("mnasnet", {**{f"block{i}_{n}": 1 for i in range(7) for n in ("e", "k", "l", "se")}, "block3_k": 0.5})
    with pytest.raises(GraphError):
        decode("nas-bench-201", nb201(*[SKIP] * 6), resolution=-4)
