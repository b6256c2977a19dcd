"""A machine never seen in a plain table is answered as the machines of the table were, its published rates beside theirs.

Few machines teach no law of machines: a process over three figures of four machines forecast an H100 25 times too slow. What carries over is asked instead: the same row on
each machine of the table, brought to the new one by the ratio of what both are rated at, and the weighted median of those. Machines of one vendor and kind run the same
software and count fifty times; across vendors software differs by more than rates do (a llama on an MI250 takes 1.6 times an A100's time at 1.6 times its bandwidth), so no
rate is brought over there but what goes beyond a factor of two. Rates that bound a kernel are the memory's and the arithmetic units' (Williams et al. 2009, "Roofline"); which of them holds a table of
networks does not say, and what is rated is not all reached, so time goes with some power of each: about the 0.35th, and what the machines of the table say of one another draws that to what it
is there (`powers`), for servers that wait on software gain a tenth of what memory does and large models nearly all of it.

Machines of a table are no equals either: one that was read a few times, or whose answers brought over to the others miss them by far (software that leaves nine tenths of its rates
unused), says less about the next. Each counts with the square root of its rows, over how far off it was about the others (`worth`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.measurement import TARGETS
from ..features.device import DEVICE_FEATURES, named_machine
from .kin import machine_figures

#: how often a machine of the same vendor and kind counts against another, and the power of memory bandwidth and of arithmetic that time goes with (assumptions, chosen by looking
#: at machines held out of LLM-Inference-Bench and Zeus; at eight times, four of other vendors drew the one of kin away by a tenth)
KIN, _POWER = 50.0, 0.35
#: how far (one deviation) a table's powers lie from `_POWER`, or from 1 of a power limit, and how far (log) one machine lies from what its rates say; none falls with its rate or goes faster than it (assumptions, chosen by
#: looking at machines of 19 tables held out in turn: of either, from 0.15 to 0.3 the mean error is 0.25 to 0.27)
_POWER_VARIES, _MACHINE_VARIES = 0.25, 0.2
#: among machines of other vendors and kinds: how far (log) rates may lie apart and say nothing, for software differs as much (assumption, chosen by looking at
#: Accel-NASBench's as well)
_SOFTWARE = 0.69
#: how far off (log) the best of neighbours may be for all that its figures tell (assumption: a fifth)
_FLOOR = 0.2
#: of more machines than this, which tell each other's worth? none: all are worth the same
MOST_COMPARED = 16
#: what a word of a name is; rows of a machine from which a column that never varies on it is its own
_WORDS, _LEAST_SETTLED = re.compile(r"[a-z]+\d*[a-z]*|\d+[a-z]*"), 5
#: the share of a name that makes a family (assumption: half)
_OF_NAME = 0.5
#: how near to the least of its times those of a machine lie that are a floor (assumption)
_AT_FLOOR = 1.15
#: what columns are called (letters and digits, lower case) that say how work is run or what it is, never what a machine is, though a table may have one value of them on each
_CHOSEN = re.compile(r"(num|n|max)?(gpus?|devices?|accelerators?|nodes?|ranks?|workers?|threads?|streams?|users|requests|proc(esse)?s)(count|num)?|[tpde]p(size)?|[io]sl|bs|size|model(name|id)?|"
                     r".*(batch|concurren|parallel|length|seqlen|tokens|framework|backend|library|runtime|engine|compiler|version|precision|dtype|quant|mode|optimi[sz]er|dataset|network|workload|limit|applied).*")
#: a column of more words than this names no machines
MOST_NAMED = 200
#: machines that a row is asked for at most, nearest first
MOST_ASKED = 8
_NAMES = [name for name, _ in DEVICE_FEATURES]
_BANDWIDTH, _RATE, _LIMIT = (_NAMES.index(name) for name in ("log_dram_bandwidth", "log_vector_rate_fp32", "log_tdp"))
#: what free target names end with -> quantity
_ENDINGS: Mapping[str, str] = {"_s": "time", "_ms": "time", "_us": "time", "_ns": "time", "_j": "energy", "_w": "power", "_per_s": "throughput", "throughput": "throughput"}


def quantity(target: str) -> str:
    """The `units.UNITS` quantity of a target, by what its name ends with where it is a free one; "" where that says nothing."""
    if target in TARGETS:
        return TARGETS[target].quantity
    ends = [end for end in _ENDINGS if target.lower().endswith(end)]
    return _ENDINGS[max(ends, key=len)] if ends else ""


def worth(rows: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """(D,) what each known machine is worth as a neighbour: the square root of its rows over how far off it was about the others, those with many rows counting more.
    `rows`: (D,) of each; `apart`: (D, D) log of what machine s, brought over, says of machine o, over its truth; NaN where nobody knows, which counts for nothing."""
    told = np.isfinite(apart) & ~np.eye(len(rows), dtype=bool)
    off = (np.abs(np.where(told, apart, 0.0)) * rows).sum(1) / np.maximum((told * rows).sum(1), 1e-300)
    return np.asarray(np.sqrt(rows) / (np.where(told.any(1), off, 0.0) + _FLOOR))


def shares(new: str, known: Sequence[str], worth: Sequence[float] | None = None) -> np.ndarray:
    """(D,) how much each known machine counts for a new one, summing to 1; `MOST_ASKED` at most are not zero. Without a `worth` of each, equal ones for a machine no catalogue knows and whose name tells nothing."""
    figures, kin = _beside(new, known)
    apart = figures - _figures(new)
    told = np.isfinite(apart)
    distance = np.sqrt((np.where(told, apart, 0.0) ** 2).sum(1) / np.maximum(told.sum(1), 1))
    alike = np.where(told.any(1), 0.0, named_alike(new, known))
    weight = np.where(kin, KIN, KIN**alike) * np.exp(-np.where(told.any(1), distance, 0.0))
    if len(known) > MOST_ASKED:  # of equals not those whose names come first
        chance = np.random.default_rng(0).permutation(len(known))
        weight[np.lexsort((chance, -weight))[MOST_ASKED:]] = 0.0
    weight = weight * (1.0 if worth is None else np.asarray(worth))
    return np.asarray(weight / weight.sum())


def named_alike(new: str, known: Sequence[str]) -> np.ndarray:
    """(D,) how much of a name, 0 to 1, each known name shares: of its words (letters and digits), the rarer the more; numbers that no known name has count for nothing, for they tell one of a family from the next
    ("Snapdragon 835", "3090 * 4")."""
    words, own = [set(_WORDS.findall(name.lower())) for name in known], set(_WORDS.findall(new.lower()))
    counts = {word: sum(word in each for each in words) for word in own}
    weight = {word: float(np.log((len(known) + 1.0) / max(count, 1))) for word, count in counts.items() if count or word.isalpha()}
    return np.array([sum(w for word, w in weight.items() if word in each) for each in words]) / max(sum(weight.values()), 1e-300)


def settled(frame: pd.DataFrame, column: str) -> dict[str, dict[str, Any]]:
    """Columns that the machine settles, each machine having one value of them but not all the same (its cores, its memory): column -> machine -> that value, None for an empty cell. They are the machine's own figures:
    one that is asked in place of another brings its own. None where machines have fewer than `_LEAST_SETTLED` rows (the middle one); not columns whose names say how work is run."""
    names, machines = pd.factorize(frame[column].astype(str))
    if len(machines) < 2 or np.median(np.bincount(names)) < _LEAST_SETTLED:
        return {}
    first = np.unique(names, return_index=True)[1]
    out: dict[str, dict[str, Any]] = {}
    for other in (c for c in map(str, frame.columns) if c != column and not _CHOSEN.fullmatch(re.sub(r"[^a-z0-9]", "", c.lower()))):
        codes = pd.factorize(frame[other], use_na_sentinel=False)[0]
        if (codes == codes[first][names]).all() and len(np.unique(codes[first])) > 1:
            values = frame[other].iloc[first].tolist()
            out[other] = {str(machine): None if pd.isna(value) else value if isinstance(value, str | bool) else float(value) for machine, value in zip(machines, values, strict=True)}
    return out


def nearness(own: Mapping[str, Any], settled: Mapping[str, Mapping[str, Any]], known: Sequence[str]) -> np.ndarray:
    """(D,) how near each known machine is to a new one by the positive numbers among the columns that machines settle (`own`: column -> its value), 1 where none tells: as much as figures of the catalogue do in `shares`."""
    apart = [[np.log(float(own[c]) / float(each[name])) if _positive(own.get(c)) and _positive(each.get(name)) else np.nan for name in known] for c, each in settled.items()]
    if not apart:
        return np.ones(len(known))
    told = np.isfinite(apart)
    return np.asarray(np.exp(-np.sqrt((np.where(told, apart, 0.0) ** 2).sum(0) / np.maximum(told.sum(0), 1))))


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value) and value > 0


def powers(known: Sequence[str], target: str, apart: np.ndarray) -> list[float]:
    """The powers of memory bandwidth and of arithmetic rate, or that of a power limit and 0, that machines of a table show: ridge regression (Hoerl and Kennard 1970) about the usual ones, of pairs of one vendor and kind.
    `apart`: (D, D) logarithms of what machine s says of the rows of machine o over their truth (in SI), NaN where nobody knows."""
    kind = quantity(target)
    usual = [1.0, 0.0] if kind == "power" else [_POWER, _POWER]
    if kind not in ("time", "throughput", "power", "energy") or len(known) < 2:
        return usual
    of, sign = ([_LIMIT, _LIMIT], 1.0) if kind == "power" else ([_BANDWIDTH, _RATE], 1.0 if kind == "throughput" else -1.0)
    x, y = [], []
    for at, name in enumerate(known):
        figures, kin = _beside(name, known[:at])
        for other in np.flatnonzero(kin):
            step, answer = _figures(name) - figures[other], (apart[at, other] - apart[other, at]) / 2.0
            told = sign * (answer - (step[_LIMIT] if kind == "energy" else 0.0)) - usual[0] * step[of[0]] - usual[1] * step[of[1]]
            if np.isfinite(told):
                x.append(step[of])
                y.append(told)
    if not x:
        return usual
    rates, off = np.array(x) * np.array([1.0, kind != "power"]), np.array(y)
    counts = 2.0 / len(known) / _MACHINE_VARIES**2  # D machines make D (D - 1) / 2 pairs
    drawn = np.linalg.solve(counts * rates.T @ rates + np.eye(2) / _POWER_VARIES**2, counts * rates.T @ off)
    return [float(np.clip(u + d, 0.0, 1.0)) for u, d in zip(usual, drawn, strict=True)]


def learned(known: Sequence[str], rows: np.ndarray, apart: Mapping[str, np.ndarray]) -> dict[str, dict[str, list[float]]]:
    """What machines say of one another: "powers" (`powers`) per target, and "worth" where they are three or more. `rows`: (D,) of each; `apart`: target -> (D, D) as for `powers`."""
    found = {t: powers(known, t, each) for t, each in apart.items()}
    over = {t: each + np.column_stack([factors(name, known, t, found[t]) for name in known]) for t, each in apart.items()} if len(known) > 2 else {}
    return {"powers": {t: [round(p, 6) for p in each] for t, each in found.items()}, "worth": {t: [round(float(w), 6) for w in worth(rows.astype(np.float64), each)] for t, each in over.items()}}


def factors(new: str, known: Sequence[str], target: str, powers: Sequence[float] | None = None) -> np.ndarray:
    """(D,) logarithms of what an answer on each known machine is multiplied by to be one on the new: 0 where figures are missing. `powers`: what the table shows (`powers`); without, the usual ones."""
    figures, kin = _beside(new, known)
    apart, kind = _figures(new) - figures, quantity(target)
    first, second = powers if powers is not None else (1.0, 0.0) if kind == "power" else (_POWER, _POWER)
    limit = apart[:, _LIMIT] * (first if kind == "power" else 1.0)
    rates = apart[:, _BANDWIDTH] + apart[:, _RATE]
    reached = first * apart[:, _BANDWIDTH] + second * apart[:, _RATE]
    faster = np.where(kin, reached, (first + second) * _excess(rates / 2.0))  # across vendors, too, not all that is rated is reached
    log = {"time": -faster, "throughput": faster, "power": np.where(kin, limit, _excess(limit)), "energy": np.where(kin, limit, _excess(limit)) - faster}
    return np.nan_to_num(log.get(kind, np.zeros(len(known))))


def _excess(log: np.ndarray) -> np.ndarray:
    """What goes beyond `_SOFTWARE`."""
    return np.asarray(np.sign(log) * np.maximum(np.abs(log) - _SOFTWARE, 0.0))


def of_kin(new: str, known: Sequence[str]) -> np.ndarray:
    """(D,) whether each known machine is of a new one's vendor and kind; where the catalogue does not know both, whether half of the new one's name is in its name (`named_alike`)."""
    own = named_machine(new)
    nameless = np.array([own is None or named_machine(name) is None for name in known], dtype=bool)
    return np.asarray(_beside(new, known)[1] | (nameless & (named_alike(new, known) >= _OF_NAME)))


def aliens(names: Sequence[str]) -> np.ndarray:
    """(D,) whether none of the other machines is of a machine's kin (`of_kin`)."""
    return np.array([not of_kin(name, [other for other in names if other != name]).any() for name in names], dtype=bool)


def floors(values: np.ndarray, machines: np.ndarray, target: str) -> dict[str, float]:
    """Machine -> the time below which it answers nothing, however little it is asked (a launch), from (n,) times and the machines they were read on: where a fifth of its rows lie `_AT_FLOOR` times or less from the
    least (one in twenty left out) and half of the others at twice that or more. Nothing where most machines have none, or for what is no time: rates say nothing of a floor."""
    out = {}
    names = np.unique(machines)
    for name in names if quantity(target) == "time" else ():
        its = values[(machines == name) & (values > 0)]
        if len(its) < _LEAST_SETTLED:
            continue
        least = np.quantile(its, 0.05)
        near = its <= _AT_FLOOR * least
        if near.mean() >= 0.2 and (~near).any() and np.median(its[~near]) >= 2.0 * least:
            out[str(name)] = float(np.median(its[near]))
    return out if 2 * len(out) > len(names) else {}


def joined(new: str, known: Sequence[str], target: str, answers: np.ndarray, worth: Sequence[float] | None = None, floor: Mapping[str, float] | None = None,
           needed: np.ndarray | None = None, counts: float = 0.0, powers: Sequence[float] | None = None) -> np.ndarray:
    """(n,) answers for the new machine from (D, n) answers on the known ones, in SI; by logarithms where all are positive. `floor`: machine -> what of its times goes with no rate (`floors`). `needed`: (D, n) logarithms of what
    else answers of kin are multiplied by, which `counts` so much against their rates; NaN where nobody knows. `powers`: those that rates are brought over with (`factors`)."""
    weight = shares(new, known, worth)
    asked = weight > 0
    log = np.repeat(factors(new, known, target, powers)[:, None], answers.shape[1], axis=1)
    if needed is not None:
        log = np.where(np.isfinite(needed) & of_kin(new, known)[:, None], (1.0 - counts) * log + counts * np.nan_to_num(needed), log)
    values, weight, log = answers[asked], weight[asked], log[asked]
    least = np.minimum(values, np.array([(floor or {}).get(name, 0.0) for name in known])[asked][:, None])
    positive = (values > 0).all(0)
    brought = np.log(np.where(positive, least + (values - least) * np.exp(log), 1.0))
    return np.where(positive, np.exp(weighted_median(brought, weight)), weighted_median(values, weight))


def machine_columns(frame: object) -> list[str]:
    """The columns of words most of whose values name machines of the catalogue."""
    out = []
    for name, values in frame.items():  # type: ignore[attr-defined]
        if values.dtype.kind in "fiub":
            continue
        words = values.astype(str).unique()
        if 0 < len(words) <= MOST_NAMED and np.mean([named_machine(str(w)) is not None for w in words]) >= 0.5:
            out.append(str(name))
    return out


def weighted_median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n,) weighted medians of (D, n) values, between two by interpolation; `weight`: (D,), or (D, n) where each has its own."""
    order = np.argsort(values, axis=0, kind="stable")
    shared = weight / weight.sum(0)
    ranked, w = np.take_along_axis(values, order, 0), shared[order] if shared.ndim == 1 else np.take_along_axis(shared, order, 0)
    middle = np.cumsum(w, axis=0) - w / 2.0
    above = np.clip((middle < 0.5).sum(0), 0, len(values) - 1)[None, :]
    below = np.maximum(above - 1, 0)
    m0, m1, v0, v1 = (np.take_along_axis(a, at, 0)[0] for a in (middle, ranked) for at in (below, above))
    return np.asarray(v0 + (v1 - v0) * np.clip((0.5 - m0) / np.maximum(m1 - m0, 1e-12), 0.0, 1.0))


def _beside(new: str, known: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """((D, f) figures of the known machines, (D,) whether each is of the new one's vendor and kind)."""
    own, others = named_machine(new), [named_machine(name) for name in known]
    kin = [own is not None and other is not None and bool(own.vendor) and (own.vendor, own.kind) == (other.vendor, other.kind) for other in others]
    return np.array([_figures(name) for name in known]), np.array(kin, dtype=bool)


@lru_cache(maxsize=1024)
def _figures(name: str) -> np.ndarray:
    """(f,) `machine_figures` of a machine by name; NaN where nobody knows it."""
    return machine_figures(named_machine(name))
