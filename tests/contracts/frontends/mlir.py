"""MLIR text for the contract of frontends: a StableHLO module and an affine nest."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

Maker = Callable[[Path], Path]


def _file(text: str, name: str = "m.mlir") -> Maker:
    def maker(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name
    return maker


def _main(*lines: str, kind: str = "4x8xf32") -> str:
    return "\n".join((f"func.func @main(%a: tensor<{kind}>, %b: tensor<8x2xf32>) -> tensor<{kind}> {{", *lines, f"return %a : tensor<{kind}>\n}}"))


_DOT = "%r = stablehlo.dot_general %a, %b, contracting_dims = [1] x [0] : (tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<4x2xf32>"
_NEST = """func.func @g(%x: memref<8xf32>) {
  affine.for %i = 0 to 8 {
    affine.for %j = affine_map<(d0) -> (d0)>(%i) to 8 {
      %v = affine.load %x[%j] : memref<8xf32>
      %w = arith.addf %v, %v : f32
      affine.store %w, %x[%i] : memref<8xf32>
    }
  }
  return
}"""


def _unknown(folder: Path) -> tuple[Path, str]:
    return _file(_main('%r = "stablehlo.fancy"(%a) : (tensor<4x8xf32>) -> tensor<4x8xf32>'))(folder), r"main: stablehlo\.fancy: is not counted"


_ENDLESS = """func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %r = stablehlo.while(%h = %x) : tensor<4xf32> cond {
    %go = stablehlo.constant dense<1> : tensor<i32>
    stablehlo.return %go : tensor<i32>
  } do {
    %y = stablehlo.tanh %h : tensor<4xf32>
    stablehlo.return %y : tensor<4xf32>
  }
  return %r : tensor<4xf32>
}"""
_CALLS = "\n".join(f"func.func private @f{i}(%x: tensor<4xf32>) -> tensor<4xf32> {{\n" + f"%a{i} = func.call @f{i + 1}(%x) : (tensor<4xf32>) -> tensor<4xf32>\n" * 8
                   + "return %x : tensor<4xf32>\n}" for i in range(12))
_HOSTILE = {
    "empty": _file(""), "no text": _file("\0\1\2" * 1000), "nested attributes": _file("module attributes {a = " + "[" * 10**5), "nested regions": _file(_main('"a.b"() ({' * 10**4)),
    "huge sizes": _file(_main("%r = stablehlo.tanh %a : tensor<999999999x999999999x9xf32>", kind="999999999x999999999x9xf32")), "sizes beyond integers": _file(_main(kind="9" * 10**5 + "xf32")),
    "a huge constant": _file(_main("%c = stablehlo.constant dense<0.0> : tensor<99999999x99999999xf32>", "%r = stablehlo.tanh %c : tensor<99999999x99999999xf32>")),
    "a string without end": _file(_main('%r = stablehlo.tanh %a {a = "' + "parallel, " * 20 + "} : tensor<4x8xf32>")),
    "a string with an odd escape": _file(_main('%r = stablehlo.tanh %a {a = "' + "a" * 60 + '\\q"} : tensor<4x8xf32>')), "endless": _file(_ENDLESS), "calls itself": _file("func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {\n%r = func.call @main(%x) : (tensor<4xf32>) -> tensor<4xf32>\nreturn %r : tensor<4xf32>\n}"),
    "calls by the billion": _file(_CALLS + "\nfunc.func private @f12(%x: tensor<4xf32>) -> tensor<4xf32> {\n%y = stablehlo.tanh %x : tensor<4xf32>\nreturn %y : tensor<4xf32>\n}\n"
                                  "func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {\n%y = func.call @f0(%x) : (tensor<4xf32>) -> tensor<4xf32>\nreturn %y : tensor<4xf32>\n}"),
    "a cycle": _file(_main("%p = stablehlo.tanh %q : tensor<4x8xf32>", "%q = stablehlo.tanh %p : tensor<4x8xf32>")), "no such value": _file(_main("%p = stablehlo.tanh %nobody : tensor<4x8xf32>")),
    "no function": _file("module {}"), "nothing done": _file(_main()), "axes that are not there": _file(_main(_DOT.replace("[1] x [0]", "[7] x [9]"))),
    "triangles by the billion": _file(_NEST.replace("to 8 {", "to 100000 {")), "a resource": _file(_main("%c = stablehlo.constant dense_resource<../../etc/passwd> : tensor<4xf32>")),
    "does not divide": _file(_main('%r = "stablehlo.gather"(%a, %b) <{slice_sizes = array<i64: 99999999999>}> : (tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<4x8xf32>', _DOT.replace("8x2", "3x2"))),
}

CASES = [
    {"id": "stablehlo", "suffix": ".stablehlo", "good": _file(_main(_DOT), "m.stablehlo"), "flops": 2 * 4 * 8 * 2, "unknown": _unknown},
    {"id": "mlir", "suffix": ".mlir", "good": _file(_NEST), "flops": 36, "unknown": _unknown, "hostile": _HOSTILE, "harmless": {"a dot": _file(_main(_DOT)), "quotes in a comment": _file('// it is "fine\n' + _main(_DOT.replace(" :", ' {a = "(((\\22"} :')))}},
] if find_spec("xdsl") else []
