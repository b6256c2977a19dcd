"""Prints the catalogue as a page of the documentation: `python -m silicast.datasets.catalog > docs/devices.md`."""

from __future__ import annotations

from . import hardware, keys
from .table import citations, page

if __name__ == "__main__":
    print(page([hardware(key) for key in keys()], {key: citations(key) for key in keys()}), end="")
