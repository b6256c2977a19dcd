"""Modules as JAX exports them, linalg and loop nests by hand: operations, FLOPs, what is refused."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

pytest.importorskip("xdsl", reason="MLIR is read by xdsl, an extra")

from silicast.datasets.errors import FormatError, GraphError, InputError, UnknownNameError, UnsupportedOpError
from silicast.datasets.frontends import read
from silicast.datasets.ops import ELEMENTWISE_COST
from silicast.datasets.simulator import simulate

HERE = Path(__file__).parent / "mlir"


@pytest.fixture
def module(tmp_path):
    """Reads the body of a function, or a whole text with a func.func in it."""
    def maker(text: str, **arguments):
        path = tmp_path / "m.mlir"
        path.write_text(text)
        return read(path, **arguments)
    return maker


def kinds(w) -> list[str]:
    return [op.kind for op in w.ops]


# -- StableHLO ----------------------------------------------------------------------------------------------------------------------------

def test_a_block_of_jax_by_hand():
    # 3 layers, 2 x 8 tokens of width 16, one head, feed-forward of 64: q, k, v, out; scores and values over 8 keys; up and down; then 32 logits
    w = read(HERE / "block.stablehlo")
    layer = 16 * (4 * 16 * 16 + 2 * 16 * 64) + 2 * 2 * 8 * 8 * 16
    assert w.macs == 3 * layer + 16 * 16 * 32
    assert kinds(w).count("gemm") == 3 * 8 + 1
    assert kinds(w).count("gather") == 1
    assert next(op for op in w.ops if op.kind == "gather").dims == {"rows": 16, "width": 16, "table_rows": 32}
    tanh = [op for op in w.ops if op.source.endswith("tanh")]
    assert [op.dims["elements"] for op in tanh] == [2 * 8 * 64] * 3
    assert simulate(w, "h100_sxm").values["latency_s"] > 0


def test_a_gradient_of_jax_by_hand():
    # 16 x 16 x 3 -> 8 x 8 x 8 by 3 x 3 at stride 2, pooled to 4 x 4 x 8, 10 classes, 2 images: forward, and for each weight its gradient; the
    # dense layer also towards its input (images need none)
    conv, dense = 2 * 8 * 8 * 8 * 27, 2 * 128 * 10
    assert read(HERE / "gradient.stablehlo").macs == 2 * conv + 3 * dense


def test_generic_form_is_the_same_network():
    pretty, generic = read(HERE / "forward.mlir"), read(HERE / "forward_generic.mlir")
    assert pretty.digest == generic.digest
    assert pretty.macs == 2 * 8 * 8 * 8 * 27 + 2 * 128 * 10
    conv, pool = pretty.ops[0], next(op for op in pretty.ops if op.kind == "pool")
    assert (conv.dims["stride_h"], conv.dims["kernel_w"], conv.dims["groups"]) == (2, 3, 1)
    assert (pool.dims["channels"], pool.dims["out_h"], pool.dims["kernel_h"]) == (2 * 8, 4, 2)


@pytest.mark.parametrize(("line", "kind", "flops"), [
    ("%r = stablehlo.dot_general %a, %b, contracting_dims = [1] x [0] : (tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<4x2xf32>", "gemm", 2 * 4 * 8 * 2),
    ('%r = "stablehlo.dot_general"(%a, %b) <{dot_dimension_numbers = #stablehlo.dot<lhs_contracting_dimensions = [1], rhs_contracting_dimensions = [0]>}> : '
     "(tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<4x2xf32>", "gemm", 2 * 4 * 8 * 2),
    ("%r = stablehlo.dot %a, %b : (tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<4x2xf32>", "gemm", 2 * 4 * 8 * 2),
    ("%r = stablehlo.tanh %a : tensor<4x8xf32>", "elementwise", 32 * ELEMENTWISE_COST["tanh"]),
    ("%r = stablehlo.clamp %c, %a, %c : (tensor<f32>, tensor<4x8xf32>, tensor<f32>) -> tensor<4x8xf32>", "elementwise", 32 * 2),
    ("%r = stablehlo.compare GT, %a, %a, FLOAT : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xi1>", "elementwise", 32),
    ("%r = stablehlo.convert %a : (tensor<4x8xf32>) -> tensor<4x8xbf16>", "elementwise", 32),
    ("%r = stablehlo.transpose %a, dims = [1, 0] : (tensor<4x8xf32>) -> tensor<8x4xf32>", "move", 0),
    ("%r = stablehlo.slice %a [0:2, 1:7:2] : (tensor<4x8xf32>) -> tensor<2x3xf32>", "move", 0),
    ("%r = stablehlo.concatenate %a, %a, dim = 0 : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<8x8xf32>", "move", 0),
    ("%r = stablehlo.pad %a, %c, low = [1, 0], high = [0, 1], interior = [0, 0] : (tensor<4x8xf32>, tensor<f32>) -> tensor<5x9xf32>", "move", 0),
    ("%r = stablehlo.reduce(%a init: %c) applies stablehlo.add across dimensions = [1] : (tensor<4x8xf32>, tensor<f32>) -> tensor<4xf32>", "reduce", 32),
    ('%r = "stablehlo.all_reduce"(%a) <{replica_groups = dense<[[0, 1, 2, 3]]> : tensor<1x4xi64>}> ({\n^bb0(%x: tensor<f32>, %y: tensor<f32>):\n'
     "%s = stablehlo.add %x, %y : tensor<f32>\nstablehlo.return %s : tensor<f32>\n}) : (tensor<4x8xf32>) -> tensor<4x8xf32>", "all_reduce", 0),
    ("%r = stablehlo.convolution(%i, %k) dim_numbers = [b, f, 0]x[o, i, 0]->[b, f, 0], window = {stride = [1], pad = [[1, 1]]} {batch_group_count = 1 : i64, "
     "feature_group_count = 4 : i64} : (tensor<2x4x32xf32>, tensor<8x1x3xf32>) -> tensor<2x8x32xf32>", "conv", 2 * 2 * 8 * 32 * 3),
    ("%r = stablehlo.convolution(%i, %t) dim_numbers = [b, f, 0]x[o, i, 0]->[b, f, 0], window = {pad = [[1, 1]], lhs_dilate = [2]} {batch_group_count = 1 : i64, "
     "feature_group_count = 1 : i64} : (tensor<2x4x32xf32>, tensor<8x4x3xf32>) -> tensor<2x8x63xf32>", "gemm", 2 * 2 * 32 * 4 * 3 * 8),  # 31 of 63 places between are zero
    ("%r = chlo.erf %a : tensor<4x8xf32> -> tensor<4x8xf32>", "elementwise", 32 * ELEMENTWISE_COST["erf"]),
])
def test_operations_by_hand(line, kind, flops, module):
    arguments = "%a: tensor<4x8xf32>, %b: tensor<8x2xf32>, %i: tensor<2x4x32xf32>, %k: tensor<8x1x3xf32>, %t: tensor<8x4x3xf32>"
    w = module(f"func.func @main({arguments}) -> tensor<f32> {{\n%c = stablehlo.constant dense<0.0> : tensor<f32>\n{line}\nreturn %c : tensor<f32>\n}}")
    assert kinds(w) == [kind]
    assert w.flops == flops


WHILE = """func.func @main(%x: tensor<4x4xf32>, %n: tensor<i32>) -> tensor<4x4xf32> {
  %zero = stablehlo.constant dense<0> : tensor<i32>
  %r:2 = stablehlo.while(%i = %zero, %h = %x) : tensor<i32>, tensor<4x4xf32>
  cond {
    %limit = stablehlo.constant dense<7> : tensor<i32>
    %go = stablehlo.compare LT, %i, LIMIT, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %go : tensor<i1>
  } do {
    %two = stablehlo.constant dense<2> : tensor<i32>
    %next = stablehlo.add %i, %two : tensor<i32>
    %y = stablehlo.dot_general %h, %h, contracting_dims = [1] x [0] : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
    stablehlo.return %next, %y : tensor<i32>, tensor<4x4xf32>
  }
  return %r#1 : tensor<4x4xf32>
}"""


def test_loops_run_as_often_as_they_say(module):
    w = module(WHILE.replace("LIMIT", "%limit"))
    assert kinds(w) == ["gemm"] * 4  # 0, 2, 4, 6
    assert w.edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    with pytest.raises(GraphError, match=r"main: stablehlo\.while.*--dim trips=10"):
        module(WHILE.replace("LIMIT", "%n"))
    assert kinds(module(WHILE.replace("LIMIT", "%n"), dims={"trips": 3})) == ["gemm"] * 3
    with pytest.raises(GraphError, match="more than"):
        module(WHILE.replace("LIMIT", "%limit").replace("dense<2>", "dense<0>"))


def test_constants_are_parameters_once(module):
    w = module("""func.func @main(%x: tensor<1x2xf32>) -> tensor<1x2xf32> {
  %w = stablehlo.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
  %one = stablehlo.constant dense<1.0> : tensor<1x2xf32>
  %t = stablehlo.transpose %w, dims = [1, 0] : (tensor<2x2xf32>) -> tensor<2x2xf32>
  %a = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0] : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
  %b = stablehlo.dot_general %a, %t, contracting_dims = [1] x [0] : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
  %c = stablehlo.add %b, %one : tensor<1x2xf32>
  return %c : tensor<1x2xf32>
}""")
    assert [op.params for op in w.ops] == [4, 0, 0]


def test_what_is_not_known_is_named(module):
    call = 'func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {\n%r = stablehlo.custom_call @magic(%x) {api_version = 1 : i32} : (tensor<4xf32>) -> tensor<4xf32>\nreturn %r : tensor<4xf32>\n}'
    with pytest.raises(UnsupportedOpError, match=r"m\.mlir: main: stablehlo\.custom_call: 'magic'"):
        module(call)
    assert module(call, unknown_ops="bound").bounded_ops == ("custom_call.magic0",)
    assert kinds(module(call.replace("@magic", "@mhlo.erf"))) == ["elementwise"]
    with pytest.raises(UnsupportedOpError, match=r"main: stablehlo\.fft"):
        module(call.replace("custom_call @magic(%x) {api_version = 1 : i32}", "fft %x, type = FFT, length = [4]"))
    with pytest.raises(UnsupportedOpError, match="branch"):
        module('func.func @main(%p: tensor<i1>, %x: tensor<4xf32>) -> tensor<4xf32> {\n%r = "stablehlo.if"(%p) ({\nstablehlo.return %x : tensor<4xf32>\n}, {\n'
               "stablehlo.return %x : tensor<4xf32>\n}) : (tensor<i1>) -> tensor<4xf32>\nreturn %r : tensor<4xf32>\n}")
    with pytest.raises(GraphError, match=r"not known; export with fixed sizes"):
        module("func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> {\n%r = stablehlo.tanh %x : tensor<?xf32>\nreturn %r : tensor<?xf32>\n}")
    with pytest.raises(UnknownNameError, match="trips"):
        module(call, dims={"batch": 3})
    with pytest.raises(FormatError, match=r"line 2"):
        module("func.func @main() {\n%r = nowhere.at all\nreturn\n}")
    with pytest.raises(InputError):
        module(call, phase="decode")


# -- linalg -------------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "shapes", "kind", "dims"), [
    ("matmul", ("4x8", "8x16", "4x16"), "gemm", {"m": 4, "n": 16, "k": 8, "b": 1}), ("batch_matmul", ("3x4x8", "3x8x16", "3x4x16"), "gemm", {"m": 4, "n": 16, "k": 8, "b": 3}),
    ("matvec", ("4x8", "8", "4"), "gemm", {"m": 4, "n": 1, "k": 8}), ("vecmat", ("8", "8x4", "4"), "gemm", {"m": 1, "n": 4, "k": 8}), ("dot", ("8", "8", ""), "gemm", {"m": 1, "n": 1, "k": 8}),
    ("matmul_transpose_b", ("4x8", "16x8", "4x16"), "gemm", {"m": 4, "n": 16, "k": 8}), ("batch_reduce_matmul", ("3x4x8", "3x8x16", "4x16"), "gemm", {"m": 4, "n": 16, "k": 24}),
    ("conv_2d_nchw_fchw", ("2x3x10x10", "5x3x3x3", "2x5x8x8"), "conv", {"batch": 2, "in_channels": 3, "out_channels": 5, "out_h": 8, "kernel_w": 3, "groups": 1}),
    ("conv_2d_nhwc_hwcf", ("2x10x10x3", "3x3x3x5", "2x8x8x5"), "conv", {"batch": 2, "in_channels": 3, "out_channels": 5, "out_h": 8, "kernel_w": 3}),
    ("depthwise_conv_2d_nhwc_hwc", ("1x10x10x6", "3x3x6", "1x8x8x6"), "conv", {"groups": 6, "out_channels": 6, "in_channels": 6}),
    ("conv_1d_ncw_fcw", ("1x4x32", "8x4x3", "1x8x30"), "conv", {"in_h": 1, "out_w": 30, "kernel_w": 3, "out_channels": 8}), ("conv_2d", ("10x10", "3x3", "8x8"), "conv", {"out_h": 8, "out_channels": 1}),
    ("conv_3d_ndhwc_dhwcf", ("1x4x6x6x2", "2x3x3x2x5", "1x3x4x4x5"), "conv", {"in_h": 24, "out_h": 12, "kernel_h": 6, "out_channels": 5}),
    ("pooling_nhwc_max", ("1x8x8x4", "2x2", "1x4x4x4"), "pool", {"channels": 4, "out_h": 4, "kernel_h": 2}), ("add", ("4x8", "4x8", "4x8"), "elementwise", {"elements": 32, "cost": 1}),
])
def test_named_operations(name, shapes, kind, dims, module):
    a, b, c = (f"tensor<{s}{'x' if s else ''}f32>" for s in shapes)
    w = module(f"func.func @f(%a: {a}, %b: {b}, %c: {c}) -> {c} {{\n%r = linalg.{name} ins(%a, %b : {a}, {b}) outs(%c : {c}) -> {c}\nreturn %r : {c}\n}}")
    assert kinds(w) == [kind]
    assert {key: w.ops[0].dims[key] for key in dims} == dims
    if kind == "conv":  # two operations for every value written and every tap and channel of its group
        d = w.ops[0].dims
        written = 1
        for size in shapes[2].split("x"):
            written *= int(size)
        assert w.macs == written * d["kernel_h"] * d["kernel_w"] * d["in_channels"] // d["groups"]


GENERIC = """#a = affine_map<MAP_A>
#b = affine_map<MAP_B>
#c = affine_map<MAP_C>
func.func @f(%a: tensor<A>, %b: tensor<B>, %c: tensor<C>) -> tensor<C> {
  %r = linalg.generic {indexing_maps = [#a, #b, #c], iterator_types = [KINDS]} ins(%a, %b : tensor<A>, tensor<B>) outs(%c : tensor<C>) {
  ^bb0(%x: f32, %y: f32, %z: f32):
    BODY
  } -> tensor<C>
  return %r : tensor<C>
}"""
MULTIPLY_ADD = "%p = arith.mulf %x, %y : f32\n    %s = arith.addf %z, %p : f32\n    linalg.yield %s : f32"


def _generic(maps, kinds_, shapes, body):
    text = GENERIC.replace("KINDS", ", ".join(f'"{k}"' for k in kinds_)).replace("BODY", body)
    for key, value in zip(("MAP_A", "MAP_B", "MAP_C"), maps, strict=True):
        text = text.replace(key, value)
    for key, value in zip("ABC", shapes, strict=True):
        text = text.replace(f"tensor<{key}>", f"tensor<{value}xf32>")
    return text


def test_generic_operations_by_their_maps(module):
    d = "(d0, d1, d2, d3) -> "
    batched = _generic((d + "(d0, d1, d3)", d + "(d0, d2, d3)", d + "(d0, d1, d2)"), ("parallel",) * 3 + ("reduction",), ("2x3x5", "2x4x5", "2x3x4"), MULTIPLY_ADD)
    w = module(batched)
    assert w.ops[0].dims == {"b": 2, "m": 3, "n": 4, "k": 5, "bias": 0}
    window = _generic((d + "(d0 + d2, d1 + d3)", d + "(d2, d3)", d + "(d0, d1)"), ("parallel",) * 2 + ("reduction",) * 2, ("10x10", "3x3", "8x8"), MULTIPLY_ADD)
    assert module(window).macs == 8 * 8 * 3 * 3
    e = "(d0, d1) -> "
    fused = _generic((e + "(d0, d1)", e + "(d1)", e + "(d0, d1)"), ("parallel",) * 2, ("4x8", "8", "4x8"),
                     "%p = arith.addf %x, %y : f32\n    %s = math.exp %p : f32\n    linalg.yield %s : f32")
    assert module(fused).ops[0].dims == {"elements": 32, "cost": 1 + ELEMENTWISE_COST["exp"], "extra_elements": 8}
    with pytest.raises(GraphError, match="loops d1, d2"):
        module(_generic(("(d0, d1, d2) -> (d0)",) * 3, ("parallel",) * 3, ("4", "4", "4"), MULTIPLY_ADD))
    with pytest.raises(GraphError, match="d0 has 4 and 5 steps"):
        module(_generic(("(d0) -> (d0)",) * 3, ("parallel",), ("4", "5", "4"), MULTIPLY_ADD))


# -- loops --------------------------------------------------------------------------------------------------------------------------------

def test_an_affine_nest_by_hand(module):
    w = module("""func.func @g(%A: memref<64x32xf32>, %B: memref<32x16xf32>, %C: memref<64x16xf32>) {
  affine.for %i = 0 to 64 {
    affine.for %j = 0 to 16 step 2 {
      affine.for %k = 0 to 32 {
        %a = affine.load %A[%i, %k] : memref<64x32xf32>
        %b = affine.load %B[%k, %j + 1] : memref<32x16xf32>
        %c = affine.load %C[%i, %j] : memref<64x16xf32>
        %p = arith.mulf %a, %b : f32
        %s = arith.addf %c, %p : f32
        affine.store %s, %C[%i, %j] : memref<64x16xf32>
      }
    }
  }
  affine.for %i = 0 to 64 {
    affine.for %j = 0 to 16 {
      %c = affine.load %C[%i, %j] : memref<64x16xf32>
      %e = math.tanh %c : f32
      affine.store %e, %C[%i, %j] : memref<64x16xf32>
    }
  }
  return
}""")
    assert [(op.kind, op.flops) for op in w.ops] == [("gemm", 2 * 64 * 8 * 32), ("elementwise", 64 * 16 * ELEMENTWISE_COST["tanh"])]
    assert w.ops[0].dims == {"m": 64, "n": 8, "k": 32, "b": 1, "bias": 0}
    assert w.edges.tolist() == [[0, 1]]


def test_triangles_and_tails_are_counted_exactly(module):
    # for i < 10, for i <= j < 10: 55 times; inside it a loop of min(4, 10 - j) steps
    text = """func.func @g(%x: memref<10xf32>) {
  affine.for %i = 0 to 10 {
    affine.for %j = affine_map<(d0) -> (d0)>(%i) to 10 {
      affine.for %k = 0 to min affine_map<(d0) -> (4, 10 - d0)>(%j) {
        %a = affine.load %x[%j] : memref<10xf32>
        %b = arith.mulf %a, %a : f32
        affine.store %b, %x[%i] : memref<10xf32>
      }
    }
  }
  return
}"""
    assert module(text).flops == sum(min(4, 10 - j) for i in range(10) for j in range(i, 10))


def test_scf_loops_with_constants(module):
    text = """func.func @g(%x: memref<10xf32>) {
  %zero = arith.constant 0 : index
  %ten = arith.constant 10 : index
  %three = arith.constant 3 : index
  scf.for %i = %zero to %ten step %three {
    %a = memref.load %x[%i] : memref<10xf32>
    %b = arith.addf %a, %a : f32
    memref.store %b, %x[%i] : memref<10xf32>
  }
  return
}"""
    assert module(text).flops == 4
    with pytest.raises(GraphError, match=r"scf\.for: a bound depends on a value that is not known"):
        module(text.replace("@g(", "@g(%n: index, ").replace("to %ten", "to %n"))
    with pytest.raises(UnsupportedOpError, match=r"memref\.alloc in a nest"):
        module(text.replace("    %b =", "    %m = memref.alloc() : memref<4xf32>\n    %b ="))


def test_the_page_runs():
    assert doctest.testfile(str(Path(__file__).parents[3] / "docs" / "mlir.md"), module_relative=False).failed == 0
