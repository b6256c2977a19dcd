"""Words that no table told of, likened to one that it did: `TritonFp8BlockScaledMMKernel` does nearly what `CutlassFp8BlockScaledMMKernel` does.

Kernels are named by what they do, and a machine never seen runs kernels of its own. A word never seen stands for the known one that shares most of its parts, where that is
half of all parts of the two at least; other words stay unknown. That a word was never seen is for the domain guard to say, which looks at words as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

import pandas as pd

#: parts of a word: runs of capitals, of letters, of digits
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
#: share of parts (intersection over union) from which two words are alike, and parts that tell enough (assumptions)
_ALIKE, _LEAST_PARTS = 0.5, 4
#: known words beyond which they are labels (of layers, of sites), not names of kernels (assumption)
_MOST_KNOWN = 500
#: rows that are looked at one by one sooner than by pandas
_FEW = 64


def alike(word: str, known: Iterable[str]) -> str | None:
    """The known word most like another, the first by name among equals; None where none is like it."""
    parts = _parts(word)
    if len(parts) < _LEAST_PARTS:
        return None
    shares = {other: len(parts & theirs) / len(parts | theirs) for other in known if len(theirs := _parts(other)) >= _LEAST_PARTS}
    best = min(shares, key=lambda other: (-shares[other], other), default=None)
    return best if best is not None and shares[best] >= _ALIKE else None


def distinct(values: pd.Series) -> set[str]:
    """The different words of a column."""
    return {str(word) for word in (values.unique() if len(values) > _FEW else values.tolist())}


def likened(values: pd.Series, known: Collection[str]) -> pd.Series:
    """The words of a column, those that are not `known` replaced by the known ones they are like."""
    words = distinct(values).difference(known) if len(known) <= _MOST_KNOWN else set()
    new = {word: like for word in sorted(words) if (like := alike(word, known)) is not None}
    return values.astype(str).replace(new) if new else values


@lru_cache(65_536)
def _parts(word: str) -> frozenset[str]:
    return frozenset(part.lower() for part in _PARTS.findall(word))
