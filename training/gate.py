"""The gate before `champion` moves: is the new model no worse, do its intervals hold, and does its fast form say the same?"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..datasets.errors import FormatError
from ..surrogates.card import ModelCard

#: a new champion's median APE may be this much worse, relative to the old one's: over all rows, and in a slice
MAY_WORSEN, SLICE_MAY_WORSEN = 0.10, 0.25
#: in a slice a median APE that is worse by no more than this (absolute) is not held against it: half a percentage point
SLICE_FLOOR = 0.005
#: a slice of many rows is held to less than SLICE_MAY_WORSEN: to what chance explains, but never to less than this
SLICE_LEAST = 0.05
#: chance explains a difference of so many standard errors (one-sided, 1 of 100)
CHANCE = 2.33
#: the slices compared, and the rows both cards must have there: of fewer a median says little
SLICES, LEAST_ROWS = ("kind=", "family="), 100
#: rows of a protected slice that is judged: it was named on purpose
LEAST_PROTECTED = 20
#: coverage may miss the promised level by this much, either way; a first champion's on `JUDGED` by so much
COVERAGE_BAND, FIRST_COVERAGE_BAND = 0.05, 0.15
#: a student (surrogates/student.py) is an approximation: it may be off its model by this much in the median (assumption), and its errors on real rows may be larger by MAY_WORSEN
STUDENT_APART = 0.05
#: the target whose intervals a first champion is judged by
JUDGED = "latency_s"
_EPS = 1e-9


@dataclass(frozen=True)
class Parity:
    """How far a model's fast form is from the model itself, over `rows` questions: `worst` is the largest relative difference of any answer (of a student: the median one of its worst
    target), `allowed` what is let through.

    Valid at birth: raises FormatError for what is no such finding.
    """

    form: str
    worst: float
    rows: int
    allowed: float = 1e-5

    def __post_init__(self) -> None:
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (self.worst, self.rows, self.allowed))
        if not (isinstance(self.form, str) and self.form and numbers and self.rows >= 1 and self.allowed >= 0):
            raise FormatError(f"parity: expected a form, its worst relative difference, the rows it was found on and what is allowed, got {asdict(self)}")

    @property
    def holds(self) -> bool:
        """Whether the fast form may stand in for the model; a difference that is not a number does not."""
        return self.worst <= self.allowed

    def text(self) -> str:
        """As JSON, for a tag; `Parity.read` gives back an equal one."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Parity | None:
        """The inverse of `text`; None for the tag of a version without a fast form."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    @classmethod
    def of(cls, surrogate: Any, card: ModelCard | None = None) -> Parity | None:
        """What is known of a surrogate's fast form: what its card says of its student, or its own `parity` (a value or a method); None where it has none.

        `parity` may be a `Parity` or anything with `form`, `worst`, `rows` and `allowed`. Raises FormatError for anything else.
        """
        told = card.metrics.get("student") if card is not None else None
        apart = [one for one in told.values() if "median_apart" in one and "questions" in one] if isinstance(told, Mapping) else []
        if apart:
            return cls("student", max(float(one["median_apart"]) for one in apart), max(int(one["questions"]) for one in apart), STUDENT_APART)
        found = getattr(surrogate, "parity", None)
        found = found() if callable(found) else found
        if found is None or isinstance(found, cls):
            return found
        try:
            return cls(str(found.form), float(found.worst), int(found.rows), float(getattr(found, "allowed", cls.allowed)))
        except (AttributeError, TypeError, ValueError) as error:
            raise FormatError(f"parity of {type(surrogate).__name__}: expected form, worst, rows and allowed ({error})") from None


def may_promote(new: ModelCard, old: ModelCard | None, parity: Parity | None = None, protected: Sequence[str] = ()) -> tuple[bool, tuple[str, ...]]:
    """The gate: may `new` take the place of the champion `old`? (yes or no, reasons and remarks in words).

    It may when it answers every target of the old one; its median APE is nowhere more than 10 % worse (relative) over all test rows, nor worse than chance explains in a slice
    (kind of machine, family) of at least 100 rows; its fast form, where it has one, answers as it does; and its coverage lies within 5 points of the level, or, where the old one's
    does not either, no further from it. A first champion has nobody to be compared with: it may unless its coverage on `latency_s` misses the level by more than 15 points, or its
    fast form does not answer as it does. Coverage that is let through out of band is flagged in the remarks. A target that is counted, not learned (no error, every interval holds),
    has no coverage to judge.

    `protected` slices ("device=h100_sxm", "family=mlp") are judged from 20 rows on, by coverage as well, and must not vanish from the card.
    """
    against: list[str] = []
    remarks: list[str] = []
    if parity is not None:
        said = f"{parity.form}: differs from the model by {parity.worst:.2g} over {parity.rows:,} questions"
        (remarks if parity.holds else against).append(said if parity.holds else f"{said}, more than {parity.allowed:.2g}")
    against += _bad_student(new)
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
    against += [reason for name in both for reason in _worse_slices(new, old, name, protected)]
    judged_on, before_on = (c.extra.get("test_digest", c.data_digest) for c in (new, old))
    if judged_on != before_on:
        remarks.append(f"judged on other rows than the champion (digests {judged_on} and {before_on})")
    return not against, tuple(against or remarks)


def _worse_slices(new: ModelCard, old: ModelCard, target: str, protected: Sequence[str]) -> list[str]:
    """The slices in which `new` fell back too far. A slice that only one card has, or has few rows, is not compared, unless it is protected."""
    out = []
    for where in sorted({*(set(new.metrics) & set(old.metrics)), *(set(protected) & set(old.metrics))}):
        named = where in protected
        least = LEAST_PROTECTED if named else LEAST_ROWS
        if not (named or where.startswith(SLICES)) or not _measure(old, target, "rows", where) >= least:
            continue
        if not _measure(new, target, "rows", where) >= least:
            if named:
                out.append(f"{target} where {where} (protected): fewer than {least} rows on record")
            continue
        error, before = (_measure(c, target, "median_ape", where) for c in (new, old))
        share = _allowed(new, old, target, where)
        if error > max(before * (1.0 + share), before + SLICE_FLOOR) + _EPS:
            out.append(f"{target} where {where}: median APE {error:.4f} is more than {share:.0%} worse than the champion's {before:.4f}")
        if named and not _counted(new, target):
            out += _uncovered(new, old, target, where)
    return out


def _bad_student(card: ModelCard) -> list[str]:
    """Where a student, on real rows, errs more than its model or has intervals that do not hold."""
    told = card.metrics.get("student")
    out = []
    for name, one in told.items() if isinstance(told, Mapping) else ():
        if "student_median" not in one:
            continue
        error, model, share = (float(one.get(key, math.nan)) for key in ("student_median", "model_median", "student_coverage"))
        if error > max(model * (1.0 + MAY_WORSEN), model + SLICE_FLOOR) + _EPS:
            out.append(f"student, {name}: median APE {error:.4f} is more than {MAY_WORSEN:.0%} worse than the model's {model:.4f}")
        if share < card.level - COVERAGE_BAND - _EPS:
            out.append(f"student, {name}: coverage {share:.3f} is below {card.level - COVERAGE_BAND:.2f}")
    return out


def _allowed(new: ModelCard, old: ModelCard, target: str, where: str) -> float:
    """How much worse, relative, a slice's median APE may be: what chance explains, between `SLICE_LEAST` and `SLICE_MAY_WORSEN`.

    The median of n draws of a normal distribution has the asymptotic variance pi s^2 / (2 n). The logarithms of errors are taken as normal (assumption); their deviation s follows
    from the median and the 90th percentile, which lie 1.2816 s apart. Two cards' variances add, as if their rows were different ones. `SLICE_MAY_WORSEN` where a card lacks a figure.
    """
    total = 0.0
    for card in (new, old):
        median, p90, rows = (_measure(card, target, name, where) for name in ("median_ape", "p90_ape", "rows"))
        if not (median > 0 and p90 > median and rows >= 1):
            return SLICE_MAY_WORSEN
        total += math.pi / 2 * (math.log(p90 / median) / 1.2816) ** 2 / rows
    return min(max(math.expm1(CHANCE * math.sqrt(total)), SLICE_LEAST), SLICE_MAY_WORSEN)


def _uncovered(new: ModelCard, old: ModelCard, target: str, where: str) -> list[str]:
    """Too little coverage in a protected slice: below the band by more than chance explains, and below the champion's."""
    share, before, rows = (_measure(c, target, name, where) for c, name in ((new, "coverage"), (old, "coverage"), (new, "rows")))
    least = new.level - COVERAGE_BAND - CHANCE * math.sqrt(new.level * (1 - new.level) / rows)
    if share < least - _EPS and not share >= before - _EPS:
        return [f"{target} where {where} (protected): coverage {share:.3f} is below {least:.2f}, the champion's is {before:.3f}"]
    return []


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
