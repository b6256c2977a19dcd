"""Operators: counts by hand, sizes that cannot be, JSON, and one reduction for scalars and columns alike."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets.columns import OpColumns
from silicast.datasets.dtypes import DTYPE_CODES
from silicast.datasets.errors import GraphError, InputError, UnknownNameError
from silicast.datasets.ops import COUNTS, FLAGS, OP_KINDS, Op, count_columns, kind_of

# kind, dims, dtypes (compute, weight), then by hand: matrix flops, vector flops, bytes read, bytes written
BY_HAND = [
    # b=2, m=3, n=5, k=7: 2*2*3*5*7 = 420 flops; one bias add per output: 2*3*5 = 30
    # read: A 2*3*7 = 42 elements x 2 B; B 2*7*5 = 70 plus bias 2*5 = 10 at 1 B: 84 + 80 = 164; write 30 x 2 B = 60
    ("gemm", {"b": 2, "m": 3, "n": 5, "k": 7, "bias": 1}, ("float16", "int8"), 420, 30, 164, 60),
    # 1 image, 4 -> 6 channels in 2 groups, 3x3, 5x5 out: 2 * 25 * 6 * (4/2 * 9) = 5,400; bias 25*6 = 150
    # read: 4*7*7 = 196 inputs, weights 6*(4/2)*9 = 108 plus 6: (196 + 114) * 4 = 1,240; write 150 * 4 = 600
    ("conv", {"batch": 1, "in_channels": 4, "in_h": 7, "in_w": 7, "out_channels": 6, "out_h": 5, "out_w": 5, "kernel_h": 3, "kernel_w": 3,
              "groups": 2, "bias": 1}, ("float32", "float32"), 5400, 150, 1240, 600),
    # 2 sequences, 4 heads on 2 key-value heads, 3 queries, 5 keys, widths 8 and 6: pairs 2*4*15 = 120, 2*120*(8+6) = 3,360;
    # softmax: exponential 8 plus 4 per pair: 12*120 = 1,440; read Q 8*3*8 = 192, KV 2*2*5*14 = 280: 472*2 = 944; write 8*3*6*2 = 288
    ("attention", {"batch": 2, "heads": 4, "kv_heads": 2, "q_len": 3, "kv_len": 5, "head_dim": 8, "v_dim": 6}, ("float16", "float16"), 3360, 1440, 944, 288),
    # the same, causal: of 15 pairs the first query misses 2, the second 1: 12 left; 2*8*12*14 = 2,688; 12*8*12 = 1,152
    ("attention", {"batch": 2, "heads": 4, "kv_heads": 2, "q_len": 3, "kv_len": 5, "head_dim": 8, "v_dim": 6, "causal": 1}, ("float16", "float16"),
     2688, 1152, 944, 288),
    # LSTM: 3 steps, batch 2, 4 -> 5, 4 gates: 2*3*2*(4*5)*(4+5) = 2,160; 8 per gate output: 8*3*2*20 = 960
    # read: inputs 3*2*4 = 24, weights 20*(9 + 2 biases) = 220: 244*4 = 976; write 3*2*5*4 = 120
    ("recurrent", {"steps": 3, "batch": 2, "input": 4, "hidden": 5, "gates": 4}, ("float32", "float32"), 2160, 960, 976, 120),
    ("elementwise", {"elements": 10, "cost": 3, "extra_elements": 4}, ("float16", "float16"), 0, 30, 28, 20),  # (10 + 4) * 2 read
    ("norm", {"rows": 3, "cols": 4}, ("float16", "float16"), 0, 84, 40, 24),       # 7 per element; scale and shift: (12 + 8) * 2
    ("softmax", {"rows": 3, "cols": 4}, ("float16", "float16"), 0, 144, 24, 24),   # 12 per element
    ("reduce", {"rows": 3, "cols": 4}, ("float16", "float16"), 0, 12, 24, 6),
    # 2x2 pool of 1x3x4x4 to 2x2: 12 outputs x 4; 48 elements in
    ("pool", {"batch": 1, "channels": 3, "in_h": 4, "in_w": 4, "out_h": 2, "out_w": 2, "kernel_h": 2, "kernel_w": 2, "stride_h": 2, "stride_w": 2},
     ("int8", "int8"), 0, 48, 48, 12),
    # 5 rows of 8 from a table: 5 indexes + 40 elements in, 40 out
    ("gather", {"rows": 5, "width": 8, "table_rows": 100}, ("float16", "float16"), 0, 0, 90, 80),
    ("move", {"elements": 6}, ("float32", "float32"), 0, 0, 24, 24),
    # gate of 2 tokens over 3 experts, 2 taken: 12 per score; out: index and weight of 2 tokens x 2
    ("route", {"tokens": 2, "experts": 3, "top_k": 2}, ("float16", "float16"), 0, 72, 12, 16),
    ("bound", {"input_elements": 7, "output_elements": 3}, ("float16", "float16"), 0, 3, 14, 6),
    # 3 queries at positions 2, 3, 4, each seeing 3 keys: 9 pairs x 2 heads; 2*18*(4+4) = 288; 12*18 = 216; read (2*3*4 + 5*8)*2 = 128
    ("attention", {"batch": 1, "heads": 2, "kv_heads": 1, "q_len": 3, "kv_len": 5, "head_dim": 4, "v_dim": 4, "causal": 1, "window": 3}, ("float16", "float16"),
     288, 216, 128, 48),
    # MLA decode in a window of 10 of 100 keys: 2 heads x 10 pairs; 2*20*(6+4) = 400; 12*20; keys alone are read, values are part of them: (12 + 60)*2
    ("attention", {"batch": 1, "heads": 2, "kv_heads": 1, "q_len": 1, "kv_len": 100, "head_dim": 6, "v_dim": 4, "causal": 1, "window": 10, "latent": 1},
     ("float16", "float16"), 400, 240, 144, 16),
    # 6 rows over 2 experts of 7 x 5: 2*6*5*7 = 420; read (6*7 + 2*35)*2 = 224
    ("grouped_gemm", {"groups": 2, "m": 6, "n": 5, "k": 7}, ("float16", "float16"), 420, 0, 224, 60),
    # 2 -> 3 channels, 3x3, 4x4 to 2x2: 2*4*3*18 = 432; 36 samples x 2 channels x 8 = 576; read 32 + 36*(2 offsets + mask) + 54 = 194 elements
    ("deform_conv", {"batch": 1, "in_channels": 2, "in_h": 4, "in_w": 4, "out_channels": 3, "out_h": 2, "out_w": 2, "kernel_h": 3, "kernel_w": 3, "mask": 1},
     ("float16", "float16"), 432, 576, 388, 24),
    # what one rank hands in and holds afterwards, 2 bytes each
    ("all_reduce", {"elements": 8, "ranks": 4}, ("float16", "float16"), 0, 0, 16, 16),
    ("all_gather", {"elements": 8, "ranks": 4}, ("float16", "float16"), 0, 0, 16, 64),
    ("reduce_scatter", {"elements": 8, "ranks": 4}, ("float16", "float16"), 0, 0, 16, 4),
    ("all_to_all", {"elements": 8, "ranks": 4}, ("float16", "float16"), 0, 0, 16, 16),
    ("broadcast", {"elements": 8, "ranks": 4}, ("float16", "float16"), 0, 0, 16, 16),
    ("send", {"elements": 8}, ("float16", "float16"), 0, 0, 16, 16),
    # 2 steps x 3 channels x 4 states x 9; read x, dt 12, B, C 16, A 12 elements; write 6
    ("scan", {"batch": 1, "length": 2, "channels": 3, "state": 4}, ("float16", "float16"), 0, 216, 80, 12),
]


@pytest.mark.parametrize(("kind", "dims", "dtypes", "matrix", "vector", "read", "written"), BY_HAND)
def test_counts_by_hand(kind, dims, dtypes, matrix, vector, read, written):
    op = Op.of("x", kind, dtype=dtypes[0], weight_dtype=dtypes[1], **dims)
    assert op.counts["matrix_flops"] == matrix
    assert op.counts["vector_flops"] == vector
    assert op.flops == matrix + vector
    assert op.macs == matrix / 2
    assert op.bytes_read == read
    assert op.bytes_written == written


def test_every_kind_has_a_count_by_hand():
    assert {row[0] for row in BY_HAND} == set(OP_KINDS)


def test_parameters_are_stored_in_the_weight_dtype():
    op = Op.of("x", "gemm", m=1, n=3, k=5, weight_dtype="int4", params=15)
    assert op.weight_bytes == 7.5                      # 15 x 4 bits
    assert op.to_json()["params"] == 15


@pytest.mark.parametrize("size", [0, -1, True, 2.0, 2.5, float("nan"), float("inf"), 2**62 + 1, pytest.param(10**5000, id="huge"), "3", None, [3]])
def test_a_size_that_cannot_be_is_one_clear_error(size):
    with pytest.raises(GraphError, match=r"op 'x' \(gemm\): m must be an integer of at least 1") as caught:
        Op.of("x", "gemm", m=size, n=1, k=1)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("params", [-1, True, 1.0, pytest.param(10**5000, id="huge"), "1"])
def test_parameters_that_cannot_be(params):
    with pytest.raises(GraphError, match="params must be an integer"):
        Op.of("x", "gemm", m=1, n=1, k=1, params=params)


@pytest.mark.parametrize("flag", [2, -1, True])
def test_flags_are_zero_or_one(flag):
    with pytest.raises(GraphError, match="bias must be an integer of at least 0, at most 1"):
        Op.of("x", "gemm", m=1, n=1, k=1, bias=flag)
    assert {"bias", "causal", "latent", "mask"} == FLAGS


def test_sparse_weights_are_stored_with_their_indices():
    dense = Op.of("x", "gemm", dtype="float16", m=1, n=8, k=16, params=128)
    half = dataclasses.replace(dense, sparsity="2:4")
    # by hand: 64 of 128 weights at 2 bytes, and 2 bits of index each
    assert half.weight_bytes == 64 * 2 + 64 * 2 / 8
    assert half.bytes_read == 16 * 2 + half.weight_bytes
    assert half.flops == dense.flops
    assert dataclasses.replace(dense, sparsity="0.25").weight_bytes == 32 * 2 + 128 / 8  # a bitmap
    assert Op.from_json(half.to_json()) == half
    for odd in ("4:2", "2:2", "0", "1.0", "2:4:8", "half", 3):
        with pytest.raises(GraphError, match="expected '' \\(dense\\), 'N:M'"):
            dataclasses.replace(dense, sparsity=odd)
    with pytest.raises(GraphError, match="for the weights of matrix work"):
        Op.of("x", "softmax", rows=1, cols=1, sparsity="2:4")


def test_numpy_integers_are_taken():
    assert Op.of("x", "gemm", m=np.int64(2), n=np.int32(3), k=4).sizes == Op.of("x", "gemm", m=2, n=3, k=4).sizes


@pytest.mark.parametrize(("dims", "match"), [
    ({"m": 1, "n": 1}, "missing dimension k"),
    ({"m": 1, "n": 1, "k": 1, "q": 1}, "unknown dimension q"),
])
def test_missing_and_unknown_dimensions(dims, match):
    with pytest.raises(GraphError, match=match):
        Op.of("x", "gemm", **dims)


def test_other_faults():
    with pytest.raises(GraphError, match="expected 5 sizes"):
        Op("x", "gemm", (1, 2))
    with pytest.raises(GraphError, match="not divisible by groups 2"):
        Op.of("x", "conv", batch=1, in_channels=3, in_h=1, in_w=1, out_channels=4, out_h=1, out_w=1, kernel_h=1, kernel_w=1, groups=2)
    with pytest.raises(UnknownNameError, match="nearest: gemm"):
        Op.of("x", "gem", m=1)
    with pytest.raises(UnknownNameError, match="nearest: "):
        Op.of("x", "gemm", dtype="flaot16", m=1, n=1, k=1)
    with pytest.raises(GraphError, match="needs the dimensions m, n, k; missing: k"):
        count_columns("gemm", {"m": 1, "n": 1})
    for odd in (5, None, ["gemm"]):
        with pytest.raises(UnknownNameError):
            kind_of(odd)


def test_ops_cannot_be_changed():
    op = Op.of("x", "gemm", m=1, n=2, k=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        op.kind = "conv"
    assert hash(op) == hash(Op.of("x", "gemm", m=1, n=2, k=3))


def sizes_of(kind: str) -> st.SearchStrategy[dict[str, int]]:
    spec = OP_KINDS[kind]
    fields = {d: st.integers(*((0, 1) if d in FLAGS else (spec.span(d)[0], 300))) for d in spec.dims}
    drawn = st.fixed_dictionaries(fields)
    if kind in ("conv", "deform_conv"):  # channels are whole multiples of the groups
        drawn = drawn.map(lambda d: {**d, "in_channels": d["in_channels"] * d["groups"], "out_channels": d["out_channels"] * d["groups"]})
    return drawn


ops = st.sampled_from(sorted(OP_KINDS)).flatmap(lambda kind: st.builds(
    lambda dims, dtype, weight, out, params, source: Op.of("op", kind, dtype=dtype, weight_dtype=weight, output_dtype=out, params=params, source=source, **dims),
    sizes_of(kind), st.sampled_from(sorted(DTYPE_CODES)), st.sampled_from(sorted(DTYPE_CODES)), st.sampled_from(["", *sorted(DTYPE_CODES)]),
    st.integers(0, 2**62), st.text(max_size=5)))


@given(ops)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_json_both_ways(op):
    again = Op.from_json(json.loads(json.dumps(op.to_json())))
    assert again == op
    assert again.source == op.source
    assert again.counts == op.counts


@given(st.sampled_from(sorted(OP_KINDS)).flatmap(lambda kind: st.tuples(st.just(kind), st.lists(sizes_of(kind), min_size=1, max_size=4))), st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_scalars_and_columns_give_the_same_counts(drawn, whole):
    kind, rows = drawn
    dtype = np.full(len(rows), DTYPE_CODES["float16"], dtype=np.int16)
    columns = OpColumns.from_sizes(kind, {d: np.array([r[d] for r in rows], dtype=np.int64 if whole else np.float64) for d in rows[0]}, dtype)
    one_by_one = [Op.of("x", kind, **r) for r in rows]
    by_ops = OpColumns.from_ops(one_by_one)
    for field in dataclasses.fields(OpColumns):
        if field.name != "param_bytes":                # a lone table row has no say in what is a parameter
            np.testing.assert_allclose(getattr(columns, field.name), getattr(by_ops, field.name), rtol=1e-12, err_msg=field.name)
    np.testing.assert_allclose(columns.flops, [op.flops for op in one_by_one], rtol=1e-12)
    np.testing.assert_allclose(columns.total_bytes, [op.bytes_read + op.bytes_written for op in one_by_one], rtol=1e-12)
    assert all(np.isfinite(getattr(columns, name)).all() for name in ("matrix_flops", "vector_flops", "input_bytes"))
    assert set(one_by_one[0].counts) == set(COUNTS)


@pytest.mark.parametrize("document", [
    None, 5, [], "gemm", {}, {"name": "x", "kind": "gemm"}, {"name": "x", "kind": "gemm", "dims": [1]}, {"name": 5, "kind": "gemm", "dims": {"m": 1, "n": 1, "k": 1}},
    {"name": "x", "kind": ["gemm"], "dims": {}}, {"name": "x", "kind": "gemm", "dims": {"m": 1, "n": 1, "k": 1}, "dtype": 5},
    {"name": "x", "kind": "gemm", "dims": {"m": 1, "n": 1, "k": 1, "name": 2}}, {"name": "x", "kind": "gemm", "dims": {"m": 1, "n": 1, "k": 1}, "colour": 1},
    {"name": "x", "kind": "gemm", "dims": {"m": 1, "n": 1, "k": 1}, "source": 3}, {"name": "x", "kind": "gemm", "dims": {"m": 1, "n": 1, "k": 1}, "params": "4"},
])
def test_a_broken_op_document_is_the_callers_mistake(document):
    with pytest.raises(InputError):
        Op.from_json(document)


@pytest.mark.parametrize(("kind", "dim"), [(kind, dim) for kind, spec in OP_KINDS.items() for dim in spec.dims if not dim.startswith("stride")])
def test_every_dimension_shows_in_the_columns(kind, dim):
    """Rows that differ in one dimension alone are not equal inputs: what a table tells must reach features, groups and the domain (strides show in the sizes before and after)."""
    sizes = {d: 0 if d in FLAGS else 2 if d == "groups" else 8 for d in OP_KINDS[kind].dims}
    other = {**sizes, dim: 1 if dim in FLAGS else 2 * sizes[dim]}
    held = OpColumns.from_sizes(kind, {d: np.array([sizes[d], other[d]]) for d in sizes}, np.zeros(2, dtype=np.int16))
    assert any(getattr(held, name)[0] != getattr(held, name)[1] for name in (f.name for f in dataclasses.fields(OpColumns)))


def test_a_look_up_told_of_no_table_holds_no_rows():
    assert count_columns("gather", {"rows": 64, "width": 128})["keys"] == 0
