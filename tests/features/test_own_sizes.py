"""Sizes that one machine was never measured at: whose sizes end, who merely has few rows, how far beyond a question lies."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.datasets.columns import OpColumns
from silicast.datasets.ops import Op
from silicast.features.own_sizes import beyond, extended, known, merged, reasons


def gemms(sizes: np.ndarray) -> OpColumns:
    return OpColumns.from_ops([Op.of("g", "gemm", m=int(m), n=256, k=256, dtype="float16") for m in sizes])


def test_a_machine_of_small_sizes_alone_ends_where_its_rows_do() -> None:
    sizes = np.r_[np.tile(2 ** np.arange(4, 14), 3), np.tile(2 ** np.arange(4, 9), 4)]
    machines = np.repeat(np.array(["all", "small"], dtype=object), [30, 20])
    told = known(gemms(sizes), [machines])
    assert told == {"small": {"gemm": {"m": 8.0}}}
    asked, whose = gemms(np.array([256, 1024, 1024, 8192])), np.array(["small", "small", "all", "nobody"], dtype=object)
    assert beyond(asked, [whose], told)["m"] == pytest.approx([0.0, 2.0, 0.0, 0.0])
    assert reasons(asked, [whose], told) == ["", "m = 1024, while small was measured up to 256", "", ""]


def test_measurements_beyond_an_end_move_it() -> None:
    told = {"small": {"gemm": {"m": 8.0}}, "dtype float16": {"gemm": {"m": 9.0}}}
    since = gemms(np.array([128, 2048, 4096]))
    moved = extended(told, since, [np.array(["small", "small", "all"], dtype=object)])
    assert moved == {"small": {"gemm": {"m": 11.0}}, "dtype float16": {"gemm": {"m": 9.0}}}
    assert told["small"]["gemm"]["m"] == 8.0


def test_few_rows_that_happen_to_be_small_are_no_end() -> None:
    """Half of the sizes lie above 256: that five rows all stay below is a chance of 0.5^5 = 3 %, that eight do one of 0.4 %."""
    sizes = np.tile(2 ** np.arange(4, 14), 3)
    for rows, ends in ((5, False), (8, True)):
        own = np.resize([16, 32, 64, 128, 256], rows)
        told = known(gemms(np.r_[sizes, own]), [np.array(["all"] * 30 + ["few"] * rows, dtype=object)])
        assert bool(told) == ends
    assert known(gemms(sizes), [np.array(["one"] * 30, dtype=object)]) == {}


def test_the_farther_of_two_accounts_counts() -> None:
    out = merged({"m": np.array([0.0, 2.0]), "k": np.array([1.0, 0.0])}, {"m": np.array([1.0, 1.0]), "n": np.array([3.0, 0.0])})
    assert {name: list(far) for name, far in out.items()} == {"m": [1.0, 2.0], "k": [1.0, 0.0], "n": [3.0, 0.0]}
