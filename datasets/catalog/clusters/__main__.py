"""Prints the table of docs/clusters.md: `python -m silicast.datasets.catalog.clusters`."""

from __future__ import annotations

from .table import table

if __name__ == "__main__":
    print(table())
