"""Reading the parts of a search document strictly: a key nobody knows is an error that names it, what is near, and where it stands."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from ...datasets.errors import FormatError


def shown(value: Any, most: int = 60) -> str:
    """A value in an error message, cut."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def keyed(given: Any, where: str, allowed: Sequence[str], required: Sequence[str] = ()) -> Mapping[str, Any]:
    """`given` if it is a mapping of `allowed` keys with all the `required`; else FormatError naming `where`."""
    if not isinstance(given, Mapping):
        raise FormatError(f"{where}: expected a mapping with the keys {', '.join(allowed)}, got {shown(given)}")
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            raise FormatError(f"{where}: unknown key {shown(key)}" + (f"; did you mean {near[0]!r}?" if near else "") + f" (allowed: {', '.join(allowed)})")
    missing = [key for key in required if key not in given]
    if missing:
        raise FormatError(f"{where}: missing {', '.join(missing)} (allowed: {', '.join(allowed)})")
    return given


def whole(given: Any, where: str, least: int = 1) -> int:
    """A whole number of at least `least`; FormatError otherwise."""
    if not isinstance(given, int) or isinstance(given, bool) or given < least:
        raise FormatError(f"{where}: expected a whole number of at least {least}, got {shown(given)}")
    return given


def words(given: Any, where: str) -> str:
    """A text that is not empty; FormatError otherwise."""
    if not isinstance(given, str) or not given:
        raise FormatError(f"{where}: expected a name, got {shown(given)}")
    return given


def number(given: Any, where: str) -> float:
    """A finite number; FormatError otherwise."""
    if not isinstance(given, (int, float)) or isinstance(given, bool) or not abs(given) < float("inf"):
        raise FormatError(f"{where}: expected a finite number, got {shown(given)}")
    return float(given)
