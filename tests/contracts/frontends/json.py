"""Workload documents for the contract of frontends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Maker = Callable[[Path], Path]


def _document() -> dict[str, Any]:
    ops = [{"name": "product", "kind": "gemm", "dims": {"m": 2, "n": 3, "k": 4}, "dtype": "float16", "params": 12},
           {"name": "relu", "kind": "elementwise", "dims": {"elements": 6}, "dtype": "float16"}]
    tensors = [{"name": "x", "bytes": 16, "producer": -1, "consumers": [0]}, {"name": "h", "bytes": 12, "producer": 0, "consumers": [1]},
               {"name": "y", "bytes": 12, "producer": 1, "consumers": []}]
    return {"format": "silicast-workload/1", "name": "two", "ops": ops, "tensors": tensors}


def _file(change: Callable[[dict[str, Any]], Any] = lambda d: None) -> Maker:
    def maker(folder: Path) -> Path:
        path, document = folder / "net.json", _document()
        change(document)
        path.write_text(json.dumps(document))
        return path
    return maker


def _text(text: str) -> Maker:
    def maker(folder: Path) -> Path:
        (folder / "net.json").write_text(text)
        return folder / "net.json"
    return maker


CASES = [{
    "suffix": ".json", "good": _file(), "flops": 2 * 2 * 3 * 4 + 6,
    "unknown": lambda folder: (_file(lambda d: d["ops"][1].update(kind="fancy"))(folder), "unknown operator kind 'fancy'"),
    "hostile": {"empty": _text(""), "nested": _text("[" * 100_000), "a number": _text("7"), "a number of thousands of digits": _text('{"format": ' + "9" * 10_000 + "}")},
}]
