"""The table of sampled nests and cores: complete, repeatable, whole groups, readable as a plain feature table."""

import numpy as np
import pytest

from silicast.datasets.errors import InputError
from silicast.datasets.measured import Schema
from silicast.datasets.nest_table import CORES_PER_NEST, NEST_SCHEMA, NEST_TARGETS, generate_nests


def test_a_table_is_complete_and_repeats():
    frame = generate_nests(203, seed=3)
    assert len(frame) == 203
    assert frame.equals(generate_nests(203, seed=3))
    assert not frame.equals(generate_nests(203, seed=4))
    numbers = frame.select_dtypes("number")
    assert np.isfinite(numbers.to_numpy()).all()
    assert (frame[list(NEST_TARGETS)] > 0).all().all()
    assert frame["cycles"].to_numpy() * frame["ipc"].to_numpy() == pytest.approx(frame["instructions"].to_numpy())
    assert frame["nest"].iloc[:CORES_PER_NEST].nunique() == 1
    assert frame.columns.is_unique


def test_the_schema_reads_it():
    schema = Schema.read(NEST_SCHEMA)
    frame = generate_nests(8)
    assert {c.column for c in schema.targets.values()} | set(schema.group) <= set(frame.columns)


def test_an_empty_table_is_an_error():
    with pytest.raises(InputError, match="count"):
        generate_nests(0)
