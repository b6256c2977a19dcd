"""What every model is handed: named columns with units and roles, analytic references, floors and ceilings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ..datasets.errors import TableError

#: category column -> its known values, learned when a model is fitted and saved with it
Vocabulary = Mapping[str, tuple[str, ...]]
#: what a column tells. `physics`: a ratio of two quantities, which means the same on every machine and at every size; `size`: of the work alone;
#: `device`: of the machine alone; `own`: the table's own numbers; `context`: circumstances, and codes of formats and kinds
ROLES = ("physics", "size", "device", "own", "context")
#: what a forecaster knows who has heard of the roofline and nothing more: `Features.roofline`
_ROOFLINE = frozenset({"log_bound", "compute_over_dram", "m", "n", "k", "b", "row", "window", "log_matrix_flops", "log_vector_flops", "log_input_bytes", "log_weight_bytes",
                       "log_output_bytes", "op_batch", "op_heads", "op_window", "op_keys"})
#: columns that models saved before they were thought of do without
LATER = frozenset({"op_batch", "op_heads", "op_tokens", "op_places", "head_sharing", "op_window", "op_keys", "windowed", "seen_share"})
#: so many values are looked up one by one: a categorical of a single row costs half a millisecond
_FEW = 32
#: the ceilings of `Features.ceilings`: arithmetic as tiles and waves allow it, every operand once from memory, traffic through the last cache, start and end
CEILINGS = ("compute", "memory", "cache", "fixed")


@dataclass(frozen=True)
class Features:
    """n rows of d named columns. `categorical`: positions of columns that hold category codes (NaN: a value never seen).

    `reference`: target -> (n,) analytic estimate in SI. `floor`: target -> (n,) what no answer may go below.
    `guessed`: targets whose reference rests on figures nobody published; they are not learned as a ratio to it.
    `roles`: of each column, one of `ROLES`; empty where columns are not told apart. `ceilings`: (n, len(CEILINGS)) seconds, where there are any.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray  # (n, d) float32
    categorical: tuple[int, ...] = ()
    reference: Mapping[str, np.ndarray] = field(default_factory=dict)
    floor: Mapping[str, np.ndarray] = field(default_factory=dict)
    guessed: frozenset[str] = frozenset()
    roles: tuple[str, ...] = ()
    ceilings: np.ndarray | None = None

    def ordered(self, names: Sequence[str]) -> Features:
        """The same rows with their columns in the order of `names`; raises TableError when the columns are not the same ones, but for those of `LATER`,
        which a model may lack."""
        if self.names == tuple(names):
            return self
        lost, new = sorted(set(names) - set(self.names)), sorted(set(self.names) - set(names) - LATER)
        if lost or new:
            raise TableError(f"the questions' columns differ from those the model was fitted with: missing {', '.join(lost) or 'none'}, unknown {', '.join(new) or 'none'}")
        return self._picked([self.names.index(name) for name in names])

    def portable(self) -> Features:
        """Only what means the same on machines and at sizes never seen: sizes and the machine's own figures are left out. All columns where
        roles are not told."""
        return self._picked([i for i, role in enumerate(self.roles) if role not in ("size", "device")]) if self.roles else self

    def plain(self) -> Features:
        """Only sizes, the machine's figures, the table's own numbers and circumstances: what physics makes of them stands in the reference alone. All columns where
        roles are not told."""
        return self._picked([i for i, role in enumerate(self.roles) if role != "physics"]) if self.roles else self

    def roofline(self) -> Features:
        """Only sizes, the roofline, the machine's figures, the table's own numbers and circumstances, and no reference but the speed of light: what a plain forecaster sees, free of
        whatever the simulator has wrong. All columns where roles are not told."""
        kept = self._picked([i for i, (n, role) in enumerate(zip(self.names, self.roles, strict=True)) if n in _ROOFLINE or role in ("device", "own", "context")]) if self.roles else self
        return replace(kept, reference=dict(self.floor), guessed=frozenset(), ceilings=None)

    def full_tails(self) -> Features:
        """The same with a last tile that is full told as a tail of all of it, not of none: it belongs beside sizes that nearly fill their last tile, not beside those that waste most of
        it. Trees cut a scale in two, and few random sizes are whole tiles: they would answer those as the most wasteful."""
        at = [i for i, name in enumerate(self.names) if "_tail_" in name and self.roles and self.roles[i] == "physics"]
        if not at:
            return self
        values = self.values.copy()
        values[:, at] = np.where(values[:, at] == 0.0, 1.0, values[:, at])
        return replace(self, values=values)

    def rows(self, at: np.ndarray) -> Features:
        """The rows `at`."""
        return replace(self, values=self.values[at], reference={k: v[at] for k, v in self.reference.items()}, floor={k: v[at] for k, v in self.floor.items()},
                       ceilings=None if self.ceilings is None else self.ceilings[at])

    @classmethod
    def stack(cls, parts: Sequence[Features]) -> Features:
        """The rows of parts that have the same columns, one after the other."""
        first = parts[0]
        return replace(first, values=np.concatenate([p.values for p in parts]), reference={k: np.concatenate([p.reference[k] for p in parts]) for k in first.reference},
                       floor={k: np.concatenate([p.floor[k] for p in parts]) for k in first.floor},
                       ceilings=None if first.ceilings is None else np.concatenate([np.asarray(p.ceilings) for p in parts]))

    def _picked(self, at: Sequence[int]) -> Features:
        return replace(self, names=tuple(self.names[i] for i in at), units=tuple(self.units[i] for i in at), values=self.values[:, at],
                       categorical=tuple(j for j, i in enumerate(at) if i in self.categorical), roles=tuple(self.roles[i] for i in at) if self.roles else ())


def codes(values: pd.Series, known: tuple[str, ...]) -> np.ndarray:
    """(n,) float32 places of the values among the known ones, NaN for others."""
    if len(values) <= _FEW:
        place = {name: float(at) for at, name in enumerate(known)}
        return np.array([place.get(said, np.nan) for said in values.astype(str).to_numpy(dtype=object)], dtype=np.float32)
    found = pd.Categorical(values.astype(str), categories=list(known)).codes.astype(np.float32)
    return np.where(found < 0, np.nan, found).astype(np.float32)
