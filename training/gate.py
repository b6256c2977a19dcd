"""The gate before `champion` moves: is the new model no worse, and do its intervals hold?"""

from __future__ import annotations

import math

from ..surrogates.card import ModelCard

#: a new champion's median APE may be this much worse, relative to the old one's: over all rows, and in a slice
MAY_WORSEN, SLICE_MAY_WORSEN = 0.10, 0.25
#: in a slice a median APE that is worse by no more than this (absolute) is not held against it: half a percentage point
SLICE_FLOOR = 0.005
#: the slices compared, and the rows both cards must have there: of fewer a median says little
SLICES, LEAST_ROWS = ("kind=", "family="), 100
#: coverage may miss the promised level by this much, either way; a first champion's on `JUDGED` by so much
COVERAGE_BAND, FIRST_COVERAGE_BAND = 0.05, 0.15
#: the target whose intervals a first champion is judged by
JUDGED = "latency_s"
_EPS = 1e-9


def may_promote(new: ModelCard, old: ModelCard | None) -> tuple[bool, tuple[str, ...]]:
    """The gate: may `new` take the place of the champion `old`? (yes or no, reasons and remarks in words).

    It may when it answers every target of the old one; its median APE is nowhere more than 10 % worse (relative) over all test rows, nor more
    than 25 % and half a percentage point worse in a slice (kind of machine, family) of at least 100 rows; and its coverage lies within 5 points
    of the level, or, where the old one's does not either, no further from it. A first champion has nobody to be compared with: it may unless its
    coverage on `latency_s` misses the level by more than 15 points. Coverage that is let through out of band is flagged in the remarks. A target
    that is counted, not learned (no error, every interval holds), has no coverage to judge.
    """
    against: list[str] = []
    remarks: list[str] = []
    for name in new.targets:
        missed = _missed(new, name)
        if missed <= COVERAGE_BAND + _EPS or _counted(new, name):
            continue
        allowed = FIRST_COVERAGE_BAND if old is None else _missed(old, name) if name in old.targets else COVERAGE_BAND
        let_through = (old is None and name != JUDGED) or missed <= allowed + _EPS
        fault = _fault(new, name, FIRST_COVERAGE_BAND if old is None and not let_through else COVERAGE_BAND)
        (remarks if let_through else against).append(f"flagged: {fault}" if let_through else fault)
    if old is None:
        return not against, tuple(against or remarks) or ("first champion; coverage holds",)
    lost = [name for name in old.targets if name not in new.targets]
    if lost:
        against.append(f"no longer answers {', '.join(lost)}")
    both = [name for name in new.targets if name in old.targets]
    for name in both:
        error, before = _measure(new, name, "median_ape"), _measure(old, name, "median_ape")
        if not math.isfinite(error):
            against.append(f"{name}: no median APE on record")
        elif math.isfinite(before) and error > before * (1.0 + MAY_WORSEN):
            against.append(f"{name}: median APE {error:.4f} is more than {MAY_WORSEN:.0%} worse than the champion's {before:.4f}")
        elif math.isfinite(before):
            remarks.append(f"{name}: median APE {error:.4f}, champion {before:.4f}")
    against += [reason for name in both for reason in _worse_slices(new, old, name)]
    judged_on, before_on = (c.extra.get("test_digest", c.data_digest) for c in (new, old))
    if judged_on != before_on:
        remarks.append(f"judged on other rows than the champion (digests {judged_on} and {before_on})")
    return not against, tuple(against or remarks)


def _worse_slices(new: ModelCard, old: ModelCard, target: str) -> list[str]:
    """The slices in which `new` fell back too far. A slice that only one card has, or has few rows, is not compared."""
    out = []
    for where in sorted(set(new.metrics) & set(old.metrics)):
        if not where.startswith(SLICES) or any(not _measure(c, target, "rows", where) >= LEAST_ROWS for c in (new, old)):
            continue
        error, before = (_measure(c, target, "median_ape", where) for c in (new, old))
        if error > max(before * (1.0 + SLICE_MAY_WORSEN), before + SLICE_FLOOR) + _EPS:
            out.append(f"{target} where {where}: median APE {error:.4f} is more than {SLICE_MAY_WORSEN:.0%} worse than the champion's {before:.4f}")
    return out


def _counted(card: ModelCard, target: str) -> bool:
    """Whether a target is computed exactly, as memory_bytes is for whole workloads: its median APE is 0 and its coverage 1."""
    return _measure(card, target, "median_ape") <= 1e-6 and _measure(card, target, "coverage") >= 0.999


def _missed(card: ModelCard, target: str) -> float:
    """How far coverage is from the level, either way; infinite without one on record."""
    share = _measure(card, target, "coverage")
    return abs(share - card.level) if math.isfinite(share) else math.inf


def _fault(card: ModelCard, target: str, band: float) -> str:
    share = _measure(card, target, "coverage")
    if not math.isfinite(share):
        return f"{target}: no coverage on record; calibrate its intervals"
    return f"{target}: coverage {share:.3f} is outside {card.level - band:.2f}..{min(card.level + band, 1.0):.2f}"


def _measure(card: ModelCard, target: str, name: str, where: str = "all") -> float:
    value = card.metrics.get(where, {}).get(target, {}).get(name)
    return float(value) if isinstance(value, (int, float)) else math.nan
