"""Number formats: their width, and which wider one stands in when a machine lacks one.

A dtype names both how an operand is stored and which rate of a machine computes it. `tfloat32` is stored as 32 bits
and computed on the matrix units at the reduced precision.
"""

from __future__ import annotations

from .errors import UnknownNameError

#: dtype -> bits of one stored element
BITS: dict[str, int] = {
    "float64": 64, "float32": 32, "tfloat32": 32, "bfloat16": 16, "float16": 16, "float8": 8, "float4": 4,
    "int64": 64, "int32": 32, "int16": 16, "int8": 8, "int4": 4, "bool": 8, "int2": 2,
}

#: as people and frameworks write them
ALIASES: dict[str, str] = {
    "fp64": "float64", "double": "float64", "fp32": "float32", "float": "float32", "f32": "float32", "tf32": "tfloat32",
    "bf16": "bfloat16", "fp16": "float16", "half": "float16", "f16": "float16",
    "fp8": "float8", "fp8_block": "float8", "float8_e4m3fn": "float8", "float8_e5m2": "float8", "e4m3": "float8", "e5m2": "float8",
    "float8_e4m3": "float8", "fp8_e4m3": "float8", "fp8_e5m2": "float8", "mxfp8": "float8",
    "fp4": "float4", "nvfp4": "float4", "mxfp4": "float4", "nf4": "float4", "fp4_e2m1": "float4", "float4_e2m1fn": "float4",
    "i8": "int8", "s8": "int8", "u8": "int8", "s4": "int4", "u4": "int4", "s32": "int32", "uint8": "int8", "sq": "int8", "i4": "int4", "uint4": "int4", "i2": "int2", "uint2": "int2",
    "uint16": "int16", "uint32": "int32", "uint64": "int64",
}

#: quantisation schemes that store weights narrower than they compute: name -> (compute dtype, weight dtype)
SCHEMES: dict[str, tuple[str, str]] = {
    "int8_wo": ("float16", "int8"), "int4_wo": ("float16", "int4"), "w8a16": ("float16", "int8"), "w4a16": ("float16", "int4"),
    "int2_wo": ("float16", "int2"), "w2a16": ("float16", "int2"),
}

#: dtype -> formats tried in turn when a machine has no rate for it: wider ones first, which hold every value of it
STAND_INS: dict[str, tuple[str, ...]] = {
    "float64": (),
    "float32": ("float64",),
    "tfloat32": ("float32",),
    "bfloat16": ("float16", "tfloat32", "float32"),
    "float16": ("bfloat16", "tfloat32", "float32"),
    "float8": ("float16", "bfloat16", "float32"),
    "float4": ("float8", "float16", "bfloat16", "float32"),
    "int8": ("int16", "float16", "bfloat16", "float32", "int32"),
    "int2": ("int4", "int8", "int16", "float16", "bfloat16", "float32"),
    "int4": ("int8", "int16", "float16", "bfloat16", "float32"),
    "int16": ("int32", "float32"),
    "int32": ("float32", "int64"),
    "int64": ("int32", "float64", "float32"),
    "bool": ("int8", "float16", "bfloat16", "float32"),
}
#: and when there is nothing wider: the machine cannot compute the format, and the answer is a price in one it can
NARROWER: dict[str, tuple[str, ...]] = {
    "float64": ("float32", "tfloat32", "bfloat16", "float16"), "float32": ("tfloat32", "bfloat16", "float16", "int16", "int8"),
    "tfloat32": ("bfloat16", "float16", "int16", "int8"), "bfloat16": ("int16", "int8"), "float16": ("int16", "int8"), "float8": ("int16", "int8"),
    "float4": ("int16", "int8"), "int16": ("float16", "int8"), "int32": ("int16", "float16", "int8"), "int64": ("int16", "float16", "int8"),
}

DTYPE_CODES: dict[str, int] = {name: i for i, name in enumerate(BITS)}
DTYPE_NAMES: tuple[str, ...] = tuple(BITS)


def dtype_name(name: str) -> str:
    """The canonical name of a dtype; raises UnknownNameError naming the nearest."""
    if not isinstance(name, str):
        raise UnknownNameError("dtype", name, [*BITS, *ALIASES])
    canonical = ALIASES.get(name, name)
    if canonical not in BITS:
        lowered = ALIASES.get(name.lower(), name.lower())
        if lowered not in BITS:
            raise UnknownNameError("dtype", name, [*BITS, *ALIASES])
        canonical = lowered
    return canonical


def dtype_pair(name: str) -> tuple[str, str]:
    """(compute dtype, weight dtype) of a dtype or of a weight-only scheme such as `int4_wo`."""
    return SCHEMES[name] if name in SCHEMES else (dtype_name(name), dtype_name(name))
