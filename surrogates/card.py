"""The model card: what a model is, what it learned from, where it may be trusted, and how good it was found to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..datasets.errors import FormatError

FORMAT = "silicast-model/1"


@dataclass(frozen=True)
class ModelCard:
    """Everything a reader needs before believing a model.

    `domain` is what the guard checks against (written by `features.domain`); `metrics` maps slice -> metric -> value on rows the
    model never saw, `coverage` likewise for intervals. `extra` is free text by key.
    """

    name: str
    version: str
    shape: str
    targets: tuple[str, ...]
    units: Mapping[str, str]
    feature_version: str
    simulator_version: str
    data_source: str
    data_digest: str
    data_rows: int
    split: str
    level: float
    domain: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data_licence: str = ""
    seed: int = 0
    silicast_version: str = ""
    code_revision: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `ModelCard.from_json` gives back an equal card."""
        return {"format": FORMAT, **asdict(self), "targets": list(self.targets)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelCard:
        """Reads `to_json`; raises FormatError for another document or a missing field."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            got = data.get("format") if isinstance(data, Mapping) else type(data).__name__
            raise FormatError(f"expected a model card with format {FORMAT!r}, got {got!r}")
        known = {f.name for f in fields(cls)}
        rest = {k: v for k, v in data.items() if k in known}
        try:
            return cls(**{**rest, "targets": tuple(rest["targets"])})
        except (KeyError, TypeError) as error:
            raise FormatError(f"model card: {error}") from None
