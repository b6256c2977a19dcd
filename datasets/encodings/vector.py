"""What a table holds of an architecture: a string, a list or a row of columns, read into whole numbers and names or refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import FormatError
from ..ops import shown

#: as a table, a JSON document or a caller hands it over
Encoding = str | Mapping[str, Any] | Sequence[Any]
#: characters of an encoding that are read; the longest of the open tables has 300
MOST_CHARACTERS = 65536


def opened(encoding: Encoding, where: str) -> Any:
    """The encoding, JSON text parsed. Raises FormatError naming `where` for what is none of text, list or row."""
    if isinstance(encoding, str):
        if len(encoding) > MOST_CHARACTERS:
            raise FormatError(f"{where}: an encoding of {len(encoding)} characters; expected at most {MOST_CHARACTERS}")
        text = encoding.strip()
        if text[:1] in ("{", "["):
            try:
                return json.loads(text)
            except (ValueError, RecursionError) as error:
                raise FormatError(f"{where}: not readable as JSON ({str(error)[:80]})") from None
        return text
    if hasattr(encoding, "to_dict"):  # a row of a data frame
        return encoding.to_dict()
    if hasattr(encoding, "tolist"):
        return encoding.tolist()
    if not isinstance(encoding, Mapping | Sequence):
        raise FormatError(f"{where}: expected text, a list or a row of columns, got {shown(encoding)}")
    return encoding


def number(value: Any, least: int, most: int, where: str) -> int:
    """A whole number of least..most. Raises FormatError naming `where`."""
    try:
        whole = int(value)
        if whole != value or not least <= whole <= most:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise FormatError(f"{where}: expected a whole number from {least} to {most}, got {shown(value)}") from None
    return whole


def member(row: Any, name: str, where: str) -> Any:
    """A column of a row. Raises FormatError naming it and what there is."""
    if not isinstance(row, Mapping) or name not in row:
        there = ", ".join(map(str, list(row)[:8])) if isinstance(row, Mapping) else shown(row)
        raise FormatError(f"{where}: expected the column {name!r}, got {there}")
    return row[name]


def listed(row: Any, name: str, count: int, where: str, first: str = "") -> list[Any]:
    """`count` values: a list under `name`, or columns `name` + "0", "1", ... (`first` says how the first is written, as "00").

    Raises FormatError for a missing column or another number of values.
    """
    if isinstance(row, Mapping) and name in row:
        values = opened(row[name], f"{where}, {name}")
        if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != count:
            raise FormatError(f"{where}: {name}: expected {count} values, got {shown(values)}")
        return list(values)
    digits = len(first or "0")
    return [member(row, f"{name}{i:0{digits}}", where) for i in range(count)]


def words(row: Any) -> list[Any] | None:
    """The entries of a bare list or of text with commas or blanks between them; None for a row of columns."""
    if isinstance(row, str):
        return row.replace(",", " ").split()
    return list(row) if isinstance(row, Sequence) else None


def divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of the divisor, never more than a tenth below (how MobileNets round widths: Sandler et al. 2018, its public code)."""
    near = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return near + divisor if near < 0.9 * channels else near
