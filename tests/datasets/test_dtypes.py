"""Number formats: widths, spellings, and what stands in for what."""

import pytest

from silicast.datasets.dtypes import ALIASES, BITS, SCHEMES, STAND_INS, dtype_name, dtype_pair
from silicast.datasets.errors import UnknownNameError


@pytest.mark.parametrize(("written", "name", "bits"), [
    ("fp16", "float16", 16), ("half", "float16", 16), ("BF16", "bfloat16", 16), ("FP8", "float8", 8), ("tf32", "tfloat32", 32), ("double", "float64", 64),
    ("nvfp4", "float4", 4), ("uint8", "int8", 8), ("i4", "int4", 4), ("Float32", "float32", 32), ("bool", "bool", 8),
    ("mxfp8", "float8", 8), ("float8_e4m3", "float8", 8), ("fp8_e5m2", "float8", 8), ("nf4", "float4", 4), ("s8", "int8", 8), ("u4", "int4", 4),
])
def test_spellings_and_widths(written, name, bits):
    assert dtype_name(written) == name
    assert BITS[name] == bits


@pytest.mark.parametrize("written", ["float17", "", " float16", 5, None, ["float16"]])
def test_an_unknown_dtype_names_the_nearest(written):
    with pytest.raises(UnknownNameError, match="unknown dtype"):
        dtype_name(written)


def test_weight_only_schemes():
    assert dtype_pair("int4_wo") == ("float16", "int4")
    assert dtype_pair("w8a16") == ("float16", "int8")
    assert dtype_pair("bf16") == ("bfloat16", "bfloat16")


def test_the_tables_name_only_formats_that_exist():
    assert set(ALIASES.values()) <= set(BITS)
    assert {d for pair in SCHEMES.values() for d in pair} <= set(BITS)
    assert set(STAND_INS) == set(BITS)
    assert all(set(s) <= set(BITS) and d not in s for d, s in STAND_INS.items())
    assert not set(ALIASES) & set(BITS)
