"""What every benchmark shares: a table on stdout, a JSON document, and what machine it ran on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Cores, processor and Python: what a time means nothing without."""
    return {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine(), "python": platform.python_version()}


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows as an aligned text table."""
    print(f"\n{title}")
    if not rows:
        print("  (nothing)")
        return
    names = list(dict.fromkeys(k for row in rows for k in row))
    cells = [[_text(row.get(n)) for n in names] for row in rows]
    widths = [max(len(n), *(len(c[i]) for c in cells)) for i, n in enumerate(names)]
    print("  " + "  ".join(n.ljust(w) for n, w in zip(names, widths, strict=True)))
    for c in cells:
        print("  " + "  ".join(v.ljust(w) if i == 0 else v.rjust(w) for i, (v, w) in enumerate(zip(c, widths, strict=True))))


def write_json(path: Path | None, document: Mapping[str, Any]) -> None:
    """The document with the machine beside it, when a path was given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **document}, indent=1), encoding="utf-8")


def data_folder() -> Path | None:
    """Where the open measured tables lie: SILICAST_DATA, or shared/data beside the repository; None when neither is there."""
    for place in (os.environ.get("SILICAST_DATA"), Path(__file__).parent.parent.parent / "shared" / "data"):
        if place and Path(place).is_dir():
            return Path(place)
    return None


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
