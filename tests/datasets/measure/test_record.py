"""A folder of measurements: what was killed goes on, what is strange is refused, what comes out is a table `fit` reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from silicast.datasets.errors import FormatError
from silicast.datasets.measure.machine import cpu_model, last_level_cache_bytes, pinned, provenance, usable_threads
from silicast.datasets.measure.record import Record
from silicast.datasets.measured import read_measured

ROW = {"b": 1, "m": 4, "n": 8, "k": 16, "dtype": "float32", "hardware": "here", "framework": "torch", "latency_s": 1e-5, "latency_mad_s": 1e-7, "samples": 5}


def test_a_table_that_is_read_at_once(tmp_path: Path) -> None:
    record = Record(tmp_path / "out", "gemm")
    record.add(ROW)
    record.add({**ROW, "m": 8, "latency_s": 2e-5})
    files = record.finish({"device": "cpu"})
    table = read_measured(files["table.parquet"], files["schema.yaml"])
    assert table.targets["latency_s"].tolist() == [1e-5, 2e-5]
    assert table.questions.ops.m.tolist() == [4, 8]
    told = json.loads(Path(files["provenance.json"]).read_text())
    assert (told["rows"], len(told["runs"])) == (2, 1)


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    record = Record(tmp_path, "gemm")
    record.add(ROW)
    with (tmp_path / "rows.jsonl").open("a") as journal:
        journal.write('{"shape": "gemm", "row": {"m": 4')  # killed while writing
    again = Record(tmp_path, "gemm")
    assert again.rows == [ROW]
    assert again.key(ROW) in again.done()
    again.add({**ROW, "m": 8})
    assert len(Record(tmp_path, "gemm").rows) == 2


def test_energy_is_a_target_only_where_every_row_has_it(tmp_path: Path) -> None:
    record = Record(tmp_path, "gemm")
    record.add({**ROW, "power_w": 50.0, "energy_j": 5e-4})
    assert set(record.schema()["targets"]) == {"latency_s", "power_w", "energy_j"}
    record.add({**ROW, "m": 8})
    assert set(record.schema()["targets"]) == {"latency_s"}


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FormatError, match=r"thesis\.tex"):
        Record(tmp_path, "gemm")
    with pytest.raises(FormatError, match="expected a folder"):
        Record(tmp_path / "thesis.tex", "gemm")
    Record(tmp_path / "a", "gemm").add(ROW)
    with pytest.raises(FormatError, match="'gemm', not of 'conv'"):
        Record(tmp_path / "a", "conv")
    (tmp_path / "a" / "rows.jsonl").write_text("nonsense\n")
    with pytest.raises(FormatError, match="line 1"):
        Record(tmp_path / "a", "gemm")


def test_the_machine_says_what_it_is() -> None:
    told = provenance("cpu", "here", 1)
    assert told["cpu"] == cpu_model() != ""
    assert set(told) >= {"date", "revision", "versions", "threads", "last_level_cache_bytes"}
    assert (last_level_cache_bytes() or 2**20) >= 2**15
    with pinned(1):
        assert usable_threads() == 1
