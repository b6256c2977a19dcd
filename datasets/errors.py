"""What can go wrong, in one tree.

    SilicastError
    +-- InputError              the caller's mistake: exit code 2, HTTP 422
    |   +-- FormatError         a file is not what it claims to be
    |   +-- GraphError          a workload is cyclic, dangling or has impossible sizes
    |   +-- UnsupportedOpError  an operator silicast cannot count; names the node
    |   +-- UnknownNameError    no such device, target, op kind, model; names the nearest
    |   +-- UnitError           a unit that does not fit the quantity
    |   +-- TableError          a table's columns or rows are not usable
    |   +-- InfeasibleError     the design does not fit; names the resource that overflows
    |   +-- VersionError        made by another version of features, simulator or store
    +-- RegistryError           the model registry cannot be reached or is damaged: exit code 1

Every message says what it got, what it wanted, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SilicastError(Exception):
    """Root of every error silicast raises on purpose."""


class InputError(SilicastError):
    """The caller's mistake; nothing was written."""


class FormatError(InputError):
    """A file is missing, truncated, or not of the format it should have."""


class GraphError(InputError):
    """A workload graph is cyclic, refers to a missing tensor, or has impossible sizes."""


class UnsupportedOpError(InputError):
    """An operator that silicast cannot count. Never counted as zero."""


#: so many known names are all told, beside the nearest
_FEW = 12


class UnknownNameError(InputError):
    """A name that is not in a registry; the message lists the nearest ones."""

    def __init__(self, what: str, got: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(set(known))
        near = difflib.get_close_matches(str(got).lower(), [n.lower() for n in names], n=4, cutoff=0.4)
        by_lower = {n.lower(): n for n in names}
        shown = [by_lower[n] for n in near] or names[:8]
        lead = "nearest" if near else "known"
        every = f"; all: {', '.join(names)}" if near and len(shown) < len(names) <= _FEW else ""
        super().__init__(f"unknown {what} {got!r}; {lead}: {', '.join(shown)}{every}" + (f". {hint}" if hint else ""))
        self.nearest = tuple(shown)


class UnitError(InputError):
    """A unit that is unknown or measures another quantity."""


class TableError(InputError):
    """A table's columns or rows are not usable; says which."""


class InfeasibleError(InputError):
    """A design that does not fit its device; says which resource overflows and by how much."""


class VersionError(InputError):
    """An artefact made by an incompatible version."""


class RegistryError(SilicastError):
    """The model registry cannot be reached or is damaged."""
