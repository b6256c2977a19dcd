"""The gate before `champion` moves: is the new model no worse, and do its intervals hold?"""

from __future__ import annotations

import math

from ..surrogates.card import ModelCard

#: a new champion's median APE may be this much worse, relative to the old one's
MAY_WORSEN = 0.10
#: coverage may miss the promised level by this much, either way
COVERAGE_BAND = 0.05


def may_promote(new: ModelCard, old: ModelCard | None) -> tuple[bool, tuple[str, ...]]:
    """The gate: may `new` take the place of the champion `old`? (yes or no, reasons and remarks in words).

    It may when it answers every target of the old one, on all test rows its median APE is nowhere more than 10 % worse (relative), and
    its coverage lies within 5 points of the level, or, where the old one's does not either, no further from it. With no champion to
    compare with it may. Coverage that is let through out of band is flagged in the remarks.
    """
    against: list[str] = []
    remarks: list[str] = []
    for name in new.targets:
        share = _measure(new, name, "coverage")
        missed = abs(share - new.level)
        before = abs(_measure(old, name, "coverage") - old.level) if old is not None and name in old.targets else math.nan
        if missed <= COVERAGE_BAND + 1e-9:
            continue
        fault = (f"{name}: coverage {share:.3f} is outside {new.level - COVERAGE_BAND:.2f}..{new.level + COVERAGE_BAND:.2f}" if math.isfinite(share)
                 else f"{name}: no coverage on record; calibrate its intervals")
        if old is None or missed <= before + 1e-9:
            remarks.append(f"flagged: {fault}")
        else:
            against.append(fault)
    if old is None:
        return True, tuple(remarks) or ("first champion; coverage holds",)
    lost = [name for name in old.targets if name not in new.targets]
    if lost:
        against.append(f"no longer answers {', '.join(lost)}")
    for name in [n for n in new.targets if n in old.targets]:
        error, before = _measure(new, name, "median_ape"), _measure(old, name, "median_ape")
        if not math.isfinite(error):
            against.append(f"{name}: no median APE on record")
        elif math.isfinite(before) and error > before * (1.0 + MAY_WORSEN):
            against.append(f"{name}: median APE {error:.4f} is more than {MAY_WORSEN:.0%} worse than the champion's {before:.4f}")
        elif math.isfinite(before):
            remarks.append(f"{name}: median APE {error:.4f}, champion {before:.4f}")
    judged_on, before_on = (c.extra.get("test_digest", c.data_digest) for c in (new, old))
    if judged_on != before_on:
        remarks.append(f"judged on other rows than the champion (digests {judged_on} and {before_on})")
    return not against, tuple(against or remarks)


def _measure(card: ModelCard, target: str, name: str) -> float:
    value = card.metrics.get("all", {}).get(target, {}).get(name)
    return float(value) if isinstance(value, (int, float)) else math.nan
