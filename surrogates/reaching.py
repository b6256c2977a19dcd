"""What a blend says of rows with numbers beyond all of the table (`reach`): rehearsed with the largest ones, and with the smallest, held out, which says who speaks there and how far off that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..datasets.table import FeatureQuestions, Table
from . import reach
from .newcomer import quantity
from .served import Served
from .shares import mixed, of_those
from .valued import Valued

#: rows from which the largest sizes are held out
_MOST_REACHED = 12_000
#: share that carrying a column of few values on is given beforehand (assumption)
_CARRIED = 0.5
#: why a row lies beyond all that was learned from: beyond the reach of a size, beyond a column of few values, below the least of a size
SIZE, STEP, SMALL = "size", "step", "small"


class Reaching(Valued):
    """The part of a blend that answers beyond the numbers of the table. What it needs of the blend: small members fitted to some rows, shares by answers."""

    _networks: bool
    _served: dict[str, Served]

    def _forget_reach(self) -> None:
        """Nothing is known of an earlier table."""
        #: what columns reach, how many octaves were rehearsed and who speaks beyond; so for columns of few values ("few") and for the least of sizes ("low", as reciprocals); empty where that was of no use
        self._reach: dict[str, Any] = {}

    def _weigh(self, table: Table, answers: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        raise NotImplementedError

    def _reach_out(self, table: Table, known: Mapping[str, float], candidates: Mapping[str, Any], targets: Sequence[str]) -> None:
        """Who speaks of numbers beyond the reach `known`, and how far off that is: chosen with the largest ones held out; and so, apart from them, for columns of few values, with the largest
        value of each, and below the least of sizes, with the smallest (columns of few numbers, of whose ends `new_values` knows, left out). Three shares are chosen by the rows that then say how far off they are, so the widths are a little narrow."""
        table = table.take(np.sort(np.random.default_rng(int(self._settings["seed"])).permutation(len(table))[:_MOST_REACHED]))
        frame = table.questions.frame
        held, octaves = reach.largest(frame, known)
        found = self._without_largest(table, held, lambda rest: (reach.reach(rest[list(known)]), {}), candidates, targets, SIZE)
        if found:
            self._reach = {"columns": dict(known), "octaves": octaves, "shares": found}
            self._serve_beyond(table, found)
        steps = {} if self._networks else {name: step for name, step in reach.few(frame).items() if name in self._written}
        held, octaves = reach.at_most(frame, steps)

        def below(rest: Any) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
            values = {name: v for name in steps if len(v := reach.values_of(rest[name]))}
            return {name: float(v[-1]) for name, v in values.items()}, {name: (float(v[-2] if len(v) > 1 else v[-1]), steps[name][2]) for name, v in values.items()}

        # what lies beyond a single value tells nothing of what lies beyond two, and what lies beyond two little of the next
        certain = 1.0 if all(len(reach.values_of(frame[name])) < 3 for name in steps) else _CARRIED
        found = self._without_largest(table, held, below, candidates, targets, STEP, certain)
        if found:
            self._reach = {**self._nothing_far, **self._reach, "few": {"columns": steps, "octaves": octaves, "shares": found}}
        low = {name: 1.0 / least for name, least in reach.floor(frame, known).items() if name not in self._looked_at.get("columns", {})}
        held, octaves = reach.largest(reach.turned(frame, low), low)
        found = self._without_largest(table, held, lambda rest: ({name: 1.0 / least for name, least in reach.floor(rest, low).items()}, {}), candidates, targets, SMALL, turn=list(low))
        if found:
            self._reach = {**self._nothing_far, **self._reach, "low": {"columns": low, "octaves": octaves, "shares": found}}

    def _without_largest(self, table: Table, held: np.ndarray, below: Callable[[Any], tuple[dict[str, float], dict[str, tuple[float, float]]]], candidates: Mapping[str, Any],
                         targets: Sequence[str], why: str, certain: float = 0.0, turn: Sequence[str] = ()) -> dict[str, dict[str, float]]:
        """Shares of those who answer the rows `held`, by what they say of them without them; what that was is remembered under `why`. `below`: of the other rows' frame, its reach and where the last step to
        it began; `certain`: the share that is given to carrying on whatever they say; `turn`: columns of which `below` speaks in reciprocals. Empty where it cannot be tried."""
        rest, asked = table.take(~held), table.take(held)
        varied = [t for t in targets if held.any() and all(np.isfinite(part.targets[t]).sum() >= 6 for part in (rest, asked)) and np.ptp(rest.targets[t][np.isfinite(rest.targets[t])]) > 0]
        if not varied:
            return {}
        fresh = self._small(rest, varied, candidates)
        usual = {t: of_those(self._shares[t], fresh) for t in varied}

        def ask(frame: Any) -> np.ndarray:
            return mixed({name: member.predict(FeatureQuestions(frame)).point for name, member in fresh.items()}, usual, varied, self._counted)

        frame = asked.questions.frame
        known, since = below(rest.questions.frame)
        found = {"usual": ask(frame), "kernel": fresh["kernel"].predict(asked.questions).point,
                 **self._carried(frame, known, ask, lambda f: fresh["kernel"].predict(FeatureQuestions(f)).point, since, turn, varied)}
        if why == SIZE and self._served_of(table, self.targets) and (served := self._served_of(rest, varied)):
            found["served"] = np.where(np.isfinite(points := served[1].fit(rest).answers(frame)), points, found["usual"])
        answers = {name: np.full((len(asked), len(self.targets)), np.nan) for name in found}
        for name, points in found.items():
            answers[name][:, [self.targets.index(t) for t in varied]] = points
        shares = {t: _with(told, certain) if t in varied else {"usual": 1.0} for t, told in self._weigh(asked, answers).items()}
        points = mixed(answers, shares, self.targets, self._counted)
        for t in varied:
            self.rehearsed[why][t] = (asked.targets[t], points[:, self.targets.index(t)])
        return shares

    def _served_of(self, table: Table, targets: Sequence[str]) -> tuple[str, Served] | None:
        """The column of models, and what serving them takes, unlearned, where the table tells of it."""
        return next(((column, served) for column in self._language_models if (served := Served.of(table, column, self._language_models, tuple(targets), int(self._settings["seed"])))), None)

    def _serve_beyond(self, table: Table, shares: Mapping[str, Mapping[str, float]]) -> None:
        """Learns what serving takes from the rows that rehearsed, where it has a share beyond the sizes of the table."""
        served = self._served_of(table, self.targets) if any("served" in each for each in shares.values()) else None
        if served:
            self._reach["served"], self._served[served[0]] = served[0], served[1].fit(table)

    def _carried(self, frame: Any, known: Mapping[str, float], ask: Callable[[Any], np.ndarray], process: Callable[[Any], np.ndarray] | None, since: Mapping[str, Sequence[float]],
                 turn: Sequence[str] = (), targets: Sequence[str] = (), shares: Sequence[Mapping[str, float]] | None = None) -> dict[str, np.ndarray]:
        """Who carries on -> (n, t): the members together (`ask`), by their last two octaves, by the last alone and along a straight line (`reach.settled`), and the process; of columns `turn` with their reciprocals.
        `targets`: those that are asked about, all by default; `shares`: of who speaks, where it is known: a line that has none is not asked for."""
        def turned(of: Callable[[Any], np.ndarray]) -> Callable[[Any], np.ndarray]:
            return (lambda f: of(reach.turned(f, turn))) if turn else of

        frame = reach.turned(frame, turn) if turn else frame
        out = {"carried": reach.carried(frame, known, turned(ask), since)}
        if shares is None or any("settled" in each for each in shares):
            out["settled"] = reach.settled(frame, known, turned(ask), _rates(targets or self.targets), since)
        if not since:
            out["carried last"] = reach.carried(frame, known, turned(ask), last=reach.LAST_OCTAVE)
        if process is not None:
            out["process carried"] = reach.carried(frame, known, turned(process), since)
        return out

    def _reached(self, questions: Any, blend: np.ndarray, answers: Mapping[str, np.ndarray], ask: Callable[[Any], np.ndarray], process: Callable[[Any], np.ndarray] | None) -> np.ndarray:
        """The answers (n, t), those beyond the numbers of the table by who speaks there. `answers`: each member's (n, t)."""
        size, step, small = (over > 0.0 for over in self._overs(questions))
        far = np.flatnonzero(size | step)
        if len(far):
            frame = questions.frame.iloc[far].reset_index(drop=True)
            known, since = {**self._reach["columns"], **self._few}, {name: (before, share) for name, (before, _, share) in self._reach.get("few", {}).get("columns", {}).items()}
            speaking = [*self._reach["shares"].values(), *self._reach.get("few", {}).get("shares", {}).values()]
            said = {"usual": blend[far], **self._carried(frame, known, ask, process, since, shares=speaking)}
            if "kernel" in answers:
                said["kernel"] = answers["kernel"][far]
            if since and any("carried last" in shares for shares in self._reach["shares"].values()):
                said["carried last"] = reach.carried(frame, known, ask, since, reach.LAST_OCTAVE)
            if self._reach.get("served") in self._served:
                points = self._served[self._reach["served"]].answers(frame)
                said["served"] = np.where(np.isfinite(points), points, blend[far])
            one = size[far]
            for rows, told in ((one, self._reach), (~one, self._reach.get("few", {}))):
                if rows.any():
                    blend[far[rows]] = mixed({name: points[rows] for name, points in said.items()}, told["shares"], self.targets, self._counted)
        below = np.flatnonzero(small & ~size & ~step)
        below = below[~reach.never_positive(questions.frame.iloc[below], self._reach["low"]["columns"])] if len(below) else below
        if len(below):
            frame, low = questions.frame.iloc[below].reset_index(drop=True), self._reach["low"]
            said = {"usual": blend[below], **self._carried(frame, low["columns"], ask, process, {}, list(low["columns"]), shares=list(low["shares"].values()))}
            if "kernel" in answers:
                said["kernel"] = answers["kernel"][below]
            blend[below] = mixed(said, low["shares"], self.targets, self._counted)
        return blend

    def _overs(self, questions: Any) -> list[np.ndarray]:
        """(n,) octaves that rows lie beyond the reach of sizes, beyond columns of few values, and below the least of sizes."""
        low = self._reach.get("low", {}).get("columns", {})
        there = all(c in questions.frame.columns for c in low)
        below = reach.octaves(reach.turned(questions.frame, low), low) if low and there else np.zeros(len(questions))
        never = reach.never_positive(questions.frame, low) if low and there else np.zeros(len(questions), dtype=bool)
        return [*(self._over(questions, columns) for columns in (self._reach.get("columns", {}), self._few)), np.where(never, np.fmax(below, 1.0 + self._reach.get("low", {}).get("octaves", 0.0)), below)]

    @property
    def _ends(self) -> list[dict[str, Any]]:
        """What is known of each of `_overs`."""
        return [self._reach, self._reach.get("few", {}), self._reach.get("low", {})]

    @property
    def _nothing_far(self) -> dict[str, Any]:
        return {"columns": {}, "octaves": 0.0, "shares": {t: {"usual": 1.0} for t in self.targets}}

    def _over(self, questions: Any, known: Mapping[str, float]) -> np.ndarray:
        return reach.octaves(questions.frame, known) if all(c in questions.frame.columns for c in known) else np.zeros(len(questions))

    @property
    def _few(self) -> dict[str, float]:
        """Column of few values -> its largest."""
        return {name: most for name, (_, most, _) in self._reach.get("few", {}).get("columns", {}).items()}


def _with(shares: Mapping[str, float], certain: float) -> dict[str, float]:
    """The shares, drawn to those who carry on by so much."""
    out = {name: (1.0 - certain) * share for name, share in shares.items()}
    out["carried"] = out.get("carried", 0.0) + certain
    return {name: share for name, share in out.items() if share > 0.0}


def _rates(targets: Sequence[str]) -> np.ndarray:
    """(t,) whether each is a rate, whose reciprocal is a cost."""
    return np.array([quantity(t) == "throughput" for t in targets], dtype=bool)
