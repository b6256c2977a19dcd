"""Which registered versions answer a target, for a family, well enough? Read off the tags of versions (`lineage`), so that no model is fetched.

    search(target="latency_s", family="mlp", metrics=["latency_s.median_ape<5%"])
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..datasets.errors import InputError, UnknownNameError
from . import lineage, registry

_SIGNS: dict[str, Callable[[float, float], bool]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_CONDITION = re.compile(r"\s*(?P<target>[A-Za-z0-9_=]+)\.(?P<measure>[a-z0-9_]+)\s*(?P<sign><=|>=|<|>)\s*(?P<number>-?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(?P<percent>%?)\s*")
#: measures that are shares: 5 % is 0.05, and a bare 5 is surely meant as a percentage
_SHARES = frozenset({"median_ape", "mape", "p90_ape", "within_5", "within_10", "rmspe", "coverage", "top1_regret"})


@dataclass(frozen=True)
class Condition:
    """`TARGET.MEASURE<VALUE`, such as latency_s.median_ape<5% or power_w.coverage>=0.85. Raises InputError, UnknownNameError."""

    target: str
    measure: str
    sign: str
    value: float

    @classmethod
    def read(cls, text: str) -> Condition:
        """A condition as it is typed."""
        said = _CONDITION.fullmatch(text)
        if said is None:
            raise InputError(f"metric: expected TARGET.MEASURE<VALUE (or <=, >, >=), such as latency_s.median_ape<5%, got {text[:80]!r}")
        if said["measure"] not in lineage.MEASURES:
            raise UnknownNameError("measure", said["measure"], lineage.MEASURES, f"in {text[:80]!r}")
        try:
            value = float(said["number"]) / (100.0 if said["percent"] else 1.0)
        except ValueError:
            raise InputError(f"metric: expected a number after {said['sign']}, got {said['number']!r}") from None
        if said["measure"] in _SHARES and value > 1 and not said["percent"]:
            raise InputError(f"metric: {said['measure']} is a share: write {said['number']}% or {value / 100:g}")
        return cls(said["target"], said["measure"], said["sign"], value)

    def holds(self, value: float | None) -> bool:
        """Whether a recorded figure keeps it; one that is not there does not."""
        return value is not None and _SIGNS[self.sign](value, self.value)

    def __str__(self) -> str:
        return f"{self.target}.{self.measure}"


@dataclass(frozen=True)
class Found:
    """A version that fits. `where` is the slice its `figures` (of the conditions, else median APE and coverage of each target asked for) were recorded in."""

    name: str
    version: str
    champion: bool
    targets: tuple[str, ...]
    families: tuple[str, ...]
    kinds: tuple[str, ...]
    where: str
    figures: dict[str, float]
    gate: str
    data_digest: str
    created_s: float


def search(target: str | None = None, family: str | None = None, metrics: Sequence[str] = (), champions: bool = False, uri: str | None = None) -> tuple[Found, ...]:
    """Every version (`champions`: only those) that answers `target`, was judged on `family` (of workloads, or a kind of machine) and keeps each condition of `metrics`.

    Figures are those of the family where one is named, else over all test rows. The best by the first condition come first, without one the champions and then the newest.
    Raises UnknownNameError for a target or family that no version has, InputError for what is no condition.
    """
    conditions = [Condition.read(text) for text in metrics]
    versions = [(version, model.champion == version.version) for model in registry.list_models(uri) for version in model.versions]
    known = {t for v, _ in versions for t in lineage.listed(v.tags, "targets")}
    for name in dict.fromkeys([*([target] if target else []), *(c.target for c in conditions)]):
        if name not in known:
            raise UnknownNameError("target", name, known or {"(nothing is registered)"}, "of no registered version")
    slices = {f"{column}={one}" for v, _ in versions for column, many in (("family", "families"), ("kind", "kinds")) for one in lineage.listed(v.tags, many)}
    if family and not {f"family={family}", f"kind={family}"} & slices:
        raise UnknownNameError("family", family, {s.partition("=")[2] for s in slices} or {"(none is on record)"}, "no registered version was judged on it")
    found = []
    for version, champion in versions:
        told = lineage.listed(version.tags, "targets")
        where = next((s for s in (f"family={family}", f"kind={family}") if s.partition("=")[2] in lineage.listed(version.tags, "families" if s.startswith("family") else "kinds")), "") \
            if family else "all"
        if (champions and not champion) or (target and target not in told) or not where:
            continue
        figures = {str(c): lineage.figure(version.tags, c.target, c.measure, where) for c in conditions}
        if not all(c.holds(figures[str(c)]) for c in conditions):
            continue
        if not conditions:
            figures = {f"{t}.{m}": lineage.figure(version.tags, t, m, where) for t in ([target] if target else told) for m in ("median_ape", "coverage")}
        found.append(Found(version.name, version.version, champion, told, lineage.listed(version.tags, "families"), lineage.listed(version.tags, "kinds"), where,
                           {k: v for k, v in figures.items() if v is not None}, version.tags.get("gate", ""), version.tags.get("data_digest", ""), version.created_s))
    if conditions:
        first = conditions[0]
        return tuple(sorted(found, key=lambda f: (-1 if first.sign.startswith(">") else 1) * f.figures[str(first)]))
    return tuple(sorted(found, key=lambda f: (not f.champion, -f.created_s)))
