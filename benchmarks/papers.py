"""Published headlines beside ours, all in one table: python benchmarks/papers.py [--json FILE] [--only NAME,NAME]

Every row is a headline of a paper's abstract or tables: what was published, what silicast answers to the same question, their ratio, and the assumptions in a
line. Rows come from benchmarks/papers_*.py, one file a kind of system. Misses stay; what cannot be expressed keeps its row with the reason and no figure.
"""

from __future__ import annotations

import argparse
import importlib
import math
from pathlib import Path
from typing import Any

from _tables import print_table, write_json

#: modules beside this one, each with `rows()`
PARTS = ("papers_machines", "papers_clusters", "papers_llm", "papers_fpga")
#: what every row says
FIELDS = ("system", "headline", "published", "simulated", "ratio", "assumptions")
#: a ratio inside this factor of the published figure counts as met
NEAR = 1.5


def main() -> int:
    """Prints the table, the assumptions and a summary; writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", help=f"some of {', '.join(PARTS)}, joined by commas")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else PARTS
    found = [row for part in chosen for row in rows_of(part)]
    print_table("published headlines beside ours", [{k: row[k] for k in FIELDS[:-1]} | {"verdict": verdict(row)} for row in found])
    print("\nassumptions and reasons")
    for row in found:
        print(f"  {row['system']}, {row['headline']}: {row['assumptions']}")
    counted = {name: sum(verdict(row) == name for row in found) for name in ("near", "same order", "miss", "open")}
    print("\n" + ", ".join(f"{count} {name}" for name, count in counted.items()) + f" of {len(found)} headlines (near: within a factor {NEAR:g}; same order: within 3)")
    write_json(options.json, {"rows": [row | {"verdict": verdict(row)} for row in found], "summary": counted})
    return 0


def rows_of(part: str) -> list[dict[str, Any]]:
    """The rows of one module, in the common form. Raises ValueError for a name that is no part and for a row that lacks a field."""
    if part not in PARTS:
        raise ValueError(f"--only: expected some of {', '.join(PARTS)}, got {part!r}")
    found = list(importlib.import_module(part).rows())
    for row in found:
        missing = [name for name in FIELDS if name not in row]
        if missing:
            raise ValueError(f"{part}: a row of {row.get('system')!r} lacks {', '.join(missing)}")
    return found


def verdict(row: dict[str, Any]) -> str:
    """near, same order or miss by the ratio of ours to the published figure; open where there is none."""
    if not row["ratio"] or not math.isfinite(row["ratio"]) or row["ratio"] <= 0.0:
        return "open"
    apart = max(row["ratio"], 1.0 / row["ratio"])
    return "near" if apart <= NEAR else "same order" if apart <= 3.0 else "miss"


if __name__ == "__main__":
    raise SystemExit(main())
