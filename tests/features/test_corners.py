"""How far sizes reach together: by hand, and of a grid with a corner left out."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest

from silicast.datasets.columns import OpColumns
from silicast.features import corners


def gemms(sizes: list[tuple[int, int, int]]) -> OpColumns:
    m, n, k = np.array(sizes).T
    return OpColumns.from_sizes("gemm", {"m": m, "n": n, "k": k, "b": np.ones(len(sizes))}, np.zeros(len(sizes), dtype=np.int16))


def known(sizes: list[tuple[int, int, int]]) -> dict:
    return json.loads(json.dumps(corners.known(gemms(sizes), np.arange(len(sizes)).astype(object))))  # as a card keeps it


#: all of 256 to 2,048 but those where m and n are both 2,048
GRID = [(m, n, k) for m, n, k in product((256, 512, 1024, 2048), repeat=3) if not m == n == 2048]


def test_a_corner_is_beyond_though_each_size_is_within() -> None:
    reached = known(GRID)
    asked = gemms([(2048, 2048, 256), (2048, 1024, 2048), (2048, 1100, 2048), (256, 256, 256), (4096, 2048, 256)])
    assert corners.together(asked, reached) == pytest.approx([1.0, 0.0, 0.0, 0.0, 0.0])  # a tenth more is not beyond; the last one is beyond m
    assert corners.beyond(asked, reached)["m"] == pytest.approx([0.0, 0.0, 0.0, 0.0, 1.0])
    assert not corners.beyond(asked, reached)["n"].any()
    told = corners.reasons(asked, reached)
    assert [bool(t) for t in told] == [True, False, False, False, False]
    assert "m = 2048, n = 2048, k = 256" in told[0]


def test_of_rows_far_apart_a_corner_is_usual() -> None:
    """Rows of sizes drawn anywhere lie beyond one another now and then: as far as that is no reason, four octaves are."""
    rng = np.random.default_rng(0)
    reached = known([tuple(2 ** rng.uniform(4, 12, 3)) for _ in range(60)])
    assert reached["gemm"]["usual"] > 2 * corners.STEP
    two = known([(2**4, 2**12, 64), (2**12, 2**4, 64)] * 30)
    assert corners.reasons(gemms([(2**8, 2**8, 64)]), two)[0]


def test_many_maximal_ones_are_rounded_up_and_no_known_one_is_beyond() -> None:
    rng = np.random.default_rng(1)
    m, n, k = (np.exp(rng.normal(6.0, 1.0, 5_000)) for _ in range(3))
    k = np.exp(18.0) / m / n  # a surface: no row is as large as another throughout
    rows = [tuple(r) for r in np.column_stack([m, n, k])]
    reached = known(rows)
    assert len(reached["gemm"]["together"]) <= 256
    assert not corners.together(gemms(rows), reached).any()


def test_kinds_nobody_knows_and_cards_without_corners() -> None:
    asked = OpColumns.from_sizes("softmax", {"rows": np.array([64.0]), "cols": np.array([64.0])}, np.zeros(1, dtype=np.int16))
    assert not corners.together(asked, known(GRID)).any()
    assert corners.reasons(asked, {}) == [""]
    reached = corners.known(asked, np.zeros(1, dtype=object))
    assert corners.COUNT in reached["softmax"]["sizes"]


def test_operators_whose_sizes_are_all_zero() -> None:
    asked = OpColumns.from_sizes("softmax", {"rows": np.zeros(2), "cols": np.zeros(2)}, np.zeros(2, dtype=np.int16))
    reached = corners.known(asked, np.arange(2).astype(object))
    assert len(reached["softmax"]["sizes"]) == len(reached["softmax"]["most"])
    assert not any(over.any() for over in corners.beyond(asked, reached).values())
    assert not corners.together(asked, reached).any()
