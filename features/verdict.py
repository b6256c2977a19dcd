"""The domain guard's verdict on one question, with its reason in words."""

from __future__ import annotations

from dataclasses import dataclass

from ..datasets.errors import InputError

#: the verdicts of the domain guard, mildest first
VERDICTS = ("in_domain", "extrapolating", "unsupported", "unchecked")


@dataclass(frozen=True, slots=True)
class Domain:
    """Whether a question lies inside what the model has seen, and the reason in words."""

    verdict: str
    reason: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise InputError(f"domain verdict must be one of {', '.join(VERDICTS)}, got {self.verdict!r}")
