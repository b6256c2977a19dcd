"""A folder of measurements that grows: a journal while measuring, a table with its schema at any time.

    out/
      rows.jsonl           one line per measurement, flushed to the disk as it is made; the torn last line of a killed run is dropped
      table.parquet        the same as a table
      schema.yaml          what its columns mean: `silicast fit out/table.parquet --schema out/schema.yaml --out DIR`
      provenance.json      machine, versions, dates, revision, threads, where energy comes from (or why not)

Each file but the journal is written beside its place and moved there whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ..errors import FormatError
from ..ops import OP_KINDS

FORMAT = "silicast-measured/1"
#: what a run of anything gives; the others describe what was run
ANSWERS = ("latency_s", "power_w", "energy_j")
#: said about an answer, no input of a model
SAID = ("latency_mad_s", "latency_p10_s", "latency_p90_s", "samples", "calls_per_sample", "cold", "clock_hz", "temperature_c", "window_s", "at", "spread")


class Record:
    """The measurements in a folder. `shape`: the operator kind of its rows, or "network" for whole models.

    Raises FormatError when the folder holds something else, or measurements of another shape.
    """

    def __init__(self, folder: str | Path, shape: str) -> None:
        self.folder, self.shape = Path(folder), shape
        if self.folder.exists() and not self.folder.is_dir():
            raise FormatError(f"--out {self.folder}: is a file; expected a folder")
        strange = [p.name for p in self.folder.iterdir() if p.name not in ("rows.jsonl", "table.parquet", "schema.yaml", "provenance.json")] if self.folder.is_dir() else []
        if strange:
            raise FormatError(f"--out {self.folder}: holds {strange[0]!r}, which is no measurement; choose an empty folder or one that `silicast measure` made")
        self.rows: list[dict[str, Any]] = []
        self._read()
        self.folder.mkdir(parents=True, exist_ok=True)

    def _read(self) -> None:
        path = self.folder / "rows.jsonl"
        if not path.exists():
            return
        whole = path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]  # a line that a killed run left half-written is measured again
        for number, line in enumerate(kept.splitlines(), 1):
            try:
                row = json.loads(line)
                if row["shape"] != self.shape:
                    raise FormatError(f"--out {self.folder}: holds measurements of {row['shape']!r}, not of {self.shape!r}; choose another folder")
                self.rows.append(row["row"])
            except (ValueError, KeyError, TypeError):
                raise FormatError(f"{path}: line {number} is no measurement; mend or remove it") from None
        if len(kept) < len(whole):
            _replace(path, kept)

    def add(self, row: Mapping[str, Any]) -> None:
        """One more measurement, on the disk when this returns."""
        self.rows.append(dict(row))
        with (self.folder / "rows.jsonl").open("ab") as journal:
            journal.write((json.dumps({"shape": self.shape, "row": dict(row)}) + "\n").encode())
            journal.flush()
            os.fsync(journal.fileno())

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a table."""
        return pd.DataFrame(self.rows)

    def key(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """What makes two measurements one: everything that was chosen, nothing that came out."""
        return tuple(sorted((k, v) for k, v in row.items() if k not in (*ANSWERS, *SAID)))

    def done(self) -> set[tuple[Any, ...]]:
        """Keys of what is measured."""
        return {self.key(row) for row in self.rows}

    def schema(self) -> dict[str, Any]:
        """What the table's columns mean, as `measured.Schema` reads it."""
        frame = self.frame
        targets = {name: {"column": name, "unit": unit} for name, unit in (("latency_s", "s"), ("power_w", "W"), ("energy_j", "J")) if name in frame and frame[name].notna().all()}
        if self.shape == "network":
            features = [c for c in frame if c not in (*ANSWERS, *SAID, "hardware", "network", "digest", "framework")]
            return {"features": features, "context": ["framework"], "hardware": "hardware", "targets": targets, "group": ["digest"]}
        columns = {c: c for c in OP_KINDS[self.shape].dims if c in frame}
        return {"op": self.shape, "columns": {**columns, "dtype": "dtype"}, "hardware": "hardware", "context": ["framework"], "targets": targets}

    def finish(self, provenance: Mapping[str, Any]) -> dict[str, str]:
        """Writes table, schema and provenance; every run that added to the folder stays in the last. Returns what was written."""
        path = self.folder / "provenance.json"
        runs: Sequence[Any] = ()
        if path.exists():
            try:
                runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
            except (OSError, ValueError, KeyError, TypeError):
                raise FormatError(f"{path}: not a provenance that `silicast measure` wrote; remove it or choose another folder") from None
        table = self.folder / ".table.parquet.new"
        self.frame.to_parquet(table, index=False)
        digest = hashlib.sha256(table.read_bytes()).hexdigest()
        os.replace(table, self.folder / "table.parquet")
        _replace(self.folder / "schema.yaml", yaml.safe_dump(self.schema(), sort_keys=False).encode())
        _replace(path, json.dumps({"format": FORMAT, "rows": len(self.rows), "table_sha256": digest, "runs": [*runs, dict(provenance)]}, indent=1).encode())
        return {name: str(self.folder / name) for name in ("table.parquet", "schema.yaml", "provenance.json")}


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    os.replace(beside, path)
