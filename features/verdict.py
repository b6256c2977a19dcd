"""The domain guard's verdict on one question, with its reason in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..datasets.errors import InputError

#: the verdicts of the domain guard, mildest first
VERDICTS = ("in_domain", "extrapolating", "unsupported", "unchecked")


@dataclass(frozen=True, slots=True)
class Domain:
    """Whether a question lies inside what the model has seen, and the reason in words.

    `novelty`: how much the answer is to be doubted, 1 where one in twenty of the rows held out of training lay beyond (`doubt`); NaN where nobody measured it.
    `nearest`: the trained row most like the question, "" where the card keeps none. Neither takes part in comparisons.
    """

    verdict: str
    reason: str = ""
    novelty: float = field(default=math.nan, compare=False)
    nearest: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise InputError(f"domain verdict must be one of {', '.join(VERDICTS)}, got {self.verdict!r}")
