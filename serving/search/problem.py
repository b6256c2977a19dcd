"""A search problem: what varies, what it builds, what is wanted, what must hold. One YAML file, read strictly; unknown keys are errors that name the field.

    name: accelerator
    seed: 0
    vary: {array.rows: [32, 64, 128], array.dataflow: [ws, os]}
    build: {hardware: {base: tpu_v1, workloads: {resnet50: {network: resnet, dtype: int8}}}}
    objectives: {latency_s: min, energy_j: min}
    constraints: {area_mm2: {at_most: 60}, power_w: {at_most: 40}}
    given: {file: accuracy.csv, columns: [accuracy]}           # what the caller knows of candidates, joined on the dimensions it has columns for
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.catalog.document import parsed
from ...datasets.errors import FormatError, UnknownNameError
from .answers import Answers
from .architectures import NetworkDesign
from .deployments import DeploymentDesign
from .document import keyed, number, shown, whole, words
from .front import nondominated
from .machines import MachineDesign
from .space import Candidate, Space

#: what `build` can name; each has `of(document, space, where)` and `answers(candidates, by)`
DESIGNS: dict[str, Any] = {"hardware": MachineDesign, "network": NetworkDesign, "deployment": DeploymentDesign}
KEYS = ("name", "seed", "vary", "build", "objectives", "constraints", "given")
DIRECTIONS = {"min": False, "minimise": False, "minimize": False, "max": True, "maximise": True, "maximize": True}


@dataclass(frozen=True)
class Goal:
    """A quantity to make small, or large."""

    name: str
    maximise: bool = False


@dataclass(frozen=True)
class Limit:
    """A quantity that must stay within bounds."""

    name: str
    at_most: float = np.inf
    at_least: float = -np.inf


@dataclass(frozen=True)
class Evaluations:
    """n candidates with what is known of them. `objectives`: (n, m) to be minimised (a maximised quantity with its sign turned). `violation`: (n,) the sum of how far
    limits are exceeded, as shares of them; inf where a candidate cannot be or an answer is missing. `optimistic`: (n, m) the better ends of intervals."""

    goals: tuple[Goal, ...]
    limits: tuple[Limit, ...]
    candidates: tuple[Candidate, ...]
    answers: Answers

    def __len__(self) -> int:
        return len(self.candidates)

    def _column(self, name: str, part: str = "values") -> np.ndarray:
        return getattr(self.answers, part).get(name, np.full(len(self), np.nan))

    @cached_property
    def objectives(self) -> np.ndarray:
        """(n, m), minimised; NaN where there is no answer."""
        return np.column_stack([(-1.0 if g.maximise else 1.0) * self._column(g.name) for g in self.goals])

    @cached_property
    def optimistic(self) -> np.ndarray:
        """(n, m) the end of each interval that is better; the answer where there is none."""
        ends = np.column_stack([-self._column(g.name, "high") if g.maximise else self._column(g.name, "low") for g in self.goals])
        return np.where(np.isfinite(ends), ends, self.objectives)

    @cached_property
    def violation(self) -> np.ndarray:
        """(n,) 0 where everything holds."""
        total = np.zeros(len(self))
        for limit in self.limits:
            value = self._column(limit.name)
            over = np.maximum(value - limit.at_most, 0.0) / max(abs(limit.at_most), 1e-300) if np.isfinite(limit.at_most) else np.zeros(len(self))
            under = np.maximum(limit.at_least - value, 0.0) / max(abs(limit.at_least), 1e-300) if np.isfinite(limit.at_least) else np.zeros(len(self))
            total += np.where(np.isfinite(value), over + under, np.inf)
        total[np.array([bool(w) for w in self.answers.why], dtype=bool)] = np.inf
        return np.where(np.isfinite(self.objectives).all(axis=1), total, np.inf)

    @property
    def feasible(self) -> np.ndarray:
        """(n,) bool: it can be, has every answer, and all limits hold."""
        return self.violation == 0.0

    @cached_property
    def front(self) -> np.ndarray:
        """Indices of the feasible candidates that no other dominates, by the first objective; of equal ones the first."""
        rows = np.flatnonzero(self.feasible)
        if not len(rows):
            return rows
        _, first = np.unique(self.objectives[rows], axis=0, return_index=True)
        rows = rows[np.sort(first)]
        rows = rows[nondominated(self.objectives[rows])]
        return rows[np.lexsort(self.objectives[rows].T[::-1])]

    def take(self, index: np.ndarray | Sequence[int]) -> Evaluations:
        """The rows `index`."""
        return Evaluations(self.goals, self.limits, tuple(self.candidates[i] for i in index), self.answers.take(index))

    def joined(self, more: Evaluations) -> Evaluations:
        """These, then `more`."""
        return Evaluations(self.goals, self.limits, (*self.candidates, *more.candidates), self.answers.joined(more.answers))

    def rows(self) -> list[dict[str, Any]]:
        """One plain dict a candidate: what it is, every quantity (`T_low`, `T_high` beside those with intervals), feasible, why not."""
        out = []
        for i, candidate in enumerate(self.candidates):
            row = dict(candidate) | {k: float(v[i]) for k, v in self.answers.values.items()}
            for end, part in (("low", self.answers.low), ("high", self.answers.high)):
                row |= {f"{k}_{end}": float(v[i]) for k, v in part.items() if np.isfinite(v[i])}
            out.append(row | {"feasible": bool(self.feasible[i]), "why": self.answers.why[i] or self._broken(i)})
        return out

    def _broken(self, row: int) -> str:
        said = []
        for limit in self.limits:
            value = float(self._column(limit.name)[row])
            if not np.isfinite(value):
                said.append(f"no answer for {limit.name}")
            elif value > limit.at_most:
                said.append(f"{limit.name} is {value:.4g}, at most {limit.at_most:.4g} allowed")
            elif value < limit.at_least:
                said.append(f"{limit.name} is {value:.4g}, at least {limit.at_least:.4g} wanted")
        return "; ".join(said + [f"no answer for {g.name}" for g, v in zip(self.goals, self.objectives[row], strict=True) if not np.isfinite(v)])


@dataclass(frozen=True)
class Problem:
    """A space, a design that makes things of its candidates, goals and limits. `given`: the caller's own table of candidates, or None."""

    name: str
    space: Space
    design: Any
    goals: tuple[Goal, ...]
    limits: tuple[Limit, ...] = ()
    seed: int = 0
    given: Given | None = None

    @classmethod
    def read(cls, path: str | Path) -> Problem:
        """The problem in a YAML file; files it names are found beside it. Raises FormatError naming file and field, UnknownNameError for a name nobody knows."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FormatError(f"{path}: cannot be read ({error}); expected a search in YAML (docs/examples has three)") from None
        return cls.of(parsed(text, str(path), True), str(path), Path(path).parent)

    @classmethod
    def of(cls, document: Any, where: str = "search", beside: Path = Path()) -> Problem:
        """The problem in a plain dict. Raises as `read`."""
        try:
            row = keyed(document, "", KEYS, ("vary", "build", "objectives"))
            space = Space.of(row["vary"])
            build = keyed(row["build"], "build", tuple(DESIGNS))
            if len(build) != 1:
                raise FormatError(f"build: expected exactly one of {', '.join(DESIGNS)}, got {', '.join(map(str, build)) or 'none'}")
            kind = next(iter(build))
            design = DESIGNS[kind].of(_beside(build[kind], beside), space, f"build.{kind}")
            out = cls(words(row.get("name", "search"), "name"), space, design, _goals(row["objectives"]), _limits(row.get("constraints", {})),
                      whole(row.get("seed", 0), "seed", 0), Given.read(row["given"], space, beside) if "given" in row else None)
            out.check()
        except FormatError as error:
            raise FormatError(f"{where}: {str(error).removeprefix(': ')}") from None
        except UnknownNameError as error:
            raise FormatError(f"{where}: {error}") from None
        return out

    def check(self) -> None:
        """Evaluates one candidate by the simulator, so that a goal nobody answers is an error now. Raises FormatError naming it and what there is."""
        rng, known = np.random.default_rng(self.seed), set[str]()
        for _ in range(6):
            found = self.evaluate(self.space.sample(3, rng))
            known |= {name for name, values in found.answers.values.items() if np.isfinite(values).any()}
            if {g.name for g in self.goals} | {limit.name for limit in self.limits} <= known:
                return
            if known and all(not w for w in found.answers.why):
                break  # whatever can be has the same quantities
        if not known:
            raise FormatError(f"none of the candidates that were tried can be: {next(filter(None, found.answers.why), 'no answers')}")
        for part, names in (("objectives", [g.name for g in self.goals]), ("constraints", [limit.name for limit in self.limits])):
            missing = next((n for n in names if n not in known), None)
            if missing is not None:
                hint = " (prices are the caller's: give prices for every device)" if missing.startswith("cost_") else ""
                raise FormatError(f"{part}.{missing}: {UnknownNameError('quantity', missing, known)}{hint}")

    def evaluate(self, candidates: Sequence[Candidate], by: Any = None) -> Evaluations:
        """n candidates answered by the simulator (`by` None) or by a `Predictor`. Raises InputError for candidates outside the space."""
        self.space.check(candidates)
        answers = self.design.answers(candidates, by)
        if self.given is not None:
            answers = self.given.added(answers, candidates)
        return Evaluations(self.goals, self.limits, tuple(dict(c) for c in candidates), answers)

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """Every quantity that goals and limits speak of."""
        return tuple(dict.fromkeys([*(g.name for g in self.goals), *(limit.name for limit in self.limits)]))


@dataclass(frozen=True)
class Given:
    """What the caller knows of candidates: rows of a table, found by the dimensions it has columns for."""

    on: tuple[str, ...]
    columns: tuple[str, ...]
    rows: Mapping[tuple[str, ...], tuple[float, ...]]

    @classmethod
    def read(cls, document: Any, space: Space, beside: Path) -> Given:
        """From a `given:` part: a CSV with columns of dimensions and of figures. Raises FormatError."""
        import pandas as pd

        row = keyed(document, "given", ("file", "columns"), ("file", "columns"))
        path = beside / words(row["file"], "given.file")
        try:
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise FormatError(f"given.file: {path}: {' '.join(str(error).split())}") from None
        columns = row["columns"]
        if not isinstance(columns, list) or not columns or any(c not in frame.columns or c in space.names for c in columns):
            raise FormatError(f"given.columns: expected a list of columns of {path.name} ({', '.join(map(str, frame.columns))}) that are no dimensions, got {shown(columns)}")
        on = tuple(n for n in space.names if n in frame.columns)
        if not on:
            raise FormatError(f"given.file: {path.name} has no column of a dimension ({', '.join(space.names)}); it has {', '.join(map(str, frame.columns))}")
        rows: dict[tuple[str, ...], tuple[float, ...]] = {}
        for i, entry in enumerate(frame.to_dict("records")):
            try:
                key, values = tuple(_plain(entry[n]) for n in on), tuple(float(entry[c]) for c in columns)
            except ValueError:
                raise FormatError(f"{path}: row {i + 1}: expected numbers in {', '.join(columns)}, got {shown([entry[c] for c in columns])}") from None
            if key in rows:
                raise FormatError(f"{path}: row {i + 1}: {dict(zip(on, key, strict=True))} is given twice")
            rows[key] = values
        return cls(on, tuple(columns), rows)

    def added(self, answers: Answers, candidates: Sequence[Candidate]) -> Answers:
        """The answers with the given columns; a candidate that the table lacks cannot be answered, and says so."""
        found = [self.rows.get(tuple(_plain(c[n]) for n in self.on)) for c in candidates]
        table = np.array([row or (np.nan,) * len(self.columns) for row in found], dtype=np.float64).reshape(-1, len(self.columns))
        why = tuple(w or ("" if row else f"the given table has no row for {', '.join(f'{n}={c[n]}' for n in self.on)}") for w, row, c in zip(answers.why, found, candidates, strict=True))
        return replace(answers, values={**answers.values, **dict(zip(self.columns, table.T, strict=True))}, why=why)


def _plain(value: Any) -> str:
    """A value as a table writes it: numbers by their value, true and false in any case."""
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    try:
        return repr(float(text))
    except ValueError:
        return text


def _beside(given: Any, beside: Path) -> Any:
    """Files that workloads name, relative to the document's folder."""
    works = given.get("workloads") if isinstance(given, Mapping) else None
    if not isinstance(works, Mapping):
        return given
    moved = {k: {**v, "file": str(beside / v["file"])} if isinstance(v, Mapping) and isinstance(v.get("file"), str) else v for k, v in works.items()}
    return {**given, "workloads": moved}


def _goals(given: Any) -> tuple[Goal, ...]:
    if not isinstance(given, Mapping) or not given:
        raise FormatError(f"objectives: expected a mapping such as 'latency_s: min', got {shown(given)}")
    for name, direction in given.items():
        if direction not in DIRECTIONS:
            raise FormatError(f"objectives.{name}: expected min or max, got {shown(direction)}")
    return tuple(Goal(words(name, "objectives"), DIRECTIONS[direction]) for name, direction in given.items())


def _limits(given: Any) -> tuple[Limit, ...]:
    if not isinstance(given, Mapping):
        raise FormatError(f"constraints: expected a mapping such as 'power_w: {{at_most: 40}}', got {shown(given)}")
    out = []
    for name, bounds in given.items():
        row = keyed(bounds, f"constraints.{name}", ("at_most", "at_least"))
        if not row:
            raise FormatError(f"constraints.{name}: expected at_most or at_least, got nothing")
        out.append(Limit(words(name, "constraints"), **{k: number(v, f"constraints.{name}.{k}") for k, v in row.items()}))
    return tuple(out)
