"""Prints the catalogue as the markdown table of docs/hardware.md: `python -m silicast.datasets.catalog`."""

from __future__ import annotations

from . import hardware, keys
from .table import markdown

if __name__ == "__main__":
    print(markdown([hardware(key) for key in keys()]))
