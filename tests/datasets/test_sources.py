"""The open data by name: where it lies, what is missing, whose it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from silicast.datasets import sources
from silicast.datasets.errors import FormatError, InputError, UnknownNameError


def test_the_folder_is_given_or_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sources.VARIABLE, raising=False)
    with pytest.raises(InputError, match="SILICAST_DATA"):
        sources.data_folder()
    monkeypatch.setenv(sources.VARIABLE, str(tmp_path))
    assert sources.data_folder() == tmp_path
    assert sources.data_folder(tmp_path.parent) == tmp_path.parent
    with pytest.raises(FormatError, match="no such folder"):
        sources.data_folder(tmp_path / "nowhere")


def test_files_and_their_digests(tmp_path: Path) -> None:
    (tmp_path / "vidur").mkdir()
    (tmp_path / "vidur" / "compute_ops.parquet").write_bytes(b"rows")
    found = sources.files(tmp_path, [("vidur", "compute_ops.parquet")])
    assert sources.digests(found) == {"vidur/compute_ops.parquet": hashlib.sha256(b"rows").hexdigest()}
    with pytest.raises(FormatError, match=r"missing.*NeuSight"):
        sources.files(tmp_path, [("neusight", "op_latency.parquet")])
    with pytest.raises(UnknownNameError, match="compute_ops"):
        sources.files(tmp_path, [("vidur", "compute.parquet")])


def test_every_source_says_whose_it_is() -> None:
    for name, source in sources.SOURCES.items():
        assert source.name == name
        assert source.repository in source.attribution
        assert source.licence in source.attribution
        assert source.files
    with pytest.raises(UnknownNameError, match="neusight"):
        sources.source("neusite")
